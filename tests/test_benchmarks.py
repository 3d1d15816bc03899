"""The benchmarks: that they measure what they say, and that their README says what was measured."""

import json
import re

import pytest
import torch
from conftest import tiny_model

from babygpt.training import TrainConfig, Trainer
from babygpt.versions import get_version
from benchmarks.__main__ import BENCHMARKS, HERE, BenchmarkConfig, benchmark
from benchmarks.baseline import Baseline
from benchmarks.measure import repeat, summary, take_turns
from benchmarks.report import lines, with_figures


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
    results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    assert with_figures(readme, results) == readme, "run `python -m benchmarks --readme`"
    assert set(results) == set(BENCHMARKS)
    figures = [f"{value['median']:,g}" for value in results["step"]["result"].values()]
    assert all(figure in readme for figure in figures)


def test_the_committed_figures_carry_their_machine():
    for entry in json.loads((HERE / "results.json").read_text(encoding="utf-8")).values():
        assert {"date", "cpu", "cores", "threads", "torch"} <= set(entry["machine"])


def test_a_table_shows_every_figure():
    shown = "\n".join(lines({"speed": summary([1.0, 2.0], "MB/s") | {"share": 0.5}, "part": {"time": 3.0}}))
    assert re.findall(r"[\d.]+", shown) == ["1.5", "1", "2", "0.5", "3"]


def test_a_benchmark_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="there is no benchmark 'speed': choose from step, laptop, small"):
        benchmark(BenchmarkConfig(only=("speed",)))
