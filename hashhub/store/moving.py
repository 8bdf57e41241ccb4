"""What moves many entries at once by hand: each call is one transaction, one event and one revision.

`Chosen` was read before, in pieces; what moved behind its revision is read again under the lock, so that what is
counted is what is done. Entries that are withdrawn are only noted where they are many (store.outstanding); whatever
else is done is at most MOST entries, written at once.

A withdrawal that is only asked for is an event of its own, which others are not told of. So where one call withdraws
some entries and asks for others, those are two revisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import LimitExceeded, Reason
from hashhub.model import Actor, EntryState, EventKind, Role, Withdrawal, WithdrawalReason, now
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.events import append_event
from hashhub.store.holds import Origin, lift_holds, put_holds
from hashhub.store.idset import IdSet, ascending, runs
from hashhub.store.imprints import touch
from hashhub.store.outstanding import Outstanding, Part, put_withdrawals
from hashhub.store.packing import pack_reasons, replace_reasons, unpack_reasons
from hashhub.store.requests import Request
from hashhub.store.schema import ACTIVE, QUARANTINED, STAGED, STAGED_AROUND, UPSERT, WITHDRAW, WITHDRAWN
from hashhub.store.selecting import Chosen
from hashhub.store.standing import (
    FIRMNESS,
    UNCLASSIFIED,
    WISHES_A_DAY,
    DailyLimit,
    Standing,
    released_reasons,
    without_pending,
)
from hashhub.store.writing import CHANGE_IDS, PENDING, Writing, note_loss

MOST: Final = 50_000
"""Entries that one call moves other than by withdrawing them: their rows are written in one transaction."""
SUPERSEDED: Final = "SUPERSEDED"
_TOLD: Final = 100  # names that an event tells

Ids = NDArray[np.int64]
_NO_IDS: Final = np.empty(0, np.int64)


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What a call did: how many entries it moved, asked to withdraw, and left, by reason, with some ids of each."""

    selected: int = 0
    changed: int = 0
    pending: int = 0
    also: int = 0
    skipped: dict[str, tuple[int, tuple[int, ...]]] = {}
    examples: tuple[int, ...] = ()
    revision: int = 0


class _ReleasePlan(NamedTuple):
    """What becomes of the entries of a release, by id. `pairs`, int64[n, 2]: an entry that a released one replaces, and
    that one. `overtaken`: of these, those that stand. `replaced`: what waits, and is replaced by another of these.
    """

    released: Ids
    overtaken: Ids
    replaced: Ids
    pairs: NDArray[np.int64]
    skipped: Mapping[str, Ids]


class _WithdrawalPlan(NamedTuple):
    """What becomes of the entries of a withdrawal, by id."""

    withdrawn: Ids
    agreed: Ids
    asked: Ids
    again: Ids
    also: Ids
    skipped: Mapping[str, Ids]


EXAMPLES: Final = 5


