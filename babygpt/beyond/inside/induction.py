"""Finding 5: can it continue what it has seen once?

Take a random string, and write it twice. In the first copy nothing can be predicted. In the second, everything can, by
a model that finds the earlier copy of the current token and reads what came after it. A head that looks there is called
an induction head.

One layer of attention can't do this. What a head sees of a position is that position's own token, and it would have to
find the position *after* the earlier copy, whose own token is the answer. It takes two heads, one after the other: a
head that looks at the previous position, so that each position also knows the token before it; and then a head in a
later layer, which looks for the position that has the current token before it.

Source: Elhage et al., "A Mathematical Framework for Transformer Circuits"; Olsson et al., "In-context Learning and
Induction Heads".
"""

import torch
from torch import Tensor

from babygpt.beyond.inside.chunks import token_losses
from babygpt.beyond.inside.hooks import Inside


def random_strings(n: int, length: int, vocab_size: int, seed: int = 0) -> Tensor:
    """n strings of random tokens, all equally likely: (n, L) int64."""
    return torch.randint(vocab_size, (n, length), generator=torch.Generator().manual_seed(seed))


def copy_losses(inside: Inside, first: Tensor, before: Tensor | None = None) -> Tensor:
    """The loss at each token of a string that follows itself, from its second token on: (B, L) -> (B, L - 1).

    The first token of the second copy is left out: nothing says that the string begins again.

    Args:
        before: let another text, (B, L), come before the string, in place of the string itself.
    """
    L = first.shape[1]
    idx = torch.cat((first if before is None else before, first), dim=1)  # (B, 2 * L)
    losses = token_losses(inside.logits(idx[:, :-1]), idx[:, 1:])  # (B, 2 * L - 1)
    return losses[:, L:]


def alone_losses(inside: Inside, first: Tensor) -> Tensor:
    """The loss at each token of a string with nothing before it, from its second token on: (B, L) -> (B, L - 1)."""
    return token_losses(inside.logits(first[:, :-1]), first[:, 1:])


def induction_score(wei: Tensor, L: int) -> Tensor:
    """The weight from the second copy of a string of L tokens on what came after: (..., 2 L, 2 L) -> (...).

    From position t of the second copy, that is position t - L + 1: the one after the earlier copy of t's token.
    """
    t = torch.arange(L, wei.shape[-1])  # the second copy
    return wei[..., t, t - L + 1].mean(dim=-1)


def string_weights(inside: Inside, first: Tensor) -> Tensor:
    """The attention of all heads over strings that are written twice: (B, L) -> (B, heads, 2 L, 2 L)."""
    twice = torch.cat((first, first), dim=1)
    return torch.stack([torch.cat(inside.attention(string[None])) for string in twice])


def previous_score(wei: Tensor) -> Tensor:
    """The weight on the previous position, averaged over all positions that have one: (..., T, T) -> (...)."""
    return wei.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=-1)
