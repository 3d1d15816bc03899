"""Checks of lesson 2, averaging the past."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from babygpt.course.checks.core import exercise, expect, expect_same
from babygpt.v2 import Config, Model, average

SUMS = [
    ((4, 8, 32), (8, 32)),
    ((4, 8, 32), (4, 8)),
    ((4, 8, 32), (32,)),
    ((4, 8, 32), (4, 1, 32)),
    ((8, 1), (32,)),
]


@exercise("2.1")
def parameters(answer: Callable[[int, int, int], int]) -> None:
    """The answer returns the number of parameters of v2.Model for a vocabulary, a width and a block size."""
    for vocab_size, n_embd, block_size in ((65, 32, 8), (11, 5, 7), (3, 2, 100)):
        found = answer(vocab_size, n_embd, block_size)
        model = Model(Config(vocab_size=vocab_size, n_embd=n_embd, block_size=block_size))
        expected = sum(p.numel() for p in model.parameters())
        sizes = f"vocab_size {vocab_size}, n_embd {n_embd}, block_size {block_size}"
        seen = f"for {sizes} the formula gives {found}, and the model has {expected}"
        expect(found != expected - vocab_size, f"{seen}: lm_head has a bias for each of its outputs")
        expect(
            found not in (expected - block_size * n_embd, expected - block_size * n_embd - vocab_size),
            f"{seen}: is the table of positions in it?",
        )
        expect(found == expected, f"{seen}: two tables, and a linear layer with weights and biases")


@exercise("2.2")
def shapes_of_sums(answer: Callable[[], list[tuple[int, ...] | None]]) -> None:
    """The answer returns the shapes of the sums of tensors with the shapes SUMS, None where there is none."""
    found = answer()
    expect(
        isinstance(found, list | tuple) and len(found) == len(SUMS),
        f"expected a list of {len(SUMS)} shapes, and it is {found!r}",
    )
    for number, ((left, right), shape) in enumerate(zip(SUMS, found, strict=True), start=1):
        try:
            expected = tuple(torch.broadcast_shapes(left, right))
        except RuntimeError:
            expected = None
        shape = None if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        if expected is None:
            look_at = "lined up on the right, a column holds two different numbers, and neither is 1"
        else:
            look_at = "line the shapes up on the right; a 1, or nothing, is stretched to the number above it"
        expect(shape == expected, f"sum {number}, {left} + {right}: you say {shape}, but {look_at}")


class Counting(TorchFunctionMode):
    """Counts the operations on tensors while it is entered."""

    operations = 0

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        self.operations += 1
        return func(*args, **kwargs or {})


@exercise("2.3")
def one_loop(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer returns the mean of each token and those before it, (B, T, C)."""
    for shape in ((2, 5, 3), (3, 1, 4)):
        x = torch.randn(shape)
        before = x.clone()
        found = answer(x)
        expect(torch.equal(x, before), "x was changed by the function: write total = total + ..., and not total += ...")
        expected = average(x)
        if isinstance(found, Tensor) and found.shape == expected.shape:
            expect(
                not torch.allclose(found, x.cumsum(dim=1), atol=1e-5) or shape[1] == 1,
                "these are the sums: divide by the number of tokens in them",
            )
            expect(found.isfinite().all(), "there is inf or NaN in it: token t is the mean of t + 1 tokens, not of t")
            expect_same(found[:, 0], x[:, 0], "token 0", "it hears itself, whole")
        expect_same(found, expected, "the result", "token t is the sum of tokens 0 to t, divided by t + 1")
    with Counting() as counting:
        answer(torch.zeros(500, 2, 3))
    # One loop takes a few operations for each of the 2 tokens, whatever B is.
    expect(
        counting.operations < 500,
        f"the means are right, but for 500 chunks of 2 tokens it took {counting.operations} operations: "
        f"is there still a loop over b? x[:, t] is token t of all chunks at once",
    )


@exercise("2.4")
def no_average(answer: type[Model]) -> None:
    """The answer is version 2's model whose body leaves every token its own vector."""
    model = answer(Config())
    x = torch.randn(2, 6, 32)
    found = model.body(x)
    expect(found is not None, "body returns None: it must return a tensor")
    if isinstance(found, Tensor) and found.shape == x.shape:
        expect(not torch.allclose(found, average(x), atol=1e-5), "body still averages")
    expect_same(found, x, "the body's output", "every token keeps its own vector: what goes in comes out")
    idx = torch.randint(65, (2, 4))
    other = idx.clone()
    other[:, :3] = torch.randint(65, (2, 3))
    expect_same(
        model(other)[0][:, -1],
        model(idx)[0][:, -1],
        "the prediction after another past",
        "no token must see another one",
    )
