"""The second study of lesson 16: what pretraining on another text is worth, and LoRA beside full finetuning.

`python -m babygpt.compare.finetuning --out-dir results`. A finished run leaves a record and is not done again.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from torch import Tensor

from babygpt import v10
from babygpt.beyond.lora import add_lora, trained
from babygpt.beyond.prose import both
from babygpt.compare.finetuning_page import files
from babygpt.compare.records import Record, StudyConfig, circumstances, run_all, write_study
from babygpt.compare.table import FIRST_SEED
from babygpt.data import Corpus
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command
from babygpt.training import Trainer, new_trainer
from babygpt.versions import Recipe

FORMAT = 1  # of the records; raise it when what a run does changes
SEARCH_SEED = 1  # not among the seeds that are reported
RANK = 4
PARTS = (10, 100)  # a tenth and a hundredth of Shakespeare's training part

STEPS, LONG = 100, 400  # of finetuning, and of pretraining
MODEL: Recipe = dict(block_size=64, n_embd=64, n_head=4, n_layer=2, dropout=0.0, init_std=0.05, batch_size=16,
                     lr_schedule="linear", warmup_iters=20, weight_decay=0.1, beta2=0.99, grad_clip=1.0,
                     eval_iters=20, device="cpu")  # fmt: skip
PRETRAINING: Recipe = MODEL | dict(max_iters=LONG, eval_interval=LONG, learning_rate=4e-3)


@dataclass(frozen=True)
class Way:
    """A way to get a model of Shakespeare from little of his text."""

    name: str
    before: str
    """The way that it is compared with."""
    pretrained: bool
    lora: bool = False
    steps: int = STEPS
    rates: tuple[float, ...] = ()
    """Learning rates to try; if there are none, those of training from scratch."""


SCRATCH = "from scratch"
WAYS = [
    Way(SCRATCH, "", False, rates=(1e-3, 2e-3, 4e-3, 8e-3)),
    Way("from scratch, all steps on Shakespeare", SCRATCH, False, steps=LONG + STEPS),
    Way("finetuned", SCRATCH, True, rates=(5e-4, 1e-3, 2e-3, 4e-3)),
    Way("finetuned with LoRA", "finetuned", True, lora=True, rates=(1e-2, 2e-2, 4e-2, 8e-2)),
]


@dataclass(frozen=True)
class FinetuningConfig(StudyConfig):
    """Pretrain, finetune, compare, and write what was found."""

    out_dir: Path = Path("runs/compare-finetuning")

    jobs: int = 1


def main(argv: list[str] | None = None) -> None:
    """Do the study as the command line says, and exit."""
    run_command(FinetuningConfig, study, "python -m babygpt.compare.finetuning", argv)


def study(config: FinetuningConfig) -> None:
    """Search for the learning rates, train, and write finetuning.json and what is drawn from it."""
    with Run(config.out_dir).locked():
        folder = config.out_dir / "records"
        folder.mkdir(exist_ok=True)
        tried = [(way, part, rate) for way in WAYS for part in PARTS for rate in way.rates]
        jobs = [job(way, part, rate, SEARCH_SEED) for way, part, rate in tried]
        search: dict[str, dict[str, float]] = {}
        for (way, part, rate), record in zip(
            tried, run_all(run, jobs, folder, "finetuning", FORMAT, config.jobs), strict=True
        ):
            search.setdefault(f"{way.name}, 1/{part}", {})[f"{rate:g}"] = record["best"]
        rows = [(way, part, best_rate(way, part, search)) for part in PARTS for way in WAYS]
        seeds = [FIRST_SEED + n for n in range(config.seeds)]
        jobs = [job(*row, seed) for seed in seeds for row in rows]  # by seed, because a seed is pretrained only once
        found = run_all(run, jobs, folder, "finetuning", FORMAT, config.jobs)
        content = {
            "rows": [
                {"name": way.name, "part": part, "before": way.before, "records": found[i :: len(rows)]}
                for i, (way, part, _) in enumerate(rows)
            ],
            "pretraining": PRETRAINING,
            "search": {"seed": SEARCH_SEED, "losses": search},
        }
        write_study(config.out_dir, "finetuning", content, files)
    print((config.out_dir / "finetuning.md").read_text(encoding="utf-8"))


def job(way: Way, part: int, rate: float, seed: int) -> tuple[Recipe, int, bool, int, int]:
    """A run as a tuple: settings, the part of the text, whether the model is pretrained, the rank or 0, the seed."""
    steps = dict(max_iters=way.steps, eval_interval=way.steps // 5, learning_rate=rate)
    return MODEL | steps, part, way.pretrained, RANK if way.lora else 0, seed


def best_rate(way: Way, part: int, search: dict[str, dict[str, float]]) -> float:
    """The rate with the lowest loss in the search."""
    losses = search[f"{way.name if way.rates else SCRATCH}, 1/{part}"]
    return float(min(losses, key=losses.get))


@cache
def texts() -> tuple[Corpus, Corpus]:
    """The Bible and tiny Shakespeare, in one vocabulary."""
    return both()


@cache
def pretrained(seed: int, recipe: tuple[tuple[str, object], ...]) -> tuple[dict[str, Tensor], float]:
    """The weights of a model that has learned the Bible, and its validation loss there."""
    trainer = new_trainer(v10, texts()[0], dict(recipe) | {"seed": seed})
    trainer.train(progress=False)
    return trainer.model.state_dict(), trainer.history[-1]["val"]


def run(job: tuple[Recipe, int, bool, int, int]) -> Record:
    """Train on a part of Shakespeare, from pretrained or from new weights; the validation part is always all of it."""
    settings, part, from_pretrained, rank, seed = job
    shakespeare = texts()[1]
    corpus = replace(shakespeare, train=shakespeare.train[: len(shakespeare.train) // part])
    trainer, on_prose = new_trainer(v10, corpus, settings | {"seed": seed}), None
    if from_pretrained:
        weights, on_prose = pretrained(seed, tuple(PRETRAINING.items()))
        trainer.model.load_state_dict(weights)
    if rank:
        trainer = Trainer(add_lora(trainer.model, rank), corpus, trainer.config)
    trainer.train(progress=False)
    return {
        "settings": settings,
        "part": part,
        "characters": len(corpus.train),
        "pretrained": from_pretrained,
        "prose": on_prose,
        "rank": rank,
        "seed": seed,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "trained": trained(trainer.model),
        "best": min(evaluation["val"] for evaluation in trainer.history),
        "history": trainer.history,
        "seconds": round(trainer.seconds, 3),
        **circumstances(),
    }


if __name__ == "__main__":
    main()
