"""The bytes of an upload or a request: in memory that no file system has, bounded for one and for all together."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from io import FileIO
from typing import IO, Final, TypeAlias

from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash
from hashhub.senders import ByteBudget

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
