"""Sharding: each process holds its part of the weights, of their gradients, and of what the optimizer keeps.

    torchrun --nproc-per-node 2 -m babygpt.beyond.gpt2 --sharded

Data parallelism (`babygpt/parallel.py`) keeps all of that in every process: with AdamW in float32, 16 bytes for each
parameter. Here a process has 16 / world_size. Before a block computes, the processes collect its weights from each
other (*all-gather*), and after it they drop them. In the backward pass they collect them again, and each process gets
the average of its own part of the gradients (*reduce-scatter*). That saves memory, at the price of sending half as
much again.

The steps are the same as in one process. PyTorch's `fully_shard` does the work; it is also called FSDP2.

Source: Rajbhandari et al., "ZeRO"; Zhao et al., "PyTorch FSDP".
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from babygpt.beyond.recompute import blocks_of
from babygpt.data import Corpus
from babygpt.device import pick_device
from babygpt.errors import require
from babygpt.harness import ranks
from babygpt.model import LanguageModel
from babygpt.parallel import ParallelTrainer
from babygpt.train_config import TrainConfig


class ShardedTrainer(ParallelTrainer):
    """A model in training in several processes, each of which holds a part of it.

    Its checkpoints are those of one process: it resumes theirs, and they resume its.

    Raises:
        UserError: the processes can't get equal shares of a batch, or the optimizer needs whole matrices.
    """

    def __init__(self, model: LanguageModel, corpus: Corpus, config: TrainConfig) -> None:
        processes = ranks.world_size()
        require(
            config.batch_size % processes == 0,
            f"--sharded needs equal shares: use a --batch-size that {processes} divides, not {config.batch_size}",
        )
        require(
            config.optimizer == "adamw", "the optimizer muon needs whole matrices: leave out --sharded or use adamw"
        )
        shard(model, pick_device(config.device))
        super().__init__(model, corpus, config)

    @classmethod
    def parts(cls) -> tuple[int, int]:
        """Each process has a part of the batch, and of the model."""
        return ranks.world_size(), ranks.world_size()

    def synchronized(self) -> nn.Module:
        """`fully_shard` has already made the model average its gradients."""
        return self.compiled

    def syncing(self, last: bool) -> AbstractContextManager[None]:
        """After every batch: keeping the gradients until the last one would take memory for all of them."""
        return nullcontext()

    def state(self) -> dict[str, Any]:
        """As in one process: with whole tensors, which only rank 0 keeps."""
        return whole(super().state())

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take this process's part of whole weights."""
        like = self.model.state_dict()
        super().load_weights({name: part(weight, like[name]) for name, weight in weights.items()})

    def load_state(self, state: dict[str, Any]) -> None:
        """As in one process. Each one takes its part."""
        optimizers = []
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            params = [p for group in optimizer.param_groups for p in group["params"]]
            moments = {i: {k: part(t, params[i]) for k, t in kept.items()} for i, kept in saved["state"].items()}
            optimizers.append({**saved, "state": moments})
        super().load_state({**state, "optimizers": optimizers})


def shard(model: LanguageModel, device: torch.device) -> None:
    """Leave this process its part of every parameter, on a device. A block is collected and dropped as one.

    What is in no block belongs to the model as a whole: embeddings, the last norm, the output layer.
    """
    mesh = init_device_mesh(device.type, (ranks.world_size(),))
    module = type(model).__module__
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh)
    # By default the model as a whole would stay collected after an evaluation. Then `zero_grad` finds the collected
    # weights, and the gradients of this process's part stay: the next step would get those of the step before, too.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    type(model).__module__ = module  # fully_shard has derived a class from it, and a checkpoint names its module


def whole(value: Any) -> Any:
    """The same value with every sharded tensor in it collected into a whole one, on the CPU of rank 0."""
    if isinstance(value, DTensor):
        full = value.full_tensor()
        return full.cpu() if ranks.is_main() else full.new_empty(0)
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    return [whole(each) for each in value] if isinstance(value, list) else value


def part(full: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor, if it is the whole of a sharded one like `like`; otherwise the tensor itself."""
    if not isinstance(like, DTensor) or full.shape != like.shape:
        return full
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
