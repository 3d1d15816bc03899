"""The arithmetic of scale, each formula beside what PyTorch allocates, counts or sends; data parallel by hand."""

import copy
import json
import os
from functools import partial

import pytest
import torch
from forked import Process
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from babygpt.beyond import data_parallel, gpt2, scale
from babygpt.beyond.data_parallel import ParallelConfig, average_gradients, ring_all_reduce, simulate
from babygpt.beyond.models import FAMILY
from babygpt.course.generated import ROOT
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.training import TrainConfig, Trainer

SIZES = [
    dict(n_embd=64, n_head=4, n_layer=3, block_size=64, vocab_size=65),
    dict(n_embd=96, n_head=3, n_layer=5, block_size=100, vocab_size=500),
]


def model_and_batch(sizes, B=4):
    torch.manual_seed(0)
    model = gpt2.Model(gpt2.Config(**sizes))
    return model, torch.randint(sizes["vocab_size"], (B, sizes["block_size"]))


@pytest.mark.parametrize("name", FAMILY)
def test_the_formula_for_parameters_is_that_of_the_family(name):
    sizes, published = FAMILY[name]
    assert scale.parameters(gpt2.Config(**sizes)) == published


def test_gpt3_has_175_billion_parameters():
    assert scale.parameters(scale.GPT3) == pytest.approx(175e9, rel=0.005)


def test_a_parameter_in_training_takes_16_bytes(rhyme):
    model = gpt2.Model(gpt2.Config(**SIZES[0] | {"block_size": 8, "vocab_size": rhyme.tokenizer.vocab_size}))
    trainer = Trainer(model, rhyme, TrainConfig(max_iters=1, batch_size=2, eval_iters=1, device="cpu"))
    trainer.train(progress=False)
    held = scale.state_bytes(scale.parameters(model.config))
    assert held["weights"] == sum(p.nbytes for p in model.parameters())
    assert held["gradients"] == sum(p.grad.nbytes for p in model.parameters())
    moments = [t for s in trainer.optimizers[0].state.values() for name, t in s.items() if name.startswith("exp_avg")]
    assert held["AdamW's two averages"] == sum(t.nbytes for t in moments)
    assert sum(held.values()) == 16 * scale.parameters(model.config)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_formula_for_activations_is_what_the_forward_pass_keeps(sizes):
    model, x = model_and_batch(sizes)
    kept = scale.saved_bytes(lambda: model(x, x)[1], list(model.parameters()))
    assert scale.activation_bytes(model.config, len(x)) == pytest.approx(kept, rel=0.002)  # the ids are not in it


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_formula_for_operations_is_what_pytorch_counts(sizes):
    """PyTorch counts the matrix products; the formula counts a little more, since N has the biases and the norms."""
    model, x = model_and_batch(sizes)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x, x)[1].backward()
    counted = counter.get_total_flops() / x.numel()
    small = sum(p.numel() for p in model.parameters() if p.dim() < 2)
    assert scale.flops_per_token(model.config) - 6 * small == pytest.approx(counted, rel=1e-12)
    assert scale.flops_per_token(model.config) == pytest.approx(counted, rel=0.02)


def test_gpt3_took_about_as_many_operations_as_its_paper_says():
    """Table D.1 says 3.14e23; it leaves out the attention between tokens."""
    assert scale.GPT3_TOKENS * scale.flops_per_token(scale.GPT3) == pytest.approx(3.14e23, rel=0.05)


def test_training_at_the_peak_uses_all_of_it():
    config = gpt2.Config()
    most = scale.A100_FLOPS / scale.flops_per_token(config)
    assert scale.mfu(most, config) == pytest.approx(1)
    assert scale.training_days(config, most * scale.SECONDS_A_DAY, gpus=4, utilization=0.25) == pytest.approx(1)


def test_nanogpts_four_days_for_gpt2_on_eight_gpus_are_a_believable_share_of_their_peak():
    tokens = 600_000 * 491_520  # its steps, and the tokens of a step
    share = scale.training_days(gpt2.Config(), tokens, gpus=8, utilization=1.0) / 4
    assert 0.2 < share < 0.5


def test_chinchilla_itself_had_20_tokens_for_each_parameter():
    assert scale.chinchilla_tokens(70e9) == 1.4e12


@pytest.mark.parametrize("W", [1, 2, 3, 4, 7])
def test_a_ring_gives_every_process_the_sum_and_sends_what_the_formula_says(W):
    tensors = [torch.randn(3, 28, generator=torch.Generator().manual_seed(rank)) for rank in range(W)]
    sums, sent = ring_all_reduce(tensors)
    assert all(torch.allclose(each, torch.stack(tensors).sum(dim=0), atol=1e-5) for each in sums)
    assert sent == scale.ring_bytes(tensors[0].numel(), W)


