"""What the stages can do: the table of how often each obeys, and of what reinforcement learning did."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from babygpt.beyond.assistant.answers import answer_all, obeying_rates
from babygpt.beyond.assistant.instructions import TASKS, Instruction, Instructions, has_special_tokens
from babygpt.beyond.assistant.policy import MEASURED
from babygpt.harness.files import write_atomically
from babygpt.harness.runs import Run
from babygpt.harness.terminal import print_line
from babygpt.tokenizer import CharTokenizer

EXAMINED = 50  # held-out instructions of each task
STAGES = ("pretrain", "sft", "ppo-0", "ppo", "grpo", "dpo")


def exam(corpus: Instructions) -> list[Instruction]:
    """The same held-out instructions for every model, EXAMINED of each task."""
    generator = torch.Generator().manual_seed(0)
    return [each for task in TASKS for each in corpus.draw("val", EXAMINED, generator, task)]


def judge(tokenizer: CharTokenizer, instructions: Sequence[Instruction], answers: Sequence[str]) -> dict[str, float]:
    """The share of each task's instructions that the answers obey, and of `all`.

    A model without special tokens cannot say where its answer ends. What it writes is cut where the right answer would
    end, and for `voice` behind two lines. That is generous: whatever comes behind is forgiven.
    """
    if not has_special_tokens(tokenizer):
        answers = [
            "\n".join(text.split("\n")[:2]) if each.task == "voice" else text[: len(each.answer)]
            for each, text in zip(instructions, answers, strict=True)
        ]
    return obeying_rates(instructions, answers)


def measure(folder: Path, corpus: Instructions, seed: int) -> dict[str, Any]:
    """What the runs in a folder can do, as JSON."""
    content: dict[str, Any] = {"seed": seed, "obeyed": {}, "samples": {}, "history": {}, "seconds": {}, "settings": {}}
    asked = exam(corpus)
    content["samples"]["prompt"] = [each.prompt for each in asked[::EXAMINED]]
    for name in (*STAGES, "reward"):
        run = Run(folder / name)
        saved = run.read("last")
        history = saved["state"]["history"]
        content["history"][name], content["seconds"][name] = history, round(history[-1]["seconds"], 1)
        content["settings"][name] = saved["train_config"]
        if name != "reward":
            model, tokenizer = run.load_model("last")
            answers = answer_all(model, tokenizer, [each.prompt for each in asked])
            content["obeyed"][name] = judge(tokenizer, asked, answers)
            content["samples"][name] = answers[::EXAMINED]
    return content


def table(content: dict[str, Any]) -> str:
    """Both tables, in Markdown."""
    tasks = [*TASKS, "all"]
    lines = [f"| obeyed | {' | '.join(tasks)} |", "|---|" + "---:|" * len(tasks)]
    for name, found in content["obeyed"].items():
        lines.append(f"| {name} | {' | '.join(f'{found[task]:.0%}' for task in tasks)} |")
    lines += ["", f"| answers | {' | '.join(MEASURED)} |", "|---|" + "---:|" * len(MEASURED)]
    first = content["history"]["ppo"][0]
    for name, last in (("sft", first), *((n, h[-1]) for n, h in content["history"].items() if "reward" in h[-1])):
        lines.append(f"| {name} | {' | '.join(f'{last[key]:.2f}' for key in MEASURED)} |")
    return "\n".join(lines) + "\n"


def write(folder: Path, corpus: Instructions, seed: int) -> None:
    """Measure the runs in a folder, unless that has been done since they ended, and print and save the tables."""
    path = folder / "assistant.json"
    newest = max(file.stat().st_mtime for file in folder.glob("*/checkpoint.pt"))
    if not path.exists() or path.stat().st_mtime < newest:
        print_line("\nexamining all stages")
        write_atomically(path, json.dumps(measure(folder, corpus, seed), indent=1).encode())
    tables = table(json.loads(path.read_text(encoding="utf-8")))
    write_atomically(folder / "assistant.md", tables.encode())
    print_line("\n" + tables)
    print_line(f"Talk to it: python -m babygpt.beyond.chat {folder / 'sft'}")
