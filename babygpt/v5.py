"""Version 5: one head of self-attention.

New since version 4: the scores depend on the tokens. Every token makes a query (what am I
looking for?) and a key (what do I contain?), and the score of token t for token i is the dot
product of t's query and i's key. What gets averaged is not the tokens themselves but their
values (what do I communicate?).

Source: the lecture's chapters "version 4: self-attention" to "inserting a single
self-attention block to our network"; "Attention Is All You Need", section 3.2.1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt import v2
from babygpt.v2 import Config as Config


class Head(nn.Module):
    """One head of causal self-attention: (B, T, C) -> (B, T, hs)."""

    def __init__(self, config: Config, head_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(config.n_embd, head_size, bias=False)
        self.query = nn.Linear(config.n_embd, head_size, bias=False)
        self.value = nn.Linear(config.n_embd, head_size, bias=False)
        # A buffer is not trained, but it moves with the model and is saved with it.
        self.register_buffer("tril", torch.tril(torch.ones(config.block_size, config.block_size)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, hs)."""
        T = x.shape[1]
        k = self.key(x)  # (B, T, hs)
        q = self.query(x)  # (B, T, hs)
        # A sum of hs products grows like the square root of hs; scaling keeps the softmax diffuse.
        wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5  # (B, T, hs) @ (B, hs, T) -> (B, T, T)
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))  # (B, T, T)
        wei = F.softmax(wei, dim=-1)  # (B, T, T)
        v = self.value(x)  # (B, T, hs)
        return wei @ v  # (B, T, T) @ (B, T, hs) -> (B, T, hs)


class Model(v2.Model):
    """Version 2's model with a head of self-attention in place of the average."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sa_head = Head(config, head_size=config.n_embd)

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.sa_head(x)  # (B, T, C)


if __name__ == "__main__":
    from babygpt.cli import main

    main(5)
