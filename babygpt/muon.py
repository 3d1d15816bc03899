"""Muon, an optimizer for the weight matrices inside of a model.

AdamW gives each number a step of its own. Muon looks at a matrix as a whole: its step stretches all
directions about alike, so that a few strong ones do not drown the others.

This is `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, but for one thing: that always computes in bfloat16.
Most laptops do not have bfloat16 in hardware, and need many times as long for it as for float32.

Source: Jordan et al., "Muon"; Liu et al., "Muon is Scalable for LLM Training" (the length of the step).
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
        params: matrices; of tensors with more or fewer dimensions there is no sense in what it does.
        dtype: in which the directions are evened out.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, weight_decay: float, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                mean = state["momentum_buffer"].lerp_(p.grad, 1 - MOMENTUM)  # of the gradients, the last ones most
                direction = even_out(p.grad.lerp(mean, MOMENTUM).to(self.dtype))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                # So long is a step of AdamW, more or less: one learning rate serves both.
                p.add_(direction, alpha=-group["lr"] * 0.2 * math.sqrt(max(p.shape)))


def even_out(matrix: Tensor) -> Tensor:
    """A matrix with the same directions, each of about the same strength: (m, n) -> (m, n).

    In the terms of linear algebra: its singular vectors stay, and its singular values become about 1 (0.7 to 1.2; less
    where they were below 0.005 of the matrix's norm). Divided by the norm they are at most 1, and each turn (Newton
    and Schulz's) maps a singular value s to a * s + b * s**3 + c * s**5.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # wide, so that the products below are small
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        update = torch.addmm(gram, gram, gram, beta=b, alpha=c)  # b * gram + c * gram @ gram
        x = torch.addmm(x, update, x, beta=a)  # a * x + update @ x
    return x.T if tall else x
