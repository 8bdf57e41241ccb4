"""The vault's encryption: each upload has a key of its own, and that key is wrapped for the operator.

AGE       to public keys: the machine that stores cannot read; who has an identity can
KEY_FILE  by a key in a file, which the operator keeps apart from the data
KMS       by a key that never leaves a key service (`awskms:///alias/NAME?region=…`)

A sealed file is MAGIC, then for each 64 KiB its ciphertext by AES-256-GCM and tag. The nonce is the chunk's number (8
bytes, big-endian), three zeros, and 1 for the last chunk: STREAM (Hoang et al., 2015). No key seals twice, so no nonce
is used twice. MAGIC and the item's name are authenticated: files cannot be swapped.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from hashhub.addresses import is_loopback_host
from hashhub.desk.settings import Encryption
from hashhub.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    LimitExceeded,
    Reason,
    Unavailable,
    missing_extra,
)
from hashhub.local_files import private_text, short_text, written

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from hashhub.desk.settings import VaultSettings

KEY_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 16
_MAGIC: Final = b"hashhub-vault-1\n"
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_PREFIX: Final = "hashhub-vault-key-1:"
_KMS_SECONDS: Final = 2.0


class Keys(ABC):
    """Wraps the keys of uploads. `id` names the wrapping key and tells nothing about it; it is kept with each item.
    `can_open`: whether `unwrap` can work here at all.
    """

    id: str
    can_open: bool = True

    def new(self, name: str) -> tuple[bytes, bytes]:
        """Return a fresh key for the item `name`, plain and wrapped. Raises Unavailable when the service is away."""
        key = secrets.token_bytes(KEY_BYTES)
        return key, self.wrap(key, name)

    @abstractmethod
    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Return the plain key. Raises FailedPrecondition (VAULT_KEY_LOST) when this is not who can open it."""

    @abstractmethod
    def wrap(self, key: bytes, name: str) -> bytes:
        """Return the key wrapped anew."""


