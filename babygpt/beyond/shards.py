"""A corpus larger than memory: tokens in files on disk, of which training reads only what a batch needs.

A folder of shards holds

shards.json       the tokenizer, the type of the numbers, and for each split its files with their numbers of tokens
train-00000.bin   the first tokens of the training split: little-endian integers, and nothing else
train-00001.bin   the tokens that follow, and so on
val-00000.bin     the first tokens of the validation split

    python -m babygpt.beyond.shards first.txt second.txt --out-dir shards/books --tokenizer gpt2
    python -m babygpt.beyond.gpt2 --data shards/books

The files are *memory-mapped*: they look like arrays, and the operating system reads a part of a file when it is used,
and drops it again when memory is short. How many files there are makes no difference to the batches. They are the ones
that the same text gives in memory. `babygpt/beyond/write_shards.py` has what writes the files.

Source: nanoGPT, which maps one file per split, and llm.c, whose files hold 100 million tokens each.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from babygpt.data import Corpus, Split
from babygpt.errors import UserError, require
from babygpt.harness.checkpoints import load_tokenizer

FORMAT = "babygpt shards 1"
HEADER = "shards.json"
COMMAND = "python -m babygpt.beyond.shards"


class TokenFiles:
    """The tokens of a split, file after file: `tokens[positions]` reads them as if they were one long tensor.

    Args:
        files: arrays of integers, which may be memory-mapped.
    """

    device = torch.device("cpu")

    def __init__(self, files: Sequence[np.ndarray]) -> None:
        self.files = files
        self.ends = np.cumsum([len(file) for file in files])
        """The position after the last one of each file."""

    def __len__(self) -> int:
        return sum(map(len, self.files))

    def __getitem__(self, positions: Tensor) -> Tensor:
        """The tokens at some positions: int64 of any shape -> int64 of the same shape."""
        positions = positions.numpy()
        numbers = np.searchsorted(self.ends, positions, side="right")  # in which file each position is
        tokens = np.empty(positions.shape, dtype=np.int64)
        for number in np.unique(numbers):
            here, file = numbers == number, self.files[number]
            tokens[here] = file[positions[here] - (self.ends[number] - len(file))]
        return torch.from_numpy(tokens)


@dataclass(frozen=True)
class ShardedCorpus(Corpus):
    """A corpus whose `train` and `val` are `TokenFiles`. The tokens stay on disk, and batches go to the device."""

    header: dict[str, Any] = field(default_factory=dict, repr=False)
    device: torch.device = torch.device("cpu")

    @classmethod
    def open(cls, folder: Path) -> "ShardedCorpus":
        """The corpus in a folder that `babygpt.beyond.shards` wrote. No tokens are read yet.

        Raises:
            UserError: there are no shards in the folder, a file is missing, or one does not have the size it should.
        """
        again = f"make them again with `{COMMAND} TEXT --out-dir {folder}`"
        path = folder / HEADER
        require(path.is_file(), f"there are no shards in {folder}: {HEADER} is missing; {again.replace(' again', '')}")
        try:
            header = json.loads(path.read_text(encoding="utf-8"))
            require(header["format"] == FORMAT, f"{path} has the format {header['format']!r}, not {FORMAT!r}: {again}")
            tokenizer = load_tokenizer(header["tokenizer"])
            splits = {}
            for split in ("train", "val"):
                files = header["splits"][split]["files"].items()
                splits[split] = TokenFiles([map_file(folder / name, header["dtype"], n, again) for name, n in files])
            header["fingerprint"], header["splits"]["val"]["bytes"]
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror}): {again}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({type(error).__name__} while reading it): {again}") from None
        return cls(folder.name, tokenizer, path=folder.absolute(), header=header, **splits)

    def to(self, device: torch.device | str) -> "ShardedCorpus":
        """The same corpus, with its batches on `device`."""
        return replace(self, device=torch.device(device))

    @property
    def fingerprint(self) -> str:
        """That of the same text in memory, computed when the files were written."""
        return self.header["fingerprint"]

    def bytes_per_token(self, split: Split) -> float:
        """How many bytes of UTF-8 a token of a split has, on average."""
        return self.header["splits"][split]["bytes"] / len(getattr(self, split))

    def get_batch(
        self, split: Split, batch_size: int, block_size: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """As for a corpus in memory: the inputs and the targets, (B, T) int64 each."""
        x, y = super().get_batch(split, batch_size, block_size, generator)
        if self.device.type == "cuda":  # pinned memory is copied while the GPU goes on computing
            x, y = x.pin_memory(), y.pin_memory()
        return x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)


def map_file(path: Path, dtype: str, tokens: int, remedy: str) -> np.ndarray:
    """The tokens of a file, memory-mapped. Raises UserError if it is missing or has another size."""
    require(path.is_file(), f"{path} is missing: {remedy}")
    size, expected = path.stat().st_size, tokens * np.dtype(dtype).itemsize
    require(size == expected, f"{path} has {size:,} bytes, and {HEADER} says {expected:,}: {remedy}")
    return np.memmap(path, dtype=dtype, mode="r")


if __name__ == "__main__":
    from babygpt.beyond.write_shards import main

    main()
