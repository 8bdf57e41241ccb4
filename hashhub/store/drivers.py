"""How SQLite and PostgreSQL are connected to, and their errors as ours: none of the drivers' leaves the store.

`explained` says why PostgreSQL cannot be used: a cause and a remedy. It is for a start and for the log, where an
operator reads it: the messages name host, port and database, which an answer to a caller of the hub must not. libpq
gives no error codes for a connection that was not made, so its English texts are looked for; an unknown text is left as
it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext

from hashhub.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    Reason,
    Unavailable,
    Violation,
)

_log = logging.getLogger("hashhub.store")
NOTES: Final = "notes"  # of a transaction, in its connection's `info`
QUEUE_SECONDS: Final = 30.0  # a thread waits this long for a connection of its own process


@contextmanager
def mapped() -> Iterator[None]:
    """Turn errors of SQLAlchemy and the drivers into ours."""
    try:
        yield
    except HashHubError:
        raise
    except sa.exc.TimeoutError as e:
        raise Unavailable(
            f"no database connection became free within {QUEUE_SECONDS:.0f} s; retry",
            reason=Reason.DATABASE_UNAVAILABLE,
            retry_after=1.0,
        ) from e
    except sa.exc.DBAPIError as e:
        raise _translate(e.orig or e) from e
    except sa.exc.SQLAlchemyError as e:
        raise _refused(e) from e
    except UnicodeEncodeError as e:
        raise _unstorable() from e
    except Exception as e:
        if not _is_driver_error(e):
            raise
        raise _translate(e) from e


def _translate(e: BaseException) -> HashHubError:
    code = getattr(e, "sqlite_errorcode", None)
    state = getattr(e, "sqlstate", None) or ""
    if code is not None:
        match code & 0xFF:
            case sqlite3.SQLITE_FULL:
                return _disk_full()
            case sqlite3.SQLITE_IOERR if code == sqlite3.SQLITE_IOERR_SHMSIZE:
                return _disk_full()
            case sqlite3.SQLITE_CONSTRAINT:
                return _constraint(
                    unique=code in {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
                )
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return DataLoss(
                    "the database file is damaged or not a database: restore it from a backup",
                    reason=Reason.DATABASE_UNAVAILABLE,
                )
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return away("the database is busy with another process's write", 1.0)
            case sqlite3.SQLITE_READONLY:
                return _read_only("check its disk and permissions")
            case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                return away("the database file cannot be read or written; check its disk and permissions", 5.0)
            case _:
                return _refused(e)
    if state.startswith("22") or type(e).__name__ == "DataError":  # psycopg itself refuses a NUL, without a state
        return _unstorable()
    if state.startswith("23"):  # integrity constraint violation; the classes are in PostgreSQL's appendix A
        return _constraint(unique=state == "23505")
    if state == "53100":
        return _disk_full()
    if state.startswith("40"):  # serialization failure, deadlock
        return Conflict("another call changed the same thing at the same moment; read again and retry")
    if state.startswith(("08", "53", "57")) or (not state and _is_operational(e)):
        return away("the database cannot be reached", 1.0)
    if state == "25006":
        return _read_only("it is a standby, or was told so, which some do whose disk is full")
    if state == "25P03":
        return away("the database took a write for idle and ended it (idle_in_transaction_session_timeout)", 1.0)
    if state == "3D000":
        return missing()
    return _refused(e)


class ReadOnly(Unavailable):
    """The database can be read, and takes no writes."""


def _read_only(why: str) -> ReadOnly:
    return ReadOnly(
        f"the database takes no writes, and nothing was written: {why}; retry once it takes them",
        reason=Reason.DATABASE_UNAVAILABLE,
        retry_after=5.0,
    )


def _refused(e: BaseException) -> HashHubError:
    """Write down what was not expected, without values: they may be digests, and the answer goes to any caller."""
    said = getattr(getattr(e, "diag", None), "message_primary", None) or (
        str(e) if isinstance(e, sqlite3.Error) else ""
    )
    _log.error("the database refused a statement: %s %s", type(e).__name__, said)
    return HashHubError("the database refused a statement; see the server's log")


def away(message: str, retry_after: float) -> Unavailable:
    """Return the error for a database that does not answer; `retry_after` in seconds."""
    return Unavailable(f"{message}; retry", reason=Reason.DATABASE_UNAVAILABLE, retry_after=retry_after)


def _disk_full() -> LimitExceeded:
    return LimitExceeded(
        "the database's disk is full and nothing was written: free some space, then retry",
        reason=Reason.DISK_FULL,
        retry_after=60.0,
    )


def _unstorable() -> InvalidArgument:
    return InvalidArgument(
        "a text cannot be stored: it has a NUL character or half a surrogate pair; remove that from the source",
        violations=(Violation("text", "must be Unicode without NUL characters", "NOT_STORABLE"),),
    )


class NoDatabase(FailedPrecondition):
    """There is no database of a hub, or nothing is in it yet."""


def missing() -> NoDatabase:
    """Return the error for a database that nobody has created."""
    return NoDatabase(
        "there is no hashhub database here; check the path or URL, or start the server once to create it",
        reason=Reason.DATABASE_UNAVAILABLE,
    )


def _constraint(*, unique: bool) -> HashHubError:
    if unique:
        return AlreadyExists("something with this name or id exists already; choose another or read the existing one")
    return Conflict("what this refers to was changed or removed meanwhile; read again and retry")


def _is_driver_error(e: Exception) -> bool:
    """Whether a driver raised it. psycopg may not be installed, so its errors are known by their module."""
    return isinstance(e, sqlite3.Error) or any(t.__module__.startswith("psycopg") for t in type(e).__mro__)


def _is_operational(e: BaseException) -> bool:
    return any(t.__name__ in {"OperationalError", "InterfaceError"} for t in type(e).__mro__)


_TOLD_SECONDS: Final = 60.0  # between two lines in the log about it
_SHOWN: Final = 200  # characters of what the library says
# What the library's text has in it, what that means, and what to do.
_TO_CORRECT: Final = {
    r'database "[^"]*" does not exist': (
        "there is no database {name!r} on {place}: create it (createdb {name}), or correct the name in the URL"
    ),
    r"password authentication failed|no password supplied|SASL authentication failed|SCRAM": (
        "{place} refuses the password of user {user!r}: correct database_password_file, or the password in the URL"
    ),
    r'role "[^"]*" does not exist|Peer authentication failed|Ident authentication failed': (
        "{place} does not let user {user!r} in: create the user, or correct its name in the URL"
    ),
    r"no pg_hba\.conf entry|pg_hba\.conf rejects": (
        "{place} does not admit user {user!r} to database {name!r} from this machine: allow it in pg_hba.conf; where "
        "only encrypted connections are, add ?sslmode=require to the URL"
    ),
    r"permission denied for database": (
        "user {user!r} may not connect to database {name!r} on {place}: GRANT CONNECT, or use its owner"
    ),
    r"server does not support SSL|does not support SSL, but SSL was required": (
        "{place} speaks no TLS, and the URL asks for it: set it up there, or leave sslmode out of the URL"
    ),
    r"certificate verify failed|root certificate file|server certificate for": (
        "the TLS certificate of {place} cannot be verified ({said}): name the authority's file with sslrootcert in the "
        "URL"
    ),
    r"received invalid response|expected authentication request|SSL error|invalid SSL negotiation": (
        "what listens on {place} is no PostgreSQL server: correct the host and port in the URL (usually 5432)"
    ),
}
# Likewise, of what may pass by itself.
_PASSING: Final = {
    r"starting up|shutting down|recovery mode": "PostgreSQL on {place} is starting or stopping: try again in a moment",
    r"too many (?:clients|connections)|remaining connection slots": (
        "{place} has as many connections as it takes: raise max_connections there, or run fewer workers"
    ),
    r"Connection refused|No such file or directory": (
        "nothing listens on {place}: start PostgreSQL there, or correct the host and port in the URL"
    ),
    r"could not translate host name|Name or service not known|failed to resolve host|name resolution": (
        "the host of {place} is not known: correct its name in the URL, or this machine's DNS"
    ),
    r"timeout expired|timed out|Network is unreachable|No route to host": (
        "{place} does not answer as PostgreSQL does: correct the host and port in the URL, or the firewall between"
    ),
    r"server closed the connection unexpectedly|Connection reset": (
        "what listens on {place} closed the connection: is it PostgreSQL? Its log says why; correct the host and port "
        "in the URL otherwise"
    ),
}


@contextmanager
def reaching(url: URL) -> Iterator[None]:
    """Raise what says why no connection was made: FailedPrecondition to correct, Unavailable: may pass by itself."""
    try:
        yield
    except sa.exc.OperationalError as e:
        if e.orig is None or getattr(e.orig, "sqlstate", None):
            raise  # of a statement, and so from a server that was reached
        raise _explained(url, str(e.orig)) from e


def tell(url: URL, *engines: Engine) -> None:
    """Write into the log, from now on, why these engines get no connection, now and then while it lasts."""
    told = -_TOLD_SECONDS

    def note(context: ExceptionContext) -> None:
        nonlocal told
        if context.connection is None and time.monotonic() - told >= _TOLD_SECONDS:
            told = time.monotonic()
            _log.warning(_explained(url, str(context.original_exception)).message)

    for engine in engines:
        sa.event.listen(engine, "handle_error", note)


def _explained(url: URL, said: str) -> HashHubError:
    said = " ".join(said.split())
    where = {
        "place": _place(url),
        "name": url.database or url.username or "",
        "user": url.username or "",
        "said": said[-_SHOWN:],
    }
    for causes, kind in ((_TO_CORRECT, FailedPrecondition), (_PASSING, Unavailable)):
        for text, meaning in causes.items():
            if re.search(text, said):
                return kind(meaning.format(**where), reason=Reason.DATABASE_UNAVAILABLE)
    return Unavailable(
        f"cannot connect to {where['place']} ({where['said']}); check the URL and that PostgreSQL runs there",
        reason=Reason.DATABASE_UNAVAILABLE,
    )


def _place(url: URL) -> str:
    host = url.host or str(url.query.get("host", "")) or "this machine's socket"
    return f"{host}:{url.port}" if url.port else host


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
    """Return the URL of a database: a PostgreSQL or SQLite URL, a directory or, ending in .db or .sqlite, a file.
    Raises InvalidArgument.
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
    """Return what reads and what writes. Raises FailedPrecondition: no file to open; Unavailable: no directory."""
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
    """Wait for other processes' writes: SQLite looks every 100 ms only, and misses the gaps between pieces."""
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
        except sqlite3.OperationalError as e:
            # Switching ignores the busy timeout when another process switches at the same moment.
            if e.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
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
        defaults = {
            "connect_timeout": str(_CONNECT_SECONDS),
            "tcp_user_timeout": str(1000 * _CONNECT_SECONDS),
            "keepalives_idle": str(_CONNECT_SECONDS),
            # A probe that is not answered is looked after with the next one, by default after 75 s.
            "keepalives_interval": "1",
        }
        url = url.update_query_dict({**defaults, **url.query})
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
    settings = [f"enable_{way} = off" for way in ("seqscan", "hashjoin", "mergejoin")]
    # Nor may a statement take the processors that lookups need.
    settings += ["plan_cache_mode = force_generic_plan", "max_parallel_workers_per_gather = 0"]
    connection.execute("; ".join(f"SET SESSION {setting}" for setting in settings))
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
