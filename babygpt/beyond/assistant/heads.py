"""Version 10 with a second head: one number at each token, next to the scores of the next token.

A reward model adds these numbers up over an answer: how good was it? A value head, as PPO has it, reads the number at
each token on the way: how much will still be earned?
"""

from dataclasses import asdict

import torch
from torch import Tensor, nn

from babygpt import v10

Config = v10.Config


class Model(v10.Model):
    """Version 10 and `score_head`, which starts at zero."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.score_head = nn.Linear(config.n_embd, 1)
        nn.init.zeros_(self.score_head.weight)
        nn.init.zeros_(self.score_head.bias)

    @classmethod
    def on_top_of(cls, model: v10.Model) -> "Model":
        """A copy of a language model, with the second head."""
        new = cls(Config(**asdict(model.config)))
        new.load_state_dict(model.state_dict(), strict=False)  # all but the second head
        return new

    def both(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """What both heads say: (B, T) int64 -> logits (B, T, V), scores (B, T)."""
        T = idx.shape[1]
        x = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(T, device=idx.device))
        x = self.body(x)  # (B, T, C)
        return self.lm_head(x), self.score_head(x)[:, :, 0]
