"""The twelve bugs of the clinic, read from `workshop/clinic.toml`, and the files that have them."""

import inspect
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from babygpt import v5
from babygpt.course.generated import ROOT
from babygpt.errors import require

Patches = tuple[tuple[str, str], ...]

LOOP = Path(__file__).with_name("loop.py")

MAIN = """

if __name__ == "__main__":
    from babygpt.workshop.clinic.loop import run

    run(Model, Config())
"""


@dataclass(frozen=True)
class Bug:
    """A bug, and the file that has it."""

    number: int
    name: str
    lesson: int
    """The lesson after which a learner can find it."""
    file: str
    """The version that it is a copy of, for example "v5", or "loop"."""
    complaint: str
    """What its owner says about it, without knowing the cause."""
    hints: tuple[str, str]
    explanation: str
    """What the bug does, and why the symptoms are what they are."""
    bug: Patches
    setup: Patches

    @property
    def title(self) -> str:
        """What the file is."""
        return "a training loop on one page" if self.file == "loop" else f"version {self.file[1:]}"

    def healthy(self) -> str:
        """The text of the file without the bug. It trains when it is run."""
        path = LOOP if self.file == "loop" else ROOT / "babygpt" / f"{self.file}.py"
        text = replace_all(path.read_text(encoding="utf-8"), self.setup)
        docstring, code = text.removeprefix('"""').split('"""\n', 1)
        first = docstring.split("\n")[0]
        if self.file != "loop":
            code = code.split("\n\n\nif __name__")[0] + "\n" + MAIN
        return f'"""Case {self.number} of the bug clinic: {first[0].lower()}{first[1:]}"""\n{code}'

    def broken(self) -> str:
        """The text of the file with the bug."""
        return replace_all(self.healthy(), self.bug)


def replace_all(text: str, patches: Patches) -> str:
    """The text after all replacements, each of which must find its place exactly once."""
    for old, new in patches:
        require(text.count(old) == 1, f"{old!r} must be there once, and is there {text.count(old)} times")
        text = text.replace(old, new)
    return text


@cache
def read_bugs() -> list[Bug]:
    """All bugs, in the order of the file; the first one is number 1."""
    table = tomllib.loads((ROOT / "workshop" / "clinic.toml").read_text(encoding="utf-8"))
    head = inspect.getsource(v5.Head)

    def patches(entries: list[dict[str, str]]) -> Patches:
        return tuple((entry["old"], entry["new"].replace("<the source of v5.Head>\n", head)) for entry in entries)

    bugs = []
    for number, entry in enumerate(table["bug"], 1):
        setup = patches(table["setup"][entry.pop("setup")]) if "setup" in entry else ()
        explanation = re.sub(r"\s+", " ", entry.pop("explanation")).strip()
        hints = tuple(entry.pop("hints"))
        bug = patches(entry.pop("bug"))
        bugs.append(Bug(number=number, bug=bug, setup=setup, hints=hints, explanation=explanation, **entry))
    return bugs


def get_bug(number: int) -> Bug:
    """A bug by its number.

    Raises:
        UserError: there is none with that number.
    """
    bugs = read_bugs()
    require(1 <= number <= len(bugs), f"there is no case {number}: choose one from 1 to {len(bugs)}")
    return bugs[number - 1]
