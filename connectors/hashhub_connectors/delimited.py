"""Rows of delimited text with a header, for the CSV connectors: quoting, positions, and what a broken row means."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from hashhub.connector import MAX_LINE
from hashhub.errors import MalformedSource
from hashhub.model import Reject
from hashhub_connectors.source import lines


class Rows:
    """The rows of a source: `header`, then an iteration of (position, cells), or a Reject for a row that is no
    delimited text.

    A quoted cell may span lines; the position is the line where the row begins. Raises MalformedSource for an empty
    file, a quote that is never closed (a cut-off file ends like that), a wrong encoding, and a line or a row longer
    than MAX_LINE.
    """

    def __init__(self, source: BinaryIO, delimiter: str, encoding: str = "utf-8") -> None:
        self._lines = lines(source, encoding)
        self._last = 0  # number of the last line that was read
        self._length = 0  # characters of the row so far
        self._begin = 1
        self._reader = csv.reader(self._feed(), delimiter=delimiter, strict=True)
        self.header: tuple[str, ...] = ()
        self.header_position = "line 1"
        for first in self:
            if isinstance(first, Reject):
                raise MalformedSource(f"the header is no row of cells: {first.detail}", position=first.position)
            self.header_position, cells = first
            self.header = tuple(cell.strip() for cell in cells)
            break

    def __iter__(self) -> Iterator[tuple[str, list[str]] | Reject]:
        while True:
            self._begin, self._length = self._last + 1, 0
            position = f"line {self._begin}"
            try:
                cells = next(self._reader)
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

    def _feed(self) -> Iterator[str]:
        for number, line in self._lines:
            self._last = number
            self._length += len(line)
            if self._length > MAX_LINE:
                raise MalformedSource(
                    f"a row is longer than {MAX_LINE} characters; is a quote missing?", position=f"line {self._begin}"
                )
            yield line + "\n"
