"""Where a model runs, and in which precision."""

import torch

from babygpt.errors import UserError, require


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
    return torch.device(name)


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
