"""The pictures of the study of lesson 18, one for each finding, from results/inside.json."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from babygpt.beyond.inside.embeddings import kind
from babygpt.compare.pictures import COLORS, STYLES, label_ends
from babygpt.harness.pictures import png

LAYERS = {1: "one layer", 2: "two layers"}
SIGNS = {"\n": "↵", " ": "␣"}


def head_names(model: dict[str, Any]) -> list[str]:
    """The names of the heads, in order: 1.2 is the second head of block 1. All blocks have the same number of heads."""
    blocks, count = len(model["lens"]["losses"]) - 1, len(model["ablation"]["zero"])
    return [f"{1 + i // (count // blocks)}.{1 + i % (count // blocks)}" for i in range(count)]


def by_layers(content: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """The records of the copying models, by their number of layers."""
    found: dict[int, list[dict[str, Any]]] = {}
    for record in content["copying"]:
        found.setdefault(record["settings"]["n_layer"], []).append(record)
    return found


def embeddings(content: dict[str, Any]) -> bytes:
    """The characters by their two principal axes; and for each kind its similarity and that by chance."""
    found = content["models"][0]["embeddings"]
    colors = dict(zip(found["kinds"], COLORS, strict=False))
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for character, (x, y) in found["points"].items():
        left.text(
            x, y, SIGNS.get(character, character), color=colors[kind(character)], ha="center", va="center",
            fontsize=11, fontweight="bold" if kind(character) == "vowel" else None,
        )  # fmt: skip
    xs, ys = zip(*found["points"].values(), strict=True)
    left.set(xlim=(min(xs) - 0.1, max(xs) + 0.1), ylim=(min(ys) - 0.1, max(ys) + 0.1))
    first, second = (f"{100 * share:.0f}% of the variance" for share in found["axes"])
    left.set(xlabel=f"first axis ({first})", ylabel=f"second axis ({second})")
    for y, (name, row) in enumerate(reversed(found["kinds"].items())):
        low, high = row["by chance"]
        right.barh(y, high - low, 0.5, left=low, color="0.85")
        right.plot(row["found"], y, marker="D", color=colors[name], markersize=9)
    right.use_sticky_edges = False
    right.margins(x=0.08)
    right.set(yticks=range(4), yticklabels=list(reversed(found["kinds"])), xlabel="mean cosine within the kind")
    right.set_title("gray: 95% of random draws", fontsize=10)
    tidy(right)
    return png(figure)


def heads(content: dict[str, Any]) -> bytes:
    """A grid: a row for each head and for uniform attention, a column for each kind of position."""
    model = content["models"][0]
    names, kinds = [*head_names(model), "uniform"], model["heads"]
    figure = Figure(figsize=(9, 6), layout="constrained")
    ax = figure.subplots()
    shares = [[100 * column[i][0] for column in kinds.values()] for i in range(len(names))]
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            ax.text(j, i, f"{share:.0f}", ha="center", va="center", color="white" if share > 55 else "black")
    ax.set_xticks(range(len(kinds)), list(kinds))
    ax.set_yticks(range(len(names)), names)
    ax.axhline(len(names) - 1.5, color="0.5", linewidth=1)
    ax.set(ylabel="head", title="mean weight on each kind of position (%)")
    return png(figure)


def ablation(content: dict[str, Any]) -> bytes:
    """For each head the change of the loss without it, in two ways, with intervals, on a logarithmic axis."""
    model = content["models"][0]
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    ax = figure.subplots()
    for offset, (key, name, marker) in enumerate((("zero", "it writes zeros", "o"), ("mean", "its mean output", "s"))):
        for i, (mean, low, high) in enumerate(model["ablation"][key]):
            y = i + 0.3 * offset - 0.15
            ax.plot([low, high], [y, y], color=COLORS[1 + offset], linewidth=2)
            ax.plot(mean, y, marker, color=COLORS[1 + offset], markersize=6, label=name if i == 0 else None)
    ax.set_yticks(range(len(head_names(model))), head_names(model))
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="the loss without the head minus the loss with it (nats per character)", ylabel="head")
    ax.legend(title="in place of the head", frameon=False)
    tidy(ax)
    return png(figure)


def lens(content: dict[str, Any]) -> bytes:
    """The loss after each layer, and what each layer would have said after each character of a prompt."""
    found = content["models"][0]["lens"]
    prompt, guesses, p = (found["example"][key] for key in ("prompt", "guesses", "p"))
    names = ["embedding", *(f"block {n}" for n in range(1, len(guesses)))]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 5])
    means, lows, highs = zip(*found["losses"], strict=True)
    left.plot(means, range(len(names)), color=COLORS[1], marker="o")
    for y, (low, high) in enumerate(zip(lows, highs, strict=True)):
        left.plot([low, high], [y, y], color=COLORS[1], linewidth=4, alpha=0.4)
    left.set(xlabel="loss (nats per character)", xlim=(0, None))
    left.set_yticks(range(len(names)), names)
    tidy(left)
    right.imshow(p, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower")
    for y, row in enumerate(guesses):
        for x, character in enumerate(row):
            shade = "white" if p[y][x] > 0.6 else "black"
            right.text(x, y, SIGNS.get(character, character), ha="center", va="center", color=shade, fontsize=12)
    right.set_xticks(range(len(prompt)), [SIGNS.get(character, character) for character in prompt], fontsize=12)
    right.set_yticks(range(len(names)), names)
    right.set(xlabel="after reading", title="the likeliest next character; dark: with a high probability")
    return png(figure)


def induction(content: dict[str, Any]) -> bytes:
    """The loss on the second copy, and the best induction head, during training: each seed a line."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    panels = {"the loss on the second copy (nats)": lambda e: e["second"],
              "weight of the best induction head (%)": lambda e: 100 * max(e["induction"])}  # fmt: skip
    for ax, (title, value) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        ends = []
        for layers, records in by_layers(content).items():
            for record in records:
                x, y = zip(*((e["step"], value(e)) for e in record["history"]), strict=True)
                ax.plot(x, y, color=COLORS[layers], linestyle=STYLES[layers - 1], linewidth=1.2)
            ends.append((LAYERS[layers], x[-1], y[-1], COLORS[layers]))
        ax.set(xlabel="training step", ylabel=title, ylim=(0, None))
        if "loss" in title:
            ax.axhline(math.log(65), color="0.6", linewidth=1)
            ax.text(300, math.log(65) - 0.05, "log 65: nothing known", fontsize=9, color="0.3", va="top")
        label_ends(ax, ends)
    return png(figure)


