"""Comparisons: the same conditions for all versions, records that are reused, verdicts, tables and files."""

import json
import math
import multiprocessing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import forked
import pytest
import torch
from conftest import every_version

from babygpt import v1, v5, v7, v8, v9, v10
from babygpt.beyond import models, modern, positions
from babygpt.compare import __main__ as compare
from babygpt.compare import (
    ablations,
    default_weights,
    jobs,
    kinds,
    part_two,
    pictures,
    recorded,
    studies,
    table,
    unscaled,
    verdict,
)
from babygpt.compare.__main__ import CompareConfig
from babygpt.compare.jobs import Job
from babygpt.compare.table import Row
from babygpt.data import Corpus
from babygpt.errors import UserError
from babygpt.training import TrainConfig, Trainer, new_trainer
from babygpt.versions import VERSIONS, select

TEXT = "ROMEO: the rat that ate the oats\n" * 60
EQUAL = dict(block_size=4, n_embd=8, n_head=2, n_layer=1, dropout=0.0, batch_size=2, max_iters=4, eval_interval=2,
                eval_iters=2, device="cpu")  # fmt: skip
SETTINGS = EQUAL | dict(learning_rate=1e-2)


@pytest.fixture(autouse=True)
def small_evaluations(monkeypatch):
    for name, value in {"EVAL_CHARACTERS": 200, "EVAL_CHUNKS": 20, "SAMPLE_LENGTH": 8}.items():
        monkeypatch.setattr(jobs, name, value)
    monkeypatch.setattr(compare.speed, "LENGTHS", [2, 4])


@pytest.fixture
def text(tmp_path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture
def corpus(text) -> Corpus:
    return Corpus.load(text)


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """The names of the jobs that are really trained, in order."""
    names, run = [], jobs.run
    monkeypatch.setattr(jobs, "run", lambda job, *rest: names.append(job.name) or run(job, *rest))
    return names


def job(number: int = 1, seed: int = 1, **changes: object) -> Job:
    return Job(f"v{number}", f"babygpt.v{number}", SETTINGS | changes, seed)


def run_all(some_jobs, corpus, text, folder, workers=1):
    folder.mkdir(exist_ok=True)
    return jobs.run_all(some_jobs, corpus, text, folder, workers)


def command(text: Path, *flags: str) -> int:
    with pytest.raises(SystemExit) as exit:
        compare.main(["--data", str(text), "--out-dir", str(text.parent / "out"), "--max-iters", "2", *flags])
    return exit.value.code


def made_up_row(name: str, losses: list[float], before: str | None = None, **settings: object) -> Row:
    """A row as if it had been trained, with one loss per seed."""
    records = [
        {
            "parameters": 4225, "steps": 20, "history": [{"step": s, "val": loss + 1 / (s + 1)} for s in (0, 10, 20)],
            "train": {"loss": loss - 0.1, "error": 0.004}, "val": {"loss": loss, "error": 0.005}, "diverged": None,
            "step_ms": 1.5, "seconds": 3.0, "sample": "ROMEO: a", "device": "a CPU", "torch": "2", "threads": 1,
            "settings": {"learning_rate": 0.01}, "jobs_at_a_time": 1,
        }
        for loss in losses
    ]  # fmt: skip
    settings = {"max_iters": 20, "block_size": 8, "batch_size": 4} | settings
    return Row(name, "bigram", "the baseline", "babygpt.v1", settings, before, 2.5, records)


# The records


@every_version()
def test_a_run_leaves_a_record_of_everything_that_the_table_needs(version, corpus):
    record = jobs.run(job(version.number), corpus)
    assert [evaluation["step"] for evaluation in record["history"]] == [0, 2, 4]
    assert record["train"]["loss"] > 0 and record["val"]["error"] > 0
    assert record["steps"] == 4 and record["step_ms"] > 0 and record["seconds"] >= 0
    assert record["sample"].startswith("ROMEO:") and len(record["sample"]) == 6 + 8
    assert record["fingerprint"] == corpus.fingerprint and record["torch"] == torch.__version__
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_job_trains_as_the_command_of_the_version_does(corpus):
    settings = SETTINGS | {"seed": 5, "vocab_size": corpus.tokenizer.vocab_size}
    torch.manual_seed(5)
    trainer = Trainer(v9.Model(select(v9.Config, settings)), corpus, select(TrainConfig, settings))
    trainer.train(progress=False)
    found = jobs.run(job(9, seed=5), corpus)["history"]
    assert [h["val"] for h in found] == [h["val"] for h in trainer.history]


def test_the_final_loss_is_the_mean_of_its_chunks_and_the_error_that_of_a_mean(corpus):
    trainer = new_trainer(v9, corpus, dict(block_size=4))
    found = jobs.final_losses(trainer)["val"]
    x, y = corpus.get_batch("val", 50, 4, torch.Generator().manual_seed(jobs.EVAL_SEED))
    losses = torch.stack([trainer.model(x[[i]], y[[i]])[1] for i in range(50)])
    assert found["chunks"] == 50
    assert found["loss"] == pytest.approx(losses.mean().item(), abs=1e-4)  # rounded to five digits
    assert found["error"] == pytest.approx(losses.std().item() / 50**0.5, abs=1e-4)


def test_a_run_that_diverges_is_recorded_as_such_and_does_not_stop_the_others(corpus):
    record = jobs.run(job(9, learning_rate=1e30), corpus)
    assert "training diverged" in record["diverged"]
    assert record["val"] is None and record["sample"] == ""


def test_every_version_sees_the_same_batches_in_the_same_order_and_is_evaluated_on_the_same_chunks(corpus, monkeypatch):
    seen, get_batch = [], Corpus.get_batch

    def spy(self, split, *how):
        batch = get_batch(self, split, *how)
        seen.append((split, batch[0].tolist()))
        return batch

    monkeypatch.setattr(Corpus, "get_batch", spy)
    by_version = []
    for number in range(1, 11):
        seen.clear()
        jobs.run(job(number), corpus)
        by_version.append(list(seen))
    assert all(batches == by_version[0] for batches in by_version)
    assert len(by_version[0]) == 4 + 3 * 2 + 2  # steps, evaluations of two splits, and the final ones
    seen.clear()
    jobs.run(job(1, seed=2), corpus)
    assert seen[2:6] != by_version[0][2:6] and seen[-2:] == by_version[0][-2:]  # another seed: other steps, same chunks


# Reuse


def test_a_finished_run_is_not_done_again(corpus, text, tmp_path, trained):
    first = run_all([job(1), job(3)], corpus, text, tmp_path / "records")
    again = run_all([job(3), job(1), job(1, seed=2)], corpus, text, tmp_path / "records")
    assert trained == ["v1", "v3", "v1"]
    assert again[:2] == first[::-1]


@pytest.mark.parametrize("change", [{"learning_rate": 1e-3}, {"max_iters": 5}, {"seed": 3}, {"number": 3}])
def test_another_setting_has_another_record(change, corpus, text, tmp_path, trained):
    run_all([job(), job(**change)], corpus, text, tmp_path / "records")
    assert len(trained) == 2


def test_another_text_has_another_record():
    assert job().file("0" * 16) != job().file("1" * 16)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "cut", "another one's"])
