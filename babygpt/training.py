"""The training loop of all ten versions.

Source: the lecture's chapters "training the bigram model" and "port our code to a script".
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from babygpt.data import Corpus
from babygpt.device import pick_device, pick_dtype
from babygpt.errors import UserError, require
from babygpt.model import LanguageModel, evaluating
from babygpt.muon import Muon

CHECK_INTERVAL = 100  # steps between two looks at the loss of a training on a GPU
MOST = 10**9  # of what is counted in training: steps, batches, chunks

EVAL_TOKENS = 16_384  # evaluation has no gradients to store, so it takes many batches at once


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are the lecture's for its small models."""

    max_iters: int = 5000
    """Training steps in all."""

    batch_size: int = 32
    """Chunks of text in a step: the B of (B, T)."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """How gradients become steps: AdamW for all weights, or Muon for the matrices of proj and ffwd."""

    learning_rate: float = 1e-3
    """Size of a step; with a schedule, its peak."""

    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up: it stays, or falls to 0 at max_iters."""

    warmup_iters: int = 0
    """Steps in which the learning rate rises in a straight line from 0."""

    weight_decay: float = 0.01
    """The optimizer's pull of the weights towards 0."""

    beta2: float = 0.999
    """AdamW's memory of squared gradients: about 1 / (1 - beta2) steps."""

    grad_clip: float = 0.0
    """Longest gradient (norm over all parameters) that is not shortened; 0 is no limit."""

    eval_interval: int = 500
    """Steps between two evaluations; each also saves a checkpoint."""

    eval_iters: int = 200
    """Batches, from each split, over which an evaluation averages."""

    seed: int = 1337
    """Seed of the weights, the batches, dropout and the sample."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto is cuda where there is one, else cpu."""

    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Precision of the matrix products; auto is bfloat16 on a GPU or CPU that has it in hardware, else float32."""

    compile: bool = False
    """Let torch.compile make faster code of the model first: half a minute on a CPU, and it needs a compiler."""

    def __post_init__(self) -> None:
        for name in ("max_iters", "batch_size", "eval_interval", "eval_iters"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, and it is {value}")
            require(value <= MOST, f"{name} must be at most {MOST:,}, and it is {value}")
        for name in ("warmup_iters", "weight_decay", "grad_clip", "seed"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} must be 0 or more, and it is {value}")
        require(self.warmup_iters <= MOST, f"warmup_iters must be at most {MOST:,}, and it is {self.warmup_iters}")
        require(self.seed < 2**63, f"seed must be below 2**63, and it is {self.seed}")
        require(
            0 < self.learning_rate < math.inf,
            f"learning_rate must be a number above 0, and it is {self.learning_rate}",
        )
        require(0 <= self.beta2 < 1, f"beta2 must be 0 or more and below 1, and it is {self.beta2}")


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of step `step` (0, 1, ...): warm-up, then the schedule."""
    if step < config.warmup_iters:
        return config.learning_rate * (step + 1) / config.warmup_iters
    done = (step - config.warmup_iters) / max(1, config.max_iters - config.warmup_iters)
    left = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
    return config.learning_rate * left[config.lr_schedule]


