"""The client for event loops: the calls of the other one, many at a time, cancelled, and beside a stream."""

from __future__ import annotations

import asyncio
import inspect
import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

from hashhub import v1
from hashhub.client import Client
from hashhub.client.aio import AsyncClient
from hashhub.client.contribution import ImportPhase, ImportProgress
from hashhub.errors import (
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    MalformedSource,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from hashhub.hashes import parse
from hashhub.model import EntryState, ImportState, MatchOptions, Query, ReviewKind, Selection, Verdict, WithdrawalReason
from hashhub.testing.hub_process import RunningHub
from tests.client.misbehaving import refuse, served

ANY = MatchOptions(policy="any")


def md5s(first: int, count: int) -> bytes:
    return b"".join(b"%032x\n" % (0xA5A5_0000_0000_0000_0000_0000_0000_0001 + n) for n in range(first, first + count))


def query(n: int) -> Query:
    return Query(label=str(n), hashes=(parse("MD5", f"{0xA5A5_0000_0000_0000_0000_0000_0000_0001 + n:032x}"),))


def test_every_call_is_that_of_the_other_client() -> None:
    """Names, arguments and defaults are the same; and what yields there is an asynchronous generator here."""
    public = [n for n, f in inspect.getmembers(AsyncClient, inspect.isfunction) if not n.startswith("_")]
    assert {"match", "match_hashes", "match_media", "import_source", "follow_changes", "status"} <= set(public)
    for name in ["__init__", *public]:
        here, there = inspect.signature(getattr(AsyncClient, name)), inspect.signature(getattr(Client, name))
        assert re.sub(r"\bAsyncIterable\[", "Iterable[", str(here.parameters)) == str(there.parameters), name
        said = re.sub(r"^(?:Iterator|Listing)\[(\w+)\]$", r"AsyncGenerator[\1, None]", str(there.return_annotation))
        assert str(here.return_annotation) == said, name


def test_a_list_is_imported_matched_withdrawn_and_restored(hub: RunningHub, hash_set: str) -> None:
    told: list[ImportProgress] = []

    async def run() -> None:
        async with AsyncClient(hub.address, hub.token, timeout=60.0) as client:
            source = io.BytesIO(md5s(0, 5_000) + b"nonsense\n")
            report = await client.import_source(source, hash_set=hash_set, connector="hash-lines", progress=told.append)
            assert report.source.state is ImportState.COMMITTED
            assert (report.source.counts.items, report.source.counts.rejected) == (5_001, 1)
            assert {p.phase for p in told} == set(ImportPhase)
            again = await client.import_source(
                io.BytesIO(md5s(0, 5_000) + b"nonsense\n"), hash_set=hash_set, connector="hash-lines"
            )
            assert again.repeated
            name = f"{hash_set}/{report.source.id}"
            assert [f.position async for f in client.list_findings(name)] == [g.positions[0] for g in report.groups]
            assert (await client.get_import(name)).counts == report.source.counts
            assert [i.id async for i in client.list_imports(hash_set)] == [report.source.id]

            answers = [m async for m in client.match_hashes((query(n) for n in range(2_500)), ANY)]
            assert [a.result.label for a in answers] == [str(n) for n in range(2_500)]
            assert all(a.result.matches for a in answers)
            entries = [e.name async for e in client.list_entries(hash_set, [EntryState.ACTIVE])]
            assert len(entries) == 5_000
            few = [e.name async for e in client.search_entries(Selection(hash_set=hash_set), limit=3)]
            assert few == entries[:3]

            first = answers[0].result.matches[0].entry.name
            assert (await client.withdraw_entry(first, WithdrawalReason.ERROR)).state is EntryState.WITHDRAWN
            assert (await client.get_entry(first)).state is EntryState.WITHDRAWN
            await client.restore_entry(first)
            review = await client.create_review(first, ReviewKind.FALSE_POSITIVE, "a flower")
            assert [r.id async for r in client.list_reviews(first)] == [review.id]
            assert "any" in [p.id.partition("@")[0] async for p in client.list_policies()]
            assert (await client.status()).revision > 0

    asyncio.run(run())


def test_two_hundred_matches_beside_a_stream(hub: RunningHub, operator: Client, hash_set: str) -> None:
    """More than one token may have in progress: those over it come again. The loop goes on turning meanwhile."""
    operator.import_source(io.BytesIO(md5s(10_000, 200)), hash_set=hash_set, connector="hash-lines")

    async def run() -> None:
        seen: list[str] = []
        ready, withdrawn = asyncio.Event(), asyncio.Event()
        async with AsyncClient(hub.address, hub.token, timeout=60.0, retry_seconds=60.0) as client:
            target = (await client.match(query(10_000), ANY)).result.matches[0].entry.name

            async def follow() -> None:
                async with aclosing(client.follow_changes(from_now=True)) as pages:
                    async for page in pages:
                        ready.set()
                        seen.extend(c.entry_name for c in page.changes)
                        if target in seen:
                            withdrawn.set()

            following = asyncio.create_task(follow())
            await asyncio.wait_for(ready.wait(), 60)
            answers = await asyncio.gather(*(client.match(query(10_000 + n), ANY) for n in range(200)))
            assert [a.result.label for a in answers] == [str(10_000 + n) for n in range(200)]
            assert all(a.result.verdict is Verdict.MATCH for a in answers)
            await client.withdraw_entry(target, WithdrawalReason.ERROR)
            await asyncio.wait_for(withdrawn.wait(), 60)
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following
            assert (await client.match(query(10_000), ANY)).result.verdict is not Verdict.MATCH

    asyncio.run(asyncio.wait_for(run(), 200))


def test_errors_are_those_of_the_other_client(hub: RunningHub, hash_set: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncClient(hub.address, hub.token) as client:
            with pytest.raises(NotFound):
                await client.get_entry(f"{hash_set}/999999999")
            with pytest.raises(InvalidArgument):
                await client.get_entry("nonsense")
            with pytest.raises(NotFound, match="cannot read"):
                await client.import_source(tmp_path / "missing", hash_set=hash_set, connector="hash-lines")
            broken = io.BytesIO(b'{"value": [')
            with pytest.raises(MalformedSource):
                await client.import_source(broken, hash_set=hash_set, connector="vics")
            assert [i.state async for i in client.list_imports(hash_set)] == [ImportState.CANCELLED]
            with pytest.raises(InvalidArgument):
                async for _ in client.follow_changes("\N{SNOWMAN}"):
                    pass
        with pytest.raises(Unavailable, match="open a new client"):
            await client.status()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (Unavailable("restarting"), 2),
        (LimitExceeded("busy", retry_after=0.1), 2),
        (Conflict("another", retry_after=0.1), 2),
        (Conflict("another"), 1),
        (PermissionDenied("no"), 1),
        (InvalidArgument("wrong"), 1),
    ],
)
def test_what_is_tried_again_is_what_the_other_client_tries_again(error: HashHubError, attempts: int) -> None:
    asked: list[str] = []

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        asked.append(method)
        return refuse(context, error) if len(asked) == 1 else v1.Status(version="1")

    async def run(address: str) -> None:
        async with AsyncClient(address, "t", retry_seconds=20.0) as client:
            if attempts == 1:
                with pytest.raises(type(error), match=error.message):
                    await client.status()
            else:
                assert (await client.status()).version == "1"

    with served(answer) as address:
        asyncio.run(run(address))
        assert len(asked) == attempts
        asked.clear()
        with Client(address, "t", retry_seconds=20.0) as client:
            if attempts == 1:
                with pytest.raises(type(error)):
                    client.status()
            else:
                client.status()
        assert len(asked) == attempts


