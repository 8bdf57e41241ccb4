"""The client for a service on an event loop: the calls of `hashhub.client.Client` that such a service makes, with the
same names, arguments, results and errors.

    async with AsyncClient("127.0.0.1:8470", token) as hub:
        answer = await hub.match(Query(hashes=(parse_pair("PDQ:…"),)), MatchOptions(policy="block"))

What yields there is an asynchronous generator here. A call ends when its task is cancelled, and nothing that a call
does blocks the loop for longer than some milliseconds. A client belongs to one event loop. What is not here, such as
the mirror and exports, is made by `Client` in a thread: `await asyncio.to_thread(…)`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, Final, ParamSpec, Self, TypeVar, Unpack, cast

from hashhub import wire
from hashhub.client.administration import AdministrationCalls
from hashhub.client.aio_transport import AsyncTransport
from hashhub.client.calls import Calls
from hashhub.client.changes import ChangeCalls
from hashhub.client.connection import Connection, ConnectionOptions
from hashhub.client.contribution import ImportCalls, ImportOptions, ImportProgress, ImportReport
from hashhub.client.entries import EntryCalls
from hashhub.client.match import MatchCalls, live
from hashhub.client.transport import Transport
from hashhub.errors import Unavailable
from hashhub.model import LiveAnswer, LiveOptions, LivePicture, VideoFrame

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Deferred:
    """Stands in for a transport: gives each call back, to be made by another one."""

    def __getattr__(self, name: str) -> Callable[..., Callable[[Any], Any]]:
        return lambda *arguments: lambda transport: getattr(transport, name)(*arguments)


_CALLS: Final = Calls(cast("Transport", _Deferred()))


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
        _deferred(call, lambda of: f"AsyncGenerator[{of.removeprefix('Iterator[')[:-1]}, None]"),
    )


class AsyncClient:
    """A connection to a hub at `HOST:PORT` for one event loop. Use it as an asynchronous context manager, or close it.

    Arguments are those of `Client`. Every method raises HashHubError; and a cancelled one asyncio.CancelledError.
    """

    def __init__(self, address: str, token: str, **options: Unpack[ConnectionOptions]) -> None:
        """Connect lazily. Raises InvalidArgument for an address or a token that cannot be one."""
        self._transport = AsyncTransport(Connection(address, token, **options))
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
    status = _awaited(AdministrationCalls.status)

    def match_live(
        self, frames: AsyncIterable[LivePicture | VideoFrame], options: LiveOptions
    ) -> AsyncGenerator[LiveAnswer, None]:
        """Send frames as they come and yield what the hub says; see Client.match_live. Roles: all but auditor."""
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

        transport = Transport(self._transport.connection)
        contribute = functools.partial(
            ImportCalls(transport).import_source,
            source,
            hash_set=hash_set,
            connector=connector,
            progress=tell,
            **how,
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
