"""The table of a comparison, and its files: Markdown, JSON, picture and samples."""

import io
import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from statistics import mean, median, stdev

from babygpt.compare.jobs import Record
from babygpt.compare.verdict import TEST, verdict
from babygpt.files import write_atomically
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
            words = verdict(before.losses(), row.losses()) or "-"
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
            f"{sum(record['seconds'] for record in records):.0f}" if records else "-",
            change,
            words,
        ])  # fmt: skip
    return table


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


def explain(rows: Sequence[Row]) -> str:
    """How the table is to be read."""
    seeds = max(len(row.records) for row in rows)
    if seeds > 1:
        return (
            f"Losses are in nats a character: mean ± standard deviation over {seeds} seeds. The change is counted from "
            f"the row above. {TEST}"
        )
    return (
        "Losses are in nats a character, ± the standard error of the estimate. It does not hold what another seed "
        "would change, so one seed gives no verdict. The change is counted from the row above."
    )


def machines(rows: Sequence[Row]) -> str:
    """Where the times were measured."""
    records = [record for row in rows for record in row.records]
    places = {
        f"{r['device']}, torch {r['torch']}, threads: {r['threads']}, trainings at a time: {r['jobs_at_a_time']}"
        for r in records
    }
    return "Times were measured on " + "; and on ".join(sorted(places)) + "."


def write_files(
    folder: Path, stem: str, title: str, rows: Sequence[Row], about: dict[str, object], notes: list[str], png: bytes
) -> list[Path]:
    """Write STEM.md, STEM.json, STEM.png and the samples, each whole or not at all; return their paths.

    Args:
        about: the settings of the comparison, for the JSON.
        notes: what is said below the table.
        png: the picture.
    """
    page = f"# {title}\n\n![{title}]({stem}.png)\n\n{as_markdown(cells(rows, full=True))}\n\n" + "\n\n".join(notes)
    entries = [
        {"name": row.entry.name, "title": row.entry.title, "before": row.entry.before, "records": row.records}
        for row in rows
    ]
    samples_name = f"samples-{stem}.md".replace("-ladder", "")
    files = {
        f"{stem}.md": (page + "\n").encode("utf-8"),
        f"{stem}.json": (json.dumps(about | {"rows": entries}, indent=1, allow_nan=False) + "\n").encode("utf-8"),
        f"{stem}.png": png,
        samples_name: samples(rows).encode("utf-8"),
    }
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def samples(rows: Sequence[Row], across: int = 2, width: int = 46) -> str:
    """A text of each model, side by side, as Markdown."""
    texts = [(f"{row.entry.name} {row.entry.title}", row.records[0]["sample"]) for row in rows if row.complete]
    page = ["# The same prompt and the same seed, version by version\n"]
    for i in range(0, len(texts), across):
        blocks = []
        for name, text in texts[i : i + across]:
            wrapped = [part for line in text.splitlines() for part in (textwrap.wrap(line, width) or [""])]
            blocks.append([name, "-" * len(name), *wrapped])
        lines = [
            " │ ".join(f"{part:<{width}}" for part in parts).rstrip() for parts in zip_longest(*blocks, fillvalue="")
        ]
        page += ["````text", *lines, "````", ""]
    return "\n".join(page)


def save_figure(figure: object) -> bytes:
    """A figure as the bytes of a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150)
    return picture.getvalue()
