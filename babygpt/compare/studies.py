"""What each comparison trains: its rows, with the flags of their runs."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from babygpt.compare.jobs import Job, read_record, training_text
from babygpt.compare.part_two import (
    coffee_rows,
    idea_rows,
    ladder_rows,
    nanogpt_rows,
    part_rows,
    position_rows,
    seconds_rows,
    token_rows,
)
from babygpt.compare.table import Row
from babygpt.data import Corpus
from babygpt.errors import UserError, require
from babygpt.versions import VERSIONS, Recipe, Version

LECTURE = {1: 2.5, 5: 2.4, 6: 2.28, 7: 2.24, 8: 2.08, 9: 2.06, 10: 1.48}

# The recipe `equal`: each model takes the sizes that it has a field for.
EQUAL: Recipe = dict(block_size=8, n_embd=32, n_head=4, n_layer=3, dropout=0.2, batch_size=32, max_iters=3000,
                     eval_interval=300, eval_iters=100, device="cpu")  # fmt: skip
ABLATION = EQUAL | dict(max_iters=1500, eval_interval=150)  # half the steps, because there are 30 variants
RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
FIRST_RATES = [1e-3, 3e-3, 1e-2]  # the search goes on beyond these as long as the best is at the end
SEARCH_SEED = 1  # not among the seeds that are reported

# Few steps need a higher learning rate.
QUICK: Recipe = dict(max_iters=1000, learning_rate=5e-3, eval_iters=20)
QUICK_10: Recipe = dict(max_iters=250, eval_iters=10)
QUICK_OTHER: Recipe = dict(max_iters=100, eval_iters=20)
QUICK_RATES = [3e-3, 1e-2]

CHANGES = [
    ("blocks alone", dict(residual=False, projection=False, second_layer=False, widening=1)),
    ("+ residual", dict(residual=True, projection=False, second_layer=False, widening=1)),
    ("+ projection", dict(residual=True, projection=True, second_layer=False, widening=1)),
    ("+ second linear layer", dict(residual=True, projection=True, second_layer=True, widening=1)),
    ("+ 4x width", dict(residual=True, projection=True, second_layer=True, widening=4)),
]
DEPTHS = [1, 3, 6]
DEEP = [1, 3, 6, 12, 24]
# A model that is large for its text: 17 parameters for each of the 20,000 characters.
DROPOUT: Recipe = dict(block_size=32, n_embd=96, n_head=4, n_layer=3, init_std=0.05, batch_size=8, learning_rate=1e-3,
                       max_iters=3000, eval_interval=150, eval_iters=100, train_characters=20_000,
                       device="cpu")  # fmt: skip
SHARES = [0.0, 0.1, 0.2, 0.4]
HEADS = {32: 5000, 256: 2000}  # sizes of version 5's head, and the steps of each


def parse_versions(text: str) -> list[Version]:
    """The versions that a text like 5-9 or 1,5,9 names, in order, each once.

    Raises:
        UserError: it doesn't name any.
    """
    numbers = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        last = last if dash else first
        sound = all(word.isascii() and word.isdigit() and len(word) <= 3 for word in (first, last))
        if not sound or not 1 <= int(first) <= int(last) <= len(VERSIONS):
            raise UserError(
                f"--versions must be like 5-9 or 1,5,9, with rising numbers from 1 to {len(VERSIONS)}, "
                f"and it is {text!r}"
            )
        numbers |= set(range(int(first), int(last) + 1))
    return [VERSIONS[number - 1] for number in sorted(numbers)]


def shortened(settings: Recipe, max_iters: int | None) -> Recipe:
    """The settings with another number of steps, evaluated ten times along the way."""
    if max_iters is None:
        return settings
    warmup = min(settings.get("warmup_iters", 0), max_iters // 10)
    changes: Recipe = dict(max_iters=max_iters, eval_interval=max(1, max_iters // 10))
    return settings | changes | ({"warmup_iters": warmup} if warmup else {})


def plan(
    kind: str, versions: str = "1-10", max_iters: int | None = None, quick: bool = False, idea: str | None = None
) -> list[Row]:
    """The rows of a comparison, not yet trained.

    Args:
        kind: one of `kinds.STUDIES`.
        versions: which versions, in the comparisons of versions.
        max_iters: another number of steps.
        quick: a few steps only.
        idea: the module of a learner's own model, to compare with version 10 instead.

    Raises:
        UserError: `versions` doesn't name any, or `idea` is not such a module.
    """
    if kind == "lecture":
        return lecture_rows(parse_versions(versions), max_iters, quick)
    others = {"ablation": ablation_rows, "depth": depth_rows, "scale": scale_rows, "dropout": dropout_rows,
              "nanogpt": nanogpt_rows, "tokens": token_rows, "parts": part_rows,
              "positions": position_rows, "modern": ladder_rows, "seconds": seconds_rows,
              "coffee": coffee_rows}  # fmt: skip
    if idea:
        rows = idea_rows(idea)
    else:
        rows = equal_rows(parse_versions(versions)) if kind == "equal" else others[kind]()
    few = QUICK_OTHER if quick else {}
    steps = max_iters or few.get("max_iters")
    return [replace(row, settings=shortened(row.settings | few, steps)) for row in rows]


def lecture_rows(versions: list[Version], max_iters: int | None = None, quick: bool = False) -> list[Row]:
    """Each version as the lecture trained it, and version 10 also by its recipe for laptops."""
    rows: list[Row] = []
    for version in versions:
        before = rows[-1].name if rows else None
        for preset in version.presets if version.number < 10 else ("laptop", "lecture"):
            settings = version.preset(preset) | {
                "device": "cuda" if (version.number, preset) == (10, "lecture") else "cpu"
            }
            name, title, adds = version.name, version.title, version.adds
            if version.number == 10:
                name = f"v10 {preset}"
            if preset == "laptop":
                title = "scale-up (our recipe)"
                adds = "a larger model and context, with Muon and without dropout: our recipe for a laptop"
            if quick:
                few = QUICK | ({"learning_rate": 1e-2} if version.number == 1 else {})
                few = QUICK_10 if version.number == 10 else few
                settings = shortened(settings | few, few["max_iters"])
            settings = shortened(settings, max_iters)
            number = LECTURE.get(version.number) if preset == "lecture" else None
            rows.append(Row(name, title, adds, f"babygpt.{version.name}", settings, before, number))
    return rows


def equal_rows(versions: list[Version]) -> list[Row]:
    """All versions with the same sizes and steps. Version 10 also with each of its two changes alone."""
    rows: list[Row] = []
    for version in versions:
        before = rows[-1].name if rows else None
        if version.number < 10:
            rows.append(Row(version.name, version.title, version.adds, f"babygpt.{version.name}", EQUAL, before))
    if 10 in [version.number for version in versions]:
        v10, weights = "babygpt.v10", "initial weights from N(0, 0.02)"
        rows += [
            Row("v10 dropout", "alone", "dropout alone", "babygpt.compare.default_weights", EQUAL, before),
            Row("v10 weights", "alone", f"{weights} alone", v10, EQUAL | {"dropout": 0.0}, before),
            Row("v10", "both", f"dropout and {weights}, at version 9's size", v10, EQUAL, before),
        ]
    return rows


def ablation_rows() -> list[Row]:
    """The changes of version 8 one at a time, at several depths, with and without layer norm."""
    rows = []
    for depth in DEPTHS:
        for layernorm in (False, True):
            before = None
            for title, switches in CHANGES:
                name = f"{blocks(depth, layernorm)}: {title}"
                settings = ABLATION | switches | {"n_layer": depth, "layernorm": layernorm}
                rows.append(Row(name, title, "", "babygpt.compare.ablations", settings, before))
                before = name
    return rows


def depth_rows() -> list[Row]:
    """Version 8's block, with all its changes, with and without layer norm, in shallow and deep stacks."""
    rows = []
    for depth in DEEP:
        for layernorm in (False, True):
            name, before = blocks(depth, layernorm), blocks(depth) if layernorm else None
            settings = ABLATION | CHANGES[-1][1] | {"n_layer": depth, "layernorm": layernorm}
            title = "layer norm" if layernorm else "no layer norm"
            rows.append(Row(name, title, "", "babygpt.compare.ablations", settings, before))
    return rows


