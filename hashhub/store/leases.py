"""Leases: only the process that began a commit may stage into it.

Each step renews the lease and checks it in the same transaction, so a process that was taken for dead and is not cannot
add to what its successor stages. Leases end with their time, or with the process that holds them, as far as another
can tell (`holders`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict, HashHubError
from hashhub.holders import end, has_ended
from hashhub.model import ImportState, now
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.staging import Commit

# Longer than any step of a commit. What a process on another machine had begun when it crashed waits this long.
LEASE: Final = timedelta(seconds=60)
_FURTHEST: Final = timedelta(minutes=10)  # that a lease ends ahead: a minute, and what clocks of two hosts may differ
_COMMITTING: Final = s.IMPORT_STATES[ImportState.COMMITTING]


def is_held(lease: str, until: int) -> bool:
    """Whether the holder of a lease until then, in milliseconds, goes on as far as is known.

    One that ends later than any does was taken while the clock stood ahead; it was set back since, and whoever holds
    the lease renews it in seconds.
    """
    at = now()
    return s.to_millis(at) < until <= s.to_millis(at + _FURTHEST) and not has_ended(lease)


class Leases:
    """The part of the Store that knows which commits are this process's."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.commits: dict[str, Commit] = {}
        """Of this process, by import."""

    def renew_commit(self, import_id: str) -> None:
        """Keep the lease through a step that takes long; call it every few seconds. Costs nothing while the lease is
        young.

        Raises Conflict when another process has taken over the commit.
        """
        commit = self.commit_of(import_id)
        if time.monotonic() - commit.renewed > LEASE.total_seconds() / 4:
            with self._db.write() as c:
                self.renew(c, commit)

    def release_commit(self, import_id: str) -> None:
        """Give up the lease after a failed commit, so that the next `begin_commit` need not wait. Does nothing without
        one.
        """
        commit = self.commits.pop(import_id, None)
        if commit is not None:
            self.release(commit)

    def expire_leases(self) -> None:
        """End all leases: for a server that has just started and knows that it is the only one."""
        with self._db.write() as c:
            c.execute(sa.update(s.imports).where(s.imports.c.state == _COMMITTING).values(lease="", lease_until=0))

    def commit_into(self, c: Connection, set_key: int) -> str | None:
        """Return the import into a hash set whose commit goes on, as far as is known; None: there is none."""
        t = s.imports
        held = c.execute(
            # Not plainly by the hash set: its index has all imports that there ever were.
            sa.select(t.c.id, t.c.lease, t.c.lease_until).where(
                s.UNDER_WAY,
                t.c.state == _COMMITTING,
                t.c.hash_set + 0 == set_key,
            )
        ).all()
        return next((row.id for row in held if is_held(row.lease, row.lease_until)), None)

    def commit_of(self, import_id: str) -> Commit:
        """Return what this process holds of an import. Raises Conflict when it is not committing it."""
        commit = self.commits.get(import_id)
        if commit is None:
            raise Conflict(
                f"import {import_id} is not being committed by this process, or no longer: its commit may have been "
                "taken over or cancelled; read its state before going on"
            )
        return commit

    def renew(self, c: Connection, commit: Commit) -> None:
        """Extend the lease in this transaction; raise Conflict when it was lost. Locks the import's row."""
        t = s.imports
        renewed = c.execute(
            sa.update(t)
            .where(t.c.key == commit.key, t.c.lease == commit.lease, t.c.state == _COMMITTING)
            .values(lease_until=s.to_millis(now() + LEASE))
        )
        commit.renewed = time.monotonic()
        if not renewed.rowcount:
            self.commits.pop(commit.import_id, None)
            raise Conflict(
                f"the commit of import {commit.import_id} was taken over or cancelled; read its state before going on"
            )

    def release(self, commit: Commit) -> None:
        """Give up a lease."""
        t = s.imports
        end(commit.lease)  # should it not be written
        with self._db.write() as c:
            c.execute(
                sa.update(t)
                .where(t.c.key == commit.key, t.c.lease == commit.lease)
                .values(lease="", lease_until=0, touch_time=s.to_millis(now()))
            )

    @contextmanager
    def releasing(self, commit: Commit) -> Iterator[None]:
        """Give up the lease when the body raises; if even that fails, the lease runs out."""
        try:
            yield
        except BaseException:
            with suppress(HashHubError):
                self.release(commit)
            raise
