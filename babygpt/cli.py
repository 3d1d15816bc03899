"""The command line of the ten versions: `python -m babygpt.v6 --max-iters 1000`."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from babygpt.data import SHAKESPEARE, Corpus
from babygpt.device import pick_device
from babygpt.errors import exit_status, require
from babygpt.runs import Run, latest_folder, new_folder
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import VERSIONS, Version, get_version, select

SAMPLE_TOKENS = 500


@dataclass(frozen=True)
class RunConfig:
    """What to train on, and where the results go."""

    preset: str
    """Recipe that gives all flags their defaults: lecture or, in version 10, laptop."""

    data: Path = SHAKESPEARE
    """The text to learn from, in UTF-8."""

    out_dir: Annotated[
        Path | None,
        tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: runs/ and the version, numbered if taken)"),
    ] = None
    """Folder for checkpoints, metrics, picture and sample."""

    resume: bool = False
    """Go on with the run in --out-dir, or else with the last run of this version."""

    shapes: bool = False
    """Print the shape of every tensor on its way through the model, and stop."""


def main(number: int, argv: list[str] | None = None) -> None:
    """Train version `number` as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    sys.exit(exit_status(lambda: train(get_version(number), sys.argv[1:] if argv is None else argv)))


def train(version: Version, argv: list[str]) -> int:
    """Train a version from its command line; return the exit status.

    Raises:
        UserError: the flags, the text or the folder will not do. Nothing has been written then.
    """
    run_config, train_config, model_flags, saved = parse(version, argv)
    corpus = Corpus.load(run_config.data)
    module = version.module()
    model_config = module.Config(**model_flags | {"vocab_size": corpus.tokenizer.vocab_size})
    if run_config.shapes:
        from babygpt.shapes import print_shapes

        print_shapes(version, model_config)
        return 0

    torch.manual_seed(train_config.seed)
    trainer = Trainer(module.Model(model_config), corpus, train_config)
    if run_config.resume:
        run = Run(run_config.out_dir or latest_folder(version.name))
        run.check_resumable(saved, version, trainer)
        trainer.load_state(saved["state"])
    else:
        run = Run(run_config.out_dir or new_folder(version.name))
        require(
            not run.exists(),
            f"{run.folder} already holds a run: add --resume to go on with it, or choose another --out-dir",
        )

    print(describe(version, trainer))
    with stop_on_signal(trainer):
        trainer.train(on_eval=lambda trainer: report(trainer, run, version, run_config.data))
    if trainer.stop and trainer.step < train_config.max_iters:
        run.save(trainer, version, run_config.data)
        print(f"Stopped and saved at step {trainer.step:,}. To go on:")
        print(f"  {python()} -m babygpt.{version.name} --resume --out-dir {run.folder}")
        return 130
    finish(trainer, run, version)
    return 0


