"""What was recorded, and that every page and picture says the same."""

import json
import re
import shutil
from statistics import mean

import pytest

from babygpt.compare import recorded
from babygpt.compare.kinds import STUDIES
from babygpt.compare.result import Result
from babygpt.compare.studies import EQUAL, LECTURE, SEARCH_SEED, plan
from babygpt.compare.table import FIRST_SEED
from babygpt.course import publish
from babygpt.course.notebooks import ROOT
from babygpt.errors import UserError
from babygpt.harness.markdown import with_block
from babygpt.versions import VERSIONS, get_version

STEMS = [study.stem for study in STUDIES.values()]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the pages and results that a test may change."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("results", "lessons"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("records"))
    shutil.copy(ROOT / "README.md", root)
    return root


@pytest.fixture(scope="module")
def drawn():
    """The right content of every page and picture, which takes seconds to draw."""
    recorded.read.cache_clear()
    return publish.targets()


def stale(root) -> set[str]:
    recorded.read.cache_clear()
    files = publish.targets(root)
    return {str(path.relative_to(root)) for path, content in files.items() if not publish.shows(path, content)}


# The records


@pytest.mark.parametrize("stem", STEMS)
def test_every_run_says_how_when_and_where_it_was_made(stem):
    for row in recorded.read(stem)["rows"]:
        assert row["records"] or row["name"] == "v10 lecture"
        for record in row["records"]:
            assert {"seed", "settings", "date", "torch", "device", "threads", "revision", "jobs_at_a_time"} <= set(
                record
            )
            assert "dirty" not in record["revision"]
            steps = [evaluation["step"] for evaluation in record["history"]]
            assert steps == list(range(0, record["steps"], record["settings"]["eval_interval"])) + [record["steps"]]


@pytest.mark.parametrize("kind", STUDIES)
def test_what_is_recorded_is_what_the_command_would_train_today(kind):
    study = STUDIES[kind]
    rows = {row["name"]: row["records"] for row in recorded.read(study.stem)["rows"]}
    assert list(rows) == [row.name for row in plan(kind)]
    for row in plan(kind):
        records = rows[row.name]
        if kind != "lecture":
            assert [record["seed"] for record in records] == list(range(FIRST_SEED, FIRST_SEED + study.seeds))
        assert SEARCH_SEED not in [record["seed"] for record in records]
        assert all(record["module"] == row.module for record in records)
        assert all(record["settings"] | row.settings == record["settings"] for record in records)
        assert len({record["settings"]["learning_rate"] for record in records}) == (1 if records else 0)


def test_all_versions_were_trained_by_the_recipes_that_they_have_today():
    for version in VERSIONS:
        preset = "lecture" if version.number < 10 else "laptop"
        trainings = recorded.trainings(version, preset)
        assert len({training["seed"] for training in trainings}) >= 5
        for training in trainings:
            settings = {name: value for name, value in training["settings"].items() if name != "device"}
            assert settings == version.preset(preset)


def test_on_equal_terms_all_versions_were_trained_with_the_same_settings_and_on_the_same_steps():
    rows = {row["name"]: row for row in recorded.read("ladder-equal")["rows"]}
    assert set(rows) == {version.name for version in VERSIONS} | {"v10 dropout", "v10 weights"}
    for name, row in rows.items():
        for record in row["records"]:
            rest = {name: value for name, value in record["settings"].items() if name != "learning_rate"}
            assert rest == EQUAL | ({"dropout": 0.0} if name == "v10 weights" else {})
            assert record["steps"] == EQUAL["max_iters"]
    sizes = {name: row["records"][0]["parameters"] for name, row in rows.items()}
    assert min(sizes.values()) == 4_225 and max(sizes.values()) == 42_369  # the page says so
    assert {sizes[name] for name in ("v9", "v10", "v10 dropout", "v10 weights")} == {42_369}


def test_the_best_learning_rate_was_never_at_the_edge_of_the_search():
    for stem in STEMS:
        for name, losses in recorded.read(stem)["search"]["losses"].items():
            best = min((loss, rate) for rate, loss in losses.items() if loss is not None)[1]
            assert best not in (list(losses)[0], list(losses)[-1]), f"{stem}, {name}: {losses}"


def test_the_recorded_losses_are_those_of_the_lecture():
    for version in VERSIONS[:9]:
        if version.number in LECTURE:
            losses = [training["val"]["loss"] for training in recorded.trainings(version)]
            assert mean(losses) == pytest.approx(LECTURE[version.number], abs=0.03)


def test_a_recorded_run_is_like_the_recorded_ones():
    for row in recorded.read("ladder")["rows"]:
        assert all(recorded.misses(record) == "" for record in row["records"])


