"""How a model is trained: the settings, and the learning rate that follows from them."""

import math
from dataclasses import dataclass
from typing import Literal

from babygpt.errors import require, require_within

MAX_COUNT = 10**9  # of anything that training counts: steps, batches, chunks


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are the lecture's for its small models."""

    max_iters: int = 5000
    """Total number of training steps."""

    batch_size: int = 32
    """Chunks of text per step: the B of (B, T)."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """How gradients become steps: AdamW for all weights, or Muon for the matrices inside the model."""

    learning_rate: float = 1e-3
    """Step size; with a schedule, its peak."""

    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """What the learning rate does after the warm-up: stay the same, or fall to min_lr at max_iters."""

    min_lr: float = 0.0
    """Where a learning rate that falls ends."""

    warmup_iters: int = 0
    """Steps over which the learning rate rises linearly from 0."""

    weight_decay: float = 0.01
    """How strongly the optimizer pulls the weights toward 0."""

    decay: Literal["all", "matrices"] = "all"
    """Which weights weight_decay applies to: all, or those with two dimensions or more, which leaves out biases."""

    beta2: float = 0.999
    """AdamW averages squared gradients over about the last 1 / (1 - beta2) steps."""

    grad_clip: float = 0.0
    """Gradients with a larger norm (over all parameters) are scaled down to it; 0 means no limit."""

    accumulation: int = 1
    """Batches whose gradients are averaged for one step, where a larger batch would not fit into memory."""

    eval_interval: int = 500
    """Steps between evaluations; each one also saves a checkpoint."""

    eval_iters: int = 200
    """Batches per split that an evaluation averages over."""

    seed: int = 1337
    """Seed of the weights, the batches, dropout and the sample."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto means cuda if there is one, otherwise cpu."""

    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Precision of matrix products; auto means bfloat16 on a GPU or CPU with hardware support, otherwise float32."""

    compile: bool = False
    """Compile the model with torch.compile first. On a CPU this takes half a minute and hardly pays; it needs a C++
    compiler."""

    fast_dropout: bool = False
    """On a CPU, draw dropout's random numbers eight at a time. The rate becomes a multiple of 1/256."""

    def __post_init__(self) -> None:
        require_within(self, 1, MAX_COUNT, "max_iters", "batch_size", "accumulation", "eval_interval", "eval_iters")
        require_within(self, 0, MAX_COUNT, "warmup_iters", "weight_decay", "grad_clip")
        require_within(self, 0, 2**63 - 1, "seed")
        require(0 < self.learning_rate < math.inf, f"learning_rate must be above 0, and it is {self.learning_rate}")
        require(0 <= self.beta2 < 1, f"beta2 must be at least 0 and below 1, and it is {self.beta2}")
        require(
            0 <= self.min_lr <= self.learning_rate,
            f"min_lr must be from 0 to learning_rate, which is {self.learning_rate}, and it is {self.min_lr}",
        )


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of step `step` (0, 1, ...): the warm-up, then the schedule."""
    if step < config.warmup_iters:
        return config.learning_rate * (step + 1) / config.warmup_iters
    done = (step - config.warmup_iters) / max(1, config.max_iters - config.warmup_iters)
    left = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
    return config.min_lr + (config.learning_rate - config.min_lr) * left[config.lr_schedule]
