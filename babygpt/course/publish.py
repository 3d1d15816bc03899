"""Draw `results/` from its JSON files, and put its tables into the README and the lessons, and questions into these.

`python -m babygpt.course.publish`, or `make results`, which also writes the notebooks. In each page it replaces what
is between `<!-- ladder -->` and `<!-- end of ladder -->`, for example; a test fails where a page says something else
than the results.
"""

import io
from dataclasses import dataclass
from pathlib import Path

from babygpt.compare import arithmetic_page, assistant_page, dates_page, finetuning_page, inside_page, recorded, speed
from babygpt.compare.kinds import STUDIES
from babygpt.compare.result import Result
from babygpt.compare.table import NOT_TRAINED, Row, as_markdown, cells, change, judge, markdown
from babygpt.course.generated import ROOT, holds, refresh
from babygpt.course.notebooks import lessons
from babygpt.course.questions import for_learners
from babygpt.errors import require
from babygpt.harness.markdown import with_block
from babygpt.harness.terminal import run_command
from babygpt.versions import VERSIONS, get_version

README_COLUMNS = ["version", "adds", "parameters:", "val loss:", "equal terms:", "did the step help?"]
LESSON_COLUMNS = ["version", "title", "the lecture:", "val loss:", "equal terms:", "did the step help?"]


@dataclass(frozen=True)
class PublishConfig:
    """Write what results/ holds into its pages and pictures, the README and the lessons."""

    check: bool = False
    """Write nothing; exit with status 1 if a file is out of date."""


def main(argv: list[str] | None = None) -> None:
    """Publish as the command line says, and exit: 0, or 1 for a file that is out of date under --check."""
    run_command(PublishConfig, publish, "python -m babygpt.course.publish", argv)


def publish(config: PublishConfig, root: Path = ROOT) -> int:
    """Write all files that are out of date, or name them; return the exit status."""
    return refresh(targets(root), config.check, "make results", root, shows)


def targets(root: Path = ROOT) -> dict[Path, bytes]:
    """The right content of every file that shows the results.

    Raises:
        UserError: a result or a page is missing.
    """
    found = {kind: Result.read(study.stem, root / "results") for kind, study in STUDIES.items()}
    ladder = ladder_rows(found)
    pages = {
        root / "README.md": {"ladder": markdown(README_COLUMNS, [row for row in ladder if row["name"] not in SPLIT])},
        root / "results" / "README.md": {
            "verdicts": verdicts(found["equal"].rows),
            "depth": depths(found["depth"].rows),
            "scale": scales(found["scale"].rows),
            "dropout": dropouts(found["dropout"].rows),
        },
    }
    own = {name: recorded.read(name, root / "results") for name in OWN_PAGES}
    tables = {block: draw(own[name]) for name, (_, blocks) in OWN_PAGES.items() for block, draw in blocks.items()}
    for page in lessons(root / "lessons"):
        pages[page] = lesson_blocks(int(page.name[:2]), found) | tables
    files = {root / "results" / name: content for result in found.values() for name, content in result.files().items()}
    for name, (draw, _) in OWN_PAGES.items():
        files |= {root / "results" / file: content for file, content in draw(own[name]).items()}
    for page, blocks in pages.items():
        require(page.exists(), f"{page} is missing: run this from a complete clone")
        text = page.read_text(encoding="utf-8")
        for name, content in blocks.items():
            if name not in OPTIONAL or f"<!-- {name} -->" in text:
                text = with_block(text, name, content)
        files[page] = text.encode("utf-8")
    return files


def shows(path: Path, content: bytes) -> bool:
    """Whether a file has this content. In a picture a few pixels may differ, as they do between machines."""
    if path.suffix != ".png" or not path.exists():
        return holds(path, content)
    from matplotlib.image import imread

    drawn, wanted = imread(path), imread(io.BytesIO(content))
    return drawn.shape == wanted.shape and (abs(drawn - wanted).max(axis=-1) > 0.2).sum() < 20


