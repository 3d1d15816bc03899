"""Generation with a key/value cache: version 10's text, for a fraction of the work.

`LanguageModel.stream` sends the whole context through the model for every new token. Yet no token
can see a later one, so nothing that was computed for the earlier tokens has changed. Only their keys
and values are ever needed again: the new token's query meets the keys, and picks from the values. So
keep those two, and send nothing but the new token through.

There is an end to it. Positions are learned, one vector for each place in the window of block_size
tokens. Once the window is full and moves on by one, every token in it stands at another place, with
another vector, other keys, other values: what was kept is no longer true. There are two ways to go on:

exact   read the window anew for each token. The text is the one without a cache, and as slow.
fast    drop the older half of the window, read the newer half anew, once, and go on with the cache
        until the window is full again. Much faster, but a token sees between half a window and a
        whole one, so from here on the text is another.

Source: Pope et al., "Efficiently Scaling Transformer Inference", section 3 (the cache itself is folklore).
"""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt import v10
from babygpt.errors import require
from babygpt.model import sample

Window = Literal["exact", "fast"]


class KVCache:
    """What every block's heads have made of the tokens read so far.

    `kv` holds keys and values, (n_layer, 2, B, n_head, block_size, hs), filled up to `length`. The cache
    copies the attention weights: one made before a training step is stale after it. It uses no dropout.
    """

    def __init__(self, model: v10.Model, batch_size: int) -> None:
        config, like = model.config, model.lm_head.weight
        shape = 2, batch_size, config.n_head, config.block_size, config.n_embd // config.n_head
        self.model = model
        self.length = 0
        self.kv = like.new_empty((config.n_layer, *shape))
        # A block's queries, keys and values from one matrix, as in v10.FusedMultiHeadAttention.
        self.qkv = [
            torch.cat([getattr(head, name).weight for name in ("query", "key", "value") for head in block.sa.heads])
            for block in model.blocks
        ]

    @torch.no_grad()
    def read(self, idx: Tensor) -> Tensor:
        """Read the tokens that come next, and score what may follow the last: (B, T) int64 -> (B, V).

        There is room for block_size - length tokens.
        """
        T = idx.shape[1]
        pos = torch.arange(self.length, self.length + T, device=idx.device)  # (T,)
        tok_emb = self.model.token_embedding_table(idx)  # (B, T, C)
        x = tok_emb + self.model.position_embedding_table(pos)  # (B, T, C)
        for layer, block in enumerate(self.model.blocks):
            x = x + self.attend(layer, block.ln1(x))  # (B, T, C)
            widen, _, project, _ = block.ffwd.net
            hidden = linear(block.ln2(x), widen.weight, widen.bias).relu()  # (B, T, 4 * C)
            x = x + linear(hidden, project.weight, project.bias)  # (B, T, C)
        self.length += T
        return self.model.lm_head(self.model.ln_f(x[:, -1]))  # (B, V)

    def attend(self, layer: int, x: Tensor) -> Tensor:
        """Let the new tokens look at the old ones and at themselves: (B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        sa, n_head, start = self.model.blocks[layer].sa, self.model.config.n_head, self.length
        qkv = linear(x, self.qkv[layer]).view(B, T, 3, n_head, C // n_head)  # (B, T, 3, n_head, hs)
        qkv = qkv.permute(2, 0, 3, 1, 4)  # (3, B, n_head, T, hs)
        self.kv[layer, :, :, :, start : start + T] = qkv[1:]
        k, v = self.kv[layer, :, :, :, : start + T]  # (B, n_head, start + T, hs)
        # Row t of the mask is that of the token at position start + t. A single new token may see all.
        mask = None if T == 1 else sa.heads[0].tril[start : start + T, : start + T] == 1
        out = F.scaled_dot_product_attention(qkv[0], k, v, attn_mask=mask)  # (B, n_head, T, hs)
        out = out.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
        return linear(out, sa.proj.weight, sa.proj.bias)  # (B, T, C)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, with a short cut for a single token: (B, T, n) -> (B, T, m), with a weight of (m, n).

    With one token there is nothing to compute but one product for each weight: the time goes into
    reading the weights. `vecdot` reads them with all cores, `F.linear` on many CPUs with one.
    """
    if x.device.type != "cpu" or x.numel() > x.shape[-1]:
        return F.linear(x, weight, bias)
    y = torch.linalg.vecdot(weight, x.flatten())
    return (y if bias is None else y + bias).view(1, 1, -1)


def stream(
    model: v10.Model,
    idx: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    window: Window = "exact",
) -> Iterator[Tensor]:
    """As `LanguageModel.stream`, with a cache: the same tokens as long as all fit into block_size.

    Args:
        window: what to do when the window is full, see above. With `exact` all tokens are the same.

    Raises:
        UserError: there is no such window.
    """
    require(window in ("exact", "fast"), f"window must be exact or fast, and it is {window!r}")
    block_size = model.config.block_size
    cache, new = KVCache(model, len(idx)), idx[:, -block_size:]
    for _ in range(max_new_tokens):
        if cache.length + new.shape[1] > block_size:
            cache.length = 0  # forget all, and read the window anew
            new = idx[:, -block_size:] if window == "exact" else idx[:, -((block_size + 1) // 2) :]
        logits = cache.read(new)  # (B, V)
        new = sample(logits, temperature, top_k, generator)  # (B, 1)
        idx = torch.cat((idx, new), dim=1)
        yield new
