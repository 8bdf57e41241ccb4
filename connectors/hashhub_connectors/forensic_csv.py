"""Hash sets of forensic tools as CSV: what NSRL's RDSv2, HashKeeper and iLook files have in common.

The first line names the columns, and every further line is one file. Columns are found by their names, digests and the
size are kept. File names, paths, comments, times and product codes are not: they are case data, or say nothing about
the file's content. A digest that no hub matches (CRC32, MD4, SHA-384, SHA-512) is told once for the whole file, since
every line has it.
"""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from typing import BinaryIO, NamedTuple

from hashhub.connector import Certainty, Guess, Items, LeftOut, Option, check_options
from hashhub.errors import MalformedSource
from hashhub.model import HashFault, Record, Reject
from hashhub_connectors import items
from hashhub_connectors.delimited import UnreadColumns
from hashhub_connectors.source import UnclassifiedFormat, head_encoding, head_text, lines, look_at


class ToolHeader(NamedTuple):
    """One form of header. `names`: columns that tell it from others, in lower case.

    `digests`: (algorithm, column) of what is kept; `size`: the column of the size in bytes; `left_out`: digests that
    are not. A column of these need not be there.
    """

    names: tuple[str, ...]
    digests: tuple[tuple[str, str], ...]
    size: str
    left_out: tuple[str, ...] = ()


class LayoutCSV(UnclassifiedFormat):
    """Reads CSV that has one of some layouts. Positions are `line 12`. `whose`: as in "HashKeeper's"."""

    name = summary = whose = expected = ""
    version = "1"
    options: tuple[Option, ...] = ()
    layouts: tuple[ToolHeader, ...] = ()

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return a guess by the header's names."""
        if layout_of(header_names(head), self.layouts):
            return Guess(Certainty.CERTAIN, f"its first line has {self.whose} column names")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each line after the header. Raises MalformedSource as `read_layout` does."""
        check_options(self, options)
        return (yield from read_layout(source, self.layouts, f"{self.whose}: {self.expected}"))


def _cells_of(line: str) -> tuple[str, ...]:
    """Return a header's cells; none for a line that is no CSV."""
    try:
        return tuple(name.strip() for name in next(csv.reader([line.strip()], strict=True), ()))
    except csv.Error:
        return ()


def names_of(line: str) -> tuple[str, ...]:
    """Return a header's column names in lower case; none for a line that is no CSV."""
    return tuple(name.lower() for name in _cells_of(line))


def header_names(head: bytes) -> tuple[str, ...]:
    """Return the column names in a file's first line, for `detect`."""
    return names_of(head_text(head).partition("\n")[0])


def layout_of(names: Sequence[str], layouts: Sequence[ToolHeader]) -> ToolHeader | None:
    """Return the first layout whose columns are all named, or None."""
    return next((layout for layout in layouts if set(layout.names) <= set(names)), None)


def read_layout(source: BinaryIO, layouts: Sequence[ToolHeader], expected: str, tags: tuple[str, ...] = ()) -> Items:
    """Yield one Record or Reject for each line after the header that is not blank. `expected`: the header, in words.

    Raises MalformedSource for another header, and as `lines` does.
    """
    head, begun = look_at(source)
    # Names are in whatever encoding the examined disk had, and are not kept: each byte may pass for a character.
    encoding = "utf-16" if head_encoding(head) != "utf-8" else "iso8859-1"
    begun.read(len(head) - len(head.removeprefix(BOM_UTF8)))
    names: tuple[str, ...] = ()
    layout: ToolHeader | None = None
    untold: dict[str, HashFault] = {}
    left_out = LeftOut()
    unread = UnreadColumns((), (), left_out)
    for number, line in lines(begun, encoding):
        if not line.strip():
            continue
        position = f"line {number}"
        if layout is not None:
            yield _record(position, line, names, layout, tags, untold, unread)
            continue
        names = names_of(line)
        layout = layout_of(names, layouts)
        if layout is None:
            raise MalformedSource(
                f"the header is none of the format's: {items.listing(names) or 'no CSV'}; expected {expected}",
                position=position,
            )
        if twice := sorted({name for name in names if names.count(name) > 1 and name in _read_names(layout)}):
            raise MalformedSource(f"the header names {', '.join(twice)} twice; expected it once", position=position)
        read = {*_read_names(layout), *layout.left_out}
        unread = UnreadColumns(_cells_of(line), {place for place, name in enumerate(names) if name in read}, left_out)
        untold = {
            name: HashFault(
                name.upper(),
                "UNSUPPORTED_ALGORITHM",
                f"no hub matches the column {name}; it is left out on every line, which is told only once",
            )
            for name in layout.left_out
        }
    if layout is None:
        raise MalformedSource(f"the file has blank lines only; expected {expected}", position="line 1")
    return left_out


def _read_names(layout: ToolHeader) -> set[str]:
    return {layout.size, *(column for _, column in layout.digests)}


def _record(
    position: str,
    line: str,
    names: Sequence[str],
    layout: ToolHeader,
    tags: tuple[str, ...],
    untold: dict[str, HashFault],
    unread: UnreadColumns,
) -> Record | Reject:
    # Line by line, not as one text: an unmatched quote in a file name must not swallow the lines after it.
    try:
        cells = next(csv.reader([line.rstrip("\r")], strict=True))
    except csv.Error:
        return Reject(
            position, "UNPARSABLE_LINE", "the quotes do not fit together, or the line is cut off; expected CSV"
        )
    if len(cells) != len(names):
        return Reject(position, "WRONG_COLUMN_COUNT", f"expected {len(names)} cells, found {len(cells)}")
    unread.see(cells)
    cell_of = dict(zip(names, cells, strict=True))
    pairs = [(label, digest) for label, column in layout.digests if (digest := cell_of.get(column, "").strip())]
    faults: list[HashFault] = []
    size = items.size(cell_of.get(layout.size), layout.size, faults)
    told = [name for name in untold if cell_of.get(name, "").strip()]
    result = items.finish(position, pairs, [*faults, *(untold[name] for name in told)], media_size=size, tags=tags)
    if isinstance(result, Record):
        for name in told:
            del untold[name]
    return result
