"""GPT-2's weights, in and out: the same numbers as Hugging Face's transformers, and one sentence for a wrong file."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from babygpt.beyond import gpt2, pretrained
from babygpt.beyond.command import TokenCommand
from babygpt.beyond.models import GPT2
from babygpt.cli import main
from babygpt.errors import UserError
from babygpt.model import nucleus, penalize, sample

transformers = pytest.importorskip("transformers")

SIZES = dict(vocab_size=29, block_size=16, n_embd=24, n_head=3, n_layer=2)


def our_model(**changes):
    torch.manual_seed(0)
    model = gpt2.Model(gpt2.Config(**SIZES | changes)).eval()
    for p in model.parameters():  # so that biases and norms matter
        p.data += 0.1 * torch.randn_like(p)
    return model


def their_model(**changes):
    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=29, n_positions=16, n_embd=24, n_head=3, n_layer=2, **changes)
    model = transformers.GPT2LMHeadModel(config).eval()
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model


def tokens(T=16):
    return torch.randint(29, (3, T), generator=torch.Generator().manual_seed(0))


def test_transformers_gives_the_logits_of_a_model_saved_here(tmp_path):
    ours = our_model()
    pretrained.save_folder(ours, tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    assert (theirs(tokens()).logits - ours.logits(tokens())).abs().max() < 1e-5


@pytest.mark.parametrize("activation", ["gelu_new", "gelu"])
def test_a_model_saved_by_transformers_gives_its_logits_here(activation, tmp_path):
    theirs = their_model(activation_function=activation)
    theirs.save_pretrained(tmp_path)
    ours = pretrained.load(tmp_path).eval()
    assert (theirs(tokens()).logits - ours.logits(tokens())).abs().max() < 1e-5
    assert ours.lm_head.weight is ours.wte.weight


def test_generation_is_the_same_token_for_token(tmp_path):
    theirs = their_model()
    theirs.save_pretrained(tmp_path)
    ours = pretrained.load(tmp_path).eval()
    idx = tokens(4)
    options = dict(max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=None, repetition_penalty=1.3)
    expected = theirs.generate(idx, attention_mask=torch.ones_like(idx), **options)
    assert torch.equal(ours.generate(idx, 12, temperature=0, repetition_penalty=1.3), expected)


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"gelu": "exact"}])
def test_saving_and_loading_keeps_every_bit_and_the_settings(changes, tmp_path):
    ours = our_model(**changes)
    pretrained.save_folder(ours, tmp_path)
    back = pretrained.load(tmp_path)
    assert back.config == ours.config
    assert all(torch.equal(back.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())


def test_names_without_a_prefix_and_stored_masks_are_read_too(tmp_path):
    """As in the files that OpenAI's weights come in."""
    ours = our_model()
    pretrained.save_folder(ours, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    tensors["h.0.attn.bias"] = torch.ones(16, 16).tril()[None, None]
    save_file(tensors, path)
    assert torch.equal(pretrained.load(tmp_path).logits(tokens()), ours.logits(tokens()))


def nanogpt_checkpoint(model, prefix="_orig_mod."):
    """What nanoGPT's train.py saves."""
    args = {name: getattr(model.config, name) for name in (*SIZES, "dropout", "bias")}
    head = ("lm_head.weight",)
    weights = {prefix + ("" if name in head else "transformer.") + name: t for name, t in model.state_dict().items()}
    return {"model": weights, "model_args": args, "iter_num": 7, "best_val_loss": torch.tensor(1.5), "config": {}}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_a_checkpoint_of_nanogpt_is_read(tmp_path, bias, prefix):
    ours = our_model(bias=bias, gelu="exact")
    torch.save(nanogpt_checkpoint(ours, prefix), tmp_path / "ckpt.pt")
    assert torch.equal(pretrained.load(tmp_path / "ckpt.pt").logits(tokens()), ours.logits(tokens()))


# Wrong files


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


def edit_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


WRONG = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()] + [f.rmdir()], "there are no weights in"),
    "no config": (lambda f: (f / "config.json").unlink(), "cannot read .*config.json"),
    "a damaged config": (lambda f: (f / "config.json").write_text("{"), "is not the config.json of a GPT-2"),
    "a config of something else": (lambda f: (f / "config.json").write_text("{}"), "KeyError: 'vocab_size'"),
    "another model": (lambda f: edit_config(f, model_type="llama"), "model_type 'llama'"),
    "another activation": (lambda f: edit_config(f, activation_function="relu"), "activation_function 'relu'"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "a pickle": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "pytorch_model.bin is a pickle, which can run any code",
    ),
    "truncated": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "is not a safetensors file, or it is damaged",
    ),
    "a missing tensor": (
        lambda f: edit_tensors(f, lambda t: t.pop("transformer.h.1.mlp.c_fc.bias")),
        "has no tensor h.1.mlp.c_fc.bias",
    ),
    "a tensor too many": (
        lambda f: edit_tensors(f, lambda t: t.update({"transformer.h.2.ln_1.bias": torch.ones(24)})),
        "has a tensor h.2.ln_1.bias, which is not part",
    ),
    "a wrong shape": (lambda f: edit_config(f, n_positions=8), r"wpe.weight has the shape \(16, 24\)"),
    "no block": (lambda f: edit_config(f, n_layer=0), "n_layer must be from 1"),
    "untied weights that should be tied": (
        lambda f: edit_tensors(f, lambda t: t.update({"lm_head.weight": torch.ones(29, 24)})),
        "the output layer and the token embedding differ",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_folder_gets_one_sentence(name, tmp_path):
    folder = tmp_path / "model"
    pretrained.save_folder(our_model(), folder)
    spoil, message = WRONG[name]
    spoil(folder)
    with pytest.raises(UserError, match=message):
        pretrained.load(folder)


class Evil:
    def __reduce__(self):
        return (print, ("this code must never run",))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"model": 1}, 2), pickle.dumps(Evil(), 2)])
