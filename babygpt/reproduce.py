"""Train versions 1 to 9 by the lecture's recipes and compare each loss with its band.

`python -m babygpt.reproduce` takes some minutes on a laptop. Version 10's recipe needs a
GPU: `python -m babygpt.v10 --preset lecture`.
"""

from dataclasses import dataclass

import torch

from babygpt.data import Corpus
from babygpt.errors import require
from babygpt.harness.terminal import run_command
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import VERSIONS, Version, select


@dataclass(frozen=True)
class ReproduceConfig:
    """Train versions by the lecture's recipes; exit with status 1 if a loss lies outside its band."""

    first: int = 1
    """The first version to train."""

    last: int = 9
    """The last version to train."""

    seed: int = 1337
    """Seed of every run. The bands were set for 1337; other seeds mostly stay inside."""


def train_lecture(version: Version, corpus: Corpus, seed: int) -> Trainer:
    """Train one version by its recipe `lecture`."""
    config = version.preset("lecture") | {"seed": seed, "vocab_size": corpus.tokenizer.vocab_size}
    torch.manual_seed(seed)
    module = version.module()
    trainer = Trainer(module.Model(select(module.Config, config)), corpus, select(TrainConfig, config))
    trainer.train()
    return trainer


def reproduce(config: ReproduceConfig) -> int:
    """Print a table row for each version; return 1 if a loss is outside its band, else 0."""
    require(
        1 <= config.first <= config.last <= len(VERSIONS),
        f"versions run from 1 to {len(VERSIONS)}, and {config.first} to {config.last} are asked for",
    )
    corpus = Corpus.load()
    outside = 0
    print(f"{'version':<34} {'parameters':>10} {'steps':>6} {'train':>6} {'val':>6}  {'band':<11} {'seconds':>7}")
    for version in VERSIONS[config.first - 1 : config.last]:
        trainer = train_lecture(version, corpus, config.seed)
        last = trainer.history[-1]
        parameters = sum(p.numel() for p in trainer.model.parameters())
        low, high = version.band
        inside = low <= last["val"] <= high and parameters == version.parameters
        outside += not inside
        print(
            f"{version.name:<4}{version.title:<30} {parameters:>10,} {last['step']:>6} {last['train']:>6.3f} "
            f"{last['val']:>6.3f}  {low:.2f}-{high:.2f}   {trainer.seconds:>7.1f}" + ("" if inside else "  OUTSIDE"),
            flush=True,
        )
    print("all inside their bands" if not outside else f"{outside} outside their bands")
    return 1 if outside else 0


def main(argv: list[str] | None = None) -> None:
    """Reproduce as the command line says, and exit: 0, 1 for a loss outside its band, 2 for bad input."""
    run_command(ReproduceConfig, reproduce, "python -m babygpt.reproduce", argv)


if __name__ == "__main__":
    main()
