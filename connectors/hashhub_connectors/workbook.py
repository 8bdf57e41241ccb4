"""Rows of an Excel workbook (.xlsx), streamed within limits.

What is in the archive may be hostile: a cell named ZZZZ9, a text that unpacks to gigabytes, entities. General libraries
build the rectangle that a sheet claims to have; this judges the archive's sizes before anything is unpacked, and reads
the sheet in one pass of SAX events that holds one row at a time. Formulas are read as the values stored beside them.

Source: ECMA-376 (Office Open XML), part 1, §18. Namespaces are not looked at, so the strict form is read, too.
"""

from __future__ import annotations

import itertools
import posixpath
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from datetime import date, datetime, time, timedelta
from typing import IO, Any, BinaryIO, Final, Self
from xml.sax.handler import ContentHandler

from hashhub.connector import MAX_LINE
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub_connectors.source import READ_SIZE

SIGNATURE: Final = (b"PK\x03\x04", b"PK00PK\x03\x04")  # of a ZIP archive that is not empty
OLE_SIGNATURE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # of .xls, and of an .xlsx with a password
MAX_FILE: Final = 1 << 30  # bytes of the workbook, packed
MAX_EXPANDED: Final = 4 << 30  # bytes of a sheet's XML: a million rows of twenty cells have about one GiB
MAX_STRINGS: Final = 256 << 20  # bytes of the texts that its cells share, which are held in memory
_MAX_OTHER: Final = 16 << 20  # bytes of any other part that is read
MAX_RATIO: Final = 200  # how often larger than packed; sheets of digests reach 3, those of repeated words 60
_RATIO_FREE: Final = 16 << 20  # bytes; below this a ratio is no danger
_MAX_PARTS: Final = 4_000
_MAX_SHEETS: Final = 1_000
_MAX_STYLES: Final = 70_000  # Excel's own limit is 65,490
MAX_ROWS: Final = 1_048_576  # Excel's own limit
MAX_COLUMNS: Final = 1_024  # far above what any list has; Excel's own limit is 16,384
_MAX_TRIED: Final = 20  # sheets that are looked through for the list
_TRIED: Final = 4  # blocks of XML of each: some hundred rows
_IN_MEMORY: Final = 8 << 20  # bytes of a stream that are kept in memory; more goes to a temporary file
_WORKBOOK: Final = "xl/workbook.xml"
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_WHOLE: Final = re.compile(r"-?[0-9]{1,400}")
_EXACT: Final = 10**15  # whole numbers that Excel keeps: fifteen digits
# A character that XML cannot hold, as Excel writes it.
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")

# §18.8.30: the numbers of built-in formats that show a date, those of East Asian editions among them.
_DATE_FORMATS: Final = frozenset({*range(14, 23), *range(27, 37), *range(50, 59)})
_NOT_OF_DATES: Final = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')  # texts, paddings, colours, elapsed times
_OF_DATES: Final = re.compile(r"[dy]|m.*[hs]|[hs].*m|^m+$", re.IGNORECASE)
_DAYS_FROM: Final = {False: datetime(1899, 12, 30), True: datetime(1904, 1, 1)}  # noqa: DTZ001 - days have no zone
_LAST_DAY: Final = 2_958_465  # 9999-12-31
_LEAP_DAY: Final = 60  # 1900-02-29, which Excel holds to have been


class Number(str):
    """A number in a cell, as text: whole ones without a fraction, others with the fifteen digits that Excel shows."""

    __slots__ = ()


Value = str | Number | bool | datetime | date | time | None


