"""Is my loss normal: bugs planted into short runs are called out, and healthy runs are not."""

import re

import pytest
import torch.nn.functional as F
from conftest import every_version, tiny_model
from torch import nn

from babygpt import cli, expect, training, v3, v5, v6, v8
from babygpt.compare import recorded
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.expect import Point
from babygpt.training import TrainConfig
from babygpt.versions import get_version

STEPS = 500


@pytest.fixture(autouse=True)
def short_samples(monkeypatch):
    monkeypatch.setattr(cli, "SAMPLE_TOKENS", 1)


class Unmasked(v5.Head):
    """A head that sees later tokens too."""

    def __init__(self, config, head_size):
        super().__init__(config, head_size)
        self.tril.fill_(1)


class OverQueries(v5.Head):
    """A head with weights that sum to 1 over the tokens that look, not over those that are looked at."""

    dim, exponent, late = -2, -0.5, False

    def forward(self, x):
        T = x.shape[1]
        wei = self.query(x) @ self.key(x).transpose(-2, -1) * self.key.out_features**self.exponent
        future = self.tril[:T, :T] == 0
        if self.late:
            return F.softmax(wei, dim=self.dim).masked_fill(future, 0) @ self.value(x)
        return F.softmax(wei.masked_fill(future, float("-inf")), dim=self.dim) @ self.value(x)


class Unscaled(OverQueries):
    """A head that does not scale its scores."""

    dim, exponent = -1, 0


class MaskedLate(OverQueries):
    """A head that masks after the softmax."""

    dim, late = -1, True


def without_residuals(block, x):
    return block.ffwd(block.sa(x))


def with_targets(change, get_batch=Corpus.get_batch):
    """Batches whose targets are wrong."""

    def batch(*how):
        x, y = get_batch(*how)
        return x, change(x, y)

    return batch


