"""What is known of objects that were uploaded before, in `DATA/scan.db`: what to ask about each, and as what it was
recorded. It serves the scan of an archive and the search for copies of a case, which may go on side by side.

An object is read again when its stamp or what hashes it has changed. Answers are not remembered, since lists grow.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from hashhub.errors import DataLoss, HashHubError, LimitExceeded, Reason, Unavailable
from hashhub.hook.settings import Hashing
from hashhub.model import Query, ReasonLine
from hashhub.sqlite_files import connect
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from hashhub.hook.settings import HookSettings

FILE_NAME: Final = "scan.db"
_FORMAT: Final = 2
_YOUNG_SECONDS: Final = 2.0  # of an object that was this young when it was read, a change may not show in its stamp
_MOST_UNWRITTEN: Final = 256
_UNWRITTEN_SECONDS: Final = 5.0  # a scan that is killed reads again what it read within them
_BUSY_SECONDS: Final = 30.0  # for the other scan to write what it has

_SCHEMA: Final = """
CREATE TABLE number (scan INTEGER NOT NULL);
INSERT INTO number VALUES (0);
CREATE TABLE place (url BLOB PRIMARY KEY, objects INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE object (
    address BLOB PRIMARY KEY,
    scan INTEGER NOT NULL,
    stamp TEXT NOT NULL,
    hashed_by TEXT NOT NULL,
    query BLOB,
    reference TEXT NOT NULL
) WITHOUT ROWID;
"""
_SEEN: Final = "UPDATE object SET scan = max(scan, ?) WHERE address = ?"
_PUT: Final = """
INSERT INTO object VALUES (?2, max(?1, (SELECT scan FROM number)), ?3, ?4, ?5, coalesce(?6, ''))
ON CONFLICT (address) DO UPDATE SET scan = excluded.scan, stamp = excluded.stamp, hashed_by = excluded.hashed_by,
    query = excluded.query,
    reference = CASE WHEN ?6 IS NULL AND stamp = excluded.stamp THEN reference ELSE excluded.reference END
"""


class Known(msgspec.Struct, frozen=True):
    """What is known of an object that is as it was. `query`: what to ask about it; None: it must be read. `reference`:
    of the upload as which it was recorded; empty where it was not. `gaps`: what of it was not looked at when the hashes
    of the query were computed (FRAMES_SKIPPED).
    """

    query: Query | None = None
    reference: str = ""
    gaps: tuple[ReasonLine, ...] = ()


class _Hashed(msgspec.Struct, frozen=True):
    query: Query
    gaps: tuple[ReasonLine, ...]


def gaps_among(lines: Iterable[ReasonLine]) -> tuple[ReasonLine, ...]:
    """Return the lines that say what of an object was not looked at."""
    return tuple(line for line in lines if line.code == ReasonCode.FRAMES_SKIPPED)


_NOTHING: Final = Known()


class ScanMemory:
    """The memory of one scan. For one thread; several scans may have one each. Use it as a context manager."""

    def __init__(self, settings: HookSettings) -> None:
        """Raises HashHubError when the file cannot be used."""
        from hashhub.hashing.software import software

        at_hub = ", at the hub" if settings.hashing is Hashing.HUB else ""
        self._hashed_by = f"{software()}, {settings.effort}{at_hub}"
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(_Hashed)
        self._unwritten: list[tuple[str, tuple[object, ...]]] = []
        self._written = time.monotonic()
        directory = Path(settings.data)
        path = directory / FILE_NAME
        with _mapped():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
            try:
                self._database.execute("PRAGMA journal_mode = WAL").close()
                self._database.execute("PRAGMA synchronous = NORMAL").close()
                with self._transaction():
                    [(version,)] = self._database.execute("PRAGMA user_version").fetchall()
                    if version != _FORMAT:  # none yet, or another version's: it is only a memory
                        for table in ("object", "place", "number"):
                            self._database.execute(f"DROP TABLE IF EXISTS {table}")
                        for statement in _SCHEMA.split(";"):
                            self._database.execute(statement)
                        self._database.execute(f"PRAGMA user_version = {_FORMAT}")
                    [(self._scan,)] = self._database.execute("UPDATE number SET scan = scan + 1 RETURNING scan")
            except BaseException:
                self._database.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not written yet, and close the file."""
        try:
            self._write()
        finally:
            self._database.close()

    def recall(self, address: str, stamp: str) -> Known:
        """Return what is known of an object, if its stamp says that it is as it was."""
        with _mapped():
            row = self._database.execute(
                "SELECT stamp, hashed_by, query, reference FROM object WHERE address = ?", (_key(address),)
            ).fetchone()
        if row is None or row[0] != stamp:
            return _NOTHING
        self._later(_SEEN, (self._scan, _key(address)))
        if row[1] == self._hashed_by and row[2] is not None:
            try:
                hashed = self._decoder.decode(row[2])
            except msgspec.MsgspecError:  # by a version that called itself the same; it is read again
                return Known(reference=row[3])
            return Known(hashed.query, row[3], hashed.gaps)
        return Known(reference=row[3])

    def remember(
        self,
        address: str,
        stamp: str,
        query: Query | None,
        *,
        reference: str | None,
        gaps: tuple[ReasonLine, ...] = (),
        modified: float = 0.0,
        begun: float = float("inf"),
    ) -> None:
        """Keep what is known of an object now: as in Known; `reference` None: of a scan that records nothing, beside
        which another may have recorded the object. `modified`, `begun`: when it was changed last and when reading it
        began, in seconds since 1970: what to ask is not kept where a change in between may not show in the stamp.
        """
        encoded = (
            None if query is None or modified > begun - _YOUNG_SECONDS else self._encoder.encode(_Hashed(query, gaps))
        )
        if encoded is not None or reference:
            self._later(_PUT, (self._scan, _key(address), stamp, self._hashed_by, encoded, reference))

    def objects(self, url: str) -> int:
        """Return how many objects the last complete scan of a place came upon."""
        with _mapped():
            row = self._database.execute("SELECT objects FROM place WHERE url = ?", (_key(url),)).fetchone()
        return row[0] if row else 0

    def end(self, url: str, objects: int) -> int:
        """Note that the scan of a place came to its end, with so many objects; return how many of earlier ones, of
        those that are remembered, are gone.
        """
        self._write()
        below = _key(url).rstrip(b"/")
        with _mapped(), self._transaction():
            gone = self._database.execute(
                "DELETE FROM object WHERE address > ? AND address < ? AND scan < ?",
                (below + b"/", below + b"0", self._scan),  # 0 comes after /
            ).rowcount
            self._database.execute("INSERT OR REPLACE INTO place VALUES (?, ?)", (_key(url), objects))
        return gone

    def _later(self, sql: str, values: tuple[object, ...]) -> None:
        self._unwritten.append((sql, values))
        if len(self._unwritten) >= _MOST_UNWRITTEN or time.monotonic() > self._written + _UNWRITTEN_SECONDS:
            self._write()

    def _write(self) -> None:
        with _mapped(), self._transaction():
            for sql, values in self._unwritten:
                self._database.execute(sql, values)
        self._unwritten.clear()
        self._written = time.monotonic()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # a full disk ends it
                self._database.execute("ROLLBACK")
            raise


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except HashHubError:
        raise
    except (sqlite3.Error, OSError) as e:
        code = getattr(e, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise LimitExceeded(
                "the disk of the hook's data directory is full; make room, then run the command again",
                reason=Reason.DISK_FULL,
            ) from e
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise DataLoss(
                f"the memory of scans is damaged: remove {FILE_NAME} from the data directory; all objects are then "
                "read again"
            ) from e
        raise Unavailable(f"the memory of scans cannot be used ({e}); check the disk and its permissions") from e
