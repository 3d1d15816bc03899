"""The comparisons: what each one is called, and how it is shown."""

from dataclasses import dataclass

from babygpt.compare.table import USUAL


@dataclass(frozen=True)
class Study:
    """A comparison: what it is called, and how it is shown."""

    stem: str
    """The name of its files, without their ends."""
    title: str
    seeds: int
    """How many runs of each row are recorded, by default."""
    picture: str = "steps"
    """What the losses are drawn against: steps, characters, seconds, blocks, or "" for no picture."""
    columns: tuple[str, ...] = USUAL
    note: str = ""
    """A paragraph for its page: what is the same for all rows, and what isn't."""


WITH_BEST = (
    "version", "what it adds", "parameters", "steps", "rate", "train loss", "val loss", "change", "verdict",
    "best val loss", "at step", "change of the best", "verdict on the best",
)  # fmt: skip

STUDIES = {
    "lecture": Study(
        "ladder",
        "The ladder: the lecture's recipes, and ours for version 10 on a laptop",
        1,
        "characters",
        note="Versions 2 to 4, which the lecture doesn't train, have the recipe of version 5. Version 10 `laptop` is "
        "our own recipe. Its model is larger, and each of its steps sees more text, so the picture counts characters "
        "and not steps.",
    ),
    "equal": Study(
        "ladder-equal",
        "The ladder with the same steps and the same batches for every version",
        6,
        note="The same for all versions: the width, the context length, the number of steps, the batches, and the text "
        "that they are evaluated on. Not the same: the learning rate; the number of parameters, which grows as parts "
        "are added; and the depth, because only versions 8 to 10 have a stack of blocks.",
    ),
    "ablation": Study(
        "ablation",
        "The changes of version 8, one at a time",
        3,
        "blocks",
        note="Each row adds one change to the row above. Without the second linear layer, the feed-forward part ends "
        "with ReLU, as in version 7. Each change but the residual connection adds parameters.",
    ),
    "depth": Study(
        "depth",
        "Layer norm in shallow and deep stacks",
        3,
        "blocks",
        note="Version 8's blocks, with all its changes. Layer norm comes before each part of a block and before "
        "`lm_head`, as in version 9.",
    ),
    "scale": Study(
        "scale",
        "Version 5 with and without the scale of the scores",
        5,
        "",
        note="The head is as wide as the model. With size 32 and a learning rate of 0.001 this is the recipe of "
        "version 5. With size 256 it runs for 2,000 steps.",
    ),
    "dropout": Study(
        "dropout",
        "Dropout in a large model on little text",
        5,
        columns=WITH_BEST,
        note="Version 10 with 350,465 parameters learns from only the first 20,000 characters of the text, and goes on "
        "after the validation loss has stopped falling. It is evaluated on the validation split of the whole text. The "
        "best validation loss is the lowest of the 21 evaluations of a run, as if training had been stopped there.",
    ),
    "nanogpt": Study(
        "nanogpt",
        "nanoGPT's quick start on a CPU",
        3,
        note="The sizes, the steps and the settings of training are those of nanoGPT's README for a CPU. The number in "
        "the column lecture is the loss that it gives there, estimated from 20 batches.",
    ),
    "modern": Study(
        "speed-ladder",
        "The speed ladder: validation loss over seconds",
        3,
        "seconds",
        columns=(
            "version",
            "what it adds",
            "parameters",
            "steps",
            "rate",
            "val loss",
            "change",
            "verdict",
            "pace (ms)",
            "at this pace (s)",
        ),
        note="The sizes and the batches of version 10's recipe `laptop`, on a CPU. Each row keeps the "
        "changes of the rows above it. Rows with vectors for pairs and triples have more parameters, but hardly more "
        "to compute. The pace is the median time of a training step, measured side by side for all rows, because the "
        "runs themselves may share their cores with other work.",
    ),
    "seconds": Study(
        "seconds",
        "The same changes in the same seconds",
        3,
        "seconds",
        columns=(
            "version",
            "what it adds",
            "parameters",
            "steps",
            "rate",
            "train loss",
            "val loss",
            "change",
            "verdict",
            "pace (ms)",
            "at this pace (s)",
        ),
        note="The first five rows have the batches of version 10's recipe `laptop`, and about the same time: each has "
        "as many steps as fit, by a pace that was measured on two quiet cores before the study. Each row keeps the "
        "changes of the rows above it, and the last of the five is the recipe `laptop` of `babygpt.beyond.modern`. The "
        "pace in the table is the median time of a training step, measured side by side for all rows, because the runs "
        "themselves may share their cores with other work.",
    ),
    "coffee": Study(
        "coffee",
        "The lecture's loss on two cores",
        1,
        columns=("version", "parameters", "steps", "rate", "train loss", "val loss", "best val loss", "seconds"),
        note="One run of the recipe `coffee` of `babygpt.beyond.modern`, on two cores of a CPU that had other work, "
        "too. The lecture's version 10 ends at 1.48, on a GPU. Model and recipe are different, so this compares what "
        "you get, and no single change.",
    ),
    "parts": Study(
        "parts",
        "Modern parts, one at a time",
        3,
        "",
        columns=("version", "parameters", "steps", "rate", "val loss", "change", "verdict"),
        note="The model is a version 10 with three blocks, 64 numbers to a token and a context of 64 characters, "
        "trained with AdamW. A row that is named after a part swaps that part; LLaMA swaps all of its parts at once. "
        "Steps and batches are the same for all rows; the number of parameters is as near as the change allows.",
    ),
    "positions": Study(
        "positions",
        "Positions, on contexts longer than those in training",
        3,
        "",
        columns=("version", "parameters", "rate", "1x", "change at 1x", "verdict at 1x", "2x", "4x"),
        note="The same model and training as in [modern parts](parts.md), with 64 characters of context. The columns "
        "1x, 2x and 4x are validation losses with contexts of one, two and four times that length. All three score the "
        "same characters, the last 64 of a chunk of 256; only how much of the chunk the model may read differs. "
        "Learned positions have no vector past the 64th.",
    ),
    "tokens": Study(
        "tokens",
        "Characters and byte pairs at equal compute",
        3,
        "",
        columns=(
            "version",
            "parameters",
            "steps",
            "rate",
            "val loss",
            "bits per byte",
            "change in bits",
            "verdict on bits",
            "seconds",
        ),
        note="The blocks and the number of tokens in a batch are the same for all rows. A larger vocabulary needs a "
        "larger output layer, so it gets fewer steps, and all runs make about the same number of multiplications. The "
        "loss is in nats per token, and so can't be compared between rows. Bits per byte can: all rows learn from "
        "the same text and are tested on the same text.",
    ),
}
