"""Entries and their reviews: what may be seen of them, and the small writes that change them one by one.

An entry is visible once its import is COMMITTED, so every read looks at the import; what it says is kept in memory,
because a COMMITTED import never changes. A review counts for every entry by which a contributor states the item again
(`reviewed`).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub import frames
from hashhub.errors import LimitExceeded, NotFound, Reason
from hashhub.hashes import FRAMES, VPDQ
from hashhub.hygiene import Code
from hashhub.model import (
    MAX_NUMBER,
    OBJECTIONS,
    SYSTEM,
    Actor,
    Classification,
    Entry,
    EntryState,
    EventKind,
    Provenance,
    Review,
    Role,
    Withdrawal,
    id_in_set,
    now,
    number_of,
    set_key_of,
)
from hashhub.store import schema as s
from hashhub.store.database import Database, IdempotentRequest, Row, array_of
from hashhub.store.entry_codec import (
    IdSet,
    ascending,
    pack_reasons,
    reasons_before,
    unpack_details,
    unpack_flags,
    unpack_hashes,
    unpack_reasons,
)
from hashhub.store.entry_writes import (
    PENDING,
    DeferredWithdrawals,
    EntryWrites,
    FrameCount,
    WithdrawalPart,
    frame_counts,
    frames_of,
    take_ids,
)
from hashhub.store.events import MAX_REVISION, append_event, touch
from hashhub.store.schema import ACTIVE, COMMITTED, REVIEWED, STAGED_AROUND, WITHDRAWN

KEPT: Final = 10_000  # imports, and classifications, that are at hand: some megabytes
_ID_PAGE: Final = 200_000  # ids read at a time
_DENSE: Final = 4  # read a whole range and drop what is not asked for, up to so many times as much
_DEEP: Final = 1_000  # entries at each end of a digest's that are looked at where some of the first ones were withdrawn
_DEEP_LOOKS: Final = 4  # for one question: some 10 ms each
HIT_KEYS: Final = 512  # digests asked for in one statement
_PAIR_SIZES: Final = (1, 8, 64, HIT_KEYS)  # with their hash sets, of which SQLite gets few different statements

_DAY: Final = timedelta(days=1)

# What `_entry` reads, in its order.
ENTRY_COLUMNS: Final = (
    "e.id, e.hash_set, e.state, e.position, e.external_id, e.classification, e.flags, e.hashes, e.details, e.reasons, "
    'e.update_revision, e."import", e.expire_time, (SELECT outstanding FROM metadata)'
)
ENTRY_SQL: Final = f"SELECT {ENTRY_COLUMNS}"
NOT_STAGED: Final = f"NOT EXISTS ({STAGED_AROUND})"

REVIEW_SQL: Final = (
    "SELECT r.id, r.entry, r.author, r.kind, r.comment, r.create_time, r.revision, r.actor, r.role, r.sets_aside, "
    "r.awaits_acceptance, e.id FROM entry e "
    "JOIN reviewed a ON a.hash_set = e.hash_set AND a.entry = e.id JOIN review r ON r.id = a.review"
)


class HitRow(NamedTuple):
    """An entry that has a digest, not yet read: enough to tell who may see it. `hash_set` is `CONTRIBUTOR/SET`."""

    digest: bytes
    entry_id: int
    hash_set: str
    row: Row


class SelectedEntries(NamedTuple):
    """Entries that a selection hit, by id: int64[n] each. `revision`: what moved behind it is to be looked at again."""

    ids: NDArray[np.int64]
    states: NDArray[np.int64]
    revision: int


class _Source(NamedTuple):
    """What a COMMITTED import says about its entries."""

    import_id: str
    connector: str
    connector_version: str
    source_digest: str
    revision: int
    terms: bytes | None  # JSON of model.Marking, several


class EntryTable:
    """The part of the Store that knows entries and reviews."""

    def __init__(self, database: Database, outstanding: DeferredWithdrawals, writes: EntryWrites) -> None:
        self._db = database
        self._outstanding = outstanding
        self._writes = writes
        self._sources: dict[int, _Source] = {}
        self._classifications: dict[int, Classification] = {}

    def hits_by_digests(self, algorithm: str, wanted: Collection[tuple[bytes, int, int]]) -> Iterator[HitRow]:
        """Yield visible ACTIVE entries that have a digest, unread (`read_entry`), for each (digest, key of a hash set,
        most): of those that have it there the first `most` and the last, by id. Where there may be more between them,
        an EntryHit without an id (0) follows.
        """
        code, looks = s.ALGORITHM_CODES[algorithm], _DEEP_LOOKS
        by_most = itertools.groupby(sorted(wanted, key=lambda w: (w[2], *w[:2])), key=itemgetter(2))
        for most, of_most in by_most:
            pairs = [(digest, key) for digest, key, _ in of_most]
            for start in range(0, len(pairs), HIT_KEYS):
                rows = self.ends(code, pairs[start : start + HIT_KEYS], most)
                for (digest, key), of_pair in itertools.groupby(rows, key=lambda row: (row[-1], set_key_of(row[0]))):
                    own = list(of_pair)
                    standing = list(filter(self._stands, own))
                    is_cut = len(own) == 2 * most
                    if is_cut and looks and len(standing) < len(own):
                        looks -= 1  # withdrawn ones must not stand before those that stand
                        own = self.ends(code, [(digest, key)], _DEEP)
                        standing = list(filter(self._stands, own))
                        is_cut = len(own) == 2 * _DEEP or len(standing) > 2 * most
                    if len(standing) > 2 * most:
                        standing = standing[:most] + standing[-most:]
                    name = self._db.hash_set_name(key)
                    yield from (HitRow(digest, row[0], name, row) for row in standing)
                    if is_cut:
                        yield HitRow(digest, 0, name, ())

    def _stands(self, row: Row) -> bool:
        """Whether an entry is visible and ACTIVE."""
        return row[2] == ACTIVE and self.source(row[11]) is not None and self.withdrawn_by(row) is None

    def entries_sharing_frames(self, pairs: Sequence[tuple[bytes, int]], most: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield (digest, entry id, its distinct frame digests) of entries that are ACTIVE by their rows and have a
        frame with a digest in a hash set, as `hits_by_digests` does; -1 for an id: there may be more.

        `hits_by_ids` tells which ones are visible.
        """
        columns, frames_of = "SELECT e.id, e.state, f.digest_count", "JOIN frames f ON f.entry = e.id"
        for start in range(0, len(pairs), HIT_KEYS):
            part = pairs[start : start + HIT_KEYS]
            rows = self.ends(VPDQ.code, part, most, columns, frames_of)
            for (digest, _), of_pair in itertools.groupby(rows, key=lambda row: (row[-1], set_key_of(row[0]))):
                own = list(of_pair)
                yield from ((digest, row[0], row[2]) for row in own if row[1] == ACTIVE)
                if len(own) == 2 * most:
                    yield digest, -1, 0

    def ends(
        self, code: int, pairs: Sequence[tuple[bytes, int]], most: int, columns: str = ENTRY_SQL, joined: str = ""
    ) -> list[Row]:
        """Return rows of a hash set's first and last `most` entries, in any state, that have a digest, for each
        (digest, key of the set), with the digest behind the columns; by digest and id. Each end is found by the table's
        order: nothing between them is read.
        """
        own = f"h.algorithm = {code} AND h.digest = w.digest AND h.entry BETWEEN w.low AND w.low + {MAX_NUMBER}"
        ends = " UNION ".join(
            "SELECT entry FROM (SELECT h.entry FROM hash h "  # noqa: S608 - our own numbers
            f"WHERE {own} ORDER BY h.entry {order} LIMIT {most}) {order}_"
            for order in ("ASC", "DESC")
        )
        lows = [id_in_set(key, 0) for _, key in pairs]
        if self._db.is_sqlite:
            size = next(n for n in _PAIR_SIZES if n >= len(pairs))
            flat = [x for pair in zip((digest for digest, _ in pairs), lows, strict=True) for x in pair]
            # CROSS keeps this order: with another table first, the ends would be looked for once for each of its rows.
            sql = (
                f"WITH w(digest, low) AS (VALUES {', '.join(['(?, ?)'] * size)}) {columns}, w.digest "
                f"FROM w CROSS JOIN entry e {joined and f'CROSS {joined}'} WHERE e.id IN ({ends})"
            )
            rows = self._db.fetch(sql, (*flat, *[None] * (2 * (size - len(pairs)))))
            return sorted(rows, key=lambda row: (row[-1], row[0]))
        sql = (
            f"{columns}, w.digest FROM unnest(%s::bytea[], %s::int8[]) w(digest, low) "
            f"CROSS JOIN LATERAL ({ends}) h JOIN entry e ON e.id = h.entry {joined}"
        )
        rows = self._db.fetch(sql, (array_of("bytea", [d for d, _ in pairs]), array_of("int8", lows)))
        return sorted(rows, key=lambda row: (row[-1], row[0]))

    def hits_by_ids(self, ids: Iterable[int]) -> Iterator[HitRow]:
        """Yield those of the entries that are visible and ACTIVE, unread (`read_entry`), by id."""
        sql = f"{ENTRY_SQL} FROM entry e WHERE e.id {{keys}} AND e.state = {ACTIVE} ORDER BY e.id"
        for row in self._db.by_keys(sql, "int8", (), sorted(set(ids))):
            if self._stands(row):
                yield HitRow(b"", row[0], self._db.hash_set_name(row[1]), row)

    def read_entry(self, hit: HitRow) -> Entry:
        """Return the entry as it was when it was hit."""
        entry = self._entry(hit.row)
        assert entry is not None, hit.entry_id  # noqa: S101 - it was visible, and that lasts
        return entry

    def stated_times(self, entries: Collection[Entry]) -> dict[int, datetime]:
        """Return when each entry was last stated, by id: when its import was committed or, if later, the newest list of
        its hash set that replaces the one before. What such a list leaves out is withdrawn, so it states all that
        stands and was not moved since.
        """
        sql = 'SELECT i.id, i.commit_time FROM "import" i WHERE i.id {keys}'
        ids = sorted({e.provenance.import_id for e in entries})
        committed: dict[str, int | None] = {row[0]: row[1] for row in self._db.by_keys(sql, "text", (), ids)}
        sql = (
            "SELECT h.contributor, h.id, i.revision, i.commit_time FROM hash_set h "
            'JOIN "import" i ON i.hash_set = h.key AND i.state = ? AND i."replace" WHERE h.contributor {keys}'
        )
        newest: dict[tuple[str, str], tuple[int, int]] = {}
        for contributor, hash_set, *when in self._db.by_keys(
            sql, "text", (COMMITTED,), sorted({e.contributor for e in entries})
        ):
            newest[contributor, hash_set] = max(newest.get((contributor, hash_set), (0, 0)), (when[0], when[1]))
        times = {}
        for e in entries:
            millis = committed.get(e.provenance.import_id)
            revision, replaced = newest.get((e.contributor, e.hash_set), (0, 0))
            if max(e.create_revision, e.update_revision) <= revision:
                millis = max(millis or 0, replaced)
            if millis is not None:
                times[e.id] = s.from_millis(millis)
        return times

    def live_entries_by_digests(
        self, contributor: str, hash_set: str, algorithm: str, digests: Sequence[bytes]
    ) -> dict[bytes, list[Entry]]:
        """Return by digest a hash set's visible entries that are not WITHDRAWN and have it, by id."""
        # CROSS JOIN, which SQLite never turns around: the digest is what finds few rows.
        sql = (
            f"{ENTRY_SQL}, h.digest FROM hash h CROSS JOIN entry e WHERE e.id = h.entry AND e.hash_set = ? AND "
            f"h.algorithm = ? AND h.digest {{keys}} AND e.state <> {WITHDRAWN} ORDER BY h.digest, h.entry"
        )
        before = (self._db.key_of_set(contributor, hash_set), s.ALGORITHM_CODES[algorithm])
        entries: dict[bytes, list[Entry]] = {}
        for row in self._db.by_keys(sql, "bytea", before, sorted(set(digests))):
            if (entry := self._entry(row)) is not None and entry.state is not EntryState.WITHDRAWN:
                entries.setdefault(row[-1], []).append(entry)
        return entries

    def get_entry(self, contributor: str, hash_set: str, number: int) -> Entry:
        """Return a visible entry in any state. Raises NotFound."""
        name = f"{contributor}/{hash_set}"
        wanted = self.id_of(f"{name}/{number}")
        entry = self.get_entries([wanted]).get(wanted)
        if entry is None:
            raise no_entry(f"{name}/{number}")
        predecessors, successors = self._neighbours(entry.id)
        return msgspec.structs.replace(
            entry,
            predecessors=tuple(f"{name}/{number_of(i)}" for i in predecessors),
            successors=tuple(f"{name}/{number_of(i)}" for i in successors),
        )

    def id_of(self, name: str) -> int:
        """Return the id of the entry called CONTRIBUTOR/SET/NUMBER, be it there or not; 0 where the hash set is not."""
        hash_set, _, number = name.rpartition("/")
        key = self._db.hash_set_key(hash_set)
        return id_in_set(key, int(number)) if key else 0

    def get_entries(self, ids: Iterable[int]) -> dict[int, Entry]:
        """Return the visible entries with these ids, in any state, by id in ascending order."""
        sql = f"{ENTRY_SQL} FROM entry e WHERE e.id {{keys}} ORDER BY e.id"
        rows = self._db.by_keys(sql, "int8", (), sorted(set(ids)))
        entries = [entry for row in rows if (entry := self._entry(row)) is not None]
        return {entry.id: entry for entry in self._with_withdrawals(entries)}

    def list_entries(
        self,
        contributor: str,
        hash_set: str,
        states: Iterable[EntryState] = tuple(EntryState),
        page_size: int = 1000,
        after_id: int = 0,
    ) -> list[Entry]:
        """Return up to `page_size` visible entries of a set in `states` after `after_id`, by id. Raises NotFound."""
        set_key = self._db.key_of_set(contributor, hash_set)
        wanted = frozenset(states)
        pages = self._db.unstaged_pages(ENTRY_COLUMNS, set_key, self.codes_of(wanted), after=after_id, page=page_size)
        entries = (e for rows in pages for row in rows if (e := self._entry(row[2:])) is not None and e.state in wanted)
        return self._with_withdrawals(list(itertools.islice(entries, page_size)))

    def existing_by_external_ids(self, contributor: str, hash_set: str, ids: Iterable[str]) -> dict[str, list[Entry]]:
        """Return by external id a hash set's visible entries that are not WITHDRAWN and have it, oldest first."""
        sql = (
            f"{ENTRY_SQL} FROM entry e WHERE e.hash_set = ? AND e.external_id {{keys}} AND e.state <> {WITHDRAWN} "
            "ORDER BY e.id"
        )
        rows = self._db.by_keys(
            sql, "text", (self._db.key_of_set(contributor, hash_set),), sorted({x for x in ids if x})
        )
        by_external_id: dict[str, list[Entry]] = {}
        for row in rows:
            if (entry := self._entry(row)) is not None and entry.state is not EntryState.WITHDRAWN:
                by_external_id.setdefault(row[4], []).append(entry)
        return by_external_id

    def active_ids(
        self, contributor: str, hash_set: str, *, states: Iterable[EntryState] = (EntryState.ACTIVE,)
    ) -> NDArray[np.int64]:
        """Return the ids of a set's visible entries in `states`, int64[n] ascending. Raises NotFound."""
        set_key = self._db.key_of_set(contributor, hash_set)
        wanted = {s.ENTRY_STATES[state] for state in states}
        parts = [np.empty(0, np.int64)]
        for code in self.codes_of(states):
            parts += self.ids_in_state(set_key, code, wanted=wanted)
        # Distinct: what was outstanding may be written meanwhile, and is then met in both states.
        return ascending(np.concatenate(parts))

    def active_pages(self, contributor: str, hash_set: str) -> Iterator[NDArray[np.int64]]:
        """Yield the ids of a set's visible ACTIVE entries, int64[n] ascending, page by page. Raises NotFound."""
        set_key = self._db.key_of_set(contributor, hash_set)
        yield from self.ids_in_state(set_key, ACTIVE, wanted={ACTIVE})

    def entries_at(self, ids: Sequence[int], revision: int) -> list[Entry]:
        """Return which of the entries (ids ascending) were ACTIVE at `revision`, or a newer one replaced since."""
        first, last = ids[0], ids[-1]
        if last - first < _DENSE * len(ids):
            wanted = set(ids)
            sql = f"{ENTRY_SQL} FROM entry e WHERE e.id BETWEEN ? AND ? ORDER BY e.id"
            rows = [row for row in self._db.fetch(sql, (first, last)) if row[0] in wanted]
        else:
            rows = list(
                self._db.by_keys(f"{ENTRY_SQL} FROM entry e WHERE e.id {{keys}} ORDER BY e.id", "int8", (), ids)
            )
        standing = []
        for row in rows:
            entry = self._entry(row)
            if entry is None or entry.create_revision > revision:
                continue
            if entry.state is EntryState.WITHDRAWN and entry.update_revision > revision:
                entry = self._before_replacement(entry, row)
            if entry.state is EntryState.ACTIVE:
                standing.append(entry)
        return list(self.with_frame_counts(standing))

    def _before_replacement(self, entry: Entry, row: Row) -> Entry:
        """Return the entry as it was before a newer statement replaced it; as it is where it went otherwise."""
        if entry.reasons != (Code.SUPERSEDED,):
            return entry
        # One that is outstanding still says in its row what it was.
        code, reasons = (row[2], row[9]) if self.withdrawn_by(row) is not None else reasons_before(row[9])
        return msgspec.structs.replace(entry, state=s.ENTRY_STATES.members[code], reasons=unpack_reasons(reasons))

    def entry_count(self, contributor: str, hash_set: str, state: EntryState = EntryState.ACTIVE) -> int:
        """Return how many visible entries of a hash set are in a state. Raises NotFound."""
        set_key = self._db.key_of_set(contributor, hash_set)
        if any(part.hash_set == set_key for part in self._outstanding.parts(self._outstanding.listed())):
            return len(self.active_ids(contributor, hash_set, states=[state]))
        # All of them through the index, less what is staged: joining each one's import would take a second for a
        # million.
        sql = (
            "SELECT (SELECT count(*) FROM entry WHERE hash_set = ? AND state = ?) - (SELECT count(*) FROM allocation a "
            "CROSS JOIN entry e WHERE e.id BETWEEN a.first_entry AND a.last_entry AND e.hash_set = ? AND e.state = ?)"
        )
        wanted = (set_key, s.ENTRY_STATES[state])
        count: int = self._db.fetch(sql, wanted * 2)[0][0]
        return count

    def add_review(
        self,
        review: Review,
        *,
        also: Sequence[int] = (),
        items: int = 0,
        daily: int | None = None,
        most: int | None = None,
        members: int = 0,
        by: Actor = SYSTEM,
        request_id: str = "",
    ) -> Review:
        """Append a review of a visible entry and return it with its id, time and revision.

        It counts for the entries `also` too, by which the contributor states the item; a SET_ASIDE one where the review
        counts that it sets aside. `items`: of how many the entry may be; 0: of its author's own. An objection awaits
        acceptance where its author's that weigh would be about more than `daily` items within a day. Raises NotFound;
        LimitExceeded after `most` reviews of the entry by its author within a day. `members`: how many times as much
        all members of the author's contributor may do together; 0: the author is alone.
        """
        review = msgspec.structs.replace(review, id=0, create_time=None, revision=0)
        request = IdempotentRequest(request_id, "add_review", review, by.name)
        with self._db.write_in_order() as c:
            if (first := request.replayed(c, Review)) is not None:
                return first
            if not self._writes.visible_states(c, [review.entry_id]):
                raise no_entry(str(number_of(review.entry_id)))
            author, bounds = s.review.c.author, [(s.review.c.author == review.author, 1)]
            if members:
                of_all = f"{review.author.partition('/')[0]}/"
                bounds.append((sa.and_(author > of_all, author < f"{of_all[:-1]}0"), members))  # 0 follows the slash
            for is_by, times in bounds if most is not None else ():
                self._check_repeated(c, review, is_by, (most or 0) * times)
            at = now()
            awaits = (
                daily is not None
                and review.kind in OBJECTIONS
                and any(self._objected(c, review, is_by, items) > daily * times for is_by, times in bounds)
            )
            revision = append_event(
                c,
                by,
                EventKind.ENTRIES_REVIEWED,
                subject=self._writes.subject(review.entry_id),
                reason=review.kind,
                facts={
                    **({"sets_aside": number_of(review.sets_aside)} if review.sets_aside else {}),
                    **({"awaits_acceptance": 1} if awaits else {}),
                },
                details={"comment": review.comment},
                at=at,
            )
            review = msgspec.structs.replace(review, create_time=at, revision=revision, awaits_acceptance=awaits)
            set_key = c.execute(sa.select(s.entry.c.hash_set).where(s.entry.c.id == review.entry_id)).scalar_one()
            review = msgspec.structs.replace(review, id=take_ids(c, s.hash_set.c.next_review, set_key, 1))
            c.execute(sa.insert(s.review).values(review_row(review) | {"item_count": items}))
            about = self._counts_for(c, review, also)
            touch(c, "review", [review.id])
            touch(c, "reviewed", about)
            e = s.entry
            chosen = sa.select(e.c.hash_set, e.c.id, sa.literal(review.id)).where(e.c.id.in_(about))
            c.execute(sa.insert(s.reviewed).from_select(list(s.reviewed.c), chosen))
            self._writes.add_changes(c, revision, [(REVIEWED, IdSet.of(about), 0)])
            return request.remember(c, review)

    def _counts_for(self, c: Connection, review: Review, also: Sequence[int]) -> list[int]:
        """Return the entries that a new review counts for."""
        if not review.sets_aside:
            return sorted({review.entry_id, *also})
        r, e = s.reviewed, s.entry
        set_key = sa.select(e.c.hash_set).where(e.c.id == review.entry_id).scalar_subquery()
        rows = c.execute(sa.select(r.c.entry).where(r.c.hash_set == set_key, r.c.review == review.sets_aside))
        return sorted({review.entry_id, *rows.scalars()})

    def _check_repeated(self, c: Connection, review: Review, is_by: sa.ColumnElement[bool], most: int) -> None:
        """Raise LimitExceeded when some authors made so many reviews within a day that count for the entry."""
        r, a, e = s.review, s.reviewed, s.entry
        # By the entry's own rows: an author may have made any number of others that day.
        recent = (
            sa.select(sa.func.count())
            .select_from(e)
            .join(a, sa.and_(a.c.hash_set == e.c.hash_set, a.c.entry == e.c.id))
            .join(r, r.c.id == a.c.review)
            .where(
                e.c.id == review.entry_id,
                is_by,
                r.c.create_time > s.to_millis(now() - _DAY),
                r.c.role != s.ROLES[Role.OPERATOR],
            )
        )
        if c.execute(recent).scalar_one() >= most:
            raise LimitExceeded(
                f"{review.author} has reviewed this entry {most} times within a day, and may go on a day later; what "
                "it said stands",
                reason=Reason.SHARE_EXCEEDED,
                metadata={"share": "reviews of an entry", "most": str(most)},
            )

    def _objected(self, c: Connection, review: Review, is_by: sa.ColumnElement[bool], items: int) -> int:
        """Return about how many items of others objections of some authors within a day are of that weigh, with this
        one.
        """
        r = s.review
        recent = sa.select(r.c.entry, sa.func.max(r.c.item_count)).where(
            is_by,
            r.c.create_time > s.to_millis(now() - _DAY),
            r.c.kind.in_([s.REVIEW_KINDS[kind] for kind in OBJECTIONS]),
            r.c.role != s.ROLES[Role.OPERATOR],
            sa.not_(r.c.awaits_acceptance),
        )
        # Of an entry that was counted already nothing more is doubted.
        by_entry = {review.entry_id: items, **dict(map(tuple, c.execute(recent.group_by(r.c.entry))))}
        return sum(by_entry.values())

    def reviews_of(self, entry_ids: Iterable[int]) -> dict[int, list[Review]]:
        """Return by entry id the reviews that count for it, some stated about earlier entries, the oldest first."""
        sql = f"{REVIEW_SQL} WHERE e.id {{keys}} ORDER BY e.id, r.id"
        by_entry: dict[int, list[Review]] = {}
        for row in self._db.by_keys(sql, "int8", (), sorted(set(entry_ids))):
            by_entry.setdefault(row[11], []).append(review_of_row(row))
        return by_entry

    def review_revisions(self, entry_id: int, after: int, before: int, limit: int) -> list[int]:
        """Return the `limit` newest revisions of reviews of an entry after one and before another (0: of all)."""
        sql = (
            "SELECT DISTINCT r.revision FROM entry e JOIN reviewed a ON a.hash_set = e.hash_set AND a.entry = e.id "
            "JOIN review r ON r.id = a.review WHERE e.id = ? AND r.revision > ? AND r.revision < ? "
            "ORDER BY r.revision DESC LIMIT ?"
        )
        return [row[0] for row in self._db.fetch(sql, (entry_id, after, before or MAX_REVISION, limit))]

    def is_reviewed(self, entry_id: int) -> bool:
        """Whether a review counts for an entry."""
        sql = (
            "SELECT 1 FROM entry e JOIN reviewed a ON a.hash_set = e.hash_set AND a.entry = e.id WHERE e.id = ? LIMIT 1"
        )
        return bool(self._db.fetch(sql, (entry_id,)))

    def list_reviews(self, entry_id: int, page_size: int, after: int = 0) -> list[Review]:
        """Return up to `page_size` reviews that count for an entry, as `reviews_of` does, with ids after `after`."""
        sql = f"{REVIEW_SQL} WHERE e.id = ? AND r.id > ? ORDER BY r.id LIMIT ?"
        return [review_of_row(row) for row in self._db.fetch(sql, (entry_id, after, page_size))]

    def classification(self, key: int) -> Classification:
        """Return the classification that is stored under an id."""
        classification = self._classifications.get(key)
        return self.classifications([key])[key] if classification is None else classification

    def classifications(self, keys: Collection[int]) -> dict[int, Classification]:
        """Return the classifications that are stored under ids, by id."""
        at_hand = self._classifications
        by_key = {key: at_hand[key] for key in keys if key in at_hand}
        if missing := sorted(set(keys) - by_key.keys()):
            sql = "SELECT c.id, c.content FROM classification c WHERE c.id {keys}"
            rows = self._db.by_keys(sql, "int8", (), missing)
            read = {key: msgspec.json.decode(content, type=Classification) for key, content in rows}
            by_key |= read
            if len(at_hand) + len(read) > KEPT:  # a list may state another value for each of a million items
                self._classifications = at_hand = {}
            at_hand.update(read if len(read) <= KEPT else {})
        return by_key

    def source(self, key: int) -> _Source | None:
        """Return what an import says about its entries; None while it is not COMMITTED, which is for ever."""
        source = self._sources.get(key)
        if source is None:
            sql = (
                'SELECT id, connector, connector_version, source_digest, revision, terms FROM "import" '
                "WHERE key = ? AND state = ?"
            )
            rows = self._db.fetch(sql, (key, COMMITTED))
            if rows:
                if len(self._sources) >= KEPT:
                    self._sources = {}
                source = self._sources[key] = _Source(*rows[0])
        return source

    def _entry(self, row: Row) -> Entry | None:
        """Build an entry from the columns of `ENTRY_SQL`; None when it is not visible, its import being uncommitted."""
        source = self.source(row[11])
        if source is None:
            return None
        contributor, _, hash_set = self._db.hash_set_name(row[1]).partition("/")
        details = dict(unpack_details(row[8]))
        hashes = unpack_hashes(row[7])
        frames_digest = b""
        if hashes and hashes[-1].algorithm == FRAMES.name:
            hashes, frames_digest = hashes[:-1], hashes[-1].digest
        state, reasons, update_revision, withdrawal = s.ENTRY_STATES.members[row[2]], row[9], row[10], None
        if (part := self.withdrawn_by(row)) is not None:
            state, reasons, update_revision = EntryState.WITHDRAWN, pack_reasons((part.code,)), part.revision
            if part.withdrawal is not None:
                withdrawal = msgspec.structs.replace(part.withdrawal, revision=part.revision)
        return Entry(
            id=row[0],
            contributor=contributor,
            hash_set=hash_set,
            hashes=hashes,
            frames_digest=frames_digest,
            state=state,
            provenance=Provenance(
                import_id=source.import_id,
                connector=source.connector,
                connector_version=source.connector_version,
                source_digest=source.source_digest,
                position=row[3],
                member=details.pop("member"),
            ),
            classification=None if row[5] is None else self.classification(row[5]),
            flags=unpack_flags(row[6]),
            external_id=row[4] or "",
            reasons=unpack_reasons(reasons),
            create_revision=source.revision,
            update_revision=update_revision or source.revision,
            expire_time=s.time_of(row[12]),
            withdrawal=withdrawal,
            **details,
        )

    def _with_withdrawals(self, entries: Sequence[Entry], c: Connection | None = None) -> list[Entry]:
        """Return the entries with who withdrew them by hand, or asked for that."""
        asked = sorted(e.id for e in entries if e.state is EntryState.WITHDRAWN or PENDING in e.reasons)
        sql = (
            "SELECT w.entry, w.reason, w.comment, w.actor, w.role, w.revision, w.pending FROM withdrawal w "
            "WHERE w.entry {keys}"
        )
        withdrawals = {
            row[0]: Withdrawal(
                reason=s.WITHDRAWAL_REASONS.members[row[1]],
                comment=row[2],
                actor=row[3],
                role=s.ROLES.members[row[4]],
                revision=row[5],
                pending=bool(row[6]),
            )
            for row in self._db.by_keys(sql, "int8", (), asked, c)
        }
        return [
            msgspec.structs.replace(e, withdrawal=withdrawal)
            if (withdrawal := withdrawals.get(e.id)) is not None
            and withdrawal.pending == (e.state is not EntryState.WITHDRAWN)
            else e
            for e in self.with_frame_counts(entries, c)
        ]

    def with_frame_counts(self, entries: Sequence[Entry], c: Connection | None = None) -> Sequence[Entry]:
        """Return the entries with how many frames those have that are videos."""
        having = [e.id for e in entries if e.frames_digest]
        if not having:
            return entries
        counts = frame_counts(self._db, having, c)
        return [msgspec.structs.replace(e, frame_count=counts[e.id].frames) if e.id in counts else e for e in entries]

    def with_frames(self, entry: Entry) -> Entry:
        """Return an entry with its frames, if it is a video and was not erased meanwhile."""
        if not entry.frames_digest:
            return entry
        packed = next((content for _, content in frames_of(self._db, [entry.id])), b"")
        return msgspec.structs.replace(entry, frames=frames.unpack(packed))

    def frames_of(self, ids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the entries that have frames, ascending by id, with these, packed."""
        return frames_of(self._db, ids)

    def frame_counts(self, ids: Iterable[int]) -> dict[int, FrameCount]:
        """Return by id how many frames the entries have that are videos, and how many of their digests match."""
        return frame_counts(self._db, ids)

    def _neighbours(self, entry_id: int) -> tuple[list[int], list[int]]:
        """Return the entries that an entry replaced, and those that replaced it."""
        earlier = self._db.fetch("SELECT earlier FROM succession WHERE later = ? ORDER BY earlier", (entry_id,))
        later = self._db.fetch(
            (
                "SELECT e.later FROM "  # noqa: S608 - our own text
                "(SELECT later, later AS id FROM succession WHERE earlier = ?) e "
                f"WHERE NOT EXISTS ({STAGED_AROUND}) ORDER BY e.later"
            ),
            (entry_id,),
        )
        return [row[0] for row in earlier], [row[0] for row in later]

    def ids_in_state(
        self, set_key: int, code: int, *, wanted: Collection[int] | None = None
    ) -> Iterator[NDArray[np.int64]]:
        """Yield ids of a set's entries by their rows' state, ascending, or of visible ones in `wanted` states."""
        visible = "" if wanted is None else f"AND NOT EXISTS ({STAGED_AROUND})"
        condition, order, parameters = self._db.state_page(set_key, code, 0)
        sql = (
            "SELECT e.id, e.update_revision, "  # noqa: S608 - our own text
            f"(SELECT outstanding FROM metadata) FROM entry e WHERE {condition} {visible} ORDER BY {order} LIMIT ?"
        )
        while rows := self._db.fetch(sql, (*parameters, _ID_PAGE)):
            _, _, parameters = self._db.state_page(set_key, code, rows[-1][0])
            ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
            if wanted is not None:
                listed = rows[-1][2]
                is_withdrawn = np.full(len(ids), code == WITHDRAWN)
                if listed and code != WITHDRAWN:
                    revisions = np.fromiter((row[1] for row in rows), np.int64, len(rows))
                    is_withdrawn = self._outstanding.is_withdrawn(listed, ids, revisions)
                ids = ids[np.where(is_withdrawn, WITHDRAWN in wanted, code in wanted)]
            yield ids

    def codes_of(self, states: Iterable[EntryState]) -> list[int]:
        """Return the states that rows of entries in `states` may have: one that is WITHDRAWN may not say so yet."""
        codes = {s.ENTRY_STATES[state] for state in states}
        if WITHDRAWN in codes and self._outstanding.listed():
            codes = set(s.ENTRY_STATES.values())
        return sorted(codes)

    def of_id(self, entry_id: int, c: Connection) -> Entry:
        """Return the entry as this transaction leaves it. Raises NotFound when it is not visible."""
        entry = self._entry(tuple(self._db.execute(c, f"{ENTRY_SQL} FROM entry e WHERE e.id = ?", (entry_id,)).one()))
        if entry is None:
            raise no_entry(str(number_of(entry_id)))
        return self._with_withdrawals([entry], c)[0]

    def of_rows(self, rows: Sequence[Row]) -> list[Entry]:
        """Return the entries of rows that were read as `ENTRY_SQL` has it, without those that are not visible."""
        return self._with_withdrawals([entry for row in rows if (entry := self._entry(row)) is not None])

    def withdrawn_by(self, row: Row) -> WithdrawalPart | None:
        """Return what withdraws an entry whose row, read as `ENTRY_SQL` has it, does not say so yet."""
        if not row[13] or row[2] == WITHDRAWN:
            return None
        return self._outstanding.about(row[13], row[0], row[10])


def review_row(review: Review) -> dict[str, Any]:
    """Return a row of the table `review`."""
    converted = {
        "entry": review.entry_id,
        "kind": s.REVIEW_KINDS[review.kind],
        "create_time": s.to_millis(review.create_time or now()),
        "role": s.ROLES[review.role],
    }
    same = ("id", "author", "comment", "revision", "actor", "sets_aside", "awaits_acceptance")
    return {name: getattr(review, name) for name in same} | converted


def review_of_row(row: Row) -> Review:
    """Build a review from the columns of `REVIEW_SQL`."""
    return Review(
        id=row[0],
        entry_id=row[1],
        author=row[2],
        kind=s.REVIEW_KINDS.members[row[3]],
        comment=row[4],
        create_time=s.from_millis(row[5]),
        revision=row[6],
        actor=row[7],
        role=s.ROLES.members[row[8]],
        sets_aside=row[9],
        awaits_acceptance=bool(row[10]),
    )


def no_entry(name: str) -> NotFound:
    """Return the error for an entry that does not exist, or is not visible."""
    return NotFound(
        f"there is no entry {name[:150]!r} that this token may see; take the name from a match or a list of entries",
        kind="Entry",
        name=name,
    )
