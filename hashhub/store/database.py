"""One database behind two engines: transactions, writes that can be repeated, bulk rows and migrations.

With `drivers`, which connects, this module hides what differs between SQLite and PostgreSQL:

                SQLite                                        PostgreSQL
    read        one statement, its own snapshot               the same (autocommit)
    write       BEGIN IMMEDIATE on the one write connection   a transaction; `lock` takes the row of counters
    insert      many rows in one statement                    binary COPY
    results     values                                        in binary form, for reads
    gone away   cannot happen                                 reads are tried once more, writes test the connection
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import URL, Connection

from hashhub.errors import AlreadyExists, FailedPrecondition, LimitExceeded, NotFound, Reason
from hashhub.model import MAX_NUMBER, id_in_set, now
from hashhub.store import schema as s
from hashhub.store.drivers import (
    BUSY_POLL_SECONDS,
    BUSY_SECONDS,
    NOTES,
    QUEUE_SECONDS,
    ROOM_BYTES,
    ReadOnly,
    away,
    hold_reserve,
    mapped,
    missing,
    postgresql_engines,
    reaching,
    release_reserve,
    sqlite_engines,
    tell,
)
from hashhub.store.schema import ACTIVE, QUARANTINED, SCHEMA_VERSION, metadata

_log = logging.getLogger("hashhub.store")
Row = tuple[Any, ...]
_T = TypeVar("_T")

_COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no extension
_COPY_END: Final = b"\xff\xff"
_COPIED_AT_ONCE: Final = 4_096  # rows: other threads wait while bytes are copied
_IN_SIZES: Final = (1, 8, 64, 512)  # keys in one statement on SQLite
_KEY_PAGE: Final = 10_000  # keys in one statement on PostgreSQL
_DELETED_AT_ONCE: Final = 1_000  # digests; of many more PostgreSQL would rather read whole tables
ROOM_LOOK_SECONDS: Final = 5.0
_REQUESTS_KEPT: Final = timedelta(days=7)  # how long a request_id is remembered
NO_ENTRY: Final = 2**63 - 1  # an id that no entry will ever have
_MIGRATION_LOCK: Final = 0x6861736868756221  # "hashhub!": key of the advisory lock on PostgreSQL
_COPY_TYPES: Final[dict[type[Any], str]] = {
    sa.BigInteger: "int8",
    sa.Integer: "int4",
    sa.SmallInteger: "int2",
    sa.Text: "text",
    sa.LargeBinary: "bytea",
    sa.Boolean: "bool",
}
_COPY_NUMBERS: Final = {"int8": ">i8", "int4": ">i4", "int2": ">i2"}


class Turns:
    """A lock that threads get in the order in which they ask: a plain one would give an import, which writes piece
    after piece, the next turn before a waiting thread has woken up.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.waiting: deque[threading.Event] = deque()
        self._taken = False

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold the lock. Raises Unavailable when it does not come free in time."""
        with self._guard:
            turn = threading.Event()
            if self._taken:
                self.waiting.append(turn)
            else:
                self._taken = True
                turn.set()
        if not turn.wait(QUEUE_SECONDS):
            with self._guard:
                if not turn.is_set():
                    self.waiting.remove(turn)
                    raise away("too many writes wait for the database", 1.0)
        try:
            yield
        finally:
            with self._guard:
                if self.waiting:
                    self.waiting.popleft().set()
                else:
                    self._taken = False


AT_END: Final = "at end"


class Database:
    """Connections to one database. Thread-safe. Open it after forking, not before."""

    def __init__(self, url: URL, *, create: bool) -> None:
        """Connect and bring the tables up to date; several processes may do so at once. Raises FailedPrecondition when
        the database does not exist and `create` is false, when it was written by a newer hashhub, or when the driver is
        not installed; Unavailable when it cannot be reached.
        """
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._turns = Turns() if self.is_sqlite else None
        self.directory: Final = Path(url.database or "").parent if self.is_sqlite else None
        """Where SQLite's files are; None with PostgreSQL."""
        self._is_refusing = False  # the last write did not fit on the disk, or none are taken
        self._room_tried = 0.0
        self._names_lock = threading.Lock()
        self._hash_sets: tuple[Mapping[int, str], Mapping[str, int]] = {}, {}  # names by key, and keys by name
        try:
            self._open(url, create=create)
        except LimitExceeded as e:
            if e.reason is not Reason.DISK_FULL or self.directory is None:
                raise
            # Without any room not even a reader opens the database. What was held back for this is enough.
            if not release_reserve(self.directory):
                raise
            _log.warning("the disk is full; the database opens in the room that was held back for this")
            self._open(url, create=create)
        if self.directory is not None:
            hold_reserve(self.directory)

    def _open(self, url: URL, *, create: bool) -> None:
        with mapped(), nullcontext() if self.is_sqlite else reaching(url):
            engines = sqlite_engines(url, create=create) if self.is_sqlite else postgresql_engines(url)
            self.readers, self.writer = engines
            try:
                self._migrate(create=create)
            except BaseException:
                self.close()
                raise
        if not self.is_sqlite:
            tell(url, *engines)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.readers.dispose()
        self.writer.dispose()

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """Return `work(connection)`, each statement of one moment; run it again when the server went away."""
        with mapped():
            try:
                with self.readers.connect() as c:
                    return work(c)
            except sa.exc.DBAPIError as e:
                if not e.connection_invalidated:
                    raise
            with self.readers.connect() as c:
                return work(c)

    def select(self, query: sa.Select[*tuple[Any, ...]]) -> Sequence[Any]:
        """Return the rows of one query."""
        return self.read(lambda c: c.execute(query).all())

    def fetch(self, sql: str, parameters: Row = ()) -> Sequence[Row]:
        """Return the rows of one SELECT with `?` for its parameters, on both databases."""
        if not self.is_sqlite:
            # Plain tuples: SQLAlchemy's rows would cost as much again.
            return self.read(lambda c: self.execute(c, sql, parameters).cursor.fetchall())
        # SQLAlchemy's way takes longer than most of these statements do, and every hit makes three of them.
        with mapped(), contextlib.closing(self.readers.raw_connection()) as c:
            assert c.driver_connection is not None  # noqa: S101 - it has just been checked out
            rows: Sequence[Row] = c.driver_connection.execute(sql, parameters).fetchall()
            return rows

    def execute(self, c: Connection, sql: str, parameters: Row | Sequence[Row]) -> sa.CursorResult[*tuple[Any, ...]]:
        """Run one statement with `?` for its parameters, on both databases; for each row of several."""
        return c.exec_driver_sql(sql if self.is_sqlite else sql.replace("?", "%s"), parameters)

    def hash_set_names(self, names: Collection[str] = ()) -> Mapping[int, str]:
        """Return hash sets' names (CONTRIBUTOR/SET) by key, reading only new ones; none where `names` are known."""
        known, keys = self._hash_sets
        if not names or not keys.keys() >= set(names):
            sql = "SELECT key, contributor, id FROM hash_set WHERE key > ? ORDER BY key"
            rows = self.fetch(sql, (max(known, default=0),))
            if rows:
                new = {key: f"{contributor}/{own}" for key, contributor, own in rows}
                with self._names_lock:  # both are replaced at once: other threads read them
                    known = {**self._hash_sets[0], **new}
                    self._hash_sets = known, {name: key for key, name in known.items()}
        return known

    def hash_set_name(self, key: int) -> str:
        """Return the name of a hash set that there is, or was."""
        return self._hash_sets[0].get(key) or self.hash_set_names()[key]

    def key_of_set(self, contributor: str, hash_set: str, c: Connection | None = None) -> int:
        """Return the number that rows refer to a hash set by that was not deleted. Raises NotFound."""
        sql = "SELECT key FROM hash_set WHERE contributor = ? AND id = ? AND delete_revision = 0"
        asked = contributor, hash_set
        for (key,) in self.fetch(sql, asked) if c is None else self.execute(c, sql, asked):
            return int(key)
        raise no_hash_set(contributor, hash_set)

    def hash_set_key(self, name: str) -> int:
        """Return the key of the hash set that has, or had, a name; 0: none."""
        self.hash_set_names({name})
        return self._hash_sets[1].get(name, 0)

    def pages(self, after: int, read: Callable[[int], Sequence[Row]]) -> Iterator[Sequence[Row]]:
        """Yield what `read` gives behind `after`, then behind each last row's first column, until nothing is left."""
        while rows := read(after):
            after = rows[-1][0]
            yield rows

    def by_keys(
        self, sql: str, kind: str, before: Row, keys: Sequence[Any], c: Connection | None = None
    ) -> Iterator[Row]:
        """Yield the rows of `sql` for sorted keys of a `kind` in place of `{keys}`, a chunk at a time, within `c` if
        given.
        """

        def fetch(text: str, parameters: Row) -> Sequence[Row]:
            return self.fetch(text, parameters) if c is None else self.execute(c, text, parameters).all()

        if not self.is_sqlite:
            text = sql.format(keys=f"= ANY(?::{kind}[])")
            for start in range(0, len(keys), _KEY_PAGE):
                yield from fetch(text, (*before, array_of(kind, keys[start : start + _KEY_PAGE])))
            return
        for start in range(0, len(keys), _IN_SIZES[-1]):
            part = keys[start : start + _IN_SIZES[-1]]
            size = next(n for n in _IN_SIZES if n >= len(part))
            text = sql.format(keys=f"IN ({', '.join('?' * size)})")
            yield from fetch(text, (*before, *part, *([part[-1]] * (size - len(part)))))

    def state_page(self, set_key: int, state: int, after: int, before: int = NO_ENTRY) -> tuple[str, str, Row]:
        """Return how a hash set's entries `e` in a state are read between two ids: condition, order, parameters.

        PostgreSQL, once it has analysed the table, would walk the primary key, mostly in vain, and read the whole table
        for a page; compared as a row, only the index over set, state and id has the order, of which SQLite would use a
        part.
        """
        if self.is_sqlite:
            condition = "e.hash_set = ? AND e.state = ? AND e.id > ? AND e.id < ?"
            return condition, "e.id", (set_key, state, after, before)
        return (
            "(e.hash_set, e.state, e.id) > (?, ?, ?) AND (e.hash_set, e.state, e.id) < (?, ?, ?)",
            "e.hash_set, e.state, e.id",
            (set_key, state, after, set_key, state, before),
        )

    def entry_pages(
        self,
        columns: str,
        set_key: int,
        states: Iterable[int] = (ACTIVE, QUARANTINED),
        *,
        after: int = -1,
        before: int = NO_ENTRY,
        page: int,
    ) -> Iterator[Sequence[Row]]:
        """Yield id, state and `columns` of a hash set's entries `e` in some states between two ids, by id; at most
        `page` rows of a state at a time, all states of one moment, so that none is met twice or never.
        """
        while after < before:
            walks, parameters = [], []
            for state in states:  # each walks the index in order
                of_state, order, bounds = self.state_page(set_key, state, after, before)
                walk = f"SELECT e.id, e.state, {columns} FROM entry e WHERE {of_state}"  # noqa: S608 - ours
                walks.append(f"SELECT * FROM ({walk} ORDER BY {order} LIMIT ?) s{state}")  # noqa: S608 - ours
                parameters += [*bounds, page]
            rows = sorted(self.fetch(" UNION ALL ".join(walks), tuple(parameters)), key=lambda row: row[0])
            # A state with a full page may have more behind it: what another one has beyond comes with the next page.
            ids = [[row[0] for row in rows if row[1] == state] for state in states]
            after = min((of_state[-1] for of_state in ids if len(of_state) == page), default=before)
            if rows:
                yield [row for row in rows if row[0] <= after]

    def unstaged_pages(
        self, columns: str, set_key: int, states: Iterable[int], *, after: int, page: int
    ) -> Iterator[Sequence[Row]]:
        """As `entry_pages`, but for what is staged as this begins, which each page would walk anew to pass it over."""
        sql = "SELECT first_entry, last_entry FROM allocation WHERE first_entry BETWEEN ? AND ? ORDER BY first_entry"
        for first, last in self.fetch(sql, (id_in_set(set_key, 0), id_in_set(set_key, MAX_NUMBER))):
            yield from self.entry_pages(columns, set_key, states, after=after, before=first, page=page)
            after = max(after, last)
        yield from self.entry_pages(columns, set_key, states, after=after, page=page)

    @property
    def writers(self) -> int:
        """How many writes of one commit are worth making at once."""
        return 1 if self.is_sqlite else 2

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction; commit it at the end, or roll it back when the body raises.

        What is noted under AT_END in its `info[NOTES]` is called before the commit. On SQLite nobody else can write
        meanwhile. On PostgreSQL call `lock` before reading what the writes depend on.
        """
        turn = self._turns.take() if self._turns else nullcontext()
        try:
            with mapped(), turn, self.writer.begin() as c:
                notes = c.info[NOTES] = {}
                yield c
                if AT_END in notes:
                    notes[AT_END](c)
        except (LimitExceeded, ReadOnly) as e:
            self._is_refusing |= isinstance(e, ReadOnly) or e.reason is Reason.DISK_FULL
            raise

    @contextmanager
    def write_in_order(self, *, dry: bool = False) -> Iterator[Connection]:
        """Open a transaction as `write` does, and `lock` it: for a visible write. `dry`: roll it back in the end."""
        with suppress(_DryRunError), self.write() as c:
            self.lock(c)
            yield c
            if dry:
                raise _DryRunError

    def has_room(self) -> bool:
        """Whether writes fit on the disk and are taken; after one that did not, another is tried every few seconds."""
        if self.directory is not None:
            try:
                disk = os.statvfs(self.directory)
            except OSError:
                return False
            if disk.f_bavail * disk.f_frsize < ROOM_BYTES:
                return False
            hold_reserve(self.directory)
        if self._is_refusing and time.monotonic() >= self._room_tried + ROOM_LOOK_SECONDS:
            self._room_tried = time.monotonic()
            try:
                self._try_to_write()
            except (LimitExceeded, ReadOnly):
                return False
            self._is_refusing = False
        return not self._is_refusing

    def _try_to_write(self) -> None:
        """Write a row as it is. PostgreSQL's disk may be another machine's, and what is small still fits into its files
        when that is full: there, take as much room as an import's batch needs, and give it back.
        """
        with suppress(_DryRunError), self.write() as c:
            c.execute(metadata.update().values(key=metadata.c.key))
            if not self.is_sqlite:
                content = os.urandom(ROOM_BYTES)  # which is not compressed
                c.execute(s.request.insert().values(id="", content_digest=b"", result=content, create_time=0))
                raise _DryRunError

    def lock(self, c: Connection) -> None:
        """Wait until no other visible write is in progress; they then go on one after the other until this one ends."""
        if not self.is_sqlite:
            c.execute(sa.select(metadata.c.key).with_for_update())

    def scrub(self) -> bool:
        """Let no older state of erased pages stay in SQLite's log; return whether none does: a slow reader keeps it."""
        if not self.is_sqlite:
            return False
        deadline = time.monotonic() + BUSY_SECONDS
        with mapped(), self._turns.take() if self._turns else nullcontext():
            connection = self.writer.raw_connection()  # outside a transaction
            try:
                while connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    if time.monotonic() > deadline:
                        return False
                    time.sleep(BUSY_POLL_SECONDS)
            finally:
                connection.close()
        return True

    def insert(self, c: Connection, table: sa.Table, rows: Sequence[Row]) -> None:
        """Write rows, each with every column of the table in order, as fast as the driver can."""
        if not rows:
            return
        if self.is_sqlite:
            c.exec_driver_sql(_insert(table), list(rows))
            return
        with _copying(c, table) as copy:
            copy.set_types([_copy_type(column.type) for column in table.columns])
            for row in rows:
                copy.write_row(row)

    def insert_hashes(self, c: Connection, code: int, digests: NDArray[np.uint8], entries: NDArray[np.int64]) -> None:
        """Write rows of the table `hash`: digests of one algorithm, uint8[n, bytes], and their entries, int64[n]."""
        width = digests.shape[1]
        if self.is_sqlite:
            # One statement for all: a third of the price of one for each row, and other threads go on meanwhile.
            digest = f"substr(?, {width} * key + 1, {width})"
            sql = f"INSERT INTO hash SELECT ?, {digest}, value FROM json_each(?)"  # noqa: S608 - our own numbers
            c.exec_driver_sql(sql, (code, digests.tobytes(), msgspec.json.encode(entries.tolist()).decode()))
            return
        self._copy_arrays(c, s.tables.tables["hash"], (np.full(len(digests), code), digests, entries))

    def delete_hashes(self, c: Connection, hashes: Iterable[tuple[int, bytes, int]]) -> None:
        """Delete rows of the table `hash`: codes of algorithms, digests and entries."""
        if self.is_sqlite:
            rows = sorted(hashes)
            if rows:
                c.exec_driver_sql("DELETE FROM hash WHERE algorithm = ? AND digest = ? AND entry = ?", rows)
            return
        sql = (
            "DELETE FROM hash h USING unnest(%s::bytea[], %s::int8[]) AS gone (digest, entry) "
            "WHERE h.algorithm = %s AND h.digest = gone.digest AND h.entry = gone.entry"
        )
        for code, of_code in itertools.groupby(sorted(hashes), key=lambda row: row[0]):
            while part := list(itertools.islice(of_code, _DELETED_AT_ONCE)):
                digests = array_of("bytea", [row[1] for row in part])
                c.exec_driver_sql(sql, (digests, array_of("int8", [row[2] for row in part]), code))

    def insert_numbers(self, c: Connection, table: sa.Table, rows: NDArray[np.int64]) -> None:
        """As `insert`, into a table of nothing but numbers: int64[n, columns]."""
        if not len(rows):
            return
        if self.is_sqlite:
            self.insert(c, table, list(map(tuple, rows.tolist())))
        else:
            self._copy_arrays(c, table, rows.T)

    def _copy_arrays(self, c: Connection, table: sa.Table, columns: Iterable[NDArray[Any]]) -> None:
        """Write columns of numbers, or of bytes of one width, uint8[n, bytes], in PostgreSQL's binary form of COPY: of
        each row the number of fields, then the length and the value of each. The driver would look at each value.
        """
        values_of = {column.name: values for column, values in zip(table.columns, columns, strict=True)}
        row: list[tuple[str, Any]] = [("count of fields", ">i2")]
        for column in table.columns:
            number = _COPY_NUMBERS.get(_copy_type(column.type))
            kind = number or (np.uint8, (values_of[column.name].shape[1],))
            row += [(f"length of {column.name}", ">i4"), (column.name, kind)]
        block = np.empty(len(values_of[row[2][0]]), np.dtype(row))
        block["count of fields"] = len(values_of)
        for name, values in values_of.items():
            block[f"length of {name}"], block[name] = block.dtype[name].itemsize, values
        with _copying(c, table) as copy:
            copy.write(_COPY_HEAD)
            for start in range(0, len(block), _COPIED_AT_ONCE):
                copy.write(block[start : start + _COPIED_AT_ONCE].tobytes())
            copy.write(_COPY_END)

    def _migrate(self, *, create: bool) -> None:
        with self.readers.connect() as c:
            if _version(c) == SCHEMA_VERSION:
                return
        with self.writer.begin() as c:
            if not self.is_sqlite:
                c.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            version = _version(c)
            if version is None and not create:
                raise missing()
            if version is not None and version > SCHEMA_VERSION:
                raise FailedPrecondition(
                    f"the database has tables of version {version}, this hashhub knows up to {SCHEMA_VERSION}; upgrade "
                    "hashhub",
                    reason=Reason.DATABASE_UNAVAILABLE,
                )
            if version != SCHEMA_VERSION:
                _upgrade(c, is_new=version is None)


