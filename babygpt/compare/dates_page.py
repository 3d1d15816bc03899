"""The page, the tables and the picture of the study of dates, from results/dates.json."""

from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from babygpt.compare.pictures import COLORS, STYLES, label_ends
from babygpt.compare.records import machines
from babygpt.compare.table import markdown, spread
from babygpt.compare.verdict import LEVEL, SMALL, verdict
from babygpt.harness.pictures import png

TITLE = "Dates in words to digits: the Transformer and LSTMs"
COLUMNS = ["model", "parameters:", "rate:", "right answers:", "wrong, in %:", "change:", "verdict"]


def wrong(record: dict[str, Any], search: str = "greedy") -> float:
    """The share of wrong answers."""
    return 1 - record["exact"][search]


def results(content: dict[str, Any]) -> str:
    """The table of the models: right answers, the change against the Transformer, and the verdict."""
    found = {row["name"]: row["records"] for row in content["rows"]}
    entries = [(row["name"], row["records"], "greedy", row["before"]) for row in content["rows"]]
    entries.insert(1, ("Transformer, beam of 4", found["Transformer"], "beam 4", "Transformer"))
    lines = []
    for name, records, search, before in entries:
        shares = [wrong(record, search) for record in records]
        line = {
            "model": name,
            "parameters": f"{records[0]['parameters']:,}",
            "rate": f"{records[0]['settings']['learning_rate']:g}",
            "right answers": f"{1 - mean(shares):.2%}",
            "wrong, in %": spread([100 * share for share in shares], 2),
        }
        if before:
            base = [wrong(record) for record in found[before]]
            line |= {"change": f"{100 * (mean(shares) - mean(base)):+.2f}", "verdict": verdict(base, shares)}
        lines.append(line)
    return markdown(COLUMNS, lines)


def times(content: dict[str, Any]) -> str:
    """The table of step times: median, and the quartiles around it."""
    found = content["times"]
    heads = [f"T = {T}" for T in found["lengths"]]
    rows = [
        {"ms/step": name} | {head: f"{q[1]:.0f} ({q[0]:.0f}–{q[2]:.0f})" for head, q in zip(heads, ms, strict=True)}
        for name, ms in found["ms"].items()
    ]
    return markdown(["ms/step", *(f"{head}:" for head in heads)], rows)


def page(content: dict[str, Any]) -> str:
    """The page, in Markdown."""
    records = [record for row in content["rows"] for record in row["records"]]
    settings, timed, search = records[0]["settings"], content["times"], content["search"]["losses"]
    tried = "; ".join(
        f"{name}: " + ", ".join(f"{rate} {loss:.4f}" for rate, loss in losses.items())
        for name, losses in search.items()
    )
    notes = [
        f"Each model trains for {settings['max_iters']:,} steps with {settings['batch_size']} pairs each, and sees the "
        f"same pairs in the same order. Afterwards it translates the same {content['pairs']:,} pairs, of days that "
        f"are not in training in any language. An answer is right if all its characters are. Mean ± standard "
        f"deviation over {len(content['rows'][0]['records'])} seeds. Decoding is greedy, except in the row that says "
        f"otherwise.",
        f"The change is the difference to the Transformer, in percentage points of wrong answers. The verdict comes "
        f"from a paired t-test over seeds (two-sided, level {LEVEL:.0%}); a mean difference below "
        f"{100 * SMALL:.1f} points counts as no difference.",
        "The Transformer and both LSTMs have the best learning rate of a coarse grid, tried once each for half of the "
        "steps, with a seed that is not among the reported ones; the other two rows have the Transformer's. Validation "
        "losses in the search: "
        f"{tried}.",
        f"Trained on {machines(records)}.",
        f"How long a training step takes, for {timed['batch_size']} random pairs with T tokens in the source and T in "
        f"the target, in milliseconds: median and, in parentheses, quartiles of {timed['rounds']} steps. The models "
        f"took turns ({timed['device']}, torch {timed['torch']}, threads: {timed['threads']}).",
    ]
    parts = [f"# {TITLE}", f"![{TITLE}](dates.png)", results(content), *notes, times(content)]
    return "\n\n".join(parts) + "\n"


def picture(content: dict[str, Any]) -> bytes:
    """On the left the right answers during training, on the right the time of a step against the length, as a PNG."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    ends = []
    for i, row in enumerate(content["rows"]):
        histories = [record["history"] for record in row["records"]]
        x = [evaluation["step"] for evaluation in histories[0]]
        y = [100 * mean(e["exact"] for e in evaluations) for evaluations in zip(*histories, strict=True)]
        left.plot(x, y, color=COLORS[i], linestyle=STYLES[i])
        ends.append((row["name"].replace("Transformer without", "without"), x[-1], y[-1], COLORS[i]))
    left.set(xlabel="training step", ylabel="right answers (%)", ylim=(0, 105))
    label_ends(left, ends)
    ends, lengths = [], content["times"]["lengths"]
    for name, quartiles in content["times"]["ms"].items():
        i = [row["name"] for row in content["rows"]].index(name)
        right.plot(lengths, [q[1] for q in quartiles], color=COLORS[i], linestyle=STYLES[i], marker="o", markersize=3)
        right.fill_between(
            lengths, [q[0] for q in quartiles], [q[2] for q in quartiles], color=COLORS[i], alpha=0.15, linewidth=0
        )
        ends.append((name, lengths[-1], quartiles[-1][1], COLORS[i]))
    right.set(xlabel="tokens in source and target", ylabel="training step (ms)", ylim=(0, None))
    label_ends(right, ends)
    figure.suptitle(TITLE)
    return png(figure, dpi=150)


def files(content: dict[str, Any]) -> dict[str, bytes]:
    """The files that show the study, by name."""
    return {"dates.md": page(content).encode("utf-8"), "dates.png": picture(content)}
