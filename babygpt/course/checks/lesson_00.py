"""Checks of lesson 0, the setup."""

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
            f"{ch!r} occurs {expected} times in {text!r}, and your count is {found}: is every place looked at, once?",
        )
    found = answer("Anna", "a")
    expect(found == 1, f"'a' occurs once in 'Anna', and your count is {found}: 'A' is another character")


@exercise("0.2")
def blind_text(answer: Callable[[list[str], int, torch.Generator], str]) -> None:
    """The answer draws characters, each with the same chance."""
    chars = list("abcde")

    def drawn(length: int, seed: int) -> str:
        return answer(chars, length, torch.Generator().manual_seed(seed))

    text = drawn(1000, 1)
    expect(
        isinstance(text, str),
        f'the answer is {type(text).__name__}, expected a string: glue the characters together with "".join(...)',
    )
    expect(len(text) == 1000, f"asked for 1000 characters, the text has {len(text)}: is `length` used?")
    strange = sorted(set(text) - set(chars))
    expect(not strange, f"the text has {strange[:3]}, which are not in {chars}: is it chars[i] for each number i?")
    missing = sorted(set(chars) - set(text))
    expect(
        not missing,
        f"{missing} never occurs in 1000 characters of {chars}: the numbers must go from 0 to len(chars) - 1",
    )
    expect(
        text == drawn(1000, 1),
        "the same seed gave two different texts: is `generator=generator` passed to torch.randint?",
    )
    expect(
        text != drawn(1000, 2),
        "two seeds gave the same text: is the generator used, and not one with a seed of its own?",
    )
    rarest = min(text.count(ch) for ch in chars)
    # Of 1000 draws each of five characters gets 200, with a standard deviation of 13.
    expect(rarest > 130, f"the rarest of 5 characters came {rarest} times in 1000, expected about 200: are all equal?")
