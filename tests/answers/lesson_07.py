"""Right answers to the exercises of lesson 7, and wrong ones that people really give."""

import torch
import torch.nn.functional as F
from torch import nn

from babygpt.course.checks import lesson_07 as checks


def folded(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.detach()
    if bias is not None:
        layer.bias.data = bias.detach()
    return layer


def fold(first, second):
    return folded(second.weight @ first.weight, second.weight @ first.bias + second.bias)


def fold_into_the_first(first, second):
    layer = fold(first, second)
    first.weight.data, first.bias.data = layer.weight.data, layer.bias.data
    return first


def share(x):
    return (1 + torch.erf(x / 2**0.5)) / 2


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.wide_feed_forward: (
        lambda n: nn.Sequential(nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, n)),
        {
            "version 7's": (lambda n: nn.Sequential(nn.Linear(n, n), nn.ReLU()), "second Linear"),
            "not widened": (lambda n: nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n)), "four times"),
            "no bend": (lambda n: nn.Sequential(nn.Linear(n, 4 * n), nn.Linear(4 * n, n)), "no ReLU between"),
            "a bend at the end": (
                lambda n: nn.Sequential(nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, n), nn.ReLU()),
                "expected Linear, ReLU, Linear",
            ),
            "no bias": (
                lambda n: nn.Sequential(nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, n, bias=False)),
                "both layers have a bias",
            ),
            "a list": (lambda n: [nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, n)], "nn.Sequential"),
        },
    ),
    checks.fold: (
        fold,
        {
            "the wrong order": (lambda f, s: folded(f.weight @ s.weight, s.bias), "stopped"),
            "the weights of the second": (lambda f, s: s, "second times first"),
            "the first bias forgotten": (lambda f, s: folded(s.weight @ f.weight, s.bias), "b1 goes through"),
            "no bias": (lambda f, s: folded(s.weight @ f.weight, None), "has no bias"),
            "one layer after the other": (lambda f, s: nn.Sequential(f, s), "expected an nn.Linear"),
            "the first one overwritten": (fold_into_the_first, "have changed"),
        },
    ),
    checks.gelu: (
        lambda x: x * share(x),
        {
            "not times x": (share, "multiply it with x"),
            "by tanh": (lambda x: F.gelu(x, approximate="tanh"), "formula with tanh"),
            "ReLU": (F.relu, "this is ReLU"),
            "SiLU": (F.silu, "sigmoid of x"),
            "without the root": (lambda x: x * (1 + torch.erf(x)) / 2, "root of 2"),
            "erf alone": (lambda x: x * torch.erf(x / 2**0.5), "between -1 and 1"),
            "not halved": (lambda x: x * (1 + torch.erf(x / 2**0.5)), r"x \* \(1 \+ erf"),
        },
    ),
}
