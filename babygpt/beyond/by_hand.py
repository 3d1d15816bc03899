"""GPT-2 in NumPy, with every gradient written out: the layers of `layers_by_hand.py` as a model, and AdamW.

The network is that of `babygpt/beyond/gpt2.py`, without dropout. All arrays have the dtype of the parameters, float32
or float64. Letters: B sequences, T positions, C channels (n_embd), V tokens, L layers.

Source: Karpathy's llm.c; Kingma and Ba, "Adam"; Loshchilov and Hutter, "Decoupled Weight Decay Regularization".
"""

import numpy as np
from numpy import ndarray as Array

from babygpt.beyond.gpt2 import Model
from babygpt.beyond.layers_by_hand import (
    attention_backward,
    attention_forward,
    encoder_backward,
    encoder_forward,
    gelu_backward,
    gelu_forward,
    layernorm_backward,
    layernorm_forward,
    matmul_backward,
    matmul_forward,
    residual_backward,
    residual_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from babygpt.beyond.llmc import stack_layers
from babygpt.errors import require


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
