"""What a checkpoint holds: `python -m babygpt.checkpoint runs/v10`."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from torch import Tensor

from babygpt.harness.checkpoints import read_checkpoint
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command


@dataclass(frozen=True)
class ShowConfig:
    """Show what a checkpoint holds."""

    path: tyro.conf.Positional[Path]
    """A run folder, for example runs/v10, or one of the .pt files in it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Show a checkpoint as the command line says, and exit: 0, or 2 for bad input."""
    run_command(ShowConfig, show, "python -m babygpt.checkpoint", argv)


def show(config: ShowConfig) -> None:
    """Print the module, sizes, settings, losses and tensors of a checkpoint.

    Raises:
        UserError: there is none, or it is damaged.
    """
    is_file = config.path.suffix == ".pt" and not config.path.is_dir()
    path = config.path if is_file else Run(config.path).checkpoint
    run, saved = Run(path.parent), read_checkpoint(path)
    state, tokenizer = saved["state"], saved["tokenizer"]
    print(f"{path}: {path.stat().st_size:,} bytes, format {saved['format']}")
    print(f"model       {saved['module']}, at step {state['step']:,}")
    print(f"tokenizer   {tokenizer['class']}: {shorten(str(tokenizer['state']))}")
    if "corpus" in saved:
        print(f"text        {saved['corpus']['path']}, fingerprint {saved['corpus']['fingerprint']}")
    for title, key in (("sizes", "model_config"), ("settings", "train_config")):
        if key in saved:
            line = ", ".join(f"{name} {value}" for name, value in saved[key].items())
            print(textwrap.fill(line, 100, initial_indent=f"{title:<12}", subsequent_indent=" " * 12))
    history = state.get("history") or (run.read_metrics() if run.metrics.is_file() else [])
    if history:
        print(f"\n{'step':>9} {'train':>7} {'val':>7}")
    for record in history:
        print(f"{record['step']:>9,} {record['train']:>7.4f} {record['val']:>7.4f}")
    found = tensors(state["model"])
    names = max(len(name) for name, _ in found)
    print(f"\n{'weight':<{names}}  {'dtype':<8} {'numbers':>10}  shape")
    for name, tensor in found:
        print(f"{name:<{names}}  {dtype(tensor):<8} {tensor.numel():>10,}  {tuple(tensor.shape)}")
    rest = [(name, group) for name, group in state.items() if name != "model" and tensors(group)]
    if rest:
        print("\nbesides the weights:")
    for name, group in rest:
        for last in sorted({path.rpartition(".")[2] for path, _ in tensors(group)}):
            same = [tensor for path, tensor in tensors(group) if path.rpartition(".")[2] == last]
            numbers = sum(tensor.numel() for tensor in same)
            print(f"{name}, {last}: tensors {len(same)}, numbers {numbers:,}, {dtype(same[0])}")


def shorten(text: str, length: int = 200) -> str:
    """A text, cut off if it is long."""
    return text if len(text) <= length else text[:length] + "..."


def dtype(tensor: Tensor) -> str:
    """The dtype of a tensor, without `torch.`."""
    return str(tensor.dtype).removeprefix("torch.")


def tensors(content: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """All tensors in nested dictionaries and lists, each with the path to it."""
    if isinstance(content, Tensor):
        return [(name, content)]
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        return [found for key, value in pairs for found in tensors(value, f"{name}.{key}" if name else str(key))]
    return []


if __name__ == "__main__":
    main()
