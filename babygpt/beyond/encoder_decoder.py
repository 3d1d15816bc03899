"""The original Transformer, of 2017: an encoder that reads the source, a decoder that writes the target.

New since version 10:
- two sequences instead of one, so the model translates and does not continue;
- the encoder has no causal mask: each token of the source sees all of the source;
- each block of the decoder has a second attention, cross-attention: the queries come from the target, the keys and
  values from the encoder's output, which is called the memory;
- sequences of different lengths share a batch, filled up with PAD, which no token looks at and no loss counts;
- START and END, which say where a target begins and where it is complete;
- fixed positions, sines and cosines, instead of a table that is learned;
- the layer norm comes after each part and its residual connection (post-norm), not before the part (pre-norm).

A decoder without cross-attention is what GPT kept of it: a decoder-only model.

Source: Vaswani et al., "Attention Is All You Need".
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt import v8
from babygpt.beyond.positions import sinusoids
from babygpt.errors import UserError, require
from babygpt.model import LanguageModel

PAD, START, END = range(3)  # the ids of the three special tokens


@dataclass(frozen=True)
class Config(v8.Config):
    """The sizes of an encoder-decoder; n_layer is the number of blocks on each side."""

    vocab_size: int = 160
    block_size: int = 48
    n_embd: int = 64
    n_head: int = 4
    n_layer: int = 2

    dropout: float = 0.0
    """Probability that a number is set to zero during training: after the embeddings, and at the end of each part."""

    label_smoothing: float = 0.1
    """How much probability the training targets take from the right token and spread evenly over the vocabulary."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.n_embd % 2 == 0, f"sines and cosines come in pairs: n_embd must be even, and it is {self.n_embd}")
        for name in ("dropout", "label_smoothing"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} must be at least 0 and below 1, and it is {value}")


class Attention(nn.Module):
    """Attention of all heads, from x to memory: (B, T, C), (B, S, C) -> (B, T, C). With memory = x, self-attention."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.key = nn.Linear(config.n_embd, config.n_embd)
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.wei: Tensor | None = None
        """The weights of the last forward pass, (B, n_head, T, S), to look at."""

    def forward(self, x: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """Each token of x gathers from the tokens of memory that it may see.

        Args:
            x: (B, T, C), where the queries come from.
            memory: (B, S, C), where the keys and values come from.
            visible: bool, True where a token of x may look; any shape that broadcasts to (B, n_head, T, S).
        """
        B, T, C = x.shape
        S, hs = memory.shape[1], C // self.n_head
        q = self.query(x).view(B, T, self.n_head, hs).transpose(1, 2)  # (B, n_head, T, hs)
        k = self.key(memory).view(B, S, self.n_head, hs).transpose(1, 2)  # (B, n_head, S, hs)
        v = self.value(memory).view(B, S, self.n_head, hs).transpose(1, 2)  # (B, n_head, S, hs)
        wei = q @ k.transpose(-2, -1) * hs**-0.5  # (B, n_head, T, hs) @ (B, n_head, hs, S) -> (B, n_head, T, S)
        wei = wei.masked_fill(~visible, float("-inf"))  # (B, n_head, T, S)
        wei = F.softmax(wei, dim=-1)  # (B, n_head, T, S)
        self.wei = wei.detach()
        out = wei @ v  # (B, n_head, T, S) @ (B, n_head, S, hs) -> (B, n_head, T, hs)
        return self.proj(out.transpose(1, 2).reshape(B, T, C))  # (B, T, C)


def feed_forward(config: Config) -> nn.Sequential:
    """The feed-forward layer, as in version 10, with ReLU: (B, T, C) -> (B, T, C)."""
    C = config.n_embd
    return nn.Sequential(nn.Linear(C, 4 * C), nn.ReLU(), nn.Linear(4 * C, C))


class EncoderBlock(nn.Module):
    """Self-attention and the feed-forward layer; each is added to its input, and the sum is normalized."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention, self.ffwd = Attention(config), feed_forward(config)
        self.ln1, self.ln2 = nn.LayerNorm(config.n_embd), nn.LayerNorm(config.n_embd)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.ln1(x + self.dropout(self.attention(x, x, visible)))  # (B, T, C)
        return self.ln2(x + self.dropout(self.ffwd(x)))  # (B, T, C)


