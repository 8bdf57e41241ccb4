"""Any table, as delimited text or an Excel workbook, read by a declared column mapping: for the hotlines whose format
nobody published.

`mapping` has the mapping language, `proposal` writes a mapping for a person to check; a table is never imported by a
guess about its columns.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import BinaryIO, Final

from hashhub.connector import HEAD_BYTES, Certainty, Guess, Items, LeftOut, Option, check_options
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hygiene import Code
from hashhub.model import MAX_TEXT, Flags, HashFault, Record, Reject
from hashhub_connectors import items
from hashhub_connectors.delimited import Rows, UnreadColumns
from hashhub_connectors.mapping import Column, Columns, TableLayout, canonical, read_mapping
from hashhub_connectors.proposal import HEX_LENGTHS, is_mangled, looks_like_a_digest, propose, propose_for
from hashhub_connectors.source import BOMS, head_text, look_at
from hashhub_connectors.words import read_word, word
from hashhub_connectors.workbook import OLE_SIGNATURE, SIGNATURE, SheetRows, listed

__all__ = ["Columns", "MappedCSV", "TableLayout", "opened", "propose", "read_mapping"]

_MAX_QUALITY: Final = 100  # of PDQ, inclusive
_QUALITY: Final = re.compile(r"([0-9]{1,3})(?:([.,])([0-9]{1,9}))?")
_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DOTTED_DATE: Final = re.compile(r"([0-9]{1,2})\. ?([0-9]{1,2})\. ?([0-9]{4})(?:,?[ T]+([0-9:.Z+-]+))?")
_ORDERED_DATE: Final = re.compile(r"([0-9]{1,2})([/-])([0-9]{1,2})\2([0-9]{4})(?:,?[ T]+([0-9:.Z+-]+))?")
_SHORT_CLOCK: Final = re.compile(r"[0-9](?=:)")
_SIZE_SPACES: Final = re.compile(r"(?<=[0-9])[ \u00a0\u202f'\u2019](?=[0-9]{3}(?:[^0-9]|$))")
_GROUPED: Final = re.compile(r"[0-9]{1,3}(?:([.,])[0-9]{3})(?:\1[0-9]{3})*")
_NO_FRACTION: Final = re.compile(r"([0-9.,]*[0-9])[.,]0+")

_BY_LENGTH: Final = {32: "MD5", 40: "SHA1", 288: "PHOTODNA"}  # of hexadecimal digests, where one algorithm has it
_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_PREFIXED: Final = re.compile(r"([A-Za-z][A-Za-z0-9 _-]{1,20}):(.+)")

_MANGLED: Final = "Excel turned this digest into a number; export the column as text"

_BEGINNING: Final = 64  # bytes of a file, which tell JSON and XML


class MappedCSV:
    """Reads a table by a mapping. Positions are `line 12`, where the row begins; in a workbook `row 12`."""

    name = "csv"
    version = "5"
    summary = "tables: delimited text, or an Excel workbook (.xlsx), by a declared column mapping in TOML"
    options: tuple[Option, ...] = (
        Option("mapping", "the column mapping, as TOML text", required=True),
        Option("sheet", "name of the workbook's sheet; unless given the first, or the only one that holds digests"),
    )

    def has_classifications(self, options: Mapping[str, str]) -> bool:
        """Return whether the mapping names a column of values. Raises InvalidArgument for a wrong mapping."""
        check_options(self, options)
        return read_mapping(options["mapping"]).has_values

    def detect(self, head: bytes, name: str) -> Guess | None:
        """Return LIKELY for a table with digests; its option `mapping` is refused until a person has looked at it."""
        if head.startswith(SIGNATURE):
            if name.lower().endswith((".xlsx", ".xlsm")) or b"xl/workbook.xml" in head or b"xl/worksheets/" in head:
                return Guess(Certainty.CERTAIN, "it is an Excel workbook", {})
            return None
        if head_text(head[:_BEGINNING]).lstrip().startswith(("{", "[", "<")):
            return None  # JSON or XML, which has commas and digests, too
        try:
            proposed = propose_for(io.BytesIO(head), is_cut=len(head) >= HEAD_BYTES)
        except InvalidArgument:
            return None
        is_list = proposed.width == 1 and not (proposed.has_header and proposed.has_items)
        if not proposed.digests or is_list:
            return None
        # Without a header it may be a list of lines that hold more than a digest.
        is_clear = proposed.width > 1 and proposed.has_items and proposed.has_header
        certainty = Certainty.LIKELY if is_clear else Certainty.POSSIBLE
        columns = ", ".join(f"{label} {name!r}" for label, name in proposed.digests[:4])
        return Guess(certainty, f"it is a table with digests: {columns}", {"mapping": proposed.text(unchecked=True)})

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each row that is not blank.

        Raises InvalidArgument for a wrong mapping, MalformedSource when the header lacks a mapped column or is an item,
        and as `Rows` and `SheetRows` do.
        """
        check_options(self, options)
        mapping = read_mapping(options["mapping"])
        rows = opened(source, mapping.layout, options.get("sheet", ""))
        if isinstance(rows, SheetRows):
            with rows:
                return (yield from _read(rows, mapping, is_ragged=True))
        if options.get("sheet"):
            raise InvalidArgument.field("options.sheet", "is for Excel workbooks; this is delimited text", "INVALID")
        return (yield from _read(rows, mapping, is_ragged=False))


