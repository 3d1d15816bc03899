"""Right answers to the exercises of lesson 7, and wrong ones that people really give."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v7
from babygpt.course.checks import lesson_07 as checks


def layer(*parts, call=lambda net, x: net(x), keep=nn.Sequential):
    """A class for exercise 7.A: its parts, made from the width, and how it calls them."""

    class FeedForward(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.net = keep(*[part(config.n_embd) for part in parts])

        def forward(self, x):
            return call(self.net, x)

    return FeedForward


def linear(n):
    return nn.Linear(n, n)


def relu(n):
    return nn.ReLU()


class Foward(layer(linear, relu)):
    foward = layer(linear, relu).forward
    forward = nn.Module.forward


class NoNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(config.n_embd, config.n_embd), nn.ReLU())

    def forward(self, x):
        return self.layers(x)


def folded(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.detach()
    if bias is not None:
        layer.bias.data = bias.detach()
    return layer


def fold(first, second):
    return folded(second.weight @ first.weight, second.weight @ first.bias + second.bias)


def fold_without_data(first, second):
    layer = nn.Linear(first.in_features, second.out_features)
    with torch.no_grad():
        layer.weight.copy_(second.weight @ first.weight)
        layer.bias.copy_(second(first(torch.zeros(first.in_features))))
    return layer


def fold_with_swapped_sizes(first, second):
    layer = nn.Linear(second.out_features, first.in_features)
    right = fold(first, second)
    layer.weight.data, layer.bias.data = right.weight.data, right.bias.data
    return layer


def fold_into_the_first(first, second):
    layer = fold(first, second)
    first.weight.data, first.bias.data = layer.weight.data, layer.bias.data
    return first


def share(x):
    return (1 + torch.erf(x / 2**0.5)) / 2


def gelu_by_numpy(x):
    return torch.from_numpy(x.detach().numpy() * share(x).detach().numpy())


def gelu_in_place(x):
    s = share(x)
    return x.mul_(s)


def called_list(n):
    layers = nn.ModuleList([nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, n)])
    return layers(torch.zeros(1, n))


def one_by_one(layer, tolerance=1e-5, rows=3, T=6):
    x = torch.randn(rows, T, 32)
    together = layer(x)
    return all(
        torch.allclose(layer(x[b : b + 1, t : t + 1])[0, 0], together[b, t], atol=tolerance)
        for b in range(rows)
        for t in range(T)
    )


def by_changes(layer, rows=(0, 1, 2), tokens=range(6), start=torch.randn):
    """Change one token after the other, and see whether another result changes."""
    x = start(3, 6, 32)
    before = layer(x)
    for b in rows:
        for t in tokens:
            changed = x.clone()
            changed[b, t] += 1
            moved = (layer(changed) - before).abs().amax(dim=-1) > 1e-5
            moved[b, t] = False
            if moved.any():
                return False
    return True


def within_a_row(layer):
    x = torch.randn(1, 6, 32)
    return all(torch.allclose(layer(x[:, [t]])[0, 0], layer(x)[0, t], atol=1e-5) for t in range(6))


def shuffled(layer):
    x, order = torch.randn(2, 6, 32), torch.randperm(6)
    return torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-5)


# check: (a right answer or {name: right answer}, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.feed_forward: (
        {
            "a Sequential": layer(linear, relu),
            "the package's": v7.FeedForward,
            "part after part": layer(linear, relu, call=lambda net, x: net[1](net[0](x))),
            "in float64": layer(linear, relu, call=lambda net, x: net(x).double()),
        },
        {
            "no ReLU": (layer(linear), "no ReLU after"),
            "the ReLU first": (layer(relu, linear), "the linear layer comes first"),
            "only the linear layer called": (layer(linear, relu, call=lambda net, x: net[0](x)), "no ReLU after"),
            "the usual form": (layer(linear, relu, linear), "second linear layer"),
            "no bias": (layer(lambda n: nn.Linear(n, n, bias=False), relu), "no bias"),
            "of one size": (layer(lambda n: nn.Linear(32, 32), relu), "for n_embd = 12 the parameters"),
            "wider": (layer(lambda n: nn.Linear(n, 4 * n), relu), "from n_embd to n_embd"),
            "x added": (layer(linear, relu, call=lambda net, x: x + net(x)), "x is added"),
            "GELU": (layer(linear, lambda n: nn.GELU()), "the ReLU of the linear layer"),
            "a ModuleList": (
                layer(linear, relu, keep=lambda *parts: nn.ModuleList(parts)),
                "expected an nn.Sequential",
            ),
            "under another name": (NoNet, "no self.net"),
            "a typo": (Foward, "named 'foward'"),
            "written into x": (layer(linear, relu, call=lambda net, x: net(x.mul_(2))), "its input x in place"),
            "cut off from the gradient": (
                layer(linear, relu, call=lambda net, x: net(x).detach()),
                "no gradient flows",
            ),
        },
    ),
    checks.wide_feed_forward: (
        {
            "three modules": lambda n: nn.Sequential(nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, n)),
            "a ReLU in place": lambda n: nn.Sequential(nn.Linear(n, 4 * n), nn.ReLU(True), nn.Linear(4 * n, n)),
        },
        {
            "version 7's": (lambda n: nn.Sequential(nn.Linear(n, n), nn.ReLU()), "second Linear"),
            "not widened": (lambda n: nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n)), "four times"),
            "widened to 128": (
                lambda n: nn.Sequential(nn.Linear(n, 128), nn.ReLU(), nn.Linear(128, n)),
                r"for n_embd = 4 the widths are \[4, 128, 128, 4\]",
            ),
            "no nonlinearity": (
                lambda n: nn.Sequential(nn.Linear(n, 4 * n), nn.Linear(4 * n, n)),
                "no ReLU between",
            ),
            "a nonlinearity at the end": (
                lambda n: nn.Sequential(nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, n), nn.ReLU()),
                "expected Linear, ReLU, Linear",
            ),
            "no bias": (
                lambda n: nn.Sequential(nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, n, bias=False)),
                "both layers have a bias",
            ),
            "a list": (lambda n: [nn.Linear(n, 4 * n), nn.ReLU(), nn.Linear(4 * n, n)], "type list, .* nn.Sequential"),
            "a ModuleList": (lambda n: nn.ModuleList([nn.Linear(n, 4 * n)]), "type ModuleList, .* nn.Sequential"),
            "a ModuleList that is called": (called_list, "can't be called, such as an nn.ModuleList"),
        },
    ),
    checks.fold: (
        {
            "data": fold,
            "copied": fold_without_data,
            "in float64": lambda f, s: fold(f, s).double(),
        },
        {
            "the wrong order": (lambda f, s: folded(f.weight @ s.weight, s.bias), "stopped"),
            "the weights of the second": (lambda f, s: s, "second times first"),
            "the first bias forgotten": (lambda f, s: folded(s.weight @ f.weight, s.bias), "b1 goes through"),
            "no bias": (lambda f, s: folded(s.weight @ f.weight, None), "has no bias"),
            "one layer after the other": (lambda f, s: nn.Sequential(f, s), "expected a single nn.Linear"),
            "the first one overwritten": (fold_into_the_first, "have changed"),
            "the sizes swapped": (fold_with_swapped_sizes, "from 3 to 5 numbers, expected from 5 to 3"),
        },
    ),
    checks.gelu: (
        {
            "by erf": lambda x: x * share(x),
            "in float64": lambda x: x.double() * share(x.double()),
            "by the normal distribution": lambda x: x * torch.distributions.Normal(0, 1).cdf(x),
            "PyTorch's": F.gelu,
        },
        {
            "not times x": (share, "multiply it by x"),
            "by tanh": (lambda x: F.gelu(x, approximate="tanh"), "formula with tanh"),
            "ReLU": (F.relu, "this is ReLU"),
            "SiLU": (F.silu, "sigmoid of x"),
            "without the root": (lambda x: x * (1 + torch.erf(x)) / 2, "root of 2"),
            "erf alone": (lambda x: x * torch.erf(x / 2**0.5), "between -1 and 1"),
            "not halved": (lambda x: x * (1 + torch.erf(x / 2**0.5)), r"x \* \(1 \+ erf"),
            "written into x": (gelu_in_place, "its input x in place"),
            "cut off from the gradient by NumPy": (gelu_by_numpy, "no gradient flows"),
            "nothing returned": (lambda x: None, "return a tensor"),
        },
    ),
    checks.each_token_alone: (
        {
            "each token alone": one_by_one,
            "each token changed": by_changes,
            "a NumPy bool": lambda layer: np.bool_(one_by_one(layer)),
            "a tensor": lambda layer: torch.tensor(one_by_one(layer)),
        },
        {
            "always content": (lambda layer: True, "the mean over all tokens"),
            "never content": (lambda layer: False, "False of 20 of 20 right layers"),
            "shapes only": (
                lambda layer: layer(torch.zeros(2, 6, 32)).shape == (2, 6, 32),
                "True of a layer with a bug",
            ),
            "no token changed": (lambda layer: by_changes(layer, tokens=[]), "True of a layer with a bug"),
            "only token 3 changed": (lambda layer: by_changes(layer, tokens=[3]), "only the last token hears"),
            "only the last token changed": (lambda layer: by_changes(layer, tokens=[5]), "hears the ones before it"),
            "only the first token changed": (lambda layer: by_changes(layer, tokens=[0]), "hears the ones after it"),
            "one row only": (within_a_row, "the mean over the batch|each row of the batch"),
            "a shuffle only": (shuffled, "the mean over all tokens"),
            "the changed token, too": (
                lambda layer: torch.allclose(layer(torch.zeros(1, 6, 32)), layer(torch.ones(1, 6, 32))),
                "False of 20 of 20 right layers",
            ),
            "returns a number": (lambda layer: 1.0, "expected True or False"),
            "returns nothing": (lambda layer: None, "expected True or False"),
        },
    ),
}
