"""Imports: how a million entries come in without being seen, and become visible at once or not at all.

    create_import ─ put_batch … ─ begin_commit ─ allocate_entries, stage_entries … ─ finish_commit
         OPEN           OPEN       COMMITTING      rows that nobody sees yet           COMMITTED: the revision moves

Staging: entries go in as they come; their hashes are gathered in memory and written in large runs sorted by digest,
because the table of hashes is clustered by digest and rows in random order would touch a page each. Each piece of
entries comes with a STAGED change row that tells matchers to take its digests in, so that little is left to do at the
commit.

Lease: only the process that began a commit may stage into it. Each step renews the lease and checks it in the same
transaction, so a process that was taken for dead and is not cannot add to what its successor stages.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import (
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unavailable,
)
from hashhub.hygiene import Code
from hashhub.model import (
    SYSTEM,
    Actor,
    ChangeKind,
    Classification,
    Counts,
    Disposition,
    EntryState,
    EventKind,
    Finding,
    Import,
    ImportState,
    Review,
    ReviewKind,
    now,
)
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.entries import review_row
from hashhub.store.events import append_event, facts_of, is_in
from hashhub.store.holds import Origin, lift_holds
from hashhub.store.idset import IdSet, ascending
from hashhub.store.outstanding import Outstanding, Part
from hashhub.store.packing import EntryColumns, pack_reasons, unpack_hashes
from hashhub.store.requests import Request
from hashhub.store.resources import check_active, key_of_set, to_json
from hashhub.store.schema import ACTIVE, COMMITTED, REVIEWED, STAGED, UPSERT, WITHDRAW
from hashhub.store.staging import PIECE, Commit, merged, runs
from hashhub.store.writing import CHANGE_IDS, PAGE, Writing, note_loss

_LEASE: Final = timedelta(seconds=60)  # longer than any step of a commit; a crashed process's import waits this long
_RUN: Final = 256 * 1024 * 1024  # bytes of gathered digests and ids that are sorted and written together

_IMPORT_STATES: Final = {code: state for state, code in s.IMPORT_STATES.items()}
_DISPOSITIONS: Final = {code: d for d, code in s.DISPOSITIONS.items()}
_COMMITTING: Final = s.IMPORT_STATES[ImportState.COMMITTING]
_OPEN: Final = s.IMPORT_STATES[ImportState.OPEN]
_CANCELLED: Final = s.IMPORT_STATES[ImportState.CANCELLED]
_NO_PAIRS: Final = np.empty((0, 2), np.int64)
_NO_TIMES: Final = MappingProxyType[int, str]({})
_DAY: Final = timedelta(days=1)
AWAITS_ACCEPTANCE: Final = "AWAITS_ACCEPTANCE"
# Facts of an import's event: how many entries its source's deletion messages withdrew, which are then the first of its
# changes; how many of its entries speak for the harmlessness of what others list.
BY_SOURCE: Final = "by_source"
_DOUBTS: Final = "doubts"


class Imports:
    """The part of the Store that takes imports in."""

    def __init__(self, database: Database, outstanding: Outstanding, writing: Writing) -> None:
        self._db = database
        self._outstanding = outstanding
        self._writing = writing
        self._commits: dict[str, Commit] = {}
        # Leases that the database still shows as held, because giving them up could not be written.
        self._given_up: list[str] = []
        self._classification_ids: dict[bytes, int] = {}

    def create_import(self, new: Import, *, request_id: str = "", most_open: int | None = None) -> Import:
        """Open an import, or return the one that has the same hash set, source digest, connector, version and
        `replace`.

        An OPEN or COMMITTING one is to be resumed, a COMMITTED one was done before. It counts as done only while
        nothing has been withdrawn from the hash set since, other than by a newer statement about the same item; and a
        replacing one only while it is the last one committed there: A, then B, then A again is three replacements.
        `id`, state, counts and times of `new` do not matter. Raises NotFound when there is no such hash set.

        One that asks for withdrawals, too, is done only while nothing has become active in the hash set since: a
        deletion message that is sent again after its item was listed again deletes it again.

        Raises LimitExceeded when a new one would be more than `most_open` of its contributor that are not committed.
        """
        fresh = Import(
            id="",
            contributor=new.contributor,
            hash_set=new.hash_set,
            connector=new.connector,
            connector_version=new.connector_version,
            source_digest=new.source_digest,
            replace=new.replace,
            has_classifications=new.has_classifications,
            actor=new.actor,
        )
        request = Request(request_id, "create_import", fresh, new.actor)
        t = s.imports
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, Import)) is not None:
                return first
            check_active(c, new.contributor)
            set_key = key_of_set(c, new.contributor, new.hash_set)
            same = _import_rows(
                c,
                t.c.hash_set == set_key,
                t.c.source_digest == new.source_digest,
                t.c.connector == new.connector,
                t.c.connector_version == new.connector_version,
                t.c.replace == new.replace,
                t.c.state != _CANCELLED,
            )
            if same:
                found = same[0]
                if found.state is not ImportState.COMMITTED or _is_last_word(c, set_key, found):
                    return request.remember(c, found)
            self._check_open(c, new.contributor, most_open)
            at = now()
            created = msgspec.structs.replace(fresh, id=f"imp-{secrets.token_hex(8)}", create_time=at)
            c.execute(
                sa.insert(t).values(
                    id=created.id,
                    hash_set=set_key,
                    connector=created.connector,
                    connector_version=created.connector_version,
                    source_digest=created.source_digest,
                    replace=created.replace,
                    state=_OPEN,
                    batch_count=0,
                    finding_count=0,
                    counts=to_json(created.counts),
                    revision=0,
                    create_time=s.to_millis(at),
                    lease="",
                    lease_until=0,
                    has_classifications=created.has_classifications,
                    actor=created.actor,
                    open_revision=sa.select(s.metadata.c.revision).scalar_subquery(),
                )
            )
            return request.remember(c, created)

    def get_import(self, import_id: str) -> Import:
        """Return the import. Raises NotFound."""
        return self._db.read(lambda c: _one_import(c, import_id))

    def list_imports(
        self, contributor: str = "", hash_set: str = "", page_size: int = 100, after: str = ""
    ) -> list[Import]:
        """Return up to `page_size` imports, the newest first, after the import id `after`; empty names stand for
        all.
        """
        t = s.imports
        where = []
        if contributor:
            where.append(s.hash_set.c.contributor == contributor)
        if hash_set:
            where.append(s.hash_set.c.id == hash_set)
        if after:
            where.append(t.c.key < sa.select(t.c.key).where(t.c.id == after).scalar_subquery())
        return self._db.read(lambda c: _import_rows(c, *where, limit=page_size))

    def last_commit_times(self, limit: int) -> dict[str, list[datetime]]:
        """Return when each hash set's last imports were committed, up to `limit` of each, ascending, by its name."""
        t, h = s.imports, s.hash_set
        place = sa.func.row_number().over(partition_by=t.c.hash_set, order_by=t.c.key.desc()).label("place")
        last = (
            sa.select(t.c.hash_set, t.c.commit_time, place)
            .where(t.c.state == COMMITTED, t.c.commit_time.is_not(None))
            .subquery()
        )
        query = (
            sa.select(h.c.contributor, h.c.id, last.c.commit_time)
            .join(h, h.c.key == last.c.hash_set)
            .where(last.c.place <= limit)
            .order_by(last.c.commit_time)
        )
        times: dict[str, list[datetime]] = {}
        for contributor, hash_set, millis in self._db.read(lambda c: c.execute(query).all()):
            times.setdefault(f"{contributor}/{hash_set}", []).append(s.from_millis(millis))
        return times

    def source_revisions(self, contributor: str, hash_set: str, source_digest: str) -> tuple[int, list[int]]:
        """Return the last revision when a source was first sent for a hash set, and those at which it was committed,
        ascending.

        The first is the present one for a source that never was. Raises NotFound when there is no such hash set.
        """
        t = s.imports

        def read(c: Connection) -> tuple[int, list[int]]:
            set_key = key_of_set(c, contributor, hash_set)
            where = (t.c.hash_set == set_key, t.c.source_digest == source_digest)
            first: int | None = c.scalar(sa.select(sa.func.min(t.c.open_revision)).where(*where))
            revisions = c.execute(sa.select(t.c.revision).where(*where, t.c.state == COMMITTED).order_by(t.c.revision))
            if first is None:
                first = c.execute(sa.select(s.metadata.c.revision)).scalar_one()
            return first, list(revisions.scalars())

        return self._db.read(read)

    def put_batch(
        self, import_id: str, index: int, payload: bytes, *, items: int = 0, most_bytes: int | None = None
    ) -> Import:
        """Store one batch of an OPEN import, with so many items, and return the import.

        The same index again with the same payload changes nothing. Raises Conflict when the payload differs,
        FailedPrecondition (IMPORT_INCOMPLETE) when an earlier batch is missing and (IMPORT_CLOSED) when the import is
        not OPEN, LimitExceeded when its contributor would hold more than `most_bytes` in imports that are not
        committed.
        """
        t, b = s.imports, s.staged_batch
        with self._db.write() as c:
            row = c.execute(
                sa.select(t.c.key, t.c.state, t.c.batch_count).where(t.c.id == import_id).with_for_update()
            ).first()
            if row is None:
                raise _no_import(import_id)
            key, state, count = row
            if state != _OPEN:
                raise _closed(import_id, state)
            if index > count or index < 0:
                raise FailedPrecondition(
                    f"import {import_id} has {count} batches, so the next one has index {count}, got {index}; send the "
                    "missing ones",
                    reason=Reason.IMPORT_INCOMPLETE,
                    metadata={"nextBatch": str(count)},
                )
            if index == count:
                self._check_staged(c, key, len(payload), most_bytes)
                c.execute(sa.insert(b).values({"import": key, "index": index, "payload": payload}))
                c.execute(
                    sa.update(t)
                    .where(t.c.key == key)
                    .values(
                        batch_count=count + 1,
                        staged_items=t.c.staged_items + items,
                        staged_bytes=t.c.staged_bytes + len(payload),
                        touch_time=s.to_millis(now()),
                    )
                )
            elif c.scalar(sa.select(b.c.payload).where(b.c["import"] == key, b.c.index == index)) != payload:
                raise Conflict(
                    f"batch {index} of import {import_id} was stored with other content; "
                    "cancel the import and start again if the source has changed"
                )
            return _one_import(c, import_id)

    def batches(self, import_id: str) -> Iterator[bytes]:
        """Yield the payloads of the stored batches in order, one at a time; none once the import is COMMITTED or
        CANCELLED.
        """
        sql = self._db.sql(
            'SELECT b.payload FROM staged_batch b JOIN "import" i ON i.key = b."import" '
            'WHERE i.id = ? AND b."index" = ?'
        )
        for index in itertools.count():
            if import_id in self._commits:
                self.renew_commit(import_id)
            rows = self._db.fetch(sql, (import_id, index))
            if not rows:
                return
            yield rows[0][0]

    def begin_commit(self, import_id: str, *, by: Actor = SYSTEM) -> Import:
        """Take an OPEN import to COMMITTING, or take over one whose commit was left unfinished, and return it.

        This process then holds the import's lease until `finish_commit`, `cancel_import` or `release_commit`. Every
        step, reading the batches too, renews it; 60 s after the last one others may take the commit over. What an
        unfinished commit had staged is purged first. A COMMITTED import is returned as it is.

        Raises:
            Conflict: another call is committing this import, or another import into the same hash set; retry later.
            FailedPrecondition: the import is CANCELLED, or its contributor was retired.
        """
        lease = secrets.token_hex(8)
        t = s.imports
        if import_id in self._commits:
            raise Conflict(f"import {import_id} is being committed; wait until it is done, then retry", retry_after=1.0)
        with self._db.write() as c:
            self._db.lock(c)
            found = _one_import(c, import_id)
            if found.state is ImportState.COMMITTED:
                return found
            if found.state is ImportState.CANCELLED:
                raise _closed(import_id, _CANCELLED)
            check_active(c, found.contributor)
            key, set_key = c.execute(sa.select(t.c.key, t.c.hash_set).where(t.c.id == import_id)).one()
            busy = c.execute(
                sa.select(t.c.id).where(
                    t.c.hash_set == set_key,
                    t.c.state == _COMMITTING,
                    t.c.lease_until > s.to_millis(now()),
                    t.c.lease.not_in(self._given_up),
                )
            ).first()
            if busy is not None:
                raise Conflict(
                    f"import {busy[0]} into the same hash set is being committed; wait until it is done, then retry",
                    retry_after=1.0,
                )
            c.execute(
                sa.update(t)
                .where(t.c.key == key)
                .values(state=_COMMITTING, lease=lease, lease_until=s.to_millis(now() + _LEASE))
            )
        commit = Commit(import_id, key, set_key, lease, _subject(found), by)
        with self._releasing(commit):
            self._outstanding.settle(set_key)
            if found.state is ImportState.COMMITTING:
                self._purge(commit)
            begun = self.get_import(import_id)
        self._commits[import_id] = commit
        return begun

    def renew_commit(self, import_id: str) -> None:
        """Keep the lease through a step that takes long; call it every few seconds. Costs nothing while the lease is
        young.

        Raises Conflict when another process has taken over the commit.
        """
        commit = self._commit(import_id)
        if time.monotonic() - commit.renewed > _LEASE.total_seconds() / 4:
            with self._db.write() as c:
                self._renew(c, commit)

    def release_commit(self, import_id: str) -> None:
        """Give up the lease after a failed commit, so that the next `begin_commit` need not wait. Does nothing without
        one.
        """
        commit = self._commits.pop(import_id, None)
        if commit is not None:
            self._release(commit)

    def expire_leases(self) -> None:
        """End all leases: for a server that has just started and knows that it is the only one (see `lock_data`)."""
        with self._db.write() as c:
            c.execute(sa.update(s.imports).where(s.imports.c.state == _COMMITTING).values(lease="", lease_until=0))

    def allocate_entries(self, import_id: str, n: int) -> int:
        """Reserve `n` consecutive entry ids for an import being committed and return the first; they are never given
        again.
        """
        commit = self._commit(import_id)
        m = s.metadata
        with self._db.write() as c:
            self._db.lock(c)
            self._renew(c, commit)
            after: int = c.execute(
                sa.update(m).values(next_entry=m.c.next_entry + n).returning(m.c.next_entry)
            ).scalar_one()
            first = after - n
            if n:
                c.execute(
                    sa.insert(s.allocation).values(
                        {"first_entry": first, "last_entry": after - 1, "import": commit.key}
                    )
                )
        commit.allocations.append((first, after - 1))
        return first

    def classification_ids(self, classifications: Sequence[Classification]) -> list[int]:
        """Return the id under which each classification is stored, storing those that are new."""
        contents = [to_json(x) for x in classifications]
        missing = {x for x in contents if x not in self._classification_ids}
        if missing:
            self._store_classifications(missing)
        return [self._classification_ids[x] for x in contents]

    def stage_entries(self, import_id: str, entries: EntryColumns) -> None:
        """Write entries of an import being committed; nobody sees them before `finish_commit`.

        Their ids are ascending and from `allocate_entries`. Pass 5,000 to 20,000 at a time: the fewer, the shorter
        other writers wait; the more, the less each costs. Raises Conflict when another process has taken over the
        commit.
        """
        if not entries.ids:
            return
        commit = self._commit(import_id)
        first, last = entries.ids[0], entries.ids[-1]
        if not any(a <= first <= last <= b for a, b in commit.allocations):
            raise InvalidArgument.field(
                "entries", f"ids {first} to {last} were not allocated to {import_id}", "NOT_ALLOCATED"
            )
        count, repeat = len(entries.ids), itertools.repeat
        # The table's columns in their order.
        rows = list(
            zip(
                entries.ids,
                repeat(commit.hash_set, count),
                repeat(commit.key, count),
                *entries[1:-1],
                repeat(0, count),
                entries.expire_times,
                strict=True,
            )
        )
        with commit.lock:
            with self._db.write() as c:
                self._db.insert(c, s.entry, rows)
                self._db.lock(c)  # after the rows: on PostgreSQL others can write meanwhile
                self._renew(c, commit)
                revision = append_event(c, commit.by, EventKind.IMPORT_STAGED, subject=commit.subject)
                self._writing.add_changes(c, revision, [(STAGED, IdSet(first, last), commit.key)])
            commit.gather(entries)
            commit.ranges.append((first, last))
            if commit.size >= _RUN:
                self._write_run(commit)

    def add_findings(self, import_id: str, findings: Iterable[Finding]) -> None:
        """Append lines to the report of an import being committed; nobody sees them before `finish_commit`."""
        self._add_findings(self._commit(import_id), findings)

    def _add_findings(self, commit: Commit, findings: Iterable[Finding]) -> None:
        t = s.imports
        with commit.lock:
            source = iter(findings)
            while piece := list(itertools.islice(source, PIECE)):
                with self._db.write() as c:
                    self._renew(c, commit)
                    start: int = c.execute(
                        sa.update(t)
                        .where(t.c.key == commit.key)
                        .values(finding_count=t.c.finding_count + len(piece))
                        .returning(t.c.finding_count)
                    ).scalar_one() - len(piece)
                    self._db.insert(
                        c,
                        s.finding,
                        [
                            (commit.key, i, f.position, s.DISPOSITIONS[f.disposition], f.reason, f.detail, f.entry_id)
                            for i, f in enumerate(piece, start)
                        ],
                    )

    def finish_commit(
        self,
        import_id: str,
        *,
        counts: Counts,
        findings: Iterable[Finding] = (),
        supersede: Sequence[int] | NDArray[np.int64] = (),
        absent: Sequence[int] | NDArray[np.int64] = (),
        withdraw: Sequence[int] | NDArray[np.int64] = (),
        reviews: Sequence[tuple[int, str, ReviewKind, str]] = (),
        restated: NDArray[np.int64] = _NO_PAIRS,
        deletion_times: Mapping[int, str] = _NO_TIMES,
        lift: Sequence[int] | NDArray[np.int64] = (),
        doubting: Sequence[int] = (),
        daily_doubts: int = 100,
    ) -> Import:
        """Make everything that was staged visible at one new revision, and return the COMMITTED import.

        In the same transaction the given entries of earlier imports are withdrawn, with the reason SUPERSEDED,
        ABSENT_FROM_LIST or WITHDRAWN_BY_SOURCE, and `reviews` (entry id, author, kind, comment) are added. `restated`,
        int64[n, 2], has pairs of entries about the same item, the earlier one first: its reviews count for the later
        one too. `findings` go before it, as `add_findings` does.

        The items of `withdraw` are held against older lists; `deletion_times` has the source's own time of each
        deletion message, by entry. `lift`: entries whose SOURCE holds newer statements overtake. `doubting`: new
        entries that claim no harm; beyond `daily_doubts` of the contributor within a
        day they get the remark AWAITS_ACCEPTANCE.

        Raises Conflict when another process has taken over the commit.
        """
        commit = self._commit(import_id)
        self.add_findings(import_id, findings)
        superseded = ascending(np.asarray(supersede, np.int64))
        gone = _parts(commit.hash_set, np.asarray(withdraw), superseded, np.asarray(absent), deletion_times)
        t = s.imports
        with commit.lock:
            self._write_run(commit)
            pairs = restated[np.isin(restated[:, 0], superseded)]
            pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
            pairs = pairs[np.concatenate(([True], (pairs[1:] != pairs[:-1]).any(axis=1)))] if len(pairs) else pairs
            for start in range(0, len(pairs), PIECE):
                with self._db.write() as c:
                    self._renew(c, commit)
                    self._writing.add_successions(c, pairs[start : start + PIECE])
            with self._db.write() as c:
                self._db.lock(c)
                self._renew(c, commit)
                at = now()
                beyond = self._beyond(c, commit, sorted(set(doubting)), daily_doubts)
                told = {
                    **{f: n for f in Counts.__struct_fields__ if (n := getattr(counts, f))},
                    BY_SOURCE: sum(len(part.ids) for part in gone if part.origin),
                    _DOUBTS: len(set(doubting)),
                    "awaits_acceptance": len(beyond),
                }
                revision = append_event(
                    c,
                    commit.by,
                    EventKind.IMPORT_COMMITTED,
                    subject=commit.subject,
                    facts={**{name: n for name, n in told.items() if n}, "content": commit.content()},
                    undo=commit.salt,
                    at=at,
                )
                gone = [part._replace(revision=revision) for part in gone]
                self._writing.add_changes(c, revision, [(WITHDRAW, part.ids, commit.key) for part in gone])
                self._outstanding.withdraw(c, gone)
                if len(withdraw) or len(absent):
                    note_loss(c, [commit.hash_set], revision)
                lift_holds(c, self._db, np.asarray(lift).tolist(), EntryState.WITHDRAWN, only=Origin.SOURCE)
                if beyond:
                    sql = self._db.sql("UPDATE entry SET reasons = ? WHERE id BETWEEN ? AND ? AND state = ?")
                    remark = pack_reasons((AWAITS_ACCEPTANCE,))
                    c.exec_driver_sql(sql, [(remark, first, last, ACTIVE) for first, last in runs(beyond)])
                self._writing.add_changes(
                    c,
                    revision,
                    [(UPSERT, IdSet(first, last), commit.key) for first, last in merged(commit.ranges)],
                )
                self._writing.inherit(c, commit.hash_set, restated)
                self._writing.inherit_requests(c, commit.hash_set, restated, superseded)
                if reviews:
                    before: int = c.scalar(sa.select(sa.func.max(s.review.c.id))) or 0
                    made = Review(
                        id=0,
                        entry_id=0,
                        author="",
                        kind=ReviewKind.CONFIRMED,
                        actor=commit.by.name,
                        create_time=at,
                        revision=revision,
                    )
                    c.execute(
                        sa.insert(s.review),
                        [
                            review_row(
                                msgspec.structs.replace(made, entry_id=entry, author=author, kind=kind, comment=comment)
                            )
                            for entry, author, kind, comment in reviews
                        ],
                    )
                    self._writing.add_changes(c, revision, [(REVIEWED, IdSet.of(entry for entry, *_ in reviews), 0)])
                    new = sa.select(sa.literal(commit.hash_set), s.review.c.entry, s.review.c.id)
                    c.execute(sa.insert(s.reviewed).from_select(list(s.reviewed.c), new.where(s.review.c.id > before)))
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
        self._commits.pop(import_id, None)
        self.settle(commit.hash_set)
        self._sweep_batches()
        return self.get_import(import_id)

    def settle(self, set_key: int | None = None) -> None:
        """Write what earlier commits have withdrawn into the rows of those entries, of one hash set or of all.

        A commit does so after it has become visible; this is for what a process left behind that ended meanwhile. It
        never fails a commit that has succeeded.
        """
        with suppress(Unavailable, LimitExceeded):
            self._outstanding.settle(set_key)

    def settle_in_background(self) -> None:
        """As `settle`, of all hash sets, unless this process is doing so already."""
        self._outstanding.settle(wait=False)

    def _beyond(self, c: Connection, commit: Commit, doubting: Sequence[int], daily: int) -> list[int]:
        """Return those of the new entries that are beyond what a contributor may doubt in a day without the
        operator.
        """
        if not doubting:
            return []
        t = s.event
        contributor = commit.subject.split("/")[1]
        recent = c.execute(
            sa.select(t.c.body).where(
                is_in(f"imports/{contributor}"),
                t.c.kind == EventKind.IMPORT_COMMITTED,
                t.c.time > s.to_millis(now() - _DAY),
            )
        ).scalars()
        before = sum(n for body in recent if isinstance(n := facts_of(body).get(_DOUBTS), int))
        return list(doubting[max(daily - before, 0) :])

    def expire_imports(self, before: datetime) -> list[ExpiredImport]:
        """Cancel the imports that nobody has opened, added to or tried to commit since `before`, and say what they
        held.

        Each is an event, and its own report tells it, too.
        """
        t = s.imports
        millis = s.to_millis(before)
        idle = sa.select(t.c.id).where(t.c.state.in_((_OPEN, _COMMITTING)), *_untouched_since(millis)).order_by(t.c.key)
        expired = (self._expire(import_id, millis) for import_id in self._db.read(lambda c: c.scalars(idle).all()))
        return [import_ for import_ in expired if import_ is not None]

    def _expire(self, import_id: str, millis: int) -> ExpiredImport | None:
        t = s.imports
        with self._db.write() as c:
            row = c.execute(
                sa.select(t.c.staged_items, t.c.staged_bytes, t.c.batch_count)
                .where(t.c.id == import_id, *_untouched_since(millis))
                .with_for_update()
            ).first()
            if row is None:  # somebody has gone on meanwhile
                return None
            # From here on nothing can be added: what is told is what it held.
            c.execute(sa.update(t).where(t.c.id == import_id).values(state=_COMMITTING))
        items, size, batches = row
        detail = (
            f"nobody added to the import or committed it for too long; the {items} records of its {batches} batches "
            "were dropped: send the source again"
        )
        finding = Finding("import", Disposition.NOTED, Code.IMPORT_EXPIRED, detail)
        cancelled = self.cancel_import(
            import_id, findings=[finding], expired={"items": items, "batches": batches, "bytes": size}
        )
        return ExpiredImport(cancelled, items, batches)

    def cancel_import(
        self,
        import_id: str,
        *,
        counts: Counts | None = None,
        findings: Iterable[Finding] = (),
        expired: Mapping[str, int] | None = None,
    ) -> Import:
        """Purge what an import has staged, and return it CANCELLED. Cancelling twice is a success.

        `counts` and `findings` stay as its report: what a commit would have done. `expired`: what it held, for an event
        that says so.

        Raises FailedPrecondition (IMPORT_CLOSED) when it is COMMITTED, Conflict while another process is committing it.
        """
        t = s.imports
        lease = secrets.token_hex(8)
        with self._db.write() as c:
            self._db.lock(c)
            found = _one_import(c, import_id)
            if found.state is ImportState.CANCELLED:
                return found
            if found.state is ImportState.COMMITTED:
                raise _closed(import_id, COMMITTED)
            key, set_key, holder, until = c.execute(
                sa.select(t.c.key, t.c.hash_set, t.c.lease, t.c.lease_until).where(t.c.id == import_id)
            ).one()
            ours = self._commits.get(import_id)
            if until > s.to_millis(now()) and (ours is None or ours.lease != holder):
                raise Conflict(
                    f"import {import_id} is being committed by another process; retry later", retry_after=1.0
                )
            c.execute(
                sa.update(t)
                .where(t.c.key == key)
                .values(state=_COMMITTING, lease=lease, lease_until=s.to_millis(now() + _LEASE))
            )
        self._commits.pop(import_id, None)
        commit = Commit(import_id, key, set_key, lease, _subject(found), SYSTEM)
        with self._releasing(commit):
            self._purge(commit)
            self._add_findings(commit, findings)
            with self._db.write() as c:
                self._renew(c, commit)
                c.execute(
                    sa.update(t)
                    .where(t.c.key == key)
                    .values(state=_CANCELLED, counts=to_json(counts or Counts()), lease="", lease_until=0)
                )
                if expired is not None:
                    self._db.lock(c)
                    append_event(c, SYSTEM, EventKind.IMPORT_EXPIRED, subject=commit.subject, facts=dict(expired))
        self._sweep_batches()
        return self.get_import(import_id)

    def findings(
        self,
        import_id: str,
        page_size: int,
        after_ordinal: int = -1,
        dispositions: Iterable[Disposition] | None = None,
    ) -> list[tuple[int, Finding]]:
        """Return up to `page_size` lines of an import's report with their ordinals, after `after_ordinal`.

        `dispositions` keeps only those. A COMMITTED import has a report, and a CANCELLED one that was only tried;
        others have none yet. Raises NotFound for an unknown import.
        """
        f, t = s.finding, s.imports
        query = (
            sa.select(f.c.ordinal, f.c.position, f.c.disposition, f.c.reason, f.c.detail, f.c.entry)
            .join(t, t.c.key == f.c["import"])
            .where(t.c.id == import_id, t.c.state.in_((COMMITTED, _CANCELLED)), f.c.ordinal > after_ordinal)
            .order_by(f.c.ordinal)
            .limit(page_size)
        )
        if dispositions is not None:
            query = query.where(f.c.disposition.in_([s.DISPOSITIONS[d] for d in dispositions]))
        rows = self._db.read(lambda c: c.execute(query).all())
        if not rows:
            self.get_import(import_id)
        return [
            (ordinal, Finding(position, _DISPOSITIONS[disposition], reason, detail, entry))
            for ordinal, position, disposition, reason, detail, entry in rows
        ]

    def _check_open(self, c: Connection, contributor: str, most: int | None) -> None:
        """Raise LimitExceeded when the contributor has as many open imports as it may."""
        if most is None:
            return
        t = s.imports
        count: int = c.scalar(sa.select(sa.func.count(t.c.key)).where(*_open_of(contributor))) or 0
        if count >= most:
            raise LimitExceeded(
                f"{contributor} has {count} imports that are not committed, and may have {most}; commit or cancel some "
                f"(see `hashhub imports`), or wait until they expire",
                reason=Reason.SHARE_EXCEEDED,
                metadata={"share": "open_imports", "most": str(most)},
            )

    def _check_staged(self, c: Connection, key: int, size: int, most: int | None) -> None:
        """Raise LimitExceeded when so many bytes more are beyond what the import's contributor may have staged."""
        if most is None:
            return
        t, h = s.imports, s.hash_set
        contributor: str = c.execute(
            sa.select(h.c.contributor).join(t, t.c.hash_set == h.c.key).where(t.c.key == key)
        ).scalar_one()
        staged: int = c.scalar(sa.select(sa.func.sum(t.c.staged_bytes)).where(*_open_of(contributor))) or 0
        if staged + size > most:
            raise LimitExceeded(
                f"{contributor} has sent {staged} bytes of records that are not committed, and may have sent {most}; "
                "commit or cancel what is open first, or send the source in parts",
                reason=Reason.SHARE_EXCEEDED,
                metadata={"share": "staged_bytes", "most": str(most)},
            )

    def _commit(self, import_id: str) -> Commit:
        commit = self._commits.get(import_id)
        if commit is None:
            raise Conflict(f"import {import_id} is not being committed by this process; begin its commit again")
        return commit

    def _renew(self, c: Connection, commit: Commit) -> None:
        """Extend the lease in this transaction; raise Conflict when it was lost. Locks the import's row."""
        t = s.imports
        renewed = c.execute(
            sa.update(t)
            .where(t.c.key == commit.key, t.c.lease == commit.lease, t.c.state == _COMMITTING)
            .values(lease_until=s.to_millis(now() + _LEASE))
        )
        commit.renewed = time.monotonic()
        if not renewed.rowcount:
            self._commits.pop(commit.import_id, None)
            raise Conflict(
                f"the commit of import {commit.import_id} was taken over or cancelled; read its state before going on"
            )

    def _release(self, commit: Commit) -> None:
        t = s.imports
        self._given_up.append(commit.lease)
        with self._db.write() as c:
            c.execute(
                sa.update(t)
                .where(t.c.key == commit.key, t.c.lease == commit.lease)
                .values(lease="", lease_until=0, touch_time=s.to_millis(now()))
            )
        self._given_up.remove(commit.lease)

    @contextmanager
    def _releasing(self, commit: Commit) -> Iterator[None]:
        """Give up the lease when the body raises; if even that fails, the lease runs out."""
        try:
            yield
        except BaseException:
            with suppress(HashHubError):
                self._release(commit)
            raise

    def _write_run(self, commit: Commit) -> None:
        """Write the gathered hashes in order. The caller holds `commit.lock`."""
        try:
            with self._releasing(commit):
                for rows in commit.take_run():
                    with self._db.write() as c:
                        self._renew(c, commit)
                        self._db.insert(c, s.hash_, rows)
        except BaseException:
            # Part of the run is gone from memory: only a new begin_commit, which purges, can go on.
            self._commits.pop(commit.import_id, None)
            raise

    def _purge(self, commit: Commit) -> None:
        """Remove what the import staged, in pieces, so that other writers do not wait."""
        a = s.allocation
        ranges = self._db.read(
            lambda c: c.execute(sa.select(a.c.first_entry, a.c.last_entry).where(a.c["import"] == commit.key)).all()
        )
        page = self._db.sql(
            'SELECT id, hashes FROM entry WHERE id BETWEEN ? AND ? AND "import" = ? ORDER BY id LIMIT ?'
        )
        delete_hash = self._db.sql("DELETE FROM hash WHERE algorithm = ? AND digest = ? AND entry = ?")
        for first, last in ranges:
            while rows := self._db.fetch(page, (first, last, commit.key, PAGE)):
                keys = sorted(
                    (s.ALGORITHM_CODES[h.algorithm], h.digest, row[0]) for row in rows for h in unpack_hashes(row[1])
                )
                with self._db.write() as c:
                    self._renew(c, commit)
                    if keys:
                        c.exec_driver_sql(delete_hash, keys)
                    c.execute(sa.delete(s.entry).where(s.entry.c.id.between(rows[0][0], rows[-1][0])))
            with self._db.write() as c:
                self._renew(c, commit)
                c.execute(sa.delete(s.succession).where(s.succession.c.later.between(first, last)))
        f = s.finding
        with self._db.write() as c:
            self._renew(c, commit)
            c.execute(sa.delete(f).where(f.c["import"] == commit.key))
            is_staged = s.change.c.kind == sa.literal_column(str(STAGED))  # spelt out, so that the partial index serves
            c.execute(sa.delete(s.change).where(s.change.c["import"] == commit.key, is_staged))
            c.execute(sa.delete(a).where(a.c["import"] == commit.key))
            c.execute(sa.update(s.imports).where(s.imports.c.key == commit.key).values(finding_count=0))

    def _sweep_batches(self) -> None:
        """Delete the batches of imports that are done with, one at a time; also those that a crash left behind.

        It never fails a commit that has succeeded: what it leaves, the next one sweeps.
        """
        b, t = s.staged_batch, s.imports
        over = (
            sa.select(b.c["import"], b.c.index)
            .join(t, t.c.key == b.c["import"])
            .where(t.c.state.in_([COMMITTED, _CANCELLED]))
        )
        with suppress(Unavailable, LimitExceeded):
            for key, index in self._db.read(lambda c: c.execute(over).all()):
                with self._db.write() as c:
                    c.execute(sa.delete(b).where(b.c["import"] == key, b.c.index == index))

    def _store_classifications(self, contents: Iterable[bytes]) -> None:
        t = s.classification
        with self._db.write() as c:
            self._db.lock(c)
            for content in sorted(contents):
                digest = hashlib.sha256(content).digest()
                key = c.scalar(sa.select(t.c.id).where(t.c.content_digest == digest))
                if key is None:
                    key = c.execute(
                        sa.insert(t).values(content_digest=digest, content=content).returning(t.c.id)
                    ).scalar_one()
                self._classification_ids[content] = key


