"""Crowds on one event loop: who waits must not keep from whom they wait what it needs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from hashhub.errors import Cancelled
from hashhub.hook import Action, Decision, Hook, HookSettings, NoAnswer, open_hook
from hashhub.model import Verdict
from tests.hook.conftest import jpeg
from tests.hook.test_hashing import large, wait_for
from tests.hook.test_on_the_loop import deciding, hook, settings

__all__ = ["hook", "settings"]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="deciding") as threads:
        yield threads


async def crowd(hook: Hook, threads: ThreadPoolExecutor, content: bytes, count: int) -> list[asyncio.Task[Decision]]:
    """Let so many upload the same, of which the first is hashed on the loop, and the others have all threads."""
    assert hook._hashing is not None
    hashes, hashed = hook._hashing, hook._hashing.hashed
    tasks = [asyncio.create_task(deciding(hook, threads, content))]
    await asyncio.to_thread(wait_for, lambda: hashes.hashed > hashed)
    tasks += [asyncio.create_task(deciding(hook, threads, content)) for _ in range(count - 1)]
    await asyncio.sleep(0.05)
    return tasks


def test_those_who_wait_have_all_threads_and_the_child_dies(hook: Hook, threads: ThreadPoolExecutor) -> None:
    assert hook._hashing is not None
    [child] = [hook._hashing._pool._children.get()]
    hook._hashing._pool._children.put(child)

    async def run() -> list[Decision]:
        tasks = await crowd(hook, threads, large(21), 5)
        os.kill(child._id[0], signal.SIGKILL)
        async with asyncio.timeout(60):
            return await asyncio.gather(*tasks)

    for decision in asyncio.run(run()):
        assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.UNREADABLE)
    assert asyncio.run(deciding(hook, threads, jpeg(121))).action is Action.ALLOW


def test_those_who_wait_have_all_threads_and_the_first_leaves(hook: Hook, threads: ThreadPoolExecutor) -> None:
    async def run() -> list[Decision]:
        first, *others = await crowd(hook, threads, large(22), 5)
        first.cancel()
        async with asyncio.timeout(60):
            return await asyncio.gather(*others)

    assert [decision.action for decision in asyncio.run(run())] == [Action.ALLOW] * 4
    assert asyncio.run(deciding(hook, threads, jpeg(122))).action is Action.ALLOW


def test_all_who_wait_leave_at_once(hook: Hook, threads: ThreadPoolExecutor) -> None:
    assert hook._hashing is not None

    async def run() -> None:
        for task in (tasks := await crowd(hook, threads, large(23), 40)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    hashing = hook._hashing
    wait_for(lambda: hook.memory_bytes == 0 and hashing._idle == 1)
    assert (hashing._in_hand, hashing._wanted, hashing._pool.calls) == ({}, {}, 0)
    assert asyncio.run(deciding(hook, threads, jpeg(123))).action is Action.ALLOW


def test_more_than_may_wait_all_get_their_answer(settings: HookSettings, threads: ThreadPoolExecutor) -> None:
    contents = [jpeg(200 + seed, (96, 64)) for seed in range(40)]
    with open_hook(msgspec.structs.replace(settings, max_waiting=2)) as hook:
        hook.check(jpeg(100))

        async def run() -> list[Decision]:
            return await asyncio.gather(*(deciding(hook, threads, content) for content in contents))

        assert {(decision.action, decision.verdict) for decision in asyncio.run(run())} == {
            (Action.ALLOW, Verdict.NO_MATCH)
        }


def test_who_joined_is_not_let_down_when_another_thread_abandons_the_first(
    hook: Hook, threads: ThreadPoolExecutor
) -> None:
    assert hook._hashing is not None
    hashes, hashed = hook._hashing, hook._hashing.hashed

    async def run() -> Decision:
        with hook.receive(door="asgi") as upload:
            upload.write(large(24))
            first = asyncio.create_task(upload.adecide(threads))
            await asyncio.to_thread(wait_for, lambda: hashes.hashed > hashed)
            joined = asyncio.create_task(deciding(hook, threads, large(24)))
            await asyncio.sleep(0)
            await asyncio.to_thread(upload.abandon)
            with pytest.raises(Cancelled):
                await first
            return await joined

    assert asyncio.run(run()).action is Action.ALLOW
    assert hashes.hashed == hashed + 1
