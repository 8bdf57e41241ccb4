"""SQL that several writes share: states of entries, rows of the feed, what goes on to successors.

Each function works inside its caller's transaction, which holds the lock and has taken the revision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import LimitExceeded, NotFound, Reason
from hashhub.hashes import Hash
from hashhub.model import MAX_NUMBER, id_in_set, number_of, set_key_of
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.idset import IdSet
from hashhub.store.imprints import touch
from hashhub.store.outstanding import Outstanding
from hashhub.store.packing import EXACT, pack_reasons, replace_reasons, unpack_hashes, unpack_reasons
from hashhub.store.schema import ACTIVE, STAGED_AROUND

CHANGE_IDS: Final = 50_000  # entries in one row of the feed, unless they are one range: bounds what a page must read
PAGE: Final = 10_000  # rows read or purged at a time where the caller did not say
PENDING: Final = "WITHDRAWAL_PENDING"
"""The remark on an entry whose withdrawal waits for a second person."""


class EntryWrites:
    """Writes that are part of a larger one."""

    def __init__(self, database: Database, outstanding: Outstanding) -> None:
        self._db = database
        self._outstanding = outstanding

    def push_state(
        self, c: Connection, ranges: Sequence[tuple[int, int]], state: int, reasons: tuple[str, ...], revision: int
    ) -> None:
        """Move the entries of the ranges to a state that they are not in, keeping behind the reasons what stood before
        (see packing).
        """
        sql = self._db.sql(
            "UPDATE entry SET reasons = CASE WHEN state = ? AND reasons IS NULL THEN CAST(? AS TEXT) "
            "ELSE CAST(? AS TEXT) || CAST(state AS TEXT) || coalesce(reasons, '[]') END, "
            "state = ?, update_revision = ? WHERE id BETWEEN ? AND ? AND state <> ?"
        )
        packed = pack_reasons(reasons) or "[]"
        touch(c, "entry", chain.from_iterable(range(first, last + 1) for first, last in ranges))
        c.exec_driver_sql(
            sql, [(ACTIVE, packed, packed, state, revision, first, last, state) for first, last in ranges]
        )

    def add_changes(self, c: Connection, revision: int, rows: Sequence[tuple[int, IdSet, int]]) -> None:
        """Append rows (kind, entries, import's key or 0) to the feed at a revision, behind those that it has.

        Entries of several hash sets become a row for each: a reader is told of the sets that it may see without a look
        at the entries.
        """
        by_set = [
            (kind, part, import_key, set_key)
            for kind, ids, import_key in rows
            for set_key, of_set in _by_set(ids)
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

    def subject(self, c: Connection, entry: int) -> str:
        """Return what an event calls the entry with this id."""
        e, h = s.entry, s.hash_set
        row = c.execute(
            sa.select(h.c.contributor, h.c.id).join_from(e, h, h.c.key == e.c.hash_set).where(e.c.id == entry)
        ).one()
        return f"entries/{row[0]}/{row[1]}/{number_of(entry)}"

    def inherit(self, c: Connection, hash_set: int, restated: NDArray[np.int64]) -> list[int]:
        """Let the reviews of the first of each pair of entries, int64[n, 2], count for the second too. Return the
        entries for which more of them count now, ascending.
        """
        if not len(restated):
            return []
        # Read here, in the transaction, so that no review that comes in during a long commit is left behind.
        sql = self._db.sql("SELECT entry, review FROM reviewed WHERE hash_set = ?")
        return self._count_for(c, hash_set, restated, c.exec_driver_sql(sql, (hash_set,)))

    def _count_for(
        self, c: Connection, hash_set: int, restated: NDArray[np.int64], reviews: Iterable[Sequence[Any]]
    ) -> list[int]:
        """Do as `inherit`, of reviews (entry, review) that are read: those of all the entries, others may be among
        them.
        """
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
            sql = self._db.sql("INSERT INTO reviewed (hash_set, entry, review) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            c.exec_driver_sql(sql, rows)
            touch(c, "reviewed", [row[1] for row in rows])
        return sorted({row[1] for row in rows})

    def inherit_back(self, c: Connection, ids: Sequence[int]) -> None:
        """Let the reviews of all else that their hash sets state or stated about the same items count for entries that
        are about to stand again. `ids` ascend. Without that, whoever takes a newer statement back, and restores the
        older one, would shed what others say of the item.
        """
        some = self._db.sql("SELECT 1 FROM reviewed WHERE hash_set = ? LIMIT 1")
        reviews = "SELECT a.entry, a.review FROM reviewed a WHERE a.hash_set = ? AND a.entry {keys}"
        for set_key in sets_of(ids):
            if c.exec_driver_sql(some, (set_key,)).first() is None:
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
            "WHERE e.id = h.entry AND e.hash_set = ? "
            f"AND {is_reviewed} AND h.algorithm = ? AND h.digest {{keys}}"
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
        """Return id, state and packed reasons of those of the entries (ascending) that are visible, with what is
        outstanding about them written.
        """
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
        """Replace an entry's packed reasons (see packing); with `revision` it counts as moved then."""
        values: dict[str, Any] = {"reasons": packed}
        touch(c, "entry", [entry_id])
        if revision is not None:
            values["update_revision"] = revision
        c.execute(sa.update(s.entry).where(s.entry.c.id == entry_id).values(values))


def sets_of(ids: Iterable[int] | NDArray[np.int64]) -> list[int]:
    """Return the keys of the hash sets that the entries are in, ascending."""
    keys: list[int] = np.unique(np.array(ids, np.int64) >> 32).tolist()
    return keys


def _by_set(ids: IdSet) -> Iterator[tuple[int, IdSet]]:
    """Yield the keys of the hash sets that the entries are in, each with its part of them."""
    if set_key_of(ids.first) == set_key_of(ids.last):
        yield set_key_of(ids.first), ids
        return
    every = np.concatenate(list(ids.pieces(PAGE)))
    for set_key in sets_of(every):
        yield set_key, IdSet.of(every[every >> 32 == set_key])


def take_ids(c: Connection, counter: sa.Column[int], set_key: int, n: int) -> int:
    """Reserve `n` consecutive ids of entries or reviews of a hash set and return the first. `counter`: of which.

    Raises LimitExceeded when that many are not left.
    """
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


def no_entry(name: str) -> NotFound:
    """Return the error for an entry that does not exist, or is not visible."""
    return NotFound(
        f"there is no entry {name[:150]!r} that this token may see; take the name from a match or a list of entries",
        kind="Entry",
        name=name,
    )
