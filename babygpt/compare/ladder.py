"""The table of a comparison."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from statistics import mean, median, stdev

from babygpt.compare.jobs import Record
from babygpt.compare.verdict import verdict
from babygpt.training import TrainConfig
from babygpt.versions import Recipe

HEADER = (
    "version", "what it adds", "parameters", "steps", "rate", "train loss", "val loss", "lecture", "bits/char",
    "ms/step", "seconds", "change", "verdict",
)  # fmt: skip
# What a narrow terminal does without, the first of them first.
SPARE = ["rate", "train loss", "steps", "bits/char", "seconds", "parameters", "lecture", "what it adds", "ms/step"]


@dataclass(frozen=True)
class Entry:
    """A row to be: what is trained, and what it is compared with."""

    name: str
    """`v6`, say."""
    title: str
    adds: str
    module: str
    settings: Recipe
    before: str | None = None
    """Name of the row whose loss the change is counted from."""
    lecture: float | None = None
    """The lecture's validation loss."""
    missing: str = ""
    """Why it is not trained here."""


@dataclass(frozen=True)
class Row:
    """An entry with its records, one a seed; none where it could not be trained."""

    entry: Entry
    records: list[Record] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether there is a loss for every seed."""
        return bool(self.records) and not any(record["diverged"] for record in self.records)

    def losses(self, split: str = "val") -> list[float]:
        """The final loss of each seed."""
        return [record[split]["loss"] for record in self.records]

    def loss(self, split: str) -> str:
        """With one seed: the loss and the standard error of its estimate. With several: their mean and spread."""
        if not self.complete:
            return "diverged" if self.records else "-"
        losses = self.losses(split)
        error = stdev(losses) if len(losses) > 1 else self.records[0][split]["error"]
        return f"{mean(losses):.3f} ± {error:.3f}"


def cells(rows: Sequence[Row], full: bool = False) -> list[list[str]]:
    """The table, without its header: a list of texts for each row. `full` says more on what a version adds."""
    by_name, table = {row.entry.name: row for row in rows}, []
    for above, row in zip([None, *rows], rows, strict=False):
        entry, records = row.entry, row.records
        before = by_name.get(entry.before)
        change = words = "-"
        if row.complete and before and before.complete:
            change = f"{mean(row.losses()) - mean(before.losses()):+.3f}"
            change += "" if before is above else f" to {before.entry.name}"
            words = judge(before, row) or "-"
        first = records[0] if records else None
        table.append([
            entry.name,
            entry.missing or ("-" if entry.title in entry.name else entry.adds if full else entry.title),
            f"{first['parameters']:,}" if first else "-",
            f"{first['steps']:,}" if first else "-",
            f"{first['settings']['learning_rate']:g}" if first else "-",
            row.loss("train"),
            row.loss("val"),
            f"{entry.lecture:g}" if entry.lecture else "-",
            f"{mean(row.losses()) / math.log(2):.3f}" if row.complete else "-",
            f"{median(record['step_ms'] for record in records):.2f}" if row.complete else "-",
            f"{median(record['seconds'] for record in records):.0f}" if records else "-",
            change,
            words,
        ])  # fmt: skip
    return table


def judge(before: Row, row: Row) -> str:
    """The verdict on the step from one row to another; "" where they were not trained alike, or from one seed."""
    alike = all(
        before.entry.settings.get(field.name) == row.entry.settings.get(field.name) for field in fields(TrainConfig)
    )
    return verdict(before.losses(), row.losses()) if alike and before.complete and row.complete else ""


def columns(table: list[list[str]]) -> list[int]:
    """The numbers of the columns in which any row has something."""
    return [i for i in range(len(HEADER)) if any(row[i] != "-" for row in table)]


def as_text(table: list[list[str]], width: int = 200) -> str:
    """The table for a terminal of so many characters; where it is narrow, with fewer columns."""
    shown = columns(table)
    widths = [max(len(text) for text in column) for column in zip(HEADER, *table, strict=True)]
    for name in SPARE:
        if sum(widths[i] + 2 for i in shown) - 2 <= width:
            break
        shown = [i for i in shown if HEADER[i] != name]
    left = {HEADER.index("version"), HEADER.index("what it adds"), HEADER.index("verdict")}
    lines = [
        "  ".join(f"{row[i]:{'<' if i in left else '>'}{widths[i]}}" for i in shown).rstrip()
        for row in [list(HEADER), *table]
    ]
    return "\n".join(lines)


def as_markdown(table: list[list[str]]) -> str:
    """The table in Markdown."""
    shown = columns(table)
    left = {HEADER.index("version"), HEADER.index("what it adds"), HEADER.index("verdict")}
    rule = ["---" if i in left else "---:" for i in range(len(HEADER))]
    return "\n".join("| " + " | ".join(row[i] for i in shown) + " |" for row in [list(HEADER), rule, *table])
