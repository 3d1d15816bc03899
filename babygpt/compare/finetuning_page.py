"""The page, the table and the picture of the study of finetuning, from results/finetuning.json."""

from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from babygpt.compare.pictures import COLORS, STYLES
from babygpt.compare.records import machines
from babygpt.compare.table import markdown, spread
from babygpt.compare.verdict import LEVEL, SMALL, verdict
from babygpt.harness.pictures import png

TITLE = "Pretrain on the Bible, finetune on Shakespeare"
COLUMNS = ["Shakespeare", "model", "steps:", "trained weights:", "rate:", "val loss:", "change:", "against", "verdict"]
NAMES = {10: "a tenth", 100: "a hundredth"}


def results(content: dict[str, Any]) -> str:
    """The table of the rows: the loss, the change against another row, and the verdict."""
    found = {(row["part"], row["name"]): [record["best"] for record in row["records"]] for row in content["rows"]}
    lines = []
    for row in content["rows"]:
        first, losses = row["records"][0], found[row["part"], row["name"]]
        steps = f"{first['settings']['max_iters']:,}"
        line = {
            "Shakespeare": NAMES[row["part"]],
            "model": row["name"],
            "steps": f"{content['pretraining']['max_iters']:,} + {steps}" if first["pretrained"] else steps,
            "trained weights": f"{first['trained']:,}",
            "rate": f"{first['settings']['learning_rate']:g}",
            "val loss": spread(losses),
        }
        if row["before"]:
            base = found[row["part"], row["before"]]
            line |= {
                "change": f"{mean(losses) - mean(base):+.3f}", "against": row["before"],
                "verdict": verdict(base, losses),
            }  # fmt: skip
            if row["name"] == "finetuned":  # the fairer rival, too
                rival = "from scratch, all steps on Shakespeare"
                lines.append(line)
                base = found[row["part"], rival]
                line = {
                    "Shakespeare": NAMES[row["part"]], "model": row["name"], "against": rival,
                    "change": f"{mean(losses) - mean(base):+.3f}", "verdict": verdict(base, losses),
                }  # fmt: skip
        lines.append(line)
    return markdown(COLUMNS, lines)


def untuned(content: dict[str, Any]) -> float:
    """The mean loss on Shakespeare of the pretrained models, before any finetuning."""
    rows = [row for row in content["rows"] if row["name"] == "finetuned"]
    return mean(record["history"][0]["val"] for row in rows for record in row["records"])


def page(content: dict[str, Any]) -> str:
    """The page, in Markdown."""
    records = [record for row in content["rows"] for record in row["records"]]
    settings, before = records[0]["settings"], content["pretraining"]
    sizes = ", ".join(f"{NAMES[part]} has {n:,}" for part, n in sorted({(r["part"], r["characters"]) for r in records}))
    on_prose = mean({r["seed"]: r["prose"] for r in records if r["pretrained"]}.values())
    tried = "; ".join(
        f"{name}: " + ", ".join(f"{rate} {loss:.3f}" for rate, loss in losses.items())
        for name, losses in content["search"]["losses"].items()
    )
    notes = [
        f"Version 10 with {records[0]['parameters']:,} parameters. Pretrained models have seen {before['max_iters']:,} "
        f"batches of the American Standard Version of the Bible ({before['batch_size']} chunks of "
        f"{before['block_size']} characters each), and reach a validation loss of {on_prose:.3f} there. Before any "
        f"finetuning their loss on Shakespeare is {untuned(content):.3f}.",
        f"All rows learn from the beginning of Shakespeare's training part only ({sizes} characters), in batches of "
        "the same size. The validation chunks are drawn from the usual validation part. The loss, in nats per "
        "character, is the lowest of the evaluations of a run, as if training had been stopped there; mean ± standard "
        f"deviation over {len(content['rows'][0]['records'])} seeds. A step costs the same in all rows, except with "
        "LoRA, so the row with all steps on Shakespeare has the compute of pretraining and finetuning together.",
        f"LoRA has rank {next(r['rank'] for r in records if r['rank'])} and adapts all linear layers but the output "
        "layer; embeddings and norms are frozen.",
        f"The verdict comes from a paired t-test over seeds (two-sided, level {LEVEL:.0%}); a mean difference below "
        f"{SMALL} nats counts as no difference.",
        "The learning rates are the best of a coarse grid, tried once each with a seed that is not among the reported "
        f"ones; the long runs from scratch have the rate of the short ones. Losses in the search: {tried}.",
        f"Evaluations used {settings['eval_iters']} batches. Trained on {machines(records)}.",
    ]
    return "\n\n".join([f"# {TITLE}", f"![{TITLE}](finetuning.png)", results(content), *notes]) + "\n"


def picture(content: dict[str, Any]) -> bytes:
    """The validation loss during training, on the left with a tenth, on the right with a hundredth, as a PNG."""
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    parts = sorted({row["part"] for row in content["rows"]})
    for ax, part in zip(figure.subplots(1, 2, sharey=True), parts, strict=True):
        for i, row in enumerate(row for row in content["rows"] if row["part"] == part):
            histories = [record["history"] for record in row["records"]]
            if not row["records"][0]["pretrained"]:
                histories = [history[1:] for history in histories]  # the loss of random weights would flatten the rest
            x = [evaluation["step"] for evaluation in histories[0]]
            y = [mean(e["val"] for e in evaluations) for evaluations in zip(*histories, strict=True)]
            name = row["name"].replace("all steps on Shakespeare", f"{x[-1]} steps")
            ax.plot(x, y, color=COLORS[i], linestyle=STYLES[i], marker="o", markersize=3, label=name)
        ax.set(xlabel="steps on Shakespeare", ylabel="validation loss (nats per character)")
        ax.set_title(f"{NAMES[part]} of Shakespeare")
        ax.legend(frameon=False)  # lines from the ends of the short curves would look like curves that go on
    figure.suptitle(TITLE)
    return png(figure, dpi=150)


def files(content: dict[str, Any]) -> dict[str, bytes]:
    """The files that show the study, by name."""
    return {"finetuning.md": page(content).encode("utf-8"), "finetuning.png": picture(content)}
