"""Watch a model write, and see why: `python -m babygpt.playground runs/v10`.

A page in the browser shows how surprised the model is at each character, what else it could have written, where its
heads look, what its layers would have said, and versions 1 to 10 side by side.
"""

import asyncio
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from babygpt.errors import UserError, require_within
from babygpt.harness.terminal import run_command


@dataclass(frozen=True)
class PlaygroundConfig:
    """Watch a model write, and see why, on a page in the browser. Versions 1 to 10 come with it."""

    folders: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PATH ...", help_behavior_hint="(optional)")
    ] = ()
    """Run folders of your own, for example runs/v10."""

    port: int = 8770
    """Port to listen on; only this machine can reach it."""

    no_browser: bool = False
    """Print the address, and do not open it."""

    def __post_init__(self) -> None:
        require_within(self, 1, 65_535, "port")


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C, and exit: 130, or 2 for bad input."""
    run_command(PlaygroundConfig, play, "python -m babygpt.playground", argv)


def play(config: PlaygroundConfig) -> None:
    """Load the models, start the server and open the page.

    Raises:
        UserError: a run cannot be read, the port is taken, or a package is missing.
    """
    from babygpt.playground.models import load_all

    try:
        from babygpt.playground import server
    except ImportError as error:
        raise UserError(
            f"the playground needs {error.name}, which comes with Jupyter: install requirements.txt"
        ) from error
    players = load_all(config.folders)
    address = f"http://127.0.0.1:{config.port}/"

    async def serve() -> None:
        server.listen(players, config.port)
        print(f"The playground:  {address}\nOnly this machine can reach it. Ctrl-C ends it.", flush=True)
        if not config.no_browser:
            webbrowser.open(address)
        await asyncio.Event().wait()

    asyncio.run(serve())