class ExpiredImport(NamedTuple):
    """An import that was cancelled because nobody went on with it, and how many records it held, in how many
    batches.
    """

    source: Import
    items: int
    batches: int


def _open_of(contributor: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition for a contributor's imports that are not committed or cancelled."""
    t, h = s.imports, s.hash_set
    sets = sa.select(h.c.key).where(h.c.contributor == contributor)
    return (t.c.hash_set.in_(sets), t.c.state.in_((_OPEN, _COMMITTING)))


def _untouched_since(millis: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition for an import that nobody opened, added to or tried to commit since then."""
    t = s.imports
    return (t.c.create_time < millis, t.c.touch_time < millis, t.c.lease_until < millis)


def _parts(
    hash_set: int,
    withdraw: NDArray[np.int64],
    supersede: NDArray[np.int64],
    absent: NDArray[np.int64],
    deletion_times: Mapping[int, str],
) -> list[Part]:
    """Return what a commit withdraws, each entry once, in parts of bounded size; their revision is still to come."""
    parts: list[Part] = []
    taken = np.empty(0, np.int64)
    for chosen, code, origin in (
        (withdraw, "WITHDRAWN_BY_SOURCE", Origin.SOURCE),
        (supersede, "SUPERSEDED", ""),
        (absent, "ABSENT_FROM_LIST", ""),
    ):
        ids = ascending(chosen.astype(np.int64, copy=False))
        ids = ids[~np.isin(ids, taken, assume_unique=True)]
        taken = np.concatenate([taken, ids])
        for start in range(0, len(ids), CHANGE_IDS):
            piece = ids[start : start + CHANGE_IDS]
            times = [deletion_times.get(i, "") for i in piece.tolist()] if origin and deletion_times else ()
            parts.append(Part(0, len(parts), hash_set, code, IdSet.of(piece), origin, times))
    return parts


def _import_rows(c: Connection, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Import]:
    """Return imports, the newest first."""
    t, h = s.imports, s.hash_set
    query = (
        sa.select(
            t.c.id,
            h.c.contributor,
            h.c.id,
            t.c.connector,
            t.c.connector_version,
            t.c.source_digest,
            t.c.replace,
            t.c.state,
            t.c.batch_count,
            t.c.counts,
            t.c.revision,
            t.c.create_time,
            t.c.commit_time,
            t.c.has_classifications,
            t.c.actor,
        )
        .join(h, h.c.key == t.c.hash_set)
        .where(*where)
        .order_by(t.c.key.desc())
        .limit(limit)
    )
    return [
        Import(
            id=row[0],
            contributor=row[1],
            hash_set=row[2],
            connector=row[3],
            connector_version=row[4],
            source_digest=row[5],
            replace=row[6],
            state=_IMPORT_STATES[row[7]],
            batch_count=row[8],
            counts=msgspec.json.decode(row[9], type=Counts),
            revision=row[10],
            create_time=s.from_millis(row[11]),
            commit_time=None if row[12] is None else s.from_millis(row[12]),
            has_classifications=row[13],
            actor=row[14],
        )
        for row in c.execute(query)
    ]


def _is_last_word(c: Connection, set_key: int, done: Import) -> bool:
    """Whether the hash set still holds what a COMMITTED import left in it, or newer statements about the same items."""
    t, h = s.imports, s.hash_set
    last = sa.select(sa.func.max(t.c.revision)).where(t.c.hash_set == set_key, t.c.state == COMMITTED)
    withdrawn: int = c.execute(sa.select(h.c.withdraw_revision).where(h.c.key == set_key)).scalar_one()
    if withdrawn > done.revision or (done.replace and done.revision != c.scalar(last)):
        return False
    if not done.counts.withdrawn:
        return True
    x = s.change
    active = sa.select(x.c.revision).where(
        x.c.revision > done.revision, x.c.hash_set == set_key, x.c.kind == s.CHANGE_KINDS[ChangeKind.UPSERT]
    )
    return c.execute(active.limit(1)).first() is None


def _one_import(c: Connection, import_id: str) -> Import:
    rows = _import_rows(c, s.imports.c.id == import_id)
    if not rows:
        raise _no_import(import_id)
    return rows[0]


def _subject(import_: Import) -> str:
    return f"imports/{import_.contributor}/{import_.hash_set}/{import_.id}"


def _no_import(import_id: str) -> NotFound:
    return NotFound(f"there is no import {import_id[:63]!r}", kind="Import", name=import_id)


def _closed(import_id: str, state: int) -> FailedPrecondition:
    return FailedPrecondition(
        f"import {import_id} is {_IMPORT_STATES[state]}; start a new import",
        reason=Reason.IMPORT_CLOSED,
        metadata={"state": str(_IMPORT_STATES[state])},
    )
