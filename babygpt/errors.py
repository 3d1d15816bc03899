"""What a user can put right gets one sentence; a bug keeps its traceback."""

import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm


class UserError(ValueError):
    """Bad input. The message says what is wrong, the value seen, and what to do."""


def require(condition: bool, message: str) -> None:
    """Raise UserError with `message` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit status: its own (None is 0), 2 after a UserError, 130 after Ctrl-C."""
    prepare_streams()
    try:
        status = command() or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        silence()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        silence()
        return complain(f"the disk is full ({error.strerror}): free some space, and run the same command again")
    except (MemoryError, RuntimeError) as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            return complain(f"torch.compile does not work here ({type(error).__name__}): leave out --compile")
        if not isinstance(error, MemoryError) and not re.search("allocate memory|of memory|enough memory", str(error)):
            raise
        asked = re.search(r"allocate ([\d.]+ \w+)", str(error))
        return complain(
            f"there is not enough memory{f' for {asked[1]}' if asked else ''}: use smaller numbers, a --batch-size, "
            f"--block-size or --n-embd half as large, say"
        )


def prepare_streams() -> None:
    """Make printing safe: a closed stream swallows all, a character that a console lacks becomes "?"."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # `>&-`, or a program without a console
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """Print a line, above a progress bar if there is one; where nobody reads any more, go on in silence.

    For the training, which is to end well even when the terminal or the pipe that it reports to is gone.
    """
    try:
        tqdm.write(text)  # and flushes
    except OSError:
        silence()


def silence() -> None:
    """Send what stdout still holds, and all that is printed from now on, to nowhere."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def complain(message: str) -> int:
    """Tell the user what to put right, and return the exit status for it."""
    try:
        print(f"babygpt: {message}", file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody to tell: the status has to do
    return 2
