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
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Self

from hashhub import v1, wire
from hashhub.client import administration, changes, contribution, entries, imports, matching, names
from hashhub.client.aio_transport import AsyncTransport
from hashhub.client.connection import Connection
from hashhub.client.contribution import ImportReport, Progress
from hashhub.client.matching import Matched, MatchedMedia, PolicyText
from hashhub.client.transport import Transport
from hashhub.errors import Unavailable
from hashhub.model import (
    Disposition,
    Entry,
    EntryState,
    FeedPage,
    Finding,
    Import,
    LiveAnswer,
    LiveOptions,
    LivePicture,
    MatchOptions,
    Query,
    Review,
    ReviewKind,
    Selection,
    Status,
    VideoFrame,
    WithdrawalReason,
)

__all__ = ["AsyncClient"]


class AsyncClient:
    """A connection to a hub at `HOST:PORT` for one event loop. Use it as an asynchronous context manager, or close it.

    Arguments are those of `Client`. Every method raises HashHubError; and a cancelled one asyncio.CancelledError.
    """

    def __init__(
        self,
        address: str,
        token: str,
        *,
        tls: bool | None = None,
        ca_certificates: bytes | None = None,
        timeout: float = 30.0,
        retry_seconds: float = 2.0,
    ) -> None:
        """Connect lazily. Raises InvalidArgument for an address or a token that cannot be one."""
        self._transport = AsyncTransport(
            Connection(
                address, token, tls=tls, ca_certificates=ca_certificates, timeout=timeout, retry_seconds=retry_seconds
            )
        )
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

    async def match(self, query: Query, options: MatchOptions, *, seconds: float | None = None) -> Matched:
        """Return the answer to one query. Many are answered faster by `match_hashes`. `seconds`: for the answer; None:
        as many as for any call. Roles: all but auditor.
        """
        return await self._transport.ask(matching.one_match(query, options, timeout=seconds))

    async def match_hashes(self, queries: Iterable[Query], options: MatchOptions) -> AsyncGenerator[Matched, None]:
        """Yield one answer for each query, in order. Any number of queries; they are sent in batches as they are
        consumed. Roles: all but auditor.
        """
        for call in matching.hash_batches(queries, options):
            async with aclosing(self._transport.each(call)) as answers:
                async for one in answers:
                    yield one

    async def match_media(
        self, media: Iterable[tuple[str, bytes]], options: MatchOptions, *, seconds: float = matching.MATCH_TIMEOUT
    ) -> AsyncGenerator[MatchedMedia, None]:
        """Yield one answer for each (label, content), in order, hashed by the hub; see Client.match_media.

        Roles: all but auditor.
        """
        for call in matching.media_batches(media, options, timeout=seconds):
            async with aclosing(self._transport.each(call)) as answers:
                async for one in answers:
                    yield one

    async def match_live(
        self, frames: AsyncIterable[LivePicture | VideoFrame], options: LiveOptions
    ) -> AsyncGenerator[LiveAnswer, None]:
        """Send the frames of a live stream, as they come, and yield what the hub says that it shows; see
        Client.match_live. Roles: all but auditor.
        """

        async def messages() -> AsyncGenerator[v1.MatchLiveRequest, None]:
            async for frame in frames:
                yield wire.live_frame_to_pb(frame)

        async with aclosing(self._transport.converse(matching.live(options), messages())) as answers:
            async for one in answers:
                yield one

    def list_policies(self) -> AsyncGenerator[PolicyText, None]:
        """Yield the policies in order of name."""
        return self._transport.items(matching.policies())

    async def get_entry(self, name: str) -> Entry:
        """Return the entry `CONTRIBUTOR/SET/ENTRY`; see Client.get_entry. Raises NotFound."""
        return await self._transport.ask(entries.entry(name))

    def list_entries(self, hash_set: str, states: Iterable[EntryState] = ()) -> AsyncGenerator[Entry, None]:
        """Yield the entries of `CONTRIBUTOR/SET` in order of id; no states mean all of them."""
        return self._transport.items(entries.entries(hash_set, states))

    async def search_entries(
        self, selection: Selection, *, limit: int | None = None, looked_at: Callable[[int], None] = entries.ignore
    ) -> AsyncGenerator[Entry, None]:
        """Yield the entries that fit, in order of id, wherever the caller may list them; see Client.search_entries."""
        if limit is not None and limit <= 0:
            return
        count = 0
        pages = entries.search(selection, limit=limit, looked_at=looked_at)
        async with aclosing(self._transport.items(pages)) as hits:
            async for one in hits:
                yield one
                count += 1
                if count == limit:
                    return

    async def withdraw_entry(
        self, name: str, reason: WithdrawalReason, comment: str = "", *, validate_only: bool = False
    ) -> Entry:
        """Withdraw `CONTRIBUTOR/SET/ENTRY`: it stops matching, its history stays, and no list brings it back; see
        Client.withdraw_entry.
        """
        return await self._transport.ask(entries.withdrawal(name, reason, comment, validate_only=validate_only))

    async def restore_entry(self, name: str, comment: str = "", *, validate_only: bool = False) -> Entry:
        """Take the withdrawal of `CONTRIBUTOR/SET/ENTRY`, or a request for it, back. Roles: operator, contributor."""
        return await self._transport.ask(entries.restoration(name, comment, validate_only=validate_only))

    async def create_review(
        self,
        entry: str,
        kind: ReviewKind,
        comment: str = "",
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Review:
        """Add a statement of the caller about `CONTRIBUTOR/SET/ENTRY`. Roles: operator, contributor."""
        return await self._transport.ask(
            entries.new_review(entry, kind, comment, validate_only=validate_only, request_id=request_id)
        )

    def list_reviews(self, entry: str) -> AsyncGenerator[Review, None]:
        """Yield the reviews of `CONTRIBUTOR/SET/ENTRY`, oldest first. Roles: operator, auditor, contributor."""
        return self._transport.items(entries.reviews(entry))

    async def import_source(
        self,
        source: Path | BinaryIO | Sequence[Path | BinaryIO],
        *,
        hash_set: str,
        connector: str | None = None,
        options: Mapping[str, str] | None = None,
        replace: bool = False,
        validate_only: bool = False,
        allow_shrinking: bool = False,
        keep_on_failure: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> ImportReport:
        """Contribute a source to `CONTRIBUTOR/SET` and return what became of every item; see Client.import_source.

        The source is read in another thread; `progress` is called on the loop. An import whose task is cancelled is as
        one that was cut off: nothing of it is visible, and the same call goes on where it was; only once the commit was
        asked for may the hub carry it out all the same.
        """
        loop = asyncio.get_running_loop()
        stopped = threading.Event()

        def tell(now: Progress) -> None:
            if stopped.is_set():
                raise Unavailable("the import was cancelled by this program")
            if progress is not None:
                loop.call_soon_threadsafe(progress, now)

        transport = Transport(self._transport.connection)
        contribute = functools.partial(
            imports.ImportCalls(transport).import_source,
            source,
            hash_set=hash_set,
            connector=connector,
            options=options,
            replace=replace,
            validate_only=validate_only,
            allow_shrinking=allow_shrinking,
            keep_on_failure=keep_on_failure,
            progress=tell,
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

    async def get_import(self, name: str) -> Import:
        """Return the import `CONTRIBUTOR/SET/IMPORT`. Raises NotFound. Roles: operator, auditor, contributor."""
        return await self._transport.ask(imports.one_import(name))

    def list_imports(self, hash_set: str) -> AsyncGenerator[Import, None]:
        """Yield the imports of `CONTRIBUTOR/SET`, newest first. Roles: operator, auditor, contributor."""
        return self._transport.items(imports.imports(hash_set))

    def list_findings(self, name: str, dispositions: Iterable[Disposition] = ()) -> AsyncGenerator[Finding, None]:
        """Yield what became of the items of `CONTRIBUTOR/SET/IMPORT`, in the order of the source; accepted ones are
        left out.
        """
        return self._transport.items(contribution.findings(names.import_(name), dispositions))

    def list_changes(self, position: str = "", *, from_now: bool = False) -> AsyncGenerator[FeedPage, None]:
        """Yield the pages of the change feed behind a position, up to the first that is complete; see
        Client.list_changes.
        """
        return self._transport.items(changes.changes(position, from_now=from_now))

    def follow_changes(self, position: str = "", *, from_now: bool = False) -> AsyncGenerator[FeedPage, None]:
        """Yield the pages of the change feed behind a position, and then those to come; an empty one is a sign of life;
        see Client.follow_changes.
        """
        return self._transport.stream(changes.following(position, from_now=from_now))

    async def status(self) -> Status:
        """Return the state of the hub. Roles: operator, auditor."""
        return await self._transport.ask(administration.status())
