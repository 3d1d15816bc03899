"""The command line of a model: `python -m babygpt.v6 --max-iters 1000`."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from babygpt import parallel
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.device import pick_device
from babygpt.errors import require
from babygpt.harness import ranks
from babygpt.harness.checkpoints import Checkpoint
from babygpt.harness.pace import PaceReport
from babygpt.harness.reports import losses_of
from babygpt.harness.runs import Run, latest_folder, new_folder
from babygpt.harness.signals import stop_on_signal
from babygpt.harness.terminal import exit_status, parse, print_line
from babygpt.harness.threads import worthwhile_threads
from babygpt.model import LanguageModel
from babygpt.sample import continue_text, example_prompt
from babygpt.tokenizer import Tokenizer
from babygpt.training import TrainConfig, Trainer, new_trainer
from babygpt.versions import Trainable, get_version, select

SAMPLE_TOKENS = 500

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


class Command:
    """What training a model from the command line means. Part two extends it, for example by tokenizers."""

    run_config = RunConfig
    trainer = Trainer
    folder = Run

    def __init__(self, model: Trainable) -> None:
        self.model = model

    def load_corpus(self, config: RunConfig, settings: Mapping[str, Any]) -> Corpus:
        """The text to learn from, tokenized. What a subclass loads may depend on the settings of model and training."""
        return Corpus.load(config.data)

    def saved_choices(self, saved: Checkpoint) -> dict[str, Any]:
        """What a resumed run takes from its checkpoint: defaults for fields of `run_config`."""
        return {"data": Path(saved["corpus"]["path"])}

    def only_prints(self, config: RunConfig, settings: Mapping[str, Any], corpus: Corpus) -> bool:
        """Do what the flags ask for in place of training; False if they don't."""
        if config.shapes:
            from babygpt.shapes import print_shapes

            sizes = {**settings, "vocab_size": corpus.tokenizer.vocab_size}
            print_shapes(self.model, select(self.model.module().Config, sizes))
        return config.shapes

    def new_trainer(self, config: RunConfig, settings: Mapping[str, Any], corpus: Corpus) -> Trainer:
        """The trainer of a new run."""
        return new_trainer(self.model.module(), corpus, settings, self.trainer)

    def sample(self, model: LanguageModel, trainer: Trainer) -> str:
        """What the best model of a run writes, to print and to save."""
        return continue_text(model, trainer.corpus.tokenizer, length=SAMPLE_TOKENS, seed=trainer.config.seed)

    def what_next(self, folder: Path, tokenizer: Tokenizer) -> str:
        """How to get more from a trained model."""
        return f'More text:  {python()} -m babygpt.sample {folder} --prompt "{example_prompt(tokenizer)}"'


def main(model: int | Command, argv: Sequence[str] | None = None) -> None:
    """Train a version as the command line says, and exit: 0, 2 for bad input, 130 after Ctrl-C.

    Args:
        model: the number of a version, or the command of another model.
    """

    command = Command(get_version(model)) if isinstance(model, int) else model
    job = partial(train, command, sys.argv[1:] if argv is None else argv)
    sys.exit(parallel.exit_status(command, job) if ranks.launched() else exit_status(job))


def train(command: Command, argv: Sequence[str]) -> int:
    """Train a model from its command line, or resume a run of it; return the exit status.

    Raises:
        UserError: the flags, the text or the folder cannot be used. Nothing has been written then.
    """
    model = command.model
    # The others are unknown here, but not to `read_settings`.
    first, _ = parse(FirstFlags, argv, program(model), return_unknown_args=True, add_help=False)
    if first.resume and not {"-h", "--help"} & set(argv):
        run = command.folder(first.out_dir or latest_folder(model.name))
        require(
            run.exists(),
            f"there is no run in {run.folder}: {run.checkpoint.name} is missing; start one without --resume",
        )
        with run.locked():
            return resume(command, argv, run, first)
    preset = default_preset(model, first.device) if first.preset is None else first.preset
    config, settings = read_settings(command, argv, command.run_config(preset), model.preset(preset))
    corpus = command.load_corpus(config, settings)
    if command.only_prints(config, settings, corpus):
        return 0
    trainer = command.new_trainer(config, settings, corpus)
    run = command.folder(config.out_dir or new_folder(model.name))
    with run.locked():
        require(
            not run.exists(),
            f"{run.folder} already holds a run: add --resume to continue it, or choose another --out-dir",
        )
        print_line(describe(model, trainer))
        return train_and_save(trainer, run, command)


def resume(command: Command, argv: Sequence[str], run: Run, first: FirstFlags) -> int:
    """Continue a run, which is locked; return the exit status.

    Raises:
        UserError: the run belongs to another model, or was trained with other settings or another text.
    """
    saved, model = run.read("last"), command.model
    require(
        saved["module"] == model.path,
        f"{run.folder} was trained with {saved['module']}, not with {model.path}: resume it with "
        f"`python -m {saved['module']}`, or choose another --out-dir",
    )
    recipe = saved["train_config"] | saved["model_config"] | (model.preset(first.preset) if first.preset else {})
    preset = first.preset or default_preset(model, first.device)
    defaults = command.run_config(preset, **command.saved_choices(saved))
    config, settings = read_settings(command, argv, defaults, recipe)
    trainer = command.new_trainer(config, settings, command.load_corpus(config, settings))
    run.check_resumable(saved, trainer)
    trainer.load_state(saved["state"])
    print_line(describe(model, trainer))
    print_line(f"Continuing {run.folder} from step {trainer.step:,}.")
    return train_and_save(trainer, run, command)


