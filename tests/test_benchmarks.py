"""The benchmarks measure what they say, and their README says what was measured."""

import json
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_model

from babygpt import kv_cache, v10
from babygpt.beyond.models import NANOGPT
from babygpt.data import SHAKESPEARE
from babygpt.errors import UserError
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import get_version
from benchmarks import corpora, faster, gpu
from benchmarks.__main__ import BENCHMARKS, HERE, BenchmarkConfig, as_trained, benchmark, everything
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
    assert {name.removesuffix(" on a GPU") for name in results} <= set(BENCHMARKS)
    figures = [f"{value['median']:,g}" for value in results["step"]["result"].values()]
    assert all(figure in readme for figure in figures)


def test_the_prose_of_the_readme_agrees_with_the_figures():
    readme = " ".join((HERE / "README.md").read_text(encoding="utf-8").partition("## All figures")[0].split())
    results = {name: entry["result"] for name, entry in RESULTS.items()}
    small = results["small"]
    share = {n: small[f"v{n}"]["babygpt"]["whole recipe, s"] / small[f"v{n}"]["baseline"]["whole recipe, s"]
             for n in range(1, 10)}  # fmt: skip
    assert "Versions 1, 3 and 4 take less than half of the baseline's time" in readme
    assert max(share[n] for n in (1, 3, 4)) < 0.5
    assert f"version 5 takes {100 * share[5]:.0f}%" in readme
    rest = [share[n] for n in (6, 7, 8, 9)]
    assert f"versions 6 to 9 take {round(100 * min(rest)):.0f} to {round(100 * max(rest)):.0f}%" in readme
    assert f"version 2 takes {100 * share[2]:.0f}%" in readme
    step = {name: found["median"] for name, found in results["step"].items()}
    loop = step["heads in a loop, float32"]
    assert f"the step is {step['fused, bfloat16, --fast-dropout'] / loop:.1f} times as fast" in readme
    assert f"and without it {step['fused, bfloat16'] / loop:.1f} times" in readme
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


def test_the_readme_says_how_fast_shards_are_written_and_how_long_a_gpu_took():
    speeds = ("char, one process", 70), ("char, a process per core", 90), ("gpt2, a process per core", 12)
    found = {
        "shards": {"result": {name: summary([speed], "MB/s") for name, speed in speeds}},
        "target on a GPU": {"result": {"time to it": summary([180.0], "s")}},
    }
    text = goals(RESULTS | found)
    assert "| met | 90 MB/s (one process: 70); with GPT-2's tokens 12 MB/s |" in text
    assert "time to a validation loss of 1.47 |  | 180 s |" in text
    found["shards"]["result"]["char, a process per core"] = summary([49.0], "MB/s")
    found["target on a GPU"]["result"] = {"lowest val": summary([1.482], "nats")}
    text = goals(RESULTS | found)
    assert "**not met** | 49 MB/s" in text and "not reached: 1.482 by the lecture's recipe" in text


