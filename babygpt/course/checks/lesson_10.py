"""Checks of lesson 10, dropout and the whole model."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from babygpt import v10
from babygpt.course.checks.core import exercise, expect, expect_same


@exercise("10.1")
def my_dropout(answer: Callable[[Tensor, float, bool], Tensor]) -> None:
    """The answer drops a share p in training, scales up the rest, and otherwise does nothing."""
    x = torch.ones(500, 200)
    expect_same(answer(x, 0.2, False)[0], x[0], "the output outside of training", "give x back as it is", atol=0)
    found = answer(x, 0.2, True)
    expect(isinstance(found, Tensor) and found.shape == x.shape, "the output must be a tensor of the shape of x")
    expect((x == 1).all(), "x itself was changed: make a new tensor")
    zeros = (found == 0).float()
    expect(zeros.any(), "nothing is dropped in training: no number became 0 for p = 0.2")
    expect(
        (zeros != zeros[0]).any() and (zeros != zeros[:, :1]).any(),
        "whole rows or columns are dropped together: draw a random number for each number of x",
    )
    expect(abs(zeros.mean() - 0.8) > 0.05, "for p = 0.2 a share of 0.8 is zero: p is the share that is dropped")
    expect(abs(zeros.mean() - 0.2) < 0.01, f"for p = 0.2 a share of {zeros.mean():.3f} is zero")
    kept = found[found != 0]
    expect((kept != 1).any(), "the numbers that are left are as they were: divide them by 1 - p")
    expect_same(kept, torch.full_like(kept, 1.25), "what is left of ones for p = 0.2", "divide by 1 - p")
    expect(not torch.equal(answer(x, 0.2, True), found), "two calls drop the same numbers: draw anew each time")
    expect_same(answer(3 * x, 0.0, True)[0], 3 * x[0], "the output for p = 0", "nothing is dropped then")


@exercise("10.2")
def dropout_places(answer: Callable[[], str]) -> None:
    """The answer names the three places of version 10."""
    answered = answer()
    words = re.findall("[A-Z]+", (answered if isinstance(answered, str) else " ".join(answered)).upper())
    found = {letter for word in words if word != "AND" for letter in word}
    for letter, why in {
        "A": "A: a score of 0 is a weight like any other (exp(0) is 1); attention drops weights, after the softmax",
        "C": "C: the parts read the whole normalized token; what they send back is dropped",
        "E": "E: the stream itself is never dropped, only what is added to it",
    }.items():
        expect(letter not in found, why)
    missing = sorted({"B", "D", "F"} - found)
    expect(not missing, f"{len(missing)} of the three are still missing: look for dropout in babygpt/v10.py")
    expect(found == {"B", "D", "F"}, f"the letters go from A to F, and {''.join(sorted(found))} was returned")


@exercise("10.3")
def count_parameters(answer: Callable[[int, int, int, int], int]) -> None:
    """The answer counts the parameters of version 10."""
    for V, T, C, n_layer in ((65, 256, 384, 6), (65, 8, 32, 3), (10, 5, 12, 1)):
        config = v10.Config(vocab_size=V, block_size=T, n_embd=C, n_head=2, n_layer=n_layer)
        with torch.device("meta"):  # shapes only
            model = v10.Model(config)
        expected = sum(p.numel() for p in model.parameters())
        found = answer(V, T, C, n_layer)
        for extra, mistake in {
            3 * C * n_layer: "query, key and value have no bias",
            -2 * C: "the last norm, ln_f, is missing",
            -V: "lm_head has a bias",
            -C * n_layer: "a bias is missing in each block: proj has one, and so do both layers of ffwd",
            -5 * C * n_layer: "the biases of ffwd are missing: 4 * C and C",
            -4 * C * n_layer: "in each block 4 * C are missing: two norms, each with gamma and beta",
            -V * C: "the token table and lm_head are two matrices, not one",
        }.items():
            expect(found - expected != extra, f"for {V, T, C, n_layer} you count {found - expected:+,}: {mistake}")
        expect(
            found == expected,
            f"for vocab_size, block_size, n_embd, n_layer = {V, T, C, n_layer} the count is {found:,}, "
            f"expected {expected:,}: compare each part with the table of the lesson",
        )


@exercise("10.4")
def times_larger(answer: Callable[[], float]) -> None:
    """The answer is sqrt(384 / 64)."""
    found = answer()
    expect(abs(found - 6) > 0.01, "6 is 384 / 64; the scale is a root")
    expect(found > 1, "the correct scale, 1 / 8, is the larger one: divide it by the other")
    expect_same(float(found), 6**0.5, "the factor", "64 ** -0.5 divided by 384 ** -0.5", atol=0.01)
