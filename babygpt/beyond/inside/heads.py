"""Finding 2: what does each head look at?

For each kind of position there is a function: given a text, where would a head look from position t if it looked for
that kind? A head's score is the weight that it gives to these positions, on average. A head that looks everywhere alike
has a score, too: that of uniform attention. Only what is above it says something about the head.

Attention weights show where a head reads. They don't show what it takes from there, or whether that matters.

Source: Clark et al., "What Does BERT Look At?" (scores of heads); Olsson et al., "In-context Learning and Induction
Heads" (heads that look at the previous token, or behind an earlier copy of the current one).
"""

import re
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from babygpt.beyond.inside.chunks import Interval, interval
from babygpt.beyond.inside.hooks import Inside
from babygpt.tokenizer import Tokenizer

Wanted = list[list[int]]
"""For each position of a text the positions that are wanted from there: none, one or several."""


def itself(text: str) -> Wanted:
    """The position itself."""
    return [[t] for t in range(len(text))]


def previous(text: str) -> Wanted:
    """The previous character."""
    return [[t - 1] * (t > 0) for t in range(len(text))]


def before_that(text: str) -> Wanted:
    """The character before the previous one."""
    return [[t - 2] * (t > 1) for t in range(len(text))]


def word(text: str) -> Wanted:
    """The first letter of the word, from its third letter on: before that, it is one of the kinds above."""
    wanted: Wanted = []
    for t in range(len(text)):
        letters = re.search(r"[A-Za-z]*$", text[: t + 1])[0]
        wanted.append([t + 1 - len(letters)] if len(letters) > 2 and len(letters) < t + 1 else [])
    return wanted


def newline(text: str) -> Wanted:
    """The last newline, if it is more than two characters back."""
    return [[n] if 0 <= (n := text.rfind("\n", 0, t + 1)) < t - 2 else [] for t in range(len(text))]


def speaker(text: str) -> Wanted:
    """The name of who is speaking: all its letters, from the line after it on."""
    wanted: Wanted = [[] for _ in text]
    for name in re.finditer(r"\n\n([^\n:]+):\n", text):
        wanted[name.end() :] = [list(range(*name.span(1))) for _ in text[name.end() :]]
    return wanted


def same(text: str) -> Wanted:
    """Earlier copies of the same character."""
    return [[s for s in range(t) if text[s] == text[t]] for t in range(len(text))]


def after_same(text: str) -> Wanted:
    """The characters after earlier copies of the same character. A head that looks there is an induction head."""
    return [[s + 1 for s in range(t - 1) if text[s] == text[t]] for t in range(len(text))]


KINDS: dict[str, Callable[[str], Wanted]] = {
    "itself": itself,
    "previous": previous,
    "two back": before_that,
    "start of word": word,
    "newline": newline,
    "speaker": speaker,
    "same": same,
    "after same": after_same,
}


def mask(wanted: Wanted) -> Tensor:
    """The wanted positions as a matrix of booleans: T lists -> (T, T), a row for each position."""
    matrix = torch.zeros(len(wanted), len(wanted), dtype=torch.bool)
    for t, positions in enumerate(wanted):
        matrix[t, positions] = True
    return matrix


def score(wei: Tensor, wanted: Tensor) -> Tensor:
    """The weight on the wanted positions, averaged over the positions that want any: (..., T, T), (T, T) -> (...)."""
    asked = wanted.any(dim=1)
    return (wei * wanted).sum(dim=-1)[..., asked].mean(dim=-1)


def uniform(T: int) -> Tensor:
    """The weights of attention that looks everywhere alike, as in version 3: (T, T)."""
    tril = torch.tril(torch.ones(T, T))  # (T, T)
    return tril / tril.sum(dim=1, keepdim=True)  # (T, T)


def score_chunks(inside: Inside, tokenizer: Tokenizer, chunks: Iterable[Tensor]) -> dict[str, Tensor]:
    """For each kind the score of each head and, last, of uniform attention, in each chunk.

    Args:
        chunks: each (T,) int64. A chunk in which no position wants anything, for example without a speaker, is left
            out.

    Returns:
        for each kind (n, heads + 1); the heads in order, layer by layer.
    """
    found: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    for chunk in chunks:
        wei = torch.cat(
            [*inside.attention(chunk[None]), uniform(len(chunk))[None]]
        )  # all heads, then uniform attention
        text = tokenizer.decode(chunk.tolist())
        for kind, find in KINDS.items():
            wanted = mask(find(text))
            if wanted.any():
                found[kind].append(score(wei, wanted))
    return {kind: torch.stack(scores) for kind, scores in found.items() if scores}


def scores(inside: Inside, tokenizer: Tokenizer, chunks: Iterable[Tensor]) -> dict[str, list[Interval]]:
    """For each kind the mean score of each head, with its interval over chunks; last, uniform attention's."""
    return {
        kind: [interval(column) for column in found.T]
        for kind, found in score_chunks(inside, tokenizer, chunks).items()
    }
