"""A hash set's entries as columns, for comparing a list with them: what each states as one digest, and its hashes.

No Entry is built. A page of rows becomes a few arrays, so that a million entries are compared in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.entries import Entries
from hashhub.store.holds import HOLD_SQL, Hold, hold_of_row
from hashhub.store.outstanding import Outstanding
from hashhub.store.packing import (
    STATEMENT_BYTES,
    compared_details,
    cut,
    is_ordered,
    ordered_hashes,
    statement,
    unpack_reasons,
)
from hashhub.store.resources import key_of_set
from hashhub.store.schema import ACTIVE, WITHDRAWN

_PAGE: Final = 2_000  # rows at a time: a few milliseconds, between which other threads go on
_QUARANTINED: Final = 2
_SQL: Final = (
    "SELECT e.id, e.state, e.external_id, e.classification, e.flags, e.hashes, e.details, e.reasons, e.expire_time, "
    'e."import", e.update_revision, (SELECT outstanding FROM metadata) FROM '
)
# Withdrawn ones matter only where somebody has reviewed them: the reviews go on to who states the item again.
_REVIEWED: Final = "EXISTS (SELECT 1 FROM reviewed a WHERE a.hash_set = e.hash_set AND a.entry = e.id)"
_MATTERS: Final = f"(e.state <> {WITHDRAWN} OR {_REVIEWED})"


EXTERNAL_ID: Final = "EXTERNAL_ID"
_Chosen = Callable[[Sequence[int]], set[int]]
Keys = tuple[str, Sequence[Any]]
"""Some of the keys that items are looked up by: an algorithm's name and digests, or EXTERNAL_ID and external ids."""


class StatedEntries(NamedTuple):
    """Visible entries as columns, in no order.

    ids: int64[n]; states: codes, uint8[n]; statements: uint8[n, STATEMENT_BYTES]; meanings: what the classification
    is, as (scheme, value), or None; shapes: the packed hashes as `packing.cut` gives them.
    """

    ids: NDArray[np.int64]
    states: NDArray[np.uint8]
    external_ids: Sequence[str]
    meanings: Sequence[tuple[str, str] | None]
    reasons: Sequence[tuple[str, ...]]
    statements: NDArray[np.uint8]
    shapes: Sequence[tuple[bytes, NDArray[np.int64], NDArray[np.uint8]]]

    @property
    def are_withdrawn(self) -> NDArray[np.bool_]:
        """Which are WITHDRAWN."""
        return np.equal(self.states, WITHDRAWN)

    @property
    def are_active(self) -> NDArray[np.bool_]:
        """Which are ACTIVE."""
        return np.equal(self.states, ACTIVE)

    def where(self, chosen: NDArray[np.bool_]) -> StatedEntries:
        """Return the chosen entries."""
        if chosen.all():
            return self
        places = np.cumsum(chosen) - 1
        rows = np.flatnonzero(chosen).tolist()
        return StatedEntries(
            self.ids[chosen],
            self.states[chosen],
            [self.external_ids[i] for i in rows],
            [self.meanings[i] for i in rows],
            [self.reasons[i] for i in rows],
            self.statements[chosen],
            [(shape, places[at[chosen[at]]], matrix[chosen[at]]) for shape, at, matrix in self.shapes],
        )


