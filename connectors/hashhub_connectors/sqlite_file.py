"""SQLite databases that strangers made, read as lists of rows: nothing in them is executed.

A database can hold views, triggers, virtual tables and generated columns, and SQLite runs them when they are named. So
only plain tables are read, by a scan that the reader words itself; an authorizer denies everything else, functions
included. The file is opened read-only and immutable, nothing is attached, and what a damaged or hostile file can cost
is bounded: the length of a value, the steps between two rows, and the rows (no more than the file's bytes can hold).
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from hashhub.connector import MAX_LINE, LeftOut
from hashhub.errors import MalformedSource
from hashhub.model import HashFault
from hashhub_connectors import items
from hashhub_connectors.source import READ_SIZE, read_block

MAGIC: Final = b"SQLite format 3\0"
MAX_SPOOL: Final = 4 << 30  # bytes of a stream that has no file of its own, copied to a temporary one
_HEADER: Final = 100  # bytes; https://www.sqlite.org/fileformat2.html, 1.3
_LARGEST_PAGE: Final = 65_536
_ROWS: Final = 1_000  # fetched at a time
STEP: Final = 10_000  # of SQLite's machine, between two looks
_MOST_LOOKS: Final = 1_000  # until the next rows must be there; a plain scan needs two or three
MOST_LOOKS_AT_TABLES: Final = 30  # until the tables are known: some ten thousand of them
MIN_ROW: Final = 4  # bytes that a row takes in a page at least: its place in the page's index, its length, its key
_MAX_COLUMNS: Final = 200
_PLAIN: Final = re.compile(r"\s*CREATE\s+TABLE\b", re.IGNORECASE)
_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_LINE,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: MAX_LINE,
    sqlite3.SQLITE_LIMIT_COLUMN: _MAX_COLUMNS,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 10,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_PRAGMAS: Final = ("trusted_schema=OFF", "query_only=ON", "cell_size_check=ON", "mmap_size=0", "cache_size=-8192")
# A message of SQLite's may quote bytes that are no text, which Python then cannot read.
_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
Value = str | bytes | int | float | None


class Table(NamedTuple):
    """A plain table: its name and its columns as the file spells them, by their names in lower case."""

    name: str
    columns: Mapping[str, str]


class SourceDatabase:
    """An opened database. `plain`: its plain tables; `others`: names of views and virtual tables; all in lower case."""

    def __init__(self, connection: sqlite3.Connection, size: int) -> None:
        self._connection = connection
        self._most_rows = size // MIN_ROW
        self._looks, self._most_looks = 0, MOST_LOOKS_AT_TABLES
        connection.set_progress_handler(self._look, STEP)
        for limit, most in _LIMITS.items():
            connection.setlimit(limit, most)
        connection.text_factory = _text
        self.plain: dict[str, str] = {}
        self.others: set[str] = set()
        with _translated("its first page"):
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            connection.set_authorizer(_authorize)
            for kind, name, root, sql in self._select("SELECT type, name, rootpage, sql FROM sqlite_master"):
                if kind not in {"table", "view"} or not isinstance(name, str):
                    continue
                if kind == "table" and root and isinstance(sql, str) and _PLAIN.match(sql):
                    self.plain[name.lower()] = name
                else:
                    self.others.add(name.lower())

    def table(self, name: str) -> Table | None:
        """Return the plain table of this name, in whatever case, or None. Raises MalformedSource for computed columns:
        SQLite asks the authorizer nothing about what they call.
        """
        if name.lower() not in self.plain:
            return None
        name = self.plain[name.lower()]
        with _translated(f"table {name[:80]}"):
            described = self._connection.execute(f"PRAGMA table_xinfo({_quoted(name)})").fetchall()
        columns = {str(column).lower(): str(column) for _, column, *_ in described}
        if any(hidden for *_, hidden in described):
            raise MalformedSource(
                "the table has computed columns, and hashhub executes nothing that stands in a file; expected plain "
                "columns",
                position=f"table {name[:80]}",
            )
        return Table(name, columns)

    def rows(
        self, table: Table, columns: Sequence[str], left_out: LeftOut | None = None, *, known: Sequence[str] = ()
    ) -> Iterator[tuple[str, tuple[Value, ...]]]:
        """Yield (position, values of `columns`) of each row, in the table's own order. Columns that are neither among
        these nor `known` are counted, and so is each further table.

        Raises MalformedSource for a damaged file, and for one that has more rows than it can hold.
        """
        chosen = ", ".join(_quoted(table.columns[c]) for c in columns)
        # NOT INDEXED: an index is a copy of the values, which a damaged file could contradict.
        sql = f"SELECT {chosen} FROM {_quoted(table.name)} NOT INDEXED"  # noqa: S608 - quoted
        where = f"{table.name} row "
        number = 0
        try:
            for number, row in enumerate(self._select(sql), 1):
                if number > self._most_rows:
                    raise MalformedSource(
                        "the database gives more rows than a file of its size can hold; it is damaged or made to "
                        "deceive",
                        position=f"{where}{number}",
                    )
                yield f"{where}{number}", row
        except _ERRORS as e:
            raise _damaged(e, f"{where}{number + 1}") from e
        if left_out is not None:
            for column in table.columns.keys() - {*columns, *known}:
                left_out.see(table.columns[column], number)
            for other in sorted({*self.plain.values()} - {table.name, *known}):
                left_out.see(f"table {other}")

    def _select(self, sql: str) -> Iterator[tuple[Value, ...]]:
        self._looks = 0
        with closing(self._connection.execute(sql)) as cursor:
            while rows := cursor.fetchmany(_ROWS):
                yield from rows
                self._looks, self._most_looks = 0, _MOST_LOOKS

    def _look(self) -> int:
        self._looks += 1
        return self._looks > self._most_looks


@contextmanager
def opened(source: BinaryIO) -> Iterator[SourceDatabase]:
    """Open the database that a stream holds: its file, if it is one, otherwise a temporary copy of it.

    Raises MalformedSource for what is no SQLite database, is cut off or damaged, for unfinished writes beside the file,
    and for a stream without a file that is longer than MAX_SPOOL.
    """
    header = read_block(source, _HEADER)
    if path := _own_path(source, header):
        _refuse_unfinished(path)
        yield from _connected(path, header)
        return
    with tempfile.TemporaryDirectory(prefix="hashhub-") as directory:
        copy = Path(directory, "copy.db")
        _check_magic(header)
        with copy.open("wb") as target:
            target.write(header)
            while block := read_block(source, READ_SIZE):
                target.write(block)
                if target.tell() > MAX_SPOOL:
                    raise MalformedSource(
                        f"the database is longer than {MAX_SPOOL >> 30} GiB, and does not come as a file of its own; "
                        "unpack it, and give the path of the file",
                        position=f"byte {target.tell()}",
                    )
        yield from _connected(copy, header)


def _connected(path: Path, header: bytes) -> Iterator[SourceDatabase]:
    size = path.stat().st_size
    _check_header(header, size)
    # Another thread may be the one that closes an abandoned reader.
    with (
        _translated("its first page"),
        closing(
            sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
                cached_statements=0,
            )
        ) as connection,
    ):
        yield SourceDatabase(connection, size)


def _authorize(action: int, table: str | None, _column: str | None, _db: str | None, view: str | None) -> int:
    """Allow plain reading of tables, and the list of their columns; nothing that a view or a trigger asks for."""
    if action == sqlite3.SQLITE_PRAGMA:
        return sqlite3.SQLITE_OK if table == "table_xinfo" else sqlite3.SQLITE_DENY
    is_allowed = (
        view is None and action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ} and table != "sqlite_temp_master"
    )
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


def _own_path(source: BinaryIO, header: bytes) -> Path | None:
    """Return the path of the very file that the stream reads plainly and from its start, or None."""
    if not isinstance(source, BufferedReader) or not isinstance(raw := source.raw, FileIO):
        return None
    name = cast("object", raw.name)
    if not isinstance(name, str | bytes):
        return None
    try:
        if source.tell() != len(header):
            return None
        status, path = os.fstat(raw.fileno()), Path(os.fsdecode(name))
        is_same = stat.S_ISREG(status.st_mode) and os.path.samestat(status, path.stat())
    except (OSError, ValueError):  # a path that is gone, or was never one
        return None
    return path if is_same else None


def _check_magic(header: bytes) -> None:
    if not header.startswith(MAGIC):
        what = "is empty" if not header else "is no SQLite database"
        raise MalformedSource(f"the file {what}; expected it to begin with `SQLite format 3`", position="byte 0")


def _check_header(header: bytes, size: int) -> None:
    """Refuse a file that is shorter than its header says."""
    _check_magic(header)
    if len(header) < _HEADER:
        raise _cut_off(size)
    page = int.from_bytes(header[16:18])
    page = _LARGEST_PAGE if page == 1 else page
    if page not in {1 << n for n in range(9, 17)}:
        raise MalformedSource(
            "the database's page size is none that SQLite writes; the file is damaged", position="byte 16"
        )
    pages = int.from_bytes(header[28:32])
    # Programs older than 2010 leave the number of pages as it was, and do not renew the counter beside it.
    is_told = pages > 0 and header[24:28] == header[92:96]
    if pages * page > size if is_told else size % page or not size:
        raise _cut_off(size)


def _cut_off(size: int) -> MalformedSource:
    return MalformedSource(
        "the database is shorter than its header says; the file is cut off, copy it again", position=f"byte {size}"
    )


def _refuse_unfinished(path: Path) -> None:
    """Refuse a database whose last writes stand in a file beside it, which is not read."""
    for suffix in ("-wal", "-journal"):
        beside = path.with_name(path.name + suffix)
        if beside.exists() and beside.stat().st_size:
            raise MalformedSource(
                f"unfinished writes to the database stand in {beside.name[:80]!r} beside it; close the program that "
                "has it open, or open it once with sqlite3, and import it then",
                position="byte 0",
            )


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except _ERRORS as e:
        raise _damaged(e, where) from e


def _damaged(error: Exception, where: str) -> MalformedSource:
    """Return what says that the database cannot be read. SQLite's own words may quote the file."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_INTERRUPT:
            what = "takes too many steps to read"
        case sqlite3.SQLITE_TOOBIG:
            what = f"has a value longer than {MAX_LINE} bytes"
        case _:
            what = "is damaged"
    return MalformedSource(f"the database {what}; expected one that holds its rows in plain tables", position=where)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def pairs(labels: Sequence[str], values: Sequence[Value], faults: list[HashFault]) -> list[tuple[str, str]]:
    """Return (label, text) of the digests that are there: bytes in hexadecimal, texts as they are."""
    read: list[tuple[str, str]] = []
    for label, value in zip(labels, values, strict=False):
        text = value.hex() if isinstance(value, bytes) else value
        if isinstance(text, str):
            if text := text.strip():
                read.append((label, text))
        elif text is not None:
            faults.append(items.bad_field(label, "bytes or a text", text))
    return read