LESSON_14 = {
    "parts": ("version", "parameters", "rate", "val loss", "change", "verdict"),
    "positions": ("version", "rate", "1x", "2x", "4x"),
    "modern": ("version", "parameters", "val loss", "change", "verdict", "at this pace (s)"),
    "coffee": ("version", "parameters", "steps", "train loss", "val loss", "seconds"),
    "seconds": ("version", "parameters", "steps", "val loss", "change", "verdict", "at this pace (s)"),
}  # the columns of its tables
# Studies with a page of their own: what draws its files, and the blocks of the lessons that show its tables.
OWN_PAGES = {
    "dates": (dates_page.files, {"dates": dates_page.results, "date-times": dates_page.times}),
    "arithmetic": (arithmetic_page.files, {"sums": arithmetic_page.results, "longer": arithmetic_page.longer}),
    "finetuning": (finetuning_page.files, {"finetuning": finetuning_page.results}),
    "assistant": (
        assistant_page.files,
        {"samples": assistant_page.samples, "obeyed": assistant_page.obeyed, "policies": assistant_page.policies},
    ),
    "inside": (inside_page.files, inside_page.TABLES),
}
# Blocks that a page may leave out.
OPTIONAL = {"split", "depth", "scale", "dropout", "nanogpt", "tokens", *LESSON_14}
OPTIONAL |= {block for _, blocks in OWN_PAGES.values() for block in blocks}
SPLIT = {"v10 dropout", "v10 weights"}  # the two changes of version 10 on equal terms, each alone


def lesson_blocks(number: int, found: dict[str, Result]) -> dict[str, str]:
    """The tables and the questions of a lesson, by the name of their block."""
    rows = ladder_rows(found, up="../")
    blocks = {"depth": depths(found["depth"].rows), "scale": scales(found["scale"].rows),
              "dropout": dropouts(found["dropout"].rows), "split": verdicts(found["equal"].rows, "v10")}  # fmt: skip
    blocks["questions"] = for_learners(number)
    if number > len(VERSIONS):
        return blocks | part_two(found)
    if number >= 2:  # the new version and the one before it; the last lesson shows them all
        shown = rows if number == len(VERSIONS) else [row for row in rows if row["name"] in names(number)]
        blocks["ladder"] = markdown(LESSON_COLUMNS, shown)
    if number == 4:
        blocks["speed"] = speed.as_markdown(found["lecture"].about["speed"])
    if number == 8:
        blocks["ablation"] = changes_of_8(found["ablation"].rows)
    return blocks


def part_two(found: dict[str, Result]) -> dict[str, str]:
    """The tables of part two, by the name of their block."""
    models = {row.name: row for row in found["nanogpt"].rows}
    tables = {kind: as_markdown(cells(found[kind].rows, columns)) for kind, columns in LESSON_14.items()}
    return tables | {
        "nanogpt": markdown(
            ["model", "parameters:", "val loss:", "nanoGPT's README:", "compared with", "change:", "verdict"],
            [
                {"model": row.adds, "parameters": f"{row.records[0]['parameters']:,}", "val loss": row.loss(),
                 "nanoGPT's README": f"{row.lecture:g}" if row.lecture else "",
                 "compared with": models[row.before].adds if row.before else "",
                 "change": change(models.get(row.before), row) if row.before else "",
                 "verdict": judge(models.get(row.before), row)}
                for row in found["nanogpt"].rows if row.records
            ],
        ),
        "tokens": markdown(
            ["tokens", "vocabulary:", "steps:", "learning rate:", "nats per token:", "bits per byte:", "change:",
             "against characters"],
            [
                {"tokens": row.name, "vocabulary": f"{vocabulary(row):,}", "steps": f"{row.settings['max_iters']:,}",
                 "learning rate": f"{row.learning_rate:g}", "nats per token": row.loss(),
                 "bits per byte": row.loss("bits"),
                 **({"change": change(found["tokens"].rows[0], row, "bits"),
                     "against characters": judge(found["tokens"].rows[0], row, "bits")} if row.before else {})}
                for row in found["tokens"].rows
            ],
        ),
    }  # fmt: skip


def vocabulary(row: Row) -> int:
    """The number of tokens of a row of the study `tokens`."""
    kind, _, merges = str(row.settings["tokenizer"]).partition(":")
    return 256 + int(merges) if kind == "bpe" else 65


def names(number: int) -> set[str]:
    """The rows that a lesson shows."""
    return {f"v{number - 1}", f"v{number}"}


