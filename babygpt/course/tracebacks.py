"""What a learner sees when code stops: the learner's own lines, and no traceback through PyTorch or this package."""

import ast
import difflib
import linecache
import site
import sys
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

PACKAGE = str(Path(__file__).resolve().parents[1])
LIBRARIES = tuple({PACKAGE, *site.getsitepackages(), *(sysconfig.get_path(name) for name in ("stdlib", "purelib"))})


def is_learners(filename: str) -> bool:
    """Whether a file is neither part of this package nor of a library: a cell of a notebook, for example."""
    return not filename.startswith((*LIBRARIES, "<frozen", "<string"))


def frames_of(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an error's traceback, from the outermost to the one that raised it."""
    return list(traceback.extract_tb(error.__traceback__))


def learners_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Of these, the frames that are in the learner's own code."""
    return [frame for frame in frames_of(error) if is_learners(frame.filename)]


def statement(frame: traceback.FrameSummary) -> str:
    """The source line of a frame; empty where there is no source."""
    return (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()


def what_stopped(error: Exception) -> str:
    """One sentence on an error that a check has run into: in which line of the learner's code, if it was there."""
    said = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
    mine = learners_frames(error)
    if not mine:
        return f"the check could not use your answer ({said})"
    line = statement(mine[-1])
    return f"your code stopped with {said}" + (f" (line {mine[-1].lineno}: `{line}`)" if line else "")


def not_implemented(error: NotImplementedError, answers: tuple[Any, ...]) -> str | None:
    """What is wrong if a check has run into a NotImplementedError; None if the exercise is simply still open.

    PyTorch raises this error too, for example for a module without `forward`.
    """
    last = frames_of(error)[-1]
    line = statement(last)
    by_check = last.filename.startswith(str(Path(PACKAGE) / "course"))
    if (is_learners(last.filename) or by_check) and (line.startswith("raise") or not line):
        if is_learners(last.filename) and has_code_before(last):
            return f"your code is there, but the line `{line}` below it is still there too: delete that line"
        return None
    for answer in answers:
        for name in ("forward", "body", "logits"):
            misspelled = near_miss(answer, name)
            if misspelled:
                return misspelled
    if 'missing the required "forward"' in str(error):
        return (
            "your code calls a module that has no method called forward: is it an nn.ModuleList, which only holds "
            "modules, or is forward misspelled or indented into __init__?"
        )
    return what_stopped(error)


def has_code_before(frame: traceback.FrameSummary) -> bool:
    """Whether the function that raised has statements before the raise, other than those that stubs have."""
    try:
        tree = ast.parse("".join(linecache.getlines(frame.filename)))
    except SyntaxError:
        return False
    inside = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.lineno <= (frame.lineno or 0) <= (node.end_lineno or 0)
    ]
    if not inside:
        return False
    body = max(inside, key=lambda node: node.lineno).body
    before = [node for node in body if node.lineno < (frame.lineno or 0)]
    return not all(is_given(node) for node in before)


def is_given(node: ast.stmt) -> bool:
    """Whether stubs have such a statement: a docstring, super().__init__(...), or sizes unpacked from a shape."""
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    line = ast.unparse(node)
    return docstring or line.startswith("super()") or line.endswith(".shape")


def near_miss(answer: Any, name: str) -> str | None:
    """What is wrong if a class lacks a method, but has one of nearly the same name, or has it inside of __init__."""
    kind = answer if isinstance(answer, type) else type(answer)
    if not issubclass(kind, nn.Module) or name in vars(kind):
        return None
    init = vars(kind).get("__init__")
    if init is not None and any(getattr(const, "co_name", "") == name for const in init.__code__.co_consts):
        return f"in your class {kind.__name__}, the method {name} is inside of __init__: indent it less"
    own = {method.lower(): method for method, value in vars(kind).items() if callable(value)}
    close = difflib.get_close_matches(name, own, n=1, cutoff=0.8)
    return f"your class {kind.__name__} has no method called {name}, but one called {own[close[0]]}" if close else None


def render(kind: type[BaseException], error: BaseException) -> list[str]:
    """At most three lines on an error in a cell: the learner's last line, what happened, and how to see all of it."""
    if hasattr(error, "_render_traceback_"):  # a failed check says it in one sentence
        return error._render_traceback_()
    mine = learners_frames(error)
    said = "".join(traceback.format_exception_only(kind, error)).strip()
    if isinstance(error, NotImplementedError) and mine and statement(mine[-1]).startswith("raise"):
        return [f"This exercise is still open: replace the line `{statement(mine[-1])}` by your code."]
    if isinstance(error, SyntaxError) or not mine:
        return said.splitlines()
    lines = [f"line {mine[-1].lineno}, in {mine[-1].name}: {statement(mine[-1])}", said.splitlines()[0]]
    return lines if len(frames_of(error)) == len(mine) else [*lines, "(%tb shows the whole traceback.)"]


def install() -> None:
    """Show errors in the cells of a running notebook as `render` does. Elsewhere this does nothing."""
    if "IPython" not in sys.modules:
        return
    shell = sys.modules["IPython"].get_ipython()
    if shell is None or not hasattr(shell, "kernel"):  # plain Python, or IPython in a terminal
        return

    def show(
        self: Any, kind: type[BaseException], error: BaseException, tb: TracebackType, tb_offset: int | None = None
    ) -> list[str]:
        lines = render(kind, error)
        self._showtraceback(kind, error, lines)
        return lines

    shell.set_custom_exc((Exception,), show)
