"""A workshop without people: `python -m babygpt.workshop.dry_run half-day` runs what the room will run, and times it.

Of every slot it executes the cells of its sections, the solutions of its exercises with their checks, and the commands
in `do`. Runs are trained, except where the schedule says that a recorded one stands in. The cells of a lesson that no
slot names are executed as well, in recorded mode and without being counted, because later cells need their variables.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from nbformat import NotebookNode

from babygpt.course import lab
from babygpt.course.execute import execute
from babygpt.course.notebooks import build, lessons
from babygpt.errors import require
from babygpt.harness.terminal import run_command
from babygpt.workshop.schedules import LONGEST_TRAINING, Slot, read

Place = tuple[int, str]  # a lesson, and the title of a section or the number of an exercise

COMMAND = re.compile(r"`(python -m babygpt\.[\w.]+(?: [\w-]+)*)`")


@dataclass(frozen=True)
class DryRunConfig:
    """Run what a workshop will run, and print planned minutes beside measured seconds."""

    schedule: tyro.conf.Positional[str] = "half-day"
    """half-day, one-day or two-days."""


@dataclass
class Measured:
    """What the machine did in a slot."""

    seconds: float = 0.0
    longest: float = 0.0
    """Seconds of the longest cell or command: the longest that anybody waits."""
    faults: list[str] = field(default_factory=list)

    def add(self, seconds: float, fault: str | None) -> None:
        """Another cell or command."""
        self.seconds += seconds
        self.longest = max(self.longest, seconds)
        self.faults += [fault] if fault else []


def dry_run(config: DryRunConfig) -> int:
    """Run a schedule and print it; return 1 if anything failed or took too long.

    Raises:
        UserError: there is no such schedule.
    """
    schedules = {schedule.name: schedule for schedule in read()}
    require(config.schedule in schedules, f"there is no schedule {config.schedule}: choose from {', '.join(schedules)}")
    slots = [slot for day in schedules[config.schedule].days for slot in day]
    seconds = run_lessons(slots)
    print(f"{'planned':>10} {'machine':>9} {'longest':>9}  slot")
    problems = []
    for slot in slots:
        measured = Measured()
        for place in places(slot):
            for cell_seconds, fault in seconds[place]:
                measured.add(cell_seconds, fault)
        with tempfile.TemporaryDirectory() as folder:
            for command in COMMAND.findall(slot.do):
                measured.add(*run_in_shell(command, Path(folder)))
        print(f"{slot.minutes:>6} min {measured.seconds:>7.1f} s {measured.longest:>7.1f} s  {slot.title}", flush=True)
        problems += [f"{slot.title}: {fault}" for fault in measured.faults]
        if measured.longest > 60 * LONGEST_TRAINING:
            problems.append(f"{slot.title}: somebody waits for {measured.longest:.0f} seconds")
        if measured.seconds > 60 * slot.minutes:
            problems.append(f"{slot.title}: the machine alone takes longer than the slot")
    print(f"\nPlanned {sum(slot.minutes for slot in slots)} minutes.", *problems or ["Everything ran."], sep="\n")
    return 1 if problems else 0


def number_of(page: Path) -> int:
    """The number of a lesson."""
    return int(page.name[:2])


def places(slot: Slot) -> list[Place]:
    """The parts of lessons that a slot names."""
    sections = [(number_of(page), part.title) for page, part in slot.sections]
    return sections + [(int(number.split(".")[0]), number) for number, _ in slot.exercises]


def run_lessons(slots: list[Slot]) -> dict[Place, list[tuple[float, str | None]]]:
    """Execute the lessons that the slots need: for each place, the seconds of its cells and what went wrong in them."""
    trained = {place for slot in slots if not slot.recorded for place in places(slot)}
    wanted = {place for slot in slots for place in places(slot)}
    found = defaultdict(list)
    for page in lessons():
        number = number_of(page)
        if any(lesson == number for lesson, _ in wanted):
            for place, seconds, fault in run_lesson(page, trained):
                found[place].append((seconds, fault))
    return found


def run_lesson(page: Path, trained: set[Place]) -> Iterator[tuple[Place, float, str | None]]:
    """Execute the solutions notebook of a lesson, cell by cell; train where `trained` says so, else load."""
    place, before = (number_of(page), ""), lab.RECORDED

    def choose(cell: NotebookNode) -> None:
        nonlocal place
        if cell.cell_type == "markdown":
            place = (place[0], heading(cell.source) or place[1])
        lab.RECORDED = "" if place in trained else "1"

    for done in execute(build(page, solutions=True), choose):
        failed = done.error or "is not right" in done.printed
        yield place, done.seconds, f"a cell fails: {done.cell.source.splitlines()[0]}" if failed else None
    lab.RECORDED = before


def heading(text: str) -> str | None:
    """The last heading in a Markdown cell: the title of a section, or the number of an exercise."""
    titles = re.findall(r"^#{2,3} (.+)$", text, flags=re.M)
    if not titles:
        return None
    exercise = re.match(r"Exercise (\d+\.\w+) ·", titles[-1])
    return exercise[1] if exercise else titles[-1]


def run_in_shell(command: str, folder: Path) -> tuple[float, str | None]:
    """Run a command of this package in a folder; for a case of the clinic, also train its file, as a pair does."""
    seconds, fault = run(command.split()[1:], folder)
    case = re.search(r"clinic start (\d+)", command)
    if case and not fault:
        more, fault = run([f"clinic/case_{int(case[1]):02d}.py"], folder)
        seconds += more
    return seconds, fault


def run(arguments: list[str], folder: Path) -> tuple[float, str | None]:
    """Run this Python with some arguments: the seconds, and what went wrong."""
    start = time.perf_counter()
    done: Any = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env=os.environ)
    fault = f"python {' '.join(arguments)} ends with {done.returncode}" if done.returncode else None
    return time.perf_counter() - start, fault


def main(argv: list[str] | None = None) -> None:
    """Run as the command line says, and exit: 0, or 1 if anything failed or took too long."""
    run_command(DryRunConfig, dry_run, "python -m babygpt.workshop.dry_run", argv)


if __name__ == "__main__":
    main()
