"""What the lessons lean on: recorded curves, short trainings, pictures."""

import runpy

import matplotlib.pyplot as plt
import pytest
import torch

from babygpt.course import lab
from babygpt.versions import VERSIONS


@pytest.fixture(autouse=True)
def no_window():
    with plt.rc_context({"backend": "Agg"}):
        yield
    plt.close("all")


PUBLISHED = {1: 2.5, 5: 2.4, 6: 2.28, 7: 2.24, 8: 2.08, 9: 2.06}  # the lecture's validation losses


def test_the_recorded_curves_end_within_a_twentieth_of_a_nat_of_the_lectures_losses():
    for version in VERSIONS[:9]:
        curve, recipe = lab.recorded(version.number), version.preset("lecture")
        assert curve["step"][-1] == recipe["max_iters"]
        assert curve["step"][1] == recipe["eval_interval"]
        published = PUBLISHED.get(version.number, 2.83)  # version 2 to 4: what an average reaches
        assert abs(curve["val"][-1] - published) < 0.05
        assert len(curve["step"]) == len(curve["train"]) == len(curve["val"]) == len(curve["seconds"])


def test_the_fast_setting_cuts_runs_to_a_fiftieth(monkeypatch):
    monkeypatch.setattr(lab, "FAST", True)
    assert [lab.steps(n) for n in (5000, 600, 100)] == [100, 12, 10]
    monkeypatch.setattr(lab, "FAST", False)
    assert lab.steps(5000) == 5000


@pytest.mark.parametrize(
    "fast, recorded, expected",
    [("", "", False), ("0", "", False), ("1", "", True), ("1", "0", True), ("1", "1", False)],
)
def test_babygpt_fast_is_read_when_the_lab_is_loaded_and_recorded_runs_need_no_shortening(
    fast, recorded, expected, monkeypatch
):
    monkeypatch.setenv("BABYGPT_FAST", fast)
    monkeypatch.setenv("BABYGPT_RECORDED", recorded)
    assert runpy.run_path(lab.__file__)["FAST"] is expected


def test_a_run_in_a_lesson_evaluates_ten_times_and_says_where_it_ends(shakespeare, monkeypatch, capsys):
    trainer = lab.train(lab.new_model(5), shakespeare, max_iters=20, learning_rate=1e-2, eval_iters=1)
    assert [record["step"] for record in trainer.history] == list(range(0, 21, 2))
    assert trainer.config.learning_rate == 1e-2
    assert "20 steps in" in capsys.readouterr().out
    monkeypatch.setattr(lab, "FAST", True)
    trainer = lab.train(lab.new_model(5), shakespeare, max_iters=1000, learning_rate=1e-2)
    assert [record["step"] for record in trainer.history] == [0, 10, 20]


def test_a_new_model_has_the_sizes_of_the_lecture_unless_told_otherwise():
    assert lab.model_size(lab.new_model(9)) == 42_369
    assert lab.new_model(9, n_layer=1).config.n_layer == 1
    assert torch.equal(lab.new_model(5).lm_head.weight, lab.new_model(5).lm_head.weight)


def test_a_sample_is_the_same_for_the_same_seed(shakespeare):
    model = lab.new_model(1)
    first, again, other = (lab.sample_text(model, shakespeare, 30, seed) for seed in (1, 1, 2))
    assert first == again != other and len(first) == 30


def test_every_curve_is_drawn_and_named(shakespeare, monkeypatch):
    monkeypatch.setattr(lab, "FAST", True)
    trainer = lab.train(lab.new_model(5), shakespeare, max_iters=1000)
    ax = lab.plot_curves(trainer, "v5", earlier=[1, 2, 3])
    assert len(ax.lines) == 4
    assert [text.get_text() for text in ax.texts if "v5" == text.get_text()] == ["v5"]
    assert len({text.xyann[1] for text in ax.texts}) == 4  # no name on top of another


def test_a_matrix_is_drawn_with_its_numbers_and_characters():
    scores = torch.zeros(3, 3).masked_fill(torch.triu(torch.ones(3, 3), 1) == 1, float("-inf"))
    ax = lab.show_matrix(scores, labels="a \n")
    assert [text.get_text() for text in ax.texts] == ["0", "−∞", "−∞", "0", "0", "−∞", "0", "0", "0"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "␣", "↵"]
    assert not lab.show_matrix(torch.rand(20, 20)).texts
