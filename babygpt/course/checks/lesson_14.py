"""Checks of lesson 14, positions and modern parts."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt.beyond import positions
from babygpt.course.checks.core import (
    as_tensor,
    exercise,
    expect,
    expect_forward,
    expect_gradient,
    expect_same,
    unchanged,
)
from babygpt.course.checks.rotations import close, halves_matrix, pair_turn, turned

BASE = positions.BASE
HIDDEN = -1e4  # a score below this hides a token as well as minus infinity does


def package_rotate(x: Tensor) -> Tensor:
    """RoPE as a function of the queries or keys alone, for those who leave exercise 14.A open."""
    return positions.rotate(x, positions.angles(*x.shape[-2:]))


package_rotate.__qualname__ = "rotate"  # as `choose` prints it


@exercise("14.A")
def rotate(answer: Callable[[Tensor], Tensor]) -> None:
    """The answer is RoPE. The scores are compared, so both ways to pair are right, and any first position."""
    for B, n_head, T, hs in ((2, 3, 7, 8), (1, 2, 12, 4), (3, 1, 1, 6), (1, 5, 9, 16)):
        case = f"for (B, n_head, T, hs) = {(B, n_head, T, hs)}"
        source = torch.randn(B, n_head, T, hs, requires_grad=True)
        sent, k = source.detach(), torch.randn(B, n_head, T, hs)
        x = source.clone()  # PyTorch itself forbids writing into the source
        with unchanged(x=x):
            output = answer(x)
        results, what = (output, answer(k.clone())), f"what rotate returns {case}"
        q_found, k_found = (as_tensor(found, what, "return torch.cat(...)").double() for found in results)
        expect(q_found.shape == x.shape, f"{what} has the shape {tuple(q_found.shape)}, expected {tuple(x.shape)}")
        right = BASE ** (-2 * torch.arange(hs // 2).double() / hs)
        found = q_found @ k_found.mT

        def scores(frequencies: Tensor, neighbors: bool = False, q: Tensor = sent, k: Tensor = k) -> Tensor:
            return turned(q, frequencies, neighbors) @ turned(k, frequencies, neighbors).mT

        if not any(close(found, scores(right, neighbors)) for neighbors in (False, True)):
            expect(
                T == 1 or not close(found, sent.double() @ k.double().mT),
                f"{case} the scores do not depend on the positions: the angle must be t * frequency",
            )
            mistakes = {
                "the frequencies grow from pair to pair: the exponent is -2 * i / hs, with a minus": 1 / right,
                "the exponent goes from 0 almost to -2: it is -2 * i / hs for i = 0, 1, ..., hs / 2 - 1": right**2,
                "the exponent goes from 0 almost to -1/2: it is -2 * i / hs, and the 2 is missing": right**0.5,
                "the pairs turn the other way: it is first * cos - second * sin": -right,
                "all pairs turn equally fast: each has a frequency of its own": torch.ones(hs // 2),
            }
            for message, wrong in mistakes.items():
                for neighbors in (False, True):
                    expect(not close(found, scores(wrong, neighbors), 1e-2), f"{case}: {message}")
            expect(
                close(sent.norm(dim=-1), q_found.norm(dim=-1)),
                f"{case} the vectors change their length, so this is not a rotation: look at the signs, and at which "
                f"number is paired with which",
            )
            last = q_found[..., -1, :], turned(sent, right)[..., -1, :]
            expect_same(*last, f"the last position {case}", "turn the pair (x[i], x[i + hs / 2]) by t * f[i]")
            expect_same(found, scores(right), f"the product of queries and keys {case}", "turn each by its position")
        expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")


@exercise("14.1")
def rms_norm(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """The answer is RMSNorm over the last dimension, with eps inside of the root."""
    for shape, size in (((2, 3, 8), 1.0), ((4, 16), 1e-3), ((1, 5), 30.0), ((2, 2, 3, 6), 1.0)):
        source = (torch.randn(shape) * size + size).requires_grad_()
        weight, eps = torch.rand(shape[-1]) + 0.5, 1e-5
        x = source.clone()
        with unchanged(x=x, weight=weight):
            output = answer(x, weight, eps)
        case = f"for x of shape {shape} and numbers of about {size:g}"
        found, sent = as_tensor(output, f"what rms_norm returns {case}", "return a tensor"), source.detach()
        square = sent.square().mean(dim=-1, keepdim=True)
        centered = sent - sent.mean(dim=-1, keepdim=True)
        variance = centered.square().mean(dim=-1, keepdim=True)
        expected = sent / (square + eps).sqrt() * weight
        mistakes = {
            "the mean is subtracted, as in layer norm: RMSNorm leaves it": centered / (variance + eps).sqrt() * weight,
            "x is divided by its standard deviation: take the mean of x**2, from which no mean is subtracted": (
                sent / (variance + eps).sqrt() * weight
            ),
            "the standard deviation is torch.var's or torch.std's: take the mean of x**2": (
                sent / (sent.var(dim=-1, keepdim=True) + eps).sqrt() * weight
            ),
            "eps is outside of the root: it is added to the mean of the squares, before the root": (
                sent / (square.sqrt() + eps) * weight
            ),
            "eps is missing: a vector of zeros would become NaN": sent / square.sqrt() * weight,
            "x is divided by the sum of its squares' root: take their mean": (
                sent / (sent.square().sum(dim=-1, keepdim=True) + eps).sqrt() * weight
            ),
            "the root is missing": sent / (square + eps) * weight,
            "the weight is missing: multiply by it at the end": sent / (square + eps).sqrt(),
            "the mean is over the whole tensor: take it over the last dimension of each vector": (
                sent / (sent.square().mean() + eps).sqrt() * weight
            ),
        }
        for message, wrong in mistakes.items():
            expect(not close(found, wrong, 1e-5) or close(wrong, expected, 1e-3), f"{case}: {message}")
        look_at = "divide by the root of (mean of x**2 over the last dimension, plus eps), and multiply by weight"
        expect_same(found, expected, f"the output {case}", look_at)
        expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")
    zeros = as_tensor(answer(torch.zeros(2, 4), torch.ones(4), 1e-5), "the norm of zeros", "return a tensor")
    expect(zeros.isfinite().all(), "a vector of zeros becomes NaN: eps belongs under the root")


@exercise("14.2")
def swiglu(answer: Callable[[int], nn.Module]) -> None:
    """The answer is the class SwiGLU: three matrices without biases, with as many weights as two of 4 C * C."""
    for C in (48, 96, 20):
        module = answer(C)
        expect_forward(module)
        linears = [part for part in module.modules() if isinstance(part, nn.Linear)]
        expect(
            len(linears) == 3,
            f"there are {len(linears)} linear layers in the module, expected 3: gate_proj, up_proj and down_proj",
        )
        expect(all(part.bias is None for part in linears), "the linear layers have biases: use bias=False")
        shapes = sorted(tuple(part.weight.shape) for part in linears)
        inner = [part for part in linears if part.in_features == C]
        outer = [part for part in linears if part.out_features == C]
        expect(
            len(inner) == 2 and len(outer) == 1 and len({part.out_features for part in inner}) == 1,
            f"for n_embd = {C} the matrices are {shapes}: two go from n_embd to the width, and one goes back",
        )
        width, count = inner[0].out_features, sum(p.numel() for p in module.parameters())
        expect(outer[0].in_features == width, f"down_proj must take {width} numbers, as many as up_proj gives")
        expect(
            width != 4 * C, f"a width of 4 * n_embd gives {count:,} weights, half more than the {8 * C * C:,} of ReLU"
        )
        expect(
            abs(width - 8 * C / 3) <= max(1.0, 0.05 * 8 * C / 3),
            f"for n_embd = {C} the width is {width}, and the module has {count:,} weights. For 8 * C**2 = "
            f"{8 * C * C:,} the width must be about 8 * C / 3 = {8 * C / 3:.1f}",
        )
        for part in linears:
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
        source = torch.randn(2, 5, C, requires_grad=True)
        x = source.clone()
        with unchanged(x=x):
            output = module(x)
        found, sent = as_tensor(output, "what forward returns", "return self.down_proj(...)"), source.detach()
        with torch.no_grad():
            a, b = (part(sent) for part in inner)

            def both(
                mix: Callable[[Tensor, Tensor], Tensor], a: Tensor = a, b: Tensor = b, down: nn.Module = outer[0]
            ) -> list[Tensor]:
                return [down(mix(a, b)), down(mix(b, a))]  # which of the two is the gate is a matter of names

            right, it_is = both(lambda gate, up: F.silu(gate) * up), "it is F.silu(z) = z * sigmoid(z)"
            mistakes = {
                "the gate has no nonlinearity: it is F.silu(gate_proj(x))": both(lambda gate, up: gate * up),
                f"the gate is a sigmoid, so this is the older GLU: {it_is}": both(lambda gate, up: gate.sigmoid() * up),
                f"the gate is a ReLU: {it_is}": both(lambda gate, up: F.relu(gate) * up),
                f"the gate is GELU: {it_is}": both(lambda gate, up: F.gelu(gate) * up),
                "gate and up are added: multiply them, number by number": both(lambda gate, up: F.silu(gate) + up),
                "F.silu is applied to the product: it is for the gate alone": both(lambda gate, up: F.silu(gate * up)),
                "F.silu is applied to both: up_proj(x) stays as it is": both(lambda a, b: F.silu(a) * F.silu(b)),
                "only one of the two matrices is used: multiply F.silu(gate) by up": (
                    both(lambda gate, _: F.silu(gate)) + both(lambda gate, _: F.silu(gate) * gate)
                ),
            }
        for message, wrong in mistakes.items():
            expect(not any(close(found, one, 1e-5) for one in wrong), f"for n_embd = {C}: {message}")
        if not close(found, right[1], 1e-5):
            look_at = "it is down_proj(F.silu(gate_proj(x)) * up_proj(x))"
            expect_same(found, right[0], f"the output for n_embd = {C}", look_at)
        expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")


@exercise("14.3")
def grouped_attention(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """The answer is causal attention where neighboring heads of queries share a head of keys and values."""
    for B, n_head, n_kv_head, T, hs in ((2, 6, 2, 5, 4), (1, 4, 1, 7, 3), (3, 8, 4, 4, 2), (2, 3, 3, 6, 5)):
        case = f"for {n_head} heads of queries and {n_kv_head} of keys and values"
        sources = [torch.randn(B, heads, T, hs, requires_grad=True) for heads in (n_head, n_kv_head, n_kv_head)]
        q, k, v = (source.clone() for source in sources)
        with unchanged(q=q, k=k, v=v):
            output = answer(q, k, v)
        found = as_tensor(output, f"what grouped_attention returns {case}", "return wei @ v")
        shared = n_head // n_kv_head
        q, k, v = (source.detach().double() for source in sources)
        past = torch.ones(T, T).tril() == 1

        def attend(k: Tensor, v: Tensor, scale: float = hs**-0.5, mask: Tensor | bool = past, q: Tensor = q) -> Tensor:
            scores = (q @ k.mT * scale).masked_fill(~torch.as_tensor(mask), float("-inf"))
            return scores.softmax(dim=-1) @ v

        groups = [part.repeat_interleave(shared, dim=1) for part in (k, v)]
        in_turn = [part.repeat(1, shared, 1, 1) for part in (k, v)]
        expected = attend(*groups)
        mistakes = {
            "the heads take turns (repeat): heads 0, 1, ... of the first group share the first keys, as with "
            "repeat_interleave": attend(*in_turn),
            "keys are in groups and values in turn: share both in the same way": attend(groups[0], in_turn[1]),
            "values are in groups and keys in turn: share both in the same way": attend(in_turn[0], groups[1]),
            "every token sees the later ones, too: the causal mask is missing": attend(*groups, mask=True),
            "the scores are not divided by the square root of the head size": attend(*groups, scale=1.0),
        }
        for message, wrong in mistakes.items():
            expect(not close(found, wrong) or close(wrong, expected, 1e-3), f"{case}: {message}")
        look_at = "repeat each head of keys and values n_head / n_kv_head times, then attend as always"
        expect_same(found, expected, f"the output {case}", look_at)
        flows = isinstance(output, Tensor) and output.requires_grad
        gradients = torch.autograd.grad(output.square().sum(), sources, allow_unused=True) if flows else (None,) * 3
        for name, gradient in zip("qkv", gradients, strict=True):
            expect(gradient is not None, f"no gradient flows back to {name}: use PyTorch functions on q, k and v")


@exercise("14.4")
def alibi(answer: Callable[[int, int], Tensor]) -> None:
    """The answer is ALiBi's bias: heads in any order, and up to a number for each row, which the softmax ignores."""
    for n_head, T in ((4, 6), (8, 5), (2, 9), (4, 1)):
        case = f"alibi({n_head}, {T})"
        found = as_tensor(answer(n_head, T), f"what {case} returns", "return a tensor (n_head, T, T)").double()
        expect(
            found.shape == (n_head, T, T),
            f"{case} has the shape {tuple(found.shape)}, expected {(n_head, T, T)}: a matrix for each head",
        )
        future = torch.ones(T, T).triu(1) == 1
        expect(
            not (found[:, ~future] < HIDDEN).any() and not found[:, ~future].isnan().any(),
            f"{case} hides a token from itself or from later ones: only above the diagonal it is minus infinity",
        )
        expect(
            bool((found[:, future] < HIDDEN).all()),
            f"{case} lets a token see later ones: above the diagonal, where i > t, it must be minus infinity",
        )
        bias = (found - found.diagonal(dim1=1, dim2=2)[:, :, None]).masked_fill(future, 0.0)  # 0 for the token itself
        distance = torch.arange(T)[:, None] - torch.arange(T)

        def biases(slopes: Tensor, distance: Tensor = distance, future: Tensor = future) -> Tensor:
            return (-slopes[:, None, None] * distance).masked_fill(future, 0.0).double()

        if T == 1:
            continue
        h = torch.arange(1, n_head + 1).double()
        slopes = 2 ** (-8 * h / n_head)
        expected = biases(slopes)
        mistakes = {
            "far tokens get more than near ones: the bias is minus slope times distance": -slopes,
            "the distance has no influence: the bias is minus slope times (t - i)": 0 * slopes,
            "the slopes begin with 1: count the heads from 1, so the last slope is 1/256": 2 ** (8 / n_head) * slopes,
            "the slopes are 1/2, 1/4, 1/8, ... for any number of heads: it is 2 ** (-8 * h / n_head)": 0.5**h,
            "the slopes change in equal steps: it is 2 ** (-8 * h / n_head), a fixed fraction of the last": h / n_head,
        }
        right = close(bias, expected) or close(bias, expected.flip(0))  # which head has which slope does not matter
        for message, wrong in mistakes.items():
            expect(
                right or not any(close(bias, b) for b in (biases(wrong), biases(wrong).flip(0))), f"{case}: {message}"
            )
        expect(right or not close(bias, bias[:1].expand_as(bias)), f"{case}: all heads have the same slope")
        if not right:
            expect_same(bias, expected, f"{case}, compared with its diagonal,", "it is -slope * (t - i) for i <= t")


