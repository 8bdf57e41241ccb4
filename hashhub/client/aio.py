"""The client for a service on an event loop: the calls of `hashhub.client.Client` that such a service makes, with the
same names, arguments, results and errors.

    async with AsyncClient("127.0.0.1:8470", token) as hub:
        answer = await hub.match(Query(hashes=(parse_pair("PDQ:…"),)), MatchOptions(policy="block"))

Generators of `Client` are asynchronous generators here. Cancelling a task ends its call, and no call blocks the loop
for more than some milliseconds. A client belongs to one event loop. For other calls, such as the mirror and exports,
use `Client` in a thread: `await asyncio.to_thread(…)`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, Final, ParamSpec, Self, TypeVar, Unpack, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from hashhub import wire
from hashhub.client.administration import AdministrationCalls
from hashhub.client.changes import ChangeCalls
from hashhub.client.contribution import ImportCalls, ImportOptions, ImportProgress, ImportReport
from hashhub.client.entries import EntryCalls
from hashhub.client.match import MatchCalls, live
from hashhub.client.transport import CLOSED, Calls, Connection, ConnectionOptions, Rpc, Transport, unread
from hashhub.errors import FailedPrecondition, Unavailable
from hashhub.model import LiveAnswer, LiveOptions, LivePicture, VideoFrame

_PIECE: Final = 50  # answers that are converted before others on the loop have their turn: some milliseconds

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


class AsyncTransport:
    """Calls over a connection that belongs to the event loop of its first call."""

    def __init__(self, connection: Connection) -> None:
        """Keep where calls go; the channel is made by the first call, for then there is a loop."""
        self.connection = connection
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        for channel in self.connection.close():
            await channel.close()

    async def ask(self, rpc: Rpc[_R]) -> _R:
        """Make a call and return its converted answer. Raises HashHubError."""
        return rpc.read(await self._answer(rpc))

    async def items(self, rpc: Rpc[Iterable[_R]], limit: int | None = None) -> AsyncGenerator[_R, None]:
        """Yield a list's items, at most `limit`, fetching pages as they are consumed. Raises HashHubError."""
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

    async def each(self, rpcs: Iterable[Rpc[Iterable[_R]]]) -> AsyncGenerator[_R, None]:
        """Yield the items of several lists, one list after the other, as they are consumed."""
        for rpc in rpcs:
            async with aclosing(self.items(rpc)) as items:
                async for one in items:
                    yield one

    async def stream(
        self, rpc: Rpc[_R], rest: AsyncIterable[_T] | None = None, put: Callable[[_T], Message] = unread
    ) -> AsyncGenerator[_R, None]:
        """Make a streaming call and yield its converted answers until either side ends it; see Transport.stream."""
        failed: list[Exception] = []

        async def requests(rest: AsyncIterable[_T]) -> AsyncGenerator[Message, None]:
            try:
                yield rpc.request
                async for one in rest:
                    yield put(one)
            except Exception as e:  # noqa: BLE001 - raised below, where the answers end
                failed.append(e)

        sent = rpc.request if rest is None else requests(rest)
        goes_on = rest is None
        while True:
            send, channel = self._stub(rpc.request)
            answers = send(sent, metadata=self.connection.metadata)
            try:
                async for answer in answers:
                    goes_on = rpc.turn(answer)
                    yield rpc.read(answer)
                break
            except grpc.RpcError as e:
                if not goes_on:
                    raise self.connection.error(e, channel) from e
                failed_at = time.monotonic()
                while pause := self.connection.renewal_pause(e, channel, failed_at):  # noqa: ASYNC110 - files tell nothing
                    await asyncio.sleep(pause)
            except asyncio.CancelledError as e:
                self._raise_unless_cancelled(e)
            finally:
                answers.cancel()
        if failed:
            raise failed[0]

    async def _answer(self, rpc: Rpc[Any]) -> Any:
        attempts = self.connection.attempts(
            timeout=rpc.timeout, retry_seconds=rpc.retry_seconds, repeatable=rpc.repeatable
        )
        while True:
            send, channel = self._stub(rpc.request)
            try:
                return await send(rpc.request, timeout=attempts.timeout, metadata=self.connection.metadata)
            except grpc.RpcError as e:
                pause = attempts.pause(self.connection.error(e, channel))
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
        raise Unavailable(
            CLOSED if self.connection.is_closed.is_set() else "the call was ended before it was answered"
        ) from error

    def _stub(self, request: Message) -> tuple[Callable[..., Any], Any]:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise FailedPrecondition("this client belongs to another event loop; open one for each loop")
        return self.connection.stub(grpc.aio, request)


class _TransportStandIn:
    """Takes the place of a transport, and returns each call as a function of the transport that makes it."""

    def __getattr__(self, name: str) -> Callable[..., Callable[[Any], Any]]:
        return lambda *arguments: lambda transport: getattr(transport, name)(*arguments)


