"""What a user can put right gets one sentence; a bug keeps its traceback."""

import os
import sys
from collections.abc import Callable


class UserError(ValueError):
    """Bad input. The message says what is wrong, the value seen, and what to do."""


def require(condition: bool, message: str) -> None:
    """Raise UserError with `message` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit status: its own (None is 0), 2 after a UserError, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a character shows "?"
    try:
        status = command() or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"babygpt: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
