"""A statement and its signature in one file: a DSSE envelope, or the statement's line and an SSH signature below it."""

from __future__ import annotations

import binascii
import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hashhub.errors import InvalidArgument
from hashhub.model import Contributor

PublicKey: TypeAlias = Ed25519PublicKey | EllipticCurvePublicKey
PrivateKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey

NAMESPACE: Final = "contribution@hashhub"
"""Of SSH signatures: one that was made for something else is none of a contribution."""
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_ENVELOPE: Final = 16 * 1024  # bytes
_MAX_SIGNATURES: Final = 16
_SSH_BEGIN: Final = b"\n-----BEGIN SSH SIGNATURE-----\n"
_SSH_END: Final = b"-----END SSH SIGNATURE-----"
_SSH_HASHES: Final = {b"sha256": hashes.SHA256(), b"sha512": hashes.SHA512()}
_SIGNER: Final = re.compile(r'(?P<name>\S+)(?: (?P<options>\S*="\S*"))? (?P<key>(?:ssh|ecdsa)-\S+ \S+)(?: .*)?')
_TIME_FORMAT: Final = "%Y%m%d%H%M%SZ"


class TrustedKey(NamedTuple):
    """A public key, called `CONTRIBUTOR/KEY`, and from when until when what it signs counts; None: without an end."""

    name: str
    key: PublicKey
    valid_after: datetime | None = None
    valid_before: datetime | None = None

    @property
    def allowed_signer(self) -> str:
        """The key's line in a file of allowed signers, as `ssh-keygen -Y verify` reads it."""
        times = {"valid-after": self.valid_after, "valid-before": self.valid_before}
        options = [f'namespaces="{NAMESPACE}"']
        options += [f'{name}="{time.strftime(_TIME_FORMAT)}"' for name, time in times.items() if time is not None]
        return f"{self.name} {','.join(options)} {public_text(self.key)}"

    def is_valid_at(self, time: datetime) -> bool:
        """Whether a signature of this time counts."""
        return (self.valid_after is None or self.valid_after <= time) and (
            self.valid_before is None or time < self.valid_before
        )


class SignedEnvelope(NamedTuple):
    """A statement, and of each signature the bytes that it is over."""

    statement: bytes
    signatures: tuple[tuple[bytes, bytes], ...]

    def is_signed_by(self, key: PublicKey) -> bool:
        """Whether one of the signatures is this key's."""
        return any(_verifies(key, message, signature) for message, signature in self.signatures)


class _Signature(msgspec.Struct):
    sig: str
    keyid: str = ""


class _Dsse(msgspec.Struct, rename="camel"):
    payload_type: str
    payload: str
    signatures: list[_Signature]


def read_envelope(data: bytes) -> SignedEnvelope:
    """Return the envelope in a file. Raises InvalidArgument for what is none; verifies nothing."""
    try:
        if len(data) > MAX_ENVELOPE:
            raise ValueError
        if _SSH_BEGIN in data:
            statement, _, armoured = data.partition(_SSH_BEGIN)
            return SignedEnvelope(statement + b"\n", (_ssh_signature(statement + b"\n", armoured),))
        dsse = msgspec.json.decode(data, type=_Dsse)
        if dsse.payload_type != PAYLOAD_TYPE or not 1 <= len(dsse.signatures) <= _MAX_SIGNATURES:
            raise ValueError
        statement = b64decode(dsse.payload, validate=True)
        message = _pre_authentication(statement)
        return SignedEnvelope(statement, tuple((message, b64decode(x.sig, validate=True)) for x in dsse.signatures))
    except (ValueError, struct.error, msgspec.DecodeError) as e:
        raise InvalidArgument.field(
            "signature",
            f"must be a DSSE envelope around an in-toto statement, or the statement's line and an SSH signature in the "
            f"namespace {NAMESPACE} below it, of at most {MAX_ENVELOPE} bytes; `hashhub sign` writes both",
            "SIGNATURE",
        ) from e


def sign(statement: bytes, key: PrivateKey) -> bytes:
    """Return the DSSE envelope of a statement."""
    message = _pre_authentication(statement)
    of_curve = (message, ECDSA(hashes.SHA256()))
    signature = key.sign(message) if isinstance(key, Ed25519PrivateKey) else key.sign(*of_curve)
    signatures = [_Signature(sig=b64encode(signature).decode())]
    return msgspec.json.encode(_Dsse(PAYLOAD_TYPE, b64encode(statement).decode(), signatures)) + b"\n"


