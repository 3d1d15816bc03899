"""Slides: `python -m babygpt.workshop.slides` builds a deck for each lesson from `workshop/slides/`, with Marp.

A deck begins with the lesson's question and ends with its key points, which both come from the lesson. In the source,
these are replaced: `![](picture:3)` by the third picture of the lesson, drawn by its cell, `![](results:depth)` by a
picture of `results/`, `<!-- question: 5a -->` by a concept question, and `<!-- ladder -->` by a table of all versions.
A comment on a slide is a speaker note.

Each deck becomes a single HTML file that needs no network.
"""

import re
import shutil
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from babygpt.compare.recorded import trainings
from babygpt.course import lab
from babygpt.course.execute import execute
from babygpt.course.generated import ROOT
from babygpt.course.notebooks import build, lessons
from babygpt.course.questions import Question, read_questions
from babygpt.errors import require
from babygpt.harness.files import write_atomically
from babygpt.harness.terminal import run_command
from babygpt.versions import VERSIONS

FOLDER = ROOT / "workshop" / "slides"
MARP = "@marp-team/marp-cli@4.5.1"
DPI = 160  # sharp enough for a projector

HEADER = "---\nmarp: true\ntheme: babygpt\npaginate: true\ntitle: {title}\n---\n\n"
BREAK = "\n\n---\n\n"


@dataclass(frozen=True)
class SlidesConfig:
    """Build the slides. This needs Node.js, and a network the first time."""

    out: Path = ROOT / "site" / "slides"
    """The folder to write to."""

    only: tuple[int, ...] = ()
    """Numbers of lessons; all of them if there are none."""


def deck(lesson: Path, picture: Callable[[str, str], str]) -> str:
    """The deck of a lesson as Marp Markdown.

    Args:
        picture: given the kind of a picture, "picture" or "results", and its number or name, returns its address.

    Raises:
        UserError: the deck names a question that does not exist.
    """
    page = lesson.read_text(encoding="utf-8")
    title = re.search(r"^# (.+)$", page, flags=re.M)[1]
    slides = (FOLDER / lesson.name).read_text(encoding="utf-8").strip().split(BREAK)
    slides = [opening(page), *(question_slide(slide) for slide in slides), *closing(page)]
    text = BREAK.join(slides).replace("<!-- ladder -->", ladder())
    text = re.sub(r"!\[\]\((picture|results):(\w+)\)", lambda m: f"![]({picture(m[1], m[2])})", text)
    return HEADER.format(title=title) + text + "\n"


def ladder() -> str:
    """All versions with the validation losses of their recorded runs, as a table."""
    lines = ["| version | what is new | loss |", "|---|---|---|"]
    for version in VERSIONS:
        preset = "laptop" if version.number == 10 else "lecture"
        losses = [run["val"]["loss"] for run in trainings(version, preset)]
        name = f"{version.title} (laptop)" if preset == "laptop" else version.title
        lines.append(f"| v{version.number} | {name} | {mean(losses):.2f} |")
    return "\n".join(lines)


def opening(page: str) -> str:
    """The first slide: the lesson and its question. The notes say what people can do after it."""
    number, title = re.search(r"^# (Lesson \d+) · (.+)$", page, flags=re.M).groups()
    question = re.search(r"^> \*\*(.+?)\*\*", page, flags=re.M | re.S)[1].replace("\n> ", " ")
    goals = re.findall(r"^After (?:this lesson|part \w+), you'll be able to\n\n((?:[-\s] .+\n)+)", page, flags=re.M)
    note = "After this lesson, they should be able to\n\n" + "".join(goals).replace("--", "")
    return f"<!-- _class: title -->\n\n# {number}\n\n## {title}\n\n> {question}\n\n<!--\n{note}-->"