class SheetRows:
    """The rows of a sheet, with the interface of `delimited.Rows`. Positions are `row 12`.

    `begin` and `header_values` are the values of the rows before the header and of the header, `sheets` the names of
    all sheets, `comments` the number of parts with comments. Without `sheet`, the first is read, or the only one with a
    cell for which `is_item` is true where the first has none. Use it as a context manager.

    Raises MalformedSource for what is no workbook or exceeds the limits, InvalidArgument for an unknown or unclear
    sheet.
    """

    def __init__(
        self,
        source: BinaryIO,
        sheet: str = "",
        *,
        has_header: bool = True,
        skip: int = 0,
        is_item: Callable[[str], bool] | None = None,
    ) -> None:
        self._closing = ExitStack()
        self._is_item = is_item
        try:
            self._rows = self._opened(source, sheet)
            self.number = 0
            self.begin: list[tuple[Value, ...]] = []
            self.header: tuple[str, ...] = ()
            self.header_values: tuple[Value, ...] = ()
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
        """Yield (position, cells) of each row that is not blank, without empty cells at its end."""
        for values in self.values():
            if cells := _cells(values):
                yield f"row {self.number}", cells

    def values(self) -> Iterator[tuple[Value, ...]]:
        """Yield the values of each further row, blank ones too; `number` is the row's."""
        while True:
            try:
                values = next(self._rows, None)
            except _damage() as e:
                raise MalformedSource(
                    "the sheet is damaged; open it in Excel and save it again", position=f"row {self.number + 1}"
                ) from e
            if values is None:
                return
            self.number += 1
            yield values

    def _opened(self, source: BinaryIO, sheet: str) -> Iterator[tuple[Value, ...]]:
        file = self._closing.enter_context(_seekable(source))
        try:
            archive = self._closing.enter_context(zipfile.ZipFile(file))
            _check_archive(archive)
            parts, is_from_1904 = _sheets(archive)
        except _damage() as e:
            raise MalformedSource(
                "the file is no workbook that can be read; open it in Excel and save it as .xlsx", position="row 1"
            ) from e
        if not parts:
            raise MalformedSource("the workbook has no sheet of cells", position="row 1")
        self.sheets = tuple(parts)
        self.comments = sum("comments" in name.lower() for name in archive.namelist())
        if sheet and sheet not in parts:
            raise InvalidArgument.field(
                "options.sheet", f"is {sheet[:40]!r}; the workbook has {listed(parts)}", "UNKNOWN"
            )
        try:
            strings = _Strings()
            _read(archive, "xl/sharedStrings.xml", strings)
            styles = _Styles()
            _read(archive, "xl/styles.xml", styles)

            def handler() -> _Sheet:
                return _Sheet(strings.texts, styles.dates, _DAYS_FROM[is_from_1904])

            self.sheet = sheet or self._list_of(archive, parts, handler)
            xml = self._closing.enter_context(archive.open(parts[self.sheet]))
        except _damage() as e:
            raise MalformedSource(
                "the workbook is damaged; open it in Excel and save it again", position="row 1"
            ) from e
        return _rows(xml, handler())

    def _list_of(self, archive: zipfile.ZipFile, parts: dict[str, str], handler: Callable[[], _Sheet]) -> str:
        """Return the name of the sheet that is the list: before it may stand a cover, without items."""
        lists: list[str] = []
        is_item = self._is_item
        for name, part in itertools.islice(parts.items(), _MAX_TRIED if len(parts) > 1 else 0):
            # What is cut off, or damaged, shows as much as it can; its own reading tells.
            with archive.open(part) as xml, suppress(MalformedSource, *_damage()):
                if is_item and any(any(map(is_item, _cells(row))) for row in _rows(xml, handler(), _TRIED)):
                    if not lists and name == self.sheets[0]:
                        return name
                    lists.append(name)
        if len(lists) > 1:
            raise InvalidArgument.field(
                "options.sheet",
                f"is missing: the sheets {listed(lists)} hold digests, the first has none; say which is the list with "
                "--option sheet=NAME",
                "REQUIRED",
            )
        return lists[0] if lists else self.sheets[0]


def listed(sheets: Iterable[str]) -> str:
    """Return the names of some sheets for a message."""
    return ", ".join(repr(name[:40]) for name in itertools.islice(sheets, 20))


