"""Several processes train like one: the same rows, the same steps, one sync a step, one that prints and saves."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import ranked
import torch
import torch.distributed as dist
from conftest import tiny_model
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from babygpt import cli
from babygpt.beyond.arithmetic import SumCommand
from babygpt.beyond.assistant import stages
from babygpt.beyond.command import TokenCommand
from babygpt.beyond.models import ARITHMETIC, GPT2
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.harness import ranks
from babygpt.harness.runs import Run
from babygpt.parallel import ParallelTrainer, Share, SharedRun, require_own_device
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import get_version

pytestmark = pytest.mark.skipif(os.name == "nt", reason="two processes meet by fork and signals, which Windows lacks")

UNEVEN = dict(max_iters=4, batch_size=5, accumulation=3, learning_rate=1e-2, grad_clip=1.0, eval_interval=2,
              eval_iters=3, dtype="float32", device="cpu")  # fmt: skip
FLAGS = ("--preset lecture --block-size 8 --n-embd 16 --n-head 2 --n-layer 1 --dropout 0 --dtype float32 --device cpu "
         "--batch-size 5 --accumulation 2 --eval-interval 2 --eval-iters 2 --learning-rate 0.01")  # fmt: skip


def small_corpus():
    return Corpus.from_text("the rat that ate the oats\n" * 40, name="rhyme")


def small_trainer(kind, corpus=None, dropout=0.0, **changes):
    corpus = corpus or small_corpus()
    model = tiny_model(get_version(10), seed=3, vocab_size=corpus.tokenizer.vocab_size, dropout=dropout)
    return kind(model, corpus, TrainConfig(**UNEVEN | changes))


def refusal(function):
    try:
        function()
    except UserError as error:
        return str(error)
    return None


def experiments(folder):
    """What both processes do for the tests below. Each writes down what it saw."""
    torch.set_num_threads(1)
    found = {}
    with ranks.joined():
        found["ranks"] = ranks.rank(), ranks.world_size(), ranks.is_main()
        trainer = small_trainer(ParallelTrainer)
        trainer.train(progress=False)
        found["state"] = trainer.state()

        trainer, syncs = small_trainer(ParallelTrainer), []
        trainer.compiled.register_comm_hook(dist.group.WORLD, lambda group, bucket: counted(syncs, group, bucket))
        trainer.update(), syncs.clear(), trainer.update()  # the first step finds out how to bundle the gradients
        found["syncs"] = len(syncs)

        share, generator = Share(small_corpus()), torch.Generator().manual_seed(5)
        found["rows"] = share.get_batch("train", 5, 4, generator)

        trainer, found["dropped"] = small_trainer(ParallelTrainer, dropout=0.5, max_iters=2), []
        trainer.model.register_forward_pre_hook(lambda *_: found["dropped"].append(next_random_numbers()))
        trainer.update(), trainer.update()

        whole, first, second = (small_trainer(ParallelTrainer, dropout=0.5) for _ in range(3))
        whole.train(progress=False)
        first.train(on_step=lambda trainer: setattr(trainer, "stop", trainer.step == 2), progress=False)
        second.load_state(ranks.on_main(first.state))  # a checkpoint holds what rank 0 knows
        second.train(progress=False)
        pairs = zip(whole.model.parameters(), second.model.parameters(), strict=True)
        found["continued"] = whole.step == second.step == 4 and all(torch.equal(*pair) for pair in pairs)

        trainer = small_trainer(ParallelTrainer, max_iters=50)
        stop_rank_1 = lambda trainer: setattr(trainer, "stop", ranks.rank() == 1 and trainer.step == 3)  # noqa: E731
        trainer.train(on_step=stop_rank_1, progress=False)
        found["stopped at"] = trainer.step

        trainer = small_trainer(ParallelTrainer)
        loss = trainer.batch_loss
        trainer.batch_loss = lambda: loss() * (float("nan") if ranks.rank() == 1 else 1)
        found["nan"] = refusal(trainer.update)

        found["few rows"] = refusal(lambda: small_trainer(ParallelTrainer, batch_size=1))
        other = Corpus.from_text("the rat that ate the oats\n" * (40 + ranks.rank()))
        found["other text"] = refusal(lambda: small_trainer(ParallelTrainer, other))

        trainer = small_trainer(ParallelTrainer)
        trainer.train(progress=False)
        home = folder / f"disk of {ranks.rank()}"
        run = SharedRun(home / "run")
        found["before"] = run.exists()
        with run.locked():
            run.save(trainer)
        found["after"] = run.exists(), run.read("last")["state"]["step"]
        if ranks.is_main():
            (home / "file").write_text("not a folder")
        found["no folder"] = refusal(lambda: SharedRun(home / "file").locked().__enter__())
        found["nested"] = ranks.on_main(lambda: ranks.on_main(ranks.rank))
    torch.save(found, folder / f"{found['ranks'][0]}.pt")


def counted(syncs, group, bucket):
    syncs.append(bucket.index())
    return allreduce_hook(group, bucket)


def next_random_numbers():
    """What dropout is about to draw."""
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return tuple(torch.rand(4, generator=generator).tolist())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the two processes of `experiments` saw, by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    statuses = ranked.run(experiments, folder)
    assert [status for status, _, _ in statuses] == [0, 0], statuses
    both = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]
    return both, folder


@pytest.fixture(scope="module")
def one():
    """The same training in one process."""
    trainer = small_trainer(Trainer)
    trainer.train(progress=False)
    return trainer


def test_each_process_knows_its_number(found):
    assert [each["ranks"] for each in found[0]] == [(0, 2, True), (1, 2, False)]
    assert (ranks.rank(), ranks.world_size(), ranks.is_main(), ranks.launched()) == (0, 1, True, False)


def test_two_processes_with_accumulation_and_uneven_shares_end_with_the_weights_of_one(found, one):
    for each in found[0]:
        ranked.assert_same_weights(each["state"]["model"], one.state()["model"])
        moments = [o["state"][0]["exp_avg"] for o in (each["state"]["optimizers"][0], one.optimizers[0].state_dict())]
        torch.testing.assert_close(*moments, atol=1e-5, rtol=1e-4)


def test_steps_are_not_divided_by_the_number_of_processes_nor_are_the_tokens_of_a_step(found, one):
    for each in found[0]:
        assert each["state"]["step"] == one.step == UNEVEN["max_iters"]
        assert torch.equal(each["state"]["rng"]["batches"], one.batches.get_state())


def test_two_processes_evaluate_to_the_losses_of_one(found, one):
    for each in found[0]:
        assert [h["step"] for h in each["state"]["history"]] == [0, 2, 4]
        for ours, theirs in zip(each["state"]["history"], one.history, strict=True):
            assert [ours[key] for key in ("train", "val", "lr")] == pytest.approx(
                [theirs[key] for key in ("train", "val", "lr")], abs=1e-5
            )


def test_gradients_are_averaged_once_a_step_whatever_the_accumulation(found):
    assert UNEVEN["accumulation"] == 3
    assert [each["syncs"] for each in found[0]] == [1, 1]


def test_no_two_processes_get_the_same_row_and_together_they_get_all(found):
    (x0, y0), (x1, y1) = (each["rows"] for each in found[0])
    x, y = small_corpus().get_batch("train", 5, 4, torch.Generator().manual_seed(5))
    assert torch.equal(x[0::2], x0) and torch.equal(x[1::2], x1)
    assert torch.equal(y[0::2], y0) and torch.equal(y[1::2], y1)


def test_no_two_processes_and_no_two_batches_draw_the_same_dropout(found):
    streams = [numbers for each in found[0] for numbers in each["dropped"]]
    assert len(streams) == len(set(streams)) == 2 * 2 * UNEVEN["accumulation"]  # two processes, two steps


def test_a_run_with_dropout_continues_as_if_it_had_never_stopped(found):
    assert [each["continued"] for each in found[0]] == [True, True]


def test_a_signal_to_one_process_ends_both_after_the_same_step(found):
    stopped = [each["stopped at"] for each in found[0]]
    assert stopped[0] == stopped[1] and 3 <= stopped[0] <= 4


def test_a_signal_that_comes_while_they_agree_is_not_forgotten(monkeypatch):
    trainer = SimpleNamespace(stop=False)

    def any_rank(flag):
        trainer.stop = True  # a signal handler does that
        return flag

    monkeypatch.setattr(ranks, "any_rank", any_rank)
    assert not ParallelTrainer.stopping(trainer)
    assert ParallelTrainer.stopping(trainer)


def test_a_loss_that_is_not_a_number_in_one_process_ends_both_with_the_same_sentence(found):
    messages = [each["nan"] for each in found[0]]
    assert messages[0] == messages[1] and "the loss is nan at step 0" in messages[0]


def test_a_batch_with_fewer_rows_than_processes_is_refused(found):
    for each in found[0]:
        assert each["few rows"].startswith("a batch of 1 cannot be divided among 2 processes: use a --batch-size of 2")


def test_more_processes_than_gpus_and_an_apple_gpu_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for local_rank, device, says in (
        (2, "cuda", "each process needs a GPU, and this machine has 2: use --nproc-per-node 2"),
        (0, "mps", "several processes cannot train on one Apple GPU: leave out torchrun"),
        (1, "cuda", None),
        (5, "cpu", None),
    ):
        monkeypatch.setenv("LOCAL_RANK", str(local_rank))
        assert refusal(lambda device=device: require_own_device(torch.device(device))) == says


def test_processes_with_different_texts_are_refused(found):
    for each in found[0]:
        assert each["other text"] == "rank 1 has another text than rank 0: copy the same --data to every machine"


def test_only_rank_0_needs_to_see_the_folder_and_all_know_what_is_in_it(found):
    both, folder = found
    assert [each["before"] for each in both] == [False, False]
    assert [each["after"] for each in both] == [(True, 4), (True, 4)]
    assert {path.name for path in (folder / "disk of 0" / "run").iterdir()} == {
        "checkpoint.pt", "best.pt", "metrics.jsonl"
    }  # fmt: skip
    assert not (folder / "disk of 1").exists()


def test_an_error_of_rank_0_is_the_error_of_all(found):
    for each in found[0]:
        assert "file" in each["no folder"] and each["no folder"].startswith("cannot write to")
        assert each["nested"] == 0


# The real command


def v10(*flags):
    """The command line of version 10 in this process; short samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "SAMPLE_TOKENS", 20)
        with pytest.raises(SystemExit) as exit:
            cli.main(10, [part for flag in flags for part in shlex.split(flag)])
    return exit.value.code


