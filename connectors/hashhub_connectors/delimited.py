"""Rows of delimited text, for the CSV connectors: quoting, positions, and what a broken row means."""

from __future__ import annotations

import csv
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from hashhub.connector import MAX_LINE, LeftOut
from hashhub.errors import MalformedSource
from hashhub.model import Reject
from hashhub_connectors.source import lines

# The first line by which Excel is told the delimiter of a file; it is no row.
_SEPARATOR: Final = re.compile(r"sep=(.)\r?", re.IGNORECASE)
OUTCOME_COLUMNS: Final = ("hashhub outcome", "hashhub reason", "hashhub detail")
"""What `hashhub findings --csv` puts in front of a table, which may stay when the table is imported again."""
_LONG_CELLS: Final = threading.Lock()  # csv has one limit for all readers of a process


class UnreadColumns:
    """Counts the cells of columns that are not read. `names`: of all columns; `read`: places of those that are."""

    def __init__(self, names: Sequence[str], read: Iterable[int], left_out: LeftOut) -> None:
        self._names = names
        self._read = {*read, *(place for place, name in enumerate(names) if name in OUTCOME_COLUMNS)}
        self._left_out = left_out

    def see(self, cells: Sequence[str]) -> None:
        """Count the cells of a row that say something."""
        for place, cell in enumerate(cells):
            if cell and place not in self._read:
                self._left_out.see(self._names[place] if place < len(self._names) else f"column {place + 1}")


class Rows:
    """The rows of a source: `header`, then (position, cells) of each row, or a Reject for one that cannot be parsed.

    A row's position is its first line. `skip` lines at the beginning are skipped, and so is Excel's `sep=;`, which sets
    the delimiter where None is given and must not contradict it otherwise. With `keeps_raw`, `raw` is the text of the
    last row without its line end, `begin` what precedes the header, and blank lines come as rows without cells.

    Raises MalformedSource for an empty file, a quote that is never closed (the file may be cut off), a wrong encoding,
    and a line or row longer than `longest` characters (MAX_LINE). A cell has at most 128 KiB unless `longest` is given.
    """

    def __init__(
        self,
        source: BinaryIO,
        delimiter: str | None,
        encoding: str = "utf-8",
        *,
        has_header: bool = True,
        skip: int = 0,
        keeps_raw: bool = False,
        longest: int = 0,
    ) -> None:
        self.encoding = encoding
        self.has_mark = False  # whether a byte order mark stands before the text; whoever opens the source knows
        self._longest = longest
        self._lines = lines(source, encoding, longest=longest or MAX_LINE)
        self._last = 0  # number of the last line that was read
        self._length = 0  # characters of the row so far
        self._begin = 1
        self._raw: list[str] = []
        self._keeps_raw = keeps_raw
        self._held: list[tuple[int, str]] = []
        self.begin: list[str] = []
        self.delimiter = self._pass_over(delimiter, skip)
        self._reader = csv.reader(self._feed(), delimiter=self.delimiter, strict=True)
        self.header: tuple[str, ...] = ()
        self.header_position = f"line {self._last + 1}"
        if not has_header:
            return
        for first in self:
            if isinstance(first, Reject):
                raise MalformedSource(f"the header is no row of cells: {first.detail}", position=first.position)
            self.header_position, cells = first
            if not cells:  # a blank line, of which `keeps_raw` tells
                self.begin.append(self.raw)
                continue
            self.header = tuple(cell.strip() for cell in cells)
            break

    @property
    def raw(self) -> str:
        """The text of the row that came last."""
        return "\n".join(self._raw)

    def _pass_over(self, delimiter: str | None, skip: int) -> str:
        """Read what stands before the rows, and return the delimiter."""
        for number, line in self._lines:
            separator = _SEPARATOR.fullmatch(line) if number == 1 else None
            if separator is not None:
                if delimiter not in {None, separator[1]}:
                    raise MalformedSource(
                        f"the first line says that the delimiter is {separator[1]!r}, the mapping that it is "
                        f"{delimiter!r}; change one of them",
                        position="line 1",
                    )
                delimiter = separator[1]
                if not delimiter.isascii() or delimiter in '"\r\n ':
                    raise MalformedSource(
                        "the first line names no usable delimiter; expected one such as sep=;", position="line 1"
                    )
            elif number > skip:
                self._held.append((number, line))
                break
            self._last = number
            if self._keeps_raw:
                self.begin.append(line)
        return delimiter or ","

    def __iter__(self) -> Iterator[tuple[str, list[str]] | Reject]:
        while True:
            self._begin, self._length = self._last + 1, 0
            position = f"line {self._begin}"
            if self._keeps_raw:
                self._raw = []
            try:
                cells = self._next() if self._longest else next(self._reader)
            except StopIteration:
                return
            except csv.Error as e:
                if self._last > self._begin or "end of data" in str(e):
                    raise MalformedSource(
                        "a quoted cell is not closed as expected; is a quote missing, or the file cut off?",
                        position=position,
                    ) from e
                what = (
                    "a cell is too long" if "limit" in str(e)
                    else "a CR stands within the line, which ends in LF or CR LF" if "new-line" in str(e)
                    else "the quotes do not fit together"
                )  # fmt: skip
                yield Reject(
                    position, "UNPARSABLE_LINE", f"{what}; expected delimited cells, quoted with double quotes"
                )
                continue
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield position, cells
            elif self._keeps_raw:
                yield position, []  # a blank line

    def _next(self) -> list[str]:
        """Return the next row, whose cells may be as long as it."""
        with _LONG_CELLS:
            usual = csv.field_size_limit(self._longest)
            try:
                return next(self._reader)
            finally:
                csv.field_size_limit(usual)

    def _feed(self) -> Iterator[str]:
        while True:
            number, line = self._held.pop() if self._held else next(self._lines, (0, ""))
            if not number:
                return
            self._last = number
            self._length += len(line)
            if self._length > (self._longest or MAX_LINE):
                raise MalformedSource(
                    f"a row is longer than {self._longest or MAX_LINE} characters; is a quote missing?",
                    position=f"line {self._begin}",
                )
            if self._keeps_raw:
                self._raw.append(line)
            yield line + "\n"
