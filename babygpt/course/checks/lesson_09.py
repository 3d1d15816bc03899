"""Checks of lesson 9, layer norm."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt import v9
from babygpt.course.checks.core import exercise, expect, expect_same


@exercise("9.1")
def normalized_by_hand(answer: Callable[[], list[float]]) -> None:
    """The answer returns the layer norm of [1, 1, 4]."""
    found = torch.as_tensor(answer(), dtype=torch.float64)
    expect(found.shape == (3,), f"three numbers were expected, and the shape is {tuple(found.shape)}")
    expect(abs(found[0] - found[1]) < 1e-6, "inputs 0 and 1 are equal, and their outputs are not")
    expect(abs(found.sum()) < 0.05, f"the sum is {found.sum():.2f} and must be 0: is the mean, 2, subtracted?")
    for ratio, mistake in (
        (0.5**0.5, "this is divided by the variance: divide by its root"),
        ((2 / 3) ** 0.5, "this is with the variance (1 + 1 + 4) / 2: divide by n = 3, not by n - 1"),
        (2**0.5, "the mean is subtracted; now divide by the standard deviation"),
    ):
        expect(abs(found[2] - ratio * 2**0.5) > 0.02, mistake)
    expected = torch.tensor([-1, -1, 2], dtype=torch.float64) / 2**0.5
    expect_same(found, expected, "the list", "subtract 2, then divide by the root of the variance, 2", atol=0.01)


@exercise("9.2")
def rms_norm(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The answer divides each token by the root mean square of its numbers, and multiplies by gamma."""
    x = 3 + 2 * torch.randn(2, 3, 4)
    found = answer(x, torch.ones(4))
    expect(isinstance(found, Tensor) and found.shape == x.shape, f"(2, 3, 4) went in, and {shape(found)} came out")
    expect(
        not torch.allclose(found, F.layer_norm(x, (4,)), atol=1e-4),
        "this is layer norm: RMSNorm does not subtract the mean",
    )
    squares = (found**2).mean(dim=-1)
    expect_same(squares, torch.ones(2, 3), "the mean of a token's squares", "mean of the squares, then the root", 1e-3)
    gamma = torch.tensor([2.0, 1.0, 0.5, 3.0])
    expect_same(answer(x, gamma), gamma * found, "the output with another gamma", "multiply each feature by its gamma")
    tiny = torch.full((1, 4), 1e-3)
    expected = tiny / (1e-6 + 1e-5) ** 0.5
    expect_same(answer(tiny, torch.ones(4)), expected, "a token of thousandths", "eps is added inside the root", 1e-3)


@exercise("9.3")
def post_norm_block(answer: type[v9.Block]) -> None:
    """The answer is a block that normalizes each sum."""
    block = answer(v9.Config())
    x = 5 * torch.randn(2, 8, 32)
    given = x.clone()
    found = block(given)
    expect(isinstance(found, Tensor) and found.shape == x.shape, f"(2, 8, 32) went in, and {shape(found)} came out")
    expect(torch.equal(given, x), "the block's input itself was changed: write x = ... + ..., not x += ...")
    pre = x + block.sa(block.ln1(x))
    expect(
        not torch.allclose(found, pre + block.ffwd(block.ln2(pre)), atol=1e-5),
        "this is pre-norm, version 9's own block: normalize the sum, not the input of the part",
    )
    expect_same(
        found.std(dim=-1, correction=0),
        torch.ones(2, 8),
        "the standard deviation of the tokens after the block",
        "does ln2 enclose the whole sum, x + self.ffwd(x)?",
        atol=1e-3,
    )
    middle = block.ln1(x + block.sa(x))
    expected = block.ln2(middle + block.ffwd(middle))
    expect_same(found, expected, "the output", "x = ln1(x + sa(x)), then the same with ln2 and ffwd")


@exercise("9.4")
def layer_norm_backward(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The answer is the gradient of layer norm with respect to its input."""
    x = (1 + 3 * torch.randn(2, 3, 8)).requires_grad_()
    dxhat = 1 + torch.randn(2, 3, 8)
    F.layer_norm(x, (8,)).backward(dxhat)
    x, expected = x.detach(), x.grad
    found = answer(dxhat, x)
    expect(isinstance(found, Tensor) and found.shape == x.shape, f"(2, 3, 8) went in, and {shape(found)} came out")
    rstd = (x.var(dim=-1, keepdim=True, correction=0) + 1e-5).rsqrt()
    expect(not torch.allclose(found * rstd, expected, atol=1e-5), "the factor rstd is missing")
    sums = found.sum(dim=-1)
    expect(
        torch.allclose(sums, torch.zeros(2, 3), atol=1e-4),
        f"a token's gradient must sum to 0, and it sums to {sums[0, 0]:.3f}: is the mean of dxhat subtracted?",
    )
    expect_same(found, expected, "the gradient", "is the term through the variance there?")


def shape(found: object) -> str:
    """What came out, in words."""
    return str(tuple(found.shape)) if isinstance(found, Tensor) else type(found).__name__
