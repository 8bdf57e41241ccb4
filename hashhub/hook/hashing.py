"""Uploads hashed in child processes: a few at once, a bounded number in wait, the same content once.

submit ── remembered? ── in hand? ── room to wait? ── a child ── hashes, or why there are none
              │             │                            └── asked by the caller if it only waits, else from another
              │             │                                thread
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
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import HashHubError, LimitExceeded, Reason, Unavailable
from hashhub.hook.content import Content
from hashhub.steps import carry_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.hashing.limits import Limits
    from hashhub.hashing.media import MediaHashes
    from hashhub.hook.settings import HookSettings
    from hashhub.steps import Steps

_FAILURE_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0  # within what a service manager leaves a process to end
_REMEMBERED_BYTES: Final = 32 << 20
_SIDE: Final = 64
A_PICTURE: Final = struct.pack("<2sIII", b"BM", 54 + 3 * _SIDE**2, 0, 54) + struct.pack(
    "<IiiHHIIiiII", 40, _SIDE, _SIDE, 1, 24, 0, 3 * _SIDE**2, 0, 0, 0, 0
) + bytes(range(256)) * (3 * _SIDE**2 // 256)  # fmt: skip
"""A file with a picture that nobody has uploaded: a bitmap."""

_A_HASH: Final = 200  # bytes that one remembered hash takes, roughly


def limits_of(settings: HookSettings) -> Limits:
    """Return what one upload may cost."""
    from hashhub.hashing.limits import Limits, video_pixels

    return Limits(max_bytes=settings.max_bytes, max_video_pixels=video_pixels(settings.media_seconds))


class Hashing:
    """Hashes what uploads hold. Safe to be shared by threads."""

    def __init__(self, settings: HookSettings) -> None:
        from hashhub.hashing.perceptual import PERCEPTUAL_ALGORITHMS
        from hashhub.hashing.pool import MediaPool

        self._children = children = settings.hashing_processes or len(os.sched_getaffinity(0))
        self._effort = settings.effort
        self._most = children + settings.max_waiting
        self._pool = MediaPool(
            children=children,
            max_queued=children,  # for `warm_up` beside the first uploads
            seconds=settings.media_seconds,
            memory_bytes=settings.media_memory_bytes,
            limits=limits_of(settings),
            algorithms=PERCEPTUAL_ALGORITHMS,
        )
        self._threads = ThreadPoolExecutor(children, thread_name_prefix="hook-hashing")
        self._lock = threading.Lock()
        self._is_closed = False
        self._idle = children
        self._queue: OrderedDict[bytes, tuple[Content, _Outcome]] = OrderedDict()
        self._in_hand: dict[bytes, _Outcome] = {}
        self._wanted: dict[bytes, int] = {}
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
        with suppress(HashHubError), self._pool.room() as place:  # the first upload will say what is wrong
            place.hash(A_PICTURE, effort=self._effort)

    def submit(self, content: Content, *, is_wanted: Callable[[], bool] | None = None) -> Future[MediaHashes]:
        """Return what the content's hashes will be, or which HashHubError will say why there are none.

        The content is held until then. A future that was given up by all who asked (`give_up`) may be cancelled.
        `is_wanted`: of a caller that would wait for as long as hashing takes, whether it still does; where a child is
        idle the future is done on return: handing over to another thread and back takes a third of a millisecond.
        Raises LimitExceeded when as many wait as may.
        """
        future, _, media = carry_out(self.submit_in_steps(content, is_wanted=is_wanted, is_on_loop=False))
        if media is not None and not future.done():
            future.set_result(media)
        return future

    def submit_in_steps(
        self, content: Content, *, is_wanted: Callable[[], bool] | None, is_on_loop: bool
    ) -> Steps[tuple[Future[MediaHashes], bool, MediaHashes | None]]:
        """Submit as `submit` does; an event loop can wait for an idle child as well, and for room. Return also whether
        the content is in hand already, for somebody else: who waits then takes no room of its own; and the hashes where
        they were computed in these steps: then the future may never be done.
        """
        key = content.key
        with self._lock:
            is_joining = key in self._in_hand
        if is_on_loop and not is_joining and len(self._in_hand) >= self._most:
            yield None  # as many wait as may: the next ones wait for a thread of those who decide
        future, run, is_joining = self._admitted(key, content, is_wanted, is_on_loop=is_on_loop)
        media = None
        if run is not None and is_wanted is not None:
            media = yield from self._taken_along(run, content, future, is_wanted) if is_on_loop else run
        return future, is_joining, media

    def _admitted(
        self, key: bytes, content: Content, is_wanted: Callable[[], bool] | None, *, is_on_loop: bool
    ) -> tuple[_Outcome, Steps[MediaHashes | None] | None, bool]:
        """Return the future, the steps of hashing where the caller is to take them, and whether others submitted the
        content. Raises LimitExceeded.
        """
        with self._lock:
            if (media := self._remembered.get(key)) is not None:
                self._remembered.move_to_end(key)
                return _done(media), None, False
            until, error = self._failed.get(key, (0.0, None))
            if error is not None and time.monotonic() < until:
                return _done(error), None, False
            if (future := self._in_hand.get(key)) is not None:
                self._wanted[key] += 1
                future.is_shared = True
                return future, None, True
            if self._is_closed:
                return _done(Unavailable("the hook was closed")), None, False
            if len(self._in_hand) >= self._most:
                raise LimitExceeded(
                    f"{len(self._in_hand)} uploads are being hashed or wait, as many as may; see max_waiting"
                )
            content.hold()
            self._wanted[key] = 1
            future = self._in_hand[key] = _Outcome()
            if self._idle == 0:
                self._queue[key] = content, future
                future.add_done_callback(lambda done: self._finish(key, content) if done.cancelled() else None)
                return future, None, False
            self._idle -= 1
            future.set_running_or_notify_cancel()
            if is_wanted is not None:
                future.is_shared = False
                return future, self._run(key, content, future, None if is_on_loop else is_wanted), False
            self._threads.submit(carry_out, self._run(key, content, future))
            return future, None, False

    def _taken_along(
        self, run: Steps[MediaHashes | None], content: Content, future: _Outcome, is_wanted: Callable[[], bool]
    ) -> Steps[MediaHashes | None]:
        """Take the steps of hashing on an event loop; one of our own threads, of which each child has one, takes those
        that may take long, and those that are left when the caller takes no more. All threads of the caller may wait
        for this very content.
        """
        try:
            wait = next(run)
            while wait is not None and is_wanted():
                wait = run.send((yield wait))
        except StopIteration as end:
            media: MediaHashes | None = end.value
            return media
        except GeneratorExit:
            self.give_up(content, future)
            self._go_on(run, future)
            raise
        self._go_on(run, future)
        return None

    def _go_on(self, run: Steps[MediaHashes | None], future: _Outcome) -> None:
        future.is_shared = True
        try:
            self._threads.submit(carry_out, run)
        except RuntimeError:  # no thread can be had
            with suppress(ValueError):  # another one has taken it all the same
                run.close()

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
            for future in in_hand:
                future.is_shared = True
        # An upload that the hub gave no answer for needs its hashes to be cleared later, and its bytes end with us.
        wait(in_hand, timeout=_END_SECONDS)
        with self._lock:
            waiting = [future for _, future in self._queue.values()]
            self._queue.clear()
        for future in waiting:
            future.cancel()
        self._pool.close()
        self._threads.shutdown(wait=True)

    def _run(
        self, key: bytes, content: Content, future: _Outcome, is_wanted: Callable[[], bool] | None = None
    ) -> Steps[MediaHashes | None]:
        """Hash, and then let the next in wait have the child. Return the hashes if there are some."""
        try:
            is_done = False
            while not is_done:  # once more for who came after a child was stopped because all others had left
                media, error = None, None
                try:
                    media = yield from self._hash(key, content, is_wanted)
                except GeneratorExit as e:  # no further step is taken, for those who came either
                    self._finish(key, content, error=e)
                    text = "hashing was given up before it was done"
                    future.set_exception(Unavailable(text, reason=Reason.DEADLINE_EXCEEDED))
                    raise
                except BaseException as e:  # noqa: BLE001 - for whoever waits, as an executor does
                    error = e
                is_done = self._finish(key, content, media, error, is_wanted)
            if error is not None:
                future.set_exception(error)
            elif media is not None and future.is_shared:
                future.set_result(media)
            return media
        finally:
            self._start_next()

    def _start_next(self) -> None:
        with self._lock:
            while self._queue:
                key, (content, future) = self._queue.popitem(last=False)
                if future.set_running_or_notify_cancel():
                    self._threads.submit(carry_out, self._run(key, content, future))
                    return
            self._idle += 1

    def _hash(self, key: bytes, content: Content, is_wanted: Callable[[], bool] | None) -> Steps[MediaHashes]:
        pieces = content.pieces()
        file = None if pieces else content.open()
        if not pieces and file is None:
            raise Unavailable("the upload's bytes are gone")
        try:
            with self._pool.room() as place:
                self.hashed += 1
                media = yield from place.hash_in_steps(
                    file or pieces,
                    effort=self._effort,
                    is_wanted=lambda: self._is_wanted(key, is_wanted),
                )
        finally:
            if file is not None:
                file.close()
        return msgspec.structs.replace(media, digests=content.digests)  # of the same bytes, taken as they came

    def _is_wanted(self, key: bytes, is_wanted: Callable[[], bool] | None) -> bool:
        # A dict's look-up needs no lock. Who hashes by itself cannot give up: it is one of the number.
        return self._wanted.get(key, 0) > int(is_wanted is not None and not is_wanted())

    def _finish(
        self,
        key: bytes,
        content: Content,
        media: MediaHashes | None = None,
        error: BaseException | None = None,
        is_wanted: Callable[[], bool] | None = None,
    ) -> bool:
        """Let go of a content, and remember what became of it; neither `media` nor `error`: nobody wants it. Return
        False, and do nothing, where hashing it was stopped because nobody wanted it, and somebody does now.
        """
        is_stopped = isinstance(error, HashHubError) and error.reason is Reason.DEADLINE_EXCEEDED
        with self._lock:
            if is_stopped and self._is_wanted(key, is_wanted):
                return False
            self._in_hand.pop(key, None)
            self._queue.pop(key, None)
            self._wanted.pop(key, None)
            if isinstance(error, HashHubError) and _is_of_content(error):
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
    count = len(media.video_frames) + 8
    for frame in media.frames:
        count += len(frame.hashes)
        for variant in frame.variants:
            count += len(variant.hashes)
    return _A_HASH * count


def _is_of_content(error: HashHubError) -> bool:
    """Whether the content is why: then it fails the next time, too. What else went wrong is tried again."""
    return error.reason in {Reason.UNREADABLE_MEDIA, Reason.MEDIA_TOO_LARGE, Reason.MEDIA_TOO_COSTLY}


class _Outcome(Future["MediaHashes"]):
    """What becomes of a content. `is_shared`: somebody else than who takes the steps of hashing looks at it; changed
    under the lock of `Hashing` while the content is in hand. Unless there is, hashes are handed over without it: to
    settle a future and to look at it are a dozen calls more. An error is always there.
    """

    is_shared = True


def _done(outcome: MediaHashes | HashHubError) -> _Outcome:
    future = _Outcome()
    if isinstance(outcome, HashHubError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    return future
