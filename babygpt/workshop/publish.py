"""The generated pages of `workshop/`: `python -m babygpt.workshop.publish` writes those that are out of date."""

from dataclasses import dataclass

from babygpt.course import questions
from babygpt.course.generated import ROOT, refresh
from babygpt.harness.terminal import run_command
from babygpt.workshop import schedules, sheets
from babygpt.workshop.clinic import symptoms


@dataclass(frozen=True)
class PublishConfig:
    """Write the pages of the workshop: the schedules, the questions, the quiz and the bug clinic."""

    check: bool = False
    """Write nothing; exit with status 1 if a page is out of date."""


def publish(config: PublishConfig) -> int:
    """Write the pages, or compare them; return the exit status."""
    folder = ROOT / "workshop"
    files = {folder / "clinic.md": symptoms.render(), folder / "questions.md": questions.for_instructors()}
    files |= {folder / "quiz.md": sheets.answers()} | schedules.pages()
    return refresh(files, config.check, "python -m babygpt.workshop.publish")


def main(argv: list[str] | None = None) -> None:
    """Write as the command line says, and exit: 0, or 1 for a stale page under --check."""
    run_command(PublishConfig, publish, "python -m babygpt.workshop.publish", argv)


if __name__ == "__main__":
    main()
