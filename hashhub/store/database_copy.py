"""A copy of the database at one revision, made while others write, and brought back.

SQLite: by its online backup, inside one read transaction, so that what is copied is what was committed when it began.
PostgreSQL: by `pg_dump` in the snapshot in which the head was read. The tables are not brought up to date first: what
is copied is what is there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.engine import URL

from hashhub.errors import DataLoss, FailedPrecondition, Reason, Unavailable
from hashhub.local_files import written
from hashhub.store.drivers import FILE_NAME, locate, mapped, reaching
from hashhub.store.events import Position

if TYPE_CHECKING:
    import psycopg

DUMP_NAME: Final = "hashhub.dump"
PAGES: Final = 4096  # of SQLite's file that are copied at a time: 16 MiB
_BLOCK: Final = 1 << 24  # bytes
_STATE: Final = "SELECT database_id, revision, head FROM metadata"
_VERSION: Final = "SELECT version_num FROM alembic_version"
_WITHOUT: Final = "--exclude-table-data=feed_position"  # see there; not of hubs before it
_SAID: Final = 300  # characters of what a program says

Progress = Callable[[int, int], None]
"""Is told how many bytes were copied, and of how many; 0 where that is not known."""


class DatabaseCopy(NamedTuple):
    """A copy: the file's name, which database it is of, the position that it holds, and the version of its tables."""

    name: str
    database_id: str
    position: Position
    schema_version: str


def kind_of(database: str | Path) -> str:
    """Return SQLITE or POSTGRESQL. Raises InvalidArgument for a URL of neither."""
    return "SQLITE" if locate(database).get_backend_name() == "sqlite" else "POSTGRESQL"


def without_password(database: str) -> str:
    """Return the URL without its password."""
    return locate(database).set(password=None).render_as_string() if database else ""


def copy_out(database: str | Path, directory: Path, progress: Progress) -> DatabaseCopy:
    """Copy the database into `directory`. Raises FailedPrecondition when there is none, or `pg_dump` is missing or of
    an older version than the server; Unavailable, LimitExceeded when the disk is full, DataLoss when the file is
    damaged.
    """
    url = locate(database)
    if url.get_backend_name() == "sqlite":
        return _copy_sqlite(Path(url.database or ""), directory / FILE_NAME, progress)
    return _dump_postgresql(url, directory / DUMP_NAME, progress)