def ladder_rows(found: dict[str, Result], up: str = "") -> list[dict[str, str]]:
    """All versions by both recipes, as rows for `markdown`; `up` leads from the page to the repository."""
    equal, rows = {row.name: row for row in found["equal"].rows}, []
    for row in found["lecture"].rows:
        version = get_version(int(row.name.split()[0].removeprefix("v")))
        cells = {
            "name": row.name,
            "version": f"[{row.name}]({up}babygpt/{version.name}.py)",
            "title": row.title,
            "adds": row.adds,
            "parameters": f"{row.records[0]['parameters'] if row.records else version.parameters:,}",
            "the lecture": f"{row.lecture:g}" if row.lecture else "",
            "val loss": row.loss() if row.records else NOT_TRAINED,
        }
        if row.name in equal:
            cells |= equal_cells(equal[row.name], equal)
        rows.append(cells)
    return rows + [
        {
            "name": row.name,
            "version": f"[v10]({up}babygpt/v10.py) on equal terms",
            "title": row.adds,
            "adds": row.adds,
            "parameters": f"{row.records[0]['parameters']:,}",
            **equal_cells(row, equal),
        }
        for row in equal.values()
        if row.name.startswith("v10")
    ]


def equal_cells(row: Row, rows: dict[str, Row]) -> dict[str, str]:
    """The cells about the comparison on equal terms."""
    return {"equal terms": row.loss(), "did the step help?": judge(rows.get(row.before or ""), row)}


def verdicts(rows: list[Row], only: str = "") -> str:
    """What each step did, one line each; only the rows of which the name starts with `only`."""
    by_name = {row.name: row for row in rows}
    lines = []
    for row in rows:
        before = by_name.get(row.before or "")
        if before and row.name.startswith(only):
            lines.append(f"- {before.name} to {row.name} {row.title}: {change(before, row)}, {judge(before, row)}")
    return "\n".join(lines)


def changes_of_8(rows: list[Row]) -> str:
    """The ablation: a row for each variant, a column for each depth, without and with layer norm."""
    lines: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for row in rows:
        depth, norm = row.settings["n_layer"], row.settings["layernorm"]
        column = f"{depth} block{'s' * (depth > 1)}{', layer norm' * norm}"
        columns += [f"{column}:"] * (f"{column}:" not in columns)
        lines.setdefault(row.title, {"": row.title})[column] = row.loss()
    return markdown(["", *columns], list(lines.values()))


def depths(rows: list[Row]) -> str:
    """Layer norm in deep stacks: a row for each depth."""
    lines: dict[int, dict[str, str]] = {}
    by_name = {row.name: row for row in rows}
    for row in rows:
        line = lines.setdefault(row.settings["n_layer"], {"blocks": str(row.settings["n_layer"])})
        line[row.title] = row.loss()
        if row.before:
            before = by_name[row.before]
            line |= {"change": change(before, row), "did layer norm help?": judge(before, row)}
    columns = ["blocks:", "no layer norm:", "layer norm:", "change:", "did layer norm help?"]
    return markdown(columns, list(lines.values()))


def scales(rows: list[Row]) -> str:
    """Version 5 with and without the scale: a row for each size of the head and each choice of the learning rate."""
    by_name, lines = {row.name: row for row in rows}, []
    for row in rows:
        if row.before:
            before = by_name[row.before]
            rates = f"{before.learning_rate:g}"
            if row.learning_rate != before.learning_rate:
                rates += f" with, {row.learning_rate:g} without"
            lines.append({"": before.name.removesuffix(": scale"), "learning rate": rates, "scale": before.loss(),
                          "no scale": row.loss(), "change": change(before, row),
                          "what leaving it out did": judge(before, row)})  # fmt: skip
    return markdown(["", "learning rate", "scale:", "no scale:", "change:", "what leaving it out did"], lines)


def dropouts(rows: list[Row]) -> str:
    """Dropout on little text: a row for each share of dropped numbers."""
    by_name, lines = {row.name: row for row in rows}, []
    for row in rows:
        before = by_name.get(row.before or "")
        lines.append({"dropout": f"{row.settings['dropout']:g}", "train loss at the end": row.loss("train"),
                      "val loss at the end": row.loss(), "lowest val loss": row.loss("best"),
                      "change of the lowest": change(before, row, "best"),
                      "did it help?": judge(before, row, "best")})  # fmt: skip
    columns = [
        "dropout:",
        "train loss at the end:",
        "val loss at the end:",
        "lowest val loss:",
        "change of the lowest:",
    ]
    return markdown([*columns, "did it help?"], lines)


if __name__ == "__main__":
    main()
