"""Where the output goes: pipes that close, terminals that are narrow, plain, closed, or not there."""

import contextlib
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Process
from tqdm import tqdm

from babygpt import cli
from babygpt.harness.runs import Run

pty = pytest.importorskip("pty", reason="Windows has no such terminals")
fcntl, struct, termios = (pytest.importorskip(name) for name in ("fcntl", "struct", "termios"))

V1 = [sys.executable, "-m", "babygpt.v1"]
SHORT = "--max-iters 400 --eval-interval 100 --eval-iters 1".split()
COLOR = re.compile(r"\x1b\[[\d;]*m")


def environment(**more):
    """This process's environment, with what decides about terminals taken out, and `more` put in."""
    plain = {
        k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "TERM", "TQDM_MININTERVAL")
    }
    return plain | {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1"} | more


def in_terminal(function, *args, columns=80, close_at=None, **more):
    """Call a function in a process that has a terminal of its own; return its exit status, and all that appeared.

    `close_at`: close the terminal once this (a regular expression) has appeared.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = Process(with_terminal, os.ttyname(slave), function, *args, environment=environment(**more))
    process.stdout.readline()  # it has opened the terminal, or it is dead
    os.close(slave)
    seen = b""
    while close_at is None or not re.search(close_at, seen):
        try:
            piece = os.read(master, 4096)
        except OSError:  # the other end is gone
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    process.communicate(300)
    return process.returncode, seen.decode("utf-8")


def with_terminal(terminal, function, *args):
    """In the new process: the terminal is where its output goes, and closing the terminal ends it."""
    os.setsid()
    opened = os.open(terminal, os.O_RDWR)
    print("opened", flush=True)
    for number in range(3):
        os.dup2(opened, number)
    function(*args)


def without_terminal(*args):
    os.setsid()
    cli.main(*args)


def without_stdout(*args):
    """What `>&-` leaves: Python finds the stream closed, and the next file that it opens takes its number."""
    os.close(1)
    sys.stdout = None
    cli.main(*args)


def restless(*args):
    """A run whose bar is drawn at every step."""
    tqdm.__init__ = functools.partialmethod(tqdm.__init__, mininterval=0)
    cli.main(*args)


def frames(shown):
    """What stood in each line of a terminal, one after the other: bars overwrite one another after a return."""
    return [frame for frame in re.split(r"[\r\n]+", shown) if "%|" in frame or "step/s" in frame or "s/step" in frame]


def read_run(folder):
    saved = Run(folder).read()
    return saved["state"]["step"], [record["step"] for record in saved["state"]["history"]]


def test_a_run_whose_pipe_closes_trains_to_the_end_without_printing(tmp_path):
    process = subprocess.Popen([*V1, *SHORT], cwd=tmp_path, env=environment(), text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline().startswith("v1 bigram")
    assert not Run(tmp_path / "runs/v1").sample.exists()  # the line came at once, not at the end
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 0
    assert read_run(tmp_path / "runs/v1") == (400, [0, 100, 200, 300, 400])
    assert Run(tmp_path / "runs/v1").sample.exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    text = "床前明月光，疑是地上霜。\n" * 50
    (folder / "poem.txt").write_text(text, encoding="utf-8")
    with contextlib.chdir(folder), pytest.raises(SystemExit) as exit:
        cli.main(1, "--max-iters 2 --eval-iters 1 --data poem.txt".split())
    assert exit.value.code == 0
    return folder


SAMPLE = [sys.executable, "-m", "babygpt.sample", "runs/v1", "--max-new-tokens"]


def test_a_sample_whose_pipe_closes_ends_without_a_message(trained):
    command = [*SAMPLE, "100000000"]
    process = subprocess.Popen(command, cwd=trained, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_without_any_open_stream_a_run_trains_to_the_end(tmp_path):
    command = ["sh", "-c", " ".join([*V1, *SHORT, "<&- >&- 2>&-"])]
    assert subprocess.run(command, cwd=tmp_path, env=environment()).returncode == 0
    assert read_run(tmp_path / "runs/v1")[0] == 400


def test_a_closed_stream_does_not_stop_a_run(tmp_path):
    process = Process(without_stdout, 1, [*SHORT, "--out-dir", str(tmp_path / "run")])
    assert process.communicate(300) == ("", "") and process.returncode == 0
    assert read_run(tmp_path / "run")[0] == 400


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_sample_written_to_a_full_disk_says_so_in_one_sentence(trained):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*SAMPLE, "5"], cwd=trained, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert result.returncode == 2
    assert result.stderr == (
        "babygpt: the disk is full (No space left on device): free some space, and run the same command again\n"
    )


def test_a_console_that_lacks_a_character_shows_a_question_mark(trained):
    result = subprocess.run([*SAMPLE, "5", "--prompt", "明月"], cwd=trained, capture_output=True,
                            env=environment(PYTHONIOENCODING="ascii"))  # fmt: skip
    assert result.returncode == 0 and result.stderr == b"" and result.stdout.startswith(b"??")


@pytest.mark.parametrize(
    ("columns", "more"),
    [(80, {"TERM": "dumb"}), (10, {"NO_COLOR": "1"})],
    ids=str,
)
def test_the_bar_stays_on_its_line_and_the_losses_stay_readable(tmp_path, columns, more):
    argv = [*SHORT, "--out-dir", str(tmp_path)]
    status, shown = in_terminal(restless, 1, argv, columns=columns, **more)
    assert status == 0 and "Traceback" not in shown
    assert not COLOR.search(shown)
    wide = [frame for frame in frames(shown) if len(frame) > columns]
    assert not wide
    assert frames(shown)
    losses = re.findall(r"^\r*(?:.*\r)?step +(\d+): train \d\.\d\d, val \d\.\d\d\r*$", shown, re.MULTILINE)
    assert losses == ["0", "100", "200", "300", "400"]


@pytest.mark.parametrize(("columns", "more"), [(80, {"NO_COLOR": "1"}), (30, {"TERM": "dumb"})], ids=str)
def test_the_help_has_no_colors_if_none_are_wanted(columns, more):
    status, shown = in_terminal(os.execve, V1[0], [*V1, "--help"], environment(**more), columns=columns)
    assert status == 0 and "Traceback" not in shown and "--max-iters" in shown
    assert "\x1b" not in shown


def test_a_terminal_that_closes_stops_the_run_and_saves_it(tmp_path):
    long = ["--out-dir", str(tmp_path), *"--max-iters 1000000 --eval-interval 1000000 --eval-iters 1".split()]
    status, _ = in_terminal(cli.main, 1, long, close_at=rb" [1-9]\d*/1000000")
    assert status == 130
    step, evaluated = read_run(tmp_path)
    assert 0 < step < 1000000 and evaluated == [0]
    process = Process(cli.main, 1, ["--out-dir", str(tmp_path), "--resume", "--max-iters", str(step + 5)])
    out, err = process.communicate(300)
    assert (process.returncode, err) == (0, "")
    assert f"Trained {step + 5:,} steps" in out


def test_without_any_terminal_there_is_no_bar(tmp_path):
    process = Process(without_terminal, 1, [*SHORT, "--out-dir", str(tmp_path)], environment=environment())
    out, err = process.communicate(300)
    assert (process.returncode, err) == (0, "")
    assert "\r" not in out and "\x1b" not in out and not frames(out)