def test_a_cancelled_call_ends_at_the_hub_too_and_the_client_goes_on() -> None:
    begun, ended, let_go = threading.Event(), threading.Event(), threading.Event()

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        if not begun.is_set():
            context.add_callback(ended.set)
            begun.set()
            let_go.wait(180)
        return v1.Status(version="1")

    async def run(address: str) -> None:
        async with AsyncClient(address, "t", timeout=60.0) as client:
            task = asyncio.create_task(client.status())
            await asyncio.to_thread(begun.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(ended.wait, 180)
            let_go.set()
            assert (await client.status()).version == "1"

    with served(answer) as address:
        asyncio.run(run(address))


def test_a_client_that_is_closed_under_a_call_says_so() -> None:
    begun, let_go = threading.Event(), threading.Event()

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        begun.set()
        let_go.wait(180)
        return v1.Status()

    async def run(address: str) -> None:
        client = AsyncClient(address, "t", timeout=60.0, retry_seconds=0.0)
        task = asyncio.create_task(client.status())
        await asyncio.to_thread(begun.wait)
        await client.close()
        let_go.set()
        with pytest.raises(Unavailable, match="closed"):
            await task

    with served(answer) as address:
        asyncio.run(run(address))


def test_a_client_belongs_to_one_loop() -> None:
    with served(lambda *_: v1.Status()) as address:
        client = AsyncClient(address, "t")

        async def use_and_close() -> None:
            await client.status()
            with ThreadPoolExecutor(1) as other, pytest.raises(FailedPrecondition, match="event loop"):
                await asyncio.wrap_future(other.submit(lambda: asyncio.run(client.status())))
            await client.close()

        asyncio.run(use_and_close())


def test_a_cancelled_import_goes_on_where_it_was(hub: RunningHub, operator: Client, hash_set: str) -> None:
    source = md5s(20_000, 40_000)

    async def run() -> None:
        async with AsyncClient(hub.address, hub.token, timeout=60.0) as client:
            far = asyncio.Event()

            def progress(now: ImportProgress) -> None:
                if now.phase is ImportPhase.SENDING and now.items >= 25_000:
                    far.set()

            stream = io.BytesIO(source)
            task = asyncio.create_task(
                client.import_source(stream, hash_set=hash_set, connector="hash-lines", progress=progress)
            )
            waiting = asyncio.create_task(far.wait())
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [i.state async for i in client.list_imports(hash_set)] == [ImportState.OPEN]
            assert not [e async for e in client.list_entries(hash_set)]
            report = await client.import_source(io.BytesIO(source), hash_set=hash_set, connector="hash-lines")
            assert report.source.counts.items == 40_000
            assert report.resumed_batches >= 1

    asyncio.run(run())


def test_the_loop_goes_on_while_a_source_is_read(hub: RunningHub, hash_set: str) -> None:
    """A source that waits for the loop would never be read if it were read on it."""
    turned = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert turned.wait(180), "the loop stood still"
            return super().read(size)

    async def run() -> None:
        async with AsyncClient(hub.address, hub.token, timeout=60.0) as client:
            asyncio.get_running_loop().call_later(0.05, turned.set)
            report = await client.import_source(Slow(md5s(40_000, 3)), hash_set=hash_set, connector="hash-lines")
            assert report.source.counts.items == 3

    asyncio.run(run())
