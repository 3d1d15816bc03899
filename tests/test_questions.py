"""The concept questions: each right answer has a test, and each wrong one a misconception and a reply."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from babygpt import v5, v9, v10
from babygpt.compare.recorded import trainings
from babygpt.course.notebooks import lessons
from babygpt.course.questions import for_instructors, for_learners, of_lesson, read_questions
from babygpt.data import SHAKESPEARE
from babygpt.versions import get_version

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = read_questions()


@pytest.mark.parametrize("lesson", range(len(lessons())))
def test_a_lesson_has_at_least_three_questions_with_four_options_and_a_reply_to_each(lesson):
    questions = of_lesson(lesson)
    assert len(questions) >= 3
    for question in questions:
        assert len(question.options) == 4 and sum(option.is_right for option in question.options) == 1
        assert len({option.answer for option in question.options}) == 4
        for option in question.options:
            assert option.say.endswith((".", "?")) and (option.is_right or option.thinks.endswith("."))


def test_the_right_answer_of_each_question_has_a_test():
    names = {
        name
        for path in ROOT.glob("tests/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), flags=re.M)
    }
    assert {question.proof for question in QUESTIONS.values()} <= names


def test_no_letter_is_right_much_more_often_than_the_others():
    counts = Counter(question.right for question in QUESTIONS.values())
    assert len(counts) == 4 and max(counts.values()) < len(QUESTIONS) / 2


def test_learners_and_instructors_see_the_same_options_and_only_instructors_see_them_marked():
    page = for_instructors().decode("utf-8")
    for lesson in range(len(lessons())):
        shown = for_learners(lesson)
        for question in of_lesson(lesson):
            for letter, option in zip("ABCD", question.options, strict=True):
                assert f"<summary>{letter}. {option.answer}</summary>" in shown
                assert option.answer in page and option.say in page and option.thinks in page
        assert shown.count("Right.") == len(of_lesson(lesson))


# What the questions claim and no other test shows


def test_the_space_is_the_most_frequent_character_and_e_comes_next():
    text = SHAKESPEARE.read_text(encoding="utf-8")
    (space, spaces), (e, es), (t, _) = Counter(text).most_common(3)
    assert (space, e, t) == (" ", "e", "t")
    assert round(100 * spaces / len(text)) == 15 and 8 < 100 * es / len(text) < 9
    assert 3.5 < spaces / text.count("\n") < 4.5 and text.count("\n") == pytest.approx(40_000, rel=0.02)
    assert len(set(text.split())) == pytest.approx(25_000, rel=0.05)


def test_averaging_is_worse_than_the_bigram_in_the_recorded_runs():
    bigram, average = ([t["history"][-1]["val"] for t in trainings(get_version(n))] for n in (1, 2))
    assert min(average) > max(bigram) + 0.2


@torch.no_grad()
def test_a_key_serves_its_own_token_and_the_later_ones():
    torch.manual_seed(0)
    head = v5.Head(v5.Config(), 32)
    x = torch.randn(1, 8, 32)  # (B, T, C)
    k, q, v = head.key(x), head.query(x), head.value(x)  # (B, T, hs)
    outputs = []
    for factor in (1, 10):
        keys = k.clone()
        keys[:, 4] *= factor
        scores = (q @ keys.transpose(-2, -1)).masked_fill(head.tril == 0, float("-inf"))  # (B, T, T)
        outputs.append(F.softmax(scores, dim=-1) @ v)  # (B, T, hs)
    assert torch.allclose(F.softmax(scores, dim=-1).sum(dim=-1), torch.ones(1, 8))
    changed = [not torch.allclose(outputs[0][0, t], outputs[1][0, t]) for t in range(8)]
    assert changed == [False] * 4 + [True] * 4


def test_a_block_of_zeros_passes_its_input_on_and_still_learns():
    torch.manual_seed(0)
    block = v9.Block(v9.Config())
    last = [block.sa.proj, block.ffwd.net[-1]]
    for layer in last:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.randn(2, 8, 32)  # (B, T, C)
    out = block(x)  # (B, T, C)
    assert torch.equal(out, x)
    out.square().sum().backward()
    assert all(layer.weight.grad.abs().max() > 0 for layer in last)


def test_layer_norm_computes_a_mean_for_each_token():
    x = torch.randn(32, 8, 32)  # (B, T, C)
    _, mean, _ = torch.native_layer_norm(x, (32,), None, None, 1e-5)
    assert mean.numel() == 32 * 8 == 256


def test_gamma_and_beta_change_the_mean_and_the_variance():
    x = torch.randn(4, 32)  # (B, C)
    norm = nn.LayerNorm(32)
    assert torch.allclose(norm(x).mean(dim=-1), torch.zeros(4), atol=1e-5)
    with torch.no_grad():
        norm.weight.fill_(2.0)
        norm.bias.fill_(1.0)
    assert torch.allclose(norm(x).mean(dim=-1), torch.ones(4), atol=1e-5)
    assert torch.allclose(norm(x).var(dim=-1, correction=0), torch.full((4,), 4.0), atol=1e-3)


def dropout_losses():
    rows = json.loads((ROOT / "results" / "dropout.json").read_text(encoding="utf-8"))["rows"]
    return {row["name"]: [record["train"]["loss"] for record in row["records"]] for row in rows}


def test_dropout_raises_the_training_loss_on_little_text_in_the_recorded_runs():
    losses = dropout_losses()
    assert min(losses["dropout 0.2"]) > max(losses["dropout 0"]) + 0.4


def count(**sizes):
    return sum(p.numel() for p in v10.Model(v10.Config(**sizes)).parameters())


def test_most_of_the_parameters_of_version_10_come_from_its_width():
    small = dict(block_size=8, n_embd=32, n_head=4, n_layer=3)
    large = dict(block_size=256, n_embd=384, n_head=6, n_layer=6)
    assert count(**small) == 42_369 and count(**large) == 10_788_929
    assert count(**small | {"n_embd": 384}) > 100 * count(**small)
    assert count(**small | {"n_layer": 6}) < 2 * count(**small)
    assert count(**large | {"n_head": 4}) == count(**large)
    positions = 256 * 384
    assert count(**large) - count(**large | {"block_size": 8}) == positions - 8 * 384
    assert positions / count(**large) == pytest.approx(0.01, rel=0.15)


INVENTED = {"1.5", "3.0", "0.45", "0.25", "0.15", "0.08", "0.8", "0.9", "0.1"}  # the examples of 11b, 12b and 13b


def test_the_examples_with_invented_numbers_add_up():
    assert 3.0 / 2 == 1.5
    assert 0.45 + 0.25 < 0.8 <= 0.45 + 0.25 + 0.15


def test_every_decimal_number_in_a_question_is_what_it_says():
    ablation = {row["name"]: row for row in json.loads((ROOT / "results" / "ablation.json").read_text("utf-8"))["rows"]}

    def loss(name):
        found = [record["val"]["loss"] for record in ablation[name]["records"]]
        return sum(found) / len(found)

    clinic = json.loads((ROOT / "results" / "clinic.json").read_text("utf-8"))
    dropout = {name: sum(found) / len(found) for name, found in dropout_losses().items()}
    known = {
        "10.8": 10_788_929 / 1e6,
        "4.17": math.log(65),
        "4.7": torch.randn(1000, 65, generator=torch.Generator().manual_seed(0)).logsumexp(1).mean().item(),
        "0.37": math.exp(-1),
        "0.42": clinic["1"]["broken"]["history"][-1]["val"],
        "2.40": loss("3 blocks: blocks alone"),
        "2.28": loss("1 block: blocks alone"),
        "0.96": dropout["dropout 0"],
        "1.57": dropout["dropout 0.2"],
        "0.2": 0.2,
    }
    text = for_instructors().decode("utf-8")
    numbers = set(re.findall(r"(?<![\d.])\d+\.\d+", text))
    assert numbers - INVENTED == set(known)
    for number, value in known.items():
        digits = len(number.partition(".")[2])
        assert abs(value - float(number)) <= 0.51 * 10**-digits, number