def test_the_command_prints_a_table(capsys):
    with pytest.raises(SystemExit) as end:
        scale.main(["--gpus", "8", "--mfu", "0.3"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert "124,439,808" in out and "on 8 x 312 TFLOP/s, 30% of it used" in out


# By hand


def gradients(model, x, y):
    model.zero_grad()
    model(x, y)[1].backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_averaged_gradients_are_those_of_the_whole_batch_even_if_the_rows_are_uneven(processes):
    model, x = model_and_batch(SIZES[0], B=5)
    whole = gradients(model, x, x)

    def work(rank, all_reduce):
        mine, rows = copy.deepcopy(model), x[rank::processes]
        gradients(mine, rows, rows)
        average_gradients(mine, len(rows) / len(x), all_reduce)
        return [p.grad for p in mine.parameters()]

    for found in simulate(processes, work):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, whole, strict=True))


def test_simulated_processes_wait_for_each_other_like_real_ones():
    def work(rank, all_reduce):
        tensor = torch.tensor([float(rank), 1.0])
        all_reduce(tensor)
        all_reduce(tensor)
        return tensor.tolist()

    assert simulate(3, work) == [[9.0, 9.0]] * 3
    with pytest.raises(UserError, match="a process waits in all_reduce for the others, which don't call it"):
        simulate(2, lambda rank, all_reduce: all_reduce(torch.ones(1)) if rank else None, patience=0.2)

    def failing(rank, all_reduce):
        if rank == 1:
            raise ZeroDivisionError
        all_reduce(torch.ones(1))

    with pytest.raises(ZeroDivisionError):
        simulate(2, failing)


def launch_at_once(config):
    """In a process of its own, whose output can be read: start those of the training by fork."""
    torch.multiprocessing.spawn = partial(torch.multiprocessing.start_processes, start_method="fork")
    data_parallel.launch(config)


@pytest.mark.skipif(os.name == "nt", reason="the processes are forked, which Windows cannot do")
def test_two_processes_end_with_the_weights_of_one():
    """The batch of 5 rows is uneven. Each process prints the loss of its own rows, and the same weights."""
    out, err = Process(launch_at_once, ParallelConfig(processes=2, steps=3, batch_size=5)).communicate(300)
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["process 0 of 2", "process 1 of 2"], err
    first, second = (float(line.split()[-1]) for line in lines)
    _, model = data_parallel.train(0, ParallelConfig(processes=1, steps=3, batch_size=5), Corpus.load())
    alone = torch.nn.utils.parameters_to_vector(model.parameters()).double().square().sum().item()
    assert first == second == pytest.approx(alone, rel=1e-6)
    assert lines[0].split(" -> ")[0][-6:] != lines[1].split(" -> ")[0][-6:]


def test_a_batch_needs_a_row_for_each_process():
    with pytest.raises(UserError, match="batch_size must be from 3 to 1000000, and it is 2"):
        ParallelConfig(processes=3, batch_size=2)


def test_mixed_precision_keeps_16_bytes_for_each_parameter(rhyme):
    sizes = SIZES[0] | {"block_size": 8, "vocab_size": rhyme.tokenizer.vocab_size}
    settings = TrainConfig(max_iters=1, batch_size=2, eval_iters=1, device="cpu", dtype="bfloat16")
    trainer = Trainer(gpt2.Model(gpt2.Config(**sizes)), rhyme, settings)
    trainer.train(progress=False)
    tensors = [t for p in trainer.model.parameters() for t in (p, p.grad)]
    tensors += [s[name] for s in trainer.optimizers[0].state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert {t.dtype for t in tensors} == {torch.float32}
    assert sum(t.nbytes for t in tensors) == 16 * scale.parameters(trainer.model.config)


def test_the_table_in_lesson_19_is_what_was_measured():
    page = (ROOT / "lessons" / "19_many_machines.md").read_text(encoding="utf-8")
    found = json.loads((ROOT / "benchmarks" / "memory.json").read_text(encoding="utf-8"))["result"]

    def row(what):
        numbers = [found["state"][what][name] for name in ("weights", "gradients", "AdamW's two averages", "all")]
        return " | ".join(f"{number / 1e6:.1f}" for number in numbers)

    assert f"| 1 process, or data parallelism with any number | {row('1 process, copied')} |" in page
    assert row("1 process, copied") == row("2 processes, copied") == row("4 processes, copied")
    assert f"| sharded over 2 processes | {row('2 processes, sharded')} |" in page
    assert f"| sharded over 4 processes | {row('4 processes, sharded')} |" in page
    assert f"{found['parameters'] / 1e6:.1f} million parameters" in page
    kept, again = (found["activations"][name]["bytes"] / 1e6 for name in ("kept", "computed again"))
    words = " ".join(page.split())
    assert f"it kept {again:.0f} MB in place of {kept:.0f}, and a step took" in words
    assert f"a step took {found['activations']['step, ratio']} times as long" in words
