"""What the board knows: who is in the room, their curves, the exercises they solved, and who has raised a hand.

Everything that arrives is checked and limited here, because it comes from thirty laptops.
"""

import math
import re
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from babygpt.harness.web import Refused

PEOPLE, RUNS, POINTS = 100, 20, 300  # at most, in a room, of a person, and in a run
NAME, RUN = 24, 40  # characters
RATE = 50  # reports a person may send in a second
STEP = 10**9


@dataclass
class Person:
    """What somebody has reported."""

    runs: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    solved: set[str] = field(default_factory=set)
    failed: dict[str, int] = field(default_factory=dict)
    """How often the check of an exercise has failed since it was last right."""
    hand: bool = False
    seen: float = field(default_factory=time.monotonic)
    times: deque[float] = field(default_factory=lambda: deque(maxlen=RATE))


class Room:
    """All people by their nicknames."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.people: dict[str, Person] = {}
        self.reports = 0

    def take(self, report: Any) -> None:
        """Take a report.

        Raises:
            Refused: the code is wrong, the report is not one, or there are too many.
        """
        if not isinstance(report, dict) or report.get("code") != self.code:
            raise Refused(403, "this is not the code of the room")
        name = text(report.get("name"), NAME)
        person = self.people.get(name)
        if person is None:
            if len(self.people) >= PEOPLE:
                raise Refused(429, "the room is full")
            person = Person()
        now = time.monotonic()
        if len(person.times) == RATE and now - person.times[0] < 1:
            raise Refused(429, "too many reports")
        kind = report.get("kind")
        if kind == "loss":
            self.add_loss(person, report)
        elif kind == "check":
            self.add_check(person, report)
        elif kind == "hand":
            person.hand = report.get("up") is True
        elif kind == "leave":
            self.people.pop(name, None)
            return
        elif kind != "join":
            raise Refused(400, "there is no such kind of report")
        person.seen = now
        person.times.append(now)
        self.people[name] = person
        self.reports += 1

    def add_loss(self, person: Person, report: dict[str, Any]) -> None:
        """A point of a curve. Step 0 begins a run again."""
        run, step, val = text(report.get("run"), RUN), report.get("step"), report.get("val")
        if type(step) is not int or not 0 <= step <= STEP or type(val) not in (int, float) or not math.isfinite(val):
            raise Refused(400, "a loss has a step and a value")
        if run not in person.runs and len(person.runs) >= RUNS:
            person.runs.pop(next(iter(person.runs)))
        points = person.runs.pop(run, [])  # and in again as the last one, the one that is shown
        points = [point for point in points if point[0] < step]
        if len(points) >= POINTS:
            points = points[::2]
        person.runs[run] = [*points, (step, round(float(val), 4))]

    def add_check(self, person: Person, report: dict[str, Any]) -> None:
        """An exercise that is right or wrong."""
        exercise = text(report.get("exercise"), 6)
        if not re.fullmatch(r"\d{1,2}\.\w", exercise):
            raise Refused(400, "this is not the number of an exercise")
        if report.get("right") is True:
            person.solved.add(exercise)
            person.failed.pop(exercise, None)
        elif exercise not in person.solved:
            person.failed[exercise] = min(999, person.failed.get(exercise, 0) + 1)

    def state(self) -> dict[str, Any]:
        """Everything that the page shows."""
        now = time.monotonic()
        people = []
        for name, person in sorted(self.people.items()):
            lessons: dict[str, int] = defaultdict(int)
            for exercise in person.solved:
                lessons[exercise.split(".")[0]] += 1
            run = next(reversed(person.runs), None)
            stuck = max(person.failed, key=lambda exercise: person.failed[exercise], default=None)
            people.append(
                {
                    "name": name,
                    "hand": person.hand,
                    "run": run,
                    "points": person.runs[run] if run else [],
                    "lessons": dict(lessons),
                    "stuck": [stuck, person.failed[stuck]] if stuck else None,
                    "idle": round(now - person.seen),
                }
            )
        return {"people": people, "reports": self.reports}


def text(value: Any, length: int) -> str:
    """A short text without characters that cannot be seen.

    Raises:
        Refused: it is not one.
    """
    if not isinstance(value, str):
        raise Refused(400, "a name is missing")
    value = "".join(ch for ch in value if ch.isprintable()).strip()[:length]
    if not value:
        raise Refused(400, "a name is missing")
    return value
