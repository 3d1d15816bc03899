"""The arithmetic of scale: how much memory a training run needs, how many operations, how long, and at what price.

    python -m babygpt.beyond.scale                       # the GPT-2 family and GPT-3, on one GPU
    python -m babygpt.beyond.scale --gpus 8 --mfu 0.3    # on eight, at 30% of their speed

Each function is a formula of one or two lines. A test compares it with what PyTorch allocates, counts or sends.
A GPU here is an NVIDIA A100: 312 TFLOP/s for dense matrix products in bfloat16, and 80 GB of memory in the larger of
its two versions (NVIDIA's data sheet).

Source: Karpathy's nanoGPT (`estimate_mfu`); Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", appendix
B (model FLOPs utilization); Hoffmann et al., "Training Compute-Optimal Large Language Models" (Chinchilla); Brown et
al., "Language Models are Few-Shot Learners" (GPT-3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from babygpt.beyond.gpt2 import Config
from babygpt.beyond.models import FAMILY
from babygpt.errors import require, require_within
from babygpt.harness.terminal import run_command

FLOAT32 = 4  # bytes
A100_FLOPS = 312e12  # operations a second
SECONDS_A_DAY = 24 * 60 * 60

GPT3 = Config(block_size=2048, n_embd=12288, n_head=96, n_layer=96)
GPT3_TOKENS = 300e9


def parameters(config: Config) -> int:
    """The number of parameters N of a GPT-2 with biases and tied embeddings."""
    V, T, C = config.vocab_size, config.block_size, config.n_embd
    block = 12 * C * C + 13 * C  # attention 4 C * C, feed-forward 8 C * C; the rest is biases and layer norms
    return V * C + T * C + config.n_layer * block + 2 * C


def state_bytes(n: float) -> dict[str, float]:
    """The memory of n parameters in training, in bytes: float32 weights and gradients, and AdamW's two averages.

    The same with bfloat16 by autocast: its copies of the weights are temporary.
    """
    return {"weights": FLOAT32 * n, "gradients": FLOAT32 * n, "AdamW's two averages": 2 * FLOAT32 * n}


def activation_bytes(config: Config, batch_size: int) -> int:
    """What the forward pass keeps for the backward pass, in bytes, in float32 and without dropout.

    For each token, a block keeps 16 C numbers: the inputs of its two layer norms (2 C), of its first three linear
    layers (3 C), of GELU (4 C) and of the last linear layer (4 C), and the queries, keys and values (3 C). Fused
    attention keeps no T x T weights, only one number per head. After the blocks come the inputs of the final norm and
    of the output layer, and the logarithms of all probabilities.
    """
    C, V = config.n_embd, config.vocab_size
    block = 16 * C + config.n_head + 4  # a layer norm also keeps a mean and a deviation
    return FLOAT32 * batch_size * config.block_size * (config.n_layer * block + 2 * C + 2 + V)


def saved_bytes(forward: Callable[[], Tensor], parameters: Sequence[Tensor]) -> int:
    """How much memory a forward pass really keeps for its backward pass, in bytes, without the parameters."""
    known = {p.untyped_storage().data_ptr() for p in parameters}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()  # alive until the sum is done, so that no memory is used twice
    total = sum(kept.values())
    del result
    return total


def flops_per_token(config: Config) -> float:
    """Floating-point operations to train on one token, forward and backward: 6 N + 12 L H Q T.

    A weight of a matrix takes part in one multiplication and one addition in the forward pass, and in twice as many in
    the backward pass. The second term is attention: the scores and the weighted sum. As in nanoGPT, N is without the
    position embeddings, which are only added; and attention counts as if there were no causal mask.
    """
    L, H, Q, T = config.n_layer, config.n_head, config.n_embd // config.n_head, config.block_size
    return 6 * (parameters(config) - T * config.n_embd) + 12 * L * H * Q * T


def mfu(tokens_per_second: float, config: Config, peak: float = A100_FLOPS) -> float:
    """Model FLOPs utilization: the operations that training needs, as a share of what the machine could do."""
    return tokens_per_second * flops_per_token(config) / peak


def ring_bytes(size: float, world_size: int) -> float:
    """What each process sends in a ring all-reduce of `size` bytes: 2 (W - 1) / W times as much. It receives the same.

    The tensor is cut into W chunks. In W - 1 steps each process passes one chunk on, added up along the way; in another
    W - 1 steps the sums go around.
    """
    return 2 * (world_size - 1) / world_size * size


def chinchilla_tokens(n: float) -> float:
    """How many tokens to train n parameters on, if the operations are what is scarce: about 20 for each parameter."""
    return 20 * n


def training_days(
    config: Config, tokens: float, gpus: int = 1, utilization: float = 0.4, peak: float = A100_FLOPS
) -> float:
    """How many days it takes to train on some tokens, if the GPUs reach a share of their peak."""
    return tokens * flops_per_token(config) / (gpus * peak * utilization) / SECONDS_A_DAY


@dataclass(frozen=True)
class ScaleConfig:
    """Print what it takes to train the GPT-2 family and GPT-3."""

    gpus: int = 1
    """How many GPUs share the work."""

    mfu: float = 0.4
    """Model FLOPs utilization: the share of the peak that training reaches."""

    tflops: float = A100_FLOPS / 1e12
    """Peak of a GPU in TFLOP/s; that of an A100 in bfloat16 if left out."""

    price: float = 2.0
    """Price of a GPU for an hour, in dollars. The default is a round number: look up what you would pay."""

    def __post_init__(self) -> None:
        require_within(self, 1, 10**9, "gpus")
        require(0 < self.mfu <= 1, f"mfu must be above 0 and at most 1, and it is {self.mfu}")
        require(0 < self.tflops <= 1e9, f"tflops must be above 0 and at most 1e9, and it is {self.tflops}")
        require(0 <= self.price <= 1e9, f"price must be from 0 to 1e9, and it is {self.price}")


def table(config: ScaleConfig) -> str:
    """The table that the command prints, as text."""
    models = {name: Config(**sizes) for name, (sizes, _) in FAMILY.items()} | {"gpt3": GPT3}
    runs = [(name, sizes, chinchilla_tokens(parameters(sizes))) for name, sizes in models.items()]
    runs.append(("gpt3, as was", GPT3, GPT3_TOKENS))
    lines = [f"{'':12} {'parameters':>15} {'state':>10} {'FLOPs/token':>12} {'tokens':>9} {'days':>13} {'dollars':>13}"]
    for name, sizes, tokens in runs:
        n = parameters(sizes)
        days = training_days(sizes, tokens, config.gpus, config.mfu, config.tflops * 1e12)
        lines.append(
            f"{name:12} {n:15,} {sum(state_bytes(n).values()) / 1e9:7,.0f} GB {flops_per_token(sizes):12.2e} "
            f"{tokens / 1e9:8,.1f}B {days:13,.2f} {24 * days * config.gpus * config.price:13,.0f}"
        )
    lines.append(
        f"State: weights, gradients and AdamW's two averages. Tokens: 20 for each parameter, and what GPT-3 really had."
        f"\nDays: on {config.gpus:,} x {config.tflops:,.0f} TFLOP/s, {config.mfu:.0%} of it used. "
        f"Dollars: {config.price:g} for a GPU and hour."
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and exit: 0, or 2 for bad input."""
    run_command(ScaleConfig, lambda config: print(table(config)), "python -m babygpt.beyond.scale", argv)


if __name__ == "__main__":
    main()
