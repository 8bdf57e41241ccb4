"""Descriptors that an event loop waits for: whatever becomes of them meanwhile, each who waits is told of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from hashhub import steps
from hashhub.steps import Settling, Steps, Wait, acarry_out


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def waiting(ours: socket.socket, event: int = select.POLLIN, rounds: int = 1) -> Steps[list[bool]]:
    told = []
    for _ in range(rounds):
        told.append((yield Wait(ours.fileno(), event)))
        if event == select.POLLIN and told[-1]:
            ours.recv(1)
    return told


def carried_out(carrying: Steps[list[bool]], threads: ThreadPoolExecutor) -> asyncio.Task[list[bool]]:
    return asyncio.ensure_future(acarry_out(carrying, threads, lambda: None))


async def settled() -> None:
    """Let the loop do all that it can do now."""
    for _ in range(5):
        await asyncio.sleep(0)


Pair = tuple[socket.socket, socket.socket]


def test_a_descriptor_is_waited_for_again_and_again(pair: Pair, threads: ThreadPoolExecutor) -> None:
    ours, theirs = pair

    async def run() -> list[bool]:
        task = carried_out(waiting(ours, rounds=3), threads)
        for _ in range(3):
            await settled()
            assert not task.done()
            theirs.send(b"x")
        return await task

    assert asyncio.run(run()) == [True] * 3


def test_each_is_told_of_its_own_and_room_to_write_is_another_matter(threads: ThreadPoolExecutor) -> None:
    pairs = [socket.socketpair() for _ in range(3)]

    async def run() -> None:
        tasks = [carried_out(waiting(ours), threads) for ours, _ in pairs]
        await settled()
        pairs[1][1].send(b"x")
        assert await tasks[1] == [True]
        assert not tasks[0].done()
        assert not tasks[2].done()
        assert await carried_out(waiting(pairs[1][0], select.POLLOUT), threads) == [True]
        pairs[0][1].send(b"x")
        pairs[2][1].close()  # an end is an event, too
        assert await tasks[0] == await tasks[2] == [True]

    try:
        asyncio.run(run())
    finally:
        for one in (one for pair in pairs for one in pair):
            one.close()


def test_what_nobody_waits_for_does_not_wake_the_loop(
    pair: Pair, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread reads from it meanwhile, or it has ended."""
    ours, theirs = pair
    woken: list[int] = []
    tell_ready = steps._Waits._tell_ready

    def counting(waits: steps._Waits) -> None:
        woken.append(1)
        tell_ready(waits)

    monkeypatch.setattr(steps._Waits, "_tell_ready", counting)

    async def run() -> None:
        theirs.send(b"x")
        assert await carried_out(waiting(ours), threads) == [True]
        before = len(woken)
        theirs.send(b"y")
        theirs.close()
        await asyncio.sleep(0.05)
        assert len(woken) == before
        assert await carried_out(waiting(ours), threads) == [True]

    asyncio.run(run())


