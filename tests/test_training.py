"""The training loop: its optimizer, its schedule, its evaluations, and going on where it stopped."""

import json
import math
import statistics

import pytest
import torch
from conftest import every_version, tiny_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from babygpt import v1
from babygpt.device import pick_dtype
from babygpt.errors import UserError
from babygpt.harness.runs import Run, latest_folder, new_folder, write_atomically
from babygpt.model import Config
from babygpt.muon import Muon, orthogonalize
from babygpt.training import TrainConfig, Trainer, estimate_loss, learning_rate, make_optimizers
from babygpt.versions import get_version

QUICK = dict(max_iters=20, batch_size=4, learning_rate=1e-2, eval_interval=5, eval_iters=3)


def trainer_of(number, corpus, model_changes=(), **changes):
    """A trainer of a small model; the model's seed is the training's."""
    config = TrainConfig(**QUICK | changes)
    sizes = {"vocab_size": corpus.tokenizer.vocab_size} | dict(model_changes)
    return Trainer(tiny_model(get_version(number), seed=config.seed, **sizes), corpus, config)


def trained(*args, **kwargs):
    trainer = trainer_of(*args, **kwargs)
    trainer.train(progress=False)
    return trainer


def same_weights(one, other):
    a, b = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_one_step_of_adamw_is_the_update_of_the_paper():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    config = TrainConfig(learning_rate=0.1, weight_decay=0.2, beta2=0.99)
    [optimizer] = make_optimizers(model, config)
    p = model.weight.detach().clone()
    m = v = torch.zeros_like(p)
    for step, size in ((1, 3.0), (2, 0.1), (3, 0.5)):  # gradients that grow and shrink
        optimizer.zero_grad()
        model(torch.ones(1, 3) * size).square().sum().backward()
        g = model.weight.grad.clone()
        optimizer.step()
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g**2
        p = p - 0.1 * 0.2 * p  # the decay is decoupled: it does not pass through m and v
        p = p - 0.1 * (m / (1 - 0.9**step)) / ((v / (1 - 0.99**step)).sqrt() + 1e-8)
        assert torch.allclose(model.weight, p, atol=1e-6)


def v10_model(**changes):
    return tiny_model(get_version(10), n_embd=24, **changes)


def test_muon_updates_the_matrices_inside_the_model_and_adamw_everything_else():
    model = v10_model()
    muon, adamw = make_optimizers(model, TrainConfig(optimizer="muon"))
    assert isinstance(muon, Muon) and isinstance(adamw, torch.optim.AdamW)
    theirs = [{id(p) for group in o.param_groups for p in group["params"]} for o in (muon, adamw)]
    assert not theirs[0] & theirs[1]
    assert theirs[0] | theirs[1] == {id(p) for p in model.parameters()}
    names = {name for name, p in model.named_parameters() if id(p) in theirs[0]}
    heads = [f"sa.heads.{n}.{part}.weight" for n in range(3) for part in ("query", "key", "value")]
    parts = ("sa.proj.weight", "ffwd.net.0.weight", "ffwd.net.2.weight", *heads)
    assert names == {f"blocks.{n}.{part}" for n in range(2) for part in parts}


def test_a_step_of_muon_is_nearly_orthogonal_and_about_as_long_as_one_of_adamw():
    torch.manual_seed(0)
    model = v10_model()
    for optimizer in make_optimizers(model, TrainConfig(optimizer="muon", learning_rate=0.1, weight_decay=0)):
        weight = model.blocks[0].ffwd.net[0].weight  # (4 * C, C)
        before = weight.detach().clone()
        u, _, v = torch.linalg.svd(torch.randn(before.shape), full_matrices=False)
        weight.grad = u @ torch.diag(torch.logspace(0, -2, 24)) @ v  # one direction a hundred times another
        optimizer.step()
        if isinstance(optimizer, Muon):
            step = (weight.detach() - before) / 0.1
            stretches = torch.linalg.svdvals(step)
            assert stretches.max() / stretches.min() < 2.5
            # AdamW moves each number by 0.2 learning rates or so, on average.
            assert step.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.3)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0), (torch.float32, 0.03)])
