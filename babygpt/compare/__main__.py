"""Train the versions and compare their losses: `python -m babygpt.compare`.

Every training leaves a record in `records/` of the output folder, and is not done again: after
Ctrl-C, or with other versions or more seeds, the same command goes on with what is missing.
"""

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from babygpt.compare import ladder, speed
from babygpt.compare.jobs import Job, Record, read_record, run_all
from babygpt.compare.ladder import Entry, Row
from babygpt.compare.plans import (
    FIRST_RATES,
    QUICK_RATES,
    SEARCH_SEED,
    ablation_entries,
    can_train,
    check_text,
    equal_entries,
    jobs_of,
    lecture_entries,
    next_rate,
    parse_versions,
    search_jobs,
)
from babygpt.compare.result import Result
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.errors import UserError, require
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command
from babygpt.train_config import MAX_COUNT

MOST_SEEDS, MOST_JOBS = 100, 64


@dataclass(frozen=True)
class CompareConfig:
    """Train what is missing, and show the losses of all versions side by side."""

    recipe: Literal["lecture", "equal"] = "lecture"
    """Each version as the lecture trained it; or all with the same sizes, steps, batches and search for a learning
    rate, over several seeds, with a verdict on each step."""

    ablation: bool = False
    """Instead of the versions, the four changes of version 8 one by one, by the recipe equal."""

    versions: str = "1-10"
    """Which: 5-9, or 1,5,9."""

    max_iters: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as the recipe has it)")
    ] = None
    """Training steps of each version."""

    seeds: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 1, or 5 for equal)")] = None
    """Trainings of each version, each from another seed."""

    jobs: int = 1
    """Trainings at a time. They share the cores, so the times a step are only right with 1."""

    data: Path = SHAKESPEARE
    """The text to learn from, in UTF-8."""

    out_dir: Path = Path("runs/compare")
    """Folder for the table, the picture, the samples and the records."""

    quick: bool = False
    """A first look: few steps, and larger ones. The losses are not the lecture's then."""

    def __post_init__(self) -> None:
        for name, most in (("max_iters", MAX_COUNT), ("seeds", MOST_SEEDS), ("jobs", MOST_JOBS)):
            value = getattr(self, name)
            require(value is None or 1 <= value <= most, f"{name} must be from 1 to {most:,}, and it is {value}")
        parse_versions(self.versions)

    @property
    def fair(self) -> bool:
        """Whether the recipe is `equal`."""
        return self.ablation or self.recipe == "equal"

    @property
    def kind(self) -> str:
        """Which comparison: lecture, equal or ablation."""
        return "ablation" if self.ablation else self.recipe

    @property
    def changed(self) -> str:
        """What differs from the full recipe; "" if nothing does."""
        steps = f"{self.max_iters:,} steps" if self.max_iters else ""
        return ", ".join(filter(None, ["quick: few steps" if self.quick else "", steps]))


