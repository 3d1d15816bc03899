"""Checks of lesson 7, the feed-forward layer."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from babygpt import v4
from babygpt.course.checks.core import (
    CheckFailed,
    as_tensor,
    exercise,
    expect,
    expect_forward,
    expect_gradient,
    expect_same,
    unchanged,
)
from babygpt.v6 import MultiHeadAttention
from babygpt.v7 import Config, FeedForward

RIGHT_LAYERS = 20  # how often a right layer is tried: rounding differs from one draw to the next


@exercise("7.A")
def feed_forward(answer: type[nn.Module]) -> None:
    """The answer is the class FeedForward: a linear layer and a ReLU."""
    for C in (32, 12):
        config = Config(n_embd=C, n_head=1)
        module, package = answer(config), FeedForward(config)
        expect_forward(module)
        net = getattr(module, "net", None)
        expect(net is not None, "there is no self.net: keep the two parts under that name")
        expect(
            isinstance(net, nn.Sequential),
            f"self.net is of type {type(net).__name__}, expected an nn.Sequential, which runs its parts in order",
        )
        found = {name: tuple(p.shape) for name, p in module.named_parameters()}
        expected = {name: tuple(p.shape) for name, p in package.named_parameters()}
        expect("net.1.weight" not in found, "the linear layer comes first, and the ReLU after it")
        expect("net.2.weight" not in found, "there is a second linear layer: that form comes in exercise 7.1")
        expect("net.0.bias" in found, "the linear layer has no bias: leave out bias=False")
        expect(
            found == expected,
            f"for n_embd = {C} the parameters are {found}, expected {expected}: one linear layer from n_embd to n_embd",
        )
        source = torch.randn(2, 5, C, requires_grad=True)
        x = source.clone()  # PyTorch itself forbids writing into the source
        with unchanged(x=x):
            output = module(x)
        linear = net[0](source).detach()
        found = as_tensor(output, "what forward returns", "return self.net(x)")
        for wrong, message in (
            (linear, "there is no ReLU after the linear layer"),
            (source.detach() + linear.relu(), "x is added to the result: that comes in lesson 8"),
            (net[0](source.detach().relu()).detach(), "the ReLU comes before the linear layer: it must come after it"),
        ):
            same = found.shape == wrong.shape and torch.allclose(found.double(), wrong.double(), atol=1e-6)
            expect(not same, message)
        expect_same(found, linear.relu(), f"for n_embd = {C} the output", "it must be the ReLU of the linear layer")
        expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")


@exercise("7.1")
def wide_feed_forward(answer: Callable[[int], nn.Sequential]) -> None:
    """The answer returns Linear to four times the width, ReLU, Linear back."""
    for n_embd in (4, 32):
        try:
            net = answer(n_embd)
        except NotImplementedError as error:
            if 'missing the required "forward"' not in str(error):
                raise
            raise CheckFailed(
                "your code calls a module that can't be called, such as an nn.ModuleList, which only holds modules: "
                "return an nn.Sequential, which runs them in order"
            ) from None
        expect(
            isinstance(net, nn.Sequential),
            f"the answer is of type {type(net).__name__}, expected an nn.Sequential, which runs its parts in order",
        )
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
        expect(widths == expected, f"for n_embd = {n_embd} the widths are {widths}, expected {expected}: {look_at}")
        count = sum(p.numel() for p in net.parameters())
        expected = 8 * n_embd * n_embd + 5 * n_embd
        expect(count == expected, f"it has {count:,} parameters, expected {expected:,}: do both layers have a bias?")
        x = torch.randn(2, 3, n_embd)
        expected = net[2](net[0](x).relu())
        expect_same(net(x), expected, "the output", "it must be the second layer after the ReLU of the first")


@exercise("7.2")
def fold(answer: Callable[[nn.Linear, nn.Linear], nn.Linear]) -> None:
    """The answer returns one linear layer that does the same as two linear layers."""
    for sizes in ((5, 7, 3), (4, 4, 4), (3, 2, 6)):
        first, second = nn.Linear(*sizes[:2]), nn.Linear(*sizes[1:])
        before = [p.clone() for p in (*first.parameters(), *second.parameters())]
        layer = answer(first, second)
        expect(
            isinstance(layer, nn.Linear), f"the answer is of type {type(layer).__name__}, expected a single nn.Linear"
        )
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
        found, expected = (layer.in_features, layer.out_features), (sizes[0], sizes[2])
        expect(
            found == expected,
            f"the numbers are right, but the layer says that it goes from {found[0]} to {found[1]} numbers, expected "
            f"from {expected[0]} to {expected[1]}: make it with nn.Linear(first.in_features, second.out_features)",
        )
        x = torch.randn(2, 6, sizes[0])
        output = layer(x.to(layer.weight.dtype))
        expect_same(output, second(first(x)), "the layer's output", "it must be second(first(x))")


@exercise("7.3")
def gelu(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer is the exact GELU."""
    table = torch.tensor([[3.0, 2.0, 1.0, 0.5], [-0.5, -1.0, -2.0, -3.0]])
    expected = torch.tensor([[2.99595, 1.95450, 0.84134, 0.34573], [-0.15427, -0.15866, -0.04550, -0.00405]])
    for values, what in (
        (table, "gelu of [3, 2, 1, 0.5] and [-0.5, -1, -2, -3]"),
        (torch.randn(2, 3, 4), "gelu of a tensor of the shape (2, 3, 4)"),
    ):
        source = values.clone().requires_grad_()
        x = source.clone()  # PyTorch itself forbids writing into the source
        with unchanged(x=x):
            output = answer(x)
        found = as_tensor(output, "what gelu returns", "return a tensor")
        share = (1 + torch.erf(values / math.sqrt(2))) / 2
        for wrong, message in (
            (share, "this is the share of the bell curve below x: multiply it by x"),
            (values.relu(), "this is ReLU: GELU is below zero for negative x"),
            (
                values * values.sigmoid(),
                "this is x times the sigmoid of x, another smooth function: GELU has the bell curve's share instead",
            ),
            (values * (1 + torch.erf(values)) / 2, "x must be divided by the square root of 2 before erf"),
            (values * torch.erf(values / math.sqrt(2)), "erf is between -1 and 1: the share is (1 + erf) / 2"),
            (
                nn.functional.gelu(values, approximate="tanh"),
                "this is the formula with tanh, off by up to 0.0005: use erf",
            ),
        ):
            same = found.shape == wrong.shape and torch.allclose(found.double(), wrong.double(), atol=1e-6)
            expect(not same, message)
        right = expected if values is table else values * share
        expect_same(found, right, what, "x * (1 + erf(x / root of 2)) / 2")
        expect_gradient(output, source, "gelu", "use PyTorch functions, on x itself")


