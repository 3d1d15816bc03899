"""Lessons and the notebooks generated from them: the same text, and they run from top to bottom."""

import base64
import contextlib
import functools
import html
import re
import sys

import jupytext
import matplotlib
import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from babygpt.course import checks, lab, notebooks, pages
from babygpt.course.notebooks import ROOT, build, lessons, render, targets
from babygpt.errors import UserError

TOPICS = [
    "00_setup", "01_bigram", "02_averaging_loops", "03_averaging_matmul", "04_averaging_softmax",
    "05_self_attention_head", "06_multi_head", "07_feed_forward", "08_residual", "09_layernorm",
    "10_dropout_scale_up", "11_tokens", "12_gpt2", "13_by_hand",
    "14_modern_parts", "15_encoder_decoder", "16_finetuning", "17_assistant",
    "18_inside", "19_many_machines",
]  # fmt: skip
built = functools.cache(build)  # for those who only read
every_lesson = pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.stem)

EXERCISE = r"Exercise \d+\.[\dA-C]"


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_a_lesson_for_each_version_one_before_and_some_of_part_two():
    assert [lesson.stem for lesson in lessons()] == TOPICS


def test_the_readme_counts_the_lessons_as_there_are():
    assert "Eleven follow the lecture, and nine more lead on" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (sum(name < "11" for name in TOPICS), sum(name >= "11" for name in TOPICS)) == (11, 9)


# Generation


