"""Exact digests: MD5, SHA-1 and SHA-256 of the same bytes in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO, Final

from hashhub.errors import InvalidArgument, Reason
from hashhub.hashes import Hash

# The registry's names and hashlib's.
_HASHLIB_NAMES: Final[dict[str, str]] = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256"}

DIGEST_ALGORITHMS: Final = tuple(_HASHLIB_NAMES)

_CHUNK_BYTES: Final = 1 << 20


def digests(chunks: Iterable[bytes], algorithms: Collection[str] = DIGEST_ALGORITHMS) -> tuple[Hash, ...]:
    """Return the hash of the joined chunks for each of `algorithms`, in the order of `DIGEST_ALGORITHMS`.

    Reads every chunk once and keeps none, so media of any size can be digested. `algorithms` are canonical names; those
    that are not in `DIGEST_ALGORITHMS` are passed over.
    """
    # None of these protects a secret: they name files, as every contributed hash set does. FIPS builds refuse MD5
    # otherwise.
    running = {
        name: hashlib.new(_HASHLIB_NAMES[name], usedforsecurity=False)
        for name in DIGEST_ALGORITHMS
        if name in algorithms
    }
    for chunk in chunks:
        for state in running.values():
            state.update(chunk)
    return tuple(Hash.of(name, state.digest()) for name, state in running.items())


def read_chunks(stream: BinaryIO, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[bytes]:
    """Yield what is left of the stream, from its current position, in chunks of at most `chunk_bytes`.

    Raises:
        InvalidArgument: UNREADABLE_MEDIA, if reading fails or the stream does not give bytes.
    """
    while True:
        try:
            chunk = stream.read(chunk_bytes)
        except (OSError, ValueError) as e:  # ValueError: the stream is closed
            raise InvalidArgument(
                f"the media could not be read to its end ({type(e).__name__}); give bytes or an open binary stream",
                reason=Reason.UNREADABLE_MEDIA,
            ) from e
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidArgument(
                f"the stream gave {type(chunk).__name__}, expected bytes; open it in binary mode",
                reason=Reason.UNREADABLE_MEDIA,
            )
        if not chunk:
            return
        yield bytes(chunk)
