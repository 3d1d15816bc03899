"""Is my loss normal? `python -m babygpt.expect runs/v6` compares a run with recorded ones that went well.

Those are in `results/`: each version by its recipe, from several seeds. At every step where both were evaluated, the
recorded losses give a band in which nearly every healthy run lies, whatever its seed. Not every mistake shows: for
example, a wrong scale of the scores hardly changes the loss if the heads are small.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import tyro

from babygpt.beyond.models import find_idea
from babygpt.compare import recorded
from babygpt.errors import UserError, require
from babygpt.harness.files import write_atomically
from babygpt.harness.pictures import png
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command
from babygpt.model import LanguageModel
from babygpt.training import TrainConfig
from babygpt.versions import Trainable, find_version, select

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Settings that may differ from the recipe: it leaves them open, or they don't change what is learned.
FREE = {"seed", "device", "dtype", "compile", "fast_dropout", "eval_interval", "eval_iters", "vocab_size", "attention"}

LAST = 10  # a model of part two has the causes of this version

# The usual causes: the first and the last version in which they can occur, and what to look at.
BELOW = [
    (
        1,
        10,
        "y is not x shifted by one: the target at position t must be token t + 1, not token t, which the model sees",
    ),
    (2, 2, "the average includes later tokens: x[b, : t + 1] ends with token t"),
    (3, 4, "the average includes later tokens: in row t of wei, only columns 0 to t may be nonzero"),
    (5, 10, "the mask is missing or comes too late: masked_fill(tril == 0, -inf) belongs before the softmax"),
    (5, 10, "the softmax runs over the wrong dimension: dim=-1, over the tokens that are looked at"),
    (1, 10, "the learning rate is higher than the recipe's, which is faster at the beginning"),
]
ABOVE = [
    (1, 10, "the learning rate is far from the recipe's, ten times higher or lower"),
    (1, 10, "y comes from another part of the text than x"),
    (1, 10, "zero_grad is missing, so the gradients of all steps add up"),
    (5, 5, "the scale is missing: scores times head_size ** -0.5 (with several small heads the loss hardly shows it)"),
    (8, 8, "a residual connection is missing: x = x + self.sa(x), and the same for ffwd"),
    (9, 10, "a residual connection is missing: x = x + self.sa(self.ln1(x)), and the same for ffwd"),
]


@dataclass(frozen=True)
class ExpectConfig:
    """Compare the validation loss of a run with recorded runs of the same version and recipe."""

    folder: tyro.conf.Positional[Path]
    """A run folder, for example runs/v6."""


@dataclass(frozen=True)
class Point:
    """One evaluation of a run, and the band at its step."""

    step: int
    val: float
    low: float
    high: float

    @property
    def side(self) -> str:
        """Where the loss is: below, above, or "" for inside."""
        return "below" if self.val < self.low else "above" if self.val > self.high else ""


def main(argv: list[str] | None = None) -> None:
    """Compare as the command line says, and exit: 0 inside the band, 1 outside, 2 for bad input."""
    run_command(ExpectConfig, expect, "python -m babygpt.expect", argv)


def expect(config: ExpectConfig) -> int:
    """Print and draw how a run compares; return the exit status.

    Raises:
        UserError: there is no such run, or nothing to compare it with.
    """
    run = Run(config.folder)
    version, settings, history, fingerprint = read(run)
    preset = nearest_preset(version, settings)
    trainings = recorded.trainings(version, preset)
    bands = recorded.find_bands(trainings, settings["eval_iters"] * settings["batch_size"])
    points = [Point(e["step"], e["val"], *bands[e["step"]]) for e in history if e["step"] in bands]
    steps = list(bands)
    require(
        any(point.step > 0 for point in points),
        f"{run.folder} was never evaluated at a step at which the recorded runs were, except at the start: train for "
        f"at least {steps[1]:,} steps, with --eval-interval {steps[1]}",
    )
    print(f"{run.folder}: {version.name} {version.title}, and {len(trainings)} recorded runs of the recipe {preset}\n")
    print(table(points))
    if points[-1].step < steps[-1]:
        low, high = bands[steps[-1]]
        print(f"{steps[-1]:>8,}  {'-':>8}  {low:.3f} to {high:.3f}  where the recipe ends")
    print()
    changes = differences(version, preset, settings)
    if fingerprint != trainings[0]["fingerprint"]:
        changes.append("the text is a different one")
    seen_ahead = looks_ahead(run)
    for line in verdict(version, points, changes, seen_ahead):
        print(line)
    picture = run.folder / "expected.png"
    figure = draw(points, len(trainings), f"{version.name} {version.title}, recipe {preset}")
    try:
        write_atomically(picture, png(figure))
        print(f"\nThe curve and its band: {picture}")
    except OSError as error:
        print(f"\nThere is no picture: {picture} cannot be written ({error.strerror}).")
    return 1 if seen_ahead or any(point.side for point in points) else 0


def read(run: Run) -> tuple[Trainable, dict[str, Any], list[dict[str, float]], str]:
    """What is compared of a run: its version, its settings, its evaluations and the fingerprint of its text.

    Raises:
        UserError: there is no such run, its checkpoint is damaged, or its model is none that has recorded runs.
    """
    saved = run.read("last")
    version = find_version(saved["module"]) or find_idea(saved["module"])
    require(version is not None, f"{run.folder} was trained with {saved['module']}, which has no recorded runs")
    settings = saved["model_config"] | saved["train_config"]
    return version, settings, saved["state"]["history"], saved["corpus"]["fingerprint"]


def nearest_preset(version: Trainable, settings: dict[str, Any]) -> str:
    """The recipe of a version that is closest to a run's settings."""
    return min(version.presets, key=lambda name: len(differences(version, name, settings)))


