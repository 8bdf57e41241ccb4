"""One connection to a hub for an event loop. Deadlines and retries are those of `transport`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from itertools import islice
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from hashhub.client.connection import CLOSED, OPTIONS, Connection
from hashhub.client.rpc import Rpc, stub, unread
from hashhub.errors import FailedPrecondition, Unavailable

_PIECE: Final = 50  # answers that are converted before others on the loop have their turn: some milliseconds

R = TypeVar("R")
T = TypeVar("T")


class AsyncTransport:
    """A channel that belongs to the event loop of its first call."""

    def __init__(self, connection: Connection) -> None:
        """Keep where calls go; the channel is made by the first call, for then there is a loop."""
        self.connection = connection
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stubs: dict[str, Callable[..., Any]] = {}
        self._is_closed = False

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()

    async def ask(self, rpc: Rpc[R]) -> R:
        """Make a call and return what its answer means. Raises HashHubError."""
        return rpc.read(await self._answer(rpc))

    async def items(self, rpc: Rpc[Iterable[R]], limit: int | None = None) -> AsyncGenerator[R, None]:
        """Yield what is on a list's pages, at most `limit`, page by page as it is consumed. Raises HashHubError."""
        count = 0
        while limit is None or count < limit:
            answer = await self._answer(rpc)
            for item in islice(rpc.read(answer), None if limit is None else limit - count):
                yield item
                count += 1
                if count % _PIECE == 0:
                    await asyncio.sleep(0)
            if not rpc.turn(answer):
                return

    async def each(self, rpcs: Iterable[Rpc[Iterable[R]]]) -> AsyncGenerator[R, None]:
        """Make calls one after the other, as they are consumed, and yield what their answers hold."""
        for rpc in rpcs:
            async with aclosing(self.items(rpc)) as items:
                async for one in items:
                    yield one

    async def stream(
        self, rpc: Rpc[R], rest: AsyncIterable[T] | None = None, put: Callable[[T], Message] = unread
    ) -> AsyncGenerator[R, None]:
        """Make a streaming call and yield what its answers mean until either side ends it; see Transport.stream."""
        failed: list[Exception] = []

        async def requests(rest: AsyncIterable[T]) -> AsyncGenerator[Message, None]:
            try:
                yield rpc.request
                async for one in rest:
                    yield put(one)
            except Exception as e:  # noqa: BLE001 - raised below, where the answers end
                failed.append(e)

        sent = rpc.request if rest is None else requests(rest)
        answers = self._stub(rpc.request)(sent, metadata=self.connection.metadata)
        try:
            async for answer in answers:
                yield rpc.read(answer)
        except grpc.RpcError as e:
            raise self.connection.error(e) from e
        except asyncio.CancelledError as e:
            self._raise_unless_cancelled(e)
        finally:
            answers.cancel()
        if failed:
            raise failed[0]

    async def _answer(self, rpc: Rpc[Any]) -> Any:
        send = self._stub(rpc.request)
        attempts = self.connection.attempts(
            timeout=rpc.timeout, retry_seconds=rpc.retry_seconds, repeatable=rpc.repeatable
        )
        while True:
            try:
                return await send(rpc.request, timeout=attempts.timeout, metadata=self.connection.metadata)
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

    def _stub(self, request: Message) -> Callable[..., Any]:
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
        name = request.DESCRIPTOR.full_name
        send = self._stubs.get(name)
        if send is None:
            send = self._stubs[name] = stub(self._channel, request)
        return send
