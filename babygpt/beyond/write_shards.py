"""Write a corpus as shards, with several processes: the command `python -m babygpt.beyond.shards`.

One process reads the text piece by piece and writes the files, and the others turn pieces into tokens. Only a few
pieces are in memory at a time. The text is read twice or three times: for its length, for its vocabulary, and for its
tokens.
"""

import hashlib
import json
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

import numpy as np
import regex
import tyro

from babygpt.beyond.bpe import BPETokenizer, as_bytes, count_pieces, learn_merges
from babygpt.beyond.command import tokenizer_maker
from babygpt.beyond.gpt2_vocabulary import GPT2Tokenizer
from babygpt.beyond.shards import COMMAND, FORMAT, HEADER, ShardedCorpus
from babygpt.data import Split, pieces_of
from babygpt.errors import UserError, require, require_within
from babygpt.harness.checkpoints import describe_tokenizer
from babygpt.harness.files import write_atomically
from babygpt.harness.terminal import run_command
from babygpt.tokenizer import CharTokenizer, Tokenizer

SHARD_TOKENS = 100_000_000  # in a file, as in llm.c
MAX_WORKERS = 1000

# Before a space that follows no space: no piece of a byte-pair tokenizer reaches across. Found from the end backward.
LAST_CUT = regex.compile(r"(?r)(?<=\S)(?=\s)")

Item, Output = TypeVar("Item"), TypeVar("Output")


@dataclass(frozen=True)
class ShardConfig:
    """Turn texts of any length into token shards, from which part two can train with --data."""

    texts: tyro.conf.Positional[tuple[Path, ...]]
    """Text files in UTF-8. Together they are one text, in this order; its last tenth is for validation."""

    out_dir: Annotated[Path, tyro.conf.arg(metavar="PATH")]
    """Folder for the shards: a new or an empty one."""

    tokenizer: str = "char"
    """char: a token per character. bpe:512: byte pairs, 512 merges learned from the text. gpt2: GPT-2's own."""

    shard_tokens: int = SHARD_TOKENS
    """Tokens in a file, at most."""

    workers: int = 0
    """Processes that turn text into tokens; 0 takes one per core."""

    def __post_init__(self) -> None:
        require_within(self, 1, 10**12, "shard_tokens")
        require_within(self, 0, MAX_WORKERS, "workers")
        require(len(self.texts) > 0, f"there is no text: give one or more files, as in {COMMAND} TEXT --out-dir FOLDER")


def main(argv: Sequence[str] | None = None) -> None:
    """Write shards as the command line says, and exit: 0, or 2 for bad input."""
    run_command(ShardConfig, report, COMMAND, argv)


def report(config: ShardConfig) -> None:
    """Write the shards, and say what they hold and how long it took."""
    start = time.perf_counter()
    corpus = write_shards(config.texts, config.out_dir, config.tokenizer, config.shard_tokens, config.workers)
    seconds, size = time.perf_counter() - start, sum(split["bytes"] for split in corpus.header["splits"].values())
    files = len(corpus.train.files) + len(corpus.val.files)
    print(
        f"Wrote {len(corpus.train):,} {corpus.unit} for training and {len(corpus.val):,} for validation "
        f"({corpus.tokenizer.vocab_size:,} different) to {files} files in {config.out_dir}.\n"
        f"That is {size / 1e6:,.1f} MB of text, in {seconds:.1f} s: {size / 1e6 / seconds:.0f} MB/s.\n"
        f"Train:  python -m babygpt.beyond.gpt2 --data {config.out_dir}"
    )


def write_shards(
    texts: Sequence[Path], folder: Path, tokenizer: str = "char", shard_tokens: int = SHARD_TOKENS, workers: int = 0
) -> ShardedCorpus:
    """Turn texts into shards in a folder, and open them.

    Raises:
        UserError: a text or the tokenizer cannot be used, or the folder is not empty or cannot be written to.
            Nothing is left in the folder then.
    """
    tokenizer_maker(tokenizer)  # raises UserError if there is no such tokenizer
    workers = workers or os.cpu_count() or 1

    def pieces() -> Iterator[str]:
        for path in texts:
            yield from pieces_of(path, "give a text file")

    with empty_folder(folder):
        length = sum(map(len, pieces()))
        require(length > 0, f"{' and '.join(map(str, texts))} is empty: give a text of a few thousand characters")
        n = int(0.9 * length)
        learned = learn(tokenizer, pieces, n, workers)
        header = write_files(folder, learned, cut(pieces(), n), shard_tokens, workers)
        found = sum(split["characters"] for split in header["splits"].values())
        require(found == length, f"the text changed while it was read (from {length} to {found} characters): run again")
        write_atomically(folder / HEADER, (json.dumps(header, indent=1) + "\n").encode("utf-8"))
    return ShardedCorpus.open(folder)


