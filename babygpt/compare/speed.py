"""How long a training step of versions 2, 3 and 4 takes as the context grows: one average, computed in three ways."""

import json
import time
from pathlib import Path
from statistics import median

import torch

from babygpt.compare.jobs import device_name
from babygpt.data import Corpus
from babygpt.harness.files import write_atomically
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import get_version

LENGTHS = [8, 16, 32, 64, 128, 256]
BATCH = 4
ROUNDS = 9
REASON = (
    "All three compute the same average. Version 2 takes B x T turns of a Python loop, each with a few tiny operations "
    "that cost more to start than to compute, so its time grows with T; versions 3 and 4 are a single matrix product, "
    "started once, and grow only when its T x T weights become many. Version 4 also masks and takes a softmax."
)


def speeds(corpus: Corpus, file: Path) -> dict[str, object]:
    """Milliseconds a step of each version, at the lengths that the text allows; kept in a file once measured."""
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
    """The median time of a training step in milliseconds, for each version at each length.

    They take turns, so that a machine that slows down for a moment slows all of them.
    """
    trainers = {}
    for number in (2, 3, 4):
        module = get_version(number).module()
        for T in lengths:
            torch.manual_seed(0)
            model = module.Model(module.Config(vocab_size=corpus.tokenizer.vocab_size, block_size=T))
            trainers[number, T] = Trainer(model, corpus, TrainConfig(batch_size=BATCH, device="cpu"))
    times = {key: [] for key in trainers}
    for _ in range(ROUNDS):
        for key, trainer in trainers.items():
            trainer.update()  # the first step after another model has to fetch its own from memory
            start = time.perf_counter()
            trainer.update()
            times[key].append(time.perf_counter() - start)
    return {f"v{number}": [round(1000 * median(times[number, T]), 3) for T in lengths] for number in (2, 3, 4)}


def caption(found: dict[str, object]) -> str:
    """What the table shows."""
    return (
        f"Milliseconds of a training step of {found['batch_size']} chunks, as their length T grows "
        f"(threads: {found['threads']}; medians of {found['rounds']} turns):"
    )


def as_markdown(found: dict[str, object]) -> str:
    """The times as a table in Markdown, which a terminal can show too."""
    head = [f"{'ms a step':<9}", *(f"{f'T = {T}':>8}" for T in found["lengths"])]
    rows = [[f"{name:<9}", *(f"{ms:>8.2f}" for ms in times)] for name, times in found["ms"].items()]
    rule = ["-" * 9, *("-" * 7 + ":" for _ in found["lengths"])]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])
