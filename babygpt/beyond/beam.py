"""Writing the target of an encoder-decoder: greedily, or with beam search.

Greedy search takes the likeliest token at each step. That can lead to a sequence that is not the likeliest one: a first
token that is a little less likely may have better successors. Beam search keeps several beginnings, its beams, and goes
on from each of them.

A model for this is anything with `encode`, which returns tensors of B rows, and `decode`, which takes a target and
these.

Source: Graves, "Sequence Transduction with Recurrent Neural Networks"; Sutskever, Vinyals and Le, "Sequence to Sequence
Learning with Neural Networks".
"""

from collections.abc import Iterable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt.beyond.encoder_decoder import END, PAD, START
from babygpt.errors import require
from babygpt.model import LanguageModel, evaluating

MAX_WIDTH = 1000


class Translator(Protocol):
    """What can write a target for a source."""

    def encode(self, source: Tensor) -> Iterable[Tensor]:
        """(B, S) int64 -> tensors with B rows."""

    def decode(self, target: Tensor, *encoded: Tensor) -> Tensor:
        """(B, T) int64 and what `encode` gave -> scores for the token after each one, (B, T, V)."""


@torch.no_grad()
def greedy(model: Translator | LanguageModel, source: Tensor, max_new_tokens: int) -> tuple[Tensor, Tensor]:
    """The likeliest token at each step, until END.

    Args:
        source: (B, S) int64.
        max_new_tokens: where a target ends at the latest.

    Returns:
        target: (B, n) int64, without START; PAD after END.
        score: (B,), the logarithm of the probability of each target.
    """
    B = len(source)
    target = torch.full((B, 1), START, device=source.device)
    score = torch.zeros(B, device=source.device)
    unfinished = torch.ones(B, dtype=torch.bool, device=source.device)
    with evaluating(model):
        encoded = model.encode(source)
        for _ in range(max_new_tokens):
            log_probs = F.log_softmax(model.decode(target, *encoded)[:, -1], dim=-1)  # (B, V)
            best, token = log_probs.max(dim=-1)  # (B,)
            score = score + best * unfinished  # (B,)
            target = torch.cat((target, token.where(unfinished, PAD)[:, None]), dim=1)
            unfinished = unfinished & (token != END)  # (B,)
            if not unfinished.any():
                break
    return target[:, 1:], score


@torch.no_grad()
def beam_search(
    model: Translator | LanguageModel, source: Tensor, max_new_tokens: int, width: int = 4
) -> tuple[Tensor, Tensor]:
    """The best of the targets that are found when the `width` likeliest beginnings are kept at each step.

    A beam that has written END stays as it is, and competes with the others by its probability. There is no bonus for
    longer targets, which translations of sentences need.

    Args:
        source: (B, S) int64.
        max_new_tokens: where a target ends at the latest.
        width: how many beginnings are kept.

    Returns:
        target: (B, n) int64, without START; PAD after END.
        score: (B,), the logarithm of the probability of each target.

    Raises:
        UserError: the width is not from 1 to MAX_WIDTH.
    """
    require(1 <= width <= MAX_WIDTH, f"the width of a beam search must be 1 to {MAX_WIDTH}, and it is {width}")
    B = len(source)
    with evaluating(model):
        encoded = [part.repeat_interleave(width, dim=0) for part in model.encode(source)]  # rows of a source: neighbors
        target = torch.full((B * width, 1), START, device=source.device)
        # All beams start alike. Only the first counts, or the others would be copies of it.
        score = torch.full((B, width), float("-inf"), device=source.device)
        score[:, 0] = 0.0
        unfinished = torch.ones(B * width, dtype=torch.bool, device=source.device)
        for _ in range(max_new_tokens):
            log_probs = F.log_softmax(model.decode(target, *encoded)[:, -1], dim=-1)  # (B * width, V)
            V = log_probs.shape[-1]
            # The only continuation of a target that is complete: PAD, which is free.
            only_pad = torch.full((V,), float("-inf"), device=source.device)
            only_pad[PAD] = 0.0
            log_probs = log_probs.where(unfinished[:, None], only_pad)  # (B * width, V)
            total = (score[:, :, None] + log_probs.view(B, width, V)).flatten(1)  # (B, width * V)
            score, choice = total.topk(width, dim=-1)  # (B, width)
            row = (torch.arange(B, device=source.device)[:, None] * width + choice // V).flatten()
            token = (choice % V).flatten()
            target = torch.cat((target[row], token[:, None]), dim=1)
            unfinished = unfinished[row] & (token != END)
            if not unfinished.any():
                break
    return target.view(B, width, -1)[:, 0, 1:], score[:, 0]  # topk sorts, so the first beam is the best
