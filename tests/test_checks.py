"""Every check of an exercise passes on the solution and fails on wrong answers that people give."""

import importlib
import inspect
import pkgutil

import pytest

import babygpt.course.checks
from babygpt.course.checks import CheckFailed

LESSONS = sorted(m.name for m in pkgutil.iter_modules(babygpt.course.checks.__path__) if m.name.startswith("lesson_"))
ANSWERS = {name: importlib.import_module(f"answers.{name}").ANSWERS for name in LESSONS}
CASES = [(check, right, wrong) for answers in ANSWERS.values() for check, (right, wrong) in answers.items()]


def named(check):
    return f"{check.exercise}-{check.__name__}"


@pytest.mark.parametrize(("check", "right"), [case[:2] for case in CASES], ids=[named(case[0]) for case in CASES])
def test_a_check_passes_on_a_right_answer(check, right, capsys):
    check(*right if isinstance(right, tuple) else (right,))
    assert capsys.readouterr().out == f"Exercise {check.exercise} is right.\n"


@pytest.mark.parametrize(
    ("check", "answer", "message"),
    [
        pytest.param(check, answer, message, id=f"{named(check)}-{mistake}")
        for check, _, wrong in CASES
        for mistake, (answer, message) in wrong.items()
    ],
)
def test_a_check_fails_on_a_wrong_answer_and_says_where_to_look(check, answer, message):
    with pytest.raises(CheckFailed, match=message) as failure:
        check(*answer if isinstance(answer, tuple) else (answer,))
    assert str(failure.value).startswith(f"Exercise {check.exercise}: ")


@pytest.mark.parametrize("check", [case[0] for case in CASES], ids=[named(case[0]) for case in CASES])
def test_a_check_knows_an_exercise_that_is_still_open(check, capsys):
    class Stub:
        def __getattr__(self, name):
            raise NotImplementedError

        def __call__(self, *args, **kwargs):
            raise NotImplementedError

    answers = [Stub() for _ in inspect.signature(check).parameters]
    check(*answers)
    assert capsys.readouterr().out == f"Exercise {check.exercise} is still open.\n"


@pytest.mark.parametrize("name", LESSONS)
def test_every_check_of_a_lesson_has_a_right_answer_and_two_wrong_ones(name):
    module = importlib.import_module(f"babygpt.course.checks.{name}")
    checks = {f for f in vars(module).values() if hasattr(f, "exercise")}
    assert checks == set(ANSWERS[name])
    for check, (_, wrong) in ANSWERS[name].items():
        assert len(wrong) >= 2, check.__name__
