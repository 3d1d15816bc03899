"""What all ten versions share: the loss, and generating one token after another.

Source: the lecture's chapter "simplest baseline: bigram language model, loss, generation".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt.errors import require, require_within

MAX_SIZE = 10**7  # of any of a model's sizes: memory runs out long before


@dataclass(frozen=True)
class Config:
    """The sizes of a model. Later versions add fields."""

    vocab_size: int = 65
    """Number of different tokens: the V of (B, T, V)."""

    block_size: int = 8
    """The longest context, in tokens: the largest T of (B, T)."""

    def __post_init__(self) -> None:
        sizes = [name for name, value in vars(self).items() if type(value) is int]
        require_within(self, 1, MAX_SIZE, *sizes)


class LanguageModel(nn.Module):
    """Predicts the next token at every position. Each version defines how, in `logits`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def logits(self, idx: Tensor) -> Tensor:
        """A score for every possible next token: (B, T) int64 -> (B, T, V)."""
        raise NotImplementedError

    def new_cache(self, batch_size: int) -> Any:
        """A key/value cache for faster generation, or None where a model has none. See `babygpt/kv_cache.py`."""
        return None

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The logits and, if there are targets, the loss.

        Args:
            idx: (B, T) int64, T at most block_size.
            targets: (B, T) int64, the token that follows each one in idx.

        Returns:
            logits: (B, T, V).
            loss: the mean cross-entropy in nats, a scalar, or None without targets.
        """
        logits = self.logits(idx)  # (B, T, V)
        if targets is None:
            return logits, None
        # cross_entropy expects the classes in dimension 1, so batch and time are merged into one dimension.
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())  # ()
        return logits, loss

    @torch.no_grad()
    def stream(
        self,
        idx: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
    ) -> Iterator[Tensor]:
        """Continue idx, (B, T) int64 of any length >= 1, and yield each new token, (B, 1), as it is drawn.

        Args:
            temperature: divides the logits; below 1 favors the likely tokens, 0 always takes the likeliest.
            top_k: draw from the k likeliest tokens only.
            generator: the source of randomness, on the model's device; the global one if None.
            top_p: draw from the fewest likeliest tokens that have this probability together.
            repetition_penalty: above 1, tokens that are in the context already become less likely.
        """
        for _ in range(max_new_tokens):
            idx_cond = idx[:, -self.config.block_size :]  # there are no positions past block_size
            with evaluating(self):
                logits, _ = self(idx_cond)
            scores = penalize(logits[:, -1, :], idx_cond, repetition_penalty)  # (B, V)
            idx_next = sample(scores, temperature, top_k, generator, top_p)  # (B, 1)
            idx = torch.cat((idx, idx_next), dim=1)
            yield idx_next

    def generate(self, idx: Tensor, max_new_tokens: int, **options: object) -> Tensor:
        """idx and its continuation: (B, T) -> (B, T + max_new_tokens). The options are those of `stream`."""
        return torch.cat((idx, *self.stream(idx, max_new_tokens, **options)), dim=1)


def sample(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    top_p: float = 1.0,
) -> Tensor:
    """Draw one token from each row of logits: (B, V) -> (B, 1) int64. The arguments are those of `stream`.

    Raises:
        UserError: temperature is negative, top_k is below 1, or top_p is not above 0 and at most 1.
    """
    require(temperature >= 0, f"temperature must be 0 or more, and it is {temperature}")
    require(top_k is None or top_k >= 1, f"top_k must be at least 1, and it is {top_k}")
    require(0 < top_p <= 1, f"top_p must be above 0 and at most 1, and it is {top_p}")
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)  # (B, 1)
    probs = probabilities(logits, temperature, top_k, top_p)  # (B, V)
    return torch.multinomial(probs, num_samples=1, generator=generator)  # (B, 1)


def probabilities(logits: Tensor, temperature: float, top_k: int | None, top_p: float) -> Tensor:
    """What `sample` draws from at a temperature above 0: (B, V) -> (B, V). `torch.multinomial` scales it to 1."""
    logits = logits / temperature  # (B, V)
    if top_k is not None and top_k < logits.shape[-1]:
        kth = logits.topk(top_k, dim=-1).values[:, [-1]]  # (B, 1)
        logits = logits.masked_fill(logits < kth, float("-inf"))  # (B, V)
    probs = F.softmax(logits, dim=-1)  # (B, V)
    return nucleus(probs, top_p) if top_p < 1 else probs  # (B, V)


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Keep the fewest likeliest tokens that have the probability top_p together, and set the others to 0: (B, V).

    The rest is not scaled up to 1; `torch.multinomial` does not need that.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration".
    """
    likeliest, order = probs.sort(dim=-1, descending=True)  # (B, V)
    before = likeliest.cumsum(dim=-1) - likeliest  # (B, V)
    likeliest = likeliest.masked_fill(before >= top_p, 0.0)  # (B, V)
    return torch.zeros_like(probs).scatter(-1, order, likeliest)  # (B, V)


def penalize(logits: Tensor, idx: Tensor, penalty: float) -> Tensor:
    """Make the tokens of idx, (B, T), less likely: divide positive logits by the penalty, multiply others, (B, V).

    Source: Keskar et al., "CTRL: A Conditional Transformer Language Model".

    Raises:
        UserError: the penalty is not above 0.
    """
    require(penalty > 0, f"repetition_penalty must be above 0, and it is {penalty}")
    if penalty == 1:
        return logits
    scores = logits.gather(-1, idx)  # (B, T)
    scores = torch.where(scores > 0, scores / penalty, scores * penalty)  # (B, T)
    return logits.scatter(-1, idx, scores)  # (B, V)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode (dropout off), and afterwards each of its parts back into the mode it was in."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
