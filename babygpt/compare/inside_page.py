"""The page and the tables of the study of lesson 18, from results/inside.json."""

import math
from collections.abc import Sequence
from typing import Any

from babygpt.compare.inside_pictures import LAYERS, by_layers, head_names, pictures
from babygpt.compare.records import machines
from babygpt.compare.table import markdown, spread
from babygpt.compare.verdict import LEVEL, verdict

TITLE = "What has it learned?"
KNOWN = math.log(65) / 2  # nats: a model whose loss on the second copy is below this is said to have learned to copy
NAMED = 0.5  # a head that gives more than this to one kind of position is named after it
PROMPT, COPY_AT = (
    16,
    7,
)  # characters in a prompt of the plays; the position of the earlier copy where a string comes twice


def percent(interval: Sequence[float], digits: int = 0) -> str:
    """A share with its interval, in percent."""
    mean, low, high = (f"{round(100 * x, digits) + 0.0:.{digits}f}" for x in interval)  # + 0.0: no -0
    return f"{mean} ({low} to {high})"


def nats(interval: Sequence[float], sign: str = "", digits: int = 3) -> str:
    """A loss, or with the sign "+" a change of a loss, with its interval."""
    mean, low, high = (f"{x:{sign}.{digits}f}" for x in interval)
    return f"{mean} ({low} to {high})"


def looks_at(model: dict[str, Any], head: int) -> str:
    """The kind of position that gets more than half of a head's weight; "" if none does."""
    return next((kind for kind, column in model["heads"].items() if column[head][0] > NAMED), "")


def embeddings(content: dict[str, Any]) -> str:
    """The table of kinds of characters: how similar they are, against chance, and again in the other models."""
    first, *others = (model["embeddings"]["kinds"] for model in content["models"])
    lines = [
        {"characters": f"{row['n']} {kind}s" if kind != "other" else f"{row['n']} others", **chances(row, 2)}
        | {"other seeds": ", ".join(f"{other[kind]['found']:.2f}" for other in others)}
        for kind, row in first.items()
    ]
    return markdown(["characters", "mean cosine:", "by chance:", "p:", "other seeds:"], lines)


def chances(row: dict[str, Any], digits: int) -> dict[str, str]:
    """The cells of a statistic and what it is by chance."""
    low, high = row["by chance"]
    return {
        "mean cosine": f"{row['found']:.{digits}f}",
        "by chance": f"{low:.{digits}f} to {high:.{digits}f}",
        "p": f"{row['p']:.4f}",
    }


def heads(content: dict[str, Any]) -> str:
    """The table of all heads: the weight on each kind of position, in percent, and uniform attention's."""
    model = content["models"][0]
    names, kinds = [*head_names(model), "uniform"], model["heads"]
    lines = []
    for i, name in enumerate(names):
        line = {"head": name}
        for kind, column in kinds.items():
            share = f"{100 * column[i][0]:.0f}"
            line[kind] = f"**{share}**" if column[i][0] > NAMED else share
        lines.append(line)
    wide = {kind: max(half_width(interval) for interval in column) for kind, column in kinds.items()}
    note = (
        f"The intervals reach at most {max(w for kind, w in wide.items() if kind != 'speaker'):.1f} points to either "
        f"side, and {wide['speaker']:.1f} for *speaker*, which fewer chunks have."
    )
    return markdown(["head", *(f"{kind}:" for kind in kinds)], lines) + f"\n\n{note}"


def half_width(interval: Sequence[float]) -> float:
    """How far the interval of a share reaches from its mean, in percentage points."""
    mean, low, high = interval
    return 100 * max(mean - low, high - mean)


def ablation(content: dict[str, Any]) -> str:
    """The table of what the loss does without each head."""
    model = content["models"][0]
    lines = [
        {
            "without head": name,
            "it looked at": looks_at(model, i),
            "zeros": nats(zero, "+"),
            "its mean": nats(mean, "+"),
        }
        for i, (name, zero, mean) in enumerate(
            zip(head_names(model), model["ablation"]["zero"], model["ablation"]["mean"], strict=True)
        )
    ]
    return markdown(["without head", "it looked at", "zeros:", "its mean:"], lines)