def read_settings(
    command: Command, argv: Sequence[str], defaults: RunConfig, recipe: Mapping[str, Any]
) -> tuple[RunConfig, dict[str, Any]]:
    """Turn the command line into settings. What it leaves out comes from `defaults` and `recipe`.

    Returns:
        the settings of the run, and those of the model and of training in one dictionary.

    Raises:
        SystemExit: a flag is wrong (status 2), or the help was asked for (status 0); both have been printed.
    """
    model = command.model

    @dataclass(frozen=True)
    class ModelConfig(model.module().Config):
        """The sizes of the model."""

        vocab_size: Annotated[int, tyro.conf.Fixed, tyro.conf.Suppress] = 65  # the text decides

    @dataclass(frozen=True)
    class Settings:
        run: tyro.conf.OmitArgPrefixes[command.run_config]
        train: tyro.conf.OmitArgPrefixes[TrainConfig]
        model: tyro.conf.OmitArgPrefixes[ModelConfig]

    settings = parse(
        Settings,
        argv,
        program(model),
        default=Settings(defaults, select(TrainConfig, recipe), select(ModelConfig, recipe)),
        description=f"Train {model.called}: {model.adds}.",
    )
    return settings.run, asdict(settings.train) | asdict(settings.model)


def program(model: Trainable) -> str:
    """What the user typed to get here."""
    return f"python -m {model.path}"


def default_preset(model: Trainable, device: str) -> str:
    """`laptop` if the model has it and there is no GPU, otherwise the first of its recipes."""
    slow = "laptop" in model.presets and pick_device(device).type != "cuda"
    return "laptop" if slow else next(iter(model.presets))


def describe(model: Trainable, trainer: Trainer) -> str:
    """One line on what is about to be trained."""
    parameters = sum(p.numel() for p in trainer.model.parameters())
    corpus, dtype = trainer.corpus, str(trainer.dtype).removeprefix("torch.")
    return (
        f"{model.name} {model.title}: {parameters:,} parameters, on {trainer.where} in {dtype}, "
        f"learning {corpus.name} ({len(corpus):,} {corpus.unit}, {corpus.tokenizer.vocab_size:,} different)"
    )


def train_and_save(trainer: Trainer, run: Run, command: Command) -> int:
    """Train to the end or until a signal, saving along the way; return the exit status."""
    sizes = trainer.model.config
    threads = worthwhile_threads(trainer.config.batch_size, sizes.block_size, getattr(sizes, "n_embd", 0))
    report = Report(trainer, run)
    with threads, stop_on_signal(trainer):
        trainer.train(on_eval=report, on_step=PaceReport())
        if not trainer.stop or trainer.step >= trainer.config.max_iters:
            ranks.on_main(finish, trainer, run, command)
            return 0
        run.save(trainer)
    print_line(f"Stopped and saved at step {trainer.step:,}. To continue:")
    start = ranks.launcher() if ranks.launched() else python()
    print_line(f"  {start} -m {command.model.path} --resume --out-dir {run.folder}")
    return 130


class Report:
    """After an evaluation: save, then print it. In this order, because there may be no terminal left to print to."""

    def __init__(self, trainer: Trainer, run: Run) -> None:
        self.run = run
        tokens = trainer.corpus.tokenizer.name != "char"
        self.bytes_per_token = trainer.corpus.bytes_per_token("val") if tokens else None

    def __call__(self, trainer: Trainer) -> None:
        """Save and print the latest evaluation."""
        self.run.save(trainer)
        losses_of(self.run.folder.name)(trainer)  # to the board of the room, if there is one
        last, width = trainer.history[-1], len(str(trainer.config.max_iters))
        line = f"step {last['step']:{width}d}: train {last['train']:.2f}, val {last['val']:.2f}"
        if self.bytes_per_token:
            line += f", which is {last['val'] / self.bytes_per_token / math.log(2):.3f} bits per byte"
        print_line(line + trainer.remark())


def finish(trainer: Trainer, run: Run, command: Command) -> None:
    """Print and save a sample of the best model, draw the curve, and say where everything is."""
    model, best = command.model, min(trainer.history, key=lambda record: record["val"])
    print_line(
        f"Trained {trainer.step:,} steps in {trainer.seconds:.0f} s. "
        f"Best validation loss: {best['val']:.4f} at step {best['step']:,}."
    )
    saved, tokenizer = run.load_model("best", trainer.device)
    text = command.sample(saved, trainer)
    run.finish(trainer.history, text, title=f"{model.name} {model.title}")
    print_line(f"\n{text}\n")
    print_line(f"Everything is in {run.folder}: checkpoint.pt, best.pt, metrics.jsonl, loss.png, sample.txt")
    print_line(command.what_next(run.folder, tokenizer))
    if model.next:
        print_line(f"Next step:  {python()} -m {model.next}")


def python() -> str:
    """How the user starts this Python: `python`, or its path if its environment is not active."""
    executable = Path(sys.executable)
    if executable.is_relative_to(Path.cwd()):
        return str(executable.relative_to(Path.cwd()))
    return "python"
