"""hashdeep's list of known files: a header, then `size,md5,…,filename`, as its own audit reads it.

hashdeep takes a missing size for another size than the file's, and reports a collision instead of a match; a missing
digest makes it refuse the line. So an entry without one of them is left out, and named. The file name is the entry's
name: the hub keeps no names of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import BinaryIO, Final

from hashhub.connector import Exported, Loss, Option, check_options
from hashhub.errors import InvalidArgument
from hashhub.model import Entry
from hashhub_connectors import outgoing
from hashhub_connectors.outgoing import ClaimList, PurposeCheck, Speller, UnsupportedFields

_WHAT: Final = "hashdeep's list"
_COLUMNS: Final = {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256"}


class HashdeepWriter:
    """Writes hashdeep's list of known files."""

    name = "hashdeep"
    version = "1"
    summary = "hashdeep's list of known files: size, digests, and the entry's name as file name"
    options: tuple[Option, ...] = (
        Option("algorithms", "digests to write, such as md5,sha256; md5 unless given; entries without one are lost"),
    )
    reads_back = "hash-lines"
    has_withdrawals = False
    suffix = ".txt"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the list. Raises InvalidArgument for other algorithms, and hash sets of several purposes."""
        check_options(self, options)
        columns = _columns(options.get("algorithms", ""))
        wanted = [_COLUMNS[c] for c in columns]
        listing, values = PurposeCheck(exported, _WHAT), Speller(_WHAT, "", exported)
        yield from outgoing.about_the_file(exported, _WHAT, listed=True)
        head = f"%%%% HASHDEEP-1.0\n%%%% size,{','.join(columns)},filename\n"
        lines = ClaimList(target, exported, listing, values, _NO_PLACE)
        yield from lines.write(entries, head, partial(_line, wanted))


def _line(wanted: list[str], entry: Entry, _value: str) -> tuple[str, Iterable[Loss]] | Loss:
    first = {h.algorithm: h.digest.hex() for h in reversed(entry.hashes)}
    if missing := [a for a in wanted if a not in first]:
        return Loss(entry.name, "entry", "NO_HASH", f"the entry has no {' and no '.join(missing)} digest")
    if entry.media_size is None:
        detail = "hashdeep compares sizes, and that of the entry's media is not known"
        return Loss(entry.name, "entry", "NO_SIZE", detail)
    text = f"{entry.media_size},{','.join([first[a] for a in wanted])},{entry.name}\n"
    return text, outgoing.no_place_for_others(entry, "the list", wanted)


_NO_PLACE: Final = UnsupportedFields(
    _WHAT,
    *("external_id", "flags", "media_type", "series", "tags", "quality", "source_time", "expire_time", "member"),
    "extra",
)


def _columns(given: str) -> list[str]:
    columns = [c.strip().lower() for c in given.split(",")] if given else ["md5"]
    if not set(columns) <= _COLUMNS.keys() or len(set(columns)) < len(columns):
        raise InvalidArgument.field(
            "options.algorithms", f"is {given[:40]!r}; expected distinct ones of {', '.join(_COLUMNS)}", "WORD"
        )
    return columns
