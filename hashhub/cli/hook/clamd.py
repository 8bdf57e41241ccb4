"""`hashhub hook clamd`: the door for products that have uploads scanned by ClamAV."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress
from typing import Final

from hashhub.cli.hook.group import SETTINGS, hook, settings_of
from hashhub.cli.session import Session, command
from hashhub.cli.terminal import note, print_json, say

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_DESCRIPTORS: Final = 8192  # a connection has up to 12: its own, and two for each upload of a session


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
            if session.json:
                print_json({"listen": address, "socket": socket, "chained": settings.clamd.chained})
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
