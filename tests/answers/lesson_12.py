"""Right answers to the exercises of lesson 12, and wrong ones that people really give."""

import math

import torch
import torch.nn.functional as F

from babygpt.course.checks import lesson_12 as checks


def parts(x, c_attn, n_head):
    B, T, C = x.shape
    return (part.view(B, T, n_head, C // n_head).transpose(1, 2) for part in c_attn(x).split(C, dim=2))


def attention(x, c_attn, c_proj, n_head):
    q, k, v = parts(x, c_attn, n_head)
    return c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape))


def by_hand(scale=lambda q: q.shape[-1] ** -0.5, causal=True, order=lambda q, k, v: (q, k, v)):
    def attention(x, c_attn, c_proj, n_head):
        q, k, v = order(*parts(x, c_attn, n_head))
        T = x.shape[1]
        wei = q @ k.transpose(-2, -1) * scale(q)
        if causal:
            wei = wei.masked_fill(torch.ones(T, T).tril() == 0, float("-inf"))
        return c_proj((wei.softmax(dim=-1) @ v).transpose(1, 2).reshape(x.shape))

    return attention


def scaled_by_c(x, c_attn, c_proj, n_head):
    return by_hand(scale=lambda q: x.shape[-1] ** -0.5)(x, c_attn, c_proj, n_head)


def without_transpose_back(x, c_attn, c_proj, n_head):
    q, k, v = parts(x, c_attn, n_head)
    return c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).reshape(x.shape))


def without_projection(x, c_attn, c_proj, n_head):
    q, k, v = parts(x, c_attn, n_head)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)


def one_head(x, c_attn, c_proj, n_head):
    return attention(x, c_attn, c_proj, 1)


def three_heads(x, c_attn, c_proj, n_head):
    return attention(x, c_attn, c_proj, 3)


def heads_by_view(x, c_attn, c_proj, n_head):
    B, T, C = x.shape
    q, k, v = (part.reshape(B, n_head, T, C // n_head) for part in c_attn(x).split(C, dim=2))
    return c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape))


def parameters(V, T, L, C):
    return V * C + T * C + L * (12 * C**2 + 13 * C) + 2 * C


def learning_rate(step, warm=lambda step: 6e-4 * (step + 1) / 2001, low=6e-5, linear=False, start=2000):
    if step < 2000:
        return warm(step)
    if step > 600_000:
        return low
    r = (step - start) / (600_000 - start)
    return low + (6e-4 - low) * (1 - r if linear else (1 + math.cos(math.pi * r)) / 2)


def top_p(probs, p):
    likeliest, order = probs.sort(descending=True)
    kept = torch.zeros_like(probs)
    kept[order] = torch.where(likeliest.cumsum(0) - likeliest < p, likeliest, 0.0)
    return kept / kept.sum()


def with_a_loop(probs, p):
    kept, total = [0.0] * len(probs), 0.0
    for i in probs.argsort(descending=True).tolist():
        kept[i] = probs[i].item()
        total += kept[i]
        if total >= p - 1e-7:
            break
    return [x / total for x in kept]


def one_too_few(probs, p):
    likeliest, order = probs.sort(descending=True)
    kept = torch.zeros_like(probs)
    kept[order] = torch.where(likeliest.cumsum(0) <= p, likeliest, 0.0)
    return kept / kept.sum().clamp(min=1e-9)


def sorted_nucleus(probs, p):
    return top_p(probs, p).sort(descending=True).values


def not_scaled(probs, p):
    return torch.where(top_p(probs, p) > 0, probs, 0.0)


def above_p(probs, p):
    return torch.where(probs >= p, probs, 0.0)


ANSWERS = {
    checks.attention: (
        {"in one call": attention, "by hand": by_hand(), "the package's": checks.package_attention},
        {
            "no mask": (by_hand(causal=False), "the mask is missing"),
            "no scale": (by_hand(scale=lambda q: 1.0), "not divided by the square root"),
            "scaled by C": (scaled_by_c, "by the root of C"),
            "no transpose at the end": (without_transpose_back, "without transpose"),
            "no projection": (without_projection, "the projection at the end is missing"),
            "one head": (one_head, "transpose"),
            "always three heads": (three_heads, "stopped"),
            "a view in place of a transpose": (heads_by_view, "split c_attn"),
            "keys as queries": (by_hand(order=lambda q, k, v: (k, q, v)), "split c_attn"),
            "detached": (lambda x, *rest: attention(x.detach(), *rest), "no gradient flows"),
        },
    ),
    checks.parameters: (
        {"a formula": parameters, "a tensor": lambda *sizes: torch.tensor(parameters(*sizes))},
        {
            "untied": (lambda V, T, L, C: parameters(V, T, L, C) + V * C, "it is the token embedding"),
            "no final norm": (lambda V, T, L, C: parameters(V, T, L, C) - 2 * C, "final layer norm"),
            "no positions": (lambda V, T, L, C: parameters(V, T, L, C) - T * C, "positions are missing"),
            "no biases": (lambda V, T, L, C: parameters(V, T, L, C) - 9 * L * C, "biases"),
            "no norms": (lambda V, T, L, C: parameters(V, T, L, C) - 4 * L * C, "layer norms"),
            "one block": (lambda V, T, L, C: parameters(V, T, 1, C), "you count"),
        },
    ),
    checks.learning_rate: (
        {"the schedule": learning_rate, "a tensor": lambda step: torch.tensor(learning_rate(step))},
        {
            "zero at the start": (lambda step: learning_rate(step, warm=lambda s: 6e-4 * s / 2000), "not 0"),
            "no warm-up": (lambda step: learning_rate(step, warm=lambda s: 6e-4), "not 0"),
            "down to zero": (lambda step: learning_rate(step, low=0.0), "halfway|not at 0"),
            "a line": (lambda step: learning_rate(step, linear=True), "along a cosine"),
            "the whole way from 0": (lambda step: learning_rate(step, start=0), "the warm-up ends|halfway"),
            "up again": (lambda step: learning_rate(step) if step <= 600_000 else 6e-4, "stays at 6e-5"),
        },
    ),
    checks.top_p: (
        {"sorted and put back": top_p, "with a loop": with_a_loop},
        {
            "one too few": (one_too_few, "is kept as well|keeps nothing"),
            "sorted": (sorted_nucleus, "is sorted"),
            "not scaled": (not_scaled, "divide by the sum"),
            "those with more than p": (above_p, "divide by the sum|is kept as well"),
        },
    ),
}
