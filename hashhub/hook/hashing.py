"""The bytes of an upload or a request, in memory that no file system has, and their hashes, by child processes.

submit ── remembered? ── in hand? ── room to wait? ── a thread for each child ── hashes, or why there are none
              │             └── the one future of that content
              └── by SHA-256; failures for a minute, so that what cost the CPU limit once does not cost it each time
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from io import FileIO
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.hashes import Hash
from hashhub.senders import ByteBudget

if TYPE_CHECKING:
    from hashhub.hashing.media import MediaHashes
    from hashhub.hashing.pool import MediaPool
    from hashhub.hook.settings import HookSettings


# None of these protects a secret: they name files, as every list does. FIPS builds refuse MD5 otherwise.
_EMPTY: Final = tuple(
    (name, hashlib.new(of, usedforsecurity=False))
    for name, of in (("MD5", "md5"), ("SHA1", "sha1"), ("SHA256", "sha256"))
)
Piece: TypeAlias = bytes | bytearray | memoryview
PIECE_BYTES: Final = 64 * 1024
"""Bytes in which bytes that are kept are read and handed on."""
_BUFFERS: Final = (bytes, bytearray, memoryview)
_SMALL_BYTES: Final = 4096  # a piece below is joined to others: an object for each byte would take far more memory
_HEAD_BYTES: Final = 4096  # enough for every signature


class UploadBytes:
    """The bytes of an upload or request, digested as they come, and kept within bounds until the last holder lets go.

    `is_too_large`: more than `most` came; `is_crowded_out`: there was no room; of either there are digests only.
    """

    def __init__(self, budget: ByteBudget, most: int, *, is_digested: bool = True) -> None:
        self.size = 0
        self.most = most
        self.is_too_large = self.is_crowded_out = False
        self.is_kept = True
        self.head = b""
        self._budget = budget
        self.taken = self._reserved = 0  # of the budget; the latter is a part of the former
        self._states = [(name, state.copy()) for name, state in _EMPTY] if is_digested else []
        self._digests: tuple[Hash, ...] | None = None
        self._lock = threading.Lock()
        self._holders = 1
        self._pieces: deque[Piece] = deque()
        self._file: FileIO | None = None  # in place of the pieces

    def write(self, piece: Piece) -> None:
        """Take in the next bytes. Raises InvalidArgument for what is no bytes."""
        if not isinstance(piece, _BUFFERS):
            raise InvalidArgument.field(
                "upload", f"gave {type(piece).__name__}, expected bytes; open it in binary mode"
            )
        size = piece.nbytes if isinstance(piece, memoryview) else len(piece)
        if self._digests:  # those of what came before; none at all stay none
            self._digests = None
        for _, state in self._states:
            state.update(piece)
        if len(self.head) < _HEAD_BYTES:
            self.head += bytes(piece[: _HEAD_BYTES - len(self.head)])
        self.size += size
        if not self.is_kept:
            return
        if self.size > self.most:
            self.is_too_large = True
        elif not self._has_room(size):
            self.is_crowded_out = True
        else:
            with self._lock:
                self._keep(piece, size)
            return
        self._free()

    def reserve(self, size: int) -> bool:
        """Take room for the next `size` bytes, which come in one piece; return whether they will be kept."""
        if not self.is_kept or self.size + size > self.most or not self._budget.take(size):
            return False
        self.taken += size
        self._reserved = size
        return True

    def _has_room(self, size: int) -> bool:
        if self._reserved == size:
            self._reserved = 0
            return True
        if not self._budget.take(size):
            return False
        self.taken += size
        return True

    def _keep(self, piece: Piece, size: int) -> None:
        if self._file is not None:
            _write(self._file, piece)
        elif size < _SMALL_BYTES:
            last = self._pieces[-1] if self._pieces else b""
            if not isinstance(last, bytearray) or len(last) >= PIECE_BYTES:
                last = bytearray()
                self._pieces.append(last)
            last += piece
        elif isinstance(piece, memoryview) and isinstance(piece.obj, bytes):
            self._pieces.append(piece.cast("B"))  # the caller may release its own
        else:
            self._pieces.append(bytes(piece))  # copies nothing but what could still be changed

    def _as_file(self) -> FileIO:
        if self._file is None:
            self._file = FileIO(os.memfd_create("upload", os.MFD_CLOEXEC), "w+b")
            while self._pieces:
                _write(self._file, self._pieces.popleft())
        return self._file

    def pass_over(self, count: int) -> None:
        """Count bytes that are not read: the content is too large, and has no digests."""
        self.size += count
        self.is_too_large = True
        self._digests = ()
        self._free()

    @property
    def digests(self) -> tuple[Hash, ...]:
        """MD5, SHA-1 and SHA-256 of all that came; none where something was passed over."""
        if self._digests is None:
            self._digests = tuple([Hash(name, state.digest()) for name, state in self._states])
        return self._digests

    @property
    def key(self) -> bytes:
        """The SHA-256 digest, by which contents are known: MD5 collides. Empty where bytes were passed over."""
        digests = self.digests
        return digests[-1].digest if digests else b""

    def open(self) -> IO[bytes] | None:
        """Return the bytes as a file of the caller's own, to be closed by it; None where they were not kept."""
        with self._lock:
            if not self.is_kept:
                return None
            return open(f"/proc/self/fd/{self._as_file().fileno()}", "rb")  # noqa: PTH123 - the caller closes it

    def pieces(self) -> tuple[Piece, ...]:
        """Return the bytes in pieces, where nobody has had them as a file; else nothing."""
        with self._lock:
            return tuple(self._pieces)

    def take_piece(self) -> bytes:
        """Give the next piece, of PIECE_BYTES at most, and drop it here; empty behind the last."""
        with self._lock:
            if not self._pieces:
                return b""
            whole = memoryview(self._pieces.popleft())
            if len(whole) > PIECE_BYTES:
                self._pieces.appendleft(whole[PIECE_BYTES:])
            piece = bytes(whole[:PIECE_BYTES])
            self.taken -= len(piece)
        self._budget.give_back(len(piece))
        return piece

    def read_back(self) -> Iterator[Piece]:
        """Yield what is kept, from its begin. Raises OSError."""
        if pieces := self.pieces():
            yield from pieces
        elif self.size and (file := self.open()) is not None:
            with file:
                while piece := file.read(PIECE_BYTES):
                    yield piece

    def hold(self) -> None:
        """Keep the bytes until `drop` is called once more."""
        with self._lock:
            self._holders += 1

    def drop(self) -> None:
        """Let go of the bytes; more often than they are held does no harm."""
        with self._lock:
            self._holders -= 1
            is_last = self._holders <= 0
        if is_last:
            self._free()

    def _free(self) -> None:
        with self._lock:
            self.is_kept = False
            file, self._file = self._file, None
            self._pieces.clear()
            taken, self.taken = self.taken, 0
        if file is not None:
            file.close()
        self._budget.give_back(taken)


def _write(file: FileIO, piece: Piece) -> None:
    rest = memoryview(piece).cast("B")
    while rest:
        rest = rest[file.write(rest) :]


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
    from hashhub.hashing.pool import MediaPool
    from hashhub.hashing.structure import Limits, video_pixels

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
