"""Checks of lesson 18, what a model has learned."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from babygpt import v10
from babygpt.beyond.inside.hooks import Inside
from babygpt.beyond.inside.induction import previous_score as package_previous_score
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_same, unchanged

SIZES = dict(vocab_size=11, block_size=7, n_embd=12, n_head=3, n_layer=2, dropout=0.0, init_std=0.3, attention="loop")


def small_model(seed: int) -> v10.Model:
    """A small version 10 with large weights, so that each of its parts has an effect."""
    torch.manual_seed(seed)
    return v10.Model(v10.Config(**SIZES)).eval()


def some_weights(rows: int, length: int) -> Tensor:
    """Attention weights as a head could have them: (rows, length, length), no weight on the future."""
    scores = 2 * torch.randn(rows, length, length)
    return scores.masked_fill(torch.ones(length, length).triu(1) == 1, float("-inf")).softmax(dim=-1)


def tell(found: Tensor, right: Tensor, mistakes: Mapping[str, Tensor], case: str) -> None:
    """Fail with the message of the mistake whose result is the one that was found."""
    for message, wrong in mistakes.items():
        same = found.shape == wrong.shape and torch.allclose(found.double(), wrong.double(), atol=1e-5)
        is_right = wrong.shape == right.shape and torch.allclose(wrong, right, atol=1e-4)
        expect(not same or is_right, f"{case}: {message}")


@exercise("18.A")
def previous_score(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer is the mean weight on the previous position."""
    for B, T in ((1, 5), (3, 8), (2, 2)):
        wei = some_weights(B, T)
        with unchanged(wei=wei):
            found = as_tensor(answer(wei), "what previous_score returns", "return a number")
        case, rows = f"for weights of the shape {(B, T, T)}", torch.arange(1, T)
        right = package_previous_score(wei).mean()
        mistakes = {
            "this is the weight on the position itself": wei.diagonal(dim1=1, dim2=2).mean(),
            "this is the weight on the position itself, from position 1 on": wei[:, rows, rows].mean(),
            "position 0 has no previous position, so there are T - 1 weights to average and not T": right * (T - 1) / T,
            "wei[b, t, s] is how much t takes from s: you have exchanged t and s, and look at the future": wei[
                :, rows - 1, rows
            ].mean(),
            "this is a sum, and not a mean": wei[:, rows, rows - 1].sum(),
            "that is the mean of all weights": wei.mean(),
        }
        tell(found, right, mistakes, case)
        expect_same(found, right, f"the score {case}", "the mean of wei[b, t, t - 1] over all b and all t from 1 on")


@exercise("18.1")
@torch.no_grad()
def without_head(answer: Callable[..., Tensor]) -> None:
    """The answer is what a model says while one of its heads writes zeros."""
    for seed, layer, head in ((0, 0, 1), (1, 1, 2), (2, 1, 0)):
        model, idx = small_model(seed), torch.randint(11, (2, 6))
        inside, before = Inside(model), {name: p.clone() for name, p in model.state_dict().items()}
        all_on = model.logits(idx)
        found = as_tensor(answer(model, layer, head, idx), "what without_head returns", "return the logits")
        case = f"for block {layer}, head {head}"
        expect(
            all(torch.equal(p, before[name]) for name, p in model.state_dict().items()),
            f"{case} the weights of the model have changed for good: let a hook replace the output",
        )
        expect(
            torch.allclose(model.logits(idx), all_on, atol=1e-6),
            f"{case} the head is still off afterwards: remove the hook, with handle.remove()",
        )
        mistakes = {
            "all heads are still on: the hook has to return the new output, and be there when the model runs": all_on,
            "it is another head that you switch off: block and head count from 0": inside.logits(
                idx, [(layer, (head + 1) % 3)]
            ),
            "it is a head of the other block that you switch off": inside.logits(idx, [(1 - layer, head)]),
            "all heads of the block are off": inside.logits(idx, [(layer, n) for n in range(3)]),
        }
        right = inside.logits(idx, [(layer, head)])
        tell(found, right, mistakes, case)
        look_at = "a forward hook on model.blocks[layer].sa.heads[head] that returns zeros of the output's shape"
        expect_same(found, right, f"the logits {case}", look_at)


