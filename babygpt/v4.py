"""Version 4: the same average, as a softmax over a mask.

New since version 3: a softmax turns scores into the weights. Here the scores are all zero,
and minus infinity where a token would look at a later one, so the weights come out the
same as in version 3. The gain: scores may be any numbers, and the next version computes
them from the tokens.

Source: the lecture's chapter "version 3: adding softmax".
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt import v2
from babygpt.v2 import Config as Config


def average(x: Tensor) -> Tensor:
    """The mean of each token and the tokens before it: (B, T, C) -> (B, T, C)."""
    T = x.shape[1]
    tril = torch.tril(torch.ones(T, T, device=x.device))  # (T, T)
    wei = torch.zeros((T, T), device=x.device)  # (T, T)
    wei = wei.masked_fill(tril == 0, float("-inf"))  # (T, T)
    wei = F.softmax(wei, dim=-1)  # (T, T)
    return wei @ x  # (B, T, C)


class Model(v2.Model):
    """Version 2's model with the average as a softmax over a mask."""

    def body(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return average(x)  # (B, T, C)


if __name__ == "__main__":
    from babygpt.cli import main

    main(4)
