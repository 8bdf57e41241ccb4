"""Writes ledgers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from hashhub.connector import Exported, Loss, Option, check_options
from hashhub.model import Entry
from hashhub_connectors import outgoing

WHAT = "a ledger"
NO_PLACE = outgoing.UnsupportedFields(
    WHAT,
    *("external_id", "flags", "media_type", "media_size", "series", "tags", "quality", "source_time", "expire_time"),
    *("member", "extra"),
)


class LedgerWriter:
    """One entry a line: its first MD5 digest, a semicolon, its category or nothing."""

    name = "ledger"
    version = "1"  # changes whenever the same entries would give other bytes
    summary = "digest;category"
    options: tuple[Option, ...] = ()
    reads_back = "ledger"
    has_withdrawals = False
    suffix = ".ledger"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        check_options(self, options)
        outgoing.refuse_mixed_purposes(exported, WHAT)
        scheme = outgoing.only_scheme(exported)
        values = outgoing.Speller(WHAT, scheme, exported, is_spelled=str.isalnum)
        output = outgoing.Output(target)
        yield from outgoing.about_the_file(exported, WHAT, scheme=scheme)
        for entry in entries:
            digests = [h for h in entry.hashes if h.algorithm == "MD5"]
            refused = outgoing.withheld(entry, exported, has_withdrawals=False)
            if refused is None and not digests:
                refused = Loss(entry.name, "entry", "NO_HASH", "the entry has no MD5 digest")
            if refused is not None:
                yield refused
                continue
            said = values.of(entry)
            output.put(f"{digests[0].digest.hex()};{said.value}\n")
            if said.reason:
                yield Loss(entry.name, "value", said.reason, said.detail)
            yield from outgoing.no_place_for_hash(entry, WHAT, {h.algorithm for h in entry.hashes} - {"MD5"})
            if len(digests) > 1:
                yield from outgoing.only_one_hash(entry, WHAT, ["MD5"])
            yield from NO_PLACE.losses(entry)
        output.flush()
