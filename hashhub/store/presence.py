"""Whether the process that holds a lease is still there.

Beside a SQLite database the kernel can tell: a process locks a byte of its own in one file, and loses the lock when it
dies. PostgreSQL can tell, too: a session that a process keeps for this alone holds an advisory lock, and the server
ends the session as soon as the process has died. There,

    holder     shares its lock: a session that was cut, which the server may not know for hours, is in nobody's way
    who looks  tries to have the lock alone, and gives it back with its transaction; two at once may see it as held
    pooler     locks belong to its sessions, which outlive a process and end before it: leases then tell nothing

A lock that is gone shows nothing but that: its session may have been cut, too, or another server has taken over, which
knows no locks of the one before; or somebody removed the file. Whoever takes a lease over is therefore told apart by
the lease itself, as when its time has run out. A host that vanished is noticed when TCP or the time of the lease says
so, whichever is first.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import struct
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import HashHubError
from hashhub.store.database import Database
from hashhub.store.driver_errors import mapped
from hashhub.store.schema import to_millis

_log = logging.getLogger("hashhub.store")
_MARK: Final = "."  # between the process's key and the rest of a lease; leases without one tell nothing
_KEY_BYTES: Final = 8
_KEEP_SECONDS: Final = 10.0  # between looks at the session while leases are renewed: proxies cut what is idle for long
_LOOKED_AT_SECONDS: Final = 5  # for which somebody who looks may have the lock: transactions are shorter
_FILE_NAME: Final = "processes"
_CAN_LOCK: Final = hasattr(fcntl, "F_OFD_SETLK")  # Linux can
_RANGE: Final = struct.Struct("hhqqi4x")  # struct flock of fcntl(2): type, from where, first byte, how many, process
_FURTHEST: Final = timedelta(minutes=10)  # that a lease ends ahead: a minute, and what clocks of two hosts may differ


def has_run_out(until: int, at: datetime) -> bool:
    """Whether a lease until then, in milliseconds, binds nobody any more.

    One that ends later than any does was taken while the clock stood ahead; it was set back since, and whoever holds
    the lease renews it in seconds.
    """
    return not to_millis(at) < until <= to_millis(at + _FURTHEST)


class Presence:
    """This process's session, and a look at those of others."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lock = threading.Lock()
        self._key = secrets.token_hex(_KEY_BYTES)
        self._session: Connection | None = None
        self._file = -1
        self._is_named = False  # by a lease
        self._is_pooled = False
        self._looked = 0.0

    def new_lease(self) -> str:
        """Return the name of a lease; it tells whose it is while that can be looked up."""
        own = secrets.token_hex(_KEY_BYTES)
        if not self._is_announced():
            return own
        self._is_named = True
        return f"{self._key}{_MARK}{own}"

    def keep(self) -> None:
        """See now and then that the session is still there, and have another where it was cut. Call it with each
        renewal of a lease, outside transactions.
        """
        if self._is_named and time.monotonic() - self._looked >= _KEEP_SECONDS:
            self._is_announced()

    def is_gone(self, c: Connection, lease: str) -> bool:
        """Whether the process that took a lease has ended, as far as is known."""
        key, mark, _ = lease.partition(_MARK)
        if not mark or key == self._key:
            return False
        if self._db.directory is not None:
            return _CAN_LOCK and _is_locked_by_nobody(self._db.directory, key)
        is_free: bool = c.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_number(key)))).scalar_one()
        return is_free

    def close(self) -> None:
        """End the session, or give the lock back."""
        with self._lock:
            self._end()
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _is_announced(self) -> bool:
        """Make sure that this process's session holds its lock; False where it cannot."""
        if self._is_pooled:
            return False
        with self._lock:
            if self._db.directory is not None:
                return _CAN_LOCK and self._has_locked(self._db.directory)
            self._looked = time.monotonic()
            try:
                with mapped():
                    if self._session is not None:
                        self._session.execute(sa.select(1))
            except HashHubError:  # the server was started again
                self._end()
            try:
                with mapped():
                    if self._session is None:
                        self._session = self._db.own_session()
                        if not self._has_announced(self._session):
                            self._end()
            except HashHubError:  # no connection is left: the lease then runs out by itself
                self._end()
            return self._session is not None

    def _has_locked(self, directory: Path) -> bool:
        """Lock this process's byte, unless it did; return False where that cannot be done."""
        if self._file >= 0:
            return True
        try:
            file = _open(directory)
            try:
                # Of the open file, and not of the process, which loses its locks with any descriptor that it closes.
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, _byte(self._key))
            except OSError:
                os.close(file)
                raise
        except OSError as e:
            _log.warning("%s cannot be locked (%s): a killed process's leases run out", directory / _FILE_NAME, e)
            return False
        self._file = file
        return True

    def _has_announced(self, session: Connection) -> bool:
        if _is_pooled(session):
            self._is_pooled = True
            _log.info("PostgreSQL is behind a pooler: what a killed process has begun waits until its lease runs out")
            return False
        # A session that waits for nothing must not be ended for that; older servers do not know it.
        session.exec_driver_sql(
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
        )
        session.exec_driver_sql(f"SET lock_timeout = {1000 * _LOOKED_AT_SECONDS}")
        session.execute(sa.select(sa.func.pg_advisory_lock_shared(_number(self._key))))
        return True

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(HashHubError), mapped():
                session.close()


def _is_pooled(session: Connection) -> bool:
    """Whether something between us and the server gives its own sessions to many: it cannot pass on which process of
    the server ours is, as it tells that before it has chosen one.
    """
    raw: Any = session.connection.dbapi_connection
    served_by: int = session.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
    return bool(raw.info.backend_pid != served_by)


def _open(directory: Path) -> int:
    return os.open(directory / _FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_locked_by_nobody(directory: Path, key: str) -> bool:
    try:
        file = _open(directory)
    except OSError:
        return False
    try:
        kind: int = _RANGE.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, _byte(key)))[0]
    except OSError:
        return False
    finally:
        os.close(file)
    return kind == fcntl.F_UNLCK


def _byte(key: str) -> bytes:
    """Return a lock on a process's byte; the file need not be so long."""
    return _RANGE.pack(fcntl.F_WRLCK, os.SEEK_SET, _number(key) & (2**62 - 1), 1, 0)


def _number(key: str) -> int:
    """Return what PostgreSQL calls a process's lock."""
    return int.from_bytes(bytes.fromhex(key), signed=True)
