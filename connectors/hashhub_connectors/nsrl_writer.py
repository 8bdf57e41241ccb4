"""A list of known files in the layout of NSRL RDS 2: benign sets only.

Whoever reads such a list takes its items for known and of no interest, so that entries of any other hash set are
refused, and of a benign set those whose classification says anything else. CRC32 and the codes of products and systems
are empty: nobody stated them. The file name is the entry's name: the hub keeps no names of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final

from hashhub.connector import Exported, Loss, Option, check_options
from hashhub.hygiene import Code
from hashhub.model import Entry, Purpose
from hashhub_connectors import outgoing
from hashhub_connectors.outgoing import ClaimList, PurposeCheck, Speller, UnsupportedFields

_WHAT: Final = "NSRL's list"
_HEADER: Final = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"\n'
_DIGESTS: Final = ("SHA1", "MD5")


class NSRLWriter:
    """Writes lists of known files."""

    name = "nsrl"
    version = "1"
    summary = "known files in the layout of NSRL RDS 2; benign hash sets only"
    options: tuple[Option, ...] = ()
    reads_back = "nsrl"
    has_withdrawals = False
    suffix = ".txt"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the list. Raises InvalidArgument for hash sets of any purpose but benign."""
        check_options(self, options)
        listing, values = PurposeCheck(exported, _WHAT, Purpose.BENIGN), Speller(_WHAT, "", exported)
        yield from outgoing.about_the_file(exported, _WHAT, has_purpose=True)
        yield from ClaimList(target, exported, listing, values, _NO_PLACE).write(entries, _HEADER, _line)


def _line(entry: Entry, _value: str) -> tuple[str, Iterable[Loss]] | Loss:
    first = {h.algorithm: h.digest.hex().upper() for h in reversed(entry.hashes) if h.algorithm in _DIGESTS}
    if Code.AWAITS_ACCEPTANCE in entry.reasons:
        return Loss(entry.name, "entry", "NOT_ACCEPTED", "the operator has not accepted that the entry clears anything")
    if not first:
        return Loss(entry.name, "entry", "NO_HASH", "the entry has neither a SHA1 nor an MD5 digest")
    size = "" if entry.media_size is None else entry.media_size
    text = f'"{first.get("SHA1", "")}","{first.get("MD5", "")}","","{entry.name}",{size},,"",""\n'
    return text, outgoing.no_place_for_others(entry, _WHAT, _DIGESTS)


_NO_PLACE: Final = UnsupportedFields(
    _WHAT,
    *("external_id", "flags", "media_type", "series", "tags", "quality", "source_time", "expire_time", "member"),
    "extra",
)
