"""Muon, an optimizer for the weight matrices inside a model.

AdamW scales the step of each number separately. Muon treats a matrix as a whole: it changes all directions by about
the same amount, so that a few strong ones don't drown out the rest.

This is `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, with one difference: PyTorch's version always computes
in bfloat16. Most laptops don't support bfloat16 in hardware, and there it takes many times as long as float32.

Matrices of the same shape are orthogonalized together: a few large operations instead of many small ones.

Source: Jordan et al., "Muon"; Liu et al., "Muon is Scalable for LLM Training" (the size of the step).
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    Args:
        params: matrices. The method is not defined for tensors with more or fewer than two dimensions.
        dtype: the precision in which to orthogonalize.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, weight_decay: float, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            same_shape = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    same_shape[p.shape].append(p)
            for (m, n), matrices in same_shape.items():
                directions = orthogonalize(torch.stack([self.mean_gradient(p) for p in matrices]).to(self.dtype))
                # This factor makes a step about as large as one of AdamW, so both can use the same learning rate.
                step_size = group["lr"] * 0.2 * math.sqrt(max(m, n))
                for p, direction in zip(matrices, directions, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(direction, alpha=-step_size)

    def mean_gradient(self, p: Tensor) -> Tensor:
        """Add the gradient of p to its running mean, and return Nesterov's mixture of the two."""
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        mean = state["momentum_buffer"].lerp_(p.grad, 1 - MOMENTUM)
        return p.grad.lerp(mean, MOMENTUM)


def orthogonalize(matrices: Tensor) -> Tensor:
    """The same directions, all of about the same strength, for each of N matrices: (N, m, n) -> (N, m, n).

    The singular vectors stay the same, and the singular values become about 1 (between 0.7 and 1.2, or less for those
    that were below 0.005 of the matrix's norm). Dividing by the norm makes them at most 1. Then each iteration of a
    Newton-Schulz method maps a singular value s to a * s + b * s**3 + c * s**5.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # wide, which keeps the products below small
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        update = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b * gram + c * gram @ gram
        x = torch.baddbmm(x, update, x, beta=a)  # a * x + update @ x
    return x.mT if tall else x
