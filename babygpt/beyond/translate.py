"""Use an encoder-decoder: `python -m babygpt.beyond.translate runs/encoder_decoder "28 November 2026"`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from babygpt.beyond.beam import MAX_WIDTH
from babygpt.beyond.dates import plain
from babygpt.beyond.pairs import translate
from babygpt.errors import require, require_within
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command


@dataclass(frozen=True)
class TranslateConfig:
    """Translate texts with the model in a run folder."""

    folder: tyro.conf.Positional[Path]
    """A run folder, for example runs/encoder_decoder."""

    texts: tyro.conf.Positional[tuple[str, ...]]
    """The texts, each in quotes."""

    beam: int = 0
    """Width of the beam search; 0 always takes the likeliest character."""

    def __post_init__(self) -> None:
        require_within(self, 0, MAX_WIDTH, "beam")


def main(argv: Sequence[str] | None = None) -> None:
    """Translate as the command line says, and exit: 0, or 2 for bad input."""
    run_command(TranslateConfig, print_translations, "python -m babygpt.beyond.translate", argv)


def print_translations(config: TranslateConfig) -> None:
    """Print a line for each text.

    Raises:
        UserError: there is no such run, it holds another kind of model, or it cannot read one of the texts.
    """
    train_one = "train an encoder-decoder with python -m babygpt.beyond.encoder_decoder"
    require((config.folder / "best.pt").is_file(), f"there is no run in {config.folder}: {train_one}")
    model, tokenizer = Run(config.folder).load_model("best")
    require(
        hasattr(model, "encode"),
        f"the model in {config.folder} is {type(model).__module__}, which continues texts: use python -m "
        f"babygpt.sample, or {train_one}",
    )
    texts = [plain(text) for text in config.texts]
    for text, answer in zip(texts, translate(model, tokenizer, texts, config.beam), strict=True):
        print(f"{text:40} {answer}")


if __name__ == "__main__":
    main()
