"""Threads on which calls work for the event loop.

All of them run from the beginning: a call for which none could be started would have to be refused with its work in the
queue. They are daemons, which an executor's are not: a call that does not end must not keep a process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from hashhub.errors import Unavailable

_T = TypeVar("_T")


class CallThreads:
    """So many daemon threads."""

    def __init__(self, count: int) -> None:
        """Raises Unavailable where the system has too few to give."""
        self._queue: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
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
        outcome: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._queue.put((do, outcome))
        while not outcome.done():
            try:
                await asyncio.wait({outcome})
            except asyncio.CancelledError:
                when_cancelled()
        try:
            return outcome.result()
        finally:
            del outcome  # what it raised refers to this frame

    def close(self) -> None:
        """End each thread after the work that it does."""
        for _ in range(self._count):
            self._queue.put(None)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            do, outcome = work
            try:
                settle, result = outcome.set_result, do()
            except BaseException as e:  # noqa: BLE001 - whatever it raises is its caller's, and the thread goes on
                settle, result = outcome.set_exception, e
            with contextlib.suppress(RuntimeError):  # the loop was closed over it
                outcome.get_loop().call_soon_threadsafe(settle, result)
            del work, do, outcome, settle, result