class Mixing(nn.Module):
    """A layer with a bug: before its linear layer, it mixes tokens that it must keep apart."""

    def __init__(self, mix: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.mix, self.linear = mix, nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 32) -> (B, T, 32)."""
        return self.linear(self.mix(x)).relu()  # (B, T, 32)


def last_hears_first(x: Tensor) -> Tensor:
    """The last token gets the first one added: (B, T, C) -> (B, T, C)."""
    only_last = (torch.arange(x.shape[1]) == x.shape[1] - 1).float()[:, None]  # (T, 1)
    return x + only_last * x[:, :1]  # (B, T, C)


def first_hears_last(x: Tensor) -> Tensor:
    """The first token gets the last one added: (B, T, C) -> (B, T, C)."""
    return last_hears_first(x.flip(1)).flip(1)  # (B, T, C)


MIXING = {
    "the mean over all tokens is subtracted": lambda x: x - x.mean(dim=1, keepdim=True),
    "each token hears the ones before it": v4.average,
    "each token hears the ones after it": lambda x: v4.average(x.flip(1)).flip(1),
    "each token is replaced by the next one": lambda x: x.roll(-1, dims=1),
    "only the last token hears another one, the first": last_hears_first,
    "only the first token hears another one, the last": first_hears_last,
    "the mean over the batch is subtracted": lambda x: x - x.mean(dim=0, keepdim=True),
    "each row of the batch hears the row before it": lambda x: x + x.roll(1, dims=0),
}


@exercise("7.4")
def each_token_alone(answer: Callable[[nn.Module], bool]) -> None:
    """The answer is a test of whether a layer computes each token alone."""
    config = Config()
    right = {
        "version 7's layer": lambda: FeedForward(config),
        "the wide layer of exercise 7.1": lambda: nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 32)),
        "a linear layer": lambda: nn.Linear(32, 32),
        "a layer that returns x itself": nn.Identity,
    }
    for name, build in right.items():
        wrong = sum(not _said(answer, build()) for _ in range(RIGHT_LAYERS))
        expect(
            wrong == 0,
            f"your test says False of {wrong} of {RIGHT_LAYERS} right layers ({name}): does it compare with a "
            "tolerance, and only the results that must not change?",
        )
    for name, mix in MIXING.items():
        says = _said(answer, Mixing(mix))
        expect(not says, f"your test says True of a layer with a bug: {name}. Does your input make that visible?")
    says = _said(answer, MultiHeadAttention(config))
    expect(not says, "your test says True of version 6's attention, which moves information between tokens")


def _said(answer: Callable[[nn.Module], bool], layer: nn.Module) -> bool:
    """What the learner's test says of a layer."""
    said = answer(layer)
    is_bool = (
        isinstance(said, bool | np.bool_) or isinstance(said, Tensor) and said.dtype == torch.bool and said.dim() == 0
    )
    expect(is_bool, f"your test returns {said!r}, expected True or False")
    return bool(said)
