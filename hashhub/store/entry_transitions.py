"""Moves entries after their import: withdrawal and its undoing, quarantine and release, expiry.

    ACTIVE ──quarantine──> QUARANTINED ──release──> ACTIVE
       └──────withdraw──────────┴──> WITHDRAWN ──restore──> what it was before (after the reasons, see entry_codec)

A transition takes a set of entries, a single one as a set of one, in one transaction, event and revision; a request
for a withdrawal is an event of its own. What moved since it was read is read again under the lock. A withdrawal by hand
and an operator's quarantine write a hold, so that no list undoes them. Withdrawals of many are only noted
(store.entry_writes); others move at most MOST entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict, FailedPrecondition, LimitExceeded, Reason
from hashhub.hygiene import Code
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
from hashhub.store.database import Database, IdempotentRequest
from hashhub.store.entries import EntryTable, SelectedEntries, no_entry
from hashhub.store.entry_codec import (
    IdSet,
    ascending,
    pack_reasons,
    reasons_before,
    replace_reasons,
    runs,
    unpack_reasons,
)
from hashhub.store.entry_writes import (
    CHANGE_IDS,
    PAGE,
    PENDING,
    DeferredWithdrawals,
    EntryWrites,
    WithdrawalPart,
    by_set,
    clear_places,
    note_loss,
    put_withdrawals,
    sets_of,
)
from hashhub.store.events import Facts, append_event, touch
from hashhub.store.holds import Origin, lift_holds, put_holds
from hashhub.store.resources import refuse_restoring
from hashhub.store.schema import ACTIVE, QUARANTINED, REVIEWED, STAGED, STAGED_AROUND, UPSERT, WITHDRAW, WITHDRAWN
from hashhub.store.withdrawal_requests import DailyLimit, Ids, WithdrawalRequests, without_pending

MOST: Final = 50_000
"""Entries that one call moves other than by withdrawing them: their rows are written in one transaction."""
_TOLD: Final = 100  # names that an event holds
_EXAMPLES: Final = 5
# A later withdrawal of what is withdrawn already counts if it holds more firmly.
_FIRMNESS: Final = {"": 0, Origin.SOURCE: 1, Origin.CONTRIBUTOR: 2, Origin.PERSON_SHOWN: 3, Origin.OPERATOR: 3}

_Row = tuple[int, int, str | None]  # id, code of the state, packed reasons
_NO_IDS: Final = np.empty(0, np.int64)


class WithdrawalByHand(NamedTuple):
    """What is asked, the origin of its hold, the entries' reason, and how many a day need no second person."""

    asked: Withdrawal
    origin: Origin
    code: str
    limit: DailyLimit | None = None

    @property
    def is_wish(self) -> bool:
        """Whether the person shown wishes it: it then concerns every entry of the item."""
        return self.asked.reason is WithdrawalReason.REQUESTED_BY_PERSON_SHOWN


class TransitionCommand(NamedTuple):
    """Who moves entries, and what the event says of it.

    `selection`: how they were chosen. `is_single`: one entry was named: its event has no numbers, what cannot be done
    is raised, and the entry is returned as the transaction leaves it. `dry`: only say what would be done.
    """

    by: Actor
    reason: str = ""
    comment: str = ""
    selection: str = ""
    is_single: bool = False
    dry: bool = False
    request: IdempotentRequest | None = None


class TransitionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a call did: how many entries it moved, asked to withdraw, and left, by reason, with some ids of each."""

    selected: int = 0
    changed: int = 0
    pending: int = 0
    also: int = 0
    skipped: dict[str, tuple[int, tuple[int, ...]]] = {}
    examples: tuple[int, ...] = ()
    revision: int = 0
    entry: Entry | None = None


class _Withdrawals(NamedTuple):
    """What becomes of the entries of a withdrawal, by id; who asked for those that are agreed to, and why."""

    withdrawn: Ids
    agreed: Ids
    asked: Ids
    again: Ids
    also: Ids
    skipped: Mapping[str, Ids]
    askers: Sequence[str]
    reason: WithdrawalReason


@dataclass(eq=False)
class EntryTransitions:
    """The part of the Store that moves entries by hand or by time, given by id or as a selection hit them."""

    _db: Database
    _outstanding: DeferredWithdrawals
    _writes: EntryWrites
    _entries: EntryTable
    _requests: WithdrawalRequests

    def withdraw_by_hand(
        self,
        entries: SelectedEntries | Sequence[int],
        by_hand: WithdrawalByHand,
        command: TransitionCommand,
        *,
        also: Sequence[int] = (),
    ) -> TransitionResult:
        """Withdraw entries of one contributor with a hold, or note that it was asked for.

        Those of a set of which more than the limit would be withdrawn today get the remark WITHDRAWAL_PENDING instead,
        until an operator, or another token of the contributor, withdraws them too. What is withdrawn already stays as
        it is, unless the new hold is firmer. `also`: entries about the same items, withdrawn with them.

        Raises LimitExceeded when more than MOST would be asked for; of a single entry NotFound, and FailedPrecondition
        (ENTRY_WITHDRAWN) when a newer statement has taken its place.
        """

        def act(c: Connection, chosen: SelectedEntries) -> TransitionResult:
            plan = self._plan_withdrawal(c, chosen, by_hand, command, also)
            parts = (plan.withdrawn, plan.agreed, plan.asked, plan.again)
            moved = _moved(chosen, plan.skipped, *parts, pending=len(plan.asked), also=len(plan.also))
            revision = 0
            if moved.changed and not command.dry:
                revision = self._withdraw(c, chosen, plan, by_hand, command)
            if moved.pending and not command.dry:
                revision = self._ask(c, plan.asked, by_hand.asked, command)
            return msgspec.structs.replace(moved, revision=revision)

        return self._run(entries, command, act)

    def quarantine(
        self,
        entries: SelectedEntries | Sequence[int],
        command: TransitionCommand,
        *,
        code: str = "QUARANTINED_BY_OPERATOR",
    ) -> TransitionResult:
        """Keep visible entries, and what is stated of their items next, from matching, with `code` as their reason;
        what waits for another reason is held from now on.

        Raises LimitExceeded; of a single entry NotFound, and Conflict when it is WITHDRAWN.
        """

        def act(c: Connection, chosen: SelectedEntries) -> TransitionResult:
            active, waiting, gone = _by_state(chosen)
            if command.is_single and len(gone):
                raise _conflict(chosen, EntryState.ACTIVE)
            held = self._held(c, waiting, EntryState.QUARANTINED)
            holding = _array(i for i in waiting.tolist() if i not in held)
            moved = _moved(chosen, {"WITHDRAWN": gone, "QUARANTINED": _without(waiting, holding)}, active, holding)
            _refuse_too_many(moved.changed)
            if command.dry or not moved.changed:
                return moved
            ids = ascending(np.concatenate([active, holding]))
            was = s.ENTRY_STATES.members[int(chosen.states[0])] if command.is_single else EntryState.ACTIVE
            revision = self._append(c, EventKind.ENTRIES_QUARANTINED, ids, command, {"was": str(was)})
            # Nobody has said what an undecided item is by putting it into quarantine.
            rows = self._writes.visible_rows(c, active.tolist())
            undecided = _array(i for i, _, packed in rows if Code.UNCLASSIFIED in unpack_reasons(packed))
            for part, codes in ((_without(active, undecided), (code,)), (undecided, (code, Code.UNCLASSIFIED))):
                if len(part):
                    self._writes.push_state(c, runs(part.tolist()), QUARANTINED, codes, revision)
            if len(active):
                self._writes.add_changes(c, revision, [(WITHDRAW, IdSet.of(active), 0)])
            put_holds(c, self._db, ids.tolist(), Origin.OPERATOR, EntryState.QUARANTINED, revision)
            return msgspec.structs.replace(moved, revision=revision)

        return self._run(entries, command, act)

    def release(
        self,
        entries: SelectedEntries | Sequence[int],
        command: TransitionCommand,
        *,
        supersede: Mapping[int, Sequence[int]] = {},
        lift: Sequence[int] = (),
        skipped: Mapping[str, Sequence[int]] = {},
    ) -> TransitionResult:
        """Let quarantined entries match, lifting what holds them there, and the holds `lift` about the same items.

        The remark UNCLASSIFIED stays, and those from before the quarantine. `supersede`: by entry those of its hash set
        that it replaces; their reviews count for it too. `skipped`: entries that stay, by reason. Raises LimitExceeded;
        of a single entry NotFound, and Conflict when it is WITHDRAWN.
        """

        def act(c: Connection, chosen: SelectedEntries) -> TransitionResult:
            left = _among(chosen, skipped)
            active, waiting, gone = _by_state(chosen)
            if command.is_single and len(gone):
                raise _conflict(chosen, EntryState.QUARANTINED)
            waiting = _without(waiting, *left.values())
            _refuse_too_many(len(waiting))
            pairs = np.array([(i, later) for later in waiting.tolist() for i in supersede.get(later, ())], np.int64)
            pairs = pairs.reshape(-1, 2)
            # One that another of these replaces is not released.
            replaced = waiting[np.isin(waiting, pairs[:, 0])]
            released = _without(waiting, replaced)
            pairs = pairs[np.isin(pairs[:, 1], released)]
            overtaken = self._live(c, pairs[:, 0].tolist())
            left = {"ACTIVE": active, "WITHDRAWN": gone, Code.SUPERSEDED: replaced, **left}
            moved = _moved(chosen, left, released, also=len(_without(overtaken, replaced)))
            if command.dry or not moved.changed:
                return moved
            rows = self._writes.visible_rows(c, released.tolist())
            facts = {"was": unpack_reasons(rows[0][2])} if command.is_single else {}
            revision = self._append(c, EventKind.ENTRIES_RELEASED, released, command, facts)
            self._stand(c, rows, revision)
            if len(overtaken):
                self._withdraw_parts(c, _parts(revision, [(overtaken, Code.SUPERSEDED, "", None)]), at_once=True)
            for set_key in sets_of(released):
                self._writes.inherit(c, set_key, pairs)
            self._writes.add_successions(c, np.unique(pairs[np.isin(pairs[:, 0], overtaken)], axis=0))
            lift_holds(c, self._db, [*released.tolist(), *lift], EntryState.QUARANTINED)
            return msgspec.structs.replace(moved, revision=revision)

        return self._run(entries, command, act)

    def restore(
        self,
        entries: SelectedEntries | Sequence[int],
        command: TransitionCommand,
        *,
        lift: Sequence[int] = (),
        skipped: Mapping[str, Sequence[int]] = {},
    ) -> TransitionResult:
        """Take withdrawals, and requests for one, back: each is what it was before, without hold and past expiry.

        `lift`: further holds about the same items; `skipped`: entries that stay withdrawn, by reason, as do erased and
        replaced ones. Raises LimitExceeded; of a single entry NotFound.
        """

        def act(c: Connection, chosen: SelectedEntries) -> TransitionResult:
            left = _among(chosen, skipped)
            active, waiting, gone = _by_state(chosen)
            gone = _without(gone, *left.values())
            replaced = _array(sorted(self._replaced(c, gone.tolist())))
            left[Code.SUPERSEDED] = ascending(np.concatenate([replaced, left.get(Code.SUPERSEDED, _NO_IDS)]))
            gone = _without(gone, replaced)
            asked = _array(self._requests.of(c, ascending(np.concatenate([active, waiting]))))
            left["ACTIVE"], left["QUARANTINED"] = _without(active, asked), _without(waiting, asked)
            _refuse_too_many(len(gone) + len(asked))
            rows = [
                row for row in self._writes.visible_rows(c, gone.tolist()) if unpack_reasons(row[2]) != (Code.ERASED,)
            ]
            gone = _array(sorted(row[0] for row in rows))
            moved = _moved(chosen, left, gone, asked)
            if command.dry or not moved.changed:
                return moved
            facts: Facts = {
                "entries": moved.changed,
                # Outsiders are not told that a withdrawal was asked for, whatever the reason for taking that back.
                **({} if len(gone) else {"request": "TAKEN_BACK"}),
            }
            ids = ascending(np.concatenate([gone, asked]))
            reason = command.reason or ("" if len(gone) else "REQUEST_TAKEN_BACK")
            revision = self._append(c, EventKind.ENTRIES_RESTORED, ids, command, facts, reason=reason)
            for entry_id, _, packed in self._writes.visible_rows(c, asked.tolist()):
                self._writes.set_reasons(c, entry_id, without_pending(packed))
            self._requests.end(c, asked)
            self._stand_again(c, rows, revision)
            lift_holds(c, self._db, [*ids.tolist(), *lift], EntryState.WITHDRAWN)
            return msgspec.structs.replace(moved, revision=revision)

        return self._run(entries, command, act)

    def withdraw(
        self,
        ids: Iterable[int],
        code: str,
        *,
        by: Actor = SYSTEM,
        kind: EventKind = EventKind.ENTRIES_WITHDRAWN,
        reason: str = "",
        subject: str = "",
        facts: Facts | None = None,
        origin: Origin | None = None,
        withdrawal: Withdrawal | None = None,
    ) -> int:
        """Withdraw visible entries at one revision, and return that; those WITHDRAWN already stay as they are.

        `code`: the entries' reason, and the event's without `reason`. `origin`: of a hold. `withdrawal`: who withdrew
        them. Raises NotFound when one does not exist; then none is withdrawn.
        """
        wanted = sorted(set(ids))
        with self._db.write_in_order() as c:
            states = self._writes.visible_states(c, wanted)
            unknown = [i for i in wanted if i not in states]
            if unknown:
                raise no_entry(str(number_of(unknown[0])))
            live = np.array([i for i in wanted if states[i] != WITHDRAWN], np.int64)
            if not len(live):
                return c.scalar(sa.select(s.metadata.c.revision)) or 0
            at = now()
            revision = append_event(
                c,
                by,
                kind,
                subject=subject or (self._writes.subject(int(live[0])) if len(live) == 1 else ""),
                reason=reason or code,
                facts={"entries": len(live), **({"origin": str(origin)} if origin else {}), **(facts or {})},
                at=at,
            )
            # At once, however many: who asked goes on with what the rows say.
            parts = _parts(revision, [(live, code, str(origin or ""), withdrawal)], s.to_millis(at))
            self._withdraw_parts(c, parts, at_once=True)
            note_loss(c, sets_of(live), revision)
            return revision

    def expire(self, at: datetime) -> int:
        """Withdraw the visible entries whose time has passed, a page at a revision; return how many."""
        # Spelt out as the partial index has it, so that it serves: it holds no withdrawn entries.
        sql = (
            "SELECT e.id FROM entry e "  # noqa: S608 - our own text
            "WHERE e.expire_time IS NOT NULL AND e.state != 3 AND e.expire_time <= ? "
            f"AND NOT EXISTS ({STAGED_AROUND}) ORDER BY e.expire_time, e.id LIMIT {PAGE}"
        )
        count = 0
        while rows := self._db.fetch(sql, (s.to_millis(at),)):
            self.withdraw([row[0] for row in rows], Code.EXPIRED, kind=EventKind.ENTRIES_EXPIRED)
            count += len(rows)
        return count

    def _run(
        self,
        entries: SelectedEntries | Sequence[int],
        command: TransitionCommand,
        act: Callable[[Connection, SelectedEntries], TransitionResult],
    ) -> TransitionResult:
        """Move entries in one transaction, or return what the first call with the same request id did."""
        request = command.request or IdempotentRequest("", "", None, "")
        with self._db.write_in_order() as c:
            # The answer about one entry is remembered as the entry: so it is known whose it is where that is deleted.
            if command.is_single and (entry := request.replayed(c, Entry)) is not None:
                return TransitionResult(entry=entry)
            if not command.is_single and (first := request.replayed(c, TransitionResult)) is not None:
                return first
            chosen = self._as_now(c, entries, command)
            moved = act(c, chosen)
            if command.dry:
                return moved
            if command.is_single:
                entry = self._entries.of_id(int(chosen.ids[0]), c)
                return msgspec.structs.replace(moved, entry=request.remember(c, entry))
            return request.remember(c, moved)

    def _as_now(
        self, c: Connection, entries: SelectedEntries | Sequence[int], command: TransitionCommand
    ) -> SelectedEntries:
        """Return entries with their states as they are under the lock: those that moved since are read again."""
        if not isinstance(entries, SelectedEntries):
            fresh = self._writes.visible_states(c, sorted(set(entries)))
            if command.is_single and not fresh:
                raise no_entry(str(number_of(entries[0])))
            return SelectedEntries(_array(sorted(fresh)), _array(fresh[i] for i in sorted(fresh)), 0)
        chosen = entries
        sql = "SELECT first_entry, last_entry, ids FROM change WHERE revision > ? AND kind <> ? ORDER BY revision"
        moved = np.zeros(len(chosen.ids), np.bool_)
        for first, last, packed in self._db.execute(c, sql, (chosen.revision, STAGED)).all():
            for piece in IdSet(first, last, packed).pieces(1 << 20):
                moved |= np.isin(chosen.ids, piece, assume_unique=True)
        if not moved.any():
            return chosen
        fresh = self._writes.visible_states(c, chosen.ids[moved].tolist())
        states = chosen.states.copy()
        states[moved] = [fresh.get(i, 0) for i in chosen.ids[moved].tolist()]
        return SelectedEntries(chosen.ids[states > 0], states[states > 0], chosen.revision)

    def _append(
        self, c: Connection, kind: EventKind, ids: Ids, command: TransitionCommand, facts: Facts, **options: Any
    ) -> int:
        """Append a transition's event, about the smallest thing that holds the entries, and return its revision."""
        names = sorted(map(self._db.hash_set_name, sets_of(ids))) if len(ids) > 1 else []
        if not names:
            subject = self._writes.subject(int(ids[0]))
        else:
            subject = f"hash-sets/{names[0]}" if len(names) == 1 else f"contributors/{names[0].partition('/')[0]}"
        numbers: Facts = {} if command.is_single else {"entries": len(ids)}
        sets: Facts = {"hash_sets": tuple(names[:_TOLD])} if len(names) > 1 else {}
        details = {"comment": command.comment, "selection": command.selection}
        told = {**numbers, **sets, **facts}
        options = {"reason": command.reason, **options}
        return append_event(c, command.by, kind, subject=subject, facts=told, details=details, **options)

    def _plan_withdrawal(
        self,
        c: Connection,
        chosen: SelectedEntries,
        by_hand: WithdrawalByHand,
        command: TransitionCommand,
        also: Sequence[int],
    ) -> _Withdrawals:
        live, gone = chosen.ids[chosen.states != WITHDRAWN], chosen.ids[chosen.states == WITHDRAWN]
        requests = self._requests.of(c, live)
        own = _array(i for i, (actor, _) in requests.items() if actor == command.by.name)
        others = {i: request for i, request in requests.items() if request[0] != command.by.name}
        # What is carried out then is what was asked for, unless the person shown asks.
        agreed = _NO_IDS if by_hand.is_wish else _array(others)
        withdrawn, to_ask, waits = [_NO_IDS], [_NO_IDS], [_NO_IDS]
        for set_key, of_set in by_set(live):
            rest = _without(of_set, agreed)  # what is agreed to counts for the day as well
            limit = by_hand.limit
            if limit is not None and len(rest) and self._requests.is_beyond(c, set_key, limit, len(of_set)):
                waits.append(np.intersect1d(rest, own))
                to_ask.append(_without(rest, own))
            else:
                withdrawn.append(rest)
        with_them = _without(self._live(c, also), live)
        replaced = self._replaced(c, gone.tolist()) if len(gone) else {}
        if replaced and command.is_single:
            raise self._superseded(*next(iter(replaced.items())))
        held = self._held(c, gone, EntryState.WITHDRAWN)
        is_firmer = command.is_single and len(with_them)
        again = _array(
            i
            for i in gone.tolist()
            if i not in replaced and (is_firmer or _FIRMNESS[by_hand.origin] > _FIRMNESS[held.get(i, "")])
        )
        asked = ascending(np.concatenate(to_ask))
        if len(asked) + len(agreed) + len(again) > MOST:
            raise LimitExceeded(
                f"a withdrawal that needs a second person takes at most {MOST:,} entries at once, this one has "
                f"{len(asked) + len(agreed) + len(again):,}; choose fewer with --limit, or ask the operator to "
                "withdraw them",
                reason=Reason.TOO_LARGE,
            )
        superseded = _array(sorted(replaced))
        return _Withdrawals(
            withdrawn=ascending(np.concatenate(withdrawn)),
            agreed=agreed,
            asked=asked,
            again=again,
            also=with_them,
            skipped={
                "WITHDRAWN": _without(gone, again, superseded),
                Code.SUPERSEDED: superseded,
                PENDING: ascending(np.concatenate(waits)),
            },
            askers=sorted({actor for actor, _ in others.values()}) if len(agreed) or command.is_single else (),
            reason=others[int(agreed[0])][1] if len(agreed) and command.is_single else by_hand.asked.reason,
        )

    def _withdraw(
        self,
        c: Connection,
        chosen: SelectedEntries,
        plan: _Withdrawals,
        by_hand: WithdrawalByHand,
        command: TransitionCommand,
    ) -> int:
        every = ascending(np.concatenate([plan.withdrawn, plan.agreed, plan.again, plan.also]))
        at = now()
        again = IdSet.of(plan.again) if len(plan.again) and not command.is_single else None
        revision = self._append(
            c,
            EventKind.ENTRIES_WITHDRAWN,
            chosen.ids if command.is_single else every,
            command,
            self._withdrawal_facts(c, plan, every, by_hand.origin, command),
            reason=plan.reason,
            undo=None if again is None else {"again": (again.first, again.last, again.packed)},
            at=at,
        )
        time = s.to_millis(at)
        for entry_id, _, packed in self._writes.visible_rows(c, plan.again.tolist()):
            self._writes.set_reasons(c, entry_id, replace_reasons(packed, (by_hand.code,)), revision)
        put_withdrawals(c, self._db, plan.again.tolist(), by_hand.asked, revision, time)
        put_holds(c, self._db, plan.again.tolist(), by_hand.origin, EntryState.WITHDRAWN, revision)
        if len(plan.agreed):
            touch(c, "withdrawal", plan.agreed.tolist())
            update = "UPDATE withdrawal SET pending = ?, revision = ?, time = ? WHERE entry BETWEEN ? AND ? AND pending"
            self._db.execute(c, update, [(False, revision, time, *ends) for ends in runs(plan.agreed.tolist())])
        fresh = ascending(np.concatenate([plan.withdrawn, plan.also]))
        self._requests.end(c, _array(self._requests.of(c, fresh)))
        groups = [
            (fresh, by_hand.code, str(by_hand.origin), by_hand.asked),
            (plan.agreed, "WITHDRAWN_BY_CONTRIBUTOR", str(Origin.CONTRIBUTOR), None),
        ]
        parts = _parts(revision, groups, time)
        if parts:
            self._withdraw_parts(c, parts)
            note_loss(c, sorted({part.hash_set for part in parts}), revision)
        return revision

    def _withdrawal_facts(
        self, c: Connection, plan: _Withdrawals, every: Ids, origin: Origin, command: TransitionCommand
    ) -> Facts:
        """Return the facts of the event of a withdrawal. `every`: all entries that it moves."""
        facts: dict[str, str | int | tuple[str, ...]] = {"origin": str(origin)}
        askers = tuple(f"tokens/{name}" for name in plan.askers)
        if command.is_single and len(plan.agreed):
            facts["origin"] = str(Origin.CONTRIBUTOR)
        if askers:
            facts["asked_by"] = askers[0] if command.is_single else askers
        if len(plan.again):
            facts["again" if command.is_single else "held_again"] = len(plan.again)
        if len(plan.also):
            facts["entries"] = len(every)
            facts["also"] = tuple(self._writes.subject(i) for i in plan.also[:_TOLD].tolist())
        is_wish = origin is Origin.PERSON_SHOWN and command.by.role is Role.CONTRIBUTOR
        if is_wish and (today := self._requests.wishes_beyond(c, command.by.contributor, len(every))):
            facts["requests_of_persons_shown_today"] = today
        return facts

    def _ask(self, c: Connection, ids: Ids, asked: Withdrawal, command: TransitionCommand) -> int:
        """Note that withdrawals were asked for. No change of the feed: only the contributor and operators are told."""
        at = now()
        revision = self._append(c, EventKind.WITHDRAWAL_ASKED, ids, command, {}, reason=asked.reason, at=at)
        for entry_id, _, packed in self._writes.visible_rows(c, ids.tolist()):
            reasons = (*unpack_reasons(packed), PENDING)
            self._writes.set_reasons(c, entry_id, replace_reasons(packed, reasons))
        pending = msgspec.structs.replace(asked, pending=True)
        put_withdrawals(c, self._db, ids.tolist(), pending, revision, s.to_millis(at))
        return revision

    def _withdraw_parts(self, c: Connection, parts: Sequence[WithdrawalPart], *, at_once: bool = False) -> None:
        """Let entries be WITHDRAWN at the revision of the parts, and say so in the feed."""
        self._writes.add_changes(c, parts[0].revision, [(WITHDRAW, part.ids, 0) for part in parts])
        self._outstanding.withdraw(c, parts, at_once=at_once)

    def _stand(self, c: Connection, rows: Sequence[_Row], revision: int) -> None:
        """Let quarantined entries be ACTIVE, with the remarks that they had before."""
        ids = _array(row[0] for row in rows)
        touch(c, "entry", ids.tolist())
        asked_for = self._requests.of(c, ids)
        update = "UPDATE entry SET state = ?, reasons = ?, update_revision = ? WHERE id = ?"
        remarks = {i: pack_reasons(_released_reasons(packed, is_asked_for=i in asked_for)) for i, _, packed in rows}
        self._db.execute(c, update, [(ACTIVE, left, revision, i) for i, left in remarks.items()])
        self._writes.add_changes(c, revision, [(UPSERT, IdSet.of(ids), 0)])

    def _stand_again(self, c: Connection, rows: Sequence[_Row], revision: int) -> None:
        """Give withdrawn entries (id, state, reasons) the state and reasons that they had before, requests for a
        withdrawal included. What was said of their items meanwhile counts for them, too. Raises FailedPrecondition
        where the hash set's terms are looser than those under which they were listed.
        """
        ids = sorted(row[0] for row in rows)
        if not ids:
            return
        refuse_restoring(c, self._db, ids)
        self._writes.inherit_back(c, ids)
        touch(c, "entry", ids)
        touch(c, "withdrawal", ids)
        asked_for = self._requests.of(c, _array(ids))
        plain: list[int] = []
        others: list[tuple[int, str | None, int, int]] = []
        for entry_id, _, packed in rows:
            state, before = reasons_before(packed)
            if state == ACTIVE and before is None:
                plain.append(entry_id)
            else:
                others.append((state, before if entry_id in asked_for else without_pending(before), revision, entry_id))
        if plain:
            sql = (
                "UPDATE entry SET state = ?, reasons = NULL, update_revision = ? WHERE id BETWEEN ? AND ? AND state = ?"
            )
            ranges = [(ACTIVE, revision, first, last, WITHDRAWN) for first, last in runs(plain)]
            self._db.execute(c, sql, ranges)
        if others:
            sql = "UPDATE entry SET state = ?, reasons = ?, update_revision = ? WHERE id = ?"
            self._db.execute(c, sql, others)
        self._db.execute(c, "DELETE FROM withdrawal WHERE entry BETWEEN ? AND ? AND NOT pending", runs(ids))
        sql = "SELECT e.id FROM entry e WHERE e.expire_time <= ? AND e.id {keys}"
        expired = sorted(row[0] for row in self._db.by_keys(sql, "int8", (s.to_millis(now()),), ids, c))
        if expired:
            self._db.execute(c, "UPDATE entry SET expire_time = NULL WHERE id BETWEEN ? AND ?", runs(expired))
            clear_places(c, expired)  # they state something else now
        active = sorted([*plain, *(row[3] for row in others if row[0] == ACTIVE)])
        if active:
            self._writes.add_changes(c, revision, [(UPSERT, IdSet.of(active), 0)])
        waiting = sorted(row[3] for row in others if row[0] != ACTIVE)
        if waiting:
            self._writes.add_changes(c, revision, [(REVIEWED, IdSet.of(waiting), 0)])

    def _held(self, c: Connection, ids: Ids, effect: EntryState) -> Mapping[int, str]:
        """Return the origins of entries' own holds with this effect, by id."""
        sql = "SELECT h.entry, h.origin FROM hold h WHERE h.effect = ? AND h.entry {keys}"
        rows = self._db.by_keys(sql, "int8", (s.ENTRY_STATES[effect],), ids.tolist(), c)
        return {row[0]: row[1] for row in rows}

    def _live(self, c: Connection, ids: Iterable[int]) -> Ids:
        """Return those of the entries that are visible and not WITHDRAWN, by id."""
        rows = self._writes.visible_rows(c, sorted(set(ids)))
        return _array(sorted(row[0] for row in rows if row[1] != WITHDRAWN))

    def _superseded(self, entry_id: int, successor: int) -> FailedPrecondition:
        name = self._writes.subject(successor).removeprefix("entries/")
        return FailedPrecondition(
            f"the entry was superseded by {name}, which stands; withdraw that one",
            reason=Reason.ENTRY_WITHDRAWN,
            metadata={"entry": self._writes.subject(entry_id).removeprefix("entries/"), "successor": name},
        )

    def _replaced(self, c: Connection, ids: Sequence[int]) -> dict[int, int]:
        """Return which of the entries were replaced, directly or in several steps, by one that is ACTIVE; by which."""
        sql = (
            f"SELECT x.earlier, x.later, e.state = {ACTIVE} AND NOT EXISTS ({STAGED_AROUND}) "  # noqa: S608 - our own
            "FROM succession x JOIN entry e ON e.id = x.later WHERE x.earlier {keys}"
        )
        replaced: dict[int, int] = {}
        steps = {i: [i] for i in ids}  # the entries that each was in place of, among those asked for
        while steps:
            keys = sorted(steps)
            later = self._db.by_keys("SELECT x.later FROM succession x WHERE x.earlier {keys}", "int8", (), keys, c)
            self._outstanding.settle_these(c, [row[0] for row in later])
            next_steps: dict[int, list[int]] = {}
            for earlier, successor, is_active in self._db.by_keys(sql, "int8", (), keys, c):
                if is_active:
                    for entry in steps[earlier]:
                        replaced[entry] = successor
                else:
                    next_steps.setdefault(successor, []).extend(steps[earlier])
            steps = next_steps
        return replaced


