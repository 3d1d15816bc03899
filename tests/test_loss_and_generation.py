"""What model.py and version 1 claim: the loss, the table, and sampling one token after the other."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, every_version, random_tokens, tiny_model

from babygpt import v1
from babygpt.errors import UserError
from babygpt.model import Config, evaluating, sample
from babygpt.versions import VERSIONS


@pytest.fixture
def bigram(shakespeare):
    torch.manual_seed(1337)
    return v1.Model(Config(vocab_size=65, block_size=8))


def counts(tokens):
    """How often token j follows token i: a (65, 65) table."""
    pairs = tokens[:-1].long() * 65 + tokens[1:].long()
    return torch.bincount(pairs, minlength=65 * 65).view(65, 65).double()


def test_the_first_loss_matches_the_lecture(shakespeare, bigram):
    batch = shakespeare.get_batch("train", 4, 8, torch.Generator().manual_seed(1337))
    logits, loss = bigram(*batch)
    assert logits.shape == (4, 8, 65)
    assert loss.item() == pytest.approx(4.878635, abs=1e-5)


def test_equal_logits_give_the_loss_of_a_uniform_guess(shakespeare, bigram):
    torch.nn.init.zeros_(bigram.token_embedding_table.weight)
    _, loss = bigram(*shakespeare.get_batch("train", 4, 8))
    assert loss.item() == pytest.approx(math.log(65), abs=1e-5)  # 4.174387


def test_random_tables_start_above_the_uniform_loss_because_they_are_confidently_wrong(shakespeare):
    xb, yb = shakespeare.get_batch("train", 256, 8, torch.Generator().manual_seed(0))
    losses = []
    for seed in range(50):
        torch.manual_seed(seed)
        losses.append(v1.Model(Config())(xb, yb)[1].item())
    expected = math.log(65) + 1 / 2 - (math.e - 1) / 130  # logits drawn from N(0, 1)
    assert sum(losses) / 50 == pytest.approx(expected, abs=0.05)


def test_the_loss_is_the_mean_negative_log_probability_of_the_targets(bigram, shakespeare):
    xb, yb = shakespeare.get_batch("train", 4, 8)
    logits, loss = bigram(xb, yb)
    by_hand = -F.log_softmax(logits, dim=-1).gather(-1, yb[..., None]).mean()
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-6)


def test_the_loss_without_targets_is_none(bigram):
    logits, loss = bigram(torch.zeros((2, 3), dtype=torch.long))
    assert logits.shape == (2, 3, 65)
    assert loss is None


def test_row_i_of_the_table_holds_the_logits_after_token_i(bigram):
    idx = torch.tensor([[3, 1, 4], [1, 5, 9]])
    logits, _ = bigram(idx)
    assert torch.equal(logits, bigram.token_embedding_table.weight[idx])


def test_the_bigram_sees_only_the_last_token(bigram):
    one, other = torch.tensor([[7, 8, 9]]), torch.tensor([[1, 2, 9]])
    assert torch.equal(bigram(one)[0][:, -1], bigram(other)[0][:, -1])


def test_an_embedding_is_a_one_hot_vector_times_a_matrix(bigram):
    idx = torch.tensor([3, 1, 4])
    one_hot = F.one_hot(idx, 65).float()
    assert torch.equal(one_hot @ bigram.token_embedding_table.weight, bigram.token_embedding_table(idx))


def test_no_bigram_beats_the_table_of_counts_which_reaches_2_45(shakespeare, bigram):
    table = counts(shakespeare.train)
    assert (table > 0).sum() == 1380  # of 4,225 pairs
    log_p = (table / table.sum(dim=1, keepdim=True)).log()
    best = -(table * log_p.nan_to_num(neginf=0)).sum() / table.sum()
    assert best.item() == pytest.approx(2.4519, abs=1e-3)
    # The same number through the model: the logits of the best bigram are the log counts.
    with torch.no_grad():
        bigram.token_embedding_table.weight.copy_((table + 1e-9).log())
        whole = shakespeare.train.long()
        _, loss = bigram(whole[None, :-1], whole[None, 1:])
    assert loss.item() == pytest.approx(2.4519, abs=1e-3)


@every_version()
def test_generate_keeps_the_prompt_and_adds_tokens_of_the_vocabulary(version):
    model, idx = tiny_model(version), random_tokens()
    out = model.generate(idx, 3)
    assert out.shape == (2, 5 + 3)
    assert out.dtype == torch.int64
    assert torch.equal(out[:, :5], idx)
    assert 0 <= out.min() and out.max() < TINY["vocab_size"]


@every_version()
def test_generation_runs_past_the_block_size(version):
    model = tiny_model(version)
    out = model.generate(torch.zeros((1, 1), dtype=torch.long), 3 * TINY["block_size"])
    assert out.shape == (1, 1 + 3 * TINY["block_size"])


@every_version()
def test_only_the_last_block_size_tokens_of_a_long_prompt_matter(version):
    model, long = tiny_model(version), random_tokens(1, 30)
    short = long[:, -TINY["block_size"] :]
    from_long, from_short = (
        model.generate(idx, 5, generator=torch.Generator().manual_seed(3))[:, -5:] for idx in (long, short)
    )
    assert torch.equal(from_long, from_short)


@every_version(1)
def test_more_tokens_than_positions_raise_an_error(version):
    with pytest.raises(IndexError):
        tiny_model(version)(random_tokens(1, TINY["block_size"] + 1))


def test_streaming_samples_the_same_tokens_as_generate():
    model, idx = tiny_model(VERSIONS[4]), random_tokens()
    streamed = list(model.stream(idx, 6, generator=torch.Generator().manual_seed(3)))
    assert all(token.shape == (2, 1) for token in streamed)
    whole = model.generate(idx, 6, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.cat(streamed, dim=1), whole[:, 5:])


def test_the_same_seed_samples_the_same_text_and_another_seed_a_different_one():
    model, idx = tiny_model(VERSIONS[0]), random_tokens(1)
    first, again, other = (model.generate(idx, 20, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_generation_turns_dropout_off_and_leaves_the_mode_as_it_was():
    model, idx = tiny_model(VERSIONS[9], dropout=0.5).train(), random_tokens(1)
    first, again = (model.generate(idx, 20, temperature=0) for _ in range(2))
    assert torch.equal(first, again)
    assert model.training


def test_generation_leaves_no_gradients():
    model = tiny_model(VERSIONS[8])
    model.generate(random_tokens(), 3)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_restores_the_mode_even_after_an_error(training):
    model = tiny_model(VERSIONS[9]).train(training)
    with pytest.raises(RuntimeError, match="oops"), evaluating(model):
        assert not model.training
        raise RuntimeError("oops")
    assert model.training == training


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1, [0.0117, 0.0317, 0.0861, 0.2341, 0.6364]), (2, [0.0580, 0.0956, 0.1577, 0.2600, 0.4287])],
)
def test_temperature_divides_the_logits(temperature, expected):
    logits = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).expand(40_000, 5)
    drawn = sample(logits, temperature=temperature, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn.flatten(), minlength=5) / len(drawn)
    # The share of 40,000 draws has a standard deviation of at most 0.0025.
    assert torch.allclose(shares, torch.tensor(expected), atol=0.01)


def test_temperature_zero_picks_the_most_likely_token():
    logits = torch.tensor([[1.0, 5.0, 2.0], [0.0, -1.0, -2.0]])
    assert sample(logits, temperature=0).tolist() == [[1], [0]]


def test_top_k_samples_the_k_most_likely_tokens_in_their_original_proportions():
    p = torch.tensor([0.45, 0.25, 0.15, 0.08, 0.05, 0.01, 0.01])
    drawn = sample(p.log().expand(40_000, 7), top_k=5, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn.flatten(), minlength=7) / len(drawn)
    assert torch.allclose(shares, torch.tensor([0.4592, 0.2551, 0.1531, 0.0816, 0.0510, 0, 0]), atol=0.01)
    assert shares[5:].sum() == 0


def test_top_k_of_one_is_greedy_and_of_the_whole_vocabulary_changes_nothing():
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sample(logits, top_k=1), logits.argmax(dim=-1, keepdim=True))
    limited, free = (sample(logits, top_k=k, generator=torch.Generator().manual_seed(1)) for k in (9, None))
    assert torch.equal(limited, free)


@pytest.mark.parametrize("how", [{"temperature": -0.1}, {"temperature": math.nan}, {"top_k": 0}])
def test_impossible_sampling_settings_are_refused(how):
    with pytest.raises(UserError, match=f"{next(iter(how))} must be"):
        sample(torch.zeros(1, 5), **how)
