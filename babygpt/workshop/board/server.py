"""The web server of the board, on Tornado, which Jupyter brings along."""

import asyncio
import json
import time
from collections import defaultdict, deque
from pathlib import Path

import tornado.web
from tornado.httpserver import HTTPServer

from babygpt.harness import web
from babygpt.harness.web import Refused
from babygpt.workshop.board.room import Room

PAGE = Path(__file__).with_name("page.html")
BODY = 4096  # bytes of a report, at most
PATIENCE = 5.0  # seconds for a report to arrive
GUESSES = 20  # wrong codes that an address may try in a minute


class Handler(web.Handler):
    """What all addresses share."""

    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"

    def initialize(self, room: Room, guesses: dict[str, deque[float]]) -> None:
        """Tornado calls this for each request."""
        self.room, self.guesses = room, guesses

    def check_guesses(self) -> None:
        """Refuse an address that tries many codes."""
        tried = self.guesses[self.request.remote_ip or ""]
        if len(tried) == GUESSES and time.monotonic() - tried[0] < 60:
            raise Refused(429, "too many wrong codes; wait a minute")

    def note_guess(self) -> None:
        """Remember a wrong code."""
        self.guesses[self.request.remote_ip or ""].append(time.monotonic())


class ReportHandler(Handler):
    """POST /report: somebody's report, as JSON."""

    def post(self) -> None:
        """Take it, or say why not."""
        try:
            self.check_guesses()
            try:
                report = json.loads(self.request.body)
            except ValueError:
                raise Refused(400, "this is not JSON") from None
            self.room.take(report)
        except Refused as refused:
            if refused.status == 403:
                self.note_guess()
            self.refuse(refused)
        else:
            self.finish({})


class StateHandler(Handler):
    """GET /CODE/state: what the page shows."""

    def get(self, code: str) -> None:
        """Everything about everybody."""
        try:
            self.check_guesses()
            if code != self.room.code:
                self.note_guess()
                raise Refused(403, "this is not the code of the room")
            self.finish(self.room.state())
        except Refused as refused:
            self.refuse(refused)


class PageHandler(Handler):
    """GET /CODE: the page. It asks for the state itself."""

    def get(self, code: str) -> None:
        """The page, whatever the code: only the state is secret."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(PAGE.read_bytes())


def listen(room: Room, host: str, port: int) -> tuple[HTTPServer, int]:
    """Start to listen, in a running event loop; return the server and its port.

    Raises:
        UserError: the port cannot be had.
    """
    shared = {"room": room, "guesses": defaultdict(lambda: deque(maxlen=GUESSES))}
    app = tornado.web.Application(
        [
            (r"/report", ReportHandler, shared),
            (r"/(\w+)/state", StateHandler, shared),
            (r"/(\w+)/?", PageHandler, shared),
        ],
        log_function=lambda handler: None,
    )
    return web.listen(
        app,
        host,
        port,
        max_body_size=BODY,
        max_buffer_size=16 * BODY,
        body_timeout=PATIENCE,
        idle_connection_timeout=60,
    )


async def serve(room: Room, host: str, port: int, save: Path | None) -> None:
    """Serve until the program is stopped, and store the room's state every minute if there is a file to store it in."""
    listen(room, host, port)
    while True:
        await asyncio.sleep(60)
        if save:
            save.write_text(json.dumps(room.state(), indent=1), encoding="utf-8")