class DecoderBlock(nn.Module):
    """As the encoder's, but causal, and between its two parts is the cross-attention to the memory."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention, self.cross, self.ffwd = Attention(config), Attention(config), feed_forward(config)
        self.ln1, self.ln2, self.ln3 = (nn.LayerNorm(config.n_embd) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """x (B, T, C), memory (B, S, C), visible (B, 1, 1, S), True where the source has a token -> (B, T, C)."""
        T = x.shape[1]
        tril = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()  # (T, T)
        x = self.ln1(x + self.dropout(self.attention(x, x, tril)))  # (B, T, C)
        x = self.ln2(x + self.dropout(self.cross(x, memory, visible)))  # (B, T, C)
        return self.ln3(x + self.dropout(self.ffwd(x)))  # (B, T, C)


class Model(LanguageModel):
    """The Transformer of 2017. One table is the embedding of source and target, and the output layer."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.token_embedding_table = nn.Embedding(config.vocab_size, config.n_embd)
        self.register_buffer("positions", sinusoids(config.block_size, config.n_embd), persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.ModuleList([EncoderBlock(config) for _ in range(config.n_layer)])
        self.decoder = nn.ModuleList([DecoderBlock(config) for _ in range(config.n_layer)])
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.token_embedding_table.weight
        self.init_weights()

    def embed(self, idx: Tensor) -> Tensor:
        """Token vectors times sqrt(C), which gives them the size of the position vectors, and positions: (B, T, C)."""
        T = idx.shape[1]
        x = self.token_embedding_table(idx) * math.sqrt(self.config.n_embd)  # (B, T, C)
        return self.dropout(x + self.positions[:T])  # (B, T, C)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Read the source once: (B, S) int64 -> the memory, (B, S, C), and where it has a token, (B, 1, 1, S) bool."""
        B, S = source.shape
        visible = (source != PAD)[:, None, None]  # (B, 1, 1, S)
        x = self.embed(source)  # (B, S, C)
        for block in self.encoder:
            x = block(x, visible)  # (B, S, C)
        return x, visible

    def decode(self, target: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """Scores for the token after each one of the target: (B, T) int64, and what `encode` gave -> (B, T, V)."""
        x = self.embed(target)  # (B, T, C)
        for block in self.decoder:
            x = block(x, memory, visible)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The logits and, if there are targets, the loss.

        All positions of the target are trained at once: the decoder reads the right target, shifted by one, and not
        what it would have written itself (teacher forcing). The causal mask keeps it from seeing the answer.

        Args:
            idx: the source, (B, S) int64, with PAD after its end.
            targets: (B, 1 + T) int64: START, the tokens, END, and PAD after that.

        Returns:
            logits: (B, T, V), or without targets those of the first token, (B, 1, V).
            loss: the mean cross-entropy in nats over the tokens that are not PAD, a scalar, or None without targets.
                In training it is smoothed.
        """
        if targets is None:
            start = torch.full_like(idx[:, :1], START)  # (B, 1)
            return self.decode(start, *self.encode(idx)), None
        B, T = targets[:, 1:].shape
        logits = self.decode(targets[:, :-1], *self.encode(idx))  # (B, T, V)
        smoothing = self.config.label_smoothing if self.training else 0.0
        loss = F.cross_entropy(
            logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=PAD, label_smoothing=smoothing
        )  # ()
        return logits, loss

    def stream(self, *args: object, **options: object) -> Iterator[Tensor]:
        """Refused: this model has no text to continue.

        Raises:
            UserError: always.
        """
        raise UserError("an encoder-decoder translates a text and doesn't continue it: use babygpt.beyond.translate")

    @torch.no_grad()
    def init_weights(self) -> None:
        """Linear layers as Glorot and Bengio say, their biases zero; token vectors that have size 1 in `embed`."""
        for module in self.modules():
            if isinstance(module, nn.Linear) and module is not self.lm_head:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.token_embedding_table.weight, std=self.config.n_embd**-0.5)


if __name__ == "__main__":
    from babygpt.beyond.models import ENCODER_DECODER
    from babygpt.beyond.pairs import main

    main(ENCODER_DECODER)
