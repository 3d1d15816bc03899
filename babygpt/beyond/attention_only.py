"""A Transformer with nothing but attention: version 10 without its feed-forward layers.

Each block adds what its heads found to the stream, and that is all. So whatever such a model can do, its heads do, and
one can ask how. Trained on random strings that repeat, two layers learn to continue a string; one layer can't.

    python -m babygpt.beyond.attention_only                two layers
    python -m babygpt.beyond.attention_only --n-layer 1    one

Source: Elhage et al., "A Mathematical Framework for Transformer Circuits".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from babygpt import cli, v2, v10
from babygpt.beyond.inside.hooks import Inside
from babygpt.beyond.inside.induction import alone_losses, copy_losses, induction_score, random_strings, string_weights
from babygpt.beyond.inside.opened import one_head_at_a_time
from babygpt.beyond.repeats import Repeats
from babygpt.beyond.task import TaskCommand, TaskRunConfig, TaskTrainer
from babygpt.cli import python
from babygpt.model import LanguageModel
from babygpt.tokenizer import Tokenizer
from babygpt.training import Trainer
from babygpt.versions import Trainable

STRINGS, SHOWN = 64, 6  # in an evaluation; in the sample of a run


@dataclass(frozen=True)
class Config(v10.Config):
    """Version 10's sizes."""

    block_size: int = 64
    n_embd: int = 64
    n_head: int = 4
    n_layer: int = 2
    dropout: float = 0.0


class Block(nn.Module):
    """Version 10's block without the feed-forward layer: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sa = (v10.FusedMultiHeadAttention if config.attention == "fused" else v10.MultiHeadAttention)(config)
        self.ln1 = nn.LayerNorm(config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return x + self.sa(self.ln1(x))  # (B, T, C)


class Model(v10.Model):
    """Version 10 with blocks of attention only."""

    def __init__(self, config: Config) -> None:
        v2.Model.__init__(self, config)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.apply(self.init_weights)

    def new_cache(self, batch_size: int) -> None:
        """None: version 10's cache would look for the feed-forward layers."""
        return None


def measure(model: LanguageModel, seed: int = 0) -> dict[str, Any]:
    """How well a model continues new random strings: losses of both copies, share of right guesses, heads' scores."""
    inside, L = Inside(one_head_at_a_time(model)), model.config.block_size // 2
    strings = random_strings(STRINGS, L, model.config.vocab_size, seed).to(model.lm_head.weight.device)
    twice = torch.cat((strings, strings), dim=1)
    right = inside.logits(twice[:, :-1]).argmax(dim=-1)[:, L:] == twice[:, L + 1 :]
    return {
        "first": alone_losses(inside, strings).mean().item(),
        "second": copy_losses(inside, strings).mean().item(),
        "exact": right.float().mean().item(),
        "induction": induction_score(string_weights(inside, strings[:8]), L).mean(dim=0).tolist(),
    }


class RepeatTrainer(TaskTrainer):
    """A model that learns to continue strings. Its `history` also holds what `measure` finds."""

    def evaluate(self) -> dict[str, Any]:
        """The loss on some strings, and how well others are continued. The same strings each time."""
        return super().evaluate() | measure(self.model)


class RepeatCommand(TaskCommand):
    """Training a model to continue strings, from the command line."""

    trainer = RepeatTrainer

    def load_corpus(self, config: TaskRunConfig, settings: Mapping[str, Any]) -> Repeats:
        """The strings."""
        return Repeats.new()

    def sample(self, model: LanguageModel, trainer: Trainer) -> str:
        """Some strings of 12 letters, and how the model continues them after their first 2 letters have come again."""
        letters, tokenizer = trainer.corpus.train[-26:], trainer.corpus.tokenizer
        strings = letters[random_strings(SHOWN, 12, 26, seed=2)].long()
        idx = model.generate(torch.cat((strings, strings[:, :2]), dim=1), 10, temperature=0)
        rows = [tokenizer.decode(row) for row in idx.tolist()]
        return "\n".join(f"{row[:12]} {row[12:14]}|{row[14:]}" for row in rows)

    def what_next(self, folder: Path, tokenizer: Tokenizer) -> str:
        """How to look into the model."""
        return f"Look inside: {python()} -m babygpt.beyond.inside {folder}"


def main(model: Trainable, argv: Sequence[str] | None = None) -> None:
    """Train a model to continue strings as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    cli.main(RepeatCommand(model), argv)


if __name__ == "__main__":
    from babygpt.beyond.models import ATTENTION_ONLY

    main(ATTENTION_ONLY)
