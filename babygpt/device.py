"""Where a model runs, and in which precision."""

import os
import sys
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from babygpt.errors import UserError, require

TOLERANCE = 1e-3  # rounding to float32 puts this small model off by 5e-7; a wrong kernel, by far more


def pick_device(name: str) -> torch.device:
    """`auto` is a CUDA GPU where there is one, else the CPU; `cpu`, `cuda` and `mps` are themselves.

    Raises:
        UserError: the device is not there.
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
    """Compare a small forward and backward pass with the CPU's, once a process, and warn if they differ.

    Some builds of torch compute wrong results on Apple's GPU (mps), and say nothing.
    """
    pairs = zip(small_pass(name), small_pass("cpu"), strict=True)
    off = torch.stack([(ours - theirs).norm() / theirs.norm() for ours, theirs in pairs]).max()
    if not off < TOLERANCE:  # nan is not, and unlike Python's, torch's max does not lose it
        print(
            f"babygpt: warning: the device {name!r} computes wrong results with torch {torch.__version__}: off by "
            f"{off:.1%} in a small model; use --device cpu, or another version of torch",
            file=sys.stderr,
        )


def small_pass(name: str) -> list[Tensor]:
    """The logits, the loss and all gradients of a small version 10 on a device, brought to the CPU."""
    from babygpt import v10  # here, because the versions are built on this module

    with torch.random.fork_rng(devices=[]):  # whoever asks for a device has perhaps seeded already
        torch.manual_seed(0)
        model = v10.Model(v10.Config(vocab_size=65, block_size=16, n_embd=32, n_head=4, n_layer=2, dropout=0.0))
        tokens = torch.randint(65, (4, 17))
    model, tokens = model.to(name), tokens.to(name)
    logits, loss = model(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    return [t.detach().cpu() for t in (logits, loss, *(p.grad for p in model.parameters()))]


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the hardware has it (many CUDA GPUs, some CPUs), else float32.

    Raises:
        UserError: no such precision is offered.
    """
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name == "auto":
        has_bfloat16 = {
            "cuda": lambda: torch.cuda.is_bf16_supported(),
            "cpu": lambda: torch.cpu.get_capabilities().get("avx512_bf16", False),
            "mps": lambda: False,
        }
        name = "bfloat16" if has_bfloat16[device.type]() else "float32"
    require(name in dtypes, f"there is no dtype {name!r}: choose from auto, {', '.join(dtypes)}")
    return dtypes[name]


def memory(device: torch.device) -> int | None:
    """Bytes of memory that the device has, in use or not; None where there is no telling."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def require_memory(build: Callable[[], nn.Module], tokens: int, evaluated: int, device: torch.device) -> None:
    """Raise UserError if a training needs more memory than there is, before the machine comes to a halt over it.

    Counted is the least it takes: weights with their gradients and AdamW's two averages, buffers, and
    the logits of a batch of `tokens` with their gradients, or the tokens of an evaluation.
    """
    with torch.device("meta"):  # tensors without content
        model = build()
    weights, buffers = (sum(t.numel() for t in tensors) for tensors in (model.parameters(), model.buffers()))
    needed = 16 * weights + 4 * buffers + max(8 * tokens * model.config.vocab_size, 32 * evaluated)
    present = memory(device)
    require(
        present is None or needed < present,
        f"this takes {needed / 2**30:,.1f} GiB of memory at the least, and there are {(present or 0) / 2**30:,.1f}: "
        f"try a smaller model, --batch-size or --block-size (a batch has {tokens:,} tokens), or --eval-iters",
    )
