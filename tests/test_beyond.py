"""The command line of part two: the same runs, checkpoints, samples and messages as for the ten versions."""

import json

import pytest
import torch

from babygpt import checkpoint, cli, sample
from babygpt.beyond.command import TokenCommand
from babygpt.beyond.models import GPT2, IDEAS, find_idea
from babygpt.harness.runs import Run
from babygpt.sample import whole_characters
from babygpt.tokenizer import CharTokenizer

SMALL = "--data text.txt --device cpu --block-size 8 --n-embd 16 --n-head 2 --n-layer 1 --eval-iters 2 --batch-size 4 "
SMALL += "--max-iters 20 --eval-interval 10 --warmup-iters 2"
TEXT = "Im Märzen der Bauer die Rößlein einspannt; er setzt seine Felder und Wiesen instand.\n" * 30


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "SAMPLE_TOKENS", 20)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def train(capsys):
    def train(flags="", model=GPT2):
        with pytest.raises(SystemExit) as exit:
            cli.main(TokenCommand(model), f"{SMALL} {flags}".split())
        return exit.value.code, *capsys.readouterr()

    return train


def test_every_idea_of_part_two_is_found_by_its_module():
    assert [find_idea(idea.path) for idea in IDEAS] == IDEAS
    assert find_idea("babygpt.v6") is None


@pytest.mark.parametrize("tokenizer", ["char", "bpe:20", "gpt2"])
def test_a_run_with_any_tokenizer_trains_resumes_samples_and_shows_its_checkpoint(tokenizer, train, run):
    assert train(f"--tokenizer {tokenizer} --max-iters 10 --lr-schedule constant")[0] == 0
    status, out, err = train("--resume --lr-schedule constant")
    assert status == 0 and "Continuing runs/gpt2 from step 10." in out
    saved = Run("runs/gpt2").read("last")
    assert saved["corpus"]["tokenizer"] == tokenizer
    assert [record["step"] for record in saved["state"]["history"]] == [0, 10, 20]
    status, out, err = run(None, "runs/gpt2 --prompt er --max-new-tokens 30", sample.main)
    assert status == 0 and out.startswith("er") and len(out) > 15
    status, out, err = run(None, "runs/gpt2", checkpoint.main)
    assert status == 0 and "babygpt.beyond.gpt2, at step 20" in out


def test_a_resumed_run_gives_the_same_weights_as_one_that_was_never_stopped(train):
    flags = "--tokenizer bpe:20 --accumulation 2 --dropout 0.1 --decay matrices --lr-schedule constant"
    assert train(f"{flags} --out-dir whole")[0] == 0
    assert train(f"{flags} --out-dir half --max-iters 10")[0] == 0
    assert train("--resume --out-dir half --lr-schedule constant")[0] == 0
    whole, half = (Run(folder).read("last")["state"] for folder in ("whole", "half"))
    assert all(torch.equal(half["model"][name], tensor) for name, tensor in whole["model"].items())


def test_going_on_from_the_weights_alone_is_another_training(train):
    """Without AdamW's averages, and with other batches, the next steps differ."""
    assert train("--out-dir whole --lr-schedule constant")[0] == 0
    assert train("--out-dir half --max-iters 10 --lr-schedule constant")[0] == 0
    path = Run("half").checkpoint
    saved = Run("half").read("last")
    for optimizer in saved["state"]["optimizers"]:
        optimizer["state"] = {}
    from babygpt.harness.checkpoints import save_checkpoint

    save_checkpoint(path, saved)
    assert train("--resume --out-dir half --lr-schedule constant")[0] == 0
    whole, half = (Run(folder).read("last")["state"]["model"] for folder in ("whole", "half"))
    assert not all(torch.equal(half[name], tensor) for name, tensor in whole.items())


def test_losses_of_tokens_are_also_given_in_bits_per_byte(train):
    _, out, _ = train("--tokenizer bpe:20")
    assert "which is" in out and "bits per byte" in out and "tokens, 276 different" in out
    _, out, _ = train("--tokenizer char --out-dir other")
    assert "bits per byte" not in out and "characters, 26 different" in out


