"""What a comparison found: a JSON file, and the page, the picture and the samples that are made from it."""

import json
import textwrap
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from babygpt.compare import recorded, speed
from babygpt.compare.kinds import STUDIES, Study
from babygpt.compare.studies import plan
from babygpt.compare.table import Row, as_markdown, cells, change, judge
from babygpt.compare.verdict import TEST
from babygpt.harness.files import write_atomically


@dataclass(frozen=True)
class Result:
    """The rows of a comparison with their records, and how they were made."""

    about: dict[str, Any]
    """`kind` (one of STUDIES), `changed` (what differs from the full recipe; "" if nothing), `written`, `text`,
    `search` (the losses with each learning rate) and `speed` (or None)."""

    rows: list[Row]

    @classmethod
    def read(cls, stem: str, folder: Path = recorded.RESULTS) -> "Result":
        """The comparison in a JSON file of full runs: what it plans to train today, with the records of the file.

        Raises:
            UserError: it is missing or damaged.
        """
        content = dict(recorded.read(stem, folder))
        records, pace = {row["name"]: row["records"] for row in content.pop("rows")}, content.get("pace", {})
        rows = [
            replace(row, records=records.get(row.name, []), pace=pace.get(row.name)) for row in plan(content["kind"])
        ]
        return cls(content, rows)

    @property
    def study(self) -> Study:
        """How this comparison is shown."""
        return STUDIES[self.about["kind"]]

    @property
    def title(self) -> str:
        """The headline of page and picture."""
        changed = self.about["changed"]
        return self.study.title + (f" ({changed})" if changed else "")

    def notes(self) -> list[str]:
        """The paragraphs below the table, in Markdown."""
        notes, losses = [self.study.note] * bool(self.study.note) + [explain(self.rows)], self.about["search"]["losses"]
        if "steps" in self.about["changed"]:
            notes.append("The number of steps was changed, so these are not the losses of the full recipe.")
        if losses:
            first = [rate for rate in next(iter(losses.values())) if all(rate in tried for tried in losses.values())]
            some = "Rows named best rate have" if self.about["kind"] == "scale" else f"{' and '.join(losses)} has"
            notes.append(
                f"{'Each row has' if len(losses) == len(self.rows) else some} the best learning rate of "
                f"a coarse grid: {', '.join(first)} and, as long as the best was at the end, the next one "
                "beyond. Each rate was tried once, with a seed that is not among the reported ones, so a finer grid or "
                "more seeds could choose another."
            )
        if self.about["kind"] == "ablation":
            notes.append(layernorm_note(self.rows))
        if self.about["speed"]:
            notes += [speed.caption(self.about["speed"]), speed.as_markdown(self.about["speed"]), speed.REASON]
        return [*notes, machines(self.rows)]

    def page(self) -> str:
        """Title, picture, table and notes, in Markdown."""
        picture = [f"![{self.title}]({self.study.stem}.png)"] if self.study.picture else []
        table = as_markdown(cells(self.rows, self.study.columns))
        return "\n\n".join([f"# {self.title}", *picture, table, *self.notes()]) + "\n"

    def picture(self) -> bytes:
        """The losses as a PNG."""
        from babygpt.compare import pictures  # here, because it takes a second to import

        if self.study.picture == "blocks":
            return pictures.losses_against_blocks(self.rows, self.title)
        return pictures.losses_against_steps(self.rows, self.title, self.study.picture)

    def files(self) -> dict[str, bytes]:
        """The files that show it, by name."""
        stem = self.study.stem
        files = {f"{stem}.md": self.page().encode("utf-8")}
        if self.study.picture:
            files[f"{stem}.png"] = self.picture()
        return files | {f"samples-{stem}.md".replace("-ladder", ""): samples(self.rows).encode("utf-8")}

    def json(self) -> bytes:
        """The content of the file that `read` reads."""
        rows = [{"name": row.name, "records": row.records} for row in self.rows]
        return (json.dumps(self.about | {"rows": rows}, indent=1, allow_nan=False) + "\n").encode("utf-8")

    def write(self, folder: Path) -> list[Path]:
        """Write all files, each completely or not at all; return their paths."""
        files = {f"{self.study.stem}.json": self.json()} | self.files()
        for name, content in files.items():
            write_atomically(folder / name, content)
        return [folder / name for name in files]


def explain(rows: list[Row]) -> str:
    """How to read the table."""
    unit = "token" if any("tokenizer" in row.settings for row in rows) else "character"
    complete = [row for row in rows if row.complete]
    each = "the row above" if not any(row.before for row in rows) else "the row that it is compared with"
    if max((len(row.records) for row in rows), default=0) > 1:
        error = max((record["val"]["error"] for row in complete for record in row.records), default=0)
        counts = sorted({len(row.records) for row in complete})
        seeds = " to ".join(str(n) for n in (counts[0], counts[-1])[: len(counts)]) if counts else "0"
        return (
            f"Losses are in nats per {unit}: mean ± standard deviation over {seeds} seeds. The change is the "
            f"difference to {each}. {TEST} Rows that were trained by different recipes get no verdict.\n\n"
            "All models with the same context length, from all seeds, are evaluated on the same chunks of text. On "
            f"other chunks each loss would be a little different (its standard error is up to {error:.3f}). The test "
            "doesn't cover that: it tells a difference from the noise of seeds, not from the noise of text."
        )
    return (
        f"Losses are in nats per {unit}, ± the standard error of the estimate. The change is the difference to "
        f"{each}. One seed gives no verdict: the standard error doesn't include what another seed would change."
    )


def layernorm_note(rows: list[Row]) -> str:
    """What layer norm changes in each variant."""
    pairs: dict[tuple[int, str], dict[bool, Row]] = {}
    for row in rows:
        pairs.setdefault((row.settings["n_layer"], row.title), {})[row.settings["layernorm"]] = row
    lines = ["What layer norm changes:", ""]
    for (depth, title), pair in pairs.items():
        if pair[False].complete and pair[True].complete:
            words = judge(pair[False], pair[True])
            difference = change(pair[False], pair[True])
            lines.append(f"- {depth} block{'s' * (depth > 1)}, {title}: {difference}" + (f", {words}" if words else ""))
    return "\n".join(lines)


def machines(rows: list[Row]) -> str:
    """Where the times were measured."""
    places = {
        f"{r['device']}, torch {r['torch']}, threads: {r['threads']}, runs at a time: {r['jobs_at_a_time']}"
        for row in rows
        for r in row.records
    }
    text = "Times were measured on " + "; and on ".join(sorted(places)) + "."
    if any(r["jobs_at_a_time"] > 1 for row in rows for r in row.records):
        text += " Runs that share a machine slow each other down, so small differences between times mean little."
    return text


def samples(rows: list[Row], across: int = 2, width: int = 46) -> str:
    """A text of each model, side by side, in Markdown."""
    texts = [
        (row.name if row.title in row.name else f"{row.name} {row.title}", row.records[0]["sample"])
        for row in rows
        if row.complete
    ]
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
    """A line in pieces of at most `width` characters. Only the spaces at which it is cut are lost."""
    return textwrap.wrap(line, width, expand_tabs=False, replace_whitespace=False, break_on_hyphens=False)
