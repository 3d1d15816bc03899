"""Runs as jobs: each leaves a record on disk, so that none is done twice, and several can share the machine."""

import hashlib
import importlib
import json
import math
import multiprocessing
import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from babygpt.beyond.command import tokenizer_maker
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.harness.files import write_atomically
from babygpt.harness.threads import worthwhile_threads
from babygpt.model import LanguageModel, evaluating
from babygpt.sample import continue_text, example_prompt
from babygpt.tokenizer import Tokenizer
from babygpt.training import EVAL_TOKENS, Trainer, new_trainer
from babygpt.versions import Recipe

Record = dict[str, Any]

FORMAT = 1  # of the records; raise it when their content changes
EVAL_SEED = 0
EVAL_CHARACTERS = 51_200  # as many as in the lecture: 200 batches of 32 chunks of 8
EVAL_CHUNKS = 2_000  # the minimum, for long chunks
SAMPLE_SEED, SAMPLE_LENGTH = 1337, 300


@dataclass(frozen=True)
class Job:
    """One run: a model from a module, trained with certain flags from a seed."""

    name: str
    """What it is called while it runs. Not part of its identity: comparisons with the same run share its record."""
    module: str
    """Where `Model` and `Config` are, for example "babygpt.v6"."""
    settings: Recipe
    """Flags of the model and of the training. `train_characters` cuts the training split down to its beginning, and
    `tokenizer` is the flag of part two. `longer` asks for the loss with contexts of up to so many block sizes."""
    seed: int

    def file(self, fingerprint: str) -> str:
        """The name of its record, different for every module, setting, seed and text."""
        identity = json.dumps([self.module, self.settings, self.seed, fingerprint], sort_keys=True)
        module = self.module.rpartition(".")[2]
        return f"{module}-{self.seed}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}.json"


def run(job: Job, corpus: Corpus, workers: int = 1) -> Record:
    """Train, and return the record: everything that is known about the run and its outcome.

    A run that diverges has a record too, without losses and with the reason under "diverged".

    Args:
        workers: how many runs share the machine, for the record.
    """
    module = importlib.import_module(job.module)
    trainer = new_trainer(module, training_text(job, corpus), job.settings | {"seed": job.seed})
    model, times = trainer.model, time_steps(trainer)
    start, diverged = time.perf_counter(), None
    sizes = model.config
    with worthwhile_threads(trainer.config.batch_size, sizes.block_size, getattr(sizes, "n_embd", 0)) as threads:
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
        **(
            {"longer": longer_losses(trainer, job.settings["longer"])}
            if "longer" in job.settings and not diverged
            else {}
        ),
        **({"bytes_per_token": trainer.corpus.bytes_per_token("val")} if "tokenizer" in job.settings else {}),
        "diverged": diverged,
        "step_ms": round(1000 * median(times), 3) if times else None,
        "seconds": round(seconds, 3),
        "sample": "" if diverged else draw_sample(model, trainer.corpus.tokenizer),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "device": device_name(trainer.device),
        "dtype": str(trainer.dtype).removeprefix("torch."),
        "threads": threads,
        "jobs_at_a_time": workers,
        "revision": revision(),
    }


def training_text(job: Job, corpus: Corpus) -> Corpus:
    """The corpus that a job learns from: all of it or only the beginning of its training split, in its own tokens."""
    new_tokenizer = tokenizer_maker(job.settings.get("tokenizer", "char"))
    if new_tokenizer:
        text = corpus.tokenizer.decode(torch.cat((corpus.train, corpus.val)).tolist())
        corpus = Corpus.tokenize(text, new_tokenizer, corpus.name, corpus.path)
    return replace(corpus, train=corpus.train[: job.settings.get("train_characters", len(corpus.train))])


def time_steps(trainer: Trainer) -> list[float]:
    """A list to which every training step will add its seconds, evaluations excluded."""
    times: list[float] = []
    update = trainer.update

    def timed_update() -> Tensor:
        start = time.perf_counter()
        loss = update()
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()  # a GPU works on while Python goes on
        times.append(time.perf_counter() - start)
        return loss

    trainer.update = timed_update
    return times


def draw_sample(model: LanguageModel, tokenizer: Tokenizer) -> str:
    """A prompt and how the model continues it, always with the same seed."""
    prompt = example_prompt(tokenizer)
    return prompt + continue_text(model, tokenizer, prompt, SAMPLE_LENGTH, SAMPLE_SEED)


