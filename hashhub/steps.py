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
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_futures
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

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
            ready = _waits_on(loop).becomes_ready(loop, wait) if isinstance(wait, Wait) else _settles(loop, wait)
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


class _Waits:
    """Who waits on one event loop for which descriptors.

    The loop watches one epoll for all: to let it watch a descriptor, and forget it again, takes longer than a few
    lookups do. Each is armed for one event, so that none wakes the loop which nobody waits for, whoever else reads from
    it; and what an epoll knows of a descriptor ends with its file, whatever gets the same number next.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._is_timed = False
        loop.add_reader(self._epoll.fileno(), self._tell_ready)

    async def becomes_ready(self, loop: asyncio.AbstractEventLoop, wait: Wait) -> bool:
        """Return whether the descriptor is ready; False after _LOOP_SECONDS at most."""
        future: asyncio.Future[bool] = loop.create_future()
        self._tell(wait.descriptor, is_ready=False)  # one at a time: another looks again
        self._waiting[wait.descriptor] = future
        try:
            self._arm(wait)
            if not self._is_timed:
                # One for all: what waits anew meanwhile is told sooner. A timer for each took longer than the wait.
                self._is_timed = True
                loop.call_later(_LOOP_SECONDS, self._look, loop)
            return await future
        finally:
            if self._waiting.get(wait.descriptor) is future:
                del self._waiting[wait.descriptor]

    def _arm(self, wait: Wait) -> None:
        events = wait.event | select.EPOLLONESHOT
        try:
            self._epoll.modify(wait.descriptor, events)
        except FileNotFoundError:  # a new descriptor, or a new file under an old number
            self._epoll.register(wait.descriptor, events)

    def _tell_ready(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            self._tell(descriptor, is_ready=True)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_timed = bool(self._waiting)
        if self._is_timed:
            loop.call_later(_LOOP_SECONDS, self._look, loop)
        for descriptor in list(self._waiting):
            self._tell(descriptor, is_ready=False)

    def _tell(self, descriptor: int, *, is_ready: bool) -> None:
        future = self._waiting.pop(descriptor, None)
        if future is not None and not future.done():
            future.set_result(is_ready)


_lock: Final = threading.Lock()  # around the two below
_waits: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Waits]] = WeakKeyDictionary()
_awaiting: Final[WeakKeyDictionary[Future[Any], dict[asyncio.Future[bool], asyncio.AbstractEventLoop]]] = (
    WeakKeyDictionary()
)


def _waits_on(loop: asyncio.AbstractEventLoop) -> _Waits:
    waits = _waits.get(loop)
    if waits is None:
        waits = _Waits(loop)
        with _lock:
            for closed in [one for one in _waits if one.is_closed()]:
                del _waits[closed]  # a task that was left waiting keeps it, and its descriptor
            _waits[loop] = waits
    return waits


async def _settles(loop: asyncio.AbstractEventLoop, wait: Settling) -> bool:
    settled: asyncio.Future[bool] = loop.create_future()
    # A future forgets no callback, and many look at one, often: it has one for all of them.
    with _lock:
        awaiting = _awaiting.get(wait.future)
        is_first = awaiting is None
        if awaiting is None:
            awaiting = _awaiting[wait.future] = {}
        awaiting[settled] = loop
    if is_first:
        wait.future.add_done_callback(_tell_settled)
    timer = loop.call_later(min(wait.seconds, _LOOP_SECONDS), _tell, settled, False)
    try:
        return await settled
    finally:
        timer.cancel()
        with _lock:
            awaiting.pop(settled, None)


def _tell_settled(future: Future[Any]) -> None:
    with _lock:
        awaiting = list(_awaiting.pop(future, {}).items())
    for settled, loop in awaiting:
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(_tell, settled, True)


def _tell(future: asyncio.Future[bool], is_ready: bool) -> None:  # noqa: FBT001 - by position, as loops call it
    if not future.done():
        future.set_result(is_ready)
