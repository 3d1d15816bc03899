"""The study of lesson 18: what was recorded, and that the lesson and the page say what is true."""

import json
import math
from statistics import mean

import pytest

from babygpt.beyond.inside.embeddings import KINDS
from babygpt.beyond.inside.heads import KINDS as POSITIONS
from babygpt.beyond.inside.induction import random_strings
from babygpt.beyond.inside.opened import SHIPPED
from babygpt.beyond.models import REPEATS
from babygpt.compare import inside, inside_page, recorded
from babygpt.compare.inside_pictures import by_layers, head_names
from babygpt.compare.table import FIRST_SEED
from babygpt.compare.verdict import HELPED
from babygpt.versions import get_version


@pytest.fixture(scope="module")
def content():
    return recorded.read("inside")


@pytest.fixture(scope="module")
def shipped(content):
    """The model that comes with the package, which the lesson looks into."""
    return content["models"][0]


def test_what_is_recorded_is_what_the_command_would_train_today(content):
    assert [model["seed"] for model in content["models"]] == [FIRST_SEED + n for n in range(3)]
    for model in content["models"][1:]:
        assert model["module"] == inside.V10 and model["settings"] == get_version(10).preset("laptop")
    assert list(by_layers(content)) == list(inside.LAYERS)
    for layers, records in by_layers(content).items():
        assert [record["seed"] for record in records] == [FIRST_SEED + n for n in range(3)]
        assert all(record["settings"] == REPEATS | {"n_layer": layers} for record in records)
    assert all("dirty" not in record["revision"] for record in content["models"] + content["copying"])


# Embeddings


def test_all_four_kinds_of_characters_are_more_alike_than_chance_in_all_models(content):
    for model in content["models"]:
        for kind in KINDS:
            row = model["embeddings"]["kinds"][kind]
            assert row["found"] > row["by chance"][1] and row["p"] < 0.05, (model["seed"], kind)


def test_the_neighbors_are_of_the_same_kind_no_more_often_than_by_chance(shipped):
    row = shipped["embeddings"]["neighbors"]
    low, high = row["by chance"]
    assert low < row["found"] < high and row["p"] > 0.3
    assert [round(100 * share) for share in (row["found"], low, high)] == [32, 15, 45]


def test_nearly_every_capital_is_nearest_to_its_own_small_letter_in_all_models(content):
    assert all(len(model["embeddings"]["own capitals"]) >= 22 for model in content["models"])


def test_the_picture_shows_15_percent_of_the_variance(shipped):
    assert round(100 * sum(shipped["embeddings"]["axes"])) == 15


# Heads and ablation


def heads_named(model, kind):
    """The numbers of the heads that give more than half of their weight to a kind of position."""
    return [i for i in range(len(head_names(model))) if model["heads"][kind][i][0] > inside_page.NAMED]


def test_three_heads_have_a_name_and_none_looks_at_the_speaker_or_behind_the_same_character(shipped):
    named = {kind: [head_names(shipped)[i] for i in heads_named(shipped, kind)] for kind in POSITIONS}
    assert {kind: names for kind, names in named.items() if names} == {
        "previous": ["1.2"], "two back": ["1.4"], "newline": ["3.1"],
    }  # fmt: skip
    for kind in ("speaker", "after same"):
        *scores, uniform = (interval[0] for interval in shipped["heads"][kind])
        assert max(scores) < uniform + 0.03
    assert round(100 * shipped["heads"]["speaker"][-1][0]) == 16


def test_every_model_has_a_head_for_the_previous_character_in_block_1_and_it_matters_most(content):
    for model in content["models"]:
        (head,) = heads_named(model, "previous")
        changes = [change[0] for change in model["ablation"]["zero"]]
        assert head_names(model)[head].startswith("1.") and changes.index(max(changes)) == head
        assert max(changes) > 0.5


def test_a_head_with_a_clear_habit_can_matter_less_than_one_without(shipped):
    changes = dict(zip(head_names(shipped), shipped["ablation"]["zero"], strict=True))
    assert shipped["heads"]["newline"][head_names(shipped).index("3.1")][0] == pytest.approx(0.56, abs=0.005)
    assert changes["3.1"][2] < 0.04 and changes["1.1"][1] > 2.5 * changes["3.1"][2]
    assert changes["1.2"][1] > 1 and changes["1.2"][1] > changes["1.4"][2] > 0.4
    assert all(inside_page.looks_at(shipped, i) == "" for i in (0,))


def test_without_the_head_for_the_previous_character_the_model_does_worse_than_the_bigram(shipped):
    losses = json.loads((SHIPPED / "losses.json").read_text(encoding="utf-8"))["models"]
    assert shipped["lens"]["losses"][-1][0] + shipped["ablation"]["zero"][1][1] > losses["v1"]["val"] + 0.1


