"""Checks of lesson 16, finetuning."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt.beyond.sums import END, IGNORE, Sums, Task
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged

Rows = Sequence[tuple[list[int], list[int]]]


def package_masked_batch(rows: Rows) -> tuple[Tensor, Tensor]:
    """The package's way, for those who leave exercise 16.A open: inputs and targets, (B, T) int64 both."""
    T = max(len(prompt + answer) for prompt, answer in rows) - 1
    x, y = torch.zeros(len(rows), T, dtype=torch.int64), torch.full((len(rows), T), IGNORE)
    for i, (prompt, answer) in enumerate(rows):
        ids, first = torch.tensor(prompt + answer), len(prompt) - 1
        x[i, : len(ids) - 1], y[i, first : len(ids) - 1] = ids[:-1], ids[first + 1 :]
    return x, y


package_masked_batch.__qualname__ = "Sums.encode"  # as `choose` prints it


@exercise("16.A")
def masked_batch(answer: Callable[[Rows], tuple[Tensor, Tensor]]) -> None:
    """The answer makes inputs and targets, and ignores the targets that are part of the prompt, and the padding."""
    for rows in ([([7, 2, 8, 4], [6, 5, 1])], [([7, 2, 8, 4], [6, 5, 1]), ([9, 4], [3, 1])],
                 [([5], [1]), ([6, 2, 6, 4], [9, 1]), ([7, 7, 4], [8, 8, 8, 8, 1])]):  # fmt: skip
        found = answer([(list(prompt), list(ids)) for prompt, ids in rows])
        pair = isinstance(found, tuple | list) and len(found) == 2
        expect(pair, "return two things: the inputs and the targets")
        case = f"for the rows {rows}"
        mine = [as_tensor(part, f"what masked_batch returns {case}", "return two tensors") for part in found]
        x, y = package_masked_batch(rows)
        look_at = "each row is the prompt and the answer without the last token, then 0 up to the longest"
        expect_same(mine[0], x, f"the inputs {case}", look_at)
        if mine[1].shape == y.shape:
            for message, wrong in mistakes_in_targets(rows, x, y).items():
                expect(torch.equal(wrong, y) or not torch.equal(mine[1].long(), wrong), f"{case}: {message}")
        look_at = f"each target is the token after its input; prompt and padding get {IGNORE}"
        expect_same(mine[1], y, f"the targets {case}", look_at)
        expect(
            mine[1].dtype == torch.int64,
            f"the targets are {mine[1].dtype}, and cross_entropy needs int64: make them with torch.tensor of integers",
        )


