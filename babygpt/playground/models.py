"""The models to play with: the ten that come with the playground, and runs of one's own."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from babygpt.beyond import encoder_decoder
from babygpt.beyond.inside.hooks import Inside
from babygpt.beyond.inside.opened import SHIPPED, open_checkpoint, read_shipped
from babygpt.beyond.models import find_idea
from babygpt.errors import UserError, require
from babygpt.harness.checkpoints import Checkpoint
from babygpt.harness.runs import Run
from babygpt.model import LanguageModel
from babygpt.playground.train_checkpoints import LOSSES
from babygpt.tokenizer import Tokenizer
from babygpt.versions import VERSIONS, find_version


@dataclass(frozen=True)
class Player:
    """A model that the page can choose."""

    name: str
    """Its name on the page and in addresses: v6, or the folder of a run."""
    title: str
    model: LanguageModel
    tokenizer: Tokenizer
    val: float | None
    """Its validation loss in nats per token, if it is known."""

    @cached_property
    def inside(self) -> Inside:
        """What can be seen in it."""
        return Inside(self.model)

    def about(self) -> dict[str, Any]:
        """What the page needs to know about it."""
        return {
            "name": self.name,
            "title": self.title,
            "val": self.val,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "sees": self.inside.sees,
            "unit": "character" if self.tokenizer.name == "char" else "token",
            "heads": self.inside.heads,
            "canSwitch": self.inside.can_switch,
            "layers": self.inside.layer_names,
        }


def load_shipped() -> list[Player]:
    """Versions 1 to 10, as trained by `train_checkpoints.py`."""
    losses = json.loads((SHIPPED / LOSSES).read_text(encoding="utf-8"))["models"]
    return [load(version.name, read_shipped(version.name), losses[version.name]["val_float16"]) for version in VERSIONS]


def load_run(folder: Path) -> Player:
    """The best model of a run.

    Raises:
        UserError: there is no such run, it is damaged, or its model does not continue texts.
    """
    run = Run(folder)
    saved = run.read("best")
    try:
        val = min(record["val"] for record in run.read_metrics())
    except (UserError, ValueError, KeyError):
        val = None  # the model can be played with all the same
    return load(str(folder), saved, val)


def load(name: str, saved: Checkpoint, val: float | None) -> Player:
    """The model in a checkpoint, its heads computed one at a time, so that each can be seen and switched off.

    Raises:
        UserError: the model does not continue texts.
    """
    model, tokenizer = open_checkpoint(saved)
    require(
        not isinstance(model, encoder_decoder.Model),
        f"the model in {name} translates, and the playground continues texts: try python -m babygpt.beyond.translate",
    )
    known = find_version(saved["module"]) or find_idea(saved["module"])
    title = known.title if known else saved["module"]
    return Player(name, title, model, tokenizer, val if val is not None and math.isfinite(val) else None)


def load_all(folders: Sequence[Path]) -> dict[str, Player]:
    """The runs in some folders, in this order, and then versions 1 to 10, by name."""
    shipped = {player.name: player for player in load_shipped()}
    runs = [load_run(folder) for folder in folders]
    runs = [replace(run, name=f"./{run.name}") if run.name in shipped else run for run in runs]
    return {run.name: run for run in runs} | shipped
