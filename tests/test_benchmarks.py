"""The benchmarks measure what they say, and their README says what was measured."""

import json
import re

import pytest
import torch
from conftest import tiny_model

from babygpt.training import TrainConfig, Trainer
from babygpt.versions import get_version
from benchmarks.__main__ import BENCHMARKS, HERE, BenchmarkConfig, as_trained, benchmark
from benchmarks.baseline import Baseline
from benchmarks.measure import repeat, summary, take_turns
from benchmarks.report import goals, lines, with_figures

RESULTS = json.loads((HERE / "results.json").read_text(encoding="utf-8"))


def test_alternatives_take_turns():
    order = []
    seconds = take_turns({"a": lambda: order.append("a"), "b": repeat(lambda: order.append("b"), 2)}, rounds=3)
    assert order == ["a", "b", "b"] * 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_a_summary_is_the_median_and_the_spread():
    assert summary([3.0, 1.0, 10.0], "s") == {"unit": "s", "median": 3, "low": 1, "high": 10, "rounds": 3}


def test_the_baseline_learns_what_the_trainer_learns(rhyme):
    torch.manual_seed(0)
    model = tiny_model(get_version(9))
    baseline = Baseline(model, rhyme.train, rhyme.val, batch_size=8, learning_rate=1e-2)
    for _ in range(60):
        baseline.update()
    config = TrainConfig(max_iters=60, batch_size=8, learning_rate=1e-2, eval_iters=20)
    trainer = Trainer(tiny_model(get_version(9)), rhyme, config)
    trainer.train(progress=False)
    assert baseline.estimate_loss(20)["val"] == pytest.approx(trainer.history[-1]["val"], abs=0.15)


def test_the_readme_shows_the_committed_figures():
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    results = RESULTS
    assert with_figures(readme, results) == readme, "run `python -m benchmarks --readme`"
    assert set(results) <= set(BENCHMARKS)
    figures = [f"{value['median']:,g}" for value in results["step"]["result"].values()]
    assert all(figure in readme for figure in figures)


def test_the_prose_of_the_readme_agrees_with_the_figures():
    readme = " ".join((HERE / "README.md").read_text(encoding="utf-8").partition("## All figures")[0].split())
    results = {name: entry["result"] for name, entry in RESULTS.items()}
    small = results["small"]
    share = {n: small[f"v{n}"]["babygpt"]["whole recipe, s"] / small[f"v{n}"]["baseline"]["whole recipe, s"]
             for n in range(1, 10)}  # fmt: skip
    assert "Versions 1, 3, 4 and 5 take at most half of the baseline's time" in readme
    assert max(share[n] for n in (1, 3, 4, 5)) <= 0.5
    rest = [share[n] for n in (6, 7, 8, 9)]
    assert f"versions 6 to 9 take {round(100 * min(rest)):.0f} to {round(100 * max(rest)):.0f}%" in readme
    assert f"version 2 takes {100 * share[2]:.0f}%" in readme
    laptop = results["laptop"]["laptop"]
    adamw = results["laptop"]["AdamW instead of Muon, more steps"]
    float32 = results["laptop"]["float32 instead of bfloat16"]
    assert f"takes {100 * laptop['median'] / float32['median']:.0f}% of the time it takes in float32" in readme
    assert "AdamW takes more steps and more time than the recipe and still ends at a higher loss" in readme
    assert adamw["median"] > laptop["median"]
    assert adamw["val, over 400 batches"]["low"] > laptop["val, over 400 batches"]["high"]


def test_the_readme_says_how_much_longer_two_runs_at_once_take():
    spread = {"unit": "s", "median": 1.0}
    busy = {"busy": {"result": {"a": {"one alone": spread, "ratio": 1.5}, "b": {"one alone": spread, "ratio": 2.3}}}}
    row = next(line for line in goals(RESULTS | busy).splitlines() if line.startswith("| Two runs"))
    assert "**not met**" in row and "1.50x and 2.30x" in row
    busy["busy"]["result"]["b"]["ratio"] = 2.2
    row = next(line for line in goals(RESULTS | busy).splitlines() if line.startswith("| Two runs"))
    assert "| met |" in row


def test_what_takes_the_trainers_threads_is_measured_with_them(rhyme, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        trainer = Trainer(tiny_model(get_version(9)), rhyme, TrainConfig(max_iters=1))
        as_trained(trainer, lambda: seen.append(torch.get_num_threads()))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_the_committed_figures_carry_their_machine():
    for entry in RESULTS.values():
        assert {"date", "cpu", "cores", "threads", "torch"} <= set(entry["machine"])


def test_a_table_shows_every_figure():
    shown = "\n".join(lines({"speed": summary([1.0, 2.0], "MB/s") | {"share": 0.5}, "part": {"time": 3.0}}))
    assert re.findall(r"[\d.]+", shown) == ["1.5", "1", "2", "0.5", "3"]


def test_a_benchmark_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="there is no benchmark 'speed': choose from step, laptop, small"):
        benchmark(BenchmarkConfig(only=("speed",)))
