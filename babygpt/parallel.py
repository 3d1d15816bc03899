"""Training with several processes, on several GPUs or the cores of a CPU: `torchrun --nproc-per-node 2 -m babygpt.v10`.

Each process holds the whole model. In each step it computes the gradients of its share of the batch, all processes
average their gradients, and each makes the same step with the same average: *data parallelism*. PyTorch's
`DistributedDataParallel` does the averaging while the backward pass is still going on.

The flags describe the step of all processes together. A batch of 64 rows is 64 rows with any number of processes, so
the same flags make the same steps, and a run may be resumed with more processes or fewer.

Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training".
"""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from babygpt.data import Corpus, Split
from babygpt.device import pick_device
from babygpt.errors import UserError, require
from babygpt.harness import ranks, terminal
from babygpt.harness.checkpoints import Checkpoint
from babygpt.harness.runs import Run
from babygpt.model import LanguageModel
from babygpt.train_config import TrainConfig
from babygpt.training import Trainer


class Share:
    """A corpus of whose every batch this process gets its share: the rows rank, rank + world_size, and so on.

    All processes draw the same positions from the same stream, so that no two get the same row.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def __getattr__(self, name: str) -> Any:
        return getattr(self.corpus, name)  # in everything else it is the corpus

    def __len__(self) -> int:
        return len(self.corpus)

    def to(self, device: torch.device | str) -> "Share":
        """The same share with its tensors on `device`."""
        return Share(self.corpus.to(device))

    def get_batch(
        self, split: Split, batch_size: int, block_size: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """This process's rows of the next batch: (B / world_size, T) int64 each, or one row more."""
        x, y = self.corpus.get_batch(split, batch_size, block_size, generator)
        mine = slice(ranks.rank(), None, ranks.world_size())
        return x[mine], y[mine]


def weight(rows: int) -> float:
    """By what to multiply a mean over this process's share of some rows: the processes' average is the mean over all.

    This is 1, unless the rows can't be divided evenly.
    """
    mine = len(range(ranks.rank(), rows, ranks.world_size()))
    return mine * ranks.world_size() / rows


def require_own_device(device: torch.device) -> None:
    """Raise UserError unless each process of this machine can have a device to itself."""
    gpus = torch.cuda.device_count()
    require(
        device.type != "cuda" or ranks.local_rank() < gpus,
        f"each process needs a GPU, and this machine has {gpus}: use --nproc-per-node {gpus}",
    )
    require(device.type != "mps", "several processes cannot train on one Apple GPU: leave out torchrun")


class ParallelTrainer(Trainer):
    """A model in training in several processes. All have the same weights, and draw dropout from different streams.

    Raises:
        UserError: a batch has fewer rows than there are processes, a machine has more processes than GPUs, or the
            processes have different texts.
    """

    def __init__(self, model: LanguageModel, corpus: Corpus, config: TrainConfig) -> None:
        processes = ranks.world_size()
        require(
            config.batch_size >= processes,
            f"a batch of {config.batch_size} cannot be divided among {processes} processes: use a --batch-size of "
            f"{processes} or more, or fewer processes",
        )
        require_own_device(pick_device(config.device))
        super().__init__(model, Share(corpus), config)
        texts = ranks.gather(corpus.fingerprint)
        other = next((rank for rank, text in enumerate(texts) if text != texts[0]), None)
        require(other is None, f"rank {other} has another text than rank 0: copy the same --data to every machine")
        self.compiled = self.synchronized()

    def synchronized(self) -> nn.Module:
        """The model that averages its gradients with the other processes in the backward pass."""
        buffers = "forward_sync_buffers" if torch.__version__ >= (2, 13) else "broadcast_buffers"  # ours never change
        return DistributedDataParallel(self.compiled, gradient_as_bucket_view=True, **{buffers: False})

    @classmethod
    def parts(cls) -> tuple[int, int]:
        """Each process has a part of the batch, and all of the model."""
        return ranks.world_size(), 1

    @property
    def where(self) -> str:
        """For the first line of a run."""
        return f"{self.device} ({ranks.world_size()} processes)"

    def update(self) -> Tensor:
        """One training step of all processes together. Returns what this process contributes to the loss."""
        # A stream for each step and process: a checkpoint needs not hold one of each process.
        torch.manual_seed(self.config.seed + self.step * ranks.world_size() + ranks.rank())
        return super().update()

    def add_gradients(self, last: bool) -> Tensor:
        """As in one process. The processes average their gradients once, in the last backward pass of a step."""
        with self.syncing(last):  # the forward pass has to be inside: there DDP decides what its backward pass will do
            return super().add_gradients(last)

    def syncing(self, last: bool) -> AbstractContextManager[None]:
        """Where the gradients are averaged, or not yet."""
        return nullcontext() if last else self.compiled.no_sync()

    def batch_loss(self) -> Tensor:
        """The loss of this process's rows, weighted so that the processes' average is the loss of the whole batch."""
        return super().batch_loss() * weight(self.config.batch_size)

    def evaluate(self) -> dict[str, float]:
        """The estimated losses. Each process evaluates its share, so none of them waits long for another."""
        mine = weight(self.config.eval_iters * self.config.batch_size)
        return {split: ranks.average(loss * mine) for split, loss in super().evaluate().items()}

    def check_loss(self, loss: float) -> None:
        """Raise UserError in all processes unless the loss is a number in all of them."""
        super().check_loss(ranks.average(loss))

    def stopping(self) -> bool:
        """Whether one of the processes has got a signal. They stop after the same step, and none waits for another."""
        agreed = ranks.any_rank(self.stop)
        if agreed:  # otherwise leave it alone: a signal may have set it in the meantime, for the next time
            self.stop = True
        return agreed


class SharedRun(Run):
    """The folder of a run of several processes. Only rank 0 sees it, and tells the others what they need to know."""

    def exists(self) -> bool:
        """As `Run`."""
        return ranks.on_main(super().exists)

    def read(self, which: str = "last") -> Checkpoint:
        """As `Run`."""
        return ranks.on_main(super().read, which)

    def write(self, *content: Any) -> None:
        """As `Run`."""
        ranks.on_main(super().write, *content)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """As `Run`.

        Raises:
            UserError: as `Run`, or another process has ended.
        """
        remains = (
            f"another process has ended, and with it this run: what was saved before is still in {self.folder}; "
            f"to continue, with any number of processes, add --resume --out-dir {self.folder}"
        )
        with ExitStack() as stack, ranks.saying_what_remains(remains):
            ranks.on_main(stack.enter_context, super().locked())
            yield


def exit_status(command: Any, train: Callable[[], int]) -> int:
    """Train in each of several processes as `train` does in one; return the exit status of this process.

    Args:
        command: a `cli.Command`, which gets a trainer and a run folder for several processes.

    Only rank 0 prints; the others only do if they have an error that it doesn't have.
    """

    def together() -> int:
        require(
            command.trainer is Trainer,
            f"python -m {command.model.path} trains in one process: start it without torchrun",
        )
        command.trainer, command.folder = ParallelTrainer, SharedRun
        try:
            with (
                ranks.saying_what_remains("another process has ended before the first step; it says why"),
                ranks.joined(),
            ):
                return train()
        except UserError as error:
            if ranks.is_news(error):
                print(f"babygpt: rank {ranks.rank()}: {error}", file=stderr, flush=True)
            raise

    stderr = sys.stderr
    if ranks.is_main():
        return terminal.exit_status(together)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return terminal.exit_status(together)
