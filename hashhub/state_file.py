"""A SQLite file of a program's own, in which it goes on where it was after a kill."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from hashhub.errors import Conflict, DataLoss, FailedPrecondition, HashHubError, InvalidArgument, LimitExceeded, Reason
from hashhub.local_files import connect, obstacle


class StateFile:
    """The file, open. Use it as a context manager, or close it. What is written in it stands in a `transaction`."""

    what: ClassVar[str]
    """What errors call it."""
    remedy: ClassVar[str]
    """What to do about one that is damaged."""
    field: ClassVar[str] = "directory"
    """What names where it is."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it for its owner alone, and `_open` it. Raises HashHubError."""
        self._path = path
        with self._mapped():
            self._db = connect(path, isolation_level=None, timeout=30.0, check_same_thread=False)
            try:
                self._db.execute("PRAGMA secure_delete = ON").close()  # what was erased must not stand in free pages
                self._db.execute("PRAGMA journal_mode = WAL").close()
                self._open()
            except BaseException:
                self.close()  # SQLite goes by what the connections of this process met, until the last is closed
                raise

    def _open(self) -> None:
        """Make or read the tables."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all that is changed within, or nothing."""
        with self._mapped():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, values: Iterable[Any] = ()) -> list[Any]:
        with self._mapped(), closing(self._db.execute(sql, tuple(values))) as cursor:
            return cursor.fetchall()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Raise what SQLite and the system say as our own errors."""
        try:
            yield
        except sqlite3.Error as e:
            match getattr(e, "sqlite_errorcode", 0) & 0xFF:
                case sqlite3.SQLITE_FULL:
                    told = f"the disk of {self.what} is full: free some space, then run it again"
                    raise LimitExceeded(told, reason=Reason.DISK_FULL) from e
                case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                    raise Conflict(f"another process writes to {self.what}; end it, or retry later") from e
                case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                    raise DataLoss(f"the file of {self.what}, {self._path.name}, is damaged: {self.remedy}") from e
            raise HashHubError(f"{self.what} cannot be written: {e}; check its disk and permissions") from e
        except msgspec.DecodeError as e:
            told = f"{self._path.name} was written by another version of hashhub: {self.remedy}"
            raise FailedPrecondition(told, reason=Reason.DATA_IN_USE) from e
        except OSError as e:
            raise InvalidArgument.field(self.field, f"cannot be used: {obstacle(e, self.what)}", "NOT_ALLOWED") from e
