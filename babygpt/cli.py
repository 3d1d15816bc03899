"""The command line of the ten versions: `python -m babygpt.v6 --max-iters 1000`."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from babygpt.data import SHAKESPEARE, Corpus
from babygpt.device import pick_device, require_memory
from babygpt.errors import exit_status, require, say
from babygpt.flags import check_values, read_flags
from babygpt.harness.runs import Run, latest_folder, new_folder
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
    run_config, train_config, model_flags = parse(version, argv)
    corpus = Corpus.load(run_config.data)
    module = version.module()
    model_config = module.Config(**model_flags | {"vocab_size": corpus.tokenizer.vocab_size})
    if not run_config.shapes:
        corpus.check(model_config.block_size)  # before a model is built for a block that the text cannot fill
    tokens = train_config.batch_size * model_config.block_size
    device = pick_device(train_config.device)
    require_memory(lambda: module.Model(model_config), tokens, train_config.eval_iters * tokens, device)
    if run_config.shapes:
        from babygpt.shapes import print_shapes

        print_shapes(version, model_config)
        return 0

    torch.manual_seed(train_config.seed)
    trainer = Trainer(module.Model(model_config), corpus, train_config)
    pick_folder = latest_folder if run_config.resume else new_folder
    run = Run(run_config.out_dir or pick_folder(version.name))
    with run.locked():
        if run_config.resume:
            saved = run.read("last")  # only now does no other process write to it
            run.check_resumable(saved, version, trainer)
            trainer.load_state(saved["state"])
        else:
            require(
                not run.exists(),
                f"{run.folder} already holds a run: add --resume to go on with it, or choose another --out-dir",
            )
        say(describe(version, trainer))
        if run_config.resume:
            say(f"Going on with {run.folder} from step {trainer.step:,}.")
        with stop_on_signal(trainer):
            trainer.train(on_eval=lambda trainer: report(trainer, run, version, run_config.data))
            stopped = trainer.stop and trainer.step < train_config.max_iters
            if stopped:
                run.save(trainer, version, run_config.data)
            else:
                finish(trainer, run, version)
                return 0
    say(f"Stopped and saved at step {trainer.step:,}. To go on:")
    say(f"  {python()} -m babygpt.{version.name} --resume --out-dir {run.folder}")
    return 130


def parse(version: Version, argv: list[str]) -> tuple[RunConfig, TrainConfig, dict[str, Any]]:
    """Turn the command line into settings. What is not given comes from the preset or the resumed run.

    Returns:
        the settings of the run and of the training, and those of the model as a dictionary
        without vocab_size.

    Raises:
        UserError: a flag will not do, or there is no such preset, device or run.
        SystemExit: the help was asked for, and has been printed (status 0).
    """

    @dataclass(frozen=True)
    class ModelConfig(version.module().Config):
        """The sizes of the model."""

        vocab_size: tyro.conf.Suppress[int] = 1  # the text decides

    @dataclass(frozen=True)
    class Settings:
        run: tyro.conf.OmitArgPrefixes[RunConfig]
        train: tyro.conf.OmitArgPrefixes[TrainConfig]
        model: tyro.conf.OmitArgPrefixes[ModelConfig]

    check_values(Settings, argv)
    # These flags decide the defaults of all others, so they are looked at first.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset")
    first.add_argument("--device", default="auto")
    first.add_argument("--out-dir", "--out_dir", type=Path)
    first.add_argument("--resume", action="store_true")
    try:
        known, _ = first.parse_known_args(argv)
    except argparse.ArgumentError:  # read_flags will say so
        known = first.parse_args([])

    preset = default_preset(version, known.device) if known.preset is None else known.preset
    recipe, run_defaults = dict(version.preset(preset)), RunConfig(preset)
    if known.resume:
        run = Run(known.out_dir or latest_folder(version.name))
        require(
            run.exists(),
            f"there is no run in {run.folder}: {run.checkpoint.name} is missing; start one without --resume",
        )
        saved = run.read("last")
        changes = recipe if known.preset else {}
        recipe = saved["train_config"] | saved["model_config"] | changes
        run_defaults = RunConfig(preset, data=Path(saved["corpus"]["path"]))

    settings = read_flags(
        Settings,
        argv,
        f"python -m babygpt.{version.name}",
        default=Settings(run_defaults, select(TrainConfig, recipe), select(ModelConfig, recipe)),
        description=f"Train version {version.number}, {version.title}: {version.adds}.",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    model_flags = {name: value for name, value in vars(settings.model).items() if name != "vocab_size"}
    return settings.run, settings.train, model_flags


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
    """After an evaluation: save, and print it. In this order: there may be no terminal left to print to."""
    run.save(trainer, version, data)
    last, width = trainer.history[-1], len(str(trainer.config.max_iters))
    say(f"step {last['step']:{width}d}: train {last['train']:.2f}, val {last['val']:.2f}")


def finish(trainer: Trainer, run: Run, version: Version) -> None:
    """Print and write a sample of the best model, draw the curve, and say where everything is."""
    best = min(trainer.history, key=lambda record: record["val"])
    say(
        f"Trained {trainer.step:,} steps in {trainer.seconds:.0f} s. "
        f"Best validation loss: {best['val']:.4f} at step {best['step']:,}."
    )
    model, tokenizer = run.load_model("best", trainer.device)
    generator = torch.Generator(trainer.device).manual_seed(trainer.config.seed)
    start = torch.zeros((1, 1), dtype=torch.long, device=trainer.device)
    text = tokenizer.decode(model.generate(start, SAMPLE_TOKENS, generator=generator)[0, 1:].tolist())
    run.finish(trainer.history, text, title=f"{version.name} {version.title}")
    say(f"\n{text}\n")
    say(f"Everything is in {run.folder}: checkpoint.pt, best.pt, metrics.jsonl, loss.png, sample.txt")
    prompt = "ROMEO:" if set("ROMEO:") <= set(tokenizer.chars) else tokenizer.chars[-1]
    say(f'More text:  {python()} -m babygpt.sample {run.folder} --prompt "{prompt}"')
    if version.number < len(VERSIONS):
        say(f"Next step:  {python()} -m babygpt.v{version.number + 1}")


def python() -> str:
    """How the user starts the Python that is running: `python`, unless its environment is not active."""
    executable = Path(sys.executable)
    if executable.is_relative_to(Path.cwd()):
        return str(executable.relative_to(Path.cwd()))
    return "python"


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C, a polite kill or a closing terminal end the training after the current step; a second one at once.

    What the caller of the program had ignored stays ignored: `nohup` outlives the terminal.
    """

    def handler(number: int, frame: object) -> None:
        trainer.stop = True
        restore()
        # The terminal may be gone, or the signal have come in the middle of printing.
        with suppress(OSError, RuntimeError):
            tqdm.write("\nStopping after this step; press Ctrl-C again to stop at once.")

    def restore() -> None:
        for number, old in before.items():
            signal.signal(number, old)

    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # Windows lacks SIGHUP, all others SIGBREAK
    before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names if hasattr(signal, name)}
    before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        restore()
