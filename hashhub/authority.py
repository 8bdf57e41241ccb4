"""A small certificate authority in a directory, for pilots: whoever has a PKI of their own needs none of it.

    authority.pem, authority.key    the authority itself; the key never leaves the machine
    NAME.pem, NAME.key              what was issued to a name last
    issued                          names and serial numbers of all that was issued
    revoked.pem                     the revocation list, for `tls_client_revoked`

Keys are ECDSA on P-256, signatures over SHA-256 (RFC 5758); revocation lists follow RFC 5280, 5.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from hashhub.local_files import lock, make_directory, written

_NAME: Final = re.compile("(?!authority$|revoked$)[a-z0-9][a-z0-9-]{0,62}")
_AUTHORITY_DAYS: Final = 3650
_EARLY: Final = timedelta(minutes=5)  # clocks of two machines differ
_KINDS: Final = {"URI": x509.UniformResourceIdentifier, "DNS": x509.DNSName}


class Authority:
    """Issues certificates and revokes them."""

    def __init__(self, directory: Path) -> None:
        """Read the authority of a directory. Raises FailedPrecondition where there is none."""
        self._directory = directory
        try:
            self._certificate = x509.load_pem_x509_certificate(self._file("authority.pem").read_bytes())
            key = serialization.load_pem_private_key(self._file("authority.key").read_bytes(), None)
        except (OSError, ValueError) as e:
            what = e.strerror if isinstance(e, OSError) else e
            told = f"there is no authority in {str(directory)!r} ({what}); make one with `hashhub ca init`"
            raise FailedPrecondition(told) from e
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - `create` has made it
        self._key = key

    @classmethod
    def create(cls, directory: Path, name: str) -> Authority:
        """Make an authority with a name for people, in a new or empty directory. Raises AlreadyExists."""
        make_directory(directory)
        if any(directory.iterdir()):
            raise AlreadyExists(f"{str(directory)!r} is not empty; name a new directory", kind="Directory", name="")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, _named(name), key, _AUTHORITY_DAYS)
        made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        _write(directory / "authority.key", key)
        _write(directory / "authority.pem", made.sign(key, hashes.SHA256()))
        _write(directory / "issued", b"")
        authority = cls(directory)
        authority.write_list(())
        return authority

    def issue(self, name: str, identities: Sequence[str], *, days: float, server: bool = False) -> Path:
        """Issue a certificate to a new name, and return its file. `identities`: URI:…, DNS:…, for a server also IP:….
        Raises AlreadyExists, InvalidArgument.
        """
        if not _NAME.fullmatch(name):
            told = "must be 1 to 63 of a-z, 0-9 and -, and neither authority nor revoked"
            raise InvalidArgument.field("name", told, "PATTERN")
        if self._file(f"{name}.pem").exists():
            told = f"{name} has a certificate; `hashhub ca renew {name}` replaces it"
            raise AlreadyExists(told, kind="Certificate", name=name)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        names = x509.SubjectAlternativeName(list(map(_general_name, identities)))
        return self._issue(name, names, x509.ExtendedKeyUsage([usage]), days)

    def renew(self, name: str, *, days: float) -> Path:
        """Replace a name's certificate and key, and return its file. The one before works until it ends. Raises
        NotFound.
        """
        self._serials(name)
        extensions = x509.load_pem_x509_certificate(self._file(f"{name}.pem").read_bytes()).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return self._issue(name, names, extensions.get_extension_for_class(x509.ExtendedKeyUsage).value, days)

    def revoke(self, name: str) -> Path:
        """Revoke all certificates of a name, and return the list's file. Raises NotFound."""
        with self._alone():
            before = x509.load_pem_x509_crl(self._file("revoked.pem").read_bytes())
            return self.write_list({*(one.serial_number for one in before), *self._serials(name)})

    def write_list(self, serials: Iterable[int]) -> Path:
        """Write the list of revoked certificates, and return its file."""
        at = datetime.now(UTC)
        # For as long as the authority is: it writes another when there is something to revoke, and not otherwise.
        until = self._certificate.not_valid_after_utc
        builder = x509.CertificateRevocationListBuilder(self._certificate.subject, at - _EARLY, until)
        for serial in sorted(serials):
            one = x509.RevokedCertificateBuilder(serial, at)
            builder = builder.add_revoked_certificate(one.build())
        return _write(self._file("revoked.pem"), builder.sign(self._key, hashes.SHA256()))

    def _issue(self, name: str, names: x509.SubjectAlternativeName, usage: x509.ExtendedKeyUsage, days: float) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _builder(name, self._certificate.subject, key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .add_extension(usage, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        line = f"{name} {made.serial_number:x}\n".encode()
        with self._alone():
            _write(self._file("issued"), self._file("issued").read_bytes() + line)
            _write(self._file(f"{name}.key"), key)
            return _write(self._file(f"{name}.pem"), made)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from the directory: of two lists written at once, one would be lost."""
        with self._file("authority.key").open("rb") as file:
            lock(file, wait=True)
            yield

    def _serials(self, name: str) -> list[int]:
        issued = [line.split() for line in self._file("issued").read_text("ascii").splitlines()]
        serials = [int(serial, 16) for owner, serial in issued if owner == name]
        if not serials:
            raise NotFound(f"{name[:63]!r} has no certificate of this authority", kind="Certificate", name=name[:63])
        return serials

    def _file(self, name: str) -> Path:
        return self._directory / name


def _general_name(identity: str) -> x509.GeneralName:
    kind, _, value = identity.partition(":")
    try:
        return x509.IPAddress(ipaddress.ip_address(value)) if kind == "IP" else _KINDS[kind](value)
    except (KeyError, ValueError) as e:
        told = f"must be URI:…, DNS:… or, for a server, IP:…; got {identity[:80]!r}"
        raise InvalidArgument.field("identities", told, "PATTERN") from e


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: float) -> x509.CertificateBuilder:
    at = datetime.now(UTC)
    serial = x509.random_serial_number()
    return x509.CertificateBuilder(
        issuer, _named(name), key.public_key(), serial, at - _EARLY, at + timedelta(days=days)
    )


def _write(path: Path, content: Any) -> Path:
    """Write a key, or what has a PEM form, or bytes, for the owner only."""
    if isinstance(content, ec.EllipticCurvePrivateKey):
        content = content.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    elif not isinstance(content, bytes):
        content = content.public_bytes(serialization.Encoding.PEM)
    with written(path, replace=True) as file:
        file.write(content)
    return path
