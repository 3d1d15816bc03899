"""Checks of lesson 11, byte-pair encoding."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from babygpt.beyond import bpe
from babygpt.beyond.bpe import BPETokenizer
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_same

WORDS = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
RHYME = "the rat that ate the oats at the gate, the rate of the other rat\n" * 5


@exercise("11.A")
def count_pairs(answer: Callable[[dict], Mapping]) -> None:
    """The answer counts the pairs of neighbors in words that have counts."""
    cases = [
        {("l", "o", "w"): 5, ("l", "o", "t"): 2},
        {("a", "a", "a", "b"): 3},
        {(1, 2, 1, 2): 2, (2, 1): 7, (5,): 9},
        {(*word, "</w>"): count for word, count in WORDS.items()},
        {},
    ]
    for words in cases:
        before = dict(words)
        found = answer(words)
        expect(isinstance(found, Mapping), f"return a dictionary or a Counter, not a {type(found).__name__}")
        expect(words == before, "your code changes the dictionary that it is given: make a new one")
        expected = bpe.count_pairs(words)
        found = {pair: count for pair, count in found.items() if count}
        wrong = [type(key).__name__ for key in found if not isinstance(key, tuple)]
        expect(not wrong, f"a key is of type {wrong[0] if wrong else ''}: each key is a pair, a tuple of two units")
        once = bpe.count_pairs(dict.fromkeys(words, 1))
        expect(
            found != once or once == expected,
            f"for {words} each word is counted once: a word that occurs 5 times adds 5 to each of its pairs",
        )
        for pair, count in expected.items():
            expect(
                found.get(pair) == count,
                f"in {words} the pair {pair} occurs {count} times, and you say {found.get(pair, 0)}: add the count of "
                "the word for each place where the pair is",
            )
        extra = sorted(map(str, set(found) - set(expected)))
        expect(not extra, f"in {words} there is no pair {extra[0] if extra else ''}: only direct neighbors count")


@exercise("11.B")
def merge(answer: Callable[[tuple, tuple, Any], tuple]) -> None:
    """The answer replaces each occurrence of a pair, from left to right."""
    cases = [
        (("l", "o", "w"), ("l", "o"), "lo"),
        (("l", "o", "w", "l", "o"), ("l", "o"), "lo"),
        (("a", "a", "a"), ("a", "a"), "aa"),
        (("a", "a", "a", "a", "a"), ("a", "a"), "aa"),
        (("o", "l", "w"), ("l", "o"), "lo"),
        ((1, 2, 3, 1, 2), (1, 2), 256),
        ((0, 0, 7), (0, 0), 300),
        (("a",), ("a", "b"), "ab"),
        ((), ("a", "b"), "ab"),
    ]
    for word, pair, new in cases:
        found = answer(word, pair, new)
        expect(found is not None, "your function returns nothing: return the new word")
        expect(
            isinstance(found, tuple | list),
            f"return a tuple of units, not a {type(found).__name__}: words of bytes are tuples of numbers",
        )
        expected = bpe.merge(word, pair, new)
        expect(
            tuple(found) == expected,
            f"{word} with the pair {pair} merged into {new!r} is {expected}, and you return {tuple(found)}: go from "
            "left to right, and don't use a unit twice",
        )
        expect(isinstance(found, tuple), "return a tuple, not a list: words are keys of a dictionary")


def package_bits_per_byte(loss: float, tokens: int, size: int) -> float:
    """The loss of a text in bits per byte, for those who leave exercise 11.1 open."""
    return loss * tokens / size / math.log(2)


package_bits_per_byte.__qualname__ = "bits_per_byte"  # as `choose` prints it


@exercise("11.1")
def bits_per_byte(answer: Callable[[float, int, int], float]) -> None:
    """The answer turns nats per token into bits per byte."""
    for loss, tokens, size in ((math.log(256), 100, 100), (3.0, 1000, 2500), (1.5, 70, 35)):
        found = as_tensor(answer(loss, tokens, size), "your answer", "return a number").double()
        case = f"for a loss of {loss:.3f}, {tokens} tokens and {size} bytes"
        mistakes = {
            "these are nats per byte: one bit is ln 2 nats, so divide by math.log(2)": loss * tokens / size,
            "these are bits per token: multiply by the tokens and divide by the bytes": loss / math.log(2),
            "tokens and bytes are swapped: many tokens for few bytes are expensive": loss * size / tokens / math.log(2),
            "multiplied by ln 2: there are more bits than nats, since a bit is less than a nat": (
                loss * tokens / size * math.log(2)
            ),
        }
        expected = package_bits_per_byte(loss, tokens, size)
        for message, wrong in mistakes.items():
            same = found.numel() == 1 and math.isclose(found.item(), wrong, rel_tol=1e-3)
            expect(not same or math.isclose(wrong, expected, rel_tol=1e-3), f"{case}: {message}")
        expect_same(found, expected, f"the answer {case}", "loss * tokens / size / math.log(2)", atol=1e-4)


@exercise("11.2")
def encode(answer: Callable[[str, list], list[int]]) -> None:
    """The answer applies the merges to one piece, in the order in which they were learned."""
    a, b, c = (ord(ch) for ch in "abc")
    cases = [
        ("abc", [(b, c), (a, b)]),
        ("abc", [(a, b), (b, c)]),
        ("abcabc", [(a, b), (256, c)]),
        ("aaaa", [(a, a), (256, 256)]),
        ("é", []),
        ("", [(a, b)]),
    ]
    merges = bpe.learn_bytes(RHYME, 20)
    for piece, learned in [*cases, *((word, merges) for word in (" the", " rather", "gate", "我"))]:
        found = answer(piece, list(learned))
        expect(found is not None, "your function returns nothing: return the list of ids")
        expected = BPETokenizer(learned)._encode_piece(piece.encode("utf-8"))
        expect(
            list(found) == expected,
            f"{piece!r} with the merges {learned[:3]}{' ...' if len(learned) > 3 else ''} is {expected}, and you "
            f"return {list(found)}: start with the bytes, and merge the pair that was learned first wherever it occurs",
        )


@exercise("11.3")
def tokens_per_character(answer: Callable[[BPETokenizer, str], float]) -> None:
    """The answer is the number of tokens divided by the number of characters."""
    tokenizer = BPETokenizer.train(RHYME, 10)
    for text in ("the rat", "我爱 the rat", "é"):
        found = as_tensor(answer(tokenizer, text), "your answer", "return a number").double()
        tokens = len(tokenizer.encode(text))
        if found.numel() == 1:
            upside_down = math.isclose(found.item(), len(text) / tokens, rel_tol=1e-6) and tokens != len(text)
            expect(not upside_down, f"for {text!r} these are characters per token: divide the other way around")
        look_at = f"{text!r} has {tokens} tokens and {len(text)} characters; len counts characters, not bytes"
        expect_same(found, tokens / len(text), f"the answer for {text!r}", look_at)


@exercise("11.4")
def first_merge(answer: Callable[[], tuple]) -> None:
    """The answer names the first pair, its count, and the words after the merge."""
    found = answer()
    expect(isinstance(found, tuple | list) and len(found) == 3, "return three things: the pair, the count, the words")
    pair, count, words = found
    expect(
        tuple(pair) != ("b", "a"),
        "b a occurs 7 times, and so does a b: there is a tie, and the pair that is found first wins",
    )
    expect(
        tuple(pair) == ("a", "b"), f"the pair {tuple(pair)} occurs less often than a b: 4 times in aab, 3 times in ab"
    )
    expect(count == 7, f"a b occurs 4 times in aab and 3 times in ab, and you say {count} times")
    expect(
        [tuple(word) for word in words] == [("a", "ab"), ("ab",), ("b", "a")],
        "merge a b in each of the three words, in the order in which they are given; the new unit is ab",
    )