def closing(page: str) -> list[str]:
    """The last slides: the key points of the lesson, or of each of its parts."""
    found = re.findall(r"^### (Key points.*)\n\n((?:[-\s] .+\n)+)", page, flags=re.M)
    note = "<!-- Let pairs choose the point that was new to them, and explain it to each other. -->"
    # Marp breaks a line of the slide where the source has one.
    lists = [(title, points.replace("\n  ", " ")) for title, points in found]
    return [f"<!-- _class: key -->\n\n## {title}\n\n{points}\n{note}" for title, points in lists]


def question_slide(slide: str) -> str:
    """A slide as it is, or the one of a concept question, with the answers in the notes."""
    name = re.fullmatch(r"<!-- question: (\w+) -->", slide.strip())
    if not name:
        return slide
    require(name[1] in read_questions(), f"a deck asks the question {name[1]}, which does not exist")
    question = read_questions()[name[1]]
    options = "\n".join(
        f"- **{letter}** {option.answer}" for letter, option in zip("ABCD", question.options, strict=True)
    )
    return f"<!-- _class: question -->\n\n## {question.ask}\n\n{options}\n\n<!--\n{notes(question)}\n-->"


def notes(question: Question) -> str:
    """What to say to each answer."""
    lines = [f"Show of hands. {question.right} is right.", ""]
    for letter, option in zip("ABCD", question.options, strict=True):
        lines.append(f"{letter}: " + (f'"{option.thinks}" ' if option.thinks else "") + option.say)
    return "\n\n".join(line for line in lines if line)


def pictures_of(lesson: Path) -> list[bytes]:
    """The pictures of a lesson as PNG files, drawn by its cells from recorded runs."""
    from matplotlib import rc_context

    before, lab.RECORDED = lab.RECORDED, "1"
    try:
        with rc_context({"font.size": 12, "axes.titlesize": 12}):  # to be read from the last row
            executed = list(execute(build(lesson, solutions=True), dpi=DPI))
    finally:
        lab.RECORDED = before
    return [done.figures[0] for done in executed if "alt" in done.cell.metadata]


def as_data(png: bytes) -> str:
    """A picture as an address that contains it."""
    return f"data:image/png;base64,{b64encode(png).decode('ascii')}"


def to_html(markdown: str, npx: str) -> str:
    """A deck as one HTML file, by Marp.

    Raises:
        UserError: Marp cannot be had or does not accept the deck.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "deck.md", Path(folder) / "deck.html"
        source.write_text(markdown, encoding="utf-8")
        command = [
            npx,
            "--yes",
            MARP,
            "--no-stdin",
            "--theme",
            str(FOLDER / "theme.css"),
            str(source),
            "-o",
            str(target),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        require(done.returncode == 0 and target.exists(), f"Marp could not build a deck: {done.stderr.strip()[-300:]}")
        return target.read_text(encoding="utf-8")


def build_decks(config: SlidesConfig) -> None:
    """Build the decks that the command line asks for.

    Raises:
        UserError: Node.js is missing.
    """
    npx = shutil.which("npx")
    require(npx is not None, "the slides are built by Marp, which needs Node.js: install it from nodejs.org")
    config.out.mkdir(parents=True, exist_ok=True)
    for number, lesson in enumerate(lessons()):
        if (config.only and number not in config.only) or not (FOLDER / lesson.name).exists():
            continue  # part two has no decks
        drawn = pictures_of(lesson)

        def picture(kind: str, name: str, drawn: list[bytes] = drawn) -> str:
            return as_data(
                drawn[int(name) - 1] if kind == "picture" else (ROOT / "results" / f"{name}.png").read_bytes()
            )

        path = config.out / f"{lesson.stem}.html"
        write_atomically(path, to_html(deck(lesson, picture), npx).encode("utf-8"))
        print(path, flush=True)


def main(argv: list[str] | None = None) -> None:
    """Build as the command line says, and exit."""
    run_command(SlidesConfig, build_decks, "python -m babygpt.workshop.slides", argv)


if __name__ == "__main__":
    main()
