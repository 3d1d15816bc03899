"""A task for an encoder-decoder: a date in words, in one of many languages, becomes the same date in digits.

    Samstag, 28. November 2026      2026-11-28
    28 listopada 2026               2026-11-28 (Polish)
    28. listopada 2026.             2026-10-28 (Croatian)

The texts come from the Unicode consortium's data on languages, by way of the package Babel, so there are millions of
examples, and an answer is right or wrong. A day belongs to training or to validation, in all languages and formats.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from functools import cache

import torch
from babel.dates import format_date
from torch import Tensor

from babygpt.beyond.encoder_decoder import END, PAD, START
from babygpt.data import Corpus, Split
from babygpt.errors import require
from babygpt.tokenizer import CharTokenizer

FIRST, LAST = date(1900, 1, 1), date(2099, 12, 31)
LANGUAGES = {
    "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "en_GB": "British English", "es": "Spanish", "et": "Estonian", "fi": "Finnish", "fr": "French", "hr": "Croatian",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "lt": "Lithuanian", "lv": "Latvian", "nb": "Norwegian",
    "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish",
    "sw": "Swahili", "tr": "Turkish", "uk": "Ukrainian",
}  # fmt: skip
FORMATS = ("full", "long", "medium")
SPECIAL = "\N{SYMBOL FOR NULL}\N{SYMBOL FOR START OF TEXT}\N{SYMBOL FOR END OF TEXT}"  # PAD, START and END, in print


def in_words(day: date, language: str, style: str = "full") -> str:
    """A date as people write it. The special spaces of some languages become plain ones."""
    return plain(format_date(day, style, locale=language))


def plain(text: str) -> str:
    """A text with single plain spaces, and none at its ends."""
    return " ".join(text.split())


def split_of(day: date) -> Split:
    """`val` for about one day in ten, picked by the hash of the day, so that no seed can move it; else `train`."""
    return "val" if hashlib.sha256(day.isoformat().encode()).digest()[0] < 26 else "train"


@cache
def alphabet() -> str:
    """Every character that occurs in a date, sorted."""
    days = [date(2026, month, day) for month in range(1, 13) for day in range(1, 8)]  # all months, all weekdays
    texts = [in_words(day, language, style) for day in days for language in LANGUAGES for style in FORMATS]
    return "".join(sorted(set("0123456789-").union(*texts)))


def pad(rows: list[list[int]]) -> Tensor:
    """Rows of ids as one tensor, the shorter ones filled up with PAD: (B, longest) int64."""
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])


@dataclass(frozen=True)
class Dates(Corpus):
    """Pairs of a text and its answer, drawn when they are needed. `train` and `val` hold the days of each split."""

    unit = "days"

    @classmethod
    def new(cls) -> "Dates":
        """The task with all its languages, formats and days."""
        days: dict[Split, list[int]] = {"train": [], "val": []}
        for n in range(FIRST.toordinal(), LAST.toordinal() + 1):
            days[split_of(date.fromordinal(n))].append(n)
        train, val = (torch.tensor(days[split], dtype=torch.int32) for split in ("train", "val"))
        return cls("dates", CharTokenizer(SPECIAL + alphabet()), train, val)

    def draw(self, split: Split, n: int, generator: torch.Generator | None = None) -> list[tuple[str, str]]:
        """n random pairs of a split: a date in words, and in digits."""
        days = getattr(self, split)
        chosen = days[torch.randint(len(days), (n,), generator=generator).to(days.device)].tolist()
        language = torch.randint(len(LANGUAGES), (n,), generator=generator).tolist()
        style = torch.randint(len(FORMATS), (n,), generator=generator).tolist()
        names, found = list(LANGUAGES), [date.fromordinal(day) for day in chosen]
        texts = [in_words(d, names[k], FORMATS[s]) for d, k, s in zip(found, language, style, strict=True)]
        return [(text, day.isoformat()) for text, day in zip(texts, found, strict=True)]

    def encode_pairs(self, pairs: list[tuple[str, str]]) -> tuple[Tensor, Tensor]:
        """Pairs as ids: source (B, S) and target (B, 1 + T), which begins with START and ends with END; both padded."""
        encode = self.tokenizer.encode
        return pad([encode(text) for text, _ in pairs]), pad([[START, *encode(answer), END] for _, answer in pairs])

    def get_batch(
        self, split: Split, batch_size: int, block_size: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `encode_pairs`, for random pairs. None is longer than `block_size`, which `check` makes sure of."""
        source, target = self.encode_pairs(self.draw(split, batch_size, generator))
        return source.to(self.train.device), target.to(self.train.device)

    def check(self, block_size: int) -> None:
        """Raise UserError unless the longest date fits into `block_size`."""
        require(
            block_size >= longest(),
            f"the longest date in words has {longest()} characters, so block_size cannot be {block_size}",
        )


@cache
def longest() -> int:
    """The most characters that a date in words can have."""
    days = [date(2026, month, day) for month in range(1, 13) for day in range(22, 29)]  # two digits for each day
    return max(len(in_words(day, language, style)) for day in days for language in LANGUAGES for style in FORMATS)
