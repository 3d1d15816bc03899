"""Several processes that train one model together, started by `torchrun`: which one am I, and on what do we agree?

`torchrun --nproc-per-node 2 -m babygpt.v10` starts the same command twice. The environment tells each process its
number, the *rank*, and how many there are, the *world size*. Rank 0 is the main one: it prints, reads and saves for
all. A program that was started without `torchrun` has one process, which is the main one.

What the processes tell each other here is small. Gradients are averaged in `babygpt/parallel.py`.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from babygpt.errors import UserError

Result = TypeVar("Result")

LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # what a machine calls the connection to itself

PATIENCE = 5.0  # seconds for rank 0 to say that it has the same error

_store: "dist.Store | None" = None  # where the processes leave messages
_alone = False  # rank 0 is doing something for all


def launched() -> bool:
    """Whether this is one of several processes that `torchrun`, or something like it, has started."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return all(name in os.environ for name in names) and int(os.environ["WORLD_SIZE"]) > 1


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def is_main() -> bool:
    """Whether this is the process that prints and saves."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other processes, and part at the end. Each one of a machine gets a GPU of its own, if there are any.

    What is on GPUs goes through NCCL, what is in main memory through gloo.
    """
    global _store
    if os.environ["MASTER_ADDR"] in ("127.0.0.1", "localhost") and sys.platform in LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK[sys.platform])  # works without a network, too
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    _store, number, size = next(dist.rendezvous("env://"))
    dist.init_process_group(backend, store=_store, rank=number, world_size=size)
    yield
    dist.destroy_process_group()  # not after an error: it would wait for processes that are gone
    _store = None
    # What is left of the model still holds gloo's threads. One that drops a tensor while Python ends would abort it.
    gc.collect()


def local_rank() -> int:
    """The number of this process among those on the same machine."""
    return int(os.environ.get("LOCAL_RANK", rank()))


def launcher() -> str:
    """How the user started this: with how many processes on each machine."""
    return f"torchrun --nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', world_size())}"


def average(number: float) -> float:
    """The mean of a number that each process has. All processes get the same."""
    total = torch.tensor(number, dtype=torch.float64)
    dist.all_reduce(total)
    return total.item() / world_size()


def any_rank(flag: bool) -> bool:
    """Whether the flag is set in at least one process. All processes get the same answer."""
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


def gather(value: Any) -> list[Any]:
    """What each process has, in the order of the ranks. All processes get the same list."""
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def on_main(function: Callable[..., Result], *args: Any) -> Result:
    """Call a function in rank 0 only, and give every process its result, or the error that it raised.

    So the processes stay together when a disk is full, or a folder is not there. The function may do so again.
    """
    global _alone
    if _alone or _store is None:
        return function(*args)
    outcome = [None, None]
    if is_main():
        _alone = True
        try:
            outcome[0] = function(*args)
        except (UserError, OSError) as error:
            outcome[1] = error
        finally:
            _alone = False
    dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def is_news(error: UserError) -> bool:
    """Whether this process has to print an error because rank 0 does not: it has none, has another one, or is gone."""
    if _store is None:
        return False  # the processes have not met yet, and until then all of them fail alike
    try:
        if is_main():
            _store.set("error", str(error))
            return False
        end = time.monotonic() + PATIENCE
        while not _store.check(["error"]) and time.monotonic() < end:
            time.sleep(0.1)
        return not _store.check(["error"]) or _store.get("error").decode() != str(error)
    except RuntimeError:  # the store is gone, and rank 0 with it
        return True


@contextmanager
def saying_what_remains(message: str) -> Iterator[None]:
    """Raise a UserError with this message if another process has ended, or can't be reached any more."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise UserError(message) from error
        raise
