"""Lessons and the notebooks generated from them: the same text, and they run from top to bottom."""

import base64
import os
import re
import sys
from types import SimpleNamespace

import jupytext
import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient

from babygpt.course import checks, notebooks
from babygpt.course.notebooks import ROOT, build, lessons, render, targets
from babygpt.errors import UserError

TOPICS = [
    "00_setup", "01_bigram", "02_averaging_loops", "03_averaging_matmul", "04_averaging_softmax",
    "05_self_attention_head", "06_multi_head", "07_feed_forward", "08_residual", "09_layernorm",
    "10_dropout_scale_up",
]  # fmt: skip
every_lesson = pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.stem)


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_a_lesson_for_each_version_and_one_before():
    assert [lesson.stem for lesson in lessons()] == TOPICS


# Generation


def test_the_committed_notebooks_are_what_the_lessons_generate():
    """`make notebooks` mends this."""
    expected = targets()
    found = {path: path.read_bytes() for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_" not in str(path)}
    assert sorted(found) == sorted(expected)
    assert [path.name for path in expected if found[path] != expected[path]] == []


@every_lesson
def test_the_same_lesson_gives_the_same_bytes(lesson):
    assert render(build(lesson, solutions=False)) == render(build(lesson, solutions=False))
    ids = [cell.id for cell in build(lesson, solutions=True).cells]
    assert len(set(ids)) == len(ids)


@every_lesson
def test_a_notebook_is_valid_and_carries_no_outputs(lesson):
    for solutions in (False, True):
        notebook = nbformat.reads(render(build(lesson, solutions)).decode("utf-8"), as_version=4)
        nbformat.validate(notebook)
        assert all(cell.outputs == [] and cell.execution_count is None for cell in code(notebook))


@every_lesson
def test_learners_get_stubs_and_no_solutions_and_the_solutions_the_reverse(lesson):
    learner, solved = build(lesson, solutions=False), build(lesson, solutions=True)
    stubs, answers = tagged(learner, "stub"), tagged(solved, "solution")
    assert len(stubs) == len(answers) >= (2 if lesson.stem != "00_setup" else 1)
    assert not tagged(learner, "solution") and not tagged(solved, "stub")
    assert len(tagged(learner, "check")) == len(tagged(solved, "check")) == len(stubs)
    assert "<summary>Solution" not in "".join(cell.source for cell in learner.cells + solved.cells)
    for notebook in (learner, solved):  # every fold that opens closes in its own cell
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                assert cell.source.count("<details>") == cell.source.count("</details>"), cell.source


@every_lesson
def test_only_the_stub_may_fail_never_a_check(lesson):
    learner, solved = build(lesson, solutions=False), build(lesson, solutions=True)
    assert tagged(learner, "raises-exception") == tagged(learner, "stub")
    assert not tagged(solved, "raises-exception")


@every_lesson
def test_every_exercise_has_a_card_a_stub_a_hint_a_solution_and_a_check_in_this_order(lesson):
    text = lesson.read_text(encoding="utf-8")
    exercises = re.split(r"^### Exercise ", text, flags=re.MULTILINE)[1:]
    number = str(int(lesson.stem[:2]))
    for i, exercise in enumerate(exercises, 1):
        assert exercise.startswith(f"{number}.{i} · ")
        marks = [r"\*Difficulty \d of 5 · \d+ minutes · you learn", r'```python tags=\["stub"\]',
                 "<details><summary>Hint</summary>", "<details><summary>Solution</summary>",
                 r'```python tags=\["solution"\]', r'```python tags=\["check"\]']  # fmt: skip
        places = [m.start() if (m := re.search(mark, exercise)) else -1 for mark in marks]
        assert -1 not in places and places == sorted(places), exercise[:60]
    assert 2 <= len(exercises) <= 4


@every_lesson
def test_a_lesson_has_its_sections_in_order(lesson):
    titles = re.findall(r"^## (.*)$", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = ["Where we are", "The idea", "Build it", "Prove it", "Train it", "Questions", "Exercises",
                "For the instructor"]  # fmt: skip
    if lesson.stem == "00_setup":
        assert titles[-3:] == sections[-3:]
    else:
        assert titles == sections


@every_lesson
def test_links_lead_somewhere_from_the_page_and_from_both_notebooks(lesson):
    pages = [(lesson.parent, jupytext.read(lesson, fmt="md"))]
    for solutions in (False, True):
        pages.append((ROOT / "notebooks" / ("solutions" if solutions else ""), build(lesson, solutions)))
    for folder, page in pages:
        prose = "".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
        links = [link for link in re.findall(r"\]\(([^)#]+)\)", prose) if not link.startswith("http")]
        carried = {name for cell in page.cells for name in cell.get("attachments", {})}
        assert links
        for link in links:
            name = link.removeprefix("attachment:")
            assert name in carried if name != link else (folder / link).exists(), link


@every_lesson
def test_names_in_checks_are_called_by_the_lesson(lesson):
    """No check without an exercise."""
    module = __import__(f"babygpt.course.checks.lesson_{lesson.stem[:2]}", fromlist=["*"])
    names = {name for name, f in vars(module).items() if hasattr(f, "exercise")}
    text = lesson.read_text(encoding="utf-8")
    assert {name for name in names if f"checks.{name}(" in text} == names
    assert checks.CheckFailed is not None


def test_the_first_cell_does_nothing_where_babygpt_is_installed(monkeypatch):
    monkeypatch.setattr("subprocess.run", lambda *a, **k: pytest.fail("it fetched something"))
    exec(compile(notebooks.BOOTSTRAP, "bootstrap", "exec"), {})


def test_the_first_cell_says_what_to_do_where_babygpt_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="put the address of the repository into REPOSITORY"):
        exec(compile(notebooks.BOOTSTRAP, "bootstrap", "exec"), {})
    commands = []
    monkeypatch.setattr("subprocess.run", lambda command: commands.append(command) or SimpleNamespace(returncode=0))
    monkeypatch.setattr(sys, "path", list(sys.path))
    given = notebooks.BOOTSTRAP.replace('REPOSITORY = ""', 'REPOSITORY = "https://host.example/babygpt"')
    exec(compile(given, "bootstrap", "exec"), {})
    assert commands[0][:2] == ["git", "clone"] and "https://host.example/babygpt" in commands[0]
    assert commands[1][1:4] == ["-m", "pip", "install"]


def test_the_first_cell_says_what_failed_when_it_cannot_fetch(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", lambda command: SimpleNamespace(returncode=128))
    given = notebooks.BOOTSTRAP.replace('REPOSITORY = ""', 'REPOSITORY = "https://host.example/wrong"')
    with pytest.raises(SystemExit, match="git clone --depth 1 https://host.example/wrong babygpt-course failed"):
        exec(compile(given, "bootstrap", "exec"), {})


# Execution


def execute(notebook, folder):
    """Run a notebook's cells in a kernel of this Python, in `folder`, with trainings cut short."""
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}})
    # The kernel of this very environment, whatever kernels the machine has.
    client.create_kernel_manager()
    client.km._kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])
    client.execute(env=os.environ | {"BABYGPT_FAST": "1"})
    executed = [cell for cell in code(notebook) if cell.execution_count is not None]
    assert executed, "no code cell was executed"
    assert len(executed) == len(code(notebook))
    return notebook