def lens(content: dict[str, Any]) -> str:
    """The table of the logit lens."""
    found = content["models"][0]["lens"]
    rows = zip(found["losses"], found["agreement"], strict=True)
    lines = [
        {
            "read out after": f"block {n}" if n else "the embedding",
            "loss": nats(loss),
            "same guess, in %": percent(share),
        }
        for n, (loss, share) in enumerate(rows)
    ]
    return markdown(["read out after", "loss:", "same guess, in %:"], lines)


def learned_at(record: dict[str, Any]) -> int | None:
    """The first evaluation at which the loss on the second copy is below half of log 65; None if there is none."""
    return next((e["step"] for e in record["history"] if e["second"] < KNOWN), None)


def copying(content: dict[str, Any]) -> str:
    """The table of the copying models."""
    groups, lines = by_layers(content), []
    before = [record["history"][-1]["second"] for record in groups[1]]
    for layers, records in groups.items():
        last, steps = [record["history"][-1] for record in records], [learned_at(record) for record in records]
        lines.append(
            {
                "attention only": LAYERS[layers],
                "parameters": f"{records[0]['parameters']:,}",
                "first copy": spread([e["first"] for e in last], 2),
                "second copy": spread([e["second"] for e in last], 2),
                "right, in %": spread([100 * e["exact"] for e in last], 0),
                "best induction head, in %": spread([100 * max(e["induction"]) for e in last], 0),
                "learned at step": "never" if None in steps else ", ".join(map(str, sorted(steps))),
                "verdict": verdict(before, [e["second"] for e in last]) if layers > 1 else "",
            }
        )
    columns = ["parameters", "first copy", "second copy", "right, in %", "best induction head, in %", "learned at step"]
    return markdown(["attention only", *(f"{column}:" for column in columns), "verdict"], lines)


def copies(content: dict[str, Any]) -> str:
    """The table of whether the models of the plays copy."""
    lines = [
        {
            "32 characters": {"random": "random", "text": "of the plays"}[name],
            "seed": str(model["seed"]),
            **{key: nats(model["copies"][name][found]) for key, found in AFTER.items()},
            "change": nats(model["copies"][name]["change"], "+"),
        }
        for name in ("random", "text")
        for model in content["models"]
    ]
    return markdown(["32 characters", "seed:", *(f"{key}:" for key in AFTER), "change:"], lines)


AFTER = {"after others": "another", "after themselves": "itself"}


def patching(content: dict[str, Any]) -> str:
    """The table of what comes back when one vector is patched: in the model of the plays, and in one that copies."""
    plays, copying = content["models"][0]["patching"], by_layers(content)[2][0]["patching"]
    last, at = len(plays["shares"][0]) - 1, COPY_AT
    lines = []
    for n, row in enumerate(plays["shares"]):
        line = {"patched after": f"block {n}" if n else "the embedding"}
        line |= {"plays: last but one": percent(row[last - 1]), "plays: last": percent(row[last])}
        if n < len(copying["shares"]):
            found = copying["shares"][n]
            line |= {
                "copying: earlier copy": percent(found[at]),
                "copying: the one after": percent(found[at + 1]),
                "copying: last": percent(found[-1]),
            }
        lines.append(line)
    return markdown([f"{column}:" if ":" in column else column for column in lines[0]], lines)


def models(content: dict[str, Any]) -> str:
    """The table of the three models of version 10: is what was found in one there in the others?"""
    found = content["models"]
    lines = [
        {"": "vowels: mean cosine (p)"},
        {"": "capitals closer to their own lowercase letter than to any other, of 26"},
    ]
    for model in found:
        vowels = model["embeddings"]["kinds"]["vowel"]
        lines[0][column(model)] = f"{vowels['found']:.2f} ({vowels['p']:.3f})"
        lines[1][column(model)] = str(len(model["embeddings"]["own capitals"]))
    for kind in found[0]["heads"]:
        lines.append({"": f"most weight on {kind}, in %"})
        for model in found:
            i = max(range(len(head_names(model))), key=lambda i, kind=kind, model=model: model["heads"][kind][i][0])
            lines[-1][column(model)] = f"{100 * model['heads'][kind][i][0]:.0f} (head {head_names(model)[i]})"
    lines.append({"": "the head that matters most: change of the loss"})
    for model in found:
        changes = [change[0] for change in model["ablation"]["zero"]]
        i = changes.index(max(changes))
        lines[-1][column(model)] = f"{changes[i]:+.2f} (head {head_names(model)[i]}, {looks_at(model, i) or 'no name'})"
    lines.append({"": "loss after the embedding and each block"})
    for model in found:
        lines[-1][column(model)] = ", ".join(f"{loss[0]:.2f}" for loss in model["lens"]["losses"])
    return markdown(["", *(f"{column(model)}:" for model in found)], lines)


