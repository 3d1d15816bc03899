"""Right answers to the exercises of lesson 13, and wrong ones that people really give."""

import numpy as np
import torch

from babygpt.beyond import layers_by_hand
from babygpt.course.checks import lesson_13 as checks


def matmul_backward(dout, inp, weight):
    return dout @ weight, np.einsum("bto,btc->oc", dout, inp), dout.sum(axis=(0, 1))


def with_tensors(dout, inp, weight):
    return tuple(torch.tensor(part) for part in matmul_backward(dout, inp, weight))


def transposed(dout, inp, weight):
    dinp, dweight, dbias = matmul_backward(dout, inp, weight)
    return dinp, dweight.T, dbias


def averaged(dout, inp, weight):
    dinp, dweight, dbias = matmul_backward(dout, inp, weight)
    n = dout.shape[0] * dout.shape[1]
    return dinp, dweight / n, dbias / n


def one_sequence(dout, inp, weight):
    return dout @ weight, dout[0].T @ inp[0], dout.sum(axis=(0, 1))


def bias_for_each_position(dout, inp, weight):
    return dout @ weight, np.einsum("bto,btc->oc", dout, inp), dout.sum(axis=0)


def into_the_input(dout, inp, weight):
    result = matmul_backward(dout, inp, weight)
    dout *= 0
    return result


def cross_entropy_backward(probs, targets, by=lambda B, T: B * T, sign=1.0, one=1.0):
    B, T, V = probs.shape
    return sign * (probs - one * np.eye(V)[targets]) / by(B, T)


def in_place(probs, targets):
    for b in range(len(probs)):
        for t in range(probs.shape[1]):
            probs[b, t, targets[b, t]] -= 1
    return probs / targets.size


def adamw_step(p, grad, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01, correct=True, sign=1.0):
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    c1, c2 = (1 - beta1**t, 1 - beta2**t) if correct else (1, 1)
    return p - lr * (sign * m / c1 / (np.sqrt(v / c2) + eps) + weight_decay * p), m, v


def adam_with_l2(p, grad, m, v, t, weight_decay=0.01, **options):
    """Weight decay as part of the gradient: Adam, not AdamW."""
    return adamw_step(p, grad + weight_decay * p, m, v, t, weight_decay=0.0, **options)


def sgd(p, grad, m, v, t, lr=1e-3, weight_decay=0.01, **options):
    return p - lr * grad - lr * weight_decay * p, m, v


def t_from_zero(p, grad, m, v, t, **options):
    return adamw_step(p, grad, m, v, t + 1, **options)


def in_place_adamw(p, grad, m, v, t, lr=1e-3, **options):
    new, m, v = adamw_step(p, grad, m, v, t, lr=lr, **options)
    p[:] = new
    return p, m, v


def norm_backward(dnorm, norm, rstd):
    C = dnorm.shape[-1]
    sums = dnorm.sum(axis=-1, keepdims=True) + norm * (dnorm * norm).sum(axis=-1, keepdims=True)
    return rstd * (dnorm - sums / C)


def mean(x):
    return x.mean(axis=-1, keepdims=True)


ANSWERS = {
    checks.matmul_backward: (
        {"einsum": matmul_backward, "tensors": with_tensors, "the package's": checks.package_matmul_backward},
        {
            "dweight transposed": (transposed, "expected|as rows"),
            "averaged": (averaged, r"divided by B \* T"),
            "the first sequence only": (one_sequence, "as rows"),
            "a bias for each position": (bias_for_each_position, "sum dout over B and T"),
            "weight transposed": (lambda d, i, w: (d @ w.T, *matmul_backward(d, i, w)[1:]), "stopped|has its shape"),
            "only dinp": (lambda d, i, w: d @ w, "return 3 things"),
            "written into dout": (into_the_input, "changes its input dout"),
        },
    ),
    checks.cross_entropy_backward: (
        {"with eye": cross_entropy_backward, "the package's": layers_by_hand.softmax_cross_entropy_backward},
        {
            "not divided": (lambda p, t: cross_entropy_backward(p, t, by=lambda B, T: 1), "not divided"),
            "divided by B": (lambda p, t: cross_entropy_backward(p, t, by=lambda B, T: B), "divided by B only"),
            "the wrong sign": (lambda p, t: cross_entropy_backward(p, t, sign=-1.0), "the sign is wrong"),
            "nothing subtracted": (lambda p, t: cross_entropy_backward(p, t, one=0.0), "1 is not subtracted"),
            "in place": (in_place, "changes its input probs"),
        },
    ),
    checks.adamw_step: (
        {"a formula": adamw_step},
        {
            "not corrected": (lambda *args, **o: adamw_step(*args, **o, correct=False), "not corrected"),
            "the wrong direction": (lambda *args, **o: adamw_step(*args, **o, sign=-1.0), "goes against it"),
            "no decay": (lambda *args, **o: adamw_step(*args, **o | {"weight_decay": 0.0}), "decay is missing"),
            "decay in the gradient": (adam_with_l2, "not the gradient|decay is missing"),
            "SGD": (sgd, "step of SGD"),
            "t from zero": (t_from_zero, "both corrected"),
            "in place": (in_place_adamw, "changes its input p"),
            "p alone": (lambda *args, **o: adamw_step(*args, **o)[0], "return 3 things"),
        },
    ),
    checks.place: (
        {"a sum": lambda start, layer, i, j, C: start + layer * 3 * C * C + i * C + j},
        {
            "rows and columns swapped": (lambda s, n, i, j, C: s + n * 3 * C * C + j * 3 * C + i, "are swapped"),
            "a layer too small": (lambda s, n, i, j, C: s + n * C * C + i * C + j, "a layer has"),
            "no start": (lambda s, n, i, j, C: n * 3 * C * C + i * C + j, "the start is missing"),
            "rows of 3 C": (lambda s, n, i, j, C: s + n * 3 * C * C + i * 3 * C + j, "skip"),
        },
    ),
    checks.norm_backward: (
        {"with sums": norm_backward},
        {
            "the direct way": (lambda d, n, r: r * d, "only the direct way"),
            "without the mean": (lambda d, n, r: r * (d - n * mean(d * n)), "through the mean is missing"),
            "without the deviation": (lambda d, n, r: r * (d - mean(d)), "through the standard deviation"),
            "without rstd": (lambda d, n, r: d - mean(d) - n * mean(d * n), "rstd is missing"),
            "sums for means": (lambda d, n, r: r * (d - d.shape[-1] * (mean(d) + n * mean(d * n))), "means over C"),
        },
    ),
}
