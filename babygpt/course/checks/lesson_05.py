"""Checks of lesson 5, one head of self-attention."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt.course.checks.core import (
    CheckFailed,
    as_tensor,
    exercise,
    expect,
    expect_gradient,
    expect_same,
    unchanged,
)
from babygpt.v5 import Config, Head

RIGHT_HEADS = 100  # a test that leaves too little room for rounding refuses about one in ten of them


class ScaledBy(Head):
    """A head that multiplies its scores by `scale`."""

    scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, hs)."""
        wei = self.query(x) @ self.key(x).transpose(-2, -1) * self.scale  # (B, T, T)
        wei = wei.masked_fill(self.tril[: x.shape[1], : x.shape[1]] == 0, float("-inf"))  # (B, T, T)
        return F.softmax(wei, dim=-1) @ self.value(x)  # (B, T, hs)


class NotNeeded(nn.Module):
    """Replaces a part of a head that an answer must do without."""

    def forward(self, x: Tensor) -> Tensor:
        """Fail, whatever x is."""
        raise CheckFailed(self.message())

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_"):
            return super().__getattr__(name)
        raise CheckFailed(self.message())

    def message(self) -> str:
        """What to do without it."""
        return (
            "your code uses head.query or head.key, or the whole head: with a query of 0 all scores are 0, so compute "
            "the output from head.value(x) alone, and leave the head as it is"
        )


def weights(q: Tensor, k: Tensor, scale: float, mask: str = "before", dim: int = -1) -> Tensor:
    """The weights of a head, and with its options those of usual mistakes: (B, T, hs) twice -> (B, T, T)."""
    T = q.shape[-2]
    future = torch.triu(torch.ones(T, T), diagonal=1) == 1
    scores = q @ k.transpose(-2, -1) * scale
    if mask == "before":
        scores = scores.masked_fill(future, float("-inf"))
    if mask == "zeros":
        scores = scores.masked_fill(future, 0)
    wei = F.softmax(scores, dim=dim)
    return wei.masked_fill(future, 0) if mask == "after" else wei


def mistakes(q: Tensor, k: Tensor, C: int) -> dict[str, Tensor]:
    """What is wrong with a head, and the weights that it has then."""
    hs, T = k.shape[-1], k.shape[-2]
    right = hs**-0.5
    found = {
        "the scores are not scaled: divide them by the square root of the head size": weights(q, k, 1.0),
        f"the scores are divided by the square root of C = {C}: it must be the head size, {hs}, the number of terms in "
        "each product of a query and a key": weights(q, k, C**-0.5),
        f"the scores are divided by the square root of T = {T}: it must be the head size, {hs}, the number of terms in "
        "each product of a query and a key": weights(q, k, T**-0.5),
        "the scores are divided by the head size itself: divide by its root": weights(q, k, 1 / hs),
        "the scores are multiplied by the square root of the head size: divide by it": weights(q, k, hs**0.5),
        "query and key are swapped: row t of the scores must be the query of token t times all keys": weights(
            k, q, right
        ),
        "the mask is missing, so a token takes in later ones": weights(q, k, right, mask="none"),
        "the mask puts 0 on the future, which is an ordinary score: it must be minus infinity": weights(
            q, k, right, mask="zeros"
        ),
        "the mask comes after the softmax, so the rows don't sum to 1: mask before the softmax": weights(
            q, k, right, mask="after"
        ),
        "the softmax runs down the columns: it must run over dim=-1": weights(q, k, right, dim=-2),
    }
    expected = weights(q, k, right)
    return {message: wei for message, wei in found.items() if not torch.allclose(wei, expected, atol=1e-4)}


