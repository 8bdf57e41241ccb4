"""The outcome of each row of a table, written beside the rows for correction and re-import.

Outcome columns come first, and all other cells are unchanged; in a table without a header, whose columns are read by
number, they come last. Findings are sorted on disk, so that memory does not grow with the list.
"""

from __future__ import annotations

import hashlib
import io
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import BinaryIO, Final, NamedTuple

from hashhub.cli.session import spelled
from hashhub.cli.terminal import csv_rows, safe
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.model import Disposition, Finding, Reject
from hashhub_connectors.csv_mapping import TableLayout, opened
from hashhub_connectors.delimited import OUTCOME_COLUMNS, Rows
from hashhub_connectors.workbook import Number, SheetRows

_PLACE: Final = re.compile(r"(?:line|row) ([0-9]{1,18})")
_NUMBER: Final = re.compile(r"[0-9]+")
_BOMS: Final = {"utf-8": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
_ACCEPTED: Final = spelled(Disposition.ACCEPTED)
_BLOCK: Final = 1 << 20


class ItemOutcome(NamedTuple):
    """What became of one item."""

    position: str
    outcome: str
    reason: str
    detail: str

    @property
    def cells(self) -> tuple[str, str, str]:
        """The cells for it, none of which a spreadsheet takes for a formula."""
        return (safe(self.outcome), safe(self.reason), safe(self.detail))


class Outcomes:
    """The findings of an import, in the order of its source; one Outcome for each position that has some."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._db = sqlite3.connect("")  # on disk once it is large, and gone when it is closed
        self._db.execute("PRAGMA temp_store = FILE")
        self._db.execute(
            "CREATE TABLE finding (key TEXT, ordinal INTEGER, position TEXT, disposition TEXT, reason TEXT,"
            " detail TEXT, PRIMARY KEY (key, ordinal)) WITHOUT ROWID"
        )
        self._db.executemany(
            "INSERT INTO finding VALUES (?, ?, ?, ?, ?, ?)",
            (
                # Positions are sorted by the numbers in them: `line 9` before `line 10`.
                (
                    _NUMBER.sub(lambda m: f"{len(m[0]):03d}{m[0]}", f.position),
                    i,
                    f.position,
                    f.disposition.value,
                    f.reason,
                    f.detail,
                )
                for i, f in enumerate(findings)
            ),
        )

    def close(self) -> None:
        """Forget them."""
        self._db.close()

    def __iter__(self) -> Iterator[ItemOutcome]:
        position, lines = "", list[tuple[str, str, str]]()
        for place, *line in self._db.execute(
            "SELECT position, disposition, reason, detail FROM finding ORDER BY key, ordinal"
        ):
            if place != position and lines:
                yield _outcome(position, lines)
                lines = []
            position = place
            lines.append((line[0], line[1], line[2]))
        if lines:
            yield _outcome(position, lines)


def _outcome(position: str, lines: list[tuple[str, str, str]]) -> ItemOutcome:
    """Return the outcome of an item from its findings; what is only noted of it comes last."""
    noted = Disposition.NOTED.value
    lines = sorted(lines, key=lambda line: line[0] == noted)
    outcome = _ACCEPTED if lines[0][0] == noted else spelled(Disposition(lines[0][0]))
    reasons = dict.fromkeys(reason for _, reason, _ in lines)
    details = dict.fromkeys(detail for _, _, detail in lines if detail)
    return ItemOutcome(position, outcome, " ".join(reasons), "; ".join(details))


def digest_of(source: BinaryIO) -> str:
    """Return a file's SHA-256, by which an import knows its source."""
    source.seek(0)
    sha = hashlib.sha256()
    while block := source.read(_BLOCK):
        sha.update(block)
    source.seek(0)
    return sha.hexdigest()


def write_positions(outcomes: Iterable[ItemOutcome], target: BinaryIO) -> None:
    """Write position, outcome, reason and detail of every item that has findings, as CSV."""
    write = csv_rows(target, "\r\n")
    write(("position", "outcome", "reason", "detail"))
    for o in outcomes:
        write(o)


def write_beside(
    outcomes: Iterable[ItemOutcome], source: BinaryIO, target: BinaryIO, layout: TableLayout, *, sheet: str, items: int
) -> None:
    """Write the table of `source` with the outcome beside each row, in its own format: delimited text or a workbook.

    `items`: the number of items of the import. Raises InvalidArgument if the table has another number of rows, because
    `layout` does not fit it.
    """
    with closing(iter(outcomes)) as findings:  # type: ignore[type-var] # a generator
        rows = opened(source, layout, sheet, keeps_raw=True)
        beside = _OutcomeCursor(findings)
        if isinstance(rows, SheetRows):
            with rows:
                _write_workbook(rows, beside, target, layout)
        else:
            _write_text(rows, beside, source, target, layout)
    if beside.count != items:
        raise InvalidArgument.field(
            "csv",
            f"was read as {beside.count:,} rows, where the import had {items:,} items; say how the table is written: "
            "--mapping FILE.toml, the one that it was imported with",
            "INVALID",
        )


class _OutcomeCursor:
    """Walks along the outcomes while the rows pass by."""

    def __init__(self, outcomes: Iterator[ItemOutcome]) -> None:
        self._outcomes = outcomes
        self._next = self._advance()
        self.count = 0

    def of(self, position: str) -> tuple[str, str, str]:
        """Return the cells for the row at a position. The rows come in order."""
        self.count += 1
        number = int(position.rpartition(" ")[2])
        while self._next is not None and self._next[0] < number:
            self._next = self._advance()
        if self._next is None or self._next[0] != number:
            return (_ACCEPTED, "", "")
        return self._next[1].cells

    def _advance(self) -> tuple[int, ItemOutcome] | None:
        for outcome in self._outcomes:
            if match := _PLACE.fullmatch(outcome.position):
                return int(match[1]), outcome
        return None


def _write_text(rows: Rows, beside: _OutcomeCursor, source: BinaryIO, target: BinaryIO, layout: TableLayout) -> None:
    encoding = rows.encoding
    delimiter = rows.delimiter
    has_header = layout.has_header
    has_columns = rows.header[: len(OUTCOME_COLUMNS)] == OUTCOME_COLUMNS  # it was written by us before
    last_end = _last_end(source, encoding)
    pending = b""

    def put(text: str) -> None:
        nonlocal pending
        end = "\r\n" if text.endswith("\r") else "\n"
        target.write(pending)
        target.write(text.removesuffix("\r").encode(encoding, "replace"))
        pending = end.encode(encoding)

    def join(added: tuple[str, ...], raw: str, count: int) -> str:
        cells = delimiter.join(_quoted(cell, delimiter) for cell in added)
        if has_header:
            if has_columns:
                raw = _behind(raw, delimiter, len(OUTCOME_COLUMNS))
            return f"{cells}{delimiter}{raw}"
        # Columns have numbers: the outcome stands behind the widest row, so that no number changes.
        end = "\r" if raw.endswith("\r") else ""
        return f"{raw.removesuffix(end)}{delimiter * max(1, width - count + 1)}{cells}{end}"

    if rows.has_mark:
        target.write(_BOMS[encoding])
    width = 0
    for line in rows.begin:
        put(line)
    if has_header:
        put(join(OUTCOME_COLUMNS, rows.raw, len(rows.header)))
    for row in rows:
        position, cells = (row.position, None) if isinstance(row, Reject) else row
        if cells == []:
            put(rows.raw)
            continue
        count = len(cells or ())
        width = width or count
        put(join(beside.of(position), rows.raw, count))
    target.write(pending if last_end else b"")


def _last_end(source: BinaryIO, encoding: str) -> bool:
    """Whether the file's last line has an end."""
    at = source.tell()
    end = "\n".encode(encoding)
    source.seek(0, io.SEEK_END)
    source.seek(max(source.tell() - len(end), 0))
    is_there = source.read(len(end)) == end
    source.seek(at)
    return is_there


def _quoted(cell: str, delimiter: str) -> str:
    if any(c in cell for c in (delimiter, '"', "\n", "\r")):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _behind(raw: str, delimiter: str, count: int) -> str:
    """Return what stands behind the first `count` cells of a row."""
    is_quoted = False
    for at, c in enumerate(raw):
        if c == '"':
            is_quoted = not is_quoted
        elif c == delimiter and not is_quoted:
            count -= 1
            if not count:
                return raw[at + 1 :]
    return raw


def _write_workbook(rows: SheetRows, beside: _OutcomeCursor, target: BinaryIO, layout: TableLayout) -> None:
    try:
        import openpyxl
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    except ImportError as e:
        raise InvalidArgument.field(
            "csv", "is a workbook, and writing one needs openpyxl; run: pip install 'hashhub[formats]'"
        ) from e

    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet(re.sub(r"[\\*?:/\[\]]", " ", rows.sheet)[:31] or "Sheet")

    def cell(value: object) -> object:
        if isinstance(value, Number):
            return int(value) if value.lstrip("-").isdigit() else float(value)
        if not isinstance(value, str):
            return value
        value = ILLEGAL_CHARACTERS_RE.sub(" ", value)
        made = WriteOnlyCell(page, value)
        made.data_type = "s"  # text, also where it begins with =
        return made

    def put(added: Iterable[str], values: Iterable[object], count: int) -> None:
        old, new = [cell(v) for v in values], [cell(v) for v in added]
        if layout.has_header:
            page.append([*new, *(old[len(OUTCOME_COLUMNS) :] if has_columns else old)])
        else:
            page.append([*old, *[None] * (width - count), *new])

    has_columns = rows.header[: len(OUTCOME_COLUMNS)] == OUTCOME_COLUMNS
    width = 0
    for values in rows.begin:
        page.append([cell(v) for v in values])
    if layout.has_header:
        put(OUTCOME_COLUMNS, rows.header_values, 0)
    for values in rows.values():
        if not any(str(v).strip() for v in values if v is not None):
            page.append([])
            continue
        width = width or len(values)
        put(beside.of(f"row {rows.number}"), values, len(values))
    try:
        book.save(target)
    except (ValueError, TypeError) as e:  # what a cell holds and cannot be written
        raise MalformedSource("the sheet holds what cannot be written; save it as CSV", position="row 1") from e
