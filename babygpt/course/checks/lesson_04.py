"""Checks of lesson 4, the average by softmax."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt import v2, v4
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged
from babygpt.v2 import Config, Model

INFINITY = float("inf")


class LearnedScores(v2.Model):
    """Version 4's model with scores that are learned: what exercise 4.B asks for."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scores = nn.Parameter(torch.zeros(config.block_size, config.block_size))

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        T = x.shape[1]
        wei = F.softmax(self.scores[:T, :T].masked_fill(future(T), -INFINITY), dim=-1)
        return wei @ x


def future(T: int) -> Tensor:
    """Where a token would look at a later one: True above the diagonal of a (T, T) matrix."""
    return torch.triu(torch.ones(T, T), diagonal=1) == 1


@exercise("4.A")
def average(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer is the average of each token and those before it, by softmax over masked scores."""
    for shape in ((2, 5, 3), (1, 1, 4), (4, 8, 2)):
        source = torch.randn(*shape, requires_grad=True)
        x = source.clone()  # PyTorch itself forbids writing into the source
        T, zeros = shape[1], torch.zeros(shape[1], shape[1])
        with unchanged(x=x):
            output = answer(x)
        found, sent = as_tensor(output, "what average returns", "return wei @ x"), source.detach()
        if found.shape == sent.shape and T > 1:
            mistakes = {
                "every token takes in all tokens, later ones too: mask the scores before the softmax (masked_fill "
                "returns a new tensor, so keep what it returns)": F.softmax(zeros, dim=-1),
                "the softmax runs down the columns: it must run along the rows, dim=-1": F.softmax(
                    zeros.masked_fill(future(T), -INFINITY), dim=0
                ),
                "the rows of wei don't sum to 1: the mask comes before the softmax, not after it": F.softmax(
                    zeros, dim=-1
                ).masked_fill(future(T), 0),
                "these are running sums: the softmax is missing": torch.tril(torch.ones(T, T)),
                "the mask is 0 and 1, and 0 is an ordinary score: put minus infinity where tril is 0": F.softmax(
                    torch.tril(torch.ones(T, T)), dim=-1
                ),
            }
            for message, wei in mistakes.items():
                expect(not torch.allclose(found.double(), (wei @ sent).double(), atol=1e-5), message)
            expect(
                not found.isnan().any(), "there is a NaN: is the diagonal in the mask, so that each token hears itself?"
            )
        look_at = "scores of 0, minus infinity for the future, softmax along the rows, and T is x.shape[1]"
        expect_same(found, v4.average(sent), f"the average for x of the shape {shape}", look_at)
        expect_gradient(output, source, "the average", "use PyTorch functions, on x itself")


@exercise("4.1")
def where_nan(answer: Callable[[], tuple[list[int], ...]]) -> None:
    """The answer returns where the NaN are: in wei, wei @ x and wei @ (wei @ x); and with one NaN in x."""
    found = answer()
    count = len(found) if isinstance(found, tuple | list) else 0
    expect(count == 4, f"expected four lists, for a, b, c and d, and your answer is {found!r}")
    lists = [as_tensor(part, "one of your lists", "return four lists of numbers").flatten().tolist() for part in found]
    rows, once, twice, spread = ([int(number) for number in sorted(part)] for part in lists)
    wei = F.softmax(torch.zeros(4, 4).masked_fill(future(4) | torch.eye(4).bool(), -INFINITY), dim=-1)
    x = torch.ones(4, 1)
    one_nan = torch.tensor([[1.0], [1.0], [float("nan")], [1.0]])
    expect(rows != [], "a: there is a row in which all scores are minus infinity, and 0 / 0 is NaN: which?")
    expect(
        rows == nan_rows(wei),
        f"a: you say that the rows {rows} of wei are NaN: which rows of the mask hold no 1 at all?",
    )
    expect(
        once == nan_rows(wei @ x),
        f"b: you say that the tokens {once} are NaN after one average: token t is row t of wei times x",
    )
    expect(
        twice == nan_rows(wei @ (wei @ x)),
        f"c: you say that the tokens {twice} are NaN after two averages: each is a sum over all four tokens, token 0 "
        "included, and a sum with a NaN in it is NaN",
    )
    expect(
        spread == nan_rows(v4.average(one_nan[None])[0]),
        f"d: you say that tokens {spread} are NaN: tokens 0 and 1 give token 2 the weight 0, but 0 times NaN is what?",
    )


def nan_rows(matrix: Tensor) -> list[int]:
    """The numbers of the rows that hold a NaN."""
    return matrix.isnan().any(dim=-1).nonzero().flatten().tolist()


@exercise("4.2")
def softmax(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer is the softmax over the last dimension."""
    source = torch.tensor([[1.0, 2.0, 3.0], [4.0, 6.0, 5.0]], requires_grad=True)
    scores = source.clone()  # PyTorch itself forbids writing into the source
    with unchanged(scores=scores):
        output = answer(scores)
    found, expected = as_tensor(output, "what softmax returns", "return a tensor").double(), F.softmax(source, dim=-1)
    if found.shape == scores.shape:
        sums = found.sum(dim=-1)
        by_columns = found.sum(dim=0)
        expect(
            not torch.allclose(by_columns, torch.ones(3).double(), atol=1e-4),
            "the columns sum to 1, not the rows: sum along dim=-1",
        )
        expect(
            torch.allclose(sums, torch.ones(2).double(), atol=1e-4),
            f"the rows sum to {sums[0]:.4g} and {sums[1]:.4g}: is every row divided by its own sum (keepdim=True)?",
        )
    expect_same(found, expected, "the softmax of [[1, 2, 3], [4, 6, 5]]", "exp of each score over the sum of its row")
    expect_gradient(output, source, "the softmax", "use PyTorch functions, on the scores themselves")
    large = torch.tensor([[1000.0, 1001.0], [-1000.0, -1001.0]])
    with unchanged(scores=large):
        found = as_tensor(answer(large), "what softmax returns", "return a tensor")
    expect(
        not found[0].isnan().any(),
        "the softmax of 1000 and 1001 is NaN: exp(1000) is infinite, so subtract the row's largest score first",
    )
    expect(
        not found[1].isnan().any(),
        "the softmax of -1000 and -1001 is NaN when another row holds 1000 and 1001: subtract from each row its own "
        "largest score, not the largest of all",
    )
    expected = F.softmax(large, dim=-1)  # to 1e-3: near 1000 floats lie 6e-5 apart, and logsumexp rounds there
    expect_same(found, expected, "the softmax of large scores", "it is that of 0 and 1", atol=1e-3)
    masked = torch.randn(2, 4, 4).masked_fill(future(4), -INFINITY)
    with unchanged(scores=masked):
        found = answer(masked)
    expect_same(found, F.softmax(masked, dim=-1), "the softmax of masked scores (2, 4, 4)", "is each dim the last, -1?")


@exercise("4.3")
def within_texts(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer returns the weights of an average over the past within a token's own text."""
    for ids in ([0, 0, 0, 1, 1], [0], [2, 2, 5, 5, 5, 5, 2]):
        text = torch.tensor(ids)
        T = len(ids)
        allowed = torch.tensor([[i <= t and ids[i] == ids[t] for i in range(T)] for t in range(T)])
        with unchanged(text=text):
            found = as_tensor(answer(text), "what within_texts returns", "return a (T, T) tensor").double()
        if found.shape == (T, T):
            look_at = f"for text = {ids}"
            expect(not found.isnan().any(), f"{look_at} there is a NaN: is each token allowed to hear itself?")
            expect(
                found.isfinite().all(), f"{look_at} there are infinite numbers: these are scores, so take their softmax"
            )
            expect(
                not torch.equal(found, allowed.double()) or T == 1,
                f"{look_at} all weights are 0 or 1, and a row must sum to 1: take the softmax of masked scores",
            )
            expect((found[future(T)] == 0).all(), f"{look_at} a token hears a later one: is tril in the mask?")
            down = F.softmax(torch.zeros(T, T).masked_fill(~allowed, -INFINITY), dim=0).double()
            expect(
                not torch.allclose(found, down, atol=1e-6) or T == 1,
                f"{look_at} the columns sum to 1, not the rows: the softmax must run along each row, dim=-1",
            )
            expect((found[~allowed] == 0).all(), f"{look_at} a token hears another text: compare text[t] with text[i]")
            sums = found.sum(dim=-1)
            expect(
                torch.allclose(sums, torch.ones(T).double(), atol=1e-5),
                f"{look_at} the rows sum to {[round(s, 3) for s in sums.tolist()]}: mask before the softmax, not after",
            )
        expected = allowed / allowed.sum(dim=1, keepdim=True)
        expect_same(found, expected, f"the matrix for text = {ids}", "all that a token may hear has the same weight")


@exercise("4.B")
def learned_scores(answer: type[Model]) -> None:
    """The answer is version 4's model with scores that are a parameter and begin at 0."""
    for block_size, n_embd in ((6, 32), (3, 8)):
        model = answer(Config(block_size=block_size, n_embd=n_embd))
        expect(
            "scores" in dict(model.named_parameters()),
            "self.scores is not among the model's parameters: is it an nn.Parameter, made in __init__?",
        )
        scores = model.scores
        size = (block_size, block_size)
        expect(
            scores.shape == size,
            f"for block_size = {block_size} the scores have the shape {tuple(scores.shape)}, expected {size}",
        )
        expect((scores == 0).all(), "the scores must begin at 0")
        with torch.no_grad():
            scores.copy_(torch.randn(*size))
        for T in (block_size, block_size - 1):
            source = torch.randn(2, T, n_embd, requires_grad=True)
            x = source.clone()  # PyTorch itself forbids writing into the source
            with unchanged(x=x):
                output = model.body(x)
            expect(output is not None, "body returns None: it must return a tensor")
            found, sent = as_tensor(output, "what body returns", "return wei @ x").double(), source.detach().double()
            cropped = scores.detach()[:T, :T].double()
            wei = F.softmax(cropped.masked_fill(future(T), -INFINITY), dim=-1)
            if found.shape == sent.shape:
                mistakes = {
                    "the scores are not masked, and a token hears later ones: put minus infinity where tril is 0": (
                        F.softmax(cropped, dim=-1)
                    ),
                    "the mask comes after the softmax, so the rows don't sum to 1: mask before the softmax": (
                        F.softmax(cropped, dim=-1).masked_fill(future(T), 0)
                    ),
                    "the softmax runs down the columns: it must run along the rows, dim=-1": (
                        F.softmax(cropped.masked_fill(future(T), -INFINITY), dim=0)
                    ),
                    "x is added to the average: version 4 has no such shortcut, so return wei @ x alone": (
                        wei + torch.eye(T)
                    ),
                    "the scores are not used: this is the equal average of version 4": (
                        F.softmax(torch.zeros(T, T).double().masked_fill(future(T), -INFINITY), dim=-1)
                    ),
                    "the scores are the weights themselves: take their softmax": torch.tril(cropped),
                }
                for message, wrong in mistakes.items():
                    expect(not torch.allclose(found, wrong @ sent, atol=1e-5), message)
            expect_same(
                found, wei @ sent, f"the body's output for T = {T}", "is it softmax(masked scores, dim=-1) @ x?"
            )
            expect_gradient(output, source, "the body's output", "use PyTorch functions, on x itself")
        output = model.body(torch.randn(2, block_size, n_embd))
        if output.requires_grad:
            output.square().sum().backward()
        expect(scores.grad is not None and scores.grad.any(), "no gradient reaches the scores: are they detached?")
