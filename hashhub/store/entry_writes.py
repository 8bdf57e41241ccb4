"""Writes of entries that larger transactions share: states, rows of the feed, what goes on to successors, large
withdrawals, frames of videos, and pages of digests of what entries state.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import LimitExceeded, Reason, Unavailable
from hashhub.frames import FRAME_BYTES, matching_digests
from hashhub.hashes import VPDQ, Hash
from hashhub.item import COMPARED
from hashhub.model import (
    MAX_NUMBER,
    EntryState,
    Role,
    Withdrawal,
    WithdrawalReason,
    id_in_set,
    number_of,
    set_key_of,
)
from hashhub.store import schema as s
from hashhub.store.database import Database, Row, array_of
from hashhub.store.entry_codec import (
    EXACT,
    STATEMENT_BYTES,
    EntryColumns,
    IdSet,
    pack_reasons,
    replace_reasons,
    runs,
    unpack_hashes,
    unpack_reasons,
)
from hashhub.store.events import WHOLE, touch
from hashhub.store.holds import Origin, put_holds
from hashhub.store.schema import ACTIVE, STAGED_AROUND

VIDEOS_AT_ONCE: Final = 50  # videos whose frames are read together: at most 37 MB of them
_VERSION: Final = 1  # raise it when `entry_codec.statement` says the same fields otherwise
FORM: Final = zlib.crc32(repr((_VERSION, [f.name for f in COMPARED])).encode()) >> 1  # a new field is another form
CHANGE_IDS: Final = 50_000  # entries in one row of the feed, unless they are one range: bounds what a page must read
PAGE: Final = 10_000  # rows read or purged at a time where the caller did not say
PENDING: Final = "WITHDRAWAL_PENDING"
"""The remark on an entry whose withdrawal waits for a second person."""
PIECE: Final = 5_000  # rows in one transaction: some 50 ms
LARGE: Final = 5_000
"""A revision that withdraws more entries than this is written into their rows afterwards."""
MOST: Final = 4
"""Revisions of one hash set that may be outstanding: with more than these the next commit writes them first."""
_SAME_COLUMNS: Final = ("revision", "ordinal", "hash_set", "code", "origin", "withdraw_time")  # of a WithdrawalPart
# What stood before goes behind the reasons (see entry_codec).
_MOVE: Final = (
    "UPDATE entry SET reasons = CASE WHEN state = ? AND reasons IS NULL THEN CAST(? AS TEXT) "
    "ELSE CAST(? AS TEXT) || CAST(state AS TEXT) || coalesce(reasons, '[]') END, state = ?, update_revision = ? WHERE"
)


class WithdrawalPart(NamedTuple):
    """Entries of one hash set that a revision withdrew for one reason, `code`.

    `origin`: of their hold, or empty; `source_times`: of the source's deletion messages, by id, or nothing.
    `withdrawal`: who withdrew them by hand at `withdraw_time` (milliseconds), and why.
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


