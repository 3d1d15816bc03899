"""What each bug looks like from outside: its losses, its text, and whether the loss shows it at all.

`python -m babygpt.workshop.clinic.symptoms` trains every file with its bug and without it, and records both in
`results/clinic.json`. `make workshop` turns that into the instructor's page, `workshop/clinic.md`.
"""

import json
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import torch

from babygpt.compare import recorded
from babygpt.data import Corpus
from babygpt.harness.files import write_atomically
from babygpt.harness.pictures import png
from babygpt.harness.terminal import run_command
from babygpt.harness.threads import worthwhile_threads
from babygpt.model import LanguageModel
from babygpt.versions import get_version
from babygpt.workshop.clinic import loop
from babygpt.workshop.clinic.bugs import Bug, read_bugs

PATH = recorded.RESULTS / "clinic.json"
MAX_ITERS = 2000
SAMPLE = 80  # characters


def as_module(text: str, name: str = "clinic_case") -> ModuleType:
    """A module from the text of a file."""
    module = ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
    return module


def train(bug: Bug, text: str, corpus: Corpus) -> dict[str, Any]:
    """Train the model of a file, or by its loop: the evaluations, and a text."""
    module = as_module(text)
    config = module.config if bug.file == "loop" else module.Config()
    torch.manual_seed(1337)
    model = module.Model(config)
    with worthwhile_threads(loop.batch_size, config.block_size, config.n_embd):
        history = (module if bug.file == "loop" else loop).train(model, corpus, MAX_ITERS)
    return {
        "history": history,
        "sample": write_text(model, corpus),
        "parameters": sum(map(torch.numel, model.parameters())),
    }


def write_text(model: LanguageModel, corpus: Corpus) -> str:
    """A text by the model, from a fixed seed."""
    torch.manual_seed(1)
    idx = model.generate(torch.zeros((1, 1), dtype=torch.long), SAMPLE)
    return corpus.tokenizer.decode(idx[0, 1:].tolist())


@cache
def read() -> dict[str, dict[str, Any]]:
    """The recorded symptoms: for each number the runs `broken` and `healthy`."""
    return json.loads(PATH.read_text(encoding="utf-8"))


def band(bug: Bug) -> tuple[float, float] | None:
    """Where healthy runs of the recipe `lecture` are at the last step, or None where nothing comparable is recorded."""
    if bug.file == "loop" and bug.setup:  # another model, or another learning rate
        return None
    version = get_version(6 if bug.file == "loop" else int(bug.file[1:]))
    return recorded.find_bands(recorded.trainings(version), loop.eval_iters * loop.batch_size)[MAX_ITERS]


def is_inside(bug: Bug) -> bool | None:
    """Whether the loss at the last step looks healthy; None without a band."""
    limits = band(bug)
    return limits and limits[0] <= read()[str(bug.number)]["broken"]["history"][-1]["val"] <= limits[1]


def curve(bug: Bug) -> list[str]:
    """The validation losses as a table, a line each."""
    runs = read()[str(bug.number)]
    lines = ["    step  healthy  this one"]
    for good, bad in zip(runs["healthy"]["history"], runs["broken"]["history"], strict=True):
        lines.append(f"{good['step']:>8,}  {good['val']:>7.3f}  {bad['val']:>8.3f}")
    return lines


def picture(bug: Bug) -> bytes:
    """The validation losses with the bug and without it, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for name, label, style in (("healthy", "healthy", "--"), ("broken", "this one", "-")):
        history = read()[str(bug.number)][name]["history"]
        ax.plot([e["step"] for e in history], [e["val"] for e in history], style, marker=".", label=label)
    ax.set(title=f"case {bug.number}", xlabel="training step", ylabel="validation loss (nats per character)")
    ax.grid(alpha=0.3)
    ax.legend()
    return png(figure)


def judgment(bug: Bug) -> str:
    """What the loss at the last step says to somebody who knows the recorded runs."""
    limits = band(bug)
    if limits is None:
        return "There are no recorded runs to compare its loss with, only the healthy one above."
    between = f"healthy runs are between {limits[0]:.2f} and {limits[1]:.2f} at step {MAX_ITERS:,}"
    return f"The loss doesn't show it: {between}." if is_inside(bug) else f"The loss shows it: {between}."


def render() -> bytes:
    """The instructor's page: each case with its symptoms, its hints and its cause."""
    lines = [
        "# The bug clinic",
        "",
        "Twelve classic bugs for pairs, five to ten minutes each. A pair looks at the curve first, at the text second,",
        "and at the code last, and says what it suspects each time.",
        "",
        "    python -m babygpt.clinic             lists the cases",
        "    python -m babygpt.clinic start 1     writes clinic/case_01.py, and shows its curve and its text",
        "    python -m babygpt.clinic check 1     is it fixed? It looks at what the file computes, not at its text",
        "    python -m babygpt.clinic hint 1      a hint; --second gives the second one",
        "    python -m babygpt.clinic reveal 1    the answer",
        "",
        "This page has the answers. Losses are validation losses in nats per character, one run each with seed 1337,",
        "recorded by `python -m babygpt.workshop.clinic.symptoms`.",
    ]
    for bug in read_bugs():
        broken = read()[str(bug.number)]["broken"]
        lines += ["", f"## {bug.number}. {bug.name.capitalize()}", ""]
        lines += [f'After lesson {bug.lesson}, in {bug.title}. "{bug.complaint}"', "", "```", *curve(bug), "```", ""]
        lines += [f"{judgment(bug)} What it writes:", "", "```", *broken["sample"].splitlines(), "```", ""]
        lines += [f"- Hint: {bug.hints[0]}", f"- Second hint: {bug.hints[1]}", "", bug.explanation]
    return ("\n".join(lines) + "\n").encode("utf-8")


@dataclass(frozen=True)
class RecordConfig:
    """Train all twelve files with their bugs and without them, and record that: about five minutes."""


def record(config: RecordConfig) -> None:
    """Train and record."""
    corpus = Corpus.load()
    found = {}
    for bug in read_bugs():
        found[bug.number] = {
            name: train(bug, text, corpus) for name, text in (("healthy", bug.healthy()), ("broken", bug.broken()))
        }
        print(
            bug.number,
            *(f"{name} {run['history'][-1]['val']:.3f}" for name, run in found[bug.number].items()),
            flush=True,
        )
    write_atomically(PATH, (json.dumps(found, indent=1) + "\n").encode("utf-8"))


if __name__ == "__main__":
    run_command(RecordConfig, record, "python -m babygpt.workshop.clinic.symptoms", None)
