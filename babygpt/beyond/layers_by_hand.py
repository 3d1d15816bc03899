"""The layers of GPT-2 in NumPy, forward and backward: no autograd.

PyTorch records each operation of the forward pass and derives the backward pass from the record. Here each operation
is a pair of functions instead, in the order and with the names of llm.c's `train_gpt2.c`:

    layer_forward(inp, parameters) -> out, and what the backward pass needs to remember
    layer_backward(dout, ...)      -> dinp

`dout` is the gradient of the loss with respect to `out`, and has its shape. A backward function returns the gradient
of its input. The gradients of parameters are different: it adds them to arrays that it is given. The same parameters
serve every sequence of a batch and every position, `wte` even serves two layers, and all those gradients add up.

Letters: B sequences, T positions, C channels (n_embd), V tokens, hs = C / n_head. `babygpt/beyond/by_hand.py` puts the
layers together.

Source: Karpathy's llm.c.
"""

import math

import numpy as np
from numpy import ndarray as Array

EPS = 1e-5  # of the layer norms
GELU_SCALE = math.sqrt(2 / math.pi)


def encoder_forward(idx: Array, wte: Array, wpe: Array) -> Array:
    """The vector of each token plus the vector of its position: idx (B, T), wte (V, C), wpe (maxT, C) -> (B, T, C)."""
    return wte[idx] + wpe[: idx.shape[1]]


def encoder_backward(dout: Array, idx: Array, dwte: Array, dwpe: Array) -> None:
    """Add the gradients of the embeddings to dwte (V, C) and dwpe (maxT, C), given dout (B, T, C)."""
    np.add.at(dwte, idx, dout)  # `dwte[idx] += dout` would count a token once, however often it occurs
    dwpe[: idx.shape[1]] += dout.sum(axis=0)  # all sequences have the same positions


def layernorm_forward(inp: Array, weight: Array, bias: Array) -> tuple[Array, Array, Array]:
    """Give each vector mean 0 and standard deviation 1, then scale and shift its channels.

    Returns:
        out: (B, T, C).
        mean, rstd: (B, T, 1), the mean and 1 / standard deviation of each vector of inp.
    """
    mean = inp.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt(inp.var(axis=-1, keepdims=True) + EPS)
    return (inp - mean) * rstd * weight + bias, mean, rstd


def layernorm_backward(
    dout: Array, inp: Array, mean: Array, rstd: Array, weight: Array, dweight: Array, dbias: Array
) -> Array:
    """The gradient of inp, (B, T, C); those of weight and bias are added to dweight and dbias, (C,).

    The two terms that are subtracted are there because inp also changes the mean and the standard deviation.
    """
    norm = (inp - mean) * rstd
    dnorm = dout * weight
    dweight += (dout * norm).sum(axis=(0, 1))
    dbias += dout.sum(axis=(0, 1))
    return rstd * (dnorm - dnorm.mean(axis=-1, keepdims=True) - norm * (dnorm * norm).mean(axis=-1, keepdims=True))


def matmul_forward(inp: Array, weight: Array, bias: Array | None = None) -> Array:
    """A linear layer: inp (B, T, C), weight (OC, C), bias (OC,) -> (B, T, OC)."""
    out = inp @ weight.T
    return out if bias is None else out + bias


def matmul_backward(dout: Array, inp: Array, weight: Array, dweight: Array, dbias: Array | None = None) -> Array:
    """The gradient of inp, (B, T, C); those of weight and bias are added to dweight (OC, C) and dbias (OC,)."""
    rows = dout.reshape(-1, dout.shape[-1])  # B * T, OC
    dweight += rows.T @ inp.reshape(-1, inp.shape[-1])
    if dbias is not None:
        dbias += rows.sum(axis=0)
    return dout @ weight


