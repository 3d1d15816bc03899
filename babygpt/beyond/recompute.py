"""Activation checkpointing: compute what the backward pass needs a second time, rather than keep it.

    python -m babygpt.beyond.gpt2 --activation-checkpointing

In training, nearly every operation keeps its input for the backward pass, so a block leaves many times as many numbers
in memory as it was given. With checkpointing a block keeps only its own input. When the backward pass comes to the
block, its forward pass runs again. The gradients stay the same, with dropout too: its stream is set back first.

This costs a second forward pass of the blocks. A backward pass takes about twice as long as a forward pass, so a step
takes up to a third longer. `benchmarks/memory.py` measures both, the memory and the time.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost".
"""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from babygpt.model import LanguageModel


def checkpoint_activations(model: LanguageModel) -> None:
    """Have every block of the model keep only its input for the backward pass."""
    for block in blocks_of(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def blocks_of(model: LanguageModel) -> nn.ModuleList:
    """The blocks of a model of part two."""
    return next(module for module in model.children() if isinstance(module, nn.ModuleList))
