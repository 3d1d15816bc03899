"""All heads of version 10 at once: the result of its loop over heads, in fewer and larger operations.

The parameters stay where they are, in the heads. Only the order of the computation changes, so the two ways
can be compared number for number, and a model trained in one way can be used in the other.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt.byte_dropout import ByteDropout


def qkv_weight(heads: nn.ModuleList) -> Tensor:
    """One tall matrix instead of 3 * n_head small ones: all queries, all keys, all values, (3 * C, C)."""
    return torch.cat([getattr(head, name).weight for name in ("query", "key", "value") for head in heads])


def attend(heads: nn.ModuleList, x: Tensor) -> Tensor:
    """The outputs of all heads, concatenated: (B, T, C) -> (B, T, C)."""
    B, T, C = x.shape
    n_head, dropout = len(heads), heads[0].dropout
    qkv = F.linear(x, qkv_weight(heads))  # (B, T, 3 * C)
    q, k, v = qkv.view(B, T, 3, n_head, C // n_head).permute(2, 0, 3, 1, 4)  # (B, n_head, T, hs)
    out = causal_attention(q, k, v, dropout)  # (B, n_head, T, hs)
    return out.transpose(1, 2).reshape(B, T, C)  # (B, T, C)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, dropout: nn.Dropout, bias: Tensor | None = None) -> Tensor:
    """What each query gathers from the values of its own and of earlier positions: (B, n_head, T, hs).

    Args:
        q, k, v: (B, n_head, T, hs).
        dropout: what to do with the weights.
        bias: (n_head, T, T), added to the scores, with -inf above the diagonal. By default only the future is masked.
    """
    if q.device.type == "cpu" and (v.dtype == torch.bfloat16 or isinstance(dropout, ByteDropout)):
        # Head.forward for all heads: on a CPU in bfloat16 this is faster than the call below. That has its own dropout.
        wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5  # (B, n_head, T, T)
        T = q.shape[-2]
        future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)  # (T, T)
        wei = wei.masked_fill(future, float("-inf")) if bias is None else wei + bias  # (B, n_head, T, T)
        return dropout(F.softmax(wei, dim=-1)) @ v  # (B, n_head, T, hs)
    # The same in one call, which does not have to store wei.
    dropout_p = dropout.p if dropout.training else 0.0
    bias = bias if bias is None else bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, bias, dropout_p, is_causal=bias is None)  # (B, n_head, T, hs)
