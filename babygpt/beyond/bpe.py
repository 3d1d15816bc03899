"""Byte-pair encoding: tokens between a character and a word, learned from a text.

Training starts with small units and repeats one step: count all pairs of neighbors, and merge the most frequent pair
into a new token. What it has learned is the list of merges, in order. Encoding applies them to a new text, the ones
that were learned earlier first.

There are two versions here. The first one works on the characters of words and is the example of the original paper.
The second one works on bytes, as GPT-2 does. Every text is a sequence of bytes, so there is nothing that it cannot
encode.

Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units"; Radford et al., "Language Models
are Unsupervised Multitask Learners", section 2.2.
"""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import regex

from babygpt.errors import UserError, require
from babygpt.harness.files import write_atomically
from babygpt.tokenizer import smallest_dtype

Unit = TypeVar("Unit", str, int)
Pair = tuple[int, int]

END = "</w>"  # the end of a word, in the example of the paper

# GPT-2 cuts a text into these pieces before it looks for pairs, so that no token reaches from one word into the next:
# an ending such as 've; a space and letters; a space and digits; a space and other signs; the spaces that are left.
PATTERN = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")

FORMAT = "babygpt bpe 1"  # what a saved tokenizer starts with


def count_pairs(words: Mapping[tuple[Unit, ...], int]) -> Counter[tuple[Unit, Unit]]:
    """How often each pair of neighbors occurs in some words, which have counts themselves."""
    counts: Counter[tuple[Unit, Unit]] = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[pair] += count
    return counts


def merge(word: Sequence[Unit], pair: tuple[Unit, Unit], new: Unit) -> tuple[Unit, ...]:
    """The word with each occurrence of the pair, from left to right, replaced by one new unit."""
    merged: list[Unit] = []
    for unit in word:
        if merged and (merged[-1], unit) == pair:
            merged[-1] = new
        else:
            merged.append(unit)
    return tuple(merged)


def learn_words(counts: Mapping[str, int], num_merges: int) -> list[tuple[str, str]]:
    """The merges of the original paper: words are characters and an end mark. Of equal pairs, the first one wins.

    Args:
        counts: how often each word occurs.
        num_merges: how many to learn; fewer if no pairs are left.
    """
    words = {(*word, END): count for word, count in counts.items()}
    merges = []
    for _ in range(num_merges):
        pairs = count_pairs(words)
        if not pairs:
            break
        best = max(pairs, key=pairs.__getitem__)
        words = {merge(word, best, best[0] + best[1]): count for word, count in words.items()}
        merges.append(best)
    return merges


def encode_word(word: str, merges: Iterable[tuple[str, str]]) -> list[str]:
    """A word in the tokens that the merges make of it."""
    units: tuple[str, ...] = (*word, END)
    for pair in merges:
        units = merge(units, pair, pair[0] + pair[1])
    return list(units)


def learn_bytes_naively(text: str, num_merges: int) -> list[Pair]:
    """The merges of a byte-level tokenizer, with all pairs counted again after each merge. Slow, and easy to check.

    Ids 0 to 255 are the bytes, and merge number n makes the id 256 + n. Of equally frequent pairs, the one with the
    smaller ids wins.
    """
    words = split(text)
    merges: list[Pair] = []
    for new in range(256, 256 + num_merges):
        pairs = count_pairs(words)
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        words = {merge(word, best, new): count for word, count in words.items()}
        merges.append(best)
    return merges


def learn_bytes(text: str, num_merges: int) -> list[Pair]:
    """The same merges, much faster: after a merge, only the pairs in the words that had it are counted again."""
    return learn_merges(split(text), num_merges)


def learn_merges(found: Mapping[tuple[int, ...], int], num_merges: int) -> list[Pair]:
    """As `learn_bytes`, from the pieces of a text as bytes, each with how often it occurs."""
    words, counts = list(found), list(found.values())
    pairs = count_pairs(found)
    places: dict[Pair, set[int]] = defaultdict(set)  # the words in which a pair has been seen
    for i, word in enumerate(words):
        for pair in pairwise(word):
            places[pair].add(i)
    heap = [(-count, pair) for pair, count in pairs.items()]  # the best pair first; may hold old counts as well
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < num_merges:
        count, best = heapq.heappop(heap)
        if -count != pairs[best] or count == 0:
            continue  # an old count: the right one is in the heap, too
        changed = set()
        for i in places.pop(best):
            before, words[i] = words[i], merge(words[i], best, 256 + len(merges))
            for pair in pairwise(before):
                pairs[pair] -= counts[i]
                changed.add(pair)
            for pair in pairwise(words[i]):
                pairs[pair] += counts[i]
                places[pair].add(i)
                changed.add(pair)
        for pair in changed:
            heapq.heappush(heap, (-pairs[pair], pair))
        merges.append(best)
    return merges


def split(text: str) -> Counter[tuple[int, ...]]:
    """The pieces of a text as bytes, each with how often it occurs.

    Raises:
        UserError: the text holds half of a surrogate pair, which UTF-8 cannot encode.
    """
    return as_bytes(count_pieces(text))


def count_pieces(text: str) -> Counter[str]:
    """How often each piece occurs in a text."""
    return Counter(PATTERN.findall(text))


