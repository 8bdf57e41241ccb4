"""What edges share that go on after a kill: a SQLite file with where one is, and a lock that one process has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Final, Self

import msgspec

from hashhub.errors import Conflict, FailedPrecondition, InvalidArgument, LimitExceeded, Reason
from hashhub.local_files import connect, lock_file, obstacle

DATABASE: Final = ".db"
LOCK: Final = ".lock"


class EdgeState:
    """A state file, `what` it is of (a source, a peer). Reading needs no lock; it is changed within `locked`."""

    what = ""

    def __init__(self, path: Path, schema: str) -> None:
        """Open the file, or make it for its owner alone. Raises FailedPrecondition, InvalidArgument, LimitExceeded."""
        self._path = path
        self._lock: FileIO | None = None
        with self._mapped():
            self._db = connect(path, timeout=30.0, check_same_thread=False)
            try:
                self._db.executescript(f"PRAGMA secure_delete = ON; {schema}")
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Keep other processes from changing it meanwhile. Raises Conflict where one does, unless it is to `wait`."""
        with self._mapped():
            lock = lock_file(self._path.with_suffix(LOCK), wait=wait)
        if lock is None:
            raise Conflict(f"another process has {self._path.stem!r} in use; wait until it is done, or end it")
        with lock:
            yield

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all that is changed within, or nothing."""
        with self._mapped(), self._db:
            yield

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Raise what SQLite and the system say as our own errors."""
        try:
            yield
        except sqlite3.DatabaseError as e:
            if "full" in str(e):
                raise LimitExceeded("the disk is full: free some space, then retry", reason=Reason.DISK_FULL) from e
            raise FailedPrecondition(
                f"{self._path.name} cannot be used as the state of {self.what} ({str(e)[:100]}); if it is damaged, "
                "move it away: everything is then fetched again",
                reason=Reason.DATA_IN_USE,
            ) from e
        except msgspec.DecodeError as e:
            raise FailedPrecondition(
                f"{self._path.name} was written by another version of hashhub; move it away: everything is then "
                "fetched again",
                reason=Reason.DATA_IN_USE,
            ) from e
        except OSError as e:
            raise InvalidArgument.field("dir", obstacle(e, self.what)) from e


def gauge_lines(prefix: str, label: str, metric: str, kind: str, values: dict[str, float]) -> list[str]:
    """Return lines of Prometheus' text for one metric of several sources or peers."""
    name = f"hashhub_{prefix}_{metric}"
    return [f"# TYPE {name} {kind}", *(f'{name}{{{label}="{one}"}} {value:g}' for one, value in values.items())]
