"""llm.c's files: every byte in its place, read and written, and one sentence for a wrong file."""

import struct

import numpy as np
import pytest
import torch

from babygpt.beyond import gpt2, llmc
from babygpt.beyond.bpe import BPETokenizer
from babygpt.beyond.gpt2_vocabulary import GPT2Tokenizer
from babygpt.errors import UserError

V, T, L, H, C = 11, 7, 2, 3, 12
PADDED = 128


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = gpt2.Model(gpt2.Config(vocab_size=V, block_size=T, n_layer=L, n_head=H, n_embd=C)).eval()
    for p in model.parameters():  # so that biases and norms are not all zero or one
        p.data += 0.1 * torch.randn_like(p)
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gpt2.bin"


def idx():
    return torch.randint(V, (2, T), generator=torch.Generator().manual_seed(0))


# The model, by an independent reader


def read_floats(content, start, count):
    """`count` float32 from the byte `start` on."""
    return torch.tensor(struct.unpack_from(f"<{count}f", content, start))


# The 16 tensors as the description of the format lists them: the name here, how many numbers each layer has, and
# whether there is one for each layer.
LAYOUT = [
    ("wte.weight", PADDED * C, False), ("wpe.weight", T * C, False),
    ("ln_1.weight", C, True), ("ln_1.bias", C, True),
    ("attn.c_attn.weight", 3 * C * C, True), ("attn.c_attn.bias", 3 * C, True),
    ("attn.c_proj.weight", C * C, True), ("attn.c_proj.bias", C, True),
    ("ln_2.weight", C, True), ("ln_2.bias", C, True),
    ("mlp.c_fc.weight", 4 * C * C, True), ("mlp.c_fc.bias", 4 * C, True),
    ("mlp.c_proj.weight", 4 * C * C, True), ("mlp.c_proj.bias", C, True),
    ("ln_f.weight", C, False), ("ln_f.bias", C, False),
]  # fmt: skip


def test_every_number_of_a_model_lies_where_the_format_says(model, path):
    llmc.save_model(model, path)
    content, state = path.read_bytes(), model.state_dict()
    assert struct.unpack_from("<8i", content) == (20240326, 3, T, V, L, H, C, PADDED)
    assert content[32:1024] == bytes(1024 - 32)
    position = 1024
    for name, count, each_layer in LAYOUT:
        for n in range(L if each_layer else 1):
            expected = state[f"h.{n}.{name}" if each_layer else name].flatten()
            if name == "wte.weight":
                expected = torch.cat((expected, torch.zeros(PADDED * C - V * C)))
            assert torch.equal(read_floats(content, position, count), expected), name
            position += 4 * count
    assert position == len(content)


def test_in_gpt_2_the_positions_come_right_after_the_tokens():
    places = llmc.offsets(gpt2.Config())
    assert list(places) == ["wte", "wpe", "ln1w", "ln1b", "qkvw", "qkvb", "attprojw", "attprojb", "ln2w", "ln2b",
                            "fcw", "fcb", "fcprojw", "fcprojb", "lnfw", "lnfb", "end"]  # fmt: skip
    assert llmc.padded(50_257) == 50_304
    assert places["wte"] == 0 and places["wpe"] == 38_633_472
    assert places["ln1w"] - places["wpe"] == 786_432
    assert places["end"] == 124_475_904
    assert 4 * places["end"] + 1024 == 497_904_640  # bytes of the file


