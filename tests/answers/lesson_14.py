"""Right answers to the exercises of lesson 14, and wrong ones that people really give."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from babygpt.beyond import modern, positions
from babygpt.course.checks import lesson_14 as checks

# 14.A


def frequencies(hs, dtype=torch.float32):
    return 10_000.0 ** (-torch.arange(0, hs, 2, dtype=dtype) / hs)


def turner(f=frequencies, start=0, pairs="halves", sign=1, dtype=torch.float32):
    """RoPE with other frequencies, another first position, other pairs, or another direction."""

    def rotate(x):
        T, hs = x.shape[-2:]
        a = torch.outer(torch.arange(start, start + T, dtype=dtype), f(hs).to(dtype))
        cos, sin = a.cos(), sign * a.sin()
        first, second = x.chunk(2, dim=-1) if pairs == "halves" else (x[..., 0::2], x[..., 1::2])
        out = first * cos - second * sin, second * cos + first * sin
        return torch.stack(out, dim=-1).flatten(-2) if pairs == "neighbors" else torch.cat(out, dim=-1)

    return rotate


def rotate_by_complex_numbers(x):
    T, hs = x.shape[-2:]
    a = torch.outer(torch.arange(T), frequencies(hs))
    z = torch.view_as_complex(x.reshape(*x.shape[:-1], hs // 2, 2).contiguous())
    return torch.view_as_real(z * torch.polar(torch.ones_like(a), a)).flatten(-2)


def rotate_half(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rotate_as_in_transformers(x):
    a = torch.outer(torch.arange(x.shape[-2]), frequencies(x.shape[-1]))
    a = torch.cat((a, a), dim=-1)
    return x * a.cos() + rotate_half(x) * a.sin()


def rotate_with_mixed_pairs(x):
    a = torch.outer(torch.arange(x.shape[-2]), frequencies(x.shape[-1]))
    a = a.repeat_interleave(2, dim=-1)
    return x * a.cos() + rotate_half(x) * a.sin()


def rotate_without_minus(x):
    a = torch.outer(torch.arange(x.shape[-2]), frequencies(x.shape[-1]))
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * a.cos() + second * a.sin(), second * a.cos() + first * a.sin()), dim=-1)


def rotate_by_a_loop(x):
    rows = []
    for t in range(x.shape[-2]):
        row = [None] * x.shape[-1]
        for i, f in enumerate(frequencies(x.shape[-1]).tolist()):
            j = i + x.shape[-1] // 2
            c, s = math.cos(t * f), math.sin(t * f)
            row[i], row[j] = x[..., t, i] * c - x[..., t, j] * s, x[..., t, j] * c + x[..., t, i] * s
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def rotate_along_the_heads(x):
    a = torch.outer(torch.arange(x.shape[1]), frequencies(x.shape[-1]))
    first, second = x.chunk(2, dim=-1)
    a = a[:, None]
    return torch.cat((first * a.cos() - second * a.sin(), second * a.cos() + first * a.sin()), dim=-1)


def rotate_in_place(x):
    half = x.shape[-1] // 2
    turned = turner()(x)
    x[..., :half] = turned[..., :half]
    x[..., half:] = turned[..., half:]
    return x


# 14.1


def rms_norm(x, weight, eps):
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight


def norm(root, centered=False):
    def rms_norm(x, weight, eps):
        if centered:
            x = x - x.mean(dim=-1, keepdim=True)
        return x / root(x, eps) * weight

    return rms_norm


def mean_square(x):
    return x.square().mean(dim=-1, keepdim=True)


# 14.2


class SwiGLU(nn.Module):
    bias = False

    def __init__(self, n_embd):
        super().__init__()
        width = self.width(n_embd)
        self.gate_proj = nn.Linear(n_embd, width, bias=self.bias)
        self.up_proj = nn.Linear(n_embd, width, bias=self.bias)
        self.down_proj = nn.Linear(width, n_embd, bias=self.bias)

    def width(self, n_embd):
        return round(8 * n_embd / 3)

    def forward(self, x):
        return self.down_proj(self.mix(self.gate_proj(x), self.up_proj(x)))

    def mix(self, gate, up):
        return F.silu(gate) * up


def swiglu(**changes):
    return type("SwiGLU", (SwiGLU,), {name: change for name, change in changes.items()})


def mixed(mix):
    return swiglu(mix=lambda self, gate, up: mix(gate, up))


def wide(width):
    return swiglu(width=lambda self, n_embd: width(n_embd))


class OtherNames(nn.Module):
    """As in Meta's own code: w1 is the gate, w3 is up, and w2 is down."""

    def __init__(self, dim):
        super().__init__()
        hidden = int(2 * 4 * dim / 3)
        self.w1, self.w2, self.w3 = (nn.Linear(*io, bias=False) for io in ((dim, hidden), (hidden, dim), (dim, hidden)))

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class TwoLayers(nn.Module):
    def __init__(self, n_embd):
        super().__init__()
        self.up_proj = nn.Linear(n_embd, 4 * n_embd, bias=False)
        self.down_proj = nn.Linear(4 * n_embd, n_embd, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.up_proj(x)))


