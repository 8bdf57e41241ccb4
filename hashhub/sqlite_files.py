"""Databases of SQLite that this process opens, and other files, opened so that none of them is such a database.

SQLite locks a file for the process. A process that closes any descriptor of the file loses these locks, whoever opened
it and why: another process then takes the journal for nobody's, and removes it with all that stands in it alone
(https://www.sqlite.org/howtocorrupt.html, 2.2). So nothing but SQLite opens a database's files.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any, Final

_ENDS: Final = ("", "-wal", "-shm", "-journal")
_databases: Final[set[str]] = set()


def connect(path: Path, **options: Any) -> sqlite3.Connection:
    """Open or make a database for its owner only, as `sqlite3.connect` does. Raises OSError where it is another's."""
    _databases.add(str(path.absolute()))  # before it is opened, and for good: another connection may stay
    database: sqlite3.Connection = sqlite3.connect(path, **options)
    try:
        path.chmod(0o600)  # by its name, without opening it; SQLite gives its other files the permissions of this one
    except BaseException:
        database.close()
        raise
    return database


def open_regular(path: str | Path, *, folder: int | None = None, follow: bool = True) -> int:
    """Open a regular file that somebody named, to read it; `folder`: descriptor of where the path begins. Raises
    OSError for anything else, unopened: a pipe, a device, a database of `connect`, a link unless `follow`.
    """
    # With O_PATH nothing is opened yet: closing it gives no lock up.
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW), dir_fd=folder)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if _is_database(status):
            raise OSError(errno.EBUSY, "it is a database that hashhub has open", str(path))
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def _is_database(status: os.stat_result) -> bool:
    for name in tuple(_databases):
        for end in _ENDS:
            try:
                if os.path.samestat(status, os.stat(name + end)):  # noqa: PTH116 - thrice as fast, for each file
                    return True
            except OSError:
                continue
    return False