def test_a_wrong_checkpoint_of_nanogpt_gets_one_sentence_and_runs_no_code(content, tmp_path, capsys):
    (tmp_path / "ckpt.pt").write_bytes(content)
    with pytest.raises(UserError, match="is not a checkpoint of nanoGPT"):
        pretrained.load(tmp_path / "ckpt.pt")
    assert capsys.readouterr().out == ""


def test_a_model_without_biases_cannot_be_saved_for_hugging_face(tmp_path):
    with pytest.raises(UserError, match="only a model with bias True"):
        pretrained.save_folder(our_model(bias=False), tmp_path)


# The command line


def status(flags):
    with pytest.raises(SystemExit) as exit:
        main(TokenCommand(GPT2), flags.split())
    return exit.value.code


TEXT = "".join(map(chr, range(97, 97 + 26))) + " .\n"
FEW = "--data text.txt --device cpu --eval-iters 1"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a text of 29 different characters, and pretrained weights for them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT * 20, encoding="utf-8")
    pretrained.save_folder(our_model(), tmp_path / "small")
    return tmp_path


def test_a_pretrained_model_continues_a_prompt(folder, capsys):
    assert status(f"{FEW} --from-pretrained small --prompt abc") == 0
    out = capsys.readouterr().out
    assert out.startswith("abc") and len(out) > 50 and not (folder / "runs").exists()


def test_finetuning_starts_from_the_pretrained_weights_and_lowers_the_loss(folder, capsys):
    flags = f"{FEW} --from-pretrained small --preset finetune --max-iters 30 --learning-rate 1e-2 --block-size 8"
    assert status(flags) == 0
    losses = [json.loads(line) for line in (folder / "runs/gpt2/metrics.jsonl").read_text("utf-8").splitlines()]
    assert losses[-1]["val"] < losses[0]["val"] - 0.5