def as_bytes(pieces: Mapping[str, int]) -> Counter[tuple[int, ...]]:
    """The same counts, with the bytes of each piece."""
    return Counter({tuple(to_bytes(piece)): count for piece, count in pieces.items()})


def to_bytes(text: str) -> bytes:
    """UTF-8. Raises UserError for half of a surrogate pair, which is not a character."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        bad = text[error.start]
        raise UserError(f"the text holds {bad!r}, which is half of a character: UTF-8 cannot encode it") from None


class BPETokenizer:
    """A byte-level tokenizer: 256 ids for the bytes, then one for each merge.

    Args:
        merges: pairs of ids, in the order in which they were learned.
        byte_order: which byte has the id 0, which one the id 1, and so on.

    Raises:
        UserError: a merge uses an id that does not exist yet.
    """

    def __init__(self, merges: Iterable[Sequence[int]], byte_order: Sequence[int] = range(256)) -> None:
        self.merges = [(int(a), int(b)) for a, b in merges]
        self.tokens = [bytes([byte]) for byte in byte_order]
        """The bytes of each id."""
        self.id_of_byte = {byte: i for i, byte in enumerate(byte_order)}
        for n, (a, b) in enumerate(self.merges):
            require(
                0 <= a < 256 + n and 0 <= b < 256 + n,
                f"merge {n} is {(a, b)}, and the ids before it end at {255 + n}: this is not a list of merges",
            )
            self.tokens.append(self.tokens[a] + self.tokens[b])
        self._rank = {pair: n for n, pair in enumerate(self.merges)}
        require(len(self._rank) == len(self.merges), "a pair is merged twice: this is not a list of merges")
        self._known: dict[str, list[int]] = {}  # pieces that have been encoded before

    @classmethod
    def train(cls, text: str, num_merges: int) -> "BPETokenizer":
        """A tokenizer with merges learned from a text; there are fewer if the text has no more pairs."""
        return cls(learn_bytes(text, num_merges))

    @property
    def name(self) -> str:
        """What `--tokenizer` calls it, for example bpe:512."""
        return f"bpe:{len(self.merges)}"

    @property
    def vocab_size(self) -> int:
        """Number of different tokens: the V of (B, T, V)."""
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises UserError for half of a surrogate pair, the only thing that has none."""
        ids: list[int] = []
        for piece in PATTERN.findall(text):
            if piece not in self._known:
                self._known[piece] = self._encode_piece(to_bytes(piece))
            ids += self._known[piece]
        return ids

    def _encode_piece(self, piece: bytes) -> list[int]:
        """Merge the pair that was learned first, as long as there is one."""
        ids: Sequence[int] = [self.id_of_byte[byte] for byte in piece]
        while len(ids) > 1:
            rank, pair = min((self._rank.get(pair, len(self.merges)), pair) for pair in pairwise(ids))
            if rank == len(self.merges):
                break
            ids = merge(ids, pair, 256 + rank)
        return list(ids)

    def encode_array(self, text: str) -> np.ndarray:
        """As `encode`, as an array of the smallest integer type that holds every id."""
        return np.array(self.encode(text), dtype=smallest_dtype(self.vocab_size))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids. Bytes that are not a character become U+FFFD, the replacement character.

        Raises:
            UserError: an id is not in 0 ... vocab_size - 1.
        """
        return b"".join(self.token_bytes(int(i)) for i in ids).decode("utf-8", errors="replace")

    def token_bytes(self, i: int) -> bytes:
        """The bytes of one id. Raises UserError if there is no such id."""
        last = self.vocab_size - 1
        require(0 <= i <= last, f"there is no token with the id {i}: this vocabulary has the ids 0 to {last}")
        return self.tokens[i]

    def state(self) -> dict[str, Any]:
        """The merges, and the order of the bytes."""
        return {"merges": [list(pair) for pair in self.merges], "byte_order": list(self.id_of_byte)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "BPETokenizer":
        """The tokenizer whose `state` this is."""
        return cls(state["merges"], state["byte_order"])

    def save(self, path: Path) -> None:
        """Write the merges as JSON.

        Raises:
            UserError: the file cannot be written, or this is GPT-2's tokenizer, which is part of babygpt.
        """
        require(
            bool(self.state()), "there is nothing to save: GPT-2's vocabulary is part of babygpt, as GPT2Tokenizer()"
        )
        try:
            write_atomically(path, (json.dumps({"format": FORMAT} | self.state()) + "\n").encode("utf-8"))
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror}): choose another file") from None

    @classmethod
    def load(cls, path: Path) -> "BPETokenizer":
        """The tokenizer in a file that `save` wrote.

        Raises:
            UserError: there is no such file, or it holds something else.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            numbers = [*content["byte_order"], *(i for pair in content["merges"] for i in pair)]
            whole = content["format"] == FORMAT and type(content["merges"]) is list
            if whole and all(type(i) is int for i in numbers) and sorted(content["byte_order"]) == list(range(256)):
                return cls.from_state(content)
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror}): save a tokenizer first") from None
        except (ValueError, KeyError, TypeError, RecursionError):  # a UserError is a ValueError
            pass
        raise UserError(f"{path} is not a tokenizer of babygpt, or it is damaged: save one with BPETokenizer.save")
