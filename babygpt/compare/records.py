"""What the studies with a page of their own share: runs that leave a record each, and the files of a study.

An interrupted study continues where it stopped.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from babygpt.compare.jobs import device_name, revision
from babygpt.errors import require_within
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


@dataclass(frozen=True)
class StudyConfig:
    """Where a study writes, and how much of it is done at a time."""

    out_dir: Path
    """Folder for the page, the picture, the data and the records."""

    seeds: int = 3
    """Runs of each row."""

    jobs: int = 2
    """Runs at a time, each with one thread."""

    def __post_init__(self) -> None:
        require_within(self, 1, 100, "seeds", "jobs")


def write_study(folder: Path, name: str, content: Record, files: Callable[[Record], dict[str, bytes]]) -> None:
    """Write what a study found to `name`.json, with the date, and what `files` draws from it."""
    content = content | {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    for file, data in ({f"{name}.json": text.encode()} | files(content)).items():
        write_atomically(folder / file, data)


def machines(records: Sequence[Record]) -> str:
    """What the runs were made on, for a page."""
    return "; and on ".join(sorted({f"{r['device']}, torch {r['torch']}, threads: {r['threads']}" for r in records}))


def circumstances() -> Record:
    """Where and when a run was made, for its record."""
    return {
        "device": device_name(torch.device("cpu")),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "revision": revision(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
