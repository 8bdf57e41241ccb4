"""One connection to a hub, for threads: which bytes go where, for how long, and how often. It hides deadlines, retries
and TLS.

    call ──> attempt ──(Unavailable, or LimitExceeded or Conflict with RetryInfo)──> wait ──> attempt … ──> HashHubError
               │                                                                       until `retry_seconds` have passed
               └── answer

Every call carries a deadline. Only calls that can be repeated are: reads, and writes whose request holds a `request_id`
or whose repetition the contract defines as a success.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import ModuleType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import grpc
import msgspec
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hashhub import v1
from hashhub.client.connection import CLOSED, OPTIONS, Connection
from hashhub.errors import Unavailable

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


IN_FLIGHT: Final = 2  # calls sent ahead at a time; more would only fill memory

T = TypeVar("T")


class Transport:
    """A thread-safe channel with a bearer token; what it takes is explained at Connection."""

    def __init__(self, connection: Connection) -> None:
        """Prepare the channel; nothing is sent before the first call."""
        self._connection = connection
        self.address = address = connection.address
        if (credentials := connection.credentials) is not None:
            self._channel = grpc.secure_channel(address, credentials, OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, OPTIONS)
        self._stubs: dict[str, Callable[..., Any]] = {}
        self._is_closed = threading.Event()

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled, and none is tried again."""
        self._is_closed.set()
        self._channel.close()

    def call(
        self,
        request: Message,
        *,
        timeout: float | None = None,
        retry_seconds: float | None = None,
        repeatable: bool = True,
    ) -> Any:
        """Make the call of a request and return its answer; `timeout` and `retry_seconds`: see Attempts. Raises
        HashHubError.
        """
        send = self._stub(request)
        attempts = self._connection.attempts(timeout=timeout, retry_seconds=retry_seconds, repeatable=repeatable)
        while True:
            try:
                return send(request, timeout=attempts.timeout, metadata=self._connection.metadata)
            except grpc.RpcError as e:
                pause = attempts.pause(self._connection.error(e))
            except ValueError as e:
                raise Unavailable(CLOSED) from e
            self._is_closed.wait(pause)

    def ask(self, rpc: Rpc[R]) -> R:
        """Make a call and return what its answer means. Raises HashHubError."""
        return rpc.read(
            self.call(rpc.request, timeout=rpc.timeout, retry_seconds=rpc.retry_seconds, repeatable=rpc.repeatable)
        )

    def items(self, rpc: Rpc[Iterable[R]], limit: int | None = None) -> Iterator[R]:
        """Yield what is on a list's pages, at most `limit`, page by page as it is consumed. Raises HashHubError."""
        return islice(self._items(rpc), limit)

    def _items(self, rpc: Rpc[Iterable[R]]) -> Iterator[R]:
        while True:
            answer = self.call(rpc.request, timeout=rpc.timeout)
            yield from rpc.read(answer)
            if not rpc.turn(answer):
                return

    def each(self, rpcs: Iterable[Rpc[Iterable[R]]]) -> Iterator[R]:
        """Make calls one after the other, as they are consumed, and yield what their answers hold."""
        for rpc in rpcs:
            yield from self._items(rpc)

    def stream(self, rpc: Rpc[R], rest: Iterable[T] | None = None, put: Callable[[T], Message] = unread) -> Iterator[R]:
        """Make a streaming call and yield what its answers mean until either side ends it. Raises HashHubError.

        `rest`: what is sent after the request, as `put` makes messages of it, where the call goes on sending; another
        thread takes it as it comes, and what taking it raises is raised here.
        """
        failed: list[Exception] = []

        def requests(rest: Iterable[T]) -> Iterator[Message]:
            try:
                yield rpc.request
                yield from map(put, rest)
            except Exception as e:  # noqa: BLE001 - raised below, where the answers end: grpc would log it and hide it
                failed.append(e)

        sent = rpc.request if rest is None else requests(rest)
        try:
            answers = self._stub(rpc.request)(sent, metadata=self._connection.metadata)
        except ValueError as e:
            raise Unavailable(CLOSED) from e
        try:
            yield from map(rpc.read, answers)
        except grpc.RpcError as e:
            raise self._connection.error(e) from e
        finally:
            answers.cancel()
        if failed:
            raise failed[0]

    def _stub(self, request: Message) -> Callable[..., Any]:
        name = request.DESCRIPTOR.full_name
        send = self._stubs.get(name)
        if send is None:
            send = self._stubs[name] = stub(self._channel, request)
        return send


class SendAhead:
    """Makes calls in order on a thread of its own, IN_FLIGHT at a time, while whoever sends them goes on. When one
    fails, a later `send` or the end of the body raises its error; where the body raises, what is not yet sent is not.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sender = ThreadPoolExecutor(1, "hashhub-ahead")
        self._in_flight: deque[Future[object]] = deque()

    def __enter__(self) -> Self:
        return self

    def send(self, rpc: Rpc[Any]) -> None:
        """Make a call; wait while there are too many. Raises HashHubError, of a call before."""
        if len(self._in_flight) == IN_FLIGHT:
            self._in_flight.popleft().result()
        self._in_flight.append(self._sender.submit(self._transport.ask, rpc))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._in_flight:
                self._in_flight.popleft().result()
        finally:
            self._sender.shutdown(cancel_futures=True)


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
