"""Right answers to the exercises of lesson 0, and wrong ones that people really give."""

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


def a_seed_of_its_own(chars, length, generator):
    return blind_text(chars, length, torch.Generator().manual_seed(1337))


def one_too_many(chars, length, generator):
    return blind_text(chars, length + 1, generator)


# check: (a right answer, {what is wrong: (a wrong answer, what the message says)})
ANSWERS = {
    checks.warm_up: (
        lambda: 4,
        {
            "counted once too often": (lambda: 5, "the sum is 5, expected 4"),
            "a text": (lambda: "4", "expected 4"),
        },
    ),
    checks.count_character: (
        lambda text, ch: text.count(ch),
        {
            "where, not how often": (lambda text, ch: text.find(ch), "is every place looked at"),
            "nothing returned": (lambda text, ch: None, "does the function return"),
            "capitals and small letters as one": (lambda text, ch: text.lower().count(ch), "another character"),
            "only whether": (lambda text, ch: ch in text, "is every place looked at"),
        },
    ),
    checks.blind_text: (
        blind_text,
        {
            "a list": (a_list, "join"),
            "numbers instead of characters": (the_numbers, r"chars\[i\]"),
            "the last is never drawn": (without_the_last, r"len\(chars\) - 1"),
            "the generator is forgotten": (without_the_generator, "generator=generator"),
            "another generator": (a_seed_of_its_own, "seed of its own"),
            "one too many": (one_too_many, "has 1001"),
        },
    ),
}
