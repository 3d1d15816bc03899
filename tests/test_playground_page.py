"""The playground in a real browser: everything works, nothing leaves the machine, and everybody can use it."""

import math
import re
import signal
import socket
import threading
import time
from urllib.parse import unquote

import pytest
import torch
from conftest import TINY
from forked import Process
from playground_browser import MISSING, browsing, serving, wait_until_written

from babygpt.beyond import gpt2
from babygpt.beyond.bpe import BPETokenizer
from babygpt.playground import commands, writing
from babygpt.playground.models import Player, load_shipped
from babygpt.tokenizer import CharTokenizer

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

SHORT = "prompt=ROMEO%3A&seed=7&count=30"
SCRIPT = "<img src=x onerror=document.title='hacked'><script>document.title='hacked'</script></script>"


class Whole(CharTokenizer):
    """Characters, and tokens that are longer."""

    name = "whole"

    def encode(self, text):
        return [self.stoi[text]] if text in self.stoi else super().encode(text)


@pytest.fixture(scope="module")
def players():
    torch.manual_seed(0)
    byte = BPETokenizer([])
    sizes = {name: size for name, size in TINY.items() if name != "dropout"} | {"vocab_size": 256}
    tokens = Player("bytes", "GPT-2", gpt2.Model(gpt2.Config(**sizes)).eval(), byte, None)
    sizes["vocab_size"] = 11
    scripts = Player("scripts", "GPT-2", gpt2.Model(gpt2.Config(**sizes)).eval(), Whole([*"abcdefghij", SCRIPT]), None)
    return {who.name: who for who in (*load_shipped(), tokens, scripts)}


@pytest.fixture(scope="module")
def address(players):
    with serving(players) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with browsing() as found:
        yield found


@pytest.fixture
def visit(browser, address):
    """Open a state of the page; at the end nothing may have been asked of another machine, and no script has failed."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    asked, failed = [], []

    def visit(state="", width=1280, at=address):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(f"{at}/#{state}")
        return page

    yield visit
    context.close()
    assert failed == []
    assert [url for url in asked if not re.match(rf"{address}/|http://127.0.0.1:|data:|blob:{address}", url)] == []


def text_of(page):
    """The text as the page shows it, without the signs for line breaks."""
    return "".join(page.eval_on_selector_all(
        "#text > *", "all => all.map(e => [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join(''))"
    ))  # fmt: skip


def written_by(who, prompt, count, seed=7, off=(), **how):
    ids = who.tokenizer.encode(prompt)
    for _ in range(count):
        ids.append(writing.next_token(who, ids, seed, off, **how)["id"])
    return who.tokenizer.decode(ids)


def test_what_is_typed_is_continued_a_character_at_a_time(visit, players, monkeypatch):
    page = visit(SHORT)
    wait_until_written(page)
    assert text_of(page) == written_by(players["v10"], "ROMEO:", 30)
    original = writing.next_token
    monkeypatch.setattr(writing, "next_token", lambda *what, **how: time.sleep(0.02) or original(*what, **how))
    page.fill("#prompt", "To be, ")
    page.click("#write")
    page.wait_for_function("() => document.getElementById('text').textContent.includes('To be, ')")
    lengths = set()
    while not page.inner_text("#status").startswith("Done"):
        lengths.add(page.locator("#text > *").count())
    assert len(lengths) > 3 and text_of(page) == written_by(players["v10"], "To be, ", 30)


def test_stop_stops_and_what_was_written_stays(visit, monkeypatch):
    original = writing.next_token
    monkeypatch.setattr(writing, "next_token", lambda *what, **how: time.sleep(0.02) or original(*what, **how))
    page = visit("count=900")
    page.wait_for_function("() => document.getElementById('text').children.length > 12")
    page.click("#stop")
    page.wait_for_function("() => document.getElementById('status').textContent === 'Stopped.'")
    count = page.locator("#text > *").count()
    page.wait_for_timeout(150)
    assert 12 < count == page.locator("#text > *").count() < 400 and page.is_hidden("#trouble")


def test_another_character_is_chosen_and_the_text_goes_on_from_there_also_from_its_address(visit):
    page = visit(SHORT)
    wait_until_written(page)
    before = text_of(page)
    page.click("#token-12")
    page.wait_for_selector(".bar")
    assert page.locator(".bar").count() == 10
    other = next(bar for bar in page.locator(".bar").all() if "in the text" not in bar.inner_text())
    name = other.locator(".name").inner_text().replace("␣", " ").replace("⏎", "\n")
    other.click()
    page.wait_for_function("() => document.getElementById('status').textContent.startsWith('Done')")
    after = text_of(page)
    assert after[:12] == before[:12] and after[12] == name != before[12] and len(after) > 13
    page.reload()
    wait_until_written(page)
    assert text_of(page) == after


def take_another(page, kind=r"."):
    """Choose the first bar that isn't in the text and whose name fits a pattern; return its name."""
    page.wait_for_selector(".bar")
    bars = [bar for bar in page.locator(".bar").all() if "in the text" not in bar.inner_text()]
    name, bar = next(
        (name, bar) for bar in bars if re.fullmatch(kind, name := bar.locator(".name").inner_text(), re.DOTALL)
    )
    bar.click()
    return name.replace("␣", " ").replace("⏎", "\n")


