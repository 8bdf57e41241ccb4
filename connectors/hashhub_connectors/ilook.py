"""iLook hash sets of versions 1, 3 and 4: CSV whose first column is named for the version, and is the MD5.

Kept: MD5, SHA-1 and SHA-256, and the size. SHA-384 and SHA-512, names, paths, times and the set's description are not.
What the column HashType of version 1 may hold is not established; it is not read. Layout: md5deep, files.cpp, which
reads these three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Final

from hashhub.connector import Certainty, Guess, Items, Option, check_options
from hashhub_connectors.forensic_csv import Layout, header_names, layout_of, read_layout

_LATER: Final = (("SHA1", "hashsha1"), ("SHA256", "hashsha256"))
_LAYOUTS: Final = (
    Layout(("v1hash", "hashtype", "filename"), (("MD5", "v1hash"),), "filesize"),
    *(
        Layout(
            (f"v{version}hash", "hashsha1", "filename"),
            (("MD5", f"v{version}hash"), *_LATER),
            "filesize",
            ("hashsha384", "hashsha512"),
        )
        for version in (3, 4)
    ),
)
_EXPECTED: Final = "iLook's: V1Hash,HashType,SetDescription,…, or V3Hash,HashSHA1,FileName,…, or V4Hash,HashSHA1,…"


class ILook:
    """Reads iLook CSV. Positions are `line 12`."""

    name = "ilook"
    version = "1"
    summary = "iLook hash sets, CSV of versions 1, 3 and 4"
    options: tuple[Option, ...] = ()

    def has_classifications(self, options: Mapping[str, str]) -> bool:  # noqa: ARG002 - the same with all options
        """Return False: the file has no place for them."""
        return False

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return a guess by the header's names."""
        if layout_of(header_names(head), _LAYOUTS):
            return Guess(Certainty.CERTAIN, "its first line has iLook's column names")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each line after the header. Raises MalformedSource as `read_layout` does."""
        check_options(self, options)
        return (yield from read_layout(source, _LAYOUTS, _EXPECTED))