def test_another_tokenizer_than_the_run_s_is_refused(train):
    assert train("--tokenizer bpe:20")[0] == 0
    status, _, err = train("--resume --tokenizer bpe:10")
    assert status == 2 and "was trained with other settings" in err


@pytest.mark.parametrize("name", ["bpe", "bpe:", "bpe:x", "bpe:-1", "bpe:1.5", "bpe:99999999", "word", "", "GPT2"])
def test_a_tokenizer_that_does_not_exist_is_refused(name, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(TokenCommand(GPT2), [*SMALL.split(), "--tokenizer", name])
    assert exit.value.code == 2
    assert "--tokenizer must be char, gpt2, or bpe and a number of merges" in " ".join(capsys.readouterr().err.split())


def test_the_help_names_the_tokenizers_and_the_way_to_pretrained_weights(train):
    status, out, _ = train("--help")
    assert status == 0
    for flag in ("--tokenizer", "--from-pretrained", "--prompt", "--decay", "--min-lr", "--accumulation", "--no-tied"):
        assert flag in out


def test_shapes_are_printed_for_part_two_as_well(train):
    status, out, _ = train("--shapes")
    assert status == 0 and "gpt2.py, CausalSelfAttention.forward" in out


def test_a_preset_that_does_not_exist_is_refused(train):
    status, _, err = train("--preset lecture")
    assert status == 2 and "gpt2 has no preset 'lecture': choose from nanogpt, finetune" in err


def test_the_metrics_are_in_nats_per_token(train, folder):
    train("--tokenizer bpe:20")
    lines = (folder / "runs/gpt2/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert 5 < json.loads(lines[0])["val"] < 6  # ln 276 is 5.62


def test_text_is_printed_when_its_characters_are_complete():
    from babygpt.beyond.bpe import BPETokenizer

    tokenizer = BPETokenizer([])
    ids = tokenizer.encode("aé🎯!")
    assert list(whole_characters(tokenizer, ids)) == ["a", "é", "🎯", "!"]
    assert "".join(whole_characters(tokenizer, ids[:-2])) == "aé\ufffd"  # the last character was cut
    assert "".join(whole_characters(tokenizer, [0xFF] * 6)) == "\ufffd" * 6
    assert list(whole_characters(CharTokenizer("ab"), [0, 1])) == ["a", "b"]


def test_a_run_is_exported_for_the_c_program(train, run, folder):
    from babygpt.beyond import llmc, llmc_export

    assert train("--tokenizer bpe:20 --bias --block-size 64")[0] == 0
    status, out, _ = run(None, "runs/gpt2 llm.c", llmc_export.main)
    assert status == 0 and "make train_gpt2" in out
    model, tokenizer = Run("runs/gpt2").load_model("best")
    exported = llmc.load_model(folder / "llm.c/gpt2_124M.bin")
    assert all(torch.equal(exported.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert llmc.load_tokenizer(folder / "llm.c/gpt2_tokenizer.bin") == (tokenizer.tokens, 0)
    parts = [llmc.load_tokens(folder / f"llm.c/dev/data/tinyshakespeare/tiny_shakespeare_{split}.bin") for split in
             ("train", "val")]  # fmt: skip
    assert "".join(tokenizer.decode(part.tolist()) for part in parts) == TEXT


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--tokenizer char --bias --block-size 64", "must hold a GPT-2 of byte pairs"),
        ("--tokenizer bpe:5 --block-size 64", "llm.c's GPT-2 has bias True"),
        ("--tokenizer bpe:5 --bias --block-size 8", "llm.c trains on 64 tokens, and this model has 8 positions"),
    ],
)
def test_a_run_that_llm_c_cannot_use_is_refused(flags, message, train, run):
    from babygpt.beyond import llmc_export

    assert train(flags)[0] == 0
    status, _, err = run(None, "runs/gpt2 out", llmc_export.main)
    assert status == 2 and message in err
