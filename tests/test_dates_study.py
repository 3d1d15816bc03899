"""The study of dates: what was recorded, and that a run and a page say what they claim."""

from statistics import mean

import pytest

from babygpt.beyond.models import DATES
from babygpt.compare import dates_page, recorded
from babygpt.compare.dates import RATES, ROWS, SEARCH_SEED, run, step_times
from babygpt.compare.table import FIRST_SEED
from babygpt.compare.verdict import verdict


@pytest.fixture(scope="module")
def content():
    return recorded.read("dates")


def test_what_is_recorded_is_what_the_command_would_train_today(content):
    assert [(row["name"], row["before"]) for row in content["rows"]] == [(row.name, row.before) for row in ROWS]
    for row, found in zip(ROWS, content["rows"], strict=True):
        assert [record["seed"] for record in found["records"]] == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]
        for record in found["records"]:
            assert record["module"] == row.module and "dirty" not in record["revision"]
            expected = DATES | row.changes | {"eval_interval": 200}
            expected["learning_rate"] = record["settings"]["learning_rate"]
            assert record["settings"] == expected
            assert [e["step"] for e in record["history"]] == list(range(0, 1201, 200))


def test_every_searched_rate_is_the_best_of_its_grid_and_not_at_its_edge(content):
    rows = {row["name"]: row["records"][0]["settings"]["learning_rate"] for row in content["rows"]}
    assert content["search"]["seed"] == SEARCH_SEED
    for row in ROWS:
        losses = content["search"]["losses"]["Transformer" if not row.searched else row.name]
        assert list(losses) == [f"{rate:g}" for rate in RATES]
        assert rows[row.name] == float(min(losses, key=losses.get))
        if row.searched:
            assert rows[row.name] not in (RATES[0], RATES[-1])


def test_the_recipe_is_the_one_that_the_search_found(content):
    assert content["rows"][0]["records"][0]["settings"] | {"device": "cpu"} == DATES | {"device": "cpu"}


def test_the_transformer_gets_at_least_99_percent_of_the_dates_right(content):
    """The goal of the recipe, on days that were never seen in any language."""
    assert all(record["exact"]["greedy"] >= 0.99 for record in content["rows"][0]["records"])


def test_the_models_have_about_as_many_parameters(content):
    sizes = [row["records"][0]["parameters"] for row in content["rows"]]
    assert max(sizes) < 1.1 * min(sizes)


def test_the_table_says_what_the_records_say(content):
    table = {line.split(" | ")[0].strip("| "): line for line in dates_page.results(content).splitlines()}
    base = [1 - record["exact"]["greedy"] for record in content["rows"][0]["records"]]
    for row in content["rows"]:
        shares = [1 - record["exact"]["greedy"] for record in row["records"]]
        assert f"{1 - mean(shares):.2%}" in table[row["name"]]
        if row["before"]:
            assert table[row["name"]].endswith(f"| {verdict(base, shares)} |")
    beam = [1 - record["exact"]["beam 4"] for record in content["rows"][0]["records"]]
    assert table["Transformer, beam of 4"].endswith(f"| {verdict(base, beam)} |")


def test_the_times_are_medians_between_their_quartiles(content):
    for quartiles in content["times"]["ms"].values():
        assert len(quartiles) == len(content["times"]["lengths"])
        assert all(low <= middle <= high for low, middle, high in quartiles)


@pytest.mark.parametrize("row", [ROWS[0], ROWS[4]], ids=lambda row: row.name)
def test_a_run_measures_what_the_page_shows(row, monkeypatch):
    monkeypatch.setattr("babygpt.compare.dates.EVAL_PAIRS", 20)
    few = dict(max_iters=2, eval_interval=2, batch_size=4, eval_iters=1, n_embd=16, n_head=2, n_layer=1)
    record = run((row.module, DATES | row.changes | few, 3, 2))
    assert record["exact"] == {"greedy": 0, "beam 2": 0} and 3 < record["val"] < 8
    assert record["seed"] == 3 and record["history"][-1]["step"] == 2


def test_the_models_take_turns_at_being_timed():
    found = step_times((4, 8), rounds=2)
    assert list(found["ms"]) == ["Transformer", "LSTM with attention", "LSTM without attention"]
    assert all(len(quartiles) == 2 and min(quartiles[0]) > 0 for quartiles in found["ms"].values())
