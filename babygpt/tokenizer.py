"""Characters to integers and back.

One token is one character: a small vocabulary and long sequences, the opposite of GPT-2's choice.

Source: the lecture's chapter "tokenization, train/val split".
"""

import sys
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np

from babygpt.errors import UserError, require

CODE_POINTS = sys.maxunicode + 1  # the number of code points in Unicode


class Tokenizer(Protocol):
    """What the package asks of a tokenizer."""

    @property
    def name(self) -> str:
        """What `--tokenizer` calls it."""

    @property
    def vocab_size(self) -> int:
        """Number of different tokens: the V of (B, T, V)."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises UserError if it holds something that has no id."""

    def encode_array(self, text: str) -> np.ndarray:
        """As `encode`, for a whole corpus: an array of the smallest integer type that holds every id."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids. Raises UserError for an id outside 0 ... vocab_size - 1."""

    def state(self) -> dict[str, Any]:
        """Everything that `from_state` needs, as builtins: what a checkpoint holds."""

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The tokenizer whose `state` this is."""


def code_points(text: str) -> np.ndarray:
    """The Unicode number of each character, as uint32: `ord`, for a whole text at once."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def smallest_dtype(vocab_size: int) -> type[np.integer]:
    """The smallest integer type that holds the ids of a vocabulary: 1, 2 or 4 bytes."""
    # Signed above 256, because PyTorch indexes with int16 and barely supports uint16.
    if vocab_size <= 2**8:
        return np.uint8
    return np.int16 if vocab_size <= 2**15 else np.int32


class CharTokenizer:
    """One id per character: ids count from 0, in the order of `chars`.

    Raises:
        UserError: `chars` is empty or repeats a character.
    """

    name = "char"

    def __init__(self, chars: str) -> None:
        require(len(chars) > 0, "a vocabulary needs at least one character, and this one is empty")
        require(len(set(chars)) == len(chars), f"a character appears twice in the vocabulary {chars!r}")
        self.chars = chars
        self.stoi = {ch: i for i, ch in enumerate(chars)}
        self.itos = dict(enumerate(chars))

    @classmethod
    def from_text(cls, text: str) -> "CharTokenizer":
        """The vocabulary of a text: every character in it, sorted by code point."""
        return cls.from_pieces([text])

    @classmethod
    def from_pieces(cls, pieces: Iterable[str]) -> "CharTokenizer":
        """As `from_text`, for a text that comes in pieces."""
        seen = np.zeros(CODE_POINTS, dtype=bool)
        for piece in pieces:
            seen[code_points(piece)] = True
        return cls("".join(map(chr, np.flatnonzero(seen))))

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "CharTokenizer":
        """The tokenizer whose `state` this is."""
        return cls(state["chars"])

    def state(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"chars": self.chars}

    @property
    def vocab_size(self) -> int:
        """Number of different characters: the V of (B, T, V)."""
        return len(self.chars)

    def encode(self, text: str) -> list[int]:
        """The ids of the characters of `text`.

        Raises:
            UserError: a character is not in the vocabulary.
        """
        try:
            return [self.stoi[ch] for ch in text]
        except KeyError as error:
            raise UserError(self._unknown(error.args[0])) from None

    def encode_array(self, text: str) -> np.ndarray:
        """As `encode`, for a whole corpus: an array with 1, 2 or 4 bytes per character.

        Raises:
            UserError: a character is not in the vocabulary.
        """
        codes = code_points(text)
        ids = self._table[codes]
        if len(ids) and ids.min() < 0:
            raise UserError(self._unknown(chr(codes[ids.argmin()])))
        return ids.astype(self.dtype)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids.

        Raises:
            UserError: an id is not in 0 ... vocab_size - 1.
        """
        try:
            return "".join([self.itos[int(i)] for i in ids])
        except KeyError as error:
            raise UserError(
                f"there is no character with the id {error.args[0]}: "
                f"this vocabulary has the ids 0 to {self.vocab_size - 1}"
            ) from None

    @property
    def dtype(self) -> type[np.integer]:
        """The smallest integer type that holds every id: 1, 2 or 4 bytes."""
        return smallest_dtype(self.vocab_size)

    @cached_property
    def _table(self) -> np.ndarray:
        table = np.full(CODE_POINTS, -1, dtype=np.int32)
        table[code_points(self.chars)] = np.arange(self.vocab_size)
        return table

    def _unknown(self, ch: str) -> str:
        shown = self.chars if self.vocab_size <= 200 else self.chars[:200] + "..."
        return f"the character {ch!r} is not in the vocabulary; it has these {self.vocab_size}: {shown!r}"
