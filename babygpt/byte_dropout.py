"""Dropout for CPUs that draws one random number where `nn.Dropout` draws eight.

On CPUs that aren't Intel's, PyTorch draws the random numbers of dropout one after another on a single core. Here one
random integer of 64 bits is cut into eight bytes, and each byte decides about one number. It can take 256 values, all
equally likely, so the rate is a multiple of 1/256: instead of 0.2 it is 51/256, which is 0.199.

The models keep `nn.Dropout`. With `--fast-dropout`, the trainer exchanges it.
"""

import torch
from torch import Tensor, nn

from babygpt.errors import require


class ByteDropout(nn.Dropout):
    """As `nn.Dropout(p)`, with the multiple of 1/256 that is nearest to p.

    Raises:
        UserError: that multiple is 0 or 1, and p is neither.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.k = round(256 * p)
        require(
            p == 0 or 0 < self.k < 256,
            f"fast_dropout drops k of 256 numbers, with k from 1 to 255, and dropout is {p}: leave out --fast-dropout",
        )

    def forward(self, x: Tensor) -> Tensor:
        """Set each number of x to zero with probability k / 256, and scale the others up to make up for it."""
        if not self.training or self.k == 0:
            return x
        n = x.numel()
        draws = torch.empty((n + 7) // 8, dtype=torch.int64).random_(-(2**63), None)  # all 64 bits are random
        keep = draws.view(torch.uint8)[:n].view(x.shape).ge_(self.k)  # each byte becomes 0 or 1
        # The scale comes last: stored in bfloat16 it would be off by up to 0.4%, and the mean of x with it.
        return x * keep.to(x.dtype) * (256 / (256 - self.k))


def use_byte_dropout(model: nn.Module) -> None:
    """Exchange every `nn.Dropout` inside a model. Dropout that a model asks of PyTorch in other ways stays as it is."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                setattr(module, name, ByteDropout(child.p).train(child.training))
