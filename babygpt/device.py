"""Where a model runs, and in which precision."""

import os
import sys
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babygpt.errors import UserError, require

TOLERANCE = 1e-3  # rounding in float32 changes the results of this small pass by 1e-6; a wrong kernel, by far more


def pick_device(name: str) -> torch.device:
    """`auto` is a CUDA GPU if there is one, otherwise the CPU; `cpu`, `cuda` and `mps` are themselves.

    Raises:
        UserError: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name not in present:
        raise UserError(f"there is no device {name!r}: choose from auto, {', '.join(present)}")
    require(
        present[name],
        f"the device {name!r} is not there: this machine has {', '.join(d for d in present if present[d])}",
    )
    if name == "mps":
        warn_if_wrong(name)
    return torch.device(name)


@cache
def warn_if_wrong(name: str) -> None:
    """Compare a small forward and backward pass with the CPU's, once per process, and warn if they differ.

    Some builds of torch silently compute wrong results on Apple's GPU (mps).
    """
    pairs = zip(small_pass(name), small_pass("cpu"), strict=True)
    off = torch.stack([(ours - theirs).norm() / theirs.norm() for ours, theirs in pairs]).max()
    if not off < TOLERANCE:  # NaN fails this test too, and unlike Python's max, torch's keeps it
        print(
            f"babygpt: warning: the device {name!r} computes wrong results with torch {torch.__version__} (off by "
            f"{off:.1%} in a small test); use --device cpu, or another version of torch",
            file=sys.stderr,
        )


def small_pass(name: str) -> list[Tensor]:
    """The loss and all gradients of a small attention layer and a linear layer on a device, moved to the CPU."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(65, (4, 17), generator=generator).to(name)
    shapes = (65, 32), (96, 32), (65, 32)
    weights = [torch.randn(shape, generator=generator).mul(0.3).to(name).requires_grad_() for shape in shapes]
    embedding, qkv, head = weights
    x = F.layer_norm(F.embedding(tokens[:, :-1], embedding), (32,))
    q, k, v = F.linear(x, qkv).view(4, 16, 3, 4, 8).permute(2, 0, 3, 1, 4)
    x = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2).relu()
    loss = F.cross_entropy(F.linear(x, head).flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    return [loss.detach().cpu(), *(weight.grad.cpu() for weight in weights)]


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 if the hardware has it (many CUDA GPUs, some CPUs), otherwise float32.

    Raises:
        UserError: there is no such choice.
    """
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name == "auto":
        has_bfloat16 = {
            "cuda": lambda: torch.cuda.is_bf16_supported(),
            # PyTorch 2.2, the last for Macs with an Intel processor, has no such function.
            "cpu": lambda: getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16", False),
            "mps": lambda: False,
        }
        name = "bfloat16" if has_bfloat16[device.type]() else "float32"
    require(name in dtypes, f"there is no dtype {name!r}: choose from auto, {', '.join(dtypes)}")
    return dtypes[name]


def memory(device: torch.device) -> int | None:
    """Bytes of memory that the device has, in use or not; None if that cannot be found out."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def require_memory(
    build: Callable[[], nn.Module], tokens: int, evaluated: int, device: torch.device, parts: int = 1
) -> None:
    """Raise UserError if training needs more memory than there is, before it brings the machine to a halt.

    This counts the minimum: weights with their gradients and AdamW's two averages, buffers, and
    the logits of a batch of `tokens` with their gradients, or the tokens of an evaluation. Of the weights and all that
    belongs to them there may be one of several `parts` here.
    """
    with torch.device("meta"):  # tensors without data
        model = build()
    weights, buffers = (sum(t.numel() for t in tensors) for tensors in (model.parameters(), model.buffers()))
    needed = 16 * weights // parts + 4 * buffers + max(8 * tokens * model.config.vocab_size, 32 * evaluated)
    present = memory(device)
    require(
        present is None or needed < present,
        f"this takes at least {needed / 2**30:,.1f} GiB of memory, and there are {(present or 0) / 2**30:,.1f}: "
        f"try a smaller model, --batch-size or --block-size (a batch has {tokens:,} tokens), or --eval-iters",
    )
