"""Nothing is lost: runs that are killed, disks that are full, files that are damaged, losses that are no numbers."""

import errno
import io
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torture
from conftest import SMALL_V10, every_version, tiny_model

from babygpt import checkpoint, device, sample
from babygpt.cli import main
from babygpt.course import lab
from babygpt.data import SHAKESPEARE, Corpus
from babygpt.errors import UserError
from babygpt.harness import checkpoints, files, signals
from babygpt.harness.checkpoints import has_seal, save_checkpoint, seal
from babygpt.harness.files import temporary_of, write_atomically
from babygpt.harness.runs import Run
from babygpt.harness.signals import stop_on_signal
from babygpt.training import CHECK_INTERVAL, TrainConfig, Trainer
from babygpt.versions import get_version, select

QUICK = "--max-iters 8 --eval-interval 2 --eval-iters 1 --batch-size 2"
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals and limits")


pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def one_sentence(err):
    return err.startswith("babygpt: ") and err.count("\n") == 1 and "Traceback" not in err


def names(folder):
    return {path.name for path in Path(folder).iterdir()}


def trainer_of(number, corpus, **changes):
    config = TrainConfig(
        **dict(max_iters=20, batch_size=4, learning_rate=1e-2, eval_interval=5, eval_iters=2) | changes
    )
    model = tiny_model(get_version(number), seed=config.seed, vocab_size=corpus.tokenizer.vocab_size, dropout=0.2)
    return Trainer(model, corpus, config)


@pytest.fixture
def saved(rhyme):
    """A run of version 1 in the folder `run`."""
    trainer = trainer_of(1, rhyme)
    trainer.train(progress=False)
    Run("run").save(trainer)
    return Run("run")


# Killed


@POSIX
def test_runs_killed_at_random_moments_end_like_one_that_was_never_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(torture, "start", torture.start_forked)  # `make torture` starts each run from the beginning
    count = torture.kill_harness(6, seed=2, folder=tmp_path, names=("v9", "v10 dropout"))
    assert count.kills == 6 and count.resumes >= 1 and count.finished_runs >= 2
    assert (count.mismatches, count.errors) == ([], [])


class Killed(BaseException):
    """Nobody catches it."""


def test_a_kill_between_any_two_files_of_a_save_loses_nothing_not_even_an_old_best_model(run, monkeypatch):
    flags = f"{QUICK} --learning-rate 1 --eval-iters 20"
    run(1, f"{flags} --out-dir whole")
    losses = [record["val"] for record in Run("whole").read_metrics()]
    assert losses.index(min(losses)) not in (0, len(losses) - 1)
    replace, n, finished = Path.replace, 0, False
    while not finished:
        n, written = n + 1, []

        def replace_and_die(old, new, n=n, written=written):
            replace(old, new)
            written.append(new)
            if len(written) == n:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace_and_die)
            try:
                main(1, [*flags.split(), "--out-dir", f"run{n}"])
            except Killed:
                pass
            except SystemExit:
                finished = True
        again = "--resume" if Run(f"run{n}").exists() else flags
        assert run(1, f"{again} --out-dir run{n}")[0] == (2 if again == flags and finished else 0)
        assert torture.differences(Run("whole"), Run(f"run{n}")) == [], n
    assert n > 10


def test_the_harness_notices_a_single_bit_and_a_missing_line(saved):
    shutil.copytree("run", "other")
    other = Run("other")
    other.sample.write_text("text"), saved.sample.write_text("text")
    assert torture.differences(saved, other) == []
    content = saved.read()
    weight = content["state"]["model"]["token_embedding_table.weight"]
    weight.view(torch.int32)[3, 3] ^= 1
    save_checkpoint(other.checkpoint, content)
    other.metrics.write_bytes(saved.metrics.read_bytes().split(b"\n", 1)[1])
    assert torture.differences(saved, other) == ["checkpoint.pt", "metrics.jsonl"]


def test_the_harness_ignores_the_seconds_and_nothing_else():
    one = {"a": [{"seconds": 1.0, "val": torch.ones(2)}], "b": 1}
    assert torture.same(one, {"a": [{"seconds": 2.0, "val": torch.ones(2)}], "b": 1})
    assert not torture.same(one, {"a": [{"seconds": 1.0, "val": torch.ones(2)}], "b": 1.0})
    assert not torture.same(one, {"a": [{"seconds": 1.0, "val": torch.ones(2)}]})


