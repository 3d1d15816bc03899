"""Checks of lesson 5, one head of self-attention."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt.course.checks.core import exercise, expect, expect_same
from babygpt.v5 import Config, Head


class ScaledBy(Head):
    """A head that multiplies its scores by `scale`."""

    scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, hs)."""
        wei = self.query(x) @ self.key(x).transpose(-2, -1) * self.scale  # (B, T, T)
        wei = wei.masked_fill(self.tril[: x.shape[1], : x.shape[1]] == 0, float("-inf"))  # (B, T, T)
        return F.softmax(wei, dim=-1) @ self.value(x)  # (B, T, hs)


class NotNeeded(nn.Module):
    """Stands where a part of a head was that an answer must do without."""

    def forward(self, x: Tensor) -> Tensor:
        """Raise, whatever x is."""
        raise RuntimeError("this part of the head is not needed: without questions, neither query nor key matters")


@exercise("5.1")
def attend(answer: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """The answer is a head on plain matrices: x, w_query, w_key, w_value -> out, wei."""
    B, T, C, hs = 2, 5, 12, 4
    x = torch.randn(B, T, C)
    w_query, w_key, w_value = (torch.randn(C, hs) * C**-0.5 for _ in range(3))
    found = answer(x, w_query, w_key, w_value)
    expect(isinstance(found, tuple | list) and len(found) == 2, "return two tensors: the output, and the weights wei")
    out, wei = found
    expect(
        isinstance(wei, Tensor) and wei.shape == (B, T, T),
        f"wei must be a tensor of the shape (B, T, T) = {(B, T, T)}, and it is "
        f"{tuple(wei.shape) if isinstance(wei, Tensor) else type(wei).__name__}: a weight for each pair of tokens",
    )
    expect(wei.isfinite().all(), "wei holds numbers that are not finite: is a row masked entirely, or softmax missing?")
    expect(
        (torch.triu(wei, diagonal=1) == 0).all(),
        f"token 0 takes in {wei[0, 0, 1].item():.3g} of token 1, expected exactly 0: is the mask there, and with -inf?",
    )
    if torch.allclose(wei.sum(dim=-2), torch.ones(B, T), atol=1e-4):
        expect(False, "the columns of wei sum to 1, and the rows should: softmax must run over dim=-1")
    expect_same(
        wei.sum(dim=-1), torch.ones(B, T), "the sum of the rows of wei", "the mask comes before the softmax", atol=1e-4
    )

    def weights(q: Tensor, k: Tensor, scale: float) -> Tensor:
        future = torch.triu(torch.ones(T, T), diagonal=1) == 1
        return F.softmax((q @ k.transpose(-2, -1) * scale).masked_fill(future, float("-inf")), dim=-1)

    q, k, v = x @ w_query, x @ w_key, x @ w_value
    mistakes = {
        "the scores are not scaled: divide them by the root of the head size": (q, k, 1.0),
        f"the scores are divided by the root of C = {C}: it must be the head size, {hs}, the number of terms in each "
        "product of a query and a key": (q, k, C**-0.5),
        "query and key have changed places: row t of the scores must be the query of token t times all keys": (
            k,
            q,
            hs**-0.5,
        ),
        "the scores are divided by the head size itself: divide by its root": (q, k, 1 / hs),
    }
    for message, parts in mistakes.items():
        expect(not torch.allclose(wei, weights(*parts), atol=1e-5), message)
    expected = weights(q, k, hs**-0.5)
    expect_same(wei, expected, "wei", "it is the softmax of the masked, scaled products of queries and keys", atol=1e-5)
    expect_same(out, expected @ v, "the output", "what is averaged are the values: wei @ v", atol=1e-5)


@exercise("5.2")
def without_questions(answer: Callable[[Head, Tensor], Tensor]) -> None:
    """The answer gives what a head makes of x when its query weights are all zero."""
    head, x = Head(Config(n_embd=12), head_size=4), torch.randn(2, 6, 12)
    zeroed = Head(Config(n_embd=12), head_size=4)
    zeroed.load_state_dict(head.state_dict())
    nn.init.zeros_(zeroed.query.weight)
    expected = zeroed(x)
    head.query, head.key = NotNeeded(), NotNeeded()
    found = answer(head, x)
    if isinstance(found, Tensor) and found.shape == x.shape:
        expect(False, f"the output has the width {x.shape[-1]} of x, expected 4: a head averages values, not tokens")
    expect_same(
        found,
        expected,
        "the output",
        "all scores are 0: which weights does the softmax make of a masked row of zeros, and what do they average?",
    )


@exercise("5.3")
def divides_by_root_of_head_size(answer: Callable[[Head], bool]) -> None:
    """The answer is a test: does a head divide its scores by the root of its head size?"""
    for n_embd, head_size in ((32, 8), (12, 4), (8, 16), (16, 16)):
        config = Config(n_embd=n_embd)
        sizes = f"n_embd = {n_embd}, head_size = {head_size}"
        verdict = answer(Head(config, head_size))
        if isinstance(verdict, Tensor) and verdict.dtype == torch.bool and verdict.numel() == 1:
            verdict = verdict.item()
        expect(isinstance(verdict, bool), f"your test must return True or False, and it returned {verdict!r}")
        expect(verdict, f"your test says False of a right head ({sizes}): is there room for rounding?")
        for what, scale in ((f"by the root of C = {n_embd}", n_embd**-0.5), ("by nothing", 1.0)):
            if scale == head_size**-0.5:
                continue
            head = ScaledBy(config, head_size)
            head.scale = scale
            expect(
                not answer(head),
                f"your test says True of a head ({sizes}) that divides {what}: does its input make the weights differ, "
                "and does it compare numbers, not only shapes?",
            )


@exercise("5.4")
def unmasked_head(answer: type[Head]) -> None:
    """The answer is a head that forgets the mask, and is right in all else."""
    head = answer(Config(n_embd=12), 4)
    for T in (8, 3):
        x = torch.randn(2, T, 12)
        q, k, v = head.query(x), head.key(x), head.value(x)
        found = head(x)
        masked = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if isinstance(found, Tensor) and found.shape == masked.shape:
            expect(
                not torch.allclose(found, masked, atol=1e-6),
                "this head still has its mask: changing a later token must change the earlier outputs",
            )
        expected = F.scaled_dot_product_attention(q, k, v)
        expect_same(
            found,
            expected,
            f"the output for T = {T}",
            "drop the line with masked_fill, and keep the scale, the softmax over dim=-1, and the values",
        )
