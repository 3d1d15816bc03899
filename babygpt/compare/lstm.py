"""The rival of the Transformer in the study of dates: an encoder-decoder made of LSTMs, with and without attention.

The encoder's last state is where the decoder starts. Without attention, that state is all that the decoder gets of the
source. With attention, each token of the target also looks at the encoder's outputs, and what it gathers is joined with
the decoder's output.

Source: Sutskever, Vinyals and Le, "Sequence to Sequence Learning with Neural Networks"; Luong, Pham and Manning,
"Effective Approaches to Attention-based Neural Machine Translation" (their general score, without input feeding).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from babygpt.beyond import encoder_decoder
from babygpt.beyond.encoder_decoder import PAD
from babygpt.model import LanguageModel


@dataclass(frozen=True)
class Config(encoder_decoder.Config):
    """The sizes of an LSTM encoder-decoder; n_layer is the number of LSTM layers on each side. n_head is not used."""

    n_embd: int = 80

    attention: bool = True
    """Let the decoder look at all outputs of the encoder, and not at its last state only."""


class Model(LanguageModel):
    """Two LSTMs, and one table as embedding of source and target and as output layer."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        C = config.n_embd
        self.token_embedding_table = nn.Embedding(config.vocab_size, C)
        self.encoder = nn.LSTM(C, C, config.n_layer, batch_first=True)
        self.decoder = nn.LSTM(C, C, config.n_layer, batch_first=True)
        if config.attention:
            self.score, self.combine = nn.Linear(C, C, bias=False), nn.Linear(2 * C, C)
        self.lm_head = nn.Linear(C, config.vocab_size, bias=False)
        self.lm_head.weight = self.token_embedding_table.weight
        nn.init.normal_(self.token_embedding_table.weight, std=C**-0.5)

    def embed(self, idx: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T, C)."""
        return self.token_embedding_table(idx) * math.sqrt(self.config.n_embd)  # (B, T, C)

    def encode(self, source: Tensor) -> tuple[Tensor, ...]:
        """Read the source, (B, S) int64: the outputs, the two last states (B, n_layer, C), and where it has a token."""
        B, S = source.shape
        visible = source != PAD  # (B, S)
        # Packed, so that each row ends at its last token, and its last state is not that of the padding.
        packed = pack_padded_sequence(
            self.embed(source), visible.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False
        )
        out, (h, c) = self.encoder(packed)
        out, _ = pad_packed_sequence(out, batch_first=True, total_length=S)
        h, c = h.transpose(0, 1), c.transpose(0, 1)
        return out, h, c, visible

    def decode(self, target: Tensor, out: Tensor, h: Tensor, c: Tensor, visible: Tensor) -> Tensor:
        """Scores for the token after each one of the target: (B, T) int64, and what `encode` gave -> (B, T, V)."""
        state = tuple(part.transpose(0, 1).contiguous() for part in (h, c))
        x, _ = self.decoder(self.embed(target), state)
        if self.config.attention:
            B, S = visible.shape
            wei = self.score(x) @ out.transpose(-2, -1)  # (B, T, C) @ (B, C, S) -> (B, T, S)
            wei = F.softmax(wei.masked_fill(~visible[:, None], float("-inf")), dim=-1)  # (B, T, S)
            x = torch.tanh(self.combine(torch.cat((wei @ out, x), dim=-1)))  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)

    forward = encoder_decoder.Model.forward  # the same loss, of the same targets
    stream = encoder_decoder.Model.stream