def test_a_run_killed_before_its_first_checkpoint_is_started_again_without_resume(run):
    Path("run").mkdir()
    for name in ("checkpoint.pt.tmp", "best.pt.tmp", "metrics.jsonl", ".lock"):
        (Path("run") / name).write_text("{half a li")
    status, _, err = run(1, "--resume --out-dir run")
    assert status == 2 and one_sentence(err)
    assert "there is no run in run: checkpoint.pt is missing; start one without --resume" in err
    assert run(1, f"{QUICK} --out-dir run")[0] == 0
    assert names("run") == {"checkpoint.pt", "best.pt", "metrics.jsonl", "loss.png", "sample.txt"}
    assert [record["step"] for record in Run("run").read_metrics()] == [0, 2, 4, 6, 8]


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", 1)])
def test_a_signal_saves_the_run_even_if_there_is_no_terminal_left_to_say_so(run, monkeypatch, number):
    update = Trainer.update

    def update_and_lose_the_terminal(trainer):
        if trainer.step == 4:

            def write(*args):
                raise OSError(errno.EIO, "Input/output error")

            with monkeypatch.context() as patch:
                patch.setattr(signals.tqdm, "write", write)
                signal.raise_signal(number)
        return update(trainer)

    monkeypatch.setattr(Trainer, "update", update_and_lose_the_terminal)
    status, out, err = run(1, f"{QUICK} --out-dir run")
    assert (status, err) == (130, "")
    assert "Stopped and saved at step 5" in out
    assert Run("run").read()["state"]["step"] == 5
    assert Run("run").read("best")["state"]["step"] == 4  # nobody knows yet how good step 5 is


@POSIX
def test_a_signal_that_was_ignored_stays_ignored_as_under_nohup(rhyme):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        trainer = trainer_of(1, rhyme)
        with stop_on_signal(trainer):
            signal.raise_signal(signal.SIGHUP)
        assert not trainer.stop
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_resuming_says_which_run_and_from_which_step(run):
    run(1, f"{QUICK} --out-dir run")
    status, out, _ = run(1, "--resume --out-dir run --max-iters 10")
    assert status == 0 and "Continuing run from step 8." in out


# Writing


def test_a_file_is_written_under_another_name_and_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, Path.replace

    def spy_fsync(descriptor):
        where = os.fstat(descriptor)
        calls.append("fsync folder" if where.st_ino == tmp_path.stat().st_ino else f"fsync {where.st_size} bytes")
        fsync(descriptor)

    def spy_replace(old, new):
        calls.append(f"{old.name} becomes {new.name}")
        return replace(old, new)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    write_atomically(tmp_path / "file", b"content")
    in_the_folder = [] if os.name == "nt" else ["fsync folder"]
    assert calls == ["fsync 7 bytes", "file.tmp becomes file", *in_the_folder]
    assert temporary_of(tmp_path / "file").parent == tmp_path  # the same disk, so that a rename is enough


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_write_that_fails_at_any_step_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_atomically(tmp_path / "file", b"old")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os if step == "fsync" else Path, step, full)
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


@POSIX
def test_a_file_that_does_not_fit_on_the_disk_leaves_the_old_one_in_place(tmp_path):
    """With a limit of the system's own, so that half of the file is really written."""
    import resource

    write_atomically(tmp_path / "file", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomically(tmp_path / "file", b"new" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "No space left on device"), (errno.EACCES, "Permission denied")]
)
@pytest.mark.parametrize("which", ["checkpoint.pt", "best.pt", "metrics.jsonl"])
def test_a_full_or_read_only_disk_ends_the_run_with_a_sentence_and_keeps_what_was_saved(
    run, monkeypatch, number, words, which
):
    run(9, f"{QUICK} --out-dir whole")
    opened, replace = [], Path.replace

    def fail_the_third_time(old, new):
        opened.append(new.name)
        if opened.count(which) > 2:
            raise OSError(number, words)
        return replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail_the_third_time)
        status, _, err = run(9, f"{QUICK} --out-dir run")
    assert status == 2 and one_sentence(err)
    assert f"cannot write to run ({words}): what was saved before is still there; fix that, then use --resume" in err
    assert Run("run").read()["state"]["step"] in (2, 4)  # best.pt is not written at every evaluation
    assert names("run") == {"checkpoint.pt", "best.pt", "metrics.jsonl"}
    assert run(9, "--resume --out-dir run")[0] == 0
    assert torture.differences(Run("whole"), Run("run")) == []