@torch.no_grad()
def estimate_loss(
    model: LanguageModel, corpus: Corpus, batch_size: int = 32, eval_iters: int = 200, seed: int = 0
) -> dict[str, float]:
    """The mean loss over `eval_iters` random batches of each split, in nats a token.

    The batches depend on `seed` alone: two evaluations see the same text, and an
    evaluation does not move the batches of training.
    """
    block_size = model.config.block_size
    rows = max(1, EVAL_TOKENS // block_size)
    device = next(model.parameters()).device
    losses = {}
    with evaluating(model):
        for split in ("train", "val"):
            generator = torch.Generator().manual_seed(seed)
            x, y = corpus.get_batch(split, eval_iters * batch_size, block_size, generator)
            portions = zip(x.to(device).split(rows), y.to(device).split(rows), strict=True)
            sums = [model(xb, yb)[1] * len(xb) for xb, yb in portions]
            losses[split] = (torch.stack(sums).sum() / len(x)).item()
    return losses


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW over all parameters; or Muon over the matrices of `proj` and `ffwd`, and AdamW over the rest.

    Muon costs about the same for a small matrix as for a large one, so the many small ones of the heads
    are left to AdamW.

    `fused` computes AdamW's update in fewer passes over memory.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (AdamW); `babygpt/muon.py`.

    Raises:
        UserError: Muon is asked for, and the model has neither `proj` nor `ffwd`.
    """
    matrices, rest = [], []
    for name, p in model.named_parameters():
        for_muon = config.optimizer == "muon" and p.ndim == 2 and (".proj." in name or "ffwd." in name)
        (matrices if for_muon else rest).append(p)
    adamw = torch.optim.AdamW(
        rest,
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        weight_decay=config.weight_decay,
        fused=rest[0].device.type in ("cpu", "cuda"),
    )
    if config.optimizer == "adamw":
        return [adamw]
    require(len(matrices) > 0, "the optimizer muon needs a feed-forward layer, from version 7 on: use adamw")
    dtype = pick_dtype(config.dtype, matrices[0].device)
    return [Muon(matrices, config.learning_rate, config.weight_decay, dtype), adamw]


class Trainer:
    """A model in training: the loop, and all that is needed to go on with it later.

    `history` holds one dictionary an evaluation: step, train and val (losses in nats a
    token), lr, and seconds (since training began, pauses left out).
    """

    def __init__(self, model: LanguageModel, corpus: Corpus, config: TrainConfig) -> None:
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.dtype, self.device)
        corpus.check(model.config.block_size)
        self.model = model.to(self.device)
        self.compiled = torch.compile(self.model) if config.compile else self.model
        self.corpus = corpus.to(self.device)
        self.config = config
        self.optimizers = make_optimizers(self.model, config)
        self.batches = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # dropout draws from the global stream
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self.stop = False  # set it, from a signal handler say, to end after the current step

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.step, self.config)

    def train(self, on_eval: Callable[["Trainer"], None] = lambda trainer: None, progress: bool = True) -> None:
        """Train up to step max_iters, evaluating along the way and at the end.

        Args:
            on_eval: called after each evaluation.
            progress: show a bar, if there is a terminal to show it on.

        Raises:
            UserError: the loss is no longer a number. The CPU notices in that step; a GPU, which would have to
                wait for all its work in hand, within CHECK_INTERVAL steps.
        """
        config = self.config
        bar = tqdm(
            total=config.max_iters,
            initial=self.step,
            disable=None if progress else True,
            unit="step",
            dynamic_ncols=True,
            leave=False,
        )
        self.model.train()
        start = time.perf_counter() - self.seconds
        with bar:
            while True:
                due = self.step % config.eval_interval == 0 or self.step == config.max_iters
                if due and not (self.history and self.history[-1]["step"] == self.step):
                    losses = self.evaluate()
                    self.seconds = time.perf_counter() - start
                    self.history.append({"step": self.step, **losses, "lr": self.lr, "seconds": round(self.seconds, 3)})
                    on_eval(self)
                if self.step >= config.max_iters or self.stop:
                    break
                self.update()
                bar.update()
        self.seconds = time.perf_counter() - start

    def update(self) -> Tensor:
        """One training step: draw a batch, compute the loss and its gradients, move the weights."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr
        xb, yb = self.corpus.get_batch(
            "train", self.config.batch_size, self.model.config.block_size, self.batches
        )  # (B, T)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            _, loss = self.compiled(xb, yb)
        if self.device.type == "cpu" or self.step % CHECK_INTERVAL == 0:
            self.check_loss(loss.item())
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        return loss.detach()

    def evaluate(self) -> dict[str, float]:
        """The estimated loss on both splits, `train` and `val`, in nats a token.

        Raises:
            UserError: it is not a number.
        """
        config = self.config
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            losses = estimate_loss(self.model, self.corpus, config.batch_size, config.eval_iters, config.seed)
        for loss in losses.values():
            self.check_loss(loss)
        return losses

    def check_loss(self, loss: float) -> None:
        """Raise UserError unless the loss is a number."""
        if not math.isfinite(loss):
            raise UserError(self.diverged(f"the loss is {loss}"))

    def check_weights(self) -> None:
        """Raise UserError unless all weights, and all that the optimizers remember, are numbers."""
        moments = [t for o in self.optimizers for s in o.state.values() for t in s.values() if isinstance(t, Tensor)]
        numbers = all(t.isfinite().all() for t in (*self.model.parameters(), *moments))
        require(numbers, self.diverged("a weight is no longer a number"))

    def diverged(self, what: str) -> str:
        """What to tell the user then."""
        place = f"at step {self.step} (learning rate {self.lr:g})"
        return f"{what} {place}: training diverged; try a smaller --learning-rate, or --grad-clip 1"

    def state(self) -> dict[str, Any]:
        """All that changes in training, as tensors and builtins."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "rng": {"batches": self.batches.get_state(), "cpu": torch.get_rng_state()},
        }
        if self.device.type == "cuda":
            state["rng"]["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken: what follows is as if training had never stopped."""
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
        self.seconds = state["seconds"]
        self.history = list(state["history"])
        self.batches.set_state(state["rng"]["batches"])
        torch.set_rng_state(state["rng"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["rng"]:
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.device)
