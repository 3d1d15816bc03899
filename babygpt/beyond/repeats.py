"""Random strings that repeat: a text in which the only thing to learn is to continue what has been seen once.

    "kWq;Bo kWq;Bo kWq;Bo"     without the spaces, and with strings of 8 to 32 characters

In the first copy, every character is equally likely: no model can have a mean loss below log 65 there, 4.17. Then
everything can be known, but not from the position alone, because the strings are not equally long. Strings are drawn
when they are needed. There are 65 to the power of 8 of the shortest, so those of an evaluation were not in training.

Source: Olsson et al., "In-context Learning and Induction Heads" (repeated random tokens as a test).
"""

import string
from dataclasses import dataclass

import torch
from torch import Tensor

from babygpt.data import Corpus, Split
from babygpt.errors import require
from babygpt.tokenizer import CharTokenizer

ALPHABET = "".join(sorted("\n !$&',-.3:;?" + string.ascii_letters))  # the 65 characters of the plays
SHORTEST = 8  # characters in a string; the longest has half of block_size


@dataclass(frozen=True)
class Repeats(Corpus):
    """Random strings, each repeated until the block is full. `train` and `val` only hold the alphabet."""

    unit = "characters to draw from"

    @classmethod
    def new(cls) -> "Repeats":
        """Strings over the 65 characters of the plays."""
        tokenizer = CharTokenizer(ALPHABET)
        ids = torch.arange(tokenizer.vocab_size, dtype=torch.uint8)
        return cls("random strings that repeat", tokenizer, ids, ids)

    def get_batch(
        self, split: Split, batch_size: int, block_size: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Inputs and targets, (B, T) int64 both: each row is a string of its own length, again and again."""
        lengths = torch.randint(SHORTEST, block_size // 2 + 1, (batch_size, 1), generator=generator)  # (B, 1)
        strings = torch.randint(self.tokenizer.vocab_size, (batch_size, block_size // 2), generator=generator)
        rows = strings.gather(1, torch.arange(block_size + 1) % lengths).to(self.train.device)  # (B, T + 1)
        return rows[:, :-1], rows[:, 1:]

    def check(self, block_size: int) -> None:
        """Raise UserError unless the shortest string fits twice."""
        need = 2 * SHORTEST
        require(block_size >= need, f"{self.name} need a block_size of at least {need}, and it is {block_size}")
