"""Commits: from an import's batches to entries that are seen, in one small transaction.

begin_commit ─ allocate_entries, stage_entries … (stage) ─ finish_commit
COMMITTING      rows that nobody sees yet                   COMMITTED: the revision moves
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict, HashHubError
from hashhub.hashes import Hash
from hashhub.hygiene import Code
from hashhub.model import (
    SYSTEM,
    Actor,
    Counts,
    EntryState,
    EventBody,
    EventKind,
    Finding,
    Import,
    ImportState,
    Review,
    ReviewKind,
    now,
)
from hashhub.store import schema as s
from hashhub.store.database import NO_ENTRY, Database
from hashhub.store.entries import review_row
from hashhub.store.entry_codec import IdSet, are_among, ascending, merged, pack_reasons, runs, unpack_hashes
from hashhub.store.entry_writes import CHANGE_IDS, DeferredWithdrawals, EntryWrites, WithdrawalPart, note_loss, take_ids
from hashhub.store.events import append_event, decoded, facts_of, last_day, touch
from hashhub.store.holds import HOLD_SQL, Origin, hold_of_row, lift_holds
from hashhub.store.imports import Imports, closed, one_import, subject_of
from hashhub.store.leases import PIECE, Commit, Leases
from hashhub.store.resources import check_active, refuse_looser_than_list, to_json
from hashhub.store.schema import ACTIVE, COMMITTED, REVIEWED, UPSERT, WITHDRAW, WITHDRAWN
from hashhub.store.stage import FindingRun, Stage

_HOLDING: Final = (EventKind.ENTRIES_WITHDRAWN, EventKind.ENTRIES_QUARANTINED, EventKind.ENTRY_ERASED)
_MOST_MOVED: Final = 1_000  # items that are looked for among what is staged, in the transaction that makes it visible
_NO_IDS: Final = np.empty(0, np.int64)
_NO_PAIRS: Final = np.empty((0, 2), np.int64)
_NO_TIMES: Final = MappingProxyType[int, str]({})
_REST: Final = 20.0  # times what a piece of tidying took, while lists come in: they have the database and the processor
_LONGEST_REST: Final = 2.0  # seconds
MOST_REST: Final = 60.0  # seconds in one go: what is left to do must not grow for as long as somebody keeps sending
AWAITS_ACCEPTANCE: Final = "AWAITS_ACCEPTANCE"
# Facts of an import's event: how many entries its source's deletion messages withdrew, which are then the first of its
# changes; of how many items, by themselves, its entries speak for the harmlessness.
BY_SOURCE: Final = "by_source"
_DOUBTS: Final = "doubts"


class StaleCommit(Conflict):
    """What a list was compared with has moved before the list became visible: the commit must be begun again."""


@dataclass(eq=False)
class Commits:
    """The part of the Store that makes imports visible."""

    _db: Database
    _outstanding: DeferredWithdrawals
    _writes: EntryWrites
    _leases: Leases
    _stage: Stage
    _imports: Imports

    def begin_commit(self, import_id: str, *, by: Actor = SYSTEM) -> Import:
        """Take an OPEN import to COMMITTING, or take over an unfinished commit and purge what that staged; return it.

        This process then holds the import's lease until `finish_commit`, `cancel_import` or `release_commit`. Every
        step renews it; others may take over 60 s after the last one, or once this process is known to have ended. A
        COMMITTED import is returned as it is. Raises Conflict while another call commits into the same hash set,
        FailedPrecondition when the import is CANCELLED or its contributor was retired.
        """
        t = s.imports
        if import_id in self._leases.commits:
            raise Conflict(f"import {import_id} is being committed; wait until it is done, then retry", retry_after=1.0)
        into = self._db.read(lambda c: c.scalar(sa.select(t.c.hash_set).where(t.c.id == import_id)))
        if into is not None:  # before there is a lease: millions of rows take longer than it lasts
            self._outstanding.prepare(into)
        with self._db.write_in_order() as c:
            import_ = one_import(c, import_id)
            if import_.state is ImportState.COMMITTED:
                return import_
            if import_.state is ImportState.CANCELLED:
                raise closed(import_id, s.CANCELLED)
            check_active(c, import_.contributor)
            key, set_key = c.execute(sa.select(t.c.key, t.c.hash_set).where(t.c.id == import_id)).one()
            busy = self._leases.commit_into(c, set_key)
            if busy is not None:
                raise Conflict(
                    f"import {busy} into the same hash set is being committed; wait until it is done, then retry",
                    retry_after=1.0,
                )
            lease = self._leases.take(c, key)
            since: int = c.execute(sa.select(s.metadata.c.revision)).scalar_one()
        commit = Commit(import_id, key, set_key, lease, subject_of(import_), by, since=since)
        with self._leases.releasing(commit):
            self._outstanding.prepare(set_key)
            if import_.state is ImportState.COMMITTING:
                self._stage.purge(commit)
            begun = self._imports.get_import(import_id)
        self._leases.commits[import_id] = commit
        return begun

    def finish_commit(
        self,
        import_id: str,
        *,
        counts: Counts,
        findings: Iterable[Finding | FindingRun] = (),
        supersede: Sequence[int] | NDArray[np.int64] = (),
        absent: Sequence[int] | NDArray[np.int64] = (),
        withdraw: Sequence[int] | NDArray[np.int64] = (),
        reviews: Sequence[tuple[int, str, ReviewKind, str]] = (),
        restated: NDArray[np.int64] = _NO_PAIRS,
        deletion_times: Mapping[int, str] = _NO_TIMES,
        lift: Sequence[int] | NDArray[np.int64] = (),
        doubting: Sequence[tuple[int, int]] = (),
        daily_doubts: int = 100,
        unchanged: NDArray[np.int64] = _NO_IDS,
    ) -> Import:
        """Make everything that was staged visible at one new revision, and return the COMMITTED import.

        In the same transaction the given entries of earlier imports are withdrawn, as SUPERSEDED, ABSENT_FROM_LIST or
        WITHDRAWN_BY_SOURCE, and `reviews` (entry id, author, kind, comment) added. `restated`, int64[n, 2]: pairs of
        entries about one item; reviews of the first count for the second too. What expired meanwhile stays so and is
        not counted.

        The items of `withdraw` are held against older lists; `deletion_times`: the source's own times, by entry.
        `lift`: entries whose SOURCE holds newer statements overtake. `doubting`: new entries that claim no harm, with
        of how many items each may be; beyond `daily_doubts` items a day they get the remark AWAITS_ACCEPTANCE.
        `unchanged`: entries that the list states again as they are.

        Raises Conflict when another process took the commit over; StaleCommit when what it was decided on has moved, so
        that it must begin again; FailedPrecondition when its contributor was retired, or the set's terms became looser.
        """
        commit = self._leases.commit_of(import_id)
        self._stage.add_findings(import_id, findings)
        superseded = ascending(np.asarray(supersede, np.int64))
        gone = _parts(commit.hash_set, np.asarray(withdraw), superseded, np.asarray(absent), deletion_times)
        with commit.lock:
            successions = self._successions(restated[are_among(restated[:, 0], superseded)])
            self._stage.write_pieces(commit, chain(self._stage.run_of(commit), successions))
            with self._db.write_in_order() as c:
                self._leases.renew(c, commit)
                check_active(c, commit.contributor)
                self._refuse_overtaken(c, commit, unchanged)
                terms = sa.select(s.imports.c.terms).where(s.imports.c.key == commit.key)
                refuse_looser_than_list(c, commit.hash_set, c.scalar(terms))
                over = self._expired(c, commit, ascending(np.concatenate([superseded, np.asarray(absent, np.int64)])))
                if len(over):
                    counts = _without(counts, over, superseded, np.asarray(absent))
                    gone = _parts_without(gone, over)
                    pairs = [tuple(pair) for pair in restated[are_among(restated[:, 0], over)].tolist()]
                    if pairs:
                        self._db.execute(c, "DELETE FROM succession WHERE earlier = ? AND later = ?", pairs)
                signed_by = sa.select(s.imports.c.signing_key).where(s.imports.c.key == commit.key)
                signing_key: str = c.execute(signed_by).scalar_one()
                at = now()
                doubts, beyond = self._doubts(c, commit, sorted(doubting), daily_doubts)
                revision = append_event(
                    c,
                    commit.by,
                    EventKind.IMPORT_COMMITTED,
                    subject=commit.subject,
                    facts={
                        **_numbers(counts, gone, doubts, len(beyond)),
                        "content": commit.content(),
                        **({"signing_key": signing_key} if signing_key else {}),
                    },
                    undo=commit.salt,
                    at=at,
                )
                gone = [part._replace(revision=revision) for part in gone]
                self._writes.add_changes(c, revision, [(WITHDRAW, part.ids, commit.key) for part in gone])
                self._outstanding.withdraw(c, gone)
                if len(withdraw) or len(absent):
                    note_loss(c, [commit.hash_set], revision)
                lift_holds(c, self._db, np.asarray(lift).tolist(), EntryState.WITHDRAWN, only=Origin.SOURCE)
                self._remark_beyond(c, beyond)
                self._writes.add_changes(
                    c,
                    revision,
                    [(UPSERT, IdSet(first, last), commit.key) for first, last in merged(commit.ranges)],
                )
                # Of what stays nothing else says that a withdrawn one's reviews count for it from now on.
                first_new = min((first for first, _ in commit.allocations), default=NO_ENTRY)
                gaining = [entry for entry in self._writes.inherit(c, commit.hash_set, restated) if entry < first_new]
                if gaining:
                    self._writes.add_changes(c, revision, [(REVIEWED, IdSet.of(gaining), 0)])
                self._writes.inherit_requests(c, commit.hash_set, restated, superseded)
                self._add_reviews(c, commit, reviews, revision, at)
                _close(c, commit, counts, revision, at)
        self._leases.commits.pop(import_id, None)
        return self._imports.get_import(import_id)

    def tidy(self, wait: Callable[[float], bool] = lambda _: False) -> None:
        """Write what commits withdrew into the entries' rows, and drop the batches of imports that are done.

        `wait` is called before each piece, with seconds in which others have the database, up to a minute in all while
        lists come in; where it returns True the next call goes on. So it does after Unavailable or LimitExceeded.
        """
        is_stopping = self._resting(wait)
        try:
            self._outstanding.settle(is_alone=True, is_stopping=is_stopping)
        finally:
            self._imports.sweep_batches(is_stopping)

    def settle(self) -> None:
        """Write what earlier commits withdrew into the entries' rows; it never fails the write before it."""
        with suppress(HashHubError):
            self._outstanding.settle()

    def _resting(self, wait: Callable[[float], bool]) -> Callable[[], bool]:
        ended, rested = time.monotonic(), 0.0

        def is_stopping() -> bool:
            nonlocal ended, rested
            rest = 0.0
            if rested < MOST_REST and self._imports.are_coming_in():
                rest = min(_REST * (time.monotonic() - ended), _LONGEST_REST)
                rested += rest
            is_over = wait(rest)
            ended = time.monotonic()
            return is_over

        return is_stopping

    def _successions(self, pairs: NDArray[np.int64]) -> Iterator[Callable[[Connection], None]]:
        """Yield writes of which entry took whose place. `pairs`, int64[n, 2]: the earlier first; they may repeat."""
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        if len(pairs):
            pairs = pairs[np.concatenate(([True], (pairs[1:] != pairs[:-1]).any(axis=1)))]
        for start in range(0, len(pairs), PIECE):
            yield partial(self._writes.add_successions, pairs=pairs[start : start + PIECE])

    def _remark_beyond(self, c: Connection, beyond: Sequence[int]) -> None:
        """Remark on these new entries that they await the operator's acceptance."""
        if beyond:
            sql = "UPDATE entry SET reasons = ? WHERE id BETWEEN ? AND ? AND state = ?"
            remark = pack_reasons((AWAITS_ACCEPTANCE,))
            touch(c, "entry", beyond)
            self._db.execute(c, sql, [(remark, first, last, ACTIVE) for first, last in runs(beyond)])

    def _add_reviews(
        self,
        c: Connection,
        commit: Commit,
        reviews: Sequence[tuple[int, str, ReviewKind, str]],
        revision: int,
        at: datetime,
    ) -> None:
        """Write the reviews (entry id, author, kind, comment) that the list brings; each counts for its entry."""
        if not reviews:
            return
        first = take_ids(c, s.hash_set.c.next_review, commit.hash_set, len(reviews))
        made = [
            Review(
                id=number,
                entry_id=entry,
                author=author,
                kind=kind,
                comment=comment,
                actor=commit.by.name,
                create_time=at,
                revision=revision,
            )
            for number, (entry, author, kind, comment) in enumerate(reviews, first)
        ]
        c.execute(sa.insert(s.review), list(map(review_row, made)))
        self._writes.add_changes(c, revision, [(REVIEWED, IdSet.of(entry for entry, *_ in reviews), 0)])
        touch(c, "review", range(first, first + len(reviews)))
        touch(c, "reviewed", [entry for entry, *_ in reviews])
        new = sa.select(sa.literal(commit.hash_set), s.review.c.entry, s.review.c.id)
        c.execute(
            sa.insert(s.reviewed).from_select(
                list(s.reviewed.c), new.where(s.review.c.id.between(first, first + len(reviews) - 1))
            )
        )

    def _refuse_overtaken(self, c: Connection, commit: Commit, unchanged: NDArray[np.int64]) -> None:
        """Raise StaleCommit when, since the commit began, another list of the hash set was committed, an entry that the
        list states again was withdrawn, or somebody held, restored or released an item that the list states anew; or
        when whose signature counts, or is demanded, may have changed.
        """
        if (
            self._has_another(c, commit)
            or self._is_signed_otherwise(c, commit)
            or self._has_lost(c, commit, unchanged)
            or self._is_held(c, commit)
            or self._states(c, commit, self._put_back(c, commit))
        ):
            raise StaleCommit(
                f"entries about items of import {commit.import_id} were moved, or another list of its hash set was "
                "committed, while it was being committed; commit it again",
                retry_after=1.0,
            )

    def _has_another(self, c: Connection, commit: Commit) -> bool:
        """Whether another list of the hash set was committed since the commit began: while this one's lease had run out
        and nobody took it over. What this one withdraws, and what it leaves alone, was decided without that.
        """
        # By the few events since then, and not by all imports that the hash set ever had.
        prefix = commit.subject.rpartition("/")[0] + "/"
        return any(e.subject.startswith(prefix) for e in _events_since(c, commit, EventKind.IMPORT_COMMITTED))

    def _is_signed_otherwise(self, c: Connection, commit: Commit) -> bool:
        """Whether a key of the contributor was revoked since the commit began, or its hash set demands other things."""
        about = {
            f"contributors/{commit.contributor}",
            commit.subject.rpartition("/")[0].replace("imports", "hash-sets", 1),
        }
        kinds = (EventKind.SIGNING_KEY_REVOKED, EventKind.HASH_SET_UPDATED, EventKind.TERMS_CHANGED)
        return any(event.subject in about for event in _events_since(c, commit, *kinds))

    def _has_lost(self, c: Connection, commit: Commit, unchanged: NDArray[np.int64]) -> bool:
        """Whether an entry was withdrawn since the commit began, other than because its own time is over."""
        if not len(unchanged):
            return False
        sql = "SELECT 1 FROM entry e WHERE (e.expire_time IS NULL OR e.expire_time > ?) AND e.id {keys}"
        # Of what expired, which may be tens of thousands of entries, no row need be read.
        expiries = {e.revision for e in _events_since(c, commit, EventKind.ENTRIES_EXPIRED) if e.reason == Code.EXPIRED}
        ordered = ascending(unchanged)
        for revision, ids in self._changed(c, commit, WITHDRAW):
            for piece in ids.pieces(PIECE) if revision not in expiries else ():
                lost = piece[are_among(piece, ordered)].tolist()
                if any(self._db.by_keys(sql, "int8", (s.to_millis(now()),), lost, c)):
                    return True
        return False

    def _expired(self, c: Connection, commit: Commit, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which entries (ascending) expired since the commit began, and nothing took their place."""
        revisions = {e.revision for e in _events_since(c, commit, EventKind.ENTRIES_EXPIRED)} if len(ids) else set()
        changes = self._changed(c, commit, WITHDRAW) if revisions else ()
        expired = [
            piece[are_among(piece, ids)]
            for revision, changed in changes
            if revision in revisions
            for piece in changed.pieces(PIECE)
        ]
        if not expired:
            return _NO_IDS
        sql = f"SELECT e.id FROM entry e WHERE e.state = {WITHDRAWN} AND e.id {{keys}}"  # noqa: S608 - our own number
        rows = self._db.by_keys(sql, "int8", (), np.concatenate(expired).tolist(), c)
        return ascending(np.array([row[0] for row in rows], np.int64))

    def _is_held(self, c: Connection, commit: Commit) -> bool:
        """Whether an item held since the commit began may be staged; True, too, where only its traces are left."""
        if not _events_since(c, commit, *_HOLDING):
            return False
        sets = sa.select(s.hash_set.c.key).where(s.hash_set.c.contributor == commit.contributor)
        own_sets = set(c.execute(sets).scalars())
        listed: str = c.execute(sa.select(s.metadata.c.outstanding)).scalar_one()
        for part in self._outstanding.parts(listed) if listed else ():
            is_here = part.hash_set == commit.hash_set or (part.holds_everywhere and part.hash_set in own_sets)
            if part.revision > commit.since and is_here and (part.origin or part.withdrawal is not None):
                return True
        sql = (
            f"{HOLD_SQL} FROM hold h LEFT JOIN entry e ON e.id = h.entry "
            "WHERE h.contributor = ? AND h.hash_set IN (0, ?) AND h.revision > ? LIMIT ?"
        )
        rows = self._db.execute(c, sql, (commit.contributor, commit.hash_set, commit.since, _MOST_MOVED + 1)).all()
        holds = [hold_of_row(tuple(row), "") for row in rows]
        if any(hold.traces for hold in holds):
            return True
        return self._states(c, commit, [(hold.external_id, hold.hashes) for hold in holds])

    def _put_back(self, c: Connection, commit: Commit) -> list[tuple[str, tuple[Hash, ...]]]:
        """Return by what items restored or released since the commit began are known; of very many only some."""
        sql = "SELECT e.external_id, e.hashes FROM entry e WHERE e.id {keys}"
        items: list[tuple[str, tuple[Hash, ...]]] = []
        for _, ids in self._changed(c, commit, UPSERT):
            for piece in ids.pieces(_MOST_MOVED + 1):
                rows = self._db.by_keys(sql, "int8", (), piece.tolist(), c)
                items += [(row[0] or "", unpack_hashes(row[1])) for row in rows]
                if len(items) > _MOST_MOVED:
                    return items
        return items

    def _changed(self, c: Connection, commit: Commit, kind: int) -> Iterator[tuple[int, IdSet]]:
        """Yield the entries of the hash set that were changed in this way since the commit began, by revision."""
        t = s.change
        chosen = sa.select(t.c.revision, t.c.first_entry, t.c.last_entry, t.c.ids).where(
            t.c.revision > commit.since, t.c.kind == kind, t.c.hash_set == commit.hash_set
        )
        for revision, *ids in c.execute(chosen).all():
            yield revision, IdSet(*ids)

    def _states(self, c: Connection, commit: Commit, items: Sequence[tuple[str, tuple[Hash, ...]]]) -> bool:
        """Whether what is staged has an external id or a digest of an item; True where these are too many to look."""
        if len(items) > _MOST_MOVED:
            return True
        named = sorted({external_id for external_id, _ in items if external_id})
        by_name = 'SELECT 1 FROM entry e WHERE e.hash_set = ? AND e."import" = ? AND e.external_id {keys}'
        if any(self._db.by_keys(by_name, "text", (commit.hash_set, commit.key), named, c)):
            return True
        digests: dict[int, set[bytes]] = {}
        for _, hashes in items:
            for h in hashes:
                digests.setdefault(s.ALGORITHM_CODES[h.algorithm], set()).add(h.digest)
        by_digest = (
            "SELECT 1 FROM hash h JOIN entry e ON e.id = h.entry "
            'WHERE h.algorithm = ? AND e."import" = ? AND h.digest {keys}'
        )
        return any(
            any(self._db.by_keys(by_digest, "bytea", (code, commit.key), sorted(values), c))
            for code, values in digests.items()
        )

    def _doubts(
        self, c: Connection, commit: Commit, doubting: Sequence[tuple[int, int]], daily: int
    ) -> tuple[int, list[int]]:
        """Return of how many items those of the new entries may be that a contributor may doubt with in a day without
        the operator, and the other ones. One that is of more items than are left leaves these to those after it.
        """
        if not doubting:
            return 0, []
        recent = last_day(c, f"imports/{commit.contributor}", EventKind.IMPORT_COMMITTED)
        left = daily - sum(n for body in recent if isinstance(n := facts_of(body).get(_DOUBTS), int))
        items, beyond = 0, []
        for entry, count in doubting:
            if items + count <= left:
                items += count
            else:
                beyond.append(entry)
        return items, beyond


def _events_since(c: Connection, commit: Commit, *kinds: EventKind) -> list[EventBody]:
    """Return the events of these kinds since a commit began."""
    t = s.event
    chosen = sa.select(t.c.body).where(t.c.revision > commit.since, t.c.kind.in_(kinds))
    return [decoded(body) for body in c.execute(chosen).scalars()]


def _numbers(counts: Counts, gone: Sequence[WithdrawalPart], doubts: int, beyond: int) -> dict[str, int]:
    """Return the numbers of a commit's event, without those that are 0."""
    numbers = {
        **{name: getattr(counts, name) for name in Counts.__struct_fields__},
        BY_SOURCE: sum(len(part.ids) for part in gone if part.origin),
        _DOUBTS: doubts,
        "awaits_acceptance": beyond,
    }
    return {name: n for name, n in numbers.items() if n}


def _close(c: Connection, commit: Commit, counts: Counts, revision: int, at: datetime) -> None:
    """Let the import be COMMITTED at this revision, and nobody's commit any more."""
    t = s.imports
    c.execute(sa.delete(s.allocation).where(s.allocation.c["import"] == commit.key))
    c.execute(
        sa.update(t)
        .where(t.c.key == commit.key)
        .values(
            state=COMMITTED,
            counts=to_json(counts),
            revision=revision,
            commit_time=s.to_millis(at),
            lease="",
            lease_until=0,
        )
    )


def _without(
    counts: Counts, over: NDArray[np.int64], superseded: NDArray[np.int64], absent: NDArray[np.int64]
) -> Counts:
    """Return what a commit counts without the entries that had expired before it."""
    return msgspec.structs.replace(
        counts,
        superseded=counts.superseded - int(are_among(superseded, over).sum()),
        absent=counts.absent - int(are_among(absent, over).sum()),
    )


def _parts_without(parts: Sequence[WithdrawalPart], over: NDArray[np.int64]) -> list[WithdrawalPart]:
    """Return the parts without these entries, but for what the source itself withdraws: that is held, too."""
    remaining: list[WithdrawalPart] = []
    for part in parts:
        ids = np.concatenate(list(part.ids.pieces(PIECE)))
        if not part.origin:
            ids = ids[~are_among(ids, over)]
        if len(ids):
            remaining.append(part._replace(ordinal=len(remaining), ids=IdSet.of(ids)))
    return remaining


def _parts(
    hash_set: int,
    withdraw: NDArray[np.int64],
    supersede: NDArray[np.int64],
    absent: NDArray[np.int64],
    deletion_times: Mapping[int, str],
) -> list[WithdrawalPart]:
    """Return what a commit withdraws, each entry once, in parts of bounded size; their revision is still to come."""
    parts: list[WithdrawalPart] = []
    taken = np.empty(0, np.int64)
    for chosen, code, origin in (
        (withdraw, "WITHDRAWN_BY_SOURCE", Origin.SOURCE),
        (supersede, "SUPERSEDED", ""),
        (absent, "ABSENT_FROM_LIST", ""),
    ):
        ids = ascending(chosen.astype(np.int64, copy=False))
        ids = ids[~are_among(ids, taken)]
        taken = ascending(np.concatenate([taken, ids]))
        for start in range(0, len(ids), CHANGE_IDS):
            piece = ids[start : start + CHANGE_IDS]
            times = [deletion_times.get(i, "") for i in piece.tolist()] if origin and deletion_times else ()
            parts.append(WithdrawalPart(0, len(parts), hash_set, code, IdSet.of(piece), origin, times))
    return parts
