"""The training loop of all models.

Source: the lecture's chapters "training the bigram model" and "port our code to a script".
"""

import math
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from babygpt.byte_dropout import use_byte_dropout
from babygpt.data import Corpus
from babygpt.device import pick_device, pick_dtype, require_memory
from babygpt.errors import UserError, require
from babygpt.model import LanguageModel, evaluating
from babygpt.muon import Muon
from babygpt.train_config import TrainConfig, learning_rate
from babygpt.versions import select

CHECK_INTERVAL = 100  # steps between two checks of the loss on a GPU

EVAL_TOKENS = 16_384  # evaluation stores no gradients, so it can process many batches at once


@torch.no_grad()
def estimate_loss(
    model: LanguageModel, corpus: Corpus, batch_size: int = 32, eval_iters: int = 200, seed: int = 0
) -> dict[str, float]:
    """The mean loss over `eval_iters` random batches of each split, in nats per token.

    The batches depend on `seed` alone, so two evaluations see the same text, and evaluating
    does not change which batches training draws.
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
    """AdamW for all parameters; or Muon for the matrices inside the model, and AdamW for the rest.

    Inside are all linear layers but `lm_head`. `fused` computes AdamW's update in fewer passes over memory.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (AdamW); `babygpt/muon.py`.

    Raises:
        UserError: Muon is asked for, and the model has no linear layer but `lm_head`.
    """
    inside = [module for name, module in model.named_modules() if isinstance(module, nn.Linear) and name != "lm_head"]
    matrices = [linear.weight for linear in inside] if config.optimizer == "muon" else []
    rest = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    groups = [{"params": rest}]
    if config.decay == "matrices":
        groups = [
            {"params": [p for p in rest if p.dim() >= 2]},
            {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
        ]
    adamw = torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        weight_decay=config.weight_decay,
        fused=rest[0].device.type in (("cpu", "cuda") if torch.__version__ >= (2, 4) else ("cuda",)),
    )
    if config.optimizer == "adamw":
        return [adamw]
    require(
        len(matrices) > 0,
        "the optimizer muon needs linear layers inside the model, which versions 5 to 10 have: use adamw",
    )
    dtype = pick_dtype(config.dtype, matrices[0].device)
    return [Muon(matrices, config.learning_rate, config.weight_decay, dtype), adamw]


class Trainer:
    """A model in training: the loop, and everything needed to resume it later.

    `history` holds one dictionary per evaluation: step, train and val (losses in nats per
    token), lr, and seconds (of training so far, without the time that a run was stopped).
    """

    def __init__(self, model: LanguageModel, corpus: Corpus, config: TrainConfig) -> None:
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.dtype, self.device)
        corpus.check(model.config.block_size)
        self.model = model.to(self.device)
        if config.fast_dropout and self.device.type == "cpu":
            use_byte_dropout(self.model)
        self.compiled = torch.compile(self.model) if config.compile else self.model
        self.corpus = corpus.to(self.device)
        self.config = config
        self.optimizers = make_optimizers(self.model, config)
        self.batches = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # dropout draws from the global stream
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self.stop = False  # a signal handler sets it, for example, to end training after the current step

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.step, self.config)

    @property
    def where(self) -> str:
        """Where the model is trained, for the first line of a run."""
        return str(self.device)

    @classmethod
    def parts(cls) -> tuple[int, int]:
        """Among how many processes a batch is divided, and the model."""
        return 1, 1

    def train(
        self,
        on_eval: Callable[["Trainer"], None] = lambda trainer: None,
        on_step: Callable[["Trainer"], None] = lambda trainer: None,
        progress: bool = True,
    ) -> None:
        """Train up to step max_iters, evaluating along the way and at the end.

        Args:
            on_eval: called after each evaluation.
            on_step: called after each step.
            progress: show a progress bar, if there is a terminal to show it on.

        Raises:
            UserError: the loss is no longer a number. On a CPU this is noticed in the same step; on a GPU, where
                every check means waiting for the work in progress, within CHECK_INTERVAL steps.
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
                if self.step >= config.max_iters or self.stopping():
                    break
                self.update()
                bar.update()
                on_step(self)
        self.seconds = time.perf_counter() - start

    def update(self) -> Tensor:
        """One training step: draw the batches, compute their loss and its gradients, update the weights."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr
        self.model.zero_grad(set_to_none=True)
        batches = self.config.accumulation
        loss = torch.stack([self.add_gradients(last=n == batches) for n in range(1, batches + 1)]).sum()
        if self.device.type == "cpu" or self.step % CHECK_INTERVAL == 0:
            self.check_loss(loss.item())
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        return loss

    def add_gradients(self, last: bool) -> Tensor:
        """Compute the next batch's part of the loss, and add its gradients to those of the step.

        Args:
            last: no other batch follows in this step. With several processes this matters; see `babygpt/parallel.py`.
        """
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss = self.batch_loss() / self.config.accumulation
        loss.backward()
        return loss.detach()

    def batch_loss(self) -> Tensor:
        """Draw the next batch and return its loss, a scalar. A subclass may train on something else."""
        xb, yb = self.corpus.get_batch(
            "train", self.config.batch_size, self.model.config.block_size, self.batches
        )  # (B, T)
        _, loss = self.compiled(xb, yb)
        return loss

    def evaluate(self) -> dict[str, float]:
        """The estimated loss on both splits, `train` and `val`, in nats per token.

        Raises:
            UserError: it is not a number.
        """
        config = self.config
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            losses = estimate_loss(self.model, self.corpus, config.batch_size, config.eval_iters, config.seed)
        for loss in losses.values():
            self.check_loss(loss)
        return losses

    def stopping(self) -> bool:
        """Whether to end before the next step. Several processes have to agree on that."""
        return self.stop

    def remark(self) -> str:
        """What to add to the line about the last evaluation. A subclass may have measured more than losses."""
        return ""

    def check_loss(self, loss: float) -> None:
        """Raise UserError unless the loss is a number."""
        if not math.isfinite(loss):
            raise UserError(self.diverged(f"the loss is {loss}"))

    def check_weights(self) -> None:
        """Raise UserError unless all weights, and everything that the optimizers store, are numbers."""
        moments = [t for o in self.optimizers for s in o.state.values() for t in s.values() if isinstance(t, Tensor)]
        numbers = all(t.isfinite().all() for t in (*self.model.parameters(), *moments))
        require(numbers, self.diverged("a weight is not a number any more"))

    def diverged(self, what: str) -> str:
        """The error message for a loss or a weight that is not a number."""
        return (
            f"{what} at step {self.step} (learning rate {self.lr:g}): training diverged; try a smaller "
            f"--learning-rate, or --grad-clip 1"
        )

    def state(self) -> dict[str, Any]:
        """Everything that training changes, as tensors and builtins."""
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

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Give the model other weights."""
        self.model.load_state_dict(weights)

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken; training continues as if it had never stopped."""
        self.load_weights(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
        self.seconds = state["seconds"]
        self.history = list(state["history"])
        self.batches.set_state(state["rng"]["batches"])
        torch.set_rng_state(state["rng"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["rng"]:
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.device)


def new_trainer(
    module: ModuleType, corpus: Corpus, settings: Mapping[str, Any], kind: type[Trainer] = Trainer
) -> Trainer:
    """A trainer for a new model, both built from the settings of a recipe or a command line.

    Args:
        module: where `Model` and `Config` are, for example `babygpt.v6`.
        settings: fields of `Config` and `TrainConfig`; others are ignored. The corpus decides `vocab_size`.
        kind: the class of the trainer.

    Raises:
        UserError: the text is too short for the block size, or there is not enough memory.
    """
    config = select(TrainConfig, settings)
    sizes = select(module.Config, {**settings, "vocab_size": corpus.tokenizer.vocab_size})
    corpus.check(sizes.block_size)
    batch_parts, model_parts = kind.parts()
    tokens = config.batch_size * sizes.block_size // batch_parts
    device = pick_device(config.device)
    require_memory(lambda: module.Model(sizes), tokens, config.eval_iters * tokens, device, model_parts)
    torch.manual_seed(config.seed)
    return kind(module.Model(sizes), corpus, config)
