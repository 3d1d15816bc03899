"""The pictures of a comparison. Curves differ in line style and carry their names, so that no color is needed."""

from collections.abc import Sequence
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from babygpt.compare.table import Row
from babygpt.harness.pictures import png

# Okabe and Ito's colors, which color-blind readers can tell apart. Each comes with a line style of its own.
COLORS = ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#7A5C00"]
STYLES = ["-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (8, 3))]


def losses_against_steps(rows: Sequence[Row], title: str, unit: str = "steps") -> bytes:
    """The validation loss of each row during training, averaged over its seeds, as a PNG.

    The first evaluation, before any training, is left out: its loss near 4.2 would flatten everything else.

    Args:
        unit: steps; or characters, those seen in training, for rows that see different numbers per step; or seconds,
            counted by the pace of its steps, without evaluations.
    """
    figure = Figure(figsize=(9, 6), layout="constrained")
    ax = figure.subplots()
    ends = []
    for i, row in enumerate(row for row in rows if row.complete):
        histories = [record["history"][1:] for record in row.records]
        each = {
            "steps": 1,
            "characters": row.settings["batch_size"] * row.settings["block_size"] / 1e6,
            "seconds": (row.pace or 0) / 1000,
        }[unit]
        x = [each * evaluation["step"] for evaluation in histories[0]]
        losses = [mean(e["val"] for e in evaluations) for evaluations in zip(*histories, strict=True)]
        color = COLORS[i % len(COLORS)]
        width = 1.6 if i < len(COLORS) else 2.6
        ax.plot(x, losses, linestyle=STYLES[i % len(STYLES)], color=color, linewidth=width)
        ax.plot(x[-1], losses[-1], marker="o", markersize=3.5, color=color)
        final = mean(row.losses())  # as in the table, over more text than the last evaluation
        ends.append((f"{label(row)}  {final:.2f}", x[-1], losses[-1], color))
    figure.suptitle(title)
    names = {"steps": "training step", "characters": "characters seen in training (millions)", "seconds": "seconds"}
    ax.set(xlabel=names[unit], ylabel="validation loss (nats per character)")
    label_ends(ax, ends)
    return png(figure, dpi=150)


def label(row: Row) -> str:
    """What a curve is called."""
    return row.name if row.title in row.name else f"{row.name} {row.title}"


def losses_against_blocks(rows: Sequence[Row], title: str) -> bytes:
    """The final validation loss of each variant against its number of blocks, as a PNG.

    Several variants get two panels, with and without layer norm; if layer norm is the only difference, one is enough.
    """
    titles = list(dict.fromkeys(row.title for row in rows))
    norms = {row.title: {other.settings["layernorm"] for other in rows if other.title == row.title} for row in rows}
    panels = [None] if all(len(found) == 1 for found in norms.values()) else [False, True]
    figure = Figure(figsize=(11 if len(panels) > 1 else 9, 5), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    all_ends = []
    for layernorm, ax in zip(panels, all_axes, strict=True):
        ends = []
        for i, variant in enumerate(titles):
            points = sorted(
                (row.settings["n_layer"], row.losses())
                for row in rows
                if row.complete and row.title == variant and layernorm in (None, row.settings["layernorm"])
            )
            if points:
                depths, losses = [depth for depth, _ in points], [mean(found) for _, found in points]
                ax.plot(depths, losses, linestyle=STYLES[i], color=COLORS[i], marker="os^Dv"[i % 5])
                for depth, found in points:
                    ax.plot([depth] * len(found), found, ".", color=COLORS[i], markersize=3)
                ends.append((f"{variant}  {losses[-1]:.2f}", depths[-1], losses[-1], COLORS[i]))
        ax.set(xlabel="blocks (small dots: single seeds)", xticks=sorted({row.settings["n_layer"] for row in rows}))
        if layernorm is not None:
            ax.set_title(f"{'with' if layernorm else 'without'} layer norm")
        all_ends.append(ends)
    for ax, ends in zip(all_axes, all_ends, strict=True):  # once the common range of losses is known
        label_ends(ax, ends)
    all_axes[0].set_ylabel("validation loss (nats per character)")
    figure.suptitle(title)
    return png(figure, dpi=150)


def label_ends(ax: Axes, ends: Sequence[tuple[str, float, float, str]], bold: str = "") -> None:
    """Write a name at the right of each curve, with a thin line to its end. Names never overlap.

    Args:
        ends: for each curve its name, its end (x, y) and its color.
        bold: the name to write in bold.
    """
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
            name, (x, y), xytext=(1.06 * right, height), va="center", fontsize=9, arrowprops=line,
            annotation_clip=False, fontweight="bold" if name == bold else None,
        )  # fmt: skip
    ax.set(ylim=(min(low, heights[0] - gap), max(high, heights[-1] + gap)), xlim=(0, 1.02 * right))


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Heights near the wanted ones (ascending), at least `gap` apart; each group of close ones keeps its mean."""
    groups: list[list[float]] = []
    for height in wanted:
        groups.append([height])
        while len(groups) > 1 and edge(groups[-1], gap, -1) - edge(groups[-2], gap, 1) < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [edge(group, gap, -1) + i * gap for group in groups for i in range(len(group))]


def edge(group: list[float], gap: float, side: int) -> float:
    """The lowest (side -1) or the highest (side 1) height of a group that is spread around its mean."""
    return mean(group) + side * gap * (len(group) - 1) / 2