class KeyFile(Keys):
    """AES-256-GCM by the key of a file."""

    def __init__(self, path: str, *, data: Path) -> None:
        """Raises InvalidArgument for a file that is missing, malformed, within `data` or readable by others."""
        file = Path(path)
        if file.resolve().is_relative_to(data.resolve()):
            raise InvalidArgument.field(
                "vault.key_file", "lies within the data directory, whose backups would hold key and content; move it"
            )
        text = private_text(file, "vault.key_file")
        try:
            key = base64.b64decode(text.removeprefix(_KEY_PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if not text.startswith(_KEY_PREFIX) or len(key) != KEY_BYTES:
            raise InvalidArgument.field(
                "vault.key_file", "is no key of a vault; make one with `hashhub hook vault key --out FILE`"
            )
        self._cipher = cipher_of(key)
        self.id = f"file:{hashlib.sha256(b'hashhub-vault-key-id' + key).hexdigest()[:16]}"

    def wrap(self, key: bytes, name: str) -> bytes:
        """Return the key wrapped."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, name.encode())

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Return the plain key."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as e:
            raise lost() from e


class Age(Keys):
    """age (https://age-encryption.org/v1), X25519 and what else pyrage reads as recipients."""

    def __init__(self, recipients_file: str, identity_file: str = "") -> None:
        """Raises InvalidArgument for a file that cannot be read or holds something else."""
        pyrage = _pyrage()
        self._pyrage = pyrage
        self._recipients = []
        lines = _lines(short_text(Path(recipients_file), "vault.recipients_file"))
        for line in lines:
            try:
                self._recipients.append(pyrage.x25519.Recipient.from_str(line))
            except pyrage.RecipientError as e:
                raise InvalidArgument.field(
                    "vault.recipients_file", "has a line that is no age recipient (age1…); `age-keygen -y` prints it"
                ) from e
        if not self._recipients:
            raise InvalidArgument.field("vault.recipients_file", "names nobody, so that nobody could open anything")
        self._identities = []
        if identity_file:
            for line in _lines(private_text(Path(identity_file), "identity")):
                try:
                    self._identities.append(pyrage.x25519.Identity.from_str(line))
                except pyrage.IdentityError as e:
                    raise InvalidArgument.field("identity", "is no age identity (AGE-SECRET-KEY-…)") from e
        self.id = f"age:{hashlib.sha256(' '.join(sorted(lines)).encode()).hexdigest()[:16]}"
        self.can_open = bool(self._identities)

    def wrap(self, key: bytes, name: str) -> bytes:
        """Return the key wrapped, with the item's name, which age has no place for beside it."""
        wrapped: bytes = self._pyrage.encrypt(key + name.encode(), self._recipients)
        return wrapped

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Return the plain key."""
        if not self._identities:
            raise FailedPrecondition(
                "this machine cannot open what it keeps; give the file with the age identity by --identity",
                reason=Reason.VAULT_KEY_LOST,
            )
        try:
            plain: bytes = self._pyrage.decrypt(wrapped, self._identities)
        except self._pyrage.DecryptError as e:
            raise lost() from e
        if plain[KEY_BYTES:] != name.encode():
            raise lost()
        return plain[:KEY_BYTES]


class Kms(Keys):
    """AWS KMS: data keys that the service makes and wraps, for the item's name as encryption context."""

    def __init__(self, url: str) -> None:
        """Ask for a data key, so that a missing key shows at once. Raises InvalidArgument for a bad address,
        Unavailable.
        """
        parts = urlsplit(url)
        self._key = parts.path.lstrip("/")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        endpoint = query.pop("endpoint", None)
        region = query.pop("region", None)
        if parts.scheme != "awskms" or parts.netloc or not self._key or query:
            raise InvalidArgument.field(
                "vault.kms_key", "must be like awskms:///alias/NAME?region=eu-west-1 (or a key's id or ARN)"
            )
        at = urlsplit(endpoint or "https:")
        if at.scheme != "https" and not is_loopback_host(at.hostname or ""):
            raise InvalidArgument.field("vault.kms_key", "has an endpoint that is neither https nor on this machine")
        try:
            import botocore.session
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as e:
            raise missing_extra(e, "hook-bucket", what="a KMS") from e
        self._errors = (BotoCoreError, ClientError)
        try:
            self._client: Any = botocore.session.get_session().create_client(
                "kms",
                region_name=region,
                endpoint_url=endpoint,
                config=Config(
                    connect_timeout=_KMS_SECONDS, read_timeout=_KMS_SECONDS, retries={"total_max_attempts": 2}
                ),
            )
        except self._errors as e:
            raise InvalidArgument.field("vault.kms_key", f"cannot be used: {type(e).__name__}") from e
        self.id = f"kms:{hashlib.sha256(self._key.encode()).hexdigest()[:16]}"
        self.new("self-test")

    def new(self, name: str) -> tuple[bytes, bytes]:
        """Return a fresh key, plain and wrapped."""
        answer = self._ask("generate_data_key", KeyId=self._key, KeySpec="AES_256", EncryptionContext=_context(name))
        return answer["Plaintext"], answer["CiphertextBlob"]

    def wrap(self, key: bytes, name: str) -> bytes:
        """Return the key wrapped."""
        answer = self._ask("encrypt", KeyId=self._key, Plaintext=key, EncryptionContext=_context(name))
        wrapped: bytes = answer["CiphertextBlob"]
        return wrapped

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Return the plain key."""
        plain: bytes = self._ask("decrypt", CiphertextBlob=wrapped, EncryptionContext=_context(name))["Plaintext"]
        return plain

    def _ask(self, call: str, **given: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, call)(**given)
        except self._errors as e:
            code = getattr(e, "response", {}).get("Error", {}).get("Code", type(e).__name__)
            if code in {"InvalidCiphertextException", "IncorrectKeyException"}:
                raise lost() from e
            raise Unavailable(
                f"the key service does not answer as it must ({code}); check the key, its state and the credentials"
            ) from e
        return answer


def open_keys(settings: VaultSettings, *, data: Path, identity_file: str = "") -> Keys:
    """Return what the settings choose. Raises InvalidArgument, Unavailable or FailedPrecondition."""
    if settings.encryption is Encryption.AGE:
        return Age(settings.recipients_file, identity_file)
    if settings.encryption is Encryption.KEY_FILE:
        return KeyFile(settings.key_file, data=data)
    if settings.encryption is Encryption.KMS:
        return Kms(settings.kms_key)
    raise FailedPrecondition(
        "the vault is off; choose [vault] encryption, and see docs/hook/vault.md", reason=Reason.VAULT_OFF
    )


def make_key(path: Path) -> None:
    """Write a new key to a file that does not exist yet. Raises as `write_private` does."""
    write_private(path, _KEY_PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a secret to a new file for its owner only. Raises AlreadyExists and InvalidArgument."""
    with written(path, taken="a secret is never written over another file") as file:
        file.write(text.encode())


def lost() -> FailedPrecondition:
    """Return the error for a key that does not open what it should."""
    return FailedPrecondition(
        "the key given is not the one for which this was kept; find the old one (see `hashhub hook vault check`)",
        reason=Reason.VAULT_KEY_LOST,
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _context(name: str) -> dict[str, str]:
    return {"hashhub-vault-item": name}


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError as e:
        raise missing_extra(e, "hook", what="age") from e
    return pyrage


def seal(content: IO[bytes], target: IO[bytes], key: bytes, name: str, *, max_bytes: int) -> int:
    """Encrypt the rest of `content` into `target`; return its size. Raises LimitExceeded beyond `max_bytes`."""
    cipher = cipher_of(key)
    target.write(_MAGIC)
    size = 0
    for nonce, chunk in _chunks(content, CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise LimitExceeded(
                f"the upload is larger than the {max_bytes} bytes that the vault may keep of one",
                reason=Reason.TOO_LARGE,
            )
        target.write(cipher.encrypt(nonce, chunk, _MAGIC + name.encode()))
    return size


def unseal(source: IO[bytes], target: IO[bytes], key: bytes, name: str) -> int:
    """Decrypt the upload into `target`; return its size, without which nothing of it may be used. Raises DataLoss when
    anything was changed, cut, added or put into another order.
    """
    from cryptography.exceptions import InvalidTag

    cipher = cipher_of(key)
    if source.read(len(_MAGIC)) != _MAGIC:
        raise _damaged()
    size = 0
    for nonce, chunk in _chunks(source, CHUNK_BYTES + _TAG_BYTES):
        try:
            piece = cipher.decrypt(nonce, chunk, _MAGIC + name.encode())
        except (InvalidTag, ValueError) as e:
            raise _damaged() from e
        target.write(piece)
        size += len(piece)
    return size


def cipher_of(key: bytes) -> AESGCM:
    """Return the cipher that a key makes. Raises FailedPrecondition where the library is missing."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as e:
        raise missing_extra(e, "hook", what="the vault") from e
    return AESGCM(key)


def _chunks(stream: IO[bytes], size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield what is left of a stream in chunks, one at least, each after its nonce."""
    number, chunk = 0, _read(stream, size)
    while not number or chunk:
        following = _read(stream, size)
        yield number.to_bytes(8, "big") + bytes((0, 0, 0, not following)), chunk
        number, chunk = number + 1, following


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
