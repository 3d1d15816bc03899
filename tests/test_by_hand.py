"""GPT-2 without autograd: every gradient is autograd's, AdamW is PyTorch's, and so is a whole training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from babygpt.beyond import by_hand, gpt2, layers_by_hand
from babygpt.errors import UserError

SIZES = dict(vocab_size=13, block_size=6, n_embd=12, n_head=3, n_layer=2)


def new_model(seed=0, **changes):
    torch.manual_seed(seed)
    model = gpt2.Model(gpt2.Config(**SIZES | changes))
    for p in model.parameters():  # so that biases and norms matter
        p.data += 0.1 * torch.randn_like(p)
    return model


def tokens(B=3, T=6, seed=0):
    """Inputs and targets, in which some tokens occur several times."""
    return torch.randint(13, (2, B, T), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def close(ours, theirs, atol=1e-12):
    return np.allclose(ours, theirs.detach().numpy(), atol=atol, rtol=1e-9)


# One layer at a time, against autograd in float64


def test_the_backward_pass_of_layer_norm_is_autograd_s(rng):
    inp, weight, bias, dout = (torch.tensor(rng.standard_normal(s)) for s in ((2, 3, 8), (8,), (8,), (2, 3, 8)))
    for t in (inp, weight, bias):
        t.requires_grad_()
    expected = F.layer_norm(inp, (8,), weight, bias)
    expected.backward(dout)
    arrays = [t.detach().numpy() for t in (inp, weight, bias)]
    out, mean, rstd = layers_by_hand.layernorm_forward(*arrays)
    dweight, dbias = np.zeros(8), np.zeros(8)
    dinp = layers_by_hand.layernorm_backward(dout.numpy(), arrays[0], mean, rstd, arrays[1], dweight, dbias)
    assert close(out, expected)
    assert close(dinp, inp.grad) and close(dweight, weight.grad) and close(dbias, bias.grad)


def test_the_gradient_of_layer_norm_is_the_slope_of_its_output(rng):
    inp, weight, bias, dout = (rng.standard_normal(shape) for shape in ((1, 1, 5), 5, 5, (1, 1, 5)))
    _, mean, rstd = layers_by_hand.layernorm_forward(inp, weight, bias)
    dinp = layers_by_hand.layernorm_backward(dout, inp, mean, rstd, weight, np.zeros(5), np.zeros(5))
    for i in range(5):
        h = np.zeros((1, 1, 5))
        h[0, 0, i] = 1e-6
        up, down = (layers_by_hand.layernorm_forward(x, weight, bias)[0] for x in (inp + h, inp - h))
        change = up - down
        assert (change * dout).sum() / 2e-6 == pytest.approx(dinp[0, 0, i], abs=1e-7)


def test_the_backward_pass_of_a_linear_layer_is_autograd_s(rng):
    inp, weight, bias, dout = (torch.tensor(rng.standard_normal(s)) for s in ((2, 3, 4), (5, 4), (5,), (2, 3, 5)))
    for t in (inp, weight, bias):
        t.requires_grad_()
    expected = F.linear(inp, weight, bias)
    expected.backward(dout)
    arrays = [t.detach().numpy() for t in (inp, weight, bias)]
    assert close(layers_by_hand.matmul_forward(*arrays), expected)
    dweight, dbias = np.zeros((5, 4)), np.zeros(5)
    dinp = layers_by_hand.matmul_backward(dout.numpy(), arrays[0], arrays[1], dweight, dbias)
    assert close(dinp, inp.grad) and close(dweight, weight.grad) and close(dbias, bias.grad)


def test_the_backward_pass_of_attention_is_autograd_s(rng):
    qkv, dout = (
        torch.tensor(rng.standard_normal((2, 5, 36))).requires_grad_(),
        torch.tensor(rng.standard_normal((2, 5, 12))),
    )
    q, k, v = (part.view(2, 5, 3, 4).transpose(1, 2) for part in qkv.split(12, dim=2))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 5, 12)
    expected.backward(dout)
    out, att = layers_by_hand.attention_forward(qkv.detach().numpy(), 3)
    assert close(out, expected)
    assert close(layers_by_hand.attention_backward(dout.numpy(), qkv.detach().numpy(), att, 3), qkv.grad)


def test_attention_in_four_loops_is_attention_in_four_array_operations(rng):
    qkv = rng.standard_normal((2, 6, 24))
    assert np.allclose(layers_by_hand.attention_loops(qkv, 2), layers_by_hand.attention_forward(qkv, 2)[0], atol=1e-12)


def test_the_end_of_the_loop_is_the_mask(rng):
    qkv = rng.standard_normal((1, 6, 24))
    before = layers_by_hand.attention_loops(qkv, 2)
    qkv[:, 4:] = 100.0
    after = layers_by_hand.attention_loops(qkv, 2)
    assert np.array_equal(before[:, :4], after[:, :4]) and not np.allclose(before[:, 4:], after[:, 4:])
    _, att = layers_by_hand.attention_forward(qkv, 2)
    assert np.array_equal(att, np.tril(att)) and np.allclose(att.sum(axis=-1), 1)


def test_attention_does_not_overflow():
    qkv = np.full((1, 3, 6), 30.0, dtype=np.float32)  # scores of 900 * sqrt(2)
    with np.errstate(over="raise"):
        out, _ = layers_by_hand.attention_forward(qkv, 1)
    assert np.allclose(out, 30)


def test_the_backward_pass_of_gelu_is_autograd_s():
    inp = torch.linspace(-6, 6, 101, dtype=torch.float64).requires_grad_()
    expected = F.gelu(inp, approximate="tanh")
    expected.sum().backward()
    assert close(layers_by_hand.gelu_forward(inp.detach().numpy()), expected)
    assert close(layers_by_hand.gelu_backward(np.ones(101), inp.detach().numpy()), inp.grad)


def test_a_sum_hands_its_gradient_to_both_terms(rng):
    a, b, dout = rng.standard_normal((3, 2, 3, 4))
    assert np.array_equal(layers_by_hand.residual_forward(a, b), a + b)
    assert all(np.array_equal(part, dout) for part in layers_by_hand.residual_backward(dout))


def test_the_gradient_of_the_logits_is_the_probabilities_minus_one_at_the_target(rng):
    logits, targets = torch.tensor(rng.standard_normal((2, 3, 7))).requires_grad_(), rng.integers(7, size=(2, 3))
    expected = F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
    expected.backward()
    losses, probs = layers_by_hand.softmax_cross_entropy_forward(logits.detach().numpy(), targets)
    assert losses.shape == (2, 3) and losses.mean() == pytest.approx(expected.item())
    dlogits = layers_by_hand.softmax_cross_entropy_backward(probs, targets)
    assert close(dlogits, logits.grad)
    assert np.allclose(dlogits * 6, probs - np.eye(7)[targets])
    # At a single position, with a probability of 0.9 at the target, that is -0.1.
    single = layers_by_hand.softmax_cross_entropy_backward(np.array([[[0.9, 0.1]]]), np.array([[0]]))
    assert np.allclose(single, [[[-0.1, 0.1]]])


def test_what_all_sequences_share_gets_the_sum_of_their_gradients():
    dout = np.array([[[0.1, 0.2]], [[0.3, 0.1]], [[0.2, 0.4]]])
    dwte, dwpe = np.zeros((5, 2)), np.zeros((4, 2))
    layers_by_hand.encoder_backward(dout, np.array([[1], [3], [1]]), dwte, dwpe)
    assert np.allclose(dwpe[0], [0.6, 0.7]) and not dwpe[1:].any()
    assert np.allclose(dwte[1], [0.3, 0.6]) and np.allclose(dwte[3], [0.3, 0.1]) and not dwte[[0, 2, 4]].any()


def test_the_encoder_is_the_sum_of_two_embeddings(rng):
    wte, wpe, idx = rng.standard_normal((7, 4)), rng.standard_normal((6, 4)), rng.integers(7, size=(2, 5))
    expected = F.embedding(torch.tensor(idx), torch.tensor(wte)) + torch.tensor(wpe)[:5]
    assert close(layers_by_hand.encoder_forward(idx, wte, wpe), expected)


# The whole model


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_every_gradient_of_a_model_of_two_blocks_is_autograd_s(dtype, atol):
    model, (x, y) = new_model().to(dtype), tokens()
    ours = by_hand.GPT.from_torch(model)
    logits, loss = model(x, y)
    loss.backward()
    our_logits, our_loss = ours.forward(x.numpy(), y.numpy())
    ours.backward()
    assert np.abs(our_logits - logits.detach().numpy()).max() < atol and our_loss == pytest.approx(
        loss.item(), abs=atol
    )
    for p in model.parameters():
        p.data = p.grad
    expected = by_hand.GPT.from_torch(model).params
    assert len(expected) == 16 and set(expected) == set(ours.grads)
    for name, gradient in expected.items():
        assert np.abs(gradient).max() > 0
        assert np.abs(gradient - ours.grads[name]).max() < atol, name


def test_the_final_norm_comes_before_the_output_layer_which_is_the_token_table():
    ours, (x, _) = by_hand.GPT.from_torch(new_model()), tokens()
    logits, loss = ours.forward(x.numpy())
    assert loss is None
    last = ours.acts["blocks"][-1]["residual3"]
    normed, _, _ = layers_by_hand.layernorm_forward(last, ours.params["lnfw"], ours.params["lnfb"])
    assert np.allclose(logits, normed @ ours.params["wte"].T)


def test_gradients_add_up_until_they_are_set_to_zero():
    ours, (x, y) = by_hand.GPT.from_torch(new_model()), tokens()
    ours.forward(x.numpy(), y.numpy())
    ours.backward()
    once = {name: grad.copy() for name, grad in ours.grads.items()}
    ours.backward()
    assert all(np.allclose(ours.grads[name], 2 * grad, atol=1e-6) for name, grad in once.items())
    ours.zero_grad()
    assert not any(grad.any() for grad in ours.grads.values())


def test_a_copy_shares_nothing_with_the_model_it_came_from():
    model = new_model()
    ours = by_hand.GPT.from_torch(model)
    before = model.wte.weight.detach().clone()
    ours.params["wte"] += 1
    assert torch.equal(model.wte.weight, before)


WRONG = [
    (lambda: by_hand.GPT.from_torch(new_model(bias=False)), "bias True"),
    (lambda: by_hand.GPT.from_torch(new_model(tied=False)), "tied True"),
    (lambda: by_hand.GPT.from_torch(new_model().bfloat16()), "the dtype must be float32 or float64"),
    (lambda: by_hand.GPT.from_torch(new_model()).backward(), "there is no loss to go back from"),
    (lambda: by_hand.GPT.from_torch(new_model()).forward(np.array([[13]])), "tokens must be from 0 to 12"),
    (lambda: by_hand.GPT.from_torch(new_model()).forward(np.zeros((1, 7), int)), "the model has 6 positions"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_what_cannot_be_computed_gets_one_sentence(call, message):
    with pytest.raises(UserError, match=message):
        call()


# AdamW


def test_adamw_is_pytorch_s_for_ten_steps(rng):
    p = {"a": rng.standard_normal((3, 4)), "b": rng.standard_normal(5)}
    theirs = [torch.tensor(array.copy(), requires_grad=True) for array in p.values()]
    ours = by_hand.AdamW(p, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    optimizer = torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in range(10):
        grads = {name: rng.standard_normal(array.shape) for name, array in p.items()}
        for t, grad in zip(theirs, grads.values(), strict=True):
            t.grad = torch.tensor(grad)
        ours.step(grads)
        optimizer.step()
        assert all(np.abs(array - t.detach().numpy()).max() < 1e-6 for array, t in zip(p.values(), theirs, strict=True))


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_the_first_step_is_the_learning_rate_whatever_the_size_of_the_gradient(size):
    p = {"w": np.array([0.0])}
    by_hand.AdamW(p, lr=0.01, weight_decay=0.0).step({"w": np.array([size])})
    assert p["w"][0] == pytest.approx(-0.01, rel=1e-3)


def test_without_a_gradient_a_weight_still_decays():
    p = {"w": np.array([1.0])}
    by_hand.AdamW(p, lr=0.01, weight_decay=0.1).step({"w": np.array([0.0])})
    assert p["w"][0] == pytest.approx(0.999)


# A training


def test_a_hundred_steps_by_hand_have_the_losses_of_pytorch(rhyme):
    sizes = dict(vocab_size=rhyme.tokenizer.vocab_size, block_size=8, n_embd=16, n_head=2, n_layer=2)
    generator = torch.Generator().manual_seed(0)
    batches = [rhyme.get_batch("train", 4, 8, generator) for _ in range(100)]
    model = new_model(**sizes).double()
    ours = by_hand.GPT.from_torch(model)
    theirs, adamw = torch.optim.AdamW(model.parameters(), lr=3e-3), by_hand.AdamW(ours.params, lr=3e-3)
    losses = []
    for x, y in batches:
        _, loss = model(x, y)
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        _, our_loss = ours.forward(x.numpy(), y.numpy())
        ours.zero_grad()
        ours.backward()
        adamw.step(ours.grads)
        losses.append((loss.item(), our_loss))
    assert max(abs(a - b) for a, b in losses) < 1e-8
    assert losses[-1][0] < losses[0][0] - 1  # it has learned something
