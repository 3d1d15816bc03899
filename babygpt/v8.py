"""Version 8: blocks with residual connections.

New since version 7, four changes at once, as in the lecture:
1. attention and feed-forward form a block, and three blocks follow one another;
2. residual connections: what a part computes is added to its input, so the gradient has a
   path back through the whole stack that consists of nothing but additions;
3. `proj` mixes the heads' outputs before they are added;
4. the feed-forward layer widens to 4 x n_embd, and a second linear layer projects back.

Source: the lecture's chapter "residual connections"; He et al., "Deep Residual Learning".
"""

from dataclasses import dataclass

from torch import Tensor, nn

from babygpt import v2, v6
from babygpt.errors import require_within


@dataclass(frozen=True)
class Config(v6.Config):
    """Version 6's sizes and the number of blocks."""

    n_layer: int = 3
    """Blocks, one after another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, 1, 1000, "n_layer")


class MultiHeadAttention(v6.MultiHeadAttention):
    """Version 6's heads and a projection that mixes their outputs."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        out = super().forward(x)  # (B, T, C)
        return self.proj(out)  # (B, T, C)


class FeedForward(nn.Module):
    """Widen, ReLU, project back, at each position on its own: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd),
            nn.ReLU(),
            nn.Linear(4 * config.n_embd, config.n_embd),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.net(x)  # (B, T, C)


class Block(nn.Module):
    """Communication, then computation, each added to its own input: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sa = MultiHeadAttention(config)
        self.ffwd = FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.sa(x)  # (B, T, C)
        x = x + self.ffwd(x)  # (B, T, C)
        return x  # (B, T, C)


class Model(v2.Model):
    """Version 2's model with a stack of blocks."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.blocks(x)  # (B, T, C)


if __name__ == "__main__":
    from babygpt.cli import main

    main(8)