def parse(version: Version, argv: list[str]) -> tuple[RunConfig, TrainConfig, dict[str, Any], dict[str, Any] | None]:
    """Turn the command line into settings. What is not given comes from the preset or the resumed run.

    Returns:
        the settings of the run and of the training, those of the model as a dictionary
        without vocab_size, and the checkpoint to resume from, if any.

    Raises:
        UserError: there is no such preset, device or run.
        SystemExit: tyro has printed the help (status 0) or what is wrong with a flag (2).
    """
    # These flags decide the defaults of all others, so they are looked at first.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset")
    first.add_argument("--device", default="auto")
    first.add_argument("--out-dir", "--out_dir", type=Path)
    first.add_argument("--resume", action="store_true")
    try:
        known, _ = first.parse_known_args(argv)
    except argparse.ArgumentError:  # a flag without its value: tyro will say so
        known = first.parse_args([])

    preset = known.preset or default_preset(version, known.device)
    recipe, run_defaults, saved = dict(version.preset(preset)), RunConfig(preset), None
    if known.resume:
        saved = Run(known.out_dir or latest_folder(version.name)).read("last")
        changes = recipe if known.preset else {}
        recipe = saved["train_config"] | saved["model_config"] | changes
        run_defaults = RunConfig(preset, data=Path(saved["corpus"]["path"]))

    @dataclass(frozen=True)
    class ModelConfig(version.module().Config):
        """The sizes of the model."""

        vocab_size: tyro.conf.Suppress[int] = 1  # the text decides

    @dataclass(frozen=True)
    class Settings:
        run: tyro.conf.OmitArgPrefixes[RunConfig]
        train: tyro.conf.OmitArgPrefixes[TrainConfig]
        model: tyro.conf.OmitArgPrefixes[ModelConfig]

    settings = tyro.cli(
        Settings,
        args=argv,
        default=Settings(run_defaults, select(TrainConfig, recipe), select(ModelConfig, recipe)),
        prog=f"python -m babygpt.{version.name}",
        description=f"Train version {version.number}, {version.title}: {version.adds}.",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    model_flags = {name: value for name, value in vars(settings.model).items() if name != "vocab_size"}
    return settings.run, settings.train, model_flags, saved


def default_preset(version: Version, device: str) -> str:
    """`laptop` where the version has it and there is no GPU, else `lecture`."""
    slow = "laptop" in version.presets and pick_device(device).type != "cuda"
    return "laptop" if slow else "lecture"


def describe(version: Version, trainer: Trainer) -> str:
    """One line on what is about to be trained."""
    parameters = sum(p.numel() for p in trainer.model.parameters())
    corpus, dtype = trainer.corpus, str(trainer.dtype).removeprefix("torch.")
    return (
        f"{version.name} {version.title}: {parameters:,} parameters, on {trainer.device} in {dtype}, "
        f"learning {corpus.name} ({len(corpus):,} characters, {corpus.tokenizer.vocab_size} different)"
    )


def report(trainer: Trainer, run: Run, version: Version, data: Path) -> None:
    """After an evaluation: print it, and save."""
    last, width = trainer.history[-1], len(str(trainer.config.max_iters))
    tqdm.write(f"step {last['step']:{width}d}: train {last['train']:.2f}, val {last['val']:.2f}")
    run.save(trainer, version, data)


def finish(trainer: Trainer, run: Run, version: Version) -> None:
    """Print and write a sample of the best model, draw the curve, and say where everything is."""
    best = min(trainer.history, key=lambda record: record["val"])
    print(
        f"Trained {trainer.step:,} steps in {trainer.seconds:.0f} s. "
        f"Best validation loss: {best['val']:.4f} at step {best['step']:,}."
    )
    model, tokenizer = run.load_model("best", trainer.device)
    generator = torch.Generator(trainer.device).manual_seed(trainer.config.seed)
    start = torch.zeros((1, 1), dtype=torch.long, device=trainer.device)
    text = tokenizer.decode(model.generate(start, SAMPLE_TOKENS, generator=generator)[0, 1:].tolist())
    run.finish(trainer.history, text, title=f"{version.name} {version.title}")
    print(f"\n{text}\n")
    print(f"Everything is in {run.folder}: checkpoint.pt, best.pt, metrics.jsonl, loss.png, sample.txt")
    prompt = "ROMEO:" if set("ROMEO:") <= set(tokenizer.chars) else tokenizer.chars[-1]
    print(f'More text:  {python()} -m babygpt.sample {run.folder} --prompt "{prompt}"')
    if version.number < len(VERSIONS):
        print(f"Next step:  {python()} -m babygpt.v{version.number + 1}")


def python() -> str:
    """How the user starts the Python that is running: `python`, unless its environment is not active."""
    executable = Path(sys.executable)
    if executable.is_relative_to(Path.cwd()):
        return str(executable.relative_to(Path.cwd()))
    return "python"


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C (or a polite kill) end the training after the current step; a second one ends it at once."""

    def handler(number: int, frame: object) -> None:
        trainer.stop = True
        for name, old in before.items():
            signal.signal(name, old)
        tqdm.write("\nStopping after this step; press Ctrl-C again to stop at once.")

    before = {name: signal.signal(name, handler) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, old in before.items():
            signal.signal(name, old)
