"""The original Transformer: equal to PyTorch's, its properties, and the search for the best target."""

import itertools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v10
from babygpt.beyond.beam import beam_search, greedy
from babygpt.beyond.encoder_decoder import END, PAD, START, Attention, Config, Model
from babygpt.beyond.positions import sinusoids
from babygpt.compare import lstm
from babygpt.errors import UserError

SIZES = dict(vocab_size=13, block_size=9, n_embd=12, n_head=3, n_layer=2)
B, S, T = 3, 7, 5


def new_model(seed=0, module=Model, config=Config, **changes):
    torch.manual_seed(seed)
    return module(config(**SIZES | changes)).eval()


def pair(seed=1):
    """Sources of 7, 5 and 2 tokens, and targets of 5, 4 and 3, with START, END and PAD."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(3, 13, (B, S), generator=generator)
    target = torch.randint(3, 13, (B, 1 + T), generator=generator)
    target[:, 0] = START
    for row, (n, m) in enumerate(((7, 5), (5, 4), (2, 3))):
        source[row, n:] = PAD
        target[row, m], target[row, m + 1 :] = END, PAD
    return source, target


# Equal to PyTorch's


def torch_transformer(model):
    """`torch.nn.Transformer` with the weights of a model. The paper has no further norm behind the last block."""
    C, n_layer = model.config.n_embd, model.config.n_layer
    theirs = nn.Transformer(C, model.config.n_head, n_layer, n_layer, 4 * C, dropout=0.0, batch_first=True).eval()
    theirs.encoder.norm = theirs.decoder.norm = None

    def copy_attention(mine, their):
        parts = (mine.query, mine.key, mine.value)
        their.in_proj_weight.data.copy_(torch.cat([part.weight for part in parts]))
        their.in_proj_bias.data.copy_(torch.cat([part.bias for part in parts]))
        their.out_proj.load_state_dict(mine.proj.state_dict())

    for mine, their in zip(model.encoder, theirs.encoder.layers, strict=True):
        copy_attention(mine.attention, their.self_attn)
        for a, b in ((mine.ffwd[0], their.linear1), (mine.ffwd[2], their.linear2), (mine.ln1, their.norm1),
                     (mine.ln2, their.norm2)):  # fmt: skip
            b.load_state_dict(a.state_dict())
    for mine, their in zip(model.decoder, theirs.decoder.layers, strict=True):
        copy_attention(mine.attention, their.self_attn)
        copy_attention(mine.cross, their.multihead_attn)
        for a, b in ((mine.ffwd[0], their.linear1), (mine.ffwd[2], their.linear2), (mine.ln1, their.norm1),
                     (mine.ln2, their.norm2), (mine.ln3, their.norm3)):  # fmt: skip
            b.load_state_dict(a.state_dict())
    return theirs


def randomize(model):
    """Biases and norms that are not 0 and 1, so that a wrong one shows."""
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    return model


def test_values_and_gradients_equal_those_of_pytorchs_transformer_with_padding():
    model = randomize(new_model())
    theirs = torch_transformer(model).train()  # in train mode, so that PyTorch takes no shortcut around padding
    (source, target), table = pair(), model.token_embedding_table.weight
    padding, real = source == PAD, target[:, 1:] != PAD
    ours = model.decode(target[:, :-1], *model.encode(source))
    x, y = (F.embedding(part, table) * math.sqrt(12) + sinusoids(9, 12)[: part.shape[1]] for part in
            (source, target[:, :-1]))  # fmt: skip
    future = nn.Transformer.generate_square_subsequent_mask(T).isinf()
    out = theirs(x, y, tgt_mask=future, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    expected = out @ table.T
    assert torch.allclose(ours[real], expected[real], atol=1e-5)
    weight = torch.randn(ours[real].shape)
    mine = torch.autograd.grad((ours[real] * weight).sum(), [table, model.encoder[0].attention.query.weight,
                               model.encoder[1].ffwd[0].weight, model.decoder[1].cross.value.weight])  # fmt: skip
    encoder, decoder = theirs.encoder.layers, theirs.decoder.layers
    other = torch.autograd.grad((expected[real] * weight).sum(), [table, encoder[0].self_attn.in_proj_weight,
                                encoder[1].linear1.weight, decoder[1].multihead_attn.in_proj_weight])  # fmt: skip
    other = [other[0], other[1][:12], other[2], other[3][24:]]
    for a, b in zip(mine, other, strict=True):
        assert torch.allclose(a, b, atol=1e-4 * b.abs().max().item())


def test_cross_attention_to_its_own_input_is_self_attention():
    attention, x = randomize(Attention(Config(**SIZES))), torch.randn(2, 4, 12)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    parts = (attention.query, attention.key, attention.value)
    theirs.in_proj_weight.data.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.data.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(attention.proj.state_dict())
    everything = torch.ones(4, 4, dtype=torch.bool)
    assert torch.allclose(attention(x, x, everything), theirs(x, x, x)[0], atol=1e-5)


# Who sees what


def test_every_position_of_the_encoder_depends_on_every_token_of_the_source():
    model, source = new_model(), torch.randint(3, 13, (1, S))
    memory, _ = model.encode(source)
    for i in range(S):
        changed = source.clone()
        changed[0, i] = 3 + (changed[0, i] - 2) % 10
        assert ((model.encode(changed)[0] - memory).abs().amax(dim=-1) > 1e-4).all(), i


def test_another_source_changes_every_output_of_the_decoder():
    model, (source, target) = new_model(), pair()
    other = source.clone()
    other[:, 1] = 3 + (other[:, 1] - 2) % 10
    before, after = (model.decode(target, *model.encode(part)) for part in (source, other))
    assert ((before - after).abs().amax(dim=-1) > 1e-4).all()


def test_the_decoder_is_causal_in_the_target():
    model, (source, target) = new_model(), pair()
    encoded = model.encode(source)
    before = model.decode(target, *encoded)
    for t in range(1, 1 + T):
        changed = target.clone()
        changed[:, t] = 3 + (changed[:, t] + 4) % 10
        after = model.decode(changed, *encoded)
        assert torch.allclose(before[:, :t], after[:, :t], atol=1e-6)
        assert ((before[:, t] - after[:, t]).abs().amax(dim=-1) > 1e-4).all()


def test_padding_changes_nothing():
    model, (source, target) = new_model(), pair()
    whole = model.decode(target, *model.encode(source))
    for row, (n, m) in enumerate(((7, 5), (5, 4), (2, 3))):
        alone = model.decode(target[[row], : m + 1], *model.encode(source[[row], :n]))
        assert torch.allclose(whole[row, : m + 1], alone[0], atol=1e-5)


def test_no_gradient_reaches_the_model_from_targets_that_are_padding():
    model, (source, target) = new_model(), pair()
    _, loss = model(source, target)
    losses = [model(source[[row], :n], target[[row], : m + 1])[1] * m for row, (n, m) in
              enumerate(((7, 5), (5, 4), (2, 3)))]  # fmt: skip
    assert torch.allclose(loss, sum(losses) / 12, atol=1e-5)


def test_the_rows_of_the_cross_attention_add_up_to_1_and_padding_gets_0():
    model, (source, target) = new_model(), pair()
    model(source, target)
    for block in model.decoder:
        wei = block.cross.wei
        assert wei.shape == (B, 3, T, S)
        assert torch.allclose(wei.sum(dim=-1), torch.ones(B, 3, T))
        assert (wei.transpose(1, 3)[source == PAD] == 0).all() and (wei.transpose(1, 3)[source != PAD] > 0).all()
    for block in model.encoder:
        assert block.attention.wei.shape == (B, 3, S, S)


def test_a_gpt_has_no_cross_attention_and_no_encoder():
    """ED1: what is left of the decoder without them is two parts per block, as in version 10."""
    gpt = v10.Model(v10.Config(**SIZES, dropout=0.0))
    assert not any("cross" in name or "encoder" in name for name, _ in gpt.named_modules())
    block = new_model().decoder[0]
    parts = [name for name, part in block.named_children() if isinstance(part, Attention) or name == "ffwd"]
    assert parts == ["attention", "cross", "ffwd"] and len([*gpt.blocks[0].children()]) == 4


def test_a_decoder_whose_cross_attention_writes_nothing_does_not_know_the_source():
    """ED1, from the other side: silence the cross-attention, and a causal model of the target alone is left."""
    model, (source, target) = new_model(), pair()
    for block in model.decoder:
        nn.init.zeros_(block.cross.proj.weight)
    a, b = (model.decode(target, *model.encode(part)) for part in (source, torch.randint(3, 13, (B, S))))
    assert torch.allclose(a, b, atol=1e-6)


# The loss


def test_label_smoothing_is_its_formula():
    model, (source, target) = new_model(label_smoothing=0.1).train(), pair()
    logits, loss = model(source, target)
    log_probs, right = logits.log_softmax(dim=-1), target[:, 1:]
    hit = -log_probs.gather(-1, right[:, :, None])[:, :, 0]
    each = 0.9 * hit + 0.1 * -log_probs.mean(dim=-1)
    assert torch.allclose(loss, each[right != PAD].mean(), atol=1e-6)
    assert torch.allclose(model.eval()(source, target)[1], hit[right != PAD].mean(), atol=1e-6)


def test_without_targets_the_first_token_is_scored():
    model, (source, target) = new_model(), pair()
    assert torch.allclose(model(source)[0], model(source, target)[0][:, :1], atol=1e-5)


def test_token_vectors_and_position_vectors_have_about_the_same_size():
    model = new_model(vocab_size=2000, n_embd=64, n_head=4)
    tokens = model.token_embedding_table.weight * 8
    assert 0.9 < tokens.norm(dim=-1).mean() / 8 < 1.1  # N(0, 1) in 64 dimensions has a norm of about 8
    assert torch.allclose(model.positions.norm(dim=-1), torch.tensor(32.0).sqrt())  # sin² + cos² = 1, 32 times


@pytest.mark.parametrize("changes", [dict(n_embd=9), dict(label_smoothing=1.0), dict(dropout=-0.1)])
def test_sizes_that_make_no_sense_are_refused(changes):
    with pytest.raises(UserError, match=str(next(iter(changes.values())))):
        Config(**SIZES | changes)


def test_continuing_a_text_is_refused():
    with pytest.raises(UserError, match="translates a text and doesn't continue it"):
        new_model().stream(torch.zeros(1, 1, dtype=torch.long), 1)


# Greedy and beam search


class Table(nn.Module):
    """A model whose scores depend on the target only, and are given: beginning -> probabilities of PAD ... 5."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def encode(self, source):
        return (source,)

    def decode(self, target, source):
        rows = [[self.table[tuple(row[1 : t + 1])] for t in range(len(row))] for row in target.tolist()]
        return torch.tensor(rows).log()


