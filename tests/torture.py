"""What `make torture` runs: trainings killed at random moments, resumed, and compared with one never stopped.

    python tests/torture.py                100 kills, memory over 10,000 steps, and the table of inputs
    python tests/torture.py --kills 10     fewer

A run is killed from outside (SIGKILL, SIGTERM, SIGINT, some time after it began), or kills itself at a
random line of the code that writes files, or in the middle of a file. Then it goes on, is killed again,
and in the end must have left, bit for bit, what the run that was never stopped has left.
"""

import argparse
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path

import forked
import torch

from babygpt.harness.runs import Run

TESTS = Path(__file__).resolve().parent
STEPS = (
    "--max-iters 200 --eval-interval 8 --eval-iters 2 --batch-size 4 --block-size 8 --n-embd 16 --n-head 2 --n-layer 1"
)
RUNS = {
    "v9": (9, STEPS),
    "v9 muon": (9, f"{STEPS} --optimizer muon --grad-clip 1 --learning-rate 0.03"),
    "v10 dropout": (
        10,
        f"{STEPS} --preset lecture --dtype float32 --dropout 0.3 --lr-schedule cosine --warmup-iters 20",
    ),
    "v10 muon": (10, f"{STEPS} --preset laptop --dtype bfloat16 --dropout 0.2"),
}
LINES = 60  # of the code that writes, run through in a save; enough to land in all of them
KILLS_PER_RUN = 5


@dataclass
class Count:
    """What happened. Only `mismatches` and `errors` must be empty."""

    kills: int = 0
    inside_a_write: int = 0
    before_a_checkpoint: int = 0
    resumes: int = 0
    finished_runs: int = 0
    interrupted_imports: int = 0
    mismatches: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, other):
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))


def command(number, flags, folder, inject=None):
    """The command line of a run, or of one with an accident built in."""
    program = (
        ["-m", f"babygpt.v{number}"] if inject is None else [str(Path(__file__)), "--inject", *inject, str(number)]
    )
    return [sys.executable, "-u", *program, *flags.split(), "--out-dir", str(folder)]


