"""The board of a room: `python -m babygpt.board` on the instructor's laptop, and `join`, `hand`, `leave` on the others.

One page shows everybody's loss curve, the exercises that are solved, and who has raised a hand. Joining is voluntary
and under a nickname. Nothing is stored after the server stops, unless --save says where.
"""

import asyncio
import json
import os
import secrets
import socket
import sys
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from babygpt.errors import UserError, require
from babygpt.harness.reports import ADDRESS, MEMBERSHIP, VARIABLE, Membership
from babygpt.harness.terminal import run_command

LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # none that look alike


@dataclass(frozen=True)
class Serve:
    """Show the board of a room, until Ctrl-C."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets the other laptops in."""

    port: int = 8765
    """Port to listen on."""

    save: Path | None = None
    """A JSON file to store the state in, every minute and at the end."""

    def run(self) -> None:
        """Serve."""
        try:
            from babygpt.workshop.board.server import serve
        except ImportError as error:
            raise UserError(
                f"the board needs {error.name}, which comes with Jupyter: install requirements.txt"
            ) from error
        from babygpt.workshop.board.room import Room

        room = Room("".join(secrets.choice(LETTERS) for _ in range(6)))
        address = f"http://{own_address() if self.host == '0.0.0.0' else self.host}:{self.port}/{room.code}"
        print(f"The board:  {address}\nTo join:    python -m babygpt.board join {address} NICKNAME")
        if self.host == "127.0.0.1":
            print("Only this laptop can reach it. With --host 0.0.0.0 the whole room can.")
        print("Ctrl-C ends it.", flush=True)
        try:
            asyncio.run(serve(room, self.host, self.port, self.save))
        finally:
            if self.save:
                self.save.write_text(json.dumps(room.state(), indent=1), encoding="utf-8")


@dataclass(frozen=True)
class Join:
    """Join a board: from now on, losses and checks are reported, under a nickname."""

    address: tyro.conf.Positional[str]
    """The address that the instructor shows, for example http://10.0.0.5:8765/K7QX2M."""

    name: tyro.conf.Positional[str]
    """A nickname."""

    def run(self) -> None:
        """Join.

        Raises:
            UserError: the address is none, or the board cannot be reached, or it refuses.
        """
        match = ADDRESS.fullmatch(self.address.strip().rstrip("/"))
        require(
            match is not None, f"{self.address!r} is not the address of a board, such as http://10.0.0.5:8765/K7QX2M"
        )
        require(bool(self.name.strip()), "choose a nickname")
        membership = Membership(match["server"], match["code"], self.name.strip())
        post(membership, {"kind": "join"})
        MEMBERSHIP.write_text(f"{membership.server}/{membership.code}#{membership.name}\n", encoding="utf-8")
        print(
            f"You are {membership.name!r}. Losses and checks are reported from now on. To leave: "
            "python -m babygpt.board leave"
        )
        print("To raise your hand: python -m babygpt.board hand")


@dataclass(frozen=True)
class Hand:
    """Raise your hand, or lower it."""

    down: bool = False
    """Lower it."""

    def run(self) -> None:
        """Report it.

        Raises:
            UserError: this user has not joined a board, or it cannot be reached.
        """
        membership = Membership.current()
        require(membership is not None, "you have not joined a board: python -m babygpt.board join ADDRESS NICKNAME")
        post(membership, {"kind": "hand", "up": not self.down})
        print(
            "Your hand is down." if self.down else "Your hand is up. To lower it: python -m babygpt.board hand --down"
        )


@dataclass(frozen=True)
class Leave:
    """Leave the board: nothing is reported anymore."""

    def run(self) -> None:
        """Leave, also if the board is gone."""
        membership = Membership.current()
        MEMBERSHIP.unlink(missing_ok=True)
        if membership:
            try:
                membership.post({"kind": "leave"})
            except (OSError, ValueError):
                pass  # the board is gone already
        print("You have left the board." if membership else "You had not joined a board.")
        if VARIABLE in os.environ:
            print(f"The environment variable {VARIABLE} is still set: remove it, too.")


Command = (
    Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[Join, tyro.conf.subcommand("join")]
    | Annotated[Hand, tyro.conf.subcommand("hand")]
    | Annotated[Leave, tyro.conf.subcommand("leave")]
)


def post(membership: Membership, report: dict[str, object]) -> None:
    """Send a report and wait for the answer.

    Raises:
        UserError: the board cannot be reached, or refuses the report.
    """
    try:
        membership.post(report, timeout=5)
    except urllib.error.HTTPError as error:
        why = json.loads(error.read() or b"{}").get("error", error.reason)
        raise UserError(f"the board refuses: {why}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise UserError(
            f"there is no board at {membership.server} ({why}): check the address with the instructor"
        ) from error


def own_address() -> str:
    """The address of this laptop in the room's network, as far as it can be told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))  # sends nothing: it only chooses the network
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def main(argv: list[str] | None = None) -> None:
    """Do what the command line says, and exit."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or (argv[0].startswith("--") and argv[0] != "--help"):
        argv = ["serve", *argv]
    run_command(Command, lambda command: command.run(), "python -m babygpt.board", argv)