def differences(version: Trainable, preset: str, settings: dict[str, Any]) -> list[str]:
    """The differences between the settings of a run and a recipe, one sentence each."""
    recipe = version.preset(preset)
    wanted = asdict(select(TrainConfig, recipe)) | asdict(select(version.module().Config, recipe))
    # A shorter run at a constant learning rate is the beginning of the longer one.
    constant = settings["lr_schedule"] == wanted["lr_schedule"] == "constant"
    free = FREE | ({"max_iters"} if constant else set())
    return [
        f"{name} is {settings[name]}, and {value} in the recipe"
        for name, value in wanted.items()
        if name not in free and settings.get(name, value) != value  # an older run may lack a newer setting
    ]


def table(points: list[Point]) -> str:
    """The evaluations and their bands, a line each."""
    lines = [f"{'step':>8}  {'val loss':>8}  expected"]
    for point in points:
        line = f"{point.step:>8,}  {point.val:>8.3f}  {point.low:.3f} to {point.high:.3f}  {point.side}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def verdict(version: Trainable, points: list[Point], changes: list[str], seen_ahead: bool) -> list[str]:
    """What it means, line by line."""
    lines, number = [], getattr(version, "number", LAST)
    if changes:
        lines.append("It was not trained by the recipe, so a healthy run may leave the band:")
        lines += [f"  - {change}" for change in changes]
    if seen_ahead:
        lines.append(
            "It looks ahead: when the last character changes, so do the model's predictions at earlier positions. "
            "The mask is wrong, or the dimension of the softmax."
        )
    if points[0].step == 0 and points[0].side and not changes:
        lines.append(
            f"{points[0].side.capitalize()} the band before any training: the model or its initial weights are not "
            f"those of {version.name}."
        )
    for side, causes in (("below", BELOW), ("above", ABOVE)):
        steps = [point.step for point in points if point.side == side and point.step > 0]
        if steps:
            at = f"at step {steps[0]:,}" if len(steps) == 1 else f"at {len(steps)} steps, first at {steps[0]:,}"
            leak = " Far below means a leak: the model sees what it should predict." if side == "below" else ""
            lines.append(f"{side.capitalize()} the band {at}, of {len(points)} compared.{leak}")
            lines.append(f"The usual causes for {version.name}:")
            lines += [f"  - {text}" for first, last, text in causes if first <= number <= last]
    if not any(point.side for point in points):
        lines.append(f"Inside the band at all {len(points)} steps.")
    return lines


@torch.no_grad()
def looks_ahead(run: Run) -> bool:
    """Whether the last token changes the saved model's predictions before it; False if the model cannot be loaded."""
    try:
        model, tokenizer = run.load_model("last")
    except UserError:
        return False
    return sees_the_future(model, tokenizer.vocab_size)


def sees_the_future(model: LanguageModel, vocab_size: int) -> bool:
    """Whether changing the last token changes the logits before it, on a few random contexts."""
    generator = torch.Generator().manual_seed(0)
    T = model.config.block_size
    idx = torch.randint(vocab_size, (16, T), generator=generator)
    other = idx.clone()
    other[:, -1] = (idx[:, -1] + 1) % vocab_size
    change = (model.logits(idx) - model.logits(other))[:, :-1].abs()
    return bool(change.numel()) and change.max().item() > 1e-4


def draw(points: list[Point], seeds: int, title: str) -> "Figure":
    """The run's curve and its band. The start is left out if at least two other points remain."""
    from matplotlib.figure import Figure  # here, because it takes a second to import

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    shown = points[1:] if len(points) > 2 else points
    steps, lows, highs = ([getattr(point, name) for point in shown] for name in ("step", "low", "high"))
    ax.fill_between(steps, lows, highs, color="0.85", label=f"expected, from {seeds} seeds")
    ax.plot(steps, [point.val for point in shown], "-o", color="#0072B2", markersize=4, label="this run")
    outside = [(point.step, point.val) for point in shown if point.side]
    if outside:
        ax.plot(*zip(*outside, strict=True), "x", color="#D55E00", markersize=10, label="outside")
    ax.set(title=title, xlabel="training step", ylabel="validation loss (nats per character)")
    ax.grid(alpha=0.3)
    ax.legend()
    return figure


if __name__ == "__main__":
    main()
