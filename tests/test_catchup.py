"""Somebody who fell behind gets the solutions, and loses nothing."""

import os
import re

import matplotlib
import nbformat
import pytest
from forked import Process
from IPython.core.interactiveshell import InteractiveShell

from babygpt.course.notebooks import build, lessons, render
from babygpt.errors import UserError
from babygpt.workshop import catchup
from babygpt.workshop.catchup import CatchupConfig, catch_up, exercises

LESSONS = lessons()


def stubs(notebook):
    return [cell for cell in notebook.cells if "stub" in cell.metadata.get("tags", [])]


@pytest.fixture
def folder(tmp_path):
    """The notebooks of lessons 1 to 4, with an answer of the learner's own in lesson 4."""
    for lesson in LESSONS[1:5]:
        notebook = build(lesson, solutions=False)
        if lesson.name.startswith("04"):
            stubs(notebook)[0].source = "# my own answer\n" + next(solution for _, solution in exercises(lesson))
            notebook.cells.insert(3, nbformat.v4.new_markdown_cell("my own notes"))
        (tmp_path / f"{lesson.stem}.ipynb").write_bytes(render(notebook))
    return tmp_path


@pytest.mark.parametrize("lesson", LESSONS[1:], ids=lambda path: path.stem)
def test_every_exercise_has_a_stub_and_a_solution_to_fill_in(lesson):
    learner, solved = (build(lesson, solutions) for solutions in (False, True))
    pairs = list(exercises(lesson))
    assert [stub for stub, _ in pairs] == [cell.source for cell in stubs(learner)]
    assert [s for _, s in pairs] == [c.source for c in solved.cells if "solution" in c.metadata.get("tags", [])]


def test_open_exercises_get_solutions_and_answers_stay_with_a_solution_beside_them(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    catch_up(CatchupConfig(5, folder))
    for name, content in before.items():
        assert (folder / name.replace(".ipynb", ".mine.ipynb")).read_bytes() == content
    notebook = nbformat.read(folder / "04_averaging_softmax.ipynb", as_version=4)
    added = [cell for cell in notebook.cells if cell.metadata.get("babygpt") == "catchup"]
    old = nbformat.reads(before["04_averaging_softmax.ipynb"].decode("utf-8"), as_version=4)
    assert [cell.source for cell in notebook.cells if cell not in added] == [cell.source for cell in old.cells]
    assert [cell.cell_type for cell in added] == ["code", "markdown"] + ["code"] * (len(stubs(old)) - 1)
    nbformat.validate(notebook)


@pytest.mark.skipif(os.name == "nt", reason="the process is forked, which Windows cannot do")
def test_the_notebook_runs_to_the_end_on_recorded_runs_and_every_check_passes(folder):
    catch_up(CatchupConfig(5, folder))
    notebook = nbformat.read(folder / "04_averaging_softmax.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BABYGPT")}
    process = Process(run_cells, cells, environment=environment)
    printed, errors = process.communicate(300)
    assert process.returncode == 0, printed + errors
    assert "still open" not in printed and "is not right" not in printed
    assert printed.count("(recorded, not trained here)") >= 2
    assert len(re.findall(r"^Exercise .* is right\.$", printed, flags=re.M)) == len(stubs(notebook))


def run_cells(cells):
    """In a new process, which has not loaded `babygpt.course.lab` yet: the first cell decides what it does."""
    matplotlib.use("agg")
    shell = InteractiveShell.instance(colors="nocolor")
    for source in cells:
        shell.run_cell(source, store_history=True).raise_error()


def test_a_second_time_changes_nothing(folder, capsys):
    catch_up(CatchupConfig(5, folder))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    catch_up(CatchupConfig(5, folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert capsys.readouterr().out.count("done before, left alone") == 4


def test_a_copy_never_replaces_an_older_copy(folder):
    (folder / "01_bigram.mine.ipynb").write_text("an older copy")
    catch_up(CatchupConfig(2, folder))
    assert (folder / "01_bigram.mine.ipynb").read_text() == "an older copy"
    assert (folder / "01_bigram.mine2.ipynb").exists()


def test_a_missing_notebook_is_written_with_its_solutions(tmp_path):
    catch_up(CatchupConfig(2, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["01_bigram.ipynb"]


@pytest.mark.parametrize("lesson", [-1, 0, 1, 99])
def test_a_lesson_that_cannot_be_caught_up_to_is_refused(lesson, tmp_path):
    with pytest.raises(UserError, match="choose one from 2 to 1[0-9]"):
        catch_up(CatchupConfig(lesson, tmp_path))


def test_a_file_that_is_no_notebook_is_named_and_left_alone(tmp_path):
    path = tmp_path / "01_bigram.ipynb"
    path.write_text("{")
    with pytest.raises(UserError, match="is not a notebook that can be read"):
        catch_up(CatchupConfig(2, tmp_path))
    assert path.read_text() == "{"


def test_if_the_disk_is_full_the_notebook_is_as_it_was(folder, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    before = (folder / "01_bigram.ipynb").read_bytes()
    monkeypatch.setattr(catchup, "write_atomically", full)
    with pytest.raises(UserError, match="nothing has been changed in it"):
        catch_up(CatchupConfig(2, folder))
    assert (folder / "01_bigram.ipynb").read_bytes() == before