def _released_reasons(packed: str | None, *, is_asked_for: bool) -> tuple[str, ...]:
    """Return the remarks of a quarantined entry once it is released: those that it had before, and UNCLASSIFIED where
    it waits for that. `is_asked_for`: whether a withdrawal of it waits for a second person.
    """
    state, remarks = reasons_before(packed)
    before = unpack_reasons(remarks) if state == ACTIVE else ()
    undecided = (
        (Code.UNCLASSIFIED,) if Code.UNCLASSIFIED in unpack_reasons(packed) and Code.UNCLASSIFIED not in before else ()
    )
    remaining = (*undecided, *(reason for reason in before if reason != PENDING))
    return (*remaining, PENDING) if is_asked_for else remaining


def _moved(
    chosen: SelectedEntries, skipped: Mapping[str, Ids], *parts: Ids, pending: int = 0, also: int = 0
) -> TransitionResult:
    """Return what a call does that moves these parts of the entries. `pending`: how many are only asked for."""
    return TransitionResult(
        selected=len(chosen.ids),
        changed=sum(map(len, parts)) - pending,
        pending=pending,
        also=also,
        skipped={str(why): (len(ids), tuple(ids[:_EXAMPLES].tolist())) for why, ids in skipped.items() if len(ids)},
        examples=tuple(np.concatenate([part[:_EXAMPLES] for part in parts])[:_EXAMPLES].tolist()),
    )