def opened(source: BinaryIO, layout: TableLayout, sheet: str = "", *, keeps_raw: bool = False) -> Rows | SheetRows:
    """Return the rows of a table that is written like this. Raises as they do."""
    head, begun = look_at(source)
    if head.startswith(SIGNATURE):
        return SheetRows(begun, sheet, has_header=layout.has_header, skip=layout.skip, is_item=looks_like_a_digest)
    if head.startswith(OLE_SIGNATURE):
        raise MalformedSource(
            "an Excel file of the old form (.xls), or one with a password; save it as .xlsx without one, or as CSV",
            position="line 1",
        )
    marked = next((name for bom, name in BOMS if head.startswith(bom)), "")
    encoding = layout.encoding or marked or "utf-8"
    if encoding == "utf-16":
        encoding = marked if marked.startswith("utf-16") else "utf-16-le"
    rows = Rows(
        begun,
        layout.delimiter or None,
        encoding,
        has_header=layout.has_header,
        skip=layout.skip,
        keeps_raw=keeps_raw,
    )
    rows.has_mark = marked == encoding
    return rows


def _read(rows: Rows | SheetRows, mapping: Columns, *, is_ragged: bool) -> Items:
    left_out = LeftOut()
    left_out.see("line before the table", mapping.layout.skip)
    if isinstance(rows, SheetRows):
        left_out.see("further sheet", len(rows.sheets) - 1)
        left_out.see("comments on cells", rows.comments)
    # Without a header the first row that reaches the last column of the mapping tells how many cells a row has.
    is_named = mapping.layout.has_header
    at: dict[Column, int] = {n: n - 1 for n in mapping.names if isinstance(n, int)}
    if is_named:
        at = _places(rows, mapping)
    needed = max(at.values()) + 1
    width = len(rows.header) if is_named else needed if is_ragged else 0
    reader = _RowReader(mapping, at, width, is_ragged=is_ragged) if width else None
    unread = UnreadColumns(rows.header, at.values(), left_out)
    for row in rows:
        if isinstance(row, Reject):
            yield row
            continue
        unread.see(row[1])
        if reader is None and len(row[1]) < needed:
            yield Reject(row[0], "WRONG_COLUMN_COUNT", f"expected at least {needed} cells, found {len(row[1])}")
            continue
        reader = reader or _RowReader(mapping, at, len(row[1]), is_ragged=False)
        yield reader.read(*row)
    return left_out


def _places(rows: Rows | SheetRows, mapping: Columns) -> dict[Column, int]:
    """Return where each mapped column stands. Raises MalformedSource for a header that lacks one, or is an item."""
    header = rows.header
    for number, cell in enumerate(header, 1):
        if looks_like_a_digest(cell):
            raise MalformedSource(
                f"the first row is an item, and no header: its cell {number} is a digest; say header = false in the "
                "mapping and give columns as numbers from 1, so that the item is read",
                position=rows.header_position,
            )
    missing = [str(name) for name in mapping.names if name not in header]
    if missing:
        read = (
            f" with the delimiter {rows.delimiter!r}" if isinstance(rows, Rows)
            else f" in the sheet {listed((rows.sheet,))} of {listed(rows.sheets)} (--option sheet=NAME reads another)"
        )  # fmt: skip
        raise MalformedSource(
            f"the header lacks {items.listing(missing)}; found {items.listing(header)}{read}; change the mapping "
            "or the file",
            position=rows.header_position,
        )
    twice = [str(name) for name in mapping.names if header.count(str(name)) > 1]
    if twice:
        raise MalformedSource(
            f"the header names {items.listing(twice)} twice; expected it once; or say header = false and skip = 1, and "
            "give columns as numbers",
            position=rows.header_position,
        )
    return {name: header.index(str(name)) for name in mapping.names}


