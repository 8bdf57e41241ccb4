"""Digests of large imports, on PostgreSQL: in tables of their own, whose index is built when they are filled.

A digest that is put into the index of a table of millions takes 4 µs of PostgreSQL's time; copied into a new table, and
indexed there with all the others at the end, 1.1. The new table inherits from `hash`, so that every query and every
deletion of `hash` reaches it. `hash` itself has the digests of small imports.

A look for a digest goes through every table, some microsecond each. So tables of about one size become one when there
are several of them, while the hub has nothing better to do: a digest is written anew once for each fourfold of the
whole. SQLite has no such tables: all is in `hash`.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.store.database import Database
from hashhub.store.driver_errors import is_lock_timeout
from hashhub.store.schema import ALGORITHM_CODES
from hashhub.store.staging import Piece

_log = logging.getLogger("hashhub.store")

LEAST: Final = 200_000
"""Digests that are worth a table: some 0.2 s to write, in place of 0.9."""
MOST_TABLES: Final = 24  # beyond which digests go into `hash` until some tables were merged
MERGED_AT: Final = 4  # tables of about one size
URGENT: Final = 12  # tables, with which a merge begins though lists come in
MERGE_LOCK: Final = 0x6861736868756222
"""Key of the advisory lock: one process merges at a time, and none while somebody shares the lock."""
_PARTS: Final = 16  # statements that copy one algorithm's digests, between which a merge can be left
_LOCK_MILLISECONDS: Final = 50  # for so long those who look digests up wait, at most, behind one who waits himself
_ATTEMPTS: Final = 50
_PAUSE_SECONDS: Final = 0.2


class HashTables:
    """The tables that inherit from `hash`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def is_worthwhile(self, count: int) -> bool:
        """Whether so many digests should get a table, and may."""
        if self._db.is_sqlite or count < LEAST or len(self._rows_of_tables()) >= MOST_TABLES:
            return False
        # Who may write rows only, since somebody else keeps the tables up to date, writes rows.
        sql = (
            "SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE') "
            "FROM pg_class WHERE oid = 'hash'::regclass"
        )
        return bool(self._db.fetch(sql)[0][0])

    def write(self, c: Connection, digests: Iterable[Piece]) -> None:
        """Write digests into a new table, which others see once the transaction ends."""
        name = _create(c)
        for code, matrix, entries in digests:
            self._db.fill_hashes(c, name, code, matrix, entries)
        c.exec_driver_sql(_indexing(name))
        c.exec_driver_sql(_adding(name))

    def merge(self, is_stopping: Callable[[], bool], is_busy: Callable[[], bool] = lambda: False) -> None:
        """Make one table of several, where there are enough of about one size. `is_stopping`: asked before each piece
        of work; where it returns True, all is left as it was. `is_busy`: whether that should wait for another time.
        """
        if self._db.is_sqlite:
            return
        while _due(self._rows_of_tables()) and not is_stopping():
            if len(self._rows_of_tables()) < URGENT and is_busy():
                return
            try:
                with self._db.write() as c:
                    is_alone = c.execute(sa.select(sa.func.pg_try_advisory_xact_lock(MERGE_LOCK))).scalar_one()
                    names = _due(self._rows_of_tables()) if is_alone else []
                    if not names:
                        break
                    started = time.perf_counter()
                    rows = self._merge(c, names, is_stopping)
                _log.info("%d digests of %d tables are in one: %.1f s", rows, len(names), time.perf_counter() - started)
            except _LeftError:
                break

    def _merge(self, c: Connection, names: Sequence[str], is_stopping: Callable[[], bool]) -> int:
        """Take the place of tables with one of all their rows; return how many."""
        digests = " UNION ALL ".join(f"SELECT algorithm, digest, entry FROM {name}" for name in names)  # noqa: S608
        part = "algorithm = %s AND digest >= %s AND (digest < %s OR %s)"
        rows = 0
        merged = _create(c)
        sql = f"INSERT INTO {merged} SELECT * FROM ({digests}) d WHERE {part} ORDER BY 1, 2, 3"  # noqa: S608 - ours
        for code in sorted(ALGORITHM_CODES.values()):
            for first in range(0, 256, 256 // _PARTS):
                if is_stopping():
                    raise _LeftError
                after = first + 256 // _PARTS
                bounds = (bytes([first]) if first else b"", bytes([min(after, 255)]), after > 255)  # noqa: PLR2004
                rows += c.exec_driver_sql(sql, (code, *bounds)).rowcount
        _execute(c, _indexing(merged), is_stopping)
        self._lock(c, names, rows)
        c.exec_driver_sql(f"DROP TABLE {', '.join(names)}")
        c.exec_driver_sql(_adding(merged))
        return rows

    def _lock(self, c: Connection, names: Sequence[str], rows: int) -> None:
        """Keep everybody else from `hash` until the transaction ends. The tables must still have so many rows: what was
        deleted since they were read would be back.

        Whoever looks a digest up waits behind this while it waits for others, so it waits in short turns.
        """
        c.exec_driver_sql(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}")
        count = " + ".join(f"(SELECT count(*) FROM {name})" for name in names)  # noqa: S608 - our own names
        for _ in range(_ATTEMPTS):
            try:
                with c.begin_nested():
                    # First against those who delete, so that those who read do not wait for the counting.
                    c.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN SHARE MODE")
                    if c.exec_driver_sql(f"SELECT {count}").scalar_one() != rows:
                        raise _LeftError
                    c.exec_driver_sql("LOCK TABLE hash IN ACCESS EXCLUSIVE MODE")
                break
            except sa.exc.OperationalError as e:
                if not is_lock_timeout(e):
                    raise
            time.sleep(_PAUSE_SECONDS)
        else:
            raise _LeftError

    def _rows_of_tables(self) -> dict[str, int]:
        """Return about how many rows each of the tables has."""
        sql = (
            "SELECT c.relname, c.reltuples FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = 'hash'::regclass"
        )
        return {name: max(0, int(rows)) for name, rows in self._db.fetch(sql)}


def _create(c: Connection) -> str:
    """Create a table with the columns of `hash`, and return its name."""
    name = f"hash_{secrets.token_hex(8)}"
    c.exec_driver_sql(f"CREATE TABLE {name} (LIKE hash)")
    return name


def _indexing(name: str) -> str:
    """Return what makes a table that is filled fit to be read: one of which nothing is known may be read from end to
    end.
    """
    return f"ALTER TABLE {name} ADD PRIMARY KEY (algorithm, digest, entry); ANALYZE {name}"


def _adding(name: str) -> str:
    """Return what makes such a table a part of `hash`."""
    return f"ALTER TABLE {name} INHERIT hash"


def _execute(c: Connection, sql: str, is_stopping: Callable[[], bool]) -> None:
    """Execute a statement that may take a minute; cancel it when the work is to stop."""
    raw: Any = c.connection.driver_connection
    with ThreadPoolExecutor(1, "merge") as beside:
        running = beside.submit(c.exec_driver_sql, sql)
        while not wait([running], _PAUSE_SECONDS).done:
            if is_stopping():
                raw.cancel()
                with suppress(sa.exc.OperationalError):
                    running.result()
                raise _LeftError
        running.result()


def _due(rows_of_tables: dict[str, int]) -> list[str]:
    """Return the names of the tables that should become one: the smallest of which there are enough; none: []."""
    by_size: defaultdict[int, list[str]] = defaultdict(list)
    for name, rows in sorted(rows_of_tables.items()):
        size = 0
        while rows >= LEAST * MERGED_AT ** (size + 1):
            size += 1
        by_size[size].append(name)
    return next((by_size[size] for size in sorted(by_size) if len(by_size[size]) >= MERGED_AT), [])


class _LeftError(Exception):
    """A merge is left, and rolled back. Never leaves this module."""
