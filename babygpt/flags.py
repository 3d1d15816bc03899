"""From a command line to settings: tyro reads it and writes the help; a mistake gets one sentence."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from babygpt.errors import UserError, require

Settings = TypeVar("Settings")

NUMBERS = {int: "a whole number, like 1000", float: "a number, like 0.001"}


def read_flags(settings_class: type[Settings], argv: Sequence[str], prog: str, **how: Any) -> Settings:
    """Build the settings, a dataclass or a dataclass of dataclasses, that a command line stands for.

    `how` goes to `tyro.cli`.

    Raises:
        UserError: a flag is unknown, or its value is missing or will not do.
        SystemExit: the help was asked for, and has been printed (status 0).
    """
    check_values(settings_class, argv)
    told, uncolored = io.StringIO(), io.StringIO()
    try:
        # tyro colors what goes to a terminal, whatever NO_COLOR says.
        with redirect_stderr(told), redirect_stdout(uncolored) if os.environ.get("NO_COLOR") else nullcontext():
            settings, unknown = tyro.cli(settings_class, args=argv, prog=prog, return_unknown_args=True, **how)
    except SystemExit as exit:
        if not exit.code:
            print(uncolored.getvalue(), end="")
            raise
        raise UserError(f"{reason(exit, told.getvalue())}; {prog} --help explains all flags") from None
    for word in sorted(unknown, key=lambda word: not word.startswith("-")):
        name = "--" + word.partition("=")[0].lstrip("-").lower().replace("_", "-")
        near = get_close_matches(name, flags(settings_class), n=1)
        hint = f"did you mean {near[0]}?" if near and word.startswith("-") else f"{prog} --help lists all flags"
        raise UserError(f"there is no flag {word}: {hint}" if word.startswith("-") else f"{word!r} has no flag: {hint}")
    return settings


def flags(settings_class: type) -> dict[str, Any]:
    """The flags of a dataclass, and of the dataclasses in it, with the type of their value."""
    found = {}
    for name, kind in get_type_hints(settings_class).items():
        if is_dataclass(kind):
            found |= flags(kind)
        elif name != "vocab_size":  # the text decides
            found["--" + name.replace("_", "-")] = kind
    return found


def check_values(settings_class: type, argv: Sequence[str]) -> None:
    """Raise UserError for a flag without its value, or with one that cannot be read."""
    kinds = flags(settings_class)
    for flag, value in flags_with_values(kinds, argv):
        kind = kinds[flag]
        if kind is bool:
            require(value is None, f"{flag} takes no value, and it has {value!r}: write {flag}, or leave it out")
            continue
        require(value is not None, f"{flag} needs a value after it (one that begins with - is given as {flag}=-x)")
        if kind in NUMBERS:
            try:
                kind(value)
            except ValueError:
                raise UserError(f"{flag} must be {NUMBERS[kind]}, and it is {value!r}") from None
        elif get_origin(kind) is Literal:
            choices = get_args(kind)
            require(value in choices, f"{flag} must be one of {', '.join(choices)}, and it is {value!r}")
        elif Path in (kind, *get_args(kind)):
            require(value != "", f"{flag} must be a path, and it is ''")


def flags_with_values(kinds: dict[str, Any], argv: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """The known flags in a command line, each with its value, or with None where there is none."""
    words = iter(argv)
    word = next(words, None)
    while word is not None:
        name, given, value = word.partition("=")
        flag, following = "--" + name[2:].replace("_", "-"), next(words, None)
        if name.startswith("--") and flag in kinds:
            if not given:
                value = None
                if kinds[flag] is not bool and not is_flag(following):
                    value, following = following, next(words, None)
            yield flag, value
        word = following


def is_flag(word: str | None) -> bool:
    """Whether a word is no value: there is none, or it begins with - and is no number."""
    if word is None or not word.startswith("-"):
        return word is None
    try:
        return float(word) is None
    except ValueError:
        return True


def reason(exit: BaseException, told: str) -> str:
    """Why tyro gave up: the UserError that a config raised, or else the first paragraph of what tyro told."""
    error: BaseException | None = exit
    while error is not None:
        if isinstance(error, UserError):
            return str(error)
        error = error.__context__
    lines = [line.strip("│ ") for line in told.splitlines()[1:]]  # the first is the upper edge of the box
    end = next((n for n, line in enumerate(lines) if line.startswith(("─", "╰"))), len(lines))
    return " ".join(lines[:end]).rstrip(".")
