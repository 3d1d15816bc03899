"""The rows of a comparison, and the tables they make."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from statistics import mean, median, stdev

from babygpt.compare.jobs import Job, Record
from babygpt.compare.verdict import verdict
from babygpt.training import TrainConfig
from babygpt.versions import Recipe

FIRST_SEED = 1337


@dataclass(frozen=True)
class Row:
    """A model, how it is trained, and the records of its runs, one per seed."""

    name: str
    """For example `v6`."""
    title: str
    adds: str
    """What is new, in one line; "" if the name says it."""
    module: str
    settings: Recipe
    """The flags of its runs. Without a learning rate, the best one is searched for."""
    before: str | None = None
    """Name of the row that it is compared with."""
    lecture: float | None = None
    """The validation loss that the lecture shows."""
    records: list[Record] = field(default_factory=list)
    """Empty where it could not be trained."""
    free: tuple[str, ...] = ()
    """Settings of the training that differ from the other rows on purpose."""
    pace: float | None = None
    """Milliseconds per training step, measured side by side with the other rows."""

    @property
    def complete(self) -> bool:
        """Whether there is a loss for every seed."""
        return bool(self.records) and not any(record["diverged"] for record in self.records)

    @property
    def learning_rate(self) -> float:
        """The learning rate of its runs."""
        return self.records[0]["settings"]["learning_rate"]

    def jobs(self, seeds: int, **changes: float) -> list[Job]:
        """Its runs, one per seed."""
        return [Job(self.name, self.module, self.settings | changes, FIRST_SEED + i) for i in range(seeds)]

    def losses(self, which: str = "val") -> list[float]:
        """For each seed a loss.

        Args:
            which: the final one on `train` or `val`, in nats per token; the `best`, which is the lowest validation loss
                of the run; `bits`, the final validation loss in bits per byte; or `1x`, `2x`, `4x`, the one with a
                context of so many block sizes, which is None where there are no positions for it.
        """
        if which == "bits":
            return [record["val"]["loss"] / record["bytes_per_token"] / math.log(2) for record in self.records]
        if which.endswith("x"):
            return [record["longer"][which] for record in self.records]
        if which == "best":
            return [best(record)["val"] for record in self.records]
        return [record[which]["loss"] for record in self.records]

    def loss(self, which: str = "val") -> str:
        """The mean and the standard deviation over the seeds; for one seed the loss and its standard error."""
        if not self.complete:
            return "diverged" if self.records else "-"
        losses = self.losses(which)
        if None in losses:
            return "-"
        if len(losses) > 1:
            return spread(losses)
        return spread(losses) + (f" ± {self.records[0][which]['error']:.3f}" if which in ("train", "val") else "")


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The mean and, for several seeds, the standard deviation."""
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def best(record: Record) -> dict[str, float]:
    """The evaluation of a run with the lowest validation loss."""
    return min(record["history"], key=lambda evaluation: evaluation["val"])


def judge(before: Row | None, row: Row, which: str = "val") -> str:
    """The verdict on the step from one row to another; "" for one seed, or for different ways of training."""
    if not (before and before.complete and row.complete):
        return ""
    names = [field.name for field in fields(TrainConfig) if field.name not in row.free]
    alike = all(before.settings.get(name) == row.settings.get(name) for name in names)
    losses = before.losses(which), row.losses(which)
    return verdict(*losses) if alike and None not in losses[0] + losses[1] else ""


def change(before: Row | None, row: Row, which: str = "val") -> str:
    """By how much the mean loss differs from that of another row, with its sign; "-" where one of them has none."""
    if not (before and before.complete and row.complete) or None in before.losses(which) + row.losses(which):
        return "-"
    return f"{mean(row.losses(which)) - mean(before.losses(which)):+.3f}"


