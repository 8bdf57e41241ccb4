"""The frames of a video as bytes, as the store and a staged batch keep them: 37 bytes a frame, in the order of times.

Each frame is its time in milliseconds (uint32, little-endian: up to 49 days), its quality (uint8) and its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.errors import DataLoss
from hashhub.hashes import FRAMES, SEARCHED, VPDQ, Hash
from hashhub.hygiene import (
    MIN_PDQ_QUALITY,
    PDQ_MIN_DISTINCT,
    PDQ_NOISE_MAX_DISTINCT,
    PDQ_NOISE_MAX_SET_BITS,
    PDQ_SET_BITS,
    unlike,
)
from hashhub.model import VideoFrame

if TYPE_CHECKING:
    from hashhub.model import Entry, Record

DIGEST_BYTES: Final = 32
MIN_QUALITY: Final = MIN_PDQ_QUALITY
"""A frame of a lower quality matches nothing; vPDQ has the same default (`VPDQ_QUALITY_THRESHOLD` of
python-threatexchange)."""
_ROW: Final = np.dtype([("offset", "<u4"), ("quality", "u1"), ("digest", "u1", (DIGEST_BYTES,))])
FRAME_BYTES: Final = _ROW.itemsize


class FrameColumns(NamedTuple):
    """Frames in the order of their times: offsets int64[n] in ms, qualities uint8[n], digests uint8[n, 32]."""

    offsets: NDArray[np.int64]
    qualities: NDArray[np.uint8]
    digests: NDArray[np.uint8]

    def matching(self) -> FrameColumns:
        """Return those that match: of quality enough, whatever is claimed of a digest that blank pictures have."""
        chosen = (self.qualities >= MIN_QUALITY) & are_telling(self.digests)
        return FrameColumns(self.offsets[chosen], self.qualities[chosen], np.ascontiguousarray(self.digests[chosen]))


def are_telling(digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which PDQ digests, uint8[n, 32], can be those of a picture with something in it (hygiene's bounds),
    bool[n].
    """
    ones = np.bitwise_count(digests).sum(axis=1)
    ordered = np.sort(digests, axis=1)
    distinct = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
    is_noise = (distinct <= PDQ_NOISE_MAX_DISTINCT) & (ones <= PDQ_NOISE_MAX_SET_BITS)
    telling: NDArray[np.bool_] = (
        (ones >= PDQ_SET_BITS.start) & (ones < PDQ_SET_BITS.stop) & (distinct >= PDQ_MIN_DISTINCT) & ~is_noise
    )
    return telling


def pack(frames: Iterable[VideoFrame]) -> bytes:
    """Return frames that hygiene has let through as bytes; none: no bytes."""
    return b"".join([f.offset_ms.to_bytes(4, "little") + bytes((f.quality,)) + f.digest for f in frames])


def unpack(packed: bytes) -> tuple[VideoFrame, ...]:
    """Return the frames. Raises DataLoss when the bytes are not whole frames."""
    c = columns(packed)
    rows = zip(c.offsets.tolist(), c.qualities.tolist(), c.digests, strict=True)
    return tuple([VideoFrame(offset, quality, digest.tobytes()) for offset, quality, digest in rows])


def columns(packed: bytes) -> FrameColumns:
    """Return the frames as arrays. Raises DataLoss when the bytes are not whole frames."""
    if len(packed) % FRAME_BYTES:
        raise DataLoss("an entry's stored frames cannot be read: restore the database from a backup")
    rows = np.frombuffer(packed, _ROW)
    return FrameColumns(rows["offset"].astype(np.int64), rows["quality"], np.ascontiguousarray(rows["digest"]))


def columns_of(frames: Iterable[VideoFrame]) -> FrameColumns:
    """Return frames as arrays; their digests have 32 bytes each."""
    listed = list(frames)
    return FrameColumns(
        np.fromiter((f.offset_ms for f in listed), np.int64, len(listed)),
        np.fromiter((f.quality for f in listed), np.uint8, len(listed)),
        np.frombuffer(b"".join([f.digest for f in listed]), np.uint8).reshape(-1, DIGEST_BYTES),
    )


def matching_digests(packed: bytes) -> NDArray[np.uint8]:
    """Return the distinct digests of the frames that match, uint8[n, 32] in byte order."""
    digests = columns(packed).matching().digests
    values = np.unique(digests.reshape(-1).view(f"S{DIGEST_BYTES}"))  # of fixed width: they compare as their bytes do
    return values.view(np.uint8).reshape(-1, DIGEST_BYTES)


def reach(hashes: Iterable[Hash], packed: bytes, most: int) -> int:
    """Return of how many items a statement may be, up to `most`: one has one digest of each algorithm, near ones count
    once.
    """
    digests: dict[str, list[bytes]] = {}
    for h in hashes:
        digests.setdefault(h.algorithm, []).append(h.digest)
    digests.pop(FRAMES.name, None)
    if packed:
        flat = matching_digests(packed).tobytes()
        digests[VPDQ.name] = [flat[at : at + DIGEST_BYTES] for at in range(0, len(flat), DIGEST_BYTES)]
    return max((unlike(own, SEARCHED[a].default_max_distance or 0, most) for a, own in digests.items()), default=0)


def hash_of(packed: bytes) -> Hash:
    """Return what tells this list of frames from any other."""
    return Hash(FRAMES.name, hashlib.sha256(packed).digest())


def known_by(item: Entry | Record) -> tuple[Hash, ...]:
    """Return the hashes by which an item is known: its own, and what stands for its frames, which a record may have
    already.
    """
    frames_digest: bytes = getattr(item, "frames_digest", b"")
    if frames_digest:
        return (*item.hashes, Hash(FRAMES.name, frames_digest))
    frames: tuple[VideoFrame, ...] = item.frames
    return (*item.hashes, hash_of(pack(frames))) if frames else item.hashes
