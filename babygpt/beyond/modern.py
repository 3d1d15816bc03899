"""A modern GPT: version 10, and what has been swapped since, each part behind a setting.

With its default settings this is version 10 without dropout, number for number. Each setting changes one thing:
- `positions`: none, learned, sinusoidal, RoPE or ALiBi (`babygpt/beyond/positions.py`);
- `norm` and `norm_at`: RMSNorm instead of layer norm; after the addition instead of before each part;
- `mlp`: GELU, squared ReLU or SwiGLU instead of ReLU;
- `n_kv_head`: fewer keys and values than queries (grouped-query attention);
- `qk_norm`: normalize queries and keys;
- `zero_proj`: start the projections into the residual stream from zero;
- `bias` and `tied`: no biases; one matrix for embedding and output;
- `ngrams`: a vector for each pair or triple of neighboring tokens, too.

The recipe `llama` sets them as LLaMA does, and the parts have LLaMA's names.

Source: Zhang and Sennrich (RMSNorm), Shazeer (SwiGLU), So et al. (squared ReLU), Ainslie et al. (grouped-query
attention), Henry et al. (QK-norm), Xiong et al. (pre-norm and post-norm), Huang et al., "Over-Tokenized Transformer"
(n-grams), Touvron et al. (LLaMA).
"""

from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt import fused, v8
from babygpt.beyond import positions
from babygpt.beyond.positions import Positions
from babygpt.errors import require, require_within
from babygpt.model import LanguageModel

EPS = 1e-5
MAX_ROWS = 16_381  # of a table of n-grams; a prime, so that n-grams that share a row have little in common


@dataclass(frozen=True)
class Config(v8.Config):
    """Version 10's sizes, and a choice for each part."""

    block_size: int = 256
    n_embd: int = 384
    n_head: int = 6
    n_layer: int = 6

    dropout: float = 0.0
    """Probability that a number is set to zero during training."""

    init_std: float = 0.02
    """Standard deviation of the initial weights."""

    positions: Positions = "learned"
    """How the model knows where each token is."""

    norm: Literal["layer", "rms"] = "layer"
    """Layer norm, or RMSNorm, which does not subtract the mean."""

    norm_at: Literal["pre", "post"] = "pre"
    """Normalize what goes into each part, or, as the original Transformer does, the sum that comes after it."""

    activation: Literal["relu", "gelu", "relu2", "swiglu"] = "relu"
    """The nonlinearity of the feed-forward layer. SwiGLU has a third matrix, and is narrower to make up for it."""

    n_kv_head: int | None = None
    """Heads of keys and values, each shared by several heads of queries. By default, each has its own."""

    qk_norm: bool = False
    """Scale each query and each key to a root mean square of 1 before comparing them."""

    zero_proj: bool = False
    """Start the projections into the residual stream from zero: with pre-norm, each block then starts as identity."""

    tied: bool = False
    """Use one matrix both as token embedding and as output layer."""

    ngrams: int = 1
    """Up to how many neighboring tokens have a vector of their own: 1 for tokens alone, 2 for pairs too, and so on."""

    bias: bool = True
    """Give norms, projections, feed-forward layers and the output layer a bias, as version 10 does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.dropout < 1, f"dropout must be at least 0 and below 1, and it is {self.dropout}")
        require_within(self, 1e-6, 10, "init_std")
        require(
            self.n_kv_head is None or self.n_head % self.n_kv_head == 0,
            f"n_kv_head must divide n_head, which is {self.n_head}, and it is {self.n_kv_head}",
        )
        for field in fields(self):
            choices, value = get_args(field.type), getattr(self, field.name)
            strings = [choice for choice in choices if isinstance(choice, str)]
            require(not strings or value in strings, f"{field.name} must be one of {strings}, and it is {value!r}")
        require(
            self.positions != "sinusoidal" or self.n_embd % 2 == 0,
            f"sines and cosines come in pairs, so n_embd must be even, and it is {self.n_embd}",
        )
        head_size = self.n_embd // self.n_head
        require(
            self.positions != "rope" or head_size % 2 == 0,
            f"RoPE turns pairs of numbers, so n_embd / n_head must be even, and it is {head_size}",
        )

    @property
    def width(self) -> int:
        """Numbers between the matrices of the feed-forward layer: as many as give it 8 * n_embd**2 weights."""
        return round(8 * self.n_embd / 3) if self.activation == "swiglu" else 4 * self.n_embd


def new_norm(config: Config) -> nn.Module:
    """Layer norm or RMSNorm, over the last dimension."""
    if config.norm == "rms":
        return nn.RMSNorm(config.n_embd, eps=EPS)
    return nn.LayerNorm(config.n_embd, bias=config.bias)


class NgramEmbedding(nn.Module):
    """A vector for each token together with those before it: (B, T) int64 -> (B, T, C). All start from zero.

    Only a lookup, so a step takes hardly longer, however large the tables are. If there are more possible n-grams than
    rows, several share a row.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.vocab_size = V = config.vocab_size
        rows = [min(V**n, MAX_ROWS) for n in range(2, config.ngrams + 1)]
        self.tables = nn.ModuleList([nn.Embedding(count, config.n_embd) for count in rows])

    def forward(self, idx: Tensor) -> Tensor:
        """The sum over pairs, triples, and so on; before the first token, token 0 is assumed: (B, T) -> (B, T, C)."""
        ngram, before, out = idx, idx, 0
        for table in self.tables:
            before = F.pad(before[:, :-1], (1, 0))  # (B, T)
            ngram = (ngram * self.vocab_size + before) % MAX_ROWS  # (B, T)
            out = out + table(ngram % table.num_embeddings)
        return out  # (B, T, C)


