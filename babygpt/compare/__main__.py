"""Train the versions and compare their losses: `python -m babygpt.compare`.

Every training leaves a record in `records/` of the output folder, and is not done again: after
Ctrl-C, or with other versions or more seeds, the same command goes on with what is missing.
"""

import shutil
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

from babygpt.compare import ladder, speed
from babygpt.compare.jobs import Job, Record, read_record, run_all
from babygpt.compare.ladder import Entry, Row
from babygpt.compare.plans import (
    ABLATION_RATES,
    QUICK_RATES,
    RATES,
    SEARCH_SEED,
    ablation_entries,
    can_train,
    check_text,
    equal_entries,
    jobs_of,
    lecture_entries,
    parse_versions,
    search_jobs,
)
from babygpt.compare.verdict import verdict
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.errors import UserError, exit_status, require
from babygpt.flags import read_flags
from babygpt.runs import Run
from babygpt.training import MOST

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
        for name, most in (("max_iters", MOST), ("seeds", MOST_SEEDS), ("jobs", MOST_JOBS)):
            value = getattr(self, name)
            require(value is None or 1 <= value <= most, f"{name} must be from 1 to {most:,}, and it is {value}")
        parse_versions(self.versions)

    @property
    def fair(self) -> bool:
        """Whether the recipe is `equal`."""
        return self.ablation or self.recipe == "equal"

    @property
    def stem(self) -> str:
        """The name of the files, without their ends."""
        return "ablation" if self.ablation else "ladder" if self.recipe == "lecture" else "ladder-equal"

    @property
    def title(self) -> str:
        """The headline of table and picture."""
        title = "The four changes of version 8, one by one" if self.ablation else "The ladder: the loss of each version"
        how = ", equal sizes, steps and batches" if self.fair else ", trained as in the lecture"
        return title + how + (" (quick: few steps)" if self.quick else "")


def main(argv: list[str] | None = None) -> None:
    """Compare as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    pairs_off = (tyro.conf.FlagCreatePairsOff,)
    sys.exit(
        exit_status(lambda: compare(read_flags(CompareConfig, argv, "python -m babygpt.compare", config=pairs_off)))
    )


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
            notes, files = comparison.write(rows)
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
    print("\n" + "\n\n".join(notes))
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
        full = ABLATION_RATES if config.ablation else RATES
        self.rates = (QUICK_RATES if config.quick else full) if config.fair else []
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
            if self.rates:
                later = sum(job.cost for entry in possible for job in jobs_of(entry, self.seeds))
                searches = [search_jobs(entry, self.rates) for entry in possible]
                found = self.best_rates(possible, self.run(searches, bar, later))
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
        self.jobs += jobs
        missing = sum(job.cost for job in jobs if read_record(job, self.corpus.fingerprint, self.records) is None)
        bar.total = bar.n + missing + later
        records = iter(run_all(jobs, self.corpus, self.config.data, self.records, self.config.jobs, bar))
        return [[next(records) for _ in group] for group in groups]

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

    def write(self, rows: list[Row]) -> tuple[list[str], list[Path]]:
        """Write the files; return what is to be said below the table, and the paths."""
        from babygpt.compare import pictures  # here, because it takes a second to import

        config = self.config
        about: dict[str, Any] = {
            "title": config.title,
            "recipe": "equal" if config.fair else "lecture",
            "quick": config.quick,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "text": {"name": self.corpus.name, "fingerprint": self.corpus.fingerprint},
            "search": {"seed": SEARCH_SEED, "losses": self.search},
        }
        notes = [ladder.explain(rows)]
        if config.quick or config.max_iters:
            notes.append("The number of steps was changed, so the losses are not those of the full recipe.")
        if self.search:
            notes.append(
                f"The learning rate is the best of {len(self.rates)}, found with a seed that is not among these."
            )
        if config.ablation:
            notes.append(layernorm_note(rows))
            png = pictures.losses_against_depth(rows, config.title)
        else:
            png = pictures.losses_against_steps(rows, config.title)
        if not config.fair and {"v2", "v3", "v4"} <= {row.entry.name for row in rows}:
            about["speed"] = speed.speeds(self.corpus, self.records / "speed.json")
            notes += [speed.as_markdown(about["speed"]), speed.REASON]
        title = config.title
        notes.append(ladder.machines(rows))
        return notes, ladder.write_files(config.out_dir, config.stem, title, rows, about, notes, png)


def layernorm_note(rows: list[Row]) -> str:
    """What layer norm changes in each variant."""
    by_variant: dict[tuple[int, str], dict[bool, Row]] = {}
    for row in rows:
        settings = row.entry.settings
        by_variant.setdefault((settings["n_layer"], row.entry.title), {})[settings["layernorm"]] = row
    lines = ["What layer norm changes:", ""]
    for (depth, title), pair in by_variant.items():
        if pair[False].complete and pair[True].complete:
            without, with_norm = pair[False].losses(), pair[True].losses()
            words = verdict(without, with_norm)
            change = f"{mean(with_norm) - mean(without):+.3f}"
            lines.append(f"- {depth} block{'s' * (depth > 1)}, {title}: {change}" + (f", {words}" if words else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
