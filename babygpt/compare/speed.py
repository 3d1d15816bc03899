"""How long a training step takes: that of versions 2, 3 and 4 as the context grows, and that of the rows of a table."""

import importlib
import json
import time
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from statistics import median

import torch

from babygpt.compare.jobs import device_name
from babygpt.compare.table import Row, markdown
from babygpt.data import Corpus
from babygpt.harness.files import write_atomically
from babygpt.training import Trainer, new_trainer
from babygpt.versions import get_version

LENGTHS = [8, 16, 32, 64, 128, 256]
BATCH = 4
FIRST = "ms/step  "  # the head of the first column
ROUNDS = 9
REASON = (
    "All three compute the same average. Version 2 runs a Python loop B x T times, each time with a few tiny "
    "operations that take longer to start than to compute, so its time grows with T. Versions 3 and 4 start a single "
    "matrix product, and their time grows only once its T x T weights are many. Version 4 also masks its scores and "
    "takes a softmax."
)


def speeds(corpus: Corpus, file: Path) -> dict[str, object]:
    """Milliseconds per step of each version, at the lengths that the text allows. A file keeps them once measured."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["fingerprint"] == corpus.fingerprint and found["rounds"] == ROUNDS:
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    lengths = [T for T in LENGTHS if T < min(len(corpus.train), len(corpus.val))]
    found = {
        "lengths": lengths,
        "fingerprint": corpus.fingerprint,
        "batch_size": BATCH,
        "rounds": ROUNDS,
        "device": device_name(torch.device("cpu")),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "ms": step_ms(corpus, lengths),
    }
    write_atomically(file, json.dumps(found).encode("utf-8"))
    return found


def step_ms(corpus: Corpus, lengths: list[int]) -> dict[str, list[float]]:
    """The median time of a training step in milliseconds, for each version at each length."""
    trainers = {}
    for number in (2, 3, 4):
        module = get_version(number).module()
        for T in lengths:
            settings = dict(block_size=T, batch_size=BATCH, device="cpu")
            trainers[number, T] = new_trainer(module, corpus, settings)
    times = interleaved(trainers)
    return {f"v{number}": [times[number, T] for T in lengths] for number in (2, 3, 4)}


def pace(rows: Iterable[Row], corpus: Corpus) -> dict[str, float]:
    """The median time of a training step in milliseconds, for each row of a table, by its name."""
    trainers = {row.name: new_trainer(importlib.import_module(row.module), corpus, row.settings) for row in rows}
    return interleaved(trainers)


def interleaved(trainers: Mapping[Hashable, Trainer]) -> dict[Hashable, float]:
    """The median time of a training step in milliseconds, for each trainer.

    They take turns, so that a machine that slows down for a moment slows all of them down.
    """
    times: dict[Hashable, list[float]] = {key: [] for key in trainers}
    for _ in range(ROUNDS):
        for key, trainer in trainers.items():
            trainer.update()  # not measured: the first step after another model finds nothing in the cache
            start = time.perf_counter()
            trainer.update()
            times[key].append(time.perf_counter() - start)
    return {key: round(1000 * median(seconds), 3) for key, seconds in times.items()}


def caption(found: dict[str, object]) -> str:
    """What the table shows."""
    return (
        f"Milliseconds per training step with {found['batch_size']} chunks of length T "
        f"(threads: {found['threads']}; medians of {found['rounds']} measurements):"
    )


def as_markdown(found: dict[str, object]) -> str:
    """The times as a table in Markdown, padded so that it can be read in a terminal too."""
    lengths = [f"{f'T = {T}':>8}" for T in found["lengths"]]
    rows = [
        {FIRST: f"{name:<9}"} | {length: f"{ms:>8.2f}" for length, ms in zip(lengths, times, strict=True)}
        for name, times in found["ms"].items()
    ]
    return markdown([FIRST, *(f"{length}:" for length in lengths)], rows)
