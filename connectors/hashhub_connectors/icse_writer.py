"""The CSV that INTERPOL's ICSE database exports, as `icse-csv` reads it: `;`, twelve columns.

Baseline is Y or N by the entry's own classification, or by what translates to it, and blank otherwise. Tools take every
row for known material, so that only entries which make the claim of their hash set are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import BinaryIO, Final

from hashhub import hashes
from hashhub.connector import Exported, Loss, Option, check_options
from hashhub.model import Entry, Purpose
from hashhub_connectors import outgoing
from hashhub_connectors.icse_csv import SCHEME
from hashhub_connectors.outgoing import Cells, ClaimList, PurposeCheck, Speller, UnsupportedFields, keeps_formulas

_WHAT: Final = "ICSE's CSV"
_HEADER: Final = (
    "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
    "Number of submissions;File Available;Media Type;Baseline\n"
)
_DIGESTS: Final = ("MD5", "SHA1", "PHOTODNA")
_FLAG: Final = {True: "Y", False: "N", None: ""}


class ICSEWriter:
    """Writes ICSE's CSV."""

    name = "icse-csv"
    version = "1"
    summary = "INTERPOL ICSE CSV, delimiter ;, Baseline Y or N"
    options: tuple[Option, ...] = (
        Option("formulas", "keep: write texts that a spreadsheet would calculate; unless given, they are lost"),
    )
    reads_back = "icse-csv"
    has_withdrawals = False
    suffix = ".csv"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the rows. Raises InvalidArgument for hash sets of several purposes, and of benign items."""
        check_options(self, options)
        cells = Cells(";", keeps_formulas=keeps_formulas(options.get("formulas", "")))
        listing = PurposeCheck(exported, _WHAT, Purpose.CSAM, Purpose.EXPLOITATIVE, Purpose.TEST)
        values = Speller(_WHAT, SCHEME, exported, {"Y", "N"}.__contains__)
        yield from outgoing.about_the_file(exported, _WHAT, listed=True)
        rows = ClaimList(target, exported, listing, values, _NO_PLACE)
        yield from rows.write(entries, _HEADER, partial(_row, cells))


def _row(cells: Cells, entry: Entry, value: str) -> tuple[str, list[Loss]] | Loss:
    first = {
        h.algorithm: hashes.encode(h) if h.algorithm == "PHOTODNA" else h.digest.hex().upper()
        for h in reversed(entry.hashes)
        if h.algorithm in _DIGESTS
    }
    if not first:
        return Loss(entry.name, "entry", "NO_HASH", f"the entry has no digest of {', '.join(_DIGESTS)}")
    flags = entry.flags
    external_id, lost_id = cells.text(entry, "external_id", entry.external_id)
    series, lost_series = cells.text(entry, "series", entry.series)
    media_type, lost_type = cells.text(entry, "media_type", entry.media_type)
    if media_type != media_type.lower():
        media_type, lost_type = "", outgoing.unwritable(entry, "media_type")
    row = (
        *(first.get(name, "") for name in _DIGESTS),
        external_id,
        _FLAG[flags.distributed],
        _FLAG[flags.victim_identified],
        _FLAG[flags.offender_identified],
        series,
        "",
        "",
        media_type,
        value,
    )
    losses = [*outgoing.no_place_for_others(entry, _WHAT, _DIGESTS)]
    if flags.suspected is not None or flags.self_generated is not None:
        detail = f"{_WHAT} has no place for the flags suspected and self_generated"
        losses.append(Loss(entry.name, "flags", "NO_PLACE", detail))
    losses += [loss for loss in (lost_id, lost_series, lost_type) if loss is not None]
    return ";".join(row) + "\n", losses


_NO_PLACE: Final = UnsupportedFields(
    _WHAT, "media_size", "tags", "quality", "source_time", "expire_time", "member", "extra"
)
