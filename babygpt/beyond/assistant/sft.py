"""Supervised finetuning: the loop of pretraining, on documents in which only the answers count.

Three things change. The vocabulary grows by the special tokens; the batches are instructions with answers, whose
prompts are masked; and an evaluation also asks the model, and counts how many answers obey.

Source: Ouyang et al., "Training language models to follow instructions with human feedback", section 3.5.
"""

from dataclasses import replace

import torch
from torch import Tensor

from babygpt import v10
from babygpt.beyond.assistant.answers import answer_all, obeying_rates
from babygpt.beyond.sums import IGNORE
from babygpt.training import Trainer

PORTIONS = 3
ASKED = 120  # instructions in an evaluation


@torch.no_grad()
def grow_vocabulary(model: v10.Model, vocab_size: int) -> v10.Model:
    """A copy of a model with more tokens. All it knew stays; what is new starts as the mean of what was there."""
    grown, old = v10.Model(replace(model.config, vocab_size=vocab_size)), model.state_dict()
    state = grown.state_dict()
    for name, weight in old.items():
        if weight.shape != state[name].shape:  # a row for each token: both tables of the vocabulary
            weight = torch.cat((weight, weight.mean(dim=0, keepdim=True).expand_as(state[name][len(weight) :])))
        state[name] = weight
    grown.load_state_dict(state)
    return grown


class SFTTrainer(Trainer):
    """A model in training on instructions. Its `history` also holds `obeyed`, the share that it obeys in validation."""

    def batch_loss(self) -> Tensor:
        """The loss of the next batch. Its documents are sorted by length and read in portions, to save padding."""
        xs, ys = self.corpus.get_batch("train", self.config.batch_size, self.model.config.block_size, self.batches)
        lengths = (ys != IGNORE).long().mul(torch.arange(1, ys.shape[1] + 1)).amax(dim=1)  # (B,)
        losses, order = [], lengths.argsort()
        for rows in order.chunk(PORTIONS):
            T = int(lengths[rows].max())
            x, y = xs[rows, :T], ys[rows, :T]
            losses.append(self.compiled(x, y)[1] * (y != IGNORE).sum())
        return torch.stack(losses).sum() / (ys != IGNORE).sum()

    def evaluate(self) -> dict[str, float]:
        """The loss per token of the answers, and `obeyed`."""
        held_out = self.corpus.draw("val", ASKED, torch.Generator().manual_seed(self.config.seed))
        answers = answer_all(self.model, self.corpus.tokenizer, [each.prompt for each in held_out])
        return super().evaluate() | {"obeyed": obeying_rates(held_out, answers)["all"]}

    def remark(self) -> str:
        """The share of instructions obeyed at the last evaluation."""
        return f", {self.history[-1]['obeyed']:.1%} of the instructions obeyed"
