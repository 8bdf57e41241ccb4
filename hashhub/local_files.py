"""Files kept on this machine: what stands in the way of one, and databases of SQLite beside others that are opened.

A process that closes any descriptor of a database loses its locks, and another process removes the journal with all
that stands in it alone (https://www.sqlite.org/howtocorrupt.html, 2.2). So nothing but SQLite opens its files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
from io import FileIO
from pathlib import Path
from typing import IO, Any, Final

_IN_THE_WAY: Final = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO})
_DIRECTORY_EXPECTED: Final = frozenset({errno.EEXIST, errno.ENOTDIR})
_SHOWN: Final = 3  # of a path's names: which file it is, and nothing of where the machine keeps its data
_ENDS: Final = ("", "-wal", "-shm", "-journal")
_databases: Final[set[str]] = set()


def is_in_the_way(error: OSError) -> bool:
    """Whether something else stands where a file or directory belongs, so that moving it away helps."""
    path = _path_of(error)
    return path is not None and (error.errno in _IN_THE_WAY or (error.errno == errno.ENOENT and path.is_symlink()))


def obstacle(error: OSError, who: str) -> str:
    """Return what is wrong with which path: `copy/index/mark is a directory, where the hook expects a file that it
    makes itself`, or `copy/index/mark: Permission denied`.
    """
    path = _path_of(error)
    reason = error.strerror or type(error).__name__
    if path is None:
        return reason
    if not is_in_the_way(error):
        return f"{shown(path)}: {reason}"
    in_the_way = next(p for p in (path, *path.parents) if os.path.lexists(p))
    is_directory_expected = error.errno in _DIRECTORY_EXPECTED or in_the_way != path
    return misplaced(in_the_way, who, "directory" if is_directory_expected else "file")


def open_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file kept here; return its descriptor. Raises OSError, also for what may block: a pipe, a device."""
    # A pipe or a socket that is opened to write only is refused by the system with the same error.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return descriptor
    os.close(descriptor)
    code = errno.EISDIR if stat.S_ISDIR(kind) else errno.ENXIO
    raise OSError(code, os.strerror(code), str(path))


def lock(file: FileIO | IO[Any], *, wait: bool = False) -> bool:
    """Keep other processes from a file until it is closed; return False where one of them has it, unless `wait`."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def lock_file(path: Path, mode: int = 0o600, *, wait: bool = False) -> FileIO | None:
    """Open or make a file to append to it, and `lock` it; return None where another process has it. Raises OSError."""
    file = FileIO(open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode), "r+")
    if lock(file, wait=wait):
        return file
    file.close()
    return None


def read_file(path: Path) -> bytes:
    """Return what is in a file that is kept here. Raises OSError, as `open_file` does."""
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read()


def misplaced(path: Path, who: str, expected: str) -> str:
    """Return that something else stands where a file or directory belongs."""
    return f"{shown(path)} is a {_kind(path)}, where {who} expects a {expected} that it makes itself"


def shown(path: Path) -> str:
    """Return the end of a path, which says which file it is."""
    return "/".join(path.parts[-_SHOWN:])


def _path_of(error: OSError) -> Path | None:
    name = error.filename2 or error.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError:
        return "symbolic link that leads nowhere"
    if stat.S_ISDIR(mode):
        return "directory"
    return "file" if stat.S_ISREG(mode) else "device, pipe or socket"


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
