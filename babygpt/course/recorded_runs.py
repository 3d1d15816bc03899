"""The runs of the lessons, recorded. `BABYGPT_RECORDED=1` loads their weights and curves where a lesson would train.

This is for rooms that can't wait, and for slow laptops. `make record` records them again.

A recorded run takes the place of training only where training would give the same: the same settings, the same text,
and a model that has the same parameters and computes the same logits before it is trained.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from babygpt.compare.recorded import RESULTS
from babygpt.model import evaluating
from babygpt.training import TrainConfig, Trainer

FOLDER = RESULTS / "lessons"
TOLERANCE = 1e-3  # how far apart two machines may be in the logits of one model
# Settings that the first recordings didn't have; they had the defaults.
NEWER = {"min_lr", "decay", "accumulation", "fast_dropout"}


def key(trainer: Trainer) -> str:
    """A name for the settings of model and training, the text and the parameters of a run."""
    shapes = [(name, list(parameter.shape)) for name, parameter in trainer.model.named_parameters()]
    text = [len(trainer.corpus.train), len(trainer.corpus.val), trainer.corpus.train[:1000].tolist()]
    defaults = asdict(TrainConfig())
    settings = {
        name: value for name, value in asdict(trainer.config).items() if name not in NEWER or value != defaults[name]
    }
    what = json.dumps([settings, asdict(trainer.model.config), shapes, text], sort_keys=True)
    return hashlib.sha256(what.encode()).hexdigest()[:12]


@torch.no_grad()
def fingerprint(trainer: Trainer) -> Tensor:
    """The logits of the model for two chunks of the text: (2, T, vocab_size)."""
    x, _ = trainer.corpus.get_batch("val", 2, trainer.model.config.block_size, torch.Generator().manual_seed(0))
    with evaluating(trainer.model):
        return trainer.model(x)[0].float()  # (2, T, vocab_size)


def find(trainer: Trainer, folder: Path = FOLDER) -> dict[str, Any] | None:
    """The recorded run that starts as this trainer does, or None."""
    logits = fingerprint(trainer)  # (2, T, vocab_size)
    for path in sorted(folder.glob(f"{key(trainer)}*.pt")):
        run = torch.load(path, weights_only=True)
        if run["fingerprint"].shape == logits.shape and torch.allclose(run["fingerprint"], logits, atol=TOLERANCE):
            return run
    return None


def load(trainer: Trainer, folder: Path = FOLDER) -> bool:
    """Take a new trainer to the end of its run without training; False if no recorded run fits."""
    run = find(trainer, folder)
    if run is None:
        return False
    trainer.model.load_state_dict(run["weights"], strict=False)  # strict would ask for the masks as well
    trainer.history, trainer.seconds = run["history"], run["seconds"]
    trainer.step = trainer.config.max_iters
    return True


def record(trainer: Trainer, folder: Path = FOLDER) -> None:
    """Train, and store the weights and the curve, unless they are stored already."""
    known, logits = find(trainer, folder), fingerprint(trainer)
    trainer.train()
    if known:
        return
    run = {
        "fingerprint": logits,
        "weights": {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()},
        "history": trainer.history,
        "seconds": trainer.seconds,
    }
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob(f"{key(trainer)}*.pt")))
    torch.save(run, folder / f"{key(trainer)}-{number}.pt")
