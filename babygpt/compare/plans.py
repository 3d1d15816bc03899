"""What a comparison trains: the rows of its table, each with the flags of its trainings."""

from pathlib import Path

import torch

from babygpt.compare.jobs import Job, read_record
from babygpt.compare.ladder import Entry
from babygpt.data import Corpus
from babygpt.errors import UserError, require
from babygpt.versions import VERSIONS, Recipe, Version

LECTURE = {1: 2.5, 5: 2.4, 6: 2.28, 7: 2.24, 8: 2.08, 9: 2.06, 10: 1.48}

# The recipe `equal`: a model takes of the sizes what it has a field for.
EQUAL: Recipe = dict(block_size=8, n_embd=32, n_head=4, n_layer=3, dropout=0.2, batch_size=32, max_iters=3000,
                     eval_interval=300, eval_iters=100, device="cpu")  # fmt: skip
ABLATION = EQUAL | dict(max_iters=1500, eval_interval=150)  # half the steps, since there are 24 variants
RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
FIRST_RATES = [1e-3, 3e-3, 1e-2]  # the search goes beyond these as long as the best is at an end
SEARCH_SEED = 1  # not among the seeds that are reported
FIRST_SEED = 1337

# Few steps need larger ones.
QUICK: Recipe = dict(max_iters=1000, learning_rate=5e-3, eval_iters=20)
QUICK_10: Recipe = dict(max_iters=250, eval_iters=10)
QUICK_EQUAL: Recipe = dict(max_iters=100, eval_iters=20)
QUICK_RATES = [3e-3, 1e-2]

CHANGES = [
    ("blocks alone", dict(residual=False, projection=False, widening=1)),
    ("+ residual", dict(residual=True, projection=False, widening=1)),
    ("+ projection", dict(residual=True, projection=True, widening=1)),
    ("+ 4x width", dict(residual=True, projection=True, widening=4)),
]
DEPTHS = [1, 3, 6]


def parse_versions(text: str) -> list[Version]:
    """The versions that a text like 5-9 or 1,5,9 names, in order and each once.

    Raises:
        UserError: it is no such text.
    """
    numbers = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        last = last if dash else first
        sound = all(word.isascii() and word.isdigit() and len(word) <= 3 for word in (first, last))
        if not sound or not 1 <= int(first) <= int(last) <= len(VERSIONS):
            raise UserError(
                f"--versions must be like 5-9 or 1,5,9, with numbers from 1 to {len(VERSIONS)} that rise, "
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


def lecture_entries(versions: list[Version], max_iters: int | None, quick: bool) -> list[Entry]:
    """Each version as the lecture trained it, and version 10 also by its recipe for laptops."""
    entries: list[Entry] = []
    for version in versions:
        before = entries[-1].name if entries else None
        for preset in version.presets if version.number < 10 else ("laptop", "lecture"):
            settings = version.preset(preset) | {
                "device": "cuda" if (version.number, preset) == (10, "lecture") else "cpu"
            }
            name, title, adds = version.name, version.title, version.adds
            if version.number == 10:
                name = f"v10 {preset}"
            if preset == "laptop":
                title = "scale-up"
                adds = "a larger model and context, with Muon and without dropout: the recipe for a laptop"
            if quick:
                few = (
                    QUICK_10
                    if version.number == 10
                    else QUICK | ({"learning_rate": 1e-2} if version.number == 1 else {})
                )
                settings = shortened(settings | few, few["max_iters"])
            settings = shortened(settings, max_iters)
            number = LECTURE.get(version.number) if preset == "lecture" else None
            entries.append(Entry(name, title, adds, f"babygpt.{version.name}", settings, before, number))
    return entries


def equal_entries(versions: list[Version], max_iters: int | None, quick: bool) -> list[Entry]:
    """All versions with the same sizes and steps; the learning rate is left to the search."""
    settings = shortened(EQUAL | (QUICK_EQUAL if quick else {}), max_iters or (100 if quick else None))
    entries: list[Entry] = []
    for version in versions:
        words = ("dropout", "dropout, and first weights from N(0, 0.02)") if version.number == 10 else None
        before = entries[-1].name if entries else None
        title, adds = words or (version.title, version.adds)
        entries.append(Entry(version.name, title, adds, f"babygpt.{version.name}", settings, before))
    return entries


def ablation_entries(max_iters: int | None, quick: bool) -> list[Entry]:
    """The four changes of version 8 one by one, at several depths, without and with layer norm."""
    settings = shortened(ABLATION | (QUICK_EQUAL if quick else {}), max_iters or (100 if quick else None))
    entries = []
    for depth in DEPTHS:
        for layernorm in (False, True):
            before = None
            where = f"{depth} block{'s' * (depth > 1)}{', layer norm' * layernorm}"
            for title, switches in CHANGES:
                name = f"{where}: {title}"
                flags = settings | switches | {"n_layer": depth, "layernorm": layernorm}
                entries.append(Entry(name, title, title, "babygpt.compare.ablations", flags, before))
                before = name
    return entries


def jobs_of(entry: Entry, seeds: int, **changes: float) -> list[Job]:
    """The trainings of an entry, one a seed."""
    return [Job(entry.name, entry.module, entry.settings | changes, FIRST_SEED + i) for i in range(seeds)]


def search_jobs(entry: Entry, rates: list[float]) -> list[Job]:
    """The trainings that find the learning rate of an entry."""
    return [
        Job(f"{entry.name} lr {rate:g}", entry.module, entry.settings | {"learning_rate": rate}, SEARCH_SEED)
        for rate in rates
    ]


def next_rate(tried: list[float], best: float) -> float | None:
    """The rate to try next: the one beyond the best, if that is the lowest or the highest of those tried, in order."""
    place = RATES.index(best)
    if best == tried[-1] and best != RATES[-1]:
        return RATES[place + 1]
    if best == tried[0] and best != RATES[0]:
        return RATES[place - 1]
    return None


def can_train(entry: Entry, seeds: int, corpus: Corpus, folder: Path) -> bool:
    """Whether the entry's device is there, or its records are, from another machine perhaps."""
    if entry.settings["device"] != "cuda" or torch.cuda.is_available():
        return True
    return all(read_record(job, corpus.fingerprint, folder) for job in jobs_of(entry, seeds))


def check_text(entries: list[Entry], corpus: Corpus) -> None:
    """Raise UserError if the text is too short for one of the entries."""
    require(len(entries) > 0, "there is nothing to compare")
    corpus.check(max(entry.settings["block_size"] for entry in entries))
