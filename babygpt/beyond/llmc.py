"""The files of llm.c, Karpathy's GPT-2 in plain C: models, tokenizers and tokenized texts.

C reads a file most easily as an array, so each of these starts with 256 integers of 4 bytes, nearly all of them zero:

    number        0           1         2             3           4         5        6        7
    model         20240326    3 or 5    block_size    V           n_layer   n_head   n_embd   padded V
    tokenizer     20240328    2         V             end token
    tokens        20240520    1         how many

The first number, the magic number, tells what the file is, and the second is the version of its format. Then:

model       the tensors of `NAMES`, one after another, in float32 (version 3) or bfloat16 (version 5)
tokenizer   for each token its length, in one byte, and its bytes
tokens      two bytes each, so none is above 65,535

All numbers are little-endian. A matrix product is faster with a number of columns that is a multiple of 128, so the
token embedding gets rows of zeros at its end: 50,304 instead of 50,257 for GPT-2. That is "padded V".

Source: llm.c's train_gpt2.py, train_gpt2.c, llmc/tokenizer.h and dev/data/data_common.py.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from babygpt.beyond.bpe import BPETokenizer
from babygpt.beyond.gpt2 import Config, Model
from babygpt.errors import UserError, require
from babygpt.harness.files import write_atomically

MODEL, TOKENIZER, TOKENS = 20240326, 20240328, 20240520
KINDS = {MODEL: "a model", TOKENIZER: "a tokenizer", TOKENS: "tokens"}
HEADER = 1024  # bytes
MAX_TOKEN = 2**16 - 1
MAX_COUNT = 2**31 - 1  # of the tokens in a file: the largest integer of a header

VERSIONS = {3: torch.float32, 5: torch.bfloat16}
INTEGERS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}  # of the same size, since NumPy has no bfloat16

# The parameters in the order of the file: llm.c's names, and those of PyTorch's model. Each block has a tensor of its
# own there; here those of all blocks follow one another, as one tensor whose first dimension is the layer.
NAMES = {
    "wte": "wte.weight",
    "wpe": "wpe.weight",
    "ln1w": "h.{}.ln_1.weight",
    "ln1b": "h.{}.ln_1.bias",
    "qkvw": "h.{}.attn.c_attn.weight",
    "qkvb": "h.{}.attn.c_attn.bias",
    "attprojw": "h.{}.attn.c_proj.weight",
    "attprojb": "h.{}.attn.c_proj.bias",
    "ln2w": "h.{}.ln_2.weight",
    "ln2b": "h.{}.ln_2.bias",
    "fcw": "h.{}.mlp.c_fc.weight",
    "fcb": "h.{}.mlp.c_fc.bias",
    "fcprojw": "h.{}.mlp.c_proj.weight",
    "fcprojb": "h.{}.mlp.c_proj.bias",
    "lnfw": "ln_f.weight",
    "lnfb": "ln_f.bias",
}


# Where each tensor is


def padded(vocab_size: int) -> int:
    """The next multiple of 128."""
    return math.ceil(vocab_size / 128) * 128


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a model's file, in its order."""
    C, L = config.n_embd, config.n_layer
    return {
        "wte": (padded(config.vocab_size), C),
        "wpe": (config.block_size, C),
        "ln1w": (L, C),
        "ln1b": (L, C),
        "qkvw": (L, 3 * C, C),
        "qkvb": (L, 3 * C),
        "attprojw": (L, C, C),
        "attprojb": (L, C),
        "ln2w": (L, C),
        "ln2b": (L, C),
        "fcw": (L, 4 * C, C),
        "fcb": (L, 4 * C),
        "fcprojw": (L, C, 4 * C),
        "fcprojb": (L, C),
        "lnfw": (C,),
        "lnfb": (C,),
    }


