"""`python -m babygpt.catchup 6`: somebody who fell behind gets to the start of lesson 6.

In the notebooks of lessons 1 to 5, each exercise that is still open gets its solution, in a cell of its own below the
stub. An answer stays as it is, and the solution stands below it as text. A notebook is copied before it is changed.
Training loads recorded runs, so that all cells of a notebook run within seconds.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
import tyro
from nbformat import NotebookNode

from babygpt.course.generated import ROOT
from babygpt.course.notebooks import build, lessons, render
from babygpt.errors import UserError, require
from babygpt.harness.files import write_atomically
from babygpt.harness.terminal import run_command

RECORDED = """\
# Catching up: from here on, training loads recorded runs. Delete this cell, and restart the kernel, to train yourself.
import os

os.environ["BABYGPT_RECORDED"] = "1\""""

MARK = {"babygpt": "catchup"}


@dataclass(frozen=True)
class CatchupConfig:
    """Fill in what is open in the notebooks before a lesson. Your own work stays, and each notebook is copied first."""

    lesson: tyro.conf.Positional[int]
    """The lesson you want to start with, 2 to 10."""

    folder: Path = ROOT / "notebooks"
    """Where your notebooks are."""


@dataclass
class Filled:
    """What has been done in a notebook."""

    solutions: int = 0
    answers: int = 0


def catch_up(config: CatchupConfig) -> None:
    """Fill in the notebooks before a lesson, and say what has been done.

    Raises:
        UserError: there is no such lesson, or a notebook cannot be read or written.
    """
    pages = lessons()
    require(
        2 <= config.lesson < len(pages),
        f"there is no lesson {config.lesson} to catch up to: choose one from 2 to {len(pages) - 1}",
    )
    for page in pages[1 : config.lesson]:
        path = config.folder / f"{page.stem}.ipynb"
        notebook = read(path, page)
        if any(cell.metadata.get("babygpt") == "catchup" for cell in notebook.cells):
            print(f"{path.name}: done before, left alone")
            continue
        filled = fill(notebook, page)
        try:
            copy = backup(path)
            write_atomically(path, render(notebook))
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror}): nothing has been changed in it") from error
        kept = f", {filled.answers} of your answers kept" if filled.answers else ""
        print(f"{path.name}: {filled.solutions} solutions{kept}" + (f". As it was: {copy.name}" if copy else ""))
    print(
        f"\nIf a notebook is open in Jupyter, close it and open it again. Now start lesson {config.lesson}: "
        f"{pages[config.lesson].stem}.ipynb"
    )


def read(path: Path, page: Path) -> NotebookNode:
    """A learner's notebook, or a fresh one if there is none.

    Raises:
        UserError: the file is no notebook.
    """
    if not path.exists():
        return build(page, solutions=False)
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises whatever JSON and its schema do
        raise UserError(f"{path} is not a notebook that can be read: move it away, and run this again") from error


def backup(path: Path) -> Path | None:
    """Copy a file next to itself, under a name that is free; None if there is no file."""
    if not path.exists():
        return None
    names = (f"{path.stem}.mine{'' if n == 1 else n}.ipynb" for n in itertools.count(1))
    copy = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    write_atomically(copy, path.read_bytes())
    return copy


def exercises(page: Path) -> Iterator[tuple[str, str]]:
    """The stub and the solution of each exercise of a lesson."""
    stub = None
    for cell in jupytext.reads(page.read_text(encoding="utf-8"), fmt="md").cells:
        tags = cell.metadata.get("tags", [])
        if "stub" in tags:
            stub = cell.source
        elif "solution" in tags and stub is not None:
            yield stub, cell.source
            stub = None


def fill(notebook: NotebookNode, page: Path) -> Filled:
    """Add the solutions to a notebook, in place."""
    solutions = dict(exercises(page))
    original = {
        cell.id: cell.source for cell in build(page, solutions=False).cells if "stub" in cell.metadata.get("tags", [])
    }
    filled, cells = Filled(), []
    for cell in notebook.cells:
        cells.append(cell)
        stub = original.get(cell.get("id"))
        if stub is None:
            continue
        if cell.source.strip() == stub.strip():
            new = nbformat.v4.new_code_cell(solutions[stub], metadata=MARK)
            filled.solutions += 1
        else:
            new = nbformat.v4.new_markdown_cell(
                f"A solution, to compare with yours:\n\n```python\n{solutions[stub]}\n```", metadata=MARK
            )
            filled.answers += 1
        new.id = f"{cell.id}-catchup"
        cells.append(new)
    first = nbformat.v4.new_code_cell(RECORDED, metadata=MARK)
    first.id = "catchup"
    notebook.cells = [*cells[:1], first, *cells[1:]]
    return filled


def main(argv: list[str] | None = None) -> None:
    """Catch up as the command line says, and exit."""
    run_command(CatchupConfig, catch_up, "python -m babygpt.catchup", argv)
