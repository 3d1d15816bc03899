"""The changes of version 8 one at a time, and the layer norm of version 9, as switches.

The lecture makes them all in one step. With every switch on, the model is version 8, and with layer norm
it is version 9, number for number. With every switch off and one block, it is version 7.
Shapes are (B, T, C) throughout.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from babygpt import v2, v6, v8
from babygpt.errors import require


@dataclass(frozen=True)
class Config(v8.Config):
    """Version 8's sizes, and which of its changes are made."""

    residual: bool = True
    """Add what each part computes to its input; otherwise the output replaces the input."""

    projection: bool = True
    """Mix the outputs of the heads with a linear layer."""

    second_layer: bool = True
    """End the feed-forward part with a second linear layer; otherwise it ends with ReLU, as in version 7."""

    widening: int = 4
    """Width of the feed-forward part between its two linear layers, in multiples of n_embd."""

    layernorm: bool = False
    """Normalize before each part and before lm_head, as version 9 does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        wide = f"without a second layer, widening must be 1, and it is {self.widening}"
        require(self.second_layer or self.widening == 1, wide)


class FeedForward(nn.Module):
    """Linear, ReLU and, if it is switched on, a second linear layer, at each position alone."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.widening * config.n_embd
        layers = [nn.Linear(config.n_embd, width), nn.ReLU()]
        if config.second_layer:
            layers.append(nn.Linear(width, config.n_embd))
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.net(x)  # (B, T, C)


class Block(nn.Module):
    """Communication, then computation: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sa = (v8 if config.projection else v6).MultiHeadAttention(config)
        self.ffwd = FeedForward(config)
        self.ln1 = norm(config)
        self.ln2 = norm(config)
        self.residual = config.residual

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        for part, ln in ((self.sa, self.ln1), (self.ffwd, self.ln2)):
            x = x + part(ln(x)) if self.residual else part(ln(x))
        return x


class Model(v2.Model):
    """Version 2's model with a stack of these blocks."""

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
