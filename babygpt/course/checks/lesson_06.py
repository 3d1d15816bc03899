"""Checks of lesson 6, several heads."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from babygpt.course.checks.core import (
    as_tensor,
    exercise,
    expect,
    expect_forward,
    expect_gradient,
    expect_same,
    unchanged,
)
from babygpt.v6 import Config, Model, MultiHeadAttention

SIZES = (Config(), Config(n_embd=12, n_head=3, block_size=5))  # two sizes, so that no constant fits both


@exercise("6.A")
def multi_head(answer: type[nn.Module]) -> None:
    """The answer is the class MultiHeadAttention: n_head heads, concatenated."""
    for config in SIZES:
        C, n_head = config.n_embd, config.n_head
        case = f"for n_embd = {C} and n_head = {n_head}"
        module, package = answer(config), MultiHeadAttention(config)
        expect_forward(module)
        heads = getattr(module, "heads", None)
        expect(heads is not None, "there is no self.heads: keep the heads under that name")
        expect(
            not isinstance(heads, list | tuple),
            "self.heads is a plain list, and PyTorch doesn't look into one, so nothing in it would be trained: "
            "use nn.ModuleList",
        )
        expect(isinstance(heads, nn.ModuleList), f"self.heads is {type(heads).__name__}, expected an nn.ModuleList")
        look_at = "make one for each of range(config.n_head)"
        expect(len(heads) == n_head, f"{case} there are {len(heads)} heads, expected {n_head}: {look_at}")
        expect(len(set(map(id, heads))) == n_head, "all heads are the same head: make a new one each time")
        for name, p in package.named_parameters():
            found = dict(module.named_parameters()).get(name)
            expect(found is not None, f"there is no parameter {name}: is each head made with v5.Head(config, ...)?")
            expect(
                found.shape == p.shape,
                f"{case} {name} has the shape {tuple(found.shape)}, expected {tuple(p.shape)}: "
                "the head size is n_embd // n_head",
            )
        numbers, expected = (sum(p.numel() for p in m.parameters()) for m in (module, package))
        expect(
            numbers == expected, f"{case} the class has {numbers:,} parameters, expected {expected:,}: only the heads"
        )
        with torch.no_grad():
            for name, p in module.named_parameters():
                package.get_parameter(name).copy_(p)
        for T in (config.block_size, 3):
            source = torch.randn(2, T, C, requires_grad=True)
            x = source.clone()  # PyTorch itself forbids writing into the source
            with unchanged(x=x):
                output = module(x)
            found = as_tensor(output, "what forward returns", "return the concatenation")
            with torch.no_grad():
                parts = [head(source) for head in package.heads]
            for wrong, message in (
                (torch.stack(parts).sum(dim=0), "the heads are added up: put them side by side with torch.cat"),
                (torch.stack(parts).mean(dim=0), "the heads are averaged: put them side by side with torch.cat"),
                (torch.cat(parts, dim=1), "the heads are put below each other, along the tokens: concatenate dim=-1"),
                (torch.cat(parts, dim=0), "the heads are put along the batch: concatenate along dim=-1"),
                (torch.stack(parts, dim=-1), "torch.stack adds a dimension: use torch.cat with dim=-1"),
                (torch.stack(parts, dim=0), "torch.stack adds a dimension: use torch.cat with dim=-1"),
                (parts[0], "this is the output of the first head only"),
                (torch.cat(parts[::-1], dim=-1), "the heads are in reverse order: head 0 comes first"),
            ):
                same = found.shape == wrong.shape and torch.allclose(found.double(), wrong.double(), atol=1e-5)
                expect(not same, message)
            expect_same(found, torch.cat(parts, dim=-1), f"{case} the output", "torch.cat of all heads, along dim=-1")
            expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")


def count(heads: nn.ModuleList) -> str:
    """How many heads there are, for a message."""
    return "1 head" if len(heads) == 1 else f"{len(heads)} heads"


@exercise("6.1")
def whose(answer: Callable[[int, int, int], tuple[str, int]]) -> None:
    """The answer tells what a position of the fused row holds: ("q", "k" or "v", and the head)."""
    for C, n_head in ((6, 2), (768, 12)):
        hs = C // n_head
        for position in (0, hs - 1, hs, C - 1, C, C + hs, 2 * C - 1, 2 * C, 3 * C - 1):
            expected = ("qkv"[position // C], position % C // hs)
            found = answer(position, C, n_head)
            case = f"whose({position}, C={C}, n_head={n_head})"
            expect(
                isinstance(found, tuple | list) and len(found) == 2,
                f"{case} must be a pair, a letter and a number, and it is {found!r}",
            )
            expect(
                found[0] == expected[0],
                f"{case} is {found!r}, expected {expected!r}: "
                f"the first {C} positions are q, the next {C} k, the last {C} v",
            )
            expect(
                found[1] == expected[1],
                f"{case} is {found!r}, expected {expected!r}: "
                f"count the heads within the q, k or v part, each has {hs} positions",
            )


@exercise("6.2")
def no_mask(answer: type[Model]) -> None:
    """The answer is version 6's model with heads that see the future."""
    for config in SIZES:
        model = answer(config)
        x = torch.randn(2, config.block_size, config.n_embd)
        expect(
            not isinstance(model.sa_heads, nn.ModuleList | list),
            "self.sa_heads is a bare list of heads now, and nothing concatenates them: leave self.sa_heads as it is, "
            "and put your list into self.sa_heads.heads",
        )
        for head in model.sa_heads.heads:
            expect_forward(head)
        with unchanged(x=x):
            found = model.body(x)
        C, n_head, hs = config.n_embd, config.n_head, config.n_embd // config.n_head
        case = f"for n_embd = {C} and n_head = {n_head}"
        look_at = "is the head size n_embd // n_head?"
        number = len(model.sa_heads.heads)
        expect(number == n_head, f"{case} the model has {count(model.sa_heads.heads)}, expected {n_head}")
        expect(
            found.shape == x.shape,
            f"{case} the output of the body has the shape {tuple(found.shape)}, expected {tuple(x.shape)}: {look_at}",
        )
        numbers, expected = (sum(p.numel() for p in m.parameters()) for m in (model, Model(config)))
        expect(
            numbers == expected,
            f"the model has {numbers:,} parameters, expected {expected:,}: are all heads in an nn.ModuleList?",
        )
        for changed, unmoved, message in (
            (-1, 0, "token 0 does not notice a change of the last token: the mask is still there"),
            (0, -1, "the last token does not notice a change of token 0: every token must hear all others"),
        ):
            other = x.clone()
            other[:, changed] += 1
            moved = (model.body(other) - found)[:, unmoved].abs()
            for h in range(n_head):
                expect(moved[:, h * hs : (h + 1) * hs].max() > 1e-6, f"in head {h} {message}")
        for h, head in enumerate(model.sa_heads.heads):
            expected = F.scaled_dot_product_attention(head.query(x), head.key(x), head.value(x))
            look_at = "delete only the line with the mask, and leave the rest of version 5's head as it is"
            expect_same(found[..., h * hs : (h + 1) * hs], expected, f"{case} the output of head {h}", look_at)


