"""Errors of SQLAlchemy and the drivers as ours: none of them leaves the store."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

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


def missing() -> FailedPrecondition:
    """Return the error for a database that nobody has created."""
    return FailedPrecondition(
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
