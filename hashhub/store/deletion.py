"""Deletes hash sets with everything that hangs on them, purges rows of entries, and erases what one entry states.

    delete    one transaction and event: nobody sees the hash set or its entries any more, no import goes on
    step      its rows, some thousand in a transaction that holds up nobody, until none is left
    the last  step writes the event HASH_SET_ERASED, which counts them; the matcher's snapshots are then written anew

A step can be cut off and begun again, and two processes may take steps at once. What is left is the name, which is
never given again, the key, and events' names and codes; of details of events those about its terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict, FailedPrecondition, Reason
from hashhub.hashes import Hash
from hashhub.hygiene import Code
from hashhub.model import (
    MAX_FRAMES,
    Actor,
    Deletion,
    Entry,
    EntryState,
    EventKind,
    HashSet,
    ImportState,
    Retention,
    Role,
    now,
    number_of,
)
from hashhub.store import schema as s
from hashhub.store.database import Database, Row, forget_results
from hashhub.store.entries import EntryTable, no_entry
from hashhub.store.entry_codec import IdSet, ascending, pack_reasons, runs, unpack_hashes, unpack_reasons
from hashhub.store.entry_writes import (
    CHANGE_IDS,
    DeferredWithdrawals,
    EntryWrites,
    WithdrawalPart,
    clear_places,
    delete_frames,
    frame_counts,
    note_loss,
    sets_of,
)
from hashhub.store.events import append_event, decoded, is_in, last_before, last_day, touch, touch_resource, touched
from hashhub.store.holds import Origin, hold_without_entries, lift_holds, put_holds, traces_of
from hashhub.store.leases import Leases
from hashhub.store.resources import to_json
from hashhub.store.schema import CANCELLED, STAGED_AROUND, WITHDRAW, WITHDRAWN

CODE: Final = "HASH_SET_DELETED"
FINDINGS: Final = 20_000  # lines deleted in one transaction
DETAILS: Final = 5_000  # of events
_OPEN: Final = (s.IMPORT_STATES[ImportState.OPEN], s.IMPORT_STATES[ImportState.COMMITTING])
_TAKEN_BACK: Final = "taken_back"  # a fact of the event: how many entries that were withdrawn within a day
_DAY: Final = timedelta(days=1)
_OF_ITEMS: Final = (
    EventKind.ENTRIES_WITHDRAWN,
    EventKind.WITHDRAWAL_ASKED,
    EventKind.ENTRIES_RESTORED,
    EventKind.ENTRIES_QUARANTINED,
    EventKind.ENTRIES_RELEASED,
    EventKind.ENTRIES_EXPIRED,
    EventKind.ENTRIES_EXPORTED,
)
PURGED_AT_ONCE: Final = 2_000  # entries deleted in one transaction: some 100 ms
MOST_FRAMES: Final = 5 * MAX_FRAMES  # deleted in one transaction: some 200 ms
_STRENGTH: Final = {Origin.SOURCE: 0, Origin.CONTRIBUTOR: 1, Origin.OPERATOR: 2, Origin.PERSON_SHOWN: 3}


class DeletionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows of a hash set that is being deleted are gone; by whom it was deleted."""

    actor: Actor
    entries: int = 0
    hashes: int = 0
    imports: int = 0
    findings: int = 0
    reviews: int = 0
    holds: int = 0
    touched: dict[str, list[int]] = {}  # what the last event is to tell of: reviews, and holds without an entry

    def plus(self, gone: PurgeResult) -> DeletionProgress:
        """Count some entries in."""
        return msgspec.structs.replace(
            self,
            entries=self.entries + gone.entries,
            hashes=self.hashes + gone.hashes,
            reviews=self.reviews + gone.reviews,
            holds=self.holds + gone.holds,
        )


