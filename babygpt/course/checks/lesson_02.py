"""Checks of lesson 2, averaging the past."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged
from babygpt.v2 import Config, Model
from babygpt.v2 import average as package_average

SUMS = [
    ((4, 8, 32), (8, 32)),
    ((4, 8, 32), (4, 8)),
    ((4, 8, 32), (32,)),
    ((4, 8, 32), (4, 1, 32)),
    ((8, 1), (32,)),
]


@exercise("2.A")
def average(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer returns the mean of each token and those before it, (B, T, C)."""
    for shape in ((2, 5, 3), (3, 2, 4)):
        found = checked_average(answer, torch.randn(shape))
        expect(isinstance(found, Tensor), f"the result is of type {type(found).__name__}, expected a tensor")
        expect(
            found.dtype == torch.float32,
            f"x holds torch.float32 and the result {found.dtype}: keep the type, because lm_head expects it",
        )
    x = torch.randn(2, 4, 3, requires_grad=True)
    expect_gradient(answer(x), x, "the result", "compute with tensors all the way, without .item(), .data or NumPy")


def checked_average(answer: Callable[[Tensor], Tensor], x: Tensor) -> Any:
    """What the answer returns for x; fails unless that is the mean of each token and those before it."""
    with unchanged(x=x):
        returned = answer(x)
    expect(returned is not None, "the answer is None: does the function return its result?")
    found = as_tensor(returned, "the result", "return a (B, T, C) tensor")
    expected = package_average(x)
    if found.shape == expected.shape:
        means = found.double()

        def close(other: Tensor) -> bool:
            return torch.allclose(means, other.double(), atol=1e-5)

        expect(
            means.isfinite().all(),
            "some means are infinite or NaN: token t gets the mean of t + 1 tokens, x[b, : t + 1], and not of t",
        )
        expect(not close(x.cumsum(dim=1)), "these are the sums: divide each by the number of tokens in it")
        everything = x.mean(dim=1, keepdim=True).expand_as(x)
        expect(
            not close(everything), "each token gets the mean of the whole chunk: token t must not see tokens after t"
        )
        expect_same(
            found[:, 0], x[:, 0], "the result for token 0", "its mean is itself, because nothing comes before it"
        )
    expect_same(found, expected, "the result", "token t gets the sum of tokens 0 to t, divided by t + 1")
    return returned


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
            f"{seen}: did you include the table of positions?",
        )
        expect(found == expected, f"{seen}: add two tables, and a linear layer with weights and biases")


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
            look_at = "lined up on the right, one column holds two different numbers, and neither is 1"
        else:
            look_at = "line the shapes up on the right; a 1, or a missing number, is stretched to match the other"
        expect(shape == expected, f"sum {number}, {left} + {right}: you say {shape}, but {look_at}")


class Counting(TorchFunctionMode):
    """Counts the operations on tensors while it is entered."""

    operations = 0

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        self.operations += 1
        return func(*args, **kwargs or {})


@exercise("2.3")
def one_loop(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer returns the mean of each token and those before it, (B, T, C), in one loop over t at most."""
    for shape in ((2, 5, 3), (3, 1, 4), (4, 2, 6)):
        if shape[1] > 1:
            checked_average(answer, torch.randn(shape))
        else:  # the mean of one token is the token, and also the sum and the mean of the chunk
            x = torch.randn(shape)
            expect_same(answer(x), x, "for chunks of one token the result", "the mean of one token is that token")
    x = torch.randn(2, 4, 3, requires_grad=True)
    expect_gradient(answer(x), x, "the result", "compute with tensors all the way, without .item(), .data or NumPy")
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
    """The answer is version 2's model, in which body leaves every token its own vector, and all else is as it was."""
    for config in (Config(), Config(vocab_size=11, n_embd=6, block_size=5)):
        B, T, V, C = 2, config.block_size - 1, config.vocab_size, config.n_embd
        model, plain = answer(config), Model(config)
        for p in plain.parameters():
            nn.init.normal_(p)
        idx = torch.randint(V, (B, T))
        x = torch.randn(B, T, C)
        with torch.no_grad(), unchanged(x=x, idx=idx):
            found = model.body(x)
            expect(found is not None, "body returns None: it must return a tensor")
            if isinstance(found, Tensor) and found.shape == x.shape:
                expect(not torch.allclose(found, package_average(x), atol=1e-5), "body still averages")
            expect_same(found, x, "the output of body", "every token keeps its own vector: what goes in comes out")
            layers = sorted(plain.state_dict())
            expect(
                sorted(model.state_dict()) == layers
                and all(model.state_dict()[name].shape == plain.state_dict()[name].shape for name in layers),
                f"the model must have the same parameters as version 2, {layers}: take away the average only, and no "
                f"layer",
            )
            model.load_state_dict(plain.state_dict())
            tokens = plain.token_embedding_table.weight[idx]  # (B, T, C)
            positions = plain.position_embedding_table.weight[:T]  # (T, C)
            logits = model(idx)[0]
            expect(
                not torch.allclose(logits, plain.lm_head(tokens), atol=1e-5),
                "the positions are gone too: take away the average only, so that you know what made the difference",
            )
            expect_same(
                logits,
                plain.lm_head(tokens + positions),
                "the model's output",
                "token and position, added, go to lm_head as they are: replace body, and nothing else",
            )
    x = torch.randn(2, 3, 32, requires_grad=True)
    expect_gradient(answer(Config()).body(x), x, "body", "return x itself")
