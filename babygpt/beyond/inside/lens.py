"""Finding 4: what would each layer have said?

The stream of vectors passes from block to block, and each block adds to it. The logit lens reads it out early: the
final norm and lm_head, which were trained for the last layer, are given the vectors of an earlier one.

So a high loss of an early layer can have two reasons: the layer doesn't know yet, or it knows and doesn't say it in the
way that lm_head reads.

Source: nostalgebraist, "interpreting GPT: the logit lens".
"""

import torch
from torch import Tensor

from babygpt.beyond.inside.chunks import token_losses
from babygpt.beyond.inside.hooks import Inside


def layer_losses(inside: Inside, x: Tensor, y: Tensor) -> Tensor:
    """The loss of each chunk if the model ended after each layer: (B, T) and (B, T) -> (N, B), in nats.

    Layer 0 is the embedding; the last one is the model itself.
    """
    losses = [token_losses(inside.read_out(stream), y).mean(dim=1) for stream in inside.streams(x)]
    return torch.stack(losses)  # (N, B)


def agreement(inside: Inside, x: Tensor) -> Tensor:
    """In each chunk the share of positions at which a layer's likeliest token is the model's: (B, T) -> (N, B)."""
    guesses = torch.stack([inside.read_out(stream).argmax(dim=-1) for stream in inside.streams(x)])  # (N, B, T)
    return (guesses == guesses[-1]).float().mean(dim=-1)  # (N, B)
