"""What the page asks of a model: the next token, the surprise at a text, what else could have come.

A token is drawn with one random number between 0 and 1. Put the probabilities next to each other, the likeliest first:
together they are 1 long. The token in whose part the number falls is the next one. The number depends only on the seed
and the position. So two models, or one model with and without a head, get the same number at each position, and a text
changes only where their probabilities differ.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt.beyond.inside.hooks import HeadName
from babygpt.errors import require
from babygpt.model import probabilities
from babygpt.playground.models import Player
from babygpt.sample import complete_text
from babygpt.tokenizer import Tokenizer

MAX_TOKENS = 2000  # of a text, including what the model writes
ROWS = 8192  # tokens that go through a model at once
LIKELIEST = 10  # how many alternatives are named
MAX_WEIGHTS = 4_000_000  # of attention, in all heads together
GUESSES = 3  # how many of each layer


def parts(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> tuple[Tensor, Tensor]:
    """The probabilities from which a token is drawn, the likeliest first, and the ids they belong to: (V,) and (V,).

    Args:
        logits: (V,).
        temperature, top_k, top_p: as in `babygpt.model.sample`, but 0 as top_k means all.
    """
    ids = logits.argsort(descending=True, stable=True)  # (V,)
    if temperature == 0:
        return torch.eye(len(ids))[0], ids
    probs = probabilities(logits[None], temperature, top_k or None, top_p)[0, ids]  # (V,)
    return probs / probs.sum(), ids


def draw(logits: Tensor, number: float, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> int:
    """The token in whose part the number, from 0 to 1, falls."""
    probs, ids = parts(logits, temperature, top_k, top_p)
    rank = int((probs.cumsum(dim=0) <= number).sum())
    last = int(probs.nonzero().max())  # rounding can leave the sum of all just below the number
    return int(ids[min(rank, last)])


@lru_cache(maxsize=64)
def numbers(seed: int) -> list[float]:
    """The random number of each position of a text."""
    return torch.rand(MAX_TOKENS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


def next_token(player: Player, ids: Sequence[int], seed: int, off: Collection[HeadName] = (), forced: int | None = None,
               **how: float) -> dict[str, Any]:  # fmt: skip
    """The next token, its surprise in nats, and the random number that chose it.

    Args:
        forced: take this token instead of drawing one.
        how: temperature, top_k and top_p.
    """
    window = torch.tensor([ids[-player.model.config.block_size :]])  # (1, T)
    logits = player.inside.logits(window, off)[0, -1]  # (V,)
    number = numbers(seed)[len(ids)]
    chosen = draw(logits, number, **how) if forced is None else forced
    return {"id": chosen, "surprise": surprise(logits, chosen), "number": round(number, 6)}


def surprise(logits: Tensor, token: int) -> float:
    """The loss of one token: minus the logarithm of the probability that the model gave it."""
    return round(-F.log_softmax(logits, dim=-1)[token].item(), 4)


def surprises(player: Player, ids: Sequence[int], off: Collection[HeadName] = ()) -> list[float | None]:
    """The surprise at each token of a text, read as in generation; None for the first, which nothing comes before."""
    block_size, n = player.model.config.block_size, len(ids)
    idx = torch.tensor([ids])  # (1, n)
    logits = [player.inside.logits(idx[:, :block_size], off)[0, : n - 1]]
    if n - 1 > block_size:  # from here on the window moves
        windows = idx[0, 1:-1].unfold(0, block_size, 1)  # (n - 1 - block_size, block_size)
        rows = max(1, ROWS // block_size)
        logits += [player.inside.logits(some, off)[:, -1] for some in windows.split(rows)]
    losses = F.cross_entropy(torch.cat(logits), idx[0, 1:], reduction="none")  # (n - 1,)
    return [None, *(round(loss, 4) for loss in losses.tolist())]


def alternatives(player: Player, ids: Sequence[int], off: Collection[HeadName] = ()) -> dict[str, Any]:
    """What could follow the text: the likeliest tokens, and the logarithms of all probabilities, the likeliest first.

    A temperature, top_k and top_p do not change the order, so the page can move its bars by itself.
    """
    window = torch.tensor([ids[-player.model.config.block_size :]])  # (1, T)
    logs, order = F.log_softmax(player.inside.logits(window, off)[0, -1], dim=0).sort(descending=True, stable=True)
    likeliest = [
        {"id": i, "text": name(player.tokenizer, i), "whole": is_whole(player.tokenizer, i)}
        for i in order[:LIKELIEST].tolist()
    ]
    return {"tokens": likeliest, "logs": [round(log, 4) for log in logs.tolist()]}


def attention(player: Player, ids: Sequence[int], off: Collection[HeadName] = ()) -> dict[str, Any]:
    """The attention weights in the window that ends with the text: by layer and head, rows of ten thousandths.

    Row t has t + 1 numbers: how much the head takes from positions 0 to t to find out what comes after position t.
    """
    window = torch.tensor([ids[-player.model.config.block_size :]])  # (1, T)
    count = sum(player.inside.heads) * window.shape[1] ** 2
    require(
        count <= MAX_WEIGHTS,
        f"{sum(player.inside.heads)} heads over {window.shape[1]} tokens have {count:,} weights, and the page shows up "
        f"to {MAX_WEIGHTS:,}: choose a character nearer to the beginning",
    )
    layers = player.inside.attention(window, off)
    return {
        "start": len(ids) - window.shape[1],
        "weights": [
            [[row[: t + 1] for t, row in enumerate(head)] for head in (10_000 * layer).round().int().tolist()]
            for layer in layers
        ],
    }


def lens(player: Player, ids: Sequence[int], off: Collection[HeadName] = ()) -> dict[str, Any]:
    """What each layer would have said at the last positions of the text: the likeliest tokens."""
    window = torch.tensor([ids[-player.model.config.block_size :]])  # (1, T)
    probs = F.softmax(player.inside.lens(window, off), dim=-1)
    best, order = probs.topk(min(GUESSES, probs.shape[-1]), dim=-1)
    names = {i: name(player.tokenizer, i) for i in order.unique().tolist()}
    rows = [
        [
            [{"id": i, "text": names[i], "p": round(p, 4)} for i, p in zip(*pair, strict=True)]
            for pair in zip(*layer, strict=True)
        ]
        for layer in zip(order.tolist(), best.tolist(), strict=True)
    ]
    return {"start": len(ids) - probs.shape[1], "layers": rows}


def name(tokenizer: Tokenizer, token: int) -> str:
    """The text of a token on its own, or its bytes if they are not whole characters."""
    if is_whole(tokenizer, token):
        return tokenizer.decode([token])
    return "".join(f"<{byte:02x}>" for byte in tokenizer.token_bytes(token))


def is_whole(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token is made of whole characters. Where tokens are bytes, it may hold a part of one."""
    return "\N{REPLACEMENT CHARACTER}" not in tokenizer.decode([token]) or not hasattr(tokenizer, "token_bytes")


class Shown:
    """The text of tokens that come one at a time. A token that ends within a character has none yet."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.held = tokenizer, []

    def add(self, token: int) -> str:
        """The text that the next token completes; empty as long as a character is incomplete."""
        self.held.append(token)
        text = complete_text(self.tokenizer, self.held)
        if text is None:
            return ""
        self.held = []
        return text
