"""Conflicts, as people read them and what they do with them: rows of `conflict_pass`, listed under somebody's scope,
assigned and resolved. What is done is an event; that a conflict was found is none.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict as Clash
from hashhub.errors import FailedPrecondition, NotFound, Reason
from hashhub.model import (
    Actor,
    ConflictAction,
    ConflictChanges,
    ConflictKind,
    ConflictOrder,
    ConflictReason,
    ConflictResolution,
    ConflictState,
    Event,
    EventKind,
    Role,
    Severity,
    id_in_set,
    now,
)
from hashhub.store import schema as s
from hashhub.store.conflict_pass import ASSIGNED, ENDED, LEFT, OPEN, RESOLVED, RIGHT, set_values
from hashhub.store.database import Database, IdempotentRequest
from hashhub.store.events import Facts, append_event, touch

COMMENTS: Final = 20  # of one contributor about one conflict
_ETAG_DIGITS: Final = 16
_EXAMPLES: Final = 5


class ConflictRow(NamedTuple):
    """A conflict as it is kept. Hash sets are `CONTRIBUTOR/SET`. `grounds`: a keyed digest of
    what both sides state. `ended_side`: 0 none, 1 left, 2 right.
    """

    id: int
    name: str
    kind: ConflictKind
    dimension: str
    gravity: Severity
    left: str
    right: str
    left_count: int
    right_count: int
    grounds: bytes
    state: ConflictState
    assignee: str
    sequence: int
    open_time: datetime
    update_time: datetime
    revision: int
    ended_by: str
    ended_side: int


class ConflictScope(NamedTuple):
    """Which conflicts somebody may know of: one party is among `own`, the other among `visible` (hash sets' names)."""

    own: frozenset[str]
    visible: frozenset[str]


class ConflictQuery(NamedTuple):
    """Conditions on conflicts, by names of hash sets; None or empty: no condition.

    `pair`: one side is in each of the two. `parties`: either side is in each. `of_jurisdiction`: either side is in it,
    or it is a LEGAL_STATUS conflict by its `law`. `entry`: one on either side, by hash set and id.
    """

    kinds: tuple[ConflictKind, ...] = ()
    severities: tuple[Severity, ...] = ()
    states: tuple[ConflictState, ...] = ()
    pair: tuple[frozenset[str], frozenset[str]] | None = None
    parties: tuple[frozenset[str], ...] = ()
    of_jurisdiction: frozenset[str] | None = None
    law: str = ""
    assignee: str = ""
    since_revision: int = 0
    entry: tuple[str, int] | None = None


class PairCount(NamedTuple):
    """How many conflicts two hash sets have, by kind, gravity and state."""

    left: str
    right: str
    kind: ConflictKind
    gravity: Severity
    state: ConflictState
    number: int


class ConflictTable:
    """The part of the Store that shows conflicts, and keeps what people say of them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def list_conflicts(
        self,
        query: ConflictQuery,
        severity_reductions: Mapping[str, int],
        scope: ConflictScope | None,
        *,
        page_size: int,
        after: str | int = "",
    ) -> list[ConflictRow]:
        """Return up to `page_size` conflicts, those that were opened last first, behind the one of which `after` is the
        name or the sequence.

        `severity_reductions`: the steps by which each hash set lowers a conflict's severity. `scope` None: all.
        """
        t = s.conflict
        chosen = (
            sa.select(t.c.id)
            .where(*self._conditions(query, severity_reductions, scope), *_of_hash_sets_that_are())
            .limit(page_size)
        )
        if after:
            begin = sa.select(t.c.sequence).where(t.c.name == after).scalar_subquery()
            chosen = chosen.where(t.c.sequence < (after if isinstance(after, int) else begin))
        # Not in the order of an index for somebody who may not see everything: a walk along it would take its time by
        # what others have.
        chosen = chosen.order_by((t.c.sequence if scope is None else t.c.sequence + 0).desc())
        # Ids alone are sorted: whole rows of 50,000 conflicts take 40 ms, and these 20.
        return self._rows(sa.select(t).where(t.c.id.in_(chosen)).order_by(t.c.sequence.desc()))

    def get(self, name: str) -> ConflictRow:
        """Return a conflict. Raises NotFound."""
        chosen = sa.select(s.conflict).where(s.conflict.c.name == name, *_of_hash_sets_that_are())
        rows = self._rows(chosen)
        if not rows:
            raise no_conflict(name)
        return rows[0]

    def entries_of(self, conflict_id: int) -> tuple[list[int], list[int]]:
        """Return the ids of some entries of each side, ascending."""
        sql = "SELECT entry, side FROM conflict_entry WHERE conflict = ? ORDER BY entry"
        rows = self._db.fetch(sql, (conflict_id,))
        return [row[0] for row in rows if row[1] == LEFT], [row[0] for row in rows if row[1] == RIGHT]

    def resolutions_of(self, conflict: ConflictRow) -> list[ConflictResolution]:
        """Return what was said of a conflict, the oldest first."""
        r = s.conflict_resolution
        chosen = sa.select(r).where(r.c.conflict == conflict.id).order_by(r.c.id)
        return [
            s.struct_of(
                ConflictResolution,
                row,
                role=s.ROLES.members[row.role],
                reason=ConflictReason(row.reason),
                stands=row.grounds == conflict.grounds,
                create_time=s.from_millis(row.time),
            )
            for row in self._db.select(chosen)
        ]

    def opened_after(self, sequence: int, *, contributor: str = "", limit: int = 100) -> list[ConflictRow]:
        """Return up to `limit` conflicts that were opened, or opened again, after this one's `sequence` and still are,
        in that order; with `contributor`, those to which it is a party.

        Whose terms let whom know of one is for the hub to ask.
        """
        t = s.conflict
        chosen = (
            sa.select(t)
            .where(t.c.sequence > sequence, t.c.state.in_([OPEN, ASSIGNED]), *_of_hash_sets_that_are())
            .order_by(t.c.sequence)
            .limit(limit)
        )
        if contributor:
            keys = self._db.hash_set_names()
            own = [key for key, name in keys.items() if name.partition("/")[0] == contributor]
            chosen = chosen.where(sa.or_(t.c.left_set.in_(own), t.c.right_set.in_(own)))
        return self._rows(chosen)

    def counts(
        self, query: ConflictQuery, severity_reductions: Mapping[str, int], scope: ConflictScope | None
    ) -> list[PairCount]:
        """Return how many conflicts there are, by pair of hash sets, kind, gravity and state."""
        t = s.conflict
        by = (t.c.left_set, t.c.right_set, t.c.kind, t.c.gravity, t.c.state)
        chosen = (
            sa.select(*by, sa.func.count())
            .where(*self._conditions(query, severity_reductions, scope), *_of_hash_sets_that_are())
            .group_by(*by)
        )
        return [
            PairCount(
                self._db.hash_set_name(row[0]),
                self._db.hash_set_name(row[1]),
                s.CONFLICT_KINDS.members[row[2]],
                s.SEVERITIES.members[row[3]],
                s.CONFLICT_STATES.members[row[4]],
                row[5],
            )
            for row in self._db.select(chosen)
        ]

    def item_counts(self, scope: ConflictScope | None) -> dict[str, int]:
        """Return about how many items each contributor has unended conflicts about; `scope`: as `list_conflicts`."""
        t, h = s.conflict, s.hash_set
        keys = self._db.hash_set_names()

        def side(mine: sa.ColumnElement[int], others: sa.ColumnElement[int]) -> sa.Select[Any]:
            items = sa.select(h.c.contributor, t.c.item).join(h, h.c.key == mine)
            items = items.where(t.c.state != ENDED, *_of_hash_sets_that_are())
            if scope is None:
                return items
            own, visible = ([key for key, name in keys.items() if name in names] for names in scope)
            return items.where(mine.in_(own), others.in_(visible))

        items = sa.union(side(t.c.left_set, t.c.right_set), side(t.c.right_set, t.c.left_set)).subquery()
        chosen = sa.select(items.c.contributor, sa.func.count()).group_by(items.c.contributor)
        return {row[0]: row[1] for row in self._db.select(chosen)}

    def _conditions(
        self,
        query: ConflictQuery,
        severity_reductions: Mapping[str, int],
        scope: ConflictScope | None,
    ) -> list[sa.ColumnElement[bool]]:
        t, keys = s.conflict, self._db.hash_set_names()

        def of(names: Collection[str]) -> list[int]:
            return [key for key, name in keys.items() if name in names]

        def either_in(side: Collection[int]) -> sa.ColumnElement[bool]:
            return sa.or_(t.c.left_set.in_(side), t.c.right_set.in_(side))

        def between(one: Collection[int], other: Collection[int]) -> sa.ColumnElement[bool]:
            return sa.or_(
                sa.and_(t.c.left_set.in_(one), t.c.right_set.in_(other)),
                sa.and_(t.c.left_set.in_(other), t.c.right_set.in_(one)),
            )

        states = query.states or (ConflictState.OPEN, ConflictState.ASSIGNED, ConflictState.RESOLVED)
        conditions: list[sa.ColumnElement[bool]] = [t.c.state.in_([s.CONFLICT_STATES[x] for x in states])]
        if scope is not None:
            conditions.append(between(of(scope.own), of(scope.visible)))
        if query.kinds:
            conditions.append(t.c.kind.in_([s.CONFLICT_KINDS[x] for x in query.kinds]))
        if query.severities:
            down = [of({name for name, steps in severity_reductions.items() if steps == n}) for n in (2, 1)]
            lowest = sa.case(
                (either_in(down[0]), t.c.gravity - 2), (either_in(down[1]), t.c.gravity - 1), else_=t.c.gravity
            )
            severity = sa.case((lowest < 0, 0), else_=lowest)
            conditions.append(severity.in_([s.SEVERITIES[x] for x in query.severities]))
        if query.pair is not None:
            conditions.append(between(of(query.pair[0]), of(query.pair[1])))
        conditions += [either_in(of(names)) for names in query.parties]
        if query.of_jurisdiction is not None:
            by_law = t.c.dimension == f"legal_status:{query.law}"
            conditions.append(sa.or_(either_in(of(query.of_jurisdiction)), by_law))
        if query.assignee:
            conditions.append(t.c.assignee == query.assignee)
        if query.since_revision:
            conditions.append(t.c.revision >= query.since_revision)
        if query.entry is not None:
            member, of_set = s.conflict_entry.c, of({query.entry[0]})
            ids = [id_in_set(key, query.entry[1]) for key in of_set]
            on_side = sa.select(member.conflict).where(member.entry.in_(ids))
            conditions.append(
                sa.or_(
                    sa.and_(t.c.left_set.in_(of_set), t.c.id.in_(on_side.where(member.side == LEFT))),
                    sa.and_(t.c.right_set.in_(of_set), t.c.id.in_(on_side.where(member.side == RIGHT))),
                )
            )
        return conditions

    def change_one(
        self,
        name: str,
        order: ConflictOrder,
        *,
        etag: str = "",
        by: Actor,
        validate_only: bool = False,
        request_id: str = "",
    ) -> ConflictRow:
        """Do to a conflict what is ordered, and return it; RESOLVED by an operator's word, while a party's is a view.

        Raises NotFound; FailedPrecondition when it has ENDED or, but to reopen it or for a view, is RESOLVED, and
        beyond COMMENTS views of one contributor; Conflict when `etag` is of other statements or, but to resolve it,
        another state.
        """
        request = IdempotentRequest(request_id, f"{order.action.lower()}_conflict", (name, order, etag), by.name)
        is_view = order.action is ConflictAction.RESOLVE and by.role is not Role.OPERATOR
        with self._db.write_in_order() as c:
            row = self._of_name(c, name)
            if request.replayed(c, str) is not None:
                return row
            is_late = row.state is ConflictState.RESOLVED and not is_view and order.action is not ConflictAction.REOPEN
            if is_late or row.state is ConflictState.ENDED:
                raise _closed(row)
            _refuse_stale(row, etag.partition("-")[0] if order.action is ConflictAction.RESOLVE else etag)
            if is_view:
                _refuse_further_views(c, row, by.contributor)
            if validate_only or (why_left(row, order) and not is_view):
                return row
            self._do(c, row, order, by)
            request.remember(c, name)
            return self._of_name(c, name)

    def change(
        self,
        rows: Sequence[ConflictRow],
        order: ConflictOrder,
        asked: object,
        told: tuple[int, int],
        *,
        by: Actor,
        validate_only: bool = False,
        request_id: str = "",
    ) -> tuple[ConflictChanges, int]:
        """Do to conflicts what is ordered, each on its own record, and return it with where to go on. `asked`: which
        ones; `told`: how many fit, and where to go on. `validate_only`: by what was read of them.
        """
        left, changed, revision = Counter[str](), list[str](), 0
        own_id = request_id and f"{request_id}/{hashlib.sha256(msgspec.msgpack.encode(asked)).hexdigest()}"
        request = IdempotentRequest(own_id, "change_conflicts", (asked, order), by.name)
        with nullcontext() if validate_only else self._db.write_in_order() as c:
            if c is not None and (first := request.replayed(c, tuple[ConflictChanges, int])) is not None:
                return first
            for row in rows if c is None else self._of_ids(c, rows):
                if why := why_left(row, order):
                    left[why] += 1
                    continue
                changed.append(row.name)
                revision = 0 if c is None else self._do(c, row, order, by)
            done = ConflictChanges(
                action=order.action,
                selected=len(changed) + left.total(),
                changed=len(changed),
                skipped=dict(left),
                examples=tuple(changed[:_EXAMPLES]),
                revision=revision,
                validate_only=validate_only,
                total=told[0],
            )
            return (done, told[1]) if c is None else request.remember(c, (done, told[1]))

    def _do(self, c: Connection, row: ConflictRow, order: ConflictOrder, by: Actor) -> int:
        if order.reason is not None:
            return _say(c, row, order, order.reason, by)
        if order.action is ConflictAction.ASSIGN:
            return self._give(c, row, order.assignee, by, "")
        r = s.conflict_resolution
        closing = sa.select(sa.func.max(r.c.revision)).where(r.c.conflict == row.id, r.c.closes)
        return self._take_back(c, row, c.execute(closing).scalar_one(), order.comment, "", by)

    def undo(self, event: Event, *, by: Actor, reason: str, preview: Preview | None) -> tuple[str, bool]:
        """Undo what was done to a conflict: that it was given to somebody, resolved, or reopened. Return what becomes
        of it, and whether that is a change. `preview`: of a run that writes nothing, how it would have left conflicts.
        """
        r = s.conflict_resolution
        with self._db.write_in_order() as c:
            name = event.subject.removeprefix("conflicts/")
            try:
                row = self._of_name(c, name)
            except NotFound:
                return "the conflict is not on record any more", False
            said = c.execute(sa.select(r.c.revision, r.c.grounds, r.c.closes).where(r.c.conflict == row.id)).all()
            grounds = {x.revision: x.grounds for x in said}
            closing = frozenset(x.revision for x in said if x.closes)
            if preview is not None:
                row, closing = preview.get(name, (row, closing))
            told = event.facts.get("resolution")
            revision = told if isinstance(told, int) else event.revision
            if event.kind is EventKind.CONFLICT_ASSIGNED:
                details = event.details  # of which a name that is empty is left out
                if details is None or row.assignee != details.get("assignee", ""):
                    return "left as it is: it was given to somebody else since", False
                outcome, after = "it is with whom it was before", row._replace(assignee=details.get("before", ""))
                if preview is None:
                    self._give(c, row, after.assignee, by, reason)
            elif event.kind is EventKind.CONFLICT_RESOLVED:
                if revision not in closing:
                    return "it was reopened since", False
                outcome, after, closing = "the conflict is open again", _opened(row), closing - {revision}
                if preview is None:
                    self._take_back(c, row, revision, "", reason, by)
            else:
                if row.state is ConflictState.RESOLVED or grounds.get(revision) != row.grounds:
                    return "left as it is: it was resolved, or the statements changed, since", False
                outcome, closing = "it is resolved as it was", closing | {revision}
                after = row if row.state is ConflictState.ENDED else row._replace(state=ConflictState.RESOLVED)
                if preview is None:
                    _append(c, by, EventKind.CONFLICT_RESOLVED, row, reason, {"resolution": revision}, {})
                    touch(c, r.name, [row.id])
                    c.execute(sa.update(r).where(r.c.revision == revision).values(closes=True))
                    _set_state(c, after, resolved_grounds=row.grounds)
            if preview is not None:
                preview[name] = after, closing
            return outcome, True

    def _take_back(self, c: Connection, row: ConflictRow, revision: int, comment: str, reason: str, by: Actor) -> int:
        """Let what somebody said at a revision close a conflict no more."""
        details = {"comment": comment}
        taken_back = _append(c, by, EventKind.CONFLICT_REOPENED, row, reason, {"resolution": revision}, details)
        r, t = s.conflict_resolution, s.conflict
        said = sa.and_(r.c.conflict == row.id, r.c.revision == revision)
        touch(c, r.name, [row.id])
        c.execute(sa.update(r).where(said).values(closes=False))
        closing = sa.and_(
            t.c.id == row.id, t.c.resolved_grounds == sa.select(r.c.grounds).where(said).scalar_subquery()
        )
        if c.execute(sa.update(t).where(closing).values(resolved_grounds=b"")).rowcount:
            _set_state(c, _opened(row))
        return taken_back

    def _give(self, c: Connection, row: ConflictRow, assignee: str, by: Actor, reason: str) -> int:
        details = {"assignee": assignee, "before": row.assignee}
        revision = _append(c, by, EventKind.CONFLICT_ASSIGNED, row, reason, {}, details)
        given = row._replace(assignee=assignee)
        is_closed = row.state in {ConflictState.RESOLVED, ConflictState.ENDED}
        _set_state(c, given if is_closed else given._replace(state=_waiting(assignee)), assignee=assignee)
        return revision

    def _of_name(self, c: Connection, name: str) -> ConflictRow:
        row = c.execute(sa.select(s.conflict).where(s.conflict.c.name == name)).first()
        if row is None:
            raise no_conflict(name)
        return _conflict(row, self._db)

    def _of_ids(self, c: Connection, rows: Iterable[ConflictRow]) -> list[ConflictRow]:
        """Return the conflicts as they are now."""
        chosen = sa.select(s.conflict).where(s.conflict.c.id.in_([row.id for row in rows]))
        return [_conflict(row, self._db) for row in c.execute(chosen.order_by(s.conflict.c.sequence.desc()))]

    def _rows(self, query: sa.Select[Any]) -> list[ConflictRow]:
        return [_conflict(row, self._db) for row in self._db.select(query)]


Preview = dict[str, tuple[ConflictRow, frozenset[int]]]
"""Conflicts by name, and the revisions at which what closes each was said."""


_CONVERTED: Final = {"kind", "gravity", "state", "open_time", "update_time"}
_PLAIN: Final = set(ConflictRow._fields) & set(s.conflict.c.keys()) - _CONVERTED


def _conflict(row: Any, db: Database) -> ConflictRow:
    return ConflictRow(
        kind=s.CONFLICT_KINDS.members[row.kind],
        gravity=s.SEVERITIES.members[row.gravity],
        left=db.hash_set_name(row.left_set),
        right=db.hash_set_name(row.right_set),
        state=s.CONFLICT_STATES.members[row.state],
        open_time=s.from_millis(row.open_time),
        update_time=s.from_millis(row.update_time),
        **{name: getattr(row, name) for name in _PLAIN},
    )


def _append(
    c: Connection,
    by: Actor,
    kind: EventKind,
    conflict: ConflictRow,
    reason: str,
    facts: Facts,
    details: Mapping[str, str],
    *,
    at: datetime | None = None,
) -> int:
    """Append an event about a conflict, and return its revision."""
    subject, facts = f"conflicts/{conflict.name}", {"kind": conflict.kind, **facts}
    return append_event(c, by, kind, subject=subject, reason=reason, facts=facts, details=details, at=at)


def _waiting(assignee: str) -> ConflictState:
    return ConflictState.ASSIGNED if assignee else ConflictState.OPEN


def _opened(row: ConflictRow) -> ConflictRow:
    """Return a conflict without its resolution."""
    return row._replace(state=_waiting(row.assignee)) if row.state is ConflictState.RESOLVED else row


def _set_state(c: Connection, row: ConflictRow, **more: object) -> None:
    values = {"state": s.CONFLICT_STATES[row.state], "update_time": s.to_millis(now()), **more}
    set_values(c, row.id, values)


def etag_of(row: ConflictRow, *, is_whole: bool) -> str:
    """Return what changes with a conflict's ground; `is_whole`: and with what was done to it, which few may know."""
    state = f"{row.state}\0{row.assignee}".encode()
    told = (b"conflict etag\0" + row.grounds, *([b"conflict state\0" + state] if is_whole else []))
    return "-".join(hashlib.sha256(text).hexdigest()[:_ETAG_DIGITS] for text in told)


def why_left(row: ConflictRow, order: ConflictOrder) -> str:
    """Return why an order leaves a conflict as it is: its state, or NOT_A_PARTY. Empty: it does not."""
    is_closed = row.state in {ConflictState.RESOLVED, ConflictState.ENDED}
    is_reopened = order.action is ConflictAction.REOPEN
    is_given = order.action is ConflictAction.ASSIGN and row.assignee == order.assignee
    if is_given or (row.state is not ConflictState.RESOLVED if is_reopened else is_closed):
        return row.state
    return "" if party_of(order) in {"", *parties_of(row)} else "NOT_A_PARTY"


def parties_of(row: ConflictRow) -> set[str]:
    """Return the contributors whose statements conflict."""
    return {row.left.partition("/")[0], row.right.partition("/")[0]}


def party_of(order: ConflictOrder) -> str:
    """Return the contributor that has to be a party for an order; empty: none."""
    collection, slash, assignee = order.assignee.partition("/")
    return order.decided_for or (assignee if collection + slash == "contributors/" else "")


def _refuse_stale(row: ConflictRow, etag: str) -> None:
    if etag and etag not in {etag_of(row, is_whole=True), etag_of(row, is_whole=False)}:
        raise Clash(
            f"what the parties of conflict {row.name} state, or what was done to it, has changed since it was read; "
            "read it again first"
        )


def _say(c: Connection, row: ConflictRow, order: ConflictOrder, reason: ConflictReason, by: Actor) -> int:
    """Append what somebody says that a conflict comes to; an operator's word closes it."""
    r, at, closes = s.conflict_resolution, now(), by.role is Role.OPERATOR
    kind = EventKind.CONFLICT_RESOLVED if closes else EventKind.CONFLICT_COMMENTED
    facts = {"decided_for": order.decided_for} if order.decided_for else {}
    revision = _append(c, by, kind, row, reason, facts, {"comment": order.comment}, at=at)
    touch(c, r.name, [row.id])
    c.execute(
        sa.insert(r).values(
            conflict=row.id,
            contributor=by.contributor,
            actor=by.name,
            role=s.ROLES[by.role],
            reason=reason,
            comment=order.comment,
            decided_for=order.decided_for,
            closes=closes,
            grounds=row.grounds,
            time=s.to_millis(at),
            revision=revision,
        )
    )
    if closes:
        set_values(c, row.id, {"state": RESOLVED, "resolved_grounds": row.grounds, "update_time": s.to_millis(at)})
    return revision


def no_conflict(name: str) -> NotFound:
    """Return the error for a conflict that does not exist, or that the caller may not know of."""
    return NotFound(f"there is no conflict {name[:60]!r}", kind="Conflict", name=name)


def _refuse_further_views(c: Connection, row: ConflictRow, contributor: str) -> None:
    """Raise FailedPrecondition where a contributor has said of a conflict what it thinks as often as it may."""
    r = s.conflict_resolution
    views = sa.select(sa.func.count()).where(
        r.c.conflict == row.id, r.c.contributor == contributor, r.c.closes.is_(False)
    )
    if c.execute(views).scalar_one() >= COMMENTS:
        raise FailedPrecondition(
            f"{contributor} has said {COMMENTS} times what it thinks of conflict {row.name}; ask the hub's operator to "
            "close it",
            reason=Reason.CONFLICT_CLOSED,
        )


def _closed(row: ConflictRow) -> FailedPrecondition:
    state = "was resolved" if row.state is ConflictState.RESOLVED else "has ended"
    return FailedPrecondition(
        f"conflict {row.name} {state}; it opens again by itself when a party states something else about the item"
        + (", and an operator reopens it" if row.state is ConflictState.RESOLVED else ""),
        reason=Reason.CONFLICT_CLOSED,
    )


def _of_hash_sets_that_are() -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition that neither hash set of a conflict was deleted."""
    t, h = s.conflict, s.hash_set
    deleted = sa.select(h.c.key).where(h.c.delete_revision > 0)
    return (t.c.left_set.not_in(deleted), t.c.right_set.not_in(deleted))
