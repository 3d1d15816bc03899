"""The study of lesson 16: reversed answers, the mask, longer numbers, and working shown step by step.

`python -m babygpt.compare.arithmetic --out-dir results`. A finished run leaves a record and is not done again.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from babygpt.beyond import arithmetic
from babygpt.beyond.arithmetic import SumTrainer, exact_match
from babygpt.beyond.models import ARITHMETIC
from babygpt.beyond.sums import Sums, Task
from babygpt.compare.arithmetic_page import files
from babygpt.compare.records import Record, StudyConfig, circumstances, run_all, write_study
from babygpt.compare.table import FIRST_SEED
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command
from babygpt.training import new_trainer
from babygpt.versions import Recipe, select

FORMAT = 1  # of the records; raise it when what a run does changes
EVAL_PAIRS, EVAL_SEED = 1000, 0


@dataclass(frozen=True)
class SumRow:
    """What is trained: a recipe, and how it is changed."""

    name: str
    preset: str
    changes: Recipe
    before: str | None = None
    """The row that it is compared with."""
    mask: bool = True


FORWARD: Recipe = {"reverse": False}
ROWS = [
    SumRow("two digits", "add2", {}),
    SumRow("two digits, not reversed", "add2", FORWARD, "two digits"),
    SumRow("two digits, prompt in the loss", "add2", {}, "two digits", mask=False),
    SumRow("three digits", "add3", {}),
    SumRow("three digits, not reversed", "add3", FORWARD, "three digits"),
    SumRow("three digits, prompt in the loss", "add3", {}, "three digits", mask=False),
    SumRow("differences of two digits", "subtract", {}),
    SumRow("products of two digits, answer only", "multiply", {"steps": False}),
    SumRow("products of two digits, steps shown", "multiply", {}, "products of two digits, answer only"),
]


@dataclass(frozen=True)
class ArithmeticConfig(StudyConfig):
    """Train models to calculate, and write what was found."""

    out_dir: Path = Path("runs/compare-arithmetic")


def main(argv: list[str] | None = None) -> None:
    """Do the study as the command line says, and exit."""
    run_command(ArithmeticConfig, study, "python -m babygpt.compare.arithmetic", argv)


def study(config: ArithmeticConfig) -> None:
    """Train, measure, and write arithmetic.json and what is drawn from it."""
    with Run(config.out_dir).locked():
        folder = config.out_dir / "records"
        folder.mkdir(exist_ok=True)
        jobs = [(settings(row), row.mask, FIRST_SEED + n) for row in ROWS for n in range(config.seeds)]
        records = iter(run_all(run, jobs, folder, "arithmetic", FORMAT, config.jobs))
        content = {
            "rows": [
                {"name": row.name, "before": row.before, "records": [next(records) for _ in range(config.seeds)]}
                for row in ROWS
            ],
            "pairs": EVAL_PAIRS,
        }
        write_study(config.out_dir, "arithmetic", content, files)
    print((config.out_dir / "arithmetic.md").read_text(encoding="utf-8"))


def settings(row: SumRow) -> Recipe:
    """The settings of a row."""
    return ARITHMETIC.preset(row.preset) | row.changes | {"device": "cpu"}


def run(job: tuple[Recipe, bool, int]) -> Record:
    """Train a model, and count its right answers: in training, in validation, and on numbers with a digit more."""
    settings, mask, seed = job
    sums = Sums.new(select(Task, settings), mask)
    trainer = new_trainer(arithmetic, sums, settings | {"seed": seed}, SumTrainer)
    trainer.train(progress=False)
    exact = {split: exact_match(trainer.model, sums, distinct(sums, split)) for split in ("train", "val")}
    if sums.task.operation == "+":
        exact["longer"] = exact_match(trainer.model, sums, longer(sums.task.digits + 1))
    return {
        "settings": settings,
        "mask": mask,
        "seed": seed,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "exact": exact,
        "history": trainer.history,
        "seconds": round(trainer.seconds, 3),
        **circumstances(),
    }


def distinct(sums: Sums, split: str) -> list[tuple[int, int]]:
    """EVAL_PAIRS different pairs of a split, the same ones each time."""
    numbers = getattr(sums, split)
    chosen = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(EVAL_SEED))[:EVAL_PAIRS]
    return [(a, b) for a, b in numbers[chosen].tolist()]


def longer(digits: int) -> list[tuple[int, int]]:
    """EVAL_PAIRS random pairs of numbers that both have exactly so many digits."""
    generator = torch.Generator().manual_seed(EVAL_SEED)
    drawn = torch.randint(10 ** (digits - 1), 10**digits, (EVAL_PAIRS, 2), generator=generator)
    return [(a, b) for a, b in drawn.tolist()]


if __name__ == "__main__":
    main()