def offsets(config: Config) -> dict[str, int]:
    """How many numbers precede each tensor, not counting the header; under "end", how many there are."""
    sizes = [math.prod(shape) for shape in shapes(config).values()]
    return dict(zip([*shapes(config), "end"], accumulate(sizes, initial=0), strict=True))


# Models


def stack_layers(model: Model) -> dict[str, Tensor]:
    """A model's parameters under llm.c's names, those of all blocks as one tensor; wte is not padded.

    Raises:
        UserError: the model has no biases, or an output layer of its own. llm.c has no such GPT-2.
    """
    tensors = model.state_dict()
    for name in ("bias", "tied"):
        require(getattr(model.config, name), f"llm.c's GPT-2 has {name} True, and this one {name} False: train another")
    gelu = model.config.gelu
    require(gelu == "tanh", f"llm.c's GPT-2 computes GELU with tanh, and this model has gelu {gelu!r}: train another")
    found = {}
    for ours, theirs in NAMES.items():
        layers = range(model.config.n_layer)
        found[ours] = torch.stack([tensors[theirs.format(n)] for n in layers]) if "{}" in theirs else tensors[theirs]
    return found


def save_model(model: Model, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a model's sizes and weights. Its dropout is not saved.

    Args:
        dtype: torch.float32 or torch.bfloat16.

    Raises:
        UserError: llm.c has no such model or dtype, or the file cannot be written.
    """
    config, versions = model.config, {dtype: version for version, dtype in VERSIONS.items()}
    require(dtype in versions, f"llm.c's models are in torch.float32 or torch.bfloat16, and dtype is {dtype}")
    tensors = stack_layers(model)
    rows = padded(config.vocab_size)
    tensors["wte"] = torch.cat([tensors["wte"], tensors["wte"].new_zeros(rows - config.vocab_size, config.n_embd)])
    sizes = [config.block_size, config.vocab_size, config.n_layer, config.n_head, config.n_embd, rows]
    write(path, MODEL, [versions[dtype], *sizes], [to_bytes(tensor.to(dtype)) for tensor in tensors.values()])


def to_bytes(tensor: Tensor) -> bytes:
    """The numbers of a float32 or bfloat16 tensor, little-endian."""
    numbers = tensor.cpu().contiguous().view(INTEGERS[tensor.dtype]).numpy()
    return numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()


def load_model(path: Path) -> Model:
    """Read a model: float32, in evaluation mode.

    Raises:
        UserError: the file cannot be read, is no model of version 3 or 5, or its length does not fit its sizes.
    """
    header, content = read(path, MODEL, tuple(VERSIONS))
    version, block_size, vocab_size, n_layer, n_head, n_embd, rows = header[1:8]
    try:
        config = Config(
            block_size=block_size, vocab_size=vocab_size, n_layer=n_layer, n_head=n_head, n_embd=n_embd
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"the sizes in {path} make no sense ({error}): export it again") from None
    expected = padded(vocab_size)
    require(rows == expected, f"{path} pads {vocab_size} tokens to {rows} rows instead of {expected}: export it again")
    dtype, places = VERSIONS[version], offsets(config)
    check_length(path, content, places["end"] * dtype.itemsize)
    integers = np.dtype(f"i{dtype.itemsize}")
    numbers = torch.from_numpy(np.frombuffer(content, integers.newbyteorder("<")).astype(integers)).view(dtype).float()
    weights = {}
    for ours, shape in shapes(config).items():
        tensor = numbers[places[ours] :][: math.prod(shape)].view(shape)
        theirs = NAMES[ours]
        weights |= {theirs.format(n): tensor[n] for n in range(n_layer)} if "{}" in theirs else {theirs: tensor}
    weights["wte.weight"] = weights["lm_head.weight"] = weights["wte.weight"][:vocab_size]
    model = Model(config)
    model.load_state_dict(weights)
    return model.eval()


# Tokenizers and tokens


def save_tokenizer(tokenizer: BPETokenizer, path: Path, end_of_text: int) -> None:
    """Write the bytes of each token, which is all that C needs in order to print a text.

    Args:
        end_of_text: the token that ends a text; llm.c starts its samples with it.

    Raises:
        UserError: a token has more than 255 bytes, or the file cannot be written.
    """
    tokens = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
    longest = max(map(len, tokens))
    require(longest < 256, f"a token has {longest} bytes, and llm.c's file has room for 255: train with fewer merges")
    write(path, TOKENIZER, [2, len(tokens), end_of_text], [bytes([len(token)]) + token for token in tokens])


def load_tokenizer(path: Path) -> tuple[list[bytes], int]:
    """The bytes of each token, and the token that ends a text.

    Raises:
        UserError: the file cannot be read, is no tokenizer of version 2, or its length does not fit its tokens.
    """
    header, content = read(path, TOKENIZER, (2,))
    tokens, start = [], 0
    for _ in range(header[2]):
        require(start < len(content), f"{path} ends after {len(tokens)} of {header[2]} tokens: export it again")
        end = start + 1 + content[start]
        tokens.append(content[start + 1 : end])
        start = end
    check_length(path, content, start)
    return tokens, header[3]


def save_tokens(tokens: Sequence[int], path: Path) -> None:
    """Write a tokenized text.

    Raises:
        UserError: a token is below 0 or above 65,535, there are too many, or the file cannot be written.
    """
    ids = np.asarray(tokens, dtype=np.int64)
    require(len(ids) <= MAX_COUNT, f"a file holds up to {MAX_COUNT:,} tokens, and these are {len(ids):,}: split them")
    wrong = ids[(ids < 0) | (ids > MAX_TOKEN)]
    require(len(wrong) == 0, f"a token is {wrong[0] if len(wrong) else ''}, and two bytes hold 0 to {MAX_TOKEN}")
    write(path, TOKENS, [1, len(ids)], [ids.astype("<u2").tobytes()])


def load_tokens(path: Path) -> np.ndarray:
    """A tokenized text, as uint16.

    Raises:
        UserError: the file cannot be read, is no text of version 1, or its length does not fit its header.
    """
    header, content = read(path, TOKENS, (1,))
    check_length(path, content, 2 * header[2])
    return np.frombuffer(content, dtype="<u2").astype(np.uint16)


# Files


def write(path: Path, magic: int, fields: Sequence[int], parts: Sequence[bytes]) -> None:
    """Write a file, completely or not at all. Raises UserError if that fails."""
    header = np.zeros(HEADER // 4, dtype="<i4")
    header[: 1 + len(fields)] = magic, *fields
    try:
        write_atomically(path, b"".join([header.tobytes(), *parts]))
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another file") from None


def read(path: Path, magic: int, versions: Sequence[int]) -> tuple[list[int], bytes]:
    """The numbers of a file's header, and what follows it.

    Raises:
        UserError: the file cannot be read, is too short for a header, or has another magic number or version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): give a file of llm.c") from None
    require(len(content) >= HEADER, f"{path} has {len(content)} bytes, and a header has {HEADER}: it is cut off")
    header = np.frombuffer(content[:HEADER], dtype="<i4").tolist()
    other = f" ({KINDS[header[0]]})" if header[0] in KINDS else ""
    require(
        header[0] == magic,
        f"{path} is not {KINDS[magic]} of llm.c: its magic number is {header[0]}{other}, and not {magic}",
    )
    wanted = " or ".join(map(str, versions))
    require(header[1] in versions, f"{path} has version {header[1]}, and only version {wanted} can be read")
    return header, content[HEADER:]


def check_length(path: Path, content: bytes, expected: int) -> None:
    """Raise UserError unless as many bytes follow the header as its numbers say."""
    what = "it is cut off" if len(content) < expected else "there is something behind its end"
    require(
        len(content) == expected,
        f"{path} has {len(content):,} bytes after its header, and its numbers ask for {expected:,}: {what}",
    )
