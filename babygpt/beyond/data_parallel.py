"""Data parallel training by hand: several processes share a batch, and average their gradients.

    python -m babygpt.beyond.data_parallel                 # two processes, on this machine
    python -m babygpt.beyond.data_parallel --processes 1   # the same steps in one

Each process has a copy of the model and starts from the same seed. In each step it takes its rows of the batch and
computes their gradients. `average_gradients` makes the gradients of the whole batch of them, the same in all processes,
so that all copies take the same step and stay equal. Nothing else is sent.

`babygpt/parallel.py` does this for real training runs, with PyTorch's DistributedDataParallel.

Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training"; Patarasuk and Yuan,
"Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations" (the ring).
"""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from babygpt import v10
from babygpt.data import Corpus
from babygpt.errors import UserError, require_within
from babygpt.harness.ranks import LOOPBACK
from babygpt.harness.terminal import run_command

Result = TypeVar("Result")

SIZES = dict(block_size=32, n_embd=32, n_head=4, n_layer=2, dropout=0.0)
MAX_PROCESSES = 64


@dataclass(frozen=True)
class ParallelConfig:
    """Train a small version 10 with several processes, gradients averaged by hand."""

    processes: int = 2
    """How many processes share each batch."""

    steps: int = 5
    """Training steps."""

    batch_size: int = 12
    """Rows of the whole batch."""

    def __post_init__(self) -> None:
        require_within(self, 1, MAX_PROCESSES, "processes")
        require_within(self, 1, 10**6, "steps")
        require_within(self, self.processes, 10**6, "batch_size")


def average_gradients(model: nn.Module, share: float, all_reduce: Callable[[Tensor], object] = dist.all_reduce) -> None:
    """Make the gradients of each process's rows those of the whole batch, the same in all processes.

    Args:
        share: this process's part of the rows. The loss is a mean over rows, so a process with more rows counts more.
        all_reduce: replaces a tensor, in each process, by the sum over all processes.
    """
    for p in model.parameters():
        p.grad *= share
        all_reduce(p.grad)


def train(rank: int, config: ParallelConfig, corpus: Corpus) -> tuple[list[float], nn.Module]:
    """Train in one of the processes: the losses of its own rows, and the model."""
    torch.manual_seed(1337)  # the same weights in all processes
    model = v10.Model(v10.Config(**SIZES, vocab_size=corpus.tokenizer.vocab_size))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    positions = torch.Generator().manual_seed(1337)  # and the same batches
    mine, losses = slice(rank, None, config.processes), []
    for _ in range(config.steps):
        x, y = corpus.get_batch("train", config.batch_size, SIZES["block_size"], positions)
        _, loss = model(x[mine], y[mine])
        optimizer.zero_grad()
        loss.backward()
        if config.processes > 1:
            average_gradients(model, len(x[mine]) / len(x))
        optimizer.step()
        losses.append(loss.item())
    return losses, model


def worker(rank: int, config: ParallelConfig, meeting_point: str) -> None:
    """What each process does: meet the others, train, and say how it went."""
    torch.set_num_threads(1)
    if sys.platform in LOOPBACK:  # they are all on this machine, which may have no network
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK[sys.platform])
    dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=config.processes)
    losses, model = train(rank, config, Corpus.load())
    weights = nn.utils.parameters_to_vector(model.parameters()).double()
    line = f"process {rank} of {config.processes}: " + report(losses, weights)
    for turn in range(config.processes):
        if turn == rank:
            print(line, flush=True)
        dist.barrier()
    dist.destroy_process_group()


def report(losses: Sequence[float], weights: Tensor) -> str:
    """The losses of the first and the last step, and the sum of all weights squared, which tells models apart."""
    return f"loss of its rows {losses[0]:.4f} -> {losses[-1]:.4f}, weights {weights.square().sum():.8f}"


def launch(config: ParallelConfig) -> None:
    """Start the processes and wait for them. They meet at a file, so no port has to be free."""
    with tempfile.TemporaryDirectory() as folder:
        meeting_point = (Path(folder) / "meeting-point").as_uri()
        torch.multiprocessing.spawn(worker, (config, meeting_point), config.processes)


def simulate(
    world_size: int, work: Callable[[int, Callable[[Tensor], None]], Result], patience: float = 5
) -> list[Result]:
    """What `work(rank, all_reduce)` returns for each of several processes, which are threads of this one.

    As among real processes, `all_reduce` waits until all have called it. It gives up after `patience` seconds.

    Raises:
        UserError: a process waited in vain.
    """
    meeting, tensors = threading.Barrier(world_size, timeout=patience), [torch.empty(0)] * world_size

    def process(rank: int) -> Result:
        def all_reduce(tensor: Tensor) -> None:
            tensors[rank] = tensor.detach().clone()
            meeting.wait()
            total = sum(tensors[1:], start=tensors[0])  # in the same order in all threads
            meeting.wait()
            tensor.data.copy_(total)

        try:
            return work(rank, all_reduce)
        except threading.BrokenBarrierError:
            raise UserError(
                "a process waits in all_reduce for the others, which don't call it: all have to call it equally often"
            ) from None
        except BaseException:
            meeting.abort()  # so that the others don't wait
            raise

    with ThreadPoolExecutor(world_size) as pool:
        futures = [pool.submit(process, rank) for rank in range(world_size)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, UserError)):  # what stopped the others comes first
        raise error
    return [future.result() for future in futures]


def ring_all_reduce(tensors: Sequence[Tensor]) -> tuple[list[Tensor], int]:
    """The sum of W tensors in each of W processes, as a ring computes it. This is a simulation, in one process.

    Each process only ever sends to the next one. The tensors are cut into W chunks. First, sums travel: after W - 1
    steps, each process has one complete chunk. Then the complete chunks travel, for another W - 1 steps.

    Args:
        tensors: one of each process, all of the same shape.

    Returns:
        what each process has at the end, and how many numbers the first of them has sent.
    """
    W, sent = len(tensors), 0
    chunks = [list(tensor.flatten().clone().tensor_split(W)) for tensor in tensors]
    for step in range(2 * (W - 1)):
        messages = [(rank, (rank - step) % W) for rank in range(W)]
        values = [chunks[rank][chunk].clone() for rank, chunk in messages]
        for (rank, chunk), value in zip(messages, values, strict=True):
            there = chunks[(rank + 1) % W]
            there[chunk] = there[chunk] + value if step < W - 1 else value
        sent += len(values[0])
    return [torch.cat(parts).view_as(tensors[0]) for parts in chunks], sent


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says, and exit: 0, or 2 for bad input."""
    run_command(ParallelConfig, launch, "python -m babygpt.beyond.data_parallel", argv)


if __name__ == "__main__":
    main()
