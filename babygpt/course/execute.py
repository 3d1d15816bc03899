"""Execute a notebook in this process, cell by cell, as the tests, the slides and the dry run of a workshop do."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nbformat import NotebookNode


@dataclass(frozen=True)
class Executed:
    """A code cell that has been executed."""

    cell: NotebookNode
    printed: str
    error: BaseException | None
    seconds: float
    figures: list[bytes] = field(repr=False)
    """The figures that it drew, as PNG files."""


def execute(
    notebook: NotebookNode, before: Callable[[NotebookNode], None] = lambda cell: None, dpi: int = 0
) -> Iterator[Executed]:
    """Execute the code cells of a notebook in a temporary folder, even after an error.

    Args:
        before: called with each cell of the notebook, Markdown too, before it is executed.
        dpi: resolution of the figures; 0 keeps none.
    """
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from matplotlib import pyplot as plt

    from babygpt.harness.pictures import png

    plt.switch_backend("agg")
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(colors="nocolor")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for cell in notebook.cells:
            before(cell)
            if cell.cell_type != "code":
                continue
            start = time.perf_counter()
            with capture_output() as captured:
                result = shell.run_cell(cell.source, store_history=True)
            seconds = time.perf_counter() - start
            figures = [png(plt.figure(number), dpi) for number in plt.get_fignums()] if dpi else []
            plt.close("all")
            yield Executed(cell, captured.stdout, result.error_before_exec or result.error_in_exec, seconds, figures)
    InteractiveShell.clear_instance()
