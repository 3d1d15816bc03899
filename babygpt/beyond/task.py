"""Training on a task whose answers are right or wrong: what the dates and the arithmetic share on the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from babygpt.cli import Command
from babygpt.harness.checkpoints import Checkpoint
from babygpt.training import Trainer


class TaskTrainer(Trainer):
    """A model in training on a task. Its `evaluate` also finds `exact`, the share of right answers in validation."""

    def remark(self) -> str:
        """The share of right answers at the last evaluation."""
        return f", {self.history[-1]['exact']:.1%} of the answers right"


@dataclass(frozen=True)
class TaskRunConfig:
    """Where the results go."""

    preset: str
    """Recipe that gives all other flags their defaults: see `babygpt/beyond/models.py`."""

    out_dir: Annotated[
        Path | None,
        tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: runs/ and the model, numbered if taken)"),
    ] = None
    """Folder for the checkpoints, metrics, picture and sample."""

    resume: bool = False
    """Continue the run in --out-dir, or else the latest run of this model."""

    shapes: bool = False
    """Print the shape of every tensor in a forward pass, and stop."""


class TaskCommand(Command):
    """Training on a task from the command line. There is no text to choose."""

    run_config = TaskRunConfig
    trainer = TaskTrainer

    def saved_choices(self, saved: Checkpoint) -> Mapping[str, Any]:
        """Nothing: what a task needs to know is among the sizes of the model."""
        return {}