def test_a_disk_that_is_full_from_the_start_leaves_no_folder(run, monkeypatch):
    def full(old, new):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    status, _, err = run(1, f"{QUICK} --out-dir a/b/run")
    assert status == 2 and one_sentence(err)
    assert f"cannot write to {Path('a/b/run')} (No space left on device): fix that, or choose another --out-dir" in err
    assert names(".") == set()


@pytest.mark.parametrize("which", ["sample.txt", "loss.png"])
def test_a_disk_that_fills_up_at_the_very_end_gets_one_sentence_too(run, monkeypatch, which):
    replace = Path.replace

    def full(old, new):
        if new.name == which:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        status, _, err = run(1, f"{QUICK} --out-dir run")
    assert status == 2 and one_sentence(err) and "No space left on device" in err
    status, out, _ = run(1, "--resume --out-dir run")
    assert status == 0 and "Trained 8 steps" in out and which in names("run")


@POSIX
def test_a_folder_that_vanishes_ends_the_run_with_a_sentence_and_is_not_created_again(run, monkeypatch):
    update = Trainer.update

    def update_and_remove(trainer):
        if trainer.step == 3:
            shutil.rmtree("run")
        return update(trainer)

    monkeypatch.setattr(Trainer, "update", update_and_remove)
    status, _, err = run(1, f"{QUICK} --out-dir run")
    assert status == 2 and one_sentence(err)
    assert "cannot write to run (No such file or directory): the folder has vanished, and its run with it" in err
    assert not Path("run").exists()


def test_a_file_that_another_program_holds_open_is_replaced_a_moment_later(tmp_path, monkeypatch):
    replace, tries = Path.replace, []

    def refuse_twice(old, new):
        tries.append(new)
        if len(tries) < 3:
            raise PermissionError(errno.EACCES, "Access is denied")
        return replace(old, new)

    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Path, "replace", refuse_twice)
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new" and len(tries) == 3


# Two at once


@pytest.mark.parametrize("flags", [QUICK, "--resume"])
def test_a_second_process_in_the_same_folder_says_so_and_stops(saved, flags):
    before = saved.checkpoint.read_bytes()
    command = [sys.executable, "-m", "babygpt.v1", *flags.split(), "--out-dir", "run"]
    Path("rhyme.txt").write_text("the rat that ate the oats\n" * 40, encoding="utf-8")
    settings = "--max-iters 20 --batch-size 4 --learning-rate 0.01 --eval-iters 2 --eval-interval 5 --block-size 7"
    with saved.locked():
        status = subprocess.run([*command, *settings.split()], capture_output=True, text=True)
    assert (status.returncode, status.stdout) == (2, "")
    assert one_sentence(status.stderr)
    assert "another process is writing to run: wait until it is done, or choose another --out-dir" in status.stderr
    assert saved.checkpoint.read_bytes() == before


def test_a_lock_is_free_again_after_its_run_and_leaves_no_file(saved):
    for _ in range(2):
        with saved.locked():
            with pytest.raises(UserError, match="another process is writing to run"), Run("run").locked():
                pass
            assert ".lock" in names("run")
        assert names("run") == {"checkpoint.pt", "best.pt", "metrics.jsonl"}


def test_a_killed_runs_temporary_files_are_removed_and_all_others_kept(saved):
    for name in ("checkpoint.pt.tmp", "best.pt.tmp", "metrics.jsonl.tmp", "sample.txt.tmp", "loss.png.tmp", "my.tmp"):
        (saved.folder / name).write_text("half")
    with saved.locked():
        assert names("run") == {"checkpoint.pt", "best.pt", "metrics.jsonl", ".lock", "my.tmp"}


# Damaged


@pytest.mark.parametrize("which", ["last", "best"])
def test_any_flipped_byte_is_detected(saved, which):
    content = (saved.best if which == "best" else saved.checkpoint).read_bytes()
    assert has_seal(content)
    damaged = bytearray(content)
    for i in range(len(content)):
        damaged[i] ^= 1 << (i % 8)
        assert not has_seal(bytes(damaged)), i
        damaged[i] = content[i]


