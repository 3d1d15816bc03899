"""Is my loss normal? `python -m babygpt.expect runs/v6` compares a run with trainings that went well.

Those are in `results/`: each version by its recipe, from several seeds. At every step where both were evaluated, their
mean and spread give a band in which nearly every healthy run lies, whatever its seed. Not every mistake leaves it: a
wrong scale of the scores, say, hardly shows where the heads are small.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, variance
from typing import TYPE_CHECKING, Any

import torch
import tyro

from babygpt.compare import recorded
from babygpt.errors import UserError, require
from babygpt.harness.files import write_atomically
from babygpt.harness.pictures import png
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command
from babygpt.model import LanguageModel
from babygpt.training import TrainConfig
from babygpt.versions import Version, find_version, select

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 5  # standard deviations from the mean to the edge of the band
LEAST = 0.02  # nats: no band is narrower on either side of the mean

# What a recipe leaves open, and what does not change the course of a training.
FREE = {"seed", "device", "dtype", "compile", "eval_interval", "eval_iters", "vocab_size", "attention"}

# The usual causes: the first and the last version they can be found in, and what to look at.
BELOW = [
    (1, 10, "y is not x shifted by one: the target at position t must be token t + 1, not t, which the model has"),
    (2, 2, "the average takes in later tokens: x[b, : t + 1] ends with token t"),
    (3, 4, "the average takes in later tokens: row t of wei may only hold columns 0 to t"),
    (5, 10, "the mask is missing or comes too late: masked_fill(tril == 0, -inf) belongs before the softmax"),
    (5, 10, "the softmax runs over the wrong dimension: dim=-1, over the tokens that are looked at"),
    (1, 10, "the learning rate is higher than the recipe's, which is faster at first"),
]
ABOVE = [
    (1, 10, "the learning rate is far from the recipe's, ten times higher or lower"),
    (1, 10, "y belongs to another place of the text than x"),
    (1, 10, "zero_grad is missing, so that the gradients of all steps add up"),
    (5, 5, "the scale is missing: scores times head_size ** -0.5 (with several small heads the loss hardly shows it)"),
    (8, 8, "a residual connection is missing: x = x + self.sa(x), and the same for ffwd"),
    (9, 10, "a residual connection is missing: x = x + self.sa(self.ln1(x)), and the same for ffwd"),
]


@dataclass(frozen=True)
class ExpectConfig:
    """Compare the validation loss of a run with recorded trainings of the same version and recipe."""

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
        """Where the loss lies: below, above or (an empty text) inside."""
        return "below" if self.val < self.low else "above" if self.val > self.high else ""


def main(argv: list[str] | None = None) -> None:
    """Compare as the command line says, and exit: 0 inside the band, 1 outside, 2 for bad input."""
    run_command(ExpectConfig, expect, "python -m babygpt.expect", argv)


def expect(config: ExpectConfig) -> int:
    """Print how a run compares, and draw it; return the exit status.

    Raises:
        UserError: there is no such run, or nothing to compare it with.
    """
    run = Run(config.folder)
    saved = run.read("last")
    version = find_version(saved["module"])
    require(version is not None, f"{run.folder} was trained with {saved['module']}, which has no recorded runs")
    settings = saved["model_config"] | saved["train_config"]
    preset = nearest_preset(version, settings)
    trainings = recorded.trainings(version, preset)
    bands = find_bands(trainings, settings["eval_iters"] * settings["batch_size"])
    history = saved["state"]["history"]
    points = [Point(e["step"], e["val"], *bands[e["step"]]) for e in history if e["step"] in bands]
    steps = list(bands)
    require(
        any(point.step > 0 for point in points),
        f"{run.folder} has no evaluation at a step at which the references have one, but the start: train for "
        f"{steps[1]:,} steps at least, with --eval-interval {steps[1]}",
    )
    print(f"{run.folder}: {version.name} {version.title}, beside {len(trainings)} trainings by the recipe {preset}\n")
    print(table(points))
    if points[-1].step < steps[-1]:
        low, high = bands[steps[-1]]
        print(f"{steps[-1]:>8,}  {'-':>8}  {low:.3f} to {high:.3f}  where the recipe ends")
    print()
    changes = differences(version, preset, settings)
    if saved["corpus"]["fingerprint"] != trainings[0]["fingerprint"]:
        changes.append("the text is another one")
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


def nearest_preset(version: Version, settings: dict[str, Any]) -> str:
    """The recipe of a version that a run's settings differ least from."""
    return min(version.presets, key=lambda name: len(differences(version, name, settings)))


