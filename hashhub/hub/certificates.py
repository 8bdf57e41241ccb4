"""Certificates: the hub's own and when they end; of clients, whose chains and dates a listener has verified, what they
name and which are revoked.

Loaded by hubs that have or take certificates only.
"""

from __future__ import annotations

import logging
import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from hashhub.errors import InvalidArgument, Reason, Unauthenticated, Unavailable
from hashhub.local_files import named_file
from hashhub.model import CertificateId, now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from hashhub.config import Config

_log = logging.getLogger("hashhub.access")

_UNREADABLE: Final = (x509.DuplicateExtension, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType)
_LIST: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_OF_HUB: Final = ("tls_certificate", "tls_client_ca")
_SOON: Final = timedelta(days=30)
_SOON_SHARE: Final = 4  # of its life: one of a week is renewed more often


class HubCertificates:
    """The hub's own certificate and its clients' authorities, as their files have them now."""

    def __init__(self, config: Config) -> None:
        self._paths = {setting: path for setting in _OF_HUB if (path := getattr(config, setting))}

    def end_times(self) -> dict[str, datetime]:
        """Return when each ends, by the setting that names its file; of files that cannot be read, nothing."""
        return {setting: one.not_valid_after_utc for setting, one in self._read()[0].items()}

    def warnings(self) -> list[str]:
        """Return which end soon, or cannot be read."""
        certificates, warnings = self._read()
        for setting, one in certificates.items():
            end = one.not_valid_after_utc
            if end - now() < min(_SOON, (end - one.not_valid_before_utc) / _SOON_SHARE):
                warnings.append(
                    f"{setting}: the certificate of {one.subject.rfc4514_string()} ends {end:%Y-%m-%d %H:%MZ}; put its "
                    "successor into that file (`hashhub ca renew`, if the authority is yours)"
                )
        return warnings

    def _read(self) -> tuple[dict[str, x509.Certificate], list[str]]:
        """Return of each file the certificate that ends first, and why others cannot be read."""
        certificates, faults = {}, []
        for setting, path in self._paths.items():
            try:
                found = x509.load_pem_x509_certificates(named_file(setting, path))
                certificates[setting] = min(found, key=lambda one: one.not_valid_after_utc)
            except InvalidArgument as e:
                faults.append(e.message)
            except ValueError as e:
                faults.append(f"{setting}: has no certificate that can be read ({e}); put one there as PEM")
        return certificates, faults


