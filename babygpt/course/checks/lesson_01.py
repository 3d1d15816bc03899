"""Checks of lesson 1, the bigram model, and what the lesson runs on while exercises 1.A and 1.B are open."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from babygpt.course.checks.core import as_tensor, exercise, expect, expect_same, unchanged
from babygpt.data import Corpus
from babygpt.model import LanguageModel, sample
from babygpt.tokenizer import CharTokenizer
from babygpt.v1 import Config, Model


def package_get_batch(
    data: Tensor, batch_size: int, block_size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Exercise 1.A by the package's `Corpus`: x and y, both (B, T)."""
    return Corpus("data", CharTokenizer("?"), data, data).get_batch("train", batch_size, block_size, generator)


def package_generate(
    model: nn.Module, idx: Tensor, max_new_tokens: int, generator: torch.Generator | None = None
) -> Tensor:
    """Exercise 1.B by the package's `sample`: (B, T) -> (B, T + max_new_tokens)."""
    for _ in range(max_new_tokens):
        logits, _ = model(idx)
        idx = torch.cat((idx, sample(logits[:, -1, :], generator=generator)), dim=1)
    return idx


package_get_batch.__qualname__, package_generate.__qualname__ = "get_batch", "generate"  # as `choose` prints them


@exercise("1.A")
def get_batch(answer: Callable[[Tensor, int, int, torch.Generator], tuple[Tensor, Tensor]]) -> None:
    """The answer draws random chunks of a text, and for each token of them the one that follows it."""
    for length, B, T in ((1000, 4, 8), (500, 6, 3)):
        x, _ = drawn_batch(answer, length, B, T)
        expect(len(x[:, 0].unique()) > 1, "all rows of x are the same chunk: draw a start for each row")
        again, _ = drawn_batch(answer, length, B, T)
        other, _ = drawn_batch(answer, length, B, T, seed=2)
        expect(torch.equal(x, again), "the same seed gave two different batches: is `generator=generator` passed on?")
        expect(not torch.equal(x, other), "different seeds gave the same batch: are the starts drawn at random?")
    for T in (4, 6):
        # The text is so short that only the starts 0, 1 and 2 leave room for a chunk and its targets.
        batches = [drawn_batch(answer, T + 3, 5, T, seed)[0] for seed in range(20)]
        starts = sorted({(row[0].item() - 50) for x in batches for row in x})
        expect(
            starts == [0, 1, 2],
            f"with {T + 3} tokens and a block size of {T}, chunks can start at [0, 1, 2], and yours start at "
            f"{starts}: which `high` does torch.randint(high, ...) need?",
        )


