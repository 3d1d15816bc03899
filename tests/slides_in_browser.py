"""Look at the built slides in a real browser: `python tests/slides_in_browser.py`, after `make slides`.

On every slide nothing may reach over its edge, no request may leave the page, and in the presenter view the notes are
there. With --pictures FOLDER it also saves a picture of each slide. It needs Playwright, which is not among babygpt's
requirements (`pip install playwright`, then `playwright install chromium`, or --browser with the path of one).
"""

import argparse
import re
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]

# What sticks out of a slide, in the pixels of the slide.
OUTSIDE = """() => [...document.querySelectorAll("section")].map((section, number) => {
    const frame = section.getBoundingClientRect();
    const scale = frame.width / section.offsetWidth;
    const out = [...section.querySelectorAll("*")].filter((element) => {
        const box = element.getBoundingClientRect();
        if (!box.width || !box.height) return false;
        return box.bottom > frame.bottom - 20 * scale || box.right > frame.right - 20 * scale || box.left < frame.left;
    });
    return out.length ? `slide ${number + 1}: ${out[0].tagName} ${out[0].textContent.slice(0, 40)}` : "";
}).filter(Boolean)"""


def faults(page: Page, deck: Path, pictures: Path | None) -> list[str]:
    """What is wrong with a deck."""
    found: list[str] = []
    page.on("request", lambda request: found.append(f"asks for {request.url}") if foreign(request.url) else None)
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.goto(deck.as_uri() + "#1")
    page.wait_for_selector("section")
    count = page.evaluate('document.querySelectorAll("section").length')
    if not 8 <= count <= 14:
        found.append(f"{count} slides")
    for number in range(1, count + 1):
        page.goto(f"{deck.as_uri()}#{number}")
        page.wait_for_timeout(120)
        if pictures:
            page.screenshot(path=pictures / f"{deck.stem}-{number:02d}.png")
    found += page.evaluate(OUTSIDE)
    broken = page.evaluate("[...document.images].filter((image) => !image.naturalWidth).length")
    if broken:
        found.append(f"{broken} pictures that cannot be shown")
    for number in range(1, count + 1):
        page.goto(f"{deck.as_uri()}?view=presenter#{number}")
        page.wait_for_selector(
            ".bespoke-marp-presenter-note-container, [data-bespoke-marp-presenter]", state="attached"
        )
        shown = page.evaluate(
            '[...document.querySelectorAll(".bespoke-marp-note")].filter((e) => e.classList.contains("active"))'
            '.map((e) => e.textContent.trim()).join("")'
        )
        if len(shown) < 20:
            found.append(f"slide {number} has no notes in the presenter view")
    return found


def foreign(address: str) -> bool:
    """Whether a request leaves the page and the machine."""
    return not re.match(r"file:|data:|about:|blob:", address)


def main() -> int:
    """Check all decks; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "site" / "slides")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--browser", help="the path of a Chromium")
    options = parser.parse_args()
    decks = sorted(options.folder.glob("*.html"))
    if not decks:
        sys.exit(f"there are no slides in {options.folder}: run make slides first")
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    wrong = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=["--no-sandbox"])
        for deck in decks:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            found = faults(page, deck, options.pictures)
            page.close()
            wrong += len(found)
            print(deck.name, "nothing wrong" if not found else "\n  ".join(["", *found]), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
