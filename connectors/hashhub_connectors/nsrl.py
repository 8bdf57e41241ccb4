"""NIST's National Software Reference Library (NSRL): RDSv2 as CSV (`NSRLFile.txt`), RDSv3 as an SQLite database.

The RDS lists known files, which is never a claim of harm: every item says `purpose:benign`, so that a hash set of
another purpose holds it in quarantine. Of an RDSv3 database one plain table is read: DISTINCT_HASH, FILE or METADATA,
the first that is there; views and delta scripts are not executed. Sizes are kept; names, products and systems are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import BinaryIO, Final

from hashhub.connector import PURPOSE_TAG, Certainty, Guess, Items, LeftOut, Option, check_options
from hashhub.errors import MalformedSource
from hashhub.model import HashFault, Record
from hashhub_connectors import items, sqlite_file
from hashhub_connectors.forensic_csv import ToolHeader, header_names, layout_of, read_layout
from hashhub_connectors.source import READ_SIZE, UnclassifiedFormat, look_at

_LAYOUTS: Final = (
    ToolHeader(
        names=("sha-1", "md5", "filename", "productcode", "specialcode"),
        digests=(("MD5", "md5"), ("SHA1", "sha-1")),
        size="filesize",
        left_out=("crc32", "md4"),
    ),
)
_EXPECTED: Final = (
    'NSRL\'s: "SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode", or the older '
    "form with MD4; or an RDSv3 SQLite database"
)
_TABLES: Final = ("distinct_hash", "file", "metadata")
_DIGESTS: Final = (("MD5", "md5"), ("SHA1", "sha1"), ("SHA256", "sha256"))
_SIZES: Final = ("file_size", "bytes")
_SQL: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:--|/\*|(?:BEGIN|INSERT|UPDATE|DELETE|CREATE|DROP|PRAGMA|REPLACE|ALTER|ATTACH)\b)",
    re.IGNORECASE,
)
_NO_CRC32: Final = HashFault(
    "CRC32", "UNSUPPORTED_ALGORITHM", "no hub matches CRC32; it is left out of every row, which is told only once"
)
_TAGS: Final = (f"{PURPOSE_TAG}benign",)


class NSRL(UnclassifiedFormat):
    """Reads NSRL's RDSv2 CSV and RDSv3 SQLite databases. Positions are `line 12` and `FILE row 12`."""

    name = "nsrl"
    version = "1"
    summary = "NSRL reference data set: RDSv2 CSV (NSRLFile.txt) and RDSv3 SQLite databases; known files, benign sets"
    options: tuple[Option, ...] = ()

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return a guess by the header's names, or by the tables of a database."""
        if head.startswith(sqlite_file.MAGIC):
            text = head.lower()
            if b"sha256" in text and any(
                re.search(rb"create (?:table|view) .?" + t.encode() + rb"\b", text) for t in _TABLES
            ):
                return Guess(Certainty.LIKELY, "it is an SQLite database with the tables of NSRL's RDSv3")
            return None
        if layout_of(header_names(head), _LAYOUTS):
            return Guess(Certainty.CERTAIN, "its first line has the column names of NSRL's RDSv2")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each line or row.

        Raises MalformedSource for another header, for an SQL script, and as `sqlite_file.opened` does.
        """
        check_options(self, options)
        if _begins_a_database(source):
            return (yield from _read_database(source))
        head, begun = look_at(source, READ_SIZE)
        if head.startswith(sqlite_file.MAGIC):
            return (yield from _read_database(begun))
        if _SQL.match(head):
            raise MalformedSource(
                "the file is an SQL script, as NSRL's delta releases are, and hashhub executes none; apply it to the "
                "full release with sqlite3, and import that database",
                position="line 1",
            )
        return (yield from read_layout(begun, _LAYOUTS, _EXPECTED, _TAGS))


def _begins_a_database(source: BinaryIO) -> bool:
    """Return whether a file begins as a database does, taking nothing from it; False where only reading would tell."""
    peek = getattr(source, "peek", None)
    return peek is not None and bytes(peek(len(sqlite_file.MAGIC))).startswith(sqlite_file.MAGIC)


def _read_database(source: BinaryIO) -> Items:
    with sqlite_file.opened(source) as database:
        tables = (table for name in _TABLES if (table := database.table(name)) is not None)
        for table in tables:
            digests = [(label, column) for label, column in _DIGESTS if column in table.columns]
            if digests:
                break
        else:
            views = sorted(database.others & set(_TABLES))
            raise MalformedSource(
                "the database has no plain table DISTINCT_HASH, FILE or METADATA with the columns sha256, sha1 or md5"
                + (
                    f" ({', '.join(views).upper()} is a view or a virtual table, which are not executed); make a copy "
                    "with one, of the distinct sha256, sha1 and md5 of FILE"
                    if views
                    else "; is it an NSRL RDSv3 release?"
                ),
                position="its tables",
            )
        sizes = [column for column in _SIZES if column in table.columns][:1]
        untold = [_NO_CRC32] if "crc32" in table.columns else []
        left_out, chosen = LeftOut(), [*(column for _, column in digests), *sizes]
        for position, row in database.rows(table, chosen, left_out, known=("crc32",)):
            faults: list[HashFault] = []
            pairs = sqlite_file.pairs([label for label, _ in digests], row, faults)
            size = items.size(row[len(digests)], "file_size", faults) if sizes else None
            result = items.finish(position, pairs, [*faults, *untold], media_size=size, tags=_TAGS)
            if isinstance(result, Record):
                untold = []
            yield result
        return left_out
