"""What was uploaded before the hook stood in the way: every object of a place is checked, and nothing is moved.

    scan_storage(hook, place_of("s3://app/media/", settings.bucket))

An object is downloaded once: what was asked about it is remembered in `DATA/scan.db`, and asked again in the next scan
while the object is as it was. Answers are not remembered, since lists grow. A scan that is cut short is continued by
another, which downloads only what the first has not.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import Conflict, DataLoss, HashHubError, LimitExceeded, Reason, Unavailable
from hashhub.hashes import SEARCHED
from hashhub.hook.decision import Decision, NoAnswer
from hashhub.hook.places import Place, Stored, Unlisted
from hashhub.model import Query

if TYPE_CHECKING:
    from hashhub.hook.core import Hook

DOOR: Final = "scan"
_STATE: Final = "scan.db"
_LOCK: Final = "scan.lock"
_FORMAT: Final = 1
_AWAY_AFTER: Final = 3
_YOUNG_SECONDS: Final = 2.0  # of an object that was this young when it was read, a change may not show in its stamp
_COMMIT_ROWS: Final = 256

_SCHEMA: Final = """
CREATE TABLE place (id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, run INTEGER NOT NULL, objects INTEGER NOT NULL);
CREATE TABLE object (
    place INTEGER NOT NULL REFERENCES place,
    name BLOB NOT NULL,
    run INTEGER NOT NULL,
    stamp TEXT NOT NULL,
    hashed_by TEXT NOT NULL,
    query BLOB NOT NULL,
    PRIMARY KEY (place, name)
) WITHOUT ROWID;
"""


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one object. Either `decision` or `error`: why it could not be read. `is_remembered`: it was not
    downloaded, since it is as it was.
    """

    name: str
    where: str
    size: int = 0
    decision: Decision | None = None
    error: HashHubError | None = None
    is_remembered: bool = False


class ScanMemory:
    """What was asked about the objects of one place, by whom it is held: one scan at a time. For one thread."""

    def __init__(self, database: sqlite3.Connection, url: str, hashed_by: str) -> None:
        self._database = database
        self._hashed_by = hashed_by
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Query)
        self._unwritten = 0
        with _mapped():
            self._place, self._run, self.objects = database.execute(
                "INSERT INTO place (url, run, objects) VALUES (?, 1, 0) "
                "ON CONFLICT (url) DO UPDATE SET run = run + 1 RETURNING id, run, objects",
                (url,),
            ).fetchone()
            database.commit()

    def recall(self, stored: Stored) -> Query | None:
        """Return what to ask about an object that is as it was."""
        with _mapped():
            row = self._database.execute(
                "SELECT stamp, hashed_by, query FROM object WHERE place = ? AND name = ?", self._key(stored.name)
            ).fetchone()
        if row is None or row[:2] != (stored.stamp, self._hashed_by):
            return None
        try:
            query = self._decoder.decode(row[2])
        except msgspec.MsgspecError:
            return None  # written by a version that called itself the same; read again
        self._write("UPDATE object SET run = ? WHERE place = ? AND name = ?", (self._run, *self._key(stored.name)))
        return query

    def remember(self, stored: Stored, query: Query, *, begun: float) -> None:
        """Keep what was asked. `begun`: the clock when reading began, in seconds since 1970."""
        if stored.modified > begun - _YOUNG_SECONDS:
            return
        self._write(
            "INSERT OR REPLACE INTO object (place, name, run, stamp, hashed_by, query) VALUES (?, ?, ?, ?, ?, ?)",
            (*self._key(stored.name), self._run, stored.stamp, self._hashed_by, self._encoder.encode(query)),
        )

    def end(self, objects: int) -> int:
        """Note that the scan came to its end, with so many objects; return how many of earlier scans are gone."""
        with _mapped():
            gone = self._database.execute(
                "DELETE FROM object WHERE place = ? AND run <> ?", (self._place, self._run)
            ).rowcount
            self._database.execute("UPDATE place SET objects = ? WHERE id = ?", (objects, self._place))
            self._database.commit()
        return gone

    def _key(self, name: str) -> tuple[int, bytes]:
        return self._place, name.encode("utf-8", "surrogateescape")

    def _write(self, sql: str, values: tuple[object, ...]) -> None:
        with _mapped():
            self._database.execute(sql, values)
            self._unwritten += 1
            if self._unwritten >= _COMMIT_ROWS:
                self._database.commit()
                self._unwritten = 0