# What a column shows of a row, given the row that it is compared with.
COLUMNS: dict[str, Callable[[Row, Row | None], str]] = {
    "version": lambda row, before: row.name,
    "what it adds": lambda row, before: row.adds or "-",
    "parameters": lambda row, before: f"{row.records[0]['parameters']:,}",
    "steps": lambda row, before: f"{row.records[0]['steps']:,}",
    "rate": lambda row, before: f"{row.learning_rate:g}",
    "train loss": lambda row, before: row.loss("train"),
    "val loss": lambda row, before: row.loss("val"),
    "lecture": lambda row, before: f"{row.lecture:g}" if row.lecture else "-",
    "bits/char": lambda row, before: f"{mean(row.losses()) / math.log(2):.3f}" if row.complete else "-",
    "ms/step": lambda row, before: f"{median(r['step_ms'] for r in row.records):.2f}" if row.complete else "-",
    "seconds": lambda row, before: f"{median(record['seconds'] for record in row.records):.0f}",
    "compared with": lambda row, before: before.name if before else "-",
    "change": lambda row, before: change(before, row),
    "verdict": lambda row, before: judge(before, row) or "-",
    "best val loss": lambda row, before: row.loss("best"),
    "at step": lambda row, before: f"{median(best(r)['step'] for r in row.records):,.0f}" if row.complete else "-",
    "change of the best": lambda row, before: change(before, row, "best"),
    "verdict on the best": lambda row, before: judge(before, row, "best") or "-",
    "bits per byte": lambda row, before: row.loss("bits") if row.complete else "-",
    "change in bits": lambda row, before: change(before, row, "bits"),
    "pace (ms)": lambda row, before: f"{row.pace:.0f}" if row.pace else "-",
    "at this pace (s)": lambda row, before: f"{row.pace * row.records[0]['steps'] / 1000:.0f}" if row.pace else "-",
    "1x": lambda row, before: row.loss("1x"),
    "2x": lambda row, before: row.loss("2x"),
    "4x": lambda row, before: row.loss("4x"),
    "change at 1x": lambda row, before: change(before, row, "1x"),
    "verdict at 1x": lambda row, before: judge(before, row, "1x") or "-",
    "verdict on bits": lambda row, before: judge(before, row, "bits") or "-",
}
WITHOUT_RECORDS = ("version", "what it adds", "lecture")  # the columns that a row without a run fills
# Texts; the others are numbers.
LEFT = {
    "version",
    "what it adds",
    "compared with",
    "verdict",
    "verdict on the best",
    "verdict on bits",
    "verdict at 1x",
}
# What a narrow terminal does without, in this order.
DISPENSABLE = [
    "rate",
    "train loss",
    "steps",
    "bits/char",
    "seconds",
    "parameters",
    "lecture",
    "what it adds",
    "ms/step",
]
USUAL = tuple(name for name in COLUMNS if not re.search(r"best|at step|bits (per|byte)|(in|on) bits|\dx|pace", name))


def cells(rows: Sequence[Row], columns: Sequence[str] = USUAL) -> list[dict[str, str]]:
    """The table: for each row a text for each column. Columns that are empty for all rows are left out."""
    by_name, table = {row.name: row for row in rows}, []
    for row in rows:
        before = by_name.get(row.before or "")
        line = {name: COLUMNS[name](row, before) if row.records or name in WITHOUT_RECORDS else "-" for name in columns}
        if not row.records:
            line["what it adds"] = NOT_TRAINED
        table.append(line)
    shown = [name for name in columns if any(line[name] != "-" for line in table)]
    above = [None, *rows]
    if all(row.before in (None, previous and previous.name) for previous, row in zip(above, rows, strict=False)):
        shown = [name for name in shown if name != "compared with"]  # always the row above
    return [{name: line[name] for name in shown} for line in table]


NOT_TRAINED = "needs a GPU: not trained here"


def as_text(table: list[dict[str, str]], width: int = 200) -> str:
    """The table for a terminal of `width` characters. A narrow one gets fewer columns."""
    widths = {name: max(len(name), *(len(line[name]) for line in table)) for name in table[0]}
    for name in DISPENSABLE:
        if sum(widths.values()) + 2 * (len(widths) - 1) <= width:
            break
        widths.pop(name, None)
    lines = [dict(zip(widths, widths, strict=True)), *table]
    return "\n".join(
        "  ".join(f"{line[name]:{'<' if name in LEFT else '>'}{size}}" for name, size in widths.items()).rstrip()
        for line in lines
    )


def as_markdown(table: list[dict[str, str]]) -> str:
    """The table of a comparison in Markdown."""
    return markdown([name if name in LEFT else f"{name}:" for name in table[0]], table)


def markdown(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> str:
    """A table in Markdown.

    Args:
        columns: the heads; a colon at the end marks a column of numbers, which is aligned to the right.
        rows: for each row its texts by head, the colon left out. A missing one stays empty.
    """
    heads = [column.removesuffix(":") for column in columns]
    rule = ["---:" if column.endswith(":") else "---" for column in columns]
    lines = [heads, rule, *([row.get(head, "") for head in heads] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