def test_a_damaged_record_is_trained_again(content, corpus, text, tmp_path, trained):
    run_all([job()], corpus, text, tmp_path)
    file = tmp_path / job().file(corpus.fingerprint)
    whole = file.read_text()
    told = {"cut": whole[:-40], "another one's": whole.replace('"learning_rate": 0.01', '"learning_rate": 0.02')}
    file.write_text(told.get(content, content))
    run_all([job()], corpus, text, tmp_path)
    assert trained == ["v1", "v1"]
    assert jobs.read_record(job(), corpus.fingerprint, tmp_path) is not None


def test_after_ctrl_c_the_same_command_goes_on_with_what_is_missing(text, monkeypatch, capsys):
    run, done = jobs.run, []

    def interrupted(job, *rest):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(job.name)
        return run(job, *rest)

    monkeypatch.setattr(jobs, "run", interrupted)
    assert command(text, "--versions", "1,3,4", "--quick") == 130
    assert "Stopped. 1 runs are done and kept; the same command goes on" in capsys.readouterr().out
    monkeypatch.setattr(jobs, "run", lambda job, *rest: done.append(job.name) or run(job, *rest))
    assert command(text, "--versions", "1,3,4", "--quick") == 0
    assert done == ["v1", "v3", "v4"]


def test_two_processes_find_the_losses_of_one(corpus, text, tmp_path, monkeypatch):
    monkeypatch.undo()  # the other processes have the sizes of evaluation that all have
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: forked.CONTEXT)  # they start at once
    some = [job(1), job(3)]
    alone = run_all(some, corpus, text, tmp_path / "alone")
    together = run_all(some, corpus, text, tmp_path / "together", workers=2)
    assert [r["val"] for r in together] == [r["val"] for r in alone]
    assert [r["sample"] for r in together] == [r["sample"] for r in alone]
    assert {r["jobs_at_a_time"] for r in together} == {2}
    assert not multiprocessing.active_children()


