"""The study of arithmetic: what was recorded, and that a run and a page say what they claim."""

from statistics import mean

import pytest

from babygpt.beyond.sums import Sums, is_held_out
from babygpt.compare import arithmetic_page, recorded
from babygpt.compare.arithmetic import EVAL_PAIRS, ROWS, distinct, longer, run, settings
from babygpt.compare.table import FIRST_SEED
from babygpt.compare.verdict import WORSE, verdict


@pytest.fixture(scope="module")
def content():
    return recorded.read("arithmetic")


def right(content, name, where="val"):
    row = next(row for row in content["rows"] if row["name"] == name)
    return [record["exact"][where] for record in row["records"]]


def test_what_is_recorded_is_what_the_command_would_train_today(content):
    assert [(row["name"], row["before"]) for row in content["rows"]] == [(row.name, row.before) for row in ROWS]
    for row, found in zip(ROWS, content["rows"], strict=True):
        assert [record["seed"] for record in found["records"]] == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]
        for record in found["records"]:
            assert record["settings"] == settings(row) and record["mask"] == row.mask
            assert "dirty" not in record["revision"]
    assert content["pairs"] == EVAL_PAIRS


def test_the_recipes_reach_99_percent_with_two_digits_and_95_with_three(content):
    """The goals, on pairs that are in training in neither order, for every seed."""
    assert min(right(content, "two digits")) > 0.99
    assert min(right(content, "three digits")) > 0.95


def test_a_digit_more_than_in_training_fails(content):
    for digits in ("two", "three"):
        assert max(right(content, f"{digits} digits", "longer")) < 0.05


def test_with_the_steps_shown_products_get_right_and_without_most_do_not(content):
    without, shown = (right(content, f"products of two digits, {how}") for how in ("answer only", "steps shown"))
    assert max(without) < 0.3 and min(shown) > 0.9
    assert verdict([1 - share for share in shown], [1 - share for share in without]) == WORSE


def test_the_table_says_what_the_records_say(content):
    table = {line.split(" | ")[0].strip("| "): line for line in arithmetic_page.results(content).splitlines()}
    for row in content["rows"]:
        shares = [1 - share for share in right(content, row["name"])]
        assert f"| {1 - mean(shares):.1%} |" in table[row["name"]]
        if row["before"]:
            base = [1 - share for share in right(content, row["before"])]
            assert table[row["name"]].endswith(f"| {verdict(base, shares)} |")
    last = {line.split(" | ")[0].strip("| "): line for line in arithmetic_page.longer(content).splitlines()}
    assert f"{mean(right(content, 'two digits', 'longer')):.1%} (3 digits)" in last["two digits"]


def test_the_pairs_that_are_counted_differ_and_are_of_their_split():
    sums = Sums.new()
    for split in ("train", "val"):
        pairs = distinct(sums, split)
        assert len(set(pairs)) == EVAL_PAIRS and {is_held_out(*pair) for pair in pairs} == {split == "val"}
    assert all(100 <= n <= 999 for pair in longer(3) for n in pair) and len(longer(3)) == EVAL_PAIRS


@pytest.mark.parametrize("row", [ROWS[0], ROWS[2], ROWS[-1]], ids=lambda row: row.name)
def test_a_run_measures_what_the_page_shows(row, monkeypatch):
    monkeypatch.setattr("babygpt.compare.arithmetic.EVAL_PAIRS", 20)
    few = dict(max_iters=2, eval_interval=2, batch_size=4, eval_iters=1, n_embd=16, n_head=2, n_layer=1)
    record = run((settings(row) | few, row.mask, 3))
    assert record["exact"].keys() == ({"train", "val", "longer"} if row.preset == "add2" else {"train", "val"})
    assert set(record["exact"].values()) == {0} and record["mask"] == row.mask and record["seed"] == 3
    assert record["history"][-1]["step"] == 2
