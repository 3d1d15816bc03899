"""The study of assistants: what was recorded, and that the page says it."""

from statistics import mean

import pytest

from babygpt.beyond.assistant.instructions import TASKS
from babygpt.beyond.assistant.stages import RECIPES
from babygpt.compare import assistant_page, recorded
from babygpt.compare.table import FIRST_SEED
from babygpt.compare.verdict import NOISE, WORSE


@pytest.fixture(scope="module")
def records():
    return recorded.read("assistant")["records"]


def test_every_seed_has_all_stages_by_the_recipes_of_today(records):
    for n, record in enumerate(records):
        assert record["seed"] == FIRST_SEED + n and "dirty" not in record["revision"]
        for name, recipe in RECIPES.items():
            assert record["history"][name][-1]["step"] == recipe["max_iters"]
            assert record["settings"][name].items() >= recipe.items()


def test_the_pretrained_model_obeys_next_to_nothing_and_the_finetuned_one_most_of_it(records):
    """PT2, and what SFT does against it."""
    for record in records:
        assert record["obeyed"]["pretrain"]["all"] < 0.1 and record["obeyed"]["sft"]["all"] > 0.75


def test_the_reward_model_has_learned_most_of_the_taste(records):
    assert all(record["history"]["reward"][-1]["accuracy"] > 0.75 for record in records)


def test_the_learned_reward_rises_while_the_rater_likes_less_without_kl(records):
    """Reward hacking."""
    for record in records:
        first, *_, last = record["history"]["ppo-0"]
        assert last["reward"] > first["reward"] + 1 and last["liked"] < first["liked"] - 0.2


def test_with_kl_the_policy_stays_near_and_the_rater_likes_more_than_without(records):
    for record in records:
        hacked, kept = record["history"]["ppo-0"][-1], record["history"]["ppo"][-1]
        assert kept["kl"] < hacked["kl"] / 4 and kept["liked"] > hacked["liked"] + 0.2


def test_without_kl_what_sft_taught_suffers_in_every_seed_and_with_kl_hardly(records):
    for record in records:
        obeyed = record["obeyed"]
        assert obeyed["ppo-0"]["all"] < obeyed["sft"]["all"] - 0.3
        assert obeyed["ppo"]["all"] > obeyed["sft"]["all"] - 0.1


def test_with_kl_capitals_lose_most_10_points_in_the_mean_of_the_seeds(records):
    loss = {task: mean([r["obeyed"]["sft"][task] - r["obeyed"]["ppo"][task] for r in records]) for task in TASKS}
    assert max(loss, key=loss.get) == "capitals" and round(100 * loss["capitals"]) == 10
    means = [mean(r["obeyed"][name]["all"] for r in records) for name in ("sft", "ppo", "ppo-0")]
    assert [round(100 * share) for share in means] == [90, 87, 36]


def test_after_20_updates_of_grpo_the_rater_liked_fewer_answers_in_every_seed(records):
    for record in records:
        first, second, *_ = record["history"]["grpo"]
        assert second["step"] == 20 and second["liked"] < first["liked"] - 0.1 and 4 < second["kl"] < 6.5
        assert second["reward"] > first["reward"] + 3


def test_only_ppo_without_kl_has_a_verdict_and_it_is_that_it_made_it_worse():
    lines = assistant_page.policies(recorded.read("assistant")).splitlines()[3:]
    verdicts = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in lines}
    assert verdicts.pop("PPO without KL") == WORSE and set(verdicts.values()) == {NOISE}


def test_the_tables_say_what_the_records_say(records):
    content = recorded.read("assistant")
    table = assistant_page.obeyed(content)
    assert all(task in table for task in TASKS) and "| SFT |" in table
    liked = 100 * mean(record["history"]["ppo"][-1]["liked"] for record in records)
    line = next(line for line in assistant_page.policies(content).splitlines() if line.startswith("| PPO with KL"))
    assert line.split("|")[3].split()[0] == f"{liked:.0f}"


def test_a_verdict_needs_several_seeds(records):
    several = {"records": [records[0], records[0]]}
    assert "the rater" in assistant_page.policies(several) and "t-test" in assistant_page.page(several)
    alone = {"records": [records[0]]}
    assert "the rater" not in assistant_page.policies(alone) and "t-test" not in assistant_page.page(alone)
