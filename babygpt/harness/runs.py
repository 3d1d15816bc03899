"""A run folder: what one training run leaves behind, and what is needed to resume it.

checkpoint.pt   the latest model, with the optimizers and the random streams
best.pt         the model with the lowest validation loss so far
metrics.jsonl   one JSON line per evaluation
loss.png        the losses against the step
sample.txt      text generated at the end
expected.png    the losses and where they should be, once `python -m babygpt.expect` has been run
.lock           present while a process writes to the folder, so that no second one does
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from babygpt.errors import UserError, require
from babygpt.harness.checkpoints import Checkpoint, describe, is_intact, load_model, read_checkpoint, save_checkpoint
from babygpt.harness.files import sync_folder, temporary_of, write_atomically
from babygpt.harness.pictures import losses_against_steps
from babygpt.model import LanguageModel
from babygpt.tokenizer import Tokenizer
from babygpt.training import TrainConfig, Trainer

MAY_CHANGE = {"device", "eval_interval", "eval_iters"}
"""Settings that a resumed run may change, because the steps so far would have been the same."""


class Run:
    """The folder of one training run."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.checkpoint = self.folder / "checkpoint.pt"
        self.best = self.folder / "best.pt"
        self.metrics = self.folder / "metrics.jsonl"
        self.picture = self.folder / "loss.png"
        self.sample = self.folder / "sample.txt"
        self._made = False

    def exists(self) -> bool:
        """Whether there is a run in the folder."""
        return self.checkpoint.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the folder; create it, and remove what a killed run left half written.

        The operating system holds the lock, so the lock ends with the process, however that ends.
        A folder created here in which nothing was saved is removed again.

        Raises:
            UserError: another process is writing to the folder, or it cannot be written to.
        """
        lock = FileLock(self.folder / ".lock", timeout=0)
        made = []
        try:
            made = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
            self._make_folder()
            lock.acquire()
        except Timeout:
            raise UserError(
                f"another process is writing to {self.folder}: wait until it is done, or choose another --out-dir"
            ) from None
        except OSError as error:
            for folder in made:
                with suppress(OSError):
                    folder.rmdir()
            raise self._cannot_write(error) from error
        try:
            for path in (self.checkpoint, self.best, self.metrics, self.picture, self.sample):
                with suppress(OSError):
                    temporary_of(path).unlink(missing_ok=True)
            yield
        finally:
            # Removed while the lock is still held, so that no other process can take this file in between.
            # Windows does not let go of an open file, so there it is removed afterwards.
            with suppress(OSError):
                (self.folder / ".lock").unlink()
            lock.release()
            if os.name == "nt":
                with suppress(OSError):
                    (self.folder / ".lock").unlink()
            for folder in made:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint, the metrics and, if the last evaluation is the best, the best model.

        A kill between two of the files loses nothing: the checkpoint comes last, so a run that resumes from
        the one before writes the others again.

        Raises:
            UserError: the folder cannot be written to or has vanished, or a weight is not a number. What was
                saved before stays.
        """
        trainer.check_weights()
        about, state = describe(trainer.model, trainer.corpus.tokenizer), trainer.state()
        full = about | {
            "train_config": asdict(trainer.config),
            "corpus": {
                "path": str(trainer.corpus.path),
                "tokenizer": trainer.corpus.tokenizer.name,
                "fingerprint": trainer.corpus.fingerprint,
            },
            "state": state,
        }
        last = trainer.history[-1]
        is_best = last["step"] == trainer.step and last["val"] == min(h["val"] for h in trainer.history)
        self.write(
            trainer.history,
            full,
            about | {"state": {"model": state["model"], "step": trainer.step}} if is_best else None,
        )

    def write(self, history: list[dict[str, float]], last: Checkpoint, best: Checkpoint | None) -> None:
        """Write the files of `save`: the metrics, the best model if there is a new one, and then the checkpoint.

        Raises:
            UserError: the folder cannot be written to, or has vanished.
        """
        lines = "".join(json.dumps(record) + "\n" for record in history)
        try:
            self._make_folder()
            write_atomically(self.metrics, lines.encode("utf-8"))
            if best is not None:
                save_checkpoint(self.best, best)
            save_checkpoint(self.checkpoint, last)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _make_folder(self) -> None:
        """Create the folder, once: if it vanishes later, somebody removed it."""
        if not self._made:
            self.folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder.parent)
            self._made = True

    def _cannot_write(self, error: OSError) -> UserError:
        """What to tell the user after `error`."""
        reason = f"cannot write to {self.folder} ({error.strerror or error})"
        if self._made and not self.folder.exists():
            return UserError(f"{reason}: the folder has vanished, and its run with it; train again")
        with suppress(OSError):
            if self.exists():
                return UserError(f"{reason}: what was saved before is still there; fix that, then use --resume")
        return UserError(f"{reason}: fix that, or choose another --out-dir")

    def check_resumable(self, saved: Checkpoint, trainer: Trainer) -> None:
        """Raise UserError, naming every difference, unless the new trainer can go on from `saved`."""
        new = asdict(trainer.model.config) | asdict(trainer.config)
        # A setting that is newer than the run had its default then.
        defaults = asdict(type(trainer.model.config)()) | asdict(TrainConfig())
        old = defaults | saved["model_config"] | saved["train_config"]
        # A schedule that ends at max_iters would have been a different one with another max_iters.
        may_change = MAY_CHANGE | ({"max_iters"} if new["lr_schedule"] == "constant" else set())
        changes = [
            f"{name} was {before} and is now {after}"
            for name, (before, after) in differences(old, new).items()
            if name not in may_change
        ]
        if saved["corpus"]["fingerprint"] != trainer.corpus.fingerprint:
            changes.insert(0, f"the text was not the one that {trainer.corpus.name} holds now")
        require(
            not changes,
            f"{self.folder} was trained with other settings; resume it without these changes, or choose "
            f"another --out-dir:\n  " + "\n  ".join(changes),
        )

    def read(self, which: str = "last") -> Checkpoint:
        """The content of the `last` checkpoint or of the `best`.

        Raises:
            UserError: there is no such file, or it is not a complete checkpoint.
        """
        path, other = (self.best, self.checkpoint) if which == "best" else (self.checkpoint, self.best)
        remedy = "remove the folder and train again"
        if is_intact(other):
            sample = f"python -m babygpt.sample {self.folder}" + (" --checkpoint last" if which == "best" else "")
            remedy = f"`{sample}` still works; to train again, choose another --out-dir"
        return read_checkpoint(path, remedy, full=which == "last")

    def read_metrics(self) -> list[dict[str, float]]:
        """The evaluations in metrics.jsonl, except for a last line that was only half written.

        Raises:
            UserError: the file cannot be read, or another line is not JSON.
        """
        try:
            lines = self.metrics.read_bytes().splitlines()
        except OSError as error:
            raise UserError(f"cannot read {self.metrics} ({error.strerror}): train again") from error
        records = []
        for number, line in enumerate(lines, start=1):
            try:
                records.append(json.loads(line))
            except ValueError:
                require(
                    number == len(lines),
                    f"line {number} of {self.metrics} is not JSON: {line[:40]!r}; remove the line, or --resume the "
                    "run, which writes the whole file again",
                )
        return records

    def load_model(self, which: str = "best", device: torch.device | str = "cpu") -> tuple[LanguageModel, Tokenizer]:
        """The saved model, in eval mode, and its tokenizer.

        Raises:
            UserError: as `read`, or the weights do not fit the sizes.
        """
        return load_model(self.read(which), device)

    def finish(self, history: list[dict[str, float]], sample: str, title: str) -> None:
        """Write the sample, and draw the losses against the step.

        Raises:
            UserError: the folder cannot be written to.
        """
        picture = losses_against_steps(history, title)
        try:
            write_atomically(self.sample, sample.encode("utf-8"))
            write_atomically(self.picture, picture)
        except OSError as error:
            raise self._cannot_write(error) from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings of `new` that differ in `old`, by name, each as (old, new). A missing old setting is None."""
    return {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}


def new_folder(name: str, parent: Path = Path("runs")) -> Path:
    """`runs/v6`, or `runs/v6-2`, `runs/v6-3`, ... if that is taken."""
    folder, n = parent / name, 1
    while folder.exists():
        n += 1
        folder = parent / f"{name}-{n}"
    return folder


def latest_folder(name: str, parent: Path = Path("runs")) -> Path:
    """The last written of `runs/v6`, `runs/v6-2`, ...; `runs/v6` if there is none."""
    folders = [folder for folder in (parent / name, *parent.glob(f"{name}-*")) if Run(folder).exists()]
    return max(folders, key=lambda folder: Run(folder).checkpoint.stat().st_mtime, default=parent / name)
