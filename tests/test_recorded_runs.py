"""`BABYGPT_RECORDED=1`: a recorded run takes the place of training, and only of the training that it recorded."""

import pytest
import torch

from babygpt import v5, v6, v10
from babygpt.course import lab, recorded_runs
from babygpt.data import Corpus
from babygpt.training import TrainConfig, Trainer

TEXT = "so we beat on, boats against the current, borne back ceaselessly into the past. " * 40


def trainer(module=v5, text=TEXT, seed=1, sizes=None, **settings):
    corpus = Corpus.from_text(text)
    torch.manual_seed(seed)
    config = module.Config(vocab_size=corpus.tokenizer.vocab_size, **(sizes or {}))
    settings = {"max_iters": 20, "eval_interval": 10, "eval_iters": 2, "device": "cpu"} | settings
    return Trainer(module.Model(config), corpus, TrainConfig(**settings))


def test_two_rates_of_dropout_are_two_runs_though_their_models_compute_the_same_before_training(tmp_path):
    settings = {"module": v10, "sizes": {"block_size": 8, "n_embd": 16, "n_head": 2, "n_layer": 1}}
    without, with_dropout = ({**settings, "sizes": settings["sizes"] | {"dropout": p}} for p in (0.0, 0.2))
    assert torch.equal(*(recorded_runs.fingerprint(trainer(**s)) for s in (without, with_dropout)))
    recorded_runs.record(trainer(**without), tmp_path)
    assert recorded_runs.load(trainer(**without), tmp_path)
    assert not recorded_runs.load(trainer(**with_dropout), tmp_path)


@pytest.fixture
def folder(tmp_path):
    recorded_runs.record(trainer(), tmp_path)
    return tmp_path


def test_a_recorded_run_ends_where_training_ends(folder):
    trained, loaded = trainer(), trainer()
    trained.train()
    assert recorded_runs.load(loaded, folder)
    for mine, theirs in zip(trained.model.parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for key in ("step", "train", "val", "lr"):
        assert [record[key] for record in trained.history] == [record[key] for record in loaded.history]
    assert loaded.step == 20 and loaded.seconds > 0


OTHERS = {
    "another seed": {"seed": 2},
    "another version": {"module": v6},
    "another size": {"sizes": {"n_embd": 16}},
    "another text": {"text": TEXT.replace("boats", "goats")},
    "more steps": {"max_iters": 30},
    "another learning rate": {"learning_rate": 1e-2},
    "other batches": {"batch_size": 16},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_run_is_not_taken_for_the_recorded_one(folder, change):
    other = trainer(**change)
    assert not recorded_runs.load(other, folder)
    assert other.step == 0 and other.history == []


def test_a_model_that_computes_something_else_is_trained_though_its_parameters_are_the_same(folder):
    class NoMask(v5.Head):
        def forward(self, x):
            return super().forward(x) + x.mean(dim=1, keepdim=True)  # (B, T, hs)

    other = trainer()
    head = NoMask(other.model.config, 32)
    head.load_state_dict(other.model.sa_head.state_dict())
    other.model.sa_head = head
    assert not recorded_runs.load(other, folder)


def test_the_same_run_is_stored_once(folder):
    recorded_runs.record(trainer(), folder)
    recorded_runs.record(trainer(seed=2), folder)
    assert len(list(folder.glob("*.pt"))) == 2


def test_a_lesson_says_whether_a_run_was_loaded(folder, monkeypatch, capsys):
    monkeypatch.setattr(lab, "FAST", False)
    monkeypatch.setattr(recorded_runs, "FOLDER", folder)
    monkeypatch.setattr(recorded_runs.find, "__defaults__", (folder,))
    monkeypatch.setattr(recorded_runs.load, "__defaults__", (folder,))
    settings = {"eval_interval": 10, "eval_iters": 2}
    for recorded, seed, expected in (
        ("1", 1, "20 steps in 0 s"),
        ("1", 2, "There is no recorded run"),
        ("", 1, "20 steps in 0 s"),
    ):
        monkeypatch.setattr(lab, "RECORDED", recorded)
        new = trainer(seed=seed)
        lab.train(new.model, new.corpus, max_iters=20, **settings)
        out = capsys.readouterr().out
        assert expected in out
        assert ("recorded, not trained here" in out) == (recorded == "1" and seed == 1)
