"""The page, the tables and the picture of the study of assistants, from results/assistant.json."""

from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from babygpt.beyond.assistant.instructions import TASKS
from babygpt.compare.pictures import COLORS, STYLES, label_ends
from babygpt.compare.records import machines
from babygpt.compare.table import markdown, spread
from babygpt.compare.verdict import LEVEL, verdict
from babygpt.harness.pictures import png

TITLE = "From a completer to an assistant"
NAMES = {
    "pretrain": "pretrained",
    "sft": "SFT",
    "ppo-0": "PPO without KL",
    "ppo": "PPO with KL",
    "grpo": "GRPO with KL",
    "dpo": "DPO",
}
TRAINED = ("ppo-0", "ppo", "grpo", "dpo")


def obeyed(content: dict[str, Any]) -> str:
    """The table of obeying rates, in percent."""
    tasks = [*TASKS, "all"]
    lines = [
        {"after": name}
        | {task: spread([100 * r["obeyed"][key][task] for r in content["records"]], 0) for task in tasks}
        for key, name in NAMES.items()
    ]
    return markdown(["after", *(f"{task}:" for task in tasks)], lines)


def samples(content: dict[str, Any]) -> str:
    """The first instruction of each task, and what three models of the first seed say to it."""
    found, columns = content["records"][0]["samples"], ("pretrain", "sft", "ppo-0")
    lines = [
        {"prompt": code(prompt)} | {NAMES[key]: code(found[key][i]) for key in columns}
        for i, prompt in enumerate(found["prompt"])
    ]
    return markdown(["prompt", *(NAMES[key] for key in columns)], lines)


def code(text: str) -> str:
    """A text for a cell of a table: newlines become arrows, and what is longer than 40 characters is cut."""
    text = text.replace("\n", "↵")
    return f"`{text[:40]}…`" if len(text) > 40 else f"`{text}`"


def policies(content: dict[str, Any]) -> str:
    """The table of what reinforcement did: the answers of each policy at the end, and a verdict on what is liked."""
    lines, records = [], content["records"]
    before = [1 - r["history"]["ppo"][0]["liked"] for r in records]
    ends = {"sft": [r["history"]["ppo"][0] for r in records]}
    ends |= {key: [r["history"][key][-1] for r in records] for key in TRAINED}
    for key, last in ends.items():
        lines.append(
            {
                "answers of": NAMES[key],
                "reward": spread([e["reward"] for e in last], 1),
                "liked, in %": spread([100 * e["liked"] for e in last], 0),
                "words that exist, in %": spread([100 * e["spelled"] for e in last], 0),
                "KL": spread([e["kl"] for e in last], 1),
                "the rater": "" if key == "sft" else verdict(before, [1 - e["liked"] for e in last]),
            }
        )
    columns = ["answers of", "reward:", "liked, in %:", "words that exist, in %:", "KL:"]
    return markdown(columns + ["the rater"] * (len(records) > 1), lines)


def page(content: dict[str, Any]) -> str:
    """The page, in Markdown."""
    records = content["records"]
    several = len(records) > 1
    seeds = f"{len(records)} seeds, ± standard deviation" if several else "one seed, so this is a single run"
    judged = (
        f" The last column is the verdict of a paired t-test over seeds (two-sided, level {LEVEL:.0%}) on the change "
        "in what the rater likes, against SFT."
    )
    accuracy = spread([100 * r["history"]["reward"][-1]["accuracy"] for r in records], 0)
    minutes = spread([sum(r["seconds"].values()) / 60 for r in records], 1)
    parts = [
        f"# {TITLE}",
        f"![{TITLE}](assistant.png)",
        "The share of held-out instructions that are obeyed, in percent, 50 of each task; "
        f"{seeds}. All models take the likeliest character. The pretrained model knows no "
        "special tokens: it gets the instruction and a newline, and what it writes is cut where the right answer ends.",
        obeyed(content),
        "The first instruction of each task, and what the models of the first seed say (at most 40 characters):",
        samples(content),
        "What reinforcement did to the task *voice*: 128 answers drawn to held-out prompts, some of which come more "
        "than once. The reward is the reward "
        f"model's; it puts {accuracy} percent of the held-out pairs in the right order. The KL is that to the SFT "
        "model, in nats per answer." + (judged if several else ""),
        policies(content),
        f"Training took {minutes} minutes for all stages of a seed, evaluations included, without collecting the pairs "
        f"and without the exam at the end, on {machines(records)}.",
    ]
    return "\n\n".join(parts) + "\n"


def picture(content: dict[str, Any]) -> bytes:
    """The reward, what the rater likes, and the KL during training, one panel each, as a PNG."""
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    panels = {"reward": "the reward model's score", "liked": "liked by the rater (%)", "kl": "KL (nats per answer)"}
    for ax, (key, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        ends = []
        for i, name in enumerate(TRAINED):
            histories = [record["history"][name] for record in content["records"]]
            x = [evaluation["step"] for evaluation in histories[0]]
            factor = 100 if key == "liked" else 1
            y = [factor * mean(e[key] for e in evaluations) for evaluations in zip(*histories, strict=True)]
            ax.plot(x, y, color=COLORS[i], linestyle=STYLES[i])
            ends.append((NAMES[name], x[-1], y[-1], COLORS[i]))
        ax.set(xlabel="update", ylabel=title)
        label_ends(ax, ends)
    return png(figure)


def files(content: dict[str, Any]) -> dict[str, bytes]:
    """The page and the picture, by name."""
    return {"assistant.md": page(content).encode(), "assistant.png": picture(content)}
