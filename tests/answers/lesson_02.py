"""Right answers to the exercises of lesson 2, and wrong ones that people really give."""

import torch

from babygpt import v2
from babygpt.course.checks import lesson_02 as checks


def one_loop(x):
    total = torch.zeros_like(x[:, 0])
    means = []
    for t in range(x.shape[1]):
        total = total + x[:, t]
        means.append(total / (t + 1))
    return torch.stack(means, dim=1)


def changes_x(x):
    for t in range(1, x.shape[1]):
        x[:, t] += x[:, t - 1]
    return x / torch.arange(1, x.shape[1] + 1)[:, None]


def begins_with_a_view(x):
    total = x[:, 0]
    means = [total.clone()]
    for t in range(1, x.shape[1]):
        total += x[:, t]
        means.append(total / (t + 1))
    return torch.stack(means, dim=1)


def without_the_current_token(x):
    means = [torch.zeros_like(x[:, 0])]
    for t in range(1, x.shape[1]):
        means.append(x[:, :t].mean(dim=1))
    return torch.stack(means, dim=1)


class NoAverage(v2.Model):
    def body(self, x):
        return x


class StillAverages(v2.Model):
    def body(self, x):
        return v2.average(x)


class ForgottenReturn(v2.Model):
    def body(self, x):
        x  # noqa: B018


class MeanOfAll(v2.Model):
    def body(self, x):
        return x.mean(dim=1, keepdim=True)


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.parameters: (
        lambda V, C, T: V * C + T * C + C * V + V,
        {
            "no bias": (lambda V, C, T: V * C + T * C + C * V, "bias"),
            "no positions": (lambda V, C, T: V * C + C * V + V, "positions"),
            "one bias for each channel": (lambda V, C, T: V * C + T * C + C * V + C, "weights and biases"),
            "the number for one size": (lambda V, C, T: 4481, "vocab_size 11"),
        },
    ),
    checks.shapes_of_sums: (
        lambda: [(4, 8, 32), None, (4, 8, 32), (4, 8, 32), (8, 32)],
        {
            "lined up on the left": (
                lambda: [None, (4, 8, 32), None, (4, 8, 32), None],
                r"sum 1, \(4, 8, 32\) \+ \(8, 32\): you say None",
            ),
            "number by number": (lambda: [(4, 8, 32), None, (4, 8, 32), (4, 8, 32), None], "sum 5"),
            "everything fits": (lambda: [(4, 8, 32)] * 4 + [(8, 32)], "sum 2.*two different numbers"),
            "one missing": (lambda: [(4, 8, 32), None, (4, 8, 32), (4, 8, 32)], "list of 5"),
        },
    ),
    checks.one_loop: (
        one_loop,
        {
            "not divided": (lambda x: x.cumsum(dim=1), "these are the sums"),
            "divided by t": (lambda x: x.cumsum(dim=1) / torch.arange(x.shape[1])[:, None], r"t \+ 1 tokens, not of t"),
            "both loops": (v2.average, "still a loop over b"),
            "x changed": (changes_x, "x was changed"),
            "a total that is part of x": (begins_with_a_view, "x was changed"),
            "the token itself left out": (without_the_current_token, "token 0"),
            "the mean of all": (lambda x: x.mean(dim=1, keepdim=True).expand_as(x), "token 0"),
            "sums over the channels": (lambda x: x.cumsum(dim=2) / torch.arange(1, x.shape[2] + 1), "result|token 0"),
        },
    ),
    checks.no_average: (
        NoAverage,
        {
            "the old body": (StillAverages, "still averages"),
            "no return": (ForgottenReturn, "returns None"),
            "the mean of all": (MeanOfAll, "what goes in comes out"),
        },
    ),
}
