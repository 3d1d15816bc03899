"""How fast a long text becomes tokens: in memory, and as shards."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from babygpt.data import SHAKESPEARE
from benchmarks.measure import BenchmarkConfig, Result, summary

LONG = 10**9  # bytes, about

# Linux only; the more usual ru_maxrss would also count the process that started this one.
PEAK = "int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) * 1024"


@contextmanager
def long_text(size: int = LONG) -> Iterator[tuple[Path, int]]:
    """A file with as many copies of tiny Shakespeare as fit into some bytes, and its size."""
    text = SHAKESPEARE.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.txt"
        with path.open("wb") as file:
            for _ in range(size // len(text)):
                file.write(text)
        yield path, size // len(text) * len(text)


def python(*arguments: str) -> str:
    """The output of `python ...`."""
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout


def data(config: BenchmarkConfig) -> Result:
    """A text of 1 GB, opened and tokenized. The peak is that of the whole process, PyTorch's 0.2 GB included."""
    with long_text() as (path, size):
        code = (
            "import time\n"
            "from pathlib import Path\n"
            "from babygpt.data import Corpus\n"
            "start = time.perf_counter()\n"
            f"corpus = Corpus.load({str(path)!r})\n"
            "seconds = time.perf_counter() - start\n"
            f"print(seconds, {PEAK} / len(corpus))\n"
        )
        runs = [tuple(map(float, python("-c", code).split())) for _ in range(min(3, config.rounds))]
    return {
        "speed": summary([size / seconds / 1e6 for seconds, _ in runs], "MB/s"),
        "memory at the peak": summary([memory for _, memory in runs], "bytes a character"),
    }


def shards(config: BenchmarkConfig) -> Result:
    """A text of 1 GB (for GPT-2's tokens 0.2 GB) turned into shards on disk. The peak is that of the main process."""
    result = {}
    for tokenizer, size in (("char", LONG), ("gpt2", LONG // 5)):
        with long_text(size) as (path, size):
            for name, workers in (("one process", 1), ("a process per core", 0)):
                runs = [seconds_and_peak(path, tokenizer, workers) for _ in range(min(3, config.rounds))]
                result[f"{tokenizer}, {name}"] = summary([size / seconds / 1e6 for seconds, _ in runs], "MB/s") | {
                    "memory at the peak, MB": round(max(peak for _, peak in runs) / 1e6)
                }
    return result


def seconds_and_peak(text: Path, tokenizer: str, workers: int) -> tuple[float, float]:
    """How long it takes to write the shards of a text in a new process, and its memory at the peak in bytes."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from babygpt.beyond.write_shards import write_shards\n"
        "text, folder, tokenizer, workers = sys.argv[1:]\n"
        "start = time.perf_counter()\n"
        "write_shards([Path(text)], Path(folder), tokenizer, workers=int(workers))\n"
        f"print(time.perf_counter() - start, {PEAK})\n"
    )
    folder = text.with_name("shards")
    seconds, peak = map(float, python("-c", code, str(text), str(folder), tokenizer, str(workers)).split())
    rmtree(folder)
    return seconds, peak
