"""Reports to a board in the room, for those who have joined one: losses of training, and checks that passed.

Nobody has joined unless they said so, by `python -m babygpt.board join ...` or in the environment variable
BABYGPT_BOARD. The membership is an address with the room's code and a nickname: `http://10.0.0.5:8765/K7QX2M#anna`.

Whoever reports never waits: a report goes into a short queue, and a thread in the background sends it. If the board is
gone, reports are dropped.
"""

import atexit
import json
import os
import queue
import re
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babygpt.harness.ranks import is_main

VARIABLE = "BABYGPT_BOARD"
MEMBERSHIP = Path.home() / ".babygpt-board"
WAITING = 100  # reports in the queue; the oldest goes when another one comes
TIMEOUT = 2.0  # seconds for a report on its way
LAST_CHANCE = 1.0  # seconds for what is left when the program ends

ADDRESS = re.compile(r"(?P<server>https?://[^/#\s]+)/(?P<code>\w+)(?:#(?P<name>.+))?")


@dataclass(frozen=True)
class Membership:
    """Where to report, with which code, and as whom."""

    server: str
    code: str
    name: str

    @classmethod
    def parse(cls, address: str) -> "Membership | None":
        """The membership in an address such as http://10.0.0.5:8765/K7QX2M#anna; None if it isn't one."""
        match = ADDRESS.fullmatch(address.strip())
        return cls(match["server"], match["code"], match["name"]) if match and match["name"] else None

    @classmethod
    def current(cls) -> "Membership | None":
        """The one that this user has, if any."""
        address = os.environ.get(VARIABLE)
        if address is None:
            try:
                address = MEMBERSHIP.read_text(encoding="utf-8")
            except OSError:
                return None
        return cls.parse(address)

    def post(self, report: dict[str, Any], timeout: float = TIMEOUT) -> None:
        """Send a report now.

        Raises:
            OSError: the board cannot be reached, or refuses it.
        """
        body = json.dumps({"code": self.code, "name": self.name, **report}).encode("utf-8")
        request = urllib.request.Request(f"{self.server}/report", body, {"Content-Type": "application/json"})
        # A proxy is for the way out of the room, not for the way to the instructor's laptop.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(request, timeout=timeout).close()


class Reporter:
    """A queue of reports, and the thread that sends them."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.waiting: queue.Queue[dict[str, Any]] = queue.Queue(WAITING)
        self.reached = True  # whether the last report arrived
        threading.Thread(target=self.run, daemon=True).start()
        atexit.register(self.finish)

    def put(self, report: dict[str, Any]) -> None:
        """Queue a report, and return at once."""
        while True:
            try:
                return self.waiting.put_nowait(report)
            except queue.Full:
                try:
                    self.waiting.get_nowait()
                    self.waiting.task_done()
                except queue.Empty:
                    pass

    def run(self) -> None:
        """Send what is queued, one after the other, as long as the program runs."""
        while True:
            report = self.waiting.get()
            try:
                self.membership.post(report)
                self.reached = True
            except (OSError, ValueError):
                self.reached = False
            self.waiting.task_done()

    def finish(self) -> None:
        """When the program ends: give a board that answers a moment for what is left."""
        if self.reached:
            waiter = threading.Thread(target=self.waiting.join, daemon=True)
            waiter.start()
            waiter.join(LAST_CHANCE)


_reporter: Reporter | None = None


def send(kind: str, **content: Any) -> None:
    """Report something, if this user has joined a board. Returns at once."""
    global _reporter
    membership = Membership.current()
    if membership is None or not is_main():
        return
    if _reporter is None or _reporter.membership != membership:
        _reporter = Reporter(membership)
    _reporter.put({"kind": kind, **content})


def losses_of(run: str) -> Callable[[Any], None]:
    """What to call after each evaluation of a trainer, so that its losses are reported under the name of the run."""

    def on_eval(trainer: Any) -> None:
        last = trainer.history[-1]
        send("loss", run=run, step=last["step"], train=round(last["train"], 4), val=round(last["val"], 4))

    return on_eval
