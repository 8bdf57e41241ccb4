"""Which entries a selection hits, read a piece at a time whatever their number.

What names entries one by one (names, digests, external ids) or an import leads to them through an index; without that
all entries of the hash sets in question are walked, and `Piece.looked_at` says how many that were.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.errors import NotFound
from hashhub.model import Entry, EntryState, Selection
from hashhub.schemes.dimensions import is_within
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.entries import ENTRY_SQL, Entries
from hashhub.store.idset import ascending
from hashhub.store.outstanding import Outstanding
from hashhub.store.packing import unpack_details, unpack_reasons
from hashhub.store.schema import ACTIVE, COMMITTED, UPSERT, WITHDRAWN
from hashhub.store.writing import PENDING

_PIECE: Final = 2_000  # rows read at a time
_FEW_SETS: Final = 16  # are walked one by one through the index; of more all entries are read in order


class Scope(NamedTuple):
    """Where a selection looks: names (CONTRIBUTOR/SET) of hash sets.

    `shared`: those of others, of which the caller sees what matches, and no request for a withdrawal.
    """

    own: frozenset[str]
    shared: frozenset[str] = frozenset()


class Piece(NamedTuple):
    """Rows that fit, by id; up to which id was looked, and at how many entries, by now."""

    rows: Sequence[Row]
    upto: int
    looked_at: int


class Chosen(NamedTuple):
    """Entries that a selection hit, by id: int64[n] each. `revision`: what moved behind it is to be looked at again."""

    ids: NDArray[np.int64]
    states: NDArray[np.int64]
    hash_sets: NDArray[np.int64]
    revision: int


class Selecting:
    """The part of the Store that knows which entries fit a selection."""

    def __init__(self, database: Database, outstanding: Outstanding, entries: Entries) -> None:
        self._db = database
        self._outstanding = outstanding
        self._entries = entries

    def walk(
        self, selection: Selection, scope: Scope, *, after: int = 0, check: Callable[[], None] = lambda: None
    ) -> Iterator[Piece]:
        """Yield the visible entries behind id `after` that fit, piece by piece. `check` is called between them.

        Raises NotFound for an import that does not exist or is not committed.
        """
        keys = self._keys(scope)
        imports = self._imports(selection, keys)
        fits = self._fits(selection, keys, scope.shared, imports)
        looked_at = 0
        for rows in self._candidates(selection, keys, imports, after, check):
            check()
            looked_at += len(rows)
            yield Piece([row for row in rows if fits(row)], rows[-1][0] if rows else after, looked_at)

    def choose(self, selection: Selection, scope: Scope, check: Callable[[], None] = lambda: None) -> Chosen:
        """Return all entries that fit."""
        revision: int = self._db.fetch("SELECT revision FROM metadata")[0][0]
        ids, states, sets = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for piece in self.walk(selection, scope, check=check):
            n = len(piece.rows)
            ids.append(np.fromiter((row[0] for row in piece.rows), np.int64, n))
            states.append(np.fromiter((self._state(row)[0] for row in piece.rows), np.int64, n))
            sets.append(np.fromiter((row[1] for row in piece.rows), np.int64, n))
        return Chosen(np.concatenate(ids), np.concatenate(states), np.concatenate(sets), revision)

    def as_chosen(self, ids: Sequence[int]) -> Chosen:
        """Return entries with these ids as though a selection had hit them."""
        revision: int = self._db.fetch("SELECT revision FROM metadata")[0][0]
        sql = f"{ENTRY_SQL} FROM entry e WHERE e.id {{keys}} ORDER BY e.id"
        rows = list(self._db.by_keys(sql, "int8", (), sorted(set(ids))))
        table = np.array([(row[0], self._state(row)[0], row[1]) for row in rows], np.int64).reshape(-1, 3)
        return Chosen(table[:, 0], table[:, 1], table[:, 2], revision)

    def read(self, rows: Sequence[Row]) -> list[Entry]:
        """Return the entries of rows that `walk` gave."""
        return self._entries.of_rows(rows)

    def unmatched(self, selection: Selection, scope: Scope, check: Callable[[], None] = lambda: None) -> list[str]:
        """Return those of the names, hashes and external ids given that no visible entry of the own hash sets has."""
        keys = self._keys(Scope(scope.own))
        is_visible = self._visibility()
        missing: list[str] = []
        if selection.names:
            by_id = {int(name.rpartition("/")[2]): name for name in selection.names}
            there = {f"{e.contributor}/{e.hash_set}/{e.id}" for e in self._entries.get_entries(by_id).values()}
            missing += [name for name in selection.names if name not in there]
        has: set[object] = set()
        for algorithm, digests in _by_algorithm(selection).items():
            sql = (
                'SELECT DISTINCT h.digest, e.hash_set, e."import" FROM hash h CROSS JOIN entry e '
                "WHERE e.id = h.entry AND h.algorithm = ? AND h.digest {keys}"
            )
            code = s.ALGORITHM_CODES[algorithm]
            for digest, set_key, import_key in self._db.by_keys(sql, "bytea", (code,), digests):
                if set_key in keys and is_visible(import_key):
                    has.add((algorithm, bytes(digest)))
            check()
        missing += [h.text for h in selection.hashes if (h.algorithm, h.digest) not in has]
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
        sql = "SELECT key, contributor, id FROM hash_set"
        names = {row[0]: f"{row[1]}/{row[2]}" for row in self._db.fetch(sql)}
        return {key: name for key, name in names.items() if name in scope.own or name in scope.shared}

    def _imports(self, selection: Selection, keys: Mapping[int, str]) -> Mapping[int, int]:
        """Return the revisions of the selection's imports by key."""
        imports: dict[int, int] = {}
        sql = self._db.sql('SELECT key, revision, hash_set FROM "import" WHERE id = ? AND state = ?')
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
        imports: Mapping[int, int],
        after: int,
        check: Callable[[], None],
    ) -> Iterator[Sequence[Row]]:
        """Yield the rows that may fit, by id, a piece at a time."""
        if selection.has_values:
            ids = self._by_values(selection, keys, check)
            ids = ids[ids > after]
            sql = f"{ENTRY_SQL} FROM entry e WHERE e.id {{keys}} ORDER BY e.id"
            for start in range(0, len(ids), _PIECE):
                rows = list(self._db.by_keys(sql, "int8", (), ids[start : start + _PIECE].tolist()))
                if rows:
                    yield rows
            return
        if imports:
            for first, last in self._ranges(imports):
                yield from self._pages("e.id <= ? AND", (last,), max(after, first - 1))
            return
        if len(keys) > _FEW_SETS:
            yield from self._pages("", (), after)
            return
        # Each hash set's states are in order in the index; what is WITHDRAWN may not say so in its row yet.
        codes = self._entries.codes_of(selection.states or tuple(EntryState))
        walks = [
            self._pages("e.hash_set = ? AND e.state = ? AND", (key, code), after) for key in keys for code in codes
        ]
        yield from _merged(walks)

    def _by_values(self, selection: Selection, keys: Mapping[int, str], check: Callable[[], None]) -> NDArray[np.int64]:
        """Return the ids of the entries that have one of the names, of the hashes and of the external ids given."""
        chosen: list[NDArray[np.int64]] = []
        if selection.names:
            chosen.append(np.array([int(name.rpartition("/")[2]) for name in selection.names], np.int64))
        if selection.hashes:
            ids: list[int] = []
            for algorithm, digests in _by_algorithm(selection).items():
                sql = "SELECT h.entry FROM hash h WHERE h.algorithm = ? AND h.digest {keys}"
                ids += [row[0] for row in self._db.by_keys(sql, "bytea", (s.ALGORITHM_CODES[algorithm],), digests)]
                check()
            chosen.append(np.array(ids, np.int64))
        if selection.external_ids:
            ids = []
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

    def _ranges(self, imports: Mapping[int, int]) -> list[tuple[int, int]]:
        """Return the ranges of ids that imports gave to their entries: what their revisions made visible."""
        sql = self._db.sql(
            'SELECT first_entry, last_entry FROM change WHERE revision = ? AND kind = ? AND "import" = ?'
        )
        return sorted(
            (row[0], row[1])
            for key, revision in imports.items()
            for row in self._db.fetch(sql, (revision, UPSERT, key))
        )

    def _pages(self, where: str, before: Row, after: int) -> Iterator[Sequence[Row]]:
        sql = self._db.sql(f"{ENTRY_SQL} FROM entry e WHERE {where} e.id > ? ORDER BY e.id LIMIT {_PIECE}")
        while rows := self._db.fetch(sql, (*before, after)):
            yield rows
            if len(rows) < _PIECE:
                return
            after = rows[-1][0]

    def _fits(
        self,
        selection: Selection,
        keys: Mapping[int, str],
        shared: Collection[str],
        imports: Mapping[int, int],
    ) -> Callable[[Row], bool]:
        names = {int(name.rpartition("/")[2]): name.rpartition("/")[0] for name in selection.names}
        states = {s.ENTRY_STATES[state] for state in selection.states}
        reasons = frozenset(selection.reasons)
        by_classification: dict[int | None, bool] = {None: not selection.dimensions}
        reads_details = bool(selection.tags or selection.series or selection.text)
        text = selection.text.casefold()
        tags, series = frozenset(selection.tags), frozenset(selection.series)
        is_visible = self._visibility()

        def is_classified(key: int | None) -> bool:
            known = by_classification.get(key)
            if known is None and key is not None:
                possible = self._entries.classification(key).dimensions
                known = by_classification[key] = all(
                    is_within(name, possible.get(name, ()), values) for name, values in selection.dimensions.items()
                )
            return bool(known)

        def fits(row: Row) -> bool:
            hash_set = keys.get(row[1])
            if hash_set is None or not is_visible(row[11]):
                return False
            if names and names.get(row[0]) != hash_set:
                return False
            if imports and row[11] not in imports:
                return False
            state, why = self._state(row)
            if (states and state not in states) or not is_classified(row[5]):
                return False
            if hash_set in shared:
                if state != ACTIVE:
                    return False
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


def _merged(walks: Sequence[Iterator[Sequence[Row]]]) -> Iterator[Sequence[Row]]:
    """Merge walks that are each in order of id, pages at a time: what no other walk can precede goes out."""
    held: dict[int, list[Row]] = {}
    for number, walk in enumerate(walks):
        if rows := next(walk, None):
            held[number] = list(rows)
    while held:
        last = min(rows[-1][0] for rows in held.values())
        out: list[Row] = []
        for number in list(held):
            rows = held[number]
            due = [row for row in rows if row[0] <= last]
            out += due
            rest = rows[len(due) :]
            if not rest:
                rest = list(next(walks[number], ()))
            if rest:
                held[number] = rest
            else:
                del held[number]
        out.sort(key=lambda row: row[0])
        yield out
