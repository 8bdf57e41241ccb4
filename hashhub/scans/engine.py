"""The way of an object in every scan (listed, recalled or read by a thread, answered in the order of completion), and
the memory by which unchanged objects are not read again.

An object is read again when its stamp or the hashing code has changed. Answers are not remembered, since lists grow.
The memory is on disk at once: the next scan continues one that was killed.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, Self, TypeVar

import msgspec

from hashhub.errors import Conflict, DataLoss, FailedPrecondition, HashHubError, LimitExceeded, Reason, Unavailable
from hashhub.local_files import connect

_I = TypeVar("_I")  # what is scanned
_T = TypeVar("_T")  # its hashes, as memory keeps them
_R = TypeVar("_R")  # what reading gives
_PAUSE: Final = 0.25  # seconds for which nothing is done until who waits is told so
_FORMAT: Final = 3
_APPLICATION: Final = 0x68687363  # "hhsc", so that no other program's database is taken for one of these
# Written to again within a tick of the file system's clock, a file can change and look as before: one this young is
# read again next time. Two seconds is the coarsest clock, FAT's.
YOUNG_SECONDS: Final = 2.0
_BUSY_SECONDS: Final = 30.0  # for another scan to write what it has

_SCHEMA: Final = """
CREATE TABLE scan (number INTEGER NOT NULL);
INSERT INTO scan VALUES (0);
CREATE TABLE place (address BLOB PRIMARY KEY, objects INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE object (
    address BLOB PRIMARY KEY,
    scan INTEGER NOT NULL,
    stamp TEXT NOT NULL,
    hashed_by TEXT NOT NULL,
    hashes BLOB,
    reference TEXT NOT NULL
) WITHOUT ROWID;
"""
# By the number of the last scan that began, not by the own one: what is seen now is not gone for that one either.
_SEE: Final = """
INSERT INTO object SELECT ?, number, '', '', NULL, '' FROM scan WHERE TRUE
ON CONFLICT (address) DO UPDATE SET scan = excluded.scan
"""
_PUT: Final = """
INSERT INTO object SELECT ?1, number, ?2, ?3, ?4, coalesce(?5, '') FROM scan WHERE TRUE
ON CONFLICT (address) DO UPDATE SET scan = excluded.scan, stamp = excluded.stamp, hashed_by = excluded.hashed_by,
    hashes = excluded.hashes,
    reference = CASE WHEN ?5 IS NULL AND stamp = excluded.stamp THEN reference ELSE excluded.reference END
"""
_UNSEEN: Final = "FROM object WHERE address > ? AND address < ? AND scan < ?"


class ListedFile(msgspec.Struct, Generic[_I], frozen=True):
    """What a listing came upon. `address`: by which memory knows it. `stamp`: changes whenever its content may have;
    empty where that is not known. `modified`: when that was last, in seconds since 1970.
    """

    item: _I
    address: str
    stamp: str = ""
    modified: float = 0.0


class UnreadableItem(msgspec.Struct, frozen=True, kw_only=True):
    """What a listing came upon and cannot be read: a folder that may not be listed, a link, a device."""

    name: str
    error: HashHubError


class KnownFile(msgspec.Struct, Generic[_T], frozen=True):
    """What is known of an object that is as it was. `hashes`: None: it must be read. `reference`: of the upload as
    which it was recorded; empty where it was not.
    """

    hashes: _T | None = None
    reference: str = ""


class ScanMemory(Generic[_T]):
    """The memory of one scan. For one thread; use it as a context manager."""

    def __init__(self, path: Path, kind: Any, *, hashed_by: str, is_shared: bool) -> None:
        """`kind`: the type of the hashes. `hashed_by`: other software's are not given. `is_shared`: whether other scans
        may have the file open. Raises HashHubError when it cannot be used.
        """
        self._name = path.name
        self._hashed_by = hashed_by
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)
        with self._mapped():
            self._database = connect(path, isolation_level=None, timeout=_BUSY_SECONDS if is_shared else 0.0)
            try:
                self._prepare(is_shared=is_shared)
                [(self._scan,)] = self._database.execute("UPDATE scan SET number = number + 1 RETURNING number")
            except BaseException:
                self._database.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def recall(self, listed: ListedFile[Any]) -> KnownFile[_T]:
        """Return what is known of an object, if its stamp says that it is as it was."""
        row = self._run(
            "SELECT stamp, hashed_by, hashes, reference FROM object WHERE address = ?", _key(listed.address)
        )
        if not row or not listed.stamp or row[0][0] != listed.stamp:
            return KnownFile()
        [(_, hashed_by, hashes, reference)] = row
        known = None
        if hashed_by == self._hashed_by and hashes is not None:
            with suppress(msgspec.MsgspecError):  # by a version that called itself the same; it is read again
                known = self._decoder.decode(hashes)
        return KnownFile(known, reference)

    def see(self, address: str) -> None:
        """Note that the object is there in this scan."""
        self._run(_SEE, _key(address))

    def remember(
        self, listed: ListedFile[Any], hashes: _T | None, *, begun: float = math.inf, reference: str | None = None
    ) -> None:
        """Keep what is known of an object; `reference` None: keep that of another scan. `begun`: when reading it began:
        hashes are not kept where a change since may not show in the stamp.
        """
        encoded = None if hashes is None or listed.modified > begun - YOUNG_SECONDS else self._encoder.encode(hashes)
        if encoded is not None or reference:
            self._run(_PUT, _key(listed.address), listed.stamp, self._hashed_by, encoded, reference)

    def gone(self, tops: Iterable[str]) -> Iterator[str]:
        """Yield what earlier scans came upon below these addresses, and this one has not."""
        last = ""
        for top in sorted(f"{top.rstrip('/')}/" for top in tops):
            if last and top.startswith(last):
                continue
            last = top
            with self._mapped():
                for (address,) in self._database.execute(
                    f"SELECT address {_UNSEEN} ORDER BY address", self._below(top)
                ):
                    yield address.decode("utf-8", "surrogateescape")

    def objects(self, place: str) -> int:
        """Return how many objects the last complete scan of a place came upon."""
        row = self._run("SELECT objects FROM place WHERE address = ?", _key(place))
        return row[0][0] if row else 0

    def end(self, place: str, objects: int) -> int:
        """Note that the scan of a place ended; forget what is gone, and return how many objects that were."""
        with self._mapped():
            gone = self._database.execute(f"DELETE {_UNSEEN}", self._below(place)).rowcount
        self._run("INSERT OR REPLACE INTO place VALUES (?, ?)", _key(place), objects)
        return gone

    def _below(self, top: str) -> tuple[bytes, bytes, int]:
        key = _key(top).rstrip(b"/")
        return key + b"/", key + b"0", self._scan  # 0 comes after /

    def _run(self, sql: str, *values: object) -> list[Any]:
        with self._mapped():
            return self._database.execute(sql, values).fetchall()

    def _prepare(self, *, is_shared: bool) -> None:
        run = self._database.execute
        if not is_shared:
            # Held by this process alone, write-ahead logging needs no memory shared between processes, which network
            # file systems do not have.
            run("PRAGMA locking_mode = EXCLUSIVE").close()
        run("PRAGMA journal_mode = WAL").close()
        run("PRAGMA synchronous = NORMAL").close()
        run("BEGIN IMMEDIATE")
        [kind] = run("SELECT a.application_id, v.user_version FROM pragma_application_id a, pragma_user_version v")
        [(tables,)] = run("SELECT count(*) FROM sqlite_master")
        if kind == (0, 0) and not tables:
            for statement in _SCHEMA.split(";"):
                run(statement)
            run(f"PRAGMA application_id = {_APPLICATION}")
            run(f"PRAGMA user_version = {_FORMAT}")
        elif kind != (_APPLICATION, _FORMAT):
            raise FailedPrecondition(
                f"{self._name} is another program's, or another version's of hashhub; remove it, and everything is "
                "read again, or name another directory"
            )
        run("COMMIT")

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as e:
            match getattr(e, "sqlite_errorcode", 0) & 0xFF:
                case sqlite3.SQLITE_FULL:
                    raise LimitExceeded(
                        f"the disk of {self._name} is full: free some space, then run the command again",
                        reason=Reason.DISK_FULL,
                    ) from e
                case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                    raise DataLoss(
                        f"{self._name} is damaged: remove it and run the command again; everything is then read again"
                    ) from e
                case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                    raise Conflict(
                        "another scan is writing into this directory; wait until it is done, or name another directory"
                    ) from e
                case _:
                    raise Unavailable(f"{self._name} cannot be used ({e}); check the disk and its permissions") from e


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class ScannedItem(msgspec.Struct, Generic[_I, _T, _R], frozen=True):
    """An object that was read. `begun`: when, in seconds since 1970."""

    listed: ListedFile[_I]
    known: KnownFile[_T]
    begun: float
    result: _R


class ScanEngine(Generic[_I, _T, _R]):
    """One scan of a listing. For one thread; use it as a context manager, which ends the threads that read."""

    def __init__(
        self,
        listing: Iterable[ListedFile[_I]],
        read: Callable[[_I, KnownFile[_T]], _R],
        *,
        memory: ScanMemory[_T] | None,
        jobs: int,
        ahead: int = 2,
    ) -> None:
        """`read`: called in `jobs` threads, also for what is known. `ahead`: objects handed out for each thread."""
        self._listing = iter(listing)
        self._read = read
        self._memory = memory
        self._most = jobs * ahead
        self._threads = ThreadPoolExecutor(jobs, "hashhub-scan")
        self._done: SimpleQueue[ScannedItem[_I, _T, _R] | BaseException] = SimpleQueue()
        self.under_way = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[ScannedItem[_I, _T, _R] | None]:
        """Yield objects that are done; None when none is for a while, and at the end before it stops."""
        is_at_end = False
        while True:
            while not is_at_end and self.under_way < self._most:
                listed = next(self._listing, None)
                if listed is None:
                    is_at_end = True
                else:
                    if self._memory is not None:
                        self._memory.see(listed.address)
                    self.submit(listed, self._memory.recall(listed) if self._memory is not None else KnownFile())
            if not self.under_way:
                yield None
            if not self.under_way:
                return
            try:
                done = self._done.get(timeout=_PAUSE)
            except Empty:
                yield None
                continue
            self.under_way -= 1
            if isinstance(done, BaseException):
                raise done
            yield done

    def submit(self, listed: ListedFile[_I], known: KnownFile[_T]) -> None:
        """Have an object read."""
        self.under_way += 1
        self._threads.submit(self._work, listed, known)

    def _work(self, listed: ListedFile[_I], known: KnownFile[_T]) -> None:
        begun = time.time()
        try:
            self._done.put(ScannedItem(listed, known, begun, self._read(listed.item, known)))
        except BaseException as e:  # noqa: BLE001 - raised where the object is taken
            self._done.put(e)