def test_a_choice_near_the_end_of_the_longest_text_has_an_address_that_works(visit):
    page = visit("model=v1&count=1000&at=1000")
    take_another(page)
    page.wait_for_function("() => document.getElementById('status').textContent === 'Done: 1006 characters.'")
    text = text_of(page)
    assert "count=1000" in page.url
    page.reload()
    wait_until_written(page)
    assert text_of(page) == text and page.is_hidden("#trouble")


def test_a_choice_within_the_prompt_changes_it_and_keeps_the_sliders(visit, players):
    page = visit(SHORT + "&at=3")
    page.wait_for_selector(".bar")
    page.locator("#temperature").fill("0.5")
    prompt = "ROM" + take_another(page)
    page.wait_for_function("prompt => document.getElementById('prompt').value === prompt", arg=prompt)
    wait_until_written(page)
    assert page.input_value("#temperature") == "0.5" and "temperature=0.5" in page.url
    assert text_of(page) == written_by(players["v10"], prompt, 30, temperature=0.5)


@pytest.mark.parametrize(("prompt", "kind"), [("ab", "<..>"), ("%C3%A9", ".*")])
def test_a_part_of_a_character_does_not_get_into_a_prompt(visit, prompt, kind):
    page = visit(f"model=bytes&prompt={prompt}&count=3&at=1")
    wait_until_written(page)
    before = page.input_value("#prompt")
    take_another(page, kind)
    page.wait_for_selector("#trouble:not([hidden])")
    assert page.inner_text("#trouble").startswith("A prompt can't hold a part of a character")
    assert page.input_value("#prompt") == before


def test_a_part_of_a_character_that_is_chosen_is_shown_as_from_its_address(visit):
    page = visit("model=bytes&prompt=ab&count=9&at=5")
    take_another(page, "<..>")
    page.wait_for_function("() => document.getElementById('text').children.length > 11")
    wait_until_written(page)
    text = text_of(page)
    page.reload()
    wait_until_written(page)
    assert text_of(page) == text


def test_the_bars_follow_the_sliders_at_once_and_are_what_a_token_is_drawn_from(visit, players):
    page = visit(SHORT + "&at=12")
    page.wait_for_selector(".bar")
    ids = players["v10"].tokenizer.encode(text_of(page))[:12]
    logits = players["v10"].inside.logits(torch.tensor([ids]))[0, -1]
    moves = {"temperature": (0.6, {"temperature": 0.6}), "topK": (4, {"top_k": 4}), "topP": (0.8, {"top_p": 0.8})}
    how = {}
    for slider, (value, setting) in moves.items():
        page.locator(f"#{slider}").fill(str(value))
        how |= setting
        probs, _ = writing.parts(logits, **how)
        shown = page.eval_on_selector_all(".bar", "bars => bars.map(bar => +bar.style.getPropertyValue('--share'))")
        assert shown == pytest.approx(probs[:10].tolist(), abs=1e-3)
    assert "written with other settings" in page.inner_text("#panel")


