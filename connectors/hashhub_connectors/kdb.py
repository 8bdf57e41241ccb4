"""Hash sets of Autopsy and The Sleuth Kit: `.kdb`, an SQLite database of schema version 1.

Kept: MD5, SHA-1 and SHA-256 of the table `hashes`. The tables `file_names` and `comments` are case data, and are not
read. Whether a set is one of known or of notable files stands in Autopsy's settings, not in the file: the hash set's
purpose says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Final

from hashhub.connector import Certainty, Guess, Items, LeftOut, Option, check_options
from hashhub.errors import MalformedSource
from hashhub.model import HashFault
from hashhub_connectors import items, sqlite_file
from hashhub_connectors.source import UnclassifiedFormat

_PROPERTIES: Final = "db_properties"
_VERSION: Final = ("schema version", "1")
_DIGESTS: Final = (("MD5", "md5"), ("SHA1", "sha1"), ("SHA256", "sha2_256"))


class KDB(UnclassifiedFormat):
    """Reads `.kdb` databases. Positions are `hashes row 12`."""

    name = "kdb"
    version = "1"
    summary = "Autopsy / The Sleuth Kit hash sets (.kdb), SQLite databases of schema version 1"
    options: tuple[Option, ...] = ()

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return a guess by the tables of the database."""
        if head.startswith(sqlite_file.MAGIC) and b"db_properties" in head and b"sha2_256" in head:
            return Guess(Certainty.CERTAIN, "it is an SQLite database with the tables of Autopsy's hash sets")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each row of `hashes`.

        Raises MalformedSource for another schema version, and as `sqlite_file.opened` does.
        """
        check_options(self, options)
        with sqlite_file.opened(source) as database:
            left_out = LeftOut()
            _check_version(database, left_out)
            table = database.table("hashes")
            digests = [] if table is None else [d for d in _DIGESTS if d[1] in table.columns]
            if table is None or not digests:
                raise MalformedSource(
                    "the database has no table `hashes` with the columns md5, sha1 or sha2_256; is it an Autopsy hash "
                    "set?",
                    position="its tables",
                )
            columns = [column for _, column in digests]
            for position, row in database.rows(table, columns, left_out, known=("id", _PROPERTIES)):
                faults: list[HashFault] = []
                pairs = sqlite_file.pairs([label for label, _ in digests], row, faults)
                yield items.finish(position, pairs, faults)
            return left_out


def _check_version(database: sqlite_file.SourceDatabase, left_out: LeftOut) -> None:
    table = database.table(_PROPERTIES)
    versions: set[str] = set()
    if table is not None and {"name", "value"} <= table.columns.keys():
        for _, (name, value) in database.rows(table, ["name", "value"]):
            if isinstance(name, str) and name.strip().lower() == _VERSION[0]:
                versions.add(str(value).strip()[:20])
            else:
                left_out.see(f"{_PROPERTIES} {name}" if isinstance(name, str) else _PROPERTIES)
    if versions != {_VERSION[1]}:
        shown = ", ".join(sorted(versions)[:3]) or "none"
        raise MalformedSource(
            f"the database states the schema version {shown!r}; expected 1 in db_properties, as Autopsy's hash sets "
            "have it",
            position=_PROPERTIES,
        )
