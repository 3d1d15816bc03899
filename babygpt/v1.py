"""Version 1: the bigram model.

The beginning. The next character is predicted from the current one alone: row i of a
table holds a score for every character that may follow character i. The loss and
generation are in `babygpt/model.py`; no later version changes them.

Source: the lecture's chapter "simplest baseline: bigram language model, loss, generation".
"""

from torch import Tensor, nn

from babygpt.model import Config, LanguageModel


class Model(LanguageModel):
    """A V x V table of logits."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.token_embedding_table = nn.Embedding(config.vocab_size, config.vocab_size)

    def logits(self, idx: Tensor) -> Tensor:
        """(B, T) -> (B, T, V): each token looks up its own row and sees no other token."""
        return self.token_embedding_table(idx)  # (B, T, V)


if __name__ == "__main__":
    from babygpt.cli import main

    main(1)
