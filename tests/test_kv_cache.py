"""The key/value cache: the same tokens, from less work."""

import pytest
import torch
from conftest import TINY, B, random_tokens, tiny_model

from babygpt import kv_cache
from babygpt.errors import UserError
from babygpt.kv_cache import KVCache
from babygpt.versions import get_version

BLOCK = TINY["block_size"]
ATTENTION = pytest.mark.parametrize("attention", ["fused", "loop"])


def model_of(**changes):
    """A small version 10, its weights wide enough that its guesses differ from token to token."""
    return tiny_model(get_version(10), **{"init_std": 0.5} | changes)


def drawn(stream, model, idx, n, **how):
    return torch.cat(list(stream(model, idx, n, generator=torch.Generator().manual_seed(3), **how)), dim=1)


def plain(model, idx, n, **how):
    return model.stream(idx, n, **how)


@ATTENTION
@pytest.mark.parametrize("rows", [1, B])
def test_reading_token_by_token_gives_the_same_logits_as_reading_all_at_once(attention, rows):
    model, idx = model_of(attention=attention), random_tokens(rows, BLOCK)
    expected, _ = model(idx)
    cache = KVCache(model, rows)
    for t in range(BLOCK):
        # The sums run in another order.
        assert torch.allclose(cache.read(idx[:, [t]]), expected[:, t], atol=1e-5)


@pytest.mark.parametrize("first", range(1, BLOCK))
def test_reading_in_two_pieces_gives_the_same_logits_as_reading_all_at_once(first):
    model, idx = model_of(), random_tokens(B, BLOCK)
    cache = KVCache(model, B)
    cache.read(idx[:, :first])
    assert torch.allclose(cache.read(idx[:, first:]), model(idx)[0][:, -1], atol=1e-5)


@ATTENTION
@pytest.mark.parametrize("how", [{}, {"temperature": 0}, {"temperature": 0.7, "top_k": 3}])
def test_within_the_context_the_same_tokens_are_drawn_with_and_without_the_cache(attention, how):
    model, idx = model_of(attention=attention), random_tokens(B, 1)
    for window in ("exact", "fast"):
        cached = drawn(kv_cache.stream, model, idx, BLOCK, window=window, **how)
        assert torch.equal(cached, drawn(plain, model, idx, BLOCK, **how))


@pytest.mark.parametrize("length", [1, BLOCK, 3 * BLOCK])
def test_past_the_context_the_exact_window_gives_the_same_text_as_no_cache(length):
    model, idx = model_of(), random_tokens(B, length)
    assert torch.equal(drawn(kv_cache.stream, model, idx, 4 * BLOCK), drawn(plain, model, idx, 4 * BLOCK))


def test_past_the_context_the_fast_window_sees_between_half_a_context_and_a_whole_one():
    model, seen = model_of(), []
    cache_read = KVCache.read

    def read(self, idx):
        logits = cache_read(self, idx)
        seen.append(self.length)
        return logits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KVCache, "read", read)
        tokens = drawn(kv_cache.stream, model, random_tokens(1, 1), 3 * BLOCK, window="fast")
    half = (BLOCK + 1) // 2
    assert seen[: BLOCK + 1] == [*range(1, BLOCK + 1), half]
    assert min(seen[BLOCK:]) == half and max(seen) == BLOCK
    assert tokens.shape == (1, 3 * BLOCK)


def test_the_fast_window_draws_from_the_logits_of_the_half_it_kept():
    model, idx = model_of(), random_tokens(1, BLOCK)
    tokens = torch.cat((idx, drawn(kv_cache.stream, model, idx, 2, temperature=0, window="fast")), dim=1)
    kept = tokens[:, : BLOCK + 1][:, -((BLOCK + 1) // 2) :]
    assert tokens[0, -1] == model(kept)[0][0, -1].argmax()


def test_the_cache_uses_no_dropout_and_leaves_the_mode_as_it_was():
    model, idx = model_of(dropout=0.5).train(), random_tokens(1)
    first, again = (drawn(kv_cache.stream, model, idx, 20, temperature=0) for _ in range(2))
    assert torch.equal(first, again)
    assert model.training


def test_an_older_key_stays_as_it_is():
    model, idx = model_of(), random_tokens(B, BLOCK)
    cache = KVCache(model, B)
    cache.read(idx[:, :3])
    before = cache.kv[:, :, :, :, :3].clone()
    cache.read(idx[:, 3:])
    assert torch.equal(cache.kv[:, :, :, :, :3], before)
    # They are what the heads compute, block by block; the first block's keys come straight from the embeddings.
    block = model.blocks[0]
    x = model.token_embedding_table(idx) + model.position_embedding_table(torch.arange(BLOCK))
    for n, head in enumerate(block.sa.heads):
        assert torch.allclose(cache.kv[0, 0, :, n], head.key(block.ln1(x)), atol=1e-5)
        assert torch.allclose(cache.kv[0, 1, :, n], head.value(block.ln1(x)), atol=1e-5)


@pytest.mark.parametrize("m", [5, 24, 64])  # in one part, in 8, and in 16
def test_the_shortcut_for_one_token_equals_a_linear_layer(m):
    weight, bias = torch.randn(m, 3), torch.randn(m)
    for x in (torch.randn(1, 1, 3), torch.randn(2, 1, 3), torch.randn(1, 4, 3)):
        for b in (None, bias):
            assert torch.allclose(kv_cache.linear(x, weight, b), torch.nn.functional.linear(x, weight, b), atol=1e-6)


def test_a_window_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="window must be exact or fast, and it is 'half'"):
        next(kv_cache.stream(model_of(), random_tokens(), 1, window="half"))
