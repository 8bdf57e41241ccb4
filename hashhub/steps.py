"""Work that waits in between, written once, for a thread as for an event loop.

It is a generator of what it waits for: a descriptor (`Wait`) or an outcome (`Settling`), and then it is sent whether
that is there; or None: what comes next may take long, and an event loop must not be held up by it. What it returns is
the outcome.

    thread        carry_out(steps)              waits here
    event loop    await acarry_out(steps, …)    waits on the loop; from the first None on, a thread goes on
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_futures
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

_T = TypeVar("_T")

LOOK_SECONDS: Final = 0.05
"""For which a thread waits for a descriptor at most: what waits can then look whether it is still wanted."""
_LOOP_SECONDS: Final = 0.5  # the same on an event loop, where a task that is cancelled need not look


class Wait(NamedTuple):
    """What is waited for: POLLIN or POLLOUT (of `select`) of a descriptor, for LOOK_SECONDS at most."""

    descriptor: int
    event: int


class Settling(NamedTuple):
    """What others work out is waited for, for so many seconds at most; a thread, and a loop, look sooner."""

    future: Future[Any]
    seconds: float


Steps: TypeAlias = Generator[Wait | Settling | None, bool, _T]


def carry_out(steps: Steps[_T]) -> _T:
    """Take all steps in this thread, or those that are left, and return the outcome. Raises what they raise."""
    try:
        wait = next(steps)
        while True:
            wait = steps.send(wait is not None and _is_there(wait))
    except StopIteration as end:
        outcome: _T = end.value
        return outcome


async def acarry_out(steps: Steps[_T], threads: Executor, give_up: Callable[[], None]) -> _T:
    """Take the steps on the event loop until one may take long, and the others in one of the threads; return the
    outcome. Raises what they raise.

    When the task ends before they do, `give_up` is called: a thread that has them looks whether they are still wanted.
    Where none has, they are closed at once; a queue for a thread may be one of those who wait for these very steps.
    """
    loop = asyncio.get_running_loop()
    in_thread: Future[_T] | None = None
    try:
        wait = next(steps)
        while wait is not None:
            ready = _becomes_ready(loop, wait) if isinstance(wait, Wait) else _settles(loop, wait)
            wait = steps.send(await ready)
        in_thread = threads.submit(carry_out, steps)
        return await asyncio.wrap_future(in_thread)
    except StopIteration as end:
        outcome: _T = end.value
        return outcome
    except BaseException:
        give_up()
        if in_thread is None or in_thread.cancel():
            with suppress(ValueError):  # an executor that found no new thread may have had another one take them
                steps.close()
        raise


def is_ready(descriptor: int, event: int, seconds: float) -> bool:
    """Wait for a descriptor in this thread, for so many seconds at most; return whether it is ready."""
    poll = select.poll()  # unlike select.select, it takes descriptors beyond 1,023
    poll.register(descriptor, event)
    return bool(poll.poll(seconds * 1000))


def _is_there(wait: Wait | Settling) -> bool:
    if isinstance(wait, Wait):
        return is_ready(wait.descriptor, wait.event, LOOK_SECONDS)
    return bool(wait_for_futures((wait.future,), timeout=min(wait.seconds, LOOK_SECONDS)).done)


async def _becomes_ready(loop: asyncio.AbstractEventLoop, wait: Wait) -> bool:
    future: asyncio.Future[bool] = loop.create_future()
    is_reading = wait.event == select.POLLIN
    (loop.add_reader if is_reading else loop.add_writer)(wait.descriptor, _tell, future, True)
    timer = loop.call_later(_LOOP_SECONDS, _tell, future, False)
    try:
        return await future
    finally:
        timer.cancel()
        (loop.remove_reader if is_reading else loop.remove_writer)(wait.descriptor)


async def _settles(loop: asyncio.AbstractEventLoop, wait: Settling) -> bool:
    settled: asyncio.Future[bool] = loop.create_future()

    def tell(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(_tell, settled, True)

    wait.future.add_done_callback(tell)
    timer = loop.call_later(min(wait.seconds, _LOOP_SECONDS), _tell, settled, False)
    try:
        return await settled
    finally:
        timer.cancel()


def _tell(future: asyncio.Future[bool], is_ready: bool) -> None:  # noqa: FBT001 - by position, as loops call it
    if not future.done():
        future.set_result(is_ready)