def test_a_vocabulary_of_another_size_is_refused(folder, capsys):
    (folder / "text.txt").write_text("abc" * 200, encoding="utf-8")
    assert status(f"{FEW} --from-pretrained small") == 2
    assert "has a vocabulary of 29 tokens, and the tokenizer char has 3" in capsys.readouterr().err


def test_a_prompt_needs_pretrained_weights(folder, capsys):
    assert status(f"{FEW} --prompt abc") == 2
    assert "--prompt needs --from-pretrained" in capsys.readouterr().err


# Generation controls, against those of transformers


LOGITS = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (0.1, [0, 0, 0, 0, 1]),
        (1, [0.0117, 0.0317, 0.0861, 0.2341, 0.6364]),
        (2, [0.0580, 0.0956, 0.1577, 0.2600, 0.4287]),
    ],
)
def test_temperature_divides_the_logits(temperature, expected):
    assert (LOGITS / temperature).softmax(dim=-1)[0].tolist() == pytest.approx(expected, abs=6e-5)
    drawn = torch.cat([sample(LOGITS.expand(20_000, 5), temperature)])
    assert (torch.bincount(drawn.flatten(), minlength=5) / 20_000).tolist() == pytest.approx(expected, abs=0.02)


def test_the_entropy_rises_with_the_temperature():
    rows = [(LOGITS / t).softmax(dim=-1) for t in (0.5, 1.0, 1.5, 2.0)]
    entropies = [-(row * row.log()).sum().item() for row in rows]
    assert entropies == sorted(entropies)


PROBS = torch.tensor([[0.45, 0.25, 0.15, 0.08, 0.05, 0.01, 0.01]])


def frequencies(**options):
    drawn = sample(PROBS.log().expand(40_000, 7), generator=torch.Generator().manual_seed(0), **options)
    return (torch.bincount(drawn.flatten(), minlength=7) / 40_000).tolist()


def test_top_k_keeps_the_k_likeliest_and_scales_them_up():
    assert frequencies(top_k=5) == pytest.approx([0.4592, 0.2551, 0.1531, 0.0816, 0.0510, 0, 0], abs=0.01)
    assert frequencies(top_k=7) == frequencies() == pytest.approx(PROBS[0].tolist(), abs=0.01)
    assert frequencies(top_k=1) == [1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("top_p", "kept"), [(0.3, 1), (0.45, 1), (0.46, 2), (0.7, 2), (0.8, 3), (0.95, 5), (1.0, 7)])
def test_top_p_keeps_the_fewest_likeliest_that_have_the_probability_together(top_p, kept):
    found = frequencies(top_p=top_p)
    expected = PROBS[0, :kept] / PROBS[0, :kept].sum()
    assert found[:kept] == pytest.approx(expected.tolist(), abs=0.01) and not any(found[kept:])


def test_top_p_keeps_what_transformers_keeps():
    torch.manual_seed(0)
    logits = torch.randn(50, 29) * 3
    for top_p in (0.1, 0.5, 0.9, 0.99):
        theirs = transformers.TopPLogitsWarper(top_p)(None, logits)
        assert torch.equal(nucleus(logits.softmax(dim=-1), top_p) > 0, theirs > float("-inf"))


def test_the_repetition_penalty_is_that_of_transformers():
    torch.manual_seed(0)
    logits, idx = torch.randn(5, 29), torch.randint(29, (5, 8))
    theirs = transformers.RepetitionPenaltyLogitsProcessor(1.7)(idx, logits)
    assert torch.allclose(penalize(logits, idx, 1.7), theirs)
    assert torch.equal(penalize(logits, idx, 1.0), logits)


@pytest.mark.parametrize("top_p", [0.0, 1.1, -1.0])
def test_a_top_p_that_is_no_probability_is_refused(top_p):
    with pytest.raises(UserError, match="top_p must be above 0 and at most 1"):
        sample(LOGITS, top_p=top_p)


def test_a_repetition_penalty_of_zero_is_refused():
    with pytest.raises(UserError, match="repetition_penalty must be above 0"):
        penalize(LOGITS, torch.tensor([[0]]), 0)