class ClientCertificates:
    """What certificates say, and which of them are revoked by lists whose file is read again when it has changed."""

    def __init__(self, path: str, authorities: str) -> None:
        """`path`: PEM file of lists, empty: none; `authorities`: PEM file of their issuers. Raises InvalidArgument for
        one that cannot be used.
        """
        self._path, self._authorities = Path(path) if path else None, Path(authorities)
        self._lock = threading.Lock()
        self._revoked: dict[bytes, set[int]] = {}  # serial numbers by issuer
        self._due: dict[str, datetime] = {}  # until when lists are to be replaced, by issuer
        self._state: object = None
        self._complaint = ""
        self._refresh()

    def warnings(self) -> list[str]:
        """Return why the lists cannot be read, or which are older than their authorities let them be."""
        try:
            self._refresh()
        except InvalidArgument as e:
            return [e.message]
        return [
            f"tls_client_revoked: the list of {issuer} was to be replaced by {due:%Y-%m-%d %H:%MZ}; whoever was revoked"
            " since it was made is let in: get the newest from the authority"
            for issuer, due in self._due.items()
            if due < now()
        ]

    def read(self, pem: bytes) -> tuple[CertificateId, list[str]]:
        """Return a certificate whose chain was verified, and the identities in it. Raises Unauthenticated where there
        is none, or a SPIFFE id and another URI (SPIFFE: X.509-SVID, 2); and as `check` does.
        """
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, *_UNREADABLE) as e:
            raise _refused("names nobody: it has no subject alternative name that could be read") from e
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        if len(uris) > 1 and any(uri.startswith("spiffe:") for uri in uris):
            raise _refused("names a SPIFFE id and another URI, so that it is neither's")
        hosts = [f"DNS:{host.lower()}" for host in names.get_values_for_type(x509.DNSName)]
        end = int(certificate.not_valid_after_utc.timestamp())
        thumbprint, issuer = certificate.fingerprint(hashes.SHA256()), certificate.issuer.public_bytes()
        proof = CertificateId(thumbprint, issuer, f"{certificate.serial_number:x}", end)
        self.check(proof)
        return proof, [*(f"URI:{uri}" for uri in uris), *hosts]

    def check(self, certificate: CertificateId) -> None:
        """Raise Unauthenticated for a certificate that is revoked, or whose time is over; Unavailable where the list
        cannot be read, and so nobody knows.
        """
        if certificate.end <= now().timestamp():
            raise Unauthenticated("the certificate has expired; renew it", reason=Reason.CERTIFICATE_EXPIRED)
        try:
            self._refresh()
            revoked = self._revoked.get(certificate.issuer)
            if self._path is not None and revoked is None:
                told = "has no list of an authority that issued a caller's certificate; add it"
                raise InvalidArgument.field("tls_client_revoked", told)
        except InvalidArgument as e:
            if e.message != self._complaint:  # not for each call
                _log.error("callers are not let in by certificate: %s", e.message)
            self._complaint = e.message
            told = "the hub cannot read its list of revoked certificates; tell its operator"
            raise Unavailable(told, reason=Reason.REVOCATIONS_UNREADABLE) from e
        if revoked is not None and int(certificate.serial, 16) in revoked:
            told = "the certificate was revoked; ask the operator for another one"
            raise Unauthenticated(told, reason=Reason.CERTIFICATE_REVOKED)

    def _refresh(self) -> None:
        """Read the file if it has changed. Raises InvalidArgument."""
        if self._path is None:
            return
        with self._lock:
            try:
                status = self._path.stat()
                state = status.st_mtime_ns, status.st_size, status.st_ino
                if state == self._state:
                    return
                authorities = x509.load_pem_x509_certificates(self._authorities.read_bytes())
                revoked: dict[bytes, set[int]] = {}
                due: dict[str, datetime] = {}
                for one in _verified(self._path.read_bytes(), authorities):
                    revoked.setdefault(one.issuer.public_bytes(), set()).update(x.serial_number for x in one)
                    if one.next_update_utc is not None:
                        issuer = one.issuer.rfc4514_string()
                        due[issuer] = max(due.get(issuer, one.next_update_utc), one.next_update_utc)
                self._revoked, self._due = revoked, due
                self._state, self._complaint = state, ""
            except (OSError, ValueError) as e:
                self._state = None
                what = e.strerror if isinstance(e, OSError) else str(e)
                told = f"is no list of revoked certificates in PEM ({what}); check the file"
                raise InvalidArgument.field("tls_client_revoked", told, "TLS") from e


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"the certificate {why}; use one with a name that the operator gave to a token (`hashhub token update NAME "
        "--identity URI:…`)",
        reason=Reason.CERTIFICATE_UNKNOWN,
    )


def _verified(text: bytes, authorities: list[x509.Certificate]) -> Iterator[x509.CertificateRevocationList]:
    """Yield lists. Raises ValueError for one of no authority, or where there is none at all."""
    blocks = _LIST.findall(text)
    if not blocks:
        raise ValueError("it has none")
    for revoked in map(x509.load_pem_x509_crl, blocks):
        keys: list[Any] = [one.public_key() for one in authorities if one.subject == revoked.issuer]
        if not any(map(revoked.is_signature_valid, keys)):
            raise ValueError(f"no authority in tls_client_ca has signed the list of {revoked.issuer.rfc4514_string()}")
        yield revoked
