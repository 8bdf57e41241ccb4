"""Signed notes: a text, and under it lines with the signatures of named keys (c2sp.org/signed-note).

    ED25519      over the text
    COSIGNATURE  a witness's over "cosignature/v1", a time and the text (c2sp.org/tlog-cosignature)

Signatures of keys that a reader does not know, or of other types, are passed over; those of keys that it knows must
hold.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from hashhub.errors import DataLoss, InvalidArgument, Reason, missing_extra
from hashhub.tlog.tree import MAX_SIZE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
MAX_SIGNATURES: Final = 64
MAX_NOTE: Final = 400_000
"""Bytes: as many signatures of ML-DSA, and more text than a checkpoint has."""

_MAX_NAME: Final = 255
_ID_BYTES: Final = 4
_KEY_BYTES: Final = 32
_TIME_BYTES: Final = 8
_MARK: Final = "\N{EM DASH} "


class VerifierKey(NamedTuple):
    """A public key with the name and the type that it signs by."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """What tells it from other keys of its name."""
        return sha256(f"{self.name}\n".encode() + bytes([self.kind]) + self.public).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{encode_base64(bytes([self.kind]) + self.public)}"


class NoteSignature(NamedTuple):
    """A line under a note, of whatever type: the name and the id of a key, and what that made of the text."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"{_MARK}{self.name} {encode_base64(self.key_id + self.value)}"


class SignedNote(NamedTuple):
    """A text and its signatures, not verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n" + "".join([f"{signature}\n" for signature in self.signatures])

    def signers(self, keys: Iterable[VerifierKey]) -> dict[VerifierKey, int]:
        """Return which of these keys signed it, and when: seconds since 1970, 0 where its type has no time.

        Raises DataLoss (PROOF_FAILED) if a signature of one of them does not hold.
        """
        known = {(key.name, key.id): key for key in keys}
        times: dict[VerifierKey, int] = {}
        for signature in self.signatures:
            if key := known.get((signature.name, signature.key_id)):
                times[key] = max(times.get(key, 0), _verified(key, self.text, signature.value))
        return times

    def with_signatures(self, added: Iterable[NoteSignature]) -> SignedNote:
        """Return the note with further signatures, the newest one of each key."""
        by_key = {(signature.name, signature.key_id): signature for signature in (*self.signatures, *added)}
        return self._replace(signatures=tuple(by_key.values()))


class NoteSigner:
    """A private key that signs by a name and in one of the two types."""

    def __init__(self, name: str, key: Ed25519PrivateKey, kind: int = ED25519) -> None:
        """Raises InvalidArgument for a name that no key may have."""
        self.key = VerifierKey(_checked_name(name), kind, key.public_key().public_bytes_raw())
        self._private = key

    def sign(self, text: str, time: int = 0) -> NoteSignature:
        """Return the signature of a text that ends in a line's end; `time`: of a cosignature, seconds since 1970."""
        timed = time.to_bytes(_TIME_BYTES, "big") if self.key.kind == COSIGNATURE else b""
        return NoteSignature(self.key.name, self.key.id, timed + self._private.sign(_signed(self.key.kind, text, time)))


def parse_note(content: bytes) -> SignedNote:
    """Return what a note says. Raises InvalidArgument."""
    if len(content) > MAX_NOTE:
        raise InvalidArgument.field("note", f"has {len(content)} bytes; expected at most {MAX_NOTE}")
    text, middle, lines = _text_of(content, "note").rpartition("\n\n")
    if not middle or not lines.endswith("\n") or lines.count("\n") > MAX_SIGNATURES:
        raise InvalidArgument.field(
            "note", f"must be a text, an empty line, and from 1 to {MAX_SIGNATURES} lines with signatures"
        )
    return SignedNote(f"{text}\n", parse_signatures(lines))


