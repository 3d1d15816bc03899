"""The schedules of a workshop, from `workshop/schedules.toml`. `python -m babygpt.workshop.publish` writes their pages.

The minutes come from the lessons. The rules that a schedule keeps are in `problems`.
"""

import math
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from babygpt.course.generated import ROOT
from babygpt.course.notebooks import lessons
from babygpt.course.questions import read_questions
from babygpt.errors import require
from babygpt.workshop.minutes import Part, parts

START = 9 * 60  # nine o'clock, in minutes
SLACK = 20  # minutes that a day may end early
LONGEST_STRETCH, LONGEST_TALK, LONGEST_TRAINING = 75, 20, 1  # minutes


@dataclass(frozen=True)
class Slot:
    """A slot of a schedule: what happens, and how long it takes."""

    title: str
    lesson: int | None = None
    sections: list[tuple[Path, Part]] = field(default_factory=list)
    exercises: list[tuple[str, Part]] = field(default_factory=list)
    extra: int = 0
    is_break: bool = False
    do: str = ""
    question: str = ""
    """The name of a concept question, for example 5a."""
    ask: str = ""
    late: str = ""
    recorded: str = ""

    @property
    def talk(self) -> int:
        """Minutes of talk."""
        return sum(part.talk for _, part in self.sections)

    @property
    def exercise(self) -> int:
        """Minutes in which the room works."""
        return sum(part.exercise for _, part in self.exercises)

    @property
    def training(self) -> int:
        """Minutes in which the room waits for a training run; none where a recorded run takes its place."""
        return 0 if self.recorded else sum(part.training for _, part in self.sections)

    @property
    def minutes(self) -> int:
        """All of them, rounded up to a multiple of five."""
        return 5 * math.ceil((self.talk + self.exercise + self.training + self.extra) / 5)


@dataclass(frozen=True)
class Schedule:
    """A workshop: its days, each of them a list of slots."""

    name: str
    title: str
    goal: str
    minutes: int
    days: list[list[Slot]]