class Attention(nn.Module):
    """Causal self-attention with shared keys and values: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.head_size = config.n_embd // config.n_head
        kv_size = self.head_size * (config.n_kv_head or config.n_head)
        self.q_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.k_proj = nn.Linear(config.n_embd, kv_size, bias=False)
        self.v_proj = nn.Linear(config.n_embd, kv_size, bias=False)
        self.o_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        config, hs = self.config, self.head_size
        q = self.q_proj(x).view(B, T, -1, hs).transpose(1, 2)  # (B, n_head, T, hs)
        k = self.k_proj(x).view(B, T, -1, hs).transpose(1, 2)  # (B, n_kv_head, T, hs)
        v = self.v_proj(x).view(B, T, -1, hs).transpose(1, 2)  # (B, n_kv_head, T, hs)
        if config.qk_norm:
            q, k = F.rms_norm(q, (hs,), eps=EPS), F.rms_norm(k, (hs,), eps=EPS)
        if config.positions == "rope":
            a = positions.angles(T, hs, x.device)  # (T, hs / 2)
            q, k = positions.rotate(q, a), positions.rotate(k, a)
        shared = config.n_head // k.shape[1]
        if shared > 1:
            k = k.repeat_interleave(shared, dim=1)  # (B, n_head, T, hs)
            v = v.repeat_interleave(shared, dim=1)  # (B, n_head, T, hs)
        bias = positions.alibi(config.n_head, T, x.device) if config.positions == "alibi" else None
        y = fused.causal_attention(q, k, v, self.dropout, bias)  # (B, n_head, T, hs)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
        return self.dropout(self.o_proj(y))  # (B, T, C)


class MLP(nn.Module):
    """The feed-forward layer: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.activation = config.activation
        if config.activation == "swiglu":
            self.gate_proj = nn.Linear(config.n_embd, config.width, bias=config.bias)
        self.up_proj = nn.Linear(config.n_embd, config.width, bias=config.bias)
        self.down_proj = nn.Linear(config.width, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        up = self.up_proj(x)  # (B, T, width)
        if self.activation == "swiglu":
            h = F.silu(self.gate_proj(x)) * up  # (B, T, width)
        elif self.activation == "relu2":
            h = F.relu(up).square()  # (B, T, width)
        else:
            h = F.gelu(up) if self.activation == "gelu" else F.relu(up)  # (B, T, width)
        return self.dropout(self.down_proj(h))  # (B, T, C)


class Block(nn.Module):
    """Attention and the feed-forward layer, with a norm before each or after each: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm_at = config.norm_at
        self.input_layernorm = new_norm(config)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = new_norm(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        if self.norm_at == "post":
            x = self.input_layernorm(x + self.self_attn(x))  # (B, T, C)
            return self.post_attention_layernorm(x + self.mlp(x))  # (B, T, C)
        x = x + self.self_attn(self.input_layernorm(x))  # (B, T, C)
        return x + self.mlp(self.post_attention_layernorm(x))  # (B, T, C)


class Model(LanguageModel):
    """Embeddings, n_layer blocks, a final norm where the blocks have theirs inside, lm_head."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.n_embd)
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.block_size, config.n_embd)
        if config.ngrams > 1:
            self.embed_ngrams = NgramEmbedding(config)
        self.layers = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.norm = new_norm(config) if config.norm_at == "pre" else nn.Identity()
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=config.bias)
        if config.tied:
            self.lm_head.weight = self.embed_tokens.weight
        self.init_weights()

    def logits(self, idx: Tensor) -> Tensor:
        """A score for every possible next token, at every position: (B, T) int64 -> (B, T, V).

        T may be longer than block_size, unless positions are learned.
        """
        T = idx.shape[1]
        x = self.embed_tokens(idx)  # (B, T, C)
        if self.config.ngrams > 1:
            x = x + self.embed_ngrams(idx)  # (B, T, C)
        if self.config.positions == "learned":
            x = x + self.embed_positions(torch.arange(T, device=idx.device))  # (B, T, C)
        elif self.config.positions == "sinusoidal":
            # As large as the token embeddings at the start. The paper enlarges the tokens instead.
            x = x + self.config.init_std * positions.sinusoids(T, x.shape[-1], idx.device)  # (B, T, C)
        for block in self.layers:
            x = block(x)  # (B, T, C)
        return self.lm_head(self.norm(x))  # (B, T, V)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Start from N(0, init_std) and zero biases, and with `zero_proj` from zero where a block ends."""
        for name, p in self.named_parameters():
            if p.dim() >= 2:
                nn.init.normal_(p, mean=0.0, std=self.config.init_std)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
            starts_at_zero = ("o_proj.weight", "down_proj.weight") if self.config.zero_proj else ()
            if name.endswith(starts_at_zero) or "embed_ngrams" in name:
                nn.init.zeros_(p)


if __name__ == "__main__":
    from babygpt.beyond.command import main
    from babygpt.beyond.models import MODERN

    main(MODERN)
