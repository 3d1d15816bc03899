"""What a user types, right and wrong: training, resuming, sampling, and what bad input gets."""

import json
import re
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import SMALL_V10, every_version
from matplotlib.image import imread

from babygpt import __main__, cli, sample
from babygpt.data import SHAKESPEARE
from babygpt.harness import pace
from babygpt.harness.runs import Run
from babygpt.training import TrainConfig, Trainer
from babygpt.versions import VERSIONS, get_version

QUICK = "--max-iters 4 --eval-interval 2 --eval-iters 1 --batch-size 2"


pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture
def draw(capsys):
    """The same for `python -m babygpt.sample`."""

    def draw(*flags):
        with pytest.raises(SystemExit) as exit:
            sample.main([str(flag) for flag in flags])
        return exit.value.code, *capsys.readouterr()

    return draw


def one_sentence(err):
    """Whether stderr holds a single one-line message from babygpt and nothing else."""
    return err.startswith("babygpt: ") and err.count("\n") == 1 and "Traceback" not in err


# Training


@every_version()
def test_each_version_trains_from_the_command_line_and_leaves_a_run(version, run, tmp_path):
    status, out, err = run(version.number, QUICK + (" " + SMALL_V10 if version.number == 10 else ""))
    assert (status, err) == (0, "")
    first, *lines = out.splitlines()
    assert re.fullmatch(
        rf"v{version.number} {version.title}: [\d,]+ parameters, on \w+ in \w+, "
        r"learning input.txt \(1,115,394 characters, 65 different\)",
        first,
    )
    for step, line in zip((0, 2, 4), [line for line in lines if not line.startswith("This will")], strict=False):
        assert re.fullmatch(rf"step {step}: train \d\.\d\d, val \d\.\d\d", line)
    folder = tmp_path / "runs" / version.name
    names = {"checkpoint.pt", "best.pt", "metrics.jsonl", "loss.png", "sample.txt"}
    assert {path.name for path in folder.iterdir()} == names
    text = (folder / "sample.txt").read_text(encoding="utf-8")
    assert len(text) == 20 and text in out
    assert f"runs/{version.name}" in out


def test_python_dash_m_trains_in_its_own_process(tmp_path):
    """Also: nothing depends on the working directory, nothing but the run is printed, and its losses are drawn."""
    command = [sys.executable, "-m", "babygpt.v1", *QUICK.split()]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert result.stdout.startswith("v1 bigram: 4,225 parameters")
    assert result.stderr == ""
    picture = imread(tmp_path / "runs" / "v1" / "loss.png")
    assert picture.shape == (540, 840, 4) and picture.std() > 0.1


def test_help_explains_every_flag_with_the_defaults_of_the_preset(run):
    for preset, width in (("laptop", 128), ("lecture", 384)):
        status, out, _ = run(10, f"--preset {preset} --help")
        assert status == 0
        flags = (
            "preset max-iters batch-size block-size learning-rate eval-interval seed device data out-dir resume shapes"
        )
        for flag in flags.split():
            assert f"--{flag} " in out, flag
        assert re.search(rf"--n-embd INT[^-]*default: {width}", out)
        assert "vocab" not in out


def test_v10_uses_the_laptop_recipe_if_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cli.default_preset(get_version(10), "auto") == "laptop"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cli.default_preset(get_version(10), "auto") == "lecture"
    assert cli.default_preset(get_version(10), "cpu") == "laptop"
    assert cli.default_preset(get_version(9), "cpu") == "lecture"


def test_a_version_offers_the_sizes_it_has_and_no_others(run):
    sizes = {1: set(), 2: {"n-embd"}, 6: {"n-embd", "n-head"}, 8: {"n-embd", "n-head", "n-layer"},
             10: {"n-embd", "n-head", "n-layer", "dropout"}}  # fmt: skip
    for number, expected in sizes.items():
        _, out, _ = run(number, "--help")
        assert {flag for flag in sizes[10] if f"--{flag} " in out} == expected
    status, _, err = run(5, "--n-head 2")
    assert status == 2 and "--n-head" in err


def test_any_utf8_text_can_be_learned_and_sampled(run, draw, tmp_path):
    (tmp_path / "poem.txt").write_text("床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n" * 20, encoding="utf-8")
    status, out, _ = run(9, f"--data poem.txt {QUICK}")
    assert status == 0 and "learning poem.txt (520 characters, 20 different)" in out
    status, out, _ = draw("runs/v9", "--prompt", "明月", "--max-new-tokens", 5)
    assert status == 0 and out.startswith("明月") and len(out) == 2 + 5 + 1


