"""A run folder: what one training leaves behind, and what is needed to go on with it.

checkpoint.pt   the last model, with the optimizer and the random streams
best.pt         the model with the lowest validation loss so far
metrics.jsonl   one JSON line for each evaluation
loss.png        the losses against the step
sample.txt      text generated at the end
"""

import io
import json
import os
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from babygpt.errors import UserError, require
from babygpt.model import LanguageModel
from babygpt.tokenizer import CharTokenizer
from babygpt.training import Trainer
from babygpt.versions import Version, get_version

FORMAT = 2  # of the checkpoints; raise it when their content changes

MAY_CHANGE = {"device", "eval_interval", "eval_iters"}
"""Settings that a resumed run may change: the training so far would have been the same."""


class Run:
    """The folder of one training run."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.checkpoint = self.folder / "checkpoint.pt"
        self.best = self.folder / "best.pt"
        self.metrics = self.folder / "metrics.jsonl"
        self.picture = self.folder / "loss.png"
        self.sample = self.folder / "sample.txt"

    def exists(self) -> bool:
        """Whether there is a run in the folder."""
        return self.checkpoint.exists()

    def save(self, trainer: Trainer, version: Version, data: Path) -> None:
        """Write the checkpoint, the metrics and, if the last evaluation is the best, the best model.

        `data` is the file the corpus came from, so that a resumed run finds it.

        Raises:
            UserError: the folder cannot be written to.
        """
        about = {
            "format": FORMAT,
            "version": version.number,
            "model_config": asdict(trainer.model.config),
            "chars": trainer.corpus.tokenizer.chars,
        }
        state = trainer.state()
        full = about | {
            "train_config": asdict(trainer.config),
            "corpus": {"path": str(data.resolve()), "fingerprint": trainer.corpus.fingerprint},
            "state": state,
        }
        last = trainer.history[-1]
        is_best = last["step"] == trainer.step and last["val"] == min(h["val"] for h in trainer.history)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(record) + "\n" for record in trainer.history)
            write_atomically(self.metrics, lines.encode("utf-8"))
            if is_best:
                save_atomically(self.best, about | {"state": {"model": state["model"], "step": trainer.step}})
            save_atomically(self.checkpoint, full)
        except OSError as error:
            raise UserError(f"cannot write to {self.folder} ({error.strerror}): choose another --out-dir") from error

    def check_resumable(self, saved: dict[str, Any], version: Version, trainer: Trainer) -> None:
        """Raise UserError, naming every difference, unless the new trainer can go on from `saved`."""
        require(
            saved["version"] == version.number,
            f"{self.folder} was made by v{saved['version']}, not {version.name}: "
            f"resume it with `python -m babygpt.v{saved['version']}`, or choose another --out-dir",
        )
        old = saved["model_config"] | saved["train_config"]
        new = asdict(trainer.model.config) | asdict(trainer.config)
        # A schedule that ends at max_iters was another one with another max_iters.
        may_change = MAY_CHANGE | ({"max_iters"} if new["lr_schedule"] == "constant" else set())
        changes = [
            f"{name} was {old.get(name)} and is now {value}"
            for name, value in new.items()
            if old.get(name) != value and name not in may_change
        ]
        if saved["corpus"]["fingerprint"] != trainer.corpus.fingerprint:
            changes.insert(0, f"the text was another one than {trainer.corpus.name} is now")
        require(
            not changes,
            f"{self.folder} was trained with other settings; resume it without these changes, or choose "
            f"another --out-dir:\n  " + "\n  ".join(changes),
        )

    def read(self, which: str = "last") -> dict[str, Any]:
        """The content of the `last` checkpoint or of the `best`.

        Raises:
            UserError: there is no such file, or it is no complete checkpoint.
        """
        path = self.best if which == "best" else self.checkpoint
        require(
            path.exists(),
            f"there is no run in {self.folder}: {path.name} is missing; train one with `python -m babygpt.v10`",
        )
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            found = saved["format"]
            get_version(saved["version"]), saved["model_config"], saved["chars"], saved["state"]["model"]
        except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is no checkpoint of babygpt, or is damaged ({type(error).__name__} while reading it): "
                f"remove the folder and train again"
            ) from error
        require(found == FORMAT, f"{path} has the format {found}, and this babygpt reads {FORMAT}: train again")
        return saved

    def load_model(
        self, which: str = "best", device: torch.device | str = "cpu"
    ) -> tuple[LanguageModel, CharTokenizer]:
        """The saved model, in eval mode, and its tokenizer.

        Raises:
            UserError: as `read`.
        """
        saved = self.read(which)
        module = get_version(saved["version"]).module()
        model = module.Model(module.Config(**saved["model_config"]))
        model.load_state_dict(saved["state"]["model"])
        return model.to(device).eval(), CharTokenizer(saved["chars"])

    def finish(self, history: list[dict[str, float]], sample: str, title: str) -> None:
        """Write the sample, and draw the losses against the step."""
        from matplotlib.figure import Figure  # here, because it takes a second to import

        write_atomically(self.sample, sample.encode("utf-8"))
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        steps = [record["step"] for record in history]
        for split, style in (("train", "--"), ("val", "-")):
            losses = [record[split] for record in history]
            axes.plot(steps, losses, style, marker=".", label=f"{split}: {losses[-1]:.2f} at the end")
        axes.set(title=title, xlabel="training step", ylabel="loss (nats per character)")
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(self.picture, dpi=120)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all: a reader never sees half of it."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def save_atomically(path: Path, content: dict[str, Any]) -> None:
    """As `write_atomically`, for a checkpoint of tensors and builtins."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def new_folder(name: str, parent: Path = Path("runs")) -> Path:
    """`runs/v6`, or `runs/v6-2`, `runs/v6-3`, ... if that is taken."""
    folder, n = parent / name, 1
    while folder.exists():
        n += 1
        folder = parent / f"{name}-{n}"
    return folder


def latest_folder(name: str, parent: Path = Path("runs")) -> Path:
    """The last written of `runs/v6`, `runs/v6-2`, ...; `runs/v6` if there is none."""
    folders = [folder for folder in (parent / name, *parent.glob(f"{name}-*")) if Run(folder).exists()]
    return max(folders, key=lambda folder: Run(folder).checkpoint.stat().st_mtime, default=parent / name)
