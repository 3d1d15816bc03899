"""Versions 7 to 10: feed-forward, residual connections, layer norm, dropout, initial weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, random_tokens, tiny_model
from torch import nn

from babygpt import v7, v8, v9, v10
from babygpt.compare.recorded import trainings
from babygpt.versions import get_version, select

CONFIG = v10.Config(**TINY)


@pytest.fixture
def x():
    """(B, T, C) tokens of width 12."""
    return torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("FeedForward", [v7.FeedForward, v8.FeedForward, v10.FeedForward], ids=["v7", "v8", "v10"])
def test_feed_forward_computes_on_each_token_alone(FeedForward, x):
    ffwd = FeedForward(CONFIG)
    changed = x.clone()
    changed[:, 3] += 1
    others = [0, 1, 2, 4, 5, 6]
    assert torch.equal(ffwd(changed)[:, others], ffwd(x)[:, others])
    assert not torch.equal(ffwd(changed)[:, 3], ffwd(x)[:, 3])
    assert torch.allclose(ffwd(x)[:, others], ffwd(x[:, others]), atol=1e-6)


def test_feed_forward_is_one_layer_in_v7_and_widens_fourfold_from_v8():
    def widths(ffwd):
        return [(layer.in_features, layer.out_features) for layer in ffwd.net if isinstance(layer, nn.Linear)]

    assert widths(v7.FeedForward(CONFIG)) == [(12, 12)]
    assert widths(v8.FeedForward(CONFIG)) == widths(v10.FeedForward(CONFIG)) == [(12, 48), (48, 12)]


def test_the_feed_forward_layer_of_v7_ends_in_a_relu(x):
    ffwd = v7.FeedForward(CONFIG)
    linear = x @ ffwd.net[0].weight.T + ffwd.net[0].bias
    assert torch.allclose(ffwd(x), linear.clamp(min=0), atol=1e-6)


def test_without_the_relu_two_layers_are_one(x):
    ffwd = v8.FeedForward(CONFIG)
    first, _, second = ffwd.net
    as_one = x @ (second.weight @ first.weight).T + second.weight @ first.bias + second.bias
    assert torch.allclose(second(first(x)), as_one, atol=1e-5)
    assert not torch.allclose(ffwd(x), as_one, atol=1e-2)


def test_v7_ends_below_v6_for_every_recorded_seed_but_one_seed_is_above_it_on_the_way():
    """What lesson 7 says about the recorded runs."""
    six, seven = ({run["seed"]: run["history"] for run in trainings(get_version(number))} for number in (6, 7))
    assert sorted(six) == sorted(seven) == [1337, 1338, 1339, 1340, 1341]
    gaps = {seed: [b["val"] - a["val"] for a, b in zip(six[seed], seven[seed], strict=True)][1:] for seed in six}
    assert min(-gap[-1] for gap in gaps.values()) == pytest.approx(0.010, abs=0.0005)
    assert max(-gap[-1] for gap in gaps.values()) == pytest.approx(0.048, abs=0.0005)
    above = {seed: [500 * (i + 1) for i, gap in enumerate(gap) if gap > 0] for seed, gap in gaps.items()}
    assert above == {1337: [], 1338: [1000, 1500, 2000, 2500, 3000, 3500], 1339: [], 1340: [], 1341: []}


def gelu(value):
    """The exact GELU, by the error function of Python's own library."""
    return value * (1 + math.erf(value / math.sqrt(2))) / 2


def test_gelu_is_x_times_the_share_of_the_bell_curve_below_x():
    table = {3: 2.99595, 2: 1.95450, 1: 0.84134, 0.5: 0.34573, -0.5: -0.15427, -1: -0.15866, -2: -0.04550, -3: -0.00405}
    for value, expected in table.items():
        assert F.gelu(torch.tensor(float(value))).item() == pytest.approx(expected, abs=1e-5)
        assert gelu(value) == pytest.approx(expected, abs=1e-5)


def test_gelu_is_lowest_near_minus_0_75_and_falls_to_the_left_of_it():
    values = torch.linspace(-6, 6, 100_001, dtype=torch.float64).requires_grad_()
    curve = F.gelu(values)
    lowest = curve.argmin()
    assert curve[lowest].item() == pytest.approx(-0.16997, abs=1e-5)
    assert values[lowest].item() == pytest.approx(-0.7518, abs=2e-4)
    assert gelu(-0.7518) == pytest.approx(-0.16997, abs=1e-5)
    slope = torch.autograd.grad(curve.sum(), values)[0]
    assert (slope[values < -0.752] < 0).all() and (slope[values > -0.7515] > 0).all()


def test_the_tanh_formula_is_within_0_0005_of_the_exact_gelu():
    values = torch.linspace(-6, 6, 100_001, dtype=torch.float64)
    difference = (F.gelu(values) - F.gelu(values, approximate="tanh")).abs().max().item()
    assert 4.6e-4 < difference <= 4.8e-4
    x = 1.3
    by_hand = 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    assert F.gelu(torch.tensor(x), approximate="tanh").item() == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("Block", [v8.Block, v9.Block, v10.Block], ids=["v8", "v9", "v10"])
def test_a_block_whose_projections_are_zero_is_the_identity(Block, x):
    block = Block(CONFIG)
    for linear in (block.sa.proj, block.ffwd.net[2]):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    assert torch.equal(block(x), x)


def test_a_residual_block_adds_what_its_parts_compute(x):
    block = v8.Block(CONFIG)
    middle = x + block.sa(x)
    assert torch.equal(block(x), middle + block.ffwd(middle))