def main(argv: list[str] | None = None) -> None:
    """Compare as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    run_command(CompareConfig, compare, "python -m babygpt.compare", argv)


def compare(config: CompareConfig) -> int:
    """Train, print the table and write the files; return the exit status.

    Raises:
        UserError: the flags, the text or the folder will not do.
    """
    entries = plan(config)
    corpus = Corpus.load(config.data)
    check_text(entries, corpus)
    comparison = Comparison(config, corpus)
    with Run(config.out_dir).locked():
        try:
            comparison.records.mkdir(exist_ok=True)
            rows = comparison.train(entries)
            result = comparison.result(rows)
            files = result.write(config.out_dir)
        except KeyboardInterrupt:
            done = sum(read_record(job, corpus.fingerprint, comparison.records) is not None for job in comparison.jobs)
            print(f"\nStopped. {done} trainings are done and kept; the same command goes on from there.")
            return 130
        except OSError as error:
            why = error.strerror or error
            raise UserError(
                f"cannot write to {config.out_dir} ({why}): mend that and run the same command again, which keeps what "
                f"is done, or choose another --out-dir"
            ) from error
    print(ladder.as_text(ladder.cells(rows), shutil.get_terminal_size((200, 0)).columns))
    print("\n" + "\n\n".join(result.notes()))
    print(f"\nEverything is in {config.out_dir}: {', '.join(file.name for file in files)}")
    return 0


def plan(config: CompareConfig) -> list[Entry]:
    """The rows of the table that a command line asks for."""
    if config.ablation:
        return ablation_entries(config.max_iters, config.quick)
    entries = equal_entries if config.recipe == "equal" else lecture_entries
    return entries(parse_versions(config.versions), config.max_iters, config.quick)


class Comparison:
    """A comparison under way."""

    def __init__(self, config: CompareConfig, corpus: Corpus) -> None:
        self.config = config
        self.corpus = corpus
        self.records = config.out_dir / "records"
        self.seeds = config.seeds or ((2 if config.quick else 5) if config.fair else 1)
        self.jobs: list[Job] = []
        """What was to be trained so far."""
        self.search: dict[str, dict[str, float | None]] = {}
        """For each row the final validation loss with each learning rate; None where training diverged."""

    def train(self, entries: list[Entry]) -> list[Row]:
        """Train what has no record yet, and return the rows with their records."""
        possible = [entry for entry in entries if can_train(entry, self.seeds, self.corpus, self.records)]
        with tqdm(
            bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} to go",
            total=0, disable=None, dynamic_ncols=True, leave=False,
        ) as bar:  # fmt: skip
            found = {}
            if self.config.fair:
                later = sum(job.cost for entry in possible for job in jobs_of(entry, self.seeds))
                found = self.find_rates(possible, bar, later)
            finals = [jobs_of(entry, self.seeds, **found.get(entry.name, {})) for entry in possible]
            records = self.run(finals, bar)
        by_name = {entry.name: group for entry, group in zip(possible, records, strict=True)}
        missing = "needs a GPU: not trained here"
        return [
            Row(entry, by_name[entry.name]) if entry.name in by_name else Row(replace(entry, missing=missing))
            for entry in entries
        ]

    def run(self, groups: list[list[Job]], bar: tqdm, later: float = 0) -> list[list[Record]]:
        """The records of groups of jobs, in their order; `later` is the cost of what follows, for the time left."""
        jobs = [job for group in groups for job in group]
        self.jobs += [job for job in jobs if job not in self.jobs]
        missing = sum(job.cost for job in jobs if read_record(job, self.corpus.fingerprint, self.records) is None)
        bar.total = bar.n + missing + later
        records = iter(run_all(jobs, self.corpus, self.config.data, self.records, self.config.jobs, bar))
        return [[next(records) for _ in group] for group in groups]

    def find_rates(self, entries: list[Entry], bar: tqdm, later: float) -> dict[str, dict[str, float]]:
        """For each entry its best learning rate, sought beyond the first ones as long as the best is at an end."""
        tried = {entry.name: list(QUICK_RATES if self.config.quick else FIRST_RATES) for entry in entries}
        while True:
            groups = [search_jobs(entry, tried[entry.name]) for entry in entries]
            found = self.best_rates(entries, self.run(groups, bar, later))
            more = {name: next_rate(tried[name], best["learning_rate"]) for name, best in found.items()}
            if self.config.quick or not any(more.values()):
                return found
            tried = {name: sorted([*rates, *filter(None, [more[name]])]) for name, rates in tried.items()}

    def best_rates(self, entries: list[Entry], groups: list[list[Record]]) -> dict[str, dict[str, float]]:
        """For each entry, the learning rate with the lowest validation loss on the seed of the search.

        Raises:
            UserError: training diverged with all of them.
        """
        found = {}
        for entry, records in zip(entries, groups, strict=True):
            losses = {r["settings"]["learning_rate"]: r["val"] and r["val"]["loss"] for r in records}
            self.search[entry.name] = {f"{rate:g}": loss for rate, loss in losses.items()}
            finite = {rate: loss for rate, loss in losses.items() if loss is not None}
            require(len(finite) > 0, f"{entry.name} diverged with all learning rates: {records[0]['diverged']}")
            found[entry.name] = {"learning_rate": min(finite, key=finite.get)}
        return found

    def result(self, rows: list[Row]) -> Result:
        """What was found, ready to be written."""
        timed = self.config.kind == "lecture" and {"v2", "v3", "v4"} <= {row.entry.name for row in rows}
        about = {
            "kind": self.config.kind,
            "changed": self.config.changed,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "text": {"name": self.corpus.name, "fingerprint": self.corpus.fingerprint},
            "search": {"seed": SEARCH_SEED, "losses": self.search},
            "speed": speed.speeds(self.corpus, self.records / "speed.json") if timed else None,
        }
        return Result(about, rows)


if __name__ == "__main__":
    main()
