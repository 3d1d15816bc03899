"""Checks of lesson 1, the bigram model."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from babygpt.course.checks.core import exercise, expect, expect_same
from babygpt.model import LanguageModel
from babygpt.v1 import Config, Model


@exercise("1.1")
def perplexity_and_bits(answer: Callable[[float], tuple[float, float]]) -> None:
    """The answer returns the perplexity and the bits that belong to a loss in nats."""
    for loss in (math.log(65), 2.5, 1.48):
        found = answer(loss)
        expect(
            isinstance(found, tuple | list) and len(found) == 2,
            f"the answer is {found!r}, expected two numbers: return perplexity, bits",
        )
        perplexity, bits = (float(value) for value in found)
        expected = math.exp(loss), loss / math.log(2)
        expect(
            not (math.isclose(perplexity, expected[1], abs_tol=1e-3)),
            "the first number is the bits: return the perplexity first",
        )
        expect_same(
            perplexity,
            expected[0],
            f"the perplexity of a loss of {loss:.2f}",
            "is it e to the power of the loss?",
            1e-3,
        )
        expect_same(
            bits, expected[1], f"the bits of a loss of {loss:.2f}", "is the loss divided by the natural log of 2?", 1e-3
        )


@exercise("1.2")
def greedy(answer: Callable[[LanguageModel, Tensor, int], Tensor]) -> None:
    """The answer continues a batch with the likeliest tokens."""
    model = Model(Config(vocab_size=9))
    idx = torch.tensor([[1, 2, 3], [4, 5, 6]])
    found = answer(model, idx, 5)
    expect(isinstance(found, Tensor), f"the answer is {type(found).__name__}, expected a tensor: is idx returned?")
    expect(
        found.shape == (2, 8),
        f"from (2, 3) and 5 new tokens came the shape {tuple(found.shape)}, expected (2, 8): "
        f"is each new token appended to idx, along dim=1?",
    )
    expect(torch.equal(found[:, :3], idx), "the first tokens are no longer those of idx: append, do not replace")
    row = model.token_embedding_table.weight
    for b in range(2):
        for t in range(2, 7):
            last, new = found[b, t].item(), found[b, t + 1].item()
            expect(
                new == row[last].argmax().item(),
                f"after token {last} came {new}, and the likeliest is {row[last].argmax().item()}: "
                f"is it the argmax of logits[:, -1, :], and nothing drawn?",
            )


class Watched(Model):
    """Version 1, which remembers how many rows it was given at a time."""

    def logits(self, idx: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)."""
        self.seen = [*getattr(self, "seen", []), len(idx)]
        return super().logits(idx)


@exercise("1.3")
def in_halves(answer: Callable[[LanguageModel, Tensor, Tensor], None]) -> None:
    """The answer leaves in the model the gradient of a whole batch, computed from its halves."""
    model = Watched(Config(vocab_size=9))
    xb, yb = torch.randint(9, (4, 8)), torch.randint(9, (4, 8))
    weight = model.token_embedding_table.weight
    parts = []
    for rows in (slice(None), slice(None, 2), slice(2, None)):
        parts.append(torch.autograd.grad(model(xb[rows], yb[rows])[1], weight)[0])
    whole, first, second = parts
    weight.grad = torch.ones_like(weight)  # what an earlier step left behind
    model.seen = []
    answer(model, xb, yb)
    found = weight.grad
    expect(found is not None, "the model has no gradients: is zero_grad called before the backwards, and not after?")
    expect(model.seen != [4], "the model was given the whole batch of 4 rows at once: give it 2 rows, twice")
    expect(model.seen == [2, 2], f"the model was given {model.seen} rows, expected [2, 2]: one pass over each half")
    for rest in (whole, first + second):
        expect(
            not torch.allclose(found, rest + 1, atol=1e-6),
            "the gradients of an earlier step are still in it: call model.zero_grad() first",
        )
    for part in (second, second / 2):
        expect(
            not torch.allclose(found, part, atol=1e-6),
            "only the second half is in it: was zero_grad called between the halves?",
        )
    expect(
        not torch.allclose(found, first + second, atol=1e-6),
        "the gradient is twice as large as that of the whole batch: each half's loss is a mean, so halve it",
    )
    expect_same(found, whole, "the gradient", "is it (loss / 2).backward() for each half?", 1e-6)


@exercise("1.4")
def count_logits(answer: Callable[[Tensor, int], Tensor]) -> None:
    """The answer gives logits whose softmax is the shares of the counts, with 1 added to each count."""
    tokens = torch.tensor([0, 1, 0, 2, 0, 1, 1, 3])
    counts = torch.zeros(5, 5)
    for i, j in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
        counts[i, j] += 1
    logits = answer(tokens, 5)
    expect(
        isinstance(logits, Tensor) and logits.shape == (5, 5),
        "for a vocabulary of 5 the logits must be a (5, 5) tensor: is minlength=vocab_size**2 given to bincount?",
    )
    expect(
        logits.isfinite().all(),
        "some logits are infinite: the logarithm of a count of 0; add 1 to all counts before it",
    )
    found = torch.softmax(logits.double(), dim=-1)
    smooth = (counts + 1).double()
    for wrong, message in (
        (
            smooth.T / smooth.T.sum(dim=1, keepdim=True),
            "rows and columns are swapped: row i is for what follows token i",
        ),
        (torch.softmax(smooth, dim=-1), "these are counts, not logits: take their logarithm"),
    ):
        expect(not torch.allclose(found, wrong, atol=1e-5), message)
    expect_same(
        found,
        smooth / smooth.sum(dim=1, keepdim=True),
        "the softmax of the logits",
        "is it log(count + 1), with the pairs (tokens[:-1], tokens[1:])?",
    )
