"""One connection to a hub for an event loop. Deadlines and retries are those of `transport`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import Any, Final, TypeVar, cast

import grpc
import grpc.aio

from hashhub.client.asking import Answer, Call, Message, Pages
from hashhub.client.connection import CLOSED, OPTIONS, Connection
from hashhub.errors import FailedPrecondition, Unavailable

_PIECE: Final = 50  # answers that are converted before others on the loop have their turn: some milliseconds

A = TypeVar("A")
R = TypeVar("R")


class AsyncTransport:
    """A channel that belongs to the event loop of its first call."""

    def __init__(self, connection: Connection) -> None:
        """Keep where calls go; the channel is made by the first call, for then there is a loop."""
        self.connection = connection
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._methods: dict[str, Callable[..., Any]] = {}
        self._is_closed = False

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()

    async def ask(self, call: Call[A, R]) -> R:
        """Make a call and return what its answer means. Raises HashHubError."""
        return call.read(await self._answer(call))

    async def each(self, call: Call[A, Iterable[R]]) -> AsyncGenerator[R, None]:
        """Make a call and yield what its answer holds, piece by piece. Raises HashHubError."""
        async for one in _in_pieces(call.read(await self._answer(call))):
            yield one

    async def items(self, pages: Pages[A, R]) -> AsyncGenerator[R, None]:
        """Yield what is on the pages of a list, a page at a time as it is consumed. Raises HashHubError."""
        while True:
            answer = await self._answer(pages.call)
            async for one in _in_pieces(pages.call.read(answer)):
                yield one
            if not pages.turn(answer):
                return

    async def stream(self, call: Call[A, R]) -> AsyncGenerator[R, None]:
        """Make a streaming call and yield what its answers mean until either side ends it. Raises HashHubError."""
        answers = self._method(call.method, call.request, call.answer, stream=True)(
            call.request, metadata=self.connection.metadata
        )
        try:
            async for answer in answers:
                yield call.read(cast("A", answer))
        except grpc.RpcError as e:
            raise self.connection.error(e) from e
        except asyncio.CancelledError as e:
            self._raise_unless_cancelled(e)
        finally:
            answers.cancel()

    async def converse(self, call: Call[A, R], rest: AsyncIterable[Message]) -> AsyncGenerator[R, None]:
        """Make a call that goes on sending: its request, then the rest as it comes. Yield what its answers mean until
        either side ends it. Raises HashHubError, and what taking the rest raises.
        """
        failed: list[Exception] = []

        async def requests() -> AsyncGenerator[Message, None]:
            try:
                yield call.request
                async for one in rest:
                    yield one
            except Exception as e:  # noqa: BLE001 - raised below, where the answers end
                failed.append(e)

        answers = self._method(call.method, call.request, call.answer, stream=True, listens=True)(
            requests(), metadata=self.connection.metadata
        )
        try:
            async for answer in answers:
                yield call.read(cast("A", answer))
        except grpc.RpcError as e:
            raise self.connection.error(e) from e
        except asyncio.CancelledError as e:
            self._raise_unless_cancelled(e)
        finally:
            answers.cancel()
        if failed:
            raise failed[0]

    async def _answer(self, call: Call[A, Any]) -> A:
        send = self._method(call.method, call.request, call.answer, stream=False)
        attempts = self.connection.attempts(
            timeout=call.timeout, retry_seconds=call.retry_seconds, repeatable=call.repeatable
        )
        while True:
            try:
                return cast("A", await send(call.request, timeout=attempts.timeout, metadata=self.connection.metadata))
            except grpc.RpcError as e:
                pause = attempts.pause(self.connection.error(e))
            except grpc.aio.UsageError as e:
                raise Unavailable(CLOSED) from e
            except asyncio.CancelledError as e:
                self._raise_unless_cancelled(e)
            await asyncio.sleep(pause)

    def _raise_unless_cancelled(self, error: asyncio.CancelledError) -> None:
        """Raise what a call that was cancelled means: grpc says the same whether the task was, or the call alone."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise error
        raise Unavailable(CLOSED if self._is_closed else "the call was ended before it was answered") from error

    def _method(
        self, method: str, request: Message, answer: type[object], *, stream: bool, listens: bool = False
    ) -> Callable[..., Any]:
        loop = asyncio.get_running_loop()
        if self._is_closed:
            raise Unavailable(CLOSED)
        if self._channel is None:
            self._loop = loop
            address, credentials = self.connection.address, self.connection.credentials
            self._channel = (
                grpc.aio.insecure_channel(address, OPTIONS)
                if credentials is None
                else grpc.aio.secure_channel(address, credentials, OPTIONS)
            )
        elif loop is not self._loop:
            raise FailedPrecondition("this client belongs to another event loop; open one for each loop")
        call = self._methods.get(method)
        if call is None:
            make: Callable[..., Any] = self._channel.unary_unary
            if stream:
                make = self._channel.stream_stream if listens else self._channel.unary_stream
            call = self._methods[method] = make(
                f"/hashhub.v1.{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=cast("type[Answer]", answer).FromString,
            )
        return call


async def _in_pieces(items: Iterable[R]) -> AsyncGenerator[R, None]:
    for count, item in enumerate(items, 1):
        yield item
        if count % _PIECE == 0:
            await asyncio.sleep(0)
