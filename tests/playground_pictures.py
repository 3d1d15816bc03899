"""Take the pictures of the playground: `python tests/playground_pictures.py`, for the README and the lessons.

With --all it also takes those of every state at two widths, for looking at them, into a folder of your choice.
"""

import argparse
import sys
from pathlib import Path

from playground_browser import MISSING, browsing, serving, wait_until_written

from babygpt.playground.models import load_all

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "results" / "playground"
PROMPT = "prompt=ROMEO%3A&seed=7&count=160"

# The pictures that the pages show: a name, and the part of the address that is the state.
SHOWN = {
    "write": f"{PROMPT}&at=30",
    "attention": f"{PROMPT}&view=attention&head=1.2&off=0.3",
    "layers": f"{PROMPT}&view=layers",
    "versions": "view=versions&prompt=ROMEO%3A&seed=7&count=70&bare=yes",
}
OTHERS = {
    "start": "",
    "v6": "model=v6&view=attention&count=100",
    "v3": "model=v3&view=attention&count=100",
    "v1": "model=v1&view=attention&count=100",
    "bare": f"{PROMPT}&at=30&bare=yes",
    "cold": f"{PROMPT}&at=20&temperature=0.5&topK=5",
    "trouble": "prompt=%C3%BC",
}


def take(browser, address, states, folder, width, height=800):
    """A picture of each state."""
    folder.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(viewport={"width": width, "height": height})
    for name, state in states.items():
        page.goto("about:blank")
        page.goto(f"{address}/#{state}")
        if name == "trouble":
            page.wait_for_selector("#trouble:not([hidden])")
        else:
            wait_until_written(page)
        page.wait_for_timeout(200)
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        print(folder / f"{name}.png", flush=True)
    page.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, help="a folder for pictures of all states at two widths")
    options = parser.parse_args()
    if MISSING:
        sys.exit(MISSING)
    with serving(load_all([])) as address, browsing() as browser:
        if options.all:
            for width in (1280, 390):
                take(browser, address, SHOWN | OTHERS, options.all / str(width), width)
        else:
            take(browser, address, SHOWN, PICTURES, 1120)


if __name__ == "__main__":
    main()
