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
    print(
        f"Weight on each kind of position, in percent, over {len(x)} chunks; and the change of the loss without a head"
    )
    print(f"{'':12}" + "".join(f"{kind:>15}" for kind in found) + f"{'copies':>9}   without it")
    for i, (head, change) in enumerate(ablation.changes(inside, x, y).items()):
        row = "".join(f"{100 * found[kind][i].mean:15.0f}" for kind in found)
        print(f"{f'block {head[0] + 1}, {head[1] + 1}':12}{row}{100 * copying[i]:9.0f}   {interval(change)}")
    alike = 100 * induction.induction_score(heads.uniform(2 * L), L)
    print(f"{'uniform':12}" + "".join(f"{100 * found[kind][-1].mean:15.0f}" for kind in found) + f"{alike:9.0f}")
    if inside.layer_names:
        losses = [interval(row) for row in lens.layer_losses(inside, x, y)]
        print("\nThe loss if the model ended there")
        for name, loss in zip(inside.layer_names, losses, strict=True):
            print(f"{name:12} {loss}")
    print("\nIn parentheses: 95% intervals over chunks.")
