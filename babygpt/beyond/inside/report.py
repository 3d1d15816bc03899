"""What each head of a model looks at, and what it is good for: `python -m babygpt.beyond.inside runs/v10`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from babygpt.beyond.inside import ablation, heads, induction, lens
from babygpt.beyond.inside.chunks import interval, validation_chunks
from babygpt.beyond.inside.hooks import Inside
from babygpt.beyond.inside.opened import open_model
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.errors import require, require_within
from babygpt.harness.terminal import run_command

STRINGS = 32


@dataclass(frozen=True)
class InsideConfig:
    """Look into a model: what its heads look at, what the loss is without each, and what each layer would have said."""

    model: tyro.conf.Positional[str]
    """A run folder, for example runs/v10, or the name of a model that comes with the package: v5 to v10."""

    data: Path = SHAKESPEARE
    """The text, in UTF-8. What is measured is measured on its last tenth."""

    chunks: int = 64
    """How many chunks of that text, at most."""

    def __post_init__(self) -> None:
        require_within(self, 2, 10_000, "chunks")


def main(argv: Sequence[str] | None = None) -> None:
    """Look into a model as the command line says, and exit: 0, or 2 for bad input."""
    run_command(InsideConfig, print_report, "python -m babygpt.beyond.inside", argv)


def print_report(config: InsideConfig) -> None:
    """Print the table of the heads, and the losses of the layers.

    Raises:
        UserError: there is no such model, it has no heads to look at, its tokens are not characters, or it doesn't know
            the characters of the text.
    """
    model, tokenizer = open_model(config.model)
    inside = Inside(model)
    require(
        inside.can_switch,
        f"the model in {config.model} is {type(model).__module__}, and none of its heads can be looked at alone: "
        "choose a run of versions 5 to 10, of attention_only or of gpt2",
    )
    require(
        tokenizer.name == "char",
        f"the tokens of the model in {config.model} are not single characters, and the kinds of positions are kinds of "
        "characters: choose a run with --tokenizer char",
    )
    corpus = Corpus.load(config.data, lambda text: tokenizer)
    corpus.check(model.config.block_size)
    x, y = validation_chunks(corpus, model.config.block_size, config.chunks)
    found = heads.scores(inside, tokenizer, x)
    L = model.config.block_size // 2
    strings = induction.random_strings(STRINGS, L, model.config.vocab_size)
    copying = induction.induction_score(induction.string_weights(inside, strings), L).mean(dim=0).tolist()
    copying.append(induction.induction_score(heads.uniform(2 * L), L).item())

    def line(name: str, i: int, ending: str = "") -> str:
        cells = "".join(f"{100 * found[kind][i].mean:{len(kind) + 2}.0f}" for kind in found)
        return f"{name:12}{cells}{100 * copying[i]:8.0f}{ending}"

    print(
        f"The weight on each kind of position, in percent, over {len(x)} chunks; on what came after an earlier copy, in"
    )
    print("random strings that repeat (copies); and the loss without the head, minus the loss with it\n")
    print(" " * 12 + "".join(f"  {kind}" for kind in found) + "  copies   without it")
    for i, ((layer, head), change) in enumerate(ablation.changes(inside, x, y).items()):
        print(line(f"block {layer + 1}, {head + 1}", i, f"   {interval(change)}"))
    print(line("uniform", -1))
    if inside.layer_names:
        print("\nThe loss if the model ended there")
        for name, losses in zip(inside.layer_names, lens.layer_losses(inside, x, y), strict=True):
            print(f"{name:12} {interval(losses)}")
    print("\nIn parentheses: 95% intervals over chunks.")
