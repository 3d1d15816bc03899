"""A run for the C program: `python -m babygpt.beyond.llmc_export runs/gpt2 path/to/llm.c` writes what it reads.

That is gpt2_124M.bin (the model, whatever its size), gpt2_tokenizer.bin, and the run's text as tokens in
dev/data/tinyshakespeare/. Then, in the folder of llm.c, `make train_gpt2` and `./train_gpt2` go on training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from babygpt.beyond import gpt2, llmc
from babygpt.beyond.bpe import BPETokenizer
from babygpt.beyond.command import tokenizer_maker
from babygpt.data import Corpus
from babygpt.errors import UserError, require
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command

CONTEXT = 64  # what train_gpt2.c trains on


@dataclass(frozen=True)
class ExportConfig:
    """Write the model, the tokenizer and the text of a run as files of llm.c."""

    folder: tyro.conf.Positional[Path]
    """A run folder, for example runs/gpt2."""

    out: tyro.conf.Positional[Path]
    """Where to write them: the folder of llm.c."""


def main(argv: Sequence[str] | None = None) -> None:
    """Export as the command line says, and exit: 0, or 2 for bad input."""
    run_command(ExportConfig, export, "python -m babygpt.beyond.llmc_export", argv)


def export(config: ExportConfig) -> None:
    """Write the files.

    Raises:
        UserError: there is no such run, llm.c has no such model, or a file cannot be written.
    """
    run = Run(config.folder)
    corpus_of_run = run.read("last")["corpus"]
    model, tokenizer = run.load_model("best")
    require(
        isinstance(model, gpt2.Model) and isinstance(tokenizer, BPETokenizer),
        f"{config.folder} must hold a GPT-2 of byte pairs, for example from python -m babygpt.beyond.gpt2 "
        f"--tokenizer gpt2 --bias; it holds {type(model).__module__} with {tokenizer.name}",
    )
    block_size = model.config.block_size
    require(block_size >= CONTEXT, f"llm.c trains on {CONTEXT} tokens, and this model has {block_size} positions")
    corpus = Corpus.load(Path(corpus_of_run["path"]), tokenizer_maker(corpus_of_run["tokenizer"]))
    data = config.out / "dev" / "data" / "tinyshakespeare"
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {config.out} ({error.strerror}): choose another folder") from None
    llmc.save_model(model, config.out / "gpt2_124M.bin")
    llmc.save_tokenizer(tokenizer, config.out / "gpt2_tokenizer.bin", getattr(tokenizer, "end_of_text", 0))
    for split in ("train", "val"):
        llmc.save_tokens(getattr(corpus, split).tolist(), data / f"tiny_shakespeare_{split}.bin")
    print(f"Wrote gpt2_124M.bin, gpt2_tokenizer.bin and the tokens to {config.out}. There:")
    print("  make train_gpt2 && ./train_gpt2")


if __name__ == "__main__":
    main()
