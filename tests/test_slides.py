"""The slides: a deck for each lesson, and nothing on them that the lesson doesn't say.

`slides_in_browser.py` looks at the built ones.
"""

import re
import shutil

import pytest

from babygpt.course.notebooks import ROOT, lessons
from babygpt.course.questions import of_lesson, read_questions
from babygpt.errors import UserError
from babygpt.workshop import slides
from babygpt.workshop.slides import BREAK, HEADER, SlidesConfig, build_decks, deck, question_slide

# Part two has no decks yet.
every_lesson = pytest.mark.parametrize("lesson", lessons()[:11], ids=lambda path: path.stem)

COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def slides_of(lesson):
    text = deck(lesson, lambda kind, name: f"{kind}-{name}.png")
    return text.split("---\n\n", 1)[1].split(BREAK)


def notes_of(slide):
    return [note for note in COMMENT.findall(slide) if "_class" not in note]


@every_lesson
def test_a_deck_has_8_to_14_slides_each_with_one_statement_and_notes(lesson):
    found = slides_of(lesson)
    assert 8 <= len(found) <= 14
    for slide in found:
        assert len(re.findall("^## .", COMMENT.sub("", slide), flags=re.M)) == 1, slide
        assert len(notes_of(slide)) == 1 and len(notes_of(slide)[0]) > 30, slide


@every_lesson
def test_the_notes_of_the_first_slide_list_what_people_can_do_after_the_lesson(lesson):
    page = lesson.read_text(encoding="utf-8")
    goals = [block.split("\n\n")[0].strip() for block in page.split("you'll be able to\n")[1:]]
    assert 1 <= len(goals) <= 2  # lesson 1 has two parts
    note = notes_of(slides_of(lesson)[0])[0]
    assert all(line in note for goal in goals for line in goal.splitlines())


@every_lesson
def test_a_deck_asks_all_questions_of_its_lesson_and_no_other(lesson):
    source = (slides.FOLDER / lesson.name).read_text(encoding="utf-8")
    asked = re.findall(r"<!-- question: (\w+) -->", source)
    assert sorted(asked) == [question.name for question in of_lesson(int(lesson.name[:2]))]
    assert len(asked) >= 3


@every_lesson
def test_every_number_on_a_slide_is_in_the_lesson_or_in_the_results(lesson):
    page = lesson.read_text(encoding="utf-8")
    for slide in slides_of(lesson):
        shown = COMMENT.sub("", slide)
        shown = shown.replace(slides.ladder(), "")  # from the recorded runs, see below
        for number in re.findall(r"\d[\d,]*\.\d+|\d[\d,]{3,}", shown):
            assert number.strip(",") in page, f"{number} on: {shown}"


def test_the_table_of_all_versions_shows_the_recorded_losses():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in slides.ladder().splitlines()[2:]]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for version, _, loss in rows[:9]:
        line = next(line for line in readme.splitlines() if line.startswith(f"| [{version}]"))
        assert abs(float(line.split("|")[4].split("±")[0]) - float(loss)) < 0.0051
    assert [row[0] for row in rows] == [f"v{n}" for n in range(1, 11)]


@every_lesson
def test_every_picture_of_a_deck_is_drawn_by_a_cell_of_the_lesson_or_by_results(lesson):
    drawn = len(re.findall("^```python .*alt=", lesson.read_text(encoding="utf-8"), flags=re.M))
    source = (slides.FOLDER / lesson.name).read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]*\]\(([^)]*)\)", source)
    assert pictures
    for picture in pictures:
        kind, name = picture.split(":")
        assert (1 <= int(name) <= drawn) if kind == "picture" else (ROOT / "results" / f"{name}.png").exists()


def test_no_deck_and_no_theme_needs_a_network():
    for path in slides.FOLDER.iterdir():
        assert not re.search("https?:|url\\(|@import", path.read_text(encoding="utf-8")), path


def test_a_question_slide_shows_four_options_and_the_replies_in_the_notes_only():
    question = read_questions()["5a"]
    slide = question_slide("<!-- question: 5a -->")
    shown, hidden = COMMENT.sub("", slide), "".join(notes_of(slide))
    for option in question.options:
        assert option.answer in shown and option.say in hidden and option.say not in shown
    assert f"{question.right} is right" in hidden
    with pytest.raises(UserError, match="which does not exist"):
        question_slide("<!-- question: 5z -->")


def test_the_header_chooses_the_theme_of_the_folder():
    assert "theme: babygpt" in HEADER and "@theme babygpt" in (slides.FOLDER / "theme.css").read_text(encoding="utf-8")


def test_without_node_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="install it from nodejs.org"):
        build_decks(SlidesConfig(tmp_path))
