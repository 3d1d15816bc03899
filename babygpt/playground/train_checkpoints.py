"""Train the ten models that come with the playground: `python -m babygpt.playground.train_checkpoints`.

Each version is trained by its first recipe, `lecture`; version 10 by `laptop`. The weights are stored in float16, which
halves the files. `checkpoints/losses.json` holds how each was made, and its loss before and after that.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from babygpt.beyond.inside.opened import SHIPPED
from babygpt.compare.jobs import device_name, final_losses, revision
from babygpt.data import Corpus
from babygpt.errors import require_within
from babygpt.harness.checkpoints import describe, save_checkpoint
from babygpt.harness.files import write_atomically
from babygpt.harness.terminal import run_command
from babygpt.harness.threads import worthwhile_threads
from babygpt.training import new_trainer
from babygpt.versions import VERSIONS, Version

LOSSES = "losses.json"


@dataclass(frozen=True)
class CheckpointsConfig:
    """Train versions 1 to 10 and store small checkpoints of them: about five minutes on two cores."""

    out_dir: Path = SHIPPED
    """Folder for the checkpoints and losses.json."""

    seed: int = 1337
    """Seed of the weights and the batches."""

    max_iters: int = 0
    """Steps of each run; 0 means those of its recipe."""

    def __post_init__(self) -> None:
        require_within(self, 0, 10**9, "max_iters")
        require_within(self, 0, 2**63 - 1, "seed")


def main(argv: Sequence[str] | None = None) -> None:
    """Train the models as the command line says, and exit."""
    run_command(CheckpointsConfig, train_all, "python -m babygpt.playground.train_checkpoints", argv)


def train_all(config: CheckpointsConfig) -> None:
    """Train one version after another, and store each as soon as it is done."""
    corpus = Corpus.load()
    config.out_dir.mkdir(parents=True, exist_ok=True)
    records = {}
    for version in VERSIONS:
        records[version.name] = record = train(version, corpus, config)
        print(
            f"{version.name}: validation loss {record['val']:.4f}, in float16 {record['val_float16']:.4f}", flush=True
        )
    content = {
        "command": "python -m babygpt.playground.train_checkpoints",
        "text": corpus.name, "fingerprint": corpus.fingerprint, "seed": config.seed,
        "revision": revision(), "torch": torch.__version__, "device": device_name(torch.device("cpu")),
        "models": records,
    }  # fmt: skip
    write_atomically(config.out_dir / LOSSES, (json.dumps(content, indent=1) + "\n").encode("utf-8"))


def train(version: Version, corpus: Corpus, config: CheckpointsConfig) -> dict[str, Any]:
    """Train a version, store it as vN.pt, and return what there is to know about it."""
    preset = "laptop" if "laptop" in version.presets else "lecture"
    settings = version.preset(preset) | {"seed": config.seed, "device": "cpu"}
    if config.max_iters:
        settings |= {"max_iters": config.max_iters, "eval_iters": 1}
    trainer = new_trainer(version.module(), corpus, settings)
    model, start = trainer.model, time.perf_counter()
    sizes = model.config
    with worthwhile_threads(trainer.config.batch_size, sizes.block_size, getattr(sizes, "n_embd", 0)) as threads:
        trainer.train(progress=False)
    seconds = time.perf_counter() - start
    trainer.dtype = torch.float32  # which the playground computes in, and the losses are measured in
    before = final_losses(trainer)
    half = {name: tensor.half() for name, tensor in model.state_dict().items()}
    model.load_state_dict(half)  # which rounds the weights, and leaves them in float32
    state = {"state": {"model": half, "step": trainer.step}}
    save_checkpoint(config.out_dir / f"{version.name}.pt", describe(model, corpus.tokenizer) | state)
    return {
        "preset": preset,
        "steps": trainer.step,
        "parameters": sum(p.numel() for p in model.parameters()),
        **losses(before, ""),
        **losses(final_losses(trainer), "_float16"),
        "seconds": round(seconds, 1), "threads": threads, "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def losses(found: dict[str, dict[str, float]], ending: str) -> dict[str, float]:
    """The losses on both splits under the names train and val, with an ending."""
    return {f"{split}{ending}": round(found[split]["loss"], 4) for split in ("train", "val")}


if __name__ == "__main__":
    main()
