"""Checks of lesson 0, the setup."""

from collections import Counter
from collections.abc import Callable

import torch

from babygpt.course.checks.core import exercise, expect


@exercise("0")
def warm_up(answer: Callable[[], int]) -> None:
    """The answer returns 2 + 2: only to show what a check says."""
    found = answer()
    expect(found == 4, f"the sum is {found}, expected 4: count on your fingers")


@exercise("0.1")
def count_character(answer: Callable[[str, str], int]) -> None:
    """The answer counts a character in a text."""
    for text, ch, expected in (("banana", "a", 3), ("banana", "b", 1), ("banana", "x", 0), ("a\nb\n", "\n", 2)):
        found = answer(text, ch)
        expect(found is not None, "the answer is None: does the function return its count?")
        expect(
            found == expected,
            f"{ch!r} occurs {times(expected)} in {text!r}, and your count is {found}: do you look at every character "
            f"exactly once?",
        )
    found = answer("Anna", "a")
    expect(found == 1, f"'a' occurs once in 'Anna', and your count is {found}: 'A' is a different character")


def times(n: int) -> str:
    """`once`, or `3 times`."""
    return "once" if n == 1 else f"{n} times"


@exercise("0.2")
def blind_text(answer: Callable[[list[str], int, torch.Generator], str]) -> None:
    """The answer draws characters, each with the same probability and whatever came before."""
    for chars, length in ((list("abcde"), 4000), (list("xyz"), 3000)):
        check_blind_text(answer, chars, length)


def check_blind_text(answer: Callable[[list[str], int, torch.Generator], str], chars: list[str], length: int) -> None:
    """The same for one list of characters and one length."""

    def drawn(seed: int) -> str:
        return answer(list(chars), length, torch.Generator().manual_seed(seed))

    text = drawn(1)
    expect(
        isinstance(text, str),
        f'the answer is of type {type(text).__name__}, expected a string: join the characters with "".join(...)',
    )
    expect(len(text) == length, f"asked for {length} characters, got {len(text)}: do you use `length`?")
    strange = sorted(set(text) - set(chars))
    expect(not strange, f"the text contains {strange[:3]}, not in {chars}: is it chars[i] for each number i?")
    missing = sorted(set(chars) - set(text))
    expect(
        not missing,
        f"{missing} never occurs in {length} characters drawn from {chars}: the numbers must run from 0 to "
        f"len(chars) - 1",
    )
    expect(
        text == drawn(1),
        "the same seed gave two different texts: do you pass `generator=generator` to torch.randint?",
    )
    texts = [text, *(drawn(seed) for seed in range(2, 6))]
    expect(
        len(set(texts)) == len(texts),
        "different seeds gave the same text: do you draw from the given generator, or from one with a fixed seed?",
    )
    # A count is binomial. Five standard deviations around its mean miss a right answer once in a million times.
    counts = [Counter(text) for text in texts]
    share = 1 / len(chars)
    slack = 5 * (length * share * (1 - share)) ** 0.5
    rarest = min(count[ch] for count in counts for ch in chars)
    expect(
        rarest > length * share - slack,
        f"the rarest of {len(chars)} characters occurs {rarest} times in {length}, expected about "
        f"{length * share:.0f}: does each have the same probability?",
    )
    pairs = Counter(zip(text[:-1], text[1:], strict=True))
    expected = length * share**2
    slack = 5 * expected**0.5 + 5  # neighboring pairs overlap, which widens the spread a little
    for first in chars:
        for second in chars:
            found = pairs[first, second]
            expect(
                abs(found - expected) < slack,
                f"{second!r} follows {first!r} {times(found)} in {length} characters, expected about {expected:.0f}: "
                f"draw each character from all of chars, whatever came before it",
            )
    expect(
        len({tuple(sorted(count.items())) for count in counts}) > 1,
        "every text contains each character equally often, which is too even to be chance: draw each character "
        "from all of chars instead of shuffling a fixed supply",
    )
