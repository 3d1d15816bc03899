"""Notebooks from lessons: `python -m babygpt.course.notebooks` writes `notebooks/` from `lessons/`.

A lesson is jupytext Markdown: prose, and ```python cells that may carry tags.

    tags=["stub"]        the learner's version of an exercise; it ends in NotImplementedError
    tags=["solution"]    the answer, folded in the lesson, only in `notebooks/solutions/`
    tags=["check"]       the call of a function in `babygpt/course/checks/`, in both

Each notebook gets a first cell that fetches babygpt where it is missing (Colab), and does
nothing elsewhere. The same lessons give the same bytes: cell ids are numbers, and nothing carries outputs.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from babygpt.errors import require
from babygpt.harness.files import write_atomically
from babygpt.harness.terminal import run_command

OPEN_FOLD = re.compile(r"<details><summary>Solution</summary>\s*\Z")
ROOT = Path(__file__).resolve().parents[2]

REPOSITORY = ""  # the public address of this project; set it once it has one, and run `make notebooks`
BOOTSTRAP = f'''\
# Where babygpt is not installed, on Colab say, this fetches it. Elsewhere it does nothing.
REPOSITORY = "{REPOSITORY}"  # @param {{type:"string"}} the address to clone babygpt from

import importlib.util, subprocess, sys

if importlib.util.find_spec("babygpt") is None:
    if not REPOSITORY:
        raise SystemExit(
            "babygpt is not installed in this Python. On your own machine, choose the kernel of babygpt's .venv; "
            "on Colab, put the address of the repository into REPOSITORY above."
        )
    for command in (
        ["git", "clone", "--depth", "1", REPOSITORY, "babygpt-course"],
        [sys.executable, "-m", "pip", "install", "--quiet", "-e", "babygpt-course"],
    ):
        if subprocess.run(command).returncode:
            raise SystemExit(f"{{' '.join(command)}} failed: see above; is REPOSITORY right, and is there a network?")
    sys.path.insert(0, "babygpt-course")'''


@dataclass(frozen=True)
class NotebookConfig:
    """Write the notebooks that the lessons stand for."""

    check: bool = False
    """Write nothing; exit with status 1 if a notebook is not what its lesson gives."""


def lessons(folder: Path = ROOT / "lessons") -> list[Path]:
    """The lessons in their order: `00_setup.md`, `01_bigram.md`, ..."""
    return sorted(folder.glob("[0-9][0-9]_*.md"))


def build(lesson: Path, solutions: bool) -> NotebookNode:
    """The notebook of a lesson: the learner's, or the one with the solutions."""
    source = jupytext.reads(lesson.read_text(encoding="utf-8"), fmt="md")
    cells, folded = [], False
    for cell in source.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            # The fold around a solution is for readers of the page: learners get nothing of what
            # it holds, and in the other notebook it stands open.
            text = cell.source
            if folded and "</details>" in text:
                inside, text = text.split("</details>", 1)
                text = inside + text if solutions else text
                folded = False
            elif folded and not solutions:
                text = ""
            if OPEN_FOLD.search(text):
                text, folded = OPEN_FOLD.sub("", text), True
            if text.strip():
                cells.append(with_pictures(text.strip(), lesson.parent))
                cells[-1].source = relink(cells[-1].source, solutions)
        elif solutions and "stub" not in tags or not solutions and not folded:
            new = nbformat.v4.new_code_cell(cell.source)
            # Only the bare stub may fail: a check that fails must stop "Run all".
            new.metadata["tags"] = [*tags, "raises-exception"] if "stub" in tags else tags
            cells.append(new)
    bootstrap = nbformat.v4.new_code_cell(BOOTSTRAP)
    bootstrap.metadata.update(tags=["bootstrap"], jupyter={"source_hidden": True}, cellView="form")
    cells.insert(1, bootstrap)
    for number, cell in enumerate(cells):
        cell.id = f"{lesson.stem[:2]}-{number:03d}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.validate(notebook)
    return notebook


def with_pictures(text: str, folder: Path) -> NotebookNode:
    """A Markdown cell that carries its pictures: Jupyter shows none from outside the folder it was started in."""
    pictures = {}

    def attach(match: re.Match) -> str:
        path = folder / match[2]
        require(path.is_file(), f"{folder.name} show a picture that is missing: {match[2]}")
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
    stale = [path for path, content in files.items() if not path.exists() or path.read_bytes() != content]
    if config.check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what its lesson gives: run `make notebooks`")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, files[path])
    print(f"{len(files)} notebooks in {ROOT / 'notebooks'}, {len(stale)} of them written anew")
    return 0


def main(argv: list[str] | None = None) -> None:
    """Build as the command line says, and exit: 0, or 1 for a stale notebook under --check."""
    run_command(NotebookConfig, write, "python -m babygpt.course.notebooks", argv)


if __name__ == "__main__":
    main()
