"""Uploads hashed in child processes: a few at once, a bounded number in wait, the same content once.

submit ── remembered? ── in hand? ── room to wait? ── a child ── hashes, or why there are none
              │             └── the one future of that content
              └── by SHA-256; failures for a minute, so that what cost the CPU limit once does not cost it each time
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from hashhub.errors import HashHubError, LimitExceeded, Reason, Unavailable
from hashhub.hook.content import Content

if TYPE_CHECKING:
    from hashhub.hashing.media import MediaHashes
    from hashhub.hook.settings import HookSettings

_MEMORY_BYTES: Final = 1 << 30  # of one child
_FAILURE_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0  # within what a service manager leaves a process to end
_REMEMBERED_BYTES: Final = 32 << 20
_A_HASH: Final = 200  # bytes that one remembered hash takes, roughly


class Hashing:
    """Hashes what uploads hold. Safe to be shared by threads."""

    def __init__(self, settings: HookSettings) -> None:
        from hashhub.hashing.limits import Limits
        from hashhub.hashing.pool import MediaPool

        children = settings.hashing_processes or len(os.sched_getaffinity(0))
        self._effort = settings.effort
        self._most = children + settings.max_waiting
        self._pool = MediaPool(
            children=children,
            max_queued=0,
            seconds=settings.media_seconds,
            memory_bytes=_MEMORY_BYTES,
            limits=Limits(max_bytes=settings.max_bytes),
        )
        self._threads = ThreadPoolExecutor(children, thread_name_prefix="hook-hashing")
        self._lock = threading.Lock()
        self._is_closed = False
        self._in_hand: dict[bytes, Future[MediaHashes]] = {}
        self._wanted: dict[bytes, int] = {}
        self._remembered: OrderedDict[bytes, MediaHashes] = OrderedDict()
        self._remembered_bytes = 0
        self._failed: OrderedDict[bytes, tuple[float, HashHubError]] = OrderedDict()
        self.hashed = 0
        """Contents that children were given."""

    def start(self) -> None:
        """Begin to start the children; return at once."""
        self._pool.start()

    def submit(self, content: Content) -> Future[MediaHashes]:
        """Return what the content's hashes will be, or which HashHubError will say why there are none.

        The content is held until then. A future that was given up by all who asked (`give_up`) may be cancelled.
        Raises LimitExceeded when as many wait as may.
        """
        key = content.key
        with self._lock:
            if (media := self._remembered.get(key)) is not None:
                self._remembered.move_to_end(key)
                return _done(media)
            until, error = self._failed.get(key, (0.0, None))
            if error is not None and time.monotonic() < until:
                return _done(error)
            if (future := self._in_hand.get(key)) is not None:
                self._wanted[key] += 1
                return future
            if self._is_closed:
                return _done(Unavailable("the hook was closed"))
            if len(self._in_hand) >= self._most:
                raise LimitExceeded(
                    f"{len(self._in_hand)} uploads are being hashed or wait, as many as may; see max_waiting"
                )
            content.hold()
            self._wanted[key] = 1
            future = self._in_hand[key] = self._threads.submit(self._hash, key, content)
        # Outside of the lock: what is done already calls back at once.
        future.add_done_callback(lambda done: self._finish(key, content, done))
        return future

    def give_up(self, content: Content, future: Future[MediaHashes]) -> None:
        """Say that one who submitted the content does not wait for it any more. When nobody does, it is not hashed."""
        with self._lock:
            if self._in_hand.get(content.key) is not future:
                return
            self._wanted[content.key] -= 1
            is_unwanted = self._wanted[content.key] == 0
        if is_unwanted:
            future.cancel()

    def close(self) -> None:
        """Let what is wanted be hashed for some seconds yet, then end the children; what waits still gets an error."""
        with self._lock:
            self._is_closed = True
            in_hand = list(self._in_hand.values())
        # An upload that the hub gave no answer for needs its hashes to be cleared later, and its bytes end with us.
        wait(in_hand, timeout=_END_SECONDS)
        self._pool.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _hash(self, key: bytes, content: Content) -> MediaHashes:
        file = content.open()
        if file is None:
            raise Unavailable("the upload's bytes are gone")
        with file, self._pool.room() as place:
            self.hashed += 1
            # A dict's look-up needs no lock.
            return place.hash(file, effort=self._effort, is_wanted=lambda: self._wanted.get(key, 0) > 0)

    def _finish(self, key: bytes, content: Content, future: Future[MediaHashes]) -> None:
        content.drop()
        error = None if future.cancelled() else future.exception()
        with self._lock:
            self._in_hand.pop(key, None)
            self._wanted.pop(key, None)
            if isinstance(error, HashHubError) and _is_of_content(error):
                self._failed[key] = (time.monotonic() + _FAILURE_SECONDS, error)
                while len(self._failed) > self._most * 16:
                    self._failed.popitem(last=False)
            elif error is None and not future.cancelled():
                self._remember(key, future.result())

    def _remember(self, key: bytes, media: MediaHashes) -> None:
        self._remembered[key] = media
        self._remembered_bytes += _size(media)
        while self._remembered_bytes > _REMEMBERED_BYTES:
            _, oldest = self._remembered.popitem(last=False)
            self._remembered_bytes -= _size(oldest)


def _size(media: MediaHashes) -> int:
    return _A_HASH * (len(media.hashes) + len(media.video_frames) + 5)


def _is_of_content(error: HashHubError) -> bool:
    """Whether the content is why: then it fails the next time, too. What else went wrong is tried again."""
    return error.reason in {Reason.UNREADABLE_MEDIA, Reason.MEDIA_TOO_LARGE, Reason.MEDIA_TOO_COSTLY}


def _done(outcome: MediaHashes | HashHubError) -> Future[MediaHashes]:
    future: Future[MediaHashes] = Future()
    if isinstance(outcome, HashHubError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    return future
