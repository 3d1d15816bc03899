"""Lesson 18: what is measured inside a model is what it says, and the models that copy."""

import math
import re
import shutil
from itertools import combinations, pairwise

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, random_tokens, tiny_model

from babygpt.beyond import attention_only
from babygpt.beyond.inside import ablation, chunks, embeddings, heads, induction, lens, patching, report
from babygpt.beyond.inside.hooks import Inside
from babygpt.beyond.inside.opened import SHIPPED, one_head_at_a_time, open_model
from babygpt.beyond.models import ATTENTION_ONLY, REPEATS
from babygpt.beyond.repeats import ALPHABET, SHORTEST, Repeats
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.model import Config, LanguageModel
from babygpt.tokenizer import CharTokenizer
from babygpt.training import estimate_loss, new_trainer
from babygpt.versions import get_version, select

CLOSE = dict(atol=1e-5, rtol=1e-4)  # float32, added up in another order
T = TINY["block_size"]


@pytest.fixture
def inside():
    """A small version 10, its heads one at a time. Its weights are large, so that everything has an effect."""
    return Inside(tiny_model(get_version(10), attention="loop", init_std=0.3).eval())


@pytest.fixture
def text(inside):
    """Four rows of tokens, and the tokens that follow."""
    rows = random_tokens(4, T + 1)
    return rows[:, :-1], rows[:, 1:]


def small(n_layer, seed=0):
    """A small model with nothing but attention."""
    torch.manual_seed(seed)
    sizes = select(attention_only.Config, TINY | {"n_layer": n_layer, "attention": "loop", "init_std": 0.3})
    return attention_only.Model(sizes).eval()


# Opening a model


def test_a_model_that_computes_all_heads_at_once_is_refused_and_its_twin_says_the_same():
    fused, idx = tiny_model(get_version(10)), random_tokens(2, T)
    with pytest.raises(UserError, match="computes all heads at once"):
        Inside(fused)
    twin = Inside(one_head_at_a_time(fused))
    torch.testing.assert_close(twin.logits(idx), fused.eval().logits(idx), **CLOSE)


def test_the_weights_that_are_shown_give_what_the_fused_attention_gives():
    """So what is seen of the heads is true of the model as it was trained."""
    fused, idx, seen = tiny_model(get_version(10)).eval(), random_tokens(1, T), []
    sa = fused.blocks[1].sa
    sa.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0][0], output[0])))
    fused.logits(idx)
    (x, output), wei = seen[0], Inside(one_head_at_a_time(fused)).attention(idx)[1]
    gathered = torch.cat([row @ head.value(x) for row, head in zip(wei, sa.heads, strict=True)], dim=-1)
    torch.testing.assert_close(sa.proj(gathered), output, **CLOSE)


def test_a_model_is_opened_by_the_name_of_a_version_or_by_its_folder(tmp_path):
    model, tokenizer = open_model("v9")
    assert type(model).__module__ == "babygpt.v9" and tokenizer.vocab_size == 65
    shutil.copy(SHIPPED / "v10.pt", tmp_path / "best.pt")
    assert type(open_model(tmp_path)[0]).__module__ == "babygpt.v10"
    with pytest.raises(UserError, match="there is no run in v11"):
        open_model("v11")


# The text, and how sure a mean is


