"""Every check of an exercise passes on the solution and fails on wrong answers that people give."""

import contextlib
import importlib
import inspect
import pkgutil

import pytest

import babygpt.course.checks
from babygpt.course.checks import CheckFailed, choose, solved

LESSONS = sorted(m.name for m in pkgutil.iter_modules(babygpt.course.checks.__path__) if m.name.startswith("lesson_"))
ANSWERS = {name: importlib.import_module(f"answers.{name}").ANSWERS for name in LESSONS}
CASES = [(check, right, wrong) for answers in ANSWERS.values() for check, (right, wrong) in answers.items()]


def named(check):
    return f"{check.exercise}-{check.__name__}"


def as_arguments(answer):
    """What a check is called with: some take several answers."""
    return answer if isinstance(answer, tuple) else (answer,)


def all_right(right):
    """The right answers to an exercise, by name. There may be one, or several in a dictionary."""
    return right if isinstance(right, dict) else {"the solution": right}


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        pytest.param(check, answer, id=f"{named(check)}-{name}")
        for check, right, _ in CASES
        for name, answer in all_right(right).items()
    ],
)
def test_a_check_passes_on_a_right_answer(check, answer, capsys):
    check(*as_arguments(answer))
    assert capsys.readouterr().out == f"Exercise {check.exercise} is right.\n"
    assert solved(check.exercise)


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
        check(*as_arguments(answer))
    assert str(failure.value).startswith(f"Exercise {check.exercise}: ")
    assert not solved(check.exercise)


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


def test_choose_takes_the_learners_piece_only_once_its_check_has_passed(capsys):
    check, right, _ = next(case for case in CASES if case[0].exercise == "3.1")
    with contextlib.suppress(CheckFailed):
        check(lambda: [0, 0, 0])
    assert choose("3.1", "mine", "the package's") == "the package's"
    check(*as_arguments(list(all_right(right).values())[0]))
    assert choose("3.1", "mine", "the package's") == "mine"