def blocks(depth: int, layernorm: bool = False) -> str:
    """The name of a stack."""
    return f"{depth} block{'s' * (depth > 1)}{', layer norm' * layernorm}"


def scale_rows() -> list[Row]:
    """Version 5 with and without the scale, for a small and a large head: at one learning rate, and at the best."""
    rows = []
    for size, steps in HEADS.items():
        recipe = VERSIONS[4].preset("lecture") | {"device": "cpu"}
        if size != recipe["n_embd"]:
            recipe |= {"n_embd": size, "max_iters": steps, "eval_interval": steps // 10}
        searched = {name: value for name, value in recipe.items() if name != "learning_rate"}
        for where, settings in ((f"rate {recipe['learning_rate']:g}", recipe), ("best rate", searched)):
            scaled = f"head size {size}, {where}: scale"
            rows.append(Row(scaled, "scale", "", "babygpt.v5", settings))
            without = f"head size {size}, {where}: no scale"
            rows.append(Row(without, "no scale", "", "babygpt.compare.unscaled", settings, scaled))
    return rows


def dropout_rows() -> list[Row]:
    """Version 10 on little text, with and without dropout."""
    rows: list[Row] = []
    for share in SHARES:
        before = rows[0].name if rows else None
        rows.append(
            Row(f"dropout {share:g}", f"dropout {share:g}", "", "babygpt.v10", DROPOUT | {"dropout": share}, before)
        )
    return rows


def search_jobs(row: Row, rates: list[float]) -> list[Job]:
    """The runs that find the learning rate of a row."""
    return [
        Job(f"{row.name} lr {rate:g}", row.module, row.settings | {"learning_rate": rate}, SEARCH_SEED)
        for rate in rates
    ]


def next_rate(tried: list[float], best: float) -> float | None:
    """The rate to try next: the one beyond the best, if that is the lowest or the highest of those tried, in order."""
    index = RATES.index(best)
    if best == tried[-1] and best != RATES[-1]:
        return RATES[index + 1]
    if best == tried[0] and best != RATES[0]:
        return RATES[index - 1]
    return None


def can_train(row: Row, seeds: int, corpus: Corpus, folder: Path) -> bool:
    """Whether the device of a row is available, or its records are, perhaps from another machine."""
    if row.settings["device"] != "cuda" or torch.cuda.is_available():
        return True
    return all(read_record(job, corpus.fingerprint, folder) for job in row.jobs(seeds))


def check_text(rows: Iterable[Row], corpus: Corpus) -> None:
    """Raise UserError if the text is too short for one of the rows."""
    rows = list(rows)
    require(len(rows) > 0, "there is nothing to compare")
    for row in rows:
        training_text(row.jobs(1)[0], corpus).check(row.settings["block_size"])
