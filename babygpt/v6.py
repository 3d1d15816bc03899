"""Version 6: several heads, side by side.

New since version 5: n_head heads of n_embd / n_head numbers each, concatenated. Every head
reads a token's whole vector and has its own weights, so a token can look for several things
at once. Together they have as many parameters as one wide head.

Source: the lecture's chapter "multi-headed self-attention"; "Attention Is All You Need",
section 3.2.2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from babygpt import v2
from babygpt.errors import require, require_within
from babygpt.v5 import Head


@dataclass(frozen=True)
class Config(v2.Config):
    """Version 2's sizes and the number of heads."""

    n_head: int = 4
    """Heads of attention; n_embd must be a multiple of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, 1, 1000, "n_head")
        require(
            self.n_embd % self.n_head == 0,
            f"n_embd must be a multiple of n_head, because each head gets n_embd / n_head numbers, "
            f"and {self.n_embd} is not a multiple of {self.n_head}",
        )


class MultiHeadAttention(nn.Module):
    """n_head heads of self-attention, concatenated: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        head_size = config.n_embd // config.n_head
        self.heads = nn.ModuleList([Head(config, head_size) for _ in range(config.n_head)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return torch.cat([head(x) for head in self.heads], dim=-1)  # n_head of (B, T, hs) -> (B, T, C)


class Model(v2.Model):
    """Version 2's model with several heads of self-attention."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sa_heads = MultiHeadAttention(config)

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.sa_heads(x)  # (B, T, C)


if __name__ == "__main__":
    from babygpt.cli import main

    main(6)