def _cells(values: tuple[Value, ...]) -> list[str]:
    """Return the texts of a row's cells up to the last one with content."""
    cells = [value if isinstance(value, str) else text_of(value) for value in values]
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


def text_of(value: Value) -> str:
    """Return a cell's value as text: dates as 2027-01-31."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat()
        case _:
            return value.isoformat()


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
        what = (
            "a binary Excel workbook (.xlsb); save it as .xlsx" if "xl/workbook.bin" in names
            else "an OpenDocument file; save it as .xlsx" if {"mimetype", "content.xml"} <= names
            else f"a ZIP archive with {len(parts)} files, and no Excel workbook; unpack it first"
        )  # fmt: skip
        raise MalformedSource(what, position="row 1")
    if len(parts) > _MAX_PARTS:
        raise MalformedSource(f"the workbook has more than {_MAX_PARTS} parts", position="row 1")
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


def _sheets(archive: zipfile.ZipFile) -> tuple[dict[str, str], bool]:
    """Return the part of each sheet of cells by its name, in their order, and whether days count from 1904."""
    book, related = _Book(), _WorksheetRelations()
    _read(archive, _WORKBOOK, book)
    _read(archive, "xl/_rels/workbook.xml.rels", related)
    names = set(archive.namelist())
    parts = {name: related.targets.get(identity, "") for name, identity in book.sheets}
    return {name: part for name, part in parts.items() if part in names}, book.is_from_1904


def _read(archive: zipfile.ZipFile, part: str, handler: _Handler) -> None:
    """Let a handler see all of a part of the workbook, if there is one."""
    if part not in archive.namelist():
        return
    with archive.open(part) as xml:
        for _ in _events(xml, handler):
            pass


def _parser(handler: _Handler) -> Any:
    """Return a parser that refuses entities and external references, and tells a handler of elements."""
    from defusedxml.sax import make_parser

    parser = make_parser()
    parser.forbid_dtd = True
    parser.setContentHandler(handler)
    parser.setFeature("http://xml.org/sax/features/namespaces", 0)
    return parser


def _rows(xml: IO[bytes], sheet: _Sheet, blocks: int | None = None) -> Iterator[tuple[Value, ...]]:
    """Yield the values of each row of a sheet, or of its first `blocks`; missing rows are empty."""
    number = 0
    for _ in itertools.islice(_events(xml, sheet), blocks):
        ready, sheet.ready = sheet.ready, []
        for place, values in ready:
            while number + 1 < place:
                number += 1
                yield ()
            number = place
            yield values


def _events(xml: IO[bytes], handler: _Handler) -> Iterator[None]:
    """Let a handler see all of a part, and yield after each block."""
    parser = _parser(handler)
    elements = waiting = 0
    while block := xml.read(_XML_BLOCK):
        parser.feed(block)
        waiting = waiting + len(block) if handler.elements == elements else 0
        elements = handler.elements
        if waiting > _MAX_ELEMENT:  # the parser holds what has not ended yet
            raise ValueError("an element is too large")
        yield
    parser.close()
    if not handler.elements:
        raise ValueError("no element")
    yield


_XML_BLOCK: Final = 1 << 16  # bytes of XML that are parsed at a time: of a sheet, some hundred rows
_MAX_ELEMENT: Final = 4 << 20  # bytes without an element that begins


class _Handler(ContentHandler):
    """Receives the elements of a part, by names without their prefix. `elements`: how many have begun."""

    elements = 0

    def start(self, name: str, attributes: Any) -> None:
        """Take in the beginning of an element."""

    def end(self, name: str) -> None:
        """Take in the end of an element."""

    def startElement(self, name: str, attributes: Any) -> None:  # noqa: N802 - the name that SAX calls
        """Count it, and call `start` with its name alone."""
        self.elements += 1
        self.start(name.rpartition(":")[2] if ":" in name else name, attributes)

    def endElement(self, name: str) -> None:  # noqa: N802
        """Call `end` with its name alone."""
        self.end(name.rpartition(":")[2] if ":" in name else name)


class _TextHandler(_Handler):
    """Gathers the pieces of a text. Readings of East Asian characters (rPh) are no part of it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[str] = []
        self._is_text = self._is_reading = False

    def start(self, name: str, attributes: Any) -> None:  # noqa: ARG002 - the signature of handlers
        if name in {"v", "t"}:
            self._is_text = not self._is_reading
        elif name == "rPh":
            self._is_reading = True

    def end(self, name: str) -> None:
        if name in {"v", "t"}:
            self._is_text = False
        elif name == "rPh":
            self._is_reading = False

    def characters(self, content: str) -> None:
        if self._is_text:
            self._pieces.append(content)


