"""Right answers to the exercises of lesson 3, and wrong ones that people really give."""

import numpy as np
import torch
from torch import nn

from babygpt import v2, v3
from babygpt.course.checks import lesson_03 as checks


def triangle(T):
    return torch.tril(torch.ones(T, T))


def average(x):
    wei = triangle(x.shape[1])
    return wei / wei.sum(dim=1, keepdim=True) @ x


def in_float64(x):
    wei = triangle(x.shape[1]).double()
    return wei / wei.sum(dim=1, keepdim=True) @ x.double()


def with_cumsum(x):
    return x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None]


def without_keepdim(x):
    wei = triangle(x.shape[1])
    return wei / wei.sum(dim=1) @ x


def from_the_future(x):
    wei = triangle(x.shape[1]).T
    return wei / wei.sum(dim=1, keepdim=True) @ x


def on_the_wrong_side(x):
    wei = triangle(x.shape[1])
    return x @ (wei / wei.sum(dim=1, keepdim=True))


def for_eight_tokens(x):
    wei = triangle(8)
    return wei / wei.sum(dim=1, keepdim=True) @ x


def in_place(x):
    x -= x - average(x)
    return x


def by_numpy(x):
    return torch.from_numpy(average(x.detach()).numpy())


def one_loop(x):
    return torch.stack([x[:, : t + 1].mean(dim=1) for t in range(x.shape[1])], dim=1)


def last_two(T):
    band = triangle(T) - torch.tril(torch.ones(T, T), diagonal=-2)
    return band / band.sum(dim=1, keepdim=True)


def half_and_half(T):
    return (triangle(T) - torch.tril(torch.ones(T, T), diagonal=-2)) / 2


class LastTwo(v2.Model):
    def body(self, x):
        return last_two(x.shape[1]) @ x


class KeptWeights(v2.Model):
    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("wei", last_two(config.block_size))

    def body(self, x):
        return self.wei[: x.shape[1], : x.shape[1]] @ x


class TrainedWeights(v2.Model):
    def __init__(self, config):
        super().__init__(config)
        self.wei = nn.Parameter(last_two(config.block_size))

    def body(self, x):
        return self.wei[: x.shape[1], : x.shape[1]] @ x


class AverageOfAll(v2.Model):
    def body(self, x):
        return v3.average(x)


class FixedLength(v2.Model):
    def body(self, x):
        return last_two(8) @ x


class Detached(v2.Model):
    def body(self, x):
        return last_two(x.shape[1]) @ x.detach()


# check: (a right answer or {name: right answer}, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.average: (
        {
            "a matrix product": average,
            "in float64": in_float64,
            "a cumulative sum": with_cumsum,
            "the package's": v3.average,
        },
        {
            "two loops": (v2.average, "it still loops"),
            "one loop": (one_loop, "it still loops"),
            "running sums": (lambda x: triangle(x.shape[1]) @ x, "running sums"),
            "the sums without keepdim": (without_keepdim, "keepdim=True"),
            "the mean of all": (lambda x: x.mean(dim=1, keepdim=True).expand_as(x), "later ones too"),
            "the average of the future": (from_the_future, "looks at the future"),
            "on the wrong side": (on_the_wrong_side, "stopped"),
            "for eight tokens only": (for_eight_tokens, "stopped"),
            "x itself": (lambda x: x, r"row t of wei is 1 / \(t \+ 1\)"),
            "written into x": (in_place, "in place"),
            "cut off from the gradient": (by_numpy, "no gradient flows"),
            "nothing returned": (lambda x: None, "return wei @ x"),
        },
    ),
    checks.row_sums_without_keepdim: (
        {
            "a list": lambda: [1, 1.5, 1.8333],
            "a tensor": lambda: (triangle(3) / triangle(3).sum(dim=1)).sum(dim=1),
            "an array": lambda: np.array([1, 1.5, 11 / 6]),
        },
        {
            "as if keepdim were there": (lambda: [1, 1, 1], "with keepdim=True"),
            "the sums before the division": (lambda: [1, 2, 3], "divide column j"),
            "two numbers only": (lambda: [1, 1.5], "three sums, and your list has 2"),
        },
    ),
    checks.last_two: (
        {
            "a tensor": last_two,
            "float64": lambda T: last_two(T).double(),
            "an array": lambda T: last_two(T).numpy(),
            "nested lists": lambda T: last_two(T).tolist(),
        },
        {
            "the next token instead of the last": (lambda T: last_two(T).T, "later one"),
            "not divided": (lambda T: 2 * half_and_half(T), "takes half of token t - 1"),
            "all of the past": (lambda T: v3.average(torch.eye(T)[None])[0], "takes half of token t - 1"),
            "half of token 0": (half_and_half, "takes itself whole"),
            "a row": (lambda T: last_two(T)[-1], "one row per token"),
        },
    ),
    checks.last_two_model: (
        {"a product": LastTwo, "weights kept in a buffer": KeptWeights},
        {
            "the old average": (AverageOfAll, "exercise 3.2"),
            "a matrix of one size": (FixedLength, "stopped"),
            "weights that are trained": (TrainedWeights, "the weights of this average are fixed"),
            "cut off from the gradient": (Detached, "no gradient flows"),
        },
    ),
}
