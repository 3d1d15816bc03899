"""Timing: alternatives take turns for several rounds, and the median counts. A busy machine makes it noisy."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

Result = dict[str, Any]


@dataclass(frozen=True)
class BenchmarkConfig:
    """Time babygpt beside plain alternatives, print a table, and write JSON."""

    only: tuple[str, ...] = ()
    """Benchmarks to run: step, laptop, small, dropout, compile, busy, generation, data, shards, startup; and, better on
    a GPU, target, graphs, nanogpt (default: what makes sense on the device)."""

    rounds: int = 5
    """Turns that each alternative takes (at most three where a turn takes minutes)."""

    out: Path = Path("runs/benchmarks.json")
    """File for the figures. Those of other benchmarks stay in it."""

    readme: bool = False
    """Measure nothing; write the figures of benchmarks/results.json into benchmarks/README.md."""

    device: str = "cpu"
    """Where step, target, graphs and nanogpt compute; everything else runs on the CPU."""

    nanogpt: Path | None = None
    """For the benchmark nanogpt: the folder of a checkout of nanoGPT, with its data prepared."""


def take_turns(alternatives: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run each alternative once per round: {name: the seconds it took each time}."""
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(rounds):
        for name, run in alternatives.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def repeat(run: Callable[[], object], times: int) -> Callable[[], None]:
    """A function that calls `run` several times."""

    def repeated() -> None:
        for _ in range(times):
            run()

    return repeated


def summary(figures: list[float], unit: str) -> Result:
    """The median, the lowest and the highest of some figures."""
    return {
        "unit": unit,
        "median": float(f"{statistics.median(figures):.4g}"),
        "low": float(f"{min(figures):.4g}"),
        "high": float(f"{max(figures):.4g}"),
        "rounds": len(figures),
    }


def matmul_peak(dtype: torch.dtype, device: torch.device, n: int = 2048) -> float:
    """Operations per second (FLOP/s) in a large matrix product: the most that this machine can do."""
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        wait(device)
        start = time.perf_counter()
        a @ b
        wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def machine(device: torch.device) -> Result:
    """The machine and the software that the figures were measured with."""
    return {
        "date": date.today().isoformat(),
        "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16 in the CPU": bool(torch.cpu.get_capabilities().get("avx512_bf16")),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
