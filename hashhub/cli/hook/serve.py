"""`hashhub hook serve`: the sidecar."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

import click
import msgspec

from hashhub.cli.hook.group import SETTINGS, hook, settings_of
from hashhub.cli.session import Session, command
from hashhub.cli.terminal import note, print_json, say
from hashhub.errors import missing_extra


@command(hook, "serve", local=True)
@SETTINGS
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on; port 0: any free one.")
@click.option("--quiet", is_flag=True, help="No line for each request.")
def serve(session: Session, *, settings_file: str | None, listen: str | None, quiet: bool) -> None:
    """Run the sidecar until it is stopped: POST an upload's bytes to /check, get a decision.

    One line of JSON for each request goes to stderr: path, status, decision, no names of files. See
    docs/hook/sidecar.md.
    """
    settings = settings_of(settings_file)
    if listen is not None:
        settings = msgspec.structs.replace(settings, sidecar=msgspec.structs.replace(settings.sidecar, listen=listen))
    try:
        from hashhub.hook.sidecar import serve as serve_sidecar
    except ImportError as e:
        raise missing_extra(e, "hook", what="the sidecar") from e
    from hashhub.hook import open_hook

    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("hashhub").setLevel(logging.INFO)
    logging.getLogger("hashhub.hook.access").setLevel(logging.WARNING if quiet else logging.INFO)

    def ready(address: str) -> None:
        with suppress(OSError):  # a closed pipe is no reason not to serve
            if session.json:
                print_json({"listen": address})
            else:
                say(f"the hook is ready: http://{address}/docs")
                if not settings.sidecar.secret_file:
                    note("no secret is set: whoever reaches this address may ask")

    before = os.umask(0o077)  # whatever it writes is for its own user
    try:
        with open_hook(settings) as opened:
            serve_sidecar(opened, on_ready=ready)
    finally:
        os.umask(before)
