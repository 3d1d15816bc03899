"""Talk to a model: `python -m babygpt.beyond.chat runs/assistant/sft`.

It works with the run of any stage, so that you can compare them. A model without special tokens gets what you say as
the beginning of a document, and continues it.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from babygpt import kv_cache
from babygpt.beyond.assistant.answers import encode_prompt, end_id
from babygpt.beyond.assistant.instructions import (
    MAX_ANSWER,
    MAX_PROMPT,
    NAMES,
    SPECIAL,
)
from babygpt.errors import UserError, require, require_within
from babygpt.harness.runs import Run
from babygpt.harness.terminal import print_error, run_command
from babygpt.model import LanguageModel
from babygpt.tokenizer import CharTokenizer

EXAMPLE = "Write in capitals: good night"


@dataclass(frozen=True)
class ChatConfig:
    """Talk to the model in a run folder. Each question is answered by itself: the model sees no earlier ones."""

    folder: tyro.conf.Positional[Path]
    """A run folder, for example runs/assistant/sft."""

    say: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint="(optional)")] = None
    """Say only this, print the answer, and stop."""

    show_tokens: bool = False
    """Show the special tokens, too."""

    temperature: float = 0.0
    """0 always takes the likeliest character; 1 draws from what the model finds likely."""

    seed: int = 1337
    """With a temperature: the same seed gives the same answers."""

    def __post_init__(self) -> None:
        require_within(self, 0, 100, "temperature")
        require_within(self, 0, 2**63 - 1, "seed")


def main(argv: Sequence[str] | None = None) -> None:
    """Talk as the command line says, and exit: 0, or 2 for bad input."""
    run_command(ChatConfig, chat, "python -m babygpt.beyond.chat", argv)


def chat(config: ChatConfig) -> None:
    """Answer one question, or one after another until the input ends.

    Raises:
        UserError: there is no such run, its model cannot chat, or the only question cannot be read.
    """
    train_one = "train one with python -m babygpt.beyond.assistant"
    require((config.folder / "checkpoint.pt").is_file(), f"there is no run in {config.folder}: {train_one}")
    model, tokenizer = Run(config.folder).load_model("last")
    able = isinstance(tokenizer, CharTokenizer) and model.new_cache(1) is not None
    require(able, f"the model in {config.folder} is {type(model).__module__}, which this chat cannot use: {train_one}")
    generator = torch.Generator().manual_seed(config.seed)
    if config.say is not None:
        show(model, tokenizer, config.say, config, generator)
        return
    print(f"Say something, for example: {EXAMPLE}. An empty line ends the chat.")
    while True:
        print("> ", end="", flush=True)
        line = sys.stdin.readline().rstrip("\n")
        if not line:
            return
        try:
            show(model, tokenizer, line, config, generator)
        except UserError as error:
            print_error(str(error))


def show(
    model: LanguageModel, tokenizer: CharTokenizer, text: str, config: ChatConfig, generator: torch.Generator
) -> None:
    """Print the answer to a text, character by character.

    Raises:
        UserError: the text is too long or empty, or has a character that the model doesn't know.
    """
    ids = prompt_ids(tokenizer, text)
    if config.show_tokens:
        print(named(tokenizer.decode(ids)), end="", flush=True)
    for character in stream(model, tokenizer, ids, config.temperature, generator):
        if character not in SPECIAL or config.show_tokens:
            print(named(character), end="", flush=True)
    print()


def prompt_ids(tokenizer: CharTokenizer, text: str) -> list[int]:
    """What the model reads: the text between special tokens or, if it has none, the text and a newline.

    Raises:
        UserError: the text is too long or empty, or has a character that the model doesn't know.
    """
    require(1 <= len(text) <= MAX_PROMPT, f"say 1 to {MAX_PROMPT} characters: {text[:80]!r} has {len(text)}")
    forged = sorted(set(text) & set(SPECIAL))
    require(not forged, f"{''.join(forged)!r} is a special token, which only the chat itself may use: leave it out")
    return encode_prompt(tokenizer, text)


def stream(
    model: LanguageModel, tokenizer: CharTokenizer, ids: list[int], temperature: float, generator: torch.Generator
) -> Iterator[str]:
    """The characters of the answer as they are drawn, with <|end|> if it comes."""
    for token in kv_cache.stream(model, torch.tensor([ids]), MAX_ANSWER + 1, temperature, generator=generator):
        yield tokenizer.decode(token[0].tolist())
        if token.item() == end_id(tokenizer):
            return


def named(text: str) -> str:
    """A text with the names of the special tokens in their place."""
    return "".join(NAMES.get(character, character) for character in text)


if __name__ == "__main__":
    main()
