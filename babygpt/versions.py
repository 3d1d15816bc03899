"""The ten versions and the recipes that train them, in one table.

A recipe (a preset) is a dictionary of flags: `--batch-size 32` on the command line is
`batch_size=32` here. The recipes named `lecture` are the ones behind the lecture's numbers.
Versions 2 to 4 are steps that the lecture explains but never trains: they use the recipe of
its single head, version 5.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any, TypeVar

from babygpt.errors import require

Recipe = dict[str, int | float | str]
SomeConfig = TypeVar("SomeConfig")

_SMALL: Recipe = dict(
    block_size=8, n_embd=32, batch_size=32, learning_rate=1e-3, max_iters=5000, eval_interval=500, eval_iters=200
)
_HEADS = _SMALL | dict(n_head=4)
_BLOCKS = _HEADS | dict(n_layer=3)


class Trainable:
    """A model with its recipes: what the command line can train. Its subclasses are dataclasses with these fields."""

    path: str
    """The module that holds its `Model` and `Config`, for example `babygpt.v6`."""
    title: str
    adds: str
    """What is new, in one line."""
    presets: dict[str, Recipe]
    """Its recipes by name. The first one is the default."""

    next: str | None = None
    """The module to continue with."""

    @property
    def name(self) -> str:
        """For example `v6`: the last part of the module, and the default run folder."""
        return self.path.rpartition(".")[2]

    @property
    def called(self) -> str:
        """What to call it in a sentence."""
        return f"{self.name}, {self.title}"

    def module(self) -> ModuleType:
        """The module that holds its `Model` and `Config`."""
        return importlib.import_module(self.path)

    def preset(self, name: str) -> Recipe:
        """The recipe of that name.

        Raises:
            UserError: there is no such recipe.
        """
        require(
            name in self.presets,
            f"{self.name} has no preset {name!r}: choose from {', '.join(self.presets)}",
        )
        return self.presets[name]


@dataclass(frozen=True)
class Version(Trainable):
    """One step of the lecture."""

    number: int
    title: str
    adds: str
    """What is new, in one line."""
    parameters: int
    """Parameters of the recipe `lecture` with a vocabulary of 65."""
    presets: dict[str, Recipe] = field(repr=False)

    @property
    def path(self) -> str:
        """The module in `babygpt/`."""
        return f"babygpt.v{self.number}"

    @property
    def called(self) -> str:
        """What to call it in a sentence."""
        return f"version {self.number}, {self.title}"

    @property
    def next(self) -> str | None:
        """The version after this one."""
        return f"babygpt.v{self.number + 1}" if self.number < len(VERSIONS) else None


VERSIONS = [
    Version(
        1,
        "bigram",
        "the baseline: a table of which character follows which",
        4_225,
        {"lecture": dict(block_size=8, batch_size=32, learning_rate=1e-2, max_iters=3000, eval_interval=300,
                         eval_iters=200)},
    ),
    Version(
        2,
        "averaging with loops",
        "vectors, positions, lm_head; each token becomes the average of itself and its past",
        4_481,
        {"lecture": _SMALL},
    ),
    Version(
        3,
        "averaging by matrix multiply",
        "the same average as one matrix product, much faster",
        4_481,
        {"lecture": _SMALL},
    ),
    Version(
        4,
        "averaging by softmax mask",
        "the same average as a softmax over masked scores",
        4_481,
        {"lecture": _SMALL},
    ),
    Version(
        5,
        "single head",
        "self-attention: the scores depend on the tokens",
        7_553,
        {"lecture": _SMALL},
    ),
    Version(
        6,
        "multi-head",
        "four small heads side by side instead of one wide head",
        7_553,
        {"lecture": _HEADS},
    ),
    Version(
        7,
        "feed-forward",
        "a layer that processes what attention gathered",
        8_609,
        {"lecture": _HEADS},
    ),
    Version(
        8,
        "residual",
        "three blocks, residual connections, projection, a wider feed-forward layer",
        41_921,
        {"lecture": _BLOCKS},
    ),
    Version(
        9,
        "layernorm",
        "layer norm before each part, and a final one",
        42_369,
        {"lecture": _BLOCKS},
    ),
    Version(
        10,
        "dropout and scale-up",
        "dropout, small initial weights, and the sizes of the lecture's final model",
        10_788_929,
        {
            "lecture": dict(block_size=256, n_embd=384, n_head=6, n_layer=6, dropout=0.2, batch_size=64,
                            learning_rate=3e-4, max_iters=5000, eval_interval=500, eval_iters=200, dtype="auto"),
            # Small enough for two minutes on two CPU cores; in so short a run dropout would only slow learning down.
            "laptop": dict(block_size=64, n_embd=128, n_head=4, n_layer=3, dropout=0.0, init_std=0.05, batch_size=24,
                           optimizer="muon", learning_rate=9e-3, max_iters=1400, eval_interval=350, eval_iters=20,
                           warmup_iters=100, lr_schedule="linear", weight_decay=0.1, beta2=0.99, dtype="auto"),
        },
    ),
]  # fmt: skip


def get_version(number: int) -> Version:
    """Version `number`, 1 to 10.

    Raises:
        UserError: there is no such version.
    """
    require(1 <= number <= len(VERSIONS), f"there is no version {number}: choose from 1 to {len(VERSIONS)}")
    return VERSIONS[number - 1]


def find_version(module: str) -> Version | None:
    """The version whose module this is, for example `babygpt.v6`; None if it belongs to no version."""
    return next((version for version in VERSIONS if version.path == module), None)


def select(config_class: type[SomeConfig], settings: Mapping[str, Any]) -> SomeConfig:
    """Build a config from the settings that it has a field for."""
    return config_class(**{f.name: settings[f.name] for f in fields(config_class) if f.name in settings})
