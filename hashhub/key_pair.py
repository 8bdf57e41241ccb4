"""Certificates with their private keys, in PEM files that may be renewed while programs use them."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

from hashhub.errors import InvalidArgument


class KeyPair:
    """A certificate's chain, its private key and, where a file of them is named, authorities; PEM."""

    def __init__(self, field: str, certificate: str, key: str, authorities: str = "") -> None:
        """Read the files. `field`: what an error names. Raises InvalidArgument for files that cannot be used."""
        self._field: Final = field
        self._files: Final = [certificate, key, *([authorities] if authorities else [])]
        self._state: object = None
        self.refresh()

    def refresh(self) -> bool:
        """Read files that have changed, and return whether any has. Raises InvalidArgument where they cannot be used,
        as in the middle of a change; what was read before stays.
        """
        try:
            state = [(status.st_mtime_ns, status.st_size, status.st_ino) for status in map(os.stat, self._files)]
            if state == self._state:
                return False
            chain, key, *authorities = (Path(file).read_bytes() for file in self._files)
            # grpc says nothing useful about bad files; the standard library does.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._files[0], self._files[1], password="")  # asks nobody for one
            for file in self._files[2:]:
                context.load_verify_locations(file)
        except (OSError, ValueError) as e:  # ValueError: a NUL in a path
            named = f"{Path(e.filename).name!r}: {e.strerror}" if isinstance(e, OSError) and e.filename else ""
            why = named or getattr(e, "reason", None) or "unreadable"
            raise InvalidArgument.field(
                self._field,
                f"cannot be used ({why}); expected PEM files of a certificate's chain, of the private key that fits "
                "and, where they are named, of authorities; check the files",
                "TLS",
            ) from e
        self.chain, self.key, self.authorities = chain, key, b"".join(authorities) or None
        self._state = state
        return True
