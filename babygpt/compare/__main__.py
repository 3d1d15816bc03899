"""Train the versions and compare their losses: `python -m babygpt.compare`.

Every run leaves a record in `records/` of the output folder and is not done again: after Ctrl-C, or for other
versions or more seeds, the same command trains only what is missing.
"""

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import tyro

from babygpt.compare import recorded, speed
from babygpt.compare.jobs import Job, Record, read_record, run_all
from babygpt.compare.kinds import STUDIES
from babygpt.compare.result import Result
from babygpt.compare.studies import (
    FIRST_RATES,
    QUICK_RATES,
    SEARCH_SEED,
    can_train,
    check_text,
    next_rate,
    parse_versions,
    plan,
    search_jobs,
)
from babygpt.compare.table import Row, as_text, cells
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.errors import UserError, require
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command
from babygpt.train_config import MAX_COUNT

MAX_SEEDS, MAX_JOBS = 100, 64


@dataclass(frozen=True)
class CompareConfig:
    """Train what is missing, and show the losses side by side."""

    recipe: Literal["lecture", "equal", "modern"] = "lecture"
    """Train each version as the lecture does; or all with the same steps and batches, several seeds and verdicts; or
    version 10 with one modern part after the other, for the loss over seconds."""

    ablation: bool = False
    """Short for --study ablation."""

    study: Annotated[
        Literal["ablation", "depth", "scale", "dropout", "nanogpt", "tokens", "parts", "positions", "seconds", "coffee"]
        | None,
        tyro.conf.arg(help_behavior_hint="(optional)"),
    ] = None
    """Compare the changes of version 8, layer norm in deep stacks, the scale of the scores, dropout, version 10 with
    GPT-2 by nanoGPT's recipe, characters with byte pairs, modern parts, kinds of positions, or recipes that take the
    same seconds instead; or train by the modern recipe `coffee`."""

    idea: Annotated[str | None, tyro.conf.arg(metavar="MODULE", help_behavior_hint="(optional)")] = None
    """Compare version 10 with a model of your own: my_idea for a file my_idea.py in this folder (see lesson 14)."""

    versions: str = "1-10"
    """Which versions: for example 5-9, or 1,5,9."""

    max_iters: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as in the recipe)")] = (
        None
    )
    """Training steps of each run."""

    seeds: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 1, or 3 to 6 for the other comparisons)")
    ] = None
    """Runs of each row of the table, each with its own seed."""

    jobs: int = 1
    """Runs at a time. They share the cores, so the times per step mean something only with 1."""

    data: Path = SHAKESPEARE
    """The text to learn from, in UTF-8."""

    out_dir: Path = Path("runs/compare")
    """Folder for the table, the picture, the samples and the records."""

    quick: bool = False
    """A first look with only a few steps. The losses are not those of the recipe then."""

    def __post_init__(self) -> None:
        for name, maximum in (("max_iters", MAX_COUNT), ("seeds", MAX_SEEDS), ("jobs", MAX_JOBS)):
            value = getattr(self, name)
            require(value is None or 1 <= value <= maximum, f"{name} must be from 1 to {maximum:,}, and it is {value}")
        parse_versions(self.versions)

    @property
    def kind(self) -> str:
        """Which comparison: one of STUDIES."""
        if self.idea:
            return "parts"
        return self.study or ("ablation" if self.ablation else self.recipe)

    @property
    def changed(self) -> str:
        """What differs from the full recipe; "" if nothing does."""
        steps = f"{self.max_iters:,} steps" if self.max_iters else ""
        idea = f"version 10 and {self.idea}" if self.idea else ""
        return ", ".join(filter(None, [idea, "quick: few steps" if self.quick else "", steps]))


def main(argv: list[str] | None = None) -> None:
    """Compare as the command line says, and exit.

    The status is 0, 1 if a run with the lecture's recipe is unlike those recorded, 2 for bad input, 130 after Ctrl-C.
    """
    run_command(CompareConfig, compare, "python -m babygpt.compare", argv)


def compare(config: CompareConfig) -> int:
    """Train, print the table and write the files; return the exit status.

    Raises:
        UserError: the flags, the text or the folder are not usable.
    """
    rows = plan(config.kind, config.versions, config.max_iters, config.quick, config.idea)
    corpus = Corpus.load(config.data)
    check_text(rows, corpus)
    comparison = Comparison(config, corpus)
    with Run(config.out_dir).locked():
        try:
            comparison.records.mkdir(exist_ok=True)
            rows = comparison.train(rows)
            result = comparison.result(rows)
            verdict = unlike_recorded(config, rows)
            files = result.write(config.out_dir)
        except KeyboardInterrupt:
            done = sum(read_record(job, corpus.fingerprint, comparison.records) is not None for job in comparison.jobs)
            print(f"\nStopped. {done} runs are done and kept; the same command goes on from there.")
            return 130
        except OSError as error:
            why = error.strerror or error
            raise UserError(
                f"cannot write to {config.out_dir} ({why}): fix that and run the same command again, which keeps what "
                f"is done, or choose another --out-dir"
            ) from error
    print(as_text(cells(result.rows, result.study.columns), shutil.get_terminal_size((200, 0)).columns))
    print("\n" + "\n\n".join(result.notes()))
    print(f"\nEverything is in {config.out_dir}: {', '.join(file.name for file in files)}")
    if verdict:
        print("\n" + "\n".join(verdict))
    return 1 if len(verdict) > 1 else 0