# The fair comparison


def test_in_the_recipe_equal_all_versions_have_the_same_flags():
    rows = {row.name: row for row in studies.plan("equal")}
    weights = rows.pop("v10 weights")  # the other change of version 10, without dropout
    assert all(row.settings == studies.EQUAL for row in rows.values()) and len(rows) == 11
    assert weights.settings == studies.EQUAL | {"dropout": 0.0}
    seeds = {job.seed for row in rows.values() for job in row.jobs(compare.MAX_SEEDS)}
    assert studies.SEARCH_SEED not in seeds


def test_the_recipe_lecture_has_the_flags_of_the_lecture():
    for row in studies.plan("lecture"):
        number, _, preset = row.name.removeprefix("v").partition(" ")
        recipe = studies.VERSIONS[int(number) - 1].preset(preset or "lecture")
        assert {name: value for name, value in row.settings.items() if name != "device"} == recipe


def test_each_version_is_trained_with_the_learning_rate_that_was_best_for_it(corpus):
    comparison = compare.Comparison(CompareConfig(recipe="equal"), corpus)
    records = [
        {"settings": {"learning_rate": rate}, "diverged": None, "val": loss and {"loss": loss}}
        for rate, loss in [(1e-3, 2.4), (3e-3, 2.2), (1e-2, 2.3), (3e-2, None)]
    ]
    assert comparison.best_rates([made_up_row("v1", [])], [records]) == {"v1": {"learning_rate": 3e-3}}
    assert comparison.search["v1"] == {"0.001": 2.4, "0.003": 2.2, "0.01": 2.3, "0.03": None}


def test_the_search_goes_on_as_long_as_the_best_rate_is_at_an_end(corpus, monkeypatch):
    comparison, best = compare.Comparison(CompareConfig(recipe="equal"), corpus), {"v1": 3e-2, "v2": 3e-3, "v3": 1e-4}

    def run(groups, what):
        def loss(job):
            return abs(math.log(job.settings["learning_rate"] / best[job.name.split()[0]]))

        return [[{"settings": job.settings, "diverged": None, "val": {"loss": loss(job)}} for job in g] for g in groups]

    monkeypatch.setattr(comparison, "run", run)
    found = comparison.find_rates([made_up_row(name, []) for name in best])
    assert {name: rate["learning_rate"] for name, rate in found.items()} == best
    assert {name: list(losses) for name, losses in comparison.search.items()} == {
        "v1": ["0.001", "0.003", "0.01", "0.03", "0.1"],
        "v2": ["0.001", "0.003", "0.01"],
        "v3": ["0.0001", "0.0003", "0.001", "0.003", "0.01"],  # there is none below
    }


def test_the_recipe_equal_searches_trains_every_seed_and_gives_verdicts(text, trained, capsys, monkeypatch):
    monkeypatch.setattr(studies, "EQUAL", EQUAL)
    monkeypatch.setattr(studies, "RATES", studies.FIRST_RATES)
    assert command(text, "--recipe", "equal", "--versions", "3-5", "--seeds", "3") == 0
    assert len(trained) == 3 * 3 + 3 * 3
    out = capsys.readouterr().out
    assert "over 3 seeds" in out and "paired t-test" in out and "no difference" in out
    found = json.loads((text.parent / "out" / "ladder-equal.json").read_text(encoding="utf-8"))
    assert [len(row["records"]) for row in found["rows"]] == [3, 3, 3]
    assert set(found["search"]["losses"]["v5"]) == {"0.001", "0.003", "0.01"}


# The ablations


@pytest.mark.parametrize(
    "module, switches",
    [
        (v8, dict(n_layer=3)),
        (v9, dict(n_layer=3, layernorm=True)),
        (v7, dict(n_layer=1, residual=False, projection=False, second_layer=False, widening=1)),
    ],
)
def test_the_switches_lead_from_version_7_to_versions_8_and_9(module, switches):
    config = ablations.Config(**switches)
    torch.manual_seed(0)
    ours = ablations.Model(config)
    torch.manual_seed(0)
    theirs = module.Model(select(module.Config, vars(config)))
    idx = torch.randint(65, (2, 8), generator=torch.Generator().manual_seed(1))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert torch.equal(ours(idx)[0], theirs(idx)[0])
    loss, expected = (model(idx, idx)[1] for model in (ours, theirs))
    loss.backward(), expected.backward()
    assert torch.equal(ours.lm_head.weight.grad, theirs.lm_head.weight.grad)


