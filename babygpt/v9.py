"""Version 9: layer norm.

New since version 8: attention and feed-forward each read a normalized copy of the residual
stream (mean 0 and variance 1 over the C numbers of a token, then a learned scale and shift),
and a final norm comes before `lm_head`. The stream itself is not normalized. This is called
"pre-norm"; the original paper normalized after each addition.

Source: the lecture's chapter "layernorm"; Ba et al., "Layer Normalization".
"""

from torch import Tensor, nn

from babygpt import v2, v8
from babygpt.v8 import Config as Config


class Block(v8.Block):
    """Version 8's block with a layer norm before each of its two parts."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.sa(self.ln1(x))  # (B, T, C)
        x = x + self.ffwd(self.ln2(x))  # (B, T, C)
        return x  # (B, T, C)


class Model(v2.Model):
    """Version 2's model with a stack of normalized blocks and a final norm."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.blocks(x)  # (B, T, C)
        return self.ln_f(x)  # (B, T, C)


if __name__ == "__main__":
    from babygpt.cli import main

    main(9)
