"""GPT-2 in NumPy, with every gradient written out: no autograd.

PyTorch records each operation of the forward pass and derives the backward pass from the record. Here each operation
is a pair of functions instead, in the order and with the names of llm.c's `train_gpt2.c`:

    layer_forward(inp, parameters) -> out, and what the backward pass needs to remember
    layer_backward(dout, ...)      -> dinp

`dout` is the gradient of the loss with respect to `out`, and has its shape. A backward function returns the gradient
of its input. The gradients of parameters are different: it adds them to arrays that it is given. The same parameters
serve every sequence of a batch and every position, `wte` even serves two layers, and all those gradients add up.

The network is that of `babygpt/beyond/gpt2.py`, without dropout. All arrays have the dtype of the parameters, float32
or float64. Letters: B sequences, T positions, C channels (n_embd), V tokens, L layers, hs = C / n_head.

Source: Karpathy's llm.c; Kingma and Ba, "Adam"; Loshchilov and Hutter, "Decoupled Weight Decay Regularization".
"""

import math

import numpy as np
from numpy import ndarray as Array

from babygpt.beyond.gpt2 import Model
from babygpt.beyond.llmc import stack_layers
from babygpt.errors import require

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


def layer(arrays: dict[str, Array], n: int) -> dict[str, Array]:
    """The arrays of block n, as views: adding to one adds to the whole."""
    return {name: array[n] for name, array in arrays.items() if name not in ("wte", "wpe", "lnfw", "lnfb")}


def block_forward(residual1: Array, p: dict[str, Array], n_head: int) -> dict[str, Array]:
    """Everything that a block computes from (B, T, C); its output, (B, T, C), is "residual3"."""
    a = {"residual1": residual1}
    a["ln1"], a["ln1_mean"], a["ln1_rstd"] = layernorm_forward(residual1, p["ln1w"], p["ln1b"])
    a["qkv"] = matmul_forward(a["ln1"], p["qkvw"], p["qkvb"])
    a["atty"], a["att"] = attention_forward(a["qkv"], n_head)
    a["attproj"] = matmul_forward(a["atty"], p["attprojw"], p["attprojb"])
    a["residual2"] = residual_forward(residual1, a["attproj"])
    a["ln2"], a["ln2_mean"], a["ln2_rstd"] = layernorm_forward(a["residual2"], p["ln2w"], p["ln2b"])
    a["fch"] = matmul_forward(a["ln2"], p["fcw"], p["fcb"])
    a["fch_gelu"] = gelu_forward(a["fch"])
    a["fcproj"] = matmul_forward(a["fch_gelu"], p["fcprojw"], p["fcprojb"])
    a["residual3"] = residual_forward(a["residual2"], a["fcproj"])
    return a


def block_backward(dout: Array, p: dict[str, Array], d: dict[str, Array], a: dict[str, Array], n_head: int) -> Array:
    """`block_forward` in reverse: the gradient of its input, (B, T, C); those of the parameters p are added to d."""
    dresidual2, dx = residual_backward(dout)
    dx = matmul_backward(dx, a["fch_gelu"], p["fcprojw"], d["fcprojw"], d["fcprojb"])
    dx = gelu_backward(dx, a["fch"])
    dx = matmul_backward(dx, a["ln2"], p["fcw"], d["fcw"], d["fcb"])
    dx = layernorm_backward(dx, a["residual2"], a["ln2_mean"], a["ln2_rstd"], p["ln2w"], d["ln2w"], d["ln2b"])
    dresidual1, dx = residual_backward(dresidual2 + dx)
    dx = matmul_backward(dx, a["atty"], p["attprojw"], d["attprojw"], d["attprojb"])
    dx = attention_backward(dx, a["qkv"], a["att"], n_head)
    dx = matmul_backward(dx, a["ln1"], p["qkvw"], d["qkvw"], d["qkvb"])
    dx = layernorm_backward(dx, a["residual1"], a["ln1_mean"], a["ln1_rstd"], p["ln1w"], d["ln1w"], d["ln1b"])
    return dresidual1 + dx


