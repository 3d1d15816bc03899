"""GPT-2: the network of version 10, with the details that its published weights need.

New since version 10:
- tokens instead of characters (`babygpt/beyond/bpe.py`), and up to 1,024 positions;
- the queries, keys and values of all heads come from one linear layer, `c_attn`;
- GELU instead of ReLU;
- biases in every linear layer, which can be switched off;
- the output layer shares its weights with the token embedding (weight tying);
- the projections that write into the residual stream start smaller, by a factor of sqrt(2 * n_layer).

The parts have the names that they have in OpenAI's files, so that weights can be loaded by name; see
`babygpt/beyond/pretrained.py`.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners"; Karpathy's nanoGPT.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt import v8
from babygpt.errors import require
from babygpt.model import LanguageModel

IGNORED = -1  # a target with this value does not count in the loss


@dataclass(frozen=True)
class Config(v8.Config):
    """The sizes of a GPT-2. The defaults are those of the smallest one, with 124 million parameters."""

    vocab_size: int = 50257
    block_size: int = 1024
    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12

    dropout: float = 0.0
    """Probability that a number is set to zero during training."""

    bias: bool = True
    """Give the linear layers and layer norms inside the model a bias, as GPT-2 does."""

    tied: bool = True
    """Use one matrix both as token embedding and as output layer."""

    gelu: Literal["tanh", "exact"] = "tanh"
    """How to compute GELU: by its approximation with tanh, as GPT-2 does, or exactly, as nanoGPT does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.dropout < 1, f"dropout must be at least 0 and below 1, and it is {self.dropout}")
        require(self.gelu in ("tanh", "exact"), f"gelu must be tanh or exact, and it is {self.gelu!r}")


class CausalSelfAttention(nn.Module):
    """All heads of causal self-attention at once, and their projection: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.n_head, self.dropout = config.n_head, config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=2)  # (B, T, C)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, n_head, T, hs)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, n_head, T, hs)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, n_head, T, hs)
        dropout_p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout_p)  # (B, n_head, T, hs)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
        return self.resid_dropout(self.c_proj(y))  # (B, T, C)


class MLP(nn.Module):
    """The feed-forward layer, which widens, applies GELU and projects back: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)
        self.activation = nn.GELU(approximate="tanh" if config.gelu == "tanh" else "none")

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.activation(self.c_fc(x))  # (B, T, 4 * C)
        return self.dropout(self.c_proj(x))  # (B, T, C)


class Block(nn.Module):
    """Attention and the feed-forward layer, each behind a layer norm and added to its input."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.attn(self.ln_1(x))  # (B, T, C)
        x = x + self.mlp(self.ln_2(x))  # (B, T, C)
        return x  # (B, T, C)


class Model(LanguageModel):
    """GPT-2: token and position embeddings, n_layer blocks, a final norm, the output layer."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tied:
            self.lm_head.weight = self.wte.weight
        self.init_weights()

    def body(self, idx: Tensor) -> Tensor:
        """The vector of each token after the final norm: (B, T) int64 -> (B, T, C)."""
        T = idx.shape[1]
        pos = torch.arange(T, device=idx.device)  # (T,)
        x = self.drop(self.wte(idx) + self.wpe(pos))  # (B, T, C)
        for block in self.h:
            x = block(x)  # (B, T, C)
        return self.ln_f(x)  # (B, T, C)

    def logits(self, idx: Tensor) -> Tensor:
        """A score for every possible next token, at every position: (B, T) int64 -> (B, T, V)."""
        return self.lm_head(self.body(idx))  # (B, T, V)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The logits and, if there are targets, the loss.

        Without targets, only the last position is scored. Generation needs no other, and the output layer is large.

        Args:
            idx: (B, T) int64, T at most block_size.
            targets: (B, T) int64, the token that follows each one in idx, or -1 where none should count.

        Returns:
            logits: (B, T, V), or (B, 1, V) without targets.
            loss: the mean cross-entropy in nats over the targets that count, a scalar, or None without targets.
        """
        if targets is None:
            last = self.body(idx)[:, [-1]]  # (B, 1, C)
            return self.lm_head(last), None
        logits = self.logits(idx)  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)  # ()
        return logits, loss

    @torch.no_grad()
    def init_weights(self) -> None:
        """Start from N(0, 0.02) and zero biases, with smaller weights where a block writes into the residual stream.

        2 * n_layer outputs add up in the stream. With the smaller weights, the variance of their sum does not grow
        with the number of blocks.
        """
        for name, p in self.named_parameters():
            if p.dim() >= 2:
                shrink = math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else 1.0
                nn.init.normal_(p, mean=0.0, std=0.02 / shrink)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def crop_block_size(self, block_size: int) -> None:
        """Forget the positions from `block_size` on, for example to finetune on shorter chunks with less memory.

        Raises:
            UserError: the model has no more than that.
        """
        require(
            1 <= block_size <= self.config.block_size,
            f"the new block_size must be from 1 to the model's {self.config.block_size}, and it is {block_size}",
        )
        self.config = replace(self.config, block_size=block_size)
        self.wpe = nn.Embedding.from_pretrained(self.wpe.weight[:block_size].detach().clone(), freeze=False)


if __name__ == "__main__":
    from babygpt.beyond.command import main
    from babygpt.beyond.models import GPT2

    main(GPT2)
