"""The command line of part two: that of the ten versions, with a choice of tokenizers and pretrained weights."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from babygpt import cli
from babygpt.beyond import gpt2, pretrained
from babygpt.beyond.bpe import BPETokenizer
from babygpt.beyond.gpt2_vocabulary import GPT2Tokenizer
from babygpt.beyond.recompute import checkpoint_activations
from babygpt.beyond.shards import COMMAND, ShardedCorpus
from babygpt.cli import Command, RunConfig
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.device import pick_device
from babygpt.errors import UserError, require
from babygpt.harness.checkpoints import Checkpoint
from babygpt.harness.ranks import launched
from babygpt.sample import first_tokens, whole_characters
from babygpt.tokenizer import Tokenizer
from babygpt.training import Trainer, new_trainer
from babygpt.versions import Trainable

MAX_MERGES = 10**6
PROMPT_TOKENS = 100  # how far --prompt is continued


@dataclass(frozen=True)
class TokenRunConfig(RunConfig):
    """What to train on, and where the results go."""

    preset: str
    """Recipe that gives all other flags their defaults: see `babygpt/beyond/models.py`."""

    data: Path = SHAKESPEARE
    """The text to learn from, in UTF-8; or a folder of token shards, see `babygpt/beyond/shards.py`."""

    tokenizer: str = "char"
    """char: a token per character. bpe:512: byte pairs, 512 merges learned from the text. gpt2: GPT-2's own."""

    from_pretrained: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(optional)")] = None
    """Start from these weights: a folder with config.json and model.safetensors, or a checkpoint of nanoGPT."""

    prompt: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint="(optional)")] = None
    """With --from-pretrained: only continue this text, and stop."""

    sharded: bool = False
    """Under torchrun: divide the model among the processes, which saves memory. With --resume, give it again."""

    activation_checkpointing: bool = False
    """Compute activations twice, to keep fewer in memory. With --resume, give it again."""

    def __post_init__(self) -> None:
        tokenizer_maker(self.tokenizer)
        require(
            self.prompt is None or self.from_pretrained is not None,
            "--prompt needs --from-pretrained; to continue a text with a model that you have trained, run "
            "python -m babygpt.sample",
        )
        require(
            not self.sharded or launched(),
            "--sharded divides a model among several processes: start them with torchrun --nproc-per-node 2 -m, "
            "or leave out --sharded",
        )


def tokenizer_maker(name: str) -> Callable[[str], Tokenizer] | None:
    """What makes the tokenizer of this name from a text; None for one token per character.

    Raises:
        UserError: there is no such tokenizer.
    """
    kind, _, merges = name.partition(":")
    if name == "char":
        return None
    if name == "gpt2":
        return lambda text: GPT2Tokenizer()
    if kind == "bpe" and merges.isascii() and merges.isdigit() and int(merges) <= MAX_MERGES:
        return lambda text: BPETokenizer.train(text, int(merges))
    raise UserError(f"--tokenizer must be char, gpt2, or bpe and a number of merges as in bpe:512, and it is {name!r}")


class TokenCommand(Command):
    """Training a model of part two from the command line."""

    run_config = TokenRunConfig

    def load_corpus(self, config: TokenRunConfig, settings: Mapping[str, Any]) -> Corpus:
        """The text to learn from, tokenized as the command line says; or the shards in a folder, which are already."""
        if not os.path.isdir(config.data):  # noqa: PTH112  Path.is_dir raises if a name is too long
            return Corpus.load(config.data, tokenizer_maker(config.tokenizer))
        corpus = ShardedCorpus.open(config.data)
        require(
            config.tokenizer in ("char", corpus.tokenizer.name),
            f"the shards in {config.data} were made with --tokenizer {corpus.tokenizer.name}, not with "
            f"{config.tokenizer}: leave out --tokenizer, or make others with `{COMMAND}`",
        )
        return corpus

    def saved_choices(self, saved: Checkpoint) -> dict[str, Any]:
        """The text and the tokenizer of a run."""
        return super().saved_choices(saved) | {"tokenizer": saved["corpus"]["tokenizer"]}

    def only_prints(self, config: TokenRunConfig, settings: Mapping[str, Any], corpus: Corpus) -> bool:
        """Continue a prompt with pretrained weights, or print the shapes, if the flags ask for it."""
        if config.prompt is None:
            return super().only_prints(config, settings, corpus)
        model = pretrained.load(config.from_pretrained).to(pick_device(settings["device"])).eval()
        require_same_vocabulary(model, corpus, config)
        idx = first_tokens(corpus.tokenizer, config.prompt).to(next(model.parameters()).device)
        generator = torch.Generator(idx.device).manual_seed(settings["seed"])
        tokens = (token.item() for token in model.stream(idx, PROMPT_TOKENS, generator=generator))
        print(config.prompt, end="", flush=True)
        for text in whole_characters(corpus.tokenizer, tokens):
            print(text, end="", flush=True)
        print()
        return True

    def new_trainer(self, config: TokenRunConfig, settings: Mapping[str, Any], corpus: Corpus) -> Trainer:
        """The trainer of a run, which may start from pretrained weights. Their sizes count then, not the flags."""
        kind = self.trainer
        if config.sharded:
            from babygpt.beyond.sharded import ShardedTrainer as kind  # a second to load, and rarely needed
        if config.from_pretrained is None:
            trainer = new_trainer(self.model.module(), corpus, settings, kind)
        else:
            model = pretrained.load(config.from_pretrained)
            require_same_vocabulary(model, corpus, config)
            block_size = min(settings["block_size"], model.config.block_size)
            model.crop_block_size(block_size)
            sizes = asdict(model.config) | {"dropout": settings["dropout"], "block_size": block_size}
            trainer = new_trainer(gpt2, corpus, {**settings, **sizes}, kind)
            trainer.load_weights(model.state_dict())
        if config.activation_checkpointing:
            checkpoint_activations(trainer.model)
        return trainer


def require_same_vocabulary(model: gpt2.Model, corpus: Corpus, config: TokenRunConfig) -> None:
    """Raise UserError unless the model has as many tokens as the tokenizer."""
    ours, theirs = corpus.tokenizer.vocab_size, model.config.vocab_size
    require(
        ours == theirs,
        f"the model in {config.from_pretrained} has a vocabulary of {theirs:,} tokens, and the tokenizer "
        f"{config.tokenizer} has {ours:,}: choose another with --tokenizer (GPT-2's own is gpt2)",
    )


def main(model: Trainable, argv: Sequence[str] | None = None) -> None:
    """Train a model of part two as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    cli.main(TokenCommand(model), argv)