class GPT:
    """GPT-2 in NumPy.

    Attributes:
        params: the parameters under llm.c's names; `babygpt/beyond/llmc.py` lists their shapes. Those of the blocks
            have the layer as first dimension: qkvw is (L, 3 * C, C).
        grads: their gradients. `backward` adds to them, so call `zero_grad` first, as in PyTorch.
        acts: what the last forward pass computed; `acts["blocks"]` has a dictionary for each layer.
    """

    def __init__(self, params: dict[str, Array], n_head: int) -> None:
        self.params, self.n_head = params, n_head
        self.grads = {name: np.zeros_like(p) for name, p in params.items()}
        self.acts = {}

    @classmethod
    def from_torch(cls, model: Model) -> "GPT":
        """A copy of a PyTorch model, in its dtype.

        Raises:
            UserError: the dtype is not float32 or float64, or the model has no biases or is not tied.
        """
        params = {name: p.cpu() for name, p in stack_layers(model).items()}
        dtype = str(params["wte"].dtype).removeprefix("torch.")
        supported = dtype in ("float32", "float64")
        require(
            supported, f"the dtype must be float32 or float64, and this model has {dtype}: call model.float() first"
        )
        return cls({name: p.numpy().copy() for name, p in params.items()}, model.config.n_head)

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for grad in self.grads.values():
            grad.fill(0)

    def forward(self, idx: Array, targets: Array | None = None) -> tuple[Array, float | None]:
        """The logits, (B, T, V), and the mean loss in nats, or None without targets.

        Raises:
            UserError: idx or targets, (B, T), hold something other than 0 ... V - 1, or T is above maxT.
        """
        p, acts = self.params, {"idx": idx, "targets": targets, "blocks": []}
        (V, _), (maxT, _) = p["wte"].shape, p["wpe"].shape
        require(idx.shape[1] <= maxT, f"the model has {maxT} positions, and this text has {idx.shape[1]}: shorten it")
        for tokens in (idx,) if targets is None else (idx, targets):
            low, high = tokens.min(), tokens.max()
            require(0 <= low and high < V, f"tokens must be from 0 to {V - 1}, and these are from {low} to {high}")
        x = acts["encoded"] = encoder_forward(idx, p["wte"], p["wpe"])
        for n in range(len(p["ln1w"])):
            acts["blocks"].append(block_forward(x, layer(p, n), self.n_head))
            x = acts["blocks"][n]["residual3"]
        acts["lnf"], acts["lnf_mean"], acts["lnf_rstd"] = layernorm_forward(x, p["lnfw"], p["lnfb"])
        acts["logits"] = matmul_forward(acts["lnf"], p["wte"])  # the same matrix as at the start
        self.acts, loss = acts, None
        if targets is not None:
            losses, acts["probs"] = softmax_cross_entropy_forward(acts["logits"], targets)
            loss = float(losses.mean())
        return acts["logits"], loss

    def backward(self) -> None:
        """Add the gradients of the last forward pass's loss to `grads`.

        Raises:
            UserError: there is no loss, because the last forward pass had no targets.
        """
        require("probs" in self.acts, "there is no loss to go back from: call forward with targets first")
        p, d, a = self.params, self.grads, self.acts
        dlogits = softmax_cross_entropy_backward(a["probs"], a["targets"])
        dx = matmul_backward(dlogits, a["lnf"], p["wte"], d["wte"])
        x = a["blocks"][-1]["residual3"]
        dx = layernorm_backward(dx, x, a["lnf_mean"], a["lnf_rstd"], p["lnfw"], d["lnfw"], d["lnfb"])
        for n in reversed(range(len(a["blocks"]))):
            dx = block_backward(dx, layer(p, n), layer(d, n), a["blocks"][n], self.n_head)
        encoder_backward(dx, a["idx"], d["wte"], d["wpe"])  # wte's second gradient


class AdamW:
    """Adam with decoupled weight decay, for arrays that it changes in place.

    Args:
        params: what to train, under some names. All of it decays, as in llm.c.
    """

    def __init__(
        self, params: dict[str, Array], lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:  # fmt: skip
        self.params, self.lr, self.betas, self.eps, self.weight_decay = params, lr, betas, eps, weight_decay
        self.m, self.v = ({name: np.zeros_like(p) for name, p in params.items()} for _ in range(2))
        self.t = 0

    def step(self, grads: dict[str, Array]) -> None:
        """Update every parameter, given the gradients under the same names."""
        self.t += 1
        beta1, beta2 = self.betas
        for name, p in self.params.items():
            m, v, g = self.m[name], self.v[name], grads[name]
            m += (1 - beta1) * (g - m)  # running mean of the gradient
            v += (1 - beta2) * (g * g - v)  # and of its square
            m_hat = m / (1 - beta1**self.t)  # both start at zero, and this corrects for it
            v_hat = v / (1 - beta2**self.t)
            p -= self.lr * (m_hat / (np.sqrt(v_hat) + self.eps) + self.weight_decay * p)
