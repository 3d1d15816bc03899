"""Checks of lesson 3, the average as a matrix product."""

from collections.abc import Callable

import torch
from torch import Tensor

from babygpt.course.checks.core import exercise, expect, expect_same
from babygpt.v2 import Config, Model


@exercise("3.1")
def row_sums_without_keepdim(answer: Callable[[], list[float]]) -> None:
    """The answer returns the three row sums."""
    found = answer()
    expect(len(found) == 3, f"there are three rows, so three sums, and your list has {len(found)}")
    expect(
        not torch.allclose(torch.as_tensor(found, dtype=torch.float64), torch.ones(3, dtype=torch.float64)),
        "these are the row sums with keepdim=True; without it, column j is divided by the j-th sum",
    )
    expect_same(found, [1, 1.5, 1 + 1 / 2 + 1 / 3], "the list", "divide column j of the triangle by j + 1", atol=0.01)


@exercise("3.2")
def last_two(answer: Callable[[int], Tensor]) -> None:
    """The answer returns the (T, T) weights of an average over a token and the one before it."""
    for T in (1, 2, 5):
        wei = answer(T)
        expect(isinstance(wei, Tensor) and wei.shape == (T, T), f"for T = {T} the weights must be a ({T}, {T}) tensor")
        above = torch.triu(wei, diagonal=1)
        expect((above == 0).all(), f"for T = {T} a token takes in a later one: are rows and columns swapped?")
        expect_same(wei.sum(dim=1), torch.ones(T), "the row sums", "each row must be divided by its sum")
        expected = torch.eye(T) / 2 + torch.diag(torch.full((T - 1,), 0.5), diagonal=-1)
        expected[0, 0] = 1
        expect_same(wei[-1], expected[-1], "the last row", "only a token and the one before it have weights")
        expect_same(wei, expected, "the matrix", "token 0 has nothing before it and takes itself whole")


@exercise("3.3")
def last_two_model(answer: type[Model]) -> None:
    """The answer is a model whose body averages the last two tokens."""
    model = answer(Config())
    x = torch.randn(2, 6, 32)
    found = model.body(x)
    expected = torch.cat((x[:, :1], (x[:, 1:] + x[:, :-1]) / 2), dim=1)
    expect_same(found, expected, "the body's output", "is it the weights of exercise 3.2 times x, with T = x.shape[1]?")
    logits, _ = model(torch.zeros((2, 3), dtype=torch.long))
    expect_same(torch.tensor(logits.shape), (2, 3, 65), "the shape of the logits", "does body take any T?")
