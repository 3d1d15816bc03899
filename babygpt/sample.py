"""Text from a trained model: `python -m babygpt.sample runs/v10 --prompt "ROMEO:"`."""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from babygpt import kv_cache, v10
from babygpt.device import pick_device
from babygpt.errors import UserError, exit_status, require
from babygpt.flags import read_flags
from babygpt.harness.runs import Run, write_atomically
from babygpt.model import LanguageModel

LEAST_TEMPERATURE = 1e-6


@dataclass(frozen=True)
class SampleConfig:
    """Draw text from the model in a run folder, one character after the other."""

    folder: Annotated[
        tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="PATH", help_behavior_hint="(required)")
    ] = None
    """A run folder: runs/v10, say."""

    prompt: str = ""
    """The text to continue; without one the model starts from its first character (a newline)."""

    max_new_tokens: int = 500
    """Characters to draw."""

    num_samples: int = 1
    """Texts to draw, all at once; each goes its own way from the prompt."""

    temperature: float = 1.0
    """Below 1 the likely characters become likelier, above 1 less so; 0 always takes the likeliest."""

    top_k: int = 0
    """Draw from the k likeliest characters only; 0 is all of them."""

    seed: int = 1337
    """The same seed draws the same text."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: the screen)")] = None
    """File to write the text to, the prompt first."""

    window: Literal["exact", "fast"] = "exact"
    """When the text outgrows the model's context: exact reads the whole context anew for each character, fast
    only its newer half, and seldom, so that the text is another one from there on."""

    checkpoint: Literal["best", "last"] = "best"
    """The model with the lowest validation loss, or the last one."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto is cuda where there is one, else cpu."""


def main(argv: list[str] | None = None) -> None:
    """Sample as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    sys.exit(exit_status(lambda: write_sample(read_flags(SampleConfig, argv, "python -m babygpt.sample"))))


def write_sample(config: SampleConfig) -> None:
    """Stream the text to the screen, or write it to a file.

    Raises:
        UserError: no such run, a prompt outside the vocabulary, an impossible number, no such device.
    """
    check(config)
    device = pick_device(config.device)
    model, tokenizer = Run(config.folder).load_model(config.checkpoint, device)
    start = torch.tensor([tokenizer.encode(config.prompt) or [0]], device=device)
    tokens = draw(model, start.repeat(config.num_samples, 1), config)
    if config.out is None and config.num_samples == 1:
        print(config.prompt, end="", flush=True)
        for token in tokens:
            print(tokenizer.decode(token[0].tolist()), end="", flush=True)
        print()
        return
    bar = tqdm(tokens, total=config.max_new_tokens, unit="char", disable=None, leave=False)
    rows = list(zip(*(token[:, 0].tolist() for token in bar), strict=True)) or [()] * config.num_samples
    texts = [config.prompt + tokenizer.decode(row) for row in rows]
    if len(texts) > 1:
        texts = [f"--- {n} of {len(texts)} ---\n{text}\n" for n, text in enumerate(texts, start=1)]
    text = "".join(texts)
    if config.out is None:
        print(text, end="")
        return
    try:
        write_atomically(config.out, text.encode("utf-8"))
    except OSError as error:
        raise UserError(f"cannot write {config.out} ({error.strerror}): choose another --out") from None
    print(f"Wrote {len(text):,} characters to {config.out}")


def check(config: SampleConfig) -> None:
    """Raise UserError for an impossible number, before anything is read or printed."""
    require(config.folder is not None, "which run? Give its folder: python -m babygpt.sample runs/v10, say")
    for name, least, most in (("max_new_tokens", 0, 10**9), ("num_samples", 1, 10_000), ("top_k", 0, math.inf)):
        value = getattr(config, name)
        require(value >= least, f"{name} must be {'at least 1' if least else '0 or more'}, and it is {value}")
        require(value <= most, f"{name} must be at most {most:,}, and it is {value}")
    require(0 <= config.seed < 2**63, f"seed must be from 0 to 2**63 - 1, and it is {config.seed}")
    require(
        0 <= config.temperature < math.inf,
        f"temperature must be 0 or more{', and finite' if config.temperature > 0 else ''}, "
        f"and it is {config.temperature}",
    )
    # Divided by less, the logits of a sharp model leave the range of float32.
    require(
        config.temperature == 0 or config.temperature >= LEAST_TEMPERATURE,
        f"temperature must be 0 or at least {LEAST_TEMPERATURE}, and it is {config.temperature}",
    )


def draw(model: LanguageModel, idx: Tensor, config: SampleConfig) -> Iterator[Tensor]:
    """The tokens that continue idx, (B, T): one column, (B, 1), after the other.

    Raises:
        UserError: a version without a cache is to use the window `fast`.
    """
    generator = torch.Generator(idx.device).manual_seed(config.seed)
    how = config.max_new_tokens, config.temperature, config.top_k or None, generator
    if isinstance(model, v10.Model):
        return kv_cache.stream(model, idx, *how, window=config.window)
    require(config.window == "exact", "only version 10 has the window fast: sample from this run without --window")
    return model.stream(idx, *how)


if __name__ == "__main__":
    main()
