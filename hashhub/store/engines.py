"""Where a database is, how SQLite and PostgreSQL are connected to, and the room that SQLite needs to open."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine

from hashhub.errors import FailedPrecondition, InvalidArgument, Reason
from hashhub.store.driver_errors import QUEUE_SECONDS, away, missing

FILE_NAME: Final = "hashhub.db"
BUSY_SECONDS: Final = 10.0  # a writer waits this long for another's transaction, which lasts well under a second
BUSY_POLL_SECONDS: Final = 0.002
_CONNECT_SECONDS: Final = (
    5  # for a connection to PostgreSQL, and unanswered packets on one: nobody waits longer for a dead host
)
_RESERVE_NAME: Final = "room-to-start"
_RESERVE_BYTES: Final = 1 << 20
"""Held back on SQLite's disk: opening the database needs some 100 KB for the index of its log, also only to read it."""
ROOM_BYTES: Final = 1 << 20  # a disk with less is full: an import's batch would not fit
_READERS: Final = 32  # connections kept for reading; more than the default 16 threads of a process
WRITER_PRAGMAS: Final = (
    # What was acknowledged survives a power cut: a withdrawal that comes back would be worse than a few ms for each
    # commit.
    "synchronous = FULL",
    "busy_timeout = 0",  # ms; `_begin_immediate` waits, and inside a transaction nothing is in the way
    "foreign_keys = ON",
    # What is deleted is overwritten: erased digests must not stay in free pages of the file.
    "secure_delete = ON",
    "cache_size = -98304",  # KiB; a sorted run of hashes comes back to the upper part of the tree again and again
    "wal_autocheckpoint = 16384",  # pages, 64 MiB: a page is copied back once for many commits
    "journal_size_limit = 268435456",  # bytes of the log that are kept after a large import
)
"""How SQLite writes."""
_LIKE_A_SERVER: Final = re.compile(r"(?:postgres\w*(?:\+\w+)?:(?!//)|[^/]*@[^/]+/|[\w.-]+:\d{2,5}(?:/|$))")


def locate(database: str | Path) -> URL:
    """Return the URL of a database given as a PostgreSQL or SQLite URL, a directory or a file.

    A path that does not exist yet is a file when it ends in .db, .sqlite or .sqlite3, otherwise a directory.
    Raises InvalidArgument for anything else.
    """
    if isinstance(database, str) and _LIKE_A_SERVER.match(database) and not Path(database).exists():
        raise InvalidArgument.field(
            "database",
            f"{database.rpartition('@')[2][:60]!r} looks like a server's address without a scheme; expected "
            "postgresql+psycopg://USER@HOST:PORT/NAME, or the path of a directory",
            "URL",
        )
    if isinstance(database, str) and "://" in database:
        try:
            url = sa.make_url(database)
        except sa.exc.ArgumentError as e:
            raise InvalidArgument.field(
                "database", "is not a URL; expected postgresql+psycopg://USER@HOST:PORT/NAME", "URL"
            ) from e
        if url.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
            return url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() != "sqlite" or not url.database:
            raise InvalidArgument.field(
                "database",
                f"the scheme {url.drivername} is not supported; expected postgresql+psycopg://USER@HOST:PORT/NAME, "
                "or a path",
                "URL",
            )
        database = url.database
    path = Path(database)
    if path.is_dir() or (not path.exists() and path.suffix not in {".db", ".sqlite", ".sqlite3"}):
        path /= FILE_NAME
    return URL.create("sqlite+pysqlite", database=str(path))


def sqlite_engines(url: URL, *, create: bool) -> tuple[Engine, Engine]:
    """Return what reads and what writes. Raises FailedPrecondition when the file is missing and `create` is false,
    Unavailable when its directory cannot be made.
    """
    path = Path(url.database or "")
    if not create and not path.exists():
        raise missing()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise away("the data directory cannot be created; check its parent's permissions", 5.0) from e
    common: dict[str, Any] = {
        # None: the driver starts no transactions of its own.
        "connect_args": {"isolation_level": None, "timeout": BUSY_SECONDS, "cached_statements": 256},
        "poolclass": sa.pool.QueuePool,
        "pool_timeout": QUEUE_SECONDS,
    }
    writer = sa.create_engine(url, pool_size=1, max_overflow=0, **common)
    readers = sa.create_engine(
        url, pool_size=_READERS, pool_use_lifo=True, pool_reset_on_return=None, isolation_level="AUTOCOMMIT", **common
    )
    event.listen(writer, "connect", _set_up_sqlite_writer)
    event.listen(readers, "connect", _set_up_sqlite_reader)
    event.listen(writer, "begin", _begin_immediate)
    with writer.connect():  # creates the file in WAL mode before any reader opens it
        pass
    return readers, writer


