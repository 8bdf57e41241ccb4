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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Self, TypeVar, cast

import grpc

from hashhub.client.asking import Answer, Call, Message, Pages
from hashhub.client.connection import CLOSED, OPTIONS, Connection, is_loopback
from hashhub.errors import Unavailable

__all__ = ["Transport", "is_loopback"]

IN_FLIGHT: Final = 2  # calls sent ahead at a time; more would only fill memory

A = TypeVar("A")
R = TypeVar("R")


class Transport:
    """A thread-safe channel with a bearer token; what it takes is explained at Connection."""

    def __init__(self, connection: Connection) -> None:
        """Prepare the channel; nothing is sent before the first call."""
        self._connection = connection
        self.address = address = connection.address
        if (credentials := self._connection.credentials) is not None:
            self._channel = grpc.secure_channel(address, credentials, OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, OPTIONS)
        self._methods: dict[str, Callable[..., object]] = {}
        self._lock = threading.Lock()
        self._is_closed = threading.Event()

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled, and none is tried again."""
        self._is_closed.set()
        self._channel.close()

    def call(
        self,
        method: str,
        request: Message,
        answer: type[A],
        *,
        timeout: float | None = None,
        retry_seconds: float | None = None,
        repeatable: bool = True,
    ) -> A:
        """Call `Service/Method` and return its answer.

        Each attempt has `timeout` seconds; new attempts begin until `retry_seconds` have passed, see Attempts. Raises
        HashHubError.
        """
        send = self._method(method, request, answer, stream=False)
        attempts = self._connection.attempts(timeout=timeout, retry_seconds=retry_seconds, repeatable=repeatable)
        while True:
            try:
                return cast("A", send(request, timeout=attempts.timeout, metadata=self._connection.metadata))
            except grpc.RpcError as e:
                pause = attempts.pause(self._connection.error(e))
            except ValueError as e:
                raise Unavailable(CLOSED) from e
            self._is_closed.wait(pause)

    def ask(self, call: Call[A, R]) -> R:
        """Make a call and return what its answer means. Raises HashHubError."""
        return call.read(
            self.call(
                call.method,
                call.request,
                call.answer,
                timeout=call.timeout,
                retry_seconds=call.retry_seconds,
                repeatable=call.repeatable,
            )
        )

    def items(self, pages: Pages[A, R]) -> Iterator[R]:
        """Yield what is on the pages of a list, a page at a time as it is consumed. Raises HashHubError."""
        call = pages.call
        while True:
            answer = self.call(call.method, call.request, call.answer, timeout=call.timeout)
            yield from call.read(answer)
            if not pages.turn(answer):
                return

    def stream(self, method: str, request: Message, answer: type[A]) -> Iterator[A]:
        """Call a streaming `Service/Method` and yield its answers until either side ends it. Raises HashHubError."""
        try:
            answers = self._method(method, request, answer, stream=True)(request, metadata=self._connection.metadata)
        except ValueError as e:
            raise Unavailable(CLOSED) from e
        try:
            yield from cast("Iterator[A]", answers)
        except grpc.RpcError as e:
            raise self._connection.error(e) from e
        finally:
            cast("grpc.RpcContext", answers).cancel()

    def converse(self, call: Call[A, R], rest: Iterable[Message]) -> Iterator[R]:
        """Make a call that goes on sending: its request, then the rest, which another thread takes as it comes. Yield
        what its answers mean until either side ends it. Raises HashHubError, and what taking the rest raises.
        """
        failed: list[Exception] = []

        def requests() -> Iterator[Message]:
            try:
                yield call.request
                yield from rest
            except Exception as e:  # noqa: BLE001 - raised below, where the answers end: grpc would log it and hide it
                failed.append(e)

        send = self._method(call.method, call.request, call.answer, stream=True, listens=True)
        try:
            answers = send(requests(), metadata=self._connection.metadata)
        except ValueError as e:
            raise Unavailable(CLOSED) from e
        try:
            for answer in cast("Iterator[A]", answers):
                yield call.read(answer)
        except grpc.RpcError as e:
            raise self._connection.error(e) from e
        finally:
            cast("grpc.RpcContext", answers).cancel()
        if failed:
            raise failed[0]

    def _method(
        self, method: str, request: Message, answer: type[object], *, stream: bool, listens: bool = False
    ) -> Callable[..., object]:
        with self._lock:
            call = self._methods.get(method)
            if call is None:
                make: Callable[..., Callable[..., object]] = self._channel.unary_unary
                if stream:
                    make = self._channel.stream_stream if listens else self._channel.unary_stream
                call = self._methods[method] = make(
                    f"/hashhub.v1.{method}",
                    request_serializer=type(request).SerializeToString,
                    response_deserializer=cast("type[Answer]", answer).FromString,
                )
            return call


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

    def send(self, call: Call[Any, Any]) -> None:
        """Make a call; wait while there are too many. Raises HashHubError, of a call before."""
        if len(self._in_flight) == IN_FLIGHT:
            self._in_flight.popleft().result()
        self._in_flight.append(self._sender.submit(self._transport.ask, call))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._in_flight:
                self._in_flight.popleft().result()
        finally:
            self._sender.shutdown(cancel_futures=True)
