"""Versions 5, 6 and 10: heads of attention, one and many, in a loop and all at once."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, tiny_model

from babygpt import v2, v5, v6, v8, v10
from babygpt.errors import UserError
from babygpt.versions import VERSIONS, get_version, select

CONFIG = v10.Config(**TINY)
HEADS = pytest.mark.parametrize("Head", [v5.Head, v10.Head], ids=["v5", "v10"])


def seeded(build, seed=0):
    torch.manual_seed(seed)
    return build()


@pytest.fixture
def x():
    """(B, T, C) tokens of width 12."""
    return torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1))


@HEADS
def test_a_head_is_scaled_dot_product_attention(Head, x):
    head = seeded(lambda: Head(CONFIG, head_size=4))
    q, k, v = head.query(x), head.key(x), head.value(x)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(head(x), expected, atol=1e-6)


@HEADS
def test_scores_are_divided_by_the_root_of_the_head_size_not_of_the_width(Head, x):
    head = seeded(lambda: Head(CONFIG, head_size=4))

    def attend(scale):
        scores = (head.query(x) @ head.key(x).mT * scale).masked_fill(head.tril == 0, float("-inf"))
        return F.softmax(scores, dim=-1) @ head.value(x)

    assert torch.allclose(head(x), attend(4**-0.5), atol=1e-6)
    assert not torch.allclose(head(x), attend(12**-0.5), atol=1e-3)


@HEADS
def test_a_head_with_zero_queries_averages_its_values(Head, x):
    head = seeded(lambda: Head(CONFIG, head_size=4))
    torch.nn.init.zeros_(head.query.weight)
    assert torch.allclose(head(x), v2.average(head.value(x)), atol=1e-6)


@HEADS
def test_the_weights_depend_on_the_tokens(Head, x):
    head = seeded(lambda: Head(CONFIG, head_size=4))
    head.value = torch.nn.Identity()  # the output is then a mean of the tokens themselves
    ones = torch.ones_like(x)
    assert torch.allclose(head(ones), ones, atol=1e-6)  # weights sum to one ...
    assert not torch.allclose(head(x), v2.average(x), atol=1e-3)  # ... and are not all equal


def test_unscaled_scores_vary_more_in_wider_heads():
    generator = torch.Generator().manual_seed(0)
    for head_size in (16, 64, 768):
        q, k = (torch.randn(200, 8, head_size, generator=generator) for _ in range(2))
        scores = q @ k.mT
        assert scores.var().item() == pytest.approx(head_size, rel=0.15)
        assert (scores * head_size**-0.5).var().item() == pytest.approx(1, rel=0.15)


@HEADS
def test_the_mask_is_saved_but_not_trained(Head):
    head = Head(CONFIG, head_size=4)
    assert "tril" in head.state_dict()
    assert "tril" not in dict(head.named_parameters())


@HEADS
def test_query_key_and_value_have_no_bias(Head):
    assert [name for name, _ in Head(CONFIG, head_size=4).named_parameters()] == [
        "key.weight", "query.weight", "value.weight",
    ]  # fmt: skip


@HEADS
def test_a_head_accepts_every_length_up_to_the_block_size(Head, x):
    head = seeded(lambda: Head(CONFIG, head_size=4))
    whole = head(x)
    for T in range(1, TINY["block_size"] + 1):
        assert torch.allclose(head(x[:, :T]), whole[:, :T], atol=1e-6)


def test_without_positions_a_token_cannot_tell_the_order_of_earlier_tokens(x):
    head = seeded(lambda: v5.Head(CONFIG, head_size=4))
    shuffled = x[:, [4, 2, 0, 5, 1, 3, 6]]
    assert torch.allclose(head(shuffled)[:, -1], head(x)[:, -1], atol=1e-6)


def test_the_same_token_gets_different_logits_after_a_different_prefix():
    model = tiny_model(get_version(5))
    one, other = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 3]])
    assert not torch.allclose(model(one)[0][:, -1], model(other)[0][:, -1], atol=1e-3)


def test_heads_are_concatenated_in_order(x):
    heads = seeded(lambda: v6.MultiHeadAttention(v6.Config(**{k: TINY[k] for k in ("n_embd", "n_head", "block_size")})))
    out = heads(x)
    assert out.shape == x.shape
    for i, head in enumerate(heads.heads):
        assert torch.equal(out[..., 4 * i : 4 * (i + 1)], head(x))


def test_every_head_reads_the_whole_width(x):
    heads = seeded(lambda: v6.MultiHeadAttention(CONFIG))
    x.requires_grad_()
    heads(x)[..., :4].sum().backward()  # the output of the first head
    assert (x.grad.abs().sum(dim=(0, 1)) > 0).all()


def test_four_small_heads_have_as_many_parameters_as_one_wide_head():
    one, many = (sum(p.numel() for p in VERSIONS[n - 1].module().Model(
        VERSIONS[n - 1].module().Config()).parameters()) for n in (5, 6))  # fmt: skip
    assert one == many == 7_553


def test_the_projection_is_applied_to_the_concatenated_heads(x):
    attention = seeded(lambda: v8.MultiHeadAttention(CONFIG))
    torch.nn.init.eye_(attention.proj.weight)
    torch.nn.init.zeros_(attention.proj.bias)
    concatenated = torch.cat([head(x) for head in attention.heads], dim=-1)
    assert torch.allclose(attention(x), concatenated, atol=1e-6)


def test_concatenating_and_projecting_is_a_sum_with_a_projection_for_each_head(x):
    attention = seeded(lambda: v8.MultiHeadAttention(CONFIG))
    columns = attention.proj.weight.split(4, dim=1)  # n_head of (C, hs)
    summed = sum(head(x) @ part.T for head, part in zip(attention.heads, columns, strict=True)) + attention.proj.bias
    assert torch.allclose(attention(x), summed, atol=1e-6)


def test_without_any_one_of_its_heads_a_model_has_another_loss():
    model, idx = tiny_model(get_version(6)), torch.randint(11, (8, 7), generator=torch.Generator().manual_seed(2))
    whole, weight = model(idx, idx)[1].item(), model.lm_head.weight.detach().clone()
    for h, head in enumerate(model.sa_heads.heads):
        with torch.no_grad():
            model.lm_head.weight[:, 4 * h : 4 * (h + 1)] = 0  # as the lesson does it
        without = model(idx, idx)[1].item()
        model.lm_head.weight.data.copy_(weight)
        assert abs(without - whole) > 1e-4, h
        value = head.value.weight.detach().clone()
        torch.nn.init.zeros_(head.value.weight)  # a head whose values are 0 contributes nothing either
        assert model(idx, idx)[1].item() == pytest.approx(without, abs=1e-6), h
        head.value.weight.data.copy_(value)


@pytest.mark.parametrize("number", [6, 7, 8, 9, 10])
def test_a_width_that_is_not_a_multiple_of_the_number_of_heads_is_refused(number):
    config_class = get_version(number).module().Config
    with pytest.raises(UserError, match="n_embd must be a multiple of n_head, .* 768 is not a multiple of 13"):
        config_class(n_embd=768, n_head=13)


# The relatives in the appendix of lesson 6


@pytest.fixture
def lesson_6():
    """What the cells of lesson 6 that define EncoderHead and CrossHead leave behind."""
    lesson = Path(__file__).resolve().parents[1] / "lessons" / "06_multi_head.md"
    cells = re.findall(r"^```python.*?\n(.*?)^```", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    names = {"torch": torch, "F": F, "v5": v5, "config": v6.Config()}
    names["x"] = torch.randn(4, 8, 32, generator=torch.Generator().manual_seed(1))
    for kind in ("EncoderHead", "CrossHead"):
        exec(next(cell for cell in cells if cell.startswith(f"class {kind}(")), names)
    return SimpleNamespace(**names)


def test_an_encoder_head_is_attention_without_a_mask(lesson_6):
    head, x = lesson_6.encoder_head, lesson_6.x
    expected = F.scaled_dot_product_attention(head.query(x), head.key(x), head.value(x))
    assert torch.allclose(head(x), expected, atol=1e-6)
    assert not torch.allclose(head(x), lesson_6.decoder_head(x), atol=1e-3)


def test_in_cross_attention_each_token_hears_all_tokens_of_the_other_text(lesson_6):
    head, written, read = lesson_6.cross_head, lesson_6.written, lesson_6.read
    assert head(written, read).shape == (1, 3, 8) and read.shape == (1, 5, 32)
    expected = F.scaled_dot_product_attention(head.query(written), head.key(read), head.value(read))
    assert torch.allclose(head(written, read), expected, atol=1e-6)
    for j in range(5):
        changed = read.clone()
        changed[:, j] += 1
        assert ((head(written, changed) - head(written, read)).abs().amax(dim=-1) > 1e-4).all()


def test_cross_attention_of_a_text_to_itself_is_attention_without_a_mask(lesson_6):
    x = lesson_6.x
    assert torch.allclose(lesson_6.cross_head(x, x), lesson_6.encoder_head(x), atol=1e-6)


# All heads at once


@pytest.fixture
def loop_and_fused():
    """Version 10 with both kinds of attention, and the same weights."""
    loop = tiny_model(get_version(10), attention="loop")
    with torch.no_grad():
        for p in loop.parameters():
            if p.dim() == 2:
                p.mul_(15)  # far from the initial weights, with which attention is almost uniform
    fused = tiny_model(get_version(10), attention="fused")
    fused.load_state_dict(loop.state_dict())
    return loop, fused


def test_the_loop_and_the_fused_heads_have_the_same_parameters(loop_and_fused):
    loop, fused = loop_and_fused
    assert type(loop.blocks[0].sa) is v10.MultiHeadAttention
    assert type(fused.blocks[0].sa) is v10.FusedMultiHeadAttention
    assert {k: v.shape for k, v in loop.state_dict().items()} == {k: v.shape for k, v in fused.state_dict().items()}


# bfloat16 keeps 8 binary digits: each rounding is off by up to 1 part in 256, and the two add in different orders.
PRECISIONS = pytest.mark.parametrize(
    ("bfloat16", "tolerance"), [(False, 1e-5), (True, 0.03)], ids=["float32", "bfloat16"]
)


@PRECISIONS
def test_the_loop_and_the_fused_heads_give_the_same_logits_and_gradients(loop_and_fused, bfloat16, tolerance):
    loop, fused = loop_and_fused
    idx = torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        (logits, loss), (fused_logits, fused_loss) = loop(idx, idx), fused(idx, idx)
    assert logits.std() > 0.1
    assert (logits - fused_logits).abs().max() < tolerance * logits.abs().max()
    loss.backward()
    fused_loss.backward()
    for (name, p), q in zip(loop.named_parameters(), fused.parameters(), strict=True):
        assert (p.grad - q.grad).abs().max() < tolerance * p.grad.abs().max() + 1e-6, name


@PRECISIONS
def test_the_fused_heads_cannot_see_the_future(loop_and_fused, bfloat16, tolerance):
    _, fused = loop_and_fused
    idx = torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(2))
    changed = torch.cat((idx[:, :4], (idx[:, 4:] + 1) % 11), dim=1)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        before, after = fused(idx)[0], fused(changed)[0]
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


@PRECISIONS
def test_the_fused_heads_drop_attention_weights_only_in_training(bfloat16, tolerance):
    config = select(v10.Config, TINY | {"dropout": 0.5})
    attention = seeded(lambda: v10.FusedMultiHeadAttention(config))
    attention.dropout.p = 0.0  # leave only the dropout inside
    x = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        assert not torch.equal(attention(x), attention(x))
        attention.eval()
        assert torch.equal(attention(x), attention(x))


def test_attention_must_be_fused_or_a_loop():
    with pytest.raises(UserError, match="attention must be"):
        v10.Config(attention="flash")
