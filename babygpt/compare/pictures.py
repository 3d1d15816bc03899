"""The pictures of a comparison: told apart by line style and by a name at the end, so that color is not needed."""

from collections.abc import Sequence
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from babygpt.compare.ladder import Row
from babygpt.harness.pictures import png

# Okabe and Ito's colors, which color-blind readers can tell apart; each comes with a style of its own.
COLORS = ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#7A5C00"]
STYLES = ["-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (8, 3))]


def losses_against_steps(rows: Sequence[Row], title: str) -> bytes:
    """The validation loss of each version during training, the mean of its seeds, as a PNG.

    The first evaluation, before any training, is left out: its loss near 4.2 would flatten all else.
    """
    figure = Figure(figsize=(9, 6), layout="constrained")
    ax = figure.subplots()
    ends = []
    for i, row in enumerate(row for row in rows if row.complete):
        histories = [record["history"][1:] for record in row.records]
        steps = [evaluation["step"] for evaluation in histories[0]]
        losses = [mean(e["val"] for e in evaluations) for evaluations in zip(*histories, strict=True)]
        color = COLORS[i % len(COLORS)]
        width = 1.6 if i < len(COLORS) else 2.6
        ax.plot(steps, losses, linestyle=STYLES[i % len(STYLES)], color=color, linewidth=width)
        ax.plot(steps[-1], losses[-1], marker="o", markersize=3.5, color=color)
        final = mean(row.losses())  # the table's, over more text than the last evaluation
        ends.append((f"{row.entry.name} {row.entry.title}  {final:.2f}", steps[-1], losses[-1], color))
    figure.suptitle(title)
    ax.set(xlabel="training step", ylabel="validation loss (nats per character)")
    label_ends(ax, ends)
    return png(figure, dpi=150)


def losses_against_depth(rows: Sequence[Row], title: str) -> bytes:
    """The final validation loss of each variant against its number of blocks, with and without layer norm."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    complete = [row for row in rows if row.complete]
    panels = figure.subplots(1, 2, sharey=True)
    for layernorm, ax in zip((False, True), panels, strict=True):
        ends = []
        for i, variant in enumerate(dict.fromkeys(row.entry.title for row in rows)):
            points = sorted(
                (row.entry.settings["n_layer"], mean(row.losses()))
                for row in complete
                if row.entry.title == variant and row.entry.settings["layernorm"] == layernorm
            )
            if points:
                blocks, losses = zip(*points, strict=True)
                ax.plot(blocks, losses, linestyle=STYLES[i], color=COLORS[i], marker="os^D"[i % 4])
                ends.append((f"{variant}  {losses[-1]:.2f}", blocks[-1], losses[-1], COLORS[i]))
        ax.set(title=f"{'with' if layernorm else 'without'} layer norm", xlabel="blocks", xticks=[1, 3, 6])
        label_ends(ax, ends)
    panels[0].set_ylabel("validation loss (nats per character)")
    figure.suptitle(title)
    return png(figure, dpi=150)


def label_ends(ax: Axes, ends: list[tuple[str, float, float, str]]) -> None:
    """Write each name at the right, with a thin line to the end (x, y) of its curve; names never overlap."""
    ax.grid(alpha=0.25)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if not ends:
        return
    low, high = ax.get_ylim()
    right, gap = max(x for _, x, _, _ in ends), 0.045 * (high - low)
    ends = sorted(ends, key=lambda end: end[2])
    heights = spread([y for _, _, y, _ in ends], gap)
    for (name, x, y, color), height in zip(ends, heights, strict=True):
        line = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)}
        ax.annotate(
            name, (x, y), xytext=(1.06 * right, height), va="center", fontsize=9, arrowprops=line, annotation_clip=False
        )
    ax.set(ylim=(min(low, heights[0] - gap), max(high, heights[-1] + gap)), xlim=(0, 1.02 * right))


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Heights near those wanted (ascending), at least `gap` from one another; each crowd keeps its middle."""
    crowds: list[list[float]] = []
    for height in wanted:
        crowds.append([height])
        while len(crowds) > 1 and middle_edge(crowds[-1], gap, -1) - middle_edge(crowds[-2], gap, 1) < gap:
            crowds[-2:] = [crowds[-2] + crowds[-1]]
    return [middle_edge(crowd, gap, -1) + i * gap for crowd in crowds for i in range(len(crowd))]


def middle_edge(crowd: list[float], gap: float, side: int) -> float:
    """The lowest (side -1) or highest (side 1) place of a crowd spread around its mean."""
    return mean(crowd) + side * gap * (len(crowd) - 1) / 2