def test_a_version_that_no_machine_here_can_train_is_refused_with_the_lectures_band():
    if not next(row for row in recorded.read("ladder")["rows"] if row["name"] == "v10 lecture")["records"]:
        with pytest.raises(UserError, match="the lecture's own run ends between 1.44 and 1.53"):
            recorded.trainings(get_version(10), "lecture")


def test_a_recipe_that_was_not_trained_is_refused_in_a_sentence():
    with pytest.raises(UserError, match="no run of v10 by the recipe nonsense is among the results"):
        recorded.trainings(get_version(10), "nonsense")


@pytest.mark.parametrize("content, told", [(None, "install babygpt from a complete clone"), ("{", "is damaged")])
def test_results_that_are_missing_or_damaged_are_refused_in_a_sentence(content, told, tmp_path):
    if content:
        (tmp_path / "ladder.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        recorded.read("ladder", tmp_path)


# The pages


def test_every_page_and_picture_shows_the_committed_results(drawn):
    stale = [path.name for path, content in drawn.items() if not publish.shows(path, content)]
    assert not stale, "run `make results`"
    pictures = [study for study in STUDIES.values() if study.picture]
    own = len(publish.OWN_PAGES) + 5  # lesson 18 has six
    assert len([path for path in drawn if path.suffix == ".png"]) == len(pictures) + own
    assert {path.parent.name for path in drawn} >= {"results", "lessons"}


def test_another_loss_in_the_results_or_a_number_changed_by_hand_makes_every_page_stale_that_shows_it(
    copy, monkeypatch
):
    monkeypatch.setattr(publish, "OWN_PAGES", {})  # what does not show the ladder need not be drawn again
    by_hand = copy / "results" / "ablation.md"
    page = by_hand.read_text(encoding="utf-8")
    by_hand.write_text(re.sub(r"(\d\.\d\d)\d ±", r"\g<1>0 ±", page), encoding="utf-8")
    path = copy / "results" / "ladder.json"
    kept = path.read_text(encoding="utf-8")
    content = json.loads(kept)
    row = next(row for row in content["rows"] if row["name"] == "v6")
    for record in row["records"]:
        record["val"]["loss"] -= 0.01
        record["history"][-1]["val"] -= 0.01
    path.write_text(json.dumps(content), encoding="utf-8")
    expected = {"README.md", "results/ladder.md", "results/ladder.png"}
    pages = {f"lessons/{page.name}" for page in (copy / "lessons").glob("[01]*.md") if int(page.name[:2]) in (6, 7, 10)}
    assert stale(copy) == expected | pages | {"results/ablation.md"}
    path.write_text(kept, encoding="utf-8")
    by_hand.write_text(page, encoding="utf-8")


def test_the_command_names_what_is_out_of_date_and_writes_it(copy, drawn, capsys, monkeypatch):
    at = lambda root: {root / path.relative_to(ROOT): content for path, content in drawn.items()}  # noqa: E731
    monkeypatch.setattr(publish, "targets", at)
    page = copy / "README.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(right.replace("| helped |", "| did not |"), encoding="utf-8")
    assert publish.publish(publish.PublishConfig(check=True), copy) == 1
    assert "README.md is out of date: run `make results`" in capsys.readouterr().out
    assert publish.publish(publish.PublishConfig(), copy) == 0
    assert page.read_text(encoding="utf-8") == right


def test_a_page_without_the_comments_around_its_table_is_named():
    with pytest.raises(UserError, match="lacks the comments around its ladder: it begins with '# babygpt"):
        with_block("# babygpt\n", "ladder", "x")


def test_what_is_read_back_is_what_was_written(tmp_path):
    for stem in STEMS:
        (tmp_path / f"{stem}.json").write_bytes(Result.read(stem).json())
        assert Result.read(stem, tmp_path) == Result.read(stem)


def test_the_readme_opens_with_the_picture_of_the_ladder():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before = readme.partition("(results/ladder.png)")[0]
    assert "](results/ladder.png)" in readme and "\n## " not in before and before.count("\n") < 12


def test_every_verdict_of_the_equal_recipe_is_on_the_page():
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    for before, after in zip(VERSIONS, VERSIONS[1:], strict=False):
        assert re.search(rf"- {before.name} to {after.name} [\w ,.()-]+: [+-]0\.\d\d\d, (helped|made|no|cannot)", page)


def test_the_readme_quotes_the_recorded_loss_of_the_recipe_laptop():
    losses = [run["val"]["loss"] for run in recorded.trainings(get_version(10), "laptop")]
    assert f"from five seeds: {sum(losses) / len(losses):.3f}.)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(losses) == 5
