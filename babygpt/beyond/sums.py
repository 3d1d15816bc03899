"""Arithmetic as text: a prompt like `12+39=` and its answer, from a loader that never runs out.

    12+39=15       digits of the answer reversed: 51
    12-39=72-      -27
    12*39=801+063=864      with the working shown: 108 + 360 = 468

The answer is written from its last digit to its first. Each carry comes from the digits to the right, so in this order
a model needs only what it has read or written already.

The prompt is given and not predicted: its targets are IGNORE, which cross-entropy leaves out.

Source: the exercises in the description of Karpathy's lecture; Lee et al., "Teaching Arithmetic to Small Transformers"
(reversed answers); Nye et al., "Show Your Work: Scratchpads for Intermediate Computation with Language Models".
"""

import hashlib
import operator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from babygpt.data import Corpus, Split
from babygpt.errors import UserError, require
from babygpt.tokenizer import CharTokenizer

IGNORE = -100  # the target that F.cross_entropy leaves out unless told otherwise; nanoGPT tells it to leave out -1
END = "\n"  # closes an answer
MAX_DIGITS = 3  # there are a million pairs of three-digit numbers, and all of them are listed
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
NAMES = {"+": "sums", "-": "differences", "*": "products"}
ALPHABET = END + "*+-=0123456789"


@dataclass(frozen=True)
class Task:
    """What is asked, and how the answer is written."""

    operation: Literal["+", "-", "*"] = "+"
    digits: int = 2
    """Both numbers have up to so many digits."""
    reverse: bool = True
    """Write each number of the answer from its last digit to its first."""
    steps: bool = False
    """In products, write the product with each digit of the second number first, and then their sum."""

    def __post_init__(self) -> None:
        require(self.operation in OPERATIONS, f"operation must be one of + - *, and it is {self.operation!r}")
        require(1 <= self.digits <= MAX_DIGITS, f"digits must be 1 to {MAX_DIGITS}, and it is {self.digits}")
        require(not self.steps or self.operation == "*", f"steps are for products, and operation is {self.operation!r}")

    def prompt(self, a: int, b: int) -> str:
        """For example `12+39=`."""
        return f"{a}{self.operation}{b}="

    def answer(self, a: int, b: int) -> str:
        """What the model is to write after the prompt, without END."""
        result = OPERATIONS[self.operation](a, b)
        if not self.steps:
            return self.number(result)
        parts = [a * int(digit) * 10**place for place, digit in enumerate(reversed(str(b)))]
        return "+".join(map(self.number, parts)) + "=" + self.number(result)

    def number(self, n: int) -> str:
        """A number as it is written in an answer."""
        return str(n)[::-1] if self.reverse else str(n)

    def read(self, answer: str) -> str:
        """The result in an answer, which is the number at its end, in the usual order of digits."""
        result = answer.rpartition("=")[2]
        return result[::-1] if self.reverse else result

    def is_right(self, a: int, b: int, answer: str) -> bool:
        """Whether the result in an answer is right, whatever the steps before it are."""
        return self.read(answer) == str(OPERATIONS[self.operation](a, b))

    @property
    def longest(self) -> int:
        """The most characters that prompt, answer and END can have together."""
        most = 10**self.digits - 1  # and most // 9, which is smaller, for the sign of a negative difference
        return max(len(self.prompt(a, most) + self.answer(a, most) + END) for a in (most, most // 9))


def is_held_out(a: int, b: int) -> bool:
    """Whether a pair belongs to validation: one in ten, picked by a hash. a, b and b, a always go together."""
    name = f"{min(a, b)} {max(a, b)}"
    return hashlib.sha256(name.encode()).digest()[0] < 26


@cache
def pairs(digits: int) -> dict[Split, Tensor]:
    """All pairs of numbers with up to so many digits, by split: (n, 2) int16 each. Swapped pairs stay together."""
    N = 10**digits
    held_out = torch.zeros(N, N, dtype=torch.bool)
    for a in range(N):
        held_out[a, a:] = torch.tensor([is_held_out(a, b) for b in range(a, N)])
    held_out = held_out | held_out.T
    splits = {"train": ~held_out, "val": held_out}
    return {split: chosen.nonzero().to(torch.int16).contiguous() for split, chosen in splits.items()}


@dataclass(frozen=True)
class Sums(Corpus):
    """Prompts and answers, drawn when they are needed. `train` and `val` hold the pairs of numbers of each split."""

    task: Task = Task()
    mask: bool = True
    """Leave the prompt out of the loss."""

    unit = "pairs of numbers"

    @classmethod
    def new(cls, task: Task = Task(), mask: bool = True) -> "Sums":
        """All pairs of numbers, and what is asked about them."""
        found = pairs(task.digits)
        name = f"{NAMES[task.operation]} of up to {task.digits} digits"
        return cls(name, CharTokenizer(ALPHABET), found["train"], found["val"], None, task, mask)

    def draw(self, split: Split, n: int, generator: torch.Generator | None = None) -> list[tuple[int, int]]:
        """n random pairs of numbers of a split."""
        numbers = getattr(self, split)
        ix = torch.randint(len(numbers), (n,), generator=generator)
        return [(a, b) for a, b in numbers[ix.to(numbers.device)].tolist()]

    def encode(self, drawn: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Inputs and targets for pairs of numbers, each row filled up to the longest: (B, T) int64 both.

        The target at a position is the character after it, or IGNORE if that is still part of the prompt.
        """
        encode, task = self.tokenizer.encode, self.task
        texts = [(task.prompt(a, b), task.answer(a, b) + END) for a, b in drawn]
        T = max(len(prompt + answer) for prompt, answer in texts) - 1
        x = torch.zeros(len(texts), T, dtype=torch.int64)  # (B, T)
        y = torch.full((len(texts), T), IGNORE)  # (B, T)
        for row, (prompt, answer) in enumerate(texts):
            ids, first = torch.tensor(encode(prompt + answer)), len(prompt) - 1 if self.mask else 0
            x[row, : len(ids) - 1] = ids[:-1]
            y[row, first : len(ids) - 1] = ids[first + 1 :]
        return x, y

    def get_batch(
        self, split: Split, batch_size: int, block_size: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `encode`, for random pairs. None is longer than `block_size`, which `check` makes sure of."""
        x, y = self.encode(self.draw(split, batch_size, generator))
        return x.to(self.train.device), y.to(self.train.device)

    def check(self, block_size: int) -> None:
        """Raise UserError unless the longest prompt with its answer fits into `block_size`."""
        need = self.task.longest - 1  # the last character is only a target
        require(block_size >= need, f"{self.name} needs a block_size of at least {need}, and it is {block_size}")


def parse(text: str) -> tuple[int, str, int]:
    """The two numbers and the operation in a text like `12+39`.

    Raises:
        UserError: it is something else.
    """
    for sign in OPERATIONS:
        a, found, b = text.replace(" ", "").removesuffix("=").partition(sign)
        if found and a.isascii() and a.isdigit() and b.isascii() and b.isdigit():
            return int(a), sign, int(b)
    raise UserError(f"write two whole numbers with + - or * between them, for example 12+39, and not {text!r}")