def no_hash_set(contributor: str, hash_set: str) -> NotFound:
    """Return the error for a hash set that does not exist."""
    name = f"{contributor}/{hash_set}"
    return NotFound(f"there is no hash set {name[:127]!r}; create it first", kind="HashSet", name=name)


def forget_results(c: Connection, chosen: Callable[[Mapping[str, bytes]], Iterable[str]]) -> None:
    """Forget remembered results, packed and by request, that are chosen: a repeated call is then a new one."""
    t = s.request
    after = ""
    while rows := c.execute(sa.select(t.c.id, t.c.result).where(t.c.id > after).order_by(t.c.id).limit(1000)).all():
        after = rows[-1].id
        if gone := list(chosen({row.id: row.result for row in rows})):
            c.execute(sa.delete(t).where(t.c.id.in_(gone)))


class WriteOptions(TypedDict, total=False):
    """Whether a write is only checked, and the caller's id under which it may be repeated."""

    validate_only: bool
    request_id: str


class IdempotentRequest:
    """Makes a write repeatable: one actor's first call with an id is remembered, with what it asked and returned."""

    def __init__(self, request_id: str, method: str, content: object, actor: str) -> None:
        # No token's name holds a slash.
        self._id = f"{actor}/{request_id}" if request_id else ""
        self._digest = hashlib.sha256(msgspec.msgpack.encode((method, content))).digest()

    def replayed(self, c: Connection, result_type: type[_T]) -> _T | None:
        """Return the first call's result, None: this is the first. Raises AlreadyExists for another call's id."""
        if not self._id:
            return None
        t = s.request
        row = c.execute(sa.select(t.c.content_digest, t.c.result).where(t.c.id == self._id)).first()
        if row is None:
            return None
        if row[0] != self._digest:
            raise AlreadyExists("this request_id was used for a different call; use a new one for each call")
        return msgspec.msgpack.decode(row[1], type=result_type)

    def remember(self, c: Connection, result: _T) -> _T:
        """Keep the result in this transaction, forget those of long ago, and return it."""
        if self._id:
            t = s.request
            at = now()
            c.execute(sa.delete(t).where(t.c.create_time < s.to_millis(at - _REQUESTS_KEPT)))
            c.execute(
                sa.insert(t).values(
                    id=self._id,
                    content_digest=self._digest,
                    result=msgspec.msgpack.encode(result),
                    create_time=s.to_millis(at),
                )
            )
        return result


