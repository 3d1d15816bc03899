"""The dry run of a workshop executes what the room will execute, and notices what goes wrong."""

from pathlib import Path

import pytest

from babygpt.course import lab
from babygpt.course.notebooks import ROOT, lessons
from babygpt.errors import UserError
from babygpt.workshop import dry_run
from babygpt.workshop.dry_run import DryRunConfig, heading, run_in_shell, run_lesson
from babygpt.workshop.minutes import Part, parts
from babygpt.workshop.schedules import Slot, read

PAGE = """# Lesson 3 · A test

```python tags=["setup"]
from babygpt.course import lab
```

## The idea

```python
assert lab.RECORDED == ""
```

### Later

```python
assert lab.RECORDED == "1"
```

### Exercise 3.A · Write it

```python tags=["stub"]
def answer(): raise NotImplementedError
```

<details><summary>Solution</summary>

```python tags=["solution"]
def answer(): return 1 / 0
```

</details>

```python tags=["check"]
answer()
```
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "03_test.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_runs_are_trained_where_the_schedule_says_so_and_loaded_elsewhere(page):
    found = list(run_lesson(page, trained={(3, "The idea")}))
    faults = {place[1]: fault for place, _, fault in found if fault}
    assert faults == {"3.A": "a cell fails: answer()"}
    assert {place[1] for place, _, _ in found} == {"", "The idea", "Later", "3.A"}
    assert lab.RECORDED == ""


def test_every_part_of_a_lesson_that_a_schedule_can_name_is_found_among_its_headings():
    for lesson in lessons():
        titles = {heading(line) for line in lesson.read_text(encoding="utf-8").splitlines() if line.startswith("##")}
        assert set(parts(lesson)) <= titles


def test_a_slow_cell_a_failing_one_and_a_slot_that_is_too_short_are_named(monkeypatch, capsys):
    schedule = next(schedule for schedule in read() if schedule.name == "half-day")
    slots = [
        Slot("fine", extra=5),
        Slot("slow", sections=[(ROOT / "lessons" / "01_bigram.md", Part("Training", talk=1))]),
    ]
    monkeypatch.setattr(dry_run, "read", lambda: [type(schedule)("half-day", "", "", 10, [slots])])
    results = {(1, "Training"): [(61.0, None), (300.0, "a cell fails: x")]}
    monkeypatch.setattr(dry_run, "run_lessons", lambda slots: dry_run.defaultdict(list, results))
    assert dry_run.dry_run(DryRunConfig("half-day")) == 1
    said = capsys.readouterr().out
    assert "slow: a cell fails: x" in said and "slow: somebody waits for 300 seconds" in said
    assert "slow: the machine alone takes longer than the slot" in said and "fine:" not in said


def test_commands_of_a_slot_are_run_and_a_case_of_the_clinic_is_trained(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(dry_run, "run", lambda arguments, folder: (seen.append(arguments), (1.0, None))[1])
    slot = next(slot for day in read()[0].days for slot in day if "clinic" in slot.do)
    for command in dry_run.COMMAND.findall(slot.do):
        run_in_shell(command, tmp_path)
    assert seen == [["-m", "babygpt.clinic", "start", "1"], ["clinic/case_01.py"]]


def test_a_command_that_fails_is_named():
    seconds, fault = run_in_shell("python -m babygpt.clinic start 77", Path())
    assert seconds > 0 and fault == "python -m babygpt.clinic start 77 ends with 2"


def test_a_schedule_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="choose from half-day, one-day, two-days"):
        dry_run.dry_run(DryRunConfig("week"))
