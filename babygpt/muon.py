"""Muon, an optimizer for the weight matrices inside a model.

AdamW scales the step of each number separately. Muon treats a matrix as a whole: it changes all directions by about
the same amount, so that a few strong ones don't drown out the rest.

This is `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, with one difference: PyTorch's version always computes
in bfloat16. Most laptops don't support bfloat16 in hardware, and there it takes many times as long as float32.

Source: Jordan et al., "Muon"; Liu et al., "Muon is Scalable for LLM Training" (the size of the step).
"""

import math
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
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                mean = state["momentum_buffer"].lerp_(p.grad, 1 - MOMENTUM)  # running mean of the gradients
                direction = orthogonalize(p.grad.lerp(mean, MOMENTUM).to(self.dtype))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                # This factor makes a step about as large as one of AdamW, so both can use the same learning rate.
                p.add_(direction, alpha=-group["lr"] * 0.2 * math.sqrt(max(p.shape)))


def orthogonalize(matrix: Tensor) -> Tensor:
    """The same directions, all of about the same strength: (m, n) -> (m, n).

    The singular vectors stay the same, and the singular values become about 1 (between 0.7 and 1.2, or less for those
    that were below 0.005 of the matrix's norm). Dividing by the norm makes them at most 1. Then each iteration of a
    Newton-Schulz method maps a singular value s to a * s + b * s**3 + c * s**5.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # wide, which keeps the products below small
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        update = torch.addmm(gram, gram, gram, beta=b, alpha=c)  # b * gram + c * gram @ gram
        x = torch.addmm(x, update, x, beta=a)  # a * x + update @ x
    return x.T if tall else x
