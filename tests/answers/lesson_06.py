"""Right answers to the exercises of lesson 6, and wrong ones that people really give."""

import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v5, v6
from babygpt.course.checks import lesson_06 as checks


def whose(place, C, n_head):
    return "qkv"[place // C], place % C // (C // n_head)


def several(combine, heads=nn.ModuleList, head_size=None, n_head=None, Head=v5.Head):
    """A class for exercise 6.A, with a mistake in how it combines the heads, or in what it makes them of."""

    class MultiHeadAttention(nn.Module):
        def __init__(self, config):
            super().__init__()
            size = head_size or config.n_embd // config.n_head
            self.heads = heads([Head(config, size) for _ in range(n_head or config.n_head)])

        def forward(self, x):
            return combine([head(x) for head in self.heads])

    return MultiHeadAttention


def concatenated(parts):
    return torch.cat(parts, dim=-1)


def one_head_again_and_again(config, head_size):
    return ONCE.setdefault((config, head_size), v5.Head(config, head_size))


ONCE = {}


class CutFirst(several(concatenated)):
    """Each head is given its own piece of x."""

    def __init__(self, config):
        super().__init__(config)
        hs = config.n_embd // config.n_head
        small = v6.Config(n_embd=hs, n_head=1, block_size=config.block_size)
        self.heads = nn.ModuleList([v5.Head(small, hs) for _ in range(config.n_head)])


class Projected(several(concatenated)):
    def __init__(self, config):
        super().__init__(config)
        self.proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x):
        return self.proj(super().forward(x))


