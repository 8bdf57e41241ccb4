"""What moves entries after their import: withdrawal by hand and its undoing, quarantine and release, expiry, erasure.

    ACTIVE ──quarantine──> QUARANTINED ──release──> ACTIVE
       └──────withdraw──────────┴──> WITHDRAWN ──restore──> what it was before (behind the entry's reasons, see packing)

A withdrawal by hand and an operator's quarantine write a hold, so that no list undoes them. Each call is one
transaction and one event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict, FailedPrecondition, Reason
from hashhub.hashes import Hash
from hashhub.model import (
    SYSTEM,
    Actor,
    Entry,
    EntryState,
    EventKind,
    Role,
    Withdrawal,
    WithdrawalReason,
    now,
    number_of,
)
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.entries import ENTRY_SQL, Entries
from hashhub.store.events import append_event
from hashhub.store.floors import refuse_restoring
from hashhub.store.holds import Origin, lift_holds, put_holds, traces_of
from hashhub.store.idset import IdSet, runs
from hashhub.store.imprints import touch
from hashhub.store.outstanding import Outstanding, put_withdrawals
from hashhub.store.packing import pack_reasons, reasons_before, replace_reasons, unpack_hashes, unpack_reasons
from hashhub.store.requests import Request
from hashhub.store.resources import Resources
from hashhub.store.schema import (
    ACTIVE,
    QUARANTINED,
    REVIEWED,
    ROLE_OF_CODE,
    STAGED_AROUND,
    STATE_OF_CODE,
    UPSERT,
    WITHDRAW,
    WITHDRAWN,
)
from hashhub.store.statements import clear
from hashhub.store.videos import delete_frames
from hashhub.store.writing import PAGE, PENDING, Writing, no_entry, note_loss

UNCLASSIFIED: Final = "UNCLASSIFIED"
ERASED: Final = "ERASED"
EXPIRED: Final = "EXPIRED"
_DAY: Final = timedelta(days=1)
_TOLD: Final = 100  # entries that an event names
WISHES_A_DAY: Final = 100
"""Entries that a contributor's tokens withdraw at the request of persons shown in a day before events and the hub's
status say so: no second person need agree to these, so that whoever misuses the reason must be seen.
"""
_PERSON_SHOWN: Final = s.WITHDRAWAL_REASONS[WithdrawalReason.REQUESTED_BY_PERSON_SHOWN]
# A later withdrawal of what is withdrawn already counts if it holds more firmly.
FIRMNESS: Final = {"": 0, Origin.SOURCE: 1, Origin.CONTRIBUTOR: 2, Origin.PERSON_SHOWN: 3, Origin.OPERATOR: 3}


class DailyLimit(NamedTuple):
    """How many entries of a hash set may be withdrawn by hand in a day without a second person: `entries`, and `share`
    of the set.
    """

    entries: int
    share: float


class _Row(NamedTuple):
    """What moving an entry depends on."""

    hash_set: int
    state: int
    reasons: str | None


class Standing:
    """The part of the Store that moves entries by hand or by time."""

    def __init__(
        self, database: Database, outstanding: Outstanding, writing: Writing, entries: Entries, resources: Resources
    ) -> None:
        self._db = database
        self._outstanding = outstanding
        self._writing = writing
        self._entries = entries
        self._resources = resources

    def withdraw_entry(
        self,
        entry_id: int,
        asked: Withdrawal,
        *,
        origin: Origin,
        code: str,
        limit: DailyLimit | None,
        by: Actor,
        also: Sequence[int] = (),
        request_id: str = "",
    ) -> Entry:
        """Withdraw a visible entry by hand, with a hold of this origin, or note that it was asked for; return it as it
        is then.

        Beyond `limit` (None: there is none) it stays as it is, with the remark WITHDRAWAL_PENDING, until somebody else
        than who asked withdraws it too: an operator, or another token of the contributor. What is withdrawn already
        stays as it is, unless the new hold is firmer than the one before. `code` becomes the entry's reason. `also`:
        entries about the same item, withdrawn with it for the same reason in the same event, which names them.

        Raises NotFound; FailedPrecondition (ENTRY_WITHDRAWN) when a newer statement has taken the entry's place.
        """
        request = Request(request_id, "withdraw_entry", (entry_id, asked.reason, asked.comment), by.name)
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, Entry)) is not None:
                return first
            row = self._row(c, entry_id)
            pending = self._pending(c, entry_id)
            if row.state == WITHDRAWN:
                self._refuse_if_replaced(c, entry_id, "withdraw that one")
                if FIRMNESS[origin] > FIRMNESS[self._held(c, entry_id, EntryState.WITHDRAWN)] or also:
                    self._effect(c, entry_id, row, asked, origin, code, by, also=also)
            elif pending is not None and pending.actor != by.name:
                # What is carried out is what was asked for; that somebody agreed is in the event.
                agreed = msgspec.structs.replace(pending, pending=False)
                stricter = asked.reason is WithdrawalReason.REQUESTED_BY_PERSON_SHOWN
                self._effect(
                    c,
                    entry_id,
                    row,
                    asked if stricter else agreed,
                    origin if stricter else Origin.CONTRIBUTOR,
                    code if stricter else "WITHDRAWN_BY_CONTRIBUTOR",
                    by,
                    agreed_to=pending.actor,
                    comment=asked.comment,
                    also=also,
                )
            elif limit is None or not self.is_beyond(c, row.hash_set, limit):
                self._effect(c, entry_id, row, asked, origin, code, by, also=also)
            elif pending is None:
                self._ask(c, entry_id, row, asked, by)
            return request.remember(c, self._read(c, entry_id))

    def restore_entries(
        self,
        ids: Iterable[int],
        *,
        by: Actor,
        subject: str = "",
        reason: str = "",
        comment: str = "",
        lift: Sequence[int] = (),
        request_id: str = "",
    ) -> list[int]:
        """Take withdrawals and requests for one back, all at one revision; return the ids of the entries that this
        changed.

        Each is what it was before, its hold is lifted, and an expiry that has passed is cleared. `lift`: further holds
        about the same items. Entries that stand, were erased or were replaced by one that stands stay as they are.
        """
        wanted = sorted(set(ids))
        request = Request(request_id, "restore_entries", (wanted, comment), by.name)
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, list[int])) is not None:
                return first
            self._outstanding.settle_these(c, wanted)
            replaced = self.replaced(c, wanted)
            rows = [
                (row[0], row[1], row[2])
                for row in self._db.by_keys(
                    "SELECT e.id, e.state, e.reasons FROM entry e "  # noqa: S608 - our own text
                    f"WHERE e.id {{keys}} AND NOT EXISTS ({STAGED_AROUND})",
                    "int8",
                    (),
                    [i for i in wanted if i not in replaced],
                    c,
                )
            ]
            asked = [row[0] for row in rows if row[1] != WITHDRAWN and PENDING in unpack_reasons(row[2])]
            gone = [row for row in rows if row[1] == WITHDRAWN and unpack_reasons(row[2]) != (ERASED,)]
            changed = sorted([*asked, *(row[0] for row in gone)])
            if not changed:
                return request.remember(c, [])
            revision = append_event(
                c,
                by,
                EventKind.ENTRIES_RESTORED,
                subject=self._writing.subject(c, changed[0]) if len(changed) == 1 else subject,
                reason=reason or ("REQUEST_TAKEN_BACK" if not gone else ""),
                # Outsiders are not told that a withdrawal was asked for, whatever the reason for which that is taken
                # back.
                facts={"entries": len(changed), **({"request": "TAKEN_BACK"} if not gone else {})},
                details={"comment": comment},
            )
            w = s.withdrawal
            for row in rows:
                if row[0] in set(asked):
                    self._writing.set_reasons(c, row[0], without_pending(row[2]))
                    c.execute(sa.delete(w).where(w.c.entry == row[0]))
                    touch(c, w.name, [row[0]])
            self.stand_again(c, gone, revision)
            lift_holds(c, self._db, [*changed, *lift], EntryState.WITHDRAWN)
            return request.remember(c, changed)

    def quarantine_entry(
        self,
        entry_id: int,
        *,
        by: Actor,
        code: str = "QUARANTINED_BY_OPERATOR",
        reason: str = "",
        request_id: str = "",
    ) -> Entry:
        """Keep a visible entry, and what its contributor states about the item next, from matching; return it. `code`
        becomes its reason.

        One that waits in quarantine for another reason is held there from now on. Raises NotFound; Conflict when it is
        WITHDRAWN.
        """
        request = Request(request_id, "quarantine_entry", (entry_id, reason), by.name)
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, Entry)) is not None:
                return first
            row = self._row(c, entry_id)
            if row.state == WITHDRAWN:
                raise _moved(entry_id, row, EntryState.ACTIVE)
            if row.state != QUARANTINED or not self._held(c, entry_id, EntryState.QUARANTINED):
                revision = append_event(
                    c,
                    by,
                    EventKind.ENTRIES_QUARANTINED,
                    subject=self._writing.subject(c, entry_id),
                    reason=reason,
                    facts={"was": str(STATE_OF_CODE[row.state])},
                )
                if row.state == ACTIVE:
                    # Nobody has said what an undecided item is by putting it into quarantine.
                    undecided = (UNCLASSIFIED,) if UNCLASSIFIED in unpack_reasons(row.reasons) else ()
                    self._writing.push_state(c, [(entry_id, entry_id)], QUARANTINED, (code, *undecided), revision)
                    self._writing.add_changes(c, revision, [(WITHDRAW, IdSet(entry_id, entry_id), 0)])
                put_holds(c, self._db, [entry_id], Origin.OPERATOR, EntryState.QUARANTINED, revision)
            return request.remember(c, self._read(c, entry_id))

    def release_entry(
        self,
        entry_id: int,
        *,
        supersede: Sequence[int] = (),
        lift: Sequence[int] = (),
        by: Actor,
        reason: str = "",
        request_id: str = "",
    ) -> Entry:
        """Let a quarantined entry match, and return it; what holds it there is lifted, and the holds `lift` about the
        same item.

        What was no claim of harm is none afterwards: the remark UNCLASSIFIED stays, and so do those that it had before
        the quarantine. At the same revision the entries `supersede` of its hash set, about the same item, are withdrawn
        with the reason SUPERSEDED, and their reviews count for this one too. Raises NotFound; Conflict when it is
        WITHDRAWN.
        """
        request = Request(request_id, "release_entry", (entry_id, reason), by.name)
        with self._db.write() as c:
            self._db.lock(c)
            if (first := request.replayed(c, Entry)) is not None:
                return first
            row = self._row(c, entry_id)
            if row.state == WITHDRAWN:
                raise _moved(entry_id, row, EntryState.QUARANTINED)
            if row.state == QUARANTINED:
                revision = append_event(
                    c,
                    by,
                    EventKind.ENTRIES_RELEASED,
                    subject=self._writing.subject(c, entry_id),
                    reason=reason,
                    facts={"was": unpack_reasons(row.reasons)},
                )
                touch(c, "entry", [entry_id])
                remaining = released_reasons(row.reasons, is_asked_for=self._pending(c, entry_id) is not None)
                c.execute(
                    sa.update(s.entry)
                    .where(s.entry.c.id == entry_id)
                    .values(state=ACTIVE, reasons=pack_reasons(remaining), update_revision=revision)
                )
                self._writing.add_changes(c, revision, [(UPSERT, IdSet(entry_id, entry_id), 0)])
                states = self._writing.visible_states(c, sorted(supersede))
                overtaken = [i for i in sorted(supersede) if states.get(i, WITHDRAWN) != WITHDRAWN]
                self._writing.withdraw(c, overtaken, "SUPERSEDED", revision, 0)
                pairs = np.array([(i, entry_id) for i in supersede], np.int64).reshape(-1, 2)
                self._writing.inherit(c, row.hash_set, pairs)
                self._writing.add_successions(c, np.unique(pairs[np.isin(pairs[:, 0], overtaken)], axis=0))
                lift_holds(c, self._db, [entry_id, *lift], EntryState.QUARANTINED)
            return request.remember(c, self._read(c, entry_id))

    def withdraw_entries(
        self,
        ids: Iterable[int],
        code: str,
        *,
        by: Actor = SYSTEM,
        kind: EventKind = EventKind.ENTRIES_WITHDRAWN,
        reason: str = "",
        subject: str = "",
        facts: Mapping[str, str | int | tuple[str, ...]] | None = None,
        origin: Origin | None = None,
        withdrawal: Withdrawal | None = None,
    ) -> int:
        """Withdraw visible entries, all at one revision, and return that; those WITHDRAWN already stay as they are.

        `code` becomes the entries' reason, and the event's without `reason`. With `origin` they are held, with
        `withdrawal` it is on record who withdrew them. Raises NotFound when there is no such entry; then none is
        withdrawn.
        """
        wanted = sorted(set(ids))
        with self._db.write() as c:
            self._db.lock(c)
            states = self._writing.visible_states(c, wanted)
            unknown = [i for i in wanted if i not in states]
            if unknown:
                raise no_entry(str(number_of(unknown[0])))
            live = [i for i in wanted if states[i] != WITHDRAWN]
            if not live:
                return c.scalar(sa.select(s.metadata.c.revision)) or 0
            revision = append_event(
                c,
                by,
                kind,
                subject=self._writing.subject(c, live[0]) if len(live) == 1 and not subject else subject,
                reason=reason or code,
                facts={
                    "entries": len(live),
                    **({"origin": str(origin)} if origin else {}),
                    **(facts or {}),
                },
            )
            self._writing.withdraw(c, live, code, revision, 0)
            note_loss(c, self._writing.sets_of(c, live), revision)
            if withdrawal is not None:
                self._put_withdrawals(c, live, withdrawal, revision)
            if origin is not None:
                put_holds(c, self._db, live, origin, EntryState.WITHDRAWN, revision)
            return revision

    def expire_entries(self, at: datetime) -> int:
        """Withdraw the visible entries whose time has passed, all at one revision; return how many."""
        # Spelt out as the partial index has it, so that it serves: it holds no withdrawn entries.
        sql = self._db.sql(
            "SELECT e.id FROM entry e "  # noqa: S608 - our own text
            "WHERE e.expire_time IS NOT NULL AND e.state != 3 AND e.expire_time <= ? "
            f"AND NOT EXISTS ({STAGED_AROUND}) ORDER BY e.expire_time, e.id LIMIT {PAGE}"
        )
        count = 0
        while rows := self._db.fetch(sql, (s.to_millis(at),)):
            self.withdraw_entries([row[0] for row in rows], EXPIRED, kind=EventKind.ENTRIES_EXPIRED)
            count += len(rows)
        return count

    def note_expired_terms(self, at: datetime) -> list[str]:
        """Append an event for each hash set whose terms have run out since the last call; return the sets' names."""
        expired = {
            x.name: s.to_millis(x.marking.expire_time)
            for x in self._resources.hash_sets().values()
            if x.marking.expire_time is not None and x.marking.expire_time <= at
        }
        told: list[str] = []
        for name, millis in expired.items():
            subject = f"hash-sets/{name}"
            with self._db.write() as c:
                self._db.lock(c)
                t = s.event
                last = c.scalar(
                    sa.select(sa.func.max(t.c.revision)).where(
                        t.c.subject == subject,
                        t.c.kind == EventKind.TERMS_EXPIRED,
                        # One for each time that the terms had: prolonged terms expire again.
                        t.c.time >= millis,
                    )
                )
                if last is None:
                    append_event(c, SYSTEM, EventKind.TERMS_EXPIRED, subject=subject, facts={"expire_time": millis})
                    told.append(name)
        return told

    def erase_entry(self, entry_id: int, *, secret: bytes, by: Actor, reason: str = "") -> Entry:
        """Clear everything that an entry says about its item, for ever; return what is left of it.

        It is WITHDRAWN with the reason ERASED, and a hold with keyed traces keeps its contributor's lists from bringing
        the item back. The comments of its reviews and of its withdrawal go, and the details of events about it alone.
        Erasing twice is a success. `secret`: `Store.secret`. Raises NotFound.
        """
        with self._db.write() as c:
            self._db.lock(c)
            row = self._row(c, entry_id)
            if unpack_reasons(row.reasons) == (ERASED,):
                return self._read(c, entry_id)
            subject = self._writing.subject(c, entry_id)
            stored = c.execute(sa.select(s.entry.c.external_id, s.entry.c.hashes).where(s.entry.c.id == entry_id)).one()
            hashes = unpack_hashes(stored.hashes)
            comments = self._comments(c, entry_id)
            revision = append_event(c, by, EventKind.ENTRY_ERASED, subject=subject, reason=reason)
            # Also of one that was withdrawn before: whoever keeps a copy of what was said of it drops that.
            self._writing.add_changes(c, revision, [(WITHDRAW, IdSet(entry_id, entry_id), 0)])
            note_loss(c, [row.hash_set], revision)
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
                traces=b"".join(sorted(traces_of(secret, stored.external_id or "", hashes))),
            )
            texts = [text.encode() for text in (stored.external_id or "", *comments) if text]
            self._forget_answers(c, [*(h.digest for h in hashes), *texts])
            entry = self._read(c, entry_id)
        self._db.scrub()
        return entry

    # The parts

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
                reasons=pack_reasons((ERASED,)),
                update_revision=revision,
                expire_time=None,
            )
        )
        delete_frames(c, self._db, [entry_id])
        clear(c, [entry_id])
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

    def _effect(
        self,
        c: Connection,
        entry_id: int,
        row: _Row,
        withdrawal: Withdrawal,
        origin: Origin,
        code: str,
        by: Actor,
        *,
        agreed_to: str = "",
        comment: str | None = None,
        also: Sequence[int] = (),
    ) -> None:
        """Withdraw one entry with a hold, and those `also` that stand; one that is withdrawn already gets the reason
        and the hold.
        """
        states = self._writing.visible_states(c, sorted(also))
        others = [i for i, state in sorted(states.items()) if state != WITHDRAWN]
        facts: dict[str, str | int | tuple[str, ...]] = {"origin": str(origin)}
        if agreed_to:
            facts["asked_by"] = f"tokens/{agreed_to}"
        if row.state == WITHDRAWN:
            facts["again"] = 1
        if others:
            facts["entries"] = 1 + len(others)
            facts["also"] = tuple(self._writing.subject(c, i) for i in others[:_TOLD])
        if origin is Origin.PERSON_SHOWN and by.role is Role.CONTRIBUTOR:
            today = self.wishes_counted(c).get(by.contributor, 0) + 1 + len(others)
            if today > WISHES_A_DAY:
                facts["requests_of_persons_shown_today"] = today
        revision = append_event(
            c,
            by,
            EventKind.ENTRIES_WITHDRAWN,
            subject=self._writing.subject(c, entry_id),
            reason=withdrawal.reason,
            facts=facts,
            details={"comment": withdrawal.comment if comment is None else comment},
        )
        if row.state == WITHDRAWN:
            self._writing.set_reasons(c, entry_id, replace_reasons(row.reasons, (code,)), revision)
        live = others if row.state == WITHDRAWN else sorted([entry_id, *others])
        for i in live:
            packed = self._row(c, i).reasons
            if PENDING in unpack_reasons(packed):
                self._writing.set_reasons(c, i, without_pending(packed))
        if live:
            self._writing.withdraw(c, live, code, revision, 0)
            note_loss(c, self._writing.sets_of(c, live), revision)
        self._put_withdrawals(c, [entry_id, *others], withdrawal, revision)
        put_holds(c, self._db, [entry_id, *others], origin, EntryState.WITHDRAWN, revision)

    def wishes_today(self) -> dict[str, int]:
        """Return how many entries each contributor's tokens have withdrawn within a day at the request of persons
        shown, if more than WISHES_A_DAY.
        """
        counts = self._db.read(self.wishes_counted)
        return {contributor: n for contributor, n in counts.items() if n > WISHES_A_DAY}

    def wishes_counted(self, c: Connection) -> dict[str, int]:
        """Return how many entries each contributor's tokens have withdrawn within a day at the request of persons
        shown.
        """
        w, x = s.withdrawal, s.hash_set
        rows = c.execute(
            sa.select(x.c.contributor, sa.func.count())
            .join(w, w.c.hash_set == x.c.key)
            .where(
                w.c.time > s.to_millis(now() - _DAY),
                w.c.pending.is_(False),
                w.c.role == s.ROLES[Role.CONTRIBUTOR],
                w.c.reason == _PERSON_SHOWN,
            )
            .group_by(x.c.contributor)
        )
        return {row[0]: row[1] for row in rows}

    def _ask(self, c: Connection, entry_id: int, row: _Row, asked: Withdrawal, by: Actor) -> None:
        """Note that a withdrawal was asked for. No change of the feed: only the contributor and operators are told."""
        revision = append_event(
            c,
            by,
            EventKind.WITHDRAWAL_ASKED,
            subject=self._writing.subject(c, entry_id),
            reason=asked.reason,
            details={"comment": asked.comment},
        )
        self._writing.set_reasons(c, entry_id, replace_reasons(row.reasons, (*unpack_reasons(row.reasons), PENDING)))
        self._put_withdrawals(c, [entry_id], msgspec.structs.replace(asked, pending=True), revision)

    def is_beyond(self, c: Connection, set_key: int, limit: DailyLimit, more: int = 1) -> bool:
        """Whether so many more withdrawals by hand in a hash set need a second person today.

        A single one that is the first of a day never does.
        """
        w = s.withdrawal
        today = c.execute(
            sa.select(sa.func.count()).where(
                w.c.hash_set == set_key,
                w.c.time > s.to_millis(now() - _DAY),
                w.c.pending.is_(False),
                w.c.role == s.ROLES[Role.CONTRIBUTOR],
                w.c.reason != _PERSON_SHOWN,
            )
        ).scalar_one()
        # Those whose rows are still to be written count as well, some perhaps twice: that is on the safe side.
        today += self._outstanding.withdrawn_by_hand(c, set_key, s.to_millis(now() - _DAY))
        if not today and more == 1:
            return False
        if today + more > limit.entries:
            return True
        # Of those active now and those withdrawn today; no more are counted than decide.
        enough = int(np.ceil((today + more) / limit.share)) - today
        e = s.entry
        active = sa.select(e.c.id).where(e.c.hash_set == set_key, e.c.state == ACTIVE).limit(enough).subquery()
        count: int = c.execute(sa.select(sa.func.count()).select_from(active)).scalar_one()
        return count < enough

    def _row(self, c: Connection, entry_id: int) -> _Row:
        """Return what moving an entry depends on. Raises NotFound, also when it is staged."""
        self._outstanding.settle_these(c, [entry_id])
        sql = self._db.sql(
            "SELECT e.hash_set, e.state, e.reasons FROM entry e "  # noqa: S608 - our own text
            f"WHERE e.id = ? AND NOT EXISTS ({STAGED_AROUND})"
        )
        row = c.exec_driver_sql(sql, (entry_id,)).first()
        if row is None:
            raise no_entry(str(number_of(entry_id)))
        return _Row(*row)

    def _read(self, c: Connection, entry_id: int) -> Entry:
        """Return the entry as this transaction leaves it."""
        row = c.exec_driver_sql(self._db.sql(f"{ENTRY_SQL} FROM entry e WHERE e.id = ?"), (entry_id,)).one()
        entry = self._entries.of_row(tuple(row), c)
        if entry is None:
            raise no_entry(str(number_of(entry_id)))
        return entry

    def _pending(self, c: Connection, entry_id: int) -> Withdrawal | None:
        w = s.withdrawal
        row = c.execute(sa.select(w).where(w.c.entry == entry_id, w.c.pending.is_(True))).first()
        if row is None:
            return None
        reasons = {code: reason for reason, code in s.WITHDRAWAL_REASONS.items()}
        return Withdrawal(
            reason=reasons[row.reason], comment=row.comment, actor=row.actor, role=ROLE_OF_CODE[row.role], pending=True
        )

    def asked_for(self, c: Connection, ids: Sequence[int]) -> set[int]:
        """Return those of the entries (ascending) whose withdrawal waits for a second person."""
        sql = "SELECT w.entry FROM withdrawal w WHERE w.pending AND w.entry {keys}"
        return {row[0] for row in self._db.by_keys(sql, "int8", (), ids, c)}

    def _held(self, c: Connection, entry_id: int, effect: EntryState) -> str:
        """Return the origin of an entry's own hold with this effect, empty without one."""
        h = s.hold
        own = sa.select(h.c.origin).where(h.c.entry == entry_id, h.c.effect == s.ENTRY_STATES[effect])
        return c.scalar(own) or ""

    def _put_withdrawals(self, c: Connection, ids: Sequence[int], withdrawal: Withdrawal, revision: int) -> None:
        put_withdrawals(c, self._db, sorted(ids), withdrawal, revision, s.to_millis(now()))

    def replaced(self, c: Connection, ids: Sequence[int]) -> dict[int, int]:
        """Return which of the entries were replaced by one that is ACTIVE, and by which."""
        later = self._db.by_keys("SELECT x.later FROM succession x WHERE x.earlier {keys}", "int8", (), ids, c)
        self._outstanding.settle_these(c, [row[0] for row in later])
        sql = (
            "SELECT x.earlier, x.later FROM succession x "  # noqa: S608 - our own numbers
            "JOIN entry e ON e.id = x.later "
            f"WHERE e.state = {ACTIVE} AND NOT EXISTS ({STAGED_AROUND}) AND x.earlier {{keys}}"
        )
        return {row[0]: row[1] for row in self._db.by_keys(sql, "int8", (), ids, c)}

    def _refuse_if_replaced(self, c: Connection, entry_id: int, what_to_do: str) -> None:
        for successor in self.replaced(c, [entry_id]).values():
            name = self._writing.subject(c, successor).removeprefix("entries/")
            raise FailedPrecondition(
                f"the entry was superseded by {name}, which stands; {what_to_do}",
                reason=Reason.ENTRY_WITHDRAWN,
                metadata={"entry": self._writing.subject(c, entry_id).removeprefix("entries/"), "successor": name},
            )

    def stand_again(self, c: Connection, rows: Sequence[tuple[int, int, str | None]], revision: int) -> None:
        """Give withdrawn entries (id, state, reasons) the state and reasons that they had before, requests for a
        withdrawal included. What was said of their items meanwhile counts for them, too.

        Raises FailedPrecondition where the hash set's terms are looser than those under which they were listed.
        """
        ids = sorted(row[0] for row in rows)
        if not ids:
            return
        refuse_restoring(c, self._db, ids)
        self._writing.inherit_back(c, ids)
        touch(c, "entry", ids)
        touch(c, "withdrawal", ids)
        asked_for = self.asked_for(c, ids)
        plain: list[int] = []
        others: list[tuple[int, str | None, int, int]] = []
        for entry_id, _, packed in rows:
            state, before = reasons_before(packed)
            if state == ACTIVE and before is None:
                plain.append(entry_id)
            else:
                others.append((state, before if entry_id in asked_for else without_pending(before), revision, entry_id))
        if plain:
            sql = self._db.sql(
                "UPDATE entry SET state = ?, reasons = NULL, update_revision = ? WHERE id BETWEEN ? AND ? AND state = ?"
            )
            ranges = [(ACTIVE, revision, first, last, WITHDRAWN) for first, last in runs(plain)]
            c.exec_driver_sql(sql, ranges)
        if others:
            sql = self._db.sql("UPDATE entry SET state = ?, reasons = ?, update_revision = ? WHERE id = ?")
            c.exec_driver_sql(sql, others)
        ended = self._db.sql("DELETE FROM withdrawal WHERE entry BETWEEN ? AND ? AND NOT pending")
        c.exec_driver_sql(ended, runs(ids))
        sql = "SELECT e.id FROM entry e WHERE e.expire_time <= ? AND e.id {keys}"
        expired = sorted(row[0] for row in self._db.by_keys(sql, "int8", (s.to_millis(now()),), ids, c))
        if expired:
            c.exec_driver_sql(
                self._db.sql("UPDATE entry SET expire_time = NULL WHERE id BETWEEN ? AND ?"), runs(expired)
            )
            clear(c, expired)  # they state something else now
        active = sorted([*plain, *(row[3] for row in others if row[0] == ACTIVE)])
        if active:
            self._writing.add_changes(c, revision, [(UPSERT, IdSet.of(active), 0)])
        waiting = sorted(row[3] for row in others if row[0] != ACTIVE)
        if waiting:
            self._writing.add_changes(c, revision, [(REVIEWED, IdSet.of(waiting), 0)])

    def _forget_answers(self, c: Connection, values: Sequence[bytes]) -> None:
        """Forget the remembered answers to calls that hold one of the values: a repeated call is then a new one."""
        t = s.request
        after = ""
        while rows := c.execute(sa.select(t.c.id, t.c.result).where(t.c.id > after).order_by(t.c.id).limit(1000)).all():
            after = rows[-1][0]
            told = [row[0] for row in rows if any(value in row[1] for value in values)]
            if told:
                c.execute(sa.delete(t).where(t.c.id.in_(told)))


def released_reasons(packed: str | None, *, is_asked_for: bool) -> tuple[str, ...]:
    """Return the remarks of a quarantined entry once it is released: those that it had before, and UNCLASSIFIED where
    it waits for that. `is_asked_for`: whether a withdrawal of it waits for a second person.
    """
    state, remarks = reasons_before(packed)
    remaining = unpack_reasons(remarks) if state == ACTIVE else ()
    if UNCLASSIFIED in unpack_reasons(packed) and UNCLASSIFIED not in remaining:
        remaining = (UNCLASSIFIED, *remaining)
    if is_asked_for and PENDING not in remaining:
        remaining = (*remaining, PENDING)
    return remaining


def without_pending(packed: str | None) -> str | None:
    """Return packed reasons without the remark that a withdrawal waits for a second person."""
    reasons = unpack_reasons(packed)
    return replace_reasons(packed, tuple(r for r in reasons if r != PENDING)) if PENDING in reasons else packed


def _moved(entry_id: int, row: _Row, expected: EntryState) -> Conflict:
    state = STATE_OF_CODE[row.state]
    return Conflict(
        f"entry {number_of(entry_id)} is {state}, expected {expected}; read it again, then retry",
        metadata={"state": str(state)},
    )
