"""Checks of lesson 10, dropout and the whole model."""

import re
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt import v10
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged

Dropout = Callable[[Tensor, float, bool], Tensor]


@exercise("10.A")
def my_dropout(answer: Dropout) -> None:
    """The answer drops numbers with probability p in training, scales up the rest, and otherwise does nothing."""
    p, x = 0.2, torch.ones(500, 200)
    still_raises = [training for training in (False, True) if raises(answer, x.clone(), training)]
    if len(still_raises) == 2:
        raise NotImplementedError
    expect(
        not still_raises,
        f"with training={still_raises and still_raises[0]} your code still reaches the line raise NotImplementedError: "
        "delete that line",
    )
    plain = as_tensor(answer(x, p, False), "the output outside of training", "return x")
    expect_same(plain[:1], x[:1], "the output outside of training", "return x as it is", atol=0)
    source = torch.ones(500, 200, requires_grad=True)
    given = source.clone()  # PyTorch itself forbids writing into the source
    with unchanged(x=given):
        output = answer(given, p, True)
    expect(output is not None, "nothing is returned in training")
    found = as_tensor(output, "the output in training", "return a tensor").double()
    expect(found.shape == x.shape, f"the output has the shape {tuple(found.shape)}, expected that of x, (500, 200)")
    zeros = (found == 0).double()
    expect(zeros.any(), "nothing is dropped in training: no number became 0 for p = 0.2")
    expect(
        (zeros != zeros[0]).any() and (zeros != zeros[:, :1]).any(),
        "whole rows or columns are dropped together: draw a random number for each number of x",
    )
    expect(abs(zeros.mean() - 0.8) > 0.05, "for p = 0.2 a share of 0.8 is zero: p is the probability of being dropped")
    expect(abs(zeros.mean() - 0.2) < 0.01, f"for p = 0.2 a share of {zeros.mean():.3f} is zero")
    kept = found[found != 0]
    expect((kept != 1).any(), "the remaining numbers are as they were: divide them by 1 - p")
    expect_same(kept, torch.full_like(kept, 1.25), "what remains of ones for p = 0.2", "divide by 1 - p")
    check_independence(answer)
    again = as_tensor(answer(x, p, True), "the output in training", "return a tensor").double()
    expect(not torch.equal(again, found), "two calls drop the same numbers: draw a new mask in each call")
    if isinstance(output, Tensor) and output.requires_grad:
        gradient = torch.autograd.grad(output.sum(), source, retain_graph=True)[0].double()
        look_at = "what is dropped gets none, and what remains gets 1 / (1 - p) times what arrives"
        expect_same(gradient[:9], found[:9], "the gradient at x when ones arrive", look_at)
    expect_gradient(output, source, "the output", "multiply x itself by the mask")
    numbers = torch.randn(40, 30)
    found = as_tensor(answer(numbers, 0.5, True), "the output in training", "return a tensor").double()
    expected = torch.where(found == 0, 0, numbers.double() / 0.5)
    expect_same(found, expected, "for p = 0.5 what remains of random numbers", "each is divided by 1 - p")
    found = as_tensor(answer(3 * x, 0.0, True), "the output for p = 0", "return a tensor")
    expect_same(found[0], 3 * x[0], "the output for p = 0", "then nothing is dropped")


def raises(answer: Dropout, x: Tensor, training: bool) -> bool:
    """Whether an answer reaches the line of the stub."""
    try:
        answer(x, 0.2, training)
    except NotImplementedError:
        return True
    return False


def check_independence(answer: Dropout) -> None:
    """Fail if the number of zeros doesn't vary as it does when each number is dropped independently."""
    counts = [as_tensor(answer(torch.ones(10), 0.2, True), "the output", "return a tensor") for _ in range(60)]
    zeros = torch.stack(counts).eq(0).sum(dim=1)
    # Independent draws give the same count 60 times with probability below 1e-30.
    expect(
        zeros.unique().numel() > 1,
        f"of ten numbers exactly {zeros[0].item()} are dropped, every time: each number must be dropped independently "
        "of the others, with probability p, so the count varies",
    )


@exercise("10.1")
def is_dropout(answer: Callable[[Dropout], bool]) -> None:
    """The answer tells right dropouts from wrong ones."""
    for right in (F.dropout, dropout):
        # A test that a right function passes only most of the time is of no use.
        for seed in range(30):
            torch.manual_seed(seed)
            verdict = answer(right)
            yes_or_no(verdict)
            expect(
                bool(verdict),
                f"your test rejects a right dropout (with seed {seed}): give shares and means of random numbers some "
                "room, and use many numbers",
            )
    for wrong, message in WRONG_DROPOUTS.items():
        for seed in range(5):
            torch.manual_seed(seed)
            expect(not answer(wrong), f"your test passes a wrong dropout: {message}")