def test_torch_alone_silently_loads_wrong_weights_from_a_damaged_file(saved):
    """Why there is a checksum. If this fails one day, torch has learned to look at those of the zip file."""
    content = bytearray(saved.best.read_bytes())
    weight = saved.read("best")["state"]["model"]["token_embedding_table.weight"]
    content[content.index(weight.numpy().tobytes())] ^= 255
    loaded = torch.load(io.BytesIO(bytes(content)), weights_only=True)
    assert not torch.equal(loaded["state"]["model"]["token_embedding_table.weight"], weight)


@pytest.mark.parametrize("which", ["last", "best"])
def test_a_damaged_or_shortened_checkpoint_is_refused_with_what_still_works(saved, run, monkeypatch, which):
    path = saved.best if which == "best" else saved.checkpoint
    content = path.read_bytes()
    flips = [bytes((*content[:i], content[i] ^ 16, *content[i + 1 :])) for i in range(0, len(content), 997)]
    cuts = [content[: len(content) * tenth // 10] for tenth in range(10)]
    for damaged in (*flips, *cuts, content + b"x", content[:-64], b"\0" * len(content)):
        path.write_bytes(damaged)
        if which == "best":
            status, out, err = run(None, "run", lambda flags: sample.main(flags))
            works = "`python -m babygpt.sample run --checkpoint last` still works"
        else:
            status, out, err = run(1, "--resume --out-dir run")
            works = "`python -m babygpt.sample run` still works"
        assert (status, out) == (2, "")
        assert one_sentence(err) and works in err
        assert f"{path} is not a checkpoint of babygpt, or it is damaged (" in err


def test_if_no_file_of_a_run_is_intact_the_message_says_so(saved):
    for path in (saved.best, saved.checkpoint):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        UserError, match="it is damaged .its checksum does not match.: remove the folder and train again$"
    ):
        saved.read()


class Evil:
    """A pickle that creates a file when it is read."""

    def __reduce__(self):
        return open, ("created-by-a-checkpoint", "w")


@pytest.mark.parametrize("sealed", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(saved, run, sealed):
    content = io.BytesIO()
    torch.save(saved.read() | {"run_me": Evil()}, content)
    saved.checkpoint.write_bytes(seal(content.getvalue()) if sealed else content.getvalue())
    for command in (lambda flags: sample.main([*flags, "--checkpoint", "last"]), checkpoint.main):
        status, out, err = run(None, "run", command)
        assert (status, out) == (2, "") and one_sentence(err)
        assert "run/checkpoint.pt is not a checkpoint of babygpt, or it is damaged (UnpicklingError" in err.replace(
            "\\", "/"
        )
    assert run(1, "--resume --out-dir run")[0] == 2
    assert not Path("created-by-a-checkpoint").exists()
    torch.load(saved.checkpoint, weights_only=False)
    assert Path("created-by-a-checkpoint").exists()  # it would have


def test_a_checkpoint_holds_builtins_and_tensors_only(saved):
    def kinds(content):
        if isinstance(content, dict | list | tuple):
            parts = [*content.keys(), *content.values()] if isinstance(content, dict) else content
            return {type(content)}.union(*map(kinds, parts))
        return {type(content)}

    content = torch.load(saved.checkpoint, weights_only=False)
    assert kinds(content) <= {dict, list, tuple, str, int, float, bool, type(None), torch.Tensor} | {
        type(content["state"]["model"])  # an OrderedDict
    }


@pytest.mark.parametrize(
    ("number", "sealed", "remedy"),
    [
        (1, False, "train again, or use the version of babygpt that wrote it"),
        (2, False, "train again, or use the version of babygpt that wrote it"),
        (checkpoints.FORMAT + 1, True, "update babygpt"),
    ],
)
def test_a_checkpoint_of_another_format_is_refused_with_what_to_do(saved, run, number, sealed, remedy):
    content = io.BytesIO()
    torch.save({"format": number, "something": "else"}, content)
    saved.checkpoint.write_bytes(seal(content.getvalue()) if sealed else content.getvalue())
    status, _, err = run(1, "--resume --out-dir run")
    assert status == 2 and one_sentence(err)
    assert f"has format {number}, and this babygpt reads format {checkpoints.FORMAT}: {remedy}" in err


def test_a_best_model_alone_cannot_be_resumed(saved, run):
    shutil.copy(saved.best, saved.checkpoint)
    status, _, err = run(1, "--resume --out-dir run")
    assert status == 2 and one_sentence(err) and "is not a checkpoint of babygpt, or it is damaged (KeyError" in err


def test_a_sealed_checkpoint_is_still_a_file_that_torch_loads(saved):
    assert torch.load(saved.checkpoint, weights_only=True)["format"] == checkpoints.FORMAT
    assert torch.load(saved.checkpoint, weights_only=True, mmap=True)["format"] == checkpoints.FORMAT


# Metrics


@pytest.mark.parametrize("torn", [b'{"step": 20, "tr', b"\0\0\0", b'{"step": "\xe4', b"{"])
def test_a_half_written_last_line_is_ignored(saved, torn):
    whole = saved.read_metrics()
    assert [record["step"] for record in whole] == [0, 5, 10, 15, 20]
    saved.metrics.write_bytes(saved.metrics.read_bytes() + torn)
    assert saved.read_metrics() == whole


def test_a_half_written_line_in_the_middle_is_reported_with_its_number(saved):
    lines = saved.metrics.read_text().splitlines()
    saved.metrics.write_text("\n".join([*lines[:2], lines[2][:9], *lines[3:]]))
    with pytest.raises(UserError, match="line 3 of .*metrics.jsonl is not JSON: .*resume"):
        saved.read_metrics()


# Looking at one


def test_the_checkpoint_command_shows_module_settings_losses_and_weights(run):
    run(10, f"{QUICK} {SMALL_V10} --out-dir run --optimizer muon")
    status, out, err = run(None, "run", checkpoint.main)
    assert (status, err) == (0, "")
    size = Path("run/checkpoint.pt").stat().st_size
    assert out.startswith(f"{Path('run/checkpoint.pt')}: {size:,} bytes, format {checkpoints.FORMAT}\n")
    assert "babygpt.v10, at step 8" in out and "CharTokenizer" in out
    assert "block_size 8" in out and "optimizer muon" in out and "seed 1337" in out
    for record in Run("run").read_metrics():
        assert f"{record['step']:>9,} {record['train']:>7.4f} {record['val']:>7.4f}\n" in out
    rows = {line.split()[0]: line.split(maxsplit=3)[1:] for line in out.splitlines() if line.count("  ") > 1}
    for name, tensor in Run("run").read()["state"]["model"].items():
        assert rows[name] == ["float32", f"{tensor.numel():,}", str(tuple(tensor.shape))]
    assert "besides the weights:" in out and "optimizers, momentum_buffer: " in out and "rng, batches: " in out


def test_the_checkpoint_command_also_takes_one_file(run):
    run(1, f"{QUICK} --out-dir run")
    status, out, _ = run(None, "run/best.pt", checkpoint.main)
    assert status == 0 and "babygpt.v1" in out and "token_embedding_table.weight" in out
    assert "optimizers" not in out and "beside the weights" not in out


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no", "there is no run in no: checkpoint.pt is missing"),
        ("no/best.pt", "there is no run in no: best.pt is missing"),
        ("text.pt", "text.pt is not a checkpoint of babygpt, or it is damaged"),
        (".", "there is no run in .: checkpoint.pt is missing"),
    ],
)
def test_the_checkpoint_command_refuses_other_files_in_one_sentence(run, path, message):
    Path("text.pt").write_text("no checkpoint")
    status, out, err = run(None, path, checkpoint.main)
    assert (status, out) == (2, "")
    assert one_sentence(err) and message in err