@exercise("5.A")
def head(answer: type[nn.Module]) -> None:
    """The answer is the class Head: one head of causal self-attention."""
    for C, hs, block_size in ((12, 4, 6), (8, 16, 5)):
        module = answer(Config(n_embd=C, block_size=block_size), hs)
        shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
        layers = {f"{name}.weight": (hs, C) for name in ("key", "query", "value")}
        look_at = "leave __init__ as it is given"
        expect(shapes == layers, f"the parameters are {shapes}, expected {layers}: {look_at}")
        expect("tril" in dict(module.named_buffers()), f"there is no buffer tril: {look_at}")
        for T in (block_size, 3, 1):
            source = torch.randn(2, T, C, requires_grad=True)
            x = source.clone()  # PyTorch itself forbids writing into the source
            with unchanged(x=x):
                output = module(x)
            found, sent = as_tensor(output, "what forward returns", "return wei @ v").double(), source.detach()
            with torch.no_grad():
                q, k, v = module.query(sent), module.key(sent), module.value(sent)
            if found.shape == v.shape and T > 1:
                for message, wei in mistakes(q, k, C).items():
                    expect(not torch.allclose(found, (wei @ v).double(), atol=1e-5), message)
                right = weights(q, k, hs**-0.5)
                look_at = "what is averaged are the values: wei @ v"
                expect(not torch.allclose(found, (right @ k).double(), atol=1e-5), f"the keys are averaged: {look_at}")
            if found.shape == x.shape and C != hs:
                expect(False, f"the output has the width of x, {C}, expected {hs}: average the values, not the tokens")
            expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            expect_same(found, expected, f"the output for T = {T}", "scores, scale, mask, softmax, values")
            expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")


