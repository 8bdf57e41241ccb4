"""`hashhub hook serve` and `hashhub hook clamd`: the sidecar, and the same for what has uploads scanned by ClamAV."""

from __future__ import annotations

import logging
import resource
import sys
from contextlib import suppress
from typing import Final

import click
import msgspec

from hashhub.cli.hook import SETTINGS, hook, settings_of
from hashhub.cli.session import Session, command, private_files
from hashhub.cli.terminal import note, say
from hashhub.errors import missing_extra

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_DESCRIPTORS: Final = 8192  # a connection has up to 12: its own, and two for each upload of a session


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
            session.answer({"listen": address}, f"the hook is ready: http://{address}/docs")
            if not (session.json or settings.sidecar.secret_file):
                note("no secret is set: whoever reaches this address may ask")

    with private_files(), open_hook(settings) as opened:
        serve_sidecar(opened, on_ready=ready)


@command(hook, "clamd", local=True)
@SETTINGS
def serve_clamd(session: Session, *, settings_file: str | None) -> None:
    """Answer clients of clamd until it is stopped: uploads are checked, and scanned by the real clamd behind.

    The section [clamd] of the settings says where clients come in, and where the real clamd is: docs/hook/clamd.md.
    """
    from hashhub.hook import open_hook
    from hashhub.hook.clamd import serve

    settings = settings_of(settings_file)

    def ready(address: str, socket: str) -> None:
        with suppress(OSError):  # a closed pipe is no reason not to serve
            if session.print_if_json({"listen": address, "socket": socket, "chained": settings.clamd.chained}):
                return
            say(f"the clamd door is open on {' and '.join(filter(None, (address, socket)))}")
            if settings.clamd.is_chained:
                note(f"uploads go on to the real clamd at {settings.clamd.chained}")
            else:
                note("there is no real clamd behind it: nobody looks for viruses")

    if not logging.root.handlers:
        logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with open_hook(settings) as checks:
        serve(checks, ready)