def trap():
    """A is likelier than B, but after A nothing is likely, and after B everything is sure: 0.6 * 0.4 < 0.4 * 1."""
    a, b, c = 3, 4, 5
    dead = [1 / 6] * 6
    table = {(): [0, 0, 0, 0.6, 0.4, 0], (a,): [0, 0, 0.2, 0.4, 0.2, 0.2], (b,): [0, 0, 1, 0, 0, 0]}
    beginnings = [p for n in range(4) for p in itertools.product(range(6), repeat=n)]
    ends = [0, 0, 1.0, 0, 0, 0]
    return Table({p: table.get(p, ends if len(p) == 2 and END not in p else dead) for p in beginnings}), (a, b, c)


def test_beam_search_finds_a_likelier_target_than_greedy_search():
    model, (a, b, _) = trap()
    source = torch.zeros(1, 1, dtype=torch.long)
    found, score = greedy(model, source, 3)
    assert found.tolist() == [[a, a, END]] and score.exp().item() == pytest.approx(0.24)
    found, score = beam_search(model, source, 3, width=2)
    assert found[0, :2].tolist() == [b, END] and score.exp().item() == pytest.approx(0.4)


@pytest.mark.parametrize("module, config", [(Model, Config), (lstm.Model, lstm.Config)])
def test_a_beam_of_one_is_greedy_search(module, config):
    model, (source, _) = randomize(new_model(module=module, config=config)), pair()
    a, b = greedy(model, source, 6), beam_search(model, source, 6, width=1)
    assert torch.equal(a[0], b[0]) and torch.allclose(a[1], b[1], atol=1e-5)