def differences(version: Version, preset: str, settings: dict[str, Any]) -> list[str]:
    """Where the settings of a run differ from a recipe, in words."""
    recipe = version.preset(preset)
    wanted = asdict(select(TrainConfig, recipe)) | asdict(select(version.module().Config, recipe))
    # A training at a constant rate that ends sooner is the beginning of the longer one.
    constant = settings["lr_schedule"] == wanted["lr_schedule"] == "constant"
    free = FREE | ({"max_iters"} if constant else set())
    return [
        f"{name} is {settings[name]}, and {value} in the recipe"
        for name, value in wanted.items()
        if name not in free and settings.get(name, value) != value  # an older run may lack a newer setting
    ]


def find_bands(trainings: list[dict[str, Any]], chunks: int) -> dict[int, tuple[float, float]]:
    """For each step at which the references were evaluated, where a healthy run lies: lowest and highest loss.

    A few seeds give a shaky estimate of the spread. So the variance of a step is that of itself and its neighbors, or
    the median of all steps, whichever is larger; and the start, which has no equals, gets a band twice as wide. An
    evaluation over fewer chunks of text than the references' adds the noise of a chunk.
    """
    steps = [evaluation["step"] for evaluation in trainings[0]["history"]]
    losses = [[training["history"][i]["val"] for training in trainings] for i in range(len(steps))]
    variances = [variance(at_step) for at_step in losses]
    typical = median(variances[1:])
    of_a_chunk = mean(training["val"]["error"] ** 2 * training["val"]["chunks"] for training in trainings)
    settings = trainings[0]["settings"]
    noise = of_a_chunk * max(0, 1 / chunks - 1 / (settings["eval_iters"] * settings["batch_size"]))
    bands = {}
    for i, step in enumerate(steps):
        around = mean(variances[max(1, i - 1) : i + 2]) if i else 4 * variances[0]
        half = WIDTH * math.sqrt(max(around, typical) * (1 + 1 / len(trainings)) + noise)
        half = max(LEAST, half)
        bands[step] = (mean(losses[i]) - half, mean(losses[i]) + half)
    return bands


def table(points: list[Point]) -> str:
    """The evaluations and their bands, a line each."""
    lines = [f"{'step':>8}  {'val loss':>8}  expected"]
    for point in points:
        line = f"{point.step:>8,}  {point.val:>8.3f}  {point.low:.3f} to {point.high:.3f}  {point.side}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def verdict(version: Version, points: list[Point], changes: list[str], seen_ahead: bool) -> list[str]:
    """What it means, line by line."""
    lines = []
    if changes:
        lines.append("It was not trained as the recipe says, so that the band need not hold:")
        lines += [f"  - {change}" for change in changes]
    if seen_ahead:
        lines.append(
            "It looks ahead: another character at the end changes what the saved model says about the ones before it. "
            "The mask, or the dimension of the softmax, is wrong."
        )
    if points[0].step == 0 and points[0].side and not changes:
        lines.append(
            f"{points[0].side.capitalize()} the band before any training: the model or its first weights are not those "
            f"of version {version.number}."
        )
    for side, causes in (("below", BELOW), ("above", ABOVE)):
        steps = [point.step for point in points if point.side == side and point.step > 0]
        if steps:
            at = f"at step {steps[0]:,}" if len(steps) == 1 else f"at {len(steps)} steps, first at {steps[0]:,}"
            leak = " Far below it means a leak: the model sees what it is to predict." if side == "below" else ""
            lines.append(f"{side.capitalize()} the band {at}, of {len(points)} compared.{leak}")
            lines.append(f"The usual causes for version {version.number}:")
            lines += [f"  - {text}" for first, last, text in causes if first <= version.number <= last]
    if not any(point.side for point in points):
        lines.append(f"Inside the band at all {len(points)} steps.")
    return lines


@torch.no_grad()
def looks_ahead(run: Run) -> bool:
    """Whether the last token changes what the saved model says at earlier positions; False if it cannot be loaded."""
    try:
        model, tokenizer = run.load_model("last")
    except UserError:
        return False
    return sees_the_future(model, tokenizer.vocab_size)


def sees_the_future(model: LanguageModel, vocab_size: int) -> bool:
    """Whether another last token changes the logits before it, on a few random contexts."""
    generator = torch.Generator().manual_seed(0)
    T = model.config.block_size
    idx = torch.randint(vocab_size, (16, T), generator=generator)
    other = idx.clone()
    other[:, -1] = (idx[:, -1] + 1) % vocab_size
    change = (model.logits(idx) - model.logits(other))[:, :-1].abs()
    return bool(change.numel()) and change.max().item() > 1e-4


def draw(points: list[Point], seeds: int, title: str) -> "Figure":
    """The run's curve and its band; without the start, where at least two other points are left."""
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
