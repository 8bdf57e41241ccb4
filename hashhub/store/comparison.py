"""A hash set's entries as columns, for comparing a list with them: what each states as one digest, and its hashes.

No Entry is built. A page of rows becomes a few arrays; and of most entries not even the row is read, because what they
state stands in pages of digests (statements).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import compress
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.hygiene import Code
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.entries import EntryTable
from hashhub.store.entry_codec import (
    STATEMENT_BYTES,
    Shapes,
    compared_details,
    cut,
    is_ordered,
    ordered_hashes,
    statement,
    unpack_reasons,
)
from hashhub.store.entry_writes import DeferredWithdrawals, unpacked_page
from hashhub.store.holds import HOLD_SQL, Hold, hold_of_row
from hashhub.store.schema import ACTIVE, WITHDRAWN

PAGE: Final = 2_000  # rows at a time: a few milliseconds, between which other threads go on
DIGEST_PAGES: Final = 4  # pages of digests at a time, of 10,000 entries or so each
_DENSE: Final = 2  # one of so many entries is wanted: reading all of them costs less than looking for each
_NO_IDS: Final = np.empty(0, np.int64)
SQL: Final = (
    "SELECT e.id, e.state, e.external_id, e.classification, e.flags, e.hashes, e.details, e.reasons, e.expire_time, "
    'e."import", e.update_revision, (SELECT outstanding FROM metadata) FROM '
)
# In the places of `SQL`: by what entries are told apart and no more, of which a list may ask for a million.
_KEYS_SQL: Final = (
    'SELECT e.id, e.state, e.external_id, NULL, NULL, e.hashes, NULL, NULL, NULL, e."import", e.update_revision, '
    "(SELECT outstanding FROM metadata) FROM "
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

    ids, imports (keys): int64[n]; states: codes, uint8[n]; statements: uint8[n, STATEMENT_BYTES]; meanings: (scheme,
    value) or None; meaning_of: the number of each one's, int64[n]; are_undecided: bool[n]; shapes: packed hashes by
    `entry_codec.cut`.

    Of those whose rows were not read, which are ACTIVE, there are no `reasons`, `external_ids` and `shapes`: `keys_of`
    reads them, and in turn gives no `statements`, meanings and `are_undecided`.
    """

    ids: NDArray[np.int64]
    states: NDArray[np.uint8]
    meanings: Sequence[tuple[str, str] | None]
    meaning_of: NDArray[np.int64]
    are_undecided: NDArray[np.bool_]
    reasons: Sequence[tuple[str, ...]]
    statements: NDArray[np.uint8]
    external_ids: Sequence[str] | None
    shapes: Shapes
    imports: NDArray[np.int64]

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
        external_ids = self.external_ids
        return StatedEntries(
            self.ids[chosen],
            self.states[chosen],
            self.meanings,
            self.meaning_of[chosen],
            self.are_undecided[chosen],
            list(compress(self.reasons, chosen)),
            np.compress(chosen, self.statements, axis=0),  # an eighth of what indexing takes
            None if external_ids is None else [external_ids[i] for i in np.flatnonzero(chosen).tolist()],
            [(shape, places[at[chosen[at]]], matrix[chosen[at]]) for shape, at, matrix in self.shapes],
            self.imports[chosen],
        )


