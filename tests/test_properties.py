"""Claims that hold for every input that hypothesis can generate: tokenizer, corpus, flags, checkpoints."""

import contextlib
import functools
import io
import tempfile
from dataclasses import fields
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from babygpt import cli, data, sample
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.harness.checkpoints import FORMAT, read_checkpoint, save_checkpoint
from babygpt.tokenizer import CharTokenizer
from babygpt.versions import VERSIONS

settings.register_profile("babygpt", deadline=None, derandomize=True, max_examples=60, database=None,
                          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
settings.load_profile("babygpt")

ANY = st.characters(codec=None)  # with surrogates, which Python makes from bytes that it cannot decode
TEXT = st.text(ANY, min_size=1)
WORDS = st.text(st.characters(exclude_characters="\0", codec=None))  # an argument cannot hold NUL


# Tokenizer


@given(TEXT)
def test_decode_undoes_encode_for_any_text(text):
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_array(text).tolist() == ids
    assert tokenizer.chars == "".join(sorted(set(text)))


@given(TEXT, ANY)
def test_any_character_outside_the_vocabulary_is_refused(text, ch):
    assume(ch not in text)
    tokenizer = CharTokenizer.from_text(text)
    for encode in (tokenizer.encode, tokenizer.encode_array):
        with pytest.raises(UserError, match="is not in the vocabulary"):
            encode(text + ch)


@given(TEXT, st.integers())
def test_any_id_outside_the_vocabulary_is_refused(text, i):
    tokenizer = CharTokenizer.from_text(text)
    if 0 <= i < tokenizer.vocab_size:
        assert tokenizer.decode([i]) == tokenizer.chars[i]
    else:
        with pytest.raises(UserError, match=f"there is no character with the id {i}"):
            tokenizer.decode([i])


# Corpus


def whole(corpus):
    return corpus.tokenizer.decode(torch.cat((corpus.train, corpus.val)).tolist())


@given(TEXT, st.integers(1, 20))
def test_any_text_comes_back_from_its_corpus_whatever_the_piece_size(text, piece):
    with mock.patch.object(data, "PIECE", piece):
        corpus = Corpus.from_text(text)
    assert whole(corpus) == text
    assert len(corpus.train) == len(text) * 9 // 10
    assert corpus.fingerprint == Corpus.from_text(text).fingerprint


@given(st.binary() | st.text().map(str.encode), st.integers(1, 20))
def test_any_file_is_read_as_utf8_or_refused(tmp_path, content, piece):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    try:
        expected = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        expected = ""
    with mock.patch.object(data, "PIECE", piece):
        if expected == "" or "\0" in expected:
            with pytest.raises(UserError, match="text.txt is (not UTF-8|empty|not a text)"):
                Corpus.load(path)
        else:
            assert whole(Corpus.load(path)) == expected


# Flags


def status(command):
    """The exit status of a command; any exception except SystemExit fails the test."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as exit,
    ):
        command()
    if exit.value.code == 2:
        told = err.getvalue()
        assert told.strip() and "Traceback" not in told
    return exit.value.code


VALUES = WORDS | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["", "-", "--", "--help", "auto", "1"])
CONFIGS = [cli.RunConfig, cli.TrainConfig, *(version.module().Config for version in VERSIONS)]


def flags(config):
    """The flags of a dataclass of settings."""
    return {"--" + field.name.replace("_", "-") for field in fields(config)}


NAMES = sorted({"--max-itters"}.union(*map(flags, CONFIGS)))


def only_parse(command, argv):
    """A replacement for `cli.train` that reads the command line and does nothing."""
    cli.parse(cli.FirstFlags, argv, "babygpt", return_unknown_args=True, add_help=False)
    cli.read_settings(command, argv, cli.RunConfig("lecture"), command.model.preset("lecture"))
    return 0


@given(st.sampled_from([1, 10]), st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=3))
def test_any_value_of_any_flag_is_read_or_refused_with_a_message(tmp_path, number, pairs):
    argv = [word for pair in pairs for word in pair]

    with mock.patch.object(cli, "train", only_parse), contextlib.chdir(tmp_path):
        assert status(lambda: cli.main(number, argv)) in (0, 2)
    assert list(tmp_path.iterdir()) == []


@given(st.lists(WORDS | st.sampled_from(["--seed", "--resume", "--data=x", "--lr", "-h", "7"]), max_size=4))
def test_any_words_as_arguments_are_read_or_refused_with_a_message(tmp_path, argv):
    with mock.patch.object(cli, "train", only_parse):
        with contextlib.chdir(tmp_path):
            assert status(lambda: cli.main(1, argv)) in (0, 2)


@given(st.lists(st.tuples(st.sampled_from(sorted(flags(sample.SampleConfig))), VALUES), max_size=3))
def test_any_flag_of_a_sample_is_read_or_refused_with_a_message(tmp_path, pairs):
    argv = ["nowhere", *(word for pair in pairs for word in pair)]
    with contextlib.chdir(tmp_path):
        assert status(lambda: sample.main(argv)) in (0, 2)
    assert list(tmp_path.iterdir()) == []


# Checkpoints

STATE = {
    "format": FORMAT,
    "module": "babygpt.v1",
    "model_config": {"vocab_size": 3, "block_size": 8},
    "tokenizer": {"module": "babygpt.tokenizer", "class": "CharTokenizer", "state": {"chars": "abc"}},
    "state": {"model": {"token_embedding_table.weight": torch.arange(9.0).view(3, 3)}, "step": 7},
}


@functools.cache
def whole_checkpoint():
    """The bytes of a valid checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        save_checkpoint(path, STATE)
        saved = read_checkpoint(path)
        assert torch.equal(saved["state"]["model"].popitem()[1], torch.arange(9.0).view(3, 3))
        return path.read_bytes()


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda content: b"PK\x03\x04" + content))
def test_random_bytes_are_never_taken_for_a_checkpoint(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="checkpoint.pt is not a checkpoint of babygpt, or it is damaged"):
        read_checkpoint(path)


@settings(max_examples=300)
@given(st.data())
def test_any_change_to_a_checkpoint_is_detected(tmp_path, data):
    path = tmp_path / "checkpoint.pt"
    content = whole_checkpoint()
    start = data.draw(st.integers(0, len(content)), label="start")
    cut = data.draw(st.integers(0, 40) | st.just(len(content)), label="bytes removed")
    put = data.draw(st.binary(max_size=40), label="bytes inserted")
    changed = content[:start] + put + content[start + cut :]
    assume(changed != content)
    path.write_bytes(changed)
    with pytest.raises(UserError, match="checkpoint.pt"):
        read_checkpoint(path)


def test_a_flipped_bit_is_detected_all_through_a_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    content = bytearray(whole_checkpoint())
    for i in range(0, len(content), 7):
        content[i] ^= 1
        path.write_bytes(content)
        with pytest.raises(UserError, match="checkpoint.pt"):
            read_checkpoint(path)
        content[i] ^= 1
