"""One connection to a hub for an event loop. Deadlines and retries are those of `transport`.

Whatever computes or reads files for long runs in another thread, so that the loop goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import Any, Final, TypeVar, cast

import grpc
import grpc.aio

from hashhub.client.asking import IN_FLIGHT, Ahead, Answer, Call, Message, Pages, Step, Steps, Waiting
from hashhub.client.connection import CLOSED, OPTIONS, Connection
from hashhub.errors import FailedPrecondition, HashHubError, Unavailable

_PIECE: Final = 50  # answers that are converted before others on the loop have their turn: some milliseconds

A = TypeVar("A")
R = TypeVar("R")


class AsyncTransport:
    """A channel that belongs to the event loop of its first call."""

    def __init__(self, connection: Connection) -> None:
        """Keep where calls go; the channel is made by the first call, for then there is a loop."""
        self._connection = connection
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
            call.request, metadata=self._connection.metadata
        )
        try:
            async for answer in answers:
                yield call.read(cast("A", answer))
        except grpc.RpcError as e:
            raise self._connection.error(e) from e
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
            requests(), metadata=self._connection.metadata
        )
        try:
            async for answer in answers:
                yield call.read(cast("A", answer))
        except grpc.RpcError as e:
            raise self._connection.error(e) from e
        except asyncio.CancelledError as e:
            self._raise_unless_cancelled(e)
        finally:
            answers.cancel()
        if failed:
            raise failed[0]

    async def carry_out(self, steps: Steps[R], *, stopped: threading.Event) -> R:
        """Do what steps want done, in their order, and return what they lead to. Raises HashHubError.

        The steps themselves run in another thread. `stopped` is set when the task is cancelled: whatever they call now
        and then has to raise then.
        """
        on_their_way: deque[asyncio.Task[object]] = deque()
        advance: Callable[[], Step | _Done] = lambda: _advance(lambda: next(steps))  # noqa: E731 - changes below
        try:
            while True:
                step = await _in_thread(advance, stopped)
                if isinstance(step, _Done):
                    return cast("R", step.value)
                try:
                    answer = await self._do(step, on_their_way)
                except HashHubError as e:
                    error = e
                    advance = lambda: _advance(lambda: steps.throw(error))  # noqa: B023, E731 - used before it changes
                else:
                    advance = lambda: _advance(lambda: steps.send(answer))  # noqa: B023, E731 - used before it changes
        finally:
            await _drop(on_their_way)
            steps.close()

    async def _do(self, step: Step, on_their_way: deque[asyncio.Task[object]]) -> object:
        match step:
            case Call():
                return await self.ask(step)
            case Ahead(call):
                if len(on_their_way) == IN_FLIGHT:
                    await on_their_way.popleft()
                before = on_their_way[-1] if on_their_way else None
                on_their_way.append(asyncio.create_task(self._ask_after(before, call)))
            case Waiting.ARRIVED:
                while on_their_way:
                    await on_their_way.popleft()
            case Waiting.DROPPED:
                await _drop(on_their_way)
        return None

    async def _ask_after(self, before: asyncio.Task[object] | None, call: Call[Any, Any]) -> object:
        """Make a call once the one before it has been answered: they are to arrive in order."""
        if before is not None:
            await asyncio.shield(before)
        return await self.ask(call)

    async def _answer(self, call: Call[A, Any]) -> A:
        send = self._method(call.method, call.request, call.answer, stream=False)
        attempts = self._connection.attempts(
            timeout=call.timeout, retry_seconds=call.retry_seconds, repeatable=call.repeatable
        )
        while True:
            try:
                return cast("A", await send(call.request, timeout=attempts.timeout, metadata=self._connection.metadata))
            except grpc.RpcError as e:
                pause = attempts.pause(self._connection.error(e))
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
            address, credentials = self._connection.address, self._connection.credentials
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


class _Done:
    """Steps have ended, with this result."""

    def __init__(self, value: object) -> None:
        self.value = value


def _advance(run: Callable[[], Step]) -> Step | _Done:
    """Return the next step. A StopIteration cannot leave a thread for a coroutine."""
    try:
        return run()
    except StopIteration as e:
        return _Done(e.value)


async def _in_thread(run: Callable[[], R], stopped: threading.Event) -> R:
    """Run something in another thread; when the task is cancelled, wait until it has seen `stopped` and ended."""
    running = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # is looked at, or asyncio reports it
        raise


async def _drop(on_their_way: deque[asyncio.Task[object]]) -> None:
    """Cancel calls that were sent ahead; their answers and errors matter no more."""
    for task in on_their_way:
        task.cancel()
    await asyncio.gather(*on_their_way, return_exceptions=True)
    on_their_way.clear()


async def _in_pieces(items: Iterable[R]) -> AsyncGenerator[R, None]:
    for count, item in enumerate(items, 1):
        yield item
        if count % _PIECE == 0:
            await asyncio.sleep(0)