def yes_or_no(verdict: object) -> None:
    """Fail unless a verdict is True or False, of whatever library."""
    try:
        sound = verdict is not None and bool(verdict) in (True, False)
    except (ValueError, RuntimeError):  # of an array or a tensor with several numbers
        sound = False
    expect(sound, f"return True or False, not {type(verdict).__name__}")


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """What exercise 10.A asks for, though not like its solution."""
    return x * torch.bernoulli(torch.full_like(x, 1 - p)) / (1 - p) if training else x


def not_scaled(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout without the division."""
    return x * (torch.rand_like(x) >= p) if training else x


def always_on(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout that ignores `training`."""
    return dropout(x, p, True)


def keeps_p(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout with p and 1 - p swapped."""
    return x * (torch.rand_like(x) < p) / p if training and p > 0 else x


def whole_rows(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout with one draw per row."""
    return x * (torch.rand_like(x[..., :1]) >= p) / (1 - p) if training else x


WRONG_DROPOUTS = {
    not_scaled: "it doesn't divide by 1 - p; what is the mean of dropout(ones)?",
    always_on: "it drops numbers in evaluation, too; call it with training=False",
    keeps_p: "it keeps the share p and drops the rest; count the zeros",
    whole_rows: "it drops whole rows; are there rows with both zeros and other numbers?",
}


@exercise("10.2")
def dropout_places(answer: Callable[[], str]) -> None:
    """The answer names the three places of dropout in version 10."""
    answered = answer()
    words = re.findall("[A-Z]+", (answered if isinstance(answered, str) else " ".join(answered)).upper())
    found = {letter for word in words if word != "AND" for letter in word}
    for letter, why in {
        "A": "A: a score of 0 is a score like any other (exp(0) is 1); attention drops weights, after the softmax",
        "C": "C: the parts read the whole normalized token; dropout acts on what they send back",
        "E": "E: nothing is ever dropped from the stream itself, only from what is added to it",
    }.items():
        expect(letter not in found, why)
    missing = sorted({"B", "D", "F"} - found)
    expect(
        not missing,
        f"{len(missing)} of the three {'is' if len(missing) == 1 else 'are'} still missing: look for dropout in "
        "babygpt/v10.py",
    )
    expect(found == {"B", "D", "F"}, f"the letters go from A to F, and you returned {''.join(sorted(found))}")


@exercise("10.3")
def count_parameters(answer: Callable[[int, int, int, int], int]) -> None:
    """The answer counts the parameters of version 10."""
    for V, T, C, n_layer in ((65, 256, 384, 6), (65, 8, 32, 3), (10, 5, 12, 1)):
        config = v10.Config(vocab_size=V, block_size=T, n_embd=C, n_head=2, n_layer=n_layer)
        with torch.device("meta"):  # shapes only
            model = v10.Model(config)
        expected = sum(p.numel() for p in model.parameters())
        found = as_tensor(answer(V, T, C, n_layer), "the count", "return one number").double()
        expect(found.numel() == 1, "return one number")
        found = round(found.item())
        for extra, mistake in {
            3 * C * n_layer: "query, key and value have no bias",
            -2 * C: "the last norm, ln_f, is missing",
            -V: "lm_head has a bias",
            -C * n_layer: "a bias is missing in each block: proj has one, and so do both layers of ffwd",
            -5 * C * n_layer: "the biases of ffwd are missing: 4 * C and C",
            -4 * C * n_layer: "in each block 4 * C are missing: two norms, each with gamma and beta",
            -V * C: "the token table and lm_head are two matrices, not one",
            (T - V) * (C + 1): "vocab_size and block_size are swapped: lm_head makes vocab_size numbers",
        }.items():
            expect(found - expected != extra, f"for {V, T, C, n_layer} you count {found - expected:+,}: {mistake}")
        expect(
            found == expected,
            f"for vocab_size, block_size, n_embd, n_layer = {V, T, C, n_layer} your count is {found:,}, "
            f"expected {expected:,}: compare each part with the table of the lesson",
        )


@exercise("10.4")
def times_larger(answer: Callable[[], float]) -> None:
    """The answer is sqrt(384 / 64), to two decimals."""
    found = as_tensor(answer(), "the factor", "return one number").double()
    expect(found.numel() == 1, "return one number")
    found = found.item()
    expect(abs(found - 6) > 0.01, "6 is 384 / 64; the scale is a root")
    expect(found > 1, "the correct scale, 1 / 8, is the larger one: divide it by the other")
    expect(
        abs(found - 6**0.5) > 0.1 or abs(found - 6**0.5) < 0.01,
        f"{found:g} is not exact enough: give at least two decimals, or let Python compute it",
    )
    expect_same(found, 6**0.5, "the factor", "64 ** -0.5 divided by 384 ** -0.5", atol=0.01)
