"""The modern GPT: with its default settings version 10, with LLaMA's settings LLaMA, and what each part promises."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v10
from babygpt.beyond import modern
from babygpt.beyond.models import LLAMA, MODERN
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.training import new_trainer

SIZES = dict(vocab_size=11, block_size=8, n_embd=16, n_head=4, n_layer=2, init_std=0.2)
KINDS = ["none", "learned", "sinusoidal", "rope", "alibi"]


def small_model(seed=0, **changes):
    torch.manual_seed(seed)
    return modern.Model(modern.Config(**SIZES | changes)).eval()


def tokens(*shape, seed=0):
    return torch.randint(11, shape, generator=torch.Generator().manual_seed(seed))


def count(model):
    return sum(p.numel() for p in model.parameters())


def gradients(model, idx, targets):
    model.zero_grad()
    model(idx, targets)[1].backward()
    return {name: p.grad for name, p in model.named_parameters()}


# Equal to models that are known


def translated(state, n_layer):
    """The weights of version 10 under the names of the modern model."""
    renamed = {
        "embed_tokens.weight": state["token_embedding_table.weight"],
        "embed_positions.weight": state["position_embedding_table.weight"],
    }
    pairs = {"norm": "ln_f", "lm_head": "lm_head"}
    for i in range(n_layer):
        ours, theirs = f"layers.{i}", f"blocks.{i}"
        pairs |= {
            f"{ours}.self_attn.o_proj": f"{theirs}.sa.proj",
            f"{ours}.mlp.up_proj": f"{theirs}.ffwd.net.0",
            f"{ours}.mlp.down_proj": f"{theirs}.ffwd.net.2",
            f"{ours}.input_layernorm": f"{theirs}.ln1",
            f"{ours}.post_attention_layernorm": f"{theirs}.ln2",
        }
        for new, old in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
            heads = [state[f"{theirs}.sa.heads.{head}.{old}.weight"] for head in range(SIZES["n_head"])]
            renamed[f"{ours}.self_attn.{new}.weight"] = torch.cat(heads)
    for new, old in pairs.items():
        renamed |= {f"{new}.{kind}": state[f"{old}.{kind}"] for kind in ("weight", "bias")}
    return renamed


def test_with_the_default_settings_it_is_version_10():
    torch.manual_seed(1)
    version_10 = v10.Model(v10.Config(**SIZES, dropout=0.0, attention="loop"))
    model = small_model()
    model.load_state_dict(translated(version_10.state_dict(), SIZES["n_layer"]))
    assert count(model) == count(version_10)
    idx, targets = tokens(3, 8), tokens(3, 8, seed=1)
    assert torch.allclose(model(idx)[0], version_10(idx)[0], atol=1e-6)
    ours, theirs = gradients(model, idx, targets), gradients(version_10, idx, targets)
    for name, grad in translated(theirs, SIZES["n_layer"]).items():
        assert torch.allclose(ours[name], grad, atol=1e-6), name


@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
def test_with_llamas_settings_it_is_llama_in_values_and_gradients(n_kv_head):
    transformers = pytest.importorskip("transformers")
    model = small_model(**LLAMA | {"n_kv_head": n_kv_head})
    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=16, intermediate_size=model.config.width, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=n_kv_head, rms_norm_eps=modern.EPS, max_position_embeddings=8,
        tie_word_embeddings=False,
    )  # fmt: skip
    llama = transformers.LlamaForCausalLM(config).eval()
    prefixed = {name if name.startswith("lm_head") else f"model.{name}": p for name, p in model.state_dict().items()}
    llama.load_state_dict(prefixed)
    idx, targets = tokens(2, 8), tokens(2, 8, seed=1)
    assert torch.allclose(model(idx)[0], llama(idx).logits, atol=1e-5)
    ours = gradients(model, idx, targets)
    F.cross_entropy(llama(idx).logits.flatten(0, 1), targets.flatten()).backward()
    for name, p in llama.named_parameters():
        assert torch.allclose(ours[name.removeprefix("model.")], p.grad, atol=1e-5), name


def test_post_norm_is_the_encoder_layer_of_pytorch_with_a_causal_mask():
    model = small_model(norm_at="post", positions="none")
    block = model.layers[0]
    layer = nn.TransformerEncoderLayer(16, 4, 64, dropout=0.0, activation="relu", batch_first=True).eval()
    attention = block.self_attn
    copies = {
        layer.self_attn.in_proj_weight: torch.cat(
            [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
        ),
        layer.self_attn.in_proj_bias: torch.zeros(48),
        layer.self_attn.out_proj.weight: attention.o_proj.weight,
        layer.self_attn.out_proj.bias: attention.o_proj.bias,
        layer.linear1.weight: block.mlp.up_proj.weight,
        layer.linear1.bias: block.mlp.up_proj.bias,
        layer.linear2.weight: block.mlp.down_proj.weight,
        layer.linear2.bias: block.mlp.down_proj.bias,
    }
    with torch.no_grad():
        for theirs, ours in copies.items():
            theirs.copy_(ours)
    x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
    mask = nn.Transformer.generate_square_subsequent_mask(8)
    assert torch.allclose(block(x), layer(x, src_mask=mask, is_causal=True), atol=1e-5)


# All combinations


@pytest.mark.parametrize("norm_at", ["pre", "post"])
@pytest.mark.parametrize("positions", KINDS)
def test_changing_the_future_leaves_the_past_alone_whatever_the_settings(positions, norm_at):
    for changes in (LLAMA, dict(activation="relu2", qk_norm=True, tied=True)):
        model = small_model(**changes | dict(positions=positions, norm_at=norm_at))
        idx = tokens(1, 8)
        changed = idx.clone()
        changed[:, 5:] = (changed[:, 5:] + 1) % 11
        before, after = model.logits(idx), model.logits(changed)
        assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
        assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-3)


@pytest.mark.parametrize("positions", KINDS)
def test_in_bfloat16_on_a_cpu_every_kind_of_positions_gives_nearly_the_same_logits(positions):
    model = small_model(positions=positions)
    with torch.autocast("cpu", torch.bfloat16):
        fast = model.logits(tokens(2, 8)).float()
    assert torch.allclose(fast, model.logits(tokens(2, 8)), atol=0.15)


@pytest.mark.parametrize("positions", [kind for kind in KINDS if kind != "learned"])
def test_without_learned_positions_a_model_reads_more_than_its_block_size(positions):
    logits = small_model(positions=positions).logits(tokens(1, 32))
    assert logits.shape == (1, 32, 11) and logits.isfinite().all()


def test_with_learned_positions_there_are_none_past_the_block_size():
    with pytest.raises(IndexError):
        small_model().logits(tokens(1, 9))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rope", "alibi"])
def test_positions_tell_the_order_of_earlier_tokens_to_the_last_one(positions):
    idx, swapped = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 1, 3, 4]])
    with_them, without = small_model(positions=positions, n_layer=1), small_model(positions="none", n_layer=1)
    assert torch.allclose(without.logits(idx)[:, -1], without.logits(swapped)[:, -1], atol=1e-6)
    assert not torch.allclose(with_them.logits(idx)[:, -1], with_them.logits(swapped)[:, -1], atol=1e-4)


# One part at a time


def test_rmsnorm_makes_the_mean_square_1_and_keeps_a_mean():
    norm = modern.new_norm(modern.Config(**SIZES, norm="rms"))
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)) + 3
    y = norm(x)
    assert torch.allclose(y.square().mean(-1), torch.ones(4), atol=1e-4)
    assert y.mean(-1).min() > 0.5
    assert torch.allclose(y, x / (x.square().mean(-1, keepdim=True) + modern.EPS).sqrt(), atol=1e-6)


@pytest.mark.parametrize("C", [48, 128, 384])
def test_swiglu_has_as_many_weights_as_the_layer_that_it_replaces_within_one_percent(C):
    with torch.device("meta"):
        config = modern.Config(n_embd=C, n_head=4, activation="swiglu", bias=False)
        swiglu, relu = modern.MLP(config), modern.MLP(modern.Config(n_embd=C, n_head=4, bias=False))
    assert count(relu) == 8 * C**2
    assert abs(count(swiglu) / count(relu) - 1) < 0.01


def test_swiglu_is_the_gate_times_the_other_half():
    mlp = modern.MLP(modern.Config(**SIZES, activation="swiglu", bias=False))
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    gate, up = x @ mlp.gate_proj.weight.T, x @ mlp.up_proj.weight.T
    assert torch.allclose(mlp(x), (gate * gate.sigmoid() * up) @ mlp.down_proj.weight.T, atol=1e-6)


def test_squared_relu_is_zero_below_zero_and_a_square_above():
    mlp = modern.MLP(modern.Config(**SIZES, activation="relu2"))
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    up = mlp.up_proj(x)
    assert torch.allclose(mlp(x), mlp.down_proj(torch.where(up > 0, up * up, 0.0)), atol=1e-6)


@pytest.mark.parametrize("n_kv_head", [1, 2])
def test_shared_keys_and_values_are_full_attention_with_copied_weights(n_kv_head):
    grouped, full = small_model(n_kv_head=n_kv_head), small_model()
    state = grouped.state_dict()
    for name, weight in state.items():
        if "k_proj" in name or "v_proj" in name:
            heads = weight.view(n_kv_head, 4, 16)  # (n_kv_head, hs, C)
            state[name] = heads.repeat_interleave(4 // n_kv_head, dim=0).flatten(0, 1)
    full.load_state_dict(state)
    assert torch.allclose(grouped.logits(tokens(2, 8)), full.logits(tokens(2, 8)), atol=1e-6)
    assert count(full) - count(grouped) == 2 * 2 * (4 - n_kv_head) * 4 * 16  # blocks, keys and values, heads


def test_with_qk_norm_the_size_of_queries_and_keys_does_not_matter():
    for qk_norm in (True, False):
        model = small_model(qk_norm=qk_norm)
        before = model.logits(tokens(2, 8))
        with torch.no_grad():
            for block in model.layers:
                block.self_attn.q_proj.weight *= 10
        assert torch.allclose(before, model.logits(tokens(2, 8)), atol=1e-2) == qk_norm


def test_with_zero_projections_each_block_starts_by_changing_nothing():
    x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(small_model(zero_proj=True).layers[0](x), x)
    assert not torch.allclose(small_model().layers[0](x), x, atol=0.1)


def test_tied_weights_are_one_matrix_and_save_it():
    tied, untied = small_model(tied=True), small_model()
    assert tied.lm_head.weight is tied.embed_tokens.weight
    assert count(untied) - count(tied) == 11 * 16


@pytest.mark.parametrize("ngrams", [2, 3])
def test_an_ngram_has_one_vector_which_depends_on_exactly_its_tokens(ngrams):
    model = small_model(ngrams=ngrams)
    embed = model.embed_ngrams
    with torch.no_grad():
        for table in embed.tables:
            table.weight.normal_(generator=torch.Generator().manual_seed(3))
    idx = tokens(1, 8)
    vectors = embed(idx)
    for changed in range(8):
        other = idx.clone()
        other[0, changed] = (other[0, changed] + 1) % 11
        different = ~torch.isclose(embed(other), vectors, atol=1e-3).all(-1)[0]
        assert different.tolist() == [changed <= t < changed + ngrams for t in range(8)]


def test_every_pair_of_characters_has_a_row_of_its_own():
    embed = modern.NgramEmbedding(modern.Config(vocab_size=65, n_embd=12, n_head=4, ngrams=2))
    with torch.no_grad():
        embed.tables[0].weight[:, 0] = torch.arange(65**2)
    pairs = torch.cartesian_prod(torch.arange(65), torch.arange(65))
    assert embed(pairs)[:, 1, 0].unique().numel() == 65**2


def test_vectors_of_ngrams_start_from_zero():
    plain, with_them = small_model(), small_model(ngrams=3)
    missing = with_them.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert all("embed_ngrams" in name for name in missing)
    assert torch.equal(plain.logits(tokens(2, 8)), with_them.logits(tokens(2, 8)))


def test_without_biases_nothing_has_a_bias():
    assert not [name for name, _ in small_model(bias=False).named_parameters() if "bias" in name]


@pytest.mark.parametrize("preset", MODERN.presets)
def test_the_loss_of_every_recipe_falls_from_about_ln_65(preset):
    sizes = dict(block_size=16, n_embd=32, n_head=4, batch_size=8, max_iters=60, warmup_iters=5, learning_rate=1e-2)
    trainer = new_trainer(MODERN.module(), Corpus.load(), MODERN.preset(preset) | sizes | {"device": "cpu"})
    first = trainer.evaluate()["val"]
    trainer.train(progress=False)
    assert 4.0 < first < 4.4
    assert trainer.history[-1]["val"] < 3.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(n_kv_head=3), "n_kv_head must divide n_head"),
        (dict(n_kv_head=0), "n_kv_head must be from 1"),
        (dict(positions="rope", n_embd=12, n_head=4), "must be even"),
        (dict(dropout=1.0), "dropout must be at least 0"),
        (dict(positions="foo"), "positions must be one of .*'alibi'.*, and it is 'foo'"),
        (dict(norm_at="x"), "norm_at must be one of .*, and it is 'x'"),
        (dict(positions="sinusoidal", n_embd=15, n_head=3), "n_embd must be even, and it is 15"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_their_value(changes, message):
    with pytest.raises(UserError, match=message):
        modern.Config(**SIZES | changes)