class Moving:
    """The part of the Store that moves many entries at once."""

    def __init__(self, database: Database, outstanding: Outstanding, writing: Writing, standing: Standing) -> None:
        self._db = database
        self._outstanding = outstanding
        self._writing = writing
        self._standing = standing

    def withdraw(
        self,
        chosen: Chosen,
        asked: Withdrawal,
        *,
        origin: Origin,
        code: str,
        limit: DailyLimit | None,
        by: Actor,
        also: Sequence[int] = (),
        selection: str = "",
        request: Request | None = None,
        dry: bool = False,
    ) -> Moved:
        """Withdraw entries of one contributor by hand, as `Standing.withdraw_entry` does each one; the daily number of
        each hash set is judged by the sum.

        Beyond it all of them in that hash set are asked for. `also`: entries about the same items, withdrawn with them.
        `selection`: how they were chosen, for the history. Raises LimitExceeded when more than MOST would be asked for.
        """
        with self._db.write() as c:
            self._db.lock(c)
            if request is not None and (first := request.replayed(c, Moved)) is not None:
                return first
            chosen = self._as_now(c, chosen)
            plan = self._plan_withdrawal(c, chosen, asked, origin, limit, by, also)
            moved = Moved(
                selected=len(chosen.ids),
                changed=len(plan.withdrawn) + len(plan.agreed) + len(plan.again),
                pending=len(plan.asked),
                also=len(plan.also),
                skipped=_told(plan.skipped),
                examples=_examples(plan.withdrawn, plan.agreed, plan.asked, plan.again),
            )
            if dry:
                return moved
            revision = 0
            if len(plan.withdrawn) or len(plan.agreed) or len(plan.again):
                revision = self._withdraw(c, chosen, plan, asked, origin, code, by, selection)
            if len(plan.asked):
                revision = self._ask(c, chosen, plan.asked, asked, by, selection) or revision
            moved = msgspec.structs.replace(moved, revision=revision)
            return request.remember(c, moved) if request is not None else moved

    def quarantine(
        self,
        chosen: Chosen,
        *,
        by: Actor,
        code: str,
        reason: str = "",
        comment: str = "",
        selection: str = "",
        request: Request | None = None,
        dry: bool = False,
    ) -> Moved:
        """Keep entries from matching until they are released, as `Standing.quarantine_entry` does each one."""
        with self._db.write() as c:
            self._db.lock(c)
            if request is not None and (first := request.replayed(c, Moved)) is not None:
                return first
            chosen = self._as_now(c, chosen)
            gone = chosen.ids[chosen.states == WITHDRAWN]
            waiting = chosen.ids[chosen.states == QUARANTINED]
            active = chosen.ids[chosen.states == ACTIVE]
            held = self._held(c, waiting, EntryState.QUARANTINED)
            holding = np.array([i for i in waiting.tolist() if i not in held], np.int64)
            _refuse_too_many(len(active) + len(holding))
            moved = Moved(
                selected=len(chosen.ids),
                changed=len(active) + len(holding),
                skipped=_told({"WITHDRAWN": gone, "QUARANTINED": waiting[~np.isin(waiting, holding)]}),
                examples=_examples(active, holding),
            )
            if not dry and moved.changed:
                ids = ascending(np.concatenate([active, holding]))
                revision = append_event(
                    c,
                    by,
                    EventKind.ENTRIES_QUARANTINED,
                    subject=self._subject(c, chosen, ids),
                    reason=reason,
                    facts={"entries": len(ids), "was": str(EntryState.ACTIVE), **self._sets_told(c, chosen, ids)},
                    details={"comment": comment, "selection": selection},
                )
                undecided = np.array(
                    [i for i, _, why in self._rows(c, active) if UNCLASSIFIED in unpack_reasons(why)], np.int64
                )
                plain = active[~np.isin(active, undecided)]
                # Nobody has said what an undecided item is by putting it into quarantine.
                for part, codes in ((plain, (code,)), (undecided, (code, UNCLASSIFIED))):
                    if len(part):
                        self._writing.push_state(c, runs(part.tolist()), QUARANTINED, codes, revision)
                if len(active):
                    self._writing.add_changes(c, revision, [(WITHDRAW, IdSet.of(active), 0)])
                put_holds(c, self._db, ids.tolist(), Origin.OPERATOR, EntryState.QUARANTINED, revision)
                moved = msgspec.structs.replace(moved, revision=revision)
            return request.remember(c, moved) if request is not None and not dry else moved

    def release(
        self,
        chosen: Chosen,
        *,
        by: Actor,
        supersede: Mapping[int, Sequence[int]],
        lift: Sequence[int] = (),
        skipped: Mapping[str, Sequence[int]],
        reason: str = "",
        comment: str = "",
        selection: str = "",
        request: Request | None = None,
        dry: bool = False,
    ) -> Moved:
        """Let quarantined entries match, as `Standing.release_entry` does each one.

        `supersede`: by entry those that it replaces; `skipped`: those that stay, by reason, although they wait.
        """
        with self._db.write() as c:
            self._db.lock(c)
            if request is not None and (first := request.replayed(c, Moved)) is not None:
                return first
            chosen = self._as_now(c, chosen)
            plan = self._plan_release(c, chosen, supersede, skipped)
            moved = Moved(
                selected=len(chosen.ids),
                changed=len(plan.released),
                also=len(plan.overtaken[~np.isin(plan.overtaken, plan.replaced)]),
                skipped=_told(plan.skipped),
                examples=_examples(plan.released),
            )
            if not dry and moved.changed:
                revision = append_event(
                    c,
                    by,
                    EventKind.ENTRIES_RELEASED,
                    subject=self._subject(c, chosen, plan.released),
                    reason=reason,
                    facts={"entries": len(plan.released), **self._sets_told(c, chosen, plan.released)},
                    details={"comment": comment, "selection": selection},
                )
                self._release(c, plan, revision)
                lift_holds(c, self._db, [*plan.released.tolist(), *lift], EntryState.QUARANTINED)
                moved = msgspec.structs.replace(moved, revision=revision)
            return request.remember(c, moved) if request is not None and not dry else moved

    def restore(
        self,
        chosen: Chosen,
        *,
        by: Actor,
        lift: Sequence[int] = (),
        skipped: Mapping[str, Sequence[int]],
        comment: str = "",
        selection: str = "",
        request: Request | None = None,
        dry: bool = False,
    ) -> Moved:
        """Take withdrawals and requests for one back, as `Standing.restore_entries` does; `skipped`: those that stay
        withdrawn, by reason.
        """
        with self._db.write() as c:
            self._db.lock(c)
            if request is not None and (first := request.replayed(c, Moved)) is not None:
                return first
            chosen = self._as_now(c, chosen)
            left = _among(chosen, skipped)
            stays = np.concatenate([_NO_IDS, *left.values()])
            gone = chosen.ids[chosen.states == WITHDRAWN]
            gone = gone[~np.isin(gone, stays)]
            replaced = np.array(sorted(self._standing.replaced(c, gone.tolist())), np.int64)
            gone = gone[~np.isin(gone, replaced)]
            live = chosen.ids[chosen.states != WITHDRAWN]
            asked = np.intersect1d(live, np.array(self._requests(c, np.unique(chosen.hash_sets).tolist()), np.int64))
            left[SUPERSEDED] = ascending(np.concatenate([replaced, left.get(SUPERSEDED, _NO_IDS)]))
            for state, why in ((ACTIVE, "ACTIVE"), (QUARANTINED, "QUARANTINED")):
                ids = chosen.ids[chosen.states == state]
                left[why] = ids[~np.isin(ids, asked)]
            _refuse_too_many(len(gone) + len(asked))
            moved = Moved(
                selected=len(chosen.ids),
                changed=len(gone) + len(asked),
                skipped=_told(left),
                examples=_examples(gone, asked),
            )
            if not dry and moved.changed:
                ids = ascending(np.concatenate([gone, asked]))
                revision = append_event(
                    c,
                    by,
                    EventKind.ENTRIES_RESTORED,
                    subject=self._subject(c, chosen, ids),
                    reason="" if len(gone) else "REQUEST_TAKEN_BACK",
                    # Outsiders are not told that a withdrawal was asked for.
                    facts={
                        "entries": len(ids),
                        **self._sets_told(c, chosen, ids),
                        **({} if len(gone) else {"request": "TAKEN_BACK"}),
                    },
                    details={"comment": comment, "selection": selection},
                )
                for entry_id, _, packed in self._rows(c, asked):
                    self._writing.set_reasons(c, entry_id, without_pending(packed))
                ended = self._db.sql("DELETE FROM withdrawal WHERE entry BETWEEN ? AND ? AND pending")
                if len(asked):
                    c.exec_driver_sql(ended, runs(asked.tolist()))
                    touch(c, "withdrawal", asked.tolist())
                self._standing.stand_again(c, self._rows(c, gone), revision)
                lift_holds(c, self._db, [*ids.tolist(), *lift], EntryState.WITHDRAWN)
                moved = msgspec.structs.replace(moved, revision=revision)
            return request.remember(c, moved) if request is not None and not dry else moved

    def waiting(self, hash_sets: Sequence[int]) -> list[int]:
        """Return the entries of hash sets, by key, whose withdrawal waits for a second person."""
        return self._db.read(lambda c: self._requests(c, hash_sets))

    def requests_at(self, revision: int) -> list[int]:
        """Return the entries whose withdrawal was asked for at a revision and still waits for a second person."""
        sql = self._db.sql("SELECT entry FROM withdrawal WHERE pending AND revision = ? ORDER BY entry")
        return [row[0] for row in self._db.fetch(sql, (revision,))]

    # The parts

    def _requests(self, c: Connection, hash_sets: Sequence[int]) -> list[int]:
        w = s.withdrawal
        query = sa.select(w.c.entry).where(w.c.hash_set.in_(hash_sets), w.c.pending.is_(True)).order_by(w.c.entry)
        return list(c.execute(query).scalars())

    def _as_now(self, c: Connection, chosen: Chosen) -> Chosen:
        """Return the entries with their states as they are under the lock: those that moved since are read again."""
        sql = self._db.sql(
            "SELECT first_entry, last_entry, ids FROM change WHERE revision > ? AND kind <> ? ORDER BY revision"
        )
        moved = np.zeros(len(chosen.ids), np.bool_)
        for first, last, packed in c.exec_driver_sql(sql, (chosen.revision, STAGED)).all():
            for piece in IdSet(first, last, packed).pieces(1 << 20):
                moved |= np.isin(chosen.ids, piece, assume_unique=True)
        if not moved.any():
            return chosen
        fresh = self._writing.visible_states(c, chosen.ids[moved].tolist())
        states = chosen.states.copy()
        states[moved] = [fresh.get(i, 0) for i in chosen.ids[moved].tolist()]
        is_there = states > 0
        return Chosen(chosen.ids[is_there], states[is_there], chosen.hash_sets[is_there], chosen.revision)

    def _plan_release(
        self,
        c: Connection,
        chosen: Chosen,
        supersede: Mapping[int, Sequence[int]],
        skipped: Mapping[str, Sequence[int]],
    ) -> _ReleasePlan:
        left = _among(chosen, skipped)
        waiting = chosen.ids[chosen.states == QUARANTINED]
        waiting = waiting[~np.isin(waiting, np.concatenate([_NO_IDS, *left.values()]))]
        _refuse_too_many(len(waiting))
        pairs = np.array(
            [(i, later) for later in waiting.tolist() for i in supersede.get(later, ())], np.int64
        ).reshape(-1, 2)
        # One that another of these replaces is not released.
        replaced = waiting[np.isin(waiting, pairs[:, 0])]
        released = waiting[~np.isin(waiting, replaced)]
        pairs = pairs[np.isin(pairs[:, 1], released)]
        states = self._writing.visible_states(c, np.unique(pairs[:, 0]).tolist())
        return _ReleasePlan(
            released=released,
            overtaken=np.array([i for i in sorted(states) if states[i] != WITHDRAWN], np.int64),
            replaced=replaced,
            pairs=pairs,
            skipped={
                "ACTIVE": chosen.ids[chosen.states == ACTIVE],
                "WITHDRAWN": chosen.ids[chosen.states == WITHDRAWN],
                SUPERSEDED: replaced,
                **left,
            },
        )

    def _plan_withdrawal(
        self,
        c: Connection,
        chosen: Chosen,
        asked: Withdrawal,
        origin: Origin,
        limit: DailyLimit | None,
        by: Actor,
        also: Sequence[int],
    ) -> _WithdrawalPlan:
        is_wish = asked.reason is WithdrawalReason.REQUESTED_BY_PERSON_SHOWN
        live = chosen.ids[chosen.states != WITHDRAWN]
        gone = chosen.ids[chosen.states == WITHDRAWN]
        own, others = self._waiting(c, chosen, by)
        # What is carried out then is what was asked for, unless the person shown asks.
        agreed = np.intersect1d(live, others) if not is_wish else _NO_IDS
        withdrawn: list[Ids] = [_NO_IDS]
        to_ask: list[Ids] = [_NO_IDS]
        waits: list[Ids] = [_NO_IDS]
        for set_key in np.unique(chosen.hash_sets).tolist():
            of_set = chosen.ids[(chosen.hash_sets == set_key) & (chosen.states != WITHDRAWN)]
            sum_of_set = len(of_set)  # what is agreed to counts for the day as well
            of_set = of_set[~np.isin(of_set, agreed)]
            if limit is not None and len(of_set) and self._standing.is_beyond(c, set_key, limit, sum_of_set):
                waits.append(np.intersect1d(of_set, own))
                to_ask.append(of_set[~np.isin(of_set, own)])
            else:
                withdrawn.append(of_set)
        held = self._held(c, gone, EntryState.WITHDRAWN)
        replaced = np.array(sorted(self._standing.replaced(c, gone.tolist())), np.int64) if len(gone) else gone
        weaker = np.array([i for i in gone.tolist() if FIRMNESS[origin] > FIRMNESS[held.get(i, "")]], np.int64)
        again = weaker[~np.isin(weaker, replaced)]
        states = self._writing.visible_states(c, sorted(set(also)))
        with_them = np.array([i for i in sorted(states) if states[i] != WITHDRAWN], np.int64)
        with_them = with_them[~np.isin(with_them, live)]
        asked_for = ascending(np.concatenate(to_ask))
        if len(asked_for) + len(agreed) + len(again) > MOST:
            raise LimitExceeded(
                f"a withdrawal that needs a second person takes at most {MOST:,} entries at once, this one has "
                f"{len(asked_for) + len(agreed) + len(again):,}; choose fewer with --limit, or ask the operator to "
                "withdraw them",
                reason=Reason.TOO_LARGE,
            )
        return _WithdrawalPlan(
            withdrawn=ascending(np.concatenate(withdrawn)),
            agreed=agreed,
            asked=asked_for,
            again=again,
            also=with_them,
            skipped={
                "WITHDRAWN": gone[~np.isin(gone, again) & ~np.isin(gone, replaced)],
                SUPERSEDED: np.intersect1d(gone, replaced),
                PENDING: ascending(np.concatenate(waits)),
            },
        )

    def _withdraw(
        self,
        c: Connection,
        chosen: Chosen,
        plan: _WithdrawalPlan,
        asked: Withdrawal,
        origin: Origin,
        code: str,
        by: Actor,
        selection: str,
    ) -> int:
        every = ascending(np.concatenate([plan.withdrawn, plan.agreed, plan.again, plan.also]))
        at = now()
        again = IdSet.of(plan.again) if len(plan.again) else None
        revision = append_event(
            c,
            by,
            EventKind.ENTRIES_WITHDRAWN,
            subject=self._subject(c, chosen, every),
            reason=asked.reason,
            facts=self._withdrawal_facts(c, chosen, plan, every, origin, by),
            details={"comment": asked.comment, "selection": selection},
            undo=None if again is None else {"again": (again.first, again.last, again.packed)},
            at=at,
        )
        time = s.to_millis(at)
        for entry_id, _, packed in self._rows(c, plan.again):
            self._writing.set_reasons(c, entry_id, replace_reasons(packed, (code,)), revision)
        put_withdrawals(c, self._db, plan.again.tolist(), asked, revision, time)
        put_holds(c, self._db, plan.again.tolist(), origin, EntryState.WITHDRAWN, revision)
        self._agree(c, plan.agreed, revision, time)
        fresh = ascending(np.concatenate([plan.withdrawn, plan.also]))
        self._forget_requests(c, fresh, [key for key, _ in self._by_set(c, chosen, fresh)])
        parts: list[Part] = []
        for ids, why, held_by, withdrawal in (
            (fresh, code, origin, asked),
            (plan.agreed, "WITHDRAWN_BY_CONTRIBUTOR", Origin.CONTRIBUTOR, None),
        ):
            for set_key, of_set in self._by_set(c, chosen, ids):
                parts += [
                    Part(revision, len(parts) + i, set_key, why, IdSet.of(piece), str(held_by), (), withdrawal, time)
                    for i, piece in enumerate(_pieces(of_set))
                ]
        if parts:
            changes = [(WITHDRAW, part.ids, 0, part.hash_set) for part in parts]
            self._writing.add_changes_of_sets(c, revision, changes)
            self._outstanding.withdraw(c, parts)
            note_loss(c, sorted({part.hash_set for part in parts}), revision)
        return revision

    def _withdrawal_facts(
        self, c: Connection, chosen: Chosen, plan: _WithdrawalPlan, every: Ids, origin: Origin, by: Actor
    ) -> dict[str, str | int | tuple[str, ...]]:
        """Return the facts of the event of a withdrawal. `every`: all entries that it moves."""
        askers = self._askers(c, plan.agreed)
        facts: dict[str, str | int | tuple[str, ...]] = {
            "entries": len(every),
            "origin": str(origin),
            **self._sets_told(c, chosen, every),
        }
        if askers:
            facts["asked_by"] = tuple(f"tokens/{name}" for name in askers)
        if len(plan.again):
            facts["held_again"] = len(plan.again)
        if len(plan.also):
            facts["also"] = tuple(self._writing.subject(c, i) for i in plan.also[:_TOLD].tolist())
        if origin is Origin.PERSON_SHOWN and by.role is Role.CONTRIBUTOR:
            today = self._standing.wishes_counted(c).get(by.contributor, 0) + len(every)
            if today > WISHES_A_DAY:
                facts["requests_of_persons_shown_today"] = today
        return facts

    def _ask(self, c: Connection, chosen: Chosen, ids: Ids, asked: Withdrawal, by: Actor, selection: str) -> int:
        """Note that withdrawals were asked for. No change of the feed: only the contributor and operators are told."""
        at = now()
        revision = append_event(
            c,
            by,
            EventKind.WITHDRAWAL_ASKED,
            subject=self._subject(c, chosen, ids),
            reason=asked.reason,
            facts={"entries": len(ids), **self._sets_told(c, chosen, ids)},
            details={"comment": asked.comment, "selection": selection},
            at=at,
        )
        for entry_id, _, packed in self._rows(c, ids):
            reasons = (*unpack_reasons(packed), PENDING)
            self._writing.set_reasons(c, entry_id, replace_reasons(packed, reasons))
        pending = msgspec.structs.replace(asked, pending=True)
        put_withdrawals(c, self._db, ids.tolist(), pending, revision, s.to_millis(at))
        return revision

    def _askers(self, c: Connection, ids: Ids) -> list[str]:
        """Return who asked for the withdrawal of these entries, where it waits for a second person."""
        sql = "SELECT DISTINCT w.actor FROM withdrawal w WHERE w.pending AND w.entry {keys}"
        return sorted({row[0] for row in self._db.by_keys(sql, "int8", (), ids.tolist(), c)})

    def _agree(self, c: Connection, ids: Ids, revision: int, time: int) -> None:
        """Let requests for a withdrawal be carried out at a revision."""
        if len(ids):
            touch(c, "withdrawal", ids.tolist())
            update = self._db.sql(
                "UPDATE withdrawal SET pending = ?, revision = ?, time = ? WHERE entry BETWEEN ? AND ? AND pending"
            )
            c.exec_driver_sql(update, [(False, revision, time, *ends) for ends in runs(ids.tolist())])

    def _forget_requests(self, c: Connection, ids: Ids, hash_sets: Sequence[int]) -> None:
        """Let no request wait any more for entries that are withdrawn anyway."""
        waiting = np.intersect1d(np.array(self._requests(c, hash_sets), np.int64), ids)
        touch(c, "withdrawal", waiting.tolist())
        w = s.withdrawal
        for first, last in runs(waiting.tolist()):
            c.execute(sa.delete(w).where(w.c.entry.between(first, last), w.c.pending.is_(True)))

    def _waiting(self, c: Connection, chosen: Chosen, by: Actor) -> tuple[Ids, Ids]:
        """Return the entries whose withdrawal waits for a second person: asked for by this actor, and by others."""
        w = s.withdrawal
        sets = np.unique(chosen.hash_sets).tolist()
        rows = c.execute(
            sa.select(w.c.entry, w.c.actor).where(w.c.hash_set.in_(sets), w.c.pending.is_(True)).order_by(w.c.entry)
        ).all()
        own = np.array([row[0] for row in rows if row[1] == by.name], np.int64)
        return own, np.array([row[0] for row in rows if row[1] != by.name], np.int64)

    def _held(self, c: Connection, ids: Ids, effect: EntryState) -> Mapping[int, str]:
        sql = "SELECT h.entry, h.origin FROM hold h WHERE h.effect = ? AND h.entry {keys}"
        rows = self._db.by_keys(sql, "int8", (s.ENTRY_STATES[effect],), ids.tolist(), c)
        return {row[0]: row[1] for row in rows}

    def _release(self, c: Connection, plan: _ReleasePlan, revision: int) -> None:
        """Let entries be ACTIVE, with the remarks that they had before, and take the places of those they replace."""
        ids = plan.released.tolist()
        touch(c, "entry", ids)
        asked_for = self._standing.asked_for(c, ids)
        c.exec_driver_sql(
            self._db.sql("UPDATE entry SET state = ?, reasons = ?, update_revision = ? WHERE id = ?"),
            [
                (ACTIVE, pack_reasons(released_reasons(packed, is_asked_for=i in asked_for)), revision, i)
                for i, _, packed in self._rows(c, plan.released)
            ],
        )
        self._writing.add_changes(c, revision, [(UPSERT, IdSet.of(plan.released), 0)])
        self._writing.withdraw(c, plan.overtaken.tolist(), SUPERSEDED, revision, 0)
        for set_key in self._writing.sets_of(c, ids):
            self._writing.inherit(c, set_key, plan.pairs)
        successions = plan.pairs[np.isin(plan.pairs[:, 0], plan.overtaken)]
        self._writing.add_successions(c, np.unique(successions, axis=0) if len(successions) else successions)

    def _rows(self, c: Connection, ids: Ids) -> list[tuple[int, int, str | None]]:
        """Return id, state and packed reasons of entries as this transaction sees them."""
        self._outstanding.settle_these(c, ids.tolist())
        sql = (
            "SELECT e.id, e.state, e.reasons FROM entry e "  # noqa: S608 - our own text
            f"WHERE e.id {{keys}} AND NOT EXISTS ({STAGED_AROUND})"
        )
        return [(row[0], row[1], row[2]) for row in self._db.by_keys(sql, "int8", (), ids.tolist(), c)]

    def _by_set(self, c: Connection, chosen: Chosen, ids: Ids) -> Iterator[tuple[int, Ids]]:
        """Yield the hash sets that the entries are in, by key, each with its part of them. Of those that were chosen it
        is known.
        """
        if not len(ids):
            return
        at = np.minimum(np.searchsorted(chosen.ids, ids), max(len(chosen.ids) - 1, 0))
        is_known = chosen.ids[at] == ids if len(chosen.ids) else np.zeros(len(ids), np.bool_)
        keys = np.where(is_known, chosen.hash_sets[at], 0) if len(chosen.ids) else np.zeros(len(ids), np.int64)
        sql = "SELECT e.id, e.hash_set FROM entry e WHERE e.id {keys} ORDER BY e.id"
        rows = list(self._db.by_keys(sql, "int8", (), ids[~is_known].tolist(), c))
        keys[~is_known] = [row[1] for row in rows]
        for key in np.unique(keys).tolist():
            yield key, ids[keys == key]

    def _names(self, c: Connection, chosen: Chosen, ids: Ids) -> list[str]:
        """Return the names (CONTRIBUTOR/SET) of the hash sets that entries are in, in order."""
        t = s.hash_set
        keys = [key for key, _ in self._by_set(c, chosen, ids)]
        rows = c.execute(sa.select(t.c.contributor, t.c.id).where(t.c.key.in_(keys))).all()
        return sorted(f"{row[0]}/{row[1]}" for row in rows)

    def _subject(self, c: Connection, chosen: Chosen, ids: Ids) -> str:
        """Return what an event about these entries, all of one contributor, names: the smallest thing that holds
        them.
        """
        if len(ids) == 1:
            return self._writing.subject(c, int(ids[0]))
        names = self._names(c, chosen, ids)
        return f"hash-sets/{names[0]}" if len(names) == 1 else f"contributors/{names[0].partition('/')[0]}"

    def _sets_told(self, c: Connection, chosen: Chosen, ids: Ids) -> Mapping[str, tuple[str, ...]]:
        names = self._names(c, chosen, ids)
        return {"hash_sets": tuple(names[:_TOLD])} if len(names) > 1 else {}


def _pieces(ids: Ids) -> Iterator[Ids]:
    return (ids[start : start + CHANGE_IDS] for start in range(0, len(ids), CHANGE_IDS))


def _among(chosen: Chosen, skipped: Mapping[str, Sequence[int]]) -> dict[str, Ids]:
    """Return those of the entries that were chosen which are skipped, by reason."""
    return {why: np.intersect1d(chosen.ids, np.array(ids, np.int64)) for why, ids in skipped.items()}


def _told(skipped: Mapping[str, Ids]) -> dict[str, tuple[int, tuple[int, ...]]]:
    return {why: (len(ids), tuple(ids[:EXAMPLES].tolist())) for why, ids in skipped.items() if len(ids)}


def _examples(*parts: Ids) -> tuple[int, ...]:
    return tuple(np.concatenate([part[:EXAMPLES] for part in parts])[:EXAMPLES].tolist())


def _refuse_too_many(count: int) -> None:
    if count > MOST:
        raise LimitExceeded(
            f"one call moves at most {MOST:,} entries in this way, this one would move {count:,}; choose fewer with "
            "--limit, and run it again until none is left",
            reason=Reason.TOO_LARGE,
        )
