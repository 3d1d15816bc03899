"""A straightforward training loop, as one would first write it: the baseline that babygpt's trainer is compared with.

It stacks batches from slices, evaluates batch by batch, fetches each loss with `item()`, and uses AdamW as PyTorch
provides it. The models are babygpt's.
"""

import torch
from torch import Tensor, nn


class Baseline:
    """A model and its training loop."""

    def __init__(self, model: nn.Module, train: Tensor, val: Tensor, batch_size: int, learning_rate: float) -> None:
        self.model, self.batch_size, self.block_size = model, batch_size, model.config.block_size
        self.data = {"train": train.long(), "val": val.long()}
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)

    def get_batch(self, split: str) -> tuple[Tensor, Tensor]:
        """Random chunks and their targets, (B, T) each."""
        data = self.data[split]
        ix = torch.randint(len(data) - self.block_size, (self.batch_size,))
        x = torch.stack([data[i : i + self.block_size] for i in ix])
        y = torch.stack([data[i + 1 : i + self.block_size + 1] for i in ix])
        return x, y

    def update(self) -> float:
        """One training step."""
        xb, yb = self.get_batch("train")
        _, loss = self.model(xb, yb)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def estimate_loss(self, eval_iters: int) -> dict[str, float]:
        """The mean loss over eval_iters batches of each split."""
        self.model.eval()
        out = {}
        for split in ("train", "val"):
            losses = torch.zeros(eval_iters)
            for k in range(eval_iters):
                x, y = self.get_batch(split)
                _, loss = self.model(x, y)
                losses[k] = loss.item()
            out[split] = losses.mean().item()
        self.model.train()
        return out
