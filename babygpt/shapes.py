"""Shape comments that are executed: each `name = ...  # (B, T, C)` is checked while the code runs.

A shape comment is a comment that starts with a shape, or has one after an arrow:
`# (B, T, hs)`, `# (B, T, hs) @ (B, hs, T) -> (B, T, T)`. It belongs on the last line of an
assignment to names, or of a `return`. Its letters are the sizes of the run (B, T, C, V, hs,
n_head) or integers in the function around it; `4 * C` and `t + 1` work too.

`python -m babygpt.v6 --shapes` prints what the tracer saw. The tests run every version
under it and fail if a comment is false or is never reached.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from babygpt.model import Config
from babygpt.versions import Trainable

PACKAGE = Path(__file__).parent
SHAPE = re.compile(r"#\s*(?:.*->\s*)?\(([^()]*)\)(?:,.*)?$")


@dataclass(frozen=True)
class ShapeComment:
    """A shape comment and the statement it belongs to."""

    path: Path
    first_line: int
    last_line: int
    names: tuple[str, ...]
    """The names assigned to; empty for a return."""
    code: str
    shape: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.last_line}: {self.code}  # ({self.shape})"


@dataclass(frozen=True)
class Seen:
    """A shape comment that was reached, and the shape found there."""

    comment: ShapeComment
    function: str
    shape: tuple[int, ...] | None
    """None if the value is not a tensor."""
    expected: tuple[int, ...] | str
    """The sizes that the comment states, or why they could not be computed."""

    @property
    def true(self) -> bool:
        """Whether the comment is true."""
        return self.shape == self.expected


def sources() -> list[Path]:
    """The files whose shape comments are checked: all but the course, whose code the learner runs."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "course" not in path.relative_to(PACKAGE).parts)


def find_comments(path: Path) -> list[ShapeComment]:
    """All shape comments of a source file.

    Raises:
        ValueError: there is nothing on the line that a shape comment could describe.
    """
    return parse_comments(path, path.read_text(encoding="utf-8"))


@cache
def parse_comments(path: Path, source: str) -> list[ShapeComment]:
    """As `find_comments`, for a source that has been read. Parsing all files takes a second, so it is done once."""
    statements = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Return):
            statements[node.end_lineno] = (node, ())
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            if all(isinstance(part, ast.Name) for part in parts):
                statements[node.end_lineno] = (node, tuple(part.id for part in parts))
    comments = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        match = SHAPE.match(token.string) if token.type == tokenize.COMMENT else None
        if not match:
            continue
        line = token.start[0]
        if line not in statements:
            raise ValueError(f"{path.name}:{line}: no assignment or return that {token.string!r} could describe")
        node, names = statements[line]
        code = " ".join(ast.get_source_segment(source, node).split())
        comments.append(ShapeComment(path, node.lineno, line, names, code, match[1].strip(" ,")))
    return comments


class ShapeTracer:
    """A context that compares every shape comment it reaches with the real shape."""

    def __init__(self, paths: list[Path], sizes: dict[str, int]) -> None:
        self.sizes = sizes
        self.seen: list[Seen] = []
        self._comments: dict[str, dict[int, ShapeComment]] = {}
        for path in paths:
            lines = self._comments[str(path)] = {}
            for comment in find_comments(path):
                lines |= dict.fromkeys(range(comment.first_line, comment.last_line + 1), comment)
        self._running: dict[FrameType, ShapeComment] = {}

    def __enter__(self) -> "ShapeTracer":
        self._before = sys.gettrace()
        sys.settrace(self._enter_function)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.settrace(self._before)

    def _enter_function(self, frame: FrameType, event: str, arg: Any) -> Any:
        # The frame of a comprehension shares its lines with the statement around it, which is the one we mean.
        ours = frame.f_code.co_filename in self._comments and not frame.f_code.co_name.startswith("<")
        return self._trace if ours else None

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Called before each line, and at the return, of a function with shape comments."""
        if event not in ("line", "return"):
            return self._trace
        here = self._comments[frame.f_code.co_filename].get(frame.f_lineno)
        done = self._running.get(frame)
        if done and (event == "return" or here != done):
            del self._running[frame]
            for name in done.names:
                if name in frame.f_locals:
                    self._see(done, frame, frame.f_locals[name])
            if not done.names and event == "return":
                self._see(done, frame, arg)
        if event == "line" and here:
            self._running[frame] = here
        return self._trace

    def _see(self, comment: ShapeComment, frame: FrameType, value: Any) -> None:
        integers = {name: n for name, n in frame.f_locals.items() if isinstance(n, int)}
        try:
            expected = eval(f"({comment.shape},)" if comment.shape else "()", {}, integers | self.sizes)
        except NameError as error:
            expected = str(error)
        shape = tuple(value.shape) if isinstance(value, Tensor) else None
        self.seen.append(Seen(comment, frame.f_code.co_qualname, shape, expected))


def sizes_of(config: Config, B: int, T: int) -> dict[str, int]:
    """The letters of the shape comments, for a model of this config and a batch of this size."""
    sizes = {"B": B, "T": T, "V": config.vocab_size}
    if hasattr(config, "n_embd"):
        sizes["C"] = config.n_embd
        sizes["n_head"] = getattr(config, "n_head", 1)
        sizes["hs"] = config.n_embd // sizes["n_head"]
    if hasattr(config, "n_kv_head"):
        sizes["n_kv_head"] = config.n_kv_head or config.n_head
        sizes["width"] = config.width
    return sizes


def forward_pass(version: Trainable, config: Config, sizes: dict[str, int]) -> tuple[list[Seen], Counter[ShapeComment]]:
    """Run a model once: each commented tensor as it was first seen, in order, and how often it was."""
    model = version.module().Model(config)
    idx = torch.randint(config.vocab_size, (sizes["B"], sizes["T"]))
    with ShapeTracer(sources(), sizes) as tracer, torch.no_grad():
        model(idx, targets=idx)
    first: dict[ShapeComment, Seen] = {}
    for seen in tracer.seen:
        first.setdefault(seen.comment, seen)
    return list(first.values()), Counter(seen.comment for seen in tracer.seen)


def print_shapes(version: Trainable, config: Config, B: int = 4, T: int | None = None) -> None:
    """Print the shape of every commented tensor in a forward pass over B rows of T random tokens."""
    sizes = sizes_of(config, B, T or config.block_size)
    found, times = forward_pass(version, config, sizes)
    letters = set(re.findall(r"\w+", " ".join(seen.comment.shape for seen in found)))
    named = ", ".join(f"{letter} = {n}" for letter, n in sizes.items() if letter in letters)
    print(f"{version.name} {version.title}, one forward pass with {named}")
    function = None
    for seen in found:
        comment = seen.comment
        if seen.function != function:
            function = seen.function
            print(f"\n{comment.path.name}, {function}")
        code = comment.code if len(comment.code) <= 58 else comment.code[:55] + "..."
        n = times[comment] // max(1, len(comment.names))
        print(f"  {code:<58}  ({comment.shape}) = {seen.shape}" + (f"  ({n} times)" if n > 1 else ""))
