"""GPT-2: what is different from version 10, and what is not."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import random_tokens, tiny_model
from torch import nn

from babygpt.beyond import gpt2
from babygpt.beyond.models import FAMILY, GPT2
from babygpt.beyond.pretrained import from_version_10, translate
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.model import LanguageModel
from babygpt.training import TrainConfig, Trainer, make_optimizers
from babygpt.versions import get_version

SIZES = dict(vocab_size=11, block_size=7, n_embd=12, n_head=3, n_layer=2)


def small_model(seed=0, **changes):
    torch.manual_seed(seed)
    return gpt2.Model(gpt2.Config(**SIZES | changes)).eval()


def on_meta(**sizes):
    """A model without data, to count its parameters."""
    with torch.device("meta"):
        return gpt2.Model(gpt2.Config(**sizes))


def count(model):
    return sum(p.numel() for p in model.parameters())


# Sizes


@pytest.mark.parametrize("name", FAMILY)
def test_each_model_of_the_family_has_the_published_number_of_parameters(name):
    sizes, parameters = FAMILY[name]
    assert count(on_meta(**sizes)) == parameters


def test_the_defaults_are_the_smallest_gpt_2():
    assert count(on_meta()) == 124_439_808 == FAMILY["gpt2"][1]


@pytest.mark.parametrize("C", [48, 768])
def test_a_block_has_twelve_c_squared_and_thirteen_c_parameters(C):
    block = on_meta(n_embd=C, n_head=12).h[0]
    assert count(block) == 12 * C**2 + 13 * C
    if C == 768:
        assert count(block) == 7_087_872


def test_the_positions_of_gpt_2_are_786_432_numbers_and_the_tokens_38_597_376():
    model = on_meta()
    assert model.wpe.weight.numel() == 786_432
    assert model.wte.weight.numel() == 38_597_376


def test_the_model_that_is_often_printed_has_413_312_parameters():
    model = on_meta(vocab_size=65, n_layer=2, n_head=4, n_embd=128, block_size=64)
    assert count(model) == 413_312
    assert count(model) - model.wpe.weight.numel() == 405_120


def test_without_biases_linear_layers_and_norms_have_none():
    model = small_model(bias=False)
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    assert torch.isfinite(model.logits(random_tokens(2, 7) % 11)).all()


# Weight tying


def test_the_output_layer_is_the_token_embedding():
    model = small_model()
    assert model.lm_head.weight is model.wte.weight
    assert count(small_model(tied=False)) - count(model) == 11 * 12


def test_a_state_dict_holds_the_tied_weights_under_both_names_and_loading_keeps_the_tie():
    model, other = small_model(seed=1), small_model(seed=2)
    other.load_state_dict(model.state_dict())
    assert other.lm_head.weight is other.wte.weight
    assert torch.equal(other.lm_head.weight, model.wte.weight)


def test_tied_weights_get_the_gradient_of_both_uses():
    idx = random_tokens(2, 7) % 11
    tied, apart = small_model(), small_model(tied=False)
    apart.load_state_dict(tied.state_dict())
    for model in (tied, apart):
        model(idx, idx)[1].backward()
    assert torch.allclose(tied.wte.weight.grad, apart.wte.weight.grad + apart.lm_head.weight.grad, atol=1e-6)


# Forward


def test_it_is_a_language_model_and_causal():
    model, idx = small_model(), random_tokens(4, 7) % 11
    assert isinstance(model, LanguageModel)
    before = model.logits(idx)
    for t in range(1, 7):
        changed = idx.clone()
        changed[:, t] = (idx[:, t] + 1) % 11
        after = model.logits(changed)
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.equal(after[:, t:], before[:, t:])


def test_without_targets_only_the_last_position_is_scored():
    model, idx = small_model(), random_tokens(2, 7) % 11
    alone, loss = model(idx)
    assert alone.shape == (2, 1, 11) and loss is None
    everywhere, loss = model(idx, idx)
    assert everywhere.shape == (2, 7, 11) and loss.shape == ()
    assert torch.allclose(alone[:, 0], everywhere[:, -1], atol=1e-6)


def test_a_target_of_minus_one_does_not_count():
    model, idx = small_model(), random_tokens(2, 7) % 11
    targets = idx.roll(-1, dims=1)
    targets[:, :4] = gpt2.IGNORED
    logits, loss = model(idx, targets)
    expected = F.cross_entropy(logits[:, 4:].flatten(0, 1), targets[:, 4:].flatten())
    assert torch.allclose(loss, expected)
    logits.retain_grad()
    loss.backward()
    assert logits.grad[:, :4].abs().max() == 0 < logits.grad[:, 4:].abs().min()


def test_pytorch_ignores_minus_one_hundred_unless_told_otherwise():
    logits = torch.randn(2, 5)
    assert torch.isnan(F.cross_entropy(logits, torch.tensor([-100, -100])))
    with pytest.raises((IndexError, RuntimeError)):
        F.cross_entropy(logits, torch.tensor([-1, 2]))


def test_one_fused_layer_gives_the_same_as_three_separate_ones():
    attention, x = small_model().h[0].attn, torch.randn(2, 7, 12)
    fused = attention.c_attn(x).split(12, dim=2)
    separate = [F.linear(x, w, b) for w, b in zip(attention.c_attn.weight.split(12), attention.c_attn.bias.split(12),
                                                  strict=True)]  # fmt: skip
    for one, other in zip(fused, separate, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_fused_attention_equals_softmax_of_masked_scores_in_values_and_gradients():
    attention, x = small_model().h[0].attn, torch.randn(2, 7, 12)

    def by_hand(x):
        q, k, v = (part.view(2, 7, 3, 4).transpose(1, 2) for part in attention.c_attn(x).split(12, dim=2))
        wei = (q @ k.transpose(-2, -1) / 2).masked_fill(torch.ones(7, 7).triu(1) == 1, float("-inf")).softmax(dim=-1)
        return attention.c_proj((wei @ v).transpose(1, 2).reshape(2, 7, 12))

    results = []
    for forward in (attention, by_hand):
        leaf = x.clone().requires_grad_()
        output = forward(leaf)
        results.append((output, torch.autograd.grad(output.square().sum(), leaf)[0]))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_tanh_of_gelu_is_within_0_00048_of_the_exact_one():
    x = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    gap = (F.gelu(x, approximate="tanh") - F.gelu(x)).abs().max().item()
    assert 4e-4 < gap <= 4.8e-4


def test_a_cropped_model_gives_the_same_logits_for_the_positions_that_are_left():
    model, idx = small_model(), random_tokens(2, 4) % 11
    before = model.logits(idx)
    model.crop_block_size(4)
    assert model.config.block_size == 4 and model.wpe.weight.shape == (4, 12)
    assert torch.equal(model.logits(idx), before)
    for wrong in (0, 5):
        with pytest.raises(UserError, match="from 1 to the model's 4"):
            model.crop_block_size(wrong)


def test_masking_a_whole_row_makes_the_loss_not_a_number():
    scores = torch.zeros(3, 3).masked_fill(torch.ones(3, 3).tril(-1) == 0, float("-inf"))
    weights = scores.softmax(dim=-1)  # the first row has nothing that it may look at
    assert weights[0].isnan().all() and not weights[1:].isnan().any()


# The first weights


def test_projections_into_the_residual_stream_start_smaller_by_the_square_root_of_twice_the_blocks():
    torch.manual_seed(0)
    model = gpt2.Model(gpt2.Config(vocab_size=65, block_size=64, n_embd=128, n_head=4, n_layer=8))
    for name, p in model.named_parameters():
        if p.dim() == 2:
            expected = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02
            assert p.std().item() == pytest.approx(expected, rel=0.05), name
        elif name.endswith("bias"):
            assert not p.any()
        else:
            assert torch.equal(p, torch.ones_like(p))


def test_with_the_smaller_projections_the_stream_does_not_grow_with_the_number_of_blocks():
    def growth(n_layer, shrink):
        torch.manual_seed(0)
        model = gpt2.Model(gpt2.Config(vocab_size=65, block_size=64, n_embd=128, n_head=4, n_layer=n_layer))
        if not shrink:
            for name, p in model.named_parameters():
                if name.endswith("c_proj.weight"):
                    p.data *= math.sqrt(2 * n_layer)
        x = model.wte(torch.arange(64)[None]) + model.wpe(torch.arange(64))
        start = x.var()
        for block in model.h:
            x = block(x)
        return ((x.var() - start) / start).item()

    assert growth(24, shrink=True) == pytest.approx(growth(2, shrink=True), rel=0.3)
    assert growth(24, shrink=False) > 8 * growth(2, shrink=False)


def test_the_first_loss_is_that_of_a_blind_guess():
    torch.manual_seed(1337)
    model = gpt2.Model(gpt2.Config(vocab_size=65, block_size=64, n_embd=128, n_head=4, n_layer=4))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randint(65, (2, 32, 64), generator=generator)
    assert model(x, y)[1].item() == pytest.approx(math.log(65), abs=0.06)


def test_heads_that_start_equal_stay_equal():
    model = small_model()
    for p in model.parameters():
        if p.dim() == 2:
            nn.init.constant_(p, 0.01)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(3):
        idx = random_tokens(2, 7) % 11
        model(idx, idx.roll(-1, 1))[1].backward()
        optimizer.step()
        optimizer.zero_grad()
    heads = model.h[0].attn.c_attn.weight[:12].view(3, 4, 12)
    assert torch.equal(heads[0], heads[1]) and torch.equal(heads[1], heads[2])
    assert not torch.equal(heads, torch.full_like(heads, 0.01))


# From version 10


def trained_version_10():
    model = tiny_model(get_version(10)).eval()
    for p in model.parameters():  # not the first weights: norms and biases that matter
        p.data += 0.1 * torch.randn_like(p)
    model.lm_head.bias.data.zero_()
    return model


def test_version_10_in_the_class_of_gpt_2_gives_the_same_logits():
    old = trained_version_10()
    new, idx = from_version_10(old).eval(), random_tokens(4, 7)
    assert torch.allclose(new.logits(idx), old.logits(idx), atol=1e-5)


def test_the_activation_is_the_difference_that_remains():
    old = trained_version_10()
    new, idx = from_version_10(old).eval(), random_tokens(4, 7)
    for block in new.h:
        block.mlp.activation = nn.GELU(approximate="tanh")
    assert not torch.allclose(new.logits(idx), old.logits(idx), atol=1e-3)


def test_every_weight_of_version_10_but_the_bias_of_its_output_layer_has_a_place_in_gpt_2():
    old = trained_version_10()
    translated = sum(tensor.numel() for tensor in translate(old).values())
    no_bias = 3 * old.config.n_embd * old.config.n_layer  # version 10's queries, keys and values have none
    assert translated - no_bias == sum(p.numel() for p in old.parameters()) - old.config.vocab_size


def test_a_bias_in_the_output_layer_is_refused():
    old = trained_version_10()
    old.lm_head.bias.data[0] = 1
    with pytest.raises(UserError, match="no bias in its output layer"):
        from_version_10(old)


# Training


def test_decay_matrices_leaves_out_biases_and_norms():
    model = small_model()
    optimizer = make_optimizers(model, TrainConfig(decay="matrices", weight_decay=0.1))[0]
    decayed, rest = optimizer.param_groups
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(p) for p in model.parameters() if p.dim() >= 2}
    assert {id(p) for p in rest["params"]} == {id(p) for p in model.parameters() if p.dim() < 2}


@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_a_weight_without_a_gradient_still_decays_unless_it_is_left_out(decay):
    layer = nn.Linear(1, 1)
    nn.init.ones_(layer.weight), nn.init.ones_(layer.bias)
    optimizer = make_optimizers(layer, TrainConfig(decay=decay, weight_decay=0.1, learning_rate=0.01))[0]
    for p in layer.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert layer.weight.item() == pytest.approx(0.999)
    assert layer.bias.item() == pytest.approx(0.999 if decay == "all" else 1.0)


def test_the_gradients_of_four_small_batches_average_to_that_of_a_large_one():
    corpus = Corpus.from_text("To be, or not to be, that is the question. " * 20)
    weights = []
    for batch_size, accumulation in ((16, 1), (4, 4)):
        model = small_model(vocab_size=corpus.tokenizer.vocab_size)
        config = TrainConfig(batch_size=batch_size, accumulation=accumulation)
        trainer = Trainer(model, corpus, config)
        trainer.optimizers = []  # look at the gradients only
        loss = trainer.update()
        weights.append((loss, [p.grad for p in model.parameters()]))
    (large, one), (small, four) = weights
    assert torch.allclose(large, small, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, four, strict=True))


def test_the_cosine_of_the_recipe_ends_at_a_tenth_of_its_peak():
    from babygpt.train_config import learning_rate
    from babygpt.versions import select

    config = select(TrainConfig, GPT2.preset("nanogpt"))
    assert learning_rate(100, config) == config.learning_rate == 1e-3
    assert learning_rate(1050, config) == pytest.approx((1e-3 + 1e-4) / 2)
    assert learning_rate(2000, config) == pytest.approx(1e-4)


# Files


def test_a_checkpoint_for_resuming_is_three_times_as_large_as_the_weights():
    numbers = count(on_meta())
    assert [round(size * numbers / 2**20) for size in (4, 2, 1)] == [475, 237, 119]  # float32, float16, int8, in MiB
    model = small_model()
    optimizer = make_optimizers(model, TrainConfig())[0]
    model(random_tokens(2, 7) % 11, random_tokens(2, 7) % 11)[1].backward()
    optimizer.step()
    averages = sum(
        tensor.numel() for state in optimizer.state.values() for tensor in state.values() if tensor.dim() > 0
    )
    assert averages == 2 * count(model)
    assert round(12 * numbers / 1e9, 2) == 1.49


def test_the_table_of_scores_grows_with_the_square_of_the_length():
    assert [T**2 for T in (1024, 2048, 4096)] == [1_048_576, 4_194_304, 16_777_216]


def test_hidden_vectors_have_c_numbers_and_logits_v():
    model, idx = small_model(), random_tokens(1, 5) % 11
    assert model.wte.weight.shape == (11, 12)
    assert model.body(idx).shape == (1, 5, 12) and model.logits(idx).shape == (1, 5, 11)


def test_the_schedule_of_gpt_2_in_nanogpt_has_the_values_of_its_settings():
    from answers.lesson_12 import learning_rate

    assert learning_rate(0) == pytest.approx(2.9985e-7, rel=1e-4)
    assert learning_rate(2000) == pytest.approx(6e-4)
    assert learning_rate(301_000) == pytest.approx(3.3e-4)
    assert learning_rate(600_000) == learning_rate(10**6) == pytest.approx(6e-5)


def test_the_heads_of_the_smallest_gpt_2_have_64_channels():
    x = torch.empty(1, 3, 768, device="meta")
    with torch.device("meta"):
        attention = gpt2.CausalSelfAttention(gpt2.Config())
    q, _, _ = attention.c_attn(x).split(768, dim=2)
    assert q.view(1, 3, 12, 64).transpose(1, 2).shape == (1, 12, 3, 64)
    assert attention(x).shape == (1, 3, 768)


def test_with_the_padded_vocabulary_of_nanogpt_and_llm_c_gpt_2_has_124_475_904_parameters():
    assert count(on_meta(vocab_size=50_304)) == 124_475_904


def test_the_parts_run_in_the_order_of_the_paper():
    model, order = small_model(), []
    names = {module: name for name, module in model.named_modules()}
    for module in model.modules():
        if not list(module.children()) and not isinstance(module, nn.Dropout | nn.GELU):
            module.register_forward_hook(lambda module, inputs, output: order.append(names[module]))
    model.logits(random_tokens(1, 5) % 11)
    block = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]
    assert order == ["wte", "wpe", *(f"h.{n}.{part}" for n in range(2) for part in block), "ln_f", "lm_head"]
