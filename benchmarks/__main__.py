"""Measure the figures in the README of this folder: `python -m benchmarks`, or `--only generation startup`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import tyro
from tqdm import tqdm

from babygpt import kv_cache, v10
from babygpt.data import Corpus
from babygpt.device import pick_device
from babygpt.errors import require
from babygpt.harness.terminal import exit_status
from babygpt.harness.threads import worthwhile_threads
from babygpt.training import TrainConfig, Trainer, estimate_loss
from babygpt.versions import VERSIONS, get_version, select
from benchmarks.baseline import Baseline
from benchmarks.corpora import data, python, shards
from benchmarks.faster import compiled, dropout
from benchmarks.gpu import graphs, nanogpt, target
from benchmarks.measure import BenchmarkConfig, Result, machine, matmul_peak, repeat, summary, take_turns, wait
from benchmarks.report import report, with_figures

HERE = Path(__file__).parent


def trainer_of(recipe: str, corpus: Corpus, **changes: object) -> Trainer:
    """A trainer for version 10 with one of its recipes, some settings changed."""
    settings = get_version(10).preset(recipe) | changes | {"vocab_size": corpus.tokenizer.vocab_size}
    torch.manual_seed(1337)
    return Trainer(v10.Model(select(v10.Config, settings)), corpus, select(TrainConfig, settings))


def step(config: BenchmarkConfig) -> Result:
    """A training step of version 10 at the lecture's sizes, B = 16 and T = 256: heads in a loop, or fused."""
    corpus, device = Corpus.load(), pick_device(config.device)
    alternatives = {
        "heads in a loop, float32": dict(attention="loop", dtype="float32"),
        "heads in a loop, bfloat16": dict(attention="loop", dtype="bfloat16"),
        "fused, float32": dict(dtype="float32"),
        "fused, bfloat16": dict(dtype="bfloat16"),
    }
    if device.type == "cuda":
        alternatives["fused, bfloat16, compiled"] = dict(dtype="bfloat16", compile=True)
    else:
        alternatives["fused, bfloat16, --fast-dropout"] = dict(dtype="bfloat16", fast_dropout=True)
    trainers = {
        name: trainer_of("lecture", corpus, batch_size=16, device=config.device, **changes)
        for name, changes in alternatives.items()
    }
    steps = 50 if device.type == "cuda" else 2

    def some_steps(trainer: Trainer) -> None:
        repeat(trainer.update, steps)()
        wait(device)

    runs = {name: partial(some_steps, trainer) for name, trainer in trainers.items()}
    take_turns(runs, 1)  # to warm up
    seconds = take_turns(runs, config.rounds)
    # 6 operations for each weight and token (2 in the forward pass, 4 in the backward pass), and those of attention.
    model = trainers["fused, float32"].model
    weights = sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)
    operations = 6 * weights + 12 * model.config.n_layer * model.config.n_embd * model.config.block_size
    result = {}
    for name in alternatives:
        peak = matmul_peak(torch.bfloat16 if "bfloat16" in name else torch.float32, device)
        speed = summary([steps * 16 * 256 / s for s in seconds[name]], "tokens/s")
        share = round(operations * speed["median"] / peak, 2)
        result[name] = speed | {"matmul peak, GFLOP/s": round(peak / 1e9), "share of the peak": share}
    return result


