"""Calls that a first person has made, and that wait for a second one."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from hashhub.model import Actor, EventKind, now
from hashhub.store import schema as s
from hashhub.store.database import Database, IdempotentRequest
from hashhub.store.events import append_event, touch, touch_resource


class Approval(NamedTuple):
    """A call that waits: its id, SERVICE/METHOD, the token, contributor and person that made it, and when."""

    id: str
    call: str
    token: str
    contributor: str
    person: str
    create_time: datetime


class ApprovalTable:
    """The part of the Store that knows what waits for a second person."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def list(self, since: datetime) -> list[Approval]:
        """Return what has waited since then or later, the oldest first."""
        sql = (
            "SELECT id, call, token, contributor, person, create_time FROM approval WHERE create_time >= ? "
            "ORDER BY create_time, id"
        )
        rows = self._db.fetch(sql, (s.to_millis(since),))
        return [Approval(r[0], r[1], r[2], r[3], r[4], s.from_millis(r[5])) for r in rows]

    def ask(self, approval_id: str, call: str, since: datetime, *, by: Actor) -> None:
        """Let a call wait from now on; those that began before `since` wait no more."""
        t = s.approval
        with self._db.write_in_order() as c:
            is_over = sa.or_(t.c.create_time < s.to_millis(since), t.c.id == approval_id)
            touch(c, "approval", c.scalars(sa.delete(t).where(is_over).returning(t.c.id)).all())
            at = s.to_millis(now())
            row = {"token": by.name, "contributor": by.contributor, "person": by.person, "create_time": at}
            c.execute(sa.insert(t).values(id=approval_id, call=call, **row))
            self._append(c, EventKind.APPROVAL_ASKED, approval_id, call, by)

    def take(self, approval: Approval, request_id: str, *, by: Actor) -> bool:
        """Let a call wait no more, because a second person makes it; return whether it still did."""
        t = s.approval
        with self._db.write_in_order() as c:
            is_there = c.execute(sa.delete(t).where(t.c.id == approval.id, t.c.token == approval.token)).rowcount == 1
            if is_there:
                self._append(c, EventKind.APPROVAL_GIVEN, approval.id, approval.call, by)
                _repeated(approval.id, request_id, by).remember(c, approval.person)
        return is_there

    def taken(self, approval_id: str, request_id: str, *, by: Actor) -> str | None:
        """Return who asked for the call that this second person made by this `request_id`, None where none was."""
        return self._db.read(lambda c: _repeated(approval_id, request_id, by).replayed(c, str))

    def _append(self, c: sa.Connection, kind: EventKind, approval_id: str, call: str, by: Actor) -> None:
        touch_resource(c, f"approvals/{approval_id}")
        append_event(c, by, kind, subject=f"approvals/{approval_id}", facts={"call": call})


def _repeated(approval_id: str, request_id: str, by: Actor) -> IdempotentRequest:
    content = (approval_id, request_id, by.person)
    own_id = hashlib.sha256(msgspec.msgpack.encode(content)).hexdigest()  # the caller's own stands for the call itself
    return IdempotentRequest(request_id and f"approval/{own_id}", "agree", content, by.name)
