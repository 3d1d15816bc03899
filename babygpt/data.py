"""A text, split into a training and a validation part, and batches drawn from them.

Source: the lecture's chapters "tokenization, train/val split" and "data loader".
"""

import codecs
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from babygpt.errors import UserError, require
from babygpt.tokenizer import CharTokenizer, Tokenizer

Split = Literal["train", "val"]

PIECE = 2**22  # characters processed at a time, so that long texts need little memory besides their ids

SHAKESPEARE = Path(__file__).resolve().parent.parent / "input.txt"


@dataclass(frozen=True)
class Corpus:
    """A tokenized text. `train` is its first 90%, `val` the rest.

    Both are one-dimensional integer tensors with 1 or 2 bytes per token (4 only
    if the vocabulary has more than 32,768 tokens). Batches are int64.
    """

    name: str
    tokenizer: Tokenizer
    train: Tensor
    val: Tensor
    path: Path | None = None
    """The file that the text came from."""

    @property
    def unit(self) -> str:
        """What `len` counts."""
        return "characters" if self.tokenizer.name == "char" else "tokens"

    @classmethod
    def from_ids(cls, ids: Tensor, tokenizer: Tokenizer, name: str = "text", path: Path | None = None) -> "Corpus":
        """Split a text that has been tokenized: ids is a one-dimensional integer tensor."""
        n = int(0.9 * len(ids))
        return cls(name, tokenizer, ids[:n], ids[n:], path)

    @classmethod
    def from_text(cls, text: str, name: str = "text") -> "Corpus":
        """Tokenize a text, character by character, and split it.

        Raises:
            UserError: the text is empty.
        """
        return cls._from_pieces(lambda: (text[i : i + PIECE] for i in range(0, len(text), PIECE)), name)

    @classmethod
    def tokenize(
        cls, text: str, new_tokenizer: Callable[[str], Tokenizer], name: str = "text", path: Path | None = None
    ) -> "Corpus":
        """Split a text by its characters, then tokenize both parts.

        So each tokenizer has the same text to learn from and the same text to be tested on.

        Args:
            new_tokenizer: makes a tokenizer from the training part, the only part that it may learn from.

        Raises:
            UserError: the text is empty, or has something that the tokenizer cannot encode.
        """
        require(len(text) > 0, f"{name} is empty: give a text of a few thousand characters or more")
        n = int(0.9 * len(text))
        tokenizer = new_tokenizer(text[:n])
        train, val = (torch.from_numpy(tokenizer.encode_array(part)) for part in (text[:n], text[n:]))
        return cls(name, tokenizer, train, val, path)

    @classmethod
    def load(cls, path: Path | str = SHAKESPEARE, new_tokenizer: Callable[[str], Tokenizer] | None = None) -> "Corpus":
        """Read a UTF-8 text file. Line endings become newlines; a byte order mark is dropped.

        The file is read piece by piece, three times: for its length, for its characters and for
        their ids. Besides the ids there is never more than one piece in memory.

        Args:
            new_tokenizer: as for `tokenize`, which needs the whole text in memory; one token per character if None.

        Raises:
            UserError: the file cannot be read, is not UTF-8 text, is empty, or changes while it is read.
        """
        path = Path(path)
        require(
            path != SHAKESPEARE or path.exists(),
            f"{path.name} is missing: it is not part of an installed package, so run babygpt from a clone of its "
            f"repository, or give a text with --data",
        )
        if new_tokenizer is None:
            return cls._from_pieces(lambda: pieces_of(path), path.name, path.absolute())
        return cls.tokenize("".join(pieces_of(path)), new_tokenizer, path.name, path.absolute())

    @classmethod
    def _from_pieces(cls, pieces: Callable[[], Iterable[str]], name: str, path: Path | None = None) -> "Corpus":
        length = sum(map(len, pieces()))
        require(length > 0, f"{name} is empty: give a text of a few thousand characters or more")
        tokenizer = CharTokenizer.from_pieces(pieces())
        data, n = np.empty(length, dtype=tokenizer.dtype), 0
        changed = f"{name} changed while it was being read (it had {length} characters at first): run this again"
        for piece in pieces():
            require(n + len(piece) <= length, changed)
            data[n : n + len(piece)] = tokenizer.encode_array(piece)
            n += len(piece)
        require(n == length, changed)
        return cls.from_ids(torch.from_numpy(data), tokenizer, name, path)

    def __len__(self) -> int:
        return len(self.train) + len(self.val)

    def to(self, device: torch.device | str) -> "Corpus":
        """The same corpus with its tensors on `device`."""
        if self.train.device == torch.device(device):
            return self
        return replace(self, train=self.train.to(device), val=self.val.to(device))

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that identify the text and its vocabulary."""
        vocabulary = "".join(map(str, self.tokenizer.state().values()))
        digest = hashlib.sha256(vocabulary.encode("utf-8", "surrogatepass"))
        for ids in (self.train, self.val):
            digest.update(ids.cpu().numpy())
        return digest.hexdigest()[:16]

    def bytes_per_token(self, split: Split) -> float:
        """How many bytes of UTF-8 a token of a split has, on average.

        A loss in nats per token, divided by this and by ln 2, is in bits per byte: the unit in which models with
        different tokenizers can be compared.
        """
        ids = (self.train if split == "train" else self.val).tolist()
        return len(self.tokenizer.decode(ids).encode("utf-8", "surrogatepass")) / len(ids)

    def check(self, block_size: int) -> None:
        """Raise UserError unless both splits hold a chunk of `block_size` and its targets."""
        for split in ("train", "val"):
            n = len(getattr(self, split))
            require(
                n > block_size,
                f"{self.name} is too short: its {split} split has {n} tokens and a block size of "
                f"{block_size} needs {block_size + 1}; use a longer text or a smaller --block-size",
            )

    def get_batch(
        self, split: Split, batch_size: int, block_size: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw `batch_size` chunks of `block_size` tokens at random positions; they may overlap.

        `generator` is a CPU generator, so every device gets the same batches.

        Returns:
            x: (B, T) int64, the inputs.
            y: (B, T) int64, the targets: y[b, t] is the token that follows x[b, t].
        """
        data = self.train if split == "train" else self.val
        # The last start that leaves room for the last target is len(data) - block_size - 1.
        ix = torch.randint(len(data) - block_size, (batch_size,), generator=generator)  # (B,)
        positions = ix[:, None] + torch.arange(block_size)  # (B, T)
        positions = positions.to(data.device, non_blocking=True)  # (B, T)
        x = data[positions].long()  # (B, T)
        y = data[positions + 1].long()  # (B, T)
        return x, y


def pieces_of(path: Path, remedy: str = "give a text file with --data") -> Iterator[str]:
    """The text of a UTF-8 file in pieces. Line endings become newlines; a byte order mark is dropped.

    Args:
        remedy: what a user can do about a file that cannot be read.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or is not a text.
    """
    try:
        # Reading a pipe could wait forever, and a device may never end.
        special = path.exists() and not path.is_file() and not path.is_dir()
        require(not special, f"cannot read {path} (not a regular file): {remedy}")
        with path.open(encoding="utf-8-sig") as file:
            while piece := file.read(PIECE):
                require(
                    "\0" not in piece,
                    f"{path} is not a text: it contains the character NUL, as binary files and UTF-16 do; save it as "
                    f"UTF-8 and try again",
                )
                yield piece
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8: {first_bad_byte(path)}; save it as UTF-8 and try again") from None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error}): {remedy}") from None


def first_bad_byte(path: Path) -> str:
    """A description of the first byte of the file that is not UTF-8."""
    decoder, before = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            pending = decoder.getstate()[0]  # the beginning of a character, held back from the last piece
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                position = before - len(pending) + error.start
                return f"byte {position} is 0x{error.object[error.start]:02x}"
            before += len(piece)
    return "it ends in the middle of a character"