def read(path: Path = ROOT / "workshop" / "schedules.toml") -> list[Schedule]:
    """The schedules of a file.

    Raises:
        UserError: a slot names a section or an exercise that is in no lesson, or a schedule names a missing slot.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    pages = lessons()
    known = [parts(page) for page in pages]
    slots = {name: make_slot(name, dict(entry), pages, known) for name, entry in table.pop("slots").items()}
    schedules = []
    for name, entry in table.items():
        missing = {slot for day in entry["days"] for slot in day} - set(slots)
        require(not missing, f"{path.name}: {name} has slots that are not defined: {', '.join(sorted(missing))}")
        days = [[slots[slot] for slot in day] for day in entry["days"]]
        schedules.append(Schedule(name, entry["title"], entry["goal"], entry["minutes"], days))
    used = {slot for entry in table.values() for day in entry["days"] for slot in day}
    require(used == set(slots), f"{path.name}: no schedule uses {', '.join(sorted(set(slots) - used))}")
    return schedules


def make_slot(name: str, entry: dict[str, Any], pages: list[Path], known: list[dict[str, Part]]) -> Slot:
    """A slot with its sections and exercises looked up. A title such as "4: One table" is a section of lesson 4."""

    def look_up(title: str) -> tuple[Path, Part]:
        other = re.match(r"(\d+): (.*)", title)
        number, wanted = (int(other[1]), other[2]) if other else (entry["lesson"], title)
        require(wanted in known[number], f"slot {name}: lesson {number} has no section {wanted!r} with minutes")
        return pages[number], known[number][wanted]

    question = entry.get("question", "")
    require(not question or question in read_questions(), f"slot {name}: there is no question {question}")
    sections = [look_up(title) for title in entry.pop("sections", [])]
    exercises = [(number, look_up(number)[1]) for number in entry.pop("exercises", [])]
    return Slot(sections=sections, exercises=exercises, is_break=entry.pop("break", False), **entry)


def problems(schedule: Schedule) -> list[str]:
    """The rules that a schedule breaks, a sentence each."""
    found = []
    for number, day in enumerate(schedule.days, 1):
        total = sum(slot.minutes for slot in day)
        if not schedule.minutes - SLACK <= total <= schedule.minutes:
            found.append(f"day {number} takes {total} minutes, not {schedule.minutes}")
        stretch = talk = 0
        for slot in day:
            stretch = 0 if slot.is_break else stretch + slot.minutes
            talk += slot.talk
            if stretch > LONGEST_STRETCH:
                found.append(f"day {number}, {slot.title}: {stretch} minutes without a break")
            if talk > LONGEST_TALK:
                found.append(f"day {number}, {slot.title}: {talk} minutes of talk without an activity")
            if slot.is_break or slot.exercises or slot.do:
                talk = 0
            if slot.training > LONGEST_TRAINING * max(1, sum(part.training > 0 for _, part in slot.sections)):
                found.append(f"day {number}, {slot.title}: a run takes more than a minute")
            if not slot.is_break and not ((slot.question or slot.ask) and slot.late):
                found.append(f"day {number}, {slot.title}: a question and a way to save time are missing")
    return found


def clock(minute: int) -> str:
    """A time of day, for example 9:05."""
    return f"{minute // 60}:{minute % 60:02d}"


def anchor(title: str) -> str:
    """The link to a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def render(schedule: Schedule) -> bytes:
    """The page of a schedule."""
    lines = [f"# {schedule.title}", "", schedule.goal, ""]
    lines += ["Generated from [schedules.toml](schedules.toml) and the minutes in the lessons by `make workshop`.", ""]
    for number, day in enumerate(schedule.days, 1):
        working = [slot for slot in day if not slot.is_break]
        sums = [sum(getattr(slot, kind) for slot in working) for kind in ("talk", "exercise", "training")]
        end = START + sum(slot.minutes for slot in day)
        if len(schedule.days) > 1:
            lines += [f"## Day {number}", ""]
        lines += [
            f"From {clock(START)} to {clock(end)}: {sums[0]} minutes of talk, {sums[1]} of exercises, and {sums[2]} of "
            "waiting for training runs. The rest is breaks and time to settle.",
            "",
        ]
        minute = START
        for slot in day:
            lines += [f"**{clock(minute)} · {slot.title}** ({slot.minutes} minutes)", ""]
            lines += [*(f"- {line}" for line in details(slot)), *([""] if details(slot) else [])]
            minute += slot.minutes
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8")


def details(slot: Slot) -> list[str]:
    """What the page says about a slot, a line each."""
    found = [slot.do] if slot.do else []
    links = [
        f"[{part.title}](../lessons/{page.name}#{anchor(part.title)}) ({part.talk})" for page, part in slot.sections
    ]
    if links:
        found.append("Talk: " + ", ".join(links))
    decks = dict.fromkeys(page for page, _ in slot.sections)
    if decks:
        shown = [f"[lesson {int(page.name[:2])}](slides/{page.name})" for page in decks]
        found.append("Slides: " + ", ".join(shown))
    if slot.exercises:
        named = [f"{number} {part.title} ({part.exercise})" for number, part in slot.exercises]
        found.append(("Exercise " if len(named) == 1 else "Exercises ") + "; ".join(named))
    if slot.training:
        found.append(
            f"Training: {slot.training} minute{'s' if slot.training > 1 else ''}, or none with `BABYGPT_RECORDED=1`"
        )
    found += [slot.recorded] if slot.recorded else []
    if slot.question:
        ask = read_questions()[slot.question].ask
        found.append(f"Show of hands, [{slot.question}](questions.md#{anchor(f'{slot.question}. {ask}')}): {ask}")
    found += [f"Ask: {slot.ask}"] if slot.ask else []
    found += [f"Running ten minutes late? {slot.late}"] if slot.late else []
    return found


def pages() -> dict[Path, bytes]:
    """The pages of all schedules.

    Raises:
        UserError: a schedule breaks a rule.
    """
    files = {}
    for schedule in read():
        broken = problems(schedule)
        require(not broken, f"{schedule.name}: {'; '.join(broken)}")
        files[ROOT / "workshop" / f"{schedule.name}.md"] = render(schedule)
    return files