# A loss that is not a number


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_training_loss_that_is_not_a_number_stops_the_run_in_that_step_and_keeps_the_last_good_checkpoint(
    run, monkeypatch, value
):
    model = get_version(5).module().Model
    forward, seen = model.forward, []

    def break_step_5(self, idx, targets=None):
        logits, loss = forward(self, idx, targets)
        if self.training and targets is not None:
            seen.append(loss)
            loss = loss * value if len(seen) == 6 else loss
        return logits, loss

    monkeypatch.setattr(model, "forward", break_step_5)
    status, _, err = run(5, f"{QUICK} --learning-rate 0.25 --out-dir run")
    assert status == 2 and one_sentence(err)
    assert (
        f"the loss is {value} at step 5 (learning rate 0.25): training diverged; try a smaller --learning-rate" in err
    )
    saved = Run("run").read()["state"]
    assert saved["step"] == 4 and len(seen) == 6
    assert all(t.isfinite().all() for t in saved["model"].values())


@pytest.mark.parametrize("where", ["weights", "moments"])
def test_a_state_with_nan_is_never_saved(saved, rhyme, where):
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    trainer = trainer_of(1, rhyme)
    trainer.load_state(saved.read()["state"])
    p = next(trainer.model.parameters())
    with torch.no_grad():
        (p if where == "weights" else trainer.optimizers[0].state[p]["exp_avg"])[0, 0] = math.nan
    with pytest.raises(
        UserError, match="a weight is not a number any more at step 20 .learning rate 0.01.*try a smaller"
    ):
        saved.save(trainer)
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before