def test_a_second_run_gets_its_own_folder(run, tmp_path):
    for _ in range(2):
        assert run(1, QUICK)[0] == 0
    assert Run(tmp_path / "runs/v1").exists() and Run(tmp_path / "runs/v1-2").exists()


def test_shapes_prints_a_table_and_trains_nothing(run, tmp_path):
    status, out, _ = run(6, "--shapes")
    assert status == 0 and "(B, T, hs) = (4, 8, 8)" in out
    assert not (tmp_path / "runs").exists()


# Stopping and going on


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_continue_and_the_resumed_run_ends_as_if_never_stopped(
    run, tmp_path, monkeypatch, signal_number
):
    before = signal.getsignal(signal_number)
    flags = f"--max-iters 8 --eval-interval 4 --eval-iters 1 --batch-size 2 {SMALL_V10}"
    assert run(10, flags + " --out-dir whole")[0] == 0

    update = Trainer.update

    def update_and_press_ctrl_c(trainer):
        update(trainer)
        if trainer.step == 3:
            signal.raise_signal(signal_number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", update_and_press_ctrl_c)
        status, out, _ = run(10, flags + " --out-dir stopped")
    assert status == 130
    assert "Stopped and saved at step 3. To continue:" in out
    assert "-m babygpt.v10 --resume --out-dir stopped" in out
    assert signal.getsignal(signal_number) is before

    status, out, _ = run(10, "--resume --out-dir stopped")
    assert status == 0
    whole, resumed = (Run(tmp_path / name).read()["state"] for name in ("whole", "stopped"))
    assert all(torch.equal(whole["model"][name], resumed["model"][name]) for name in whole["model"])
    losses = [[(r["step"], r["val"]) for r in state["history"]] for state in (whole, resumed)]
    assert losses[0] == losses[1]
    assert [json.loads(line)["step"] for line in (tmp_path / "stopped/metrics.jsonl").open()] == [0, 4, 8]


def test_resume_continues_the_last_run_with_its_text(run, tmp_path):
    (tmp_path / "rhyme.txt").write_text("the rat that ate the oats\n" * 40, encoding="utf-8")
    run(1, f"{QUICK} --data rhyme.txt")
    run(1, f"{QUICK} --data rhyme.txt")
    status, out, _ = run(1, "--resume --max-iters 6")
    assert status == 0 and "Trained 6 steps" in out and "runs/v1-2" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--learning-rate 0.5", "learning_rate was 0.01 and is now 0.5"),
        ("--batch-size 3 --seed 7", "batch_size was 2 and is now 3\n  seed was 1337 and is now 7"),
        ("--block-size 9", "block_size was 8 and is now 9"),
        ("--data other.txt", "the text was not the one that other.txt holds now"),
    ],
)
def test_resuming_with_other_settings_is_refused_and_names_them(run, tmp_path, flags, message):
    (tmp_path / "other.txt").write_text("other words\n" * 100, encoding="utf-8")
    run(1, QUICK)
    before = (tmp_path / "runs/v1/checkpoint.pt").read_bytes()
    status, _, err = run(1, f"--resume {flags}")
    assert status == 2 and "Traceback" not in err
    assert "babygpt: runs/v1 was trained with other settings" in err and message in err
    assert (tmp_path / "runs/v1/checkpoint.pt").read_bytes() == before


def test_a_schedule_that_ends_at_max_iters_cannot_be_extended(run):
    run(1, QUICK + " --lr-schedule linear")
    status, _, err = run(1, "--resume --max-iters 8")
    assert status == 2 and "max_iters was 4 and is now 8" in err


# Bad input


class Evil:
    """A pickle that creates a file when it is read."""

    def __reduce__(self):
        return open, ("created-by-a-checkpoint", "w")


