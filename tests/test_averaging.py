"""Versions 2, 3 and 4: three ways to compute the same average of the past."""

import math
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, random_tokens, tiny_model
from torch import nn

from babygpt import v2, v3, v4
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import get_version

AVERAGES = pytest.mark.parametrize("average", [v2.average, v3.average, v4.average], ids=["v2", "v3", "v4"])


def weights(T):
    """The matrix that averages: row t holds the weights of token t."""
    tril = torch.tril(torch.ones(T, T))
    return tril / tril.sum(dim=1, keepdim=True)


@AVERAGES
def test_a_token_becomes_the_mean_of_itself_and_the_tokens_before_it(average, x):
    xbow = average(x)
    assert torch.equal(xbow[0, 0], x[0, 0])
    assert torch.allclose(xbow[0, 0], torch.tensor([0.1808, -0.0700]), atol=1e-4)
    assert torch.allclose(xbow[0, 1], torch.tensor([-0.0894, -0.4926]), atol=1e-4)
    assert torch.allclose(xbow[0, 7], torch.tensor([-0.0341, 0.1332]), atol=1e-4)
    assert torch.allclose(xbow[0, 7], x[0].mean(dim=0), atol=1e-6)


@AVERAGES
def test_the_average_is_a_running_mean(average):
    x = torch.tensor([[[0.2, 0.4], [0.6, 0.3], [0.1, 0.5], [0.9, 0.8]]])
    expected = torch.tensor([[[0.2, 0.4], [0.4, 0.35], [0.3, 0.4], [0.45, 0.5]]])
    assert torch.allclose(average(x), expected, atol=1e-6)


@AVERAGES
def test_the_average_is_a_cumulative_sum_divided_by_a_count(average, x):
    by_cumsum = x.cumsum(dim=1) / torch.arange(1, 9)[:, None]
    assert torch.allclose(average(x), by_cumsum, atol=1e-6)


@AVERAGES
def test_the_average_is_wei_times_x(average, x):
    assert torch.allclose(average(x), weights(8) @ x, atol=1e-6)


@AVERAGES
def test_the_average_forgets_the_order_of_the_past(average, x):
    shuffled = x.clone()
    shuffled[:, :6] = x[:, [3, 0, 5, 1, 4, 2]]
    assert torch.allclose(average(shuffled)[:, 5:], average(x)[:, 5:], atol=1e-6)
    assert not torch.allclose(average(shuffled)[:, :5], average(x)[:, :5], atol=1e-3)


@AVERAGES
def test_changing_the_future_leaves_the_average_of_the_past_alone(average, x):
    changed = x.clone()
    changed[:, 5:] += 1
    assert torch.equal(average(changed)[:, :5], average(x)[:, :5])
    assert not torch.equal(average(changed)[:, 5:], average(x)[:, 5:])


@AVERAGES
def test_a_batch_matrix_product_is_a_matrix_product_for_each_row(average, x):
    assert torch.allclose(average(x), torch.stack([weights(8) @ row for row in x]), atol=1e-6)


def test_the_three_models_give_the_same_logits_and_gradients():
    idx = random_tokens(4, TINY["block_size"])
    results = []
    for number in (2, 3, 4):
        model = tiny_model(get_version(number))
        logits, loss = model(idx, targets=idx)
        loss.backward()
        results.append((logits, [p.grad for p in model.parameters()]))
    (logits2, grads2), *others = results
    for logits, grads in others:
        # The three add in different orders, so the last bits may differ.
        assert torch.allclose(logits, logits2, atol=1e-6)
        assert all(torch.allclose(g, g2, atol=1e-6) for g, g2 in zip(grads, grads2, strict=True))


def test_the_three_models_have_the_same_training_curve(rhyme):
    curves = []
    for number in (2, 3, 4):
        model = tiny_model(get_version(number), vocab_size=rhyme.tokenizer.vocab_size)
        trainer = Trainer(model, rhyme, TrainConfig(max_iters=60, batch_size=4, eval_interval=20, eval_iters=5))
        trainer.train(progress=False)
        curves.append(torch.tensor([[record["train"], record["val"]] for record in trainer.history]))
    assert curves[0][-1, 0] < curves[0][0, 0] - 0.1  # it learned
    assert torch.allclose(curves[0], curves[1], atol=1e-4)
    assert torch.allclose(curves[0], curves[2], atol=1e-4)


def test_softmax_over_masked_zeros_gives_the_weights_of_the_average():
    T = 8
    wei = torch.zeros(T, T).masked_fill(torch.tril(torch.ones(T, T)) == 0, float("-inf"))
    assert torch.allclose(F.softmax(wei, dim=-1), weights(T), atol=1e-7)


def test_softmax_over_masked_scores_sums_to_one_and_gives_the_future_exactly_zero():
    T = 8
    mask = torch.tril(torch.ones(T, T)) == 0
    scores = torch.randn(T, T, generator=torch.Generator().manual_seed(0)).requires_grad_()
    wei = F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)
    assert torch.allclose(wei.sum(dim=-1), torch.ones(T), atol=1e-6)
    assert (wei[mask] == 0).all()
    wei.square().sum().backward()
    assert (scores.grad[mask] == 0).all()


def test_of_the_rows_masked_after_the_softmax_only_the_last_sums_to_one():
    T = 4
    wei = F.softmax(torch.zeros(T, T), dim=-1).masked_fill(torch.tril(torch.ones(T, T)) == 0, 0)
    assert torch.allclose(wei.sum(dim=-1), torch.tensor([0.25, 0.5, 0.75, 1.0]))


def test_without_the_diagonal_the_first_row_is_nan():
    T = 4
    strict = torch.tril(torch.ones(T, T), diagonal=-1)
    wei = F.softmax(torch.zeros(T, T).masked_fill(strict == 0, float("-inf")), dim=-1)
    assert wei[0].isnan().all() and not wei[1:].isnan().any()


@pytest.mark.parametrize("deep", [False, True])
def test_texts_that_need_different_weights_cannot_be_learned_with_fixed_ones_unless_a_nonlinear_layer_follows(deep):
    """The twelve texts of lesson 4: two letters, a digit that says which of them is repeated, and the answer."""
    texts = [a + b + digit + (a, b)[int(digit) - 1] for a, b in permutations("abc", 2) for digit in "12"]
    ids = torch.tensor([["abc12".index(c) for c in text] for text in texts])  # (12, 4)
    weights = torch.tensor([0.5, 0.2, 0.3])

    class Fixed(v2.Model):
        def __init__(self, config):
            super().__init__(config)
            C = config.n_embd
            layers = [nn.Linear(C, 64), nn.ReLU(), nn.Linear(64, C)] if deep else []
            self.after = nn.Sequential(*layers)

        def body(self, x):
            return self.after((weights[:, None] * x).sum(dim=1, keepdim=True))  # (B, 1, C)

    torch.manual_seed(0)
    model = Fixed(v2.Config(vocab_size=5, block_size=3, n_embd=16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(300):
        loss = F.cross_entropy(model.logits(ids[:, :3])[:, -1], ids[:, 3])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01 if deep else loss.item() > math.log(2)
