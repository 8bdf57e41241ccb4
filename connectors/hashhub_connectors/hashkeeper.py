"""HashKeeper hash sets (`.hsh`): quoted CSV, the MD5 in the column `hash`.

Whether a set is one of known good or of known bad files stands in its other file (`.hke`), not here: the hash set's
purpose says it. Layout: The Sleuth Kit, tsk/hashdb/hk.c; md5deep, files.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Final

from hashhub.connector import Certainty, Guess, Items, Option, check_options
from hashhub_connectors.forensic_csv import Layout, header_names, layout_of, read_layout

_LAYOUTS: Final = (
    Layout(
        names=("file_id", "hashset_id", "file_name", "directory", "hash"), digests=(("MD5", "hash"),), size="file_size"
    ),
)
_EXPECTED: Final = 'HashKeeper\'s: "file_id","hashset_id","file_name","directory","hash","file_size", and further ones'


class HashKeeper:
    """Reads HashKeeper CSV. Positions are `line 12`."""

    name = "hashkeeper"
    version = "1"
    summary = "HashKeeper hash sets (.hsh), CSV with MD5"
    options: tuple[Option, ...] = ()

    def has_classifications(self, options: Mapping[str, str]) -> bool:  # noqa: ARG002 - the same with all options
        """Return False: the file has no place for them."""
        return False

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return a guess by the header's names."""
        if layout_of(header_names(head), _LAYOUTS):
            return Guess(Certainty.CERTAIN, "its first line has HashKeeper's column names")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each line after the header. Raises MalformedSource as `read_layout` does."""
        check_options(self, options)
        return (yield from read_layout(source, _LAYOUTS, _EXPECTED))