def patching(content: dict[str, Any]) -> bytes:
    """Two grids, a model that copies and one of the plays: what comes back, by layer and position."""
    copying, plays = by_layers(content)[2][0]["patching"], content["models"][0]["patching"]
    figure = Figure(figsize=(12, 5), layout="constrained")
    for ax, (title, found) in zip(
        figure.subplots(2, 1, height_ratios=[2, 3]),
        {"a model that copies: another character at the * of the first copy": copying,
         "the plays: another letter at the *, one before the last": plays}.items(), strict=True,
    ):  # fmt: skip
        shares = [[100 * cell[0] for cell in row] for row in found["shares"]]
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto", origin="lower")
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                ax.text(x, y, f"{round(share) + 0:d}", ha="center", va="center", fontsize=8,
                        color="white" if share > 55 else "black")  # fmt: skip
        wide = len(shares[0])
        labels = [str(x) for x in range(wide)]
        if found is copying:
            labels[7] += "*"
            ax.axvline(15.5, color="0.4", linewidth=1)
        else:
            labels[-2] += "*"
        ax.set_xticks(range(wide), labels)
        ax.set_yticks(range(len(shares)), ["embedding", *(f"block {n}" for n in range(1, len(shares)))])
        ax.set(title=title, xlabel="position" if found is plays else "position; the second copy begins at 16")
    figure.suptitle("the share of the lost log probability that comes back (%)")
    return png(figure)


def tidy(ax: Axes) -> None:
    """A light grid, and no frame at the top and on the right."""
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def pictures(content: dict[str, Any]) -> dict[str, bytes]:
    """The pictures, by name."""
    drawn = (embeddings, heads, ablation, lens, induction, patching)
    return {f"inside-{draw.__name__}.png": draw(content) for draw in drawn}
