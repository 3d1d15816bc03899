"""Checks of lesson 7, the feed-forward layer."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from babygpt.course.checks.core import exercise, expect, expect_same


@exercise("7.1")
def wide_feed_forward(answer: Callable[[int], nn.Sequential]) -> None:
    """The answer returns Linear to four times the width, ReLU, Linear back."""
    for n_embd in (4, 32):
        net = answer(n_embd)
        expect(isinstance(net, nn.Sequential), f"the answer is {type(net).__name__}, expected an nn.Sequential")
        names = [type(module).__name__ for module in net]
        expect(
            names != ["Linear", "ReLU"],
            "this is version 7's layer, one Linear and a ReLU; the usual form has a second Linear that leads back",
        )
        expect(names != ["Linear", "Linear"], "there is no ReLU between the two: without it they are one linear layer")
        expect(
            names == ["Linear", "ReLU", "Linear"],
            f"the modules are {', '.join(names)}, expected Linear, ReLU, Linear",
        )
        widths = [net[0].in_features, net[0].out_features, net[2].in_features, net[2].out_features]
        expected = [n_embd, 4 * n_embd, 4 * n_embd, n_embd]
        look_at = "to four times n_embd, and back to n_embd"
        expect_same(widths, expected, f"for n_embd = {n_embd} the list of widths", look_at)
        count = sum(p.numel() for p in net.parameters())
        expected = 8 * n_embd * n_embd + 5 * n_embd
        expect(count == expected, f"it has {count:,} parameters, expected {expected:,}: do both layers have a bias?")


@exercise("7.2")
def fold(answer: Callable[[nn.Linear, nn.Linear], nn.Linear]) -> None:
    """The answer returns the one linear layer that two linear layers are."""
    for sizes in ((5, 7, 3), (4, 4, 4)):
        first, second = nn.Linear(*sizes[:2]), nn.Linear(*sizes[1:])
        before = [p.clone() for p in (*first.parameters(), *second.parameters())]
        layer = answer(first, second)
        expect(isinstance(layer, nn.Linear), f"the answer is {type(layer).__name__}, expected an nn.Linear")
        after = (*first.parameters(), *second.parameters())
        expect(
            all(torch.equal(old, new) for old, new in zip(before, after, strict=True)),
            "the two given layers have changed: build a new one and leave them as they are",
        )
        expect_same(
            layer.weight, second.weight @ first.weight, "the weight", "it is W2 @ W1, second times first, not W1 @ W2"
        )
        expect(layer.bias is not None, "the layer has no bias: the two biases must go somewhere")
        expected = second.weight @ first.bias + second.bias
        expect_same(layer.bias, expected, "the bias", "b1 goes through the second layer: W2 @ b1 + b2")
        x = torch.randn(2, 6, sizes[0])
        expect_same(layer(x), second(first(x)), "the layer's output", "it must be second(first(x))")


@exercise("7.3")
def gelu(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer is the exact GELU."""
    x = torch.tensor([[3.0, 2.0, 1.0, 0.5], [-0.5, -1.0, -2.0, -3.0]])
    share = (1 + torch.erf(x / math.sqrt(2))) / 2
    found = answer(x.clone())
    for wrong, message in (
        (share, "this is the share of the bell curve below x: multiply it with x"),
        (x.relu(), "this is ReLU: GELU is below zero for negative x"),
        (
            x * x.sigmoid(),
            "this is x times the sigmoid of x, another smooth bend: GELU has the bell curve's share instead",
        ),
        (x * (1 + torch.erf(x)) / 2, "x must be divided by the root of 2 before erf"),
        (x * torch.erf(x / math.sqrt(2)), "erf lies between -1 and 1: the share is (1 + erf) / 2"),
        (nn.functional.gelu(x, approximate="tanh"), "this is the formula with tanh, off by up to 0.0005: take erf"),
    ):
        same = isinstance(found, Tensor) and found.shape == wrong.shape and torch.allclose(found, wrong, atol=1e-6)
        expect(not same, message)
    expected = torch.tensor([[2.99595, 1.95450, 0.84134, 0.34573], [-0.15427, -0.15866, -0.04550, -0.00405]])
    expect_same(found, expected, "gelu of [3, 2, 1, 0.5] and [-0.5, -1, -2, -3]", "x * (1 + erf(x / root of 2)) / 2")
