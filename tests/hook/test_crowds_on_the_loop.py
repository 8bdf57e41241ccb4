"""Crowds on one event loop: who waits must not keep from whom they wait what it needs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.responses import PlainTextResponse

from hashhub.desk.records import UploadState
from hashhub.errors import Cancelled
from hashhub.hook import Action, Decision, Hook, HookSettings, NoAnswer, open_hook
from hashhub.hook.asgi import UploadHook
from hashhub.model import Verdict
from tests.hook.conftest import Listed, jpeg
from tests.hook.test_asgi import one_request
from tests.hook.test_hashing import plain, stop_child
from tests.hook.test_on_the_loop import deciding, hook, settings
from tests.hook.web import File, form
from tests.patience import wait_until

__all__ = ["hook", "settings"]


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few, so that a crowd has them all."""
    monkeypatch.setattr("hashhub.hook.core.MOST_THREADS", 2)


async def crowd(hook: Hook, content: bytes, count: int) -> list[asyncio.Task[Decision]]:
    """Let so many upload the same, of which the first is hashed, and the others wait. The test has the child stand
    still before, so that it is not hashed too soon.
    """
    assert hook.hashing is not None
    hashes, hashed = hook.hashing, hook.hashing.hashed
    tasks = [asyncio.create_task(deciding(hook, content))]
    await asyncio.to_thread(wait_until, lambda: hashes.hashed > hashed)
    tasks += [asyncio.create_task(deciding(hook, content)) for _ in range(count - 1)]
    await asyncio.sleep(0.05)
    return tasks


def test_several_wait_for_one_file_and_the_child_dies(hook: Hook) -> None:
    assert hook.hashing is not None
    [child] = [hook.hashing.pool.children.get()]
    hook.hashing.pool.children.put(child)

    stop_child(hook.hashing)

    async def run() -> list[Decision]:
        tasks = await crowd(hook, plain(21), 5)
        os.kill(child.id[0], signal.SIGKILL)
        async with asyncio.timeout(60):
            return await asyncio.gather(*tasks)

    first, *others = asyncio.run(run())
    assert (first.action, first.no_answer) == (Action.HOLD, NoAnswer.UNREADABLE)
    assert [decision.action for decision in others] == [Action.ALLOW] * 4  # by another child
    assert asyncio.run(deciding(hook, jpeg(121))).action is Action.ALLOW


def test_several_wait_for_one_file_and_the_first_leaves(hook: Hook) -> None:
    assert hook.hashing is not None
    go_on = stop_child(hook.hashing)

    async def run() -> list[Decision]:
        first, *others = await crowd(hook, plain(22), 5)
        first.cancel()
        go_on()
        async with asyncio.timeout(60):
            return await asyncio.gather(*others)

    assert [decision.action for decision in asyncio.run(run())] == [Action.ALLOW] * 4
    assert asyncio.run(deciding(hook, jpeg(122))).action is Action.ALLOW


def test_those_who_wait_for_one_file_leave_the_threads_to_others(settings: HookSettings) -> None:
    """One file that takes long, sent again and again, must not be what all other uploads wait for."""
    choices = msgspec.structs.replace(settings.without_answer, no_perceptual_hash=Action.HOLD)
    with open_hook(msgspec.structs.replace(settings, without_answer=choices)) as hook:
        hook.check(jpeg(100))
        assert hook.hashing is not None
        go_on = stop_child(hook.hashing)

        async def run() -> tuple[Decision, list[Decision]]:
            tasks = await crowd(hook, plain(26), 8)
            try:
                async with asyncio.timeout(60):
                    other = await deciding(hook, b"no picture")  # is recorded, which takes a thread
                assert not any(task.done() for task in tasks)
            finally:
                go_on()
            async with asyncio.timeout(60):
                return other, await asyncio.gather(*tasks)

        other, decisions = asyncio.run(run())
        assert (other.action, hook.state_of(other.reference)) == (Action.HOLD, UploadState.HELD)
        assert [decision.action for decision in decisions] == [Action.ALLOW] * 8
        assert hook.hashing.hashed == 2


