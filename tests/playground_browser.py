"""The playground in a real browser: what its tests and its pictures share."""

import asyncio
import shutil
import threading
from contextlib import contextmanager

from babygpt.playground import server

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = (
    "Playwright is missing: pip install playwright" if sync_playwright is None
    else "" if CHROMIUM else "Chromium is missing: install it, for example with apt-get install chromium"
)  # fmt: skip
"""Why there can be no test in a browser; empty if there can."""


@contextmanager
def serving(players, port=0):
    """A server in a thread; its address."""
    loop, started, found = asyncio.new_event_loop(), threading.Event(), []

    async def start():
        found.extend(server.listen(players, port))
        started.set()

    def run():
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@contextmanager
def browsing():
    """A Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def wait_until_written(page):
    """Until the text and the panel of the view are complete."""
    page.wait_for_function("() => document.getElementById('panel').children.length > 0", timeout=30_000)
    page.wait_for_function("() => /^(Done|Stopped|All ten)/.test(document.getElementById('status').textContent)")
