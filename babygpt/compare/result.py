"""What a comparison found: a JSON file, and the page, the picture and the samples that are drawn from it."""

import json
import textwrap
from dataclasses import asdict, dataclass, fields
from itertools import zip_longest
from pathlib import Path
from statistics import mean
from typing import Any

from babygpt.compare import ladder, recorded, speed
from babygpt.compare.ladder import Entry, Row, judge
from babygpt.compare.verdict import TEST
from babygpt.harness.files import write_atomically

STEMS = {"lecture": "ladder", "equal": "ladder-equal", "ablation": "ablation"}
"""The name of the files, without their ends, for each kind of comparison."""

TITLES = {
    "lecture": "The ladder: the loss of each version, trained as in the lecture",
    "equal": "The ladder: the loss of each version, equal sizes, steps and batches",
    "ablation": "The four changes of version 8, one by one, equal sizes, steps and batches",
}


@dataclass(frozen=True)
class Result:
    """The rows of a comparison with their records, and how they came about."""

    about: dict[str, Any]
    """`kind` (lecture, equal, ablation), `changed` (what differs from the full recipe; "" if nothing), `written`,
    `text`, `search` (the losses with each learning rate) and `speed` (or None)."""

    rows: list[Row]

    @classmethod
    def read(cls, stem: str, folder: Path = recorded.RESULTS) -> "Result":
        """The comparison in a JSON file.

        Raises:
            UserError: it is missing or damaged.
        """
        content = dict(recorded.read(stem, folder))
        names = [field.name for field in fields(Entry)]
        rows = [Row(Entry(**{name: row[name] for name in names}), row["records"]) for row in content.pop("rows")]
        return cls(content, rows)

    @property
    def stem(self) -> str:
        """The name of its files, without their ends."""
        return STEMS[self.about["kind"]]

    @property
    def title(self) -> str:
        """The headline of page and picture."""
        changed = self.about["changed"]
        return TITLES[self.about["kind"]] + (f" ({changed})" if changed else "")

    def notes(self) -> list[str]:
        """What is said below the table, as paragraphs in Markdown."""
        notes, losses = [explain(self.rows)], self.about["search"]["losses"]
        if self.about["changed"]:
            notes.append("The number of steps was changed, so the losses are not those of the full recipe.")
        if losses:
            of_all = [rate for rate in next(iter(losses.values())) if all(rate in tried for tried in losses.values())]
            notes.append(
                f"Each row has the learning rate that was best for it with a seed that is not among these: of "
                f"{', '.join(of_all)} and, as long as the best was at an end, of those beyond."
            )
        if self.about["kind"] == "ablation":
            notes.append(layernorm_note(self.rows))
        if self.about["speed"]:
            notes += [speed.caption(self.about["speed"]), speed.as_markdown(self.about["speed"]), speed.REASON]
        return [*notes, machines(self.rows)]

    def page(self) -> str:
        """Title, picture, table and notes, as Markdown."""
        table = ladder.as_markdown(ladder.cells(self.rows, full=True))
        return "\n\n".join([f"# {self.title}", f"![{self.title}]({self.stem}.png)", table, *self.notes()]) + "\n"

    def picture(self) -> bytes:
        """The losses as a PNG: against the steps, or those of the ablation against the number of blocks."""
        from babygpt.compare import pictures  # here, because it takes a second to import

        against_depth = self.about["kind"] == "ablation"
        draw = pictures.losses_against_depth if against_depth else pictures.losses_against_steps
        return draw(self.rows, self.title)

    def files(self) -> dict[str, bytes]:
        """The files that show it, by name."""
        samples_name = f"samples-{self.stem}.md".replace("-ladder", "")
        return {
            f"{self.stem}.md": self.page().encode("utf-8"),
            f"{self.stem}.png": self.picture(),
            samples_name: samples(self.rows).encode("utf-8"),
        }

    def json(self) -> bytes:
        """The file that `read` reads."""
        rows = [asdict(row.entry) | {"records": row.records} for row in self.rows]
        return (json.dumps(self.about | {"rows": rows}, indent=1, allow_nan=False) + "\n").encode("utf-8")

    def write(self, folder: Path) -> list[Path]:
        """Write all files, each whole or not at all; return their paths."""
        files = {f"{self.stem}.json": self.json()} | self.files()
        for name, content in files.items():
            write_atomically(folder / name, content)
        return [folder / name for name in files]


def explain(rows: list[Row]) -> str:
    """How the table is to be read."""
    seeds = max(len(row.records) for row in rows)
    if seeds > 1:
        errors = [record["val"]["error"] for row in rows if row.complete for record in row.records]
        return (
            f"Losses are in nats a character: mean ± standard deviation over {seeds} seeds. (Each seed's loss is an "
            f"estimate itself, with a standard error of up to about {max(errors, default=0):.3f}, from the same chunks "
            f"of text for all models of a context length.) The change is counted from the row above. {TEST} "
            "No verdict is given on rows that were trained by different recipes."
        )
    return (
        "Losses are in nats a character, ± the standard error of the estimate. It does not hold what another seed "
        "would change, so one seed gives no verdict. The change is counted from the row above."
    )


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
            words = judge(pair[False], pair[True])
            change = f"{mean(with_norm) - mean(without):+.3f}"
            lines.append(f"- {depth} block{'s' * (depth > 1)}, {title}: {change}" + (f", {words}" if words else ""))
    return "\n".join(lines)


def machines(rows: list[Row]) -> str:
    """Where the times were measured."""
    places = {
        f"{r['device']}, torch {r['torch']}, threads: {r['threads']}, trainings at a time: {r['jobs_at_a_time']}"
        for row in rows
        for r in row.records
    }
    text = "Times were measured on " + "; and on ".join(sorted(places)) + "."
    if any(r["jobs_at_a_time"] > 1 for row in rows for r in row.records):
        text += " Trainings at a time, and whatever else runs, slow each other down: small differences mean little."
    return text


def samples(rows: list[Row], across: int = 2, width: int = 46) -> str:
    """A text of each model, side by side, as Markdown."""
    texts = [(f"{row.entry.name} {row.entry.title}", row.records[0]["sample"]) for row in rows if row.complete]
    page = ["# The same prompt and the same seed, version by version\n"]
    for i in range(0, len(texts), across):
        blocks = []
        for name, text in texts[i : i + across]:
            wrapped = [part for line in text.splitlines() for part in (cut(line, width) or [""])]
            blocks.append([name, "-" * len(name), *wrapped])
        lines = [
            " │ ".join(f"{part:<{width}}" for part in parts).rstrip() for parts in zip_longest(*blocks, fillvalue="")
        ]
        page += ["````text", *lines, "````", ""]
    return "\n".join(page)


def cut(line: str, width: int) -> list[str]:
    """A line as pieces of at most `width` characters; nothing is lost but the spaces at which it is cut."""
    return textwrap.wrap(line, width, expand_tabs=False, replace_whitespace=False, break_on_hyphens=False)