def parse_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Return what stands under a note, line by line. Raises InvalidArgument."""
    signatures = []
    for line in lines.removesuffix("\n").split("\n"):
        name, _, encoded = line.removeprefix(_MARK).partition(" ")
        value = decode_base64(encoded, "signature")
        if not line.startswith(_MARK) or len(value) <= _ID_BYTES:
            raise InvalidArgument.field(
                "signature", "must be a dash, the key's name, and its id and signature in base64"
            )
        signatures.append(NoteSignature(_checked_name(name), value[:_ID_BYTES], value[_ID_BYTES:]))
    if len(signatures) > MAX_SIGNATURES:
        raise InvalidArgument.field("signature", f"stands there {len(signatures)} times; at most {MAX_SIGNATURES}")
    return tuple(signatures)


def parse_key(text: str, field: str = "key") -> VerifierKey:
    """Return the key that a text NAME+ID+KEY stands for. Raises InvalidArgument, also for types that we do not know."""
    name, key_id, encoded = (*text.split("+", 2), "", "")[:3]
    material = decode_base64(encoded, field)
    if len(material) != 1 + _KEY_BYTES or material[0] not in {ED25519, COSIGNATURE}:
        raise InvalidArgument.field(field, "must be NAME+ID+KEY, with an Ed25519 key of the type 1 or 4")
    key = VerifierKey(_checked_name(name), material[0], material[1:])
    if key.id.hex() != key_id:
        raise InvalidArgument.field(field, f"has the id {key_id[:20]!r}, which is not that of this name and key")
    return key


def new_private_key() -> bytes:
    """Return a new Ed25519 key as the text of a PEM file."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def load_private_key(pem: bytes, field: str) -> Ed25519PrivateKey:
    """Return the Ed25519 key of a PEM file (PKCS #8, as `openssl genpkey` writes it). Raises InvalidArgument."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(pem, None)
    except (TypeError, ValueError) as e:
        raise InvalidArgument.field(field, "holds no private key; expected PEM without a password") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidArgument.field(
            field, "holds a key of another kind; make one by: openssl genpkey -algorithm ed25519"
        )
    return key


def decode_base64(text: str, field: str) -> bytes:
    """Return the bytes that a text stands for in base64. Raises InvalidArgument for any but the one way to write it."""
    try:
        value = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if encode_base64(value) != text:
        raise InvalidArgument.field(field, f"{text[:40]!r} is not base64")
    return value


def encode_base64(value: bytes) -> str:
    """Return bytes in base64."""
    return b64encode(value).decode()


def parse_number(text: str, field: str) -> int:
    """Return a decimal number from 0 to MAX_SIZE without leading zeroes. Raises InvalidArgument."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_SIZE)) else -1
    if str(number) != text or number > MAX_SIZE:
        raise InvalidArgument.field(field, f"{text[:40]!r} is not a number from 0 to {MAX_SIZE}")
    return number


def _text_of(content: bytes, field: str) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as e:
        raise InvalidArgument.field(field, "is not UTF-8") from e
    if any(character < " " and character != "\n" for character in text):
        raise InvalidArgument.field(field, "has control characters")
    return text


def _checked_name(name: str) -> str:
    if not 0 < len(name) <= _MAX_NAME or "+" in name or any(c.isspace() or c < " " for c in name):
        raise InvalidArgument.field(
            "name", f"{name[:60]!r} names no key; expected up to {_MAX_NAME} characters, no space and no plus"
        )
    return name


def _signed(kind: int, text: str, time: int) -> bytes:
    return (f"cosignature/v1\ntime {time}\n{text}" if kind == COSIGNATURE else text).encode()


def _verified(key: VerifierKey, text: str, value: bytes) -> int:
    """Return the time of a signature that holds. Raises DataLoss."""
    time_bytes = _TIME_BYTES if key.kind == COSIGNATURE else 0
    time = int.from_bytes(value[:time_bytes], "big")
    if time > MAX_SIZE or not _holds(key.public, value[time_bytes:], _signed(key.kind, text, time)):
        raise DataLoss(
            f"the signature of {key.name} does not hold: the text or the signature was changed, or another key made "
            "it; compare the key with its owner's",
            reason=Reason.PROOF_FAILED,
        )
    return time


def _holds(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server", what="verifying a signature") from e
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