class _RowReader:
    """Reads the rows of one table. `at`: where each column stands; `width`: how many cells a row has.

    A ragged table, a worksheet, lacks the empty cells at the end of its rows: `width` is then that of the header, or
    without one how many cells are read.
    """

    def __init__(self, mapping: Columns, at: Mapping[Column, int], width: int, *, is_ragged: bool) -> None:
        self._mapping = mapping
        self._width = width
        self._is_ragged = is_ragged
        self._places = {field: at[column] for field, column in mapping.columns.items()}
        self._digests = [(name, HEX_LENGTHS.get(name, 0), at[column]) for name, column in mapping.digests]
        self._tags = [at[column] for column in mapping.tags]
        self._flags = [(field, at[column]) for field, column in mapping.flags.items()]
        self._flags_read: dict[tuple[str, ...], tuple[Flags, tuple[HashFault, ...]]] = {}
        self._filled = {**mapping.defaults, **mapping.constants}
        self._fixed_flags = Flags(**mapping.flags_stated)

    def read(self, position: str, cells: list[str]) -> Record | Reject:
        """Return the item of one row."""
        if len(cells) != self._width:
            if not self._is_ragged or (len(cells) > self._width and self._mapping.layout.has_header):
                return Reject(
                    position,
                    "WRONG_COLUMN_COUNT",
                    f"expected {self._width} cells as in the header, found {len(cells)}"
                    if self._mapping.layout.has_header
                    else f"expected {self._width} cells as in the first row, found {len(cells)}",
                )
            cells = cells + [""] * (self._width - len(cells))
        faults: list[HashFault] = []
        pairs = self._pairs(cells, faults)
        external_id = self._cell("external_id", cells)
        if external_id.startswith('="'):
            external_id = _bare(external_id)
        if external_id and (refused := items.bad_id(position, external_id)):
            return refused
        filled = self._filled
        if "value" in self._places:
            value = self._cell("value", cells)
            if value.startswith('="'):
                value = _bare(value)
            value = self._mapping.values.get(value, value)
        else:
            value = filled.get("value", "")
        if len(value) > MAX_TEXT:
            return Reject(position, "BAD_FIELD", f"the value has {len(value)} characters; expected at most {MAX_TEXT}")
        expire_time = None
        if until := self._cell("expire_time", cells) or filled.get("expire_time", ""):
            expire_time = self._end(until)
            if expire_time is None:  # leaving it out would say: never
                expected = (
                    "a date such as 2027-01-31 or 31.01.2027 (31/01/2027 needs date_order in the mapping), or a time "
                    "with its offset from UTC (or utc_offset in the mapping)"
                )
                return Reject(position, "BAD_FIELD", f"expire_time is {items.kind(until)}; expected {expected}")
        flags = self._fixed_flags
        if self._flags:
            flags, unread = self._flags_of(tuple(cells[i] for _, i in self._flags))
            faults += unread
        media_type = self._cell("media_type", cells) or filled.get("media_type", "")
        series = self._cell("series", cells) or filled.get("series", "")
        stated = self._cell("source_time", cells) or filled.get("source_time", "")
        tags = ",".join([cells[i] for i in self._tags]) if self._tags else ""
        if "tags" in filled and not tags.strip(", \t"):
            tags = filled["tags"]
        return items.finish(
            position,
            pairs,
            faults,
            external_id=external_id,
            value=items.text(value, "value", faults) if value else "",
            scheme=self._mapping.scheme,
            flags=flags,
            media_type=items.text(media_type, "media_type", faults).lower() if media_type else "",
            media_size=self._size_of(self._cell("media_size", cells), faults),
            series=items.text(series, "series", faults) if series else "",
            tags=items.tags(tags, "tags", faults) if tags else (),
            quality=self._quality_of(self._cell("quality", cells), faults),
            source_time=items.text(self._iso(stated), "source_time", faults) if stated else "",
            expire_time=expire_time,
        )

    def _cell(self, field: str, cells: list[str]) -> str:
        """Return what stands in the column of a field; nothing where there is none."""
        place = self._places.get(field)
        return "" if place is None else cells[place].strip()

    def _pairs(self, cells: list[str], faults: list[HashFault]) -> list[tuple[str, str]]:
        """Return the (algorithm, digest) pairs of a row, and add a fault for each digest that cannot be one."""
        pairs: list[tuple[str, str]] = []
        for name, length, place in self._digests:
            digest = cells[place].strip()
            if not digest:
                continue
            if len(digest) == length and not digest.endswith("00000000"):
                pairs.append((name, digest))
                continue
            digest = _bare(digest)
            if not digest:
                continue
            label = name
            if not name:
                label, digest = self._labelled(cells, digest)
            if is_mangled(digest, (HEX_LENGTHS[label],) if label in HEX_LENGTHS else ()):
                faults.append(HashFault(label or "digest", Code.EXCEL_MANGLED.value, _MANGLED))
            elif not label:
                faults.append(self._untold(digest))
            else:
                pairs.append((label, digest))
        return pairs

    def _labelled(self, cells: list[str], digest: str) -> tuple[str, str]:
        """Return the algorithm of a digest in a mixed column, empty where nothing tells it, and the digest."""
        if name := self._cell("algorithm", cells):
            return _known(name, self._mapping) or name, digest
        if (match := _PREFIXED.fullmatch(digest)) and (label := _known(match[1], self._mapping)):
            return label, match[2].strip()
        if told := self._filled.get("algorithm"):
            return told, digest
        length = len(digest)
        if told := self._mapping.lengths.get(length):
            return told, digest
        return (_BY_LENGTH.get(length, "") if _HEX.fullmatch(digest) else ""), digest

    def _untold(self, digest: str) -> HashFault:
        """Return the fault of a digest whose algorithm nothing tells."""
        able = [name for name, length in HEX_LENGTHS.items() if length == len(digest)] if _HEX.fullmatch(digest) else []
        if len(able) > 1:
            return HashFault(
                "digest",
                Code.AMBIGUOUS_ALGORITHM.value,
                f"{len(digest)} hexadecimal digits may be {' or '.join(able)}; say which under [lengths] in the "
                "mapping, or by a column `algorithm`",
            )
        if _HEX.fullmatch(digest):
            return HashFault(
                "digest", "DIGEST_WRONG_LENGTH",
                f"no algorithm has {len(digest)} hexadecimal digits; expected 32 (MD5), 40 (SHA1) or 64",
            )  # fmt: skip
        return HashFault(
            "digest",
            Code.AMBIGUOUS_ALGORITHM.value,
            "the cell is not hexadecimal, so that its length does not tell the algorithm; say it by a column "
            "`algorithm`, under [lengths] or [defaults] in the mapping",
        )

    def _flags_of(self, stated: tuple[str, ...]) -> tuple[Flags, tuple[HashFault, ...]]:
        """Return the flags of the cells, and a fault for each cell that says neither yes nor no."""
        known = self._flags_read.get(stated)
        if known is not None:
            return known
        read: dict[str, bool | None] = dict(self._mapping.flags_stated)
        faults = []
        for (field, _), cell in zip(self._flags, stated, strict=True):
            own = self._mapping.words[field]
            key = word(cell)
            if key in own:
                read[field] = own[key]
                continue
            try:
                read[field] = read_word(cell) if key else None
            except KeyError:
                read[field] = None
                faults.append(items.bad_field(field, "yes or no, or a word of [words] in the mapping", cell))
        answer = (Flags(**read), tuple(faults))
        if len(self._flags_read) < _REMEMBERED:  # millions of rows share a few
            self._flags_read[stated] = answer
        return answer

    def _size_of(self, cell: str, faults: list[HashFault]) -> int | None:
        if cell and not cell.isdigit():
            cell = _whole(cell, self._mapping.decimal)
        return items.size(cell, "media_size", faults)

    def _quality_of(self, cell: str, faults: list[HashFault]) -> int | None:
        """Return the PDQ quality, rounded down so that 49.9 stays below 50: tables may write 49 as 49.0."""
        if not cell:
            return None
        match = _QUALITY.fullmatch(cell)
        if match is not None:
            whole, mark, fraction = match.groups()
            decimal = self._mapping.decimal
            # 1,000 is one or a thousand, and only the mapping can tell.
            is_clear = mark in {None, ".", decimal} if decimal != "," else mark in {None, ","}
            is_clear = is_clear or (not decimal and mark == "," and len(fraction) != 3)  # noqa: PLR2004
            if is_clear and (int(whole) < _MAX_QUALITY or (int(whole) == _MAX_QUALITY and not int(fraction or 0))):
                return int(whole)
        faults.append(items.bad_field("quality", f"a number of 0 to {_MAX_QUALITY}", cell))
        return None

    def _end(self, cell: str) -> datetime | None:
        """Return the moment that a cell names; a date alone lasts to its end in UTC. None where it names none."""
        text = self._iso(cell)
        try:
            if _ISO_DATE.fullmatch(text):
                zone = self._mapping.utc_offset or UTC
                return (datetime.combine(date.fromisoformat(text), time(), zone) + timedelta(days=1)).astimezone(UTC)
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None and self._mapping.utc_offset is not None:
                moment = moment.replace(tzinfo=self._mapping.utc_offset)
            return moment.astimezone(UTC) if moment.tzinfo is not None else None
        except (ValueError, OverflowError):
            return None

    def _iso(self, cell: str) -> str:
        """Return a date, or a date and a time, as ISO 8601 writes it; what is none, or unclear, as it stands."""
        if "." in cell and (dotted := _DOTTED_DATE.fullmatch(cell)):
            day, month, year, clock = dotted.groups()
        elif self._mapping.date_order and (ordered := _ORDERED_DATE.fullmatch(cell)):
            first, _, second, year, clock = ordered.groups()
            day, month = (first, second) if self._mapping.date_order == "dmy" else (second, first)
        else:
            return cell
        try:
            text = date(int(year), int(month), int(day)).isoformat()
            if clock:
                clock = f"0{clock}" if _SHORT_CLOCK.match(clock) else clock
                text = f"{text}T{clock}"
                datetime.fromisoformat(text)
        except ValueError:
            return cell
        return text


