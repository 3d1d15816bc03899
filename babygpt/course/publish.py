"""Draw `results/` again from its JSON files, and put its tables into the README and the lessons.

`python -m babygpt.course.publish`, or `make results`, which also writes the notebooks anew. What is between
`<!-- ladder -->` and `<!-- end of ladder -->` in a page is replaced; a test fails where it is not what the
results give.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from babygpt.compare import speed
from babygpt.compare.ladder import Row, judge
from babygpt.compare.result import STEMS, Result
from babygpt.course.notebooks import ROOT, lessons
from babygpt.errors import require
from babygpt.harness.files import write_atomically
from babygpt.harness.markdown import with_block
from babygpt.harness.terminal import run_command
from babygpt.versions import VERSIONS, get_version

README_COLUMNS = "version | adds | parameters: | the lecture: | val loss: | time: | equal terms: | did the step help?"


@dataclass(frozen=True)
class PublishConfig:
    """Write what results/ holds into its pages and pictures, the README and the lessons."""

    check: bool = False
    """Write nothing; exit with status 1 if a file is not what the results give."""


def main(argv: list[str] | None = None) -> None:
    """Publish as the command line says, and exit: 0, or 1 for a stale file under --check."""
    run_command(PublishConfig, publish, "python -m babygpt.course.publish", argv)


def publish(config: PublishConfig, root: Path = ROOT) -> int:
    """Write all files that are stale, or name them; return the exit status."""
    files = targets(root)
    stale = [path for path, content in files.items() if not shows(path, content)]
    for path in stale:
        if config.check:
            print(f"{path.relative_to(root)} is not what the results give: run `make results`")
        else:
            write_atomically(path, files[path])
    if not config.check:
        print(f"{len(files)} files show the results, {len(stale)} of them written anew")
    return 1 if config.check and stale else 0


def targets(root: Path = ROOT) -> dict[Path, bytes]:
    """What every file that shows the results must hold.

    Raises:
        UserError: a result or a page is missing.
    """
    found = {kind: Result.read(stem, root / "results") for kind, stem in STEMS.items()}
    pages = {
        root / "README.md": {"ladder": table(README_COLUMNS, ladder_rows(found))},
        root / "results" / "README.md": {"verdicts": verdicts(found["equal"].rows)},
    }
    for page in lessons(root / "lessons"):
        pages[page] = lesson_blocks(int(page.name[:2]), found)
    files = {root / "results" / name: content for result in found.values() for name, content in result.files().items()}
    for page, blocks in pages.items():
        require(page.exists(), f"{page} is missing: run this from a complete clone")
        text = page.read_text(encoding="utf-8")
        for name, content in blocks.items():
            text = with_block(text, name, content)
        files[page] = text.encode("utf-8")
    return files


def shows(path: Path, content: bytes) -> bool:
    """Whether a file holds this. Of a picture a few points may differ: other machines round otherwise."""
    if not path.exists():
        return False
    if path.suffix != ".png":
        return path.read_bytes() == content
    from matplotlib.image import imread

    drawn, wanted = imread(path), imread(io.BytesIO(content))
    return drawn.shape == wanted.shape and (abs(drawn - wanted).max(axis=-1) > 0.2).sum() < 20


def lesson_blocks(number: int, found: dict[str, Result]) -> dict[str, str]:
    """What a lesson shows of the results."""
    blocks = {}
    if number >= 2:
        columns = "version | title | the lecture: | val loss: | equal terms: | did the step help?"
        blocks["ladder"] = table(columns, ladder_rows(found, number, up="../"))
    if number == 4:
        blocks["speed"] = speed.as_markdown(found["lecture"].about["speed"])
    if number == 8:
        blocks["ablation"] = changes_of_8(found["ablation"].rows)
    return blocks


def table(columns: str, rows: list[dict[str, str]]) -> str:
    """A table in Markdown; `columns` names them, those of numbers with a colon behind."""
    heads = [column.strip() for column in columns.split("|")]
    names = [head.removesuffix(":") for head in heads]
    rule = ["---:" if head.endswith(":") else "---" for head in heads]
    lines = [names, rule, *([row.get(name, "") for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ladder_rows(found: dict[str, Result], last: int = len(VERSIONS), up: str = "") -> list[dict[str, str]]:
    """Versions 1 to `last` by both recipes, as rows for `table`; `up` leads from the page to the repository."""
    equal, rows = {row.entry.name: row for row in found["equal"].rows}, []
    for row in found["lecture"].rows:
        name, _, preset = row.entry.name.partition(" ")
        version = get_version(int(name.removeprefix("v")))
        if version.number > last:
            continue
        cells = {
            "version": f"[{row.entry.name}]({up}babygpt/{name}.py)",
            "title": row.entry.title,
            "adds": row.entry.adds,
            "the lecture": f"{row.entry.lecture:g}" if row.entry.lecture else "",
            "parameters": f"{row.records[0]['parameters'] if row.records else version.parameters:,}",
            "val loss": row.loss("val") if row.records else row.entry.missing,
        }
        if row.records:
            cells["time"] = f"{median(record['seconds'] for record in row.records):.0f} s"
        if preset != "laptop":  # which is not what the recipe equal makes of version 10
            cells["equal terms"] = equal[name].loss("val")
            cells["did the step help?"] = step_verdict(equal[name], equal)
        rows.append(cells)
    return rows


def step_verdict(row: Row, rows: dict[str, Row]) -> str:
    """Whether a row's loss is another one than that of the row before it, in words."""
    before = rows.get(row.entry.before or "")
    return judge(before, row) if before else ""


def verdicts(rows: list[Row]) -> str:
    """What each step did, a line each."""
    by_name, lines = {row.entry.name: row for row in rows}, []
    for row in rows:
        words = step_verdict(row, by_name)
        if words:
            change = mean(row.losses()) - mean(by_name[row.entry.before].losses())
            lines.append(f"- {row.entry.before} to {row.entry.name}, {row.entry.title}: {change:+.3f}, {words}")
    return "\n".join(lines)


def changes_of_8(rows: list[Row]) -> str:
    """The ablation as a table: a row for each variant, a column for each depth, without and with layer norm."""
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        depth, norm = row.entry.settings["n_layer"], row.entry.settings["layernorm"]
        column = f"{depth} block{'s' * (depth > 1)}{', layer norm' * norm}"
        lines.setdefault(row.entry.title, {"": row.entry.title})[column] = row.loss("val")
    columns = [name for name in next(iter(lines.values())) if name]
    return table(" | ".join(["", *(f"{name}:" for name in columns)]), list(lines.values()))


if __name__ == "__main__":
    main()
