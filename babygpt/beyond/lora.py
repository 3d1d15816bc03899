"""LoRA: finetuning with a few numbers per matrix, while the pretrained weights stay as they are.

A linear layer computes x W^T. LoRA adds the product of two thin matrices to W:

    W + scale * B A        W (out, in), B (out, r), A (r, in), with a small rank r

Only A and B are trained. B starts from zero, so the model starts as the pretrained one. After training, B A can be
added to W, and the model is as fast as before.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models".
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt.errors import require
from babygpt.model import LanguageModel


class LoRALinear(nn.Module):
    """A linear layer whose weights are frozen, plus a product of two thin matrices: (..., in) -> (..., out)."""

    def __init__(self, base: nn.Linear, rank: int, scale: float = 1.0) -> None:
        super().__init__()
        most = min(base.in_features, base.out_features)
        require(
            1 <= rank <= most, f"the rank must be 1 to {most} for a layer of {tuple(base.weight.shape)}, not {rank}"
        )
        self.base, self.scale = base.requires_grad_(False), scale
        self.A = nn.Parameter(torch.empty(rank, base.in_features, device=base.weight.device))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        nn.init.normal_(self.A, std=1 / math.sqrt(base.in_features))

    def forward(self, x: Tensor) -> Tensor:
        """First to r numbers, then to the size of the output: this way B A is never computed."""
        return self.base(x) + self.scale * F.linear(F.linear(x, self.A), self.B)

    @property
    def weight(self) -> Tensor:
        """W + scale * B A, (out, in), for those who want a single matrix, as the fused heads of version 10 do."""
        return self.base.weight + self.scale * self.B @ self.A

    @property
    def bias(self) -> Tensor | None:
        """The bias of the pretrained layer, frozen as well."""
        return self.base.bias


def add_lora(model: LanguageModel, rank: int, scale: float = 1.0) -> LanguageModel:
    """Freeze a model, and give each linear layer but `lm_head` an A and a B, which can be trained. Changes the model.

    Raises:
        UserError: the rank does not fit a layer.
    """
    model.requires_grad_(False)
    adapted = [(parent, name, LoRALinear(linear, rank, scale)) for parent, name, linear in layers(model, nn.Linear)]
    for parent, name, layer in adapted:
        setattr(parent, name, layer)
    return model


@torch.no_grad()
def merge(model: LanguageModel) -> LanguageModel:
    """Add each B A to its W, and put plain linear layers back. Changes the model."""
    for parent, name, lora in layers(model, LoRALinear):
        lora.base.weight += lora.scale * lora.B @ lora.A
        setattr(parent, name, lora.base)
    return model.requires_grad_(True)


def layers(model: nn.Module, kind: type[nn.Module]) -> list[tuple[nn.Module, str, nn.Module]]:
    """The layers of a kind, but `lm_head`: for each the module that holds it, its name there, and the layer."""
    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, kind) and name not in ("lm_head", "base")
    ]


def trained(model: nn.Module) -> int:
    """The number of parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
