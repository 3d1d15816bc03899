"""Training on pairs of a source and a target: the loop of all models, with another batch and another evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from babygpt import cli
from babygpt.beyond.beam import beam_search, greedy
from babygpt.beyond.dates import Dates, pad
from babygpt.beyond.encoder_decoder import END, PAD
from babygpt.beyond.task import TaskCommand, TaskRunConfig, TaskTrainer
from babygpt.cli import python
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.model import LanguageModel, evaluating
from babygpt.tokenizer import Tokenizer
from babygpt.training import Trainer
from babygpt.versions import Trainable

ROWS = 500  # sources that are translated at the same time
SHOWN = 12  # pairs in the sample of a run


class PairTrainer(TaskTrainer):
    """A model in training on pairs. Its `history` also holds `exact`, the share of right answers in the validation."""

    def batch_loss(self) -> Tensor:
        """The loss of the next batch of pairs, with label smoothing if the model has it."""
        source, target = self.corpus.get_batch(
            "train", self.config.batch_size, self.model.config.block_size, self.batches
        )
        _, loss = self.compiled(source, target)
        return loss

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The loss on some pairs of each split, without smoothing, and `exact`. The same pairs each time.

        Raises:
            UserError: a loss is not a number.
        """
        config, found = self.config, {}
        for split in ("train", "val"):
            pairs = self.corpus.draw(
                split, config.eval_iters * config.batch_size, torch.Generator().manual_seed(config.seed)
            )
            found[split] = mean_loss(self.model, self.corpus, pairs)
            self.check_loss(found[split])
        return found | {"exact": exact_match(self.model, self.corpus, pairs)}


@torch.no_grad()
def mean_loss(model: LanguageModel, corpus: Dates, pairs: list[tuple[str, str]]) -> float:
    """The mean loss of some pairs in nats per token of the target."""
    total, count = 0.0, 0
    with evaluating(model):
        for n in range(0, len(pairs), ROWS):
            source, target = (part.to(corpus.train.device) for part in corpus.encode_pairs(pairs[n : n + ROWS]))
            tokens = int((target[:, 1:] != PAD).sum())
            total, count = total + model(source, target)[1].item() * tokens, count + tokens
    return total / count


def exact_match(model: LanguageModel, corpus: Dates, pairs: list[tuple[str, str]], width: int = 0) -> float:
    """The share of pairs that the model translates without a mistake: greedily, or by beam search of some width."""
    limit = 1 + max(len(right) for _, right in pairs)  # an untrained model would go on and on
    answers = translate(model, corpus.tokenizer, [text for text, _ in pairs], width, limit)
    return sum(answer == right for answer, (_, right) in zip(answers, pairs, strict=True)) / len(pairs)


def translate(
    model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str], width: int = 0, limit: int | None = None
) -> list[str]:
    """What the model writes for each text: greedily, or by beam search of some width.

    Args:
        limit: where an answer ends at the latest; by default, at the model's block_size.

    Raises:
        UserError: a text is empty, too long, or has a character that the model doesn't know.
    """
    answers, size, device = [], model.config.block_size, next(model.parameters()).device
    for text in texts:
        if not 1 <= len(text) <= size:
            raise UserError(f"the model reads 1 to {size} characters, and {text!r} has {len(text)}")
    for n in range(0, len(texts), ROWS):
        source = pad([tokenizer.encode(text) for text in texts[n : n + ROWS]]).to(device)
        found, _ = beam_search(model, source, limit or size, width) if width else greedy(model, source, limit or size)
        answers += [tokenizer.decode(row[: row.index(END)] if END in row else row) for row in found.tolist()]
    return answers


class PairCommand(TaskCommand):
    """Training a model on pairs from the command line."""

    trainer = PairTrainer

    def load_corpus(self, config: TaskRunConfig, settings: Mapping[str, Any]) -> Corpus:
        """The dates."""
        return Dates.new()

    def sample(self, model: LanguageModel, trainer: Trainer) -> str:
        """Some dates of the validation split, and what the model makes of them."""
        pairs = trainer.corpus.draw("val", SHOWN, torch.Generator().manual_seed(trainer.config.seed))
        answers = translate(model, trainer.corpus.tokenizer, [text for text, _ in pairs])
        return "\n".join(
            f"{text:40} {answer}{'' if answer == right else f'  (wrong: it is {right})'}"
            for (text, right), answer in zip(pairs, answers, strict=True)
        )

    def what_next(self, folder: Path, tokenizer: Tokenizer) -> str:
        """How to use the model."""
        return f'Your own date: {python()} -m babygpt.beyond.translate {folder} "28 November 2026"'


def main(model: Trainable, argv: Sequence[str] | None = None) -> None:
    """Train a model on pairs as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    cli.main(PairCommand(model), argv)