@dataclass(eq=False)
class DeletionTable:
    """The part of the Store that deletes hash sets, and erases entries."""

    _db: Database
    _outstanding: DeferredWithdrawals
    _writes: EntryWrites
    _entries: EntryTable
    _secret: bytes
    _leases: Leases

    def count(self, contributor: str, hash_set: str) -> Deletion:
        """Return what a deletion would delete. Raises NotFound."""

        def read(c: Connection) -> Deletion:
            return _counted(c, self._db, self._db.key_of_set(contributor, hash_set, c), f"{contributor}/{hash_set}")

        return self._db.read(read)

    def delete(self, contributor: str, hash_set: str, *, most_alone: int | None, comment: str, by: Actor) -> Deletion:
        """Delete a hash set, or ask for it: with more entries than `most_alone` that are live, or were within a day,
        those of the contributor's other sets deleted within a day included, a second person must call this, too. None:
        never. Raises NotFound; FailedPrecondition (RETENTION_HOLD); Conflict while an import into it is being
        committed.
        """
        t = s.hash_set
        name = f"{contributor}/{hash_set}"
        with self._db.write_in_order() as c:
            key = self._db.key_of_set(contributor, hash_set, c)
            row = c.execute(sa.select(t.c.content, t.c.retention).where(t.c.key == key)).one()
            retention = msgspec.json.decode(row.retention, type=Retention) if row.retention else Retention()
            refuse_held(retention, name)
            self._refuse_busy(c, key)
            counted = _counted(c, self._db, key, name)
            live = self._live(c, key)
            is_agreed = retention.asked_by not in {"", by.name}
            taken_back = self._taken_back(c, key)
            in_all = len(live) + taken_back + self._today(c, contributor)
            if most_alone is not None and not is_agreed and in_all > most_alone:
                return self._ask(c, key, retention, counted, len(live), comment, by)
            revision = append_event(
                c,
                by,
                EventKind.HASH_SET_DELETED,
                subject=f"hash-sets/{name}",
                facts={
                    "entries": len(live),
                    "entries_in_all": counted.entries,
                    "imports": counted.imports,
                    **({_TAKEN_BACK: taken_back} if taken_back else {}),
                    **({"asked_by": retention.asked_by} if is_agreed else {}),
                },
                details={"comment": comment},
            )
            touch_resource(c, f"hash-sets/{name}")
            pieces = [IdSet.of(live[at : at + CHANGE_IDS]) for at in range(0, len(live), CHANGE_IDS)]
            parts = [WithdrawalPart(revision, i, key, CODE, ids) for i, ids in enumerate(pieces)]
            self._writes.add_changes(c, revision, [(WITHDRAW, ids, 0) for ids in pieces])
            if parts:
                self._outstanding.withdraw(c, parts)
            note_loss(c, [key], revision)
            i = s.imports
            c.execute(
                sa.update(i)
                .where(i.c.hash_set == key, i.c.state.in_(_OPEN))
                .values(state=CANCELLED, lease="", lease_until=0)
            )
            # Of its terms nothing is asked any more, and who reads the row learns nothing from it.
            left = msgspec.json.decode(row.content, type=HashSet)
            left = HashSet(contributor=left.contributor, id=left.id, create_time=left.create_time)
            c.execute(
                sa.update(t)
                .where(t.c.key == key)
                .values(
                    delete_revision=revision,
                    retention=None,
                    content=to_json(left),
                    deletion=msgspec.json.encode(DeletionProgress(actor=by)),
                )
            )
            c.execute(sa.update(s.metadata).values(registry_revision=revision))
            return msgspec.structs.replace(counted, revision=revision)

    def unfinished(self) -> list[tuple[int, str]]:
        """Return the keys and names of the hash sets whose rows are not all deleted yet."""
        t = s.hash_set
        query = sa.select(t.c.key).where(t.c.deletion.is_not(None)).order_by(t.c.key)
        return [(row.key, self._db.hash_set_name(row.key)) for row in self._db.select(query)]

    def is_deleted(self, contributor: str, hash_set: str) -> bool:
        """Whether there was a hash set of this name."""
        sql = "SELECT 1 FROM hash_set WHERE contributor = ? AND id = ? AND delete_revision > 0"
        return bool(self._db.fetch(sql, (contributor, hash_set)))

    def step(self, key: int) -> bool:
        """Delete some rows of a deleted, settled hash set (`Commits.settle`); return whether any were left."""
        for work in (self._step_conflicts, self._step_entries, self._step_imports, self._step_details):
            if work(key):
                return True
        self._finish(key)
        self._db.scrub()
        return False

    def _live(self, c: Connection, key: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the hash set's visible entries that are not withdrawn, as far as their rows say so yet."""
        sql = (
            "SELECT e.id FROM entry e WHERE e.hash_set = ? AND e.state = ? "  # noqa: S608 - our own text
            f"AND NOT EXISTS ({STAGED_AROUND})"
        )
        ids = [
            np.fromiter((row[0] for row in self._db.execute(c, sql, (key, code))), np.int64)
            for code in (s.ACTIVE, s.QUARANTINED)
        ]
        return ascending(np.concatenate(ids))

    def _refuse_busy(self, c: Connection, key: int) -> None:
        busy = self._leases.commit_into(c, key)
        if busy is not None:
            raise Conflict(
                f"import {busy} into the hash set is being committed; wait until it is done, then retry",
                retry_after=5.0,
            )

    def _today(self, c: Connection, contributor: str) -> int:
        """Return how many entries the contributor's own tokens deleted within a day, with their hash sets."""
        told = map(decoded, last_day(c, f"hash-sets/{contributor}", EventKind.HASH_SET_DELETED))
        own = [event.facts for event in told if event.role == Role.CONTRIBUTOR]
        return sum(n for facts in own for name in ("entries", _TAKEN_BACK) if isinstance(n := facts.get(name), int))

    def _taken_back(self, c: Connection, key: int) -> int:
        """Return how many entries of a hash set were withdrawn within a day, with nothing in their place: who empties
        it by a list, which can be undone, must not be able to delete alone what could be brought back.
        """
        since = last_before(c, s.to_millis(now() - _DAY))
        sql = (
            "SELECT count(*) FROM entry WHERE hash_set = ? AND state = ? AND update_revision > ? AND reasons NOT LIKE ?"
        )
        replaced = f"{pack_reasons(('SUPERSEDED',))}%"
        count: int = self._db.execute(c, sql, (key, s.WITHDRAWN, since, replaced)).scalar_one()
        return count

    def _ask(
        self, c: Connection, key: int, retention: Retention, counted: Deletion, live: int, comment: str, by: Actor
    ) -> Deletion:
        if retention.asked_by == by.name:
            revision: int = c.execute(sa.select(s.metadata.c.revision)).scalar_one()
            return msgspec.structs.replace(counted, pending=True, revision=revision)
        revision = append_event(
            c,
            by,
            EventKind.HASH_SET_DELETION_ASKED,
            subject=f"hash-sets/{counted.hash_set}",
            facts={"entries": live},
            details={"comment": comment},
        )
        touch_resource(c, f"hash-sets/{counted.hash_set}")
        asked = msgspec.structs.replace(retention, asked_by=by.name, ask_time=now())
        c.execute(sa.update(s.hash_set).where(s.hash_set.c.key == key).values(retention=to_json(asked)))
        return msgspec.structs.replace(counted, pending=True, revision=revision)

    def _step_conflicts(self, key: int) -> bool:
        """Delete some conflicts with other hash sets' statements, and what was said of them."""
        t = s.conflict
        with self._db.write() as c:
            of_set = sa.or_(t.c.left_set == key, t.c.right_set == key)
            ids = c.execute(sa.select(t.c.id).where(of_set).limit(DETAILS)).scalars().all()
            for sql in (
                "DELETE FROM conflict_entry WHERE conflict = ?",
                "DELETE FROM conflict_resolution WHERE conflict = ?",
                "DELETE FROM conflict WHERE id = ?",
            ):
                if ids:
                    self._db.execute(c, sql, [(conflict,) for conflict in ids])
            return bool(ids)

    def _step_entries(self, key: int) -> bool:
        sql = "SELECT id, external_id, hashes FROM entry WHERE hash_set = ? ORDER BY state, id LIMIT ?"
        with self._db.write() as c:
            progress = _progress(c, key)
            rows = [tuple(row) for row in self._db.execute(c, sql, (key, PURGED_AT_ONCE))]
            if progress is None or not rows:
                return False
            rows = list(deletable(self._db, rows))
            gone = purge_entries(c, self._db, key, rows, secret=self._secret, all_holds=False)
            left = {
                "review": [*progress.touched.get("review", ()), *touched(c, "review")],
                "hold": [*progress.touched.get("hold", ()), *(n for n in touched(c, "hold") if n < 0)],
            }
            _note(c, key, msgspec.structs.replace(progress.plus(gone), touched=left))
            return True

    def _step_imports(self, key: int) -> bool:
        t = s.imports
        with self._db.write() as c:
            progress = _progress(c, key)
            row = c.execute(
                sa.select(t.c.key, t.c.finding_count).where(t.c.hash_set == key).order_by(t.c.key).limit(1)
            ).first()
            if progress is None or row is None:
                return False
            for table in (s.finding, s.finding_run):
                first = c.scalar(sa.select(sa.func.min(table.c.ordinal)).where(table.c["import"] == row.key))
                if first is not None:
                    own = (table.c["import"] == row.key, table.c.ordinal < first + FINDINGS)
                    c.execute(sa.delete(table).where(*own))
                    return True
            for b in (s.staged_batch, s.entry_leaves):
                batch = c.scalar(sa.select(sa.func.min(b.c.index)).where(b.c["import"] == row.key))
                if batch is not None:
                    c.execute(sa.delete(b).where(b.c["import"] == row.key, b.c.index == batch))
                    return True
            # Pages went with their entries, but for those of which a cancellation that was cut off had deleted some.
            p = s.statement_page
            c.execute(sa.delete(p).where(p.c.hash_set == key, p.c["import"] == row.key))
            c.execute(sa.delete(s.allocation).where(s.allocation.c["import"] == row.key))
            c.execute(sa.delete(t).where(t.c.key == row.key))
            counted = msgspec.structs.replace(
                progress, imports=progress.imports + 1, findings=progress.findings + row.finding_count
            )
            _note(c, key, counted)
            return True

    def _step_details(self, key: int) -> bool:
        t, h, d = s.event, s.hash_set, s.event_detail
        with self._db.write() as c:
            name = self._db.hash_set_name(key)
            deleted: int = c.execute(sa.select(h.c.delete_revision).where(h.c.key == key)).scalar_one()
            about = sa.or_(
                is_in(f"entries/{name}"),
                is_in(f"imports/{name}"),
                sa.and_(t.c.subject == f"hash-sets/{name}", t.c.kind.in_(_OF_ITEMS)),
            )
            revisions = (
                sa.select(t.c.revision)
                .join(d, d.c.revision == t.c.revision)
                .where(about, t.c.revision < deleted)
                .limit(DETAILS)
            )
            chosen = c.execute(revisions).scalars().all()
            if chosen:
                self._db.execute(c, "DELETE FROM event_detail WHERE revision = ?", [(revision,) for revision in chosen])
            return bool(chosen)

    def _finish(self, key: int) -> None:
        with self._db.write_in_order() as c:
            progress = _progress(c, key)
            if progress is None:  # another process was quicker
                return
            h = s.hash_set
            name = self._db.hash_set_name(key)
            self._forget_answers(c, name)
            counts = {f: getattr(progress, f) for f in progress.__struct_fields__ if f not in {"actor", "touched"}}
            for table, leads in progress.touched.items():
                touch(c, table, leads)
            append_event(
                c,
                progress.actor,
                EventKind.HASH_SET_ERASED,
                subject=f"hash-sets/{name}",
                facts={name: n for name, n in counts.items() if n},
            )
            c.execute(sa.update(h).where(h.c.key == key).values(deletion=None))

    def _forget_answers(self, c: Connection, hash_set: str) -> None:
        """Forget the remembered answers to calls that hold an entry of the hash set, or a review of one."""
        e = s.entry

        def chosen(results: Mapping[str, bytes]) -> Iterator[str]:
            answers = {request: msgspec.msgpack.decode(result) for request, result in results.items()}
            answers = {request: answer for request, answer in answers.items() if isinstance(answer, dict)}
            reviewed = {x["entry_id"] for x in answers.values() if "entry_id" in x}
            gone = reviewed - set(c.execute(sa.select(e.c.id).where(e.c.id.in_(reviewed))).scalars())
            for request, answer in answers.items():
                is_of_set = f"{answer.get('contributor')}/{answer.get('hash_set')}" == hash_set
                if is_of_set or answer.get("entry_id", 0) in gone:
                    yield request

        forget_results(c, chosen)

    def erase(self, entry_id: int, *, by: Actor, reason: str = "") -> Entry:
        """Clear for ever what an entry and words about it alone say; return what is left: WITHDRAWN, ERASED, and a hold
        with keyed traces against its contributor's lists. Erasing twice is a success. Raises NotFound.
        """
        with self._db.write_in_order() as c:
            row = next(iter(self._writes.visible_rows(c, [entry_id])), None)
            if row is None:
                raise no_entry(str(number_of(entry_id)))
            if unpack_reasons(row[2]) == (Code.ERASED,):
                return self._entries.of_id(entry_id, c)
            subject = self._writes.subject(entry_id)
            stored = c.execute(sa.select(s.entry.c.external_id, s.entry.c.hashes).where(s.entry.c.id == entry_id)).one()
            hashes = unpack_hashes(stored.hashes)
            comments = self._comments(c, entry_id)
            revision = append_event(c, by, EventKind.ENTRY_ERASED, subject=subject, reason=reason)
            # Also of one that was withdrawn before: whoever keeps a copy of what was said of it drops that.
            self._writes.add_changes(c, revision, [(WITHDRAW, IdSet(entry_id, entry_id), 0)])
            note_loss(c, sets_of([entry_id]), revision)
            self._clear_statement(c, entry_id, hashes, revision)
            self._clear_words(c, entry_id, subject)
            lift_holds(c, self._db, [entry_id], EntryState.QUARANTINED)
            put_holds(
                c,
                self._db,
                [entry_id],
                Origin.OPERATOR,
                EntryState.WITHDRAWN,
                revision,
                traces=b"".join(sorted(traces_of(self._secret, stored.external_id or "", hashes))),
            )
            texts = [text.encode() for text in (stored.external_id or "", *comments) if text]
            values = [*(h.digest for h in hashes), *texts]
            forget_results(c, lambda results: (i for i, x in results.items() if any(value in x for value in values)))
            entry = self._entries.of_id(entry_id, c)
        self._db.scrub()
        return entry

    def _comments(self, c: Connection, entry_id: int) -> list[str]:
        """Return what people said of an entry: in its reviews, and when it was withdrawn."""
        r, w = s.review, s.withdrawal
        return [
            *c.execute(sa.select(r.c.comment).where(r.c.entry == entry_id)).scalars(),
            *c.execute(sa.select(w.c.comment).where(w.c.entry == entry_id)).scalars(),
        ]

    def _clear_statement(self, c: Connection, entry_id: int, hashes: Sequence[Hash], revision: int) -> None:
        """Leave of an entry that it was withdrawn because it was erased. `hashes`: all that it has."""
        touch(c, "entry", [entry_id])
        c.execute(
            sa.update(s.entry)
            .where(s.entry.c.id == entry_id)
            .values(
                state=WITHDRAWN,
                position="",
                external_id=None,
                classification=None,
                flags=0,
                hashes=b"",
                details=None,
                reasons=pack_reasons((Code.ERASED,)),
                update_revision=revision,
                expire_time=None,
            )
        )
        delete_frames(c, self._db, [entry_id])
        clear_places(c, [entry_id])
        self._db.delete_hashes(c, [(s.ALGORITHM_CODES[h.algorithm], h.digest, entry_id) for h in hashes])

    def _clear_words(self, c: Connection, entry_id: int, subject: str) -> None:
        """Clear what findings, reviews, withdrawals and events about an entry alone say in words."""
        f, r, w = s.finding, s.review, s.withdrawal
        touch(c, w.name, [entry_id])
        import_key = c.execute(sa.select(s.entry.c["import"]).where(s.entry.c.id == entry_id)).scalar_one()
        c.execute(sa.update(f).where(f.c["import"] == import_key, f.c.entry == entry_id).values(detail="", position=""))
        c.execute(sa.update(r).where(r.c.entry == entry_id).values(comment=""))
        c.execute(sa.update(w).where(w.c.entry == entry_id).values(comment="", pending=False))
        about = sa.select(s.event.c.revision).where(s.event.c.subject == subject)
        c.execute(sa.delete(s.event_detail).where(s.event_detail.c.revision.in_(about)))


def refuse_held(retention: Retention, name: str) -> None:
    """Raise FailedPrecondition when a hash set is held."""
    if retention.hold:
        raise FailedPrecondition(
            f"hash set {name} is held, and nothing of it may be deleted; an operator lifts the hold with "
            f"`hashhub hash-set retention {name} --no-hold`",
            reason=Reason.RETENTION_HOLD,
            metadata={"hashSet": name},
        )


def _counted(c: Connection, db: Database, key: int, name: str) -> Deletion:
    def one(sql: str) -> int:
        count: int = db.execute(c, sql, (key,)).scalar_one() or 0
        return count

    return Deletion(
        hash_set=name,
        entries=one("SELECT count(*) FROM entry WHERE hash_set = ?"),
        imports=one('SELECT count(*) FROM "import" WHERE hash_set = ?'),
        findings=one('SELECT sum(finding_count) FROM "import" WHERE hash_set = ?'),
        reviews=one("SELECT count(DISTINCT review) FROM reviewed WHERE hash_set = ?"),
        holds=one(
            "SELECT count(DISTINCT h.entry) FROM hold h JOIN entry e ON e.id = h.entry "
            "WHERE e.hash_set = ? AND h.hash_set = 0"
        ),
    )


def _progress(c: Connection, key: int) -> DeletionProgress | None:
    """Return the progress of a deletion, locked; None when it is done."""
    t = s.hash_set
    row = c.scalar(sa.select(t.c.deletion).where(t.c.key == key).with_for_update())
    return None if row is None else msgspec.json.decode(row, type=DeletionProgress)


def _note(c: Connection, key: int, progress: DeletionProgress) -> None:
    c.execute(sa.update(s.hash_set).where(s.hash_set.c.key == key).values(deletion=msgspec.json.encode(progress)))


def deletable(db: Database, rows: Sequence[Row]) -> Sequence[Row]:
    """Return the first rows, one at least, whose entries' frames can be deleted in one transaction."""
    counts = frame_counts(db, [row[0] for row in rows])
    total = 0
    for number, row in enumerate(rows if counts else ()):
        total += counts[row[0]].frames if row[0] in counts else 0
        if total > MOST_FRAMES and number:
            return rows[:number]
    return rows


class PurgeResult(NamedTuple):
    """How many rows went with some entries, and how many of their items are still held."""

    entries: int
    hashes: int
    reviews: int
    holds: int


def purge_entries(
    c: Connection, db: Database, set_key: int, rows: Sequence[Row], *, secret: bytes, all_holds: bool
) -> PurgeResult:
    """Delete a hash set's entries: rows of (id, external id, packed hashes), by id; `all_holds`: the set stays."""
    ids = sorted(row[0] for row in rows)
    ranges = runs(ids)
    if not ranges:
        return PurgeResult(0, 0, 0, 0)
    for table in ("entry", "hold", "reviewed", "withdrawal"):
        touch(c, table, ids)
    hashes = {row[0]: unpack_hashes(row[2]) for row in rows}
    held = _keep_holds(c, db, set_key, {row[0]: (row[1] or "", hashes[row[0]]) for row in rows}, ids, secret, all_holds)
    gone = [(s.ALGORITHM_CODES[h.algorithm], h.digest, entry) for entry, own in hashes.items() for h in own]
    db.delete_hashes(c, gone)
    frame_digests = delete_frames(c, db, ids)
    reviews = sorted(
        {
            row[0]
            for ends in ranges
            for row in db.execute(
                c, "SELECT review FROM reviewed WHERE hash_set = ? AND entry BETWEEN ? AND ?", (set_key, *ends)
            )
        }
    )
    if reviews:
        touch(c, "review", reviews)
        db.execute(
            c,
            "DELETE FROM reviewed WHERE hash_set = ? AND entry BETWEEN ? AND ?",
            [(set_key, *ends) for ends in ranges],
        )
        db.execute(c, "DELETE FROM review WHERE id BETWEEN ? AND ?", runs(reviews))
    for sql in (
        "DELETE FROM withdrawal WHERE entry BETWEEN ? AND ?",
        "DELETE FROM succession WHERE earlier BETWEEN ? AND ?",
        "DELETE FROM succession WHERE later BETWEEN ? AND ?",
        "DELETE FROM entry WHERE id BETWEEN ? AND ?",
    ):
        db.execute(c, sql, ranges)
    clear_places(c, ids)
    return PurgeResult(len(ids), len(gone) + frame_digests, len(reviews), held)


def _keep_holds(
    c: Connection,
    db: Database,
    set_key: int,
    items: dict[int, tuple[str, tuple[object, ...]]],
    ids: Sequence[int],
    secret: bytes,
    all_holds: bool,  # noqa: FBT001 - as `purge_entries` has it
) -> int:
    """Delete the holds on some entries, and hold anew, without an entry, the items that stay held; return how many."""
    sql = "SELECT entry, contributor, hash_set, origin, revision, source_time FROM hold WHERE entry {keys}"
    strongest: dict[int, Row] = {}
    for row in db.by_keys(f"{sql} AND traces IS NULL", "int8", (), ids, c):
        if row[2] and not all_holds:
            continue
        known = strongest.get(row[0])
        if known is None or _STRENGTH[Origin(row[3])] > _STRENGTH[Origin(known[3])]:
            strongest[row[0]] = row
    db.execute(c, "DELETE FROM hold WHERE entry BETWEEN ? AND ? AND traces IS NULL", runs(ids))
    if not strongest:
        return 0
    held = []
    for entry, row in sorted(strongest.items()):
        external_id, hashes = items[entry]
        traces = traces_of(secret, external_id, hashes)  # type: ignore[arg-type]  # of the model
        held.append(
            {
                "contributor": row[1],
                "hash_set": row[2] and set_key,
                "origin": row[3],
                "revision": row[4],
                "source_time": row[5],
                "traces": b"".join(sorted(traces)),
            }
        )
    hold_without_entries(c, held)
    return len(held)
