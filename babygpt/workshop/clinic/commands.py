"""The bug clinic: `python -m babygpt.clinic start 3` gives a file with a bug in it, and `check 3` says if it is fixed.

Look at the curve first, at the text second, and at the code last.
"""

import difflib
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from babygpt.errors import require
from babygpt.harness.files import write_atomically
from babygpt.harness.terminal import run_command
from babygpt.workshop.clinic import symptoms
from babygpt.workshop.clinic.bugs import Bug, get_bug, read_bugs

FOLDER = Path("clinic")


@dataclass(frozen=True)
class Case:
    """What all commands have in common."""

    number: tyro.conf.Positional[int]
    """The number of the case, 1 to 12."""

    folder: Path = FOLDER
    """Where the files are."""

    @property
    def bug(self) -> Bug:
        """The bug of this case.

        Raises:
            UserError: there is no case with this number.
        """
        return get_bug(self.number)

    @property
    def path(self) -> Path:
        """The learner's file."""
        return self.folder / f"case_{self.bug.number:02d}.py"


@dataclass(frozen=True)
class Start(Case):
    """Write the file, and show its symptoms."""

    again: bool = False
    """Start over: replace a file that is there."""

    def run(self) -> None:
        """Write the file and print.

        Raises:
            UserError: the file is there already, or it cannot be written.
        """
        bug = self.bug
        require(self.again or not self.path.exists(), f"{self.path} is there already: --again replaces it")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, bug.broken().encode("utf-8"))
            write_atomically(self.path.with_suffix(".png"), symptoms.picture(bug))
        except OSError as error:
            require(False, f"cannot write {self.path} ({error.strerror}): give another folder with --folder")
        print(f'Case {bug.number}, {bug.title}: "{bug.complaint}"\n')
        print("1. The validation loss, in nats per character, of a recorded run:\n")
        print("\n".join(symptoms.curve(bug)))
        print(f"\n   The same as a picture: {self.path.with_suffix('.png')}\n\n2. What it writes:\n")
        print("\n".join(f"    {line}" for line in symptoms.read()[str(bug.number)]["broken"]["sample"].splitlines()))
        print(f"\n3. The code: {self.path}. Find the bug, and fix it.\n")
        place = "" if self.folder == FOLDER else f" --folder {self.folder}"
        lines = {f"python {self.path}": "trains it: 10 to 30 seconds on two cores"}
        for command, what in (("check", "is it fixed?"), ("hint", "a hint"), ("reveal", "the answer")):
            lines[f"python -m babygpt.clinic {command} {bug.number}{place}"] = what
        width = max(map(len, lines))
        for command, what in lines.items():
            print(f"  {command:<{width}}  {what}")


@dataclass(frozen=True)
class Check(Case):
    """Say whether the file is right, by what it computes."""

    def run(self) -> int:
        """Print the verdict; return 0 if the file is right and 1 if it is not."""
        from babygpt.workshop.clinic.checks import check

        wrong = check(self.bug, self.path)
        if wrong:
            print(f"Case {self.number}: not fixed: {wrong}")
            return 1
        print(f"Case {self.number}: fixed. It was: {self.bug.name}.\n\n{textwrap.fill(self.bug.explanation, 100)}")
        return 0


@dataclass(frozen=True)
class Hint(Case):
    """Give a hint: the first, or with --second the second."""

    second: bool = False
    """The second hint, which says more."""

    def run(self) -> None:
        """Print the hint."""
        print(self.bug.hints[self.second])
        if not self.second:
            print("(A second hint: --second)")


@dataclass(frozen=True)
class Reveal(Case):
    """Show the lines that are wrong, and what they do."""

    def run(self) -> None:
        """Print the difference and the explanation."""
        print(f"Case {self.number}: {self.bug.name}.\n\n{textwrap.fill(self.bug.explanation, 100)}\n")
        print("\n".join(diff(self.bug)))


@dataclass(frozen=True)
class List:
    """List the cases."""

    def run(self) -> None:
        """Print a line for each."""
        for bug in read_bugs():
            print(f'{bug.number:>3}  {bug.title:<30} after lesson {bug.lesson:<3} "{bug.complaint}"')
        print("\nTake one: python -m babygpt.clinic start 1")


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Start, tyro.conf.subcommand("start")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Hint, tyro.conf.subcommand("hint")]
    | Annotated[Reveal, tyro.conf.subcommand("reveal")]
)


def diff(bug: Bug) -> list[str]:
    """The lines that differ: - with the bug, + without it."""
    lines = difflib.unified_diff(bug.broken().splitlines(), bug.healthy().splitlines(), lineterm="", n=1)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def main(argv: list[str] | None = None) -> None:
    """Do what the command line says, and exit: 0, 1 for a file that is not right, 2 for bad input."""
    argv = sys.argv[1:] if argv is None else argv
    run_command(Command, lambda command: command.run(), "python -m babygpt.clinic", argv or ["list"])
