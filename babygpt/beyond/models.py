"""The models of part two and the recipes that train them, in one table."""

from dataclasses import dataclass, field

from babygpt.versions import VERSIONS, Recipe, Trainable

# nanoGPT's quick start on a CPU: config/train_shakespeare_char.py with the flags of its README.
NANOGPT: Recipe = dict(block_size=64, n_embd=128, n_head=4, n_layer=4, dropout=0.0, bias=False, batch_size=12,
                       learning_rate=1e-3, min_lr=1e-4, warmup_iters=100, lr_schedule="cosine", max_iters=2000,
                       beta2=0.99, weight_decay=0.1, decay="matrices", grad_clip=1.0, eval_interval=250,
                       eval_iters=20)  # fmt: skip


@dataclass(frozen=True)
class Idea(Trainable):
    """A model of part two."""

    path: str
    title: str
    adds: str
    presets: dict[str, Recipe] = field(repr=False)
    next: str | None = None


GPT2 = Idea(
    "babygpt.beyond.gpt2",
    "GPT-2",
    "the network of GPT-2 and nanoGPT, on characters or tokens, and with pretrained weights",
    {
        "nanogpt": NANOGPT,
        # A pretrained model knows a lot already: a low learning rate, and few steps.
        "finetune": NANOGPT | dict(block_size=128, batch_size=4, accumulation=4, learning_rate=3e-5, min_lr=0.0,
                                   warmup_iters=10, lr_schedule="constant", max_iters=100, eval_interval=20,
                                   eval_iters=5, bias=True),
    },
)  # fmt: skip

# Dates in words to digits: a minute or two on two cores.
DATES: Recipe = dict(block_size=48, n_embd=64, n_head=4, n_layer=2, dropout=0.0, label_smoothing=0.1, batch_size=64,
                     learning_rate=4e-3, warmup_iters=100, lr_schedule="linear", max_iters=1200, beta2=0.99,
                     grad_clip=1.0, eval_interval=200, eval_iters=6)  # fmt: skip

ENCODER_DECODER = Idea(
    "babygpt.beyond.encoder_decoder",
    "the original Transformer",
    "an encoder and a decoder with cross-attention: dates in words of 26 languages to digits",
    {"dates": DATES},
)

# Part by part what LLaMA is made of, at the sizes and steps of nanoGPT's quick start.
LLAMA: Recipe = dict(positions="rope", norm="rms", activation="swiglu", bias=False, n_kv_head=2, tied=False)

# What helped version 10's recipe `laptop` (results/seconds.md): RoPE, vectors for pairs and triples, fewer blocks.
LAPTOP: Recipe = VERSIONS[9].preset("laptop") | dict(positions="rope", ngrams=3, n_layer=2, learning_rate=6e-3,
                                                     max_iters=1240, eval_interval=310)  # fmt: skip

# The lecture's loss on two cores of a CPU, over a coffee.
COFFEE: Recipe = VERSIONS[9].preset("laptop") | dict(
    positions="rope", activation="relu2", qk_norm=True, zero_proj=True,
    block_size=128, n_embd=192, n_head=3, n_layer=6, dropout=0.1, batch_size=32,
    learning_rate=6e-3, max_iters=1800, eval_interval=300, eval_iters=10,
)  # fmt: skip

MODERN = Idea(
    "babygpt.beyond.modern",
    "modern parts",
    "version 10 with a choice for each part: RoPE, RMSNorm, SwiGLU and what else has been swapped since",
    {
        "llama": NANOGPT | LLAMA,
        "v10": NANOGPT | dict(bias=True),
        "laptop": LAPTOP,
        "coffee": COFFEE,
    },
)

# Arithmetic as text: ten seconds of one core for two-digit sums, and half a minute for the others.
SUMS: Recipe = dict(operation="+", digits=2, block_size=24, n_embd=64, n_head=4, n_layer=2, dropout=0.0, init_std=0.05,
                    batch_size=64, optimizer="muon", learning_rate=1e-2, warmup_iters=100, lr_schedule="linear",
                    weight_decay=0.1, beta2=0.99, grad_clip=1.0, max_iters=800, eval_interval=100,
                    eval_iters=8)  # fmt: skip

ARITHMETIC = Idea(
    "babygpt.beyond.arithmetic",
    "arithmetic",
    "version 10 on data of one's own: sums, differences and products as text",
    {
        "add2": SUMS,
        "add3": SUMS | dict(digits=3, learning_rate=2e-2, max_iters=1500, eval_interval=250),
        "subtract": SUMS | dict(operation="-", max_iters=1000, eval_interval=200),
        "multiply": SUMS | dict(operation="*", steps=True, learning_rate=2e-2, max_iters=1000, eval_interval=200),
    },
)

# Random strings that repeat: a minute of one core.
REPEATS: Recipe = dict(block_size=64, n_embd=64, n_head=4, n_layer=2, dropout=0.0, batch_size=64, learning_rate=4e-3,
                       warmup_iters=100, lr_schedule="linear", beta2=0.99, grad_clip=1.0, max_iters=800,
                       eval_interval=20, eval_iters=4)  # fmt: skip

ATTENTION_ONLY = Idea(
    "babygpt.beyond.attention_only",
    "attention only",
    "version 10 without feed-forward layers: two layers learn to continue a string that they have seen once",
    {"repeats": REPEATS},
)

IDEAS = [GPT2, MODERN, ENCODER_DECODER, ARITHMETIC, ATTENTION_ONLY]

# The family as it was published: the sizes of each model, and its number of parameters.
FAMILY: dict[str, tuple[Recipe, int]] = {
    "gpt2": (dict(n_layer=12, n_head=12, n_embd=768), 124_439_808),
    "gpt2-medium": (dict(n_layer=24, n_head=16, n_embd=1024), 354_823_168),
    "gpt2-large": (dict(n_layer=36, n_head=20, n_embd=1280), 774_030_080),
    "gpt2-xl": (dict(n_layer=48, n_head=25, n_embd=1600), 1_557_611_200),
}


def find_idea(module: str) -> Idea | None:
    """The entry of part two whose module this is; None if it belongs to none."""
    return next((idea for idea in IDEAS if idea.path == module), None)
