"""Threads on which calls work for the event loop.

All of them run from the beginning: a call for which none could be started would have to be refused with its work in the
queue. What ends while the loop is busy is told to it at once, since to wake it costs as much as a lookup.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from hashhub.errors import Unavailable

_T = TypeVar("_T")


class _Work(Generic[_T]):
    """Something to be done. `future`: on which the event loop waits for it. `outcome`: what it returned or raised."""

    __slots__ = ("do", "future", "loop", "outcome")

    def __init__(self, do: Callable[[], _T]) -> None:
        self.do: Callable[[], _T] | None = do
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.outcome: tuple[_T | None, BaseException | None] | None = None


class CallThreads:
    """So many daemon threads."""

    def __init__(self, count: int) -> None:
        """Raises Unavailable where the system has too few to give."""
        self._queue: SimpleQueue[_Work[object] | None] = SimpleQueue()
        self._done: deque[_Work[object]] = deque()
        self._is_told = False
        self._count = 0
        try:
            for number in range(count):
                threading.Thread(target=self._run, name=f"calls-{number}", daemon=True).start()
                self._count += 1
        except RuntimeError as e:
            self.close()
            raise Unavailable(
                f"the system has no {count} threads to give; raise the limit on threads, or set lower `threads` and "
                "`max_live_streams`"
            ) from e

    async def run(self, do: Callable[[], _T], when_cancelled: Callable[[], None]) -> _T:
        """Return what `do` returns on a thread, or raise what it raises. Its end is waited for even where the caller is
        cancelled, which `when_cancelled` is told.
        """
        work: _Work[_T] = _Work(do)
        self._queue.put(work)  # type: ignore[arg-type]  # of whatever type
        while work.outcome is None:
            try:
                await work.future
            except asyncio.CancelledError:
                when_cancelled()
                work.future = work.loop.create_future()
        result, error = work.outcome
        work.outcome = None
        try:
            if error is not None:
                raise error
        finally:
            del error  # it would refer to this frame, and the frame to it
        return result  # type: ignore[return-value]  # the first is there where the second is not

    def close(self) -> None:
        """End each thread after the work that it does."""
        for _ in range(self._count):
            self._queue.put(None)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            do, work.do = work.do, None
            try:
                work.outcome = (do() if do is not None else None, None)
            except BaseException as e:  # noqa: BLE001 - whatever it raises is its caller's, and the thread goes on
                work.outcome = (None, e)
            self._done.append(work)
            if not self._is_told:
                self._is_told = True
                with contextlib.suppress(RuntimeError):  # the loop was closed over it
                    work.loop.call_soon_threadsafe(self._tell)
            del work, do

    def _tell(self) -> None:
        self._is_told = False
        while self._done:
            future = self._done.popleft().future
            if not future.done():
                future.set_result(None)