def hold(monkeypatch, function):
    """Let a function of `writing` wait from now on, until the event that this returns is set."""
    go, original = threading.Event(), getattr(writing, function)
    monkeypatch.setattr(writing, function, lambda *what: go.wait(10) and original(*what))
    return go


def test_an_answer_for_a_view_that_has_been_left_does_not_touch_the_next_one(visit, monkeypatch):
    page = visit(SHORT + "&off=0.3")
    wait_until_written(page)
    asked, go = [], hold(monkeypatch, "attention")
    page.on("request", lambda request: asked.append(request.url.rsplit("/")[-1]))
    page.click("#view-attention")
    page.click("#view-write")
    with page.expect_response("**/attention"):
        go.set()
    page.wait_for_timeout(200)
    looks = "all => all.filter(e => e.style.getPropertyValue('--look') !== '0' || e.matches('.from, .dim')).length"
    assert page.eval_on_selector_all("#text > *", looks) == 0
    page.hover("#token-8")
    assert page.eval_on_selector_all("#text > *", looks) == 0
    assert asked == ["attention"] and page.inner_text("#status").startswith("Done: 36")
    page.click("#view-attention")  # the answer was kept
    page.wait_for_selector("#says")
    assert asked.count("attention") == 1


def test_the_bars_follow_the_sliders_after_a_late_answer_about_another_position(visit, monkeypatch):
    page = visit(SHORT + "&at=12")
    page.wait_for_selector(".bar")
    go = hold(monkeypatch, "alternatives")
    page.focus("#text")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    with page.expect_response("**/alternatives"):
        go.set()
    page.wait_for_timeout(200)
    before = page.inner_text(".bar .number >> nth=0")
    page.locator("#temperature").fill("0.2")
    assert page.inner_text(".bar .number >> nth=0") != before


SETTINGS = [(1, 0, 1), (1, 3, 1), (0.5, 3, 0.8), (0, 0, 1), (2, 9, 1), (1, 6, 0.9)]  # temperature, top-k, top-p


@pytest.mark.parametrize("logits", [[3.0, 2, 1, 1, 1, 0], [20.0, *[0] * 9]])
def test_the_page_computes_the_same_parts_as_the_server_also_where_tokens_are_equally_likely(visit, logits):
    page = visit(SHORT)
    logs = torch.tensor(logits).log_softmax(dim=0)
    call = "async ([logs, temperature, topK, topP]) => (await import('bars')).parts(logs, {temperature, topK, topP})"
    for temperature, top_k, top_p in SETTINGS:
        probs, _ = writing.parts(logs, temperature, top_k, top_p)
        shown = page.evaluate(call, [logs.tolist(), temperature, top_k, top_p])
        assert shown == pytest.approx(probs.tolist(), rel=1e-4, abs=0)


def test_probabilities_and_surprises_are_the_models_own_whatever_the_sliders_say(visit, players):
    who = players["v10"]
    page = visit(SHORT + "&at=12&temperature=0.5&topK=3")
    page.wait_for_selector(".bar")
    ids = who.tokenizer.encode(text_of(page))
    surprises = writing.surprises(who, ids)
    title = page.inner_text("#panel h2")
    found = re.fullmatch(r"By itself, the model gave “.” a probability of (.+)%: a surprise of (.+) nats\.", title)
    assert float(found[2]) == pytest.approx(surprises[12], abs=0.006)
    assert float(found[1]) / 100 == pytest.approx(math.exp(-surprises[12]), abs=0.006)
    about = page.inner_text("#about")
    assert f"mean surprise of this text is {sum(surprises[1:]) / (len(ids) - 1):.2f} nats" in about
    assert f"don’t compare this with its loss on text that it has not been trained on, {who.val:.2f}." in about


