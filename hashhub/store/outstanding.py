"""Large withdrawals: visible in one small transaction, written into their entries' rows in pieces afterwards.

    commit    the event, the changes, and here which entries and why: from now on every read takes them for WITHDRAWN
    settle    the rows, a few thousand in a transaction that holds up nobody; then nothing is outstanding any more
    prepare   of these only what the next commit must find written: holds

`metadata.outstanding` names the revisions whose rows are not all written. A read fetches it in the same statement as
the rows, so that both are of one moment: a row that is not written yet is then known as what it is. A write that is
about certain entries settles these first. What a process leaves behind when it ends, another one settles: each piece
can be written twice, and never touches an entry that was moved since.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import Unavailable
from hashhub.model import EntryState, Role, Withdrawal, WithdrawalReason
from hashhub.store import schema as s
from hashhub.store.database import Database, array_of
from hashhub.store.holds import Origin, put_holds
from hashhub.store.idset import IdSet, runs
from hashhub.store.imprints import touch
from hashhub.store.packing import pack_reasons

PIECE: Final = 5_000  # rows in one transaction: some 50 ms
LARGE: Final = 5_000
"""A revision that withdraws more entries than this is written into their rows afterwards."""
_MOST: Final = 4
"""Revisions of one hash set that may be outstanding: with more than these the next commit writes them first."""
_WITHDRAWN: Final = s.ENTRY_STATES[EntryState.WITHDRAWN]
_ACTIVE: Final = s.ENTRY_STATES[EntryState.ACTIVE]


class Part(NamedTuple):
    """Entries of one hash set that a revision withdrew for one reason, `code`.

    `origin`: what holds them from then on, or empty; `source_times`: the source's own times of its deletion messages,
    in the order of the ids, or nothing. `withdrawal`: who withdrew them by hand at `withdraw_time` (milliseconds), and
    why; its revision is that of the part.
    """

    revision: int
    ordinal: int
    hash_set: int
    code: str
    ids: IdSet
    origin: str = ""
    source_times: Sequence[str] = ()
    withdrawal: Withdrawal | None = None
    withdraw_time: int = 0

    @property
    def holds_everywhere(self) -> bool:
        """Whether what it withdraws is held in all hash sets of the contributor."""
        return bool(self.origin) and Origin(self.origin).is_operators


class Outstanding:
    """What is withdrawn and not yet written into the rows."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: dict[int, tuple[Part, ...]] = {}  # by revision
        self._written: frozenset[tuple[int, int]] = frozenset()  # parts, by revision and ordinal, by this process
        self._settling = threading.Lock()
        updated = (
            "UPDATE entry SET reasons = CASE "  # noqa: S608 - our own text
            "WHEN state = ? AND reasons IS NULL THEN CAST(? AS TEXT) "
            "ELSE CAST(? AS TEXT) || CAST(state AS TEXT) || coalesce(reasons, '[]') END, "
            "state = ?, update_revision = ? "
            f"WHERE id {{keys}} AND state <> {_WITHDRAWN} AND update_revision < ?"
        )
        keys = "IN (SELECT value FROM json_each(?))" if database.is_sqlite else "= ANY(?::int8[])"
        self._update = database.sql(updated.format(keys=keys))
        self._update_range = database.sql(updated.format(keys="BETWEEN ? AND ?"))

    def withdraw(self, c: Connection, parts: Sequence[Part], *, at_once: bool = False) -> None:
        """Let the entries of the parts, all of one revision, be WITHDRAWN in the transaction that makes it visible.

        When they are few, or with `at_once`, their rows say so at once; otherwise call `settle` afterwards.
        """
        if at_once or sum(len(p.ids) for p in parts) <= LARGE:
            for part in parts:
                touch(c, "entry", _walk(part.ids))
                self._write(c, part, list(_walk(part.ids)))
            return
        revision = parts[0].revision
        t, m = s.outstanding, s.metadata
        listed: str = c.execute(sa.select(m.c.outstanding)).scalar_one()
        # Kept until the next ones come, for reads that still have the revision in their hands.
        c.execute(sa.delete(t).where(t.c.revision.not_in(_revisions(listed))))
        c.execute(
            sa.insert(t),
            [
                {
                    "revision": revision,
                    "ordinal": p.ordinal,
                    "hash_set": p.hash_set,
                    "code": p.code,
                    "first_entry": p.ids.first,
                    "last_entry": p.ids.last,
                    "ids": p.ids.packed,
                    "origin": p.origin,
                    "source_times": msgspec.msgpack.encode(p.source_times) if any(p.source_times) else None,
                    "withdrawal": None if p.withdrawal is None else msgspec.json.encode(p.withdrawal),
                    "withdraw_time": p.withdraw_time,
                }
                for p in parts
            ],
        )
        c.execute(sa.update(m).values(outstanding=",".join(filter(None, (listed, str(revision))))))

    def parts(self, listed: str) -> Iterator[Part]:
        """Yield what is outstanding of the revisions that `metadata.outstanding` lists, or listed a moment ago.

        Raises Unavailable when that was too long ago to tell: what was read with it may be withdrawn and not say so.
        """
        revisions = _revisions(listed)
        known = self._known
        missing = [r for r in revisions if r not in known]
        if missing:
            t = s.outstanding
            chosen = sa.select(t).where(t.c.revision.in_(missing)).order_by(t.c.revision, t.c.ordinal)
            rows = self._db.read(lambda c: c.execute(chosen).all())
            fresh: dict[int, list[Part]] = {r: [] for r in missing}
            for row in rows:
                fresh[row[0]].append(_part(row))
            if not all(fresh.values()):
                raise Unavailable("the entries were updated while they were read; retry", retry_after=0.1)
            # Replaced, not changed: other threads read it, and have it replaced by what they need.
            known = {r: p for r, p in known.items() if r in revisions} | {r: tuple(p) for r, p in fresh.items()}
            self._known = known
        for revision in revisions:
            yield from known[revision]

    def about(self, listed: str, entry_id: int, update_revision: int) -> Part | None:
        """Return what is outstanding about an entry that was last moved at `update_revision`, or None."""
        for part in self.parts(listed):
            if update_revision < part.revision and entry_id in part.ids:
                return part
        return None

    def withdrawn_by_hand(self, c: Connection, hash_set: int, since: int) -> int:
        """Return how many entries of a hash set contributors' tokens withdrew by hand since a time whose rows may not
        say so yet, but for the wishes of persons shown.
        """
        listed: str = c.execute(sa.select(s.metadata.c.outstanding)).scalar_one()
        return sum(
            len(part.ids)
            for part in (self.parts(listed) if listed else ())
            if part.hash_set == hash_set
            and part.withdraw_time > since
            and part.withdrawal is not None
            and part.withdrawal.role is Role.CONTRIBUTOR
            and part.withdrawal.reason is not WithdrawalReason.REQUESTED_BY_PERSON_SHOWN
        )

    def listed(self) -> str:
        """Return the revisions that are outstanding now, as `metadata.outstanding` lists them."""
        text: str = self._db.fetch("SELECT outstanding FROM metadata")[0][0]
        return text

    def is_withdrawn(self, listed: str, ids: NDArray[np.int64], revisions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say of each entry, last moved at its revision, whether something outstanding withdraws it: bool[n]."""
        withdrawn = np.zeros(len(ids), np.bool_)
        if not len(ids):
            return withdrawn
        first, last = int(ids.min()), int(ids.max())
        for part in self.parts(listed):
            if part.ids.last < first or part.ids.first > last:
                continue
            for piece in part.ids.pieces(1 << 20):
                withdrawn |= np.isin(ids, piece, assume_unique=True) & (revisions < part.revision)
        return withdrawn

    def settle_these(self, c: Connection, ids: Iterable[int]) -> None:
        """Write what is outstanding about certain entries, in the transaction that goes on to move them."""
        listed: str = c.execute(sa.select(s.metadata.c.outstanding)).scalar_one()
        if not listed:
            return
        wanted = sorted(set(ids))
        for part in self.parts(listed):
            self._write(c, part, [i for i in wanted if i in part.ids])

    def settle(self, *, is_alone: bool = False, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Write all that is outstanding, piece by piece; no lock of the database is held in between.

        Two threads that do so at the same time write each piece once, whoever comes first. `is_alone`: return at once
        while another thread of this process, which said so too, is at it. `is_stopping` is asked before each piece.
        """
        if not self._due():
            return
        with ExitStack() as stack:
            if is_alone:
                if not self._settling.acquire(blocking=False):
                    return
                stack.callback(self._settling.release)
            self._settle(is_stopping)

    def prepare(self, hash_set: int) -> None:
        """Write what a commit into a hash set must find in the rows: all that comes with holds, which stand there then.

        The rest goes on being outstanding, but for a hash set with so many lists in a row that it would grow without
        bounds.
        """
        parts = self._due(hash_set)
        if len({part.revision for part in parts}) > _MOST:
            self._settle(hash_set=hash_set)
            return
        for part in parts:
            if part.origin or part.withdrawal is not None:
                self._write_all(part)

    def _due(self, hash_set: int | None = None) -> list[Part]:
        """Return all that is outstanding, or what matters to one hash set, by whole revisions."""
        listed = self.listed()
        parts = list(self.parts(listed)) if listed else []
        # An operator's holds stand in all sets of the contributor.
        due = {p.revision for p in parts if hash_set is None or p.hash_set == hash_set or p.holds_everywhere}
        return [p for p in parts if p.revision in due]

    def _settle(self, is_stopping: Callable[[], bool] = lambda: False, hash_set: int | None = None) -> None:
        parts = self._due(hash_set)
        if not all(self._write_all(part, is_stopping) for part in parts):
            return
        done = {p.revision for p in parts}
        if done:
            m = s.metadata
            with self._db.write() as c:
                self._db.lock(c)
                now: str = c.execute(sa.select(m.c.outstanding)).scalar_one()
                left = [str(r) for r in _revisions(now) if r not in done]
                c.execute(sa.update(m).values(outstanding=",".join(left)))
                # The words of who withdrew them stand with the entries now, where they can be erased.
                c.execute(sa.update(s.outstanding).where(s.outstanding.c.revision.in_(done)).values(withdrawal=None))

    def _write_all(self, part: Part, is_stopping: Callable[[], bool] = lambda: False) -> bool:
        """Write a part, piece by piece, unless this process did; return False when told to stop before the end."""
        if (part.revision, part.ordinal) in self._written:
            return True
        for piece in part.ids.pieces(PIECE):
            if is_stopping():
                return False
            with self._db.write() as c:
                self._write(c, part, piece.tolist())
        still_listed = {written for written in self._written if written[0] in self._known}
        self._written = frozenset({*still_listed, (part.revision, part.ordinal)})  # replaced: other threads read it
        return True

    def _write(self, c: Connection, part: Part, ids: Sequence[int]) -> None:
        if not ids:
            return
        code = pack_reasons((part.code,))
        keys: tuple[Any, ...] = (json.dumps(ids) if self._db.is_sqlite else array_of("int8", ids),)
        sql = self._update
        if ids[-1] - ids[0] + 1 == len(ids):
            sql, keys = self._update_range, (ids[0], ids[-1])
        values = (_ACTIVE, code, code, _WITHDRAWN, part.revision, *keys, part.revision)
        if part.withdrawal is None and not part.origin:
            c.exec_driver_sql(sql, values)
            return
        moved = sorted(row[0] for row in c.exec_driver_sql(f"{sql} RETURNING id", values))
        if part.withdrawal is not None:
            put_withdrawals(c, self._db, moved, part.withdrawal, part.revision, part.withdraw_time)
        if part.origin and moved:
            times: Sequence[str] = ()
            if part.source_times:
                number = {entry: i for i, entry in enumerate(_walk(part.ids))}
                times = [part.source_times[number[entry]] for entry in moved]
            put_holds(c, self._db, moved, Origin(part.origin), EntryState.WITHDRAWN, part.revision, source_times=times)


def put_withdrawals(
    c: Connection, db: Database, ids: Sequence[int], withdrawal: Withdrawal, revision: int, time: int
) -> None:
    """Put on record who withdrew entries, or asked for it, in place of what was on record. `ids` ascend; `time`: in
    milliseconds.
    """
    ranges = runs(ids)
    if not ranges:
        return
    touch(c, "withdrawal", ids)
    c.exec_driver_sql(db.sql("DELETE FROM withdrawal WHERE entry BETWEEN ? AND ?"), ranges)
    sql = db.sql(
        "INSERT INTO withdrawal (entry, hash_set, reason, comment, actor, role, revision, time, pending) "
        "SELECT e.id, e.hash_set, CAST(? AS SMALLINT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS SMALLINT), "
        "CAST(? AS BIGINT), "
        "CAST(? AS BIGINT), CAST(? AS BOOLEAN) FROM entry e WHERE e.id BETWEEN ? AND ?"
    )
    row = (
        s.WITHDRAWAL_REASONS[withdrawal.reason],
        withdrawal.comment,
        withdrawal.actor,
        s.ROLES[withdrawal.role],
        revision,
        time,
        withdrawal.pending,
    )
    c.exec_driver_sql(sql, [(*row, *ends) for ends in ranges])


def _walk(ids: IdSet) -> Iterator[int]:
    for piece in ids.pieces(1 << 20):
        yield from piece.tolist()


def _revisions(listed: str) -> list[int]:
    return [int(revision) for revision in listed.split(",") if revision]


def _part(row: Sequence[Any]) -> Part:
    revision, ordinal, hash_set, code, first, last, ids, origin, times, withdrawal, time = row
    told = msgspec.msgpack.decode(times, type=tuple[str, ...]) if times is not None else ()
    by_hand = None if withdrawal is None else msgspec.json.decode(withdrawal, type=Withdrawal)
    return Part(revision, ordinal, hash_set, code, IdSet(first, last, ids), origin, told, by_hand, time)
