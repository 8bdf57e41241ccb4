"""Which entries a selection hits, read a piece at a time whatever their number.

What names entries one by one (names, digests, external ids), that their withdrawal waits for a second person, or an
import leads to them through an index; without that all entries of the hash sets in question are walked, and
`SelectedPage.looked_at` says how many that were. Of hash sets out of scope no row is read, and what the caller may not
see of the others is not counted either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.errors import NotFound
from hashhub.model import MAX_NUMBER, EntryState, Selection, id_in_set
from hashhub.schemes.dimensions import is_within
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.entries import ENTRY_COLUMNS, ENTRY_SQL, NOT_STAGED, EntryTable, SelectedEntries
from hashhub.store.entry_codec import ascending, runs, unpack_details, unpack_reasons
from hashhub.store.entry_writes import PENDING, DeferredWithdrawals
from hashhub.store.schema import ACTIVE, COMMITTED, UPSERT, WITHDRAWN

PIECE: Final = 2_000  # rows read at a time


class Scope(NamedTuple):
    """Hash sets (CONTRIBUTOR/SET) to look in; of `shared` ones, others', the caller sees ACTIVE entries only."""

    own: frozenset[str]
    shared: frozenset[str] = frozenset()


class SelectedPage(NamedTuple):
    """Rows that fit, by id; up to which id was looked, and at how many entries, by now."""

    rows: Sequence[Row]
    upto: int
    looked_at: int