def _by_state(chosen: SelectedEntries) -> Iterator[Ids]:
    """Yield the entries that are ACTIVE, QUARANTINED and WITHDRAWN."""
    return (chosen.ids[chosen.states == state] for state in (ACTIVE, QUARANTINED, WITHDRAWN))


def _parts(
    revision: int, groups: Iterable[tuple[Ids, str, str, Withdrawal | None]], time: int = 0
) -> list[WithdrawalPart]:
    """Return what a revision withdraws. `groups`: entries, their reason, their hold's origin, who withdraws them."""
    parts: list[WithdrawalPart] = []
    for ids, code, origin, withdrawal in groups:
        for set_key, of_set in by_set(ids):
            for start in range(0, len(of_set), CHANGE_IDS):
                piece = IdSet.of(of_set[start : start + CHANGE_IDS])
                parts.append(WithdrawalPart(revision, len(parts), set_key, code, piece, origin, (), withdrawal, time))
    return parts


def _among(chosen: SelectedEntries, skipped: Mapping[str, Sequence[int]]) -> dict[str, Ids]:
    """Return those of the entries that were chosen which are skipped, by reason."""
    return {why: np.intersect1d(chosen.ids, np.array(ids, np.int64)) for why, ids in skipped.items()}


def _without(ids: Ids, *others: Ids) -> Ids:
    return ids[~np.isin(ids, np.concatenate([_NO_IDS, *others]))]


def _array(ids: Iterable[int]) -> Ids:
    return np.fromiter(ids, np.int64)


def _refuse_too_many(count: int) -> None:
    if count > MOST:
        raise LimitExceeded(
            f"one call moves at most {MOST:,} entries in this way, this one would move {count:,}; choose fewer with "
            "--limit, and run it again until none is left",
            reason=Reason.TOO_LARGE,
        )


def _conflict(chosen: SelectedEntries, expected: EntryState) -> Conflict:
    state = s.ENTRY_STATES.members[int(chosen.states[0])]
    return Conflict(
        f"entry {number_of(int(chosen.ids[0]))} is {state}, expected {expected}; read it again, then retry",
        metadata={"state": str(state)},
    )
