"""Leases: only the process that began a commit may stage into it; and what it holds of that commit.

Each step renews the lease and checks it in the same transaction. Leases end with their time, or with the process that
holds them, as far as another can tell (`holders`). The hashes of staged entries are gathered in memory and handed over
in large runs, sorted as their table is.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict, HashHubError
from hashhub.frames import matching_digests
from hashhub.hashes import VPDQ
from hashhub.holders import end, has_ended, new_holder
from hashhub.model import Actor, now
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.entry_codec import EntryColumns, Shapes, columns_of, heads_of

_encode: Final = msgspec.msgpack.Encoder().encode
_COMMITTED_TO: Final = ("ids", "positions", "external_ids", "flags", "hashes", "details")
PIECE: Final = 50_000  # rows in one transaction of a run: 0.1 to 0.3 s, so that other writers do not wait long

Piece = tuple[int, NDArray[np.uint8], NDArray[np.int64]]
"""Hashes of one algorithm: its code, digests uint8[n, bytes] and their entries int64[n]."""


class Commit:
    """The state of one commit in this process: its lease, staged ranges, and hashes yet to be written."""

    def __init__(
        self, import_id: str, key: int, hash_set: int, lease: str, subject: str, by: Actor, *, since: int = 0
    ) -> None:
        """`since`: the revision at which it began; what the list is compared with is not older."""
        self.import_id = import_id
        self.since = since
        self.subject = subject  # what events call it
        self.by = by
        self.salt = os.urandom(16)
        self._content = hashlib.sha256(self.salt)
        self.key = key
        self.hash_set = hash_set
        self.lease = lease
        self.lock = threading.Lock()
        self.renewed = time.monotonic()
        self.allocations: list[tuple[int, int]] = []
        self.ranges: list[tuple[int, int]] = []  # staged
        # algorithm code -> digests uint8[n, bytes] and entry ids int64[n], in parts
        self.hashes: dict[int, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]] = {}
        self.size = 0

    @property
    def contributor(self) -> str:
        """Whose list it is."""
        return self.subject.split("/")[1]

    def content(self) -> str:
        """Return the commitment to what was staged: SHA-256 in hexadecimal over a salt and, of each entry, the
        MessagePack array [id, position, external id or nil, flags, hashes, details or nil].
        """
        return self._content.hexdigest()

    def gather(self, entries: EntryColumns, shapes: Shapes) -> None:
        """Keep the hashes of packed entries (`shapes`) for the next run, and commit to what the entries say."""
        stated = zip(*(getattr(entries, name) for name in _COMMITTED_TO), strict=True)
        self._content.update(_elements(list(stated)))
        ids = np.asarray(entries.ids, np.int64)
        for shape, rows, matrix in shapes:
            for code, digests in columns_of(shape, matrix):
                self.hashes.setdefault(code, []).append((np.ascontiguousarray(digests), ids[rows]))
            self.size += matrix.size + 8 * len(shape) * len(rows)
        for entry, packed in zip(entries.ids, entries.frames, strict=True) if any(entries.frames) else ():
            if packed:
                frames = matching_digests(packed)
                self.hashes.setdefault(VPDQ.code, []).append((frames, np.full(len(frames), entry, np.int64)))
                self.size += frames.size + 8 * len(frames)

    def take_run(self) -> Iterator[Piece]:
        """Hand over the gathered hashes in ordered pieces."""
        gathered, self.hashes, self.size = self.hashes, {}, 0
        return ordered_pieces(gathered)


def ordered_pieces(gathered: dict[int, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]]) -> Iterator[Piece]:
    """Yield gathered hashes (as `Commit.hashes`) by algorithm and digest, and free each algorithm's before the next."""
    for code in sorted(gathered):
        digests, entries = map(np.concatenate, zip(*gathered.pop(code), strict=True))
        # The heads order digests well enough: only the locality of the writes depends on it.
        order = np.argsort(heads_of(digests))
        for start in range(0, len(order), PIECE):
            rows = order[start : start + PIECE]
            yield code, np.take(digests, rows, axis=0), entries[rows]  # a fifth of what indexing takes


def _elements(values: Sequence[object]) -> bytes:
    """Return the MessagePack of each value, one after the other: the array of all of them without its head."""
    packed = _encode(values)
    return packed[1 if len(values) < 16 else 3 if len(values) < 65_536 else 5 :]  # noqa: PLR2004 - MessagePack's sizes


# Longer than any step of a commit. What a process on another machine had begun when it crashed waits this long.
LEASE: Final = timedelta(seconds=60)
_FURTHEST: Final = timedelta(minutes=10)  # that a lease ends ahead: a minute, and what clocks of two hosts may differ


def is_held(lease: str, until: int) -> bool:
    """Whether a lease's holder goes on, as far as known; one beyond any was taken by a clock that ran ahead."""
    at = now()
    return s.to_millis(at) < until <= s.to_millis(at + _FURTHEST) and not has_ended(lease)


class Leases:
    """The part of the Store that knows which commits are this process's."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.commits: dict[str, Commit] = {}
        """Of this process, by import."""

    def renew_commit(self, import_id: str) -> None:
        """Keep the lease through a long step, cheaply while it is young. Raises Conflict when it was taken over."""
        commit = self.commit_of(import_id)
        if time.monotonic() - commit.renewed > LEASE.total_seconds() / 4:
            with self._db.write() as c:
                self.renew(c, commit)

    def release_commit(self, import_id: str) -> None:
        """Give up the lease after a failed commit, so that the next `begin_commit` need not wait."""
        commit = self.commits.pop(import_id, None)
        if commit is not None:
            self.release(commit)

    def expire_leases(self) -> None:
        """End all leases: for a server that has just started and knows that it is the only one."""
        with self._db.write() as c:
            c.execute(sa.update(s.imports).where(s.imports.c.state == s.COMMITTING).values(lease="", lease_until=0))

    def commit_into(self, c: Connection, set_key: int) -> str | None:
        """Return the import into a hash set whose commit goes on, as far as is known; None: there is none."""
        t = s.imports
        held = c.execute(
            # Not plainly by the hash set: its index has all imports that there ever were.
            sa.select(t.c.id, t.c.lease, t.c.lease_until).where(
                s.UNDER_WAY,
                t.c.state == s.COMMITTING,
                t.c.hash_set + 0 == set_key,
            )
        ).all()
        return next((row.id for row in held if is_held(row.lease, row.lease_until)), None)

    def take(self, c: Connection, key: int) -> str:
        """Take an import to COMMITTING in this transaction, and return its new lease."""
        t, lease = s.imports, new_holder()
        until = s.to_millis(now() + LEASE)
        c.execute(sa.update(t).where(t.c.key == key).values(state=s.COMMITTING, lease=lease, lease_until=until))
        return lease

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
            .where(t.c.key == commit.key, t.c.lease == commit.lease, t.c.state == s.COMMITTING)
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
