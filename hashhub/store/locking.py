"""One server for one data directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hashhub.errors import FailedPrecondition, Reason, Unavailable

_FILE: Final = "hashhub.lock"


@contextmanager
def lock_data(directory: str | Path) -> Iterator[None]:
    """Hold the data directory for this process and its children until the block ends or the process dies.

    The kernel drops the lock with the process, so a crash leaves nothing to clean up. Raises FailedPrecondition (DATA_IN_USE) when
    another server holds it, Unavailable when the directory cannot be written.
    """
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        file = os.open(Path(directory) / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise Unavailable(
            "the data directory cannot be written; check its permissions and disk", reason=Reason.DATABASE_UNAVAILABLE
        ) from e
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            owner = os.pread(file, 32, 0).decode("ascii", "replace").strip()
            raise FailedPrecondition(
                f"another hashhub server (process {owner or 'unknown'}) uses this data directory: "
                "stop it, or start this one with another --data",
                reason=Reason.DATA_IN_USE,
            ) from e
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)
