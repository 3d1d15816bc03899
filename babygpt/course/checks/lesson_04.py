"""Checks of lesson 4, the average by softmax."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt.course.checks.core import exercise, expect, expect_same
from babygpt.v2 import Config, Model


@exercise("4.1")
def where_nan(answer: Callable[[], tuple[list[int], list[int], list[int]]]) -> None:
    """The answer returns where the NaN are without a diagonal: in wei, in wei @ x and in wei @ (wei @ x)."""
    found = answer()
    expect(isinstance(found, tuple | list) and len(found) == 3, f"expected three lists, and it is {found!r}")
    rows, once, twice = (sorted(part) for part in found)
    strict = torch.tril(torch.ones(4, 4), diagonal=-1)
    wei = F.softmax(torch.zeros(4, 4).masked_fill(strict == 0, float("-inf")), dim=-1)
    x = torch.ones(4, 1)
    expect(rows != [], "there is a row in which all scores are minus infinity, and 0 / 0 is NaN: which?")
    expect(
        rows == nan_rows(wei),
        f"you say that the rows {rows} of wei are NaN: which rows of the mask have no 1 at all, and which have some?",
    )
    expect(
        once == nan_rows(wei @ x),
        f"you say that the tokens {once} are NaN after one average: token t is row t of wei times x, and x has no NaN",
    )
    expect(
        twice == nan_rows(wei @ (wei @ x)),
        f"you say that the tokens {twice} are NaN after two averages: every later token "
        "hears token 0, and a sum with a NaN in it is NaN",
    )


def nan_rows(matrix: Tensor) -> list[int]:
    """The numbers of the rows that hold a NaN."""
    return matrix.isnan().any(dim=-1).nonzero().flatten().tolist()


@exercise("4.2")
def softmax(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer is the softmax over the last dimension."""
    scores = torch.tensor([[1.0, 2.0, 3.0], [4.0, 6.0, 5.0]])
    found, expected = answer(scores.clone()), F.softmax(scores, dim=-1)
    if isinstance(found, Tensor) and found.shape == scores.shape:
        sums = found.sum(dim=-1)
        by_columns = found.sum(dim=0)
        expect(
            not torch.allclose(by_columns, torch.ones(3), atol=1e-4),
            "the columns sum to 1, not the rows: sum along dim=-1",
        )
        expect(
            torch.allclose(sums, torch.ones(2), atol=1e-4),
            f"the rows sum to {sums[0]:.4g} and {sums[1]:.4g}: is every row divided by its own sum (keepdim=True)?",
        )
    expect_same(found, expected, "the softmax of [[1, 2, 3], [4, 6, 5]]", "exp of each score over the sum of its row")
    large = torch.tensor([[1000.0, 1001.0], [-1000.0, -1001.0]])
    found = answer(large.clone())
    expect(
        not found[0].isnan().any(),
        "the softmax of 1000 and 1001 is NaN: exp(1000) is infinite, so subtract the row's largest score first",
    )
    expect(
        not found[1].isnan().any(),
        "the softmax of -1000 and -1001 is NaN, below a row with 1000 and 1001: subtract each row's own largest score",
    )
    expected = F.softmax(large, dim=-1)  # to 1e-3: near 1000 floats lie 6e-5 apart, and logsumexp rounds there
    expect_same(found, expected, "the softmax of large scores", "it is that of 0 and 1", atol=1e-3)
    masked = torch.randn(2, 4, 4).masked_fill(torch.tril(torch.ones(4, 4)) == 0, float("-inf"))
    found = answer(masked.clone())
    expect_same(found, F.softmax(masked, dim=-1), "the softmax of masked scores (2, 4, 4)", "is each dim the last, -1?")


@exercise("4.3")
def within_texts(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer returns the weights of an average over the past within a token's own text."""
    for ids in ([0, 0, 0, 1, 1], [0], [2, 2, 5, 5, 5, 5, 2]):
        text = torch.tensor(ids)
        T = len(ids)
        allowed = torch.tensor([[i <= t and ids[i] == ids[t] for i in range(T)] for t in range(T)])
        found = answer(text)
        if isinstance(found, Tensor) and found.shape == (T, T):
            look_at = f"for text = {ids}"
            expect(not found.isnan().any(), f"{look_at} there is a NaN: is each token allowed to hear itself?")
            expect(
                (torch.triu(found, diagonal=1) == 0).all(), f"{look_at} a token hears a later one: is tril in the mask?"
            )
            expect((found[~allowed] == 0).all(), f"{look_at} a token hears another text: compare text[t] with text[i]")
            sums = found.sum(dim=-1)
            expect(
                torch.allclose(sums.double(), torch.ones(T).double(), atol=1e-5),
                f"{look_at} the rows sum to {[round(s, 3) for s in sums.tolist()]}: mask before the softmax, not after",
            )
        expected = allowed / allowed.sum(dim=1, keepdim=True)
        expect_same(found, expected, f"the matrix for text = {ids}", "all that a token may hear has the same weight")


@exercise("4.4")
def learned_scores(answer: type[Model]) -> None:
    """The answer is version 4's model with scores that are a parameter and begin at 0."""
    model = answer(Config(block_size=6))
    expect(
        "scores" in dict(model.named_parameters()),
        "self.scores is not among the model's parameters: is it an nn.Parameter, made in __init__?",
    )
    scores = model.scores
    expect(scores.shape == (6, 6), f"for block_size 6 the scores have the shape {tuple(scores.shape)}, expected (6, 6)")
    expect((scores == 0).all(), "the scores must begin at 0")
    with torch.no_grad():
        scores.copy_(torch.randn(6, 6))
    for T in (6, 4):
        x = torch.randn(2, T, 32)
        future = torch.tril(torch.ones(T, T)) == 0
        wei = F.softmax(scores.detach()[:T, :T].masked_fill(future, float("-inf")), dim=-1)
        found = model.body(x)
        expect(found is not None, "body returns None: it must return a tensor")
        if isinstance(found, Tensor) and found.shape == x.shape:
            changed = x.clone()
            changed[:, 1:] += 1
            expect(
                torch.equal(model.body(changed)[:, 0], found[:, 0]),
                "token 0 already hears token 1: are the scores masked?",
            )
            expect_same(found[:, 0], x[:, 0], "token 0", "it hears itself alone: is the mask before the softmax?")
        expect_same(found, wei @ x, f"the body's output for T = {T}", "is it softmax(masked scores, dim=-1) @ x?")
    model.body(torch.randn(2, 6, 32)).square().sum().backward()
    expect(scores.grad is not None and scores.grad.any(), "no gradient reaches the scores: are they detached?")