class EntryComparison:
    """The part of the Store that a list is compared with."""

    def __init__(self, database: Database, outstanding: DeferredWithdrawals, entries: EntryTable) -> None:
        self._db = database
        self._outstanding = outstanding
        self._entries = entries

    def has_live_entries(self, contributor: str, hash_set: str, more_than: int = 0) -> bool:
        """Whether a hash set has more than so many entries that are not WITHDRAWN; it counts no further."""
        set_key, count = self._db.key_of_set(contributor, hash_set), 0
        sql = "SELECT next_entry FROM hash_set WHERE key = ?"
        if self._db.fetch(sql, (set_key,))[0][0] <= more_than:  # fewer than these were ever in it
            return False
        # On PostgreSQL a million that were just written take a second: it looks at each row.
        sql = "SELECT count(*) FROM (SELECT 1 FROM entry e WHERE e.hash_set = ? AND e.state = ? LIMIT ?) counted"
        for state in (ACTIVE, s.QUARANTINED):
            count += self._db.fetch(sql, (set_key, state, more_than + 1 - count))[0][0]
            if count > more_than:
                return True
        return False

    def has_holds(self, contributor: str, more_than: int) -> bool:
        """Whether more than so many holds stand in sets of a contributor; it counts no further."""
        sql = "SELECT count(*) FROM (SELECT 1 FROM hold h WHERE h.contributor = ? LIMIT ?) counted"
        count: int = self._db.fetch(sql, (contributor, more_than + 1))[0][0]
        return count > more_than

    def holds_about(self, contributor: str, hash_set: str, keys: Iterable[Keys]) -> list[Hold]:
        """Return the hash set's holds that may cover an item with one of the keys, by entry; with traces: all."""
        standing = "h.contributor = ? AND h.hash_set IN (0, ?)"
        by_digest = (
            f"{HOLD_SQL} FROM hash x CROSS JOIN hold h CROSS JOIN entry e WHERE h.entry = x.entry AND e.id = h.entry "
            f"AND {standing} AND x.algorithm = ? AND x.digest {{keys}}"
        )
        by_external_id = (
            f"{HOLD_SQL} FROM hash_set s CROSS JOIN entry e CROSS JOIN hold h WHERE e.hash_set = s.key "
            f"AND h.entry = e.id AND {standing} AND s.contributor = ? AND e.external_id {{keys}}"
        )
        before = (contributor, self._db.key_of_set(contributor, hash_set))
        sql = f"{HOLD_SQL} FROM hold h LEFT JOIN entry e ON e.id = h.entry WHERE {standing} AND h.traces IS NOT NULL"
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
        set_key = self._db.key_of_set(contributor, hash_set)
        # The reviewed ones first: there are far fewer of them than of withdrawn ones.
        withdrawn = (
            f"{SQL} (SELECT DISTINCT entry FROM reviewed "  # noqa: S608 - our own text
            f"WHERE hash_set = ? AND entry > ? ORDER BY entry LIMIT {PAGE}) a "
            "CROSS JOIN entry e WHERE e.id = a.entry ORDER BY e.id"
        )
        yield from self.by_digests(set_key)
        after = 0
        while rows := self._db.fetch(withdrawn, (set_key, after)):
            after = rows[-1][0]
            page = self.stated([row for row in rows if row[1] == WITHDRAWN or row[11]])
            yield page.where(page.are_withdrawn)

    def by_digests(self, set_key: int) -> Iterator[StatedEntries]:
        """Yield the live entries by their pages, nearly all without a look at their rows.

        One statement reads a page and the ids of its entries that are not simply ACTIVE without remarks: withdrawn
        ones, told by a minus, are left out; the others, and what moved since the first outstanding revision, are read.
        """
        listed, now = self._db.fetch("SELECT outstanding, revision FROM metadata")[0]
        since = min(map(int, listed.split(","))) if listed else now + 1
        ids = f"CASE WHEN e.state = {WITHDRAWN} THEN -e.id ELSE e.id END"
        ids = f"group_concat({ids})" if self._db.is_sqlite else f"string_agg(({ids})::text, ',')"
        here = "e.id BETWEEN p.first_entry AND p.last_entry"
        live = f"SELECT 1 FROM entry e WHERE e.hash_set = p.hash_set AND {here} AND e.state"  # noqa: S608 - our text
        sql = (
            "SELECT first_entry, last_entry, "  # noqa: S608 - likewise
            'p."import", form, content, (SELECT outstanding FROM metadata), '
            f"(SELECT {ids} FROM entry e WHERE {here} "
            f"AND NOT (e.state = {ACTIVE} AND e.reasons IS NULL AND e.update_revision < ?)) "
            "FROM statement_page p WHERE p.hash_set = ? AND first_entry > ? "
            f"AND (EXISTS ({live} = {ACTIVE}) OR EXISTS ({live} = {s.QUARANTINED})) "
            f"ORDER BY first_entry LIMIT {DIGEST_PAGES}"
        )
        for rows in self._db.pages(0, lambda after: self._db.fetch(sql, (since, set_key, after))):
            unread: list[NDArray[np.int64]] = []
            for row in rows:
                if self._entries.source(row[2]) is not None:
                    page, odd = self._plain(*row)
                    unread.append(odd)
                    yield page
            by_id = self._db.by_keys(
                f"{SQL} entry e WHERE e.id {{keys}}", "int8", (), np.concatenate([_NO_IDS, *unread]).tolist()
            )
            for page in self._pages(by_id, lambda _: set()):
                yield page.where(~page.are_withdrawn)

    def _plain(
        self, first: int, last: int, import_key: int, form: int, content: bytes, listed: str, odd: str | None
    ) -> tuple[StatedEntries, NDArray[np.int64]]:
        """Return the entries of a page of which the digests tell everything, and the ids of those to be read."""
        digests, classifications = unpacked_page(first, last, form, content)
        marked = np.fromstring(odd or "", np.int64, sep=",")
        ids = np.arange(first, last + 1)
        is_plain = np.ones(len(ids), np.bool_)
        is_plain[np.abs(marked) - first] = False
        unread = marked[marked > 0]
        if listed:
            is_plain &= ~self._outstanding.is_withdrawn(listed, ids, np.zeros(len(ids), np.int64))
        is_known = digests.any(axis=1)
        unread = np.concatenate([unread, ids[is_plain & ~is_known]])
        is_plain &= is_known
        keys, meaning_of = np.unique(classifications[is_plain], return_inverse=True)
        count = len(meaning_of)
        page = StatedEntries(
            ids=ids[is_plain],
            states=np.full(count, ACTIVE, np.uint8),
            meanings=self.meanings(keys.tolist()),
            meaning_of=meaning_of,
            are_undecided=np.zeros(count, np.bool_),
            reasons=(),
            statements=np.compress(is_plain, digests, axis=0),
            external_ids=None,
            shapes=(),
            imports=np.full(count, import_key),
        )
        return page, np.sort(unread)

    def stated_about(self, contributor: str, hash_set: str, keys: Iterable[Keys]) -> Iterator[StatedEntries]:
        """Yield those of `stated_entries` that have one of the keys; one may come several times."""
        # CROSS JOIN, which SQLite never turns around: the digest is what finds few rows.
        by_digest = (
            f"{SQL} hash h CROSS JOIN entry e WHERE e.id = h.entry AND e.hash_set = ? AND h.algorithm = ? "
            f"AND h.digest {{keys}} AND {_MATTERS}"
        )
        by_external_id = f"{SQL} entry e WHERE e.hash_set = ? AND e.external_id {{keys}} AND {_MATTERS}"
        set_key = self._db.key_of_set(contributor, hash_set)
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

    def keys_of(self, ids: NDArray[np.int64]) -> Iterator[StatedEntries]:
        """Yield the visible entries with these ids, which ascend, without their statements."""
        for rows in self._key_rows(ids):
            yield self.stated(rows, with_statements=False)

    def _key_rows(self, ids: NDArray[np.int64]) -> Iterator[Sequence[Row]]:
        """Yield the rows of these ids, which ascend, by `_KEYS_SQL`."""
        between = f"{_KEYS_SQL} entry e WHERE e.id BETWEEN ? AND ?"
        single = f"{_KEYS_SQL} entry e WHERE e.id {{keys}}"
        for start in range(0, len(ids), PAGE):
            part = ids[start : start + PAGE].tolist()
            if part[-1] - part[0] < _DENSE * len(part):
                wanted = set(part)
                yield [row for row in self._db.fetch(between, (part[0], part[-1])) if row[0] in wanted]
            else:
                yield list(self._db.by_keys(single, "int8", (), part))

    def _pages(self, rows: Iterable[Row], matters: _Chosen | None = None) -> Iterator[StatedEntries]:
        page: list[Row] = []
        for row in rows:
            page.append(row)
            if len(page) == PAGE:
                yield self.stated(page, matters)
                page = []
        if page:
            yield self.stated(page, matters)

    def stated(
        self, rows: Sequence[Row], matters: _Chosen | None = None, *, with_statements: bool = True
    ) -> StatedEntries:
        """Return rows of `SQL` as columns; `matters` chooses by id which outstanding withdrawals stay, None: all."""
        committed = {key for key in {row[9] for row in rows} if self._entries.source(key) is not None}
        rows = list({row[0]: row for row in rows if row[9] in committed}.values())
        outstanding = self._outstanding_among(rows)
        if matters is not None and outstanding:
            dropped = outstanding - matters(sorted(outstanding))
            rows = [row for row in rows if row[0] not in dropped]
        number = {key: i for i, key in enumerate({row[3] for row in rows})}
        shapes = list(cut([row[5] for row in rows]))
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        states = np.fromiter((WITHDRAWN if row[0] in outstanding else row[1] for row in rows), np.uint8, len(rows))
        reasons = [unpack_reasons(row[7]) for row in rows]
        return StatedEntries(
            ids=ids,
            states=states,
            meanings=self.meanings(list(number)),
            meaning_of=np.fromiter((number[row[3]] for row in rows), np.int64, len(rows)),
            are_undecided=np.fromiter((Code.UNCLASSIFIED in each for each in reasons), np.bool_, len(rows)),
            reasons=reasons,
            statements=_statements(rows, shapes)
            if with_statements
            else np.zeros((len(rows), STATEMENT_BYTES), np.uint8),
            external_ids=[row[2] or "" for row in rows],
            shapes=shapes,
            imports=np.fromiter((row[9] for row in rows), np.int64, len(rows)),
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

    def meanings(self, keys: Sequence[int | None]) -> list[tuple[str, str] | None]:
        """Return scheme and value of the classification under each key; None without one."""
        stored = self._entries.classifications([key for key in keys if key])
        return [(stored[key].scheme, stored[key].value) if key else None for key in keys]


def _statements(rows: Sequence[Row], shapes: Shapes) -> NDArray[np.uint8]:
    """Return the digests of what rows of `SQL` state."""
    ordered: list[bytes] = [row[5] for row in rows]
    for shape, at, _ in shapes:
        if not is_ordered(shape):
            for i in at.tolist():
                ordered[i] = ordered_hashes(ordered[i], shape)
    digests = [
        statement(row[2] or "", row[4], row[8], compared_details(row[6]), hashes)
        for row, hashes in zip(rows, ordered, strict=True)
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, STATEMENT_BYTES)