def hold_reserve(directory: Path) -> None:
    """Hold room back, real bytes and not a hole, unless it is held already or there is none to spare."""
    path = directory / _RESERVE_NAME
    try:
        if path.exists():
            return
        disk = os.statvfs(directory)
        if disk.f_bavail * disk.f_frsize < 2 * (_RESERVE_BYTES + ROOM_BYTES):
            return
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:  # another process was first, or the disk does not take it: the hub works without
        return
    try:
        os.posix_fallocate(file, 0, _RESERVE_BYTES)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
    finally:
        os.close(file)


def release_reserve(directory: Path) -> bool:
    """Give the room back that was held; return whether there was some."""
    try:
        (directory / _RESERVE_NAME).unlink()
    except OSError:
        return False
    return True


def _begin_immediate(c: Connection) -> None:
    """Wait for other processes' writes. SQLite's own waiting looks only every 100 ms and would miss the gaps between an
    import's pieces.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            c.exec_driver_sql("BEGIN IMMEDIATE")
        except sa.exc.OperationalError as e:
            if getattr(e.orig, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_POLL_SECONDS)
        else:
            return


def _set_up_sqlite_writer(connection: sqlite3.Connection, _: object) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError:
            # Switching ignores the busy timeout when another process switches at the same moment.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    for pragma in WRITER_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _set_up_sqlite_reader(connection: sqlite3.Connection, _: object) -> None:
    for pragma in (
        "query_only = ON",
        "cache_size = -16384",  # KiB for each connection; the operating system caches the rest
        "mmap_size = 1073741824",  # bytes; shared by all connections and processes
    ):
        connection.execute(f"PRAGMA {pragma}")


def postgresql_engines(url: URL) -> tuple[Engine, Engine]:
    """Return what reads and what writes; neither has connected yet. Raises FailedPrecondition without the driver."""
    try:
        # Writes test their connection; reads instead retry, which costs nothing when all is well.
        # A host that is gone must not hold a thread for the minutes that TCP would wait.
        url = url.update_query_dict(
            {
                name: value
                for name, value in {
                    "connect_timeout": str(_CONNECT_SECONDS),
                    "tcp_user_timeout": str(1000 * _CONNECT_SECONDS),
                    "keepalives_idle": str(_CONNECT_SECONDS),
                    # A probe that is not answered is looked after with the next one, by default after 75 s.
                    "keepalives_interval": "1",
                }.items()
                if name not in url.query
            }
        )
        writer = sa.create_engine(url, pool_size=8, max_overflow=24, pool_timeout=QUEUE_SECONDS, pool_pre_ping=True)
        readers = sa.create_engine(
            url,
            pool_size=_READERS,
            max_overflow=0,
            pool_timeout=QUEUE_SECONDS,
            pool_use_lifo=True,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
        )
    except ImportError as e:
        raise FailedPrecondition(
            "PostgreSQL needs the package psycopg: pip install 'hashhub[postgres]'", reason=Reason.MISSING_EXTRA
        ) from e
    for engine in (writer, readers):
        event.listen(engine, "connect", _set_up_postgresql)
    event.listen(readers, "connect", _set_up_postgresql_reader)
    return readers, writer


def _set_up_postgresql(connection: Any, _: object) -> None:
    from psycopg.types.string import BytesBinaryDumper  # not installed everywhere

    # Of those that psycopg has for a column of bytes, its own default is one in Python.
    connection.adapters.register_dumper(bytes, BytesBinaryDumper)
    # Every statement of the store walks down an index. Just after a large import, before the tables are analysed, the
    # planner would take them for small and read all of them instead.
    with connection.cursor() as cursor:
        for way in ("seqscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET SESSION enable_{way} = off")
        cursor.execute("SET SESSION plan_cache_mode = force_generic_plan")
        # Nor may a statement take the processors that lookups need.
        cursor.execute("SET SESSION max_parallel_workers_per_gather = 0")
    connection.commit()


def _set_up_postgresql_reader(connection: Any, _: object) -> None:
    from psycopg import Cursor  # not everybody has it
    from psycopg.pq import Format

    class BinaryCursor(Cursor[Any]):
        """Gives digests as bytes, and not as text of twice the length."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.format = Format.BINARY

    connection.cursor_factory = BinaryCursor
