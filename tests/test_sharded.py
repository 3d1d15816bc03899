"""A sharded model makes the steps of one process with half of the memory, and recomputed activations change nothing."""

import json
import os

import pytest
import ranked
import torch
from torch.distributed.tensor import DTensor

from babygpt.beyond import gpt2, modern
from babygpt.beyond.recompute import blocks_of, checkpoint_activations
from babygpt.beyond.scale import FLOAT32, saved_bytes
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.harness import ranks
from babygpt.harness.runs import Run
from babygpt.parallel import SharedRun
from babygpt.training import TrainConfig, Trainer
from benchmarks import memory

RECIPE = dict(max_iters=4, batch_size=4, accumulation=2, learning_rate=1e-2, grad_clip=1.0, eval_interval=2,
              eval_iters=3, dtype="float32", device="cpu")  # fmt: skip
# Sizes that two processes cannot divide evenly are among them.
SIZES = dict(vocab_size=11, block_size=7, n_embd=12, n_head=3, n_layer=2)


def small_trainer(kind, **changes):
    corpus = Corpus.from_text("the rat that ate the oats\n" * 40, name="rhyme")
    torch.manual_seed(3)
    return kind(gpt2.Model(gpt2.Config(**SIZES)), corpus, TrainConfig(**RECIPE | changes))


def train(trainer, steps=None):
    """Train, and return where that ends; or as far as a step, as if a signal had come."""
    stop = lambda trainer: setattr(trainer, "stop", trainer.step == steps)  # noqa: E731
    trainer.train(on_step=stop, progress=False)
    trainer.stop = False
    return trainer.state()


def refusal(**changes):
    from babygpt.beyond.sharded import ShardedTrainer

    with pytest.raises(UserError) as error:
        small_trainer(ShardedTrainer, **changes)
    return str(error.value)


def experiments(folder):
    """What both processes do for the tests below. Each writes down what it saw."""
    from babygpt.beyond.sharded import ShardedTrainer

    torch.set_num_threads(1)
    found = {}
    with ranks.joined():
        trainer = small_trainer(ShardedTrainer)
        found["state"] = train(trainer)
        found["here"] = {name: p.to_local().numel() for name, p in trainer.model.named_parameters()}
        found["moments here"] = sum(s["exp_avg"].to_local().numel() for s in trainer.optimizers[0].state.values())
        found["sharded"] = all(isinstance(p, DTensor) for p in trainer.model.parameters())
        run = SharedRun(folder / "run")
        with run.locked():
            run.save(trainer)

        trainer = small_trainer(ShardedTrainer)
        checkpoint_activations(trainer.model)
        found["recomputed"] = train(trainer)["model"]

        trainer = small_trainer(ShardedTrainer)
        trainer.load_state(torch.load(folder / "half.pt", weights_only=False))
        found["continued"] = train(trainer)
        found["uneven"], found["muon"] = refusal(batch_size=5), refusal(optimizer="muon")
    torch.save(found, folder / f"{ranks.rank()}.pt")


@pytest.fixture(scope="module")
def one():
    """The same training in one process, whole and halfway."""
    return train(small_trainer(Trainer)), train(small_trainer(Trainer), steps=2)


@pytest.fixture(scope="module")
def found(tmp_path_factory, one):
    """What the two processes of `experiments` saw, by rank."""
    if os.name == "nt":
        pytest.skip("two processes meet by fork, which Windows lacks")
    folder = tmp_path_factory.mktemp("sharded")
    torch.save(one[1], folder / "half.pt")
    statuses = ranked.run(experiments, folder)
    assert [status for status, _, _ in statuses] == [0, 0], statuses
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)], folder


def test_a_sharded_model_ends_with_the_weights_of_one_process(found, one):
    main, other = (each["state"] for each in found[0])
    ranked.assert_same_weights(main["model"], one[0]["model"])
    ours, theirs = (state["optimizers"][0]["state"] for state in (main, one[0]))
    for i in theirs:
        torch.testing.assert_close(ours[i]["exp_avg_sq"], theirs[i]["exp_avg_sq"], atol=1e-5, rtol=1e-4)
    assert all(tensor.numel() == 0 for tensor in other["model"].values()), "only rank 0 keeps the whole tensors"


def test_its_losses_are_those_of_one_process(found, one):
    for each in found[0]:
        for ours, theirs in zip(each["state"]["history"], one[0]["history"], strict=True):
            assert (ours["train"], ours["val"]) == pytest.approx((theirs["train"], theirs["val"]), abs=1e-5)


