"""An upload's bytes while it is looked at: in memory that no file system has, bounded for one and for all together."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from io import FileIO
from typing import IO, Final, TypeAlias

from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash

# None of these protects a secret: they name files, as every list does. FIPS builds refuse MD5 otherwise.
_EMPTY: Final = tuple(
    (name, hashlib.new(of, usedforsecurity=False))
    for name, of in (("MD5", "md5"), ("SHA1", "sha1"), ("SHA256", "sha256"))
)
Piece: TypeAlias = bytes | bytearray | memoryview
_FEW_BYTES: Final = 4 << 20
"""Of an upload that stays in the pieces that came. To a file in memory the system must give pages, and take them back:
0.18 ms for the 450 KB of a picture of 2 megapixels, where to send as much to a child takes 0.03 ms.
"""
_BUFFERS: Final = (bytes, bytearray, memoryview)
_SMALL_BYTES: Final = 4096  # a piece below is joined to others: an object for each byte would take far more memory
_READ_BACK_BYTES: Final = 1 << 18
_HEAD_BYTES: Final = 4096  # enough for every signature


class Memory:
    """Bytes that the uploads of one hook may have in memory, all together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take so many bytes; False, and nothing is taken, if there is no room for them."""
        with self._lock:
            if self.taken + size > self.most:
                return False
            self.taken += size
            return True

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self.taken -= size


class Content:
    """The bytes of one upload, as they come: digested all, and remembered as long as they stay within the bounds.

    Several may hold it (the upload, and who still hashes it): it is freed when the last lets go.

    `is_too_large`: more than `max_bytes` came; `is_crowded_out`: all uploads together had no room for it. Of either
    there are digests only.
    """

    def __init__(self, memory: Memory, max_bytes: int) -> None:
        self.size = 0
        self.is_too_large = self.is_crowded_out = False
        self.head = b""
        self._memory = memory
        self._max_bytes = max_bytes
        self._taken = self._reserved = 0  # the latter is a part of the former
        self._states = [(name, state.copy()) for name, state in _EMPTY]
        self._digests: tuple[Hash, ...] | None = None
        self._lock = threading.Lock()
        self._holders = 1
        self._is_kept = True
        self._pieces: list[Piece] = []
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
        if not self._is_kept:
            return
        if self.size > self._max_bytes:
            self.is_too_large = True
        elif not self._has_room(size):
            self.is_crowded_out = True
        else:
            with self._lock:
                if self._taken > _FEW_BYTES:
                    _write(self._as_file(), piece)
                else:
                    self._keep(piece, size)
            return
        self._free()

    def reserve(self, size: int) -> bool:
        """Take room for the next `size` bytes, which come in one piece; return whether they will be kept."""
        if not self._is_kept or self.size + size > self._max_bytes or not self._memory.take(size):
            return False
        self._taken += size
        self._reserved = size
        return True

    def _has_room(self, size: int) -> bool:
        if self._reserved == size:
            self._reserved = 0
            return True
        if not self._memory.take(size):
            return False
        self._taken += size
        return True

    def _keep(self, piece: Piece, size: int) -> None:
        if self._file is not None:
            _write(self._file, piece)
        elif size < _SMALL_BYTES:
            if not (self._pieces and isinstance(self._pieces[-1], bytearray)):
                self._pieces.append(bytearray())
            self._pieces[-1] += piece  # type: ignore[operator]
        elif isinstance(piece, memoryview) and isinstance(piece.obj, bytes):
            self._pieces.append(piece.cast("B"))  # the caller may release its own
        else:
            self._pieces.append(bytes(piece))  # copies nothing but what could still be changed

    def _as_file(self) -> FileIO:
        if self._file is None:
            self._file = FileIO(os.memfd_create("upload", os.MFD_CLOEXEC), "w+b")
            for piece in self._pieces:
                _write(self._file, piece)
            self._pieces.clear()
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
        """The SHA-256 digest, under which what was learnt of the content is remembered: MD5 can be made to
        collide. Empty where something was passed over.
        """
        digests = self.digests
        return digests[-1].digest if digests else b""

    def open(self) -> IO[bytes] | None:
        """Return the bytes, to be read from their begin and closed by the caller; None where they were not kept.

        Each caller has a place in them of its own.
        """
        with self._lock:
            if not self._is_kept:
                return None
            return open(f"/proc/self/fd/{self._as_file().fileno()}", "rb")  # noqa: PTH123 - the caller closes it

    def pieces(self) -> tuple[Piece, ...]:
        """Return the bytes in pieces, where they are few and nobody has had them as a file; else nothing."""
        with self._lock:
            return tuple(self._pieces)

    def read_back(self) -> Iterator[Piece]:
        """Yield what is kept, from its begin. Raises OSError."""
        if pieces := self.pieces():
            yield from pieces
        elif self.size and (file := self.open()) is not None:
            with file:
                while piece := file.read(_READ_BACK_BYTES):
                    yield piece

    def hold(self) -> None:
        """Keep the bytes until `drop` is called once more."""
        with self._lock:
            self._holders += 1

    def drop(self) -> None:
        """Let go of the bytes."""
        with self._lock:
            self._holders -= 1
            is_last = self._holders == 0
        if is_last:
            self._free()

    def _free(self) -> None:
        with self._lock:
            self._is_kept = False
            file, self._file = self._file, None
            self._pieces = []
            taken, self._taken = self._taken, 0
        if file is not None:
            file.close()
        self._memory.give_back(taken)


def _write(file: FileIO, piece: Piece) -> None:
    rest = memoryview(piece).cast("B")
    while rest:
        rest = rest[file.write(rest) :]
