"""The page, the tables and the picture of the study of arithmetic, from results/arithmetic.json."""

from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from babygpt.compare.pictures import COLORS, STYLES, label_ends
from babygpt.compare.records import machines
from babygpt.compare.table import markdown, spread
from babygpt.compare.verdict import LEVEL, SMALL, verdict
from babygpt.harness.pictures import png

TITLE = "Arithmetic as text"
COLUMNS = ["trained on", "steps:", "rate:", "right answers:", "wrong, in %:", "change:", "verdict"]


def wrong(record: dict[str, Any], where: str = "val") -> float:
    """The share of wrong answers."""
    return 1 - record["exact"][where]


def results(content: dict[str, Any]) -> str:
    """The table of the rows: right answers, the change against another row, and the verdict."""
    found = {row["name"]: row["records"] for row in content["rows"]}
    lines = []
    for row in content["rows"]:
        shares, settings = [wrong(record) for record in row["records"]], row["records"][0]["settings"]
        line = {
            "trained on": row["name"],
            "steps": f"{settings['max_iters']:,}",
            "rate": f"{settings['learning_rate']:g}",
            "right answers": f"{1 - mean(shares):.1%}",
            "wrong, in %": spread([100 * share for share in shares], 2),
        }
        if row["before"]:
            base = [wrong(record) for record in found[row["before"]]]
            line |= {"change": f"{100 * (mean(shares) - mean(base)):+.2f}", "verdict": verdict(base, shares)}
        lines.append(line)
    return markdown(COLUMNS, lines)


def longer(content: dict[str, Any]) -> str:
    """The table of sums with a digit more than in training."""
    lines = []
    for row in content["rows"]:
        if "longer" in row["records"][0]["exact"]:
            digits = row["records"][0]["settings"]["digits"]
            right = [sum(record["exact"][where] for record in row["records"]) / len(row["records"])
                     for where in ("train", "val", "longer")]  # fmt: skip
            lines.append({
                "trained on": row["name"], "training pairs": f"{right[0]:.1%}", "held-out pairs": f"{right[1]:.1%}",
                "a digit more": f"{right[2]:.1%} ({digits + 1} digits)",
            })  # fmt: skip
    return markdown(["trained on", "training pairs:", "held-out pairs:", "a digit more:"], lines)


def page(content: dict[str, Any]) -> str:
    """The page, in Markdown."""
    records = [record for row in content["rows"] for record in row["records"]]
    settings = records[0]["settings"]
    notes = [
        f"Each model has {records[0]['parameters']:,} parameters and learns from {settings['batch_size']} pairs of "
        f"numbers in a step. One pair in ten is held out, always together with the same pair in the other order. "
        f"Afterwards the model answers {content['pairs']:,} held-out pairs, greedily. An answer is right if the result "
        f"is, to the last digit. Mean ± standard deviation over {len(content['rows'][0]['records'])} seeds.",
        f"The change is the difference to the row of the same task, in percentage points of wrong answers; for the "
        f"products with steps shown, to those without. The verdict comes from a paired t-test over seeds (two-sided, "
        f"level {LEVEL:.0%}); a mean difference below {100 * SMALL:.1f} points counts as no difference.",
        "Each row has the learning rate of its recipe, which was found with reversed answers and masked prompts; for "
        "the other rows no rate of their own was searched for.",
        "With the steps shown an answer is almost three times as long, so a training step costs more and has more "
        "characters to learn from; the number of steps and of pairs in a step is the same.",
        f"Trained on {machines(records)}.",
        "Numbers with a digit more than in training: both numbers have exactly so many digits. The positions that such "
        "an answer needs are in the model's table, and some of them were never trained.",
    ]
    parts = [f"# {TITLE}", f"![{TITLE}](arithmetic.png)", results(content), *notes, longer(content)]
    return "\n\n".join(parts) + "\n"


def picture(content: dict[str, Any]) -> bytes:
    """The right answers during training, on the left for sums, on the right for the rest, as a PNG."""
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    sums = [row for row in content["rows"] if row["records"][0]["settings"]["operation"] == "+"]
    rest = [row for row in content["rows"] if row["records"][0]["settings"]["operation"] != "+"]
    for ax, rows in zip(panels, (sums, rest), strict=True):
        ends = []
        for i, row in enumerate(rows):
            histories = [record["history"] for record in row["records"]]
            x = [evaluation["step"] for evaluation in histories[0]]
            y = [100 * mean(e["exact"] for e in evaluations) for evaluations in zip(*histories, strict=True)]
            ax.plot(x, y, color=COLORS[i], linestyle=STYLES[i], marker="o", markersize=3)
            ends.append((row["name"].replace(" of two digits", ""), x[-1], y[-1], COLORS[i]))
        ax.set(xlabel="training step", ylabel="right answers on held-out pairs (%)", ylim=(0, 105))
        label_ends(ax, ends)
    figure.suptitle(TITLE)
    return png(figure, dpi=150)


def files(content: dict[str, Any]) -> dict[str, bytes]:
    """The files that show the study, by name."""
    return {"arithmetic.md": page(content).encode("utf-8"), "arithmetic.png": picture(content)}