@contextmanager
def _copying(c: Connection, table: sa.Table) -> Iterator[Any]:
    """Open a binary COPY into a table, on PostgreSQL."""
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    raw: Any = c.connection.driver_connection
    with raw.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN (FORMAT BINARY)') as copy:
        yield copy


def array_of(kind: str, values: Sequence[Any]) -> Any:
    """Return values for PostgreSQL's `?::KIND[]`, as text, which takes a tenth of what psycopg needs for an element."""
    if kind == "int8":
        return "{" + ",".join(map(str, values)) + "}"
    if kind == "bytea" and values:
        return '{"\\\\x' + '","\\\\x'.join(map(bytes.hex, values)) + '"}'
    return list(values)


def _upgrade(c: Connection, *, is_new: bool) -> None:
    """Run the migrations that are missing, inside the connection's transaction. A new database gets the tables of the
    schema as it is now, to which no later script has anything to add.
    """
    from alembic import command  # slow to import, and needed once in a database's life
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = c
    config.attributes["tables"] = s.tables
    if is_new:
        command.upgrade(config, "0001")
        command.stamp(config, "head")
    else:
        command.upgrade(config, "head")


@cache
def _insert(table: sa.Table) -> str:
    return f'INSERT INTO "{table.name}" VALUES ({", ".join("?" * len(table.columns))})'  # noqa: S608 - our own names


def _version(c: Connection) -> str | None:
    if not sa.inspect(c).has_table("alembic_version"):
        return None
    version: str | None = c.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return version


def _copy_type(column_type: sa.types.TypeEngine[Any]) -> str:
    return next(_COPY_TYPES[t] for t in type(column_type).__mro__ if t in _COPY_TYPES)


class _DryRunError(Exception):
    """A write was tried, and is rolled back. Never leaves this module."""
