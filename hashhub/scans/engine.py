"""The way that objects take in every scan: listed, recalled or read by a thread, taken in the order in which they are
done. What is held does not grow with how many there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Final, Generic, Self, TypeVar

import msgspec

from hashhub.scans.memory import KnownFile, ListedFile, ScanMemory

_T = TypeVar("_T")  # what is scanned
_H = TypeVar("_H")  # its hashes, as memory keeps them
_R = TypeVar("_R")  # what reading gives
_PAUSE: Final = 0.25  # for which nothing is done until who waits is told so


class ScannedItem(msgspec.Struct, Generic[_T, _H, _R], frozen=True):
    """An object that was read. `begun`: when, in seconds since 1970."""

    listed: ListedFile[_T]
    known: KnownFile[_H]
    begun: float
    result: _R


class ScanEngine(Generic[_T, _H, _R]):
    """One scan of a listing. For one thread; use it as a context manager, which ends the threads that read."""

    def __init__(
        self,
        listing: Iterable[ListedFile[_T]],
        read: Callable[[_T, KnownFile[_H]], _R],
        *,
        memory: ScanMemory[_H] | None,
        jobs: int,
        ahead: int = 2,
    ) -> None:
        """`read`: called in `jobs` threads, also for what is known. `ahead`: objects handed out for each thread."""
        self._listing = iter(listing)
        self._read = read
        self._memory = memory
        self._most = jobs * ahead
        self._threads = ThreadPoolExecutor(jobs, "hashhub-scan")
        self._done: SimpleQueue[ScannedItem[_T, _H, _R] | BaseException] = SimpleQueue()
        self.under_way = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[ScannedItem[_T, _H, _R] | None]:
        """Yield objects that are done; None when none is for a while, and at the end before it stops."""
        is_at_end = False
        while True:
            while not is_at_end and self.under_way < self._most:
                listed = next(self._listing, None)
                if listed is None:
                    is_at_end = True
                else:
                    if self._memory is not None:
                        self._memory.see(listed.address)
                    self.submit(listed, self._memory.recall(listed) if self._memory is not None else KnownFile())
            if not self.under_way:
                yield None
            if not self.under_way:
                return
            try:
                done = self._done.get(timeout=_PAUSE)
            except Empty:
                yield None
                continue
            self.under_way -= 1
            if isinstance(done, BaseException):
                raise done
            yield done

    def submit(self, listed: ListedFile[_T], known: KnownFile[_H]) -> None:
        """Have an object read."""
        self.under_way += 1
        self._threads.submit(self._work, listed, known)

    def _work(self, listed: ListedFile[_T], known: KnownFile[_H]) -> None:
        begun = time.time()
        try:
            self._done.put(ScannedItem(listed, known, begun, self._read(listed.item, known)))
        except BaseException as e:  # noqa: BLE001 - raised where the object is taken
            self._done.put(e)
