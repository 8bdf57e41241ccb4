"""Names of lease holders. On one machine others see that a holder's process has ended; elsewhere leases run out."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

_NAME: Final = re.compile("(?P<machine>[0-9a-f]+)x(?P<process>[0-9]{1,9})x(?P<begun>[0-9]+)x[0-9a-f]+")
_ended: set[str] = set()
"""Of this process."""


def new_holder() -> str:
    """Return a name that nobody else has, of letters and digits."""
    process = os.getpid()
    return f"{_machine()}x{process}x{_begun(process)}x{secrets.token_hex(8)}"


def end(holder: str) -> None:
    """Let this process know that a holder of its own holds nothing any more."""
    _ended.add(holder)


def has_ended(holder: str) -> bool | None:
    """Whether a holder has ended; None where that cannot be told here."""
    name = _NAME.fullmatch(holder)
    # On Windows, which has no such name, to ask whether a process is there would be to end it.
    if name is None or not name["machine"] or name["machine"] != _machine():
        return None
    try:
        os.kill(int(name["process"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        pass
    return holder in _ended or _begun(int(name["process"])) not in {name["begun"], ""}


def _begun(process: int) -> str:
    """Return when a process began, in ticks since the machine did; empty where that cannot be seen."""
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except OSError:
        return ""


@functools.cache
def _machine() -> str:
    """Return a name for what numbers processes, which a container does for itself; empty where there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        return hashlib.sha256((boot + str(Path("/proc/self/ns/pid").readlink())).encode()).hexdigest()[:16]
    except OSError:
        return ""