@exercise("6.3")
def batched_heads(answer: type[nn.Module]) -> None:
    """The answer computes all heads at once, with the values and the gradients of the loop over heads."""
    for config in SIZES:
        C = config.n_embd
        loop, batched = MultiHeadAttention(config), answer(config)
        expect_forward(batched)
        for name in ("key", "query", "value"):
            layer = getattr(batched, name, None)
            expect(isinstance(layer, nn.Linear), f"there is no linear layer named {name!r} in your class")
            expect(
                layer.weight.shape == (C, C) and layer.bias is None,
                f"{name} must be nn.Linear({C}, {C}, bias=False), and it is {layer}: "
                f"every head reads all {C} numbers of a token",
            )
            with torch.no_grad():
                layer.weight.copy_(_weights(loop, name))

        for T in (config.block_size, 4):
            x = torch.randn(3, T, C)
            x_loop, x_batched = x.clone().requires_grad_(), x.clone().requires_grad_()
            sent = x_batched.clone()  # PyTorch itself forbids writing into x_batched
            with unchanged(x=sent):
                output = batched(sent)
            expected, found = loop(x_loop), as_tensor(output, "what forward returns", "return the output")
            _explain(found, batched, x, config)
            case = f"for n_embd = {C}, n_head = {config.n_head} and T = {T}"
            expect_same(found, expected, f"{case} the output", "it must be that of the loop over heads")
            message = "no gradient reaches your output: is there a detach(), a no_grad() or a .data on the way?"
            expect(isinstance(output, Tensor) and output.requires_grad, message)
            mixed = torch.randn_like(expected)
            loop.zero_grad()
            batched.zero_grad()
            for out in (expected, output):
                (out * mixed).sum().backward()
            for name in ("key", "query", "value"):
                gradient = getattr(batched, name).weight.grad
                expect(gradient is not None, f"no gradient reaches {name}.weight: is there a detach() on the way?")
                expected = _weights(loop, name, gradient=True)
                look_at = "the values are right, so is there a detach() on the way?"
                expect_same(gradient, expected, f"the gradient of {name}.weight", look_at)
            expect(x_batched.grad is not None, "no gradient reaches x: is there a detach() on the way?")
            look_at = "the values are right, so is there a detach() on the way?"
            expect_same(x_batched.grad, x_loop.grad, "the gradient of x", look_at)
    few, many = (calls(answer(Config(n_embd=32, n_head=n_head))) for n_head in (2, 8))
    expect(
        many < few + 6,
        f"the values are right, but your code makes {few} calls to PyTorch for 2 heads and {many} for 8: there is a "
        "loop over the heads, and this exercise asks for one product for all of them",
    )


class Counter(TorchFunctionMode):
    """Counts the calls to PyTorch while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count a call and make it."""
        self.calls += 1
        return func(*args, **(kwargs or {}))


def calls(module: nn.Module) -> int:
    """How many calls to PyTorch a forward pass takes, for a text of 8 tokens of width 32."""
    x = torch.randn(1, 8, 32)
    with Counter() as counter:
        module(x)
    return counter.calls


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
        "scale": "the scores are divided by the square root of C: it must be the square root of the head size",
        "no scale": "the scores are not divided by the square root of the head size",
        "swapped": "queries and keys are swapped: the scores are q @ k^T, not k @ q^T",
        "late mask": "the rows of weights do not sum to 1: is the mask applied before the softmax?",
        "mask": "token 0 already sees later tokens: is the mask applied before the softmax?",
    }
    for mistake, message in mistakes.items():
        wrong = _attend(batched, x, config.n_head, mistake)
        same = found.shape == wrong.shape and torch.allclose(found.double(), wrong.double(), atol=1e-6)
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
