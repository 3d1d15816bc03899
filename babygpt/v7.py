"""Version 7: a feed-forward layer after attention.

New since version 6: once a token has gathered information from the others, it computes
something from it, on its own, with the same weights at every position. The layer is one
linear layer and a ReLU.

Source: the lecture's chapter "feedforward layers of transformer block".
"""

from torch import Tensor, nn

from babygpt import v2
from babygpt.v6 import Config as Config
from babygpt.v6 import MultiHeadAttention


class FeedForward(nn.Module):
    """A linear layer and a nonlinearity, applied to each position on its own: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(config.n_embd, config.n_embd),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.net(x)  # (B, T, C)


class Model(v2.Model):
    """Version 2's model with communication (the heads) followed by computation (the layer)."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sa_heads = MultiHeadAttention(config)
        self.ffwd = FeedForward(config)

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.sa_heads(x)  # (B, T, C)
        return self.ffwd(x)  # (B, T, C)


if __name__ == "__main__":
    from babygpt.cli import main

    main(7)