def test_a_model_survives_the_file_bit_for_bit(model, path):
    llmc.save_model(model, path)
    back = llmc.load_model(path)
    assert back.config == model.config and back.lm_head.weight is back.wte.weight
    assert all(torch.equal(back.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(back.logits(idx()), model.logits(idx()))


def test_version_5_holds_bfloat16(model, path):
    llmc.save_model(model, path, torch.bfloat16)
    content = path.read_bytes()
    assert struct.unpack_from("<2i", content) == (20240326, 5)
    assert len(content) == 1024 + 2 * llmc.offsets(model.config)["end"]
    first = struct.unpack_from("<f", b"\0\0" + content[1024:1026])[0]  # bfloat16 is the upper half of a float32
    assert first == model.wte.weight[0, 0].to(torch.bfloat16).item()
    back = llmc.load_model(path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor.to(torch.bfloat16).float())


def test_the_rows_of_the_padding_have_no_influence(model, path):
    llmc.save_model(model, path)
    content = bytearray(path.read_bytes())
    content[1024 + 4 * V * C : 1024 + 4 * PADDED * C] = b"\x01" * (4 * (PADDED - V) * C)
    path.write_bytes(content)
    assert torch.equal(llmc.load_model(path).logits(idx()), model.logits(idx()))


@pytest.mark.parametrize("setting", ["bias", "tied"])
def test_a_model_that_llm_c_does_not_know_is_refused(setting, path):
    model = gpt2.Model(gpt2.Config(vocab_size=V, block_size=T, n_layer=L, n_head=H, n_embd=C, **{setting: False}))
    with pytest.raises(UserError, match=f"{setting} False"):
        llmc.save_model(model, path)
    assert not path.exists()


def test_llm_c_knows_gelu_with_tanh_only(path):
    model = gpt2.Model(gpt2.Config(vocab_size=V, block_size=T, n_layer=L, n_head=H, n_embd=C, gelu="exact"))
    with pytest.raises(UserError, match="computes GELU with tanh, and this model has gelu 'exact'"):
        llmc.save_model(model, path)


# Tokenizer and tokens


def test_the_tokenizer_of_gpt_2_in_bytes(path):
    tokenizer = GPT2Tokenizer()
    llmc.save_tokenizer(tokenizer, path, tokenizer.end_of_text)
    content = path.read_bytes()
    assert struct.unpack_from("<4I", content) == (20240328, 2, 50_257, 50_256)
    assert content[1024:1026] == b"\x01!" and content.endswith(b"\x0d<|endoftext|>")
    tokens, end = llmc.load_tokenizer(path)
    assert tokens == tokenizer.tokens and end == 50_256


def test_a_token_of_more_than_255_bytes_is_refused(path):
    merges = [(97, 97)] + [(256 + n, 256 + n) for n in range(7)]  # 2, 4, 8, ... 256 bytes
    with pytest.raises(UserError, match="a token has 256 bytes"):
        llmc.save_tokenizer(BPETokenizer(merges), path, 0)


def test_tokens_take_two_bytes_each(path):
    llmc.save_tokens([0, 1, 50_256, 65_535], path)
    content = path.read_bytes()
    assert struct.unpack_from("<3i", content) == (20240520, 1, 4)
    assert struct.unpack_from("<4H", content, 1024) == (0, 1, 50_256, 65_535) and len(content) == 1024 + 8
    assert llmc.load_tokens(path).tolist() == [0, 1, 50_256, 65_535]
    llmc.save_tokens(np.array([], dtype=np.int64), path)
    assert len(llmc.load_tokens(path)) == 0


@pytest.mark.parametrize("wrong", [-1, 65_536])
def test_a_token_that_does_not_fit_into_two_bytes_is_refused(wrong, path):
    with pytest.raises(UserError, match=f"a token is {wrong}, and two bytes hold 0 to 65535"):
        llmc.save_tokens([1, wrong], path)


# Wrong files


def with_header(model, path, **changes):
    llmc.save_model(model, path)
    content = bytearray(path.read_bytes())
    for field, value in changes.items():
        struct.pack_into("<i", content, 4 * int(field[1:]), value)
    path.write_bytes(content)


WRONG_HEADERS = [
    (dict(_0=1), "its magic number is 1, and not 20240326"),
    (dict(_0=20240520), "its magic number is 20240520 \\(tokens\\), and not 20240326"),
    (dict(_1=1), "has version 1, and only version 3 or 5 can be read"),
    (dict(_2=0), "make no sense \\(block_size"),
    (dict(_4=-1), "make no sense \\(n_layer"),
    (dict(_5=5), "n_embd"),
    (dict(_2=8), "and its numbers ask for .*: it is cut off"),
    (dict(_2=6), "there is something behind its end"),
    (dict(_7=11), "pads 11 tokens to 11 rows instead of 128"),
    (dict(_4=10**6), "n_layer must be"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_HEADERS)
def test_a_header_that_cannot_be_right_gets_one_sentence(changes, message, model, path):
    with_header(model, path, **changes)
    with pytest.raises(UserError, match=message):
        llmc.load_model(path)


READERS = {"model": llmc.load_model, "tokenizer": llmc.load_tokenizer, "tokens": llmc.load_tokens}


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_is_missing_empty_cut_off_or_too_long_gets_one_sentence(kind, model, path):
    reader = READERS[kind]
    with pytest.raises(UserError, match="cannot read"):
        reader(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="has 0 bytes, and a header has 1024"):
        reader(path)
    if kind == "model":
        llmc.save_model(model, path)
    elif kind == "tokenizer":
        llmc.save_tokenizer(BPETokenizer([]), path, 0)
    else:
        llmc.save_tokens(range(100), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="cut off|ends after"):
        reader(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(UserError, match="behind its end"):
        reader(path)


def test_a_folder_that_cannot_be_written_to_gets_one_sentence(model, tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        llmc.save_model(model, tmp_path / "no" / "such" / "folder" / "gpt2.bin")
