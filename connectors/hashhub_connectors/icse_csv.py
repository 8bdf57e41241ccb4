"""The CSV that INTERPOL's ICSE database exports, as the forensic tool IPED reads it: `;`, twelve named columns in any
order.

Number of submissions and File Available say something about the database, not about the item, and are not kept. Rows
need not have as many cells as the header, only the ones that are read. A cell that a flag column cannot hold means that
the row's cells are shifted (an unquoted `;`), so a Baseline that is no flag refuses the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, Final

from hashhub.connector import Certainty, Guess, Items, LeftOut, Option, check_options, read_flag
from hashhub.errors import MalformedSource
from hashhub.model import HashFault, Record, Reject
from hashhub_connectors import items
from hashhub_connectors.delimited import Rows, UnreadColumns
from hashhub_connectors.source import ClassifiedFormat, head_text

SCHEME: Final = "interpol-baseline"  # what the column Baseline is of
_DIGESTS: Final = (("md5", "MD5"), ("sha1", "SHA1"), ("photodna", "PHOTODNA"))
_FLAGS: Final = ("victim identified", "offender identified", "is distributed")
_READ: Final = ("md5", "sha1", "photodna", "image id", *_FLAGS, "series name", "baseline")
_HEADER: Final = (*_READ, "number of submissions", "file available", "media type")
_BASELINE: Final = {True: "Y", False: "N"}


class ICSECSV(ClassifiedFormat):
    """Reads ICSE CSV. Positions are `line 12`; `external_id` is the Image ID, `value` the Baseline: Y, N or nothing."""

    name = "icse-csv"
    version = "4"
    summary = "INTERPOL ICSE CSV export, delimiter ;, as read by IPED"
    options: tuple[Option, ...] = ()

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return CERTAIN for a first row with all of ICSE's columns."""
        header = head_text(head).split("\n", 1)[0]
        names = {cell.strip().strip('"').strip().lower() for cell in header.split(";")}
        if names.issuperset(_HEADER):
            return Guess(Certainty.CERTAIN, "its header has the twelve columns of an ICSE export")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each row that is not blank.

        Raises MalformedSource for a header without the twelve columns, and as `Rows` does.
        """
        check_options(self, options)
        rows = Rows(source, ";")
        names = [name.lower() for name in rows.header]
        missing = [name for name in _HEADER if name not in names]
        if missing:
            raise MalformedSource(
                f"the header lacks {', '.join(missing)}; found {len(names)} columns: {items.listing(rows.header)}; "
                "expected ICSE's columns with the delimiter ;",
                position=rows.header_position,
            )
        twice = [name for name in _HEADER if names.count(name) > 1]
        if twice:
            raise MalformedSource(
                f"the header names {', '.join(twice)} twice; expected it once", position=rows.header_position
            )
        at = {name: names.index(name) for name in _HEADER}
        left_out = LeftOut()
        unread = UnreadColumns(rows.header, {at[name] for name in (*_READ, "media type")}, left_out)
        needed = 1 + max(at[name] for name in _READ)
        for row in rows:
            if isinstance(row, Reject):
                yield row
                continue
            unread.see(row[1])
            yield _record(*row, at, needed)
        return left_out


def _record(position: str, cells: list[str], at: dict[str, int], needed: int) -> Record | Reject:
    if len(cells) < needed:
        return Reject(position, "WRONG_COLUMN_COUNT", f"expected at least {needed} cells, found {len(cells)}")
    baseline = cells[at["baseline"]].strip()
    meets = read_flag(baseline)
    if baseline and meets is None:
        return Reject(position, "BAD_FIELD", "Baseline is neither yes nor no; are the row's cells shifted?")
    faults: list[HashFault] = []
    pairs = [(algorithm, digest) for name, algorithm in _DIGESTS if (digest := cells[at[name]].strip())]
    media = at["media type"]
    external_id = cells[at["image id"]].strip()
    if refused := items.bad_id(position, external_id):
        return refused
    return items.finish(
        position,
        pairs,
        faults,
        external_id=external_id,
        scheme=SCHEME,
        value="" if meets is None else _BASELINE[meets],
        flags=items.flags(tuple(cells[at[name]] for name in _FLAGS), _FLAGS, faults),
        media_type=items.text(cells[media], "media type", faults).lower() if media < len(cells) else "",
        series=items.text(cells[at["series name"]], "series name", faults),
    )