def column(model: dict[str, Any]) -> str:
    """The heading of a model's column."""
    return f"seed {model['seed']}"


def page(content: dict[str, Any]) -> str:
    """The page, in Markdown."""
    shipped, records = content["models"][0], content["models"] + content["copying"]
    plays, copied = shipped["patching"], by_layers(content)[2][0]["patching"]
    seeds = [str(model["seed"]) for model in content["models"]]
    share = shipped["embeddings"]["neighbors"]
    low, high = (f"{100 * x:.0f}" for x in share["by chance"])
    clean, corrupted, answer = (repr(text) for text in plays["first"])
    parts = [
        f"# {TITLE}",
        f"Version 10 by its recipe `laptop`: the model that comes with the package (seed {seeds[0]}) and, where it "
        f"says so, those of the seeds {' and '.join(seeds[1:])}. All intervals are 95% intervals by the bootstrap over "
        f"{shipped['chunks']} chunks of the validation text, the same for all. They say how sure a number is for these "
        "models and for text like this one, and nothing about other models.",
        "## Embeddings",
        "![Characters by two principal axes, and the similarity of four kinds](inside-embeddings.png)",
        "The mean cosine between the vectors of characters of one kind, and where 95% of the means lie if as many "
        "characters are drawn at random. p is the share of random draws that give at least as much.",
        embeddings(content),
        f"The nearest neighbor is of the same kind for {100 * share['found']:.0f}% of the characters; if kinds are "
        f"dealt out at random, for {low}% to {high}% (p = {share['p']:.2f}). For "
        f"{len(shipped['embeddings']['own capitals'])} of 26 capitals, the most similar lowercase letter is their own.",
        "## Heads",
        "![The weight of each head on each kind of position](inside-heads.png)",
        "The mean weight on each kind of position, in percent. More than half is in bold. The last row is attention "
        "that looks everywhere equally.",
        heads(content),
        "## Ablation",
        "![The change of the loss without each head](inside-ablation.png)",
        "The loss without a head minus the loss with it, in nats, chunk by chunk, if the head writes zeros, or its "
        "mean output.",
        ablation(content),
        "## The logit lens",
        "![The loss after each layer, and what each layer would have said](inside-lens.png)",
        "The loss if final norm and lm_head read the stream there, and at how many positions the likeliest character "
        "is already the one that the model ends with.",
        lens(content),
        "## Induction",
        "![The loss on the second copy of a random string during training](inside-induction.png)",
        f"Models with nothing but attention, trained on random strings that repeat. Mean ± standard deviation over "
        f"{len(by_layers(content)[1])} seeds, on strings of 32 characters. A model is said to have learned it at the "
        f"first evaluation with a loss on the second copy below {KNOWN:.2f}, half of log 65. The verdict comes from a "
        f"paired t-test over seeds on that loss (two-sided, level {LEVEL:.0%}).",
        copying(content),
        "And the models of the plays: the loss on 32 characters that come after others, or after themselves, at the "
        "same positions.",
        copies(content),
        "## Patching",
        "![What comes back when one vector is patched](inside-patching.png)",
        f"The share of the lost log probability that comes back, in percent. Plays: the letter before the last one of "
        f"{PROMPT} characters is another one, for example {corrupted} in place of {clean}, with the answer {answer}. "
        f"Of {plays['of']:,} prompts, the {plays['prompts']} are taken in which the answer had at least half of the "
        f"probability and became at least e times less likely. Copying: a random string of 16 characters and its first "
        f"8 again; in the corrupted prompt the eighth is another one the first time, so nothing says what followed it "
        f"({copied['prompts']} prompts, the first seed of two layers).",
        patching(content),
        "## Is it so in other models?",
        models(content),
        f"Trained and measured on {machines(records)}.",
    ]
    return "\n\n".join(parts) + "\n"


def files(content: dict[str, Any]) -> dict[str, bytes]:
    """The page and the pictures, by name."""
    return {"inside.md": page(content).encode("utf-8")} | pictures(content)


# The blocks of the lesson that show the tables.
TABLES = {
    "heads_table": heads,
    "ablation_table": ablation,
    "copying_table": copying,
    "copies_table": copies,
    "patching_table": patching,
    "models_table": models,
}
