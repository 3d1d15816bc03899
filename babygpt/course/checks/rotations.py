"""What the checks of lesson 14 compare with: tensors, and pairs of numbers that turn."""

import torch
from torch import Tensor


def close(a: Tensor, b: Tensor, atol: float = 1e-4) -> bool:
    """Whether two tensors have the same shape and, compared in float64, the same values."""
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), atol=atol, rtol=1e-5)


def turned(x: Tensor, frequencies: Tensor, neighbors: bool = False) -> Tensor:
    """Each pair of x turned by position times frequency, in float64: halves are pairs, or neighbors are."""
    a = torch.outer(torch.arange(x.shape[-2]).double(), frequencies.double())
    first, second = (x[..., 0::2], x[..., 1::2]) if neighbors else x.chunk(2, dim=-1)
    first, second = first.double(), second.double()
    return torch.cat((first * a.cos() - second * a.sin(), second * a.cos() + first * a.sin()), dim=-1)


def pair_turn(angle: Tensor) -> Tensor:
    """The matrix that takes (sin p, cos p) to (sin(p + angle), cos(p + angle))."""
    angle = angle.double()
    return torch.stack((angle.cos(), angle.sin(), -angle.sin(), angle.cos())).view(2, 2)


def halves_matrix(angles: Tensor) -> Tensor:
    """The same for all pairs, if the sines came first and the cosines after them."""
    cos, sin = angles.cos().diag(), angles.sin().diag()
    return torch.cat((torch.cat((cos, sin), dim=1), torch.cat((-sin, cos), dim=1)))