@contextmanager
def empty_folder(folder: Path) -> Iterator[None]:
    """A folder to fill. If that fails, what was written is removed again, and so are the folders created here."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require(not any(folder.iterdir()), f"{folder} is not empty: choose another --out-dir, or remove it first")
        try:
            yield
        except BaseException:
            for path in folder.glob("*-*.bin"):
                path.unlink()
            for path in made:
                path.rmdir()
            raise
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror or error}): choose another --out-dir") from None


def learn(name: str, pieces: Callable[[], Iterable[str]], n: int, workers: int) -> Tokenizer:
    """The tokenizer of a name; it may learn from the first n characters of a text, which comes in pieces."""
    kind, _, merges = name.partition(":")
    if kind == "char":
        return CharTokenizer.from_pieces(pieces())
    if kind == "gpt2":
        return GPT2Tokenizer()
    words: Counter[str] = Counter()
    for counts in in_processes(count_pieces, (text for split, text in cut(pieces(), n) if split == "train"), workers):
        words.update(counts)
    return BPETokenizer(learn_merges(as_bytes(words), int(merges)))


def cut(pieces: Iterable[str], n: int) -> Iterator[tuple[Split, str]]:
    """The same text in pieces that can be tokenized one by one, each with its split: the first n characters are train.

    A piece ends where its split does, or before a space that follows no space. A text without spaces is one piece.
    """

    def by_split() -> Iterator[tuple[Split, str]]:
        seen = 0
        for piece in pieces:
            in_train = max(0, n - seen)
            yield "train", piece[:in_train]
            yield "val", piece[in_train:]
            seen += len(piece)

    for split, group in groupby((part for part in by_split() if part[1]), key=lambda part: part[0]):
        rest = ""
        for _, piece in group:
            rest += piece
            end = LAST_CUT.search(rest)
            if end:
                yield split, rest[: end.start()]
                rest = rest[end.start() :]
        if rest:
            yield split, rest


def write_files(
    folder: Path, tokenizer: Tokenizer, texts: Iterable[tuple[Split, str]], shard_tokens: int, workers: int
) -> dict[str, Any]:
    """Write the tokens of some texts, and return the header of the folder."""
    # Unsigned, so that the 50,257 tokens of GPT-2 fit into two bytes; NumPy can do that, and PyTorch cannot yet.
    dtype = np.dtype(np.min_scalar_type(tokenizer.vocab_size - 1)).newbyteorder("<")
    digest = hashlib.sha256("".join(map(str, tokenizer.state().values())).encode("utf-8"))
    splits = {split: TokenWriter(folder, split, dtype, shard_tokens) for split in ("train", "val")}
    try:
        for split, characters, size, ids in in_processes(partial(encode, tokenizer), texts, workers):
            digest.update(ids)  # as in the fingerprint of a corpus in memory
            splits[split].write(ids, characters, size)
    finally:
        written = {split: writer.close() for split, writer in splits.items()}
    return {
        "format": FORMAT,
        "dtype": dtype.str,
        "splits": written,
        "fingerprint": digest.hexdigest()[:16],
        "tokenizer": describe_tokenizer(tokenizer),
    }


def encode(tokenizer: Tokenizer, piece: tuple[Split, str]) -> tuple[Split, int, int, np.ndarray]:
    """The split of a piece, its number of characters and of bytes, and its tokens."""
    split, text = piece
    return split, len(text), len(text.encode("utf-8")), tokenizer.encode_array(text)


class TokenWriter:
    """Writes the tokens of a split, and begins another file when one is full."""

    def __init__(self, folder: Path, split: Split, dtype: np.dtype, shard_tokens: int) -> None:
        self.folder, self.split, self.dtype, self.shard_tokens = folder, split, dtype, shard_tokens
        self.files: dict[str, int] = {}
        self.characters = self.bytes = 0
        self.file: BinaryIO | None = None

    def write(self, ids: np.ndarray, characters: int, size: int) -> None:
        """Append some tokens, which come from a text of this many characters and bytes."""
        self.characters, self.bytes = self.characters + characters, self.bytes + size
        while len(ids):
            if self.file is None:
                self.name = f"{self.split}-{len(self.files):05d}.bin"
                self.file, self.files[self.name] = (self.folder / self.name).open("wb"), 0
            fitting = ids[: self.shard_tokens - self.files[self.name]]
            self.file.write(fitting.astype(self.dtype).tobytes())
            self.files[self.name] += len(fitting)
            ids = ids[len(fitting) :]
            if self.files[self.name] == self.shard_tokens:
                self.end_file()

    def end_file(self) -> None:
        """Have the file written to disk, and close it."""
        if self.file is not None:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self.file = None

    def close(self) -> dict[str, Any]:
        """Close the last file, and return what the header says about this split."""
        self.end_file()
        return {"files": self.files, "characters": self.characters, "bytes": self.bytes}


def in_processes(work: Callable[[Item], Output], items: Iterable[Item], workers: int) -> Iterator[Output]:
    """`work(item)` for each item, in order, computed by several processes. Only a few items are in memory at a time.

    Raises:
        UserError: a process was killed.
    """
    if workers == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Output]] = deque()
    with ProcessPoolExecutor(workers, initializer=start_worker, initargs=(work,)) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(do_work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError("a process was killed, perhaps for lack of memory: use fewer --workers") from None


def start_worker(work: Callable[[Any], Any]) -> None:
    """Called once in each process. Each has its own `work`, and with it the words that its tokenizer has seen."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # after Ctrl-C, the main process ends the others
    global _work
    _work = work


def do_work(item: Any) -> Any:
    """Called for each item, in one of the processes."""
    return _work(item)
