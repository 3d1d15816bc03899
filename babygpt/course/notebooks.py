"""Notebooks from lessons: `python -m babygpt.course.notebooks` writes `notebooks/` from `lessons/`.

A lesson is jupytext Markdown: prose, and ```python cells that may have tags.

    tags=["stub"]        the learner's version of an exercise, which raises NotImplementedError when it is called
    tags=["solution"]    the answer, folded in the lesson, only in `notebooks/solutions/`
    tags=["check"]       the call of a function in `babygpt/course/checks/`, in both
    tags=["payoff"]      what comes of a right answer, in both; says so if the exercise is still open
    tags=["picture"]     code that only draws: folded in the lesson, and hidden in the notebooks

A cell that draws has a description for those who can't see its picture, `alt="..."`, which goes into exported pages.

Comments such as `<!-- quoted: ... -->` stay in the lesson. Each notebook gets a first cell that checks that babygpt is
installed. The same lessons always give the same bytes: cell ids are numbers, and no outputs are stored.
"""

import html
import re
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from babygpt.course.generated import ROOT, refresh
from babygpt.errors import require
from babygpt.harness.terminal import run_command

FOLDS = {
    "solution": re.compile(r"<details><summary>Solution</summary>\s*\Z"),
    "picture": re.compile(r"<details><summary>The code for the picture</summary>\s*\Z"),
}
DIFF = re.compile(r"^```diff\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COLORS = {"+": "#116329", "-": "#a40e26"}
QUOTED = re.compile(r"<!-- (?:quoted|minutes):.*?-->\n?", re.DOTALL)

FIRST_CELL = """\
# This cell says what to do if babygpt is not installed. It has to run before torch is imported, so that babygpt can
# tell PyTorch's waiting threads to sleep.
try:
    import babygpt
except ImportError:
    raise SystemExit(
        "babygpt is not installed in this Python. Choose the kernel of babygpt's environment .venv; "
        "on Colab, upload or clone the repository first and run: %pip install -e babygpt"
    ) from None"""


@dataclass(frozen=True)
class NotebookConfig:
    """Write the notebooks that belong to the lessons."""

    check: bool = False
    """Write nothing; exit with status 1 if a notebook does not match its lesson."""


def lessons(folder: Path = ROOT / "lessons") -> list[Path]:
    """The lessons in their order: `00_setup.md`, `01_bigram.md`, ..."""
    return sorted(folder.glob("[0-9][0-9]_*.md"))


def build(lesson: Path, solutions: bool) -> NotebookNode:
    """The notebook of a lesson: the learner's, or the one with the solutions."""
    source = jupytext.reads(lesson.read_text(encoding="utf-8"), fmt="md")
    cells: list[NotebookNode] = []
    fold = None
    for cell in source.cells:
        tags = cell.metadata.get("tags", [])
        hidden = fold == "solution" and not solutions
        if cell.cell_type == "code":
            if "stub" in tags if solutions else hidden:
                continue
            alt = {"alt": cell.metadata["alt"]} if "alt" in cell.metadata else {}
            new = nbformat.v4.new_code_cell(cell.source, metadata={"tags": tags} | alt)
            cells.append(hide(new) if "picture" in tags else new)
            continue
        # Folds are for readers of the page. Learners get nothing of a solution, and all else is open in the notebooks.
        text = DIFF.sub(in_color, QUOTED.sub("", cell.source))
        if fold and "</details>" in text:
            inside, text = text.split("</details>", 1)
            text = text if hidden else inside + text
            fold = None
        elif hidden:
            text = ""
        for name, opening in FOLDS.items():
            if opening.search(text):
                text, fold = opening.sub("", text), name
        if text.strip():
            cells.append(with_pictures(text.strip(), lesson.parent))
            cells[-1].source = relink(cells[-1].source, solutions)
    cells.insert(1, hide(nbformat.v4.new_code_cell(FIRST_CELL, metadata={"tags": ["first"]})))
    for number, cell in enumerate(cells):
        cell.id = f"{lesson.stem[:2]}-{number:03d}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.validate(notebook)
    return notebook


def in_color(diff: re.Match) -> str:
    """A diff as HTML with colored lines, because Jupyter does not color the diffs in a Markdown cell."""
    lines = [
        f'<span style="color: {COLORS.get(line[:1], "inherit")}">{html.escape(line)}</span>'
        for line in diff[1].splitlines()
    ]
    return "<pre>\n" + "\n".join(lines) + "\n</pre>"


def hide(cell: NotebookNode) -> NotebookNode:
    """The same code cell with its input folded, in Jupyter and on Colab; its output stays visible."""
    cell.metadata.update(jupyter={"source_hidden": True}, cellView="form")
    return cell


def with_pictures(text: str, folder: Path) -> NotebookNode:
    """A Markdown cell that carries its pictures: Jupyter shows none from outside the folder it was started in."""
    pictures = {}

    def attach(match: re.Match) -> str:
        path = folder / match[2]
        require(path.is_file(), f"a page in {folder.name} shows a picture that is missing: {match[2]}")
        pictures[path.name] = {"image/png": b64encode(path.read_bytes()).decode("ascii")}
        return f"{match[1]}(attachment:{path.name})"

    text = re.sub(r"(!\[[^]]*\])\((\.\./[^)]+\.png)\)", attach, text)
    return nbformat.v4.new_markdown_cell(text, **({"attachments": pictures} if pictures else {}))


def relink(text: str, solutions: bool) -> str:
    """Links of a lesson as a notebook needs them: to other notebooks, and up from a deeper folder."""
    text = re.sub(r"\]\((\d\d_\w+)\.md", r"](\1.ipynb", text)
    text = text.replace("](README.md", "](../lessons/README.md")
    return text.replace("](../", "](../../") if solutions else text


def render(notebook: NotebookNode) -> bytes:
    """The file of a notebook."""
    return (nbformat.writes(notebook) + "\n").encode("utf-8")


def targets(root: Path = ROOT) -> dict[Path, bytes]:
    """What every notebook must hold: file and content."""
    files = {}
    for lesson in lessons(root / "lessons"):
        files[root / "notebooks" / f"{lesson.stem}.ipynb"] = render(build(lesson, solutions=False))
        files[root / "notebooks" / "solutions" / f"{lesson.stem}.ipynb"] = render(build(lesson, solutions=True))
    return files


def write(config: NotebookConfig) -> int:
    """Write all notebooks, or compare them; return the exit status."""
    files = targets()
    require(bool(files), f"there are no lessons in {ROOT / 'lessons'}: run this from a complete clone")
    return refresh(files, config.check, "make notebooks")


def main(argv: list[str] | None = None) -> None:
    """Build as the command line says, and exit: 0, or 1 for a stale notebook under --check."""
    run_command(NotebookConfig, write, "python -m babygpt.course.notebooks", argv)


if __name__ == "__main__":
    main()
