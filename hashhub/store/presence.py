"""Whether the process that holds a lease is still there, where PostgreSQL can tell: a session that a process keeps for
this alone holds an advisory lock, and the server ends the session as soon as the process has died.

A lock that is gone shows nothing but that: its session may have been cut, too. Whoever takes a lease over is therefore
told apart by the lease itself, as when its time has run out. A host that vanished is noticed when TCP or the time of
the lease says so, whichever is first.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import HashHubError
from hashhub.store.database import Database, mapped

_MARK: Final = "."  # between the process's key and the rest of a lease; leases without one tell nothing
_KEY_BYTES: Final = 8


class Presence:
    """This process's session, and a look at those of others."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lock = threading.Lock()
        self._key = secrets.token_hex(_KEY_BYTES)
        self._session: Connection | None = None

    def new_lease(self) -> str:
        """Return the name of a lease; it tells whose it is while that can be looked up."""
        own = secrets.token_hex(_KEY_BYTES)
        return f"{self._key}{_MARK}{own}" if self._is_announced() else own

    def is_gone(self, c: Connection, lease: str) -> bool:
        """Whether the process that took a lease has ended, as far as is known."""
        key, mark, _ = lease.partition(_MARK)
        if self._db.is_sqlite or not mark or key == self._key:
            return False
        is_free: bool = c.execute(sa.select(sa.func.pg_try_advisory_xact_lock_shared(_number(key)))).scalar_one()
        return is_free

    def close(self) -> None:
        """End the session."""
        with self._lock:
            self._end()

    def _is_announced(self) -> bool:
        """Make sure that this process's session holds its lock; False where it cannot."""
        if self._db.is_sqlite:
            return False
        with self._lock:
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
                        # A session that waits for nothing must not be ended for that; older servers do not know it.
                        self._session.exec_driver_sql(
                            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
                        )
                        self._session.execute(sa.select(sa.func.pg_advisory_lock(_number(self._key))))
            except HashHubError:  # no connection is left: the lease then runs out by itself
                self._end()
                return False
        return True

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(HashHubError), mapped():
                session.close()


def _number(key: str) -> int:
    """Return what PostgreSQL calls a process's lock."""
    return int.from_bytes(bytes.fromhex(key), signed=True)