class DeferredWithdrawals:
    """What is withdrawn and not yet written into the rows: large withdrawals are visible in one small transaction.

    commit    the event, the changes, and which entries and why: from now on every read takes them for WITHDRAWN
    settle    the rows, a few thousand in a transaction; then nothing is outstanding any more
    prepare   of these only what the next commit must find written: holds

    `metadata.outstanding` names the revisions whose rows are not all written; a read fetches it in the same statement
    as the rows. Each piece can be written twice, and never touches an entry that was moved since.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: dict[int, tuple[WithdrawalPart, ...]] = {}  # by revision
        self._written: frozenset[tuple[int, int]] = frozenset()  # parts, by revision and ordinal, by this process
        self._settling = threading.Lock()
        updated = f"{_MOVE} id {{keys}} AND state <> {s.WITHDRAWN} AND update_revision < ?"
        keys = "IN (SELECT value FROM json_each(?))" if database.is_sqlite else "= ANY(?::int8[])"
        self._update = updated.format(keys=keys)
        self._update_range = updated.format(keys="BETWEEN ? AND ?")

    def withdraw(self, c: Connection, parts: Sequence[WithdrawalPart], *, at_once: bool = False) -> None:
        """Let entries of one revision's parts be WITHDRAWN; unless few, or `at_once`, `settle` writes their rows."""
        if at_once or sum(len(p.ids) for p in parts) <= LARGE:
            for part in parts:
                touch(c, "entry", _walk(part.ids))
                self.write_rows(c, part, list(_walk(part.ids)))
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
                    **{name: getattr(p, name) for name in _SAME_COLUMNS},
                    "first_entry": p.ids.first,
                    "last_entry": p.ids.last,
                    "ids": p.ids.packed,
                    "source_times": msgspec.msgpack.encode(p.source_times) if any(p.source_times) else None,
                    "withdrawal": None if p.withdrawal is None else msgspec.json.encode(p.withdrawal),
                }
                for p in parts
            ],
        )
        c.execute(sa.update(m).values(outstanding=",".join(filter(None, (listed, str(revision))))))

    def parts(self, listed: str) -> Iterator[WithdrawalPart]:
        """Yield what the listed revisions have outstanding. Raises Unavailable when they were listed too long ago."""
        revisions = _revisions(listed)
        known = self._known
        missing = [r for r in revisions if r not in known]
        if missing:
            t = s.outstanding
            chosen = sa.select(t).where(t.c.revision.in_(missing)).order_by(t.c.revision, t.c.ordinal)
            rows = self._db.select(chosen)
            fresh: dict[int, list[WithdrawalPart]] = {r: [] for r in missing}
            for row in rows:
                fresh[row[0]].append(_part(row))
            if not all(fresh.values()):
                raise Unavailable("the entries were updated while they were read; retry", retry_after=0.1)
            # Replaced, not changed: other threads read it, and have it replaced by what they need.
            known = {r: p for r, p in known.items() if r in revisions} | {r: tuple(p) for r, p in fresh.items()}
            self._known = known
        for revision in revisions:
            yield from known[revision]

    def about(self, listed: str, entry_id: int, update_revision: int) -> WithdrawalPart | None:
        """Return what is outstanding about an entry that was last moved at `update_revision`, or None."""
        for part in self.parts(listed):
            if update_revision < part.revision and entry_id in part.ids:
                return part
        return None

    def withdrawn_by_hand(self, c: Connection, hash_set: int, since: int) -> int:
        """Return how many entries contributors withdrew by hand since a time without their rows saying so yet."""
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

    def settled_revision(self) -> int:
        """Return the last revision up to which every row says what became of its entry."""
        revision: int
        revision, listed = self._db.fetch("SELECT revision, outstanding FROM metadata")[0]
        return min([revision, *(r - 1 for r in _revisions(listed))])

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
            self.write_rows(c, part, [i for i in wanted if i in part.ids])

    def settle(self, *, is_alone: bool = False, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Write all outstanding parts in pieces. `is_alone`: unless another thread that said so does; `is_stopping`:
        asked.
        """
        if not self._due():
            return
        with ExitStack() as stack:
            if is_alone:
                if not self._settling.acquire(blocking=False):
                    return
                stack.callback(self._settling.release)
            self.settle_due(is_stopping)

    def prepare(self, hash_set: int) -> None:
        """Write what a commit into a set must find in the rows: what has holds; beyond MOST revisions all of it."""
        parts = self._due(hash_set)
        if len({part.revision for part in parts}) > MOST:
            self.settle_due(hash_set=hash_set)
            return
        for part in parts:
            if part.origin or part.withdrawal is not None:
                self._write_all(part)

    def _due(self, hash_set: int | None = None) -> list[WithdrawalPart]:
        """Return all that is outstanding, or what matters to one hash set, by whole revisions."""
        listed = self.listed()
        parts = list(self.parts(listed)) if listed else []
        # An operator's holds stand in all sets of the contributor.
        due = {p.revision for p in parts if hash_set is None or p.hash_set == hash_set or p.holds_everywhere}
        return [p for p in parts if p.revision in due]

    def settle_due(self, is_stopping: Callable[[], bool] = lambda: False, hash_set: int | None = None) -> None:
        """Write the rows of the withdrawals that are due, and no longer list them."""
        parts = self._due(hash_set)
        if not all(self._write_all(part, is_stopping) for part in parts):
            return
        done = {p.revision for p in parts}
        if done:
            m = s.metadata
            with self._db.write_in_order() as c:
                now: str = c.execute(sa.select(m.c.outstanding)).scalar_one()
                left = [str(r) for r in _revisions(now) if r not in done]
                c.execute(sa.update(m).values(outstanding=",".join(left)))
                # The words of who withdrew them stand with the entries now, where they can be erased.
                c.execute(sa.update(s.outstanding).where(s.outstanding.c.revision.in_(done)).values(withdrawal=None))

    def _write_all(self, part: WithdrawalPart, is_stopping: Callable[[], bool] = lambda: False) -> bool:
        """Write a part, piece by piece, unless this process did; return False when told to stop before the end."""
        if (part.revision, part.ordinal) in self._written:
            return True
        for piece in part.ids.pieces(PIECE):
            if is_stopping():
                return False
            with self._db.write() as c:
                self.write_rows(c, part, piece.tolist())
        still_listed = {written for written in self._written if written[0] in self._known}
        self._written = frozenset({*still_listed, (part.revision, part.ordinal)})  # replaced: other threads read it
        return True

    def write_rows(self, c: Connection, part: WithdrawalPart, ids: Sequence[int]) -> None:
        """Write the rows of entries of a part."""
        if not ids:
            return
        code = pack_reasons((part.code,))
        keys: tuple[Any, ...] = (json.dumps(ids) if self._db.is_sqlite else array_of("int8", ids),)
        sql = self._update
        if ids[-1] - ids[0] + 1 == len(ids):
            sql, keys = self._update_range, (ids[0], ids[-1])
        values = (ACTIVE, code, code, s.WITHDRAWN, part.revision, *keys, part.revision)
        if part.withdrawal is None and not part.origin:
            self._db.execute(c, sql, values)
            return
        moved = sorted(row[0] for row in self._db.execute(c, f"{sql} RETURNING id", values))
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
    """Put on record, in place of what was, who withdrew entries (ascending), or asked for it; `time` in ms."""
    ranges = runs(ids)
    if not ranges:
        return
    touch(c, "withdrawal", ids)
    db.execute(c, "DELETE FROM withdrawal WHERE entry BETWEEN ? AND ?", ranges)
    sql = (
        "INSERT INTO withdrawal (entry, hash_set, reason, comment, actor, role, revision, time, pending) "
        "SELECT e.id, e.hash_set, CAST(? AS SMALLINT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS SMALLINT), "
        "CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BOOLEAN) FROM entry e WHERE e.id BETWEEN ? AND ?"
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
    db.execute(c, sql, [(*row, *ends) for ends in ranges])


def _walk(ids: IdSet) -> Iterator[int]:
    for piece in ids.pieces(1 << 20):
        yield from piece.tolist()


def _revisions(listed: str) -> list[int]:
    return [int(revision) for revision in listed.split(",") if revision]


def _part(row: Sequence[Any]) -> WithdrawalPart:
    revision, ordinal, hash_set, code, first, last, ids, origin, times, withdrawal, time = row
    told = msgspec.msgpack.decode(times, type=tuple[str, ...]) if times is not None else ()
    by_hand = None if withdrawal is None else msgspec.json.decode(withdrawal, type=Withdrawal)
    return WithdrawalPart(revision, ordinal, hash_set, code, IdSet(first, last, ids), origin, told, by_hand, time)


class EntryWrites:
    """Writes that are part of a larger one."""

    def __init__(self, database: Database, outstanding: DeferredWithdrawals) -> None:
        self._db = database
        self._outstanding = outstanding

    def push_state(
        self, c: Connection, ranges: Sequence[tuple[int, int]], state: int, reasons: tuple[str, ...], revision: int
    ) -> None:
        """Move the ranges' entries to another state, keeping what stood before behind the reasons (see entry_codec)."""
        sql = f"{_MOVE} id BETWEEN ? AND ? AND state <> ?"
        packed = pack_reasons(reasons) or "[]"
        touch(c, "entry", chain.from_iterable(range(first, last + 1) for first, last in ranges))
        self._db.execute(
            c, sql, [(ACTIVE, packed, packed, state, revision, first, last, state) for first, last in ranges]
        )

    def add_changes(self, c: Connection, revision: int, rows: Sequence[tuple[int, IdSet, int]]) -> None:
        """Append rows (kind, entries, import's key or 0), one for each hash set, to the feed behind those it has."""
        by_set = [
            (kind, part, import_key, set_key)
            for kind, ids, import_key in rows
            for set_key, of_set in _sets_by_key(ids)
            for part in of_set.parts(CHANGE_IDS)
        ]
        t = s.change
        touch(c, t.name, [revision])
        ordinal: int = c.execute(sa.select(sa.func.count()).where(t.c.revision == revision)).scalar_one()
        self._db.insert(
            c,
            t,
            [
                (revision, ordinal + i, kind, ids.first, ids.last, ids.packed, import_key, set_key)
                for i, (kind, ids, import_key, set_key) in enumerate(by_set)
            ],
        )

    def subject(self, entry: int) -> str:
        """Return what an event calls the entry with this id."""
        return f"entries/{self._db.hash_set_name(set_key_of(entry))}/{number_of(entry)}"

    def inherit(self, c: Connection, hash_set: int, restated: NDArray[np.int64]) -> list[int]:
        """Let reviews of pairs' first entries count for the second, int64[n, 2]; return those that gain, sorted."""
        if not len(restated):
            return []
        # Read here, in the transaction, so that no review that comes in during a long commit is left behind.
        sql = "SELECT entry, review FROM reviewed WHERE hash_set = ?"
        return self._count_for(c, hash_set, restated, self._db.execute(c, sql, (hash_set,)))

    def _count_for(
        self, c: Connection, hash_set: int, restated: NDArray[np.int64], reviews: Iterable[Sequence[Any]]
    ) -> list[int]:
        """Do as `inherit`, of reviews (entry, review) that were read, others among them."""
        reviewed: defaultdict[int, set[int]] = defaultdict(set)
        for entry, review in reviews:
            reviewed[entry].add(review)
        pairs = restated[np.isin(restated[:, 0], np.fromiter(reviewed, np.int64))]
        rows: list[Row] = []
        for earlier, later in pairs.tolist():
            fresh = reviewed[earlier] - reviewed[later]
            reviewed[later] |= fresh
            rows += [(hash_set, later, review) for review in fresh]
        if rows:
            sql = "INSERT INTO reviewed (hash_set, entry, review) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            self._db.execute(c, sql, rows)
            touch(c, "reviewed", [row[1] for row in rows])
        return sorted({row[1] for row in rows})

    def inherit_back(self, c: Connection, ids: Sequence[int]) -> None:
        """Let reviews of all that the sets of entries (ascending) state or stated about the same items count for these,
        which are about to stand again: else taking a newer statement back would shed what others say of the item.
        """
        some = "SELECT 1 FROM reviewed WHERE hash_set = ? LIMIT 1"
        reviews = "SELECT a.entry, a.review FROM reviewed a WHERE a.hash_set = ? AND a.entry {keys}"
        for set_key in sets_of(ids):
            if self._db.execute(c, some, (set_key,)).first() is None:
                continue
            # In pieces, so that neither the entries nor the hash set's reviews are in memory all at once.
            for start in range(0, len(ids), PAGE):
                piece = ids[start : start + PAGE]
                pairs = {*self._successors(c, piece), *self._about_same_items(c, set_key, piece)}
                restated = np.array(sorted(x for x in pairs if x[0] != x[1]), np.int64).reshape(-1, 2)
                rows = self._db.by_keys(reviews, "int8", (set_key,), np.unique(restated).tolist(), c)
                self._count_for(c, set_key, restated, rows)

    def _successors(self, c: Connection, ids: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield pairs of an entry that took the place of one of the entries, or of such a one, and that entry."""
        sql = "SELECT x.earlier, x.later FROM succession x WHERE x.earlier {keys}"
        pairs = {(i, i) for i in ids}
        fresh = pairs
        while fresh:
            origins: dict[int, list[int]] = {}
            for later, origin in fresh:
                origins.setdefault(later, []).append(origin)
            rows = self._db.by_keys(sql, "int8", (), sorted(origins), c)
            fresh = {(later, origin) for earlier, later in rows for origin in origins[earlier]} - pairs
            pairs |= fresh
            yield from fresh

    def _about_same_items(self, c: Connection, set_key: int, ids: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield pairs of a reviewed entry of a hash set and one of the entries about the same item: with an external id
        or an exact digest in common or, where the latter has none of these digests, all hashes.
        """
        named: dict[str, list[int]] = {}
        having: dict[int, dict[bytes, list[int]]] = {}
        bare: dict[int, set[Hash]] = {}
        own = "SELECT e.id, e.external_id, e.hashes FROM entry e WHERE e.hash_set = ? AND e.id {keys}"
        for entry, external_id, packed in self._db.by_keys(own, "int8", (set_key,), ids, c):
            hashes = unpack_hashes(packed)
            exact = [h for h in hashes if s.ALGORITHM_CODES[h.algorithm] in EXACT]
            if external_id:
                named.setdefault(external_id, []).append(entry)
            if not exact:
                bare[entry] = set(hashes)
            for h in exact or hashes[:1]:
                having.setdefault(s.ALGORITHM_CODES[h.algorithm], {}).setdefault(h.digest, []).append(entry)
        is_reviewed = "EXISTS (SELECT 1 FROM reviewed a WHERE a.hash_set = e.hash_set AND a.entry = e.id)"
        by_name = (
            "SELECT e.external_id, e.id FROM entry e "  # noqa: S608 - our own text
            f"WHERE e.hash_set = ? AND {is_reviewed} AND e.external_id {{keys}}"
        )
        for external_id, other in self._db.by_keys(by_name, "text", (set_key,), sorted(named), c):
            yield from ((other, entry) for entry in named[external_id])
        by_digest = (
            "SELECT h.digest, e.id, e.hashes FROM hash h CROSS JOIN entry e "  # noqa: S608 - likewise
            f"WHERE e.id = h.entry AND e.hash_set = ? AND {is_reviewed} AND h.algorithm = ? AND h.digest {{keys}}"
        )
        for code, entries_by_digest in having.items():
            rows = self._db.by_keys(by_digest, "bytea", (set_key, code), sorted(entries_by_digest), c)
            for digest, other, packed in rows:
                for entry in entries_by_digest[bytes(digest)]:
                    if entry not in bare or bare[entry] == set(unpack_hashes(packed)):
                        yield other, entry

    def add_successions(self, c: Connection, pairs: NDArray[np.int64]) -> None:
        """Note which entry took the place of which: distinct pairs (earlier, later), int64[n, 2]."""
        self._db.insert_numbers(c, s.succession, pairs)

    def visible_rows(self, c: Connection, ids: Sequence[int]) -> list[tuple[int, int, str | None]]:
        """Return id, state and packed reasons of the visible ones (ids ascending), having settled them."""
        if not ids:
            return []
        self._outstanding.settle_these(c, ids)
        sql = (
            "SELECT e.id, e.state, e.reasons FROM entry e "  # noqa: S608 - our own text
            f"WHERE e.id {{keys}} AND NOT EXISTS ({STAGED_AROUND})"
        )
        return [(row[0], row[1], row[2]) for row in self._db.by_keys(sql, "int8", (), ids, c)]

    def visible_states(self, c: Connection, ids: Sequence[int]) -> dict[int, int]:
        """Return the states of those of the entries (ascending) that are visible, by id."""
        return {row[0]: row[1] for row in self.visible_rows(c, ids)}

    def inherit_requests(
        self, c: Connection, set_key: int, pairs: NDArray[np.int64], replaced: NDArray[np.int64]
    ) -> None:
        """Let requests for a withdrawal stand against the entries that took the place of those that they were about."""
        w = s.withdrawal
        asked = c.execute(sa.select(w).where(w.c.hash_set == set_key, w.c.pending.is_(True))).all()
        if not asked:  # mostly; and others wait for this transaction
            return
        concerned = set(np.intersect1d([row.entry for row in asked], replaced).tolist())
        by_entry = {row.entry: row for row in asked if row.entry in concerned}
        if not by_entry:
            return
        for earlier, later in pairs[np.isin(pairs[:, 0], np.fromiter(by_entry, np.int64))].tolist():
            row = by_entry[earlier]._asdict() | {"entry": later}
            c.execute(sa.delete(w).where(w.c.entry.in_([earlier, later])))
            c.execute(sa.insert(w).values(row))
            touch(c, w.name, [earlier, later])
            packed = c.scalar(sa.select(s.entry.c.reasons).where(s.entry.c.id == later))
            self.set_reasons(c, later, replace_reasons(packed, (*unpack_reasons(packed), PENDING)))

    def set_reasons(self, c: Connection, entry_id: int, packed: str | None, revision: int | None = None) -> None:
        """Replace an entry's packed reasons (see entry_codec); with `revision` it counts as moved then."""
        values: dict[str, Any] = {"reasons": packed}
        touch(c, "entry", [entry_id])
        if revision is not None:
            values["update_revision"] = revision
        c.execute(sa.update(s.entry).where(s.entry.c.id == entry_id).values(values))


def sets_of(ids: Iterable[int] | NDArray[np.int64]) -> list[int]:
    """Return the keys of the hash sets that the entries are in, ascending."""
    keys: list[int] = np.unique(np.array(ids, np.int64) >> 32).tolist()
    return keys


def _sets_by_key(ids: IdSet) -> Iterator[tuple[int, IdSet]]:
    """Yield as `by_set`; mostly all are of one."""
    if set_key_of(ids.first) == set_key_of(ids.last):
        yield set_key_of(ids.first), ids
    else:
        yield from ((key, IdSet.of(own)) for key, own in by_set(np.concatenate(list(ids.pieces(PAGE)))))


def by_set(ids: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the keys of the hash sets that the entries are in, each with its part of them."""
    keys = ids >> 32
    return ((key, ids[keys == key]) for key in np.unique(keys).tolist())


def take_ids(c: Connection, counter: sa.Column[int], set_key: int, n: int) -> int:
    """Reserve `n` consecutive ids, `counter` says of what, and return the first. Raises LimitExceeded: too few left."""
    t = s.hash_set
    after: int = c.execute(
        sa.update(t).where(t.c.key == set_key).values({counter: counter + n}).returning(counter)
    ).scalar_one()
    if after > MAX_NUMBER + 1:
        raise LimitExceeded(
            f"a hash set can have {MAX_NUMBER} entries and as many reviews in all its time; go on in another one",
            reason=Reason.SHARE_EXCEEDED,
            metadata={"share": str(counter.name), "most": str(MAX_NUMBER)},
        )
    return id_in_set(set_key, after - n)


def note_loss(c: Connection, set_keys: Sequence[int], revision: int) -> None:
    """Note that entries were withdrawn from the hash sets, with nothing in their place."""
    t = s.hash_set
    c.execute(sa.update(t).where(t.c.key.in_(set_keys)).values(withdraw_revision=revision))


class FrameCount(NamedTuple):
    """How many frames an entry has, and how many distinct digests its frames that match have."""

    frames: int
    digests: int


def frame_rows(entries: EntryColumns) -> list[Row]:
    """Return the rows of the table `frames` of packed entries."""
    return [
        (entry, len(packed) // FRAME_BYTES, len(matching_digests(packed)), packed)
        for entry, packed in zip(entries.ids, entries.frames, strict=True)
        if packed
    ]


def frame_counts(db: Database, ids: Iterable[int], c: Connection | None = None) -> dict[int, FrameCount]:
    """Return the counts of those of the entries that have frames."""
    sql = "SELECT f.entry, f.frame_count, f.digest_count FROM frames f WHERE f.entry {keys}"
    return {row[0]: FrameCount(row[1], row[2]) for row in db.by_keys(sql, "int8", (), sorted(set(ids)), c)}


def frames_of(db: Database, ids: Sequence[int], c: Connection | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the entries that have frames, ascending, with these, packed; a few at a time."""
    having = sorted(frame_counts(db, ids, c))
    sql = "SELECT f.entry, f.content FROM frames f WHERE f.entry {keys} ORDER BY f.entry"
    for start in range(0, len(having), VIDEOS_AT_ONCE):
        for row in db.by_keys(sql, "int8", (), having[start : start + VIDEOS_AT_ONCE], c):
            yield row[0], row[1]


def delete_frames(c: Connection, db: Database, ids: Sequence[int]) -> int:
    """Delete the frames of entries in this transaction, and their digests; return how many digests."""
    count = 0
    gone: list[tuple[int]] = []
    for entry, packed in frames_of(db, ids, c):
        digests = [(VPDQ.code, digest.tobytes(), entry) for digest in matching_digests(packed)]
        db.delete_hashes(c, digests)
        count += len(digests)
        gone.append((entry,))
    if gone:
        db.execute(c, "DELETE FROM frames WHERE entry = ?", gone)
    return count


def page_of(entries: EntryColumns, set_key: int, import_key: int, imprints: Sequence[bytes]) -> Row:
    """Return the row of a page for entries that are about to be written; `imprints`: of their rows.

    Each id from the first to the last has a place in it; zeros say nothing: the entry must be read.

    content   digests (entry_codec.statement), then classifications as little-endian int32, 0 for none
    imprints  of the rows of entries as they were staged, WHOLE bytes each (store.events)
    form      which fields, and how, the digests are of; a page of another form is read as zeros
    """
    first, last = entries.ids[0], entries.ids[-1]
    places = np.asarray(entries.ids, np.int64) - first
    digests = np.zeros((last - first + 1, STATEMENT_BYTES), np.uint8)
    digests[places] = np.frombuffer(b"".join(entries.statements), np.uint8).reshape(-1, STATEMENT_BYTES)
    classifications = np.zeros(len(digests), "<i4")
    classifications[places] = [key or 0 for key in entries.classifications]
    content = digests.tobytes() + classifications.tobytes()
    digests[places] = np.frombuffer(b"".join(imprints), np.uint8).reshape(-1, WHOLE)
    return first, last, set_key, import_key, FORM, content, digests.tobytes()


def unpacked_page(first: int, last: int, form: int, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the digests of a page, uint8[n, STATEMENT_BYTES], and the classifications, int32[n]."""
    count = last - first + 1
    if form != FORM:
        return np.zeros((count, STATEMENT_BYTES), np.uint8), np.zeros(count, np.int32)
    digests = np.frombuffer(content, np.uint8, count * STATEMENT_BYTES).reshape(count, STATEMENT_BYTES)
    return digests, np.frombuffer(content, "<i4", count, count * STATEMENT_BYTES)


def clear_places(c: Connection, ids: Sequence[int]) -> None:
    """Clear the places of entries, in the transaction that changes what they state, or after it has deleted them. `ids`
    ascend. A page stays for as long as there is an entry with a place in it, which is read only because of it.
    """
    t, e = s.statement_page, s.entry
    ordered = np.asarray(ids, np.int64)
    at = 0
    while at < len(ids):
        page = c.execute(
            sa.select(t.c.first_entry, t.c.last_entry, t.c.content, t.c.imprints)
            .where(t.c.first_entry <= ids[at])
            .order_by(t.c.first_entry.desc())
            .limit(1)
            .with_for_update()
        ).first()
        if page is None or page.last_entry < ids[at]:  # it has none, nor has any up to the next page
            following = c.scalar(sa.select(sa.func.min(t.c.first_entry)).where(t.c.first_entry > ids[at]))
            at = len(ids) if following is None else int(np.searchsorted(ordered, following))
            continue
        end = int(np.searchsorted(ordered, page.last_entry, "right"))
        count = page.last_entry - page.first_entry + 1
        places = ordered[at:end] - page.first_entry
        content = np.frombuffer(page.content, np.uint8).copy()
        content[: count * STATEMENT_BYTES].reshape(count, STATEMENT_BYTES)[places] = 0
        content[count * STATEMENT_BYTES :].reshape(count, -1)[places] = 0
        imprints = np.frombuffer(page.imprints, np.uint8).copy()
        imprints.reshape(count, WHOLE)[places] = 0
        own = t.c.first_entry == page.first_entry
        touch(c, "statement_page", [page.first_entry])
        theirs = sa.select(e.c.id).where(e.c.id.between(page.first_entry, page.last_entry))
        if content.any() or c.scalar(theirs.limit(1)) is not None:
            c.execute(sa.update(t).where(own).values(content=content.tobytes(), imprints=imprints.tobytes()))
        else:
            c.execute(sa.delete(t).where(own))
        at = end