class EntrySelector:
    """The part of the Store that knows which entries fit a selection."""

    def __init__(self, database: Database, outstanding: DeferredWithdrawals, entries: EntryTable) -> None:
        self._db = database
        self._outstanding = outstanding
        self._entries = entries

    def walk(
        self, selection: Selection, scope: Scope, *, after: int = 0, check: Callable[[], None] = lambda: None
    ) -> Iterator[SelectedPage]:
        """Yield the visible entries behind id `after` that fit, piece by piece. `check` is called between them. Raises
        NotFound for an import that does not exist or is not committed.
        """
        keys = self._keys(scope)
        imports = self._imports(selection, keys)
        sees = self._sees(keys, scope.shared)
        fits = self._fits(selection, keys, scope.shared, imports)
        looked_at = 0
        for rows in self._candidates(selection, keys, scope.shared, imports, after, check):
            check()
            seen = [row for row in rows if sees(row)]
            looked_at += len(seen)
            yield SelectedPage([row for row in seen if fits(row)], rows[-1][0] if rows else after, looked_at)

    def choose(self, selection: Selection, scope: Scope, check: Callable[[], None] = lambda: None) -> SelectedEntries:
        """Return all entries that fit."""
        revision: int = self._db.fetch("SELECT revision FROM metadata")[0][0]
        ids, states = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for piece in self.walk(selection, scope, check=check):
            n = len(piece.rows)
            ids.append(np.fromiter((row[0] for row in piece.rows), np.int64, n))
            states.append(np.fromiter((self._state(row)[0] for row in piece.rows), np.int64, n))
        return SelectedEntries(np.concatenate(ids), np.concatenate(states), revision)

    def unmatched(self, selection: Selection, scope: Scope, check: Callable[[], None] = lambda: None) -> list[str]:
        """Return those of the names, hashes and external ids given that no visible entry of the own hash sets has."""
        keys = self._keys(Scope(scope.own))
        is_visible = self._visibility()
        missing: list[str] = []
        if selection.names:
            there = {e.name for e in self._entries.get_entries(_named(selection, keys)).values()}
            missing += [name for name in selection.names if name not in there]
        columns = 'DISTINCT h.algorithm, h.digest, e."import" FROM hash h CROSS JOIN entry e WHERE e.id = h.entry AND'
        has = {(row[0], bytes(row[1])) for row in self._by_hash(columns, selection, keys, check) if is_visible(row[2])}
        missing += [h.text for h in selection.hashes if (s.ALGORITHM_CODES[h.algorithm], h.digest) not in has]
        if selection.external_ids:
            stated: set[str] = set()
            sql = 'SELECT DISTINCT e.external_id, e."import" FROM entry e WHERE e.hash_set = ? AND e.external_id {keys}'
            wanted = sorted(set(selection.external_ids))
            for set_key in sorted(keys):
                check()
                for external_id, import_key in self._db.by_keys(sql, "text", (set_key,), wanted):
                    if is_visible(import_key):
                        stated.add(external_id)
            missing += [x for x in selection.external_ids if x not in stated]
        return missing

    def _keys(self, scope: Scope) -> Mapping[int, str]:
        """Return the names of the scope's hash sets by key."""
        names = self._db.hash_set_names()
        return {key: name for key, name in names.items() if name in scope.own or name in scope.shared}

    def _imports(self, selection: Selection, keys: Mapping[int, str]) -> Mapping[int, int]:
        """Return the revisions of the selection's imports by key."""
        imports: dict[int, int] = {}
        sql = 'SELECT key, revision, hash_set FROM "import" WHERE id = ? AND state = ?'
        for name in selection.imports:
            hash_set, _, import_id = name.rpartition("/")
            rows = self._db.fetch(sql, (import_id, COMMITTED))
            if not rows or keys.get(rows[0][2]) != hash_set:
                raise NotFound(f"there is no committed import {name[:150]!r}", kind="Import", name=name)
            imports[rows[0][0]] = rows[0][1]
        return imports

    def _candidates(
        self,
        selection: Selection,
        keys: Mapping[int, str],
        shared: Collection[str],
        imports: Mapping[int, int],
        after: int,
        check: Callable[[], None],
    ) -> Iterator[Sequence[Row]]:
        """Yield the rows that may fit, by id, a piece at a time."""
        if selection.has_values or selection.reasons == (PENDING,):
            ids = self._by_values(selection, keys, check)
            ids = ids[ids > after]
            sql = f"{ENTRY_SQL} FROM entry e WHERE e.id {{keys}} ORDER BY e.id"
            for start in range(0, len(ids), PIECE):
                rows = list(self._db.by_keys(sql, "int8", (), ids[start : start + PIECE].tolist()))
                if rows:
                    yield rows
            return
        if imports:
            for first, last in self._ranges(imports):
                yield from self._within(max(after, first - 1), last)
            return
        # Each hash set's states are in order in the index; what is WITHDRAWN may not say so in its row yet.
        codes = self._entries.codes_of(selection.states or tuple(EntryState))
        for key in sorted(keys):
            start = max(after, id_in_set(key, 0))
            if start < id_in_set(key + 1, 0):
                of_set = [ACTIVE] if keys[key] in shared else codes
                pages = self._db.unstaged_pages(ENTRY_COLUMNS, key, of_set, after=start, page=PIECE)
                yield from ([row[2:] for row in page] for page in pages)

    def _by_values(self, selection: Selection, keys: Mapping[int, str], check: Callable[[], None]) -> NDArray[np.int64]:
        """Return the ids of the entries that have one of the names, of the hashes and of the external ids given; where
        none are, of those whose withdrawal waits for a second person.
        """
        if not selection.has_values:
            sql = "SELECT w.entry FROM withdrawal w WHERE w.hash_set = ? AND w.pending"
            waiting = [row[0] for key in sorted(keys) for row in self._db.fetch(sql, (key,))]
            return ascending(np.array(waiting, np.int64))
        chosen: list[NDArray[np.int64]] = []
        if selection.names:
            chosen.append(np.array(_named(selection, keys), np.int64))
        if selection.hashes:
            rows = self._by_hash("h.entry FROM hash h WHERE", selection, keys, check)
            chosen.append(np.fromiter((row[0] for row in rows), np.int64))
        if selection.external_ids:
            ids: list[int] = []
            sql = "SELECT e.id FROM entry e WHERE e.hash_set = ? AND e.external_id {keys}"
            wanted = sorted(set(selection.external_ids))
            for key in sorted(keys):
                ids += [row[0] for row in self._db.by_keys(sql, "text", (key,), wanted)]
                check()
            chosen.append(np.array(ids, np.int64))
        common = chosen[0]
        for other in chosen[1:]:
            common = np.intersect1d(common, other)
        return ascending(common)

    def _by_hash(
        self, columns: str, selection: Selection, keys: Mapping[int, str], check: Callable[[], None]
    ) -> Iterator[Row]:
        """Yield `columns` of the rows `h` of the selection's hashes in these hash sets."""
        every = [row[0] for row in self._db.fetch("SELECT key FROM hash_set ORDER BY key")]
        stretches = [(every[a], every[b]) for a, b in runs([i for i, key in enumerate(every) if key in keys])]
        sql = f"SELECT {columns} h.algorithm = ? AND h.entry BETWEEN ? AND ? AND h.digest {{keys}}"
        for algorithm, digests in _by_algorithm(selection).items():
            for first, last in stretches:
                check()
                bounds = (s.ALGORITHM_CODES[algorithm], id_in_set(first, 0), id_in_set(last, MAX_NUMBER))
                yield from self._db.by_keys(sql, "bytea", bounds, digests)

    def _ranges(self, imports: Mapping[int, int]) -> list[tuple[int, int]]:
        """Return the ranges of ids that imports gave to their entries: what their revisions made visible."""
        sql = 'SELECT first_entry, last_entry FROM change WHERE revision = ? AND kind = ? AND "import" = ?'
        return sorted(
            (row[0], row[1])
            for key, revision in imports.items()
            for row in self._db.fetch(sql, (revision, UPSERT, key))
        )

    def _within(self, after: int, last: int) -> Iterator[Sequence[Row]]:
        """Yield the rows behind an id, up to another, that are not staged, page by page."""
        sql = f"{ENTRY_SQL} FROM entry e WHERE e.id > ? AND e.id <= ? AND {NOT_STAGED} ORDER BY e.id LIMIT {PIECE}"
        return self._db.pages(after, lambda behind: self._db.fetch(sql, (behind, last)))

    def _sees(self, keys: Mapping[int, str], shared: Collection[str]) -> Callable[[Row], bool]:
        is_visible = self._visibility()

        def sees(row: Row) -> bool:
            hash_set = keys.get(row[1])
            return (
                hash_set is not None
                and is_visible(row[11])
                and (hash_set not in shared or self._state(row)[0] == ACTIVE)
            )

        return sees

    def _fits(
        self,
        selection: Selection,
        keys: Mapping[int, str],
        shared: Collection[str],
        imports: Mapping[int, int],
    ) -> Callable[[Row], bool]:
        named = frozenset(_named(selection, keys))
        states = {s.ENTRY_STATES[state] for state in selection.states}
        reasons = frozenset(selection.reasons)
        by_classification: dict[int | None, bool] = {None: not selection.dimensions}
        reads_details = bool(selection.tags or selection.series or selection.text)
        text = selection.text.casefold()
        tags, series = frozenset(selection.tags), frozenset(selection.series)

        def is_classified(key: int | None) -> bool:
            known = by_classification.get(key)
            if known is None and key is not None:
                possible = self._entries.classification(key).dimensions
                known = by_classification[key] = all(
                    is_within(name, possible.get(name, ()), values) for name, values in selection.dimensions.items()
                )
            return bool(known)

        def fits(row: Row) -> bool:
            if (selection.names and row[0] not in named) or (imports and row[11] not in imports):
                return False
            state, why = self._state(row)
            if (states and state not in states) or not is_classified(row[5]):
                return False
            if keys[row[1]] in shared:
                why = tuple(reason for reason in why if reason != PENDING)
            if reasons and reasons.isdisjoint(why):
                return False
            return not reads_details or self._says(row, tags, series, text)

        return fits

    def _says(self, row: Row, tags: Collection[str], series: Collection[str], text: str) -> bool:
        details = unpack_details(row[8])
        if tags and not set(tags) & set(details["tags"]):
            return False
        if series and details["series"] not in series:
            return False
        if not text:
            return True
        words = (row[3], row[4] or "", details["series"], *details["tags"], details["member"], details["source_time"])
        return any(text in word.casefold() for word in (*words, details["extra"]))

    def _state(self, row: Row) -> tuple[int, tuple[str, ...]]:
        """Return the code of the state that an entry is in, and why, whatever its row says yet."""
        if (part := self._entries.withdrawn_by(row)) is not None:
            return WITHDRAWN, (part.code,)
        return row[2], unpack_reasons(row[9])

    def _visibility(self) -> Callable[[int], bool]:
        """Return what says whether an import's entries are visible. Of one that is not, each is asked about once."""
        visible: dict[int, bool] = {}

        def is_visible(import_key: int) -> bool:
            if import_key not in visible:
                visible[import_key] = self._entries.source(import_key) is not None
            return visible[import_key]

        return is_visible


def _by_algorithm(selection: Selection) -> Mapping[str, list[bytes]]:
    digests: dict[str, set[bytes]] = {}
    for h in selection.hashes:
        digests.setdefault(h.algorithm, set()).add(h.digest)
    return {algorithm: sorted(values) for algorithm, values in digests.items()}


def _named(selection: Selection, keys: Mapping[int, str]) -> list[int]:
    """Return the ids that entries have which are given by name, of those in these hash sets."""
    key_of = {name: key for key, name in keys.items()}
    placed = (name.rpartition("/") for name in selection.names)
    return [id_in_set(key_of[of], int(number)) for of, _, number in placed if of in key_of]
