"""`hashhub console …`: the console of a hub on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, command
from hashhub.cli.terminal import note
from hashhub.config import Config
from hashhub.errors import NotFound, Unauthenticated


@main.group("console", cls=CommandGroup)
def console() -> None:
    """The console: pages for people in a browser, which `hashhub serve --console HOST:PORT` has beside the hub."""


@command(console, "link")
@click.option("--data", envvar="HASHHUB_DATA", metavar="DIR", help="The hub's data directory, or HASHHUB_DATA.")
def link(session: Session, *, data: str | None) -> None:
    """Write a link that signs a browser on this machine in, once, within ten minutes, as the token in use."""
    from hashhub.console.hub_console import folder_of
    from hashhub.console.sessions import Sessions

    with session.connect() as hub:
        who = hub.caller()
    folder = folder_of(data or Config().data)
    try:
        address = (folder / "address").read_text("ascii")
    except OSError as e:
        raise NotFound(
            f"no console on this machine is one of {os.fspath(Path(data or Config().data))}; name the hub's data "
            "directory with --data, and start the hub with `hashhub serve --console HOST:PORT`"
        ) from e
    if not (secret := session.secret()):
        raise Unauthenticated("a link takes a token, and a client certificate is none: name one with --token-file")
    sessions = Sessions(folder / "sessions.db")
    try:
        code = sessions.make_link(secret)
    finally:
        sessions.close()
    url = f"{address}/sign-in/link/{code}"
    note(f"It signs in as {who.name}, works once, and within ten minutes:")
    session.answer({"url": url, "name": who.name}, url)
