"""The sheets to print fit on their page, and what they say is so."""

import re

import pytest
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg

from babygpt import v5, v10
from babygpt.compare.recorded import trainings
from babygpt.versions import get_version
from babygpt.workshop.sheets import FORMATS, MARGIN, NAMES, SHEETS, SheetsConfig, answers, read_quiz, write


@pytest.mark.parametrize("size", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", SHEETS)
def test_a_sheet_fits_on_one_page_with_nothing_over_the_margin_and_no_texts_on_top_of_each_other(name, size):
    figure = SHEETS[name](size).figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts if text.get_text()]
    edge = MARGIN * figure.dpi
    for text, box in boxes:
        assert box.x0 >= edge - 1 and box.x1 <= size[0] * figure.dpi - 0.5 * edge, text
        assert box.y0 >= 0.5 * edge, text
    for (a, first), (b, second) in zip(boxes, boxes[1:], strict=False):
        shrunk = [(box.x0, box.y0 + 2, box.x1, box.y1 - 2) for box in (first, second)]
        (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = shrunk
        assert ax1 <= bx0 or bx1 <= ax0 or ay1 <= by0 or by1 <= ay0, (a, b)


def test_the_sheets_are_vector_graphics_of_one_page_each(tmp_path):
    write(SheetsConfig(tmp_path))
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(SHEETS) * len(FORMATS)
    for path in files:
        content = path.read_bytes()
        assert content.startswith(b"%PDF") and b"/Subtype /Image" not in content
        assert re.findall(rb"/Count (\d+)", content) == [b"1"]


def test_the_names_on_the_sheet_are_those_of_version_10():
    config = v10.Config(block_size=8, n_embd=32, n_head=4, n_layer=2)
    parts = {name.split(".")[-1] for name, _ in v10.Model(config).named_modules()} | set(vars(config))
    parts |= {name.split(".")[-1] for name, _ in v10.Model(v10.Config(block_size=8, attention="loop")).named_buffers()}
    for here, *_ in NAMES:
        for name in re.findall(r"[a-z_\d]{3,}", here.replace("head size", "")):
            assert name in parts, name


def test_the_sheet_of_shapes_shows_every_step_from_the_embedding_to_the_loss():
    texts = [text.get_text() for text in SHEETS["shapes"](FORMATS["a4"]).figure.texts]
    assert texts.count("(B, T, T)") == 4 and texts.count("(B, T, V)") == 2
    assert any(text.startswith("loss = F.cross_entropy") for text in texts)


def test_the_quiz_has_fifteen_questions_and_only_the_instructors_page_has_the_answers():
    questions = read_quiz()
    assert len(questions) == 15 and {q["lesson"] for q in questions} == set(range(1, 11))
    printed = " ".join(text.get_text() for text in SHEETS["quiz"](FORMATS["a4"]).figure.texts)
    page = answers().decode("utf-8")
    for question in questions:
        assert " ".join(question["ask"].split()) in " ".join(printed.split())
        assert question["answer"] in page and question["answer"] not in printed


def test_the_answers_of_the_quiz_that_are_numbers_are_right():
    by_ask = {question["ask"]: question["answer"] for question in read_quiz()}

    def answer(words):
        return next(answer for ask, answer in by_ask.items() if words in ask)

    uniform = F.cross_entropy(torch.zeros(1, 65), torch.tensor([3])).item()
    assert f"{uniform:.2f}" in answer("65 characters")
    assert str(32 * 8) in answer("(32, 8)")
    row = (torch.tril(torch.ones(8, 8)) / torch.arange(1, 9)[:, None])[3]
    assert answer("row 3") == ", ".join("1/4" if x else "0" for x in row.tolist()) + ". (Rows count from 0.)"
    q = k = torch.randn(4, 8, 16)  # (B, T, hs)
    assert str(tuple((q @ k.transpose(-2, -1)).shape)) in answer("shape of wei")
    assert 16**0.5 == 4 and "By 4" in answer("head size is 16 and C is 32")
    assert f"all 384 and writes {384 // 6}" in answer("6 heads")
    normed = F.layer_norm(torch.tensor([10.0, 20, 30, 40]), (4,))
    assert abs(normed.mean()) < 1e-5 and abs(normed.var(correction=0) - 1) < 1e-3 and "0 and 1" in answer("Layer norm")
    dropped = F.dropout(torch.full((1000,), 10.0), 0.2)
    assert set(dropped.tolist()) == {0.0, 12.5} and "12.5" in answer("Dropout")
    x = torch.tensor(2.0, requires_grad=True)
    (x + 0 * x).backward()
    assert x.grad == 1 and "unchanged" in answer("its slope is 0")
    at_2000 = [e["val"] for run in trainings(get_version(5)) for e in run["history"] if e["step"] == 2000]
    assert all(abs(val - 2.46) < 0.02 for val in at_2000) and "2.46" in answer("0.4 after 2,000 steps")


@torch.no_grad()
def test_a_token_uses_the_key_and_the_value_of_another_and_not_its_query():
    torch.manual_seed(0)
    head = v5.Head(v5.Config(), 32)
    x = torch.randn(1, 8, 32)  # (B, T, C)
    changes = {}
    for part in ("query", "key", "value"):
        layer = getattr(head, part)
        handle = layer.register_forward_hook(
            lambda module, inputs, out: out + 5 * (torch.arange(8) == 2)[None, :, None]
        )
        changed = head(x)
        handle.remove()
        changes[part] = not torch.allclose(changed[0, 5], head(x)[0, 5], atol=1e-6)
    assert changes == {"query": False, "key": True, "value": True}
