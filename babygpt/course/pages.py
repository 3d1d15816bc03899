"""The lessons as web pages that need no network: `python -m babygpt.course.pages` writes `site/` from the notebooks.

Each notebook is executed, with recorded runs in place of training, and exported with its pictures in it. The first cell
and the code that only draws are left out; alt texts come from the lessons.
"""

import html
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from babygpt.course.generated import ROOT
from babygpt.course.notebooks import build, lessons
from babygpt.harness.files import write_atomically
from babygpt.harness.terminal import run_command


@dataclass(frozen=True)
class PagesConfig:
    """Write the lessons, executed, as web pages."""

    out: Path = ROOT / "site"
    """The folder to write to."""

    only: tuple[int, ...] = ()
    """Numbers of lessons; all of them if there are none."""


def export(lesson: Path) -> str:
    """The page of a lesson, with its solutions and what its cells print."""
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import TagRemovePreprocessor

    notebook = build(lesson, solutions=True)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(env=os.environ | {"BABYGPT_RECORDED": "1"})
    for cell in notebook.cells:
        describe(cell)
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="")
    hide = TagRemovePreprocessor(remove_cell_tags={"first"}, remove_input_tags={"picture"})
    exporter.register_preprocessor(hide, True)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": lesson.stem}})
    page = re.sub(r'<script[^>]* src=""[^>]*>\s*</script>', "", page)  # libraries that would come from the network
    page = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', page)
    return page.replace('href="../../', 'href="../')  # site/ is one folder deep, notebooks/solutions/ two


def describe(cell: NotebookNode) -> None:
    """Give the pictures of a cell its alt text. nbconvert's page has no place for one, so they become HTML."""
    for output in cell.get("outputs", []):
        picture = output.get("data", {}).pop("image/png", None)
        if picture:
            alt = html.escape(cell.metadata["alt"])
            output.data = {"text/html": f'<img alt="{alt}" src="data:image/png;base64,{picture.strip()}">'}


def write(config: PagesConfig) -> None:
    """Write the pages that the command line asks for."""
    config.out.mkdir(parents=True, exist_ok=True)
    for number, lesson in enumerate(lessons()):
        if number in config.only or not config.only:
            path = config.out / f"{lesson.stem}.html"
            write_atomically(path, export(lesson).encode("utf-8"))
            print(path)


def main(argv: list[str] | None = None) -> None:
    """Write the pages as the command line says, and exit."""
    run_command(PagesConfig, write, "python -m babygpt.course.pages", argv)


if __name__ == "__main__":
    main()
