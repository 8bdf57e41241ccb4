"""Rows of an Excel workbook (.xlsx), within limits: openpyxl reads it, and what is hostile is refused before it does.

A workbook is a ZIP archive of XML. openpyxl trusts what it says of itself: a cell named ZZZZ9 in a file of a kilobyte
would make it fill memory with empty cells. So the archive's size is judged before anything is unpacked, and the XML of
the sheet is read once for its row and column numbers before its cells are. Formulas are read as the values that Excel
stored beside them.
"""

from __future__ import annotations

import itertools
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, datetime, time
from typing import IO, Any, BinaryIO, Final, Self

from hashhub.connector import MAX_LINE
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub_connectors.source import READ_SIZE

SIGNATURE: Final = b"PK\x03\x04"  # of a ZIP archive that is not empty
OLE_SIGNATURE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # of .xls, and of an .xlsx with a password
MAX_FILE: Final = 1 << 30  # bytes of the workbook, packed
MAX_EXPANDED: Final = 4 << 30  # bytes of its XML: a million rows of twenty cells have about one GiB
MAX_STRINGS: Final = 256 << 20  # bytes of the texts that its cells share, which are held in memory
_MAX_OTHER: Final = 16 << 20  # bytes of any other part, such as styles, which openpyxl reads whole
MAX_RATIO: Final = 200  # how often larger than packed; sheets of digests reach 3, those of repeated words 60
_RATIO_FREE: Final = 16 << 20  # bytes; below this a ratio is no danger
MAX_PARTS: Final = 4_000
MAX_ROWS: Final = 1_048_576  # Excel's own limit
MAX_COLUMNS: Final = 1_024  # far above what any list has; Excel's own limit is 16,384
_IN_MEMORY: Final = 8 << 20  # bytes of a stream that cannot seek; more goes to a temporary file
_WORKBOOK: Final = "xl/workbook.xml"
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_EXACT: Final = 10**15  # whole numbers that Excel keeps: fifteen digits


class SheetRows:
    """The rows of a sheet, with the face of `delimited.Rows`. Positions are `row 12`.

    `begin` holds the values of the rows before the header, `header_values` those of the header, `sheet` the sheet's
    name. The one given may be empty: the first sheet. Close it, or use it as a context manager.

    Raises MalformedSource where the source is no workbook or beyond the limits, InvalidArgument where it has no such
    sheet, or openpyxl is missing.
    """

    def __init__(self, source: BinaryIO, sheet: str = "", *, has_header: bool = True, skip: int = 0) -> None:
        self._closing = ExitStack()
        try:
            self._rows = self._opened(source, sheet)
            self.number = 0
            self.begin: list[tuple[Any, ...]] = []
            self.header: tuple[str, ...] = ()
            self.header_values: tuple[Any, ...] = ()
            rows = self.values()
            self.begin += itertools.islice(rows, skip)
            while has_header and not self.header:
                values = next(rows, None)
                if values is None:
                    raise MalformedSource("the sheet is empty; expected a header", position="row 1")
                self.header = tuple(cell.strip() for cell in _cells(values))
                if self.header:
                    self.header_values = values
                else:
                    self.begin.append(())
            self.header_position = f"row {self.number}"
        except BaseException:
            self._closing.close()
            raise

    def close(self) -> None:
        """Let go of the workbook."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        """Yield (position, cells) of each row that is not blank; cells behind the last one with content are left
        out.
        """
        for values in self.values():
            if cells := _cells(values):
                if sum(map(len, cells)) > MAX_LINE:
                    raise MalformedSource(
                        f"a row is longer than {MAX_LINE} characters; expected a list", position=f"row {self.number}"
                    )
                yield f"row {self.number}", cells

    def values(self) -> Iterator[tuple[Any, ...]]:
        """Yield the values of each further row, blank ones too; `number` is the row's."""
        while True:
            try:
                with _quiet():
                    values = next(self._rows, None)
            except _damage() as e:
                raise MalformedSource(
                    "the sheet is damaged; open it in Excel and save it again", position=f"row {self.number + 1}"
                ) from e
            if values is None:
                return
            self.number += 1
            yield values

    def _opened(self, source: BinaryIO, sheet: str) -> Iterator[tuple[Any, ...]]:
        try:
            import openpyxl
        except ImportError as e:
            raise InvalidArgument.field(
                "source", "is an Excel workbook, which needs openpyxl; run: pip install 'hashhub[formats]'"
            ) from e
        file = self._closing.enter_context(_seekable(source))
        try:
            archive = self._closing.enter_context(zipfile.ZipFile(file))
            _check_archive(archive)
            with _quiet():
                book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            self._closing.callback(book.close)
        except _damage() as e:
            raise MalformedSource(
                "the file is no workbook that can be read; open it in Excel and save it as .xlsx", position="row 1"
            ) from e
        worksheets = [w for w in book.worksheets if hasattr(w, "reset_dimensions")]
        names = [w.title for w in worksheets]
        if not worksheets:
            raise MalformedSource("the workbook has no sheet of cells", position="row 1")
        if sheet and sheet not in names:
            shown = ", ".join(repr(n[:40]) for n in names[:20])
            raise InvalidArgument.field("options.sheet", f"is {sheet[:40]!r}; the workbook has {shown}", "UNKNOWN")
        self.sheet = sheet or names[0]
        chosen = worksheets[names.index(sheet) if sheet else 0]
        # The part that holds a sheet is known to openpyxl alone; its own attribute is checked so that a version that
        # lacks it cannot pass unguarded sheets.
        part = getattr(chosen, "_worksheet_path", None)
        if part is None:
            raise InvalidArgument.field("source", "cannot be checked with this openpyxl; install 3.1")
        try:
            with archive.open(part) as xml:
                _check_sheet(xml)
        except _damage() as e:
            raise MalformedSource("the sheet is damaged; open it in Excel and save it again", position="row 1") from e
        chosen.reset_dimensions()
        return iter(chosen.iter_rows(values_only=True))


