"""Processes that start at once: forked from one that has already loaded torch, where the system can do that.

Starting Python and loading torch takes seconds, and loading what every optimizer needs (torch._dynamo) takes another
one. Many tests need a process for something else: to kill it, or to run a notebook that leaves nothing behind. Windows
has no fork; there each process starts from the beginning.
"""

import contextlib
import io
import multiprocessing
import os
import sys
import threading

from tqdm import tqdm

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
CONTEXT = multiprocessing.get_context(METHOD)
if METHOD == "forkserver":
    CONTEXT.set_forkserver_preload(["torch._dynamo", "matplotlib.pyplot", "babygpt.cli", "babygpt.v10"])


class Process:
    """A function in a process of its own, with the part of Popen's interface that the tests need (not on Windows)."""

    def __init__(self, function, *args, environment=os.environ):
        pipes = [CONTEXT.Pipe(duplex=False) for _ in range(2)]
        writers = [writer for _, writer in pipes]
        self.process = CONTEXT.Process(target=run, args=(*writers, dict(environment), function, args))
        self.process.start()
        for writer in writers:
            writer.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(reader.fileno()), encoding="utf-8") for reader, _ in pipes)
        for reader, _ in pipes:
            reader.close()

    @property
    def returncode(self):
        return self.process.exitcode

    def send_signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def communicate(self, timeout=None):
        """Wait for the end; return what is left of its output and of its complaints, which is never much."""
        with self.stdout, self.stderr:
            texts = self.stdout.read(), self.stderr.read()
        self.process.join(timeout)
        assert self.returncode is not None, f"still running after {timeout} s"
        return texts


def run(out, err, environment, function, args):
    """In the new process: what Python sets up when it starts, and then the function."""
    os.environ.clear()
    os.environ.update(environment)
    for number, writer in ((1, out), (2, err)):
        os.dup2(writer.fileno(), number)
        writer.close()
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(number, "wb", 0, closefd=False), encoding="utf-8", write_through=True)
        for number in (1, 2)
    )
    tqdm.set_lock(threading.RLock())  # its own is shared between processes, and a killed one would leave it behind
    function(*args)
