"""The study of lesson 15: the Transformer and LSTMs on the same dates, and how the time of a step grows with length.

`python -m babygpt.compare.dates --out-dir results`. A finished run leaves a record and is not done again.
"""

import importlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch

from babygpt.beyond.dates import Dates
from babygpt.beyond.models import DATES
from babygpt.beyond.pairs import PairTrainer, exact_match, mean_loss
from babygpt.compare.dates_page import files
from babygpt.compare.jobs import device_name
from babygpt.compare.records import StudyConfig, circumstances, run_all, write_study
from babygpt.compare.table import FIRST_SEED
from babygpt.errors import require_within
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command
from babygpt.training import new_trainer
from babygpt.versions import Recipe

FORMAT = 1  # of the records; raise it when what a run does changes
EVAL_PAIRS, EVAL_SEED = 4000, 0
SEARCH_SEED = 1  # not among the seeds that are reported
RATES = (2e-3, 4e-3, 8e-3, 1.6e-2)
LENGTHS, TIMED_BATCH, ROUNDS = (8, 16, 32, 64, 128, 256), 16, 15

TRANSFORMER, LSTM = "babygpt.beyond.encoder_decoder", "babygpt.compare.lstm"
SMALLER: Recipe = {"n_embd": 80}  # with attention, about as many parameters as the Transformer


@dataclass(frozen=True)
class DateRow:
    """A model of the study, and how it differs from the recipe `dates`."""

    name: str
    module: str
    changes: Recipe
    before: str | None = None
    """The row that it is compared with."""
    searched: bool = False
    """Whether the learning rate is the best of RATES, or that of the recipe."""


ROWS = [
    DateRow("Transformer", TRANSFORMER, {}, searched=True),
    DateRow("Transformer without label smoothing", TRANSFORMER, {"label_smoothing": 0.0}, "Transformer"),
    DateRow("Transformer without warm-up", TRANSFORMER, {"warmup_iters": 0}, "Transformer"),
    DateRow("LSTM with attention", LSTM, SMALLER, "Transformer", searched=True),
    DateRow("LSTM without attention", LSTM, {"n_embd": 84, "attention": False}, "Transformer", searched=True),
]


@dataclass(frozen=True)
class DatesConfig(StudyConfig):
    """Train the models on dates, time their steps, and write what was found."""

    out_dir: Path = Path("runs/dates")

    max_iters: int = field(default=DATES["max_iters"])
    """Training steps of each run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, 1, 10**6, "max_iters")


def main(argv: list[str] | None = None) -> None:
    """Do the study as the command line says, and exit."""
    run_command(DatesConfig, study, "python -m babygpt.compare.dates", argv)


def study(config: DatesConfig) -> None:
    """Search for the learning rates, train, measure, and write dates.json and what is drawn from it."""
    with Run(config.out_dir).locked():
        records = config.out_dir / "records"
        records.mkdir(exist_ok=True)
        steps = {"max_iters": config.max_iters, "eval_interval": max(1, config.max_iters // 6)}
        tried = [(row, {"learning_rate": rate}) for row in ROWS if row.searched for rate in RATES]
        half = {"max_iters": config.max_iters // 2, "eval_interval": config.max_iters}
        jobs = [(row.module, DATES | half | row.changes | rate, SEARCH_SEED, 0) for row, rate in tried]
        search: dict[str, dict[str, float]] = {}
        for (row, rate), record in zip(tried, run_all(run, jobs, records, "dates", FORMAT, config.jobs), strict=True):
            search.setdefault(row.name, {})[f"{rate['learning_rate']:g}"] = record["history"][-1]["val"]
        rows = []
        for row in ROWS:
            losses = search.get(row.name, search["Transformer"])  # the others have the rate of the Transformer
            rate = float(min(losses, key=losses.get))
            settings = DATES | steps | row.changes | {"learning_rate": rate}
            rows.append((row, [(row.module, settings, FIRST_SEED + n, 4) for n in range(config.seeds)]))
        found = iter(run_all(run, [job for _, jobs in rows for job in jobs], records, "dates", FORMAT, config.jobs))
        content = {
            "rows": [
                {"name": row.name, "before": row.before, "records": [next(found) for _ in jobs]} for row, jobs in rows
            ],
            "pairs": EVAL_PAIRS,
            "search": {"seed": SEARCH_SEED, "losses": search},
            "times": step_times(),
        }
        write_study(config.out_dir, "dates", content, files)
    print((config.out_dir / "dates.md").read_text(encoding="utf-8"))


def run(job: tuple[str, Recipe, int, int]) -> dict[str, Any]:
    """Train a model, and measure it on the same pairs of the validation split as all others."""
    module, settings, seed, width = job
    corpus = Dates.new()
    trainer = new_trainer(
        importlib.import_module(module), corpus, settings | {"seed": seed, "device": "cpu"}, PairTrainer
    )
    trainer.train(progress=False)
    pairs = corpus.draw("val", EVAL_PAIRS, torch.Generator().manual_seed(EVAL_SEED))
    record = {
        "module": module, "settings": settings, "seed": seed,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "history": trainer.history, "seconds": round(trainer.seconds, 3),
        **circumstances(),
    }  # fmt: skip
    if width:
        record["val"] = mean_loss(trainer.model, corpus, pairs)
        record["exact"] = {
            "greedy": exact_match(trainer.model, corpus, pairs),
            f"beam {width}": exact_match(trainer.model, corpus, pairs, width),
        }
    return record


def step_times(lengths: tuple[int, ...] = LENGTHS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Milliseconds of a training step on random tokens, source and target of the same length: quartiles.

    The models take turns, so that a machine that slows down for a moment slows all of them down.
    """
    models, times = {}, {}
    for row in (ROWS[0], ROWS[3], ROWS[4]):
        module = importlib.import_module(row.module)
        for T in lengths:
            settings = {**DATES, **row.changes, "block_size": max(T, 64), "device": "cpu"}
            models[row.name, T] = new_trainer(module, Dates.new(), settings, PairTrainer)
            times[row.name, T] = []
    for _ in range(rounds + 1):  # the first round is not counted
        for (name, T), trainer in models.items():
            source, target = (torch.randint(3, 160, (TIMED_BATCH, n)) for n in (T, T + 1))
            trainer.batch_loss = lambda model=trainer.model, pair=(source, target): model(*pair)[1]
            start = time.perf_counter()
            trainer.update()
            times[name, T].append(1000 * (time.perf_counter() - start))
    quartiles = {key: [round(ms, 3) for ms in quantiles(found[1:], n=4)] for key, found in times.items()}
    names = dict.fromkeys(name for name, _ in models)
    return {
        "lengths": list(lengths), "batch_size": TIMED_BATCH, "rounds": rounds, "threads": torch.get_num_threads(),
        "device": device_name(torch.device("cpu")), "torch": torch.__version__,
        "ms": {name: [quartiles[name, T] for T in lengths] for name in names},
    }  # fmt: skip


if __name__ == "__main__":
    main()
