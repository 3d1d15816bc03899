"""Checks of lesson 6, several heads."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt.course.checks.core import exercise, expect, expect_same
from babygpt.v6 import Config, Model, MultiHeadAttention


@exercise("6.1")
def whose(answer: Callable[[int, int, int], tuple[str, int]]) -> None:
    """The answer tells what stands at a place of the fused row: ("q", "k" or "v", and the head)."""
    for C, n_head in ((6, 2), (768, 12)):
        hs = C // n_head
        for place in (0, hs - 1, hs, C - 1, C, C + hs, 2 * C - 1, 2 * C, 3 * C - 1):
            expected = ("qkv"[place // C], place % C // hs)
            found = answer(place, C, n_head)
            case = f"whose({place}, C={C}, n_head={n_head})"
            expect(
                isinstance(found, tuple | list) and len(found) == 2,
                f"{case} must be a pair, a letter and a number, and it is {found!r}",
            )
            expect(
                found[0] == expected[0],
                f"{case} is {found!r}, expected {expected!r}: "
                f"the first {C} places are q, the next {C} k, the last {C} v",
            )
            expect(
                found[1] == expected[1],
                f"{case} is {found!r}, expected {expected!r}: "
                f"count the heads within the q, k or v part, each has {hs} places",
            )


@exercise("6.2")
def no_mask(answer: type[Model]) -> None:
    """The answer is version 6's model whose heads see the future."""
    config = Config()
    model = answer(config)
    x = torch.randn(2, config.block_size, config.n_embd)
    found = model.body(x)
    look_at = "is the head size n_embd // n_head?"
    expect_same(torch.tensor(found.shape), x.shape, "the shape of the body's output", look_at)
    n_head = len(model.sa_heads.heads)
    expect(n_head == config.n_head, f"the model has {n_head} heads, expected {config.n_head}, as many as n_head says")
    count, expected = (sum(p.numel() for p in m.parameters()) for m in (model, Model(config)))
    expect(
        count == expected,
        f"the model has {count:,} parameters, expected {expected:,}: are all heads in an nn.ModuleList?",
    )
    hs = config.n_embd // config.n_head
    for changed, unmoved, message in (
        (-1, 0, "token 0 does not notice a change of the last token: the mask is still there"),
        (0, -1, "the last token does not notice a change of token 0: every token must hear all others"),
    ):
        other = x.clone()
        other[:, changed] += 1
        moved = (model.body(other) - found)[:, unmoved].abs()
        for h in range(config.n_head):
            expect(moved[:, h * hs : (h + 1) * hs].max() > 1e-6, f"in head {h} {message}")
    for h, head in enumerate(model.sa_heads.heads):
        expected = F.scaled_dot_product_attention(head.query(x), head.key(x), head.value(x))
        look_at = "is it version 5's head, less the line with the mask and no other?"
        expect_same(found[..., h * hs : (h + 1) * hs], expected, f"the output of head {h}", look_at)


@exercise("6.3")
def batched_heads(answer: type[nn.Module]) -> None:
    """The answer computes all heads at once, with the values and the gradients of the loop over heads."""
    config = Config()
    loop, batched = MultiHeadAttention(config), answer(config)
    for name in ("key", "query", "value"):
        layer = getattr(batched, name, None)
        expect(isinstance(layer, nn.Linear), f"there is no linear layer named {name!r} in your class")
        expect(
            layer.weight.shape == (config.n_embd, config.n_embd) and layer.bias is None,
            f"{name} must be nn.Linear({config.n_embd}, {config.n_embd}, bias=False), and it is {layer}: "
            f"every head reads all {config.n_embd} numbers of a token",
        )
        with torch.no_grad():
            layer.weight.copy_(_weights(loop, name))

    for T in (config.block_size, 5):
        x = torch.randn(3, T, config.n_embd)
        x_loop, x_batched = x.clone().requires_grad_(), x.clone().requires_grad_()
        expected, found = loop(x_loop), batched(x_batched)
        _explain(found, batched, x, config)
        expect_same(found, expected, f"for T = {T} the output", "it must be that of the loop over heads", atol=1e-6)
        mixed = torch.randn_like(expected)
        loop.zero_grad()
        batched.zero_grad()
        for out in (expected, found):
            expect(out.requires_grad, "no gradient reaches your output: is there a detach() or a no_grad()?")
            (out * mixed).sum().backward()
        for name in ("key", "query", "value"):
            gradient = getattr(batched, name).weight.grad
            expect(gradient is not None, f"no gradient reaches {name}.weight: is there a detach() on the way?")
            expected = _weights(loop, name, gradient=True)
            expect_same(gradient, expected, f"the gradient of {name}.weight", "the values are right, so: a detach()?")
        expect_same(x_batched.grad, x_loop.grad, "the gradient of x", "the values are right, so: a detach()?")


def _weights(loop: MultiHeadAttention, name: str, gradient: bool = False) -> Tensor:
    """The heads' weights (or gradients) of one kind, one below the other: (C, C)."""
    weights = [getattr(head, name).weight for head in loop.heads]
    return torch.cat([w.grad if gradient else w for w in weights])  # (C, C)


def _explain(found: Tensor, batched: nn.Module, x: Tensor, config: Config) -> None:
    """Fail with a message of its own where `found` is what a common mistake gives."""
    mistakes = {
        "split": "view(B, n_head, T, hs) cuts through the tokens: take view(B, T, n_head, hs), then transpose(1, 2)",
        "merge": "the heads are put together without transpose(1, 2): (B, n_head, T, hs) must become "
        "(B, T, n_head, hs) before it becomes (B, T, C)",
        "scale": "the scores are divided by the root of C: it must be the root of the head size",
        "no scale": "the scores are not divided by the root of the head size",
        "swapped": "queries and keys have changed places: the scores are q @ k^T, not k @ q^T",
        "late mask": "the rows of weights do not sum to 1: is the mask applied before the softmax?",
        "mask": "token 0 already sees later tokens: is the mask applied before the softmax?",
    }
    for mistake, message in mistakes.items():
        wrong = _attend(batched, x, config.n_head, mistake)
        same = isinstance(found, Tensor) and found.shape == wrong.shape and torch.allclose(found, wrong, atol=1e-6)
        expect(not same, message)


@torch.no_grad()
def _attend(batched: nn.Module, x: Tensor, n_head: int, mistake: str) -> Tensor:
    """All heads at once, with a mistake: (B, T, C) -> (B, T, C)."""
    B, T, C = x.shape
    hs = C // n_head
    if mistake == "split":
        k, q, v = (part(x).view(B, n_head, T, hs) for part in (batched.key, batched.query, batched.value))
    else:
        k, q, v = (
            part(x).view(B, T, n_head, hs).transpose(1, 2) for part in (batched.key, batched.query, batched.value)
        )
    if mistake == "swapped":
        k, q = q, k
    wei = q @ k.transpose(-2, -1) * {"scale": C**-0.5, "no scale": 1.0}.get(mistake, hs**-0.5)
    tril = torch.tril(torch.ones(T, T))
    if mistake not in ("mask", "late mask"):
        wei = wei.masked_fill(tril == 0, float("-inf"))
    wei = F.softmax(wei, dim=-1)
    out = (wei * tril if mistake == "late mask" else wei) @ v
    return (out if mistake == "merge" else out.transpose(1, 2)).reshape(B, T, C)
