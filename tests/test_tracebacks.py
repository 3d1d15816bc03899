"""What a learner sees when code stops: the right reason, and no wall of red."""

import os
import re
import sys

import nbformat
import pytest
import torch
import torch.nn.functional as F
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from torch import nn

from babygpt.course.checks.core import CheckFailed, exercise, expect_same
from babygpt.course.tracebacks import render
from babygpt.model import sample


@exercise("0.9")
def check(answer):
    """Calls the answer with (1, 2, 3), as a module or a function."""
    answer = answer() if isinstance(answer, type) else answer
    expect_same(answer(torch.tensor([1, 2, 3])), [2, 4, 6], "the output", "double it")


def stub(x):
    """Twice x."""
    raise NotImplementedError("double it")


class OpenModule(nn.Module):
    def __init__(self):
        super().__init__()
        raise NotImplementedError("make the layers")


@pytest.mark.parametrize("answer", [stub, OpenModule])
def test_a_stub_that_nobody_has_touched_is_open(answer, capsys):
    check(answer)
    assert capsys.readouterr().out == "Exercise 0.9 is still open.\n"


class WithTypo(nn.Module):
    def foward(self, x):
        return 2 * x


class WithCapital(nn.Module):
    def Forward(self, x):  # noqa: N802
        return 2 * x


class Indented(nn.Module):
    def __init__(self):
        super().__init__()

        def forward(self, x):
            return 2 * x


class CallsAList(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Identity()])

    def forward(self, x):
        return self.parts(x)


def softmax_of_integers(x):
    return F.softmax(x, dim=-1)


def torch_softmax_of_integers(x):
    return torch.softmax(x, dim=-1)


def raise_left_below(x):
    """Twice x."""
    x = 2 * x
    raise NotImplementedError("double it")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (WithTypo, "your class WithTypo has no method called forward, but one called foward"),
        (WithCapital, "your class WithCapital has no method called forward, but one called Forward"),
        (Indented, "in your class Indented, the method forward is inside of __init__: indent it less"),
        (CallsAList, "calls a module that has no method called forward: is it an nn.ModuleList"),
        (softmax_of_integers, "your code stopped with NotImplementedError: .*softmax.*not implemented for 'Long'"),
        (
            torch_softmax_of_integers,
            "your code stopped with NotImplementedError: .*softmax.*not implemented for 'Long'",
        ),
        (raise_left_below, "the line `raise NotImplementedError.*` below it is still there too: delete that line"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_error_that_pytorch_raises_is_not_taken_for_an_open_exercise(answer, message):
    with pytest.raises(CheckFailed, match=message):
        check(answer)


def test_an_error_in_the_learners_code_is_reported_with_its_line():
    def answer(x):
        return x @ torch.ones(2, 2)

    with pytest.raises(CheckFailed, match=r"your code stopped with RuntimeError.* \(line \d+: `return x @ torch.ones"):
        check(answer)


def test_an_error_in_the_check_itself_is_not_blamed_on_the_learners_code():
    with pytest.raises(CheckFailed, match="the check could not use your answer .TypeError"):
        exercise("0.9")(sample)("logits")  # a function of the package, given what it cannot use


def error_of(function):
    with pytest.raises(Exception) as caught:  # noqa: B017
        function()
    return caught.value


def test_a_failed_check_is_shown_as_one_sentence():
    error = error_of(lambda: check(lambda x: 3 * x))
    assert render(type(error), error) == [str(error)]
    assert str(error).startswith("Exercise 0.9: the output is [3, 6, 9], expected [2, 4, 6]")


def test_an_open_stub_is_shown_as_one_line():
    error = error_of(lambda: stub(1))
    [line] = render(type(error), error)
    assert (
        line == 'This exercise is still open: replace the line `raise NotImplementedError("double it")` by your code.'
    )


def test_an_error_deep_inside_pytorch_is_shown_at_the_learners_line():
    error = error_of(lambda: nn.Linear(2, 3)(torch.ones(5)))
    lines = render(type(error), error)
    assert len(lines) == 3 and "nn.Linear(2, 3)(torch.ones(5))" in lines[0]
    assert lines[1].startswith("RuntimeError: ") and lines[2] == "(%tb shows the whole traceback.)"


def test_in_a_notebook_a_wrong_answer_stops_run_all_with_one_sentence_and_an_error_with_three_lines(tmp_path):
    """In a real kernel, which decides what the notebook shows."""
    cells = [
        "import torch\nfrom torch import nn\nfrom babygpt.course.checks import lesson_03 as checks",
        "nn.Linear(2, 3)(torch.ones(5))",
        "checks.last_two(lambda T: torch.eye(T))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.cells[1].metadata["tags"] = ["raises-exception"]
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}})
    client.create_kernel_manager()
    client.km._kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])
    with pytest.raises(CellExecutionError):
        client.execute(env=dict(os.environ))
    shown = [[line for out in cell.outputs for line in out.get("traceback", [])] for cell in notebook.cells]
    assert shown[0] == [] and len(shown[1]) == 3 and len(shown[2]) == 1
    assert re.match(r"Exercise 3\.2: ", shown[2][0])