@pytest.mark.parametrize("is_armed", [True, False])
def test_a_new_file_under_an_old_number_is_waited_for_anew(is_armed: bool, threads: ThreadPoolExecutor) -> None:
    """So it is with a child that was replaced."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        number = ours.fileno()
        if is_armed:
            task = carried_out(waiting(ours), threads)
            await settled()
            task.cancel()
            await settled()
        else:
            theirs.send(b"x")
            assert await carried_out(waiting(ours), threads) == [True]
        theirs.send(b"x")  # what the old one has is not the new one's
        ours.close()
        new, far = socket.socketpair()
        if new.fileno() != number:
            os.dup2(new.fileno(), number)
            new.close()
            new = socket.socket(fileno=number)
        with new, far, theirs:
            task = carried_out(waiting(new), threads)
            await asyncio.sleep(0.02)
            assert not task.done()
            far.send(b"x")
            assert await task == [True]

    asyncio.run(run())


def test_one_that_is_cancelled_leaves_nobody_waiting(pair: Pair, threads: ThreadPoolExecutor) -> None:
    ours, theirs = pair

    async def run() -> None:
        task = carried_out(waiting(ours), threads)
        await settled()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not steps._waits[asyncio.get_running_loop()]._waiting
        theirs.send(b"x")
        await settled()
        assert await carried_out(waiting(ours), threads) == [True]

    asyncio.run(run())


def test_who_waits_is_told_to_look_again(pair: Pair, threads: ThreadPoolExecutor) -> None:
    ours, theirs = pair

    def looking() -> Steps[list[bool]]:
        told: list[bool] = []
        while not any(told):
            told.append((yield Wait(ours.fileno(), select.POLLIN)))
            if len(told) == 2:
                theirs.send(b"x")
        return told

    async def run() -> list[bool]:
        return await asyncio.wait_for(carried_out(looking(), threads), 60)

    told = asyncio.run(run())
    assert (told[:2], told[-1]) == ([False, False], True)


def test_the_loop_is_asked_once_to_watch(pair: Pair, threads: ThreadPoolExecutor) -> None:
    ours, theirs = pair

    async def run() -> None:
        theirs.send(b"xxx")
        assert await carried_out(waiting(ours), threads) == [True]
        loop = asyncio.get_running_loop()
        for name in ("add_reader", "remove_reader", "call_later"):
            setattr(loop, name, None)
        assert await carried_out(waiting(ours, rounds=2), threads) == [True, True]
        for name in ("add_reader", "remove_reader", "call_later"):
            delattr(loop, name)

    asyncio.run(run())


def test_each_thread_has_its_own_loop(threads: ThreadPoolExecutor) -> None:
    told: list[list[bool]] = []

    def run() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:

            async def wait() -> list[bool]:
                task = carried_out(waiting(ours), threads)
                await settled()
                theirs.send(b"x")
                return await task

            told.append(asyncio.run(wait()))

    running = [threading.Thread(target=run) for _ in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert told == [[True]] * 8


def test_a_loop_that_ended_leaves_no_descriptor(pair: Pair, threads: ThreadPoolExecutor) -> None:
    ours, theirs = pair

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def once(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
        theirs.send(b"x")
        with asyncio.Runner(loop_factory=make) as runner:
            assert runner.run(acarry_out(waiting(ours), threads, lambda: None)) == [True]

    once(asyncio.new_event_loop)
    before = descriptors()
    for _ in range(20):
        once(asyncio.new_event_loop)
    assert descriptors() <= before + 2


def test_who_gives_up_on_an_outcome_leaves_nothing_with_it(threads: ThreadPoolExecutor) -> None:
    """A file that takes long to hash is sent again and again, and each client goes before it is hashed."""
    future: Future[None] = Future()

    def looking() -> Steps[list[bool]]:
        told = []
        for seconds in (*[0.001] * 20, 60.0):
            told.append((yield Settling(future, seconds)))  # noqa: PERF401 - a comprehension cannot yield
        return told

    async def run() -> list[list[bool]]:
        for _ in range(100):
            task = carried_out(looking(), threads)
            await settled()
            task.cancel()
            await asyncio.wait([task])
        tasks = [carried_out(looking(), threads) for _ in range(3)]
        await asyncio.sleep(0.3)
        assert len(vars(future)["_done_callbacks"]) <= 1
        future.set_result(None)
        return await asyncio.wait_for(asyncio.gather(*tasks), 30)

    assert [told[-1] for told in asyncio.run(run())] == [True] * 3


def test_loops_that_were_closed_with_tasks_keep_no_descriptor(threads: ThreadPoolExecutor) -> None:
    def abandon() -> None:
        loop = asyncio.new_event_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:

            async def begin() -> None:
                task = carried_out(waiting(ours), threads)
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                await settled()

            loop.run_until_complete(begin())
            loop.close()

    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        abandon()
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
