"""The command line of the ten versions: `python -m babygpt.v6 --max-iters 1000`."""

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

from babygpt.data import SHAKESPEARE, Corpus
from babygpt.device import pick_device
from babygpt.errors import require
from babygpt.harness.reports import losses_of
from babygpt.harness.runs import Run, latest_folder, new_folder
from babygpt.harness.terminal import exit_status, parse, print_line
from babygpt.harness.threads import worthwhile_threads
from babygpt.sample import continue_text, example_prompt
from babygpt.training import TrainConfig, Trainer, new_trainer
from babygpt.versions import VERSIONS, Version, get_version, select

SAMPLE_TOKENS = 500
PACE_STEPS = 20  # steps to time before estimating how long training will take

Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class FirstFlags:
    """The flags that decide the defaults of all others."""

    preset: str | None = None
    device: Device = "auto"
    out_dir: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class RunConfig:
    """What to train on, and where the results go."""

    preset: str
    """Recipe that gives all other flags their defaults: lecture or, in version 10, laptop."""

    data: Path = SHAKESPEARE
    """The text to learn from, in UTF-8."""

    out_dir: Annotated[
        Path | None,
        tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: runs/ and the version, numbered if taken)"),
    ] = None
    """Folder for the checkpoints, metrics, picture and sample."""

    resume: bool = False
    """Continue the run in --out-dir, or else the latest run of this version."""

    shapes: bool = False
    """Print the shape of every tensor in a forward pass, and stop."""


def main(number: int, argv: Sequence[str] | None = None) -> None:
    """Train version `number` as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C."""
    sys.exit(exit_status(lambda: train(get_version(number), sys.argv[1:] if argv is None else argv)))


def train(version: Version, argv: Sequence[str]) -> int:
    """Train a version from its command line, or resume a run of it; return the exit status.

    Raises:
        UserError: the flags, the text or the folder cannot be used. Nothing has been written then.
    """
    # The others are unknown here, but not to `read_settings`.
    first, _ = parse(FirstFlags, argv, program(version), return_unknown_args=True, add_help=False)
    if first.resume and not {"-h", "--help"} & set(argv):
        run = Run(first.out_dir or latest_folder(version.name))
        require(
            run.exists(),
            f"there is no run in {run.folder}: {run.checkpoint.name} is missing; start one without --resume",
        )
        with run.locked():
            return resume(version, argv, run, first)
    preset = default_preset(version, first.device) if first.preset is None else first.preset
    config, settings = read_settings(version, argv, RunConfig(preset), version.preset(preset))
    corpus = Corpus.load(config.data)
    if config.shapes:
        from babygpt.shapes import print_shapes

        vocab_size = corpus.tokenizer.vocab_size
        print_shapes(version, select(version.module().Config, settings | {"vocab_size": vocab_size}))
        return 0
    trainer = new_trainer(version.module(), corpus, settings)
    run = Run(config.out_dir or new_folder(version.name))
    with run.locked():
        require(
            not run.exists(),
            f"{run.folder} already holds a run: add --resume to continue it, or choose another --out-dir",
        )
        print_line(describe(version, trainer))
        return train_and_save(trainer, run, version)


def resume(version: Version, argv: Sequence[str], run: Run, first: FirstFlags) -> int:
    """Continue a run, which is locked; return the exit status.

    Raises:
        UserError: the run belongs to another version, or was trained with other settings or another text.
    """
    saved = run.read("last")
    module = version.module()
    require(
        saved["module"] == module.__name__,
        f"{run.folder} was trained with {saved['module']}, not with {module.__name__}: resume it with "
        f"`python -m {saved['module']}`, or choose another --out-dir",
    )
    recipe = saved["train_config"] | saved["model_config"] | (version.preset(first.preset) if first.preset else {})
    preset = first.preset or default_preset(version, first.device)
    defaults = RunConfig(preset, data=Path(saved["corpus"]["path"]))
    config, settings = read_settings(version, argv, defaults, recipe)
    trainer = new_trainer(module, Corpus.load(config.data), settings)
    run.check_resumable(saved, trainer)
    trainer.load_state(saved["state"])
    print_line(describe(version, trainer))
    print_line(f"Continuing {run.folder} from step {trainer.step:,}.")
    return train_and_save(trainer, run, version)


