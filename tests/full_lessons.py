"""Run every solution notebook in full, and compare the numbers in the text with what the cells print.

`make lessons` runs this; `make test` doesn't, because it takes several minutes. A decimal number in the prose of a
lesson must be printed by one of its cells (rounded as quoted), be part of a generated block, or have its source in a
comment:

    <!-- quoted: 2.28, 4.17 = the lecture's -->
"""

import contextlib
import re
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import matplotlib

matplotlib.use("agg")
from IPython.core.interactiveshell import InteractiveShell  # noqa: E402
from IPython.utils.capture import capture_output  # noqa: E402

from babygpt.course.notebooks import build, lessons  # noqa: E402

NUMBER = re.compile(r"(?<![\w.,:])[-−]?\d[\d,]*\.\d+(?![\d.]*\w)")
NOT_A_QUOTE = re.compile(
    r"`[^`]*`|\]\([^)]*\)|[Ee]xercises? [\d.A-C]+(?:(?:,| and| to|, and) \d+\.[\dA-C])*"
    r"|Python \d+\.\d+|section \d[\d.]*"
)
BLOCK = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- end of \1 -->", re.DOTALL)
QUOTED = re.compile(r"<!-- quoted:(.*?)-->", re.DOTALL)


def value(text: str) -> float:
    """A number as it is written in prose or in print."""
    return float(text.replace(",", "").replace("−", "-"))


def quotes(page: str) -> set[str]:
    """The decimal numbers in the prose of a lesson that need a source."""
    allowed = {n for comment in QUOTED.findall(page) for n in NUMBER.findall(comment)}
    prose = BLOCK.sub("", QUOTED.sub("", page))
    cells = jupytext.reads(prose, fmt="md").cells
    text = "\n".join(NOT_A_QUOTE.sub(" ", cell.source) for cell in cells if cell.cell_type == "markdown")
    return set(NUMBER.findall(text)) - allowed


def unsupported(numbers: set[str], printed: str) -> list[str]:
    """The numbers that do not appear in what was printed, rounded as they are quoted."""
    found = [value(n) for n in re.findall(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", printed) if n.strip(",")]

    def supported(number: str) -> bool:
        digits = len(number.partition(".")[2])
        return any(abs(abs(value(number)) - abs(x)) <= 0.5001 * 10**-digits for x in found)

    return sorted(number for number in numbers if not supported(number))


def run(lesson: Path) -> tuple[str, list[str]]:
    """What the cells of the solutions print, and what is wrong with them."""
    InteractiveShell.clear_instance()
    shell, printed, problems = InteractiveShell.instance(colors="nocolor"), [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for cell in build(lesson, solutions=True).cells:
            if cell.cell_type != "code":
                continue
            with capture_output() as captured:
                result = shell.run_cell(cell.source, store_history=True)
            output = captured.stdout + "".join(out.data.get("text/plain", "") for out in captured.outputs)
            printed.append(output)
            if result.error_before_exec or result.error_in_exec:
                problems.append(f"a cell fails: {cell.source[:80]!r}\n{output[-500:]}")
            elif re.search(r"\bFalse\b", output) and "shows-false" not in cell.metadata.tags:
                problems.append(f"a claim is false: {cell.source[:80]!r}\n{output}")
    matplotlib.pyplot.close("all")
    return "\n".join(printed), problems


def main(names: list[str]) -> int:
    """Run the lessons whose names begin as one of `names` does, or all; return 1 if anything is wrong."""
    wrong = 0
    for lesson in lessons():
        if names and not lesson.name.startswith(tuple(names)):
            continue
        start = time.perf_counter()
        printed, problems = run(lesson)
        page = lesson.read_text(encoding="utf-8")
        blocks = "\n".join(text for _, text in BLOCK.findall(page))
        problems += [f"no cell prints {number}" for number in unsupported(quotes(page), printed + blocks)]
        wrong += bool(problems)
        print(f"{lesson.stem}: {time.perf_counter() - start:.0f} s, {len(quotes(page))} numbers quoted", flush=True)
        for problem in problems:
            print(f"  {problem}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