def split_heads(x: Array, n_head: int) -> Array:
    """(B, T, C) -> (B, n_head, T, hs)."""
    B, T, C = x.shape
    return x.reshape(B, T, n_head, C // n_head).swapaxes(1, 2)


def merge_heads(x: Array) -> Array:
    """(B, n_head, T, hs) -> (B, T, C)."""
    B, n_head, T, hs = x.shape
    return x.swapaxes(1, 2).reshape(B, T, n_head * hs)


def attention_forward(qkv: Array, n_head: int) -> tuple[Array, Array]:
    """Causal self-attention in four passes.

    Args:
        qkv: (B, T, 3 * C), the queries, keys and values of all heads, side by side.

    Returns:
        out: (B, T, C), the outputs of all heads, side by side.
        att: (B, n_head, T, T), the weight that each position (third) gives to each one (last).
    """
    q, k, v = (split_heads(part, n_head) for part in np.split(qkv, 3, axis=-1))
    T, hs = q.shape[2:]
    past = np.tri(T, dtype=bool)  # t2 <= t, where the loops of `attention_loops` end
    # Pass 1: the scores, and the largest one of each row.
    scores = np.where(past, q @ k.swapaxes(2, 3) / math.sqrt(hs), -np.inf)
    maxval = scores.max(axis=-1, keepdims=True)
    # Pass 2: exponentials, which cannot overflow without the maximum, and their sum.
    exponentials = np.exp(scores - maxval)
    expsum = exponentials.sum(axis=-1, keepdims=True)
    # Pass 3: normalize.
    att = exponentials / expsum
    # Pass 4: the weighted sum of the values.
    return merge_heads(att @ v), att


def attention_backward(dout: Array, qkv: Array, att: Array, n_head: int) -> Array:
    """The gradient of qkv, (B, T, 3 * C), given dout (B, T, C): the four passes in reverse."""
    q, k, v = (split_heads(part, n_head) for part in np.split(qkv, 3, axis=-1))
    dout = split_heads(dout, n_head)
    # Pass 4.
    datt = dout @ v.swapaxes(2, 3)
    dv = att.swapaxes(2, 3) @ dout
    # Passes 3 and 2: a softmax. Where att is 0 the gradient is 0, so the mask holds here too.
    dscores = att * (datt - (att * datt).sum(axis=-1, keepdims=True))
    # Pass 1.
    dscores = dscores / math.sqrt(q.shape[-1])
    dq = dscores @ k
    dk = dscores.swapaxes(2, 3) @ q
    return np.concatenate([merge_heads(part) for part in (dq, dk, dv)], axis=-1)


def attention_loops(qkv: Array, n_head: int) -> Array:
    """The output of `attention_forward`, (B, T, C), one position and one head at a time, as in C."""
    B, T, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    hs = C // n_head
    out = np.zeros((B, T, C), dtype=qkv.dtype)
    for b in range(B):
        for t in range(T):
            for h in range(n_head):
                query, key, value = (slice(n * C + h * hs, n * C + (h + 1) * hs) for n in range(3))
                scores, maxval = [], -math.inf
                for t2 in range(t + 1):  # pass 1
                    scores.append(float(qkv[b, t, query] @ qkv[b, t2, key]) / math.sqrt(hs))
                    maxval = max(maxval, scores[t2])
                expsum = 0.0
                for t2 in range(t + 1):  # pass 2
                    scores[t2] = math.exp(scores[t2] - maxval)
                    expsum += scores[t2]
                for t2 in range(t + 1):  # pass 3
                    scores[t2] /= expsum
                for t2 in range(t + 1):  # pass 4
                    out[b, t, h * hs : (h + 1) * hs] += scores[t2] * qkv[b, t2, value]
    return out


def gelu_forward(inp: Array) -> Array:
    """GELU in the approximation with tanh, for each number on its own."""
    return 0.5 * inp * (1 + np.tanh(GELU_SCALE * (inp + 0.044715 * inp * inp * inp)))


def gelu_backward(dout: Array, inp: Array) -> Array:
    """The gradient of inp: the product rule, and the derivative of tanh, which is 1 - tanh**2."""
    tanh = np.tanh(GELU_SCALE * (inp + 0.044715 * inp * inp * inp))
    slope = GELU_SCALE * (1 + 3 * 0.044715 * inp * inp)
    return dout * (0.5 * (1 + tanh) + 0.5 * inp * (1 - tanh * tanh) * slope)


def residual_forward(inp1: Array, inp2: Array) -> Array:
    """The sum."""
    return inp1 + inp2


def residual_backward(dout: Array) -> tuple[Array, Array]:
    """The gradients of both inputs: a sum hands its gradient to each of its terms unchanged."""
    return dout, dout


def softmax_cross_entropy_forward(logits: Array, targets: Array) -> tuple[Array, Array]:
    """The surprise at each target, and the probabilities of all tokens.

    Args:
        logits: (B, T, V).
        targets: (B, T), integers.

    Returns:
        losses: (B, T), in nats.
        probs: (B, T, V).
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    expsum = exponentials.sum(axis=-1, keepdims=True)
    losses = np.log(expsum) - np.take_along_axis(shifted, targets[..., None], axis=-1)
    return losses[..., 0], exponentials / expsum


def softmax_cross_entropy_backward(probs: Array, targets: Array) -> Array:
    """The gradient of the mean loss with respect to the logits, (B, T, V): (probs - 1 at the target) / (B * T)."""
    B, T = targets.shape
    dlogits = probs.copy()
    dlogits[np.arange(B)[:, None], np.arange(T), targets] -= 1
    return dlogits / (B * T)