class _Book(_Handler):
    """Gathers the names of the sheets and the relations by which their parts are found."""

    def __init__(self) -> None:
        super().__init__()
        self.sheets: list[tuple[str, str]] = []
        self.is_from_1904 = False

    def start(self, name: str, attributes: Any) -> None:
        if name == "sheet" and len(self.sheets) < _MAX_SHEETS:
            identity = next((attributes[k] for k in attributes.getNames() if k.rpartition(":")[2] == "id"), "")
            self.sheets.append((attributes.get("name", ""), identity))
        elif name == "workbookPr":
            self.is_from_1904 = attributes.get("date1904", "0") in {"1", "true"}


class _WorksheetRelations(_Handler):
    """Gathers the parts of worksheets by the names of their relations; those of charts have no cells."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: dict[str, str] = {}

    def start(self, name: str, attributes: Any) -> None:
        if name == "Relationship" and attributes.get("Type", "").endswith("/worksheet"):
            target = attributes.get("Target", "")
            # Relative to the workbook, or, with a slash, to the archive.
            self.targets[attributes.get("Id", "")] = posixpath.normpath(posixpath.join("/xl", target)).lstrip("/")


class _Strings(_TextHandler):
    """Gathers the texts that cells share."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def end(self, name: str) -> None:
        super().end(name)
        if name == "si":
            self.texts.append(_unescaped("".join(self._pieces)))
            self._pieces = []


class _Styles(_Handler):
    """Gathers which styles of cells show a number as a date."""

    def __init__(self) -> None:
        super().__init__()
        self.dates: list[bool] = []
        self._custom: dict[str, bool] = {}
        self._is_of_cells = False

    def start(self, name: str, attributes: Any) -> None:
        if name == "numFmt" and len(self._custom) < _MAX_STYLES:
            shown = _NOT_OF_DATES.sub("", attributes.get("formatCode", "")[:255].partition(";")[0])
            self._custom[attributes.get("numFmtId", "")] = bool(_OF_DATES.search(shown)) and shown != "General"
        elif name == "cellXfs":
            self._is_of_cells = True
        elif name == "xf" and self._is_of_cells and len(self.dates) < _MAX_STYLES:
            number = attributes.get("numFmtId", "0")
            is_built_in = number.isascii() and number.isdigit() and int(number[:6]) in _DATE_FORMATS
            self.dates.append(self._custom.get(number, is_built_in))

    def end(self, name: str) -> None:
        if name == "cellXfs":
            self._is_of_cells = False


