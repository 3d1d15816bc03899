"""What happens inside a model, seen through PyTorch's hooks: functions that a module calls before or after its forward.

Four things can be done. The attention weights say how much each head takes from each earlier position. A head can be
switched off: its output becomes zero, and what the model says then shows what the head was good for. The logit lens
gives the stream of vectors between two blocks to the end of the model (the final norm and lm_head), as if the blocks
after it did not exist: what would the model have said so far? And a vector of the stream can be replaced by one from
another text, which is called patching.

The versions with blocks have all four. Versions 5 to 7 have no residual stream, and versions 2 to 4 only an average.

Source: nostalgebraist, "interpreting GPT: the logit lens"; Michel et al., "Are Sixteen Heads Really Better than One?";
Heimersheim and Nanda, "How to Use and Interpret Activation Patching".
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt import v5, v10
from babygpt.beyond import gpt2, modern
from babygpt.errors import require
from babygpt.model import LanguageModel, evaluating
from babygpt.versions import find_version

HeadName = tuple[int, int]
"""The layer and the head, both counted from 0."""

Weights = list[Tensor]
"""For each layer the attention weights of its heads, (n_head, T, T)."""


class Inside:
    """The parts of a model that can be seen or switched off. Where a model has none, the lists are empty.

    Raises:
        UserError: the model computes all heads at once, so none of them can be seen.
    """

    def __init__(self, model: LanguageModel) -> None:
        require(
            not any(isinstance(module, v10.FusedMultiHeadAttention) for module in model.modules()),
            "this model computes all heads at once, so none of them can be seen: use one_head_at_a_time(model)",
        )
        self.model = model
        self.layers = find_heads(model)
        version = find_version(type(model).__module__)
        number = version.number if version else None
        self.averages = number in (2, 3, 4)
        self.sees = 1 if number == 1 else model.config.block_size  # tokens
        self.blocks = find_blocks(model)

    @property
    def heads(self) -> list[int]:
        """The number of heads in each layer. The average of versions 2 to 4 counts as a head."""
        return [1] if self.averages else [count_heads(layer) for layer in self.layers]

    @property
    def can_switch(self) -> bool:
        """Whether the heads can be switched off. An average cannot: nothing would be left."""
        return bool(self.layers)

    @property
    def layer_names(self) -> list[str]:
        """Where the logit lens looks, from the bottom up."""
        return ["embedding", *(f"block {n}" for n in range(1, len(self.blocks) + 1))] if self.blocks else []

    @torch.no_grad()
    def logits(self, idx: Tensor, off: Collection[HeadName] = ()) -> Tensor:
        """What may come next at each position, with some heads switched off: (B, T) int64 -> (B, T, V)."""
        with self.switched_off(off), evaluating(self.model):
            logits = self.model.logits(idx)  # (B, T, V)
        return logits

    def attention(self, idx: Tensor, off: Collection[HeadName] = ()) -> Weights:
        """How much each head takes from each position: (1, T) int64 -> for each layer (n_head, T, T)."""
        if self.averages:
            T = idx.shape[1]
            tril = torch.tril(torch.ones(T, T))  # (T, T)
            return [(tril / tril.sum(dim=1, keepdim=True))[None]]
        found: Weights = []
        with ExitStack() as stack:
            for layer in self.layers:
                stack.enter_context(watch(layer, found.append))
            self.logits(idx, off)
        return found

    @torch.no_grad()
    def streams(self, idx: Tensor, off: Collection[HeadName] = ()) -> list[Tensor]:
        """The vectors of all positions before the first block and after each one: (B, T) int64 -> (B, T, C) each."""
        streams: list[Tensor] = []
        with ExitStack() as stack:
            for block in self.blocks[:1]:
                before = block.register_forward_pre_hook(lambda block, inputs: streams.append(inputs[0]))
                stack.callback(before.remove)
            for block in self.blocks:
                after = block.register_forward_hook(lambda block, inputs, output: streams.append(output))
                stack.callback(after.remove)
            self.logits(idx, off)
        return streams

    @torch.no_grad()
    def read_out(self, x: Tensor) -> Tensor:
        """What the end of the model, its final norm and lm_head, makes of vectors: (..., C) -> (..., V)."""
        norm = getattr(self.model, "ln_f", getattr(self.model, "norm", nn.Identity()))
        return self.model.lm_head(norm(x))

    def lens(self, idx: Tensor, off: Collection[HeadName] = (), last: int = 64) -> Tensor:
        """What each of the N layers would have said, at the last L positions: (1, T) int64 -> (N, L, V).

        The first layer is the embedding, and the last one is what the model says.
        """
        streams = self.streams(idx, off)
        N, L = len(streams), min(last, idx.shape[1])
        if not streams:
            return torch.empty(N, L, self.model.config.vocab_size)  # (N, L, V)
        return self.read_out(torch.cat(streams)[:, -L:])  # (N, L, V)

    @torch.no_grad()
    def patched(self, idx: Tensor, layer: int, position: int, vectors: Tensor) -> Tensor:
        """The logits with the stream at one layer and position replaced: (B, T) int64 and (B, C) -> (B, T, V).

        Args:
            layer: as in `streams`, but not the last: 0 is the embedding, 1 is after the first block.
        """

        def replace(block: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            x = inputs[0].clone()  # (B, T, C)
            x[:, position] = vectors
            return (x,)

        handle = self.blocks[layer].register_forward_pre_hook(replace)
        try:
            logits = self.logits(idx)  # (B, T, V)
        finally:
            handle.remove()
        return logits

    @contextmanager
    def switched_off(self, off: Collection[HeadName]) -> Iterator[None]:
        """Let some heads write zeros, for as long as the context lasts."""
        with ExitStack() as stack:
            for layer, head in off:
                stack.callback(silence(self.layers[layer], head).remove)
            yield


Layer = list[nn.Module] | gpt2.CausalSelfAttention
"""The heads of a layer: modules of their own in versions 5 to 10, one module in GPT-2."""


def find_heads(model: LanguageModel) -> list[Layer]:
    """The layers with attention, from the bottom up. Modern models have none here: each computes it in its own way."""
    if isinstance(model, gpt2.Model):
        return [block.attn for block in model.h]
    layers: dict[str, list[nn.Module]] = {}
    for name, module in model.named_modules():
        if isinstance(module, v5.Head | v10.Head):
            layers.setdefault(name.partition("heads")[0], []).append(module)
    return list(layers.values())


def find_blocks(model: LanguageModel) -> list[nn.Module]:
    """The blocks along the residual stream."""
    if isinstance(model, gpt2.Model):
        return list(model.h)
    if isinstance(model, modern.Model):
        return list(model.layers)
    return list(getattr(model, "blocks", []))


def count_heads(layer: Layer) -> int:
    """How many heads a layer has."""
    return layer.n_head if isinstance(layer, gpt2.CausalSelfAttention) else len(layer)


@contextmanager
def watch(layer: Layer, keep: Callable[[Tensor], None]) -> Iterator[None]:
    """Give the attention weights of a layer, (n_head, T, T), to `keep` when the model next computes them."""
    if isinstance(layer, gpt2.CausalSelfAttention):

        def after_all(c_attn: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            T, C = output.shape[1], output.shape[2] // 3
            q, k, _ = output[0].split(C, dim=1)  # (T, C)
            q, k = (part.view(T, layer.n_head, -1).transpose(0, 1) for part in (q, k))  # (n_head, T, hs)
            keep(causal_softmax(q, k))

        handles = [layer.c_attn.register_forward_hook(after_all)]
    else:
        weights: list[Tensor] = []

        def after_one(head: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            weights.append(causal_softmax(head.query(inputs[0]), head.key(inputs[0])))
            if head is layer[-1]:
                keep(torch.cat(weights))

        handles = [head.register_forward_hook(after_one) for head in layer]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def causal_softmax(q: Tensor, k: Tensor) -> Tensor:
    """The weights of attention, as `v5.Head` computes them: (N, T, hs) and (N, T, hs) -> (N, T, T)."""
    N, T, hs = q.shape
    wei = q @ k.transpose(-2, -1) * hs**-0.5  # (N, T, hs) @ (N, hs, T) -> (N, T, T)
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)  # (T, T)
    wei = wei.masked_fill(future, float("-inf"))  # (N, T, T)
    return F.softmax(wei, dim=-1)  # (N, T, T)


def silence(layer: Layer, head: int, value: Tensor | float = 0.0) -> torch.utils.hooks.RemovableHandle:
    """Let a head write zeros, or another constant (hs,), until the hook is removed."""
    if isinstance(layer, gpt2.CausalSelfAttention):

        def clear(c_proj: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            y = inputs[0].clone()  # (B, T, C), the heads side by side
            hs = y.shape[-1] // layer.n_head
            y[..., head * hs : (head + 1) * hs] = value
            return (y,)

        return layer.c_proj.register_forward_pre_hook(clear)
    return layer[head].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output) + value)
