"""What the calls of all resources share: the connection, reading page by page, ids of requests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from hashhub.client.asking import PAGE, P, PagedRequest, listing
from hashhub.client.transport import Transport

__all__ = ["PAGE", "Calls", "request_id"]


class Calls:
    """A group of calls over one connection. Groups do not call each other; `Client` is all of them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _pages(self, method: str, request: PagedRequest, answer: type[P], *, size: int | None = None) -> Iterator[P]:
        """Return the pages of a list, to its end. `size`: of a page, where few of the list are wanted."""
        return self._transport.items(listing(method, request, answer, lambda page: (page,), size=size))


def request_id() -> str:
    """Return a new id, by which the hub tells a repeated write from a second one."""
    return str(uuid.uuid4())
