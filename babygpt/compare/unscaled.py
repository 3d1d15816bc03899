"""Version 5 without the scale `head_size**-0.5`, so that the scores of a large head are large."""

import torch.nn.functional as F
from torch import Tensor

from babygpt import v2, v5
from babygpt.v5 import Config as Config


class Head(v5.Head):
    """Version 5's head, with its scores as they are: (B, T, C) -> (B, T, hs)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, hs)."""
        T = x.shape[1]
        wei = self.query(x) @ self.key(x).transpose(-2, -1)  # (B, T, hs) @ (B, hs, T) -> (B, T, T)
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))  # (B, T, T)
        return F.softmax(wei, dim=-1) @ self.value(x)  # (B, T, T) @ (B, T, hs) -> (B, T, hs)


class Model(v2.Model):
    """Version 5's model with this head."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sa_head = Head(config, head_size=config.n_embd)

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.sa_head(x)  # (B, T, C)
