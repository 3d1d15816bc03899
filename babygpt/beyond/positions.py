"""Five ways to tell a transformer where each token is.

Attention sees a set of vectors: it has no notion of order beyond its causal mask. The lecture adds a learned vector to
each token. The original Transformer adds sines and cosines, RoPE rotates queries and keys, and ALiBi subtracts from
each score in proportion to the distance. The fifth way is to add nothing.

`babygpt/beyond/modern.py` uses all five.

Source: Vaswani et al., "Attention Is All You Need" (sinusoids); Su et al., "RoFormer" (RoPE); Press et al., "Train
Short, Test Long" (ALiBi); Kazemnejad et al., "The Impact of Positional Encoding on Length Generalization" (none).
"""

from typing import Literal

import torch
from torch import Tensor

Positions = Literal["none", "learned", "sinusoidal", "rope", "alibi"]
BASE = 10_000.0


def frequencies(size: int, device: torch.device | None = None) -> Tensor:
    """How fast each pair of numbers turns, in radians per position: from 1 for the first pair to almost 1 / 10,000.

    Args:
        size: an even number of numbers.

    Returns:
        (size / 2,) float32.
    """
    return BASE ** (-torch.arange(0, size, 2, device=device) / size)  # (size / 2,)


def angles(T: int, size: int, device: torch.device | None = None) -> Tensor:
    """The angle of each pair at each position, position times frequency: (T, size / 2)."""
    return torch.outer(torch.arange(T, device=device), frequencies(size, device))  # (T, size / 2)


def sinusoids(T: int, C: int, device: torch.device | None = None) -> Tensor:
    """A fixed vector for each position: the sine of each angle, then its cosine, in turn, (T, C)."""
    a = angles(T, C, device)  # (T, C / 2)
    return torch.stack((a.sin(), a.cos()), dim=-1).flatten(1)  # (T, C / 2, 2) -> (T, C)


def rotate(x: Tensor, a: Tensor) -> Tensor:
    """RoPE: turn each pair of numbers in a query or key by the angle of its position.

    The numbers i and i + hs / 2 are a pair, as in LLaMA. The paper pairs neighbors, which gives the same scores up to
    the order of the numbers.

    Args:
        x: (B, heads, T, hs), the queries or the keys, which may have fewer heads.
        a: (T, hs / 2), the angles.

    Returns:
        (B, heads, T, hs).
    """
    cos, sin = a.cos().to(x.dtype), a.sin().to(x.dtype)  # (T, hs / 2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def alibi(n_head: int, T: int, device: torch.device | None = None) -> Tensor:
    """What ALiBi adds to the scores: minus the distance, times a slope of its own for each head, (n_head, T, T).

    The slopes fall from one head to the next by the same factor, and the last one is 1/256. (For a number of heads that
    is not a power of two, the paper's code chooses other slopes.)
    Above the diagonal, where the key is in the future, the bias is -inf: this is the causal mask, too.
    """
    t = torch.arange(T, device=device)  # (T,)
    distance = t[:, None] - t  # (T, T)
    slopes = 2.0 ** (-8 * torch.arange(1, n_head + 1, device=device) / n_head)  # (n_head,)
    bias = -slopes[:, None, None] * distance  # (n_head, T, T)
    return bias.masked_fill(distance < 0, float("-inf"))  # (n_head, T, T)