def test_all_who_wait_leave_at_once(hook: Hook) -> None:
    assert hook.hashing is not None
    stop_child(hook.hashing)

    async def run() -> None:
        for task in (tasks := await crowd(hook, plain(23), 40)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    hashing = hook.hashing
    wait_until(lambda: hook.memory_bytes == 0 and not hashing.in_hand)
    assert (hashing.in_hand, hashing.wanted, hashing.pool.calls) == ({}, {}, 0)
    assert asyncio.run(deciding(hook, jpeg(123))).action is Action.ALLOW


def test_more_than_may_wait_all_get_their_answer(settings: HookSettings) -> None:
    contents = [jpeg(200 + seed, (96, 64)) for seed in range(40)]
    with open_hook(msgspec.structs.replace(settings, max_waiting=2)) as hook:
        hook.check(jpeg(100))

        async def run() -> list[Decision]:
            return await asyncio.gather(*(deciding(hook, content) for content in contents))

        assert {(decision.action, decision.verdict) for decision in asyncio.run(run())} == {
            (Action.ALLOW, Verdict.NO_MATCH)
        }


def test_who_joined_is_not_let_down_when_another_thread_abandons_the_first(hook: Hook) -> None:
    assert hook.hashing is not None
    hashes, hashed, content = hook.hashing, hook.hashing.hashed, plain(24)
    go_on = stop_child(hashes)

    async def run() -> Decision:
        with hook.receive(door="asgi") as upload:
            upload.write(content)
            first = asyncio.create_task(upload.adecide())
            await asyncio.to_thread(wait_until, lambda: hashes.hashed > hashed)
            joined = asyncio.create_task(deciding(hook, content))
            await asyncio.sleep(0)
            await asyncio.to_thread(upload.abandon)
            with pytest.raises(Cancelled):
                await first
            go_on()
            return await joined

    assert asyncio.run(run()).action is Action.ALLOW


def test_the_loop_goes_on_while_the_hook_is_closed(settings: HookSettings) -> None:
    """A server that ends the app while uploads are decided over: they need the loop to come to their end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            return
        await PlainTextResponse(scope["hashhub"].severest.action)(scope, receive, send)

    async def run() -> float:
        wrapped = UploadHook(app, settings=settings)
        ends = asyncio.Event()

        async def receive() -> Any:
            await ends.wait()
            return {"type": "lifespan.shutdown"}

        living = asyncio.create_task(wrapped({"type": "lifespan"}, receive, None))  # type: ignore[arg-type]
        await one_request(wrapped, form(File("a", "a.jpg", jpeg(62))))  # the child is there
        hashes = wrapped.process.get().hashing
        assert hashes is not None
        hashed = hashes.hashed
        deciding = asyncio.create_task(one_request(wrapped, form(File("a", "a.jpg", plain(63, 6000)))))
        await asyncio.to_thread(wait_until, lambda: hashes.hashed > hashed)
        ends.set()
        begun, longest = asyncio.get_running_loop().time(), 0.0
        while not living.done():
            await asyncio.sleep(0.01)
            now = asyncio.get_running_loop().time()
            begun, longest = now, max(longest, now - begun)
        await asyncio.gather(deciding, return_exceptions=True)
        await living
        return longest

    assert asyncio.run(run()) < 5, "closing waited for hashes that wait for the loop"


async def given_up_at_once(hook: Hook, content: bytes, turns: int) -> None:
    """Upload, and leave after so many turns of the loop."""
    task = asyncio.create_task(deciding(hook, content))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_a_thousand_who_leave_leave_nothing(hook: Hook, listed: Listed) -> None:
    assert hook.hashing is not None
    hashing = hook.hashing
    unknown, mirrored = jpeg(131, (96, 64)), jpeg(132, (96, 64))

    async def run(count: int) -> None:
        every = (unknown, listed.known, mirrored)
        for some in range(0, count, 50):
            await asyncio.gather(
                *(given_up_at_once(hook, every[n % 3] + bytes(str(n), "ascii"), n % 7) for n in range(some, some + 50))
            )

    def is_quiet() -> bool:
        return hook.memory_bytes == 0 and not hashing.in_hand and not hook.under_way

    def taken() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    asyncio.run(run(50))
    wait_until(is_quiet)
    before = taken()
    asyncio.run(run(1000))
    wait_until(is_quiet)
    wait_until(lambda: all(now <= then + 2 for now, then in zip(taken(), before, strict=True)))
    assert (hashing.in_hand, hashing.wanted, hashing.pool.calls) == ({}, {}, 0)
    assert asyncio.run(deciding(hook, jpeg(133))).action is Action.ALLOW


def test_two_loops_and_a_thread_share_one_child(hook: Hook, listed: Listed) -> None:
    def on_a_loop(first: int) -> list[Action]:
        async def run() -> list[Decision]:
            contents = [jpeg(first + n, (96, 64)) for n in range(6)] + [listed.known]
            return await asyncio.gather(*(deciding(hook, content) for content in contents))

        return [decision.action for decision in asyncio.run(run())]

    with ThreadPoolExecutor(3) as callers:
        loops = [callers.submit(on_a_loop, first) for first in (300, 303)]  # three of them are the same
        checked = callers.submit(lambda: [hook.check(jpeg(300 + n, (96, 64))).action for n in range(12)])
        for loop in loops:
            assert loop.result(60) == [*[Action.ALLOW] * 6, Action.BLOCK]
        assert checked.result(60) == [Action.ALLOW] * 12


def test_a_hook_that_is_closed_on_the_loop_does_not_wait_for_it_for_ever(
    settings: HookSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.hook.hashing.END_SECONDS", 1.0)

    async def pieces() -> AsyncIterator[bytes]:
        yield plain(64)

    async def run(hook: Hook) -> list[Decision | BaseException]:
        await hook.acheck(jpeg(65))
        assert hook.hashing is not None
        hashes, hashed = hook.hashing, hook.hashing.hashed
        stop_child(hashes)
        tasks = [asyncio.create_task(hook.acheck(pieces())) for _ in range(2)]
        await asyncio.to_thread(wait_until, lambda: hashes.hashed > hashed)
        await asyncio.sleep(0.2)
        closing = threading.Thread(target=hook.close)
        closing.start()
        closing.join(50)  # as if it was called here
        assert not closing.is_alive()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with open_hook(msgspec.structs.replace(settings, waiting_seconds=1.0)) as hook:
        outcomes = asyncio.run(run(hook))
    assert Action.ALLOW not in [outcome.action for outcome in outcomes if isinstance(outcome, Decision)]
