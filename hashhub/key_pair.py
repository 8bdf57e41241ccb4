"""Certificates with their private keys, in PEM files that may be renewed while programs use them."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from hashhub.errors import InvalidArgument


class KeyPair:
    """A certificate's chain, its private key and, where a file of them is named, authorities; PEM."""

    def __init__(self, field: str, *files: str) -> None:
        """Read the files, in this order. `field`: what an error names. Raises InvalidArgument for bad ones."""
        self._field, self._files = field, files
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
            told = f"cannot be used ({why}); check the files: a chain, its key and authorities, if any, in PEM"
            raise InvalidArgument.field(self._field, told, "TLS") from e
        self.chain, self.key, self.authorities = chain, key, b"".join(authorities) or None
        self._state = state
        return True