def mistakes_in_targets(rows: Rows, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """What people get instead of the right targets, and what to say to it."""
    everything, late, early, padded = y.clone(), y.clone(), y.clone(), y.clone()
    for i, (prompt, ids) in enumerate(rows):
        whole = torch.tensor(prompt + ids)
        n, first = len(whole) - 1, len(prompt) - 1
        everything[i, :n] = whole[1:]
        late[i, first] = IGNORE
        if first:
            early[i, first - 1] = whole[first]
        padded[i, n:] = 0
    return {
        "the prompt has targets, too: the model would learn to guess the question": everything,
        "the first token of the answer is ignored, and the last token of the prompt is there to predict it": late,
        "the last token of the prompt is a target, too: nothing before it can know it": early,
        "padding has the target 0: ignore it as well": padded,
        "the targets are not shifted: each is its own input": torch.where(y == IGNORE, y, x),
        "the targets are ignored where the inputs are still the answer's": torch.full_like(y, IGNORE),
    }


def package_lora(x: Tensor, weight: Tensor, A: Tensor, B: Tensor, scale: float) -> Tensor:
    """The package's way, for those who leave exercise 16.B open: (..., in) -> (..., out)."""
    return F.linear(x, weight) + scale * F.linear(F.linear(x, A), B)


package_lora.__qualname__ = "LoRALinear.forward"  # as `choose` prints it


@exercise("16.B")
def lora(answer: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """The answer is a linear layer with LoRA, whose gradient reaches A and B."""
    for shape, n, m, r, scale in (((2, 3), 4, 5, 2, 1.0), ((7,), 6, 3, 1, 0.5), ((2, 2), 4, 4, 3, 2.0)):
        x, weight = torch.randn(*shape, n), torch.randn(m, n)
        A, B = torch.randn(r, n, requires_grad=True), torch.randn(m, r, requires_grad=True)
        case = f"with x {tuple(x.shape)}, W {(m, n)}, A {(r, n)}, B {(m, r)} and scale {scale}"
        with unchanged(x=x, weight=weight, A=A, B=B):
            output = answer(x, weight, A, B, scale)
        found = as_tensor(output, f"what lora returns {case}", "return a tensor")
        right, base = package_lora(x, weight, A, B, scale), F.linear(x, weight)
        mistakes = {
            "A and B are missing: this is only the pretrained layer": base,
            "W is missing: B A is added to the pretrained layer and doesn't replace it": right - base,
            "the scale is missing": base + F.linear(F.linear(x, A), B),
            "the scale applies to B A alone, and you multiply the pretrained layer, too": right - base + scale * base,
        }
        for message, wrong in mistakes.items():
            same = found.shape == wrong.shape and torch.allclose(found.double(), wrong.detach().double(), atol=1e-5)
            expect(not same or torch.allclose(wrong, right, atol=1e-4), f"{case}: {message}")
        look_at = "x W^T + scale * (x A^T) B^T"
        expect_same(found, right.detach(), f"the output {case}", look_at)
        for part in (A, B):
            expect_gradient(answer(x, weight, A, B, scale), part, "the output", "use A and B as they are")


@exercise("16.1")
def is_held_out(answer: Callable[[int, int], bool]) -> None:
    """The answer splits pairs of numbers: about one in ten, swapped pairs together, the same every time."""
    pairs = [(a, b) for a in range(100) for b in range(100)]
    found = {pair: bool(answer(*pair)) for pair in pairs}
    for a, b in pairs:
        expect(
            found[a, b] == found[b, a],
            f"{a}, {b} is {'held out' if found[a, b] else 'in training'} and {b}, {a} is not: then the model has seen "
            f"the same sum in the other order; treat min(a, b) and max(a, b)",
        )
    again = {pair: bool(answer(*pair)) for pair in pairs[::37]}
    changed = [pair for pair in again if again[pair] != found[pair]]
    expect(not changed, f"{changed[:1]} moves from one call to the next: a pair must always be in the same split")
    share = sum(found.values()) / len(found)
    expect(0.05 <= share <= 0.15, f"{share:.1%} of the pairs are held out, expected about one in ten")
    last = {(a % 10, b % 10) for (a, b), held in found.items() if held}
    expect(
        len(last) > 90,
        f"the held-out pairs have {len(last)} of 100 possible combinations of last digits: a rule about digits or sums "
        f"hides whole kinds of sums from training; use a hash of the pair",
    )
    rows = {a for (a, _), held in found.items() if held}
    expect(len(rows) > 90, f"only {len(rows)} of 100 first numbers are ever held out: mix both numbers into the hash")


@exercise("16.2")
def working(answer: Callable[[int, int], str]) -> None:
    """The answer writes a product with its steps, each number reversed."""
    task = Task("*", steps=True)
    for a, b in ((12, 39), (7, 8), (50, 20), (99, 99), (3, 40), (0, 5)):
        found, right = answer(a, b), task.answer(a, b)
        case = f"for {a} * {b}"
        expect(isinstance(found, str), f"{case} you return a {type(found).__name__}, expected a text")
        found = found.removesuffix(END)
        expect(
            found != Task("*", reverse=False, steps=True).answer(a, b) or found == right,
            f"{case} you return {found!r}: each number is written from its last digit to its first",
        )
        expect(
            found != Task("*").answer(a, b) or found == right,
            f"{case} you return {found!r}, which is only the result: first come the products with each digit",
        )
        steps, _, result = right.partition("=")
        other = "+".join(reversed(steps.split("+"))) + "=" + result
        expect(found != other or found == right, f"{case} you return {found!r}: begin with the last digit of b")
        look_at = f"{a} times each digit of b, with its zeros, joined by +, then = and the result"
        expect(found == right, f"{case} you return {found!r}, expected {right!r}: {look_at}")


@exercise("16.3")
def new_table(answer: Callable[[Tensor, str, str], Tensor]) -> None:
    """The answer moves an embedding table to another vocabulary: known rows are copied, new ones get the mean."""
    for old, new in (("abc", "abcd"), ("abcde", "xcab"), ("nolm", "lmno")):
        table = torch.randn(len(old), 3)
        with unchanged(table=table):
            output = answer(table, old, new)
        case = f"from {old!r} to {new!r}"
        found = as_tensor(output, f"what new_table returns {case}", "return a tensor")
        mean = table.mean(dim=0)
        right = torch.stack([table[old.index(ch)] if ch in old else mean for ch in new])
        if found.shape == right.shape:
            by_number = torch.stack([table[i] if i < len(old) else mean for i in range(len(new))])
            zeros = torch.stack([table[old.index(ch)] if ch in old else 0 * mean for ch in new])
            expect(
                torch.equal(by_number, right) or not torch.allclose(found, by_number),
                f"{case} you copy row i to row i: a character has another id in the new vocabulary; look it up",
            )
            expect(
                torch.equal(zeros, right) or not torch.allclose(found, zeros),
                f"{case} a new character gets zeros, expected the mean of the old rows",
            )
        expect_same(found, right, f"the table {case}", "old.index(ch) is the old row of a character")


@exercise("16.4")
def count(answer: Callable[[Sequence[tuple[int, int]], int], int]) -> None:
    """The answer counts what LoRA trains for matrices of some shapes."""
    for shapes, rank in (([(64, 64)], 4), ([(16, 64)] * 3 + [(256, 64), (64, 256)], 8), ([(5, 3)], 1)):
        found, right = answer(list(shapes), rank), sum(rank * (m + n) for m, n in shapes)
        case = f"for matrices of {shapes} and rank {rank}"
        full = sum(m * n for m, n in shapes)
        expect(found != full, f"{case} you return {found}, which is all of the pretrained weights: those are frozen")
        expect(
            found != sum(rank * n for _, n in shapes) and found != sum(rank * m for m, _ in shapes),
            f"{case} you return {found}, which counts only one of A and B",
        )
        expect(found == right, f"{case} you return {found}, expected {right}: A is (r, in), B is (out, r)")


def sample_rows() -> Rows:
    """Four sums as ids, for the lesson."""
    sums = Sums.new()
    texts = [(sums.task.prompt(a, b), sums.task.answer(a, b) + END) for a, b in ((12, 39), (5, 5), (40, 2), (99, 9))]
    return [(sums.tokenizer.encode(prompt), sums.tokenizer.encode(answer)) for prompt, answer in texts]
