"""Generation with a key/value cache: version 10's text for a fraction of the work.

`LanguageModel.stream` sends the whole context through the model for every new token. But no token
can see a later one, so nothing that was computed for the earlier tokens has changed. Only their keys
and values are needed again: the query of the new token is compared with the keys, and the values are
averaged. So we keep those two and send only the new token through the model.

This works until the context is full. Positions are learned, with one vector for each position in the
window of block_size tokens. When the full window moves on by one token, every token in it gets a new
position, and with it a new vector, new keys and new values, so the cache is out of date. There are two
ways to go on:

exact   read the whole window again for each token. The text is the same as without a cache, and as slow.
fast    drop the older half of the window, read the newer half again, once, and continue with the cache
        until the window is full again. This is much faster, but a token sees only between half a window
        and a whole one, so from this point on the text is a different one.

Source: Pope et al., "Efficiently Scaling Transformer Inference", section 3 (the cache itself is folklore).
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt.errors import require
from babygpt.fused import qkv_weight
from babygpt.model import LanguageModel, penalize, sample

Window = Literal["exact", "fast"]


class KVCache:
    """The keys and values of all tokens read so far, for every head of every block of a version 10.

    `kv` has the shape (n_layer, 2, B, n_head, block_size, hs) and is filled up to `length`. The cache
    copies the weights of queries, keys and values, so it is out of date after a training step. It uses no dropout.
    """

    def __init__(self, model: LanguageModel, batch_size: int) -> None:
        config, like = model.config, model.lm_head.weight
        shape = 2, batch_size, config.n_head, config.block_size, config.n_embd // config.n_head
        self.model = model
        self.length = 0
        self.kv = like.new_empty((config.n_layer, *shape))
        self.qkv = [qkv_weight(block.sa.heads) for block in model.blocks]

    @torch.no_grad()
    def read(self, idx: Tensor) -> Tensor:
        """Read the next tokens and score what may follow the last one: (B, T) int64 -> (B, V).

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
        """Let the new tokens attend to the old ones and to themselves: (B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        sa, n_head, start = self.model.blocks[layer].sa, self.model.config.n_head, self.length
        qkv = linear(x, self.qkv[layer]).view(B, T, 3, n_head, C // n_head)  # (B, T, 3, n_head, hs)
        qkv = qkv.permute(2, 0, 3, 1, 4)  # (3, B, n_head, T, hs)
        self.kv[layer, :, :, :, start : start + T] = qkv[1:]
        k, v = self.kv[layer, :, :, :, : start + T]  # (B, n_head, start + T, hs)
        # Row t of the mask belongs to the token at position start + t. A single new token may see everything.
        mask = None if T == 1 else sa.heads[0].tril[start : start + T, : start + T] == 1
        out = F.scaled_dot_product_attention(qkv[0], k, v, attn_mask=mask)  # (B, n_head, T, hs)
        out = out.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
        return linear(out, sa.proj.weight, sa.proj.bias)  # (B, T, C)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, with a shortcut for a single token: (B, T, n) -> (B, T, m), with a weight of (m, n).

    For one token there is only one multiplication per weight, so the time goes into reading the
    weights. `F.linear` reads them with a single core on many CPUs. Cut into parts, which are multiplied
    as a batch, they are read with all cores.
    """
    if x.device.type != "cpu" or x.numel() > x.shape[-1]:
        return F.linear(x, weight, bias)
    m, n = weight.shape
    parts = math.gcd(m, 16)
    columns = x.view(1, 1, n).expand(parts, 1, n).mT  # (parts, n, 1)
    y = weight.reshape(parts, m // parts, n) @ columns  # (parts, m // parts, 1)
    return (y.flatten() if bias is None else y.flatten() + bias).view(1, 1, m)


def stream(
    model: LanguageModel,
    idx: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    window: Window = "exact",
) -> Iterator[Tensor]:
    """As `LanguageModel.stream`, with the model's cache: the same tokens as long as they fit into block_size.

    Args:
        window: what to do when the window is full, see above. With `exact` all tokens are the same.

    Raises:
        UserError: there is no such window, or the model has no cache.
    """
    require(window in ("exact", "fast"), f"window must be exact or fast, and it is {window!r}")
    block_size = model.config.block_size
    cache, new = model.new_cache(len(idx)), idx[:, -block_size:]
    require(cache is not None, f"{type(model).__module__} has no cache: generate without one")
    for _ in range(max_new_tokens):
        if cache.length + new.shape[1] > block_size:
            cache.length = 0  # forget everything, and read the window again
            new = idx[:, -block_size:] if window == "exact" else idx[:, -((block_size + 1) // 2) :]
        logits = cache.read(new)  # (B, V)
        logits = penalize(logits, idx[:, -block_size:], repetition_penalty)  # (B, V)
        new = sample(logits, temperature, top_k, generator, top_p)  # (B, 1)
        idx = torch.cat((idx, new), dim=1)
        yield new
