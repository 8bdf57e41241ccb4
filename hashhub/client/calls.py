"""What the calls of all resources share: the connection, reading page by page, ids of requests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Protocol, TypeVar

from hashhub.client.asking import PAGE
from hashhub.client.transport import Transport

__all__ = ["PAGE", "Calls", "request_id"]


class _Page(Protocol):
    """What all answers of List calls share."""

    next_page_token: str


class _PagedRequest(Protocol):
    """What all requests of List calls share."""

    page_size: int
    page_token: str

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's name


P = TypeVar("P", bound=_Page)


class Calls:
    """A group of calls over one connection. Groups do not call each other; `Client` is all of them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _pages(self, method: str, request: _PagedRequest, answer: type[P], *, size: int | None = None) -> Iterator[P]:
        """Yield the pages of a list, to its end. `size`: of a page, where few of the list are wanted."""
        request.page_size = min(size or PAGE, PAGE)
        while True:
            page = self._transport.call(method, request, answer)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def request_id() -> str:
    """Return a new id, by which the hub tells a repeated write from a second one."""
    return str(uuid.uuid4())