def read_public_key(text: str) -> PublicKey:
    """Return the key in a PEM file, or in a line as OpenSSH writes it. Raises InvalidArgument for another one."""
    data = text.strip().encode()
    try:
        read = serialization.load_pem_public_key if data.startswith(b"-----") else serialization.load_ssh_public_key
        key = read(data)
        if isinstance(key, Ed25519PublicKey) or _is_p256(key):
            return key  # type: ignore[return-value]  # as both of these say
    except (ValueError, UnsupportedAlgorithm):
        pass
    raise InvalidArgument.field(
        "public_key", "must be an Ed25519 or P-256 key, in PEM or in a line as OpenSSH writes it", "KEY"
    )


def read_private_key(pem: bytes, password: bytes | None = None) -> PrivateKey:
    """Return the key in a PEM file. Raises InvalidArgument for another one, or where the password does not open it."""
    try:
        key = serialization.load_pem_private_key(pem, password)
        if isinstance(key, Ed25519PrivateKey) or _is_p256(key):
            return key  # type: ignore[return-value]  # as both of these say
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: there is a password, and none was given
        pass
    raise InvalidArgument.field("key", "must be an Ed25519 or P-256 private key in PEM, and its password right", "KEY")


def public_text(key: PublicKey) -> str:
    """Return the line that OpenSSH writes for a key, which is the same whatever form it came in."""
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def read_trusted_keys(text: str) -> list[TrustedKey]:
    """Return the keys in a file of allowed signers (`hashhub contributor key list --allowed-signers` writes one), or
    the one in a PEM file, which has no name and is whoever's the reader takes it for. Raises InvalidArgument.
    """
    if text.lstrip().startswith("-----"):
        return [TrustedKey("", read_public_key(text))]
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = _SIGNER.fullmatch(line.strip())
        options = dict(re.findall(r'([a-z-]+)="([^"]*)"', parts["options"] or "")) if parts else {}
        if parts is None or options.get("namespaces", NAMESPACE) != NAMESPACE:
            expected = f'must be: CONTRIBUTOR/KEY namespaces="{NAMESPACE}" KEYTYPE KEY'
            raise InvalidArgument.field("keys", f"line {number} {expected}", "KEY")
        after, before = (_time(options.get(name)) for name in ("valid-after", "valid-before"))
        keys.append(TrustedKey(parts["name"], read_public_key(parts["key"]), after, before))
    return keys


def trusted_keys(contributor: Contributor) -> list[TrustedKey]:
    """Return the keys of a contributor whose signatures may count, and when: none that was stolen."""
    return [
        TrustedKey(f"{contributor.id}/{key.id}", read_public_key(key.public_key), key.create_time, key.revoke_time)
        for key in contributor.signing_keys
        if not key.stolen
    ]


def signers(envelope: SignedEnvelope, keys: Iterable[TrustedKey], contributor: str) -> list[TrustedKey]:
    """Return those of a contributor's keys that signed, whether or not their signatures count."""
    own = (key for key in keys if key.name.partition("/")[0] in {"", contributor})
    return [key for key in own if envelope.is_signed_by(key.key)]


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidArgument.field("keys", f"a time must be YYYYMMDDHHMMSSZ, got {text!r:.40}", "KEY") from None


def _is_p256(key: object) -> bool:
    return isinstance(key, EllipticCurvePublicKey | EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)


def _verifies(key: PublicKey, message: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _pre_authentication(statement: bytes) -> bytes:
    """Return what a DSSE signature is over."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(statement), statement)


def _ssh_signature(message: bytes, armoured: bytes) -> tuple[bytes, bytes]:
    """Return what an SSH signature (openssh: PROTOCOL.sshsig) of a message is over, and the signature itself."""
    body, end, _ = armoured.partition(_SSH_END)
    blob = binascii.a2b_base64(body)
    if not end or blob[:10] != b"SSHSIG\0\0\0\1":
        raise ValueError
    _, namespace, reserved, algorithm, signature = _strings(blob[10:], 5)
    if namespace != NAMESPACE.encode() or algorithm not in _SSH_HASHES:
        raise ValueError
    digest = hashes.Hash(_SSH_HASHES[algorithm])
    digest.update(message)
    signed = b"SSHSIG" + b"".join(
        struct.pack(">I", len(x)) + x for x in (namespace, reserved, algorithm, digest.finalize())
    )
    kind, value = _strings(signature, 2)
    if kind == b"ecdsa-sha2-nistp256":
        value = encode_dss_signature(*(int.from_bytes(number) for number in _strings(value, 2)))
    return signed, value


def _strings(data: bytes, count: int) -> list[bytes]:
    """Return so many strings, each behind its length, which are all of the data."""
    strings = []
    for _ in range(count):
        (length,) = struct.unpack_from(">I", data)
        strings.append(data[4 : 4 + length])
        if len(strings[-1]) != length:
            raise ValueError
        data = data[4 + length :]
    if data:
        raise ValueError
    return strings