@exercise("5.1")
def attend(answer: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """The answer is a head on plain matrices: x, w_query, w_key, w_value -> out, wei."""
    for B, T, C, hs in ((2, 5, 12, 4), (3, 7, 8, 16)):
        x = torch.randn(B, T, C)
        sources = [(torch.randn(C, hs) * C**-0.5).requires_grad_() for _ in range(3)]
        w_query, w_key, w_value = (source.clone() for source in sources)
        with unchanged(x=x, w_query=w_query, w_key=w_key, w_value=w_value):
            returned = answer(x, w_query, w_key, w_value)
        is_pair = isinstance(returned, tuple | list) and len(returned) == 2
        expect(is_pair, "return two tensors: the output, and the weights wei")
        out, wei = (as_tensor(part, "a part of your answer", "return out, wei").double() for part in returned)
        expect(
            wei.shape == (B, T, T),
            f"wei has the shape {tuple(wei.shape)}, expected (B, T, T) = {(B, T, T)}: a weight for each pair of tokens",
        )
        expect(
            wei.isfinite().all(), "wei holds numbers that are not finite: is a row masked entirely, or softmax missing?"
        )
        leak = wei[0, 0, 1].item()
        expect(
            (torch.triu(wei, diagonal=1) == 0).all(),
            f"token 0 takes in {leak:.3g} of token 1, expected exactly 0: is the mask there, and with -inf?",
        )
        ones = torch.ones(B, T).double()
        if torch.allclose(wei.sum(dim=-2), ones, atol=1e-4):
            expect(False, "the columns of wei sum to 1, and the rows should: softmax must run over dim=-1")
        look_at = "the mask comes before the softmax"
        expect_same(wei.sum(dim=-1), ones, "the sum of the rows of wei", look_at, atol=1e-4)
        with torch.no_grad():
            q, k, v = (x @ matrix for matrix in (w_query, w_key, w_value))
        for message, wrong in mistakes(q, k, C).items():
            expect(not torch.allclose(wei, wrong.double(), atol=1e-5), message)
        expected = weights(q, k, hs**-0.5)
        expect_same(wei, expected, "wei", "it is the softmax of the masked, scaled products of queries and keys")
        expect_same(out, expected @ v, "the output", "what is averaged are the values: wei @ v")
        output, names = returned[0], ("w_query", "w_key", "w_value")
        flows = isinstance(output, Tensor) and output.requires_grad
        gradients = torch.autograd.grad(output.square().sum(), sources, allow_unused=True) if flows else (None,) * 3
        lost = [name for name, gradient in zip(names, gradients, strict=True) if gradient is None]
        look_at = "use PyTorch functions throughout"
        expect(not lost, f"no gradient flows from the output back to {', '.join(lost)}: {look_at}")


@exercise("5.2")
def without_questions(answer: Callable[[Head, Tensor], Tensor]) -> None:
    """The answer gives what a head makes of x when its query weights are all zero."""
    for C, hs, T in ((12, 4, 6), (8, 16, 5)):
        head, x = Head(Config(n_embd=C), hs), torch.randn(2, T, C)
        zeroed = Head(Config(n_embd=C), hs)
        zeroed.load_state_dict(head.state_dict())
        nn.init.zeros_(zeroed.query.weight)
        expected = zeroed(x)
        head.query, head.key = NotNeeded(), NotNeeded()
        with unchanged(x=x, value=head.value.weight):
            found = as_tensor(answer(head, x), "your answer", "return a tensor")
        if found.shape == x.shape and C != hs:
            expect(False, f"the output has the width of x, {C}, expected {hs}: a head averages values, not tokens")
        expect_same(
            found,
            expected,
            "the output",
            "all scores are 0: which weights does the softmax make of a masked row of zeros, and what do they average?",
        )


@exercise("5.3")
def divides_by_root_of_head_size(answer: Callable[[Head], bool]) -> None:
    """The answer is a test: does a head divide its scores by the square root of its head size?

    All heads are of one class, right or wrong, so that only their numbers tell them apart.
    """
    sizes = ((32, 8), (12, 4), (8, 16), (16, 16))

    def verdict(n_embd: int, head_size: int, scale: float) -> bool:
        head = ScaledBy(Config(n_embd=n_embd), head_size)
        head.scale = scale
        found = answer(head)
        try:
            return {0: False, 1: True}[found if isinstance(found, bool) else bool_of(found)]
        except (KeyError, TypeError, ValueError):
            raise CheckFailed(f"your test must return True or False, and it returned {found!r}") from None

    refused = 0
    for number in range(RIGHT_HEADS):
        n_embd, head_size = sizes[number % len(sizes)]
        refused += not verdict(n_embd, head_size, head_size**-0.5)
    expect(
        refused == 0,
        f"your test says False of {refused} of {RIGHT_HEADS} right heads: compute the right output from head.query(x), "
        "head.key(x) and head.value(x), and compare it with head(x), with a tolerance, because two correct ways of "
        "computing differ in the last bits: torch.allclose(a, b, atol=1e-5)",
    )
    for n_embd, head_size in sizes:
        wrong = {
            f"by the square root of C = {n_embd}": n_embd**-0.5,
            "by nothing": 1.0,
            "by the head size itself": 1 / head_size,
        }
        for what, scale in wrong.items():
            if scale != head_size**-0.5:
                expect(
                    not verdict(n_embd, head_size, scale),
                    f"your test says True of a head (n_embd = {n_embd}, head_size = {head_size}) that divides {what}: "
                    "does its input make the weights differ, and does it compare numbers, not only shapes?",
                )


def bool_of(found: object) -> bool:
    """A truth value that came as a tensor or an array of one element; raises ValueError for anything else."""
    tensor = as_tensor(found, "what your test returns", "return True or False")
    if tensor.dtype != torch.bool or tensor.numel() != 1:
        raise ValueError
    return bool(tensor.item())


@exercise("5.4")
def unmasked_head(answer: type[Head]) -> None:
    """The answer is a head that forgets the mask, and is right in everything else."""
    for C, hs in ((12, 4), (8, 16)):
        head = answer(Config(n_embd=C), hs)
        for T in (8, 3):
            source = torch.randn(2, T, C, requires_grad=True)
            x = source.clone()  # PyTorch itself forbids writing into the source
            with unchanged(x=x):
                output = head(x)
            found, sent = as_tensor(output, "what forward returns", "return wei @ v").double(), source.detach()
            with torch.no_grad():
                q, k, v = head.query(sent), head.key(sent), head.value(sent)
            usual = {
                "this head still has its mask: changing a later token must change the earlier outputs": weights(
                    q, k, hs**-0.5
                ),
                "the scale is gone, too: drop only the mask": weights(q, k, 1.0, mask="none"),
                "the softmax runs down the columns: keep dim=-1": weights(q, k, hs**-0.5, mask="none", dim=-2),
            }
            if found.shape == v.shape:
                for message, wei in usual.items():
                    expect(not torch.allclose(found, (wei @ v).double(), atol=1e-5), message)
            look_at = "drop the line with masked_fill, and keep the scale, the softmax over dim=-1, and the values"
            expected = F.scaled_dot_product_attention(q, k, v)
            expect_same(found, expected, f"the output for T = {T}", look_at)
            expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")