def drawn_batch(answer: Callable[..., Any], length: int, B: int, T: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """x and y of the answer on a text of `length` tokens, 50, 51, ...; both are chunks, and y is one further."""
    data = torch.arange(50, 50 + length)
    try:
        with unchanged(data=data):
            found = answer(data, B, T, torch.Generator().manual_seed(seed))
    except (RuntimeError, IndexError) as error:
        if not isinstance(error, IndexError) and "stack expects" not in str(error):
            raise
        expect(
            False,
            f"with {length} tokens and a block size of {T} your code stopped with {type(error).__name__}: {error}. "
            f"Does a chunk run over the end? Which `high` does torch.randint(high, ...) need?",
        )
    expect(
        isinstance(found, tuple | list) and len(found) == 2,
        f"the answer is of type {type(found).__name__}, expected two tensors: return x, y",
    )
    for name, part in zip("xy", found, strict=True):
        expect(
            isinstance(part, Tensor),
            f"{name} is of type {type(part).__name__}, expected a tensor: does torch.stack make one of the rows?",
        )
        expect(
            part.shape == (B, T),
            f"{name} has the shape {tuple(part.shape)}, expected {(B, T)}: {B} rows, one for each start, of {T} tokens",
        )
        expect(part.dtype == torch.long, f"{name} holds {part.dtype}, expected torch.int64, as in data")
    x, y = found
    steps = torch.arange(T)
    expect(
        torch.equal(x, x[:, :1] + steps) and x.min() >= 50 and x.max() < 50 + length,
        f"a row of x is {x[0].tolist()}, which isn't a chunk of a text with the tokens 50, 51, 52, ...: "
        f"is it data[i : i + block_size] for a start i?",
    )
    expect(not torch.equal(y, x), "y is the same as x: a target is the token that follows, so cut y one token further")
    expect(
        torch.equal(y, x + 1),
        f"the text is 50, 51, 52, ..., a row of x is {x[0].tolist()}, and its targets are {y[0].tolist()}: "
        f"y[b, t] must be the token right after x[b, t]",
    )
    return x, y


class Watched(Model):
    """Version 1, which remembers the shapes that it was given."""

    def logits(self, idx: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)."""
        self.seen = [*getattr(self, "seen", []), tuple(idx.shape)]
        return super().logits(idx)


@exercise("1.B")
def generate(answer: Callable[..., Tensor]) -> None:
    """The answer continues a batch of texts with tokens drawn from the model's probabilities."""
    for V, B, T, new in ((7, 2, 3, 4), (5, 3, 1, 6)):
        model = Watched(Config(vocab_size=V))
        follower = torch.roll(torch.arange(V), 2)  # token i is followed by follower[i], always
        with torch.no_grad():
            model.token_embedding_table.weight.copy_(60.0 * torch.nn.functional.one_hot(follower, V))
        idx = torch.stack([torch.arange(b, b + T) % V for b in range(B)])
        with unchanged(idx=idx):
            found = answer(model, idx, new, generator=torch.Generator().manual_seed(1))
        expect_continued(found, idx, new)
        for b in range(B):
            for t in range(T - 1, T + new - 1):
                last, drawn = found[b, t].item(), found[b, t + 1].item()
                expect(
                    drawn == follower[last],
                    f"after token {last} your code drew {drawn}, and the model gives that a probability of 0: is it "
                    f"logits[:, -1, :], softmax along dim=-1, and does idx grow before the model sees it again?",
                )
        lengths = [shape[1] for shape in model.seen]
        expect(
            lengths == list(range(T, T + new)),
            f"the model was given {lengths} tokens, expected {list(range(T, T + new))}: pass the whole idx each time",
        )
    model = Model(Config(vocab_size=4))
    probabilities = [0.5, 0.3, 0.15, 0.05]
    with torch.no_grad():
        model.token_embedding_table.weight.copy_(torch.tensor(probabilities).log() + 4)
    found = answer(model, torch.zeros((4000, 1), dtype=torch.long), 1, generator=torch.Generator().manual_seed(1))
    shares = found[:, 1].bincount(minlength=4) / 4000
    expect(
        shares.max() < 0.99,
        "every row of the batch got the same token: draw one for each row, and draw it instead of taking the likeliest",
    )
    # Each share has a standard deviation below 0.008.
    expect(
        torch.allclose(shares, torch.tensor(probabilities), atol=0.04),
        f"tokens with the probabilities {probabilities} came with the shares "
        f"{[round(share, 2) for share in shares.tolist()]}: is it the softmax of the logits that you draw from?",
    )
    idx = torch.zeros((1, 1), dtype=torch.long)
    first, again, other = (answer(model, idx, 40, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    expect(torch.equal(first, again), "the same seed gave two texts: is `generator=generator` passed to multinomial?")
    expect(not torch.equal(first, other), "different seeds gave the same text: is the given generator used?")


def expect_continued(found: Any, idx: Tensor, new: int) -> None:
    """Fail unless `found` is idx with `new` more columns of tokens."""
    B, T = idx.shape
    expect(
        isinstance(found, Tensor), f"the answer is of type {type(found).__name__}, expected a tensor: is idx returned?"
    )
    expect(
        found.shape == (B, T + new),
        f"from {(B, T)} and {new} new tokens came the shape {tuple(found.shape)}, expected {(B, T + new)}: "
        f"is each new token appended to idx, along dim=1?",
    )
    expect(not found.is_floating_point(), f"the tokens are {found.dtype}, expected integers: append ids")
    expect(torch.equal(found[:, :T], idx), "the first tokens are no longer those of idx: append, and replace nothing")


@exercise("1.1")
def perplexity_and_bits(answer: Callable[[float], tuple[float, float]]) -> None:
    """The answer returns the perplexity and the bits that belong to a loss in nats."""
    for loss in (math.log(65), 2.5, 1.48):
        look_at = "return the perplexity and the bits"
        found = as_tensor(answer(loss), "the answer", look_at)
        expect(found.shape == (2,), f"the answer has the shape {tuple(found.shape)}, expected two numbers: {look_at}")
        perplexity, bits = found.tolist()
        expected = math.exp(loss), loss / math.log(2)
        expect(
            not math.isclose(perplexity, expected[1], abs_tol=1e-3),
            "the first number is the bits: return the perplexity first",
        )
        about = f"for a loss of {loss:.2f}"
        expect_same(perplexity, expected[0], f"the perplexity {about}", "is it e to the power of the loss?", 1e-3)
        expect_same(bits, expected[1], f"the number of bits {about}", "is it the loss divided by ln 2?", 1e-3)


@exercise("1.2")
def greedy(answer: Callable[[LanguageModel, Tensor, int], Tensor]) -> None:
    """The answer continues a batch with the likeliest tokens."""
    for V, B, T, new in ((9, 2, 3, 5), (5, 3, 1, 4)):
        model = Model(Config(vocab_size=V))
        idx = torch.randint(V, (B, T))
        with unchanged(idx=idx):
            found = answer(model, idx, new)
        expect_continued(found, idx, new)
        row = model.token_embedding_table.weight
        for b in range(B):
            for t in range(T - 1, T + new - 1):
                last, appended = found[b, t].item(), found[b, t + 1].item()
                expect(
                    appended == row[last].argmax(),
                    f"after token {last} came {appended}, and the likeliest is {row[last].argmax().item()}: "
                    f"is it the argmax of logits[:, -1, :], and nothing drawn?",
                )


@exercise("1.3")
def in_halves(answer: Callable[[LanguageModel, Tensor, Tensor], None]) -> None:
    """The answer leaves in the model the gradient of a whole batch, computed from its halves."""
    for V, B, T in ((9, 4, 8), (5, 6, 3)):
        check_in_halves(answer, V, B, T)


def check_in_halves(answer: Callable[[LanguageModel, Tensor, Tensor], None], V: int, B: int, T: int) -> None:
    """The same for one vocabulary and one batch."""
    model = Watched(Config(vocab_size=V))
    xb, yb = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    weight, half = model.token_embedding_table.weight, B // 2
    before = weight.detach().clone()
    whole, first, second = (
        torch.autograd.grad(model(xb[rows], yb[rows])[1], weight)[0]
        for rows in (slice(None), slice(None, half), slice(half, None))
    )
    weight.grad = torch.ones_like(weight)  # what an earlier step left behind
    model.seen = []
    with unchanged(xb=xb, yb=yb):
        answer(model, xb, yb)
    found, rows = weight.grad, [shape[0] for shape in model.seen]
    expect(
        torch.equal(weight, before),
        "the weights have changed: only gradients are wanted, so leave out optimizer.step() and any other update",
    )
    expect(found is not None, "the model has no gradients: call zero_grad before the two backwards, and not after")
    expect(rows != [B], f"the model was given the whole batch of {B} rows at once: give it {half} rows, twice")
    expect(rows == [half, half], f"the model was given {rows} rows, expected {[half, half]}: one pass over each half")
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
    """The answer gives logits; their softmax is the share of each count in its row, with 1 added to each count."""
    for V, length in ((5, 8), (11, 60)):
        tokens = torch.randint(V - 1, (length,))  # the last token never occurs
        counts = torch.zeros(V, V)
        for i, j in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
            counts[i, j] += 1
        with unchanged(tokens=tokens):
            logits = as_tensor(answer(tokens, V), "the result", "return the logits, (V, V)")
        expect(
            logits.shape == (V, V),
            f"for a vocabulary of {V} the logits have the shape {tuple(logits.shape)}, expected {(V, V)}: "
            f"is minlength=vocab_size**2 passed to bincount?",
        )
        expect(not logits.isnan().any(), "some logits are NaN: does the logarithm get only numbers above 0?")
        expect(
            logits.isfinite().all(),
            "some logits are infinite, because the logarithm of a count of 0 is: add 1 to all counts first",
        )
        found = torch.softmax(logits.double(), dim=-1)
        smooth = (counts + 1).double()
        for wrong, message in (
            (
                smooth.T / smooth.T.sum(dim=1, keepdim=True),
                "rows and columns are swapped: row i is for what follows token i",
            ),
            (torch.softmax(smooth, dim=-1), "these are counts and not logits: take their logarithm"),
        ):
            expect(not torch.allclose(found, wrong, atol=1e-5), message)
        expect_same(
            found,
            smooth / smooth.sum(dim=1, keepdim=True),
            "the softmax of the logits",
            "is it log(count + 1), with the pairs (tokens[:-1], tokens[1:])?",
        )
