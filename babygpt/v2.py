"""Version 2: averaging the past, with two loops.

New since version 1:
- a token is a vector of n_embd numbers, and `lm_head` turns that vector into logits;
- each position has a vector too, which is added to the token's;
- every token looks back, in the crudest way possible: its vector is replaced by the average
  of the vectors up to and including its own. Versions 3 to 10 replace only this part, `body`.

Source: the lecture's chapters "port our code to a script" to "version 1: averaging past
context with for loops".
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from babygpt import model
from babygpt.model import LanguageModel


@dataclass(frozen=True)
class Config(model.Config):
    """Version 1's sizes and the width of a token's vector."""

    n_embd: int = 32
    """Numbers in a token's vector: the C (channels) of (B, T, C)."""


def average(x: Tensor) -> Tensor:
    """The mean of each token and the tokens before it: (B, T, C) -> (B, T, C)."""
    B, T, C = x.shape
    xbow = torch.zeros((B, T, C), device=x.device)  # (B, T, C)
    for b in range(B):
        for t in range(T):
            xprev = x[b, : t + 1]  # (t + 1, C)
            xbow[b, t] = xprev.mean(dim=0)
    return xbow  # (B, T, C)


class Model(LanguageModel):
    """Embeddings, a body, and a head that turns each vector into logits."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.token_embedding_table = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding_table = nn.Embedding(config.block_size, config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size)

    def logits(self, idx: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)."""
        T = idx.shape[1]
        tok_emb = self.token_embedding_table(idx)  # (B, T, C)
        pos_emb = self.position_embedding_table(torch.arange(T, device=idx.device))  # (T, C)
        x = tok_emb + pos_emb  # (B, T, C)
        x = self.body(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)

    def body(self, x: Tensor) -> Tensor:
        """What happens between the embeddings and the head: (B, T, C) -> (B, T, C)."""
        return average(x)  # (B, T, C)


if __name__ == "__main__":
    from babygpt.cli import main

    main(2)
