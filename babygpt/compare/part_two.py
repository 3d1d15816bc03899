"""What the comparisons of part two train."""

import importlib

from babygpt.beyond import models
from babygpt.beyond.models import LLAMA, NANOGPT
from babygpt.compare.table import Row
from babygpt.errors import UserError, require
from babygpt.versions import VERSIONS, Recipe

GPT2 = "babygpt.beyond.gpt2"
MODERN = "babygpt.beyond.modern"
NANOGPT_SAYS = 1.88  # the validation loss in nanoGPT's README for its quick start on a CPU

MERGES = [0, 512, 1024, 4096]  # 0: characters
STEPS = 1000  # of the model of characters

# The same blocks, the same number of tokens in a batch, and about the same number of multiplications in a run.
TOKENS: Recipe = NANOGPT | dict(min_lr=0.0, warmup_iters=50, eval_iters=50, device="cpu")
TOKENS = {name: value for name, value in TOKENS.items() if name != "learning_rate"}  # the best is searched for

# Modern parts: a small model and a short run, because each part has a row, a search for its learning rate, and seeds.
PARTS: Recipe = dict(block_size=64, n_embd=64, n_head=4, n_layer=3, init_std=0.05, batch_size=16, max_iters=500,
                     warmup_iters=50, lr_schedule="linear", weight_decay=0.1, beta2=0.99, grad_clip=1.0,
                     eval_interval=125, eval_iters=20, device="cpu")  # fmt: skip
CHANGES: dict[str, Recipe] = {
    "RoPE": dict(positions="rope"),
    "RMSNorm": dict(norm="rms"),
    "post-norm": dict(norm_at="post"),
    "tied weights": dict(tied=True),
    "squared ReLU": dict(activation="relu2"),
    "SwiGLU": dict(activation="swiglu"),
    "2 heads of keys and values": dict(n_kv_head=2),
    "QK-norm": dict(qk_norm=True),
    "zero projections": dict(zero_proj=True),
    "LLaMA": LLAMA,
}
POSITIONS = {"learned": "learned", "none": "none", "sinusoidal": "sinusoids", "rope": "RoPE", "alibi": "ALiBi"}
FARTHEST = 4  # the longest context that the study of positions tries, in multiples of block_size

# The recipe `laptop` of version 10 with AdamW, and what makes it faster, one after the other.
LADDER: Recipe = VERSIONS[9].preset("laptop") | dict(max_iters=800, eval_interval=100, device="cpu")
RUNGS: dict[str, tuple[str, Recipe]] = {
    "Muon": ("Muon for the matrices inside the model", {"optimizer": "muon"}),
    "RoPE": ("RoPE instead of learned positions", {"positions": "rope"}),
    "pairs": ("a vector for each pair of characters, too", {"ngrams": 2}),
    "triples": ("and for each triple", {"ngrams": 3}),
}

# The same changes, and one more, in the same seconds: each row has as many steps as fit into them on two quiet cores.
SAME_SECONDS: dict[str, tuple[str, Recipe]] = {
    "AdamW": ("version 10 with AdamW", dict(optimizer="adamw", learning_rate=3e-3, max_iters=1250)),
    "Muon": (RUNGS["Muon"][0], dict(optimizer="muon", learning_rate=9e-3, max_iters=990)),
    "RoPE": (RUNGS["RoPE"][0], dict(positions="rope", max_iters=925)),
    "triples": ("a vector for each pair and each triple of characters, too", dict(ngrams=3, max_iters=900)),
    "two blocks": (
        "two blocks instead of three, a lower learning rate",
        dict(n_layer=2, learning_rate=6e-3, max_iters=1240),
    ),
}


def ladder_rows() -> list[Row]:
    """From version 10 with AdamW, whose learning rate is searched for, to the fastest recipe."""
    settings = {name: value for name, value in LADDER.items() if name not in ("optimizer", "learning_rate")}
    rows = [Row("AdamW", "", "version 10 with AdamW", MODERN, settings, free=("optimizer", "learning_rate"))]
    settings = LADDER
    for name, (adds, changes) in RUNGS.items():
        settings = settings | changes
        rows.append(Row(name, "", adds, MODERN, settings, rows[-1].name, free=("optimizer", "learning_rate")))
    return rows