@torch.no_grad()
def final_losses(trainer: Trainer) -> dict[str, dict[str, float]]:
    """The loss on each split, with the standard error of the estimate.

    All models of the same block size are evaluated on the same chunks of text, whatever their seed.
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


@torch.no_grad()
def longer_losses(trainer: Trainer, farthest: int) -> dict[str, float | None]:
    """The validation loss with contexts that are 1, 2, 4, ... times as long as in training, up to `farthest` times.

    The tokens that are scored are the same for all lengths, block_size tokens of each chunk; only how much of the text
    before them the model may read differs. None where the model has no positions for so long a context.
    """
    model, T = trainer.model, trainer.model.config.block_size
    generator = torch.Generator().manual_seed(EVAL_SEED)
    x, y = trainer.corpus.get_batch("val", max(EVAL_CHARACTERS // T, EVAL_CHUNKS) // farthest, farthest * T, generator)
    rows, times = max(1, EVAL_TOKENS // (T * farthest)), 1
    losses: dict[str, float | None] = {}
    with evaluating(model):
        while times <= farthest:
            scored = []
            try:
                for xb, yb in zip(x.split(rows), y.split(rows), strict=True):
                    logits = model.logits(xb[:, -times * T :])[:, -T:].float()
                    scored.append(F.cross_entropy(logits.transpose(1, 2), yb[:, -T:], reduction="none").mean(dim=1))
                losses[f"{times}x"] = round(torch.cat(scored).mean().item(), 5)
            except IndexError:
                losses[f"{times}x"] = None
            times *= 2
    return losses


def chunk_losses(model: LanguageModel, x: Tensor, y: Tensor) -> Tensor:
    """The mean loss of each chunk: (B, T) and (B, T) -> (B,)."""
    logits = model.logits(x).float()
    return F.cross_entropy(logits.transpose(1, 2), y, reduction="none").mean(dim=1).cpu()


def device_name(device: torch.device) -> str:
    """The name of the processor or GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def revision() -> str | None:
    """What git calls the current state of this repository; None outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def read_record(job: Job, fingerprint: str, folder: Path) -> Record | None:
    """The record of a finished job; None if there is none, or if it is damaged or belongs to another job."""
    try:
        record = json.loads((folder / job.file(fingerprint)).read_text(encoding="utf-8"))
        same = all(record[key] == value for key, value in asdict(job).items() if key != "name")
        same = same and record["format"] == FORMAT and record["fingerprint"] == fingerprint
        complete = {"train", "val", "history", "sample", "parameters", "seconds", "step_ms", "diverged"} <= set(record)
        return record | {"name": job.name} if same and complete else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_all(
    jobs: Iterable[Job], corpus: Corpus, data: Path, folder: Path, workers: int = 1, what: str = ""
) -> list[Record]:
    """The records of all jobs, in their order. Those that are missing from the folder are trained.

    One worker is this process. Several are processes that share its threads. Ctrl-C gives up the runs in
    progress; those that are finished stay.

    Args:
        data: the file of the corpus, which each worker reads for itself.
        what: a few words for the progress bar, which counts finished runs.
    """
    jobs = list(jobs)
    records = {job.file(corpus.fingerprint): read_record(job, corpus.fingerprint, folder) for job in jobs}
    missing = {job.file(corpus.fingerprint): job for job in jobs if records[job.file(corpus.fingerprint)] is None}
    bar_format = "{desc}{n_fmt} of {total_fmt} runs done |{bar}| {elapsed}"
    with tqdm(total=len(missing), bar_format=bar_format, disable=None, dynamic_ncols=True, leave=False) as bar:

        def keep(file: str, record: Record) -> None:
            write_atomically(folder / file, json.dumps(record, allow_nan=False).encode("utf-8"))
            records[file] = record
            bar.update()

        if workers == 1 or len(missing) < 2:
            for file, job in missing.items():
                bar.set_description(f"{what}{job.name}")
                keep(file, run(job, corpus))
        else:
            bar.set_description(f"{what}{workers} at a time")
            run_in_pool(missing, data, workers, keep)
    return [records[job.file(corpus.fingerprint)] for job in jobs]


def run_in_pool(missing: dict[str, Job], data: Path, workers: int, keep: Callable[[str, Record], None]) -> None:
    """Train in several processes."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // workers)
    with ProcessPoolExecutor(workers, context, start_worker, (data, workers, threads)) as pool:
        try:
            running = {pool.submit(run_in_worker, job): file for file, job in missing.items()}
            for future in as_completed(running):
                keep(running[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


worker: dict[str, Any] = {}  # in a process of the pool: what all of its jobs need


def start_worker(data: Path, workers: int, threads: int) -> None:
    """Prepare a process of the pool. It leaves Ctrl-C to its parent, and ends when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    torch.set_num_threads(threads)
    worker.update(corpus=Corpus.load(data), workers=workers)


def run_in_worker(job: Job) -> Record:
    """`run` in a process of the pool."""
    return run(job, worker["corpus"], worker["workers"])