class OtherName(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.head_list = nn.ModuleList([v5.Head(config, 8) for _ in range(4)])

    def forward(self, x):
        return torch.cat([head(x) for head in self.head_list], dim=-1)


def misnamed(Right, name):
    """The class with its `forward` under another name, or with none."""

    class Misnamed(nn.Module):
        def __init__(self, config):
            super().__init__()
            right = Right(config)
            for part, module in right.named_children():
                setattr(self, part, module)

            def forward(self, x):  # what it looks like when it is indented too far
                return right(x)

    if name:
        setattr(Misnamed, name, Right.forward)
    return Misnamed


def shifted(x):
    return x.add_(0.5)


class WrittenIntoX(v6.MultiHeadAttention):
    def forward(self, x):
        return super().forward(shifted(x))


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


def no_mask(*kinds, head_size=None, n_head=None):
    """A version 6 with heads of these kinds, again and again; with constants for sizes where they are given."""

    class NoMask(v6.Model):
        def __init__(self, config):
            super().__init__(config)
            size, number = head_size or config.n_embd // config.n_head, n_head or config.n_head
            heads = [kinds[min(h, len(kinds) - 1)](config, size) for h in range(number)]
            self.sa_heads.heads = nn.ModuleList(heads)

    return NoMask


class InPlace(v6.Model):
    def __init__(self, config):
        super().__init__(config)
        for head in self.sa_heads.heads:
            head.tril.fill_(1)


class InFloat64(v6.Model):
    def __init__(self, config):
        super().__init__(config)
        self.sa_heads.heads = no_mask(OpenHead)(config).sa_heads.heads

    def body(self, x):
        return super().body(x).double()


class BareList(v6.Model):
    def __init__(self, config):
        super().__init__(config)
        self.sa_heads = nn.ModuleList([OpenHead(config, config.n_embd // config.n_head) for _ in range(config.n_head)])


class PlainList(v6.Model):
    def __init__(self, config):
        super().__init__(config)
        del self.sa_heads.heads
        self.sa_heads.heads = [OpenHead(config, config.n_embd // config.n_head) for _ in range(config.n_head)]


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


class ByPyTorch(BatchedHeads):
    def forward(self, x):
        k, q, v = (self.split(part(x)) for part in (self.key, self.query, self.value))
        return self.merge(F.scaled_dot_product_attention(q, k, v, is_causal=True))


class ByEinsum(BatchedHeads):
    def forward(self, x):
        B, T, C = x.shape
        k, q, v = (part(x).view(B, T, self.n_head, -1) for part in (self.key, self.query, self.value))
        wei = torch.einsum("bthc,bshc->bhts", q, k) * k.shape[-1] ** -0.5
        return torch.einsum("bhts,bshc->bthc", F.softmax(self.mask(wei), dim=-1), v).reshape(B, T, C)


class BatchedInFloat64(BatchedHeads):
    def split(self, x):
        return super().split(x.double())


class OneByOne(BatchedHeads):
    """The right values, by the loop that the exercise forbids."""

    def forward(self, x):
        k, q, v = (self.split(part(x)) for part in (self.key, self.query, self.value))
        heads = [F.softmax(self.mask(self.scale(q[:, h], k[:, h])), dim=-1) @ v[:, h] for h in range(self.n_head)]
        return torch.cat(heads, dim=-1)


class FourHeads(BatchedHeads):
    def split(self, x):
        B, T, C = x.shape
        return x.view(B, T, 4, C // 4).transpose(1, 2)


class HeadsOfEight(BatchedHeads):
    def scale(self, q, k):
        return q @ k.transpose(-2, -1) * 8**-0.5


class BatchedInPlace(BatchedHeads):
    def forward(self, x):
        return super().forward(shifted(x))


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


# check: (a right answer or {name: right answer}, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.multi_head: (
        {
            "a comprehension": several(concatenated),
            "the package's": v6.MultiHeadAttention,
            "in float64": several(lambda parts: torch.cat(parts, dim=2).double()),
            "stacked and flattened": several(lambda parts: torch.stack(parts, dim=-2).flatten(start_dim=-2)),
        },
        {
            "a plain list": (several(concatenated, heads=list), "plain list"),
            "added up": (several(lambda parts: sum(parts)), "added up"),
            "along the tokens": (several(lambda parts: torch.cat(parts, dim=1)), "along the tokens"),
            "along the batch": (several(lambda parts: torch.cat(parts)), "along the batch"),
            "stacked": (several(lambda parts: torch.stack(parts, dim=-1)), "adds a dimension"),
            "the first head only": (several(lambda parts: parts[0]), "first head only"),
            "the last head first": (several(lambda parts: concatenated(parts[::-1])), "reverse order"),
            "heads as wide as the token": (
                lambda config: several(concatenated, head_size=config.n_embd)(config),
                "head size is n_embd // n_head",
            ),
            "heads of 8": (several(concatenated, head_size=8), "for n_embd = 12 and n_head = 3 .* head size"),
            "four heads": (several(concatenated, n_head=4, head_size=8), "there are 4 heads"),
            "one head again and again": (several(concatenated, Head=one_head_again_and_again), "the same head"),
            "a piece of x for each head": (CutFirst, r"head size|shape \(8, 8\)"),
            "with a projection": (Projected, "only the heads"),
            "under another name": (OtherName, "no self.heads"),
            "a forward with a typo": (misnamed(v6.MultiHeadAttention, "foward"), "named 'foward'"),
            "a forward inside of __init__": (misnamed(v6.MultiHeadAttention, ""), "indented as far as __init__"),
            "cut off from the gradient": (several(lambda parts: concatenated(parts).detach()), "no gradient flows"),
            "written into x": (WrittenIntoX, "its input x in place"),
        },
    ),
    checks.whose: (
        {"divided": whose, "a list": lambda p, C, n: list(whose(p, C, n))},
        {
            "heads counted through all of the row": (lambda p, C, n: ("qkv"[p // C], p // (C // n)), "within"),
            "q, k and v of a head side by side": (
                lambda p, C, n: ("qkv"[p % (3 * C // n) // (C // n)], p // (3 * C // n)),
                "the first 6 positions are q",
            ),
            "only the head": (lambda p, C, n: p % C // (C // n), "must be a pair"),
            "heads of 3": (lambda p, C, n: ("qkv"[p // C], p % C // 3), "each has 64 positions"),
        },
    ),
    checks.no_mask: (
        {"no mask": no_mask(OpenHead), "a mask of ones": InPlace, "in float64": InFloat64},
        {
            "nothing replaced": (v6.Model, "in head 0 token 0 does not notice .* mask is still there"),
            "only the first head replaced": (no_mask(OpenHead, v5.Head), "in head 1 .* mask"),
            "a mask the other way round": (no_mask(BackwardsHead), "every token must hear all others"),
            "the scale deleted with the mask": (no_mask(UnscaledHead), "delete only the line with the mask"),
            "heads as wide as the token": (no_mask(OpenHead, head_size=32), "head size"),
            "four heads of 8": (no_mask(OpenHead, n_head=4, head_size=8), "n_head = 3 the model has 4 heads"),
            "heads of 8": (no_mask(OpenHead, head_size=8), "for n_embd = 12 and n_head = 3 .* head size"),
            "one wide head": (no_mask(OpenHead, head_size=32, n_head=1), "has 1 head, expected 4"),
            "a plain list": (PlainList, "ModuleList"),
            "a list instead of sa_heads": (BareList, "nothing concatenates them"),
            "a head without forward": (
                no_mask(lambda config, size: misnamed(lambda c: OpenHead(c, size), "")(config)),
                "no method named 'forward'",
            ),
        },
    ),
    checks.batched_heads: (
        {
            "view and transpose": BatchedHeads,
            "by PyTorch": ByPyTorch,
            "by einsum": ByEinsum,
            "in float64": BatchedInFloat64,
        },
        {
            "view without transpose": (ViewOnly, "cuts through the tokens"),
            "heads not moved back": (NotMovedBack, "put together without transpose"),
            "scaled by C": (RootOfC, "root of C"),
            "not scaled": (NoScale, "are not divided"),
            "no mask": (MaskForgotten, "mask applied before"),
            "a mask after the softmax": (MaskTooLate, "do not sum to 1"),
            "queries and keys swapped": (Swapped, "queries and keys are swapped"),
            "a mask of one size": (WholeMask, "stopped with RuntimeError"),
            "gradient cut off": (Detached, r"no gradient reaches key.weight|detach\(\)"),
            "a piece of the input for each head": (PieceOfTheInput, "every head reads all 32"),
            "heads in another order": (WrongOrder, "loop over heads"),
            "a loop over the heads": (OneByOne, "there is a loop over the heads"),
            "four heads": (FourHeads, "for n_embd = 12, n_head = 3"),
            "heads of 8": (HeadsOfEight, "for n_embd = 12, n_head = 3"),
            "written into x": (BatchedInPlace, "its input x in place"),
            "a Forward": (misnamed(BatchedHeads, "Forward"), "named 'Forward'"),
            "a forward with a typo": (misnamed(BatchedHeads, "foward"), "named 'foward'"),
            "a forward inside of __init__": (misnamed(BatchedHeads, ""), "indented as far as __init__"),
        },
    ),
}
