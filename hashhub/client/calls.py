"""What the calls of all resources share: the connection, reading page by page, ids of writes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hashhub.client.rpc import PagedRequest, Rpc, listing
from hashhub.client.transport import Transport

R = TypeVar("R")


class Calls:
    """A group of calls over one connection. Groups do not call each other; `Client` is all of them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _ask(
        self, request: Any, read: Callable[[Any], R], *, timeout: float | None = None, repeatable: bool = True
    ) -> R:
        """Make a call and return what its answer means; a write gets an id, so that a repetition is known as one."""
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            request.request_id = str(uuid.uuid4())
        return self._transport.ask(Rpc(request=request, read=read, timeout=timeout, repeatable=repeatable))

    def _list(
        self, request: PagedRequest, field: str, read: Callable[[Any], R], limit: int | None = None
    ) -> Iterator[R]:
        """Yield what a field of a list's answers holds, page by page as it is consumed; at most `limit` of it."""
        pages = listing(request, lambda page: map(read, getattr(page, field)), size=limit)
        return self._transport.items(pages, limit)


def secret_of(answer: Any) -> str:
    """Return the secret in an answer."""
    return str(answer.secret)