class _Sheet(_TextHandler):
    """Gathers the rows of a sheet: `ready`, (number, values) of those that have ended."""

    def __init__(self, strings: list[str], dates: list[bool], day_zero: datetime) -> None:
        super().__init__()
        self.ready: list[tuple[int, tuple[Value, ...]]] = []
        self._strings = strings
        self._dates = dates
        self._day_zero = day_zero
        self._row = self._column = self._length = 0
        self._values: list[Value] = []
        self._kind = self._style = ""

    def start(self, name: str, attributes: Any) -> None:
        if name == "c":
            self._begin_cell(attributes)
        elif name == "row":
            self._begin_row(attributes.get("r"))
        else:
            super().start(name, attributes)

    def end(self, name: str) -> None:
        if name == "c":
            self._end_cell()
        elif name == "row":
            self.ready.append((self._row, tuple(self._values)))
        else:
            super().end(name)

    def characters(self, content: str) -> None:
        if self._is_text:
            self._length += len(content)
            if self._length > MAX_LINE:
                raise self._too_long()
        super().characters(content)

    def _too_long(self) -> MalformedSource:
        return MalformedSource(
            f"a row is longer than {MAX_LINE} characters; expected a list", position=f"row {self._row}"
        )

    def _begin_row(self, number: str | None) -> None:
        is_number = number is not None and number.isascii() and number.isdigit() and len(number) <= len(str(MAX_ROWS))
        row = self._row + 1 if number is None else int(number) if is_number else 0
        if not self._row < row <= MAX_ROWS:
            raise MalformedSource(
                f"a row has the number {(number or '')[:20]!r}; expected rising ones up to {MAX_ROWS}",
                position=f"row {self._row + 1}",
            )
        self._row, self._column, self._length, self._values = row, 0, 0, []

    def _begin_cell(self, attributes: Any) -> None:
        reference = attributes.get("r")
        column = self._column + 1
        if reference is not None:
            match = _REFERENCE.fullmatch(reference)
            column = _column(match[1]) if match is not None and int(match[2]) == self._row else 0
        if not self._column < column <= MAX_COLUMNS:
            raise MalformedSource(
                f"a cell stands at {(reference or '')[:20]!r}; expected rising columns, at most {MAX_COLUMNS}",
                position=f"row {max(self._row, 1)}",
            )
        if column > self._column + 1:
            self._values += [None] * (column - self._column - 1)
        self._column = column
        self._kind, self._style, self._pieces = attributes.get("t", "n"), attributes.get("s", ""), []

    def _end_cell(self) -> None:
        value = self._value("".join(self._pieces))
        if isinstance(value, str) and self._kind == "s":  # a shared text counts where it is used
            self._length += len(value)
            if self._length > MAX_LINE:
                raise self._too_long()
        self._values.append(value)

    def _value(self, text: str) -> Value:
        match self._kind:
            case "s":
                return self._strings[_index(text)] if text else None
            case "inlineStr" | "str" | "e":
                return _unescaped(text)
            case "b":
                return text.strip() in {"1", "true"}
            case "d":
                return _iso(text)
        text = text.strip()
        if not text:
            return None
        style = int(self._style) if self._style.isascii() and self._style.isdigit() else -1
        if 0 <= style < len(self._dates) and self._dates[style] and (moment := self._moment(float(text))) is not None:
            return moment
        if _WHOLE.fullmatch(text):
            return Number(text) if text.isdigit() else Number(int(text))
        number = float(text)
        is_whole = number.is_integer() and abs(number) < _EXACT
        return Number(int(number)) if is_whole else Number(f"{number:.15g}")  # the digits that Excel shows

    def _moment(self, days: float) -> datetime | time | None:
        """Return the date or time that a number of days shows; None where it shows none."""
        if not 0 <= days <= _LAST_DAY + 1:
            return None
        whole, seconds = int(days), round((days - int(days)) * 86_400)
        if not whole:
            return (self._day_zero + timedelta(seconds=min(seconds, 86_399))).time()
        is_before_leap_day = whole < _LEAP_DAY and self._day_zero == _DAYS_FROM[False]
        try:
            return self._day_zero + timedelta(days=whole + is_before_leap_day, seconds=seconds)
        except OverflowError:
            return None


def _index(text: str) -> int:
    """Return the number of a shared text. Raises ValueError for one that would count from the end."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _iso(text: str) -> Value:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), text) if "_x" in text else text


def _damage() -> tuple[type[BaseException], ...]:
    """Return what reading a damaged archive or its XML raises."""
    from xml.sax import SAXException

    from defusedxml.common import DefusedXmlException

    return (
        zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, DefusedXmlException,
        SAXException, KeyError, ValueError, IndexError, OverflowError,
    )  # fmt: skip
