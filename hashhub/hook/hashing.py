"""Uploads hashed in child processes: a few at once, a bounded number in wait, the same content once.

submit ── remembered? ── in hand? ── room to wait? ── a thread for each child ── hashes, or why there are none
              │             └── the one future of that content
              └── by SHA-256; failures for a minute, so that what cost the CPU limit once does not cost it each time
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.errors import HashHubError, LimitExceeded, Reason, Unavailable
from hashhub.hook.upload_bytes import UploadBytes

if TYPE_CHECKING:
    from hashhub.hashing.media import MediaHashes
    from hashhub.hashing.pool import MediaPool
    from hashhub.hook.settings import HookSettings

_FAILURE_SECONDS: Final = 60.0
# The content is why: then it fails the next time, too. What else went wrong is tried again.
_OF_CONTENT: Final = frozenset({Reason.UNREADABLE_MEDIA, Reason.MEDIA_TOO_LARGE, Reason.MEDIA_TOO_COSTLY})
END_SECONDS: Final = 10.0  # within what a service manager leaves a process to end
_REMEMBERED_BYTES: Final = 32 << 20
_SIDE: Final = 64
A_PICTURE: Final = struct.pack("<2sIII", b"BM", 54 + 3 * _SIDE**2, 0, 54) + struct.pack(
    "<IiiHHIIiiII", 40, _SIDE, _SIDE, 1, 24, 0, 3 * _SIDE**2, 0, 0, 0, 0
) + bytes(range(256)) * (3 * _SIDE**2 // 256)  # fmt: skip
"""A file with a picture that nobody has uploaded: a bitmap."""

FEW_BYTES: Final = 4 << 20  # that are sent to a child; more are read by it, from memory that the system gives pages to
_IN_MEMORY: Final = 4  # times the bytes of a message, roughly


def media_pool(settings: HookSettings, children: int, *, max_queued: int, **how: Any) -> MediaPool:
    """Return child processes that hash within the settings. `how`: further arguments of the pool."""
    from hashhub.hashing.limits import Limits, video_pixels
    from hashhub.hashing.pool import MediaPool

    return MediaPool(
        children=children,
        max_queued=max_queued,
        seconds=settings.media_seconds,
        memory_bytes=settings.media_memory_bytes,
        limits=Limits(max_bytes=settings.max_bytes, max_video_pixels=video_pixels(settings.media_seconds)),
        **how,
    )


class UploadHasher:
    """Hashes what uploads hold. Safe to be shared by threads."""

    def __init__(self, settings: HookSettings) -> None:
        from hashhub.hashing.perceptual import PERCEPTUAL_ALGORITHMS

        self._children = children = settings.hashing_processes or len(os.sched_getaffinity(0))
        self._effort = settings.effort
        self._most = children + settings.max_waiting
        # As many may wait: for `warm_up` beside the first uploads.
        self.pool = media_pool(settings, children, max_queued=children, algorithms=PERCEPTUAL_ALGORITHMS)
        self._threads = ThreadPoolExecutor(children, thread_name_prefix="hook-hashing")
        self._lock = threading.RLock()  # to cancel a future finishes it
        self._is_closed = False
        self.in_hand: dict[bytes, Future[MediaHashes]] = {}
        self.wanted: dict[bytes, int] = {}
        self._remembered: OrderedDict[bytes, MediaHashes] = OrderedDict()
        self._remembered_bytes = 0
        self._failed: OrderedDict[bytes, tuple[float, HashHubError]] = OrderedDict()
        self.hashed = 0
        """Contents that children were given."""

    def warm_up(self) -> None:
        """Start the children, and have each hash a picture: libraries and kernels come with the first."""
        with ThreadPoolExecutor(self._children, "hook-warm") as threads:
            for _ in range(self._children):
                threads.submit(self._hash_a_picture)

    def _hash_a_picture(self) -> None:
        with suppress(HashHubError), self.pool.room() as place:  # the first upload will say what is wrong
            place.hash(A_PICTURE, effort=self._effort)

    def submit(self, content: UploadBytes) -> Future[MediaHashes]:
        """Return what the content's hashes will be, or which HashHubError. The content is held until then. `give_up`
        may cancel the future. Raises LimitExceeded when as many wait as may.
        """
        key = content.key
        with self._lock:
            if (media := self._remembered.get(key)) is not None:
                self._remembered.move_to_end(key)
                return _done(media)
            until, error = self._failed.get(key, (0.0, None))
            if error is not None and time.monotonic() < until:
                return _done(error)
            if (future := self.in_hand.get(key)) is not None:
                self.wanted[key] += 1
                return future
            if self._is_closed:
                return _done(Unavailable("the hook was closed"))
            if len(self.in_hand) >= self._most:
                raise LimitExceeded(
                    f"{len(self.in_hand)} uploads are being hashed or wait, as many as may; see max_waiting"
                )
            content.hold()
            self.wanted[key] = 1
            future = self.in_hand[key] = self._threads.submit(self._hash, key, content)
            future.add_done_callback(lambda done: self._finish(key, content) if done.cancelled() else None)
            return future

    def give_up(self, content: UploadBytes, future: Future[MediaHashes]) -> None:
        """Say that one who submitted the content does not wait for it any more. When nobody does, it is not hashed."""
        with self._lock:
            if self.in_hand.get(content.key) is not future:
                return
            self.wanted[content.key] -= 1
            if self.wanted[content.key] == 0:
                future.cancel()

    def close(self) -> None:
        """Let what is wanted be hashed for some seconds yet, then end the children; what waits still gets an error."""
        with self._lock:
            self._is_closed = True
            in_hand = list(self.in_hand.values())
        # An upload that the hub gave no answer for needs its hashes to be cleared later, and its bytes end with us.
        wait(in_hand, timeout=END_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.pool.close()
        self._threads.shutdown(wait=True)

    def _hash(self, key: bytes, content: UploadBytes) -> MediaHashes:
        while True:  # once more for who came after a child was stopped because all others had left
            try:
                media = self._hash_in_child(key, content)
            except BaseException as e:
                if self._finish(key, content, error=e):
                    raise
            else:
                self._finish(key, content, media)
                return media

    def _hash_in_child(self, key: bytes, content: UploadBytes) -> MediaHashes:
        pieces = content.pieces() if content.size <= FEW_BYTES else ()
        file = None if pieces else content.open()
        if not pieces and file is None:
            raise Unavailable("the upload's bytes are gone")
        with file or nullcontext(), self.pool.room() as place:
            self.hashed += 1
            # A dict's look-up needs no lock.
            media = place.hash(file or pieces, effort=self._effort, is_wanted=lambda: self.wanted.get(key, 0) > 0)
        return msgspec.structs.replace(media, digests=content.digests)  # of the same bytes, taken as they came

    def _finish(
        self, key: bytes, content: UploadBytes, media: MediaHashes | None = None, error: BaseException | None = None
    ) -> bool:
        """Let go of a content, and remember its outcome; False, and nothing is done, if it is wanted again."""
        is_stopped = isinstance(error, HashHubError) and error.reason is Reason.DEADLINE_EXCEEDED
        with self._lock:
            if is_stopped and self.wanted.get(key, 0) > 0:
                return False
            self.in_hand.pop(key, None)
            self.wanted.pop(key, None)
            if isinstance(error, HashHubError) and error.reason in _OF_CONTENT:
                self._failed[key] = (time.monotonic() + _FAILURE_SECONDS, error)
                while len(self._failed) > self._most * 16:
                    self._failed.popitem(last=False)
            elif media is not None:
                self._remember(key, media)
        content.drop()
        return True

    def _remember(self, key: bytes, media: MediaHashes) -> None:
        self._remembered[key] = media
        self._remembered_bytes += _size(media)
        while self._remembered_bytes > _REMEMBERED_BYTES:
            _, oldest = self._remembered.popitem(last=False)
            self._remembered_bytes -= _size(oldest)


def _size(media: MediaHashes) -> int:
    return _IN_MEMORY * len(msgspec.msgpack.encode(media))


def _done(outcome: MediaHashes | HashHubError) -> Future[MediaHashes]:
    future: Future[MediaHashes] = Future()
    if isinstance(outcome, HashHubError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    return future
