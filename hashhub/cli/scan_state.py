"""What `scan --out DIR` remembers, so that a file that did not change is not hashed again.

    DIR/state.sqlite            each file's stamp and hashes, written as soon as they are there
    DIR/results.partial.jsonl   the answers of the run under way, or of one that was cut short
    DIR/results.jsonl           the answers of the last complete run
    DIR/report.html             the same for people
    DIR/lock                    held by the run under way; the kernel drops it with the process

Answers are not remembered: lists grow, and every file is matched again in every run. The directory belongs to one user
and nobody else can write into it, since whoever could would decide what is looked up.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec

from hashhub.cli.scan_tree import Stamp
from hashhub.errors import Conflict, DataLoss, FailedPrecondition, HashHubError, InvalidArgument, LimitExceeded, Reason
from hashhub.model import Effort
from hashhub.sqlite_files import connect
from hashhub.writing import put

if TYPE_CHECKING:
    from hashhub.hashing import MediaHashes

STATE: Final = "state.sqlite"
RESULTS: Final = "results.jsonl"
PARTIAL: Final = "results.partial.jsonl"
REPORT: Final = "report.html"
_LOCK: Final = "lock"
_OWN: Final = frozenset({STATE, f"{STATE}-wal", f"{STATE}-shm", f"{STATE}-journal", RESULTS, PARTIAL, REPORT, _LOCK})

_FORMAT: Final = 2
_APPLICATION: Final = 0x68687363  # "hhsc", so that no other program's database is taken for one of these
# Written to again within a tick of the file system's clock, a file can change and look as before: one this young is
# hashed again next time. Two seconds is the coarsest clock, FAT's.
_YOUNG_NS: Final = 2 * 10**9

_SCHEMA: Final = """
CREATE TABLE file (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    run INTEGER NOT NULL
);
CREATE TABLE hashed (
    file INTEGER PRIMARY KEY REFERENCES file,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    software TEXT NOT NULL,
    effort TEXT NOT NULL,
    media BLOB NOT NULL,
    thorough BLOB
);
CREATE TABLE meta (key INTEGER PRIMARY KEY CHECK (key = 1), run INTEGER NOT NULL);
INSERT INTO meta VALUES (1, 0);
"""
_RECALL: Final = """
SELECT size, mtime_ns, ctime_ns, inode, software, effort, media, thorough
FROM hashed JOIN file ON file.id = hashed.file WHERE path = ?
"""


class Remembered(msgspec.Struct, frozen=True):
    """Hashes of a file from an earlier run. `thorough`: those of effort THOROUGH, if they were wanted."""

    media: MediaHashes
    thorough: MediaHashes | None


class ScanState:
    """The state of one directory, held by one run. Not for use from several threads."""

    def __init__(self, directory: Path, database: sqlite3.Connection, *, effort: Effort) -> None:
        from hashhub.hashing import MediaHashes
        from hashhub.hashing.software import software

        self.directory = directory
        self._database = database
        self._effort = Effort.PLAIN if effort is Effort.PLAIN else Effort.STANDARD
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(MediaHashes)
        self._software = software()
        with _mapped():
            self._run: int = database.execute("UPDATE meta SET run = run + 1 RETURNING run").fetchone()[0]
            database.commit()

    def recall(self, path: Path, stamp: Stamp) -> Remembered | None:
        """Return the hashes of a file that is as it was, if all are there that this run wants."""
        with _mapped():
            row = self._database.execute(_RECALL, (_key(path),)).fetchone()
        if row is None:
            return None
        *stamped, software, effort, media, thorough = row
        if Stamp(*stamped) != stamp or software != self._software:
            return None
        if self._effort is not Effort.PLAIN and effort == Effort.PLAIN:
            return None
        try:
            return Remembered(
                self._as_wanted(self._decoder.decode(media)),
                None if thorough is None else self._as_wanted(self._decoder.decode(thorough)),
            )
        except msgspec.MsgspecError:
            return None  # written by a version that called itself the same; hashed again

    def see(self, path: Path) -> None:
        """Note that the file is there in this run. On the disk after `commit`."""
        with _mapped():
            self._database.execute(
                "INSERT INTO file (path, run) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET run = excluded.run",
                (_key(path), self._run),
            )

    def keep(self, path: Path, stamp: Stamp, media: MediaHashes, *, begun_ns: int, thorough: bool) -> None:
        """Remember the hashes of a file, on the disk when this returns. `begun_ns`: the clock when it was opened."""
        if stamp.mtime_ns > begun_ns - _YOUNG_NS:
            return
        with _mapped():
            (number,) = self._database.execute(
                "INSERT INTO file (path, run) VALUES (?, ?) "
                "ON CONFLICT (path) DO UPDATE SET run = excluded.run RETURNING id",
                (_key(path), self._run),
            ).fetchone()
            value = self._encoder.encode(media)
            if thorough:
                self._database.execute(
                    "UPDATE hashed SET thorough = ? "
                    "WHERE file = ? AND (size, mtime_ns, ctime_ns, inode) = (?, ?, ?, ?)",
                    (value, number, *stamp),
                )
            else:
                self._database.execute(
                    "INSERT OR REPLACE INTO hashed VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                    (number, *stamp, self._software, self._effort, value),
                )
            self._database.commit()

    def commit(self) -> None:
        """Have on the disk what was noted so far."""
        with _mapped():
            self._database.commit()

    def gone(self, paths: tuple[str, ...]) -> Iterator[Path]:
        """Yield the files of earlier runs at or below these paths that are not there any more."""
        tops = [os.path.abspath(path) for path in paths]  # noqa: PTH100 - Path.absolute keeps ".."
        with _mapped():
            self._database.commit()
            unseen = self._database.execute("SELECT path FROM file WHERE run <> ? ORDER BY path", (self._run,))
            for (key,) in unseen:
                path = os.fsdecode(key)
                if any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops) and _is_gone(path):
                    yield Path(path)

    def _as_wanted(self, media: MediaHashes) -> MediaHashes:
        """Leave out the variants that an earlier run wanted and this one does not."""
        if self._effort is not Effort.PLAIN:
            return media
        frames = tuple(msgspec.structs.replace(frame, variants=()) for frame in media.frames)
        return msgspec.structs.replace(media, frames=frames)


@contextmanager
def scan_state(directory: Path, *, effort: Effort) -> Iterator[ScanState]:
    """Hold the directory for one run, make it if need be, and open its state.

    Raises:
        InvalidArgument: the directory or a file of it belongs to somebody else, or others can write there.
        Conflict: another run holds it.
        DataLoss: the state is damaged.
        LimitExceeded: DISK_FULL.
    """
    _check_directory(directory)
    lock = _open(directory, _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise Conflict(
                "another scan is writing into this directory; wait until it is done, or name another with --out"
            ) from e
        for name in (STATE, RESULTS, REPORT):  # before hours of hashing
            with suppress(FileNotFoundError):
                _check_own(name, (directory / name).lstat())
        with _mapped():
            database = connect(directory / STATE, isolation_level="DEFERRED")
            try:
                _prepare(database)
                yield ScanState(directory, database, effort=effort)
                database.commit()
            finally:
                with suppress(sqlite3.Error):
                    database.commit()
                database.close()
    finally:
        os.close(lock)


@contextmanager
def replaced(directory: Path, name: str, *, under: str = "") -> Iterator[IO[str]]:
    """Write a file of the directory anew, in ASCII. It takes its place, whole, when the block ends without an error.

    `under`: its name until then.
    """
    aside = under or f"{name}.new"
    with suppress(FileNotFoundError):
        (directory / aside).unlink()
    with os.fdopen(
        _open(directory, aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="ascii", errors="xmlcharrefreplace"
    ) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    put(directory / aside, directory / name)


def _check_directory(directory: Path) -> None:
    try:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=True)
        status = directory.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise _unusable("is not a directory")
        if status.st_uid != os.geteuid():
            raise _unusable(f"belongs to another user (uid {status.st_uid}); name one of your own")
        strangers = [name for name in os.listdir(directory) if name.removesuffix(".new") not in _OWN]  # noqa: PTH208
        if strangers and not (directory / STATE).exists():
            raise _unusable("holds other files than those of a scan; name an empty or a new one")
        if stat.S_IMODE(status.st_mode) & 0o077:
            if status.st_mode & 0o022:
                raise _unusable("can be written by others; take their access away (chmod 700), or name another one")
            directory.chmod(0o700)
    except (OSError, ValueError) as e:
        cause = e.strerror if isinstance(e, OSError) and e.strerror else type(e).__name__
        raise _unusable(f"cannot be used: {cause}") from e


def _open(directory: Path, name: str, flags: int) -> int:
    """Open a file of the directory that is this user's alone. Raises InvalidArgument."""
    try:
        file = os.open(directory / name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise _unusable(f"has a file {name} that cannot be used ({e.strerror}); name another directory") from e
    try:
        _check_own(name, os.fstat(file))
        os.fchmod(file, 0o600)
    except BaseException:
        os.close(file)
        raise
    return file


def _check_own(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
        raise _unusable(f"has a file {name} that is somebody else's, or is also elsewhere; name another directory")


def _unusable(what: str) -> InvalidArgument:
    return InvalidArgument.field("out", what, "NOT_ALLOWED")


def _prepare(database: sqlite3.Connection) -> None:
    # Held by this process alone, write-ahead logging needs no memory shared between processes, which network file
    # systems do not have.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if (application, version) == (0, 0):
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables == 0:
            database.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_FORMAT}; COMMIT;"
            )
            return
    if (application, version) != (_APPLICATION, _FORMAT):
        raise FailedPrecondition(
            "the state in this directory is another program's, or another version's of hashhub; name another directory "
            "with --out, or remove state.sqlite, and all files are hashed again"
        )


def _key(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps ".."


def _is_gone(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # it cannot be looked at, which its directory's own answer says
    return False


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn errors of SQLite into ours."""
    try:
        yield
    except sqlite3.Error as e:
        match getattr(e, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_FULL:
                raise LimitExceeded(
                    "the disk of the scan's state is full: free some space, then run the command again",
                    reason=Reason.DISK_FULL,
                ) from e
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                raise Conflict("another process uses the scan's state; end it, or name another directory") from e
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                raise DataLoss(
                    "the scan's state is damaged: remove state.sqlite and run the command again; all files are then "
                    "hashed again"
                ) from e
            case _:
                raise HashHubError(f"the scan's state cannot be written: {e}; check its disk and permissions") from e
