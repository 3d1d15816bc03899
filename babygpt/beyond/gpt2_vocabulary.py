"""GPT-2's own vocabulary: 256 bytes, 50,000 merges and one special token, which ends a text.

The merges are in `vocab.bpe`, the file that OpenAI published. It writes each byte as a printable character: a byte that
is a printable character of Latin-1 as itself, and the others as the characters from number 256 on. GPT-2 also numbers
the bytes in this order, so its id for "!" is 0.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", section 2.2.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from babygpt.beyond.bpe import BPETokenizer, Pair
from babygpt.errors import UserError, require

FILE = Path(__file__).with_name("vocab.bpe")
SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"

PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
OTHERS = [byte for byte in range(256) if byte not in PRINTABLE]
BYTE_ORDER = PRINTABLE + OTHERS
CHARACTERS = [chr(byte) for byte in PRINTABLE] + [chr(256 + n) for n in range(len(OTHERS))]


class GPT2Tokenizer(BPETokenizer):
    """The tokenizer of GPT-2, with 50,257 tokens.

    `end_of_text` is the id of the special token <|endoftext|>. A text that spells it out is encoded like any other.

    Raises:
        UserError: the file of the vocabulary is missing or has been changed.
    """

    name = "gpt2"
    end_of_text = 50256

    def __init__(self) -> None:
        super().__init__(read_merges(), BYTE_ORDER)
        self.tokens.append(b"<|endoftext|>")

    def state(self) -> dict[str, Any]:
        """Nothing: there is only one such tokenizer."""
        return {}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "GPT2Tokenizer":
        """The tokenizer of GPT-2."""
        return cls()


@cache
def read_merges() -> list[Pair]:
    """GPT-2's 50,000 merges as pairs of ids, in the order in which they were learned.

    Raises:
        UserError: the file is missing or has been changed.
    """
    try:
        content = FILE.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {FILE} ({error.strerror}): install babygpt from a complete clone") from None
    require(
        hashlib.sha256(content).hexdigest() == SHA256,
        f"{FILE} is not the file that OpenAI published: fetch it from the repository again",
    )
    ids = {ch: i for i, ch in enumerate(CHARACTERS)}
    merges: list[Pair] = []
    for line in content.decode("utf-8").splitlines()[1:]:  # the first line is a version number
        a, b = line.split(" ")
        merges.append((ids[a], ids[b]))
        ids[a + b] = len(ids)
    return merges