def test_each_switch_changes_the_model():
    idx = torch.randint(65, (2, 8), generator=torch.Generator().manual_seed(1))
    outputs = []
    for _, switches in studies.CHANGES:
        for layernorm in (False, True):
            torch.manual_seed(0)
            outputs.append(ablations.Model(ablations.Config(**switches, layernorm=layernorm))(idx)[0])
    assert not any(torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_the_ablation_has_every_change_at_every_depth_with_and_without_layer_norm():
    rows = studies.plan("ablation")
    by_name = {row.name: row for row in rows}
    assert len(by_name) == 5 * 2 * 3
    for row in rows:
        if row.before:
            mine, other = row.settings, by_name[row.before].settings
            assert len([name for name in mine if mine[name] != other[name]]) == 1  # one change at a time


def test_the_ablation_ends_in_a_table_a_picture_and_what_layer_norm_does(text, monkeypatch, capsys):
    monkeypatch.setattr(studies, "ABLATION", EQUAL)
    monkeypatch.setattr(compare, "FIRST_RATES", [1e-3])
    monkeypatch.setattr(studies, "RATES", [1e-3])
    monkeypatch.setattr(studies, "DEPTHS", [1, 2])
    assert command(text, "--ablation", "--seeds", "2") == 0
    out = capsys.readouterr().out
    assert "2 blocks, layer norm: + 4x width" in out and "- 1 block, + residual: " in out
    assert (text.parent / "out" / "ablation.png").read_bytes().startswith(b"\x89PNG")


# The other comparisons


@pytest.mark.parametrize("kind", ["depth", "scale", "dropout"])
def test_each_row_is_compared_with_one_that_differs_in_one_thing(kind):
    rows = {row.name: row for row in studies.plan(kind)}
    pairs = [(rows[row.before], row) for row in rows.values() if row.before]
    assert pairs
    for before, row in pairs:
        assert before.settings.keys() == row.settings.keys()
        differences = [name for name in row.settings if row.settings[name] != before.settings[name]]
        assert len(differences) + (row.module != before.module) == 1


@pytest.mark.parametrize(
    "kind, told, files",
    [
        ("depth", "2 blocks, layer norm", ["depth.json", "depth.md", "depth.png", "samples-depth.md"]),
        ("scale", "head size 16, best rate: no scale", ["samples-scale.md", "scale.json", "scale.md"]),
        ("dropout", "verdict on the best", ["dropout.json", "dropout.md", "dropout.png", "samples-dropout.md"]),
    ],
)
def test_a_study_ends_in_its_table_and_files(kind, told, files, text, monkeypatch, capsys):
    monkeypatch.setattr(studies, "ABLATION", EQUAL)
    monkeypatch.setattr(studies, "DEEP", [1, 2])
    monkeypatch.setattr(studies, "HEADS", {16: 20})
    monkeypatch.setattr(studies, "DROPOUT", SETTINGS | {"train_characters": 100})
    assert command(text, "--study", kind, "--quick") == 0
    assert told in capsys.readouterr().out
    assert sorted(file.name for file in (text.parent / "out").iterdir() if file.is_file()) == files


def test_without_the_scale_version_5_is_otherwise_the_same():
    config = v5.Config(n_embd=16)
    torch.manual_seed(0)
    scaled = v5.Model(config)
    torch.manual_seed(0)
    without = unscaled.Model(config)
    idx = torch.randint(65, (2, 8), generator=torch.Generator().manual_seed(1))
    assert not torch.allclose(without(idx)[0], scaled(idx)[0])
    with torch.no_grad():
        without.sa_head.query.weight *= 16**-0.5
    torch.testing.assert_close(without(idx)[0], scaled(idx)[0])


def test_with_default_weights_and_no_dropout_version_10_is_version_9():
    sizes = dict(block_size=8, n_embd=32, n_head=4, n_layer=3)
    torch.manual_seed(0)
    ours = default_weights.Model(v10.Config(**sizes, dropout=0.0))
    torch.manual_seed(0)
    theirs = v9.Model(v9.Config(**sizes))
    idx = torch.randint(65, (2, 8), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(idx)[0], theirs(idx)[0])


def test_a_job_can_learn_from_the_beginning_of_the_text_only(corpus, monkeypatch):
    seen, get_batch = {"train": set(), "val": set()}, Corpus.get_batch

    def spy(self, split, *how):
        batch = get_batch(self, split, *how)
        seen[split] |= {tuple(row) for row in batch[0].tolist()}
        return batch

    monkeypatch.setattr(Corpus, "get_batch", spy)
    record = jobs.run(job(9, train_characters=10), corpus)
    beginning = corpus.train[:9].unfold(0, 4, 1).tolist()
    assert seen["train"] == {tuple(row) for row in beginning}
    assert len(seen["val"]) > 6 and record["fingerprint"] == corpus.fingerprint


def test_the_best_loss_is_the_lowest_of_the_run_and_gets_a_verdict_of_its_own():
    before, after = made_up_row("v1", [2.5, 2.51, 2.49]), made_up_row("v2", [2.5, 2.51, 2.49], "v1")
    for record, lowest in zip(after.records, [2.1, 2.12, 2.11], strict=True):
        record["history"][1]["val"] = lowest
    cells = table.cells([before, after], kinds.WITH_BEST)[1]
    assert (cells["best val loss"], cells["at step"]) == ("2.110 ± 0.010", "10")
    assert (cells["verdict"], cells["verdict on the best"]) == ("no difference", "helped")


# The lecture's recipes and the recorded runs


def recorded_record(name: str) -> dict:
    """A recorded run, to be spoiled."""
    row = next(row for row in recorded.read("ladder")["rows"] if row["name"] == name)
    return json.loads(json.dumps(row["records"][0]))


def test_a_run_that_ends_outside_the_band_of_the_recorded_ones_is_named_and_ends_with_status_1(monkeypatch, capsys):
    record = recorded_record("v6")
    row = made_up_row("v6", [])
    assert recorded.misses(record) == ""
    good = compare.unlike_recorded(CompareConfig(), [table.Row(**vars(row) | {"records": [record]})])
    assert good == ["All 1 runs end inside the bands of the recorded ones."]
    record["history"][-1]["val"] += 0.2
    assert "v6, seed 1337, ends at 2.4" in recorded.misses(record)
    bad = compare.unlike_recorded(CompareConfig(), [table.Row(**vars(row) | {"records": [record]})])
    assert bad[0] == "1 of 1 runs are not like the recorded ones:" and "outside 2.2" in bad[1]


def test_a_run_with_another_number_of_parameters_is_not_like_the_recorded_ones():
    record = recorded_record("v6") | {"parameters": 7000}
    assert recorded.misses(record) == "v6 has 7,000 parameters, and 7,553 in the recorded runs"


@pytest.mark.parametrize("change", [{"settings": {}}, {"fingerprint": "0" * 16}])
def test_a_run_with_other_settings_or_on_another_text_is_not_judged(change):
    assert recorded.misses(recorded_record("v6") | change) is None


def test_the_lectures_last_model_is_judged_by_the_lectures_loss():
    record = recorded_record("v6") | {"name": "v10 lecture", "parameters": 10_788_929}
    for loss, inside in ((1.48, True), (1.6, False)):
        record["history"][-1]["val"] = loss
        assert (recorded.misses(record) == "") == inside


def test_the_command_ends_with_status_1_if_a_run_is_unlike_the_recorded_ones(text, monkeypatch, capsys):
    monkeypatch.setattr(recorded, "misses", lambda record: "too high" if record["name"] == "v3" else "")
    monkeypatch.setattr(compare.CompareConfig, "changed", "")
    assert command(text, "--versions", "1,3") == 1
    assert "1 of 2 runs are not like the recorded ones:\ntoo high\n" in capsys.readouterr().out
    assert command(text, "--versions", "1") == 0


# The verdict


@pytest.mark.parametrize(
    "after, words",
    [
        ([2.00, 2.01, 1.99, 2.02, 2.00], verdict.HELPED),
        ([2.40, 2.41, 2.39, 2.42, 2.40], verdict.WORSE),
        ([2.15, 2.30, 2.25, 2.20, 2.22], verdict.NOISE),
        ([2.2001, 2.2101, 2.1901, 2.2201, 2.2001], verdict.SAME),
        ([2.2025, 2.2110, 2.1915, 2.2210, 2.2015], verdict.SAME),  # surely worse, and too little to matter
        ([2.30, 2.11, 2.19, 2.2201, 2.2001], verdict.NOISE),  # nothing on average, and anything may be true
    ],
)
def test_the_verdict_on_made_up_losses(after, words):
    assert verdict.verdict([2.20, 2.21, 2.19, 2.22, 2.20], after) == words


def test_one_seed_gives_no_verdict():
    assert verdict.verdict([2.2], [2.0]) == ""


def test_a_difference_between_seeds_does_not_hide_one_between_versions():
    assert verdict.verdict([2.0, 2.2, 2.4, 2.6], [1.97, 2.169, 2.371, 2.57]) == verdict.HELPED


# Quantiles of Student's t that every textbook lists.
@pytest.mark.parametrize("t, df, p", [(12.706, 1, 0.05), (2.776, 4, 0.05), (4.604, 4, 0.01), (2.045, 29, 0.05)])
def test_the_t_test_agrees_with_the_tables(t, df, p):
    assert verdict.t_test(t, df) == pytest.approx(p, rel=1e-3)
    assert verdict.t_test(-t, df) == verdict.t_test(t, df)
    assert verdict.t_test(0, df) == 1


# The table, the picture and the files


def test_the_table_shows_losses_bits_changes_and_the_lecture():
    rows = [made_up_row("v1", [2.5]), made_up_row("v5", [2.4], "v1"), made_up_row("v10 lecture", [1.5], "v1")]
    first, second, third = table.cells(rows)
    assert first == {
        "version": "v1", "what it adds": "the baseline", "parameters": "4,225", "steps": "20", "rate": "0.01",
        "train loss": "2.400 ± 0.004", "val loss": "2.500 ± 0.005", "lecture": "2.5", "bits/char": "3.607",
        "ms/step": "1.50", "seconds": "3", "compared with": "-", "change": "-",
    }  # fmt: skip
    assert second["change"] == "-0.100" and third["change"] == "-1.000" and third["compared with"] == "v1"
    assert "compared with" not in table.cells(rows[:2])[0]  # it is always the row above


def test_several_seeds_show_mean_spread_and_verdict():
    rows = [made_up_row("v1", [2.5, 2.6, 2.4]), made_up_row("v2", [2.3, 2.41, 2.2], "v1")]
    first, second = table.cells(rows)
    assert first["val loss"] == "2.500 ± 0.100"
    assert (second["change"], second["verdict"]) == ("-0.197", "helped")


def test_rows_that_were_trained_by_different_recipes_get_no_verdict():
    losses = [2.5, 2.6, 2.4], [2.3, 2.41, 2.2]
    row, other = made_up_row("v1", losses[0], learning_rate=1e-2), made_up_row("v2", losses[1], learning_rate=1e-3)
    assert table.judge(row, other) == "" and table.judge(row, made_up_row("v2", losses[1], n_embd=8)) == ""
    assert table.judge(row, made_up_row("v2", losses[1], learning_rate=1e-2, n_embd=8)) == "helped"


def test_a_row_without_records_or_with_a_diverged_one_gives_no_numbers():
    rows = [made_up_row("v9", [2.0]), made_up_row("v10", [1.5], "v9"), made_up_row("v11", [], "v10")]
    rows[1].records[0].update(diverged="the loss is nan", train=None, val=None)
    _, diverged, untrained = table.cells(rows, [*table.USUAL, "best val loss", "at step"])
    assert (diverged["val loss"], diverged["best val loss"], diverged["at step"]) == ("diverged", "diverged", "-")
    assert untrained["val loss"] == "-" and "change" not in untrained and "needs a GPU" in untrained["what it adds"]


def test_a_narrow_terminal_gets_fewer_columns_and_keeps_the_losses():
    cells = table.cells([made_up_row("v1", [2.5]), made_up_row("v5", [2.4], "v1")])
    wide, narrow = table.as_text(cells, 200), table.as_text(cells, 60)
    assert max(map(len, narrow.splitlines())) <= 60 < max(map(len, wide.splitlines()))
    assert "2.500 ± 0.005" in narrow and "train loss" not in narrow


def test_labels_keep_their_distance_and_their_order():
    heights = pictures.spread([1.0, 1.01, 1.02, 3.0], 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in zip(heights, heights[1:], strict=False))
    assert heights[:3] == pytest.approx([0.91, 1.01, 1.11]) and heights[3] == 3.0


def test_the_picture_names_every_version(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "png", lambda figure, dpi: drawn.append(figure) or b"")
    pictures.losses_against_steps([made_up_row(f"v{n}", [2.5 - n / 10]) for n in range(1, 11)], "title")
    ax = drawn[0].axes[0]
    assert sorted(text.get_text().split()[0] for text in ax.texts) == sorted(f"v{n}" for n in range(1, 11))
    curves = [line for line in ax.lines if len(line.get_xdata()) > 1]
    looks = {(str(line.get_linestyle()), str(line._dash_pattern), line.get_linewidth()) for line in curves}
    assert len(looks) == 10  # without any color


def test_the_command_writes_table_picture_samples_and_records(text, capsys):
    assert command(text, "--versions", "1-4", "--quick") == 0
    out, folder = capsys.readouterr().out, text.parent / "out"
    assert {file.name for file in folder.iterdir()} == {
        "ladder.md",
        "ladder.json",
        "ladder.png",
        "samples.md",
        "records",
    }
    assert not list(folder.rglob("*.tmp"))
    found = json.loads((folder / "ladder.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in found["rows"]] == ["v1", "v2", "v3", "v4"]
    assert set(found["speed"]["ms"]) == {"v2", "v3", "v4"}
    page = (folder / "ladder.md").read_text(encoding="utf-8")
    assert f"| v3 | {studies.VERSIONS[2].adds} |" in page and "| v2 " in page
    assert "The number of steps was changed" in page
    assert "v2 averaging with loops" in (folder / "samples.md").read_text(encoding="utf-8")
    assert out.startswith("version") and "v4" in out and "samples.md" in out
    assert "recorded" not in out  # fewer steps: nothing to compare with


def test_a_second_command_trains_nothing_and_shows_the_same_table(text, trained, capsys):
    assert command(text, "--versions", "1,3,4", "--quick") == 0
    first = capsys.readouterr().out
    assert command(text, "--versions", "1,3,4", "--quick") == 0
    assert capsys.readouterr().out == first
    assert trained == ["v1", "v3", "v4"]


def test_the_last_model_of_the_lecture_is_a_row_even_where_there_is_no_gpu(monkeypatch, tmp_path, corpus):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = studies.plan("lecture", "9-10", 2)
    assert [row.name for row in rows] == ["v9", "v10 laptop", "v10 lecture"]
    assert [studies.can_train(row, 1, corpus, tmp_path) for row in rows] == [True, True, False]


# Modern parts


def differences(before: Row, row: Row) -> set[str]:
    """The settings in which two rows differ, a missing one being the default."""
    defaults = vars(modern.Config()) | vars(TrainConfig())
    ours, theirs = defaults | before.settings, defaults | row.settings
    return {name for name in ours | theirs if ours[name] != theirs[name]} - {"learning_rate"}


def test_each_modern_part_is_the_only_change_to_version_10():
    first, *others, llama = studies.plan("parts")
    assert differences(first, first) == set()
    for row in others:
        assert row.before == first.name and len(differences(first, row)) == 1
    assert differences(first, llama) == {"positions", "norm", "activation", "bias", "n_kv_head"}


def test_the_kinds_of_positions_differ_in_nothing_else():
    first, *others = studies.plan("positions")
    assert {row.settings["positions"] for row in (first, *others)} == set(get_args(positions.Positions))
    assert all(differences(first, row) == {"positions"} for row in others)


def test_each_rung_of_the_speed_ladder_changes_one_thing_of_the_one_below():
    rows = studies.plan("modern")
    assert "learning_rate" not in rows[0].settings and rows[-1].settings["ngrams"] == 3
    for before, row in pairwise(rows):
        assert row.before == before.name
        assert len(differences(before, row)) == 1


def test_each_row_of_the_same_seconds_changes_one_thing_and_its_steps():
    *rungs, v10 = studies.plan("seconds")
    for before, row in pairwise(rungs):
        assert row.before == before.name
        assert len(differences(before, row) - {"max_iters", "eval_interval"}) == 1
    assert rungs[0].before is None and v10.before is None


def test_the_last_of_the_same_seconds_is_the_recipe_laptop_and_the_others_are_shipped_recipes_too():
    *_, laptop, v10 = studies.plan("seconds")
    (coffee,) = studies.plan("coffee")
    assert differences(laptop, replace(laptop, settings=models.MODERN.preset("laptop") | {"device": "cpu"})) == set()
    assert v10.settings == VERSIONS[9].preset("laptop") | {"device": "cpu"} and v10.module == "babygpt.v10"
    assert coffee.settings == models.MODERN.preset("coffee") | {"device": "cpu"}


def test_the_speed_ladder_measures_its_rungs_side_by_side_and_draws_seconds(text, monkeypatch, capsys):
    monkeypatch.setattr(part_two, "LADDER", SETTINGS | dict(optimizer="muon"))
    monkeypatch.setattr(compare, "FIRST_RATES", [1e-3])
    monkeypatch.setattr(studies, "RATES", [1e-3])
    assert command(text, "--recipe", "modern", "--seeds", "1") == 0
    assert "at this pace (s)" in capsys.readouterr().out
    content = json.loads((text.parent / "out/speed-ladder.json").read_text("utf-8"))
    assert list(content["pace"]) == [row["name"] for row in content["rows"]]
    assert all(ms > 0 for ms in content["pace"].values())
    assert (text.parent / "out/speed-ladder.png").read_bytes().startswith(b"\x89PNG")


def test_longer_contexts_score_the_same_characters(corpus):
    sizes = SETTINGS | dict(max_iters=1, longer=4)
    records = {kind: jobs.run(Job(kind, "babygpt.beyond.modern", sizes | {"positions": kind}, 1), corpus)["longer"]
               for kind in ("learned", "rope", "alibi")}  # fmt: skip
    assert all(list(losses) == ["1x", "2x", "4x"] for losses in records.values())
    assert records["learned"]["1x"] > 0 and records["learned"]["2x"] is None is records["learned"]["4x"]
    assert records["rope"]["1x"] != records["rope"]["4x"] != records["alibi"]["4x"]


def test_a_model_that_ignores_its_context_has_the_same_loss_at_every_length(corpus, monkeypatch):
    trainer = new_trainer(v1, corpus, SETTINGS)
    losses = jobs.longer_losses(trainer, 4)
    assert losses["1x"] == pytest.approx(losses["2x"], abs=1e-5) == losses["4x"]


def test_a_loss_that_cannot_be_had_at_a_length_is_a_dash():
    row = made_up_row("learned", [2.0])
    row.records[0]["longer"] = {"1x": 2.0, "2x": None}
    assert table.COLUMNS["2x"](row, None) == "-" == table.COLUMNS["2x"](row, row)
    assert table.change(row, row, "2x") == "-" and table.judge(row, row, "2x") == ""


def test_an_idea_of_ones_own_gets_a_verdict(text, tmp_path, monkeypatch, capsys):
    idea = "from babygpt.beyond import modern\n\nConfig = modern.Config\n\n\nclass Model(modern.Model):\n    pass\n"
    (tmp_path / "my_idea.py").write_text(idea, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(part_two, "PARTS", EQUAL)
    assert command(text, "--idea", "my_idea", "--quick") == 0
    out = capsys.readouterr().out
    assert "my_idea" in out and "no difference" in out
    assert "# Modern parts, one at a time (version 10 and my_idea" in (text.parent / "out/parts.md").read_text("utf-8")


# Mistakes


@pytest.mark.parametrize("value", ["0-3", "9-5", "x", "", "1-11", "1,,2", "-3", "1-2-3", "²"])
def test_versions_that_do_not_exist_are_refused(value, text, capsys):
    assert command(text, f"--versions={value}") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "--versions must be like 5-9 or 1,5,9" in error and repr(value) in error and "Traceback" not in error
    assert not (text.parent / "out").exists()


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--seeds", "0"], "seeds must be from 1 to 100, and it is 0"),
        (["--jobs", "0"], "jobs must be from 1 to 64, and it is 0"),
        (["--recipe", "own"], "own"),
        (["--study", "width"], "width"),
        (["--idea", "no_such_idea"], "'no_such_idea' cannot be imported"),
        (["--idea", "json"], "json has no Model"),
        (["--max-iters", "-1"], "max_iters must be from 1 to 1,000,000,000, and it is -1"),
    ],
)
def test_a_wrong_flag_is_refused(flags, told, text, capsys):
    assert command(text, *flags) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert told in error and "Traceback" not in error


def test_versions_are_named_in_ranges_and_lists():
    assert [v.number for v in studies.parse_versions("9, 5-7,6")] == [5, 6, 7, 9]


def test_a_text_that_is_too_short_is_refused_before_anything_is_trained(tmp_path, capsys, trained):
    file = tmp_path / "short.txt"
    file.write_text("to be or not to be\n" * 10)
    assert command(file, "--versions", "1-10") == 2
    assert "short.txt is too short" in capsys.readouterr().err and not trained
    with pytest.raises(UserError, match="too short"):
        studies.check_text(studies.plan("equal", "1", 1), Corpus.from_text("to be or not"))