def seconds_rows() -> list[Row]:
    """The changes in the same seconds, and version 10's recipe `laptop` to its end."""
    rows: list[Row] = []
    settings = LADDER
    for name, (adds, changes) in SAME_SECONDS.items():
        settings = settings | changes | dict(eval_interval=changes["max_iters"] // 4)
        before = rows[-1].name if rows else None
        rows.append(Row(name, "", adds, MODERN, settings, before, free=(*changes, "eval_interval")))
    laptop = VERSIONS[9].preset("laptop") | dict(device="cpu")
    return [*rows, Row("v10 laptop", "", "version 10's recipe for a laptop", "babygpt.v10", laptop)]


def coffee_rows() -> list[Row]:
    """The modern recipe that takes as long as a coffee."""
    settings = models.MODERN.preset("coffee") | dict(device="cpu")
    return [Row("coffee", "", "the modern recipe coffee", MODERN, settings)]


def idea_rows(module: str) -> list[Row]:
    """Version 10 and a learner's own idea, trained in the same way.

    Raises:
        UserError: there is no such module, or it has no `Model` and `Config`.
    """
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"--idea needs the name of a Python module, without .py, and {module!r} cannot be imported ({error})"
        ) from None
    for name in ("Model", "Config"):
        require(hasattr(found, name), f"--idea needs a module with a Model and a Config, and {module} has no {name}")
    return [
        Row("version 10", "", "the parts of version 10", MODERN, PARTS),
        Row(module, "", "your idea", module, PARTS, "version 10"),
    ]


def part_rows() -> list[Row]:
    """Version 10 as it is, and with one part swapped at a time; at the end with all of LLaMA's."""
    rows = [Row("version 10", "", "the parts of version 10", MODERN, PARTS)]
    return rows + [Row(name, name, "", MODERN, PARTS | changes, "version 10") for name, changes in CHANGES.items()]


def position_rows() -> list[Row]:
    """Five kinds of positions, scored on longer contexts than they were trained with."""
    settings = PARTS | dict(longer=FARTHEST)
    return [
        Row(name, name, "", MODERN, settings | dict(positions=kind), None if kind == "learned" else "learned")
        for kind, name in POSITIONS.items()
    ]


def nanogpt_rows() -> list[Row]:
    """nanoGPT's recipe for a CPU: with version 10 as the model, with GPT-2, and with GPT-2 and one thing changed."""
    recipe = NANOGPT | dict(device="cpu", eval_iters=50)
    gpt2 = "GPT-2 as in nanoGPT: GELU, tied weights, no biases"
    return [
        Row("v10", "nanoGPT's sizes and recipe", "version 10 at these sizes", "babygpt.v10", recipe),
        Row("gpt2 nanogpt", "", gpt2, GPT2, recipe, "v10", NANOGPT_SAYS),
        Row("gpt2 untied", "", "GPT-2 with an output layer of its own", GPT2, recipe | {"tied": False}, "gpt2 nanogpt"),
        Row("gpt2 biases", "", "GPT-2 with biases", GPT2, recipe | {"bias": True}, "gpt2 nanogpt"),
    ]


def token_rows() -> list[Row]:
    """Characters against byte pairs, at equal compute: fewer steps for a larger output layer."""
    rows = []
    for merges in MERGES:
        vocab_size = 256 + merges if merges else 65
        steps = round(STEPS * multiplications(65) / multiplications(vocab_size))
        settings = TOKENS | {
            "tokenizer": f"bpe:{merges}" if merges else "char",
            "max_iters": steps,
            "eval_interval": steps // 10,
        }
        name = f"{merges:,} merges" if merges else "characters"
        free = ("max_iters", "eval_interval")
        rows.append(Row(name, name, "", GPT2, settings, "characters" if merges else None, free=free))
    return rows


def multiplications(vocab_size: int) -> int:
    """Multiplications that a forward pass needs per token: matrices of the blocks, attention, and the output layer."""
    layers, C, T = TOKENS["n_layer"], TOKENS["n_embd"], TOKENS["block_size"]
    return layers * (12 * C**2 + 2 * T * C) + vocab_size * C
