"""How much memory sharding and activation checkpointing save, in bytes, beside the formulas.

    python -m benchmarks.memory

GPT-2 at the sizes of version 10's recipe `lecture`, on the CPU, in float32. *State* is what one process holds of the
weights, their gradients and AdamW's two averages: with 1, 2 and 4 processes, copied (`babygpt/parallel.py`) or sharded
(`babygpt/beyond/sharded.py`). *Activations* is what the forward pass of a batch keeps for its backward pass, with and
without activation checkpointing (`babygpt/beyond/recompute.py`), and what a step costs then, in seconds of one core.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch

from babygpt.beyond import gpt2
from babygpt.beyond.recompute import checkpoint_activations
from babygpt.beyond.scale import FLOAT32, activation_bytes, parameters, saved_bytes, state_bytes
from babygpt.data import Corpus
from babygpt.harness import ranks
from babygpt.parallel import ParallelTrainer
from babygpt.training import TrainConfig, Trainer
from benchmarks.measure import Result, machine, summary

RESULTS = Path(__file__).with_name("memory.json")
SIZES = gpt2.Config(vocab_size=65, block_size=256, n_embd=384, n_head=6, n_layer=6)
BATCH_SIZE, ROUNDS = 8, 5
PROCESSES = (1, 2, 4)


def trainer_of(kind: type[Trainer]) -> Trainer:
    """A trainer of the model."""
    torch.manual_seed(1337)
    config = TrainConfig(batch_size=BATCH_SIZE, dtype="float32", device="cpu")
    return kind(gpt2.Model(SIZES), Corpus.load(), config)


def state_here(trainer: Trainer) -> dict[str, int]:
    """The bytes that this process holds after a step: weights, gradients, and AdamW's two averages."""
    local = lambda tensor: tensor.to_local() if hasattr(tensor, "to_local") else tensor  # noqa: E731
    trainer.update()
    params = list(trainer.model.parameters())
    moments = [s[name] for s in trainer.optimizers[0].state.values() for name in ("exp_avg", "exp_avg_sq")]
    tensors = {"weights": params, "gradients": [p.grad for p in params], "AdamW's two averages": moments}
    return {name: sum(local(t).nbytes for t in each) for name, each in tensors.items()}


def print_state() -> None:
    """In each of several processes: print, in the main one, what the largest process holds."""
    from babygpt.beyond.sharded import ShardedTrainer

    torch.set_num_threads(1)
    with ranks.joined():
        for name, kind in (("copied", ParallelTrainer), ("sharded", ShardedTrainer)):
            each = ranks.gather(state_here(trainer_of(kind)))
            if ranks.is_main():
                print(json.dumps({name: max(each, key=lambda parts: sum(parts.values()))}), flush=True)


def state() -> Result:
    """Measured and computed bytes of state of one process, for each number of processes."""
    n, found = parameters(SIZES), {}
    for processes in PROCESSES:
        measured = {"copied": state_here(trainer_of(Trainer))} if processes == 1 else in_processes(processes)
        for name, parts in measured.items():
            formula = sum(state_bytes(n if name == "copied" else n / processes).values())
            found[f"{processes} process{'es' * (processes > 1)}, {name}"] = {
                **parts,
                "all": sum(parts.values()),
                "formula": round(formula),
            }
    return found


def in_processes(processes: int) -> Result:
    """What `print_state` prints."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    run = subprocess.run([*command, "-m", "benchmarks.memory", "state"], stdout=subprocess.PIPE, text=True, check=True)
    return {name: parts for line in run.stdout.splitlines() for name, parts in json.loads(line).items()}


def activations() -> Result:
    """Measured and computed bytes that a forward pass keeps, and the processor time of a step."""
    torch.set_num_threads(1)
    trainers = {"kept": trainer_of(Trainer), "computed again": trainer_of(Trainer)}
    checkpoint_activations(trainers["computed again"].model)
    times = {name: [] for name in trainers}
    for _ in range(ROUNDS):
        for name, trainer in trainers.items():
            start = time.process_time()
            trainer.update()
            times[name].append(time.process_time() - start)
    tokens, C, V = BATCH_SIZE * SIZES.block_size, SIZES.n_embd, SIZES.vocab_size
    formulas = {
        "kept": activation_bytes(SIZES, BATCH_SIZE),
        "computed again": FLOAT32
        * tokens
        * (SIZES.n_layer * C + 2 * C + 2 + V),  # the input of each block, and the end
    }
    found = {}
    for name, trainer in trainers.items():
        params = list(trainer.model.parameters())
        found[name] = {
            "bytes": saved_bytes(trainer.batch_loss, params),
            "formula": formulas[name],
            "step": summary(times[name], "s of one core"),
        }
    found["step, ratio"] = round(median(times["computed again"]) / median(times["kept"]), 2)
    return found


def main() -> None:
    """Measure, print the figures and store them."""
    if sys.argv[1:] == ["state"]:
        return print_state()
    result = {"parameters": parameters(SIZES), "state": state(), "activations": activations()}
    entry = {"measures": __doc__.splitlines()[0], "machine": machine(torch.device("cpu")), "result": result}
    RESULTS.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
    print(f"{result['parameters']:,} parameters")
    for name, figures in result["state"].items():
        print(f"{name:<22} {figures['all'] / 1e6:8.1f} MB of state a process, {figures['formula'] / 1e6:.1f} computed")
    for name in ("kept", "computed again"):
        figures = result["activations"][name]
        print(
            f"activations {name:<14} {figures['bytes'] / 1e6:8.1f} MB, {figures['formula'] / 1e6:.1f} computed; "
            f"{figures['step']['median']:g} s of one core a step"
        )
    print(f"a step takes {result['activations']['step, ratio']:g} times as long")


if __name__ == "__main__":
    main()
