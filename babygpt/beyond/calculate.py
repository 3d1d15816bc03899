"""Use a model that calculates: `python -m babygpt.beyond.calculate runs/arithmetic 12+39`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from babygpt.beyond.arithmetic import answers
from babygpt.beyond.sums import END, OPERATIONS, Task, parse
from babygpt.errors import require
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command


@dataclass(frozen=True)
class CalculateConfig:
    """Calculate with the model in a run folder."""

    folder: tyro.conf.Positional[Path]
    """A run folder, for example runs/arithmetic."""

    sums: tyro.conf.Positional[tuple[str, ...]]
    """What to calculate, for example 12+39."""

    raw: bool = False
    """Show what the model wrote, with its digits in the order in which it wrote them."""


def main(argv: Sequence[str] | None = None) -> None:
    """Calculate as the command line says, and exit: 0, or 2 for bad input."""
    run_command(CalculateConfig, print_results, "python -m babygpt.beyond.calculate", argv)


def print_results(config: CalculateConfig) -> None:
    """Print a line for each sum, and whether it is right.

    Raises:
        UserError: there is no such run, it holds another kind of model, or that model cannot read one of the sums.
    """
    train_one = "train one that calculates with python -m babygpt.beyond.arithmetic"
    require((config.folder / "best.pt").is_file(), f"there is no run in {config.folder}: {train_one}")
    model, tokenizer = Run(config.folder).load_model("best")
    task = model.config
    require(
        isinstance(task, Task),
        f"the model in {config.folder} is {type(model).__module__}, which continues texts: use python -m "
        f"babygpt.sample, or {train_one}",
    )
    parsed = [parse(text) for text in config.sums]
    for a, sign, b in parsed:
        require(
            sign == task.operation,
            f"the model in {config.folder} was trained on {task.operation}, and {a}{sign}{b} is something else: "
            f"train another one with --operation",
        )
        length = len(task.prompt(a, b) + task.answer(a, b))
        require(
            length <= task.block_size,
            f"the model in {config.folder} reads and writes up to {task.block_size} characters, and {a}{sign}{b} "
            f"with its answer has {length}",
        )
    prompts = [task.prompt(a, b) for a, _, b in parsed]
    limit = max(len(task.answer(a, b) + END) for a, _, b in parsed)
    for (a, _, b), prompt, answer in zip(parsed, prompts, answers(model, tokenizer, prompts, limit), strict=True):
        right = OPERATIONS[task.operation](a, b)
        shown = answer if config.raw else task.read(answer)
        print(f"{prompt}{shown}{'' if task.is_right(a, b, answer) else f'  (wrong: it is {right})'}")


if __name__ == "__main__":
    main()