@contextmanager
def scan_memory(hook: Hook, place: Place) -> Iterator[ScanMemory]:
    """Hold the memory of the scans of a place. Raises Conflict when another scan of this hook is under way."""
    from hashhub.hashing.software import software

    directory = Path(hook.settings.data)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise Conflict("another scan is under way with this data directory; wait until it is done") from e
        path = directory / _STATE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with _mapped():
            database = sqlite3.connect(path, isolation_level="DEFERRED")
            try:
                database.execute("PRAGMA journal_mode = WAL").close()
                database.execute("PRAGMA synchronous = NORMAL").close()
                [(version,)] = database.execute("PRAGMA user_version").fetchall()
                if version != _FORMAT:  # none yet, or another version's: it is only a memory
                    for table in ("object", "place"):
                        database.execute(f"DROP TABLE IF EXISTS {table}")
                    database.executescript(f"{_SCHEMA} PRAGMA user_version = {_FORMAT};")
                yield ScanMemory(database, place.url, f"{software()}, {hook.settings.effort}")
            finally:
                with suppress(sqlite3.Error):
                    database.commit()
                database.close()
    finally:
        os.close(lock)


def scan_storage(hook: Hook, place: Place, *, memory: ScanMemory | None = None, jobs: int = 4) -> Iterator[Scanned]:
    """Check every object of a place, in the order in which they are done.

    Nothing is written but what `memory` remembers, and moved nothing at all. Objects beyond the hook's limit of bytes
    are not downloaded: TOO_LARGE, and not even their digests are known.

    Raises Unavailable when the place cannot be reached, or the hub has not answered several times in a row: what was
    not scanned then must not look as if it was.
    """
    listing = place.objects()
    under_way: dict[Future[tuple[Scanned, Query | None]], tuple[Stored, float]] = {}
    misses = 0
    is_at_end = False
    threads = ThreadPoolExecutor(jobs, "hook-scan")
    try:
        while not is_at_end or under_way:
            while not is_at_end and len(under_way) < 2 * jobs:
                item = next(listing, None)
                if item is None:
                    is_at_end = True
                elif isinstance(item, Unlisted):
                    yield Scanned(name=item.name, where=_where(place, item.name), error=item.error)
                else:
                    query = memory.recall(item) if memory is not None else None
                    under_way[threads.submit(_scanned, hook, place, item, query)] = (item, time.time())
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                item, begun = under_way.pop(future)
                scanned, query = future.result()
                if isinstance(scanned.error, Unavailable):
                    raise scanned.error
                if memory is not None and query is not None and not scanned.is_remembered:
                    memory.remember(item, query, begun=begun)
                is_away = scanned.decision is not None and scanned.decision.no_answer is NoAnswer.HUB_AWAY
                misses = misses + 1 if is_away else 0
                yield scanned
                if misses >= _AWAY_AFTER:
                    raise Unavailable(
                        f"the hub did not answer for {misses} objects in a row; run the same command again when it "
                        "does: what was downloaded is remembered"
                    )
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        close = getattr(listing, "close", None)
        if close is not None:
            close()


def _scanned(hook: Hook, place: Place, stored: Stored, query: Query | None) -> tuple[Scanned, Query | None]:
    where = _where(place, stored.name)
    try:
        if query is not None:
            decision = hook.check(query, upload_id=where, door=DOOR)
        else:
            with hook.receive(upload_id=where, door=DOOR) as upload:
                if stored.size > hook.settings.max_bytes:
                    upload.pass_over(stored.size)
                else:
                    for piece in place.read(stored):
                        upload.write(piece)
                decision = upload.decide()
                return (
                    Scanned(name=stored.name, where=where, size=stored.size, decision=decision),
                    upload.query if upload.query is not None and _is_whole(upload.query, decision) else None,
                )
    except HashHubError as e:
        return Scanned(name=stored.name, where=where, size=stored.size, error=e), None
    return Scanned(name=stored.name, where=where, size=stored.size, decision=decision, is_remembered=True), query


def _is_whole(query: Query, decision: Decision) -> bool:
    """Whether all was computed that can be: what matched by its digests, or could not be decoded, was not hashed."""
    return (
        decision.no_answer is NoAnswer.NO_PERCEPTUAL_HASH
        or bool(query.frames)
        or any(SEARCHED[h.algorithm].is_perceptual for h in query.hashes)
    )


def _where(place: Place, name: str) -> str:
    return f"{place.url.rstrip('/')}/{name}"


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        code = getattr(e, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise LimitExceeded(
                "the disk of the hook's data directory is full; make room, then run the command again",
                reason=Reason.DISK_FULL,
            ) from e
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise DataLoss(f"the memory of scans is damaged: remove {_STATE} and all objects are read again") from e
        raise Unavailable(f"the memory of scans cannot be used ({e}); check the disk and its permissions") from e