def read_settings(
    version: Version, argv: Sequence[str], defaults: RunConfig, recipe: Mapping[str, Any]
) -> tuple[RunConfig, dict[str, Any]]:
    """Turn the command line into settings. What it leaves out comes from `defaults` and `recipe`.

    Returns:
        the settings of the run, and those of the model and of training in one dictionary.

    Raises:
        SystemExit: a flag is wrong (status 2), or the help was asked for (status 0); both have been printed.
    """

    @dataclass(frozen=True)
    class ModelConfig(version.module().Config):
        """The sizes of the model."""

        vocab_size: Annotated[int, tyro.conf.Fixed, tyro.conf.Suppress] = 65  # the text decides

    @dataclass(frozen=True)
    class Settings:
        run: tyro.conf.OmitArgPrefixes[RunConfig]
        train: tyro.conf.OmitArgPrefixes[TrainConfig]
        model: tyro.conf.OmitArgPrefixes[ModelConfig]

    settings = parse(
        Settings,
        argv,
        program(version),
        default=Settings(defaults, select(TrainConfig, recipe), select(ModelConfig, recipe)),
        description=f"Train version {version.number}, {version.title}: {version.adds}.",
    )
    return settings.run, asdict(settings.train) | asdict(settings.model)


def program(version: Version) -> str:
    """What the user typed to get here."""
    return f"python -m babygpt.{version.name}"


def default_preset(version: Version, device: str) -> str:
    """`laptop` if the version has it and there is no GPU, otherwise `lecture`."""
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


def train_and_save(trainer: Trainer, run: Run, version: Version) -> int:
    """Train to the end or until a signal, saving along the way; return the exit status."""
    sizes = trainer.model.config
    threads = worthwhile_threads(trainer.config.batch_size, sizes.block_size, getattr(sizes, "n_embd", 0))
    with threads, stop_on_signal(trainer):
        trainer.train(on_eval=lambda trainer: report(trainer, run), on_step=PaceReport())
        if not trainer.stop or trainer.step >= trainer.config.max_iters:
            finish(trainer, run, version)
            return 0
        run.save(trainer)
    print_line(f"Stopped and saved at step {trainer.step:,}. To continue:")
    print_line(f"  {python()} -m babygpt.{version.name} --resume --out-dir {run.folder}")
    return 130


def report(trainer: Trainer, run: Run) -> None:
    """After an evaluation: save, then print it. In this order, because there may be no terminal left to print to."""
    run.save(trainer)
    losses_of(run.folder.name)(trainer)  # to the board of the room, if there is one
    last, width = trainer.history[-1], len(str(trainer.config.max_iters))
    print_line(f"step {last['step']:{width}d}: train {last['train']:.2f}, val {last['val']:.2f}")


class PaceReport:
    """Says once, after the first steps, how long the rest will take, if that is long enough to wonder."""

    def __init__(self) -> None:
        self.steps = 0
        self.start = 0.0

    def __call__(self, trainer: Trainer) -> None:
        """Count a step."""
        self.steps += 1
        if self.steps == 1:  # the first step is slower than the others
            self.start = time.perf_counter()
        elif self.steps == 1 + PACE_STEPS:
            config = trainer.config
            left = config.max_iters - trainer.step
            evaluation = trainer.history[0]["seconds"]  # the first one came before any step
            pace = (time.perf_counter() - self.start) / PACE_STEPS
            seconds = left * (pace + evaluation / config.eval_interval)
            if seconds >= 20:
                minutes = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
                print_line(f"This will take about {minutes}.")


def finish(trainer: Trainer, run: Run, version: Version) -> None:
    """Print and save a sample of the best model, draw the curve, and say where everything is."""
    best = min(trainer.history, key=lambda record: record["val"])
    print_line(
        f"Trained {trainer.step:,} steps in {trainer.seconds:.0f} s. "
        f"Best validation loss: {best['val']:.4f} at step {best['step']:,}."
    )
    model, tokenizer = run.load_model("best", trainer.device)
    text = continue_text(model, tokenizer, length=SAMPLE_TOKENS, seed=trainer.config.seed)
    run.finish(trainer.history, text, title=f"{version.name} {version.title}")
    print_line(f"\n{text}\n")
    print_line(f"Everything is in {run.folder}: checkpoint.pt, best.pt, metrics.jsonl, loss.png, sample.txt")
    print_line(f'More text:  {python()} -m babygpt.sample {run.folder} --prompt "{example_prompt(tokenizer)}"')
    if version.number < len(VERSIONS):
        print_line(f"Next step:  {python()} -m babygpt.v{version.number + 1}")


def python() -> str:
    """How the user starts this Python: `python`, or its path if its environment is not active."""
    executable = Path(sys.executable)
    if executable.is_relative_to(Path.cwd()):
        return str(executable.relative_to(Path.cwd()))
    return "python"


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM or a closing terminal end training after the current step; a second one ends it at once.

    Signals that were ignored stay ignored, so that a run started with `nohup` outlives its terminal.
    """

    def handler(number: int, frame: object) -> None:
        trainer.stop = True
        restore()
        # The terminal may be gone, or the signal may have arrived in the middle of printing.
        with suppress(OSError, RuntimeError):
            tqdm.write("\nStopping after this step; press Ctrl-C again to stop at once.")

    def restore() -> None:
        for number, old in before.items():
            signal.signal(number, old)

    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # Windows has no SIGHUP, the others no SIGBREAK
    before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names if hasattr(signal, name)}
    before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        restore()