@pytest.mark.parametrize("shape", [(12, 12), (24, 6), (6, 24)])
def test_muon_takes_the_same_steps_as_pytorchs_own(shape, dtype, tolerance):
    """PyTorch's computes in bfloat16, with about three digits; in float32 ours differs by as much as that rounds."""
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [
        Muon([ours], lr=0.1, weight_decay=0.3, dtype=dtype),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"),
    ]
    for step in range(5):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(step + 1))
        for p, optimizer in zip((ours, theirs), optimizers, strict=True):
            p.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() <= tolerance * moved
    assert moved > 0.1


def test_muon_in_float32_never_rounds_to_bfloat16():
    gradient = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    steps = []
    for dtype in (torch.float32, torch.float64):
        p = nn.Parameter(torch.zeros(12, 6, dtype=dtype))
        p.grad = gradient.to(dtype)
        Muon([p], lr=1.0, weight_decay=0, dtype=dtype).step()
        steps.append(p.detach().double())
    assert (steps[0] - steps[1]).norm() < 1e-4 * steps[1].norm()  # bfloat16 would be off by a hundredth


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_muon_computes_in_the_precision_of_the_training(has_bfloat16, monkeypatch):
    """On a CPU without bfloat16 in hardware, Muon in bfloat16 took most of the time of the recipe laptop."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bfloat16}, raising=False)
    muon, _ = make_optimizers(v10_model(), TrainConfig(optimizer="muon", dtype="auto", device="cpu"))
    assert muon.dtype == (torch.bfloat16 if has_bfloat16 else torch.float32)


def test_orthogonalizing_keeps_the_singular_vectors_of_a_matrix():
    u, _, vt = torch.linalg.svd(torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    matrix = u @ torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.2, 0.1])) @ vt
    out = orthogonalize(matrix[None])[0]
    inside = u.T @ out @ vt.T  # (5, 5): what it does to each direction
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-5
    assert inside.diagonal().min() > 0.6 and inside.diagonal().max() < 1.3


@every_version(5, 6, 7, 8, 9, 10)
def test_muon_is_refused_if_there_is_no_matrix_inside_the_model(version):
    with pytest.raises(UserError, match="muon needs linear layers inside the model"):
        make_optimizers(tiny_model(version), TrainConfig(optimizer="muon"))


def test_gradients_add_up_until_they_are_zeroed():
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    once = model.weight.grad.clone()
    model(torch.ones(1, 3)).sum().backward()
    assert torch.equal(model.weight.grad, 2 * once)


def test_an_update_zeroes_the_gradients_of_the_previous_one(rhyme):
    one, two = (trainer_of(5, rhyme) for _ in range(2))
    one.update()
    two.update()
    for p in two.model.parameters():
        p.grad.fill_(1e6)
    one.update()
    two.update()
    assert same_weights(one, two)


def test_the_learning_rate_warms_up_linearly_and_falls_to_zero():
    def rates(schedule):
        config = TrainConfig(max_iters=110, learning_rate=1.0, warmup_iters=10, lr_schedule=schedule)
        return [learning_rate(step, config) for step in range(111)]

    for schedule in ("constant", "linear", "cosine"):
        assert rates(schedule)[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
        assert rates(schedule)[10] == pytest.approx(1)
    assert set(rates("constant")[10:]) == {1.0}
    assert rates("linear")[60] == rates("cosine")[60] == pytest.approx(0.5)
    assert rates("linear")[35] == pytest.approx(0.75)
    assert rates("cosine")[35] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert rates("linear")[110] == rates("cosine")[110] == pytest.approx(0, abs=1e-12)


def test_the_schedule_is_what_the_optimizer_uses(rhyme):
    trainer = trained(1, rhyme, learning_rate=0.5, lr_schedule="linear")
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5 / 20)  # step 19 of 20
    assert [record["lr"] for record in trainer.history] == pytest.approx([0.5, 0.375, 0.25, 0.125, 0])


def test_a_large_gradient_is_clipped_and_a_small_one_is_not(rhyme):
    def norm_after_update(clip):
        trainer = trainer_of(1, rhyme, grad_clip=clip)
        trainer.update()
        return torch.cat([p.grad.flatten() for p in trainer.model.parameters()]).norm().item()

    free = norm_after_update(0)
    assert norm_after_update(free / 2) == pytest.approx(free / 2, rel=1e-3)
    assert norm_after_update(free * 2) == pytest.approx(free)


def test_a_bigram_learns_in_100_steps_what_the_lecture_shows(shakespeare):
    torch.manual_seed(1337)
    config = TrainConfig(max_iters=100, batch_size=32, learning_rate=1e-3, eval_iters=50)
    trainer = Trainer(v1.Model(Config(vocab_size=65)), shakespeare, config)
    trainer.train(progress=False)
    assert 4.45 < trainer.history[-1]["train"] < 4.65


def test_an_evaluation_is_the_mean_over_its_batches(shakespeare):
    torch.manual_seed(0)
    model = v1.Model(Config(vocab_size=65, block_size=8))
    losses = estimate_loss(model, shakespeare, batch_size=32, eval_iters=90, seed=3)  # 2,880 rows: two portions
    for split in ("train", "val"):
        x, y = shakespeare.get_batch(split, 90 * 32, 8, torch.Generator().manual_seed(3))
        one_by_one = [model(x[i : i + 32], y[i : i + 32])[1].item() for i in range(0, 90 * 32, 32)]
        assert losses[split] == pytest.approx(statistics.mean(one_by_one), abs=1e-5)


def test_an_average_over_200_batches_is_less_noisy_than_a_batch(shakespeare):
    torch.manual_seed(0)
    model = v1.Model(Config(vocab_size=65, block_size=8))

    def spread(eval_iters):
        return statistics.stdev(estimate_loss(model, shakespeare, 32, eval_iters, seed)["val"] for seed in range(30))

    assert 0.03 < spread(1) < 0.2
    assert spread(200) < 0.02


def test_an_evaluation_leaves_gradients_mode_and_random_streams_alone(rhyme):
    trainer = trainer_of(10, rhyme, {"dropout": 0.3})
    trainer.update()
    before = [p.grad.clone() for p in trainer.model.parameters()]
    streams = torch.get_rng_state(), trainer.batches.get_state()
    trainer.evaluate()
    assert all(torch.equal(p.grad, g) for p, g in zip(trainer.model.parameters(), before, strict=True))
    assert trainer.model.training
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert torch.equal(trainer.batches.get_state(), streams[1])


def test_two_evaluations_of_a_model_agree_even_with_dropout(rhyme):
    trainer = trainer_of(10, rhyme, {"dropout": 0.3})
    assert trainer.evaluate() == trainer.evaluate()


def test_evaluating_more_often_does_not_change_training(rhyme):
    often, seldom = (trained(10, rhyme, {"dropout": 0.3}, eval_interval=n) for n in (1, 20))
    assert len(often.history) == 21 and len(seldom.history) == 2
    assert same_weights(often, seldom)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(rhyme):
    first, again, other = (trained(9, rhyme, seed=seed) for seed in (1, 1, 2))
    assert same_weights(first, again)
    assert [r["val"] for r in first.history] == [r["val"] for r in again.history]
    assert not same_weights(first, other)


def test_dropout_depends_on_the_seed_of_the_run_not_on_what_was_drawn_before(rhyme):
    def after_drawing(n):
        config = TrainConfig(**QUICK)
        model = tiny_model(get_version(10), vocab_size=rhyme.tokenizer.vocab_size, dropout=0.3)
        torch.rand(n)  # a sample, say, between making the model and training it
        trainer = Trainer(model, rhyme, config)
        trainer.train(progress=False)
        return trainer

    assert same_weights(after_drawing(0), after_drawing(100))


def test_training_makes_exactly_max_iters_updates_and_evaluates_at_both_ends(rhyme):
    trainer = trained(1, rhyme, max_iters=12)
    assert trainer.step == 12
    assert [record["step"] for record in trainer.history] == [0, 5, 10, 12]
    steps = {int(state["step"]) for state in trainer.optimizers[0].state.values()}
    assert steps == {12}


def test_a_loss_that_is_not_a_number_stops_training_with_advice(rhyme):
    trainer = trainer_of(5, rhyme)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(math.nan)
    with pytest.raises(UserError, match="the loss is nan at step 0 .learning rate 0.01.*--learning-rate"):
        trainer.train(progress=False)


def test_the_resumed_muon_run_ends_with_the_weights_of_the_uninterrupted_one(rhyme):
    whole = trained(10, rhyme, optimizer="muon", max_iters=12)
    half = trainer_of(10, rhyme, optimizer="muon", max_iters=12)
    half.train(on_eval=lambda trainer: setattr(trainer, "stop", trainer.step == 5), progress=False)
    assert half.step == 5
    rest = trainer_of(10, rhyme, optimizer="muon", max_iters=12)
    rest.load_state(half.state())
    rest.train(progress=False)
    assert same_weights(whole, rest)


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_means_bfloat16_if_the_cpu_has_it(monkeypatch, has, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has}, raising=False)
    assert pick_dtype("auto", torch.device("cpu")) == dtype


def test_bfloat16_trains_to_about_the_same_loss(rhyme):
    full, half = (trained(9, rhyme, max_iters=40, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert half.model.lm_head.weight.dtype == torch.float32  # the weights stay; the products are shorter
    assert not same_weights(full, half)
    assert half.history[-1]["train"] == pytest.approx(full.history[-1]["train"], abs=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_trains_to_about_the_same_loss(rhyme):
    cpu, gpu = (trained(9, rhyme, device=device, dtype="float32") for device in ("cpu", "cuda"))
    assert gpu.history[-1]["train"] == pytest.approx(cpu.history[-1]["train"], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_iters", 0), ("batch_size", -1), ("eval_interval", 0), ("eval_iters", 0), ("learning_rate", 0.0),
     ("learning_rate", math.nan), ("learning_rate", math.inf), ("warmup_iters", -1), ("weight_decay", -0.1),
     ("weight_decay", math.nan), ("grad_clip", -1.0), ("seed", -1), ("seed", 2**64), ("beta2", 1.0)],
)  # fmt: skip
def test_a_number_that_cannot_train_is_refused(name, value):
    with pytest.raises(UserError, match=f"{name} must be .*, and it is {value}"):
        TrainConfig(**{name: value})


# Runs


@pytest.mark.parametrize("number", [1, 5, 9, 10])
def test_a_resumed_run_ends_with_the_weights_and_metrics_of_one_that_never_stopped(number, rhyme, tmp_path):
    changes = {"dropout": 0.3} if number == 10 else {}
    whole = trained(number, rhyme, changes, lr_schedule="cosine", warmup_iters=3)
    run = Run(tmp_path / "run")
    stopped = trainer_of(number, rhyme, changes, lr_schedule="cosine", warmup_iters=3)

    def stop_at_10(trainer):
        trainer.stop = trainer.step == 10

    stopped.train(on_eval=stop_at_10, progress=False)
    assert stopped.step == 10
    run.save(stopped)

    torch.manual_seed(99)  # whatever came between
    resumed = trainer_of(number, rhyme, changes, lr_schedule="cosine", warmup_iters=3)
    resumed.load_state(run.read()["state"])
    resumed.train(progress=False)
    assert same_weights(whole, resumed)
    losses = [[(r["step"], r["train"], r["val"], r["lr"]) for r in t.history] for t in (whole, resumed)]
    assert losses[0] == losses[1]


def test_weights_alone_are_not_enough_to_resume(rhyme, tmp_path):
    whole, half = trained(9, rhyme), trained(9, rhyme, max_iters=10)
    resumed = trainer_of(9, rhyme)
    resumed.model.load_state_dict(half.model.state_dict())
    resumed.step = 10
    resumed.train(progress=False)
    assert not same_weights(whole, resumed)


def test_metrics_are_one_json_line_per_evaluation(rhyme, tmp_path):
    run, trainer = Run(tmp_path / "run"), trained(5, rhyme)
    run.save(trainer)
    lines = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    assert lines == trainer.history
    assert set(lines[0]) == {"step", "train", "val", "lr", "seconds"}
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)


def test_the_best_model_is_kept_besides_the_latest(rhyme, tmp_path):
    run, trainer = Run(tmp_path / "run"), trainer_of(5, rhyme)
    for val in (3.0, 2.0, 2.5):
        trainer.update()
        trainer.history.append({"step": trainer.step, "train": 2.0, "val": val, "lr": 0.1, "seconds": 1.0})
        run.save(trainer)
    assert run.read("best")["state"]["step"] == 2
    assert run.read("last")["state"]["step"] == 3
    best, _ = run.load_model("best")
    last, _ = run.load_model("last")
    assert torch.equal(last.lm_head.weight, trainer.model.lm_head.weight)
    assert not torch.equal(best.lm_head.weight, last.lm_head.weight)


def test_a_loaded_model_gives_the_logits_of_the_saved_one(rhyme, tmp_path):
    run, trainer = Run(tmp_path / "run"), trained(10, rhyme)
    run.save(trainer)
    model, tokenizer = run.load_model("last")
    idx = torch.tensor([tokenizer.encode("the cat"[:4])])
    assert torch.equal(model(idx)[0], trainer.model.eval()(idx)[0])
    assert tokenizer.chars == rhyme.tokenizer.chars


def test_a_write_that_fails_leaves_the_old_file_intact(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text is no bytes")
    assert path.read_bytes() == b"old"


def test_a_new_run_never_takes_the_folder_of_another(tmp_path):
    assert new_folder("v1", tmp_path) == tmp_path / "v1"
    (tmp_path / "v1").mkdir()
    (tmp_path / "v10").mkdir()
    assert new_folder("v1", tmp_path) == tmp_path / "v1-2"
    (tmp_path / "v1-2").mkdir()
    assert new_folder("v1", tmp_path) == tmp_path / "v1-3"


def test_the_latest_run_is_the_one_written_last(rhyme, tmp_path):
    trainer = trained(1, rhyme)
    assert latest_folder("v1", tmp_path) == tmp_path / "v1"
    for name in ("v1-2", "v1", "v10"):
        Run(tmp_path / name).save(trainer)
    assert latest_folder("v1", tmp_path) == tmp_path / "v1"


class Reads(TorchDispatchMode):
    """Counts how often a number is read out of a tensor, for which Python waits until a GPU has caught up."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += operation is torch.ops.aten._local_scalar_dense.default
        return operation(*args, **kwargs or {})


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_between_two_checks_of_the_loss_a_step_never_waits_for_a_gpu(optimizer, rhyme):
    trainer = trainer_of(10, rhyme, optimizer=optimizer, grad_clip=1.0, accumulation=2)
    with Reads() as on_a_cpu:
        trainer.update()
    assert on_a_cpu.count == 1  # the loss
    trainer.device = torch.device("cuda")  # says so, and computes where its tensors are
    with Reads() as on_a_gpu:
        trainer.update()
    assert trainer.step == 2 and on_a_gpu.count == 0