def test_chunks_are_consecutive_pieces_of_the_validation_text_that_do_not_overlap():
    corpus = Corpus("numbers", CharTokenizer("ab"), torch.arange(100), torch.arange(100, 200))
    for n, length in ((4, 10), (100, 10), (3, 33)):
        x, y = chunks.validation_chunks(corpus, length, n)
        assert x.shape == y.shape == (min(n, 99 // length), length)
        assert (y == x + 1).all() and (x.diff(dim=1) == 1).all() and len(x.unique()) == x.numel()
        assert x.min() >= 100 and y.max() < 200
        assert len({(b - a).item() for a, b in pairwise(x[:, 0])}) <= 1


def test_the_mean_of_the_token_losses_is_the_loss(inside, text):
    loss = inside.model(*text)[1]
    torch.testing.assert_close(chunks.token_losses(inside.logits(text[0]), text[1]).mean(), loss.detach(), **CLOSE)


def test_the_bootstrap_gives_about_the_interval_of_the_normal_distribution():
    values = torch.randn(400, generator=torch.Generator().manual_seed(1)) + 3
    found, half = chunks.interval(values), 1.96 * values.std().item() / 20
    assert found.mean == pytest.approx(values.mean().item(), abs=1e-6)
    assert found.low == pytest.approx(found.mean - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.15 * half)
    assert chunks.interval(values) == found


# Embeddings


def test_the_similarity_of_some_rows_is_the_mean_over_their_pairs():
    table, chosen = torch.randn(9, 5), [1, 4, 7, 8]
    pairs = [F.cosine_similarity(table[a], table[b], dim=0) for a, b in combinations(chosen, 2)]
    found = embeddings.similarity(embeddings.cosines(table), torch.tensor(chosen))
    torch.testing.assert_close(found, torch.stack(pairs).mean(), **CLOSE)


def test_by_chance_the_similarity_is_that_of_all_pairs_on_average():
    cos = embeddings.cosines(torch.randn(20, 5, generator=torch.Generator().manual_seed(0)))
    by_chance = embeddings.similarity_by_chance(cos, 4)
    assert by_chance.mean().item() == pytest.approx(embeddings.similarity(cos, torch.arange(20)).item(), abs=0.005)


def test_a_neighbor_is_another_row_and_none_is_nearer():
    table = torch.randn(12, 4)
    for row, neighbor in enumerate(embeddings.neighbors(embeddings.cosines(table)).tolist()):
        others = [(F.cosine_similarity(table[row], table[n], dim=0).item(), n) for n in range(12) if n != row]
        assert max(others)[1] == neighbor


def test_planted_groups_are_found_and_vectors_without_groups_are_not():
    generator = torch.Generator().manual_seed(0)
    kinds, table = torch.arange(40) % 4, torch.randn(40, 16, generator=generator)
    for planted in (False, True):
        cos = embeddings.cosines(table + 5 * planted * torch.eye(16)[kinds])
        chosen, nearest = (kinds == 1).nonzero()[:, 0], embeddings.neighbors(cos)
        p = [
            embeddings.p_value(embeddings.similarity(cos, chosen), embeddings.similarity_by_chance(cos, 10)),
            embeddings.p_value(
                embeddings.same_kind(nearest, kinds), embeddings.same_kind_by_chance(nearest, kinds, 2000)
            ),
        ]
        assert (max(p) < 0.01) if planted else (min(p) > 0.05), p


def test_kinds_that_are_dealt_out_at_random_keep_their_number():
    kinds, nearest = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 2, 0, 0])
    found = {round(4 * share) for share in embeddings.same_kind_by_chance(nearest, kinds, 500).tolist()}
    by_hand = set()
    for one in range(4):  # the four ways of dealing out three 0 and one 1
        dealt = [int(n == one) for n in range(4)]
        by_hand.add(sum(dealt[n] == dealt[nearest[n]] for n in range(4)))
    assert found == by_hand


def test_the_principal_axes_are_those_of_the_covariance_matrix():
    table = torch.randn(30, 6) * torch.tensor([5, 3, 1, 1, 1, 1.0])
    points, shares = embeddings.pca(table)
    values = torch.linalg.eigvalsh(table.T.cov()).flip(0)
    torch.testing.assert_close(shares, values[:2] / values.sum(), **CLOSE)
    torch.testing.assert_close(points.T.cov(), torch.diag(values[:2]), atol=1e-3, rtol=1e-3)


def test_the_capitals_that_are_nearest_to_their_own_small_letter_are_named():
    chars = "".join(chr(n) for n in (*range(65, 91), *range(97, 123)))
    vectors = torch.randn(26, 30, generator=torch.Generator().manual_seed(0))
    table = torch.cat((vectors, vectors))
    table[[0, 1]] = vectors[[1, 0]]  # A has the vector of b, and B that of a
    assert embeddings.own_capitals(embeddings.cosines(table), chars) == "CDEFGHIJKLMNOPQRSTUVWXYZ"