def examine_copy(directory: Path) -> DatabaseCopy | None:
    """Return what a copy in `directory` holds, None for a dump. Raises DataLoss when the file is damaged."""
    path = directory / FILE_NAME
    if not path.exists():
        dump = directory / DUMP_NAME
        if (program := shutil.which("pg_restore")) is not None:
            done = _run([program, "--list", str(dump)], None)
            if done.returncode:
                raise DataLoss(f"{DUMP_NAME} cannot be read by pg_restore ({_said(done)}): take another backup")
        return None
    with mapped(), closing(sqlite3.connect(f"file:{_quoted(path)}?mode=ro&immutable=1", uri=True)) as c:
        if (said := c.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise DataLoss(f"{FILE_NAME} is damaged ({said[:_SAID]}): take another backup")
        copied = _state(FILE_NAME, c.execute(_STATE).fetchone(), c.execute(_VERSION).fetchone())
        revision, digest = copied.position
        if revision and c.execute("SELECT digest FROM event WHERE revision = ?", (revision,)).fetchone() != (digest,):
            raise DataLoss(f"{FILE_NAME} lacks the event of its own head: take another backup")
        return copied


def bring_back(directory: Path, database: str | Path, progress: Progress) -> None:
    """Write the copy in `directory` to a new or empty database. Raises FailedPrecondition, and as `copy_out`."""
    url = locate(database)
    is_dump = (directory / DUMP_NAME).exists()
    if is_dump == (url.get_backend_name() == "sqlite"):
        raise FailedPrecondition(
            "this is a backup of PostgreSQL: name an empty database with --database"
            if is_dump
            else "this is a backup of SQLite: leave --database out; it goes into the data directory"
        )
    if is_dump:
        _restore_postgresql(directory / DUMP_NAME, url)
    else:
        _put_sqlite(directory / FILE_NAME, Path(url.database or ""), progress)


def _copy_sqlite(path: Path, target: Path, progress: Progress) -> DatabaseCopy:
    if not path.exists():
        raise FailedPrecondition(
            f"there is no database {path.name} in {str(path.parent)!r}: name the hub's data directory with --data, or "
            "its PostgreSQL database with --database",
            reason=Reason.DATABASE_UNAVAILABLE,
        )
    with (
        mapped(),
        closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as source,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        # Within this transaction nothing that others write is seen, so that the backup never begins anew.
        source.execute("BEGIN")
        source.execute(_STATE).fetchone()
        size = source.execute("PRAGMA page_size").fetchone()[0]
        source.backup(copy, pages=PAGES, progress=lambda _, left, total: progress((total - left) * size, total * size))
        source.execute("COMMIT")
        if copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'feed_position'").fetchone():
            copy.execute("DELETE FROM feed_position")
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # one file, which can be read where it lies
        return _state(FILE_NAME, copy.execute(_STATE).fetchone(), copy.execute(_VERSION).fetchone())


def _put_sqlite(path: Path, target: Path, progress: Progress) -> None:
    # A log of another database beside it would be taken for its own, and damage it.
    beside = [target.with_name(target.name + end) for end in ("", "-wal", "-shm", "-journal")]
    if there := [p.name for p in beside if p.exists() or p.is_symlink()]:
        raise FailedPrecondition(
            f"there is {' and '.join(there)} in {str(target.parent)!r} already, and a backup never replaces a "
            "database: name a new directory"
        )
    total, done = path.stat().st_size, 0
    with path.open("rb") as source, written(target, taken="name a new directory") as copy:
        while block := source.read(_BLOCK):
            copy.write(block)
            done += len(block)
            progress(done, total)


def _dump_postgresql(url: URL, target: Path, progress: Progress) -> DatabaseCopy:
    program = shutil.which("pg_dump")
    if program is None:
        raise FailedPrecondition(
            "pg_dump is not installed on this machine: install PostgreSQL's client programs (Debian: apt install "
            "postgresql-client), of the server's version or a newer one; or run there, and keep withdrawals.log with "
            f"it: pg_dump --format=custom --no-owner --no-privileges {_WITHOUT} --file={DUMP_NAME} '{_libpq(url)}'",
            reason=Reason.MISSING_EXTRA,
        )
    with _connected(url) as c:
        c.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if c.execute("SELECT to_regclass('metadata')").fetchone() == (None,):
            raise FailedPrecondition("there are no tables of hashhub in this database: correct --database")
        (snapshot,) = c.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
        copied = _state(DUMP_NAME, c.execute(_STATE).fetchone(), c.execute(_VERSION).fetchone())
        progress(0, 0)
        done = _run(
            [
                program, "--format=custom", "--no-owner", "--no-privileges", _WITHOUT, f"--snapshot={snapshot}",
                f"--file={target}", f"--dbname={_libpq(url)}",
            ],
            url,
        )  # fmt: skip
    if done.returncode:
        raise FailedPrecondition(
            f"pg_dump failed ({_said(done)}): correct that; its version must not be older than the server's"
        )
    return copied


def _restore_postgresql(dump: Path, url: URL) -> None:
    program = shutil.which("pg_restore")
    if program is None:
        raise FailedPrecondition(
            "pg_restore is not installed on this machine: install PostgreSQL's client programs (Debian: apt install "
            "postgresql-client), or run where they are: pg_restore --no-owner --exit-on-error --single-transaction "
            f"--dbname='{_libpq(url)}' {DUMP_NAME}",
            reason=Reason.MISSING_EXTRA,
        )
    with _connected(url) as c:
        count = c.execute("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()").fetchone()
        if count != (0,):
            raise FailedPrecondition(
                "this database has tables already, and a backup never replaces one: make a new one (createdb)"
            )
    done = _run(
        [program, "--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={_libpq(url)}", str(dump)], url
    )
    if done.returncode:
        raise FailedPrecondition(f"pg_restore failed and wrote nothing ({_said(done)}): correct that")


@contextmanager
def _connected(url: URL) -> Iterator[psycopg.Connection[Any]]:
    try:
        engine = sa.create_engine(
            url.update_query_dict({"connect_timeout": "10"}), poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT"
        )
    except ModuleNotFoundError as e:
        raise FailedPrecondition(
            "PostgreSQL needs a driver: pip install 'hashhub[postgres]'", reason=Reason.MISSING_EXTRA
        ) from e
    with mapped(), reaching(url), engine.connect() as c:
        yield cast("psycopg.Connection[Any]", c.connection.driver_connection)


def _libpq(url: URL) -> str:
    """Return the URL as PostgreSQL's own programs take it, without the password: process lists show it."""
    return url.set(drivername="postgresql", password=None).render_as_string()


def _run(command: list[str], url: URL | None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if url is not None and url.password:
        environment["PGPASSWORD"] = str(url.password)
    try:
        return subprocess.run(  # noqa: S603 - a program of PostgreSQL's, and arguments of ours
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as e:
        raise Unavailable(f"{Path(command[0]).name} cannot be started ({e.strerror})") from e


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return ("; ".join(done.stderr.split("\n")).strip("; ") or f"exit code {done.returncode}")[:_SAID]


def _state(name: str, state: tuple[Any, ...] | None, version: tuple[Any, ...] | None) -> DatabaseCopy:
    if state is None or version is None:
        raise DataLoss("the database has no state: is it a hub's?")
    return DatabaseCopy(name, state[0], Position(state[1], bytes(state[2])), version[0])


def _quoted(path: Path) -> str:
    return str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