def test_a_head_for_the_newline_is_in_the_first_model_only(content):
    first, *others = (heads_named(model, "newline") for model in content["models"])
    assert len(first) == 1 and others == [[], []]
    assert all(len(heads_named(model, "two back")) == 1 for model in content["models"])


def test_each_head_is_missed_and_zeros_do_what_the_mean_does(shipped):
    for zero, average in zip(shipped["ablation"]["zero"], shipped["ablation"]["mean"], strict=True):
        assert zero[1] > 0 and average[1] > 0
        assert abs(zero[0] - average[0]) < 0.02


# The lens, copies and patches


def test_each_block_lowers_the_loss_in_all_models(content):
    for model in content["models"]:
        losses = model["lens"]["losses"]
        assert all(after[2] < before[1] for before, after in zip(losses, losses[1:], strict=False))
        assert model["lens"]["agreement"][-1] == [1, 1, 1]


def test_two_layers_learn_to_copy_in_every_seed_and_one_layer_never(content):
    groups = by_layers(content)
    assert all(inside_page.learned_at(record) is None for record in groups[1])
    steps = [inside_page.learned_at(record) for record in groups[2]]
    assert all(100 < step <= 260 for step in steps)
    for record in groups[1]:
        assert 2.8 < record["history"][-1]["second"] < 3.4 and max(record["induction"]) < 0.1
    for record in groups[2]:
        assert record["history"][-1]["second"] < 0.5 and max(record["induction"][4:]) > 0.6
        assert max(record["induction"][:4]) < 0.1  # the heads of layer 1 are no induction heads
        early = [e["second"] for e in record["history"] if e["step"] <= 80]
        assert min(early) > 3.8
    assert all(record["history"][-1]["first"] > math.log(65) for record in content["copying"])
    assert inside_page.copying(content).splitlines()[-1].endswith(f"| {HELPED} |")


def test_one_layer_ends_where_a_model_would_that_knows_the_characters_and_not_their_order(content):
    strings = random_strings(1000, 32, 65)
    counts = (strings[:, :, None] == strings[:, None, :]).sum(dim=-1)
    expected = -(counts / 32).log().mean().item()
    assert mean(record["history"][-1]["second"] for record in by_layers(content)[1]) == pytest.approx(expected, abs=0.1)


def test_no_model_of_the_plays_copies(content):
    for model in content["models"]:
        random, text = model["copies"]["random"], model["copies"]["text"]
        assert random["change"][1] < 0 < random["change"][2] or abs(random["change"][0]) < 0.05
        assert text["change"][2] > -0.01  # and no better the second time
        assert max(random["heads"]) < 2 * model["copies"]["uniform"]


def test_in_the_copying_model_block_1_moves_everything_to_the_next_position(content):
    for record in by_layers(content)[2]:
        embedding, block = record["patching"]["shares"]
        at = inside_page.COPY_AT
        assert embedding[at][0] == pytest.approx(1, abs=1e-4) and abs(embedding[at + 1][0]) < 1e-4
        assert block[at + 1][0] > 0.9 and abs(block[at][0]) < 0.1
        assert record["patching"]["lost"][0] > 2


def test_in_the_models_of_the_plays_block_1_moves_nearly_everything_to_the_last_position(content):
    for model in content["models"]:
        last = inside.PROMPT_LENGTH - 1
        embedding, block, _ = model["patching"]["shares"]
        assert embedding[last - 1][0] == pytest.approx(1, abs=1e-4)
        assert block[last][1] > 0.8 and block[last - 1][2] < 0.3
    assert round(100 * content["models"][0]["patching"]["shares"][1][last][0]) == 97


# The page


def test_the_tables_say_what_the_records_say(content, shipped):
    table = inside_page.heads(content).splitlines()
    row = next(line for line in table if line.startswith("| 1.2 |"))
    assert f"**{100 * shipped['heads']['previous'][1][0]:.0f}**" in row
    row = next(line for line in inside_page.ablation(content).splitlines() if line.startswith("| 1.2 |"))
    assert f"| previous | +{shipped['ablation']['zero'][1][0]:.3f} (+" in row
    assert f"{shipped['lens']['losses'][1][0]:.3f}" in inside_page.lens(content)
    assert inside_page.page(content).count("](inside-") == 6


def test_a_share_that_rounds_to_0_has_no_sign():
    assert inside_page.percent([-0.001, -0.002, 0.0]) == "0 (0 to 0)"


def test_a_model_is_looked_into_as_the_study_does(monkeypatch):
    monkeypatch.setattr(inside, "PROMPTS", 200)
    few = dict(max_iters=2, eval_interval=2, eval_iters=1, batch_size=4, n_embd=16, n_head=2)
    record = inside.run((inside.ATTENTION_ONLY, REPEATS | few, 3))
    assert record["seed"] == 3 and len(record["previous"]) == len(record["induction"]) == 4
    assert len(record["patching"]["shares"]) == 2 and len(record["patching"]["shares"][0]) == 24
