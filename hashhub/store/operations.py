"""Long-running operations, in the database: any process of a hub starts one, one runs it, every one tells of it.

    WAITING ──claim──> RUNNING ──finish──> SUCCEEDED, FAILED, CANCELLED ──expire_time──> gone
                          └── the lease runs out, or its holder has ended: FAILED (ABORTED), whoever looks first

Whoever runs an operation renews its lease with its progress. A process that was taken for dead and is not learns so
from its next `renew`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict, FailedPrecondition, LimitExceeded, NotFound, Reason, StatusCode
from hashhub.model import Actor, Failure, Operation, OperationState, Role, now
from hashhub.store import schema as s
from hashhub.store.database import Database, IdempotentRequest
from hashhub.store.leases import is_held

LEASE: Final = timedelta(seconds=60)  # above the time that a write may wait behind an import's
MAX_WAITING: Final = 8  # operations of a hub that wait
MAX_WAITING_OF_CONTRIBUTORS: Final = 6  # of those; the rest is for operators and auditors
MAX_WAITING_EACH: Final = 2  # operations that wait of one contributor that does not oversee the hub
MAX_ENDED_EACH: Final = 100  # kept of each contributor; the oldest go first
_RETRY_SECONDS: Final = 30.0
_OVERSEERS: Final = (s.ROLES[Role.OPERATOR], s.ROLES[Role.AUDITOR])
_WAITING: Final = s.OPERATION_STATES[OperationState.WAITING]
_RUNNING: Final = s.OPERATION_STATES[OperationState.RUNNING]
_T: Final = s.operation
_ABORTED: Final = Failure(
    code=StatusCode.ABORTED,
    reason=Reason.OPERATION_ABORTED,
    message="the server that ran this operation ended in the middle; start the operation again",
)


class OperationTable:
    """The part of the Store that knows what is being worked on. Nothing here moves a revision."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def create(self, method: str, request: bytes, *, by: Actor, request_id: str = "") -> Operation:
        """Let an operation wait for its turn. Raises LimitExceeded when as many wait as may."""
        replay = IdempotentRequest(request_id, method, request, by.name)
        with self._db.write_in_order() as c:
            if (first := replay.replayed(c, str)) is not None:
                return self._get(c, first)
            if by.role not in {Role.OPERATOR, Role.AUDITOR}:
                of_contributors = sa.and_(_T.c.state == _WAITING, _T.c.role.not_in(_OVERSEERS))
                own = sa.and_(of_contributors, _T.c.contributor == by.contributor)
                self._check_room(c, own, MAX_WAITING_EACH, "of this contributor wait for their turn")
                self._check_room(c, of_contributors, MAX_WAITING_OF_CONTRIBUTORS, "wait for their turn")
            self._check_room(c, _T.c.state == _WAITING, MAX_WAITING, "wait for their turn")
            at = s.to_millis(now())
            operation_id = f"op-{secrets.token_hex(8)}"
            c.execute(
                sa.insert(_T).values(
                    id=operation_id,
                    state=_WAITING,
                    method=method,
                    request=request,
                    actor=by.name,
                    contributor=by.contributor,
                    role=s.ROLES[by.role],
                    create_time=at,
                    update_time=at,
                )
            )
            replay.remember(c, operation_id)
            return self._get(c, operation_id)

    def get(self, operation_id: str) -> Operation:
        """Return an operation as it is now. Raises NotFound."""
        self.end_abandoned()
        return self._db.read(lambda c: self._get(c, operation_id))

    def list(self, contributor: str | None, size: int, before: int) -> tuple[list[Operation], int]:
        """Return the newest operations before a position (0: all) and the position to go on at; 0 at the end.

        `contributor`: those that it started, without what operators and auditors of that contributor did; None: all.
        """
        self.end_abandoned()
        query = sa.select(_T).order_by(_T.c.key.desc()).limit(size + 1)
        if contributor is not None:
            query = query.where(_T.c.contributor == contributor, _T.c.role.not_in(_OVERSEERS))
        if before:
            query = query.where(_T.c.key < before)
        rows = self._db.select(query)
        return [_operation(row) for row in rows[:size]], rows[size - 1].key if len(rows) > size else 0

    def has_waiting(self) -> bool:
        """Whether one waits for its turn. A look through an index."""
        return bool(self._db.fetch(f"SELECT 1 FROM operation WHERE state = {_WAITING} LIMIT 1"))  # noqa: S608 - ours

    def claim(self, lease: str) -> Operation | None:
        """Begin the next operation, unless one runs: the oldest of the contributor whose turn was longest ago."""
        with self._db.write_in_order() as c:
            self._end_abandoned(c)
            if c.scalar(sa.select(_T.c.key).where(_T.c.state == _RUNNING).limit(1)) is not None:
                return None
            # Many that one contributor starts one after the other do not keep another's waiting.
            others = _T.alias()
            last_turn = (
                sa.select(sa.func.coalesce(sa.func.max(others.c.end_time), 0))
                .where(others.c.contributor == _T.c.contributor)
                .scalar_subquery()
            )
            waiting = sa.select(_T.c.id).where(_T.c.state == _WAITING).order_by(last_turn, _T.c.key).limit(1)
            operation_id = c.scalar(waiting)
            if operation_id is None:
                return None
            at = now()
            c.execute(
                sa.update(_T)
                .where(_T.c.id == operation_id)
                .values(
                    state=_RUNNING,
                    lease=lease,
                    lease_until=s.to_millis(at + LEASE),
                    update_time=s.to_millis(at),
                )
            )
            return self._get(c, operation_id)

    def note_hash_sets(self, operation_id: str, lease: str, hash_sets: Sequence[str]) -> None:
        """Keep which hash sets the operation reads, before it reads any. Raises Conflict when it is not ours."""
        self._change(operation_id, lease, {"hash_sets": msgspec.json.encode(sorted(hash_sets))})

    def renew(self, operation_id: str, lease: str, done: int, total: int, doing: str) -> bool:
        """Keep the lease, note progress, and return whether to go on. Raises Conflict when it is not ours any more."""
        at = now()
        values = {
            "lease_until": s.to_millis(at + LEASE),
            "update_time": s.to_millis(at),
            "done": done,
            "total": total,
            "doing": doing,
        }
        return not self._change(operation_id, lease, values).is_cancelled

    def finish(
        self,
        operation_id: str,
        lease: str,
        *,
        response: bytes = b"",
        failure: Failure | None = None,
        size: int = 0,
        expire_time: datetime,
    ) -> Operation:
        """End an operation, with a response or a failure. Raises Conflict when it is not ours any more."""
        state = OperationState.SUCCEEDED
        if failure is not None:
            state = OperationState.CANCELLED if failure.code == StatusCode.CANCELLED else OperationState.FAILED
        values = _ended(state, failure, expire_time) | {"response": response, "size": size}
        if state is OperationState.SUCCEEDED:
            values["done"] = _T.c.total
        return self._change(operation_id, lease, values)

    def cancel(self, operation_id: str, failure: Failure, expire_time: datetime) -> Operation:
        """End an operation that waits with `failure`, and ask one that runs to end. Raises NotFound."""
        with self._db.write_in_order() as c:
            operation = self._get(c, operation_id)
            if operation.has_ended:
                return operation
            values: dict[str, Any] = {"is_cancelled": True}
            if operation.state is OperationState.WAITING:
                values |= _ended(OperationState.CANCELLED, failure, expire_time)
            c.execute(sa.update(_T).where(_T.c.id == operation_id).values(**values))
            return self._get(c, operation_id)

    def delete(self, operation_id: str) -> None:
        """Forget an operation that has ended. Raises NotFound, FailedPrecondition (OPERATION_UNFINISHED)."""
        with self._db.write_in_order() as c:
            if not self._get(c, operation_id).has_ended:
                raise FailedPrecondition(
                    f"operation {operation_id} has not ended; cancel it first, or wait for its end",
                    reason=Reason.OPERATION_UNFINISHED,
                )
            c.execute(sa.delete(_T).where(_T.c.id == operation_id))

    def expire(self, at: datetime, max_bytes: int) -> None:
        """Forget ended operations whose time is over, and the oldest beyond `max_bytes` or a contributor's share."""
        self.end_abandoned()
        ended = sa.select(_T.c.key, _T.c.contributor, _T.c.size, _T.c.expire_time).where(
            _T.c.state.not_in((_WAITING, _RUNNING))
        )
        rows = self._db.select(ended.order_by(_T.c.key.desc()))
        counts: dict[str, int] = {}
        total = 0
        over = []
        for key, contributor, size, expire_time in rows:
            counts[contributor] = counts.get(contributor, 0) + 1
            total += size
            if expire_time <= s.to_millis(at) or counts[contributor] > MAX_ENDED_EACH or total > max_bytes:
                over.append(key)
                total -= size
                counts[contributor] -= 1
        if over:
            with self._db.write() as c:
                for start in range(0, len(over), 500):
                    c.execute(sa.delete(_T).where(_T.c.key.in_(over[start : start + 500])))

    def ids(self) -> frozenset[str]:
        """Return the ids of all operations that are kept."""
        return frozenset(row[0] for row in self._db.fetch("SELECT id FROM operation"))

    def end_abandoned(self) -> None:
        """End what nobody runs any more although it was begun. One look through an index unless there is some."""
        if self._db.read(self.abandoned):
            with self._db.write_in_order() as c:
                self._end_abandoned(c)

    def abandon(self) -> None:
        """End all that runs: for a server that has just started and knows that it is the only one."""
        if self._db.fetch(f"SELECT 1 FROM operation WHERE state = {_RUNNING} LIMIT 1"):  # noqa: S608 - a number
            with self._db.write() as c:
                c.execute(sa.update(_T).where(_T.c.state == _RUNNING).values(lease_until=0))
                self._end_abandoned(c)

    def abandoned(self, c: Connection) -> dict[int, int]:
        """Return until when the lease is of each operation that nobody runs any more, by key."""
        running = c.execute(sa.select(_T.c.key, _T.c.lease_until, _T.c.lease).where(_T.c.state == _RUNNING)).all()
        return {row.key: row.lease_until for row in running if not is_held(row.lease, row.lease_until)}

    def _end_abandoned(self, c: Connection) -> None:
        ended = _ended(OperationState.FAILED, _ABORTED, now() + timedelta(days=1))
        for key, until in self.abandoned(c).items():
            c.execute(
                sa.update(_T)
                # Unless it was renewed, or ended, since it was looked at.
                .where(_T.c.key == key, _T.c.state == _RUNNING, _T.c.lease_until == until)
                .values(ended)
            )

    def _change(self, operation_id: str, lease: str, values: dict[str, Any]) -> Operation:
        with self._db.write() as c:
            changed = c.execute(
                sa.update(_T)
                .where(_T.c.id == operation_id, _T.c.lease == lease, _T.c.state == _RUNNING)
                .values(**values)
            )
            if not changed.rowcount:
                raise Conflict(f"operation {operation_id} was ended meanwhile; nothing more becomes of it")
            return self._get(c, operation_id)

    def _check_room(self, c: Connection, which: sa.ColumnElement[bool], most: int, what: str) -> None:
        count = c.scalar(sa.select(sa.func.count()).select_from(_T).where(which)) or 0
        if count >= most:
            raise LimitExceeded(
                f"{count} operations {what}; retry in {_RETRY_SECONDS:g} s, or cancel one that is not needed",
                retry_after=_RETRY_SECONDS,
                metadata={"room": "operations"},
            )

    def _get(self, c: Connection, operation_id: str) -> Operation:
        row = c.execute(sa.select(_T).where(_T.c.id == operation_id)).first()
        if row is None:
            raise unknown(operation_id)
        return _operation(row)


