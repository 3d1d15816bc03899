"""The web server of the playground, for this machine only.

It listens on 127.0.0.1, where other machines cannot reach it. Pages of other sites that are open in the same browser
can try, so each request must name this server as its host (a name of theirs that suddenly means 127.0.0.1, DNS
rebinding, doesn't help them), and if it says which page it comes from, that must be this server's. Browsers leave this
out when a page loads a script or a picture; such an answer has a header that keeps it from the pages of other sites.
Nothing is stored, and no request changes anything.

One thread does all the computing, a token at a time. So several texts can be written at once, and a head that is
switched off for one of them stays on for the others.
"""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import tornado.web
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError

from babygpt.errors import UserError
from babygpt.harness import web
from babygpt.harness.web import Refused
from babygpt.playground import writing
from babygpt.playground.models import Player
from babygpt.playground.requests import MAX_COUNT, MAX_PROMPT, Question

PAGE = Path(__file__).with_name("page")
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
BODY = 65_536  # bytes of a request, at most
AT_ONCE = 8  # requests that are answered at the same time, at most

Answer = TypeVar("Answer")


class Desk:
    """What all requests share: the models, the thread that computes, and how many requests are being answered."""

    def __init__(self, players: dict[str, Player]) -> None:
        self.players = players
        self.thread = ThreadPoolExecutor(1)
        self.busy = 0

    async def compute(self, function: Callable[..., Answer], *arguments: Any, **options: Any) -> Answer:
        """Call a function in the thread that computes."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, lambda: function(*arguments, **options))


class Handler(web.Handler):
    """What all addresses share: only the page of this very server is answered."""

    def initialize(self, desk: Desk) -> None:
        """Tornado calls this for each request."""
        self.desk = desk

    def prepare(self) -> None:
        """Refuse a request that names another host or comes from the page of another site."""
        port = self.request.connection.stream.socket.getsockname()[1]
        own = own_hosts(port)
        origin = self.request.headers.get("Origin")
        try:
            if self.request.host not in own:
                raise Refused(403, f"this server is not {self.request.host!r}: open http://127.0.0.1:{port}")
            if origin is not None and origin.removeprefix("http://") not in own:
                raise Refused(403, f"this server answers its own page only, not {origin!r}")
        except Refused as refused:
            self.refuse(refused)


def own_hosts(port: int) -> set[str]:
    """How a browser may name this server: it leaves out port 80."""
    names = {"127.0.0.1", "localhost"}
    return {f"{name}:{port}" for name in names} | (names if port == 80 else set())


class NothingHandler(Handler):
    """All addresses that the others do not know."""

    def prepare(self) -> None:
        """Say so, if the request may be answered at all."""
        super().prepare()
        if not self._finished:
            self.refuse(Refused(404, f"there is no {self.request.path!r} here: open the address without it"))


class PageHandler(Handler):
    """GET /NAME: the files of the page."""

    def get(self, name: str) -> None:
        """A file in `page/`."""
        path = PAGE / (name or "index.html")
        content = path.read_bytes() if path.is_file() else None
        if content is None:
            self.refuse(Refused(404, f"there is no {name!r} here: open the address without it"))
            return
        self.set_header("Content-Type", f"{TYPES[path.suffix]}; charset=utf-8")
        if path.suffix == ".html":
            self.set_header("Content-Security-Policy", page_policy(content.decode("utf-8")))
        self.finish(content)


def page_policy(page: str) -> str:
    """What the page may load: its own files, and the one script that is written into it, by its checksum."""
    inline = re.search(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)[1]
    checksum = base64.b64encode(hashlib.sha256(inline.encode("utf-8")).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{checksum}'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class ModelsHandler(Handler):
    """GET /models: which models there are, and how long a prompt and a text may be."""

    def get(self) -> None:
        """All of them."""
        players = [player.about() for player in self.desk.players.values()]
        self.finish({"models": players, "maxPrompt": MAX_PROMPT, "maxCount": MAX_COUNT})


class AskHandler(Handler):
    """POST with a question as JSON. Each subclass answers one kind."""

    async def post(self) -> None:
        """Answer, or say why not."""
        try:
            if self.desk.busy >= AT_ONCE:
                raise Refused(429, f"{AT_ONCE} requests are being answered already: wait for one of them, or stop it")
            self.desk.busy += 1
            try:
                question = Question.read(self.request.body, self.desk.players)
                await self.answer(question)
            except UserError as error:
                raise Refused(400, str(error)) from None
            finally:
                self.desk.busy -= 1
        except Refused as refused:
            self.refuse(refused)
        except StreamClosedError:
            pass  # the page has stopped it, or is gone

    async def answer(self, question: Question) -> None:
        """Send the answer."""
        raise NotImplementedError

    async def send(self, **line: Any) -> None:
        """Send a line of JSON at once."""
        self.write(json.dumps(line) + "\n")
        await self.flush()


class WriteHandler(AskHandler):
    """POST /write: the given tokens, and then new ones, each as a line, as soon as there is one."""

    async def answer(self, question: Question) -> None:
        """Stream the lines. The last one says that nothing is missing."""
        ids = {player.name: question.start(player) for player in question.players}
        shown = {player.name: writing.Shown(player.tokenizer) for player in question.players}
        self.set_header("Content-Type", "application/x-ndjson")
        for player in question.players:
            scores = await self.desk.compute(writing.surprises, player, ids[player.name], question.off)
            for token, surprise in zip(ids[player.name], scores, strict=True):
                text = shown[player.name].add(token)
                self.write(json.dumps({"model": player.name, "id": token, "text": text, "surprise": surprise}) + "\n")
        await self.flush()
        for _ in range(question.count):
            for player in question.players:
                so_far = ids[player.name]
                token = await self.desk.compute(
                    writing.next_token, player, so_far, question.seed, question.off,
                    question.choices.get(len(so_far)), **question.how,
                )  # fmt: skip
                so_far.append(token["id"])
                await self.send(model=player.name, text=shown[player.name].add(token["id"]), written=True, **token)
        await self.send(done=True)


class LookHandler(AskHandler):
    """POST /score, /alternatives, /attention, /lens: what `writing.py` says about the given tokens."""

    async def answer(self, question: Question) -> None:
        """The answer of the function of that name."""
        function = {
            "/score": lambda *what: {"surprises": writing.surprises(*what)},
            "/alternatives": writing.alternatives,
            "/attention": writing.attention,
            "/lens": writing.lens,
        }[self.request.path]
        player = question.players[0]
        self.finish(await self.desk.compute(function, player, question.start(player), question.off))


def listen(players: dict[str, Player], port: int) -> tuple[HTTPServer, int]:
    """Start to listen on 127.0.0.1, in a running event loop; return the server and its port.

    Raises:
        UserError: the port cannot be had.
    """
    shared = {"desk": Desk(players)}
    app = tornado.web.Application(
        [
            (r"/models", ModelsHandler, shared),
            (r"/write", WriteHandler, shared),
            (r"/(?:score|alternatives|attention|lens)", LookHandler, shared),
            (r"/([a-z]*(?:\.[a-z]+)?)", PageHandler, shared),
        ],
        log_function=lambda handler: None,
        default_handler_class=NothingHandler,
        default_handler_args=shared,
    )
    return web.listen(app, "127.0.0.1", port, max_body_size=BODY, body_timeout=5.0, idle_connection_timeout=60)