@pytest.mark.parametrize("Block", [v9.Block, v10.Block], ids=["v9", "v10"])
def test_layer_norm_comes_before_each_part_and_not_in_the_stream(Block, x):
    block = Block(CONFIG)
    middle = x + block.sa(block.ln1(x))
    assert torch.equal(block(x), middle + block.ffwd(block.ln2(middle)))
    assert block(100 * x).std() > 50  # the stream keeps its scale


def test_residual_connections_carry_the_gradient_to_the_embeddings():
    """At the start of training, three blocks deep."""

    class Plain(v8.Block):
        def forward(self, x):
            return self.ffwd(self.sa(x))

    norms = {}
    for name, Block in (("residual", v8.Block), ("plain", Plain)):
        torch.manual_seed(0)
        model = v8.Model(v8.Config())
        model.blocks = nn.Sequential(*[Block(model.config) for _ in range(3)])
        idx = torch.randint(65, (8, 8), generator=torch.Generator().manual_seed(0))
        model(idx, idx)[1].backward()
        norms[name] = model.token_embedding_table.weight.grad.norm().item()
    assert norms["residual"] > 100 * norms["plain"]


def test_layer_norm_gives_the_numbers_of_a_token_mean_0_and_variance_1(x):
    ln = tiny_model(get_version(9)).ln_f
    nn.init.normal_(ln.weight)
    nn.init.normal_(ln.bias)
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)  # divided by C, not C - 1
    by_hand = ln.weight * (x - mean) / (variance + 1e-5).sqrt() + ln.bias
    assert torch.allclose(ln(x), by_hand, atol=1e-5)


@pytest.mark.parametrize("row", [[10, 20, 30, 40], [2, 4, 6, 8], [60, 70, 80, 90]])
def test_layer_norm_removes_the_mean_and_the_spread_of_a_token(row):
    out = v9.Block(select(v9.Config, TINY | {"n_embd": 4, "n_head": 1})).ln1(torch.tensor([row], dtype=torch.float32))
    assert torch.allclose(out, torch.tensor([[-1.3416, -0.4472, 0.4472, 1.3416]]), atol=1e-4)


def test_layer_norm_gives_the_same_for_a_row_alone_and_in_training_and_evaluation(x):
    ln = tiny_model(get_version(9)).ln_f
    assert torch.equal(ln(x)[1], ln(x[1]))
    assert torch.equal(ln.train()(x), ln.eval()(x))
    assert not list(ln.buffers())


def test_there_is_dropout_in_three_places(x):
    model = tiny_model(get_version(10), dropout=0.25)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
    of_a_block = {name.removeprefix("blocks.0.") for name in names if name.startswith("blocks.0.")}
    assert of_a_block == {"sa.heads.0.dropout", "sa.heads.1.dropout", "sa.heads.2.dropout", "sa.dropout", "ffwd.net.3"}
    assert len(names) == 2 * len(of_a_block)  # two blocks, and nowhere else
    assert all(model.get_submodule(name).p == 0.25 for name in names)


def test_each_of_the_three_dropouts_changes_the_output_in_training(x):
    torch.manual_seed(0)
    for name in ("sa.heads.0.dropout", "sa.dropout", "ffwd.net.3"):
        block = v10.Block(select(v10.Config, TINY | {"attention": "loop"})).train()
        block.get_submodule(name).p = 0.5
        assert not torch.equal(block(x), block(x)), name


def test_dropout_zeroes_some_numbers_and_divides_the_rest_by_one_minus_p():
    torch.manual_seed(0)
    dropout = v10.FeedForward(select(v10.Config, TINY | {"dropout": 0.2})).net[3]
    out = dropout(torch.ones(100_000))
    assert set(out.unique().tolist()) == {0.0, 1.25}
    assert out.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(dropout.eval()(out), out)


@pytest.mark.parametrize("attention", ["fused", "loop"])
def test_dropout_is_on_in_training_and_off_in_evaluation(attention):
    model, idx = tiny_model(get_version(10), dropout=0.5, attention=attention), random_tokens()
    with torch.no_grad():
        model.blocks[0].ffwd.net[2].weight.mul_(100)
    assert not torch.equal(model.train()(idx)[0], model(idx)[0])
    assert torch.equal(model.eval()(idx)[0], model(idx)[0])


def test_v10_without_dropout_gives_the_logits_of_v9_with_the_same_weights():
    old, idx = tiny_model(get_version(9)), random_tokens()
    for attention in ("loop", "fused"):
        new = tiny_model(get_version(10), seed=5, attention=attention)
        new.load_state_dict(old.state_dict())
        assert torch.allclose(new(idx)[0], old(idx)[0], atol=1e-6)


def test_v10_starts_from_small_normal_weights_and_zero_biases():
    torch.manual_seed(0)
    model = v10.Model(v10.Config(n_layer=1, n_embd=192, block_size=64))
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert (p == 0).all(), name
        elif ".ln" in name or name.startswith("ln"):
            assert (p == 1).all(), name
        else:
            assert p.std().item() == pytest.approx(0.02, rel=0.05), name


def test_v10_starts_near_the_uniform_loss(shakespeare):
    batch = shakespeare.get_batch("train", 64, 8, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    loss = v10.Model(v10.Config(n_layer=2, n_embd=96))(*batch)[1].item()
    assert loss == pytest.approx(math.log(65), abs=0.06)


def test_the_number_of_blocks_and_heads_is_a_setting():
    model = tiny_model(get_version(10), n_layer=5, n_head=6)
    assert len(model.blocks) == 5
    assert all(len(block.sa.heads) == 6 for block in model.blocks)


def test_cross_entropy_refuses_logits_of_three_dimensions():
    with pytest.raises(RuntimeError, match="Expected target size"):
        F.cross_entropy(torch.zeros(4, 8, 65), torch.zeros((4, 8), dtype=torch.long))
