"""Token shards: the batches of the same text in memory, whatever the files, and nothing left behind by what fails."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from babygpt import cli, data
from babygpt.beyond import write_shards as writing
from babygpt.beyond.bpe import PATTERN
from babygpt.beyond.command import TokenCommand, tokenizer_maker
from babygpt.beyond.models import GPT2
from babygpt.beyond.shards import ShardedCorpus, TokenFiles
from babygpt.beyond.write_shards import ShardConfig, cut, in_processes, main, write_shards
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.errors import UserError
from babygpt.harness import ranks
from babygpt.harness.checkpoints import read_checkpoint
from babygpt.parallel import Share

TEXT = "We few, we happy few,  we band of brothers;\n\nFor he to-day that sheds his blood\tShall be my brother. " * 9
FOREIGN = "Grüße! 我爱吃苹果 🎯\r\nnaïve café\r" * 30
SMALL = "--block-size 8 --n-embd 16 --n-head 2 --n-layer 1 --batch-size 2 --max-iters 4 --eval-interval 2"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes((TEXT + FOREIGN + TEXT).encode())
    return path


def batches(corpus, n=5):
    generator = torch.Generator().manual_seed(7)
    return [torch.stack(corpus.get_batch(split, 6, 11, generator)) for _ in range(n) for split in ("train", "val")]


@pytest.mark.parametrize("shard_tokens", [10**6, 97, 5])
@pytest.mark.parametrize("tokenizer", ["char", "bpe:40", "gpt2"])
def test_batches_are_those_of_the_text_in_memory_whatever_the_number_of_files(
    tokenizer, shard_tokens, text, tmp_path, monkeypatch
):
    expected = Corpus.load(text, tokenizer_maker(tokenizer))
    monkeypatch.setattr(data, "PIECE", 50)
    corpus = write_shards([text], tmp_path / "shards", tokenizer, shard_tokens, workers=1)
    assert torch.equal(corpus.train[torch.arange(len(corpus.train))], expected.train.long())
    assert torch.equal(corpus.val[torch.arange(len(corpus.val))], expected.val.long())
    assert all(torch.equal(x, y) for x, y in zip(batches(corpus), batches(expected), strict=True))
    assert corpus.fingerprint == expected.fingerprint
    assert corpus.tokenizer.state() == expected.tokenizer.state()
    assert all(corpus.bytes_per_token(split) == expected.bytes_per_token(split) for split in ("train", "val"))
    assert len(corpus.train.files) == -(-len(expected.train) // shard_tokens)


def test_several_processes_write_the_same_files_as_one(text, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "PIECE", 50)
    for workers, folder in ((1, "one"), (2, "two")):
        write_shards([text], tmp_path / folder, "bpe:20", 100, workers)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("one", "two"))
    assert one == two and len(one) > 10


def test_several_texts_are_one_text(tmp_path):
    whole = TEXT.encode()
    for name, part in {"a": whole[:333], "b": whole[333:340], "c": whole[340:], "whole": whole}.items():
        (tmp_path / f"{name}.txt").write_bytes(part)
    together = write_shards([tmp_path / f"{name}.txt" for name in "abc"], tmp_path / "three", "gpt2", workers=1)
    alone = write_shards([tmp_path / "whole.txt"], tmp_path / "one", "gpt2", workers=1)
    assert together.fingerprint == alone.fingerprint


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_tokens_of_the_pieces_are_tokens_of_the_text(size):
    text = "it's  the\n\n end 12345 \u3000我爱 吃 !?\t\n 'll  x" * 3
    n = int(0.9 * len(text))
    parts = list(cut((text[i : i + size] for i in range(0, len(text), size)), n))
    for split, expected in (("train", text[:n]), ("val", text[n:])):
        pieces = [piece for name, piece in parts if name == split]
        assert "".join(pieces) == expected
        assert [word for piece in pieces for word in PATTERN.findall(piece)] == PATTERN.findall(expected)
    if size < 4:
        assert len(parts) > 20


def test_only_a_few_pieces_are_in_memory_at_a_time():
    """More items than the results taken, but not many more: the others are not even read."""
    read = []
    results = in_processes(str, (read.append(i) or i for i in range(100)), workers=2)
    taken = [next(results) for _ in range(10)]
    assert taken == [str(i) for i in range(10)]
    assert len(read) <= 10 + 5
    results.close()


def test_the_numbers_are_as_small_as_the_vocabulary_allows(text, tmp_path):
    corpora = {name: write_shards([text], tmp_path / name[:3], name, workers=1) for name in ("char", "bpe:40", "gpt2")}
    types = {name: corpus.train.files[0].dtype for name, corpus in corpora.items()}
    assert types == {"char": np.uint8, "bpe:40": np.uint16, "gpt2": np.uint16}
    assert all(isinstance(corpus.train.files[0], np.memmap) for corpus in corpora.values())


def test_positions_may_lie_in_any_files_in_any_order():
    tokens = TokenFiles([np.arange(5), np.arange(5, 6), np.arange(6, 20)])
    positions = torch.randperm(20, generator=torch.Generator().manual_seed(0)).view(4, 5)
    assert len(tokens) == 20 and torch.equal(tokens[positions], positions)
    with pytest.raises(IndexError):
        tokens[torch.tensor([20])]


def test_the_processes_together_get_the_batches_of_one(text, tmp_path, monkeypatch):
    corpus = write_shards([text], tmp_path / "shards", "bpe:30", 100, workers=1)
    whole, parts = batches(corpus), []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(ranks, "world_size", lambda: 3)
        parts.append(batches(Share(corpus).to("cpu")))
    for n, batch in enumerate(whole):  # (2, B, T): the inputs and the targets
        assert all(torch.equal(batch[:, rank::3], parts[rank][n]) for rank in range(3))


def train(flags):
    with pytest.raises(SystemExit) as end:
        cli.main(TokenCommand(GPT2), shlex.split(f"{flags} --device cpu"))
    return end.value.code


def weights(run):
    return read_checkpoint(run / "checkpoint.pt")["state"]["model"]


def test_training_from_shards_gives_the_weights_of_training_from_the_text(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_shards([text], tmp_path / "shards", "bpe:30", 100, workers=1)
    assert train(f"--data text.txt --tokenizer bpe:30 --out-dir a {SMALL}") == 0
    assert train(f"--data shards --out-dir b {SMALL}") == 0
    assert "learning shards (" in capsys.readouterr().out
    a, b = (weights(tmp_path / run) for run in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_on_a_text_continues_on_its_shards_and_one_on_shards_finds_them_again(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shards([text], tmp_path / "shards", "bpe:30", 100, workers=1)
    constant = "--lr-schedule constant"
    assert train(f"--data text.txt --tokenizer bpe:30 --out-dir a {SMALL} {constant}") == 0
    assert train("--resume --data shards --out-dir a --max-iters 6") == 0
    assert train("--resume --out-dir a --max-iters 8") == 0
    assert train(f"--data text.txt --tokenizer bpe:30 --out-dir b {SMALL} {constant} --max-iters 8") == 0
    a, b = (weights(tmp_path / run) for run in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)


def spoiled(spoil, folder):
    spoil(folder)
    with pytest.raises(UserError) as error:
        ShardedCorpus.open(folder)
    return str(error.value)


def edit(**changes):
    def spoil(folder):
        path = folder / "shards.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


SPOILED = {
    "shards.json is missing; make them with": lambda folder: (folder / "shards.json").unlink(),
    "train-00000.bin is missing: make them again": lambda folder: (folder / "train-00000.bin").unlink(),
    "train-00000.bin has 0 bytes, and shards.json says": lambda folder: (folder / "train-00000.bin").write_bytes(b""),
    "is damaged (JSONDecodeError while": lambda folder: (folder / "shards.json").write_text("{"),
    "is damaged (TypeError while": lambda folder: (folder / "shards.json").write_text("[]"),
    "is damaged (KeyError while": edit(splits={}),
    "is damaged (TypeError while ": edit(dtype="text"),
    "has the format 'nanoGPT', not 'babygpt shards 1'": edit(format="nanoGPT"),
    "names the module 'os', which is not part of babygpt": edit(tokenizer={"module": "os", "class": "x", "state": {}}),
}


@pytest.mark.parametrize("message", SPOILED)
def test_damaged_shards_are_refused_with_a_sentence(message, text, tmp_path):
    write_shards([text], tmp_path / "shards", workers=1)
    assert message in spoiled(SPOILED[message], tmp_path / "shards")


def test_what_fails_leaves_nothing_behind(text, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "PIECE", 50)
    (tmp_path / "empty").mkdir()
    encode = writing.encode

    def failing(tokenizer, piece):
        files = list(tmp_path.glob("*/train-00000.bin"))
        assert not files or files[0].stat().st_size < 100, "the process dies here"
        return encode(tokenizer, piece)

    monkeypatch.setattr(writing, "encode", failing)
    for folder, there in (("new", False), ("empty", True)):
        with pytest.raises(AssertionError, match="the process dies here"):
            write_shards([text], tmp_path / folder, shard_tokens=100, workers=1)
        assert (tmp_path / folder).exists() == there
        assert list(tmp_path.glob("*/*")) == []


def test_a_text_that_grows_while_it_is_read_is_refused(text, tmp_path, monkeypatch):
    original = writing.learn

    def growing(*arguments):
        text.write_bytes(text.read_bytes() + b"more")
        return original(*arguments)

    monkeypatch.setattr(writing, "learn", growing)
    with pytest.raises(UserError, match="the text changed while it was read"):
        write_shards([text], tmp_path / "shards", workers=1)
    assert not (tmp_path / "shards").exists()


def test_the_command_says_what_it_wrote_and_what_to_run_next(text, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([str(text), "--out-dir", str(tmp_path / "shards"), "--workers", "1", "--shard-tokens", "1000"])
    out = capsys.readouterr().out
    corpus = ShardedCorpus.open(tmp_path / "shards")
    assert end.value.code == 0
    assert f"Wrote {len(corpus.train):,} characters for training" in out
    assert f"Train:  python -m babygpt.beyond.gpt2 --data {tmp_path / 'shards'}" in out


def test_no_text_is_refused():
    with pytest.raises(UserError, match="there is no text: give one or more files"):
        ShardConfig(texts=(), out_dir="x")


def die(item):
    os._exit(1)


def test_a_process_that_is_killed_ends_the_command_with_a_sentence():
    with pytest.raises(UserError, match="a process was killed, perhaps for lack of memory: use fewer --workers"):
        list(in_processes(die, range(9), workers=2))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals for groups of processes")
def test_ctrl_c_ends_all_processes_and_leaves_nothing_behind(tmp_path):
    """As in a terminal, all processes get the signal."""
    (tmp_path / "long.txt").write_bytes(SHAKESPEARE.read_bytes() * 40)
    command = "-m babygpt.beyond.shards long.txt --out-dir new/shards --tokenizer gpt2 --workers 2".split()
    run = subprocess.Popen([sys.executable, *command], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    while run.poll() is None and not list(tmp_path.glob("new/shards/*.bin")):
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(60) == 130
    assert run.stderr.read() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["long.txt"]