def _bare(cell: str) -> str:
    """Return a cell without what spreadsheets and programs put around a text to keep it one, `="…"` and `'`, and
    without invisible characters; empty where it only says that there is nothing: `-`, `n/a`, `null`.
    """
    cell = cell.strip(_INVISIBLE)
    if cell.startswith('="') and cell.endswith('"') and len(cell) > len('="'):
        cell = cell[2:-1].strip(_INVISIBLE)
    cell = cell.removeprefix("'")
    if len(cell) <= _LONGEST_NOTHING:
        try:
            return "" if read_word(cell) is None else cell
        except KeyError:
            pass
    return cell


_INVISIBLE: Final = " \t\u00a0\u200b\u2060\ufeff"
_LONGEST_NOTHING: Final = 12  # characters of a word that says so
_REMEMBERED: Final = 4096


def _known(name: str, mapping: Columns) -> str:
    return mapping.algorithms.get(word(name), "") or canonical(name)


def _whole(cell: str, decimal: str) -> str:
    """Return a number of bytes without marks of thousands and a fraction of zeros, where it is clear which is which."""
    cell = _SIZE_SPACES.sub("", cell)
    if decimal:
        thousands = "." if decimal == "," else ","
        whole, mark, fraction = cell.partition(decimal)
        if mark and fraction.strip("0"):
            return cell
        return whole.replace(thousands, "") if _GROUPED.fullmatch(whole) and thousands in whole else whole
    if match := _GROUPED.fullmatch(cell):
        mark = match[1]
        return cell.replace(mark, "") if cell.count(mark) > 1 else cell  # 1.234 may be one and a fraction
    if (match := _NO_FRACTION.fullmatch(cell)) and not cell.endswith(("000", "000.")):
        whole = match[1]
        grouped = _GROUPED.fullmatch(whole)
        return whole.replace(grouped[1], "") if grouped else whole
    return cell