def plant(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = {
        "no mask": Unmasked,
        "mask after the softmax": MaskedLate,
        "softmax over the wrong axis": OverQueries,
        "no scale": Unscaled,
    }
    if bug in heads:
        for module in (v5, v6):
            monkeypatch.setattr(module, "Head", heads[bug])
    elif bug.endswith("the learning rate"):
        rate, factor = training.learning_rate, 10 if bug.startswith("ten times") else 0.1
        monkeypatch.setattr(training, "learning_rate", lambda *step: factor * rate(*step))
    elif bug == "y not shifted":
        monkeypatch.setattr(Corpus, "get_batch", with_targets(lambda x, y: x))
    elif bug == "y from another part":
        monkeypatch.setattr(Corpus, "get_batch", with_targets(lambda x, y: y.roll(1, dims=0)))
    elif bug == "later tokens in the average":
        monkeypatch.setattr(v3.torch, "tril", lambda ones: ones.tril(diagonal=1))
    elif bug == "no zero_grad":
        monkeypatch.setattr(nn.Module, "zero_grad", lambda *how, **why: None)
    elif bug == "no residuals":
        monkeypatch.setattr(v8.Block, "forward", without_residuals)
    else:
        raise ValueError(bug)


def run(number: int, folder, *flags: str, steps: int = STEPS) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(number, ["--preset", "lecture", "--max-iters", str(steps), "--out-dir", str(folder), *flags])
    assert exit.value.code == 0


def ask(folder, capsys) -> tuple[int, str]:
    """Exit status and output of `python -m babygpt.expect FOLDER`."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        expect.main([str(folder)])
    captured = capsys.readouterr()
    return exit.value.code or 0, captured.out + captured.err


# The bugs


@pytest.mark.parametrize(
    "number, bug, side, told",
    [
        (1, "y not shifted", "Below", "y is not x shifted by one: the target at position t"),
        (6, "y not shifted", "Below", "y is not x shifted by one: the target at position t"),
        (3, "later tokens in the average", "Below", "the average includes later tokens"),
        (5, "no mask", "Below", "the mask is missing"),
        (6, "no mask", "Below", "the mask is missing"),
        (6, "mask after the softmax", "Below", "the mask is missing or comes too late"),
        (5, "softmax over the wrong axis", "Below", "the softmax runs over the wrong dimension"),
        (6, "softmax over the wrong axis", "Below", "the softmax runs over the wrong dimension"),
        (5, "ten times the learning rate", "Below", "the learning rate is higher than the recipe's"),
        (6, "ten times the learning rate", "Below", "the learning rate is higher than the recipe's"),
        (6, "a tenth of the learning rate", "Above", "ten times higher or lower"),
        (6, "y from another part", "Above", "y comes from another part of the text"),
        (6, "no zero_grad", "Above", "zero_grad is missing"),
        (5, "no scale", "Above", "the scale is missing"),
        (8, "no residuals", "Above", "x = x + self.sa(x)"),
    ],
)
def test_a_planted_bug_is_called_out(number, bug, side, told, tmp_path, monkeypatch, capsys):
    plant(bug, monkeypatch)
    run(number, tmp_path / "run")
    status, out = ask(tmp_path / "run", capsys)
    assert status == 1
    assert re.search(rf"{side} the band at step {300 if number == 1 else 500}, ", out)
    assert told in out
    leaks = bug in ("no mask", "mask after the softmax", "softmax over the wrong axis", "later tokens in the average")
    assert ("It looks ahead" in out) == leaks


@pytest.mark.parametrize("number, seeds", [(1, 5), (5, 4), (6, 3)])
def test_healthy_runs_from_other_seeds_are_not_flagged(number, seeds, tmp_path, capsys):
    known = {training["seed"] for training in recorded.trainings(get_version(number))}
    for seed in range(1, seeds + 1):
        assert seed not in known
        run(number, tmp_path / str(seed), "--seed", str(seed))
        status, out = ask(tmp_path / str(seed), capsys)
        assert (status, "Inside the band" in out) == (0, True), f"seed {seed}: {out}"


def test_a_run_with_other_settings_is_told_which_they_are(tmp_path, capsys):
    run(3, tmp_path / "run", "--learning-rate", "1e-2", "--weight-decay", "0.5")
    _, out = ask(tmp_path / "run", capsys)
    assert "learning_rate is 0.01, and 0.001 in the recipe" in out and "weight_decay is 0.5, and 0.01 in" in out
    assert "max_iters" not in out  # at a constant rate a shorter run is the beginning of the longer one


def test_a_run_on_another_text_is_told_so(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("the rat that ate the oats\n" * 200, encoding="utf-8")
    run(1, tmp_path / "run", "--data", str(text), steps=300)
    status, out = ask(tmp_path / "run", capsys)
    assert status == 1 and "Below the band" in out and "the text is a different one" in out


def test_the_loss_is_shown_and_drawn_inside_its_band(tmp_path, capsys):
    run(3, tmp_path / "run")
    status, out = ask(tmp_path / "run", capsys)
    rows = re.findall(r"^ +([\d,]+) +([\d.]+|-) +([\d.]+) to ([\d.]+)", out, re.MULTILINE)
    assert status == 0 and [row[0] for row in rows] == ["0", "500", "5,000"]
    assert float(rows[1][2]) < float(rows[1][1]) < float(rows[1][3])
    assert "where the recipe ends" in out
    assert (tmp_path / "run" / "expected.png").read_bytes().startswith(b"\x89PNG")


# Looking ahead


@every_version()
def test_no_version_sees_the_future(version):
    assert not expect.sees_the_future(tiny_model(version).eval(), 11)


@pytest.mark.parametrize("head", [Unmasked, OverQueries])
def test_a_head_that_sees_the_future_is_noticed_before_any_training(head, monkeypatch):
    monkeypatch.setattr(v5, "Head", head)
    assert expect.sees_the_future(tiny_model(get_version(5)), 11)


# The band


def made_up(values: list[list[float]]) -> list[dict]:
    """Runs as if they had been recorded: the losses of each seed at steps 0, 10, 20, ..."""
    return [
        {
            "history": [{"step": 10 * i, "val": loss} for i, loss in enumerate(losses)],
            "settings": {"eval_iters": 200, "batch_size": 32},
            "val": {"error": 0.007, "chunks": 6400},
        }
        for losses in values
    ]


def half_width(trainings: list[dict], step: int, chunks: int = 6400) -> float:
    low, high = recorded.find_bands(trainings, chunks)[step]
    return (high - low) / 2


def test_the_band_is_the_mean_and_some_standard_deviations_on_either_side():
    trainings = made_up([[4.0, 2.9], [4.0, 3.1]])
    assert sum(recorded.find_bands(trainings, 6400)[10]) / 2 == pytest.approx(3.0)
    # two losses 0.2 apart have the variance 0.02, and a third one is judged by the mean of two
    assert half_width(trainings, 10) == pytest.approx(recorded.WIDTH * (0.02 * 1.5) ** 0.5)


def test_a_step_at_which_the_references_agree_by_chance_has_the_spread_of_the_others():
    trainings = made_up([[4, 2.9, 2.7, 2.5, 2.4, 2.4], [4, 3.1, 2.9, 2.7, 2.6, 2.4]])  # the last two agree
    assert half_width(trainings, 50) == pytest.approx(half_width(trainings, 20))


def test_where_the_spread_shrinks_each_step_is_judged_by_its_neighbors():
    trainings = made_up([[4, 2.5, 2.8, 2.5, 2.4, 2.3], [4, 3.5, 3.0, 2.6, 2.42, 2.32]])
    widths = [half_width(trainings, step) for step in (10, 20, 30, 40, 50)]
    assert widths == sorted(widths, reverse=True) and widths[0] > 5 * widths[-1]
    assert widths[2] == pytest.approx(recorded.WIDTH * ((0.02 + 0.005 + 0.0002) / 3 * 1.5) ** 0.5)


def test_the_start_has_no_neighbors_and_gets_twice_the_width():
    trainings = made_up([[3.9, 3.0], [4.1, 3.0]])
    assert half_width(trainings, 0) == pytest.approx(2 * recorded.WIDTH * (0.02 * 1.5) ** 0.5)


def test_no_band_is_narrower_than_the_differences_between_machines():
    assert half_width(made_up([[4.0, 3.0], [4.0, 3.0]]), 10) == pytest.approx(recorded.MIN_WIDTH)


def test_an_evaluation_over_less_text_gets_a_wider_band():
    trainings = made_up([[4.0, 3.0], [4.0, 3.0]])
    of_a_chunk = 0.007 * 6400**0.5  # from the error of the mean of so many
    found = half_width(trainings, 10, chunks=160)
    assert found == pytest.approx(recorded.WIDTH * of_a_chunk * (1 / 160 - 1 / 6400) ** 0.5)


@every_version()
def test_each_recorded_run_is_in_the_band_of_the_others(version):
    trainings = recorded.trainings(version, "laptop" if version.number == 10 else "lecture")
    settings = trainings[0]["settings"]
    for i, left_out in enumerate(trainings):
        rest = trainings[:i] + trainings[i + 1 :]
        bands = recorded.find_bands(rest, settings["eval_iters"] * settings["batch_size"])
        for evaluation in left_out["history"]:
            low, high = bands[evaluation["step"]]
            assert low <= evaluation["val"] <= high, f"seed {left_out['seed']}: {evaluation}"


@pytest.mark.parametrize("val, side", [(1.9, "below"), (2.0, ""), (2.1, ""), (2.2, ""), (2.3, "above")])
def test_a_loss_is_below_inside_or_above(val, side):
    assert Point(10, val, 2.0, 2.2).side == side


def test_the_causes_named_are_those_of_the_side_and_the_version():
    below = "\n".join(expect.verdict(get_version(1), [Point(300, 1.0, 2.0, 2.2)], [], False))
    above = "\n".join(expect.verdict(get_version(8), [Point(300, 3.0, 2.0, 2.2)], [], False))
    start = "\n".join(expect.verdict(get_version(8), [Point(0, 3.0, 4.0, 4.2), Point(300, 2.1, 2, 2.2)], [], False))
    assert "Below the band" in below and "leak" in below and "mask" not in below
    assert "Below the band before any training" in start and "leak" not in start and "Inside" not in start
    other = "\n".join(expect.verdict(get_version(8), [Point(0, 3.0, 4.0, 4.2)], ["n_embd is 16"], False))
    assert "n_embd is 16" in other and "first weights" not in other
    assert "Above the band" in above and "residual" in above and "leak" not in above


def test_the_recipe_is_the_one_that_a_run_is_closest_to():
    version = get_version(10)
    for name in version.presets:
        settings = vars(TrainConfig()) | vars(version.module().Config()) | version.preset(name)
        assert expect.nearest_preset(version, settings | {"learning_rate": 0.5}) == name


# Mistakes


def test_a_run_that_cannot_be_compared_gets_one_sentence(tmp_path, capsys):
    run(3, tmp_path / "run", steps=2)
    status, out = ask(tmp_path / "run", capsys)
    assert status == 2 and "train for at least 500 steps, with --eval-interval 500" in out and out.count("\n") == 1


def test_a_run_that_lacks_a_newer_setting_is_compared_all_the_same():
    version = get_version(3)
    settings = vars(TrainConfig()) | vars(version.module().Config(vocab_size=65)) | version.preset("lecture")
    del settings["beta2"]
    assert expect.differences(version, "lecture", settings) == []


def test_the_answer_is_given_even_if_no_picture_can_be_written(tmp_path, monkeypatch, capsys):
    def refuse(path, content):
        raise PermissionError(13, "Permission denied")

    run(3, tmp_path / "run")
    monkeypatch.setattr(expect, "write_atomically", refuse)
    status, out = ask(tmp_path / "run", capsys)
    assert status == 0 and "Inside the band" in out and "There is no picture" in out and "Permission denied" in out


def test_a_run_of_part_two_is_compared_with_its_own_recorded_runs():
    from babygpt.beyond.models import GPT2

    found = recorded.trainings(GPT2, "nanogpt")
    assert len(found) >= 3 and all(run["module"] == "babygpt.beyond.gpt2" for run in found)
    bands = recorded.find_bands(found, chunks=20 * 12)
    low, high = bands[2000]
    assert low < 1.88 < high  # what nanoGPT's README says
    settings = found[0]["settings"] | {"max_iters": 2000}
    assert expect.nearest_preset(GPT2, settings | {"lr_schedule": "cosine"}) == "nanogpt"
    with pytest.raises(UserError, match="no run of gpt2 by the recipe finetune"):
        recorded.trainings(GPT2, "finetune")
