"""Finding 3: which head matters?

Switch one head off, and see what the loss does. Each chunk is its own control: the change is taken chunk by chunk, so
what makes a chunk hard cancels. What "off" means is a choice. A head that writes zeros is something that the rest of
the model has never seen. A head that always writes its mean output says nothing about the text at hand, and leaves the
rest at a level it knows.

Source: Michel et al., "Are Sixteen Heads Really Better than One?"
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from babygpt.beyond.inside.chunks import token_losses
from babygpt.beyond.inside.hooks import HeadName, Inside, silence


def head_names(inside: Inside) -> list[HeadName]:
    """All heads, layer by layer."""
    return [(layer, head) for layer, count in enumerate(inside.heads) for head in range(count)]


def changes(inside: Inside, x: Tensor, y: Tensor, mean: bool = False) -> dict[HeadName, Tensor]:
    """For each head the change of the loss of each chunk without it: (B, T) and (B, T) -> (B,) each, in nats.

    Args:
        mean: let the head write its mean output, and not zeros. Not for GPT-2, whose heads are one module.
    """
    before = token_losses(inside.logits(x), y).mean(dim=1)  # (B,)
    found = {}
    for layer, head in head_names(inside):
        value = mean_output(inside, layer, head, x) if mean else 0.0
        with constant(inside, layer, head, value):
            after = token_losses(inside.logits(x), y).mean(dim=1)  # (B,)
        found[layer, head] = after - before
    return found


@contextmanager
def constant(inside: Inside, layer: int, head: int, value: Tensor | float) -> Iterator[None]:
    """Let a head write a constant, (hs,) or a number, for as long as the context lasts."""
    handle = silence(inside.layers[layer], head, value)
    try:
        yield
    finally:
        handle.remove()


def mean_output(inside: Inside, layer: int, head: int, x: Tensor) -> Tensor:
    """What a head writes, averaged over all positions of all chunks: (B, T) -> (hs,)."""
    seen: list[Tensor] = []
    handle = inside.layers[layer][head].register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        inside.logits(x)
    finally:
        handle.remove()
    return seen[0].mean(dim=(0, 1))  # (hs,)