_CALLS: Final = Calls(cast("Transport", _TransportStandIn()))


def _deferred(call: Callable[..., Any], answers: Callable[[str], str]) -> Any:
    """Return a method of AsyncClient that makes the call which a method of Client makes."""

    @functools.wraps(call)
    def method(self: AsyncClient, *args: Any, **kwargs: Any) -> Any:
        return call(_CALLS, *args, **kwargs)(self._transport)

    signature = inspect.signature(call)
    method.__signature__ = signature.replace(  # type: ignore[attr-defined] # what inspect goes by
        return_annotation=answers(str(signature.return_annotation))
    )
    return method


def _awaited(
    call: Callable[Concatenate[Any, _P], _R],
) -> Callable[Concatenate[AsyncClient, _P], Coroutine[Any, Any, _R]]:
    return cast("Callable[Concatenate[AsyncClient, _P], Coroutine[Any, Any, _R]]", _deferred(call, str))


def _yielded(
    call: Callable[Concatenate[Any, _P], Iterator[_R]],
) -> Callable[Concatenate[AsyncClient, _P], AsyncGenerator[_R, None]]:
    return cast(
        "Callable[Concatenate[AsyncClient, _P], AsyncGenerator[_R, None]]",
        _deferred(call, lambda of: f"AsyncGenerator[{of.partition('[')[2][:-1]}, None]"),
    )


class AsyncClient:
    """A connection to a hub at `HOST:PORT` for one event loop. Use it as an asynchronous context manager, or close it.

    Arguments are those of `Client`. Every method raises HashHubError; and a cancelled one asyncio.CancelledError.
    """

    def __init__(self, address: str, token: str, **options: Unpack[ConnectionOptions]) -> None:
        """Connect lazily. Raises InvalidArgument for an address or a token that cannot be one."""
        self._connect = functools.partial(Connection, address, token, **options)
        self._transport = AsyncTransport(self._connect())
        self._imports: set[Transport] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        for transport in self._imports:
            transport.close()
        await self._transport.close()

    match = _awaited(MatchCalls.match)
    match_hashes = _yielded(MatchCalls.match_hashes)
    match_media = _yielded(MatchCalls.match_media)
    list_policies = _yielded(MatchCalls.list_policies)
    get_entry = _awaited(EntryCalls.get_entry)
    list_entries = _yielded(EntryCalls.list_entries)
    search_entries = _yielded(EntryCalls.search_entries)
    withdraw_entry = _awaited(EntryCalls.withdraw_entry)
    restore_entry = _awaited(EntryCalls.restore_entry)
    create_review = _awaited(EntryCalls.create_review)
    list_reviews = _yielded(EntryCalls.list_reviews)
    get_import = _awaited(ImportCalls.get_import)
    list_imports = _yielded(ImportCalls.list_imports)
    list_findings = _yielded(ImportCalls.list_findings)
    list_changes = _yielded(ChangeCalls.list_changes)
    follow_changes = _yielded(ChangeCalls.follow_changes)
    partners = _awaited(AdministrationCalls.partners)
    status = _awaited(AdministrationCalls.status)
    name_hub = _awaited(AdministrationCalls.name_hub)

    def match_live(
        self, frames: AsyncIterable[LivePicture | VideoFrame], options: LiveOptions
    ) -> AsyncGenerator[LiveAnswer, None]:
        """Send frames as they come and yield the hub's answers; see Client.match_live. Roles: all but auditor."""
        return self._transport.stream(live(options), frames, wire.live_frame_to_pb)

    async def import_source(
        self,
        source: Path | BinaryIO | Sequence[Path | BinaryIO],
        *,
        hash_set: str,
        connector: str | None = None,
        progress: Callable[[ImportProgress], None] | None = None,
        **how: Unpack[ImportOptions],
    ) -> ImportReport:
        """Contribute a source to `CONTRIBUTOR/SET` and return what became of every item; see Client.import_source.

        The source is read in another thread; `progress` is called on the loop. An import whose task is cancelled is as
        one that was cut off: nothing of it is visible, and the same call goes on where it was; only once the commit was
        asked for may the hub carry it out all the same.
        """
        loop = asyncio.get_running_loop()
        stopped = threading.Event()

        def tell(now: ImportProgress) -> None:
            if stopped.is_set():
                raise Unavailable("the import was cancelled by this program")
            if progress is not None:
                loop.call_soon_threadsafe(progress, now)

        transport = Transport(self._connect())
        contribute = functools.partial(
            ImportCalls(transport).import_source, source, hash_set=hash_set, connector=connector, progress=tell, **how
        )
        self._imports.add(transport)
        running = asyncio.ensure_future(asyncio.to_thread(contribute))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stopped.set()
            transport.close()
            await asyncio.wait([running])
            running.exception()  # is looked at, or asyncio reports it
            raise
        finally:
            self._imports.discard(transport)
            transport.close()