def test_shards_are_measured_with_each_tokenizer_and_number_of_processes(monkeypatch):
    monkeypatch.setattr(corpora, "LONG", 5 * SHAKESPEARE.stat().st_size)
    monkeypatch.setattr(corpora, "seconds_and_peak", lambda text, tokenizer, workers: (0.5, 3e8))
    result = corpora.shards(BenchmarkConfig(rounds=2))
    assert set(result) == {f"{t}, {p}" for t in ("char", "gpt2") for p in ("one process", "a process per core")}
    assert result["char, one process"]["median"] == pytest.approx(11.15, abs=0.01)
    assert result["gpt2, one process"]["median"] == pytest.approx(2.23, abs=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much a process had at its peak")
def test_the_memory_of_writing_shards_does_not_grow_with_the_text():
    peaks = []
    for copies in (1, 30):
        with corpora.long_text(copies * SHAKESPEARE.stat().st_size) as (path, size):
            seconds, peak = corpora.seconds_and_peak(path, "char", workers=1)
            assert size == copies * 1_115_394 and seconds > 0
            peaks.append(peak)
    # 32 MB more of text; in memory are a few pieces of 4 million characters, each as text, as codes and as ids
    assert peaks[1] - peaks[0] < 100e6


def test_time_to_a_loss_ends_at_the_first_evaluation_that_reaches_it(rhyme):
    sizes = dict(block_size=8, n_embd=16, n_head=2, n_layer=1, dropout=0.0)
    settings = sizes | dict(max_iters=40, eval_interval=10, eval_iters=4, batch_size=4, seed=1, device="cpu")
    best = gpu.time_to_loss(settings, rhyme, 0.0)
    easy = gpu.time_to_loss(settings, rhyme, best["val"] + 0.3)
    assert easy["step"] < 40 and easy["val"] <= best["val"] + 0.3 and 0 < easy["seconds"]
    assert best["step"] > 0


def test_target_counts_the_runs_that_reached_it(rhyme, monkeypatch):
    runs = [{"val": 1.46, "seconds": 100.0, "step": 3000}, {"val": 1.49, "seconds": 200.0, "step": 4000}]
    monkeypatch.setattr(gpu, "time_to_loss", lambda settings, corpus, loss: runs[settings["seed"] - 1337])
    result = gpu.target(BenchmarkConfig(rounds=2))
    assert (result["runs that reached 1.47"], result["runs"], result["time to it"]["median"]) == (1, 2, 100)
    runs[0]["val"] = 1.48
    assert "time to it" not in gpu.target(BenchmarkConfig(rounds=2))


def test_a_cache_of_fixed_shapes_gives_the_tokens_of_the_usual_one():
    torch.manual_seed(0)
    sizes = dict(vocab_size=65, block_size=24, n_embd=32, n_head=4, n_layer=2)
    model = v10.Model(v10.Config(**sizes)).eval()
    for p in model.parameters():  # larger than usual, so that the likeliest token is not always the same
        if p.dim() == 2:
            torch.nn.init.normal_(p)
    first = torch.randint(65, (2, 3))
    cache, tokens = gpu.FixedCache(model, first), []
    for _ in range(20):
        tokens.append(cache.token.clone())
        cache.step()
    expected = torch.cat(list(kv_cache.stream(model, first, 20, temperature=0)), dim=1)
    assert torch.equal(torch.cat(tokens, dim=1), expected)
    assert len(expected.unique()) > 5


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can run it")
def test_cuda_graphs_are_refused_without_a_gpu():
    with pytest.raises(UserError, match="the benchmark graphs needs a CUDA GPU, and would run on cpu: add --device"):
        gpu.graphs(BenchmarkConfig())


TRAIN_PY = """
import sys
print(sys.argv[1:])
for i, ms in enumerate([900, 800, 50, 48, 52, 50] * 5):
    print(f"iter {i}: loss 4.1, time {ms:.2f}ms, mfu -100.00%")
"""


def test_nanogpts_own_loop_is_timed_in_a_checkout(tmp_path, monkeypatch):
    def run(checkout):
        return gpu.nanogpt(BenchmarkConfig(rounds=1, nanogpt=checkout))

    for checkout, message in ((None, "--nanogpt is None: give its folder"), (tmp_path, "give its folder")):
        with pytest.raises(UserError, match=message):
            run(checkout)
    (tmp_path / "train.py").write_text(TRAIN_PY)
    with pytest.raises(UserError, match="train.bin is missing: run python data/shakespeare_char/prepare.py in"):
        run(tmp_path)
    (tmp_path / "data" / "shakespeare_char").mkdir(parents=True)
    (tmp_path / "data" / "shakespeare_char" / "train.bin").write_bytes(b"")
    small = NANOGPT | dict(block_size=8, n_embd=16, n_head=2, n_layer=1, batch_size=2)
    monkeypatch.setattr(gpu, "NANOGPT", small)
    result = run(tmp_path)
    assert result["nanoGPT"]["median"] == pytest.approx(16 / 0.051, rel=0.05)
    assert result["babygpt"]["median"] > 0
    (tmp_path / "train.py").write_text("raise SystemExit('CUDA out of memory')")
    with pytest.raises(UserError, match="printed no times of its steps .the last line is: CUDA out of memory"):
        run(tmp_path)


CPU = "step laptop small dropout compile busy generation data shards startup"


def test_everything_is_what_the_device_is_for():
    assert everything(on_gpu=False, has_nanogpt=True) == CPU.split()
    assert everything(on_gpu=True, has_nanogpt=False) == ["step", "target", "graphs"]
    assert everything(on_gpu=True, has_nanogpt=True) == ["step", "target", "graphs", "nanogpt"]


def test_the_goal_of_a_training_step_counts_with_fast_dropout_and_says_so():
    speeds = {"heads in a loop, float32": {"median": 1000.0}}
    for name, median in (("fused, bfloat16", 1900.0), ("fused, bfloat16, --fast-dropout", 2100.0)):
        speeds[name] = {"median": median, "share of the peak": 0.5, "matmul peak, GFLOP/s": 400}
        row = next(line for line in goals(RESULTS | {"step": {"result": speeds}}).splitlines() if "loop over" in line)
        if median < 2000:
            assert "| **not met** | 1.9x: 1,900 tokens/s" in row
        else:
            assert "| met | 2.1x with `--fast-dropout` (without: 1.9x): 2,100 tokens/s" in row


def test_dropout_and_compile_are_measured_beside_what_they_replace(monkeypatch):
    made = []

    def once(runs, rounds):
        return {name: run() or [0.001] for name, run in runs.items()}

    def trainer_of(model, recipe, corpus):
        made.append(recipe)
        return SimpleNamespace(update=int)

    monkeypatch.setattr(faster, "trainer_of", trainer_of)
    monkeypatch.setattr(faster, "take_turns", once)
    found = faster.dropout(BenchmarkConfig(rounds=1))
    assert list(found["attention weights"]) == ["nn.Dropout", "--fast-dropout", "rand_like"]
    found = faster.compiled(BenchmarkConfig(rounds=1))
    assert all(set(entry) == {"step", "step, compiled", "first step, compiled, s"} for entry in found.values())
    assert [recipe["compile"] for recipe in made] == [False, True] * len(found)
    assert [recipe.get("dropout", 0) for recipe in made[4:8]] == [0.2, 0.2, 0.0, 0.0]


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
