"""The form in which the vault writes an upload: chunks of AES-256-GCM, in order, with an end that is authenticated.

MAGIC, then for each 64 KiB of the upload its ciphertext and tag (16 bytes). The nonce is the chunk's number (8 bytes,
big-endian), three zeros, and 1 for the last chunk, else 0: the STREAM construction (Hoang, Reyhanitabar, Rogaway and
Vizár, Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, 2015). Each upload has a key of its own,
so that no nonce is used twice. The additional data is MAGIC and the item's name, so that two files cannot be swapped.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from hashhub.errors import DataLoss, FailedPrecondition, LimitExceeded, Reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 16
_MAGIC: Final = b"hashhub-vault-1\n"
_TAG_BYTES: Final = 16


def seal(content: IO[bytes], target: IO[bytes], key: bytes, name: str, *, max_bytes: int) -> int:
    """Write what is left of `content` to `target`, and return how many bytes that was. Raises LimitExceeded beyond
    `max_bytes`, and what writing raises.
    """
    cipher = cipher_of(key)
    target.write(_MAGIC)
    size = number = 0
    chunk = _read(content, CHUNK_BYTES)
    while True:
        size += len(chunk)
        if size > max_bytes:
            raise LimitExceeded(
                f"the upload is larger than the {max_bytes} bytes that the vault may keep of one",
                reason=Reason.TOO_LARGE,
            )
        following = _read(content, CHUNK_BYTES)
        target.write(cipher.encrypt(_nonce(number, is_last=not following), chunk, _MAGIC + name.encode()))
        if not following:
            return size
        chunk = following
        number += 1


def unseal(source: IO[bytes], target: IO[bytes], key: bytes, name: str) -> int:
    """Write the upload to `target`, and return its size. Nothing that was written may be used unless this returns.

    Raises DataLoss when anything was changed, cut, added or put into another order.
    """
    from cryptography.exceptions import InvalidTag

    cipher = cipher_of(key)
    if source.read(len(_MAGIC)) != _MAGIC:
        raise _damaged()
    size = number = 0
    chunk = _read(source, CHUNK_BYTES + _TAG_BYTES)
    while True:
        following = _read(source, CHUNK_BYTES + _TAG_BYTES)
        try:
            piece = cipher.decrypt(_nonce(number, is_last=not following), chunk, _MAGIC + name.encode())
        except (InvalidTag, ValueError) as e:
            raise _damaged() from e
        target.write(piece)
        size += len(piece)
        if not following:
            return size
        chunk = following
        number += 1


def cipher_of(key: bytes) -> AESGCM:
    """Return the cipher that a key makes. Raises FailedPrecondition where the library is missing."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as e:
        raise FailedPrecondition(
            "the vault needs the library cryptography; pip install 'hashhub[hook]'", reason=Reason.MISSING_EXTRA
        ) from e
    return AESGCM(key)


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(8, "big") + bytes((0, 0, 0, is_last))


def _read(stream: IO[bytes], size: int) -> bytes:
    """Return `size` bytes, fewer at the end only."""
    pieces = bytearray()
    while len(pieces) < size and (piece := stream.read(size - len(pieces))):
        pieces += piece
    return bytes(pieces)


def _damaged() -> DataLoss:
    return DataLoss(
        "what the vault holds of this upload was changed, cut or is another's; nothing of it was let out. Keep the "
        "file, and restore the vault and hook.db from one backup",
        reason=Reason.VAULT_DAMAGED,
    )