def torchrun(*flags, module="babygpt.v10"):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", module]
    here = str(Path(cli.__file__).parent.parent)
    return subprocess.Popen(
        [*command, *(part for flag in flags for part in shlex.split(flag))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of one process, of 6 steps."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert v10(FLAGS, f"--max-iters 6 --out-dir {folder}") == 0
    return Run(folder).read("last")["state"]


def test_a_run_of_one_process_resumed_by_torchrun_with_two_ends_like_one_that_had_one(tmp_path, alone):
    folder = tmp_path / "run"
    assert v10(FLAGS, f"--max-iters 2 --out-dir {folder}") == 0
    process = torchrun(f"--resume --max-iters 6 --out-dir {folder}")
    out, err = process.communicate(timeout=ranked.WAIT)
    assert process.returncode == 0, err
    assert "on cpu (2 processes) in float32" in out and f"Continuing {folder} from step 2." in out
    assert [line[:7] for line in out.splitlines() if line.startswith("step ")] == ["step 4:", "step 6:"]  # each once
    assert out.count("Everything is in") == 1
    state = Run(folder).read("last")["state"]
    assert state["step"] == 6
    ranked.assert_same_weights(state["model"], alone["model"])
    assert (folder / "sample.txt").exists() and (folder / "loss.png").exists() and not (folder / ".lock").exists()


def test_ctrl_c_to_torchrun_stops_and_saves_once_with_a_sharded_model_too(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    flags = f"--preset nanogpt --block-size 8 --n-embd 16 --n-head 2 --n-layer 1 --device cpu --out-dir {folder}"
    endless = "--sharded --activation-checkpointing --max-iters 1000000 --eval-interval 1000000 --eval-iters 2"
    process = torchrun(flags, endless, "--lr-schedule constant", module="babygpt.beyond.gpt2")
    wait_for(lambda: (folder / "checkpoint.pt").exists(), process)
    time.sleep(0.5)  # some steps
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=ranked.WAIT)
    assert out.count("Stopped and saved at step") == 1, err
    assert f"torchrun --nproc-per-node 2 -m babygpt.beyond.gpt2 --resume --out-dir {folder}" in out
    assert not (folder / ".lock").exists()
    step = Run(folder).read("last")["state"]["step"]
    assert step > 0
    monkeypatch.setattr(cli, "SAMPLE_TOKENS", 20)
    with pytest.raises(SystemExit) as exit:
        cli.main(TokenCommand(GPT2), shlex.split(f"--resume --max-iters {step + 1} --out-dir {folder}"))
    assert exit.value.code == 0 and Run(folder).read("last")["state"]["step"] == step + 1


def wait_for(condition, process):
    end = time.monotonic() + ranked.WAIT
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def command_line(version, flags):
    """In a process of its own: what `python -m babygpt.v10` does."""
    torch.set_num_threads(1)
    cli.SAMPLE_TOKENS = 20
    cli.main(version, shlex.split(flags))


def die_at_step_3(flags):
    """The same, in which rank 1 is killed."""
    update = ParallelTrainer.update
    if ranks.rank() == 1:
        ParallelTrainer.update = lambda self: os._exit(9) if self.step == 3 else update(self)
    command_line(10, flags)


def test_when_a_process_dies_the_other_says_so_and_one_process_continues_from_the_checkpoint(tmp_path, alone):
    folder = tmp_path / "run"
    (status, out, err), (died, _, _) = ranked.run(die_at_step_3, f"{FLAGS} --max-iters 6 --out-dir {folder}")
    assert (status, died) == (2, 9)
    assert err.startswith("babygpt: another process has ended, and with it this run: what was saved before is still in")
    assert err.count("\n") == 1 and f"add --resume --out-dir {folder}" in err
    assert Run(folder).read("last")["state"]["step"] == 2
    assert v10(f"--resume --out-dir {folder}") == 0
    ranked.assert_same_weights(Run(folder).read("last")["state"]["model"], alone["model"])


def other_text_for_rank_1(folder):
    command_line(1, f"--max-iters 1 --data {folder}/{'missing' if ranks.rank() else 'text'}.txt --out-dir {folder}/run")


def test_an_error_that_only_one_process_has_is_printed_with_its_rank(tmp_path):
    (tmp_path / "text.txt").write_text("the rat that ate the oats\n" * 40)
    (status, _, err), (failed, _, other) = ranked.run(other_text_for_rank_1, tmp_path)
    assert failed == 2 and other.startswith("babygpt: rank 1: cannot read") and other.count("\n") == 1
    assert status == 2 and err.startswith("babygpt: another process has ended") and not (tmp_path / "run").exists()


def test_wrong_input_under_torchrun_gets_one_sentence_once(tmp_path):
    flags = f"--max-iters 1 --batch-size 1 --device cpu --out-dir {tmp_path / 'run'}"
    (status, out, err), (other, *rest) = ranked.run(command_line, 1, flags)
    assert (status, other, out, rest) == (2, 2, "", ["", ""])
    assert err.startswith("babygpt: a batch of 1 cannot be divided among 2 processes") and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("command", [SumCommand(ARITHMETIC), stages])
def test_commands_that_train_in_one_process_refuse_torchrun(command, rank, monkeypatch, capsys, tmp_path):
    launched = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}
    for name, value in launched.items():
        monkeypatch.setenv(name, str(value))
    flags = ["--out-dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as exit:
        stages.main(flags) if command is stages else cli.main(command, flags)
    out, err = capsys.readouterr()
    assert exit.value.code == 2 and out == "" and not (tmp_path / "run").exists()
    says = "in one process: start it without torchrun"
    assert says in err if rank == 0 or command is stages else err == ""