def log_probability(model, source, target):
    """Of a target that is complete, by reading it at once as in training."""
    _, loss = model(source, torch.tensor([[START, *target]]))
    return -loss.item() * len(target)


def test_a_beam_as_wide_as_all_sequences_finds_the_best_of_all():
    """At most three tokens, of five: all that end are tried, one by one."""
    model, source = randomize(new_model(vocab_size=5)), torch.tensor([[3, 4, 3]])
    all_of_them = [(*p, END) for n in range(3) for p in itertools.product((PAD, START, 3, 4), repeat=n)]
    all_of_them += [p for p in itertools.product((PAD, START, 3, 4), repeat=3)]
    with torch.no_grad():
        decoded = {}
        for target in all_of_them:
            logits = model.decode(torch.tensor([[START, *target]]), *model.encode(source))[0, :-1]
            decoded[target] = logits.log_softmax(dim=-1).gather(-1, torch.tensor(target)[:, None]).sum().item()
    best = max(decoded, key=decoded.get)
    found, score = beam_search(model, source, 3, width=125)
    assert tuple(found[0, : len(best)].tolist()) == best and score.item() == pytest.approx(decoded[best], abs=1e-4)


def test_the_score_of_a_search_is_the_log_probability_of_its_target():
    model, source = randomize(new_model()), torch.tensor([[3, 4, 3, 9]])
    for found, score in (greedy(model, source, 6), beam_search(model, source, 6, width=3)):
        target = found[0].tolist()
        target = target[: target.index(END) + 1] if END in target else target
        if PAD not in target:
            assert score.item() == pytest.approx(log_probability(model, source, target), abs=1e-4)


