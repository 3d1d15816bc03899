"""Faster dropout for CPUs: the same as `nn.Dropout`, at a rate of k / 256."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, tiny_model
from torch import nn

from babygpt import v10
from babygpt.byte_dropout import ByteDropout, use_byte_dropout
from babygpt.errors import UserError
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import get_version, select

N = 2**20
RATES = pytest.mark.parametrize(("p", "k"), [(0.1, 26), (0.2, 51), (0.5, 128), (0.9, 230)])


def dropped(p, seed=0, n=N):
    """Which of n ones a dropout sets to zero."""
    torch.manual_seed(seed)
    return ByteDropout(p)(torch.ones(n)) == 0


@RATES
def test_the_rate_is_the_nearest_multiple_of_one_256th_in_each_of_the_eight_bytes(p, k):
    assert abs(p - k / 256) <= 1 / 512
    rate, drops = k / 256, dropped(p).double()
    five_sigma = 5 * (rate * (1 - rate) / N) ** 0.5
    assert abs(drops.mean() - rate) < five_sigma < 1 / 256
    assert ((drops.view(-1, 8).mean(0) - rate).abs() < 8**0.5 * five_sigma).all()


@RATES
def test_the_others_are_scaled_so_that_the_mean_stays(p, k):
    torch.manual_seed(0)
    out = ByteDropout(p)(torch.ones(N))
    assert out.unique().tolist() == pytest.approx([0, 256 / (256 - k)])
    rate = k / 256
    assert out.mean().item() == pytest.approx(1, abs=5 * (rate / (1 - rate) / N) ** 0.5)


def test_the_scale_is_exact_in_bfloat16_too():
    torch.manual_seed(0)
    x = torch.rand(N).add(1).bfloat16()
    out = ByteDropout(0.2)(x)
    kept = out != 0
    assert torch.equal(out[kept], (x[kept].double() * 256 / 205).bfloat16())


def test_no_number_knows_of_another():
    """The correlation of a million pairs is 0, give or take 0.001, at any distance and from one call to the next."""
    a, b = (dropped(0.2, seed).double() - 51 / 256 for seed in (0, 1))
    variance = 51 / 256 * 205 / 256
    assert all(((a[:-lag] * a[lag:]).mean() / variance).abs() < 0.005 for lag in range(1, 65))
    assert ((a * b).mean() / variance).abs() < 0.005
    torch.manual_seed(0)
    first, second = ((ByteDropout(0.2)(torch.ones(N)) == 0).double() - 51 / 256 for _ in range(2))
    assert ((first * second).mean() / variance).abs() < 0.005


def test_the_gradient_takes_the_same_mask_and_scale():
    x = torch.randn(30, 7, requires_grad=True)
    out = ByteDropout(0.5)(x)
    out.sum().backward()
    assert torch.equal(x.grad, torch.where(out == 0, 0.0, 2.0))
    assert 0 < (x.grad == 0).sum() < x.numel()


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4), (2, 3, 4)])
def test_any_shape_and_any_order_in_memory_will_do(shape):
    x = torch.ones(shape)
    for each in (x, x.mT) if len(shape) > 1 else (x,):
        out = ByteDropout(0.5)(each)
        assert out.shape == each.shape and set(out.flatten().tolist()) <= {0.0, 2.0}


def test_in_evaluation_and_at_a_rate_of_0_nothing_happens():
    x = torch.ones(100)
    assert ByteDropout(0.5).eval()(x) is x and ByteDropout(0.0)(x) is x


@pytest.mark.parametrize("p", [0.001, 0.999])
def test_a_rate_that_would_become_0_or_1_is_refused(p):
    with pytest.raises(UserError, match=f"and dropout is {p}: leave out --fast-dropout"):
        ByteDropout(p)


def test_the_seed_decides_what_is_dropped():
    assert torch.equal(dropped(0.2, seed=3), dropped(0.2, seed=3))
    assert not torch.equal(dropped(0.2, seed=3), dropped(0.2, seed=4))


# In training

QUICK = dict(max_iters=12, batch_size=4, learning_rate=1e-2, eval_interval=6, eval_iters=2, device="cpu")


def trainer_of(corpus, dropout=0.2, **changes):
    model = tiny_model(get_version(10), vocab_size=corpus.tokenizer.vocab_size, dropout=dropout)
    return Trainer(model, corpus, TrainConfig(**QUICK | changes))


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def test_every_dropout_of_version_10_is_exchanged_but_only_if_asked_for(rhyme):
    def kinds(trainer):
        return {type(module) for module in trainer.model.modules() if isinstance(module, nn.Dropout)}

    plain, fast = trainer_of(rhyme), trainer_of(rhyme, fast_dropout=True)
    assert (kinds(plain), kinds(fast)) == ({nn.Dropout}, {ByteDropout})
    assert plain.model.state_dict().keys() == fast.model.state_dict().keys()
    assert all(module.p == 0.2 for module in fast.model.modules() if isinstance(module, ByteDropout))
    use_byte_dropout(plain.model.eval())
    assert not any(module.training for module in plain.model.modules())


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_fused_heads_leave_no_dropout_to_pytorch(bfloat16, monkeypatch):
    attention = v10.FusedMultiHeadAttention(select(v10.Config, TINY | {"dropout": 0.5}))
    use_byte_dropout(attention)
    attention.dropout.eval()  # leave only the dropout of the attention weights
    monkeypatch.setattr(F, "dropout", lambda *args: pytest.fail("F.dropout was called"))
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *args, **more: pytest.fail("so was SDPA"))
    x = torch.randn(2, 7, 12)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        assert not torch.equal(attention(x), attention(x))
        attention.eval()
        assert torch.equal(attention(x), attention(x))


def test_the_mean_over_many_masks_is_the_output_without_dropout():
    attention = v10.FusedMultiHeadAttention(select(v10.Config, TINY | {"dropout": 0.2}))
    use_byte_dropout(attention)
    x = torch.randn(1, 7, 12).expand(20_000, 7, 12)
    with torch.no_grad():
        out, expected = attention(x), attention.eval()(x[:1])
    five_sigma = 5 * out.std(0) / 20_000**0.5
    assert ((out.mean(0) - expected[0]).abs() <= five_sigma + 1e-6).all()


def test_a_resumed_run_draws_the_masks_that_it_would_have_drawn(rhyme):
    plain, never_stopped = trainer_of(rhyme), trainer_of(rhyme, fast_dropout=True)
    for trainer in (plain, never_stopped):
        torch.manual_seed(trainer.config.seed)
        trainer.train(progress=False)
    stopped = trainer_of(rhyme, fast_dropout=True)
    stopped.train(progress=False, on_step=lambda trainer: setattr(trainer, "stop", trainer.step == 5))
    saved = deepcopy(stopped.state())
    torch.rand(99)  # whatever else a program draws
    resumed = trainer_of(rhyme, fast_dropout=True)
    resumed.load_state(saved)
    resumed.train(progress=False)
    assert (stopped.step, resumed.step) == (5, 12)
    assert torch.equal(weights(resumed), weights(never_stopped))
    assert not torch.equal(weights(plain), weights(never_stopped))


def test_without_dropout_the_run_is_the_same(rhyme):
    plain, fast = (trainer_of(rhyme, dropout=0.0, fast_dropout=fast) for fast in (False, True))
    for trainer in (plain, fast):
        trainer.train(progress=False)
    assert torch.allclose(weights(plain), weights(fast), atol=1e-4)  # the additions come in another order
