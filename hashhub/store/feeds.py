"""What follows the store: the change feed for readers, and changes and digests for matchers, staged ones included.

Matchers hold digests and ask the store about every hit, so they may be given more than what is visible, and never less.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.frames import matching_digests
from hashhub.hashes import SEARCHED, VPDQ
from hashhub.model import MAX_NUMBER, ChangeKind, EntryState, id_in_set, set_key_of
from hashhub.store import entry_writes
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.entries import EntryTable
from hashhub.store.entry_codec import WIDTHS, IdSet, digests_by_algorithm, distinct
from hashhub.store.entry_writes import LARGE, PAGE, DeferredWithdrawals, frame_counts
from hashhub.store.schema import ACTIVE, STAGED, WITHDRAW

LAST_REVISION: Final = 2**63 - 1
_KEY_BYTES: Final = 8  # of a hash set's key behind a digest
_CHANGE_PAGE: Final = 500  # rows of the feed, with their sets of ids, read at a time

_CHANGE_KINDS: Final = {code: k for k, code in s.CHANGE_KINDS.items()}


class FeedChange(NamedTuple):
    """One row of the feed for readers: entries of one hash set (`change_ids`) from `revision` on.

    UPSERT: they match, or what is said of them changed; WITHDRAW: they match no more. `ordinal` counts a revision's
    rows.
    """

    revision: int
    ordinal: int
    kind: ChangeKind
    hash_set: int
    first: int
    last: int
    is_range: bool


class MatcherChange(NamedTuple):
    """One row of the feed that matchers follow.

    STAGED: take the digests in; a hit finds no entries before the commit. UPSERT: the entries match from now on; their
    digests were in the STAGED rows of `import_key`, unless 0. WITHDRAW: they match no more. Of large ones (`is_large`)
    the digests are dropped once the rows say so (`large_withdrawals`); of a small one ask `still_active` before, and
    once more when an import's UPSERT comes (`withdrawn_while_staged`).
    """

    revision: int
    kind: str
    ids: IdSet
    import_key: int
    is_large: bool = False


class Feeds:
    """The part of the Store that tells in which order changes became visible."""

    def __init__(self, database: Database, outstanding: DeferredWithdrawals, entries: EntryTable) -> None:
        self._db = database
        self._outstanding = outstanding
        self._entries = entries
        self._authors: dict[int, set[str]] = {}
        self._last_review: Row = (0, 0)
        self._authors_lock = threading.Lock()

    def changes(self, revision: int, ordinal: int = 0, limit: int = 100) -> list[FeedChange]:
        """Return up to `limit` changes from the position (revision, ordinal) on, in order."""
        sql = (
            "SELECT revision, ordinal, kind, hash_set, first_entry, last_entry, ids IS NULL FROM change "
            "WHERE (revision, ordinal) >= (?, ?) AND kind <> ? ORDER BY revision, ordinal LIMIT ?"
        )
        return [
            FeedChange(
                r, o, ChangeKind.WITHDRAW if kind == WITHDRAW else ChangeKind.UPSERT, set_key, first, last, bool(whole)
            )
            for r, o, kind, set_key, first, last, whole in self._db.fetch(sql, (revision, ordinal, STAGED, limit))
        ]

    def change_ids(self, change: FeedChange) -> IdSet:
        """Return the entries that a change applies to."""
        if change.is_range:
            return IdSet(change.first, change.last)
        sql = "SELECT ids FROM change WHERE revision = ? AND ordinal = ?"
        return IdSet(change.first, change.last, self._db.fetch(sql, (change.revision, change.ordinal))[0][0])

    def changes_at(self, revision: int) -> list[tuple[str, IdSet]]:
        """Return what a revision did to entries: kinds of change as schema.CHANGE_KINDS names them, in their order."""
        sql = (
            "SELECT kind, first_entry, last_entry, ids FROM change WHERE revision = ? AND ordinal >= 0 ORDER BY ordinal"
        )
        return [(_CHANGE_KINDS[kind], IdSet(*row)) for kind, *row in self._db.fetch(sql, (revision,))]

    def review_authors(self) -> dict[int, set[str]]:
        """Return by hash set's key the contributors that reviewed its entries; only new reviews are read."""
        sql = (
            "SELECT r.revision, r.id, e.hash_set, r.author FROM review r JOIN entry e ON e.id = r.entry "
            "WHERE (r.revision, r.id) > (?, ?) ORDER BY r.revision, r.id LIMIT ?"
        )
        with self._authors_lock:
            while rows := self._db.fetch(sql, (*self._last_review, PAGE)):
                for *_, set_key, author in rows:
                    self._authors.setdefault(set_key, set()).add(author.partition("/")[0])
                self._last_review = rows[-1][:2]
            return {set_key: set(authors) for set_key, authors in self._authors.items()}

    def matcher_changes(self, after_revision: int, limit: int = 1000) -> list[MatcherChange]:
        """Return the changes after a revision, STAGED too: some `limit` rows, in whole revisions."""
        sql = (
            'SELECT revision, kind, first_entry, last_entry, ids, "import" FROM change '  # noqa: S608 - our own number
            f"WHERE revision > ? AND revision <= ? AND kind <> {s.REVIEWED} ORDER BY revision, ordinal LIMIT ?"
        )
        rows = self._whole_revisions(sql, (), after_revision, LAST_REVISION, limit)
        return _marked(
            MatcherChange(r, _CHANGE_KINDS[kind], IdSet(first, end, ids), key) for r, kind, first, end, ids, key in rows
        )

    def large_withdrawals(self, after_revision: int) -> tuple[int, list[MatcherChange]]:
        """Return the next revision whose many withdrawals are in the rows, with these; or the last one looked at."""
        sql = (
            'SELECT revision, first_entry, last_entry, ids, "import" FROM change '
            "WHERE kind = ? AND revision > ? AND revision <= ? ORDER BY revision, ordinal LIMIT ?"
        )
        settled = self._outstanding.settled_revision()
        while after_revision < settled:
            rows = self._whole_revisions(sql, (WITHDRAW,), after_revision, settled, _CHANGE_PAGE)
            changes = _marked(
                MatcherChange(r, ChangeKind.WITHDRAW, IdSet(a, b, ids), key) for r, a, b, ids, key in rows
            )
            if large := [change for change in changes if change.is_large]:
                return large[0].revision, [change for change in large if change.revision == large[0].revision]
            after_revision = settled if len(rows) < _CHANGE_PAGE else rows[-1][0]
        return after_revision, []

    def _whole_revisions(self, sql: str, before: Row, after: int, upto: int, limit: int) -> list[Row]:
        """Return some `limit` rows, of which each begins with its revision, behind one revision: all of the last."""
        rows = list(self._db.fetch(sql, (*before, after, upto, limit)))
        if len(rows) == limit:
            last = rows[-1][0]
            rows = [row for row in rows if row[0] != last]
            rows += self._db.fetch(sql, (*before, last - 1, last, LAST_REVISION))
        return rows

    def is_staging(self) -> bool:
        """Whether entries are staged that are not visible yet."""
        return bool(self._db.fetch("SELECT 1 FROM allocation LIMIT 1"))

    def withdrawn_while_staged(self, import_key: int, revision: int) -> list[IdSet]:
        """Return entries of small withdrawals between an import's first STAGED row and its commit at `revision`."""
        sql = (
            "SELECT revision, first_entry, last_entry, ids FROM change "  # noqa: S608 - our own number
            "WHERE kind = ? AND revision < ? AND revision > "
            f'(SELECT min(revision) FROM change WHERE "import" = ? AND kind = {STAGED}) ORDER BY revision, ordinal'
        )
        rows = self._db.fetch(sql, (WITHDRAW, revision, import_key))
        changes = _marked(MatcherChange(r, ChangeKind.WITHDRAW, IdSet(a, b, ids), 0) for r, a, b, ids in rows)
        return [change.ids for change in changes if not change.is_large]

    def have_digests(self, ids: IdSet) -> bool:
        """Whether the rows of all these entries say which digests they have: none was erased or deleted."""
        sql = "SELECT e.id FROM entry e WHERE length(e.hashes) > 0 AND e.id {keys}"
        return all(
            sum(1 for _ in self._db.by_keys(sql, "int8", (), piece.tolist())) == len(piece)
            for piece in ids.pieces(PAGE)
        )

    def revisions_about(self, entry_id: int, after: int, before: int, limit: int) -> list[int]:
        """Return the `limit` newest revisions that changed an entry after one and before another (0: of all)."""
        sql = (
            "SELECT revision, ordinal, first_entry, last_entry, ids FROM change WHERE (revision, ordinal) < (?, ?) "
            "AND revision > ? AND first_entry <= ? AND last_entry >= ? AND kind <> ? "
            "ORDER BY revision DESC, ordinal DESC LIMIT ?"
        )
        last = (before or LAST_REVISION, -(1 << 31))
        revisions: dict[int, None] = {}
        while len(revisions) < limit and (rows := self._db.fetch(sql, (*last, after, *[entry_id] * 2, STAGED, limit))):
            for revision, _, *ids in rows:
                if entry_id in IdSet(*ids):
                    revisions[revision] = None
            last = rows[-1][:2]
        return list(revisions)[:limit]

    def digests_of(
        self, ids: IdSet, size: int, *, states: Iterable[EntryState] = (EntryState.ACTIVE,)
    ) -> Iterator[dict[str, NDArray[np.uint8]]]:
        """Yield the distinct digests of entries in `states`, some `size` entries at a time (`digests_of_range`)."""
        wanted = tuple(states)
        if ids.is_range:
            for low in range(ids.first, ids.last + 1, size):
                yield self.digests_of_range(low, min(low + size - 1, ids.last), states=wanted)
            yield from self._frame_digests(ids.first, ids.last, wanted)
            return
        codes = _codes(wanted)
        by_key = (
            "SELECT e.id, e.hashes FROM entry e "  # noqa: S608 - our own numbers
            f"WHERE e.id {{keys}} AND e.state IN ({codes})"
        )
        by_range = (
            "SELECT id, hashes FROM entry "  # noqa: S608 - our own numbers
            f"WHERE id BETWEEN ? AND ? AND state IN ({codes})"
        )
        for piece in ids.pieces(size):
            if ids.is_dense:
                rows = self._db.fetch(by_range, (int(piece[0]), int(piece[-1])))
                chosen = np.isin(np.fromiter((row[0] for row in rows), np.int64, len(rows)), piece, assume_unique=True)
                yield digests_by_algorithm([rows[i][1] for i in np.flatnonzero(chosen).tolist()])
            else:
                yield digests_by_algorithm([row[1] for row in self._db.by_keys(by_key, "int8", (), piece.tolist())])
            for entry in frame_counts(self._db, piece.tolist()):
                yield from self._frame_digests(entry, entry, wanted)

    def _frame_digests(
        self, first: int, last: int, states: Iterable[EntryState]
    ) -> Iterator[dict[str, NDArray[np.uint8]]]:
        """Yield the distinct digests of frames of the entries `first` to `last` in `states`, a few videos at a time."""
        sql = (
            "SELECT f.entry, f.content FROM frames f JOIN entry e ON e.id = f.entry "  # noqa: S608 - our own numbers
            f"WHERE f.entry BETWEEN ? AND ? AND e.state IN ({_codes(states)}) "
            "ORDER BY f.entry LIMIT ?"
        )
        while rows := self._db.fetch(sql, (first, last, entry_writes.VIDEOS_AT_ONCE)):
            yield {VPDQ.name: distinct(np.concatenate([matching_digests(row[1]) for row in rows]))}
            first = rows[-1][0] + 1

    def digests_of_range(
        self, first: int, last: int, *, states: Iterable[EntryState] = (EntryState.ACTIVE,)
    ) -> dict[str, NDArray[np.uint8]]:
        """Return the distinct digests of the entries `first` to `last` in `states`, staged ones too, without those of
        frames: algorithm to uint8[n, digest_bytes]. Raises DataLoss when stored hashes cannot be read.
        """
        sql = (
            "SELECT id, hashes FROM entry WHERE id BETWEEN ? AND ? "  # noqa: S608 - our own numbers
            f"AND state IN ({_codes(states)}) ORDER BY id LIMIT ?"
        )
        packed: list[bytes] = []
        while True:
            rows = self._db.fetch(sql, (first, last, PAGE))
            packed += [row[1] for row in rows]
            if len(rows) < PAGE:
                return digests_by_algorithm(packed)
            first = rows[-1][0] + 1

    def still_active(self, algorithm: str, digests: Sequence[bytes] | NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Say of each digest whether an ACTIVE entry, visible or staged, has it: bool[n]."""
        wanted = [bytes(d) for d in digests]
        sql = (
            "SELECT DISTINCT h.digest FROM hash h JOIN entry e ON e.id = h.entry "
            "WHERE h.algorithm = ? AND e.state = ? AND h.digest {keys}"
        )
        code = s.ALGORITHM_CODES[algorithm]
        active = {row[0] for row in self._db.by_keys(sql, "bytea", (code, ACTIVE), sorted(set(wanted)))}
        return np.fromiter((d in active for d in wanted), np.bool_, len(wanted))

    def all_digests(self, chunk: int = 200_000) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]:
        """Yield the distinct digests of each hash set's ACTIVE entries, visible or staged: (algorithm, uint8[n,
        digest_bytes], the sets' keys int64[n]), n <= chunk, by algorithm and digest, in bounded memory.

        It is not one snapshot: read `revision()` before, and follow `matcher_changes` from there after.
        """
        # What was announced as STAGED may not be in the table of hashes yet. An import that commits meanwhile is there
        # by then.
        staged = self._all_staged()
        is_dead = self._dead_entries()
        sql = (
            "SELECT digest, entry FROM hash WHERE algorithm = ? AND (digest, entry) > (?, ?) ORDER BY digest, entry "
            "LIMIT ?"
        )
        for algorithm in SEARCHED:
            code = s.ALGORITHM_CODES[algorithm]
            width = WIDTHS[code]
            waiting = staged.get(algorithm, np.empty((0, width + _KEY_BYTES), np.uint8))
            order = waiting.view(f"S{width + _KEY_BYTES}").ravel()
            taken = 0
            after: tuple[bytes, int] = (b"", 0)
            emitted = b""
            while True:
                rows = self._db.fetch(sql, (code, *after, chunk))
                matrix = np.frombuffer(b"".join([row[0] for row in rows]), np.uint8).reshape(-1, width)
                entries = np.fromiter((row[1] for row in rows), np.int64, len(rows))
                matrix = _keyed(matrix, entries >> MAX_NUMBER.bit_length())
                last = matrix[-1].tobytes() if len(rows) == chunk else b""
                matrix = matrix[~is_dead(entries)]
                upto = int(np.searchsorted(order, last, "right")) if last else len(order)
                matrix = distinct(np.concatenate([matrix, waiting[taken:upto]]))
                taken = upto
                # A hash set's entries with a digest may lie on both sides of a page's end.
                matrix = matrix[int(len(matrix) > 0 and matrix[0].tobytes() == emitted) :]
                for start in range(0, len(matrix), chunk):
                    part = matrix[start : start + chunk]
                    yield algorithm, part[:, :width], part[:, width:].copy().view(">i8").ravel().astype(np.int64)
                if len(rows) < chunk:
                    break
                emitted = matrix[-1].tobytes() if len(matrix) else emitted
                after = rows[-1][0], rows[-1][1]

    def staged_digests(self) -> Iterator[tuple[int, dict[str, NDArray[np.uint8]]]]:
        """Yield the distinct digests of uncommitted imports' entries, behind their set's key, in pieces."""
        active = (EntryState.ACTIVE,)
        for first, last in self._db.fetch("SELECT first_entry, last_entry FROM allocation"):
            for low in range(first, last + 1, PAGE):
                yield set_key_of(first), self.digests_of_range(low, min(low + PAGE - 1, last), states=active)
            for digests in self._frame_digests(first, last, active):
                yield set_key_of(first), digests

    def _all_staged(self) -> dict[str, NDArray[np.uint8]]:
        """Return the distinct digests of the entries of uncommitted imports, each with its hash set (`_keyed`)."""
        parts_by_algorithm: dict[str, list[NDArray[np.uint8]]] = {}
        for key, digests in self.staged_digests():
            for algorithm, rows in digests.items():
                parts_by_algorithm.setdefault(algorithm, []).append(_keyed(rows, np.full(len(rows), key)))
        return {algorithm: distinct(np.concatenate(parts)) for algorithm, parts in parts_by_algorithm.items()}

    def _dead_entries(self) -> Callable[[NDArray[np.int64]], NDArray[np.bool_]]:
        """Return what says of ids of entries which ones are not ACTIVE, with a byte for each entry of now."""
        rows = self._db.fetch("SELECT key, next_entry FROM hash_set ORDER BY key")
        firsts = np.array([id_in_set(key, 0) for key, _ in rows], np.int64)  # of each hash set
        counts = np.array([count for _, count in rows], np.int64)
        starts = np.cumsum(counts) - counts  # of its bytes
        dead = np.zeros(int(counts.sum()) + 1, np.bool_)  # the last one: of entries that came since

        def places(ids: NDArray[np.int64]) -> NDArray[np.int64]:
            of_set = np.searchsorted(firsts, ids, "right") - 1
            numbers = ids - firsts[of_set]
            return np.where(numbers < counts[of_set], starts[of_set] + numbers, len(dead) - 1)

        for set_key, _ in rows:
            for code in s.ENTRY_STATES.members.keys() - {ACTIVE}:
                for ids in self._entries.ids_in_state(set_key, code):
                    dead[places(ids)] = True
        dead[-1] = False
        return lambda ids: dead[places(ids)] if len(ids) else np.zeros(0, np.bool_)


def _keyed(digests: NDArray[np.uint8], keys: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return digests, each followed by the key of a hash set, so that their order is one of bytes."""
    return np.column_stack([digests, keys.astype(">i8").view(np.uint8).reshape(-1, _KEY_BYTES)])


def _marked(changes: Iterable[MatcherChange]) -> list[MatcherChange]:
    """Return the changes, whole revisions, with those marked that are part of a large withdrawal."""
    rows = list(changes)
    counts: dict[int, int] = {}
    for change in rows:
        if change.kind == ChangeKind.WITHDRAW:
            counts[change.revision] = counts.get(change.revision, 0) + len(change.ids)
    large = {revision for revision, count in counts.items() if count > LARGE}
    if not large:
        return rows
    return [
        change._replace(is_large=True) if change.kind == ChangeKind.WITHDRAW and change.revision in large else change
        for change in rows
    ]


def _codes(states: Iterable[EntryState]) -> str:
    """Return the codes of states for an IN list; NULL, which nothing equals, when there are none."""
    return ", ".join(str(s.ENTRY_STATES[state]) for state in states) or "NULL"
