"""Checks of lesson 3, the average as a matrix product."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from babygpt import v2
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged
from babygpt.v2 import Config, Model


class Calls(TorchFunctionMode):
    """Counts the calls of PyTorch functions while it is active."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, then do what was asked."""
        self.count += 1
        return func(*args, **(kwargs or {}))


def calls(answer: Callable[[Tensor], Tensor], *shape: int) -> int:
    """How many calls of PyTorch functions the answer makes for a batch of this shape."""
    x = torch.randn(*shape)
    with Calls() as counter:
        answer(x)
    return counter.count


@exercise("3.A")
def average(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer is the average of each token and those before it, without a loop."""
    for shape in ((2, 5, 3), (1, 1, 4), (4, 8, 2)):
        source = torch.randn(*shape, requires_grad=True)
        x = source.clone()  # PyTorch itself forbids writing into the source
        T = shape[1]
        with unchanged(x=x):
            output = answer(x)
        found, sent = as_tensor(output, "what average returns", "return wei @ x"), source.detach()
        if found.shape == sent.shape and T > 1:
            ones, tril = torch.ones(T, T), torch.tril(torch.ones(T, T))
            mistakes = {
                "these are running sums, not averages: divide each row of wei by its sum": tril,
                "the columns of wei are divided, not its rows: the sums must be a column, so pass keepdim=True": (
                    tril / tril.sum(dim=1)
                ),
                "every token takes in all tokens, later ones too: keep only the lower triangle of wei, torch.tril": (
                    ones / T
                ),
                "every token looks at the future: the ones belong below the diagonal of wei, torch.tril": (
                    tril.T / tril.T.sum(dim=1, keepdim=True)
                ),
            }
            for message, wei in mistakes.items():
                expect(not torch.allclose(found.double(), (wei @ sent).double(), atol=1e-5), message)
        look_at = "row t of wei is 1 / (t + 1) for the tokens 0 to t, and T is x.shape[1]"
        expect_same(found, v2.average(sent), f"the average for x of the shape {shape}", look_at)
        expect_gradient(output, source, "the average", "use PyTorch functions, on x itself")
    few, many = calls(answer, 2, 4, 3), calls(answer, 4, 12, 3)
    expect(
        many <= few + 2,
        f"the numbers are right, but your code makes {few} calls of PyTorch for 2 chunks of 4 tokens and {many} for 4 "
        "chunks of 12: it still loops. One matrix product does it all",
    )


@exercise("3.1")
def row_sums_without_keepdim(answer: Callable[[], list[float]]) -> None:
    """The answer returns the three row sums."""
    found = as_tensor(answer(), "your answer", "return a list of three numbers").double().flatten()
    expect(len(found) == 3, f"there are three rows, so three sums, and your list has {len(found)}")
    expect(
        not torch.allclose(found, torch.ones(3, dtype=torch.float64)),
        "these are the row sums with keepdim=True; without it, column j is divided by the j-th sum",
    )
    expected = torch.tensor([1, 1.5, 1 + 1 / 2 + 1 / 3], dtype=torch.float64)
    expect_same(found, expected, "the list", "divide column j of the triangle by j + 1", atol=0.01)


def package_last_two(T: int) -> Tensor:
    """The weights of exercise 3.2, for those who leave it open: (T, T)."""
    band = torch.tril(torch.ones(T, T)).triu(-1)
    return band / band.sum(dim=1, keepdim=True)


package_last_two.__qualname__ = "last_two"  # as `choose` prints it


@exercise("3.2")
def last_two(answer: Callable[[int], Tensor]) -> None:
    """The answer returns the (T, T) weights of an average over a token and the one before it."""
    for T in (1, 2, 5, 9):
        wei = as_tensor(answer(T), f"what last_two({T}) returns", "return a (T, T) tensor").double()
        expect(
            wei.shape == (T, T),
            f"for T = {T} the weights have the shape {tuple(wei.shape)}, expected {(T, T)}: one row per token",
        )
        above = torch.triu(wei, diagonal=1)
        expect((above == 0).all(), f"for T = {T} a token takes in a later one: are rows and columns swapped?")
        expected = torch.eye(T).double() / 2 + torch.diag(torch.full((T - 1,), 0.5).double(), diagonal=-1)
        expected[0, 0] = 1
        below = torch.cat((expected[:1], wei[1:]))  # row 0 has a message of its own
        expect_same(below, expected, f"the matrix for T = {T}", "token t takes half of token t - 1 and half of itself")
        expect_same(wei, expected, f"the matrix for T = {T}", "token 0 has nothing before it, so it takes itself whole")


@exercise("3.3")
def last_two_model(answer: type[Model]) -> None:
    """The answer is a model with a body that averages the last two tokens."""
    for n_embd in (32, 12):
        model = answer(Config(n_embd=n_embd))
        look_at = "the weights of this average are fixed: leave the parameters of version 2 as they are"
        extra = set(dict(model.named_parameters())) ^ set(dict(Model(Config()).named_parameters()))
        expect(not extra, f"the parameters differ from version 2's by {', '.join(sorted(extra))}: {look_at}")
        for T in (6, 1, 8):
            source = torch.randn(2, T, n_embd, requires_grad=True)
            x = source.clone()  # PyTorch itself forbids writing into the source
            with unchanged(x=x):
                output = model.body(x)
            sent = source.detach()
            expected = torch.cat((sent[:, :1], (sent[:, 1:] + sent[:, :-1]) / 2), dim=1)
            look_at = "is it the weights of exercise 3.2 times x, with T = x.shape[1]?"
            expect_same(output, expected, f"the body's output for T = {T}", look_at)
            expect_gradient(output, source, "the body's output", "use PyTorch functions, on x itself")
        logits, _ = model(torch.zeros((2, 3), dtype=torch.long))
        expect_same(torch.tensor(logits.shape), (2, 3, 65), "the shape of the logits", "override body only")
