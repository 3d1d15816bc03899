"""Trainings as jobs: each leaves a record on the disk, so that none is done twice, and several can run at a time."""

import hashlib
import importlib
import json
import math
import multiprocessing
import os
import platform
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.harness.files import write_atomically
from babygpt.model import LanguageModel, evaluating
from babygpt.training import EVAL_TOKENS, TrainConfig, Trainer
from babygpt.versions import Recipe, select

Record = dict[str, Any]
Tick = Callable[[float], None]

FORMAT = 1  # of the records; raise it when their content changes
EVAL_SEED = 0
EVAL_CHARACTERS = 51_200  # the lecture's: 200 batches of 32 chunks of 8
EVAL_CHUNKS = 2_000  # at the least, for long chunks
PROMPT, SAMPLE_SEED, SAMPLE_LENGTH = "ROMEO:", 1337, 300

# Milliseconds a step at the lecture's small sizes on one CPU core; those of a stack, for each block.
COST = {
    "v1": 0.3,
    "v2": 14,
    "v3": 0.7,
    "v4": 0.7,
    "v5": 1,
    "v6": 3,
    "v7": 3,
    "v8": 4,
    "v9": 4,
    "v10": 4,
    "ablations": 4,
}


@dataclass(frozen=True)
class Job:
    """One training: a model of a module with certain flags, from a seed."""

    name: str
    module: str
    """Where `Model` and `Config` are: "babygpt.v6", say."""
    settings: Recipe
    """Flags of the model and of the training."""
    seed: int

    def file(self, fingerprint: str) -> str:
        """The name of its record, which another module, setting, seed or text does not share."""
        identity = json.dumps([self.module, self.settings, self.seed, fingerprint], sort_keys=True)
        name = re.sub(r"[^\w.]+", "-", self.name).strip("-")
        return f"{name}-{self.seed}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}.json"

    @property
    def step_cost(self) -> float:
        """About how many milliseconds a step takes on one CPU core: for the time left, not for the results."""
        s = self.settings
        larger = s["batch_size"] * s["block_size"] / 256 * s.get("n_embd", 32) / 32
        return COST[self.module.rpartition(".")[2]] * s.get("n_layer", 1) * max(1, larger / 3)

    @property
    def cost(self) -> float:
        """The same for the whole training."""
        return self.step_cost * self.settings["max_iters"]


class TimedTrainer(Trainer):
    """A trainer that notes how long each step takes, evaluations left out, and tells how it comes along."""

    def __init__(self, model: LanguageModel, corpus: Corpus, config: TrainConfig, on_step: Callable[[], None]) -> None:
        super().__init__(model, corpus, config)
        self.times: list[float] = []
        self.on_step = on_step

    def update(self) -> Tensor:
        """One training step."""
        start = time.perf_counter()
        loss = super().update()
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # what is asked of a GPU is not yet done
        self.times.append(time.perf_counter() - start)
        self.on_step()
        return loss


