"""Commands: the command line becomes settings, and every ending becomes an exit status."""

import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro
from tqdm import tqdm

from babygpt.errors import UserError

Settings = TypeVar("Settings")


def run_command(
    settings_class: type[Settings], function: Callable[[Settings], int | None], prog: str, argv: Sequence[str] | None
) -> NoReturn:
    """Read the command line into settings, call `function` with them, and exit as `exit_status` says."""
    sys.exit(exit_status(lambda: function(parse(settings_class, argv, prog))))


def parse(settings_class: type[Settings], argv: Sequence[str] | None, prog: str, **options: Any) -> Settings:
    """Build the settings, a dataclass, from a command line; `options` go to `tyro.cli`.

    Raises:
        SystemExit: status 2 after an error message, or 0 after the help.
    """
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"  # tyro looks at nothing else
    return tyro.cli(settings_class, args=argv, prog=prog, config=(tyro.conf.FlagCreatePairsOff,), **options)


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit status: its own (None is 0), 2 after a UserError, 130 after Ctrl-C."""
    prepare_streams()
    try:
        status = command() or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        return print_error(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has read enough
        discard_output()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        discard_output()
        return print_error(f"the disk is full ({error.strerror}): free some space, and run the same command again")
    except (MemoryError, RuntimeError) as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            return print_error(f"torch.compile does not work here ({type(error).__name__}): leave out --compile")
        if not isinstance(error, MemoryError) and not re.search("allocate memory|of memory|enough memory", str(error)):
            raise
        size = re.search(r"allocate ([\d.]+ \w+)", str(error))
        return print_error(
            f"there is not enough memory{f' for {size[1]}' if size else ''}: use smaller numbers, for example half the "
            f"--batch-size, --block-size or --n-embd"
        )


def prepare_streams() -> None:
    """Make printing safe: a closed stream discards its text, and a character that a console lacks becomes "?"."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # `>&-`, or a program without a console
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def print_line(text: str) -> None:
    """Print a line, above a progress bar if there is one; if nobody is reading any more, go on without printing.

    This is for training, which should finish even when the terminal or pipe that it reports to is gone.
    """
    try:
        tqdm.write(text)  # and flushes
    except OSError:
        discard_output()


def discard_output() -> None:
    """Discard what stdout still holds and all that is printed from now on."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def print_error(message: str) -> int:
    """Tell the user what to fix, and return the exit status for it."""
    try:
        print(f"babygpt: {message}", file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody is reading: the status has to do
    return 2