def test_each_process_holds_half_of_every_parameter_and_of_the_moments(found):
    model = gpt2.Model(gpt2.Config(**SIZES))
    for rank, each in enumerate(found[0]):
        # Rows are divided, the first process gets one more if their number is odd.
        halves = {name: p.chunk(2)[rank].numel() for name, p in model.named_parameters()}
        assert each["sharded"] and each["here"] == halves
        assert each["moments here"] == sum(halves.values())


def test_a_sharded_model_continues_where_one_process_has_stopped(found, one):
    main = found[0][0]["continued"]
    assert one[1]["step"] == 2 and main["step"] == 4
    ranked.assert_same_weights(main["model"], one[0]["model"])


def test_one_process_continues_where_a_sharded_model_has_stopped(found, one):
    saved = Run(found[1] / "run").read("last")
    assert saved["module"] == "babygpt.beyond.gpt2"
    trainer = small_trainer(Trainer, max_iters=5)
    trainer.load_state(saved["state"])
    assert trainer.step == 4
    ranked.assert_same_weights(train(trainer)["model"], train(small_trainer(Trainer, max_iters=5))["model"])


def test_sharding_and_activation_checkpointing_go_together(found, one):
    ranked.assert_same_weights(found[0][0]["recomputed"], one[0]["model"])


def test_shares_that_are_not_equal_and_muon_are_refused(found):
    for each in found[0]:
        assert each["uneven"] == "--sharded needs equal shares: use a --batch-size that 2 divides, not 5"
        assert each["muon"].startswith("the optimizer muon needs whole matrices: leave out --sharded")


# Activation checkpointing, in one process


MODELS = {
    "gpt2": lambda **more: gpt2.Model(gpt2.Config(**SIZES, **more)),
    "modern": lambda **more: modern.Model(modern.Config(**SIZES, **more)),
}


def loss_of(model):
    idx = torch.randint(11, (2, 8), generator=torch.Generator().manual_seed(1))
    return model(idx[:, :-1], idx[:, 1:])[1]


@pytest.mark.parametrize("name", MODELS)
def test_activation_checkpointing_leaves_the_loss_and_every_gradient_as_they_were_with_dropout_too(name):
    model, found = MODELS[name](dropout=0.3), []
    for wrap in (lambda model: None, checkpoint_activations):
        wrap(model)
        model.zero_grad()
        torch.manual_seed(2)
        loss = loss_of(model)
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


def saved_by(model):
    """How many numbers are kept for the backward pass."""
    return saved_bytes(lambda: loss_of(model), list(model.parameters())) / FLOAT32


@pytest.mark.parametrize("name", MODELS)
def test_a_block_with_activation_checkpointing_keeps_only_its_input(name):
    plain, wrapped = MODELS[name](), MODELS[name]()
    checkpoint_activations(wrapped)
    without_blocks = MODELS[name]()
    blocks = blocks_of(without_blocks)
    while len(blocks):
        del blocks[0]
    B, T, C = 2, 7, SIZES["n_embd"]
    assert saved_by(wrapped) - saved_by(without_blocks) == SIZES["n_layer"] * B * T * C
    assert saved_by(plain) > 5 * saved_by(wrapped)


# The recorded figures


def test_the_recorded_memory_is_that_of_the_formulas():
    result = json.loads(memory.RESULTS.read_text(encoding="utf-8"))["result"]
    assert len(result["state"]) == 1 + 2 * (len(memory.PROCESSES) - 1)
    for figures in (*result["state"].values(), result["activations"]["kept"], result["activations"]["computed again"]):
        assert figures.get("all", figures.get("bytes")) == pytest.approx(figures["formula"], rel=2e-3)


def test_the_readme_of_the_benchmarks_has_the_recorded_memory():
    result = json.loads(memory.RESULTS.read_text(encoding="utf-8"))["result"]
    readme = " ".join((memory.RESULTS.parent / "README.md").read_text(encoding="utf-8").split())
    state = {name: f"{figures['all'] / 1e6:.1f} MB" for name, figures in result["state"].items()}
    kept, again = result["activations"]["kept"], result["activations"]["computed again"]
    for text in (
        f"has {result['parameters']:,} parameters",
        f"two averages take {state['1 process, copied']}",
        f"each of two processes holds {state['2 processes, sharded']}",
        f"each of four holds {state['4 processes, sharded']}",
        f"the forward pass keeps {kept['bytes'] / 1e6:.1f} MB for the backward pass",
        f"it keeps {again['bytes'] / 1e6:.1f} MB, and a step takes {result['activations']['step, ratio']} times",
        f"{kept['step']['median']:.2f} s and {again['step']['median']:.2f} s of one core",
    ):
        assert text in readme
    assert state["2 processes, copied"] == state["4 processes, copied"] == state["1 process, copied"]
