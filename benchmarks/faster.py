"""What might make a training step faster on a CPU: other dropout, and `torch.compile`."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from babygpt.beyond.models import GPT2
from babygpt.byte_dropout import ByteDropout
from babygpt.data import Corpus
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import Recipe, Trainable, get_version, select
from benchmarks.measure import BenchmarkConfig, Result, repeat, summary, take_turns

BATCH_SIZE = 4  # at the lecture's sizes, where a step takes long


def dropout(config: BenchmarkConfig) -> Result:
    """Dropout in bfloat16, forward and backward, at the lecture's sizes and B = 16: on attention weights, on x."""
    sizes = {"attention weights": (16, 6, 256, 256), "x": (16, 256, 384)}
    ways = {"nn.Dropout": nn.Dropout(0.2), "--fast-dropout": ByteDropout(0.2), "rand_like": randomly_like}
    result: Result = {}
    for name, shape in sizes.items():
        x = torch.randn(shape).bfloat16().requires_grad_()
        runs = {way: partial(there_and_back, function, x) for way, function in ways.items()}
        take_turns(runs, 1)  # to warm up
        seconds = take_turns(runs, 3 * config.rounds)
        result[name] = {way: summary([1e3 * s for s in times], "ms") for way, times in seconds.items()}
    return result


def randomly_like(x: Tensor) -> Tensor:
    """Dropout from `torch.rand_like`, which takes less time for each number than `nn.Dropout`."""
    keep = torch.rand_like(x, dtype=torch.float32) >= 0.2
    return x * keep.to(x.dtype) * 1.25


def there_and_back(function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """A forward and a backward pass."""
    x.grad = None
    function(x).backward(torch.ones_like(x))


def compiled(config: BenchmarkConfig) -> Result:
    """The first training step with `torch.compile`, which compiles, and later ones beside those without it."""
    import torch._inductor.config  # takes seconds, and no other benchmark needs it

    torch._inductor.config.force_disable_caches = True  # an earlier run may have compiled the same
    corpus, result = Corpus.load(), {}
    cases: dict[str, tuple[Trainable, Recipe, int]] = {
        "v9": (get_version(9), get_version(9).preset("lecture"), 50),
        "v10 laptop": (get_version(10), get_version(10).preset("laptop"), 10),
        f"v10 lecture, B = {BATCH_SIZE}": (get_version(10), get_version(10).preset("lecture"), 1),
        f"v10 lecture, B = {BATCH_SIZE}, no dropout": (get_version(10), get_version(10).preset("lecture"), 1),
        "gpt2 nanogpt": (GPT2, GPT2.preset("nanogpt"), 10),
    }
    for name, (model, recipe, steps) in cases.items():
        changes: Recipe = {"batch_size": BATCH_SIZE} if "B =" in name else {}
        changes |= {"dropout": 0.0} if "no dropout" in name else {}
        plain, fast = (trainer_of(model, recipe | changes | {"compile": compile}, corpus) for compile in (False, True))
        start = time.perf_counter()
        fast.update()
        first = time.perf_counter() - start
        runs = {"step": repeat(plain.update, steps), "step, compiled": repeat(fast.update, steps)}
        take_turns(runs, 1)  # to warm up
        seconds = take_turns(runs, config.rounds)
        result[name] = {which: summary([1e3 * s / steps for s in times], "ms") for which, times in seconds.items()}
        result[name]["first step, compiled, s"] = round(first, 1)
    return result


def trainer_of(model: Trainable, recipe: Recipe, corpus: Corpus) -> Trainer:
    """A trainer for a model with a recipe."""
    settings = recipe | {"vocab_size": corpus.tokenizer.vocab_size}
    torch.manual_seed(1337)
    return Trainer(model.module().Model(select(model.module().Config, settings)), corpus, select(TrainConfig, settings))
