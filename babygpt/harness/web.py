"""What the web servers of this package share. They use Tornado, which Jupyter brings along.

No page may load anything from elsewhere or send anything there, the pages of other sites may load nothing from here,
errors are one sentence, and a port that is taken is a mistake of the user.
"""

import tornado.web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from babygpt.errors import UserError

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request that is not answered, and the HTTP status that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Handler(tornado.web.RequestHandler):
    """What all addresses share."""

    policy = "default-src 'none'"
    """What a page may load, and from where: its Content-Security-Policy."""

    def set_default_headers(self) -> None:
        """No page may load or send anything elsewhere."""
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Security-Policy", self.policy)

    def write_error(self, status_code: int, **kwargs: object) -> None:
        """Errors in a line, without a traceback."""
        self.finish({"error": self._reason})

    def refuse(self, refused: Refused) -> None:
        """Answer with the reason."""
        self.set_status(refused.status)
        self.finish({"error": str(refused)})


def listen(app: tornado.web.Application, host: str, port: int, **limits: float) -> tuple[HTTPServer, int]:
    """Start to listen, in a running event loop; return the server and its port, which is chosen if it is 0.

    Args:
        limits: of Tornado's `HTTPServer`, for example `max_body_size`.

    Raises:
        UserError: the port cannot be had.
    """
    server = HTTPServer(app, **limits)
    try:
        sockets = bind_sockets(port, host)
    except OSError as error:
        raise UserError(f"cannot listen on {host}, port {port} ({error.strerror}): choose another --port") from error
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]
