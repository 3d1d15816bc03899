"""Version 10: dropout, and the sizes of the lecture's final model.

New since version 9:
- dropout in three places (marked "new"): on the attention weights, after the projection of
  the heads, and at the end of the feed-forward layer;
- the default sizes grow to 10.8 million parameters;
- weights start from N(0, 0.02) and biases from zero, so the first predictions are nearly uniform;
- `FusedMultiHeadAttention` computes all heads at once, with the same parameters.

This file contains the whole body of a GPT. Its embeddings and `lm_head` are version 2's; its
loss and generation are in `babygpt/model.py`.

Source: the lecture's chapters "scaling up the model" and "dropout"; Srivastava et al.,
"Dropout".
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt import fused, v2, v8
from babygpt.errors import require, require_within
from babygpt.kv_cache import KVCache


@dataclass(frozen=True)
class Config(v8.Config):
    """Version 8's sizes at the lecture's full scale, dropout, and how to compute the heads."""

    block_size: int = 256
    n_embd: int = 384
    n_head: int = 6
    n_layer: int = 6

    dropout: float = 0.2
    """Probability that a number is set to zero during training, in each of the three places."""

    init_std: float = 0.02
    """Standard deviation of the initial weights. A narrow model does better with more: 0.05 for n_embd 128."""

    attention: Literal["fused", "loop"] = "fused"
    """All heads at once, or one head at a time: slower, but easier to read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.dropout < 1, f"dropout must be at least 0 and below 1, and it is {self.dropout}")
        require_within(self, 1e-6, 10, "init_std")
        require(self.attention in ("fused", "loop"), f"attention must be fused or loop, and it is {self.attention!r}")


class Head(nn.Module):
    """One head of causal self-attention: (B, T, C) -> (B, T, hs)."""

    def __init__(self, config: Config, head_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(config.n_embd, head_size, bias=False)
        self.query = nn.Linear(config.n_embd, head_size, bias=False)
        self.value = nn.Linear(config.n_embd, head_size, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(config.block_size, config.block_size)))
        self.dropout = nn.Dropout(config.dropout)  # new

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, hs)."""
        T = x.shape[1]
        k = self.key(x)  # (B, T, hs)
        q = self.query(x)  # (B, T, hs)
        wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5  # (B, T, hs) @ (B, hs, T) -> (B, T, T)
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))  # (B, T, T)
        wei = F.softmax(wei, dim=-1)  # (B, T, T)
        wei = self.dropout(wei)  # (B, T, T), new
        v = self.value(x)  # (B, T, hs)
        return wei @ v  # (B, T, T) @ (B, T, hs) -> (B, T, hs)


class MultiHeadAttention(nn.Module):
    """n_head heads, concatenated and projected: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        head_size = config.n_embd // config.n_head
        self.heads = nn.ModuleList([Head(config, head_size) for _ in range(config.n_head)])
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)  # new

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        out = torch.cat([head(x) for head in self.heads], dim=-1)  # (B, T, C)
        return self.dropout(self.proj(out))  # (B, T, C), new: dropout


class FusedMultiHeadAttention(MultiHeadAttention):
    """The same heads with the same parameters, computed all at once: (B, T, C) -> (B, T, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        out = fused.attend(self.heads, x)  # (B, T, C)
        return self.dropout(self.proj(out))  # (B, T, C)


class FeedForward(nn.Module):
    """Widen, ReLU, project back, at each position alone: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd),
            nn.ReLU(),
            nn.Linear(4 * config.n_embd, config.n_embd),
            nn.Dropout(config.dropout),  # new
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.net(x)  # (B, T, C)


class Block(nn.Module):
    """Communication, then computation, each with a layer norm before it and an addition after it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        attention = FusedMultiHeadAttention if config.attention == "fused" else MultiHeadAttention
        self.sa = attention(config)
        self.ffwd = FeedForward(config)
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.sa(self.ln1(x))  # (B, T, C)
        x = x + self.ffwd(self.ln2(x))  # (B, T, C)
        return x  # (B, T, C)


class Model(v2.Model):
    """The lecture's GPT: embeddings, n_layer blocks, a final norm, lm_head."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.apply(self.init_weights)  # new

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.blocks(x)  # (B, T, C)
        return self.ln_f(x)  # (B, T, C)

    def init_weights(self, module: nn.Module) -> None:
        """Initialize a linear layer or an embedding: random weights, zero biases."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=self.config.init_std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def new_cache(self, batch_size: int) -> KVCache:
        """A key/value cache, which makes generation faster."""
        return KVCache(self, batch_size)


if __name__ == "__main__":
    from babygpt.cli import main

    main(10)