@pytest.mark.parametrize("search", [greedy, partial(beam_search, width=3)])
def test_a_source_is_translated_alone_as_it_is_in_a_batch_though_the_others_go_on_longer(search):
    model, (source, _) = new_model(seed=2), pair()
    torch.manual_seed(10)
    model.lm_head.weight = nn.Parameter(torch.randn(13, 12))  # tied, it would repeat its input
    together, scores = search(model, source, 6)
    lengths = set()
    for row, n in enumerate((7, 5, 2)):
        alone, score = search(model, source[[row], :n], 6)
        length = alone.shape[1]
        lengths.add(length)
        assert torch.equal(together[row, :length], alone[0]) and (together[row, length:] == PAD).all()
        assert scores[row].item() == pytest.approx(score.item(), abs=1e-4)
    assert len(lengths) > 1


def test_a_width_of_0_is_refused():
    with pytest.raises(UserError, match="width of a beam search must be 1 to 1000, and it is 0"):
        beam_search(new_model(), torch.zeros(1, 1, dtype=torch.long), 3, width=0)


# The LSTM


@pytest.mark.parametrize("attention", [True, False])
def test_padding_changes_nothing_for_the_lstm_and_it_is_causal(attention):
    model, (source, target) = new_model(module=lstm.Model, config=lstm.Config, attention=attention), pair()
    whole = model.decode(target, *model.encode(source))
    for row, (n, m) in enumerate(((7, 5), (5, 4), (2, 3))):
        alone = model.decode(target[[row], : m + 1], *model.encode(source[[row], :n]))
        assert torch.allclose(whole[row, : m + 1], alone[0], atol=1e-5)
    changed = target.clone()
    changed[:, 3] = 3 + (changed[:, 3] + 4) % 10
    after = model.decode(changed, *model.encode(source))
    assert torch.allclose(whole[:, :3], after[:, :3], atol=1e-6) and not torch.allclose(whole[:, 3], after[:, 3])


def test_an_lstm_needs_the_state_before_and_the_transformer_the_tokens_only():
    """ED4: the LSTM's output at position t is computed from its state at t - 1, one position after another."""
    model, (_, target) = new_model(module=lstm.Model, config=lstm.Config), pair()
    x = model.embed(target)
    state, outputs = None, []
    for t in range(target.shape[1]):
        out, state = model.decoder(x[:, [t]], state)
        outputs.append(out)
    assert torch.allclose(torch.cat(outputs, dim=1), model.decoder(x)[0], atol=1e-6)


def longest_chain(tensor):
    """The most operations in a row of which each needs the result of the one before."""
    depth, todo = {None: 0}, [tensor.grad_fn]
    while todo:
        before = [function for function, _ in todo[-1].next_functions]
        missing = [function for function in before if function not in depth]
        if missing:
            todo += missing
        else:
            depth[todo.pop()] = 1 + max((depth[function] for function in before), default=0)
    return depth[tensor.grad_fn]


def test_the_chain_of_operations_grows_with_the_length_in_an_lstm_and_not_in_the_transformer():
    """ED4: in training, no position of the Transformer waits for the one before it."""
    cell, chains = nn.LSTMCell(12, 12), []
    for n in (4, 8):
        model, state = new_model(), None
        for _ in range(n):
            state = cell(torch.randn(1, 12), state)
        source, target = (torch.randint(3, 13, (1, length)) for length in (n, n + 1))
        chains.append((longest_chain(state[0]), longest_chain(model(source, target)[1])))
    (short, a), (long, b) = chains
    assert long >= short + 4 and a == b
