"""Checks of lesson 12, GPT-2."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from babygpt.beyond import gpt2
from babygpt.course.checks.core import as_tensor, exercise, expect, expect_gradient, expect_same, unchanged
from babygpt.model import nucleus


def package_attention(x: Tensor, c_attn: nn.Module, c_proj: nn.Module, n_head: int) -> Tensor:
    """GPT-2's attention as a function, for those who leave exercise 12.A open: (B, T, C) -> (B, T, C)."""
    layer = gpt2.CausalSelfAttention(gpt2.Config(n_embd=x.shape[-1], n_head=n_head)).eval()
    layer.c_attn, layer.c_proj = c_attn, c_proj
    return layer(x)


package_attention.__qualname__ = "CausalSelfAttention"  # as `choose` prints it


@exercise("12.A")
def attention(answer: Callable[[Tensor, nn.Module, nn.Module, int], Tensor]) -> None:
    """The answer is causal self-attention of all heads, with one linear layer for queries, keys and values."""
    for B, T, C, n_head in ((2, 5, 12, 3), (3, 7, 8, 2), (1, 1, 6, 1), (2, 4, 8, 8)):
        c_attn, c_proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        nn.init.normal_(c_attn.weight)
        source = torch.randn(B, T, C, requires_grad=True)
        x = source.clone()  # PyTorch itself forbids writing into the source
        with unchanged(x=x):
            output = answer(x, c_attn, c_proj, n_head)
        case = f"for (B, T, C) = {(B, T, C)} and {n_head} heads"
        found, sent = as_tensor(output, f"what attention returns {case}", "return c_proj(...)"), source.detach()
        q, k, v = (part.view(B, T, n_head, C // n_head).transpose(1, 2) for part in c_attn(sent).split(C, dim=2))
        past = torch.ones(T, T).tril() == 1
        scores, scale = q @ k.transpose(-2, -1), (C // n_head) ** -0.5

        def finish(
            scores: Tensor, mask: Tensor | bool = True, v: Tensor = v, B: int = B, T: int = T, C: int = C
        ) -> Tensor:
            wei = scores.masked_fill(~torch.as_tensor(mask), float("-inf")).softmax(dim=-1)
            return (wei @ v).transpose(1, 2).reshape(B, T, C)

        right = finish(scores * scale, past)
        mistakes = {
            "every token sees the later ones, too: the mask is missing (is_causal=True)": finish(scores * scale),
            "the scores are not divided by the square root of the head size": finish(scores, past),
            "the scores are divided by the root of C, and not by that of the head size": finish(scores * C**-0.5, past),
            "the heads are put together without transpose(1, 2), which mixes up heads and positions": (
                right.view(B, T, n_head, C // n_head).transpose(1, 2).reshape(B, T, C)
            ),
        }
        expected = c_proj(right)
        if found.shape == expected.shape:
            for message, wrong in mistakes.items():
                same = torch.allclose(found.double(), c_proj(wrong).double(), atol=1e-5)
                expect(not same or torch.allclose(wrong, right, atol=1e-4), f"{case}: {message}")
            expect(
                not torch.allclose(found.double(), right.double(), atol=1e-5),
                f"{case}: the projection at the end is missing, c_proj",
            )
        look_at = "split c_attn(x) into q, k, v; then view(B, T, n_head, hs) and transpose(1, 2)"
        expect_same(found, expected.detach(), f"the output {case}", look_at)
        expect_gradient(output, source, "the output", "use PyTorch functions, on x itself")


@exercise("12.1")
def parameters(answer: Callable[[int, int, int, int], int]) -> None:
    """The answer counts the parameters of a GPT-2."""
    for V, T, L, C in ((65, 64, 2, 128), (11, 7, 1, 12), (50257, 1024, 12, 768), (50257, 1024, 48, 1600)):
        found = as_tensor(answer(V, T, L, C), "your answer", "return a number").double()
        expect(found.numel() == 1, "return a single number")
        expected = V * C + T * C + L * (12 * C**2 + 13 * C) + 2 * C
        case = f"for {V:,} tokens, {T:,} positions, {L} blocks and {C} channels"
        hints = {
            "the output layer is counted as well, but it is the token embedding": expected + V * C,
            "the final layer norm is missing, 2 * C": expected - 2 * C,
            "the positions are missing, block_size * C": expected - T * C,
            "the biases of the linear layers are missing, 9 * C for each block": expected - 9 * L * C,
            "the layer norms of the blocks are missing, 4 * C for each": expected - 4 * L * C,
        }
        for message, wrong in hints.items():
            expect(found.item() != wrong, f"{case}: {message}")
        expect(
            found.item() == expected,
            f"{case} you count {found.item():,.0f}, and the model has {expected:,}: two tables, the blocks with "
            "12 C**2 + 13 C each, and the final norm",
        )


@exercise("12.2")
def learning_rate(answer: Callable[[int], float]) -> None:
    """The answer is nanoGPT's schedule: the four numbers of its settings, and points in between."""

    def expected(step: int) -> float:
        if step < 2000:
            return 6e-4 * (step + 1) / 2001
        r = min(1.0, (step - 2000) / 598_000)
        return 6e-5 + 5.4e-4 * (1 + math.cos(math.pi * r)) / 2

    cases = {
        0: "in step 0 it is 6e-4 / 2001, not 0",
        1999: "the warm-up rises linearly, 6e-4 * (step + 1) / 2001",
        2000: "the warm-up ends at the peak, 6e-4",
        301_000: "halfway it is the mean of 6e-4 and 6e-5; r is the share of the way from step 2,000 to 600,000",
        150_000: "it falls along a cosine, not along a line: (1 + cos(pi * r)) / 2",
        600_000: "it ends at 6e-5, not at 0",
        700_000: "after step 600,000 it stays at 6e-5",
    }
    for step, look_at in cases.items():
        found = as_tensor(answer(step), f"learning_rate({step})", "return a number").double()
        wanted = torch.tensor(expected(step), dtype=torch.float64)
        expect(
            found.numel() == 1 and bool(torch.isclose(found, wanted, rtol=1e-4, atol=0)),
            f"learning_rate({step}) is {found.flatten()[0].item():.6g}, expected {wanted.item():.6g}: {look_at}",
        )


@exercise("12.3")
def top_p(answer: Callable[[Tensor, float], Tensor]) -> None:
    """The answer keeps the nucleus of a row of probabilities, in the old order."""
    ordered = torch.tensor([0.45, 0.25, 0.15, 0.08, 0.05, 0.01, 0.01])
    shuffled = ordered[torch.tensor([3, 0, 6, 2, 5, 1, 4])]
    for probs in (ordered, shuffled, torch.softmax(torch.randn(20), dim=0)):
        for p in (0.3, 0.46, 0.8, 0.97, 1.0):
            with unchanged(probs=probs):
                found = answer(probs, p)
            kept = nucleus(probs[None], p)[0]
            expected = kept / kept.sum()
            found = as_tensor(found, "what top_p returns", "return a row of probabilities")
            case = f"top_p({[round(x, 3) for x in probs.tolist()[:4]]}..., {p})"
            if found.shape == expected.shape:
                n, m = int((found > 0).sum()), int((expected > 0).sum())
                expect(
                    n != m - 1 or m == 1,
                    f"{case} keeps {n} tokens, expected {m}: the one that takes the sum to p or above is kept as well",
                )
                expect(n > 0, f"{case} keeps nothing: the likeliest token is always kept")
                expect(
                    not torch.allclose(found.double(), kept.double(), atol=1e-5) or p == 1.0,
                    f"{case} adds up to {found.sum().item():.3f}: divide by the sum, so that it adds up to 1",
                )
                expect(
                    not torch.allclose(found.double(), expected.sort(descending=True).values.double(), atol=1e-5)
                    or torch.equal(expected, expected.sort(descending=True).values),
                    f"{case} is sorted: put each probability back where it was, kept[order] = ...",
                )
            expect_same(found, expected, case, "keep a token if the ones before it have less than p together")