def test_only_version_10_of_those_with_heads_has_a_capital_beside_its_small_letter():
    counts = {}
    for name in ("v5", "v6", "v7", "v8", "v9", "v10"):
        model, tokenizer = open_model(name)
        cos = embeddings.cosines(model.token_embedding_table.weight.detach())
        counts[name] = len(embeddings.own_capitals(cos, tokenizer.decode(range(65))))
    assert counts.pop("v10") == 24 and counts["v9"] == 1 and max(counts.values()) <= 3


# Heads


TEXT = "So.\n\nRO:\nI say so"
#       0123 4 567 8 9


@pytest.mark.parametrize(
    ("find", "t", "expected"),
    [
        (heads.itself, 4, [4]),
        (heads.previous, 4, [3]),
        (heads.previous, 0, []),
        (heads.before_that, 4, [2]),
        (heads.before_that, 1, []),
        (heads.word, 13, [11]),
        (heads.word, 12, []),
        (heads.word, 14, []),
        (heads.word, 1, []),
        (heads.newline, 11, [8]),
        (heads.newline, 10, []),
        (heads.newline, 2, []),
        (heads.speaker, 8, []),
        (heads.speaker, 9, [5, 6]),
        (heads.speaker, 16, [5, 6]),
        (heads.same, 16, [1]),
        (heads.same, 6, []),
        (heads.after_same, 16, [2]),
        (heads.after_same, 15, [12]),
        (heads.after_same, 4, []),
    ],
)
def test_each_kind_of_position_is_found_in_a_text(find, t, expected):
    found = find(TEXT)
    assert len(found) == len(TEXT) and found[t] == expected
    assert all(0 <= s <= t for t, positions in enumerate(found) for s in positions)


def test_a_score_is_the_mean_weight_over_the_positions_that_want_any():
    wei, wanted = torch.rand(3, 6, 6), torch.rand(6, 6) < 0.3
    wanted[2] = False
    rows = [t for t in range(6) if wanted[t].any()]
    for head, found in zip(wei, heads.score(wei, wanted), strict=True):
        by_hand = sum(sum(head[t, s] for s in range(6) if wanted[t, s]) for t in rows) / len(rows)
        torch.testing.assert_close(found, torch.as_tensor(by_hand), **CLOSE)


def test_a_head_that_only_looks_back_has_a_score_of_1_and_uniform_attention_much_less():
    back = torch.diag(torch.ones(T - 1), -1)
    wanted = heads.mask(heads.previous("x" * T))
    assert heads.score(back, wanted) == 1
    by_hand = sum(1 / (t + 1) for t in range(1, T)) / (T - 1)
    assert heads.score(heads.uniform(T), wanted).item() == pytest.approx(by_hand)


def test_the_scores_are_those_of_all_heads_over_all_chunks_and_a_chunk_that_wants_nothing_is_left_out(inside):
    tokenizer, x = CharTokenizer("abcdefgh:\n "), random_tokens(3, T)
    found = heads.score_chunks(inside, tokenizer, x)
    assert {kind: scores.shape for kind, scores in found.items()}["previous"] == (3, 7)
    by_hand = inside.attention(x[1:2])[1][2].diagonal(-1).mean()
    torch.testing.assert_close(found["previous"][1, 5], by_hand, **CLOSE)
    assert "speaker" not in found and heads.scores(inside, tokenizer, x).keys() == found.keys()


# Ablation


@torch.no_grad()
def test_the_change_without_a_head_is_that_of_a_model_whose_values_are_zero_there(inside, text):
    x, y = text
    before = chunks.token_losses(inside.logits(x), y).mean(dim=1)
    found = ablation.changes(inside, x, y)
    assert list(found) == [(layer, head) for layer in range(2) for head in range(3)]
    torch.testing.assert_close(chunks.token_losses(inside.logits(x), y).mean(dim=1), before)  # all are on again
    inside.model.blocks[1].sa.heads[2].value.weight.zero_()
    after = chunks.token_losses(inside.model.logits(x), y).mean(dim=1)
    torch.testing.assert_close(found[1, 2], after - before, **CLOSE)
    assert found[1, 2].abs().max() > 1e-3


