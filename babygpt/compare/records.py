"""Runs that leave a record each, so that an interrupted study continues where it stopped."""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from babygpt.compare.jobs import device_name, revision
from babygpt.harness.files import write_atomically

Record = dict[str, Any]


def run_all(
    run: Callable[[Any], Record], jobs: Sequence[tuple], folder: Path, name: str, version: int, workers: int
) -> list[Record]:
    """The records of all jobs, in their order. Those that are missing are made, each with one thread.

    Args:
        run: does a job and returns its record; a function of a module, which another process can import.
        jobs: tuples of what JSON can hold.
        name: the beginning of the names of the records.
        version: raise it when what `run` does changes.
        workers: how many jobs to do at the same time.
    """
    digests = [hashlib.sha256(json.dumps([version, *job], sort_keys=True).encode()).hexdigest()[:12] for job in jobs]
    paths = [folder / f"{name}-{digest}.json" for digest in digests]
    missing = [(job, path) for job, path in zip(jobs, paths, strict=True) if not path.exists()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        for path, record in zip([p for _, p in missing], pool.map(run, [j for j, _ in missing]), strict=True):
            write_atomically(path, json.dumps(record, allow_nan=False).encode())
            print(f"{path.name}: {record['settings']}, {record['history'][-1]}", flush=True)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def circumstances() -> Record:
    """Where and when a run was made, for its record."""
    return {
        "device": device_name(torch.device("cpu")),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "revision": revision(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
