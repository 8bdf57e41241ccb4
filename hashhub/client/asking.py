"""Calls as values: what is asked, and how an answer is read.

`transport` makes them from threads, `aio_transport` on an event loop; neither knows what a call is about, so that it is
said once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

PAGE: Final = 1_000  # what the hub gives at most


class Message(Protocol):
    """What a transport needs to know of a protobuf message."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return the wire form."""
        ...


class Answer(Protocol):
    """What a transport needs to know of the class of an answer."""

    @classmethod
    def FromString(cls, data: bytes, /) -> Answer:  # noqa: N802 - protobuf's name
        """Read the wire form."""
        ...


class PagedRequest(Message, Protocol):
    """What all requests of List calls share."""

    page_size: int
    page_token: str


class _Page(Protocol):
    """What all answers of List calls share."""

    next_page_token: str


A = TypeVar("A")
P = TypeVar("P", bound=_Page)
R = TypeVar("R")


class Call(msgspec.Struct, Generic[A, R], frozen=True, kw_only=True):
    """One call of `Service/Method`, and what its answer means.

    `timeout`: seconds for each attempt, None for the client's. `retry_seconds`: for how long new attempts begin, None
    for the client's. `repeatable`: False where a second attempt would be a second write.
    """

    method: str
    request: Message
    answer: type[A]
    read: Callable[[A], R]
    timeout: float | None = None
    retry_seconds: float | None = None
    repeatable: bool = True


class Pages(msgspec.Struct, Generic[A, R], frozen=True, kw_only=True):
    """A list that comes page by page: the call that gives one, and `turn`, which makes its request that of the page
    behind an answer, or returns False at the end.
    """

    call: Call[A, Iterable[R]]
    turn: Callable[[A], bool]


def listing(
    method: str,
    request: PagedRequest,
    answer: type[P],
    read: Callable[[P], Iterable[R]],
    *,
    size: int | None = None,
) -> Pages[P, R]:
    """Return a List call, page by page. `size`: of a page, where few of the list are wanted."""
    request.page_size = min(size or PAGE, PAGE)

    def turn(page: P) -> bool:
        request.page_token = page.next_page_token
        return bool(page.next_page_token)

    return Pages(call=Call(method=method, request=request, answer=answer, read=read), turn=turn)
