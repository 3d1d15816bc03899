"""The text that all measurements share, the loss at each of its positions, and how sure a mean is."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt.data import Corpus

CHUNKS = 256
RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean, and the interval around it that holds 95% of the means of resampled data."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def validation_chunks(corpus: Corpus, block_size: int, n: int = CHUNKS) -> tuple[Tensor, Tensor]:
    """Chunks of the validation split, the same each time: evenly spaced, without overlap, at most n.

    Returns:
        x: (B, T) int64, the inputs.
        y: (B, T) int64, the targets.
    """
    room = len(corpus.val) - 1
    B, T = max(1, min(n, room // block_size)), block_size
    starts = torch.arange(B) * (room // B)  # (B,)
    positions = starts[:, None] + torch.arange(T)  # (B, T)
    x = corpus.val[positions].long()  # (B, T)
    y = corpus.val[positions + 1].long()  # (B, T)
    return x, y


def token_losses(logits: Tensor, y: Tensor) -> Tensor:
    """The loss at each position, in nats: (B, T, V) and (B, T) -> (B, T)."""
    return F.cross_entropy(logits.transpose(1, 2), y, reduction="none")  # (B, T)


def interval(values: Tensor, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The mean of some values, (n,), and its 95% interval by the bootstrap.

    What would the mean have been with other chunks of the same kind? Draw n of them again, with replacement, many
    times. The interval leaves out the lowest and the highest 2.5% of these means. It knows nothing of what all chunks
    share: the model, and the author.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife".
    """
    n = len(values)
    drawn = torch.randint(n, (resamples, n), generator=torch.Generator().manual_seed(seed))  # (resamples, n)
    means = values[drawn].mean(dim=1)  # (resamples,)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return Interval(values.mean().item(), low, high)
