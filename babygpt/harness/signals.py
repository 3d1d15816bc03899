"""Ending a training run from outside: Ctrl-C, and the signals that ask a process to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tqdm import tqdm

from babygpt.training import Trainer


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