def test_a_head_is_switched_off_and_loss_and_text_change(visit, players):
    who = players["v10"]
    page = visit(SHORT + "&view=attention")
    wait_until_written(page)
    first = page.inner_text("#says")
    page.hover("#token-8")
    assert page.inner_text("#says") != first and "Layer 1, head 1, at “" in first
    page.click("#head-0-3")
    page.wait_for_selector("#head-0-3[aria-current=true]")
    page.click("#head-0-3")
    page.wait_for_selector("#head-0-3.off")
    page.wait_for_function(
        "() => document.getElementById('status').textContent.endsWith('written again, with one head off.')"
    )
    ids = who.tokenizer.encode(text_of(page))
    losses = [sum(writing.surprises(who, ids, off)[1:]) / (len(ids) - 1) for off in ([], [(0, 3)])]
    says = page.inner_text(".verdict")
    assert says == f"The loss of this text is {losses[0]:.3f}, and with one head off {losses[1]:.3f}."
    without = written_by(who, "ROMEO:", 30, off=[(0, 3)])
    assert page.inner_text(".without .text").replace("⏎", "") == without
    marked = page.eval_on_selector(".without .text", "e => [...e.children].findIndex(c => c.tagName === 'MARK')")
    assert marked == next(n for n, (one, other) in enumerate(zip(text_of(page), without, strict=True)) if one != other)
    assert page.locator(".head[aria-pressed]").count() == 0  # pressing again switches off, which is not "unpressed"
    assert page.locator(".head[aria-current]").count() == 1
    page.click("text=Switch all heads on")
    page.wait_for_selector(".verdict", state="detached")


def test_the_layers_are_those_of_the_lens(visit, players):
    page = visit(SHORT + "&view=layers")
    page.wait_for_selector(".lens")
    ids = players["v10"].tokenizer.encode(text_of(page))
    layers = writing.lens(players["v10"], ids)["layers"]
    shown = page.eval_on_selector_all(
        ".lens tbody tr", "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent))"
    )
    names = [[guesses[0]["text"].replace(" ", "␣").replace("\n", "⏎") for guesses in layer] for layer in layers]
    assert shown[:-1] == [layer[-32:] for layer in reversed(names)]
    assert page.inner_text(".lens tbody th >> nth=0") == "block 3"


def test_what_came_is_outlined_also_where_it_is_a_part_of_a_character(visit, players):
    page = visit("model=bytes&prompt=%C3%A9&count=5&temperature=0&view=layers")
    page.wait_for_selector(".lens")
    shown = page.eval_on_selector_all(
        ".lens tbody tr", "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => cell.className))"
    )
    ids = list("é".encode())
    for _ in range(5):
        ids.append(writing.next_token(players["bytes"], ids, 0, temperature=0)["id"])
    layers = writing.lens(players["bytes"], ids)["layers"]
    came = [*ids[1:], None]
    right = [[guesses[0]["id"] == token for guesses, token in zip(layer, came, strict=True)] for layer in layers]
    assert [[name == "right" for name in row] for row in shown[:-1]] == right[::-1]
    assert all(right[-1][1:-1])  # without chance, the model writes what it finds likeliest
    assert any(token >= 128 for token in came[1:-1])


def test_ten_versions_write_side_by_side_and_the_first_difference_is_marked(visit, players):
    page = visit("view=versions&prompt=ROMEO%3A&seed=7&count=12")
    wait_until_written(page)
    texts = {n: written_by(players[f"v{n}"], "ROMEO:", 12) for n in range(1, 11)}
    rows = page.locator(".version").all()
    assert len(rows) == 10
    for n, row in enumerate(rows, start=1):
        assert row.locator(".text").text_content().replace("⏎", "") == texts[n]
        differs = [at for at in range(18) if n > 1 and texts[n][at] != texts[n - 1][at]]
        assert row.locator("mark").count() == bool(differs)
        if differs:
            assert f"Differs from v{n - 1} from character {differs[0] - 5} after" in row.inner_text()