class Comparison:
    """The part of the Store that a list is compared with."""

    def __init__(self, database: Database, outstanding: Outstanding, entries: Entries) -> None:
        self._db = database
        self._outstanding = outstanding
        self._entries = entries

    def _set_key(self, contributor: str, hash_set: str) -> int:
        return self._db.read(lambda c: key_of_set(c, contributor, hash_set))

    def has_live_entries(self, contributor: str, hash_set: str, more_than: int = 0) -> bool:
        """Whether a hash set has more than so many entries that are not WITHDRAWN; it counts no further."""
        if self._db.fetch("SELECT next_entry FROM metadata")[0][0] <= more_than:  # fewer than these were ever stored
            return False
        # On PostgreSQL a million that were just written take a second: it looks at each row.
        sql = self._db.sql(
            "SELECT count(*) FROM (SELECT 1 FROM entry e WHERE e.hash_set = ? AND e.state = ? LIMIT ?) counted"
        )
        set_key, count = self._set_key(contributor, hash_set), 0
        for state in (ACTIVE, _QUARANTINED):
            count += self._db.fetch(sql, (set_key, state, more_than + 1 - count))[0][0]
            if count > more_than:
                return True
        return False

    def has_holds(self, contributor: str, more_than: int) -> bool:
        """Whether more than so many holds stand in sets of a contributor; it counts no further."""
        sql = self._db.sql("SELECT count(*) FROM (SELECT 1 FROM hold h WHERE h.contributor = ? LIMIT ?) counted")
        count: int = self._db.fetch(sql, (contributor, more_than + 1))[0][0]
        return count > more_than

    def holds_about(self, contributor: str, hash_set: str, keys: Iterable[Keys]) -> list[Hold]:
        """Return those of a hash set's holds that may cover an item with one of the keys, in the order of entries.

        Those of which only traces are left may cover any item.
        """
        standing = "h.contributor = ? AND h.hash_set IN (0, ?)"
        by_digest = (
            f"{HOLD_SQL} FROM hash x CROSS JOIN hold h CROSS JOIN entry e WHERE h.entry = x.entry AND e.id = h.entry "
            f"AND {standing} AND x.algorithm = ? AND x.digest {{keys}}"
        )
        by_external_id = (
            f"{HOLD_SQL} FROM hash_set s CROSS JOIN entry e CROSS JOIN hold h WHERE e.hash_set = s.key "
            f"AND h.entry = e.id AND {standing} AND s.contributor = ? AND e.external_id {{keys}}"
        )
        before = (contributor, self._set_key(contributor, hash_set))
        sql = self._db.sql(
            f"{HOLD_SQL} FROM hold h LEFT JOIN entry e ON e.id = h.entry WHERE {standing} AND h.traces IS NOT NULL"
        )
        rows = list(self._db.fetch(sql, before))
        for sort, values in keys:
            if sort == EXTERNAL_ID:
                rows += self._db.by_keys(by_external_id, "text", (*before, contributor), sorted(set(values)))
            else:
                code = s.ALGORITHM_CODES[sort]
                rows += self._db.by_keys(by_digest, "bytea", (*before, code), sorted(set(values)))
        holds = {(row[0], row[2]): hold_of_row(row, hash_set) for row in rows}
        return [holds[key] for key in sorted(holds)]

    def stated_entries(self, contributor: str, hash_set: str) -> Iterator[StatedEntries]:
        """Yield all entries of a hash set that matter to a new list: live ones, and reviewed WITHDRAWN ones."""
        set_key = self._set_key(contributor, hash_set)
        # The reviewed ones first: there are far fewer of them than of withdrawn ones.
        withdrawn = self._db.sql(
            f"{_SQL} (SELECT DISTINCT entry FROM reviewed "  # noqa: S608 - our own text
            f"WHERE hash_set = ? AND entry > ? ORDER BY entry LIMIT {_PAGE}) a "
            "CROSS JOIN entry e WHERE e.id = a.entry ORDER BY e.id"
        )
        for state in (ACTIVE, _QUARANTINED):
            for rows in self._live_pages(set_key, state):
                yield self._stated(rows, lambda _: set())
        after = 0
        while rows := self._db.fetch(withdrawn, (set_key, after)):
            after = rows[-1][0]
            page = self._stated([row for row in rows if row[1] == WITHDRAWN or row[11]])
            yield page.where(page.are_withdrawn)

    def _live_pages(self, set_key: int, state: int) -> Iterator[Sequence[Row]]:
        if self._db.is_sqlite:  # which reads in this process: threads would wait for each other at every row
            after = 0
            while rows := self._live_page(set_key, state, after):
                after = rows[-1][0]
                yield rows
            return
        with ThreadPoolExecutor(1, "read-ahead") as beside:
            reading = beside.submit(self._live_page, set_key, state, 0)
            while rows := reading.result():
                reading = beside.submit(self._live_page, set_key, state, rows[-1][0])
                yield rows

    def _live_page(self, set_key: int, state: int, after: int) -> Sequence[Row]:
        condition, order, parameters = self._db.state_page(set_key, state, after)
        sql = f"{_SQL} entry e WHERE {condition} ORDER BY {order} LIMIT {_PAGE}"
        return self._db.fetch(self._db.sql(sql), parameters)

    def stated_about(self, contributor: str, hash_set: str, keys: Iterable[Keys]) -> Iterator[StatedEntries]:
        """Yield those of `stated_entries` that have one of the keys; one may come several times."""
        # CROSS JOIN, which SQLite never turns around: the digest is what finds few rows.
        by_digest = (
            f"{_SQL} hash h CROSS JOIN entry e WHERE e.id = h.entry AND e.hash_set = ? AND h.algorithm = ? "
            f"AND h.digest {{keys}} AND {_MATTERS}"
        )
        by_external_id = f"{_SQL} entry e WHERE e.hash_set = ? AND e.external_id {{keys}} AND {_MATTERS}"
        set_key = self._set_key(contributor, hash_set)
        for sort, values in keys:
            if sort == EXTERNAL_ID:
                rows = self._db.by_keys(by_external_id, "text", (set_key,), sorted(set(values)))
            else:
                code = s.ALGORITHM_CODES[sort]
                rows = self._db.by_keys(by_digest, "bytea", (set_key, code), sorted(set(values)))
            yield from self._pages(rows, partial(self._reviewed, set_key))

    def _reviewed(self, set_key: int, ids: Sequence[int]) -> set[int]:
        sql = "SELECT DISTINCT a.entry FROM reviewed a WHERE a.hash_set = ? AND a.entry {keys}"
        return {row[0] for row in self._db.by_keys(sql, "int8", (set_key,), ids)}

    def stated_by_ids(self, ids: Iterable[int]) -> Iterator[StatedEntries]:
        """Yield the visible entries with these ids."""
        sql = f"{_SQL} entry e WHERE e.id {{keys}}"
        yield from self._pages(self._db.by_keys(sql, "int8", (), sorted(set(ids))))

    def _pages(self, rows: Iterable[Row], matters: _Chosen | None = None) -> Iterator[StatedEntries]:
        page: list[Row] = []
        for row in rows:
            page.append(row)
            if len(page) == _PAGE:
                yield self._stated(page, matters)
                page = []
        if page:
            yield self._stated(page, matters)

    def _stated(self, rows: Sequence[Row], matters: _Chosen | None = None) -> StatedEntries:
        """Return rows of `_SQL` as columns. `matters` chooses which of the entries stay that are withdrawn although
        their rows do not say so yet, by their ids in ascending order; None: all of them.
        """
        committed = {key for key in {row[9] for row in rows} if self._entries.source(key) is not None}
        rows = list({row[0]: row for row in rows if row[9] in committed}.values())
        outstanding = self._outstanding_among(rows)
        if matters is not None and outstanding:
            dropped = outstanding - matters(sorted(outstanding))
            rows = [row for row in rows if row[0] not in dropped]
        meanings = {key: self._meaning(key) for key in {row[3] for row in rows}}
        ordered: list[bytes] = [row[5] for row in rows]
        shapes = list(cut(ordered))
        for shape, at, _ in shapes:
            if not is_ordered(shape):
                for i in at.tolist():
                    ordered[i] = ordered_hashes(ordered[i], shape)
        statements = b"".join(
            [
                statement(row[2] or "", row[4], row[8], compared_details(row[6]), hashes)
                for row, hashes in zip(rows, ordered, strict=True)
            ]
        )
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        states = np.fromiter((WITHDRAWN if row[0] in outstanding else row[1] for row in rows), np.uint8, len(rows))
        return StatedEntries(
            ids=ids,
            states=states,
            external_ids=[row[2] or "" for row in rows],
            meanings=[meanings[row[3]] for row in rows],
            reasons=[unpack_reasons(row[7]) for row in rows],
            statements=np.frombuffer(statements, np.uint8).reshape(-1, STATEMENT_BYTES),
            shapes=shapes,
        )

    def _outstanding_among(self, rows: Sequence[Row]) -> set[int]:
        """Return which entries are withdrawn although their rows do not say so yet."""
        withdrawn: set[int] = set()
        for listed in {row[11] for row in rows} - {""}:
            read = [row for row in rows if row[11] == listed and row[1] != WITHDRAWN]
            ids = np.fromiter((row[0] for row in read), np.int64, len(read))
            revisions = np.fromiter((row[10] for row in read), np.int64, len(read))
            withdrawn.update(ids[self._outstanding.is_withdrawn(listed, ids, revisions)].tolist())
        return withdrawn

    def _meaning(self, classification: int | None) -> tuple[str, str] | None:
        if classification is None:
            return None
        stated = self._entries.classification(classification)
        return stated.scheme, stated.value
