"""A small certificate authority in a directory, for pilots: whoever has a PKI of their own needs none of it.

    authority.pem, authority.key    the authority itself; the key never leaves the machine
    NAME.pem, NAME.key              what was issued to a name last
    replaced/SERIAL.pem             what was issued to names before
    revoked.pem                     the revocation list, for `tls_client_revoked`

Keys are ECDSA on P-256, signatures over SHA-256 (RFC 5758); revocation lists follow RFC 5280, 5.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from hashhub.local_files import make_directory, written

_NAME: Final = re.compile("[a-z0-9][a-z0-9-]{0,62}")
_OWN: Final = "authority"
_LIST: Final = "revoked"
_AUTHORITY_DAYS: Final = 3650
_LIST_DAYS: Final = 365  # until whoever reads it may ask for a newer one; each command makes one
_EARLY: Final = timedelta(minutes=5)  # clocks of two machines differ


class IssuedCertificate(NamedTuple):
    """A certificate of this authority."""

    name: str
    identities: tuple[str, ...]
    serial: str  # hexadecimal
    expire_time: datetime
    is_revoked: bool


class Authority:
    """Issues certificates and revokes them."""

    def __init__(self, directory: Path) -> None:
        """Read the authority of a directory. Raises FailedPrecondition where there is none."""
        self._directory = directory
        try:
            self._certificate = x509.load_pem_x509_certificate((directory / f"{_OWN}.pem").read_bytes())
            key = serialization.load_pem_private_key((directory / f"{_OWN}.key").read_bytes(), None)
            self._revoked = x509.load_pem_x509_crl((directory / f"{_LIST}.pem").read_bytes())
        except (OSError, ValueError) as e:
            what = e.strerror if isinstance(e, OSError) else e
            raise FailedPrecondition(
                f"there is no authority in {str(directory)!r} ({what}); make one with `hashhub ca init`"
            ) from e
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - `create` has made it
        self._key = key

    @classmethod
    def create(cls, directory: Path, name: str) -> Authority:
        """Make an authority with a name for people, in a new or empty directory. Raises AlreadyExists."""
        make_directory(directory)
        if any(directory.iterdir()):
            raise AlreadyExists(f"{str(directory)!r} is not empty; name a new directory", kind="Directory", name="")
        key, at = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        made = (
            _builder(_named(name), _named(name), key.public_key(), at, _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(directory / f"{_OWN}.key", _pem_of(key))
        _write(directory / f"{_OWN}.pem", made.public_bytes(serialization.Encoding.PEM))
        _write(directory / f"{_LIST}.pem", _revocation_list(made, key, []))
        return cls(directory)

    def issue(self, name: str, identities: Sequence[str], *, days: int, server: bool = False) -> IssuedCertificate:
        """Issue a certificate to a new name. `identities`: URI:… and DNS:…, for a `server` DNS:… and IP:…. Raises
        AlreadyExists, InvalidArgument.
        """
        if not _NAME.fullmatch(name) or name in {_OWN, _LIST}:
            raise InvalidArgument.field(
                "name", "must be 1 to 63 of a-z, 0-9 and -, and none of the authority's", "PATTERN"
            )
        if (self._directory / f"{name}.pem").exists():
            raise AlreadyExists(
                f"{name} has a certificate; `hashhub ca renew {name}` replaces it", kind="Certificate", name=name
            )
        if not identities:
            raise InvalidArgument.field("identities", "must name whom it proves, as URI:… or DNS:…", "REQUIRED")
        names = x509.SubjectAlternativeName([_general_name(identity) for identity in identities])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        return self._issue(name, names, x509.ExtendedKeyUsage([usage]), days)

    def renew(self, name: str, *, days: int) -> IssuedCertificate:
        """Issue another certificate with a new key to a name. The one before works until it ends. Raises NotFound."""
        before = self._of(name)
        names = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = before.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        make_directory(self._directory / "replaced")
        _write(self._replaced(before), before.public_bytes(serialization.Encoding.PEM))
        return self._issue(name, names, usage, days)

    def revoke(self, name: str) -> list[IssuedCertificate]:
        """Revoke all certificates of a name that have not ended, and write the list. Raises NotFound."""
        self._of(name)
        ended = [c for c in self._all() if _name_of(c) == name]
        known = list(self._revoked)
        now, serials = datetime.now(UTC), {r.serial_number for r in known}
        known += [
            x509.RevokedCertificateBuilder().serial_number(c.serial_number).revocation_date(now).build()
            for c in ended
            if c.serial_number not in serials
        ]
        _write(self._directory / f"{_LIST}.pem", _revocation_list(self._certificate, self._key, known))
        self._revoked = x509.load_pem_x509_crl((self._directory / f"{_LIST}.pem").read_bytes())
        return [self._shown(c) for c in ended]

    def certificates(self) -> list[IssuedCertificate]:
        """Return what was issued, in the order of names and of time."""
        return [self._shown(c) for c in sorted(self._all(), key=lambda c: (_name_of(c), c.not_valid_before_utc))]

    def _issue(
        self, name: str, names: x509.SubjectAlternativeName, usage: x509.ExtendedKeyUsage, days: int
    ) -> IssuedCertificate:
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _builder(_named(name), self._certificate.subject, key.public_key(), datetime.now(UTC), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .add_extension(usage, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        _write(self._directory / f"{name}.key", _pem_of(key))
        _write(self._directory / f"{name}.pem", made.public_bytes(serialization.Encoding.PEM))
        return self._shown(made)

    def _all(self) -> Iterator[x509.Certificate]:
        for path in (*self._directory.glob("*.pem"), *self._directory.glob("replaced/*.pem")):
            if path.stem not in {_OWN, _LIST}:
                yield x509.load_pem_x509_certificate(path.read_bytes())

    def _of(self, name: str) -> x509.Certificate:
        found = [c for c in self._all() if _name_of(c) == name and not self._replaced(c).exists()]
        if not found:
            raise NotFound(
                f"{name[:63]!r} has no certificate; see `hashhub ca list`", kind="Certificate", name=name[:63]
            )
        return found[0]

    def _replaced(self, certificate: x509.Certificate) -> Path:
        return self._directory / "replaced" / f"{certificate.serial_number:x}.pem"

    def _shown(self, certificate: x509.Certificate) -> IssuedCertificate:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return IssuedCertificate(
            _name_of(certificate),
            tuple(f"{_KINDS[type(name)]}:{name.value}" for name in names),
            f"{certificate.serial_number:x}",
            certificate.not_valid_after_utc,
            self._revoked.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None,
        )


_KINDS: Final[dict[type[x509.GeneralName], str]] = {
    x509.UniformResourceIdentifier: "URI",
    x509.DNSName: "DNS",
    x509.IPAddress: "IP",
}


def _general_name(identity: str) -> x509.GeneralName:
    kind, _, value = identity.partition(":")
    try:
        if kind == "URI" and value:
            return x509.UniformResourceIdentifier(value)
        if kind == "DNS" and value:
            return x509.DNSName(value)
        if kind == "IP":
            return x509.IPAddress(ipaddress.ip_address(value))
    except ValueError:
        pass
    raise InvalidArgument.field(
        "identities", f"must be URI:…, DNS:… or, for a server, IP:…; got {identity[:80]!r}", "PATTERN"
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name_of(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, at: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _EARLY)
        .not_valid_after(at + timedelta(days=days))
    )


def _revocation_list(
    authority: x509.Certificate, key: ec.EllipticCurvePrivateKey, revoked: Sequence[x509.RevokedCertificate]
) -> bytes:
    at = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(at - _EARLY)
        .next_update(at + timedelta(days=_LIST_DAYS))
    )
    for one in revoked:
        builder = builder.add_revoked_certificate(one)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    with written(path, replace=True) as file:
        file.write(content)