def test_a_page_saved_as_one_file_shows_the_same_from_disk_and_asks_for_nothing(visit, browser, tmp_path, players):
    page = visit(SHORT + "&view=attention&head=1.2&off=0.3")
    page.wait_for_function(
        "() => document.getElementById('status').textContent.endsWith('written again, with one head off.')"
    )
    with page.expect_download() as download:
        page.click("#save")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    context = browser.new_context(offline=True)
    saved, asked = context.new_page(), []
    saved.on("request", lambda request: asked.append(request.url))
    saved.goto(file.as_uri())
    saved.wait_for_function(
        "() => document.getElementById('status').textContent.endsWith('written again, with one head off.')"
    )
    for place in ("#text", "#says", ".verdict", ".without"):
        assert saved.text_content(place) == page.text_content(place)
    first = saved.inner_text("#says")
    saved.hover("#token-8")
    assert saved.inner_text("#says") != first
    saved.click("#token-5")
    saved.wait_for_selector("#trouble:not([hidden])")
    assert saved.inner_text("#trouble").startswith("This page is a recording.")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1
    assert re.search(r"https?://", unquote(file.read_text("utf-8"))) is None  # the scripts in it are quoted
    context.close()


@pytest.mark.parametrize("view", ["write&at=3", "attention&off=0.1"])
def test_a_script_in_a_prompt_or_a_token_is_text_on_the_page_and_in_a_saved_one(visit, browser, tmp_path, view):
    page = visit("model=scripts&prompt=a&count=5")
    wait_until_written(page)
    page.fill("#prompt", SCRIPT)
    page.click("#write")
    page.wait_for_function("() => document.getElementById('text').textContent.startsWith('<img')")
    wait_until_written(page)
    state = page.url
    page.goto("about:blank")
    page.goto(f"{state}&view={view}")
    wait_until_written(page)
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "saved.html")
    context = browser.new_context(offline=True)
    saved = context.new_page()
    saved.goto((tmp_path / "saved.html").as_uri())
    wait_until_written(saved)
    for shown in (page, saved):
        assert shown.text_content("#text").startswith(SCRIPT) and "<img" in shown.text_content("#panel")
        assert shown.title() == "babygpt playground" and shown.locator("main img, main script").count() == 0
    context.close()


def test_an_incomplete_character_is_held_back(visit):
    page = visit("model=bytes&prompt=%C3%A9&count=1")
    wait_until_written(page)
    assert page.locator("#text > *").nth(0).inner_text() == "▯"
    assert page.locator("#text > *").nth(1).inner_text() == "é"


def test_a_server_that_is_killed_in_mid_stream_gets_a_sentence(visit):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = Process(commands.main, ["--no-browser", "--port", str(port)])
    assert "The playground" in process.stdout.readline()
    page = visit("count=1000", at=f"http://127.0.0.1:{port}")
    page.wait_for_function("() => document.getElementById('text').children.length > 12")
    process.send_signal(signal.SIGKILL)
    page.wait_for_selector("#trouble:not([hidden])")
    sentence = "The server has stopped. Start it again with: python -m babygpt.playground"
    assert page.inner_text("#trouble") == sentence
    page.click("#write")  # and it can be tried again
    page.wait_for_selector("#trouble:not([hidden])")
    assert page.inner_text("#trouble") == sentence and page.locator("#text > *").count() == 0


def test_a_text_that_ends_early_is_not_taken_for_a_whole_one(visit, monkeypatch):
    original, calls = writing.next_token, []

    def breaks(*what, **how):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("a bug")
        return original(*what, **how)

    monkeypatch.setattr(writing, "next_token", breaks)
    page = visit(SHORT)
    page.wait_for_selector("#trouble:not([hidden])")
    assert page.inner_text("#trouble").startswith("Something went wrong in the server, so the text ends here.")
    assert text_of(page).startswith("ROMEO:") and page.locator("#text > *").count() == 9


def test_what_the_server_refuses_is_said_on_the_page(visit):
    page = visit("prompt=%C3%BC")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "The character 'ü' is not in the vocabulary" in page.inner_text("#trouble")
    page.fill("#prompt", "a" * 1500)
    assert len(page.input_value("#prompt")) == 1000


@pytest.mark.parametrize(
    "state",
    ["view=nowhere&at=x&off=1.x&head=9&count=", "head=7.7&model=v99", "%&=&==&at=-5", "view=attention&head=7.7"]
    + ["view=constructor&toString=1&__proto__=x", "seed=1.5&topK=1.5"]
    + [f"view={view}&at={at}" for view in ("write", "attention", "layers", "versions") for at in (999, 1.5)],
)
def test_an_address_that_makes_no_sense_still_gets_a_page(visit, state):
    page = visit(state + "&prompt=To&count=9")
    wait_until_written(page)
    text = text_of(page) if "versions" not in state else page.text_content(".version .text >> nth=0")
    assert text.startswith("To") and page.is_hidden("#trouble")