def start(*args, **kwargs):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(*args, **kwargs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def start_forked(number, flags, folder, inject=None):
    """The same in a moment, but without Python's own start, in which an accident may also happen."""
    argv = [*flags.split(), "--out-dir", str(folder)]
    return forked.Process(play, inject or (), number, argv)


def play(accident, number, argv):
    """In the new process: a run, perhaps with an accident."""
    from babygpt import cli

    if accident:
        inject(*accident, number, argv)
    cli.main(number, argv)


# In the process that is to have an accident


def inject(kind, n, number, argv):
    """Run a version that kills itself: at the n-th line of the code that writes, or within the n-th file."""
    from babygpt import cli

    die = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    left = int(n)
    if kind == "line":
        writing = [TESTS.parent / "babygpt" / "harness" / name for name in ("runs.py", "checkpoints.py", "files.py")]
        assert all(path.exists() for path in writing), "the code that writes is somewhere else by now"
        places = tuple(map(str, writing))

        def trace(frame, event, arg):
            nonlocal left
            if frame.f_code.co_filename not in places:
                return None
            left -= 1
            if left == 0:
                die()
            return trace

        sys.settrace(trace)
    if kind == "tear":
        fsync = os.fsync

        def tear(descriptor):
            nonlocal left
            about = os.fstat(descriptor)
            left -= stat.S_ISREG(about.st_mode)  # folders are synced too
            if left == 0:
                os.ftruncate(descriptor, random.Random(n).randrange(about.st_size))
                die()
            fsync(descriptor)

        os.fsync = tear
    cli.main(int(number), argv)


# In the process that looks on


def same(one, other):
    """Whether two contents of checkpoints are the same to the last bit, the seconds apart."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one if key != "seconds")
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def differences(whole, run):
    """What of a run is not as in the one that was never stopped."""
    parts = {
        "checkpoint.pt": lambda run: run.read("last"),
        "best.pt": lambda run: run.read("best"),
        "metrics.jsonl": lambda run: run.read_metrics(),
        "sample.txt": lambda run: run.sample.read_text(encoding="utf-8"),
        "files": lambda run: sorted(path.name for path in run.folder.iterdir()),
    }
    return [name for name, part in parts.items() if not same(part(whole), part(run))]


def uninterrupted(name, folder):
    """The run that is never stopped, and the seconds it took: until its first line, and from there on."""
    number, flags = RUNS[name]
    began = time.perf_counter()
    process = start(number, flags, folder)
    process.stdout.readline()
    begun = time.perf_counter()
    _, err = process.communicate()
    assert process.returncode == 0, err
    return Run(folder), begun - began, time.perf_counter() - begun


def accident(number, flags, folder, seconds, rng):
    """Start a run and have it end before its time.

    Returns:
        the exit status, what was printed to stderr, and whether it was within a write.
    """
    before, after = seconds
    kind = rng.choices(["kill", "term", "int", "line", "tear"], [25, 10, 10, 30, 25])[0]
    if kind in ("line", "tear"):
        n = rng.randint(1, 15 * LINES) if kind == "line" else rng.randint(1, 60)
        process = start(number, flags, folder, inject=(kind, str(n)))
    else:
        process = start(number, flags, folder)
        if rng.random() < 0.1:
            time.sleep(rng.uniform(0, before))
        else:
            process.stdout.readline()
            time.sleep(rng.uniform(0, after))
        process.send_signal({"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}[kind])
    _, err = process.communicate(timeout=120)
    return process.returncode, err, kind in ("line", "tear")


def killed_and_resumed(name, whole, seconds, folder, kills, seed):
    """Kill runs `kills` times in all, resume them, and compare each in the end."""
    number, flags = RUNS[name]
    rng, count, trial, here, saved = random.Random(seed), Count(), 0, 0, -1
    run = Run(folder / "0")
    while count.kills < kills or here > 0:
        resume = run.exists()
        what = "--resume" if resume else flags
        count.resumes += resume
        if count.kills < kills and here < KILLS_PER_RUN:
            status, err, within = accident(number, what, run.folder, seconds, rng)
        else:
            process = start(number, what, run.folder)
            err, within = process.communicate()[1], False
            status = process.returncode
        where = f"{name}, seed {seed}, {run.folder.name}, status {status}"
        if status in (-signal.SIGINT, 1) and err.rstrip().endswith("KeyboardInterrupt") and "import" in err:
            count.interrupted_imports += 1  # Python's own traceback, before there is any code of ours to catch it
        elif err or status not in (0, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
            count.errors.append(f"{where}: {err}")
        if run.exists():  # whole at any moment, and never behind what it was
            try:
                step = run.read("last")["state"]["step"]
                run.read("best"), run.read_metrics()
                if step < saved:
                    count.mismatches.append(f"{where}: at step {step} after {saved}")
                saved = step
            except ValueError as error:
                count.mismatches.append(f"{where}: {error}")
                break
        if status == 0:
            count.finished_runs += 1
            count.mismatches += [f"{where}: {part}" for part in differences(whole, run)]
            trial, here, saved = trial + 1, 0, -1
            run = Run(folder / str(trial))
        else:
            count.kills += 1
            count.inside_a_write += within
            count.before_a_checkpoint += not run.exists()
            here += 1
            if not run.exists() and here == 1:  # and what does --resume say to that?
                process = start(number, "--resume", run.folder)
                out, err = process.communicate()
                if process.returncode != 2 or out or err.count("\n") != 1 or "start one without --resume" not in err:
                    count.errors.append(f"{where}: {err}")
    return count


def kill_harness(kills, seed, folder, jobs=2, names=tuple(RUNS)):
    """Kill runs of all kinds, `jobs` at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        wholes = dict(
            zip(names, pool.map(lambda name: uninterrupted(name, folder / name / "whole"), names), strict=True)
        )
        tasks = []
        for i, name in enumerate(names):
            whole, *seconds = wholes[name]
            share = kills // len(names) + (i < kills % len(names))
            tasks.append(pool.submit(killed_and_resumed, name, whole, seconds, folder / name, share, seed * 1000 + i))
        count = Count()
        for task in tasks:
            count.add(task.result())
    return count


# A disk that is really full


def disk_full(folder):
    """Train on a disk of 300 KB until it is full, make it larger, and go on. Needs root on Linux.

    Returns:
        what went wrong, a line each; or None where no such disk can be made.
    """
    number, flags = RUNS["v9 muon"]
    flags += " --n-embd 32"
    whole, disk = Run(folder / "whole"), folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    try:
        if subprocess.run(mount, capture_output=True).returncode != 0:
            return None
    except FileNotFoundError:
        return None
    try:
        wrong = []
        start(number, flags, whole.folder).communicate()
        process = start(number, flags, disk / "run")
        _, err = process.communicate()
        if process.returncode != 2 or err.count("\n") != 1 or "(No space left on device): what was saved" not in err:
            wrong.append(f"full disk: status {process.returncode}, {err}")
        wrong += [f"full disk: {path.name} is left" for path in (disk / "run").glob("*.tmp")]
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        _, err = start(number, "--resume", disk / "run").communicate()
        return wrong + [f"full disk, then room: {part} {err}" for part in differences(whole, Run(disk / "run"))]
    finally:
        subprocess.run(["umount", str(disk)])


# Memory


def memory(steps=10_000, early=2_000):
    """Megabytes that a v9 in training holds after `early` steps and after `steps`."""
    program = f"""
import os, psutil, tempfile, torch
from pathlib import Path
from babygpt import v9
from babygpt.data import Corpus
from babygpt.harness.runs import Run
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import get_version, select

recipe = get_version(9).preset("lecture") | {{"vocab_size": 65, "max_iters": {steps}, "eval_interval": {early}}}
recipe |= {{"eval_iters": 20, "device": "cpu"}}
trainer = Trainer(v9.Model(select(v9.Config, recipe)), Corpus.load(), select(TrainConfig, recipe))
with tempfile.TemporaryDirectory() as folder:
    def look(trainer):
        Run(Path(folder) / "run").save(trainer)
        print(trainer.step, psutil.Process().memory_info().rss / 1e6)
    trainer.train(look, progress=False)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    held = {int(step): float(mb) for step, mb in map(str.split, out.stdout.splitlines())}
    return held[early], held[steps]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="default: another one each time")
    args = parser.parse_args()
    began = time.perf_counter()
    print(f"killing runs of {', '.join(RUNS)}, {args.kills} times in all (seed {args.seed}) ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        count = kill_harness(args.kills, args.seed, Path(folder))
        full = disk_full(Path(folder))
    print(
        f"kills {count.kills} ({count.inside_a_write} within a write, {count.before_a_checkpoint} before the first "
        f"checkpoint), resumes {count.resumes}, runs compared {count.finished_runs}, "
        f"mismatches {len(count.mismatches)}, errors {len(count.errors)}, "
        f"Ctrl-C while Python still imported {count.interrupted_imports}"
    )
    for problem in (*count.mismatches, *count.errors, *(full or [])):
        print(problem)
    print("a full disk: " + ("not tried, needs root on Linux" if full is None else f"problems {len(full)}"))
    print("measuring memory over 10,000 steps of v9 ...", flush=True)
    early, late = memory()
    grows = late - early > 10
    print(f"memory after 2,000 steps {early:.0f} MB, after 10,000 {late:.0f} MB" + (": it GROWS" if grows else ""))
    bad = bool(count.mismatches or count.errors or full or grows)
    if (TESTS / "test_input.py").exists():
        print("the table of inputs ...", flush=True)
        bad |= subprocess.run([sys.executable, str(TESTS / "test_input.py")]).returncode != 0
    print(f"{'FAILED' if bad else 'all is well'}, in {(time.perf_counter() - began) / 60:.1f} minutes")
    sys.exit(bad)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inject"]:
        inject(*sys.argv[2:5], sys.argv[5:])
    else:
        main()