@torch.no_grad()
def test_a_head_that_always_writes_the_same_is_not_missed_when_it_writes_its_mean(inside, text):
    x, y = text
    head = inside.model.blocks[0].sa.heads[1]
    head.register_forward_hook(lambda module, inputs, output: torch.ones_like(output))
    changes = ablation.changes(inside, x, y, mean=True)
    assert changes[0, 1].abs().max() < 1e-5 < ablation.changes(inside, x, y)[0, 1].abs().max()
    assert changes[0, 0].abs().max() > 1e-3


def test_the_mean_output_is_over_all_positions_of_all_chunks(inside, text):
    outputs = []
    inside.model.blocks[0].sa.heads[2].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    found = ablation.mean_output(inside, 0, 2, text[0])
    rows = [outputs[0][b, t] for b in range(4) for t in range(T)]
    torch.testing.assert_close(found, torch.stack(rows).mean(dim=0), **CLOSE)


# The logit lens


@torch.no_grad()
def test_the_loss_after_a_layer_is_that_of_a_model_that_ends_there(inside, text):
    x, y = text
    found = lens.layer_losses(inside, x, y)
    assert found.shape == (3, 4)
    for layer in (2, 1, 0):
        inside.model.blocks = inside.model.blocks[:layer]
        torch.testing.assert_close(found[layer], chunks.token_losses(inside.model.logits(x), y).mean(dim=1), **CLOSE)
    assert (found[0] - found[2]).abs().min() > 1e-3


def test_the_last_layer_agrees_with_the_model_everywhere_and_the_first_does_not(inside, text):
    found = lens.agreement(inside, text[0])
    by_hand = inside.read_out(inside.streams(text[0])[0]).argmax(-1) == inside.logits(text[0]).argmax(-1)
    assert (found[-1] == 1).all()
    torch.testing.assert_close(found[0], by_hand.float().mean(dim=1))
    assert found[0].mean() < 1


# Induction


class Copier(LanguageModel):
    """Continues as after the last earlier copy of the current token; without one, all tokens are equally likely."""

    def logits(self, idx):
        logits = torch.zeros(*idx.shape, self.config.vocab_size)
        for b, row in enumerate(idx.tolist()):
            for t, token in enumerate(row):
                earlier = [s for s in range(t) if row[s] == token]
                if earlier:
                    logits[b, t, row[earlier[-1] + 1]] = 100.0
        return logits


def test_a_model_that_copies_pays_log_V_in_the_first_copy_and_nothing_in_the_second():
    copier = Inside(Copier(Config(vocab_size=20)))
    strings = torch.rand(3, 20).argsort(dim=1)[:, :6]  # no token comes twice
    torch.testing.assert_close(induction.alone_losses(copier, strings), torch.full((3, 5), math.log(20)))
    torch.testing.assert_close(induction.copy_losses(copier, strings), torch.zeros(3, 5))
    other = (strings + 1) % 20
    assert induction.copy_losses(copier, strings, before=other).mean() > 1


def test_the_induction_score_is_the_weight_on_what_came_after_the_earlier_copy():
    L, wei = 4, torch.zeros(3, 8, 8)
    for t in range(8):
        wei[0, t, max(0, t - L + 1)] = 1.0  # what came after
        wei[1, t, max(0, t - L)] = 1.0  # the earlier copy itself
        wei[2, t, t] = 1.0
    assert induction.induction_score(wei, L).tolist() == [1, 0, 0]
    assert induction.previous_score(torch.diag(torch.ones(7), -1)) == 1