@pytest.mark.parametrize(
    ("number", "flags", "message"),
    [
        (1, "--data no.txt", "cannot read no.txt (No such file or directory): give a text file with --data"),
        (1, "--data .", "cannot read . (Is a directory)"),
        (1, "--data latin1.txt", "latin1.txt is not UTF-8: byte 3 is 0xe9"),
        (1, "--data empty.txt", "empty.txt is empty"),
        (1, "--data short.txt", "short.txt is too short: its val split has 8 tokens and a block size of 8 needs 9"),
        (1, "--preset laptop", "v1 has no preset 'laptop': choose from lecture"),
        (1, "--resume", "there is no run in runs/v1: checkpoint.pt is missing"),
        (
            1,
            "--resume --out-dir old",
            "old was trained with babygpt.v2, not with babygpt.v1: resume it with",
        ),
        (2, "--out-dir old", "old already holds a run: add --resume to continue it, or choose another --out-dir"),
        (2, "--resume --out-dir cut", "cut/checkpoint.pt is not a checkpoint of babygpt, or it is damaged"),
        (2, "--resume --out-dir text", "text/checkpoint.pt is not a checkpoint of babygpt, or it is damaged"),
        (2, "--resume --out-dir evil", "evil/checkpoint.pt is not a checkpoint of babygpt, or it is damaged"),
        (2, "--out-dir empty.txt/run --max-iters 1", "cannot write to empty.txt/run (Not a directory)"),
    ],
)
def test_bad_input_gets_one_sentence_and_status_2_and_leaves_nothing_behind(run, tmp_path, number, flags, message):
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9 au lait")
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "short.txt").write_text("ab" * 40, encoding="utf-8")
    if "old" in flags or "cut" in flags:
        run(2, QUICK + " --out-dir old")
    if "cut" in flags:
        shutil.copytree("old", "cut")
        content = (tmp_path / "cut/checkpoint.pt").read_bytes()
        (tmp_path / "cut/checkpoint.pt").write_bytes(content[: len(content) // 2])
    for name in ("text", "evil"):
        (tmp_path / name).mkdir()
    (tmp_path / "text/checkpoint.pt").write_text("no checkpoint", encoding="utf-8")
    torch.save({"format": 1, "run_me": Evil()}, tmp_path / "evil/checkpoint.pt")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, out, err = run(number, flags)
    assert status == 2
    assert one_sentence(err) and message in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("number", "flags", "message"),
    [
        (1, "--batch-size x", "--batch-size"),
        (1, "--batch-size -3", "batch_size must be from 1 to 1000000000, and it is -3"),
        (1, "--learning-rate nan", "learning_rate must be above 0, and it is nan"),
        (1, "--batchsize 3", "--batch-size"),
        (1, "--data", "--data"),
        (1, "--device tpu", "tpu"),
        (10, "--n-embd 10 --n-head 3", "n_embd must be a multiple of n_head"),
        (10, "--dropout 1", "dropout must be at least 0 and below 1, and it is 1.0"),
    ],
)
def test_a_wrong_flag_is_named_and_nothing_is_written(run, tmp_path, number, flags, message):
    status, out, err = run(number, flags)
    assert status == 2
    assert message in " ".join(err.replace("│", " ").split()) and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA GPU")
@pytest.mark.parametrize("number", [1, 10])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(run, number):
    status, _, err = run(number, "--device cuda")
    assert status == 2 and one_sentence(err)
    assert "the device 'cuda' is not there: this machine has cpu" in err


def test_compile_trains_the_compiled_model(run, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    assert run(5, QUICK)[0] == 0 and not compiled  # never unless asked for
    assert run(5, QUICK + " --compile")[0] == 0 and len(compiled) == 1


def test_if_torch_compile_does_not_work_one_sentence_says_so(run, monkeypatch):
    from torch._inductor.exc import InvalidCxxCompiler

    def no_compiler(*args):
        raise InvalidCxxCompiler

    monkeypatch.setattr(torch, "compile", lambda model: no_compiler)
    status, _, err = run(5, QUICK + " --compile")
    assert status == 2 and one_sentence(err)
    assert "torch.compile does not work here (InvalidCxxCompiler): leave out --compile" in err


# Sampling


@pytest.fixture
def trained(run):
    run(5, QUICK)


def test_a_sample_begins_with_the_prompt_and_has_the_requested_length(trained, draw):
    status, out, err = draw(
        "runs/v5", "--prompt", "ROMEO:", "--max-new-tokens", 30, "--temperature", 0.8, "--top-k", 40
    )
    assert (status, err) == (0, "")
    assert out.startswith("ROMEO:") and len(out) == 6 + 30 + 1


def test_the_seed_decides_the_sample(trained, draw):
    first, again, other = (draw("runs/v5", "--seed", seed)[1] for seed in (7, 7, 8))
    assert first == again != other


def test_a_sample_can_go_to_a_file(trained, draw, tmp_path):
    status, out, _ = draw("runs/v5", "--prompt", "A", "--out", "more.txt", "--max-new-tokens", 50)
    assert (status, out) == (0, "Wrote 51 characters to more.txt\n")
    _, screen, _ = draw("runs/v5", "--prompt", "A", "--max-new-tokens", 50)
    assert (tmp_path / "more.txt").read_text(encoding="utf-8") == screen[:-1]


def test_several_samples_are_drawn_at_once_and_numbered(trained, draw, tmp_path):
    flags = "runs/v5", "--prompt", "A", "--num-samples", 3, "--max-new-tokens", 20
    status, out, _ = draw(*flags)
    assert status == 0
    texts = re.findall(r"--- \d of 3 ---\n(A(?s:.{20}))\n", out)
    assert len(set(texts)) == 3
    draw(*flags, "--out", "three.txt")
    assert (tmp_path / "three.txt").read_text(encoding="utf-8") == out


def test_version_10_draws_the_same_text_with_its_cache_as_with_the_plain_loop(run, draw):
    run(10, f"{QUICK} {SMALL_V10}")
    _, out, _ = draw("runs/v10", "--prompt", "A", "--max-new-tokens", 40)  # more than a window of 8
    model, tokenizer = Run("runs/v10").load_model()
    idx = torch.tensor([tokenizer.encode("A")])
    plain = model.generate(idx, 40, generator=torch.Generator().manual_seed(1337))
    assert out == tokenizer.decode(plain[0].tolist()) + "\n"
    _, fast, _ = draw("runs/v10", "--prompt", "A", "--max-new-tokens", 40, "--window", "fast")
    assert fast[:9] == out[:9] and fast != out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("runs/v5", "--num-samples", "0"), "num_samples must be from 1 to 10000, and it is 0"),
        (("runs/v5", "--window", "fast"), "this model has no cache, so it has no window fast"),
        (("runs/v5", "--prompt", "ROMEO: 我"), "the character '我' is not in the vocabulary; it has these 65"),
        (("runs/v6",), "there is no run in runs/v6: best.pt is missing"),
        (("runs/v5", "--temperature", "-1"), "temperature must be from 1e-06"),
        (("runs/v5", "--top-k", "-1"), "top_k must be from 0 to 1000000000, and it is -1"),
        (("runs/v5", "--max-new-tokens", "-1"), "max_new_tokens must be from 0 to 1000000000, and it is -1"),
        (("runs/v5", "--seed", "-1"), "seed must be from 0 to"),
        (("runs/v5", "--out", "no/more.txt"), "cannot write no/more.txt (No such file or directory)"),
    ],
)
def test_a_sample_that_cannot_be_drawn_is_refused_with_the_reason(trained, draw, flags, message):
    status, _, err = draw(*flags)
    assert status == 2 and "Traceback" not in err
    assert message in " ".join(err.replace("│", " ").split())


# The rest


def test_babygpt_alone_lists_the_ten_versions_and_what_to_run(capsys):
    __main__.main()
    out = capsys.readouterr().out
    for version in VERSIONS:
        assert f"  {version.name:<4} {version.title}" in out
    assert "python -m babygpt.v1 " in out and "python -m babygpt.sample" in out


def test_the_text_is_found_from_any_folder():
    assert SHAKESPEARE.is_absolute() and SHAKESPEARE.exists()


def test_a_long_run_says_after_a_few_steps_how_long_it_will_take(run, monkeypatch):
    """20 steps of a second each, and a first evaluation of 3 seconds, every 50 of 221 steps."""
    clock = iter([100.0, 120.0])
    monkeypatch.setattr(pace.time, "perf_counter", lambda: next(clock))
    said = []
    monkeypatch.setattr(pace, "print_line", said.append)
    trainer = SimpleNamespace(
        config=TrainConfig(max_iters=221, eval_interval=50), step=21, history=[{"step": 0, "seconds": 3.0}]
    )
    report = pace.PaceReport()
    for _ in range(30):
        report(trainer)
    assert said == ["This will take about 4 minutes."]  # 200 * (1 + 3 / 50) = 212 seconds