def errors(cell):
    return [output.ename for output in cell.outputs if output.output_type == "error"]


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@every_lesson
def test_the_solutions_run_from_top_to_bottom_and_every_check_passes(lesson, tmp_path):
    notebook = execute(build(lesson, solutions=True), tmp_path)
    for cell in tagged(notebook, "check"):
        assert re.fullmatch(r"(Exercise \d+\.\d is right\.\n)+", printed(cell)), printed(cell)
    assert not any(errors(cell) for cell in code(notebook))


@every_lesson
def test_the_learners_notebook_runs_to_the_end_with_every_exercise_open(lesson, tmp_path):
    """So no cell needs the solution of an exercise before it."""
    notebook = execute(build(lesson, solutions=False), tmp_path)
    for cell in code(notebook):
        expected = ["NotImplementedError"] if "stub" in cell.metadata.tags else []
        assert errors(cell) == expected, cell.source
    for cell in tagged(notebook, "check"):
        assert re.fullmatch(r"(Exercise \d+\.\d is still open\.\n)+", printed(cell)), printed(cell)


@every_lesson
def test_the_map_gives_the_minutes_of_the_lesson_and_links_to_it(lesson):
    minutes = re.search(r"^\*About (\d+) minutes", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    rows = (lesson.parent / "README.md").read_text(encoding="utf-8").splitlines()
    row = next(row for row in rows if f"]({lesson.name})" in row)
    assert row.split("|")[3].strip() == minutes


def test_a_notebook_carries_the_pictures_of_its_lesson(tmp_path):
    """Jupyter, started in notebooks/, shows no file from outside of that folder."""
    for solutions in (False, True):
        notebook = notebooks.build(ROOT / "lessons" / "10_dropout_scale_up.md", solutions)
        cells = [cell for cell in notebook.cells if cell.get("attachments")]
        assert len(cells) == 1 and "](attachment:ladder.png)" in cells[0].source
        assert "results/ladder.png" not in cells[0].source
        carried = base64.b64decode(cells[0].attachments["ladder.png"]["image/png"])
        assert carried == (ROOT / "results" / "ladder.png").read_bytes()
    lesson = tmp_path / "lessons" / "00.md"
    lesson.parent.mkdir()
    lesson.write_text("![a](../results/none.png)\n", encoding="utf-8")
    with pytest.raises(UserError, match="a picture that is missing: ../results/none.png"):
        notebooks.build(lesson, solutions=False)
