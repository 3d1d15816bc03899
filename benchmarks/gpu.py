"""What to measure on a GPU: the time to a loss, generation with CUDA graphs, and nanoGPT's own loop beside ours."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from babygpt import kv_cache, v10
from babygpt.beyond import gpt2
from babygpt.beyond.models import NANOGPT
from babygpt.data import Corpus
from babygpt.device import pick_device
from babygpt.errors import UserError, require
from babygpt.kv_cache import KVCache
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import Recipe, get_version, select
from benchmarks.measure import BenchmarkConfig, Result, repeat, summary, take_turns, wait

TARGET = 1.47  # nats per character: nanoGPT's README has 1.4697, after about 3 minutes of an A100

# config/train_shakespeare_char.py of nanoGPT, for a GPU; its quick start on a CPU is NANOGPT.
NANOGPT_GPU: Recipe = NANOGPT | dict(block_size=256, batch_size=64, n_embd=384, n_head=6, n_layer=6, dropout=0.2)


def target(config: BenchmarkConfig) -> Result:
    """Version 10 by the lecture's recipe, until the validation loss is 1.47 or lower, evaluations included."""
    device, corpus, runs = pick_device(config.device), Corpus.load(), []
    for n in range(min(3, config.rounds)):
        fast = dict(device=config.device, dtype="auto", compile=device.type == "cuda")
        settings = get_version(10).preset("lecture") | fast | dict(eval_interval=250, seed=1337 + n)
        runs.append(time_to_loss(settings, corpus, TARGET))
    reached = [run for run in runs if run["val"] <= TARGET]
    result = {
        f"runs that reached {TARGET}": len(reached),
        "runs": len(runs),
        "lowest val": summary([run["val"] for run in runs], "nats"),
    }
    if reached:
        result["time to it"] = summary([run["seconds"] for run in reached], "s")
        result["steps to it"] = summary([run["step"] for run in reached], "steps")
    return result


def time_to_loss(settings: Recipe, corpus: Corpus, loss: float) -> dict[str, float]:
    """Train until a validation loss is low enough, or to the end: the best evaluation, with its step and seconds."""
    start = time.perf_counter()
    torch.manual_seed(settings["seed"])
    sizes = select(v10.Config, settings | {"vocab_size": corpus.tokenizer.vocab_size})
    trainer = Trainer(v10.Model(sizes), corpus, select(TrainConfig, settings))
    best = {"val": float("inf")}

    def check(trainer: Trainer) -> None:
        if trainer.history[-1]["val"] < best["val"]:
            best.update(trainer.history[-1] | {"seconds": time.perf_counter() - start})
        trainer.stop = best["val"] <= loss

    trainer.train(on_eval=check, progress=False)
    return best


class FixedCache(KVCache):
    """A key/value cache whose tensors have the same shapes in every step, which is what CUDA graphs need.

    A new token looks at all block_size positions, and a mask hides those that are still empty.
    """

    def __init__(self, model: v10.Model, idx: Tensor) -> None:
        super().__init__(model, len(idx))
        self.kv.zero_()
        self.token = self.read(idx).argmax(dim=-1, keepdim=True)  # (B, 1)
        self.position = torch.tensor([self.length], device=idx.device)

    @torch.no_grad()
    def step(self) -> None:
        """Read `token`, and replace it by the likeliest one to follow it."""
        self.visible = torch.arange(self.kv.shape[-2], device=self.kv.device) <= self.position
        pos = self.model.position_embedding_table(self.position)
        x = self.model.token_embedding_table(self.token) + pos
        for layer, block in enumerate(self.model.blocks):
            x = x + self.attend_to_all(layer, block.ln1(x))
            x = x + block.ffwd(block.ln2(x))
        logits = self.model.lm_head(self.model.ln_f(x[:, -1]))
        self.token.copy_(logits.argmax(dim=-1, keepdim=True))
        self.position += 1

    def attend_to_all(self, layer: int, x: Tensor) -> Tensor:
        """As `attend`, for one token, with a mask in place of a shorter cache."""
        B, T, C = x.shape
        sa, n_head = self.model.blocks[layer].sa, self.model.config.n_head
        qkv = F.linear(x, self.qkv[layer]).view(B, T, 3, n_head, C // n_head).permute(2, 0, 3, 1, 4)
        self.kv[layer].index_copy_(3, self.position, qkv[1:])
        k, v = self.kv[layer]
        out = F.scaled_dot_product_attention(qkv[0], k, v, attn_mask=self.visible[None])
        return sa.proj(out.transpose(1, 2).reshape(B, T, C))


def graphs(config: BenchmarkConfig) -> Result:
    """Greedy generation by version 10 at the lecture's sizes on a GPU, 254 tokens: with and without CUDA graphs."""
    device = pick_device(config.device)
    require(
        device.type == "cuda",
        f"the benchmark graphs needs a CUDA GPU, and would run on {device}: add --device cuda where there is one",
    )
    torch.manual_seed(1337)
    model = v10.Model(v10.Config()).to(device).eval()
    first, n = torch.zeros((1, 1), dtype=torch.long, device=device), model.config.block_size - 2
    warm = FixedCache(model, first)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):  # a graph is captured after a few steps on a stream of its own
        repeat(warm.step, 3)()
    torch.cuda.current_stream().wait_stream(stream)
    cache, graph = FixedCache(model, first), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        cache.step()

    begin = FixedCache(model, first).token

    def replay() -> None:
        cache.token.copy_(begin)
        cache.position.fill_(1)
        repeat(graph.replay, n)()
        wait(device)

    def steps() -> None:
        repeat(FixedCache(model, first).step, n)()
        wait(device)

    def cached() -> None:
        list(kv_cache.stream(model, first, n, temperature=0))
        wait(device)

    runs = {"cache": cached, "cache of fixed shapes": steps, "the same as a CUDA graph": replay}
    take_turns(runs, 1)  # to warm up
    return {
        name: summary([n / s for s in seconds], "tokens/s") for name, seconds in take_turns(runs, config.rounds).items()
    }