def _ended(state: OperationState, failure: Failure | None, expire_time: datetime) -> dict[str, Any]:
    """Return the columns of an operation that ends now."""
    at = s.to_millis(now())
    return {
        "state": s.OPERATION_STATES[state],
        "failure": None if failure is None else msgspec.json.encode(failure),
        "update_time": at,
        "end_time": at,
        "expire_time": s.to_millis(expire_time),
        "lease": "",
        "lease_until": 0,
    }


def unknown(operation_id: str) -> NotFound:
    """Return the error for an operation that there is not, or that the caller may not know of."""
    return NotFound(
        f"there is no operation {operation_id[:80]!r}, or not any more; `hashhub operation list` shows them",
        kind="Operation",
        name=operation_id[:80],
    )


def _operation(row: Any) -> Operation:
    return s.struct_of(
        Operation,
        row,
        actor=Actor(row.actor, row.contributor, s.ROLES.members[row.role]),
        state=s.OPERATION_STATES.members[row.state],
        hash_sets=msgspec.json.decode(row.hash_sets, type=tuple[str, ...]),
        create_time=s.from_millis(row.create_time),
        update_time=s.from_millis(row.update_time),
        end_time=s.time_of(row.end_time),
        expire_time=s.time_of(row.expire_time),
        failure=None if row.failure is None else msgspec.json.decode(row.failure, type=Failure),
    )