def test_in_one_layer_what_a_head_sees_of_a_position_does_not_depend_on_the_token_before_it():
    """Why one layer cannot do it: the answer's position can't be recognized by what comes before it."""
    t, s, u = 6, 3, 1
    idx = random_tokens(1, T)
    other = idx.clone()
    other[0, s - 1] = (idx[0, s - 1] + 1) % TINY["vocab_size"]
    for n_layer, depends in ((1, False), (2, True)):
        inside = Inside(small(n_layer))
        before, after = (inside.attention(tokens)[-1][0] for tokens in (idx, other))
        change = (before[t, s] / before[t, u]).log() - (after[t, s] / after[t, u]).log()  # of the score for s
        assert (abs(change.item()) > 1e-3) == depends


def test_each_row_repeats_a_string_of_its_own_length():
    corpus = Repeats.new()
    x, y = corpus.get_batch("train", 200, 64, torch.Generator().manual_seed(0))
    assert x.shape == y.shape == (200, 64) and torch.equal(x[:, 1:], y[:, :-1])
    periods = [next(p for p in range(1, 64) if torch.equal(row[p:], row[:-p])) for row in x]
    assert min(periods) == SHORTEST and max(periods) == 32 and len(set(periods)) == 25
    again, _ = corpus.get_batch("train", 200, 64, torch.Generator().manual_seed(1))
    assert not torch.equal(x, again)


def test_the_strings_have_the_characters_of_the_plays(shakespeare):
    assert shakespeare.tokenizer.chars == ALPHABET


def test_the_model_has_no_feed_forward_layer():
    config = select(attention_only.Config, REPEATS)
    C, V = config.n_embd, config.vocab_size
    attention = 4 * C * C + C + 2 * C  # queries, keys, values, proj with its bias, the norm
    expected = V * C + 64 * C + config.n_layer * attention + 2 * C + V * C + V
    assert sum(p.numel() for p in attention_only.Model(config).parameters()) == expected


def test_two_layers_learn_to_copy_and_one_does_not():
    sizes = dict(n_head=2, block_size=32, max_iters=300, eval_interval=300, device="cpu")
    second = {}
    for layers in (1, 2):
        trainer = new_trainer(
            attention_only, Repeats.new(), REPEATS | sizes | {"n_layer": layers}, attention_only.RepeatTrainer
        )
        trainer.train(progress=False)
        second[layers] = trainer.history[-1]
    assert second[1]["second"] > 2 and max(second[1]["induction"]) < 0.25
    assert second[2]["second"] < 1.2 and max(second[2]["induction"]) > 0.4


def test_what_is_measured_during_training_is_the_same_with_all_heads_at_once():
    looped = small(2)
    fused = attention_only.Model(select(attention_only.Config, TINY | {"init_std": 0.3}))
    fused.load_state_dict(looped.state_dict())
    first, second = attention_only.measure(looped), attention_only.measure(fused)
    for key, found in first.items():
        torch.testing.assert_close(torch.tensor(found), torch.tensor(second[key]), **CLOSE)


def test_the_command_trains_a_model_that_continues_strings(tmp_path, capsys):
    flags = (
        f"--max-iters 2 --batch-size 4 --eval-iters 1 --eval-interval 1 --n-embd 8 --n-head 2 --out-dir {tmp_path}/r"
    )
    with pytest.raises(SystemExit) as stop:
        attention_only.main(ATTENTION_ONLY, flags.split())
    out = capsys.readouterr().out
    assert stop.value.code == 0 and re.search(r"^[a-z]{12} [a-z]{2}\|", out, flags=re.MULTILINE)
    assert "of the answers right" in out and f"babygpt.beyond.inside {tmp_path}" in out


# Patching


def test_a_vector_of_its_own_changes_nothing_and_the_others_leave_the_past_alone(inside):
    idx = random_tokens(2, T)
    own = inside.streams(idx)[1][:, 3]
    torch.testing.assert_close(inside.patched(idx, 1, 3, own), inside.logits(idx), **CLOSE)
    changed = inside.patched(idx, 1, 3, torch.randn_like(own))  # own + 1 would be undone by the layer norm
    torch.testing.assert_close(changed[:, :3], inside.logits(idx)[:, :3], **CLOSE)
    assert not torch.allclose(changed[:, 3:], inside.logits(idx)[:, 3:], atol=1e-3)
    torch.testing.assert_close(inside.patched(idx, 1, 3, own), inside.logits(idx), **CLOSE)  # the hook is gone


