"""Entries in bulk, for an extract: what stands, block by block of numbers, and which blocks have changed.

No Entry is built; a page of rows becomes a few arrays, as in `comparison`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.hashes import FRAMES
from hashhub.hygiene import Code
from hashhub.model import EventKind, id_in_set, now, number_of
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.entries import EntryTable
from hashhub.store.entry_codec import NAMES, IdSet, columns_of, cut, unpack_details, unpack_reasons
from hashhub.store.entry_writes import DeferredWithdrawals
from hashhub.store.schema import ACTIVE, COMMITTED, REVIEWED, STAGED

_UNCLASSIFIED: Final = Code.UNCLASSIFIED
PAGE: Final = 10_000  # rows read at a time
CHANGE_PAGE: Final = 500  # rows of the feed, with their sets of ids, read at a time
_LAST_ORDINAL: Final = 2**31 - 1


class StandingEntries(NamedTuple):
    """Entries that are ACTIVE or QUARANTINED, as columns of equal length, ordered by id.

    ids, revisions (of the last change), imports and classifications (keys; 0: none): int64[n]; is_active (else
    QUARANTINED), is_unclassified (though it could be): bool[n]; hashes, in pieces: algorithm, places in the columns
    int64[k], digests uint8[k, digest_bytes]; stated_times: milliseconds, of the source unless later than its import, or
    of the import (None: of all), int64[n].
    """

    ids: NDArray[np.int64]
    is_active: NDArray[np.bool_]
    is_unclassified: NDArray[np.bool_]
    revisions: NDArray[np.int64]
    imports: NDArray[np.int64]
    classifications: NDArray[np.int64]
    hashes: Sequence[tuple[str, NDArray[np.int64], NDArray[np.uint8]]]
    stated_times: NDArray[np.int64] | None = None


class ChangedIds(NamedTuple):
    """Entries that changed: of the hash set `CONTRIBUTOR/SET`, or, where it is empty, of any."""

    hash_set: str
    ids: IdSet


class ExtractRows:
    """The part of the Store that an extract is made from."""

    def __init__(self, database: Database, outstanding: DeferredWithdrawals, entries: EntryTable) -> None:
        self._db = database
        self._outstanding = outstanding
        self._entries = entries
        self._imports: dict[int, tuple[int, datetime]] = {}

    def blocks(self, contributor: str, hash_set: str, bits: int) -> list[int]:
        """Return the blocks of 2**bits numbers in which a hash set may have standing entries. Raises NotFound."""
        set_key = self._db.key_of_set(contributor, hash_set)
        blocks: list[int] = []
        after = -1
        while rows := next(self._db.entry_pages("1", set_key, after=after, page=1), None):
            blocks.append(number_of(rows[0][0]) >> bits)
            after = id_in_set(set_key, ((blocks[-1] + 1) << bits) - 1)
        return blocks

    def standing_entries(
        self, contributor: str, hash_set: str, first: int, last: int, *, revision: int
    ) -> Iterator[StandingEntries]:
        """Yield a set's entries `first` to `last` that stood at `revision` and still do. Raises NotFound."""
        set_key = self._db.key_of_set(contributor, hash_set)
        columns = (
            'e.classification, e.hashes, e.update_revision, e."import", e.expire_time, e.reasons, '
            "(SELECT outstanding FROM metadata), e.details"
        )
        after, before = id_in_set(set_key, first) - 1, id_in_set(set_key, last) + 1
        for rows in self._db.entry_pages(columns, set_key, after=after, before=before, page=PAGE):
            yield self._standing(rows, revision)

    def changed(self, after_revision: int, until: int) -> Iterator[ChangedIds]:
        """Yield the entries of which a change later than one revision, up to another, may have moved what stands."""
        names = self._db.hash_set_names()
        # A review moves no entry; but where one is restored into quarantine, the feed says REVIEWED.
        sql = (
            "SELECT c.revision, c.ordinal, c.hash_set, c.first_entry, c.last_entry, c.ids FROM change c "
            "JOIN event v ON v.revision = c.revision "
            "WHERE (c.revision, c.ordinal) > (?, ?) AND c.revision <= ? AND c.kind <> ? "
            "AND NOT (c.kind = ? AND v.kind = ?) ORDER BY c.revision, c.ordinal LIMIT ?"
        )
        after = (after_revision, _LAST_ORDINAL)
        while rows := self._db.fetch(
            sql, (*after, until, STAGED, REVIEWED, EventKind.ENTRIES_REVIEWED.value, CHANGE_PAGE)
        ):
            for row in rows:
                yield ChangedIds(names.get(row[2], ""), IdSet(*row[3:]))
            after = rows[-1][0], rows[-1][1]

    def commit_of(self, import_key: int) -> tuple[int, datetime]:
        """Return the revision and the time at which an import was committed."""
        return self._imports[import_key]

    def _standing(self, rows: Sequence[Row], revision: int) -> StandingEntries:
        self._read_imports({row[5] for row in rows} - self._imports.keys())
        visible = {key for key in {row[5] for row in rows} if self._imports.get(key, (revision + 1,))[0] <= revision}
        time = s.to_millis(now())
        rows = [row for row in rows if row[5] in visible and (row[6] is None or row[6] > time)]
        for listed in {row[8] for row in rows} - {""}:  # withdrawn, and not yet written into the rows
            ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
            moved = np.fromiter((row[4] for row in rows), np.int64, len(rows))
            read = np.fromiter((row[8] == listed for row in rows), np.bool_, len(rows))
            stays = ~(read & self._outstanding.is_withdrawn(listed, ids, moved))
            rows = [rows[i] for i in np.flatnonzero(stays).tolist()]
        count = len(rows)
        imports = np.fromiter((row[5] for row in rows), np.int64, count)
        updated = np.fromiter((row[4] for row in rows), np.int64, count)
        keys, which = np.unique(imports, return_inverse=True)
        made = np.fromiter((self._imports[key][0] for key in keys.tolist()), np.int64, len(keys))
        return StandingEntries(
            ids=np.fromiter((row[0] for row in rows), np.int64, count),
            is_active=np.fromiter((row[1] == ACTIVE for row in rows), np.bool_, count),
            is_unclassified=np.fromiter((_UNCLASSIFIED in unpack_reasons(row[7]) for row in rows), np.bool_, count),
            revisions=np.where(updated > 0, updated, made[which] if count else updated),
            imports=imports,
            classifications=np.fromiter((row[2] or 0 for row in rows), np.int64, count),
            hashes=[
                (NAMES[code], at, digests)
                for shape, at, matrix in cut([row[3] for row in rows])
                for code, digests in columns_of(shape, matrix)
                if code != FRAMES.code
            ],
            stated_times=np.fromiter((_stated_time(row[9], self._imports[row[5]][1]) for row in rows), np.int64, count),
        )

    def _read_imports(self, keys: set[int]) -> None:
        """Keep what COMMITTED imports say, which is for ever."""
        sql = (
            'SELECT i.key, i.revision, coalesce(i.commit_time, i.create_time) FROM "import" i '  # noqa: S608 - ours
            f"WHERE i.key {{keys}} AND i.state = {COMMITTED}"
        )
        for key, revision, time in self._db.by_keys(sql, "int8", (), sorted(keys)):
            self._imports[key] = revision, s.from_millis(time)


def _stated_time(details: bytes | None, committed: datetime) -> int:
    time = committed
    if details and (text := unpack_details(details)["source_time"]):
        with suppress(ValueError):  # whatever the source writes is kept
            own = datetime.fromisoformat(text)
            time = min(own if own.tzinfo else own.replace(tzinfo=UTC), committed)
    return s.to_millis(time)
