"""Concept questions: four answers each, and for every wrong one what somebody who gives it thinks.

They are in `workshop/questions/`, a file for each lesson. From there they go into the lessons and their notebooks, on
the instructor's page `workshop/questions.md`, into the schedules, and on the slides.
"""

import random
import tomllib
from dataclasses import dataclass
from functools import cache

from babygpt.course.generated import ROOT

FOLDER = ROOT / "workshop" / "questions"


@dataclass(frozen=True)
class Option:
    """One of the four answers to a question."""

    answer: str
    is_right: bool
    say: str
    """What to say to somebody who has chosen it: why it is right, or why it is not."""
    thinks: str = ""
    """The misconception behind a wrong answer."""


@dataclass(frozen=True)
class Question:
    """A question with its four options, in the order in which they are shown."""

    lesson: int
    letter: str
    ask: str
    options: tuple[Option, ...]
    proof: str
    """The test that shows that the right answer is right."""

    @property
    def name(self) -> str:
        """For example 5a."""
        return f"{self.lesson}{self.letter}"

    @property
    def right(self) -> str:
        """The letter of the right option, A to D."""
        return "ABCD"[[option.is_right for option in self.options].index(True)]


@cache
def read_questions() -> dict[str, Question]:
    """All questions, by name."""
    found = {}
    for path in sorted(FOLDER.glob("*.toml")):
        lesson = int(path.stem[:2])
        for letter, entry in zip("abcdefgh", tomllib.loads(path.read_text(encoding="utf-8"))["question"], strict=False):
            options = [Option(entry["right"], True, entry["because"])]
            options += [Option(wrong["answer"], False, wrong["say"], wrong["thinks"]) for wrong in entry["wrong"]]
            random.Random(entry["ask"]).shuffle(options)
            question = Question(lesson, letter, entry["ask"], tuple(options), entry["proof"])
            found[question.name] = question
    return found


def of_lesson(number: int) -> list[Question]:
    """The questions of a lesson."""
    return [question for question in read_questions().values() if question.lesson == number]


def for_learners(number: int) -> str:
    """The questions of a lesson as Markdown: each option unfolds into what there is to say about it."""
    lines = []
    for question in of_lesson(number):
        lines += [f"**{question.name}. {question.ask}**", ""]
        for letter, option in zip("ABCD", question.options, strict=True):
            verdict = "Right." if option.is_right else f'No. The thought behind this answer: *"{option.thinks}"*'
            lines += [f"<details><summary>{letter}. {option.answer}</summary>", ""]
            lines += [f"{verdict} {option.say}", "</details>", ""]
    return "\n".join(lines).rstrip()


def for_instructors() -> bytes:
    """The instructor's page: all questions with their answers, the misconceptions, and what to say."""
    lines = [
        "# Concept questions",
        "",
        "For a show of hands. Read the question, give the room a moment, let everybody show A, B, C or D at the same",
        "time, and ask two who disagree to convince each other. Then show the answer. Each takes about two minutes.",
        "",
        "The right answer is in bold. A wrong one comes with what somebody who gives it thinks, and with what to say.",
        'Learners find the same questions in the lessons and the notebooks, under "Check yourself".',
    ]
    for question in read_questions().values():
        lines += ["", f"## {question.name}. {question.ask}", ""]
        for letter, option in zip("ABCD", question.options, strict=True):
            answer = f"**{option.answer}**" if option.is_right else option.answer
            thinks = "" if option.is_right else f' *"{option.thinks}"*'
            lines.append(f"- {letter}: {answer}.{thinks} {option.say}".replace("?.", "?"))
    return ("\n".join(lines) + "\n").encode("utf-8")
