"""What was recorded, and that every page and picture says what the records say."""

import json
import re
import shutil

import pytest

from babygpt.compare import recorded
from babygpt.compare.plans import EQUAL, FIRST_SEED, SEARCH_SEED
from babygpt.compare.result import STEMS, Result
from babygpt.course import publish
from babygpt.course.notebooks import ROOT
from babygpt.errors import UserError
from babygpt.harness.files import with_block
from babygpt.versions import VERSIONS, get_version


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the pages and results that a test may spoil."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("results", "lessons"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("records"))
    shutil.copy(ROOT / "README.md", root)
    return root


def stale(root) -> set[str]:
    recorded.read.cache_clear()
    files = publish.targets(root)
    return {str(path.relative_to(root)) for path, content in files.items() if not publish.shows(path, content)}


# The records


@pytest.mark.parametrize("stem", STEMS.values())
def test_every_training_says_how_when_and_where_it_was_made(stem):
    for row in recorded.read(stem)["rows"]:
        assert row["records"] or row["missing"], row["name"]
        for record in row["records"]:
            assert {"seed", "settings", "date", "torch", "device", "threads", "revision", "jobs_at_a_time"} <= set(
                record
            )
            assert "dirty" not in record["revision"]
            steps = [evaluation["step"] for evaluation in record["history"]]
            assert steps == list(range(0, record["steps"], record["settings"]["eval_interval"])) + [record["steps"]]


def test_all_versions_were_trained_by_the_recipes_that_they_have_today():
    names = [row["name"] for row in recorded.read("ladder")["rows"]]
    assert names == [f"v{n}" for n in range(1, 10)] + ["v10 laptop", "v10 lecture"]
    for version in VERSIONS:
        preset = "lecture" if version.number < 10 else "laptop"
        trainings = recorded.trainings(version, preset)
        assert len({training["seed"] for training in trainings}) >= 5
        for training in trainings:
            settings = {name: value for name, value in training["settings"].items() if name != "device"}
            assert settings == version.preset(preset)


def test_on_equal_terms_all_ten_were_trained_from_at_least_five_seeds():
    rows = recorded.read("ladder-equal")["rows"]
    assert [row["name"] for row in rows] == [version.name for version in VERSIONS]
    for row in rows:
        assert len({record["seed"] for record in row["records"]}) >= 5
        assert all(SEARCH_SEED != record["seed"] >= FIRST_SEED for record in row["records"])
        for record in row["records"]:
            rest = {name: value for name, value in record["settings"].items() if name != "learning_rate"}
            assert rest == EQUAL


def test_the_best_learning_rate_was_never_at_the_edge_of_the_search():
    for stem in ("ladder-equal", "ablation"):
        for name, losses in recorded.read(stem)["search"]["losses"].items():
            best = min((loss, rate) for rate, loss in losses.items() if loss is not None)[1]
            assert best not in (list(losses)[0], list(losses)[-1]), f"{stem}, {name}: {losses}"


def test_the_recorded_losses_lie_in_the_bands_of_the_curriculum():
    for version in VERSIONS[:9]:
        low, high = version.band
        assert all(low < training["history"][-1]["val"] < high for training in recorded.trainings(version))


def test_a_recipe_that_was_not_trained_is_refused_in_a_sentence():
    with pytest.raises(UserError, match="no training of v10 by the recipe nonsense is among the results"):
        recorded.trainings(get_version(10), "nonsense")


@pytest.mark.parametrize("content, told", [(None, "install babygpt from a complete clone"), ("{", "is damaged")])
def test_results_that_are_missing_or_damaged_are_refused_in_a_sentence(content, told, tmp_path):
    if content:
        (tmp_path / "ladder.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        recorded.read("ladder", tmp_path)


# The pages


def test_every_page_and_picture_shows_the_committed_results():
    recorded.read.cache_clear()
    files = publish.targets()
    stale = [path.name for path, content in files.items() if not publish.shows(path, content)]
    assert not stale, "run `make results`"
    assert len([path for path in files if path.suffix == ".png"]) == 3
    assert {path.parent.name for path in files} >= {"results", "lessons"}


def test_another_loss_in_the_results_makes_every_page_stale_that_shows_it(copy):
    assert stale(copy) == set()
    path = copy / "results" / "ladder.json"
    kept = path.read_text(encoding="utf-8")
    content = json.loads(kept)
    row = next(row for row in content["rows"] if row["name"] == "v6")
    for record in row["records"]:
        record["val"]["loss"] -= 0.01
        record["history"][-1]["val"] -= 0.01
    path.write_text(json.dumps(content), encoding="utf-8")
    expected = {"README.md", "results/ladder.md", "results/ladder.png"}
    pages = {f"lessons/{page.name}" for page in (copy / "lessons").glob("[01]*.md") if int(page.name[:2]) >= 6}
    assert stale(copy) == expected | pages
    path.write_text(kept, encoding="utf-8")


def test_a_figure_mended_by_hand_makes_its_page_stale(copy):
    page = copy / "results" / "ablation.md"
    kept = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"(\d\.\d\d)\d ±", r"\g<1>0 ±", kept), encoding="utf-8")
    assert stale(copy) == {"results/ablation.md"}
    page.write_text(kept, encoding="utf-8")


def test_the_command_names_what_is_stale_and_mends_it(copy, capsys):
    page = copy / "README.md"
    page.write_text(page.read_text(encoding="utf-8").replace("| helped |", "| did not |"), encoding="utf-8")
    assert publish.publish(publish.PublishConfig(check=True), copy) == 1
    assert "README.md is not what the results give: run `make results`" in capsys.readouterr().out
    assert publish.publish(publish.PublishConfig(), copy) == 0
    assert publish.publish(publish.PublishConfig(check=True), copy) == 0


def test_a_page_without_its_place_for_a_table_is_named():
    with pytest.raises(UserError, match="lacks the comments around its ladder: it begins with '# babygpt"):
        with_block("# babygpt\n", "ladder", "x")


def test_what_is_read_back_is_what_was_written(tmp_path):
    for stem in STEMS.values():
        (tmp_path / f"{stem}.json").write_bytes(Result.read(stem).json())
        assert Result.read(stem, tmp_path) == Result.read(stem)


def test_the_readme_opens_with_the_picture_of_the_ladder():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before = readme.partition("(results/ladder.png)")[0]
    assert "](results/ladder.png)" in readme and "\n## " not in before and before.count("\n") < 12


def test_every_verdict_of_the_equal_recipe_stands_on_the_page():
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    for before, after in zip(VERSIONS, VERSIONS[1:], strict=False):
        assert re.search(rf"- {before.name} to {after.name}, [\w ,.()-]+: [+-]0\.\d\d\d, (helped|made|no|cannot)", page)
