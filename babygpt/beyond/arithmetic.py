"""Version 10 on a data set of one's own: `12+39=` and the answer, as in `babygpt/beyond/sums.py`.

The model and the loss are version 10's. New are the data, and the question whether an answer is right: the share of
right answers on pairs of numbers that are never in training (exact match).

    python -m babygpt.beyond.arithmetic                        two digits
    python -m babygpt.beyond.arithmetic --preset add3          three digits
    python -m babygpt.beyond.arithmetic --preset multiply      products of two digits, with the working shown
    python -m babygpt.beyond.calculate runs/arithmetic 12+39   use it
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from babygpt import cli, v10
from babygpt.beyond.sums import END, Sums, Task
from babygpt.beyond.task import TaskCommand, TaskRunConfig, TaskTrainer
from babygpt.cli import python
from babygpt.harness.runs import Run
from babygpt.model import LanguageModel
from babygpt.tokenizer import Tokenizer
from babygpt.training import Trainer
from babygpt.versions import Trainable, select

SHOWN = 12  # pairs in the sample of a run


@dataclass(frozen=True)
class Config(v10.Config, Task):
    """Version 10's sizes, and what the model is to calculate."""

    block_size: int = 24
    n_embd: int = 64
    n_head: int = 4
    n_layer: int = 2
    dropout: float = 0.0
    init_std: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        Task.__post_init__(self)


class Model(v10.Model):
    """Version 10. Its config says what it calculates, so a checkpoint does, too."""


def answers(model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str], limit: int) -> list[str]:
    """What the model writes after each prompt, greedily, up to END, or `limit` characters at most.

    Prompts of the same length are continued together.
    """
    found, device = {}, next(model.parameters()).device
    for length in sorted({len(prompt) for prompt in prompts}):
        same = list(dict.fromkeys(prompt for prompt in prompts if len(prompt) == length))
        idx = torch.tensor([tokenizer.encode(prompt) for prompt in same], device=device)
        rows = model.generate(idx, limit, temperature=0).tolist()
        found |= {prompt: tokenizer.decode(row[length:]) for prompt, row in zip(same, rows, strict=True)}
    return [found[prompt].partition(END)[0] for prompt in prompts]


def exact_match(model: LanguageModel, sums: Sums, drawn: Sequence[tuple[int, int]]) -> float:
    """The share of pairs of numbers for which the model writes the right result."""
    task = sums.task
    limit = max(len(task.answer(a, b) + END) for a, b in drawn)
    found = answers(model, sums.tokenizer, [task.prompt(a, b) for a, b in drawn], limit)
    return sum(task.is_right(a, b, answer) for (a, b), answer in zip(drawn, found, strict=True)) / len(drawn)


class SumTrainer(TaskTrainer):
    """A model that learns to calculate. Its `history` also holds `exact`, the share of right answers in validation."""

    def evaluate(self) -> dict[str, float]:
        """The loss on some pairs of each split, and `exact`. The same pairs each time."""
        config = self.config
        drawn = self.corpus.draw(
            "val", config.eval_iters * config.batch_size, torch.Generator().manual_seed(config.seed)
        )
        return super().evaluate() | {"exact": exact_match(self.model, self.corpus, drawn)}


class SumCommand(TaskCommand):
    """Training a model to calculate, from the command line."""

    trainer = SumTrainer

    def load_corpus(self, config: TaskRunConfig, settings: Mapping[str, Any]) -> Sums:
        """The pairs of numbers, and what is asked about them."""
        return Sums.new(select(Task, settings))

    def sample(self, model: LanguageModel, trainer: Trainer) -> str:
        """Some pairs of the validation split, and what the model makes of them."""
        sums = trainer.corpus
        drawn = sums.draw("val", SHOWN, torch.Generator().manual_seed(trainer.config.seed))
        found = answers(model, sums.tokenizer, [sums.task.prompt(a, b) for a, b in drawn], sums.task.longest)
        return "\n".join(
            f"{sums.task.prompt(a, b)}{answer}{'' if sums.task.is_right(a, b, answer) else '  (wrong)'}"
            for (a, b), answer in zip(drawn, found, strict=True)
        )

    def what_next(self, folder: Path, tokenizer: Tokenizer) -> str:
        """How to use the model."""
        example = Run(folder).load_model("best")[0].config.prompt(12, 39).rstrip("=")
        return f"Your own:   {python()} -m babygpt.beyond.calculate {folder} {example}"


def main(model: Trainable, argv: Sequence[str] | None = None) -> None:
    """Train a model to calculate as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    cli.main(SumCommand(model), argv)


if __name__ == "__main__":
    from babygpt.beyond.models import ARITHMETIC

    main(ARITHMETIC)
