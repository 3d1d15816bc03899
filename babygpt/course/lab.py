"""What the lessons use again and again: training with a curve, pictures, samples.

Set the environment variable BABYGPT_FAST=1 to shorten every training in the lessons to a
few steps: the pages still run from top to bottom, but their losses mean nothing then.
"""

import os
from collections.abc import Sequence

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from babygpt.compare.recorded import trainings
from babygpt.data import Corpus
from babygpt.model import Config, LanguageModel
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import get_version, select

FAST = os.environ.get("BABYGPT_FAST", "") not in ("", "0")

# Lines to be told apart without color; each also has its name at its end.
STYLES = ["--", ":", "-.", (0, (1, 3)), (0, (6, 2, 1, 2, 1, 2))]


def steps(n: int) -> int:
    """n, or a fiftieth of it (10 at least) under BABYGPT_FAST=1."""
    return max(10, n // 50) if FAST else n


def new_model(number: int, seed: int = 1337, **sizes: object) -> LanguageModel:
    """The model of a version with the sizes of its recipe `lecture`, changed by `sizes`."""
    module = get_version(number).module()
    torch.manual_seed(seed)
    return module.Model(select(module.Config, get_version(number).preset("lecture") | sizes))


def train(
    model: LanguageModel,
    corpus: Corpus,
    max_iters: int,
    learning_rate: float = 1e-3,
    **settings: object,
) -> Trainer:
    """Train a model with a progress bar, evaluating ten times along the way.

    On the CPU, unless told otherwise: the models of the lessons are too small to gain from a GPU.

    Returns:
        the trainer; its `history` is a list of {step, train, val, lr, seconds}.
    """
    max_iters = steps(max_iters)
    defaults = {"device": "cpu", "eval_interval": max(1, max_iters // 10), "eval_iters": 5 if FAST else 200}
    config = TrainConfig(max_iters=max_iters, learning_rate=learning_rate, **defaults | settings)
    trainer = Trainer(model, corpus, config)
    trainer.train()
    last = trainer.history[-1]
    print(
        f"{last['step']:,} steps in {trainer.seconds:.0f} s: "
        f"train {last['train']:.3f}, val {last['val']:.3f}" + ("  (BABYGPT_FAST: means nothing)" if FAST else "")
    )
    return trainer


def sample_text(model: LanguageModel, corpus: Corpus, length: int = 200, seed: int = 1337) -> str:
    """Text drawn from a model, starting from the first character of the vocabulary (a newline)."""
    generator = torch.Generator().manual_seed(seed)
    idx = model.generate(torch.zeros((1, 1), dtype=torch.long), length, generator=generator)
    return corpus.tokenizer.decode(idx[0, 1:].tolist())


def recorded(number: int, seed: int = 1337) -> dict[str, list[float]]:
    """The curve of a version's recipe `lecture`, recorded on the machine that results/ladder.json names.

    Returns:
        {"step": [...], "train": [...], "val": [...], "lr": [...], "seconds": [...]}
    """
    history = next(t["history"] for t in trainings(get_version(number)) if t["seed"] == seed)
    return {key: [evaluation[key] for evaluation in history] for key in history[0]}


def plot_curves(trainer: Trainer, label: str, earlier: Sequence[int] = (), ax: Axes | None = None) -> Axes:
    """The validation loss of a training just done, beside the recorded curves of earlier versions.

    The first evaluation, before any training, is left out: its loss near 4.2 would flatten all else.
    """
    ax = ax or plt.subplots(figsize=(7, 4), layout="constrained")[1]
    done = {"step": [r["step"] for r in trainer.history], "val": [r["val"] for r in trainer.history]}
    curves = [(label, done, "-", "C0", 2.5)]
    for i, number in enumerate(earlier):
        curves.append((f"v{number} (recorded)", recorded(number), STYLES[i % len(STYLES)], "0.35", 1.2))
    for _, curve, style, color, width in curves:
        ax.plot(curve["step"][1:], curve["val"][1:], linestyle=style, color=color, linewidth=width)
    low, high = ax.get_ylim()
    right = max(curve["step"][-1] for _, curve, *_ in curves)
    free = low  # labels stand at the right, above one another where the curves end too close
    for name, curve, _, color, width in sorted(curves, key=lambda c: c[1]["val"][-1]):
        y = max(curve["val"][-1], free)
        end = curve["step"][-1], curve["val"][-1]
        ax.annotate(name, end, xytext=(1.04 * right, y), color=color, va="center", fontsize=9,
                    fontweight="bold" if width > 2 else None,
                    arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.6})  # fmt: skip
        free = y + 0.06 * (high - low)
    ax.set(xlim=(0, 1.35 * right), xlabel="training step", ylabel="validation loss (nats per character)")
    ax.grid(alpha=0.3)
    return ax


def show_matrix(
    matrix: Tensor,
    title: str = "",
    ax: Axes | None = None,
    labels: str | list[str] | None = None,
    numbers: bool | None = None,
    xlabel: str = "looks at token",
    ylabel: str = "token",
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """A matrix as a grid of shades, (T, T) say, with its numbers where they can be read.

    Args:
        labels: what to write beside rows and columns, a character each; their numbers if None.
        numbers: write the numbers into the cells; by default for up to 10 rows.
        vmin, vmax: what is drawn lightest and darkest; the smallest and largest number if None.
    """
    matrix = matrix.detach().float().cpu()
    rows, columns = matrix.shape
    ax = ax or plt.subplots(figsize=(0.5 * columns + 1.5, 0.5 * rows + 1), layout="constrained")[1]
    finite = matrix[matrix.isfinite()]
    image = matrix.masked_fill(~matrix.isfinite(), float("nan")).numpy()
    ax.imshow(image, cmap="Blues", aspect="auto", vmin=vmin, vmax=vmax)
    ax.set_facecolor("lightgray")  # what is minus infinity
    if numbers if numbers is not None else rows <= 10:
        low = finite.min().item() if vmin is None else vmin
        high = finite.max().item() if vmax is None else vmax
        for i in range(rows):
            for j in range(columns):
                value = matrix[i, j].item()
                text = "−∞" if value == float("-inf") else f"{round(value, 2) + 0.0:g}"
                ax.text(
                    j,
                    i,
                    text,
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if value > (low + high) / 2 else "black",
                )
    if labels is None and rows <= 10 and columns <= 16:
        ax.set_xticks(range(columns))
        ax.set_yticks(range(rows))
    if labels is not None:
        names = ["↵" if label == "\n" else "␣" if label == " " else label for label in labels]
        ax.set_xticks(range(columns), names[:columns])
        ax.set_yticks(range(rows), names[:rows])
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return ax


def model_size(model: LanguageModel) -> int:
    """The number of parameters of a model."""
    return sum(p.numel() for p in model.parameters())


def shapes(number: int, config: Config | None = None) -> None:
    """Print the shape of every tensor in a forward pass of a version, as `--shapes` does."""
    from babygpt.shapes import print_shapes

    version = get_version(number)
    print_shapes(version, config or select(version.module().Config, version.preset("lecture")))
