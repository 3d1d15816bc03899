"""Right answers to the exercises of lesson 0, and wrong ones that people really give."""

import numpy as np
import torch

from babygpt.course.checks import lesson_00 as checks


def blind_text(chars, length, generator):
    return "".join([chars[i] for i in torch.randint(len(chars), (length,), generator=generator).tolist()])


def a_list(chars, length, generator):
    return [chars[i] for i in torch.randint(len(chars), (length,), generator=generator).tolist()]


def the_numbers(chars, length, generator):
    return "".join([str(i) for i in torch.randint(len(chars), (length,), generator=generator).tolist()])


def without_the_last(chars, length, generator):
    return "".join([chars[i] for i in torch.randint(len(chars) - 1, (length,), generator=generator).tolist()])


def without_the_generator(chars, length, generator):
    return "".join([chars[i] for i in torch.randint(len(chars), (length,)).tolist()])


def a_fixed_seed(chars, length, generator):
    return blind_text(chars, length, torch.Generator().manual_seed(1337))


def by_multinomial(chars, length, generator):
    return "".join(chars[i] for i in torch.multinomial(torch.ones(len(chars)), length, True, generator=generator))


def by_rand(chars, length, generator):
    return "".join(chars[int(u * len(chars))] for u in torch.rand(length, generator=generator))


def one_at_a_time(chars, length, generator):
    text = ""
    for _ in range(length):
        text += chars[torch.randint(len(chars), (1,), generator=generator).item()]
    return text


def never_repeats_out_of_turn(chars, length, generator):
    """Shuffles all characters, then all of them again, and so on."""
    text = ""
    while len(text) < length:
        text += "".join(chars[i] for i in torch.randperm(len(chars), generator=generator))
    return text[:length]


def in_turn_from_a_random_start(chars, length, generator):
    start = torch.randint(len(chars), (1,), generator=generator).item()
    return "".join(chars[(start + i) % len(chars)] for i in range(length))


def shuffled_supply(chars, length, generator):
    supply = [chars[i % len(chars)] for i in range(length)]
    return "".join(supply[i] for i in torch.randperm(length, generator=generator))


def one_more_likely(chars, length, generator):
    return blind_text([*chars, chars[0]], length, generator)


def one_too_many(chars, length, generator):
    return blind_text(chars, length + 1, generator)


# check: (right answers, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.warm_up: (
        lambda: 4,
        {
            "off by one": (lambda: 5, "the sum is 5, expected 4"),
            "a string": (lambda: "4", "expected 4"),
        },
    ),
    checks.count_character: (
        {
            "the method": lambda text, ch: text.count(ch),
            "a loop": lambda text, ch: sum(c == ch for c in text),
            "NumPy": lambda text, ch: (np.array(list(text)) == ch).sum(),
            "a tensor": lambda text, ch: torch.tensor([c == ch for c in text]).sum(),
        },
        {
            "where, not how often": (lambda text, ch: text.find(ch), "look at every character"),
            "nothing returned": (lambda text, ch: None, "does the function return"),
            "ignores case": (lambda text, ch: text.lower().count(ch), "a different character"),
            "only whether": (lambda text, ch: ch in text, "look at every character"),
            "the last character is missed": (lambda text, ch: text[:-1].count(ch), "'a' occurs 3 times in 'banana'"),
            "at least one": (lambda text, ch: max(1, text.count(ch)), "'x' occurs 0 times in 'banana'"),
        },
    ),
    checks.blind_text: (
        {
            "randint": blind_text,
            "multinomial": by_multinomial,
            "rand": by_rand,
            "one at a time": one_at_a_time,
        },
        {
            "a list": (a_list, "join"),
            "numbers instead of characters": (the_numbers, r"chars\[i\]"),
            "the last is never drawn": (without_the_last, r"len\(chars\) - 1"),
            "the generator is forgotten": (without_the_generator, "generator=generator"),
            "another generator": (a_fixed_seed, "with a fixed seed"),
            "one too many": (one_too_many, "got 4001"),
            "one character is more likely": (one_more_likely, "does each have the same probability"),
            "never repeats out of turn": (never_repeats_out_of_turn, "whatever came before it"),
            "in turn": (in_turn_from_a_random_start, "whatever came before it|different seeds"),
            "a shuffled supply": (shuffled_supply, "too even to be chance"),
        },
    ),
}