@exercise("14.5")
def shift(answer: Callable[[int, int], Tensor]) -> None:
    """The answer is the matrix that takes the sinusoids of any position p to those of p + k."""
    for k, C in ((1, 8), (5, 4), (3, 16), (40, 6), (0, 4)):
        case = f"shift({k}, {C})"
        found = as_tensor(answer(k, C), case, "return a matrix").double()
        expect(found.shape == (C, C), f"{case} has the shape {tuple(found.shape)}, expected {(C, C)}: a matrix")
        a = torch.outer(torch.arange(120 + k).double(), BASE ** (-torch.arange(0, C, 2).double() / C))
        table = torch.stack((a.sin(), a.cos()), dim=-1).flatten(1)
        now, later = table[:120], table[k:]
        if k:
            expect(
                not close(later @ found.T, now, 1e-3),
                f"{case} leads from p + k back to p: turn the other way, or take the transpose",
            )
            expect(
                not close(now @ found.T, now, 1e-3), f"{case} changes nothing: it must turn each pair by k * frequency"
            )
            same_angle = torch.block_diag(*[pair_turn(torch.tensor(float(k)))] * (C // 2))
            expect(not close(found, same_angle, 1e-3), f"{case} turns all pairs by the angle k: each has a frequency")
            expect(
                not close(found, halves_matrix(a[k]), 1e-3),
                f"{case} pairs i with i + C / 2: in sinusoids, a sine and its cosine are neighbors",
            )
        look_at = "a block [[cos, sin], [-sin, cos]] for each pair, at the angle k * frequency"
        expect_same(now @ found.T, later, f"{case} @ pe[p], for all p,", look_at, atol=1e-3)