def run(job: Job, corpus: Corpus, workers: int = 1, tick: Tick = lambda cost: None) -> Record:
    """Train, and return the record: all that is known of the training and its outcome.

    A training that diverges has a record too, without losses and with the reason under "diverged".

    Args:
        workers: how many trainings run at a time, for the record.
        tick: called with the cost of each step after it.
    """
    module = importlib.import_module(job.module)
    settings = job.settings | {"seed": job.seed, "vocab_size": corpus.tokenizer.vocab_size}
    torch.manual_seed(job.seed)
    model = module.Model(select(module.Config, settings))
    trainer = TimedTrainer(model, corpus, select(TrainConfig, settings), lambda: tick(job.step_cost))
    start, diverged = time.perf_counter(), None
    try:
        trainer.train(progress=False)
    except UserError as error:
        diverged = str(error)
    seconds = time.perf_counter() - start
    return {
        "format": FORMAT,
        **asdict(job),
        "text": corpus.name,
        "fingerprint": corpus.fingerprint,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": trainer.step,
        "history": trainer.history,
        **({"train": None, "val": None} if diverged else final_losses(trainer)),
        "diverged": diverged,
        "step_ms": round(1000 * median(trainer.times), 3) if trainer.times else None,
        "seconds": round(seconds, 3),
        "sample": "" if diverged else draw_sample(model, corpus),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "device": device_name(trainer.device),
        "dtype": str(trainer.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "jobs_at_a_time": workers,
        "revision": revision(),
    }


@torch.no_grad()
def final_losses(trainer: Trainer) -> dict[str, dict[str, float]]:
    """The loss on each split with the standard error of the estimate.

    The chunks of text are the same for all models of a block size, whatever their seed.
    """
    model, T = trainer.model, trainer.model.config.block_size
    losses = {}
    with evaluating(model), torch.autocast(trainer.device.type, trainer.dtype, enabled=trainer.dtype != torch.float32):
        for split in ("train", "val"):
            generator = torch.Generator().manual_seed(EVAL_SEED)
            chunks = max(EVAL_CHARACTERS // T, EVAL_CHUNKS)
            x, y = trainer.corpus.get_batch(split, chunks, T, generator)
            rows = max(1, EVAL_TOKENS // T)
            means = torch.cat([chunk_losses(model, *xy) for xy in zip(x.split(rows), y.split(rows), strict=True)])
            error = means.std().item() / math.sqrt(len(means))
            losses[split] = {"loss": round(means.mean().item(), 5), "error": round(error, 5), "chunks": len(means)}
    return losses


def chunk_losses(model: LanguageModel, x: Tensor, y: Tensor) -> Tensor:
    """The mean loss of each chunk: (B, T) and (B, T) -> (B,)."""
    logits = model.logits(x).float()
    return F.cross_entropy(logits.transpose(1, 2), y, reduction="none").mean(dim=1).cpu()


def draw_sample(model: LanguageModel, corpus: Corpus) -> str:
    """How the model continues PROMPT, or its first character where the text lacks one of these."""
    prompt = PROMPT if set(PROMPT) <= set(corpus.tokenizer.chars) else corpus.tokenizer.chars[0]
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(SAMPLE_SEED)
    idx = torch.tensor([corpus.tokenizer.encode(prompt)], device=device)
    return corpus.tokenizer.decode(model.generate(idx, SAMPLE_LENGTH, generator=generator)[0].tolist())


def device_name(device: torch.device) -> str:
    """The name of the processor or GPU, as its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def revision() -> str | None:
    """What git calls the state of this repository; None outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def read_record(job: Job, fingerprint: str, folder: Path) -> Record | None:
    """The record of a job that is done; None where there is none, or where it is damaged or another one's."""
    try:
        record = json.loads((folder / job.file(fingerprint)).read_text(encoding="utf-8"))
        same = all(record[key] == value for key, value in asdict(job).items() if key != "name")
        same = same and record["format"] == FORMAT and record["fingerprint"] == fingerprint
        complete = {"train", "val", "history", "sample", "parameters", "seconds", "step_ms", "diverged"} <= set(record)
        return record | {"name": job.name} if same and complete else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_all(jobs: Iterable[Job], corpus: Corpus, data: Path, folder: Path, workers: int, bar: tqdm) -> list[Record]:
    """The records of all jobs, in their order; those that are not in the folder yet are trained, dear ones first.

    One worker is this process. Several are processes of their own, which share its threads.
    After Ctrl-C what is in training is given up, and what is done stays.

    Args:
        data: the file of the corpus, which each worker reads by itself.
        bar: is moved on by the cost of each step.
    """
    jobs = list(jobs)
    records = {job.file(corpus.fingerprint): read_record(job, corpus.fingerprint, folder) for job in jobs}
    missing = {job.file(corpus.fingerprint): job for job in jobs if records[job.file(corpus.fingerprint)] is None}
    missing = dict(sorted(missing.items(), key=lambda item: -item[1].cost)) if workers > 1 else missing

    def keep(file: str, record: Record) -> None:
        write_atomically(folder / file, json.dumps(record, allow_nan=False).encode("utf-8"))
        records[file] = record

    if workers == 1 or len(missing) < 2:
        for file, job in missing.items():
            bar.set_description(job.name)
            keep(file, run(job, corpus, 1, bar.update))
    else:
        run_in_pool(missing, data, workers, bar, keep)
    return [records[job.file(corpus.fingerprint)] for job in jobs]


def run_in_pool(
    missing: dict[str, Job], data: Path, workers: int, bar: tqdm, keep: Callable[[str, Record], None]
) -> None:
    """Train in several processes."""
    context = multiprocessing.get_context("spawn")
    stop, done = context.Event(), context.Value("d", 0.0)
    threads = max(1, torch.get_num_threads() // workers)
    with ProcessPoolExecutor(workers, context, start_worker, (data, workers, threads, stop, done)) as pool:
        try:
            running = {pool.submit(run_in_worker, job): file for file, job in missing.items()}
            bar.set_description(f"{len(running)} trainings, {workers} at a time")
            begin = bar.n
            while running:
                finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                bar.update(begin + done.value - bar.n)
                for future in finished:
                    keep(running.pop(future), future.result())
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


worker: dict[str, Any] = {}  # of a process of the pool: what it needs for each job


def start_worker(data: Path, workers: int, threads: int, stop: Any, done: Any) -> None:
    """Prepare a process of the pool. Ctrl-C is for its parent to see, and it does not outlive that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    torch.set_num_threads(threads)
    worker.update(corpus=Corpus.load(data), workers=workers, stop=stop, done=done)


def run_in_worker(job: Job) -> Record:
    """`run` in a process of the pool."""

    def tick(cost: float) -> None:
        if worker["stop"].is_set():
            raise InterruptedError("the command was stopped")
        with worker["done"].get_lock():
            worker["done"].value += cost

    return run(job, worker["corpus"], worker["workers"], tick)