def test_a_token_with_the_name_of_something_in_javascript_is_read_aloud_as_it_is(visit, monkeypatch):
    monkeypatch.setattr(writing, "name", lambda tokenizer, token: "constructor")
    page = visit(SHORT + "&at=12")
    page.wait_for_selector(".bar")
    assert page.get_attribute(".bar >> nth=0", "aria-label").startswith("constructor, ")


def test_controls_can_be_hidden_and_the_address_says_so(visit):
    page = visit(SHORT)
    wait_until_written(page)
    page.click("#hide")
    assert page.is_hidden("#controls") and "bare=yes" in page.url
    page.reload()
    wait_until_written(page)
    assert page.is_hidden("#controls") and page.is_visible("#text")
    page.click("#hide")
    assert page.is_visible("#controls")


# For everybody

AXE = dict(runOnly=["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
STATES = {"write": "&at=8", "attention": "&off=0.3", "layers": "", "versions": ""}


@pytest.fixture(scope="module")
def views(browser, address):
    """A page for each view at the width of a phone, and one as wide as a screen."""
    pages = {}
    for name, width in [*((view, 390) for view in STATES), ("wide", 1280)]:
        view = "attention" if name == "wide" else name
        pages[name] = browser.new_page(viewport={"width": width, "height": 800})
        pages[name].goto(f"{address}/#prompt=To+be&count=12&view={view}{STATES[view]}")
        wait_until_written(pages[name])
    yield pages
    for page in pages.values():
        page.close()


def test_the_page_of_another_site_cannot_load_a_script_of_this_one(browser, address, tmp_path):
    other = tmp_path / "other.html"
    then = "onload=document.title='loaded' onerror=document.title='refused'"
    other.write_text(f"<script src='{address}/dom.js' {then}></script>", encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.goto(other.as_uri())
    page.wait_for_function("() => document.title")
    assert page.title() == "refused"
    context.close()


def test_an_automatic_check_of_accessibility_finds_nothing(views):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing").Axe()
    found = {}
    for name, page in views.items():
        for violation in axe.run(page, options=AXE).response["violations"]:
            found[name, violation["id"]] = violation["nodes"][0]["html"][:200]
    assert found == {}


def test_a_phone_shows_every_view_without_scrolling_sideways(views):
    wide = "document.documentElement.scrollWidth > window.innerWidth"
    assert [name for name, page in views.items() if page.evaluate(wide)] == []


def test_everything_can_be_done_with_the_keyboard_and_the_focus_is_visible(visit):
    page = visit(SHORT)
    wait_until_written(page)
    reached = []
    for _ in range(22):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none" or not reached[-1], reached[-1]
    wanted = {"view-write", "view-attention", "view-layers", "view-versions", "hide", "save", "prompt", "model",
              "temperature", "topK", "topP", "count", "seed", "free", "write", "text"}  # fmt: skip
    assert wanted <= set(reached)
    page.focus("#text")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    page.wait_for_selector("#token-3[aria-selected=true]")
    page.wait_for_selector(".bar")
    assert page.get_attribute("#text", "aria-activedescendant") == "token-3"
    assert page.get_attribute("#text", "aria-orientation") == "horizontal"  # the arrows that move
    page.keyboard.press("Tab")
    before = text_of(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.getElementById('status').textContent.startsWith('Done')")
    assert text_of(page)[:3] == before[:3] and text_of(page)[3] != before[3]
    assert page.evaluate("document.activeElement.id") == "text"


def test_the_text_is_large_enough_for_the_last_row(visit):
    page = visit(SHORT)
    wait_until_written(page)
    size = "e => parseFloat(getComputedStyle(e).fontSize)"
    assert page.eval_on_selector("#text", size) >= 22
    assert page.eval_on_selector("#about", size) >= 18
