"""`hashhub witness …`: a witness for the logs of other hubs."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import click

from hashhub.addresses import bind, parse_address, shown
from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, command, private_files
from hashhub.cli.terminal import note
from hashhub.errors import missing_extra
from hashhub.local_files import named_file
from hashhub.tlog.policy import parse_policy


@main.group("witness", cls=CommandGroup)
def witness() -> None:
    """A witness: it cosigns the logs of other hubs, so that none of them can show different people different ones."""


@command(witness, "serve", local=True)
@click.option("--name", required=True, help="What the witness is called: a URL without its scheme.")
@click.option("--policy", required=True, metavar="FILE", help="Lines 'log VKEY' for the logs that are cosigned.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="HASHHUB_WITNESS",
    default="hashhub-witness",
    show_default=True,
    metavar="DIR",
    help="Where its key is, and what it cosigned last (HASHHUB_WITNESS).",
)
@click.option(
    "--listen", default="127.0.0.1:8476", show_default=True, metavar="HOST:PORT", help="Port 0: any free one."
)
def serve_witness(session: Session, *, name: str, policy: str, directory: Path, listen: str) -> None:
    """Cosign checkpoints until it is stopped, at POST /add-checkpoint; prints the key to verify that by.

    The directory is made with a new key if it is not there. Never bring back an older copy of it: the witness would
    cosign what it must not. docs/operate/witnesses.md says what to give to whom.
    """
    try:
        from hashhub.witness import LogWitnessing, serve
    except ImportError as e:
        raise missing_extra(e, "server", what="a witness") from e
    known = parse_policy(named_file("policy", policy))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    with private_files(), LogWitnessing(directory, name, known) as opened, opened.locked():
        listener = bind("listen", listen)

        def ready() -> None:
            address = shown(parse_address("listen", listen)[0], listener.getsockname()[1])
            with suppress(OSError):  # a closed pipe is no reason not to serve
                session.answer({"listen": address, "key": opened.key}, opened.key)
                if not session.json:
                    note(f"listening on {address}, for {len(known.logs)} logs")

        serve(opened, listener, ready)
