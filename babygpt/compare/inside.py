"""The study of lesson 18: what version 10 has learned, in three models, and when two layers of attention learn to copy.

`python -m babygpt.compare.inside --out-dir results`. A finished run leaves a record and is not done again.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from babygpt.beyond.attention_only import RepeatTrainer
from babygpt.beyond.inside import ablation, embeddings, heads, induction, lens, patching
from babygpt.beyond.inside.chunks import interval, validation_chunks
from babygpt.beyond.inside.hooks import Inside
from babygpt.beyond.inside.opened import one_head_at_a_time, open_model
from babygpt.beyond.models import REPEATS
from babygpt.beyond.repeats import Repeats
from babygpt.compare.inside_page import files
from babygpt.compare.records import Record, StudyConfig, circumstances, run_all, write_study
from babygpt.compare.table import FIRST_SEED
from babygpt.data import Corpus
from babygpt.errors import require_within
from babygpt.harness.runs import Run
from babygpt.harness.terminal import run_command
from babygpt.model import LanguageModel
from babygpt.tokenizer import Tokenizer
from babygpt.training import Trainer, new_trainer
from babygpt.versions import Recipe, get_version

FORMAT = 1  # of the records; raise it when what a run does changes
ATTENTION_ONLY, V10 = "babygpt.beyond.attention_only", "babygpt.v10"
LAYERS = (1, 2)
PROMPTS, PROMPT_LENGTH, LENS_PROMPT = 2000, 16, "\n\nROMEO:\nWhat say"
COPIES, COPY_LENGTH, COPY_AT = 200, 16, 7  # prompts of the copying models, and the token whose copy is corrupted


@dataclass(frozen=True)
class InsideStudyConfig(StudyConfig):
    """Train the copying models and more of version 10, look into all, and write what was found."""

    out_dir: Path = Path("runs/compare-inside")

    models: int = 3
    """How many of version 10, the one that comes with the package included."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, 1, 100, "models")


def main(argv: list[str] | None = None) -> None:
    """Do the study as the command line says, and exit."""
    run_command(InsideStudyConfig, study, "python -m babygpt.compare.inside", argv)


def study(config: InsideStudyConfig) -> None:
    """Train, look inside, and write inside.json and what is drawn from it."""
    with Run(config.out_dir).locked():
        folder = config.out_dir / "records"
        folder.mkdir(exist_ok=True)
        laptop = get_version(10).preset("laptop")
        jobs: list[tuple[str, Recipe, int]] = [(V10, laptop, FIRST_SEED + n) for n in range(1, config.models)]
        for layers in LAYERS:
            jobs += [(ATTENTION_ONLY, REPEATS | {"n_layer": layers}, FIRST_SEED + n) for n in range(config.seeds)]
        found = run_all(run, jobs, folder, "inside", FORMAT, config.jobs)
        shipped = {"seed": FIRST_SEED, **look(*open_model("v10")), **circumstances()}
        content = {
            "models": [shipped, *(record for record in found if record["module"] == V10)],
            "copying": [record for record in found if record["module"] == ATTENTION_ONLY],
        }
        write_study(config.out_dir, "inside", content, files)
    print((config.out_dir / "inside.md").read_text(encoding="utf-8"))


def run(job: tuple[str, Recipe, int]) -> Record:
    """Train a model, and look into it."""
    module, settings, seed = job
    copying = module == ATTENTION_ONLY
    corpus, kind = (Repeats.new(), RepeatTrainer) if copying else (Corpus.load(), Trainer)
    trainer = new_trainer(importlib.import_module(module), corpus, settings | {"seed": seed, "device": "cpu"}, kind)
    trainer.train(progress=False)
    model = one_head_at_a_time(trainer.model)
    return {
        "module": module, "settings": settings, "seed": seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "history": trainer.history, "seconds": round(trainer.seconds, 3),
        **(look_at_copying(model) if copying else look(model, corpus.tokenizer)),
        **circumstances(),
    }  # fmt: skip


def look(model: LanguageModel, tokenizer: Tokenizer) -> dict[str, Any]:
    """What there is to find in a model of the plays."""
    inside, corpus, T = Inside(model), Corpus.load(), model.config.block_size
    x, y = validation_chunks(corpus, T)
    off, mean = (ablation.changes(inside, x, y, mean).values() for mean in (False, True))
    return {
        "chunks": len(x),
        "embeddings": look_at_embeddings(model.token_embedding_table.weight.detach(), tokenizer.decode(range(65))),
        "heads": heads.scores(inside, tokenizer, x),
        "ablation": {"zero": [interval(change) for change in off], "mean": [interval(change) for change in mean]},
        "lens": {
            "losses": [interval(losses) for losses in lens.layer_losses(inside, x, y)],
            "agreement": [interval(shares) for shares in lens.agreement(inside, x)],
            "example": example(inside, tokenizer),
        },
        "copies": look_at_copies(inside, corpus),
        "patching": look_at_text(inside, corpus, tokenizer),
    }