def unlike_recorded(config: CompareConfig, rows: list[Row]) -> list[str]:
    """How the lecture's recipes compare with the recorded runs: one sentence, and one for each run that is unlike them.

    Nothing is said of other comparisons, of other texts, or if the number of steps was changed.
    """
    if config.kind != "lecture" or config.changed:
        return []
    found = [recorded.misses(record) for row in rows for record in row.records]
    judged, outside = [miss for miss in found if miss is not None], [miss for miss in found if miss]
    if not judged:
        return []
    if outside:
        return [f"{len(outside)} of {len(judged)} runs are not like the recorded ones:", *outside]
    return [f"All {len(judged)} runs end inside the bands of the recorded ones."]


class Comparison:
    """A comparison in progress."""

    def __init__(self, config: CompareConfig, corpus: Corpus) -> None:
        self.config = config
        self.corpus = corpus
        self.records = config.out_dir / "records"
        kind = config.kind
        self.seeds = config.seeds or (2 if config.quick and kind != "lecture" else STUDIES[kind].seeds)
        self.jobs: list[Job] = []
        """Every run that was needed so far."""
        self.search: dict[str, dict[str, float | None]] = {}
        """For each row the final validation loss with each learning rate; None where training diverged."""

    def train(self, rows: list[Row]) -> list[Row]:
        """Train what has no record yet, and return the rows with their records."""
        possible = [row for row in rows if can_train(row, self.seeds, self.corpus, self.records)]
        rates = self.find_rates([row for row in possible if "learning_rate" not in row.settings])
        groups = [row.jobs(self.seeds, **rates.get(row.name, {})) for row in possible]
        found = dict(zip([row.name for row in possible], self.run(groups), strict=True))
        return [replace(row, records=found.get(row.name, [])) for row in rows]

    def run(self, groups: list[list[Job]], what: str = "") -> list[list[Record]]:
        """The records of groups of jobs, in their order."""
        jobs = [job for group in groups for job in group]
        self.jobs += [job for job in jobs if job not in self.jobs]
        records = iter(run_all(jobs, self.corpus, self.config.data, self.records, self.config.jobs, what))
        return [[next(records) for _ in group] for group in groups]

    def find_rates(self, rows: list[Row]) -> dict[str, dict[str, float]]:
        """For each row its best learning rate. The search goes beyond the first rates while the best is at the end."""
        tried = {row.name: list(QUICK_RATES if self.config.quick else FIRST_RATES) for row in rows}
        while True:
            groups = [search_jobs(row, tried[row.name]) for row in rows]
            found = self.best_rates(rows, self.run(groups, "learning rates: "))
            more = {name: next_rate(tried[name], best["learning_rate"]) for name, best in found.items()}
            if self.config.quick or not any(more.values()):
                return found
            tried = {name: sorted([*rates, *filter(None, [more[name]])]) for name, rates in tried.items()}

    def best_rates(self, rows: list[Row], groups: list[list[Record]]) -> dict[str, dict[str, float]]:
        """For each row, the learning rate with the lowest validation loss for the seed of the search.

        Raises:
            UserError: training diverged with all of them.
        """
        found = {}
        for row, records in zip(rows, groups, strict=True):
            losses = {r["settings"]["learning_rate"]: r["val"] and r["val"]["loss"] for r in records}
            self.search[row.name] = {f"{rate:g}": loss for rate, loss in losses.items()}
            finite = {rate: loss for rate, loss in losses.items() if loss is not None}
            require(len(finite) > 0, f"{row.name} diverged with all learning rates: {records[0]['diverged']}")
            found[row.name] = {"learning_rate": min(finite, key=finite.get)}
        return found

    def result(self, rows: list[Row]) -> Result:
        """What was found, ready to be written."""
        timed = self.config.kind == "lecture" and {"v2", "v3", "v4"} <= {row.name for row in rows}
        about = {
            "kind": self.config.kind,
            "changed": self.config.changed,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "text": {"name": self.corpus.name, "fingerprint": self.corpus.fingerprint},
            "search": {"seed": SEARCH_SEED, "losses": self.search},
            "speed": speed.speeds(self.corpus, self.records / "speed.json") if timed else None,
        }
        if STUDIES[self.config.kind].picture == "seconds":
            about["pace"] = speed.pace(rows, self.corpus)
            rows = [replace(row, pace=about["pace"][row.name]) for row in rows]
        return Result(about, rows)


if __name__ == "__main__":
    main()
