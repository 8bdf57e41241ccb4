"""Where `hashhub login` keeps a session: in a file for its owner alone, which says until when it holds. Where a
`keyring` package is installed that works, the secret stands there, and the file says so.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Final
from urllib.parse import quote

from hashhub.errors import FailedPrecondition
from hashhub.local_files import make_directory, written

_SERVICE: Final = "hashhub"
_IN_KEYRING: Final = "keyring"  # in the file, where a secret would stand


def login_file(server: str) -> Path:
    """Return where the session is kept that a person got for a hub."""
    directory = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return directory / "hashhub" / f"session-{quote(server, safe='')}"


def keep(server: str, secret: str, until: datetime) -> str:
    """Keep a session, and return where."""
    file, where, text = login_file(server), "", secret
    with suppress(Exception):  # not installed, locked, or whatever its system says
        keyring = import_module("keyring")
        keyring.set_password(_SERVICE, server, secret)
        if keyring.get_password(_SERVICE, server) == secret:  # some backends keep nothing
            where, text = str(keyring.get_keyring().name), _IN_KEYRING
    make_directory(file.parent)
    with written(file, replace=True) as target:
        target.write(f"{text} {until.isoformat()}".encode("ascii"))
    return where or str(file)


def secret_of(server: str, text: str) -> str:
    """Return the secret of a file's text. Raises FailedPrecondition where the keyring does not give it."""
    if text != _IN_KEYRING:
        return text
    with suppress(Exception):
        if secret := import_module("keyring").get_password(_SERVICE, server):
            return str(secret)
    raise FailedPrecondition("the keyring does not give the session of `hashhub login`; unlock it, or log in again")


def forget(server: str) -> None:
    """Remove a session from the keyring and the file. Raises FailedPrecondition where the keyring does not."""
    file = login_file(server)
    try:
        import_module("keyring").delete_password(_SERVICE, server)
    except Exception as e:
        if file.exists() and file.read_bytes().startswith(_IN_KEYRING.encode()):
            told = "the keyring does not forget the session; unlock it, or remove `hashhub` there, and log out again"
            raise FailedPrecondition(told) from e
    file.unlink(missing_ok=True)
