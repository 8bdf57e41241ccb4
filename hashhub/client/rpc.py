"""Remote calls as values: what is asked, and how an answer is read. `transport` makes them from threads,
`aio_transport` on an event loop. Which method a request belongs to, and what it answers with, the contract says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hashhub import v1

R = TypeVar("R")
PAGE: Final = 1_000  # what the hub gives at most
_METHODS: Final[dict[str, Any]] = {
    method.input_type.full_name: method
    for module in vars(v1).values()
    if isinstance(module, ModuleType)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class PagedRequest(Protocol):
    """What all requests of List calls share."""

    page_size: int
    page_token: str


class Rpc(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One remote call, and what its answer means.

    `turn`, of a list: make the request that of the page behind an answer; False at the end. `timeout`: seconds for each
    attempt, None for the client's. `retry_seconds`: for how long new attempts begin, None for the client's.
    `repeatable`: False where a second attempt would be a second write.
    """

    request: Any
    read: Callable[[Any], R]
    turn: Callable[[Any], bool] = lambda _: False
    timeout: float | None = None
    retry_seconds: float | None = None
    repeatable: bool = True


def unread(answer: Any) -> Any:
    """Return an answer as it was sent."""
    return answer


def listing(request: PagedRequest, read: Callable[[Any], Iterable[R]], *, size: int | None = None) -> Rpc[Iterable[R]]:
    """Return a List call, page by page. `size`: of a page, where few of the list are wanted."""
    request.page_size = min(size or PAGE, PAGE)

    def turn(page: Any) -> bool:
        request.page_token = page.next_page_token
        return bool(page.next_page_token)

    return Rpc(request=request, read=read, turn=turn)


def stub(channel: Any, request: Message) -> Callable[..., Any]:
    """Return what makes the call of a request over a channel of grpc or grpc.aio."""
    method = _METHODS[request.DESCRIPTOR.full_name]
    ways = ("stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming))
    send: Callable[..., Any] = getattr(channel, "_".join(ways))(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    return send