def test_at_the_embedding_everything_comes_back_where_the_prompts_differ_and_nothing_elsewhere(inside):
    clean, at = random_tokens(5, T), 2
    corrupted = clean.clone()
    corrupted[:, at] = (clean[:, at] + 1) % TINY["vocab_size"]
    answers = torch.arange(5)
    gained, lost = patching.effects(inside, clean, corrupted, answers)
    assert gained.shape == (2, T, 5)
    clean_p, corrupted_p = (patching.answer_log_probs(inside.logits(idx), answers) for idx in (clean, corrupted))
    torch.testing.assert_close(lost, clean_p - corrupted_p, **CLOSE)
    torch.testing.assert_close(gained[0, at], lost, **CLOSE)
    assert gained[0, [t for t in range(T) if t != at]].abs().max() < 1e-5
    assert gained[1, :at].abs().max() < 1e-5  # the past knows nothing of it, in any layer
    assert gained[1, at + 1 :].abs().max() > 1e-3


def test_the_share_that_comes_back_is_1_where_all_does_and_0_where_nothing_does():
    lost = torch.rand(50) + 0.5
    assert patching.recovered(lost, lost) == pytest.approx((1, 1, 1))
    assert patching.recovered(torch.zeros(50), lost) == (0, 0, 0)
    half = patching.recovered(lost * (torch.arange(50) % 2), lost)
    assert half.low < 0.5 < half.high and half.high - half.low > 0.1


def test_a_copying_prompt_differs_from_its_corrupted_one_in_the_earlier_copy_alone():
    clean, corrupted, answers = patching.string_prompts(20, 10, 65, at=4)
    assert clean.shape == corrupted.shape == (20, 15)
    assert (clean[:, :5] == clean[:, 10:]).all() and (clean[:, 5] == answers).all()
    assert ((clean != corrupted).sum(dim=0) > 0).nonzero()[:, 0].tolist() == [4]
    for row, wrong in zip(clean, corrupted, strict=True):
        assert len(row[:10].unique()) == 10 and wrong[4] not in row


def test_the_prompts_of_a_text_are_those_whose_answer_was_likely_and_became_unlikely(inside):
    x, letters = random_tokens(300, T), torch.arange(8)
    inside.model.lm_head.weight.data *= 20  # an opinion
    clean, corrupted, answers = patching.text_prompts(inside, x, letters)
    assert 0 < len(clean) < 300
    likely, after = (patching.answer_log_probs(inside.logits(idx), answers) for idx in (clean, corrupted))
    assert likely.exp().min() > 0.5 and (likely - after).min() > 1
    assert ((clean != corrupted).any(dim=0)).nonzero()[:, 0].tolist() == [T - 3]
    assert torch.isin(corrupted[:, -2], letters).all()


# The command


def test_the_report_has_a_row_for_each_head_and_a_loss_for_each_layer(capsys):
    with pytest.raises(SystemExit) as stop:
        report.main(["v9", "--chunks", "4"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert len(re.findall(r"^block \d, \d +\d", out, flags=re.MULTILINE)) == 12
    assert re.findall(r"^(embedding|block \d)  +\d\.\d", out, flags=re.MULTILINE) == [
        "embedding", "block 1", "block 2", "block 3",
    ]  # fmt: skip
    loss = float(re.search(r"block 3 +(\d\.\d+)", out)[1])
    model, tokenizer = open_model("v9")
    assert loss == pytest.approx(estimate_loss(model, Corpus.load(), eval_iters=20)["val"], abs=0.5)


def test_a_model_without_heads_or_with_other_tokens_is_refused_in_a_sentence(capsys):
    for name in ("v1", "v4"):
        with pytest.raises(SystemExit) as stop:
            report.main([name])
        assert stop.value.code == 2 and "none of its heads can be looked at alone" in capsys.readouterr().err