def test_a_gpu_is_not_made_to_wait_for_the_loss_at_each_step(rhyme, monkeypatch):
    trainer, looks = trainer_of(1, rhyme, max_iters=2 * CHECK_INTERVAL), []
    monkeypatch.setattr(trainer, "check_loss", looks.append)

    class Gpu:
        type = "cuda"

    def update(n):
        for _ in range(n):
            trainer.update()

    update(5)
    assert len(looks) == 5
    monkeypatch.setattr(trainer, "device", Gpu())
    update(2 * CHECK_INTERVAL)
    assert len(looks) == 7


# The same numbers


def steps_of(history):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history]


@every_version()
def test_the_command_line_and_a_notebook_train_to_the_same_losses_to_the_last_bit(version, run, monkeypatch):
    flags = "--max-iters 12 --eval-interval 4 --eval-iters 2 --batch-size 3 --seed 5 --dtype float32 --device cpu"
    sizes = {10: dict(block_size=8, n_embd=16, n_head=2, n_layer=1, dropout=0.2)}.get(version.number, {})
    recipe = "--preset lecture " + " ".join(f"--{name.replace('_', '-')} {size}" for name, size in sizes.items())
    for folder in ("one", "two"):
        assert run(version.number, f"{flags} {recipe} --out-dir {folder}")[0] == 0
    monkeypatch.setattr(lab, "FAST", False)
    corpus = Corpus.load(SHAKESPEARE)
    model = lab.new_model(version.number, seed=5, **sizes)
    torch.rand(7)  # whatever a notebook has drawn meanwhile
    trainer = lab.train(
        model, corpus, 12, select(TrainConfig, version.preset("lecture")).learning_rate,
        eval_interval=4, eval_iters=2, batch_size=3, seed=5,
    )  # fmt: skip
    one, two = (steps_of(Run(folder).read_metrics()) for folder in ("one", "two"))
    assert one == two == steps_of(trainer.history)


@pytest.mark.parametrize("number", [1, 5, 9, 10])
def test_evaluating_more_or_less_often_or_saving_does_not_change_training(number, rhyme):
    def trained(on_eval=lambda trainer: None, **changes):
        trainer = trainer_of(number, rhyme, **changes)
        trainer.train(on_eval, progress=False)
        return trainer.state()

    plain = trained(eval_interval=20)
    others = [
        trained(eval_interval=3),
        trained(eval_iters=7),
        trained(lambda trainer: Run("run").save(trainer)),
    ]
    for other in others:
        for part in ("model", "optimizers", "rng"):
            assert torture.same(plain[part], other[part]), part


