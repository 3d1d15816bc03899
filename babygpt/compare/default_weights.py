"""Version 10 with the initial weights that versions 1 to 9 have: PyTorch's default, instead of N(0, 0.02)."""

from torch import nn

from babygpt import v10
from babygpt.v10 import Config as Config


class Model(v10.Model):
    """Version 10's model, its weights left as PyTorch drew them."""

    def init_weights(self, module: nn.Module) -> None:
        """Leave the weights alone."""