def _cells(values: tuple[Any, ...]) -> list[str]:
    """Return the texts of a row's cells up to the last one with content."""
    cells = [text_of(value) for value in values]
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


def text_of(value: object) -> str:
    """Return a cell's value as text: dates as 2027-01-31, whole numbers without a fraction."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < _EXACT:
            return str(int(value))
        case int() | float():
            return str(value)
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat()
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _seekable(source: BinaryIO) -> Any:
    """Return a context with the bytes of `source` that can be read in any order, at most MAX_FILE of them."""
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the caller's context closes it
    size = 0
    while block := source.read(READ_SIZE):
        size += len(block)
        if size > MAX_FILE:
            spool.close()
            raise MalformedSource(
                f"the workbook is larger than {MAX_FILE >> 20} MiB; save the list as CSV", position="row 1"
            )
        spool.write(block)
    spool.seek(0)
    return spool


def _check_archive(archive: zipfile.ZipFile) -> None:
    """Raise MalformedSource for an archive that is no workbook, or would not fit what we spend on one."""
    parts = archive.infolist()
    names = {part.filename for part in parts}
    if _WORKBOOK not in names:
        raise MalformedSource(
            f"a ZIP archive with {len(parts)} files, and no Excel workbook; unpack it first", position="row 1"
        )
    if len(parts) > MAX_PARTS:
        raise MalformedSource(f"the workbook has more than {MAX_PARTS} parts", position="row 1")
    for part in parts:
        name = part.filename.lower()
        limit = (
            MAX_EXPANDED if name.startswith("xl/worksheets/") else MAX_STRINGS if name.endswith("sharedstrings.xml")
            else _MAX_OTHER if name.endswith((".xml", ".rels")) else MAX_EXPANDED
        )  # fmt: skip
        if part.file_size > limit or (
            part.file_size > _RATIO_FREE and part.file_size > MAX_RATIO * max(part.compress_size, 1)
        ):
            raise MalformedSource(
                f"a part of the workbook is too large when unpacked ({part.file_size:,} bytes); save the list as CSV",
                position="row 1",
            )
        if part.flag_bits & 1:
            raise MalformedSource("the workbook is encrypted; save it without a password", position="row 1")


def _check_sheet(xml: IO[bytes]) -> None:
    """Raise MalformedSource for a sheet whose rows or columns have numbers that no list has, or that go back."""
    from defusedxml.sax import make_parser

    parser = make_parser()
    parser.setContentHandler(_places())
    parser.setFeature("http://xml.org/sax/features/namespaces", False)
    while block := xml.read(READ_SIZE):
        parser.feed(block)
    parser.close()


def _places() -> Any:
    """Return a handler of the sheet's XML that looks at each place."""
    from xml.sax.handler import ContentHandler

    class Places(ContentHandler):
        row = 0
        column = 0
        length = 0

        def startElement(self, name: str, attrs: Any) -> None:  # noqa: N802 - the name that SAX calls
            tag = name.rpartition(":")[2]
            if tag == "row":
                self._row(attrs.get("r"))
            elif tag == "c":
                self._cell(attrs.get("r"))

        def characters(self, content: str) -> None:
            self.length += len(content)
            if self.length > MAX_LINE:
                raise MalformedSource(
                    f"a row is longer than {MAX_LINE} characters; expected a list", position=f"row {self.row}"
                )

        def _row(self, number: str | None) -> None:
            is_number = number is not None and number.isdigit() and len(number) <= len(str(MAX_ROWS))
            row = self.row + 1 if number is None else int(number) if is_number else 0
            if not self.row < row <= MAX_ROWS:
                raise MalformedSource(
                    f"a row has the number {(number or '')[:20]!r}; expected rising ones up to {MAX_ROWS}",
                    position=f"row {self.row + 1}",
                )
            self.row, self.column, self.length = row, 0, 0

        def _cell(self, reference: str | None) -> None:
            column = self.column + 1
            if reference is not None:
                match = _REFERENCE.fullmatch(reference)
                column = _column(match[1]) if match is not None and int(match[2]) == self.row else 0
            if not self.column < column <= MAX_COLUMNS:
                raise MalformedSource(
                    f"a cell stands at {(reference or '')[:20]!r}; expected rising columns, at most {MAX_COLUMNS}",
                    position=f"row {self.row}",
                )
            self.column = column

    return Places()


def _quiet() -> warnings.catch_warnings[None]:
    """Return a context in which openpyxl does not warn of what it leaves out of a workbook: styles, rules, pictures."""
    return warnings.catch_warnings(action="ignore")


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _damage() -> tuple[type[BaseException], ...]:
    """Return what zipfile, defusedxml and openpyxl raise for a damaged or hostile file.

    openpyxl has no family of errors: what it stumbles over comes out as whatever Python made of it.
    """
    import zlib
    from xml.sax import SAXException

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError

    return (
        zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, DefusedXmlException, ParseError,
        SAXException, KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError, AssertionError,
    )  # fmt: skip
