"""Right answers to the exercises of lesson 6, and wrong ones that people really give."""

import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v5, v6
from babygpt.course.checks import lesson_06 as checks


def whose(place, C, n_head):
    return "qkv"[place // C], place % C // (C // n_head)


class OpenHead(v5.Head):
    def forward(self, x):
        k, q = self.key(x), self.query(x)
        return F.softmax(q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5, dim=-1) @ self.value(x)


class UnscaledHead(v5.Head):
    def forward(self, x):
        return F.softmax(self.query(x) @ self.key(x).transpose(-2, -1), dim=-1) @ self.value(x)


class BackwardsHead(v5.Head):
    def forward(self, x):
        k, q = self.key(x), self.query(x)
        return F.softmax((q @ k.transpose(-2, -1)).masked_fill(self.tril.T == 0, float("-inf")), dim=-1) @ self.value(x)


def no_mask(*heads, head_size=8):
    class NoMask(v6.Model):
        def __init__(self, config):
            super().__init__(config)
            self.sa_heads.heads = nn.ModuleList([head(config, head_size) for head in heads])

    return NoMask


class PlainList(v6.Model):
    def __init__(self, config):
        super().__init__(config)
        del self.sa_heads.heads
        self.sa_heads.heads = [OpenHead(config, 8) for _ in range(4)]


class BatchedHeads(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.key = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.query = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.value = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(config.block_size, config.block_size)))

    def split(self, x):
        B, T, C = x.shape
        return x.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)

    def merge(self, out):
        B, n_head, T, hs = out.shape
        return out.transpose(1, 2).reshape(B, T, n_head * hs)

    def scale(self, q, k):
        return q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5

    def mask(self, wei):
        T = wei.shape[-1]
        return wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))

    def forward(self, x):
        k, q, v = (self.split(part(x)) for part in (self.key, self.query, self.value))
        return self.merge(F.softmax(self.mask(self.scale(q, k)), dim=-1) @ v)


class ViewOnly(BatchedHeads):
    def split(self, x):
        B, T, C = x.shape
        return x.view(B, self.n_head, T, C // self.n_head)


class NotMovedBack(BatchedHeads):
    def merge(self, out):
        B, n_head, T, hs = out.shape
        return out.reshape(B, T, n_head * hs)


class RootOfC(BatchedHeads):
    def scale(self, q, k):
        return q @ k.transpose(-2, -1) * self.key.out_features**-0.5


class NoScale(BatchedHeads):
    def scale(self, q, k):
        return q @ k.transpose(-2, -1)


class MaskForgotten(BatchedHeads):
    def mask(self, wei):
        return wei


class MaskTooLate(BatchedHeads):
    def forward(self, x):
        k, q, v = (self.split(part(x)) for part in (self.key, self.query, self.value))
        T = x.shape[1]
        return self.merge(F.softmax(self.scale(q, k), dim=-1) * self.tril[:T, :T] @ v)


class Swapped(BatchedHeads):
    def scale(self, q, k):
        return super().scale(k, q)


class WholeMask(BatchedHeads):
    def mask(self, wei):
        return wei.masked_fill(self.tril == 0, float("-inf"))


class Detached(BatchedHeads):
    def scale(self, q, k):
        return super().scale(q, k).detach()


class PieceOfTheInput(BatchedHeads):
    def __init__(self, config):
        super().__init__(config)
        self.key = nn.Linear(config.n_embd // config.n_head, config.n_embd // config.n_head, bias=False)


class WrongOrder(BatchedHeads):
    def split(self, x):
        return super().split(x).flip(1)


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.whose: (
        whose,
        {
            "heads counted through all of the row": (lambda p, C, n: ("qkv"[p // C], p // (C // n)), "within"),
            "q, k and v of a head side by side": (
                lambda p, C, n: ("qkv"[p % (3 * C // n) // (C // n)], p // (3 * C // n)),
                "the first 6 places are q",
            ),
            "only the head": (lambda p, C, n: p % C // (C // n), "must be a pair"),
        },
    ),
    checks.no_mask: (
        no_mask(OpenHead, OpenHead, OpenHead, OpenHead),
        {
            "nothing replaced": (v6.Model, "in head 0 token 0 does not notice .* mask is still there"),
            "only the first head replaced": (no_mask(OpenHead, v5.Head, v5.Head, v5.Head), "in head 1 .* mask"),
            "a mask the other way round": (no_mask(*[BackwardsHead] * 4), "every token must hear all others"),
            "the scale deleted with the mask": (no_mask(*[UnscaledHead] * 4), "less the line with the mask"),
            "heads as wide as the token": (no_mask(*[OpenHead] * 4, head_size=32), "head size"),
            "one wide head": (no_mask(OpenHead, head_size=32), "has 1 heads, expected 4"),
            "a plain list": (PlainList, "ModuleList"),
        },
    ),
    checks.batched_heads: (
        BatchedHeads,
        {
            "view without transpose": (ViewOnly, "cuts through the tokens"),
            "heads not moved back": (NotMovedBack, "put together without transpose"),
            "scaled by C": (RootOfC, "root of C"),
            "not scaled": (NoScale, "are not divided"),
            "no mask": (MaskForgotten, "mask applied before"),
            "a mask after the softmax": (MaskTooLate, "do not sum to 1"),
            "queries and keys swapped": (Swapped, "changed places"),
            "a mask of one size": (WholeMask, "stopped with RuntimeError"),
            "gradient cut off": (Detached, r"no gradient reaches key.weight|detach\(\)"),
            "a piece of the input for each head": (PieceOfTheInput, "every head reads all 32"),
            "heads in another order": (WrongOrder, "loop over heads"),
        },
    ),
}