def laptop(config: BenchmarkConfig) -> Result:
    """The recipe `laptop` from first step to last, evaluations included; and the same with other settings."""
    corpus = Corpus.load()
    longer = round(1.3 * get_version(10).preset("laptop")["max_iters"])  # a step of AdamW takes less time
    alternatives = {
        "laptop": {},
        "AdamW instead of Muon, more steps": dict(optimizer="adamw", max_iters=longer, eval_interval=longer // 7),
        "float32 instead of bfloat16": dict(dtype="float32"),
    }
    trained: dict[str, list[Trainer]] = {name: [] for name in alternatives}

    def train(name: str) -> None:
        trainer = trainer_of("laptop", corpus, seed=1337 + len(trained[name]), **alternatives[name])
        trainer.train(progress=False)
        trained[name].append(trainer)

    seconds = take_turns({name: partial(train, name) for name in alternatives}, min(3, config.rounds))
    result = {}
    for name, trainers in trained.items():
        losses = [trainer.history[-1]["val"] for trainer in trainers]
        exact = [estimate_loss(t.model, corpus, t.config.batch_size, 400)["val"] for t in trainers]
        result[name] = summary(seconds[name], "s") | {
            "val, as the run measures it": summary(losses, "nats"),
            "val, over 400 batches": summary(exact, "nats"),
        }
    return result


def small(config: BenchmarkConfig) -> Result:
    """Versions 1 to 9 by the recipe `lecture`: a step, an evaluation, and the whole recipe at that pace."""
    corpus, result = Corpus.load(), {}
    total = {"baseline": 0.0, "babygpt": 0.0}
    steps, batches = 40, 10
    for version in VERSIONS[:9]:
        recipe = version.preset("lecture") | {"vocab_size": corpus.tokenizer.vocab_size}
        module = version.module()
        models = [module.Model(select(module.Config, recipe)) for _ in total]
        plain = Baseline(models[0], corpus.train, corpus.val, recipe["batch_size"], recipe["learning_rate"])
        ours = Trainer(models[1], corpus, select(TrainConfig, recipe))
        seconds = take_turns(
            {
                "baseline step": repeat(plain.update, steps),
                "babygpt step": partial(as_trained, ours, repeat(ours.update, steps)),
                "baseline evaluation": partial(plain.estimate_loss, batches),
                "babygpt evaluation": partial(as_trained, ours, ours.evaluate),
            },
            config.rounds,
        )
        # The baseline evaluates batch by batch, and only a few batches are measured.
        times = {"baseline": recipe["eval_iters"] / batches, "babygpt": 1}
        evaluations = recipe["max_iters"] // recipe["eval_interval"] + 1
        result[version.name] = {}
        for who in total:
            one_step = summary([1e3 * s / steps for s in seconds[f"{who} step"]], "ms")
            evaluation = summary([times[who] * s for s in seconds[f"{who} evaluation"]], "s")
            whole = recipe["max_iters"] * one_step["median"] / 1e3 + evaluations * evaluation["median"]
            total[who] += whole
            result[version.name][who] = {"step": one_step, "evaluation": evaluation, "whole recipe, s": round(whole, 1)}
    result["v1 to v9, s"] = {who: round(s, 1) for who, s in total.items()}
    return result


def as_trained(trainer: Trainer, run: Callable[[], object]) -> None:
    """Call `run` with as many threads as the trainer's model is trained with."""
    sizes = trainer.model.config
    with worthwhile_threads(trainer.config.batch_size, sizes.block_size, getattr(sizes, "n_embd", 0)):
        run()


def busy(config: BenchmarkConfig) -> Result:
    """Two runs at once beside one alone, each in a process of its own, from start to sample."""
    short = "--eval-iters 5 --device cpu".split()
    commands = {
        "version 9, 150 steps": ["babygpt.v9", *"--max-iters 150 --eval-interval 150".split(), *short],
        "laptop, 60 steps": ["babygpt.v10", *"--preset laptop --max-iters 60 --eval-interval 60".split(), *short],
    }
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

    def at_once(n: int, command: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            runs = [
                subprocess.Popen(
                    [sys.executable, "-m", *command, "--out-dir", f"{folder}/{i}"],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                for i in range(n)
            ]
            statuses = [run.wait() for run in runs]
        require(not any(statuses), f"python -m {' '.join(command)} failed")

    result = {}
    for name, command in commands.items():
        runs = {n: partial(at_once, n, command) for n in (1, 2)}
        alone, two = (summary(seconds, "s") for seconds in take_turns(runs, config.rounds).values())
        result[name] = {"one alone": alone, "two at once": two, "ratio": round(two["median"] / alone["median"], 2)}
    return result


def generation(config: BenchmarkConfig) -> Result:
    """Tokens a second from version 10 at the lecture's sizes, one sequence unless it says otherwise."""
    torch.manual_seed(1337)
    model = v10.Model(v10.Config()).eval()
    loop = v10.Model(v10.Config(attention="loop")).eval()
    loop.load_state_dict(model.state_dict())
    first, full = (torch.zeros((1, length), dtype=torch.long) for length in (1, 256))
    n = {"first 255": 255, "full context": 20, "full context: cache, window fast": 512}
    runs = {
        "first 255: no cache, heads in a loop": lambda: list(loop.stream(first, 255)),
        "first 255: no cache, fused": lambda: list(model.stream(first, 255)),
        "first 255: cache": lambda: list(kv_cache.stream(model, first, 255)),
        "first 255: cache, 8 texts at once": lambda: list(kv_cache.stream(model, first.expand(8, 1), 255)),
        "full context: no cache, heads in a loop": lambda: list(loop.stream(full, 20)),
        "full context: no cache, fused": lambda: list(model.stream(full, 20)),
        "full context: cache, window exact": lambda: list(kv_cache.stream(model, full, 20)),
        "full context: cache, window fast": lambda: list(kv_cache.stream(model, full, 512, window="fast")),
    }
    result = {}
    for name, seconds in take_turns(runs, config.rounds).items():
        tokens = n.get(name, n[name.partition(":")[0]]) * (8 if "8 texts" in name else 1)
        result[name] = summary([tokens / s for s in seconds], "tokens/s")
    # Each token needs every weight once, so memory bandwidth limits the speed.
    numbers = torch.randn(12, 2**20)
    seconds = min(take_turns({"read": numbers.sum}, 20)["read"])
    bytes_a_token = sum(p.numel() * 4 for name, p in model.named_parameters() if "embedding" not in name)
    ceiling = numbers.nbytes / seconds / bytes_a_token
    return result | {"ceiling for one text: reading the weights": {"unit": "tokens/s", "median": round(ceiling)}}


def startup(config: BenchmarkConfig) -> Result:
    """`python -m babygpt.v1 --help` beside a bare `import torch`."""
    runs = {
        "import torch": partial(python, "-c", "import torch"),
        "babygpt.v1 --help": partial(python, "-m", "babygpt.v1", "--help"),
    }
    return {name: summary(seconds, "s") for name, seconds in take_turns(runs, 2 * config.rounds + 1).items()}


BENCHMARKS = {
    "step": step,
    "laptop": laptop,
    "small": small,
    "dropout": dropout,
    "compile": compiled,
    "busy": busy,
    "generation": generation,
    "data": data,
    "shards": shards,
    "startup": startup,
    "target": target,
    "graphs": graphs,
    "nanogpt": nanogpt,
}
ON_A_GPU = ("step", "target", "graphs", "nanogpt")
"""What --device is for. Their figures from a GPU are stored under names of their own."""


def everything(on_gpu: bool, has_nanogpt: bool) -> list[str]:
    """The benchmarks that can run on a device unattended."""
    if on_gpu:
        return [name for name in ON_A_GPU if name != "nanogpt" or has_nanogpt]
    return [name for name in BENCHMARKS if name == "step" or name not in ON_A_GPU]


def benchmark(config: BenchmarkConfig) -> None:
    """Run the chosen benchmarks.

    Raises:
        UserError: there is no such benchmark.
    """
    if config.readme:
        results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
        readme = (HERE / "README.md").read_text(encoding="utf-8")
        (HERE / "README.md").write_text(with_figures(readme, results), encoding="utf-8")
        return
    for name in config.only:
        require(name in BENCHMARKS, f"there is no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    require(config.rounds >= 1, f"rounds must be at least 1, and it is {config.rounds}")
    about = machine(pick_device(config.device))
    results = json.loads(config.out.read_text(encoding="utf-8")) if config.out.exists() else {}
    on_gpu = pick_device(config.device).type == "cuda"
    for name in tqdm(config.only or everything(on_gpu, config.nanogpt is not None), leave=False, disable=None):
        entry = {"measures": BENCHMARKS[name].__doc__, "machine": about}
        key = f"{name} on a GPU" if on_gpu and name in ON_A_GPU else name
        results[key] = entry | {"result": BENCHMARKS[name](config)}
        tqdm.write(report({key: results[key]}) + "\n")
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"The figures are in {config.out}")


if __name__ == "__main__":
    config = tyro.cli(BenchmarkConfig, prog="python -m benchmarks", config=(tyro.conf.FlagCreatePairsOff,))
    sys.exit(exit_status(lambda: benchmark(config)))