class NoForward(nn.Module):
    def __init__(self, n_embd):
        super().__init__()
        self.gate_proj = nn.Linear(n_embd, 8 * n_embd // 3, bias=False)


def package_swiglu(n_embd):
    return modern.MLP(modern.Config(n_embd=n_embd, n_head=1, activation="swiglu", bias=False))


# 14.3


def grouped(k_share="repeat_interleave", v_share="repeat_interleave", causal=True, scale=None):
    def share(x, how, count):
        return x.repeat_interleave(count, dim=1) if how == "repeat_interleave" else x.repeat(1, count, 1, 1)

    def grouped_attention(q, k, v):
        count = q.shape[1] // k.shape[1]
        k, v = share(k, k_share, count), share(v, v_share, count)
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)

    return grouped_attention


def grouped_by_hand(q, k, v):
    B, n_head, T, hs = q.shape
    groups = q.view(B, k.shape[1], -1, T, hs)
    wei = groups @ k[:, :, None].mT * hs**-0.5
    wei = wei.masked_fill(torch.ones(T, T).tril() == 0, float("-inf")).softmax(dim=-1)
    return (wei @ v[:, :, None]).reshape(q.shape)


def grouped_by_expanding(q, k, v):
    B, n_kv_head, T, hs = k.shape
    k, v = (x[:, :, None].expand(B, n_kv_head, q.shape[1] // n_kv_head, T, hs).reshape(q.shape) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def only_the_first_head(q, k, v):
    return F.scaled_dot_product_attention(q, k[:, :1].expand_as(q), v[:, :1].expand_as(q), is_causal=True)


# 14.4


def alibi(slope=lambda h, n: 2.0 ** (-8 * h / n), sign=-1, future=float("-inf"), order=1):
    def alibi(n_head, T):
        t = torch.arange(T)
        distance = (t[:, None] - t).float()
        slopes = torch.tensor([slope(h, n_head) for h in range(1, n_head + 1)])
        slopes = slopes if order == 1 else slopes.flip(0)
        bias = sign * slopes[:, None, None] * distance
        return bias if future is None else bias.masked_fill(distance < 0, future)

    return alibi


def alibi_by_the_key_alone(n_head, T):
    """As in the paper's own code: what is the same for a whole row changes nothing in the softmax."""
    slopes = 2.0 ** (-8 * torch.arange(1, n_head + 1) / n_head)
    bias = slopes[:, None, None] * torch.arange(T).expand(T, T)
    return bias.masked_fill(torch.ones(T, T).tril() == 0, float("-inf"))


def alibi_with_loops(n_head, T):
    return [
        [[-(2 ** (-8 * h / n_head)) * (t - i) if i <= t else -math.inf for i in range(T)] for t in range(T)]
        for h in range(1, n_head + 1)
    ]


def alibi_without_heads(n_head, T):
    return alibi()(n_head, T)[0]


# 14.5


def shift(k, C, sign=1, same=False):
    a = sign * k * (torch.ones(C // 2) if same else positions.frequencies(C))
    M = torch.zeros(C, C)
    for i, (cos, sin) in enumerate(zip(a.cos(), a.sin(), strict=True)):
        M[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor([[cos, sin], [-sin, cos]])
    return M


def shift_exactly(k, C):
    a = k * 10_000.0 ** (-torch.arange(0, C, 2, dtype=torch.float64) / C)
    return torch.block_diag(*[torch.tensor([[x.cos(), x.sin()], [-x.sin(), x.cos()]], dtype=torch.float64) for x in a])


ANSWERS = {
    checks.rotate: (
        {
            "halves": turner(),
            "neighbors, as in the paper": turner(pairs="neighbors"),
            "neighbors, put together as halves": turner(pairs="neighbors to halves"),
            "from position 1": turner(start=1),
            "in float64": turner(dtype=torch.float64),
            "by complex numbers": rotate_by_complex_numbers,
            "as in transformers": rotate_as_in_transformers,
            "by a loop": rotate_by_a_loop,
            "the package's": checks.package_rotate,
        },
        {
            "no minus in the exponent": (turner(f=lambda hs: 1 / frequencies(hs)), "with a minus"),
            "twice the exponent": (turner(f=lambda hs: frequencies(hs) ** 2), "almost to -2"),
            "half the exponent": (turner(f=lambda hs: frequencies(hs) ** 0.5), "the 2 is missing"),
            "one frequency": (turner(f=lambda hs: torch.ones(hs // 2)), "a frequency of its own"),
            "the other way": (turner(sign=-1), "turn the other way"),
            "no rotation": (lambda x: x.clone(), "do not depend on the positions"),
            "no minus": (rotate_without_minus, "change their length"),
            "pairs of halves, angles of neighbors": (rotate_with_mixed_pairs, "change their length"),
            "along the heads": (rotate_along_the_heads, "do not depend on the positions|turn the pair"),
            "an angle that is added": (lambda x: x + positions.sinusoids(*x.shape[-2:]), "change their length"),
            "in place": (rotate_in_place, "in place"),
            "detached": (lambda x: turner()(x.detach()), "no gradient flows"),
            "half of the numbers": (lambda x: turner()(x)[..., : x.shape[-1] // 2], "the shape"),
        },
    ),
    checks.rms_norm: (
        {
            "the formula": rms_norm,
            "rsqrt": lambda x, weight, eps: weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps),
            "PyTorch's": lambda x, weight, eps: F.rms_norm(x, x.shape[-1:], weight, eps),
            "in float64": lambda x, weight, eps: rms_norm(x.double(), weight.double(), eps),
        },
        {
            "layer norm": (norm(lambda x, eps: (mean_square(x) + eps).sqrt(), centered=True), "the mean is subtracted"),
            "standard deviation": (
                norm(lambda x, eps: (x.var(dim=-1, keepdim=True, correction=0) + eps).sqrt()),
                "by its standard",
            ),
            "torch.var": (norm(lambda x, eps: (x.var(dim=-1, keepdim=True) + eps).sqrt()), "torch.var's"),
            "eps outside": (norm(lambda x, eps: mean_square(x).sqrt() + eps), "outside of the root"),
            "no eps": (norm(lambda x, eps: mean_square(x).sqrt()), "eps is missing"),
            "the length": (norm(lambda x, eps: x.norm(dim=-1, keepdim=True) + eps), "take their mean"),
            "no root": (norm(lambda x, eps: mean_square(x) + eps), "the root is missing"),
            "no weight": (lambda x, weight, eps: rms_norm(x, 1.0, eps), "the weight is missing"),
            "over everything": (norm(lambda x, eps: (x.square().mean() + eps).sqrt()), "over the whole tensor"),
            "detached": (lambda x, weight, eps: rms_norm(x.detach(), weight, eps), "no gradient flows"),
            "in place": (lambda x, weight, eps: x.div_((mean_square(x) + eps).sqrt()) * weight, "in place"),
        },
    ),
    checks.swiglu: (
        {
            "the class": SwiGLU,
            "with gate and up swapped": mixed(lambda gate, up: gate * F.silu(up)),
            "with Meta's names": OtherNames,
            "rounded up": wide(lambda C: math.ceil(8 * C / 3)),
            "by hand": mixed(lambda gate, up: gate * gate.sigmoid() * up),
            "the package's": package_swiglu,
        },
        {
            "four times as wide": (wide(lambda C: 4 * C), "half more"),
            "integer division": (wide(lambda C: 8 // 3 * C), "the width must be about"),
            "two thirds of n_embd": (wide(lambda C: 2 * C // 3), "the width must be about"),
            "two layers": (TwoLayers, "expected 3"),
            "biases": (swiglu(bias=True), "bias=False"),
            "no nonlinearity": (mixed(lambda gate, up: gate * up), "no nonlinearity"),
            "a sigmoid": (mixed(lambda gate, up: gate.sigmoid() * up), "older GLU"),
            "a ReLU": (mixed(lambda gate, up: gate.relu() * up), "is a ReLU"),
            "GELU": (mixed(lambda gate, up: F.gelu(gate) * up), "is GELU"),
            "a sum": (mixed(lambda gate, up: F.silu(gate) + up), "are added"),
            "silu of the product": (mixed(lambda gate, up: F.silu(gate * up)), "to the product"),
            "silu of both": (mixed(lambda gate, up: F.silu(gate) * F.silu(up)), "to both"),
            "up alone": (mixed(lambda gate, up: F.silu(up)), "only one of the two"),
            "no forward": (NoForward, "no method named 'forward'"),
            "detached": (mixed(lambda gate, up: (F.silu(gate) * up).detach()), "no gradient flows"),
        },
    ),
    checks.grouped_attention: (
        {
            "repeat_interleave": grouped(),
            "by hand": grouped_by_hand,
            "by expanding": grouped_by_expanding,
            "in one call": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
            "in float64": lambda q, k, v: grouped()(q.double(), k.double(), v.double()),
        },
        {
            "repeat": (grouped("repeat", "repeat"), "take turns"),
            "values in turn": (grouped(v_share="repeat"), "values in turn"),
            "keys in turn": (grouped(k_share="repeat"), "keys in turn"),
            "no mask": (grouped(causal=False), "mask is missing"),
            "no scale": (grouped(scale=1.0), "not divided by the square root"),
            "one head for all": (only_the_first_head, "repeat each head"),
            "nothing is repeated": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), "stopped"),
            "detached values": (lambda q, k, v: grouped()(q, k, v.detach()), "no gradient flows back to v"),
        },
    ),
    checks.alibi: (
        {
            "the formula": alibi(),
            "the package's": positions.alibi,
            "by the key alone": alibi_by_the_key_alone,
            "with loops": alibi_with_loops,
            "the heads in reverse": alibi(order=-1),
            "a large number in place of infinity": alibi(future=-1e9),
        },
        {
            "the wrong sign": (alibi(sign=1), "far tokens get more"),
            "slopes from 1": (alibi(slope=lambda h, n: 2.0 ** (-8 * (h - 1) / n)), "begin with 1"),
            "halves": (alibi(slope=lambda h, n: 0.5**h), "for any number of heads"),
            "equal steps": (alibi(slope=lambda h, n: h / n), "in equal steps"),
            "one slope": (alibi(slope=lambda h, n: 1 / 16), "the same slope"),
            "no distance": (alibi(slope=lambda h, n: 0.0), "no influence"),
            "no mask": (alibi(future=None), "see later ones"),
            "zeros in the future": (alibi(future=0.0), "see later ones"),
            "one head": (alibi_without_heads, "a matrix for each head"),
            "the past is hidden": (lambda n, T: alibi()(n, T).mT, "hides a token"),
        },
    ),
    checks.shift: (
        {"with a loop": shift, "in float64": shift_exactly},
        {
            "backwards": (lambda k, C: shift(k, C, sign=-1), "back to p"),
            "transposed": (lambda k, C: shift(k, C).T, "back to p"),
            "one frequency": (lambda k, C: shift(k, C, same=True), "turns all pairs"),
            "halves": (lambda k, C: checks.halves_matrix(k * positions.frequencies(C)), "neighbors"),
            "nothing": (lambda k, C: torch.eye(C), "changes nothing"),
            "a vector": (lambda k, C: positions.sinusoids(k + 1, C)[k], "a matrix"),
            "not a rotation": (lambda k, C: shift(k, C).abs(), "a block"),
        },
    ),
}
