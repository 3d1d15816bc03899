"""Text from a trained model: `python -m babygpt.sample runs/v10 --prompt "ROMEO:"`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from babygpt import kv_cache
from babygpt.device import pick_device
from babygpt.errors import UserError, require, require_within
from babygpt.harness.files import write_atomically
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command
from babygpt.model import LanguageModel
from babygpt.tokenizer import Tokenizer

MAX_TOKENS = 10**9
MIN_TEMPERATURE = 1e-6  # divided by less, the logits of a confident model would overflow float32


@dataclass(frozen=True)
class SampleConfig:
    """Generate text from the model in a run folder, one token after another."""

    folder: tyro.conf.Positional[Path]
    """A run folder, for example runs/v10."""

    prompt: str = ""
    """The text to continue; without one the model starts from its first token (a newline)."""

    max_new_tokens: int = 500
    """Number of tokens to generate."""

    num_samples: int = 1
    """Number of texts, generated at the same time, each with its own continuation of the prompt."""

    temperature: float = 1.0
    """Below 1 the likely tokens become likelier, above 1 less likely; 0 always takes the likeliest."""

    top_k: int = 0
    """Draw from the k likeliest tokens only; 0 means all of them."""

    top_p: float = 1.0
    """Draw from the fewest likeliest tokens that have this probability together; 1 means all of them."""

    repetition_penalty: float = 1.0
    """Above 1, tokens that are in the context already become less likely."""

    seed: int = 1337
    """The same seed gives the same text."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: the screen)")] = None
    """File to write the text to, starting with the prompt."""

    window: Literal["exact", "fast"] = "exact"
    """What to do when the text outgrows the model's context: exact reads the whole context again for every token;
    fast rereads only its newer half, and rarely, which gives a different text from that point on."""

    checkpoint: Literal["best", "last"] = "best"
    """The model with the lowest validation loss, or the latest one."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto means cuda if there is one, otherwise cpu."""

    def __post_init__(self) -> None:
        require_within(self, 0, MAX_TOKENS, "max_new_tokens", "top_k")
        require_within(self, 1, 10_000, "num_samples")
        require_within(self, 0, 2**63 - 1, "seed")
        if self.temperature:
            require_within(self, MIN_TEMPERATURE, 1e6, "temperature")
        require_within(self, 1e-6, 1, "top_p")
        require_within(self, 0.01, 100, "repetition_penalty")
        require(self.out is None or self.out.name != "", f"--out must be a file name, and it is {str(self.out)!r}")


def main(argv: Sequence[str] | None = None) -> None:
    """Sample as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    run_command(SampleConfig, write_sample, "python -m babygpt.sample", argv)


def write_sample(config: SampleConfig) -> None:
    """Stream the text to the screen, or write it to a file.

    Raises:
        UserError: there is no such run or device, or the prompt has a character outside the vocabulary.
    """
    device = pick_device(config.device)
    model, tokenizer = Run(config.folder).load_model(config.checkpoint, device)
    start = first_tokens(tokenizer, config.prompt).to(device)
    tokens = stream(model, start.repeat(config.num_samples, 1), config)
    if config.out is None and config.num_samples == 1:
        print(config.prompt, end="", flush=True)
        for text in whole_characters(tokenizer, (token.item() for token in tokens)):
            print(text, end="", flush=True)
        print()
        return
    bar = tqdm(tokens, total=config.max_new_tokens, unit="token", disable=None, leave=False)
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


def stream(model: LanguageModel, idx: Tensor, config: SampleConfig) -> Iterator[Tensor]:
    """The tokens that continue idx, (B, T), one (B, 1) column after another, with the model's cache if it has one.

    Raises:
        UserError: the window `fast` is asked of a model without a cache.
    """
    generator = torch.Generator(idx.device).manual_seed(config.seed)
    options = (
        config.max_new_tokens, config.temperature, config.top_k or None, generator, config.top_p,
        config.repetition_penalty,
    )  # fmt: skip
    if model.new_cache(batch_size=1) is not None:
        return kv_cache.stream(model, idx, *options, window=config.window)
    require(config.window == "exact", "this model has no cache, so it has no window fast: sample without --window")
    return model.stream(idx, *options)


def whole_characters(tokenizer: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """The text of tokens that come one at a time, as soon as it is complete: a token may end within a character."""
    pending: list[int] = []
    for token in tokens:
        pending.append(token)
        text = complete_text(tokenizer, pending)
        if text is not None:
            yield text
            pending = []
    if pending:
        yield tokenizer.decode(pending)


def complete_text(tokenizer: Tokenizer, pending: list[int]) -> str | None:
    """The text of some tokens, or None if it ends within a character that the next token may complete."""
    text = tokenizer.decode(pending)
    whole = not text.endswith("\N{REPLACEMENT CHARACTER}") or len(pending) == 4  # no character has more than 4 bytes
    return text if whole else None


def continue_text(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str = "", length: int = 500, seed: int = 1337
) -> str:
    """`length` tokens that continue a prompt (without one, the first token of the vocabulary), as text."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    idx = first_tokens(tokenizer, prompt).to(device)
    return tokenizer.decode(model.generate(idx, length, generator=generator)[0, idx.shape[1] :].tolist())


def first_tokens(tokenizer: Tokenizer, prompt: str) -> Tensor:
    """The tokens of a prompt; if it is empty, the token that starts a text, or the first of the vocabulary: (1, T)."""
    return torch.tensor([tokenizer.encode(prompt) or [getattr(tokenizer, "end_of_text", 0)]])


def example_prompt(tokenizer: Tokenizer) -> str:
    """`ROMEO:`, or the last token of the vocabulary where that cannot be encoded."""
    try:
        tokenizer.encode("ROMEO:")
        return "ROMEO:"
    except UserError:
        return tokenizer.decode([tokenizer.vocab_size - 1])


if __name__ == "__main__":
    main()
