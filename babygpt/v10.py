"""Version 10: dropout, and the sizes of the lecture's last model.

New since version 9:
- dropout in three places (marked "new"): on the attention weights, after the projection of
  the heads, and at the end of the feed-forward layer;
- n_layer, n_head and dropout are settings, and the sizes grow: 10.8 million parameters;
- weights start from N(0, 0.02), biases from zero, so that the first guesses are nearly even;
- `FusedMultiHeadAttention` computes all heads at once, from the same parameters.

The file holds the whole body of a GPT; its embeddings and `lm_head` are version 2's, its
loss and generation those of `babygpt/model.py`.

Source: the lecture's chapters "scaling up the model" and "dropout"; Srivastava et al.,
"Dropout".
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt import v2, v8
from babygpt.errors import require


@dataclass(frozen=True)
class Config(v8.Config):
    """Version 8's sizes at the lecture's full scale, dropout, and how the heads are computed."""

    block_size: int = 256
    n_embd: int = 384
    n_head: int = 6
    n_layer: int = 6

    dropout: float = 0.2
    """Share of numbers set to zero in training, in each of the three places."""

    init_std: float = 0.02
    """Spread of the first weights. Narrow models like more: 0.05 for n_embd 128."""

    attention: Literal["fused", "loop"] = "fused"
    """All heads at once, or head by head: slower, and easier to read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.dropout < 1, f"dropout must be 0 or more and below 1, and it is {self.dropout}")
        require(0 < self.init_std <= 10, f"init_std must be above 0 and at most 10, and it is {self.init_std}")
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
    """The same heads with the same parameters, all in one go: (B, T, C) -> (B, T, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        n_head, dropout = len(self.heads), self.heads[0].dropout
        # One tall matrix instead of 3 * n_head small ones: all queries, all keys, all values.
        projections = [getattr(head, name) for name in ("query", "key", "value") for head in self.heads]
        qkv = F.linear(x, torch.cat([linear.weight for linear in projections]))  # (B, T, 3 * C)
        q, k, v = qkv.view(B, T, 3, n_head, C // n_head).permute(2, 0, 3, 1, 4)  # (B, n_head, T, hs)
        if x.device.type == "cpu" and qkv.dtype == torch.bfloat16:
            # Head.forward, for all heads: here faster than the call below.
            wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5  # (B, n_head, T, T)
            wei = wei.masked_fill(self.heads[0].tril[:T, :T] == 0, float("-inf"))  # (B, n_head, T, T)
            out = dropout(F.softmax(wei, dim=-1)) @ v  # (B, n_head, T, hs)
        else:
            # The same in one call, which can skip storing wei.
            dropout_p = dropout.p if self.training else 0.0
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout_p)  # (B, n_head, T, hs)
        out = out.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
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
    """Communication, then computation, each normalized before and added after."""

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
    """The lecture's GPT: embeddings, n_layer blocks, a last norm, lm_head."""

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
        """Draw the weights of a linear layer or an embedding anew; biases become zero."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=self.config.init_std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


if __name__ == "__main__":
    from babygpt.cli import main

    main(10)
