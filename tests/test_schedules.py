"""The schedules of a workshop: they add up, nobody sits still too long, and nobody waits for a computer."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from babygpt.course.notebooks import lessons
from babygpt.errors import UserError
from babygpt.workshop import publish, schedules
from babygpt.workshop.minutes import Part, parts

ROOT = Path(__file__).resolve().parents[1]
ALL = {schedule.name: schedule for schedule in schedules.read()}


@pytest.mark.parametrize("lesson", lessons(), ids=lambda path: path.stem)
def test_the_talk_of_a_lesson_is_that_of_its_sections(lesson):
    text = lesson.read_text(encoding="utf-8")
    talk = int(re.search(r"^\*Classroom: (\d+) minutes of talk", text, flags=re.M)[1])
    assert talk == sum(part.talk for part in parts(lesson).values())
    assert len(re.findall("<!-- minutes:", text)) == sum(part.talk > 0 for part in parts(lesson).values())


@pytest.mark.parametrize("lesson", lessons(), ids=lambda path: path.stem)
def test_a_section_that_trains_says_so(lesson):
    trains = {title for title, part in parts(lesson).items() if part.training}
    sections = re.split(r"^#{2,3} ", lesson.read_text(encoding="utf-8"), flags=re.M)[1:]
    for section in sections:
        title = section.splitlines()[0]
        if "lab.train(" in section and not title.startswith("Exercise") and "(optional)" not in title:
            assert title in trains, f"{title} trains a model, and its comment does not say so"


def test_there_is_a_schedule_for_half_a_day_for_a_day_and_for_two():
    assert [(s.name, s.minutes, len(s.days)) for s in ALL.values()] == [
        ("half-day", 210, 1),
        ("one-day", 390, 1),
        ("two-days", 390, 2),
    ]


@pytest.mark.parametrize("name", ALL)
def test_a_schedule_keeps_its_rules(name):
    assert schedules.problems(ALL[name]) == []


def slot(minutes=0, **settings):
    return schedules.Slot("a slot", extra=minutes, ask="?", late="!", **settings)


def day(*slots):
    return schedules.Schedule("test", "test", "", sum(s.minutes for s in slots), [list(slots)])


def test_every_rule_of_a_schedule_can_be_broken():
    rest = slot(10, is_break=True)
    talk = slot(sections=[(Path("a"), Part("a", talk=15))])
    active = replace(talk, exercises=[("1.1", Part("b", exercise=5))])
    waiting = slot(sections=[(Path("a"), Part("a", talk=2, training=2))])
    for schedule, problem in (
        (day(slot(40), slot(40)), "80 minutes without a break"),
        (day(talk, talk), "30 minutes of talk without an activity"),
        (day(waiting), "a run takes more than a minute"),
        (day(replace(active, late="")), "a way to save time are missing"),
        (replace(day(slot(40)), minutes=100), "day 1 takes 40 minutes, not 100"),
        (replace(day(slot(40)), minutes=35), "day 1 takes 40 minutes, not 35"),
    ):
        assert [problem in found for found in schedules.problems(schedule)] == [True], problem
    for fine in (
        day(slot(40), rest, slot(40)),
        day(active, talk),
        day(talk, rest, talk),
        day(replace(waiting, recorded="loaded")),
    ):
        assert schedules.problems(fine) == []


def test_the_minutes_of_a_slot_are_those_of_its_parts_rounded_up_to_five():
    part = Part("a", talk=4, training=1)
    assert slot(sections=[(Path("a"), part)]).minutes == 5
    assert slot(sections=[(Path("a"), part)], exercises=[("1", Part("b", exercise=3))]).minutes == 10
    assert slot(2, sections=[(Path("a"), part)], recorded="loaded").minutes == 10


def test_a_schedule_cannot_name_what_no_lesson_has(tmp_path):
    good = '[half]\ntitle = ""\nminutes = 5\ngoal = ""\ndays = [["a"]]\n'
    good += '[slots.a]\ntitle = "A"\nlesson = 1\nsections = ["%s"]\n'
    path = tmp_path / "schedules.toml"
    path.write_text(good % "Training")
    assert schedules.read(path)[0].days[0][0].talk == 5
    for text, message in (
        (good % "Trainings", "slot a: lesson 1 has no section 'Trainings'"),
        ((good % "Training").replace('["a"]', '["a", "b"]'), "half has slots that are not defined: b"),
        ((good % "Training") + 'question = "1z"\n', "slot a: there is no question 1z"),
        ((good % "Training") + '[slots.b]\ntitle = "B"\n', "no schedule uses b"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            schedules.read(path)


def test_the_pages_of_the_workshop_are_up_to_date_and_their_links_lead_somewhere():
    assert publish.publish(publish.PublishConfig(check=True)) == 0
    for name in ALL:
        page = (ROOT / "workshop" / f"{name}.md").read_text(encoding="utf-8")
        links = re.findall(r"\]\(\.\./(lessons/[\w.]+)#([^)]+)\)", page)
        assert links
        for file, anchor in links:
            headings = re.findall(r"^#{2,3} (.+)$", (ROOT / file).read_text(encoding="utf-8"), flags=re.M)
            assert anchor in {schedules.anchor(heading) for heading in headings}
        assert all((ROOT / "workshop" / deck).exists() for deck in re.findall(r"\]\((slides/[^)]+)\)", page))
        assert page.count("- Slides: ") == page.count("- Talk: ")
        headings = re.findall("^## (.+)$", (ROOT / "workshop" / "questions.md").read_text(encoding="utf-8"), flags=re.M)
        asked = re.findall(r"\]\(questions\.md#([^)]+)\)", page)
        assert asked and set(asked) <= {schedules.anchor(heading) for heading in headings}
