"""The four changes of version 8 one by one, and the layer norm of version 9, as switches.

The lecture makes the four in one step. With all of them on, the model is version 8's, and with
layer norm also on version 9's, number for number; with all off and one block it is version 7's.
Shapes are (B, T, C) throughout.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from babygpt import v2, v6, v7, v8


@dataclass(frozen=True)
class Config(v8.Config):
    """Version 8's sizes, and which of its changes are made."""

    residual: bool = True
    """Add what a part computes to its input; otherwise it takes the place of the input."""

    projection: bool = True
    """Mix the outputs of the heads."""

    widening: int = 4
    """Width of the feed-forward layer: 4 as in version 8, or 1 for version 7's single linear layer."""

    layernorm: bool = False
    """Normalize before each part and before lm_head, as version 9 does."""


class Block(nn.Module):
    """Communication, then computation: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sa = (v8 if config.projection else v6).MultiHeadAttention(config)
        self.ffwd = (v8 if config.widening > 1 else v7).FeedForward(config)
        self.ln1 = norm(config)
        self.ln2 = norm(config)
        self.residual = config.residual

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        for part, ln in ((self.sa, self.ln1), (self.ffwd, self.ln2)):
            x = x + part(ln(x)) if self.residual else part(ln(x))
        return x


class Model(v2.Model):
    """Version 2's model with a stack of such blocks."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])
        self.ln_f = norm(config)

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.ln_f(self.blocks(x))


def norm(config: Config) -> nn.Module:
    """A layer norm, or nothing."""
    return nn.LayerNorm(config.n_embd) if config.layernorm else nn.Identity()