@pytest.fixture
def threads():
    """torch.set_num_threads, undone afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [9, 10])
def test_two_threads_give_the_same_losses_every_time_and_agree_with_one_thread_to_four_decimals(
    number, threads, shakespeare
):
    """Measured: 2e-7 after 8 steps. Differences in rounding grow with the steps: 1e-4 after 100."""

    def losses(n):
        threads(n)
        version = get_version(number)
        recipe = version.preset("lecture") | dict(vocab_size=65, block_size=32, n_embd=64, n_head=4, n_layer=2)
        recipe |= dict(max_iters=8, batch_size=16, eval_interval=4, eval_iters=1, device="cpu", dtype="float32")
        torch.manual_seed(1)
        trainer = Trainer(
            version.module().Model(select(version.module().Config, recipe | {"dropout": 0.0})),
            shakespeare,
            select(TrainConfig, recipe),
        )
        trainer.train(progress=False)
        return [record[split] for record in trainer.history for split in ("train", "val")]

    one, two, again = losses(1), losses(2), losses(2)
    assert two == again
    assert one == pytest.approx(two, abs=1e-4)


def test_training_keeps_no_more_tensors_after_many_steps_than_after_a_few(rhyme):
    import gc

    def held(steps):
        for _ in range(steps):
            trainer.update()
        trainer.evaluate()
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    trainer = trainer_of(9, rhyme)
    held(5)
    assert held(5) == held(60)


def test_a_clock_that_jumps_does_not_end_a_run_or_make_its_seconds_negative(rhyme, monkeypatch):
    """The bar goes by the wall clock, which a sleeping laptop, or a user, sets to anything."""
    import time

    jumps = iter([1e9, 1e9 + 1, 0.0, 5e9, -1e9] * 1000)
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    trainer = trainer_of(1, rhyme)
    trainer.train()
    assert trainer.step == 20 and "step" in screen.getvalue()
    seconds = [record["seconds"] for record in trainer.history]
    assert seconds == sorted(seconds) and 0 <= seconds[0] and trainer.seconds < 3600


# Devices that compute wrong results


@pytest.fixture
def wrong_pass(monkeypatch):
    """Have a device `mps` whose gradients are off by a factor."""
    right = device.small_pass
    asked = []

    def fake(factor):
        def small_pass(name):
            asked.append(name)
            return [t * (factor if name == "mps" and i == 2 else 1) for i, t in enumerate(right("cpu"))]

        monkeypatch.setattr(device, "small_pass", small_pass)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        device.warn_if_wrong.cache_clear()
        return asked

    yield fake
    device.warn_if_wrong.cache_clear()


@pytest.mark.parametrize("factor", [1.01, 0.0, math.nan])
def test_an_mps_device_that_computes_wrong_results_gets_one_warning(wrong_pass, capsys, factor):
    wrong_pass(factor)
    assert device.pick_device("mps") == device.pick_device("mps") == torch.device("mps")
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "warning: the device 'mps' computes wrong results with torch" in err and "use --device cpu" in err


def test_an_mps_device_that_computes_right_results_gets_no_warning(wrong_pass, capsys):
    asked = wrong_pass(1.000001)  # the rounding of another order
    device.pick_device("mps")
    assert asked == ["mps", "cpu"]
    assert capsys.readouterr() == ("", "")


def test_the_mps_check_leaves_the_random_stream_alone_and_is_not_run_for_the_cpu(wrong_pass):
    asked = wrong_pass(2.0)
    before = torch.get_rng_state()
    device.pick_device("mps")
    assert torch.equal(torch.get_rng_state(), before)
    device.pick_device("cpu")
    assert asked == ["mps", "cpu"]


PRESENT = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


@pytest.mark.parametrize("name", PRESENT)
@every_version(2)
def test_a_gpu_trains_to_the_same_losses_as_the_cpu_to_three_decimals(version, name, rhyme):
    if not PRESENT[name]:
        pytest.skip(f"there is no {name} here")

    def losses(device):
        config = TrainConfig(
            max_iters=20, batch_size=4, learning_rate=1e-2, eval_interval=10, eval_iters=3, device=device
        )
        trainer = Trainer(tiny_model(version, vocab_size=rhyme.tokenizer.vocab_size), rhyme, config)
        trainer.train(progress=False)
        return [record["val"] for record in trainer.history]

    assert losses(name) == pytest.approx(losses("cpu"), abs=1e-3)


def test_ctrl_c_while_the_picture_is_drawn_leaves_a_finished_run(run, monkeypatch):
    finish = Run.finish

    def interrupted(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        finish(self, *args, **kwargs)

    monkeypatch.setattr(Run, "finish", interrupted)
    status, _, err = run(9, f"{QUICK} --out-dir runs/done")
    assert (status, err) == (0, "")
    assert Run("runs/done").picture.exists() and Run("runs/done").sample.exists()