def test_the_committed_notebooks_are_what_the_lessons_generate():
    """`make notebooks` fixes this."""
    expected = targets()
    found = {path: path.read_bytes() for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_" not in str(path)}
    assert sorted(found) == sorted(expected)
    assert [path.name for path in expected if found[path] != expected[path]] == []


@every_lesson
def test_the_same_lesson_gives_the_same_bytes(lesson):
    assert render(build(lesson, solutions=False)) == render(built(lesson, False))
    ids = [cell.id for cell in built(lesson, True).cells]
    assert len(set(ids)) == len(ids)


@every_lesson
def test_a_notebook_is_valid_and_carries_no_outputs(lesson):
    for solutions in (False, True):
        notebook = nbformat.reads(render(built(lesson, solutions)).decode("utf-8"), as_version=4)
        nbformat.validate(notebook)
        assert all(cell.outputs == [] and cell.execution_count is None for cell in code(notebook))


@every_lesson
def test_learners_get_stubs_and_no_solutions_and_the_solutions_the_reverse(lesson):
    learner, solved = built(lesson, False), built(lesson, True)
    stubs, answers = tagged(learner, "stub"), tagged(solved, "solution")
    assert len(stubs) == len(answers) >= (3 if lesson.stem != "00_setup" else 1)
    assert not tagged(learner, "solution") and not tagged(solved, "stub")
    assert len(tagged(learner, "check")) == len(tagged(solved, "check")) == len(stubs)
    assert "<summary>Solution" not in "".join(cell.source for cell in learner.cells + solved.cells)
    for notebook in (learner, solved):  # every fold that opens closes in its own cell
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                assert cell.source.count("<details>") == cell.source.count("</details>"), cell.source


@every_lesson
def test_code_that_only_draws_is_folded_and_its_picture_is_not(lesson):
    text = lesson.read_text(encoding="utf-8")
    folds = re.findall(
        r"<details><summary>The code for the picture</summary>\n\n```python tags=\[\"picture\"\] alt=", text
    )
    for solutions in (False, True):
        pictures = tagged(built(lesson, solutions), "picture")
        assert len(pictures) == len(folds) == text.count('tags=["picture"]')
        assert all(cell.metadata.jupyter.source_hidden for cell in pictures)
        long = [cell.source for cell in code(built(lesson, solutions)) if only_draws(cell)]
        assert not long, long[0]


def only_draws(cell):
    """Whether a cell has more than 20 lines, nearly all of which draw."""
    lines = [line for line in cell.source.splitlines() if line.strip()]
    drawing = [line for line in lines if re.search(r"\bax\b|\baxes\b|\bfig\b|plt\.|color|alpha=|lw=", line)]
    return "picture" not in cell.metadata.tags and len(lines) > 20 and len(drawing) > 0.6 * len(lines)


@every_lesson
def test_comments_for_the_tests_do_not_reach_the_notebooks(lesson):
    for solutions in (False, True):
        assert "<!-- quoted" not in render(built(lesson, solutions)).decode("utf-8")


@every_lesson
def test_a_diff_keeps_its_lines_and_gets_colors(lesson):
    diffs = re.findall(r"^```diff\n(.*?)^```$", lesson.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for solutions in (False, True):
        text = "\n".join(cell.source for cell in built(lesson, solutions).cells if cell.cell_type == "markdown")
        shown = re.findall(r"<pre>\n(.*?)\n</pre>", text, flags=re.DOTALL)
        assert [html.unescape(re.sub(r"</?span[^>]*>", "", pre)) + "\n" for pre in shown] == diffs
        for line in "\n".join(shown).splitlines():
            added = re.match(r'<span style="color: (\S+)">(.?)', line)
            assert added[1] == {"+": "#116329", "-": "#a40e26"}.get(added[2], "inherit")


def exercises(lesson):
    """The exercises of a lesson: (number, text)."""
    parts = re.split(r"^### Exercise (\d+\.[\dA-C]) · ", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [
        (number, re.split(r"^##+ ", text, flags=re.MULTILINE)[0])
        for number, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


@every_lesson
def test_every_exercise_has_a_card_a_stub_a_hint_a_solution_and_a_check_in_this_order(lesson):
    for number, exercise in exercises(lesson):
        marks = [r"\*Difficulty \d of 5 · \d+ minutes · (core|recommended|extra) · you\s+learn",
                 r'```python tags=\["stub"\]',
                 "<details><summary>Hint</summary>", "<details><summary>Solution</summary>",
                 r'```python tags=\["solution"\]', r'```python tags=\["check"\]']  # fmt: skip
        places = [m.start() if (m := re.search(mark, exercise)) else -1 for mark in marks]
        assert -1 not in places and places == sorted(places), number


@every_lesson
def test_exercises_are_numbered_and_the_piece_that_a_lesson_builds_comes_before_it_is_shown(lesson):
    number = str(int(lesson.stem[:2]))
    found = [name.partition(".")[2] for name, _ in exercises(lesson)]
    letters, digits = ([name for name in found if name.isalpha() == wanted] for wanted in (True, False))
    assert [n.partition(".")[0] for n, _ in exercises(lesson)] == [number] * len(found)
    assert digits == [str(i) for i in range(1, len(digits) + 1)] and 2 <= len(digits) <= 5
    assert letters == list("ABC")[: len(letters)]
    if lesson.stem != "00_setup":
        assert letters and found[: len(letters)] == letters
        build_it = lesson.read_text(encoding="utf-8").partition("\n## Build it\n")[2].partition("\n## Prove it\n")[0]
        assert f"### Exercise {number}.A · " in build_it
        assert 'choose("' in build_it


@every_lesson
def test_a_prediction_that_needs_a_run_has_a_cell_that_runs_it(lesson):
    promised = {"2.4", "3.3", "4.4", "5.4", "6.2", "7.2", "7.3", "8.3"}
    for number, exercise in exercises(lesson):
        has_payoff = 'tags=["payoff"]' in exercise
        assert has_payoff or number not in promised, number
        if has_payoff:
            assert f'solved("{number}")' in exercise, number
        if number in promised:
            assert "<details><summary>What we found</summary>" in exercise, number


@every_lesson
def test_a_lesson_has_its_sections_in_order(lesson):
    titles = re.findall(r"^## (.*)$", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = ["Where we are", "The idea", "Build it", "Prove it", "Train it", "Check yourself", "Questions",
                "Exercises", "For the instructor"]  # fmt: skip
    if lesson.stem == "00_setup":
        assert titles[-4:] == sections[-4:]
    else:
        assert titles == sections


@every_lesson
def test_links_lead_somewhere_from_the_page_and_from_both_notebooks(lesson):
    pages = [(lesson.parent, jupytext.read(lesson, fmt="md"))]
    for solutions in (False, True):
        pages.append((ROOT / "notebooks" / ("solutions" if solutions else ""), built(lesson, solutions)))
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
    """There is no check without an exercise."""
    module = __import__(f"babygpt.course.checks.lesson_{lesson.stem[:2]}", fromlist=["*"])
    names = {name for name, f in vars(module).items() if hasattr(f, "exercise")}
    text = lesson.read_text(encoding="utf-8")
    assert {name for name in names if f"checks.{name}(" in text} == names
    assert checks.CheckFailed is not None


def test_the_first_cell_does_nothing_if_babygpt_is_installed():
    exec(compile(notebooks.FIRST_CELL, "first cell", "exec"), {})


def test_the_first_cell_says_what_to_do_if_babygpt_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "babygpt", None)
    with pytest.raises(SystemExit, match="Choose the kernel of babygpt's environment .venv"):
        exec(compile(notebooks.FIRST_CELL, "first cell", "exec"), {})


# Execution

# What takes seconds, and what these tests run in its place: the same with smaller numbers, or the help of a command
# that another test starts. `make lessons` runs all cells as they are.
SMALLER = {
    "max_iters = 3000\neval_interval = 500\neval_iters = 200": "max_iters = 1000\neval_interval = 500\neval_iters = 2",
    "lab.steps(1000)]": "100]",
    "length=lab.steps(1000)": "length=100",
    "eval_iters=lab.steps(200)": "eval_iters=20",
    "for merges in (0, 512, 1024, 4096)": "for merges in (0, 256)",
    "validation_chunks(corpus, model.config.block_size, 128)": "validation_chunks(corpus, model.config.block_size, 48)",
    'get_batch("val", 400, 128': 'get_batch("val", 50, 128',
    'dates.draw("val", 2000': 'dates.draw("val", 200',
    "some = held_out[:500]": "some = held_out[:50]",
    '"--processes", "2", "--steps", "3"': '"--help"',
    "for n in (100, 10_000, 1_000_000)": "for n in (100, 10_000)",
}


def smaller(source):
    for text, less in SMALLER.items():
        source = source.replace(text, less)
    return source


def test_what_is_made_smaller_is_in_the_lessons():
    text = "".join(lesson.read_text(encoding="utf-8") for lesson in lessons())
    assert [text.count(each) for each in SMALLER] == [1] * len(SMALLER)


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run the cells of a notebook in this process, with short runs of training; return [(cell, output, error)].

    A kernel of its own for each notebook would take four seconds to start. Below, `pages.export` uses a real one.
    """
    matplotlib.use("agg")
    monkeypatch.setattr(lab, "FAST", True)
    monkeypatch.setattr(checks.core, "_solved", set())

    def execute(notebook):
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance(colors="nocolor")
        found = []
        with contextlib.chdir(tmp_path):
            for cell in code(notebook):
                with capture_output() as captured:
                    result = shell.run_cell(smaller(cell.source), store_history=True)
                found.append((cell, captured.stdout, result.error_before_exec or result.error_in_exec))
                assert bool(plt.get_fignums()) <= ("alt" in cell.metadata), f"no alt text:\n{cell.source}"
                plt.close("all")
        assert found
        return found

    yield execute
    InteractiveShell.clear_instance()


@every_lesson
def test_the_solutions_run_from_top_to_bottom_and_every_check_passes(lesson, execute, monkeypatch):
    """With recorded runs: so each run has its recording, and what the cells say of it is true."""
    monkeypatch.setattr(lab, "FAST", False)
    monkeypatch.setattr(lab, "RECORDED", "1")
    for cell, output, error in execute(built(lesson, True)):
        assert error is None, f"{cell.source}\n{output}"
        assert "There is no recorded run" not in output, f"run `make record`:\n{cell.source}"
        if "check" in cell.metadata.tags:
            assert re.fullmatch(rf"({EXERCISE} is right\.\n)+", output), output
        if "payoff" in cell.metadata.tags:
            assert "Solve exercise" not in output, output
        if "shows-false" not in cell.metadata.tags:
            assert not re.search(r"\bFalse\b", output), f"a claim is false:\n{cell.source}\n{output}"
        if not re.search(r"lab\.shapes|sample_text|warn|getsource", cell.source):
            assert [line for line in output.splitlines() if len(line) > 110] == []


@every_lesson
def test_the_learners_notebook_runs_to_the_end_with_every_exercise_open_and_each_can_be_solved_alone(lesson, execute):
    """So no cell needs the solution of an exercise before it, nothing is red, and any choice of exercises works.

    After each check, which finds its exercise open, the solution runs and is checked. Then everything that it
    defined is taken back, and the notebook goes on as if nobody had solved it.
    """
    solution_of = solutions(lesson)
    learner, solved_checks = build(lesson, solutions=False), []
    for cell in code(learner):
        if "check" in cell.metadata.tags:
            source = "\n".join((SAVE_NAMES, solution_of[cell.source]))
            check = nbformat.v4.new_code_cell(cell.source, metadata={"tags": ["solved"]})
            place = learner.cells.index(cell) + 1
            learner.cells[place:place] = [
                nbformat.v4.new_code_cell(source, metadata={"tags": []}),
                check,
                nbformat.v4.new_code_cell(RESTORE_NAMES, metadata={"tags": []}),
            ]
            solved_checks.append(check)
    results = execute(learner)
    for cell, output, error in results:
        assert error is None, f"{cell.source}\n{output}"
        if "check" in cell.metadata.tags:
            assert re.fullmatch(rf"({EXERCISE} is still open\.\n)+", output), output
        if "solved" in cell.metadata.tags:
            assert re.fullmatch(rf"({EXERCISE} is right\.\n)+", output), f"{cell.source}\n{output}"
        if "payoff" in cell.metadata.tags:
            assert "Solve exercise" in output, output
    assert len(solved_checks) == len(solution_of)


SAVE_NAMES = "_names = {}; _names.update(globals())"
RESTORE_NAMES = """\
for _name in [name for name in globals() if name not in _names]:
    del globals()[_name]
globals().update(_names)
__import__("babygpt.course.checks.core", fromlist=["_solved"])._solved.clear()"""


def solutions(lesson):
    """The solution that comes before each check of a lesson: {check: solution}."""
    found = {}
    for cell in code(built(lesson, True)):
        if "solution" in cell.metadata.tags:
            solution = cell.source
        if "check" in cell.metadata.tags:
            found[cell.source] = solution
    return found


MINUTES = r"^\*Classroom: (\d+) minutes of talk, (\d+) of exercises · self-study: about (\d+) minutes"


@every_lesson
def test_the_minutes_of_a_lesson_add_up_and_the_map_repeats_them(lesson):
    text = lesson.read_text(encoding="utf-8")
    talk, exercise, alone = map(int, re.search(MINUTES, text, flags=re.MULTILINE).groups())
    assert exercise == sum(map(int, re.findall(r"^\*Difficulty \d of 5 · (\d+) minutes", text, flags=re.MULTILINE)))
    assert alone >= talk + exercise
    rows = (lesson.parent / "README.md").read_text(encoding="utf-8").splitlines()
    row = next(row for row in rows if f"]({lesson.name})" in row)
    assert [cell.strip() for cell in row.split("|")[3:5]] == [f"{talk} + {exercise}", str(alone)]


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


def test_a_page_needs_no_network_describes_its_pictures_and_leaves_out_what_only_draws():
    """Lesson 9 has pictures, a diff, folded code and a link to another lesson."""
    page = pages.export(ROOT / "lessons" / "09_layernorm.md")
    images = re.findall(r"<img\b[^>]{0,400}", page)
    assert len(images) == 3 and all(re.search(r'alt="[^"]{30,}"', image) for image in images)
    loaded = re.findall(r'<(?:script|img|iframe|source)\b[^>]*?\bsrc="([^"]{0,60})', page)
    loaded += re.findall(r'<link\b[^>]*?href="([^"]{0,60})', page)
    assert [address for address in loaded if not address.startswith("data:image/")] == []
    assert "babygpt is not installed in this Python" not in page and "def frames" not in page
    linked = [link for link in re.findall(r'href="([^"#]{1,200})', page) if not link.startswith("https://")]
    assert "08_residual.html" in linked
    for link in linked:
        assert (ROOT / "site" / link).resolve().exists() or (ROOT / "lessons" / link).with_suffix(".md").exists(), link


@every_lesson
def test_a_lesson_says_what_one_can_do_after_it_and_what_to_keep(lesson):
    text = lesson.read_text(encoding="utf-8")
    times = 2 if lesson.stem == "01_bigram" else 1
    goals = r"^After (?:this lesson|part \w+), you'll be able to\n\n- "
    assert len(re.findall(goals, text, flags=re.MULTILINE)) == times
    assert len(re.findall(r"^### Key points.*\n\n- ", text, flags=re.MULTILINE)) == times


@every_lesson
def test_formulas_are_plain_text_because_mathjax_needs_a_network(lesson):
    prose = re.sub(r"```.*?```", "", lesson.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "$" not in prose and r"\(" not in prose


@every_lesson
def test_no_line_of_a_paragraph_begins_like_an_item_of_a_list(lesson):
    prose = re.sub(r"```.*?```", "", lesson.read_text(encoding="utf-8"), flags=re.DOTALL)
    for paragraph in re.split(r"\n\n+", prose):
        lines = paragraph.splitlines()
        if not re.match(r" *(\d+[.)]|[-+*]|<!--) ", paragraph):
            assert not [line for line in lines[1:] if re.match(r"(\d+[.)]|[-+*]) ", line)], paragraph
