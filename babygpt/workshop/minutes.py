"""How long the parts of a lesson take in a classroom. The lessons themselves say it.

A section says it in a comment below its heading, `<!-- minutes: 5 talk, 1 training -->`, and an exercise in its card,
`*Difficulty 2 of 5 · 10 minutes · ...*`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

SECTION = re.compile(
    r"^#{2,3} (?P<title>.+)\n\n<!-- minutes: (?P<talk>\d+) talk(?:, (?P<training>\d+) training)? -->", re.M
)
EXERCISE = re.compile(
    r"^### Exercise (?P<number>\d+\.\w+) · (?P<title>.+)\n\n\*Difficulty \d of 5 · (?P<minutes>\d+) minutes", re.M
)


@dataclass(frozen=True)
class Part:
    """A section or an exercise of a lesson, with its minutes."""

    title: str
    talk: int = 0
    exercise: int = 0
    training: int = 0


def parts(lesson: Path) -> dict[str, Part]:
    """The parts of a lesson: sections by their title, exercises by their number, for example "5.A"."""
    text = lesson.read_text(encoding="utf-8")
    found = {
        m["title"]: Part(m["title"], talk=int(m["talk"]), training=int(m["training"] or 0))
        for m in SECTION.finditer(text)
    }
    for m in EXERCISE.finditer(text):
        found[m["number"]] = Part(m["title"], exercise=int(m["minutes"]))
    return found