def nanogpt(config: BenchmarkConfig) -> Result:
    """A step of nanoGPT's train.py, as it prints it (it waits for each step's loss); and the same network here."""
    require(
        config.nanogpt is not None and (config.nanogpt / "train.py").is_file(),
        f"the benchmark nanogpt needs a checkout of nanoGPT, and --nanogpt is {config.nanogpt}: give its folder",
    )
    binary = config.nanogpt / "data" / "shakespeare_char" / "train.bin"
    require(
        binary.is_file(),
        f"{binary} is missing: run python data/shakespeare_char/prepare.py in {config.nanogpt} first",
    )
    device = pick_device(config.device)
    on_gpu = device.type == "cuda"
    recipe = NANOGPT_GPU if on_gpu else NANOGPT
    steps, tokens = 60 if on_gpu else 30, recipe["batch_size"] * recipe["block_size"]
    theirs = [tokens / nanogpt_seconds(config.nanogpt, recipe, steps, device) for _ in range(min(3, config.rounds))]
    corpus = Corpus.load()
    fast = dict(device=config.device, dtype="bfloat16" if on_gpu else "float32", compile=on_gpu)
    settings = recipe | fast | {"gelu": "exact", "vocab_size": corpus.tokenizer.vocab_size}
    trainer = Trainer(gpt2.Model(select(gpt2.Config, settings)), corpus, select(TrainConfig, settings))

    def some_steps() -> None:
        repeat(trainer.update, steps)()
        wait(device)

    take_turns({"ours": some_steps}, 1)  # to warm up
    ours = [tokens * steps / s for s in take_turns({"ours": some_steps}, config.rounds)["ours"]]
    return {"nanoGPT": summary(theirs, "tokens/s"), "babygpt": summary(ours, "tokens/s")}


def nanogpt_seconds(checkout: Path, recipe: Recipe, steps: int, device: torch.device) -> float:
    """The median time of a step that nanoGPT's train.py prints, after the first third of the steps.

    Raises:
        UserError: it failed, or printed no times.
    """
    on_gpu = device.type == "cuda"
    names = "block_size", "batch_size", "n_embd", "n_head", "n_layer", "dropout"
    flags = {name: recipe[name] for name in names} | {
        "device": device.type,
        "compile": on_gpu,
        "dtype": "bfloat16" if on_gpu else "float32",
        "max_iters": steps,
        "log_interval": 1,
        "eval_interval": 10**9,
        "eval_iters": 1,
        "wandb_log": False,
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", "config/train_shakespeare_char.py", f"--out_dir={folder}"]
        run = subprocess.run(
            command + [f"--{name}={value}" for name, value in flags.items()],
            cwd=checkout,
            capture_output=True,
            text=True,
        )
    times = [float(ms) / 1e3 for ms in re.findall(r"^iter \d+: .*time ([\d.]+)ms", run.stdout, flags=re.MULTILINE)]
    if run.returncode or not times[steps // 3 :]:
        last = (run.stderr.strip() or run.stdout.strip() or "nothing").splitlines()[-1]
        raise UserError(f"train.py in {checkout} printed no times of its steps (the last line is: {last})")
    return median(times[steps // 3 :])
