"""Writes that can be repeated: the first call with a request_id is remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Final, TypedDict, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import AlreadyExists
from hashhub.model import now
from hashhub.store import schema as s

_T = TypeVar("_T")
_REQUESTS_KEPT: Final = timedelta(days=7)  # how long a request_id is remembered


def forget_results(c: Connection, chosen: Callable[[Mapping[str, bytes]], Iterable[str]]) -> None:
    """Forget remembered results, packed and by request, that are chosen: a repeated call is then a new one."""
    t = s.request
    after = ""
    while rows := c.execute(sa.select(t.c.id, t.c.result).where(t.c.id > after).order_by(t.c.id).limit(1000)).all():
        after = rows[-1].id
        if gone := list(chosen({row.id: row.result for row in rows})):
            c.execute(sa.delete(t).where(t.c.id.in_(gone)))


class WriteOptions(TypedDict, total=False):
    """Whether a write is only checked, and the caller's id under which it may be repeated."""

    validate_only: bool
    request_id: str


class IdempotentRequest:
    """Makes a write repeatable: one actor's first call with an id is remembered, with what it asked and returned."""

    def __init__(self, request_id: str, method: str, content: object, actor: str) -> None:
        # No token's name holds a slash.
        self._id = f"{actor}/{request_id}" if request_id else ""
        self._digest = hashlib.sha256(msgspec.msgpack.encode((method, content))).digest()

    def replayed(self, c: Connection, result_type: type[_T]) -> _T | None:
        """Return the first call's result, None: this is the first. Raises AlreadyExists for another call's id."""
        if not self._id:
            return None
        t = s.request
        row = c.execute(sa.select(t.c.content_digest, t.c.result).where(t.c.id == self._id)).first()
        if row is None:
            return None
        if row[0] != self._digest:
            raise AlreadyExists("this request_id was used for a different call; use a new one for each call")
        return msgspec.msgpack.decode(row[1], type=result_type)

    def remember(self, c: Connection, result: _T) -> _T:
        """Keep the result in this transaction, forget those of long ago, and return it."""
        if self._id:
            t = s.request
            at = now()
            c.execute(sa.delete(t).where(t.c.create_time < s.to_millis(at - _REQUESTS_KEPT)))
            c.execute(
                sa.insert(t).values(
                    id=self._id,
                    content_digest=self._digest,
                    result=msgspec.msgpack.encode(result),
                    create_time=s.to_millis(at),
                )
            )
        return result