def look_at_embeddings(table: Tensor, chars: str) -> dict[str, Any]:
    """Finding 1: the kinds' similarities, the neighbors, and the picture's coordinates."""
    cos = embeddings.cosines(table)
    kinds = torch.tensor([embeddings.KINDS.index(embeddings.kind(character)) for character in chars])
    found = {}
    for number, kind in enumerate(embeddings.KINDS):
        chosen = (kinds == number).nonzero()[:, 0]
        similar, chance = embeddings.similarity(cos, chosen), embeddings.similarity_by_chance(cos, len(chosen))
        found[kind] = {"n": len(chosen), **against(similar, chance)}
    nearest = embeddings.neighbors(cos)
    share, chance = embeddings.same_kind(nearest, kinds), embeddings.same_kind_by_chance(nearest, kinds)
    points, axes = embeddings.pca(table)
    return {
        "kinds": found,
        "neighbors": against(share, chance) | {"nearest": {c: chars[n] for c, n in zip(chars, nearest, strict=True)}},
        "own capitals": embeddings.own_capitals(cos, chars),
        "points": dict(zip(chars, points.tolist(), strict=True)),
        "axes": axes.tolist(),
    }


def against(found: Tensor, by_chance: Tensor) -> dict[str, Any]:
    """A statistic, where 95% of those by chance lie, and how often chance gives as much."""
    low, high = by_chance.quantile(torch.tensor([0.025, 0.975])).tolist()
    return {"found": found.item(), "by chance": [low, high], "p": embeddings.p_value(found, by_chance)}


def example(inside: Inside, tokenizer: Tokenizer) -> dict[str, Any]:
    """What each layer would have said after each character of a prompt, and with what probability."""
    probs = inside.lens(torch.tensor([tokenizer.encode(LENS_PROMPT)])).softmax(dim=-1)
    best, ids = probs.max(dim=-1)
    return {"prompt": LENS_PROMPT, "guesses": [tokenizer.decode(row) for row in ids.tolist()], "p": best.tolist()}


def look_at_copies(inside: Inside, corpus: Corpus) -> dict[str, Any]:
    """Finding 5 for a model of the plays: does a text that comes twice cost less than after another text?"""
    L = inside.model.config.block_size // 2
    text, _ = validation_chunks(corpus, L)
    found = {}
    for name, first in {"random": induction.random_strings(len(text), L, 65), "text": text}.items():
        itself = induction.copy_losses(inside, first).mean(dim=1)
        another = induction.copy_losses(inside, first, before=first.roll(1, dims=0)).mean(dim=1)
        found[name] = {
            "itself": interval(itself), "another": interval(another), "change": interval(itself - another),
            "heads": induction.induction_score(induction.string_weights(inside, first[:64]), L).mean(dim=0).tolist(),
        }  # fmt: skip
    return found | {"uniform": induction.induction_score(heads.uniform(2 * L), L).item()}


def look_at_text(inside: Inside, corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
    """Finding 6 for a model of the plays: where does the character before the last one have its effect?"""
    x, _ = validation_chunks(corpus, PROMPT_LENGTH + 1, PROMPTS)
    letters = torch.tensor(tokenizer.encode("abcdefghijklmnopqrstuvwxyz"))
    clean, corrupted, answers = patching.text_prompts(inside, x, letters)
    first = [tokenizer.decode(part) for part in (clean[0].tolist(), corrupted[0].tolist(), [answers[0].item()])]
    return patches(inside, clean, corrupted, answers) | {"of": len(x), "first": first}


def look_at_copying(model: LanguageModel) -> dict[str, Any]:
    """Findings 5 and 6 for a model that copies: its heads on random strings, and the patches."""
    inside, L = Inside(model), model.config.block_size // 2
    wei = induction.string_weights(inside, induction.random_strings(64, L, 65, seed=1))
    prompts = patching.string_prompts(COPIES, COPY_LENGTH, 65, COPY_AT)
    return {
        "previous": induction.previous_score(wei).mean(dim=0).tolist(),
        "induction": induction.induction_score(wei, L).mean(dim=0).tolist(),
        "patching": patches(inside, *prompts),
    }


def patches(inside: Inside, clean: Tensor, corrupted: Tensor, answers: Tensor) -> dict[str, Any]:
    """The recovered share for each layer and position, and how much had been lost."""
    gained, lost = patching.effects(inside, clean, corrupted, answers)
    shares = [[patching.recovered(row, lost) for row in layer] for layer in gained]
    return {"prompts": len(clean), "lost": interval(lost), "shares": shares}


if __name__ == "__main__":
    main()
