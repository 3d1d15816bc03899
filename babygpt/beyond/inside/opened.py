"""The models to look into: runs of one's own, and the ten that come with the package.

Their heads are computed one at a time (`--attention loop`), so that each can be seen and switched off. That changes
nothing about what they compute: a test compares the loop with all heads at once.
"""

from dataclasses import replace
from pathlib import Path

from babygpt.errors import require
from babygpt.harness.checkpoints import Checkpoint, load_model, read_checkpoint
from babygpt.harness.runs import Run
from babygpt.model import LanguageModel
from babygpt.tokenizer import Tokenizer
from babygpt.versions import VERSIONS

SHIPPED = Path(__file__).resolve().parents[2] / "playground" / "checkpoints"
"""Small checkpoints of versions 1 to 10, made by `python -m babygpt.playground.train_checkpoints`."""


def open_model(which: Path | str) -> tuple[LanguageModel, Tokenizer]:
    """The best model of a run folder, or one of those that come with the package, by its name: v1 to v10.

    Raises:
        UserError: there is no such run, or it is damaged.
    """
    return open_checkpoint(read_shipped(str(which)) if is_shipped(which) else Run(which).read("best"))


def is_shipped(which: Path | str) -> bool:
    """Whether this is the name of a model that comes with the package, and not a folder."""
    return str(which) in {version.name for version in VERSIONS} and not Path(which).exists()


def read_shipped(name: str) -> Checkpoint:
    """The checkpoint of a version that comes with the package.

    Raises:
        UserError: it is missing or damaged.
    """
    path = SHIPPED / f"{name}.pt"
    require(path.is_file(), f"{path} is missing: install babygpt from a complete clone")
    return read_checkpoint(path, "fetch it from the repository again")


def open_checkpoint(saved: Checkpoint) -> tuple[LanguageModel, Tokenizer]:
    """The model in a checkpoint, in eval mode, its heads computed one at a time, and its tokenizer.

    Raises:
        UserError: the weights do not fit the sizes.
    """
    model, tokenizer = load_model(saved)
    return one_head_at_a_time(model), tokenizer


def one_head_at_a_time(model: LanguageModel) -> LanguageModel:
    """The same model with a loop over its heads, in eval mode; one that has no such choice is returned as it is."""
    if getattr(model.config, "attention", "loop") == "loop":
        return model.eval()
    twin = type(model)(replace(model.config, attention="loop"))
    twin.load_state_dict(model.state_dict())
    return twin.eval()