@exercise("18.2")
@torch.no_grad()
def logit_lens(answer: Callable[..., Tensor]) -> None:
    """The answer is what a model would have said after the embedding and after each block."""
    for seed, B, T in ((0, 1, 7), (1, 3, 4)):
        model, idx = small_model(seed), torch.randint(11, (B, T))
        model.ln_f.weight.normal_(1, 0.3)
        inside = Inside(model)
        with unchanged(idx=idx):
            found = as_tensor(answer(model, idx), "what logit_lens returns", "stack the logits of all layers")
        streams = inside.streams(idx)
        right, case = torch.stack([inside.read_out(stream) for stream in streams]), f"for {B} rows of {T} tokens"
        normed, x = [], streams[0]
        for block in model.blocks:
            x = model.ln_f(x)
            normed.append(model.lm_head(x))
            x = block(x)
        mistakes = {
            "the final norm is missing: lm_head reads what ln_f gives it": torch.stack(
                [model.lm_head(stream) for stream in streams]
            ),
            "the embedding is missing: it is layer 0": right[1:],
            "the last block is missing": right[:-1],
            "you give what ln_f returns to the next block: it goes to lm_head only": torch.stack(
                [*normed, model.lm_head(model.ln_f(x))]
            ),
        }
        expect(
            not (found.shape == right.shape and torch.allclose(found[1:], right[1:], atol=1e-5))
            or torch.allclose(found, right, atol=1e-5),
            f"{case} layer 0 is wrong, and the others are right: it is the sum of token and position vectors",
        )
        tell(found, right, mistakes, case)
        look_at = "layer 0 is lm_head(ln_f(token + position vectors)), layer n the same after n blocks"
        expect_same(found, right, f"the result {case}", look_at)


@exercise("18.3")
def induction_score(answer: Callable[[Tensor, int], Tensor]) -> None:
    """The answer is the mean weight, from the second copy of a string, on what came after the earlier copy."""
    for B, L in ((1, 4), (3, 6), (2, 9)):
        wei = some_weights(B, 2 * L)
        with unchanged(wei=wei):
            found = as_tensor(answer(wei, L), "what induction_score returns", "return a number")
        t = torch.arange(L, 2 * L)
        right, case = wei[:, t, t - L + 1].mean(), f"for strings of {L} tokens"
        everywhere = torch.arange(L - 1, 2 * L)
        mistakes = {
            "this is the weight on the earlier copy of the token itself: what came after it is one position later": wei[
                :, t, t - L
            ].mean(),
            "this is the weight on the position before the earlier copy": wei[:, t[1:], t[1:] - L - 1].mean(),
            "the last position of the first copy has no earlier copy: begin at position L": wei[
                :, everywhere, everywhere - L + 1
            ].mean(),
            "position L, the first of the second copy, has an earlier copy, too: begin there": wei[
                :, t[1:], t[1:] - L + 1
            ].mean(),
            "this is a sum, and not a mean": wei[:, t, t - L + 1].sum(),
            "this is the score for the previous position": package_previous_score(wei).mean(),
        }
        tell(found, right, mistakes, case)
        expect_same(found, right, f"the score {case}", "the mean of wei[b, t, t - L + 1] over t from L to 2 L - 1")


@exercise("18.4")
@torch.no_grad()
def patch(answer: Callable[..., Tensor]) -> None:
    """The answer is what a model says to the corrupted tokens with one vector of the clean ones put in."""
    for seed, layer, position in ((0, 1, 3), (1, 0, 2), (2, 1, 5)):
        model = small_model(seed)
        inside, clean = Inside(model), torch.randint(11, (2, 7))
        corrupted = clean.clone()
        corrupted[:, 2] = (clean[:, 2] + 1 + torch.randint(10, (2,))) % 11
        unpatched = model.logits(corrupted)
        with unchanged(clean=clean, corrupted=corrupted):
            found = as_tensor(
                answer(model, clean, corrupted, layer, position), "what patch returns", "return the logits"
            )
        case = f"for layer {layer} and position {position}"
        expect(
            torch.allclose(model.logits(corrupted), unpatched, atol=1e-6),
            f"{case} the model is still patched afterwards: remove the hook, with handle.remove()",
        )
        streams, other = inside.streams(clean), inside.streams(corrupted)
        right = inside.patched(corrupted, layer, position, streams[layer][:, position])
        mistakes = {
            "nothing is patched: the hook has to return the new input": unpatched,
            "clean and corrupted are exchanged: the corrupted tokens run, with a vector of the clean ones": (
                inside.patched(clean, layer, position, other[layer][:, position])
            ),
            "all positions are patched: replace the vector of one": model.logits(clean),
            "the vector comes from after the block: what goes into block 0 is layer 0": inside.patched(
                corrupted, layer, position, streams[layer + 1][:, position]
            ),
            "the vector of the position before is replaced": inside.patched(
                corrupted, layer, position - 1, streams[layer][:, position - 1]
            ),
        }
        tell(found, right, mistakes, case)
        look_at = "a forward pre-hook on model.blocks[layer] that puts the clean vector into a copy of its input"
        expect_same(found, right, f"the logits {case}", look_at)
