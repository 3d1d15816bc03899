"""All heads of version 10 at once: the result of its loop over heads, in fewer and larger operations.

The parameters stay where they are, in the heads. Only the order of the computation changes, so the two ways
can be compared number for number, and a model trained in one way can be used in the other.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def qkv_weight(heads: nn.ModuleList) -> Tensor:
    """One tall matrix instead of 3 * n_head small ones: all queries, all keys, all values, (3 * C, C)."""
    return torch.cat([getattr(head, name).weight for name in ("query", "key", "value") for head in heads])


def attend(heads: nn.ModuleList, x: Tensor) -> Tensor:
    """The outputs of all heads, concatenated: (B, T, C) -> (B, T, C)."""
    B, T, C = x.shape
    n_head, dropout = len(heads), heads[0].dropout
    qkv = F.linear(x, qkv_weight(heads))  # (B, T, 3 * C)
    q, k, v = qkv.view(B, T, 3, n_head, C // n_head).permute(2, 0, 3, 1, 4)  # (B, n_head, T, hs)
    if x.device.type == "cpu" and qkv.dtype == torch.bfloat16:
        # Head.forward for all heads: on a CPU in bfloat16 this is faster than the call below.
        wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5  # (B, n_head, T, T)
        wei = wei.masked_fill(heads[0].tril[:T, :T] == 0, float("-inf"))  # (B, n_head, T, T)
        out = dropout(F.softmax(wei, dim=-1)) @ v  # (B, n_head, T, hs)
    else:
        # The same in one call, which does not have to store wei.
        dropout_p = dropout.p if dropout.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout_p)  # (B, n_head, T, hs)
    return out.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
