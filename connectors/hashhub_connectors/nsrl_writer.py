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
from hashhub_connectors.outgoing import NoPlace, Output, PurposeCheck, Speller

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
        output = Output(target)
        yield from outgoing.about_the_file(exported, _WHAT, has_purpose=True)
        output.put(_HEADER)
        for entry in entries:
            refused = outgoing.withheld(entry, exported, has_withdrawals=False) or listing.refuses(entry)
            first: dict[str, str] = {}
            for value in entry.hashes:
                if value.algorithm in _DIGESTS:
                    first.setdefault(value.algorithm, value.digest.hex().upper())
            if refused is None and Code.AWAITS_ACCEPTANCE in entry.reasons:
                refused = Loss(
                    entry.name, "entry", "NOT_ACCEPTED", "the operator has not accepted that the entry clears anything"
                )
            if refused is None and not first:
                refused = Loss(entry.name, "entry", "NO_HASH", "the entry has neither a SHA1 nor an MD5 digest")
            if refused is not None:
                yield refused
                continue
            size = "" if entry.media_size is None else entry.media_size
            output.put(f'"{first.get("SHA1", "")}","{first.get("MD5", "")}","","{entry.name}",{size},,"",""\n')
            algorithms = [h.algorithm for h in entry.hashes]
            yield from outgoing.no_place_for_hash(entry, _WHAT, (a for a in algorithms if a not in _DIGESTS))
            yield from outgoing.only_one_hash(entry, _WHAT, (a for a in _DIGESTS if algorithms.count(a) > 1))
            said = values.of(entry)
            if said.reason:
                yield Loss(entry.name, "value", said.reason, said.detail)
            yield from _NO_PLACE.losses(entry)
        output.flush()


_NO_PLACE: Final = NoPlace(
    _WHAT,
    *("external_id", "flags", "media_type", "series", "tags", "quality", "source_time", "expire_time", "member"),
    "extra",
)
