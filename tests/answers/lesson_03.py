"""Right answers to the exercises of lesson 3, and wrong ones that people really give."""

import torch

from babygpt import v2, v3
from babygpt.course.checks import lesson_03 as checks


def last_two(T):
    band = torch.tril(torch.ones(T, T)) - torch.tril(torch.ones(T, T), diagonal=-2)
    return band / band.sum(dim=1, keepdim=True)


class LastTwo(v2.Model):
    def body(self, x):
        return last_two(x.shape[1]) @ x


class AverageOfAll(v2.Model):
    def body(self, x):
        return v3.average(x)


class FixedLength(v2.Model):
    def body(self, x):
        return last_two(8) @ x


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.row_sums_without_keepdim: (
        lambda: [1, 1.5, 1.8333],
        {
            "as if keepdim were there": (lambda: [1, 1, 1], "with keepdim=True"),
            "the sums before the division": (lambda: [1, 2, 3], "divide column j"),
            "two numbers only": (lambda: [1, 1.5], "three sums, and your list has 2"),
        },
    ),
    checks.last_two: (
        last_two,
        {
            "the next token instead of the last": (lambda T: last_two(T).T, "later one"),
            "not divided": (lambda T: torch.tril(torch.ones(T, T)) - torch.tril(torch.ones(T, T), -2), "divided"),
            "all of the past": (lambda T: v3.average(torch.eye(T)[None])[0], "only a token and the one before"),
        },
    ),
    checks.last_two_model: (
        LastTwo,
        {
            "the old average": (AverageOfAll, "exercise 3.2"),
            "a matrix of one size": (FixedLength, "stopped"),
        },
    ),
}
