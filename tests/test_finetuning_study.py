"""The study of finetuning: what was recorded, and that a run and a page say what they claim."""

from statistics import mean

import pytest

from babygpt.compare import finetuning, finetuning_page, recorded
from babygpt.compare.finetuning import LONG, MODEL, PARTS, PRETRAINING, RANK, SCRATCH, SEARCH_SEED, STEPS, WAYS, run
from babygpt.compare.table import FIRST_SEED
from babygpt.compare.verdict import HELPED, NOISE, WORSE, verdict


@pytest.fixture(scope="module")
def content():
    return recorded.read("finetuning")


def losses(content, part, name):
    row = next(row for row in content["rows"] if (row["part"], row["name"]) == (part, name))
    return [record["best"] for record in row["records"]]


def test_what_is_recorded_is_what_the_command_would_train_today(content):
    assert [(row["part"], row["name"]) for row in content["rows"]] == [(part, w.name) for part in PARTS for w in WAYS]
    assert content["pretraining"] == PRETRAINING
    for row in content["rows"]:
        way = next(way for way in WAYS if way.name == row["name"])
        assert [record["seed"] for record in row["records"]] == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]
        for record in row["records"]:
            steps = dict(max_iters=way.steps, eval_interval=way.steps // 5)
            rate = {"learning_rate": record["settings"]["learning_rate"]}
            assert record["settings"] == MODEL | steps | rate and "dirty" not in record["revision"]
            assert record["rank"] == (RANK if way.lora else 0) and record["pretrained"] == way.pretrained


def test_training_from_scratch_gets_the_same_steps_and_also_the_same_compute(content):
    steps = {row["name"]: row["records"][0]["settings"]["max_iters"] for row in content["rows"]}
    assert steps[SCRATCH] == steps["finetuned"] == steps["finetuned with LoRA"] == STEPS
    assert steps["from scratch, all steps on Shakespeare"] == STEPS + LONG == STEPS + PRETRAINING["max_iters"]


def test_every_rate_is_the_best_of_its_grid(content):
    assert content["search"]["seed"] == SEARCH_SEED
    for row in content["rows"]:
        way = next(way for way in WAYS if way.name == row["name"])
        found = content["search"]["losses"][f"{way.name if way.rates else SCRATCH}, 1/{row['part']}"]
        assert row["records"][0]["settings"]["learning_rate"] == float(min(found, key=found.get))


def test_the_parts_are_a_tenth_and_a_hundredth_of_the_training_part(content):
    sizes = {row["part"]: row["records"][0]["characters"] for row in content["rows"]}
    assert sizes == {10: 100_385, 100: 10_038}


def test_the_loss_of_a_run_is_the_lowest_of_its_evaluations(content):
    for row in content["rows"]:
        for record in row["records"]:
            assert record["best"] == min(evaluation["val"] for evaluation in record["history"])


def test_the_table_says_what_the_records_say(content):
    lines = finetuning_page.results(content).splitlines()
    for row in content["rows"]:
        found = losses(content, row["part"], row["name"])
        start = f"| {finetuning_page.NAMES[row['part']]} | {row['name']} |"
        line = next(line for line in lines if line.startswith(start))
        assert f"| {mean(found):.3f} ± " in line
        if row["before"]:
            assert line.endswith(f"| {verdict(losses(content, row['part'], row['before']), found)} |")


def test_a_run_finetunes_what_was_pretrained_with_its_seed(monkeypatch):
    few = dict(max_iters=2, eval_interval=2, batch_size=4, eval_iters=1, n_embd=16, n_head=2, n_layer=1, block_size=8)
    monkeypatch.setattr(finetuning, "PRETRAINING", PRETRAINING | few)
    settings = MODEL | few | {"learning_rate": 1e-3}
    scratch, full, lora = (run((settings, 100, pre, rank, 3)) for pre, rank in ((False, 0), (True, 0), (True, 2)))
    assert scratch["prose"] is None and full["prose"] == lora["prose"] > 3
    assert full["history"][0]["val"] == lora["history"][0]["val"] != scratch["history"][0]["val"]
    assert full["trained"] == full["parameters"] and lora["trained"] < lora["parameters"] / 2
    assert lora["parameters"] == full["parameters"] + lora["trained"] and scratch["characters"] == 10_038


def test_what_the_lesson_says_of_the_results_is_true(content):
    """Lesson 16: pretraining helps at equal steps; at equal compute only with a hundredth of the text."""
    long = "from scratch, all steps on Shakespeare"
    for part in PARTS:
        assert verdict(losses(content, part, SCRATCH), losses(content, part, "finetuned")) == HELPED
    tenth, hundredth = (verdict(losses(content, part, long), losses(content, part, "finetuned")) for part in PARTS)
    assert (tenth, hundredth) == (NOISE, HELPED)
    assert verdict(losses(content, 100, SCRATCH), losses(content, 100, long)) == NOISE
    lora = [verdict(losses(content, part, "finetuned"), losses(content, part, "finetuned with LoRA")) for part in PARTS]
    assert lora == [WORSE, NOISE]
    rates = {(row["part"], row["name"]): row["records"][0]["settings"]["learning_rate"] for row in content["rows"]}
    for part in PARTS:
        assert rates[part, "finetuned"] == rates[part, SCRATCH] / 2
        assert rates[part, "finetuned with LoRA"] >= 10 * rates[part, SCRATCH]
    record = content["rows"][-1]["records"][0]
    assert 8 < content["rows"][0]["records"][0]["trained"] / record["trained"] < 8.5
    assert finetuning_page.untuned(content) == pytest.approx(2.95, abs=0.005)
