"""Files on this machine: written whole for users, kept by programs for themselves, and SQLite databases.

at the path, or where a link there leads    result of writing
nothing                                     a new file, by its name once it is whole
a regular file                              refused, or replaced once all is written
a device, a pipe                            written to as data comes
a directory, a socket; a link to nothing    refused

Only SQLite opens its own files: a process that closes any descriptor of a database loses its locks, and another one may
then remove the journal (https://www.sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, TextIO, TypeAlias, cast

with suppress(ModuleNotFoundError):  # which Windows has not, where nothing is locked
    import fcntl

from hashhub.errors import AlreadyExists, HashHubError, InvalidArgument, LimitExceeded, Reason

OUT: Final = "out"
TAKEN: Final = "name another file, or replace it with --force"
_BLOCK: Final = 1 << 20
_SHORT: Final = 64 * 1024  # bytes of a file with a key
# What not every system has, and some need not; Windows takes a file for text unless it is told.
_OPEN: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_REFUSED: Final = ((stat.S_ISDIR, "directory"), (stat.S_ISSOCK, "socket"), (stat.S_ISLNK, "link that leads nowhere"))
Writing: TypeAlias = tuple[BinaryIO, Callable[[], None]]


@contextmanager
def written(
    path: Path | str, *, replace: bool = False, taken: str = "name a new file", field: str = OUT, mode: int = 0o600
) -> Iterator[BinaryIO]:
    """Give a stream whose content is at the path once the body has ended without an error. Raises as `whole_file`."""
    with whole_file(path, replace=replace, taken=taken, field=field, mode=mode) as (stream, keep):
        yield stream
        keep()


@contextmanager
def text_written(path: Path, *, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Give a stream of text whose file is written anew, for its owner only. Raises as `whole_file` does."""
    with written(path, replace=True) as stream:
        text = io.TextIOWrapper(stream, encoding, "xmlcharrefreplace", newline="")
        yield text
        text.detach()  # which flushes it; the stream is closed by who opened it


@contextmanager
def whole_file(
    path: Path | str | None,
    *,
    replace: bool,
    taken: str = "name a new file",
    field: str = OUT,
    mode: int = 0o600,
    held: bool = False,
) -> Iterator[Writing]:
    """Give a stream (standard output without a path), and what makes a file of it once all is written; otherwise there
    is no such file, whatever ends this process. `taken`: advice where a file may not be replaced. `field`: the option.
    `held`: devices and pipes, too, get nothing before. Raises AlreadyExists, LimitExceeded (DISK_FULL),
    InvalidArgument.
    """
    if path is None:
        with _streamed(cast("BinaryIO", sys.stdout.buffer), held=held) as writing:
            yield writing
        return
    path = Path(path)
    is_there = check(path, replace=replace, taken=taken, field=field)
    try:
        if is_there and not path.is_file():
            target = os.fdopen(os.open(path, os.O_WRONLY | _OPEN), "wb")
            with target, _streamed(target, held=held) as writing:
                yield writing
            return
        path = Path(os.path.realpath(path))  # a link stays, and leads to what is written
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        stream, has_name = _opened(part, mode)
        try:
            with stream:

                def keep() -> None:
                    stream.flush()
                    os.fsync(stream.fileno())
                    if has_name:
                        stream.close()  # Windows gives no other name to a file that is open
                    try:
                        if not has_name:
                            _give_name(stream, part if replace else path)
                        elif not replace:
                            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
                        if has_name or replace:
                            put(part, path, field=field)
                    except FileExistsError as e:
                        raise _exists(path, taken) from e

                yield stream, keep
        finally:
            part.unlink(missing_ok=True)
    except BrokenPipeError:
        raise  # the reader has seen enough
    except OSError as e:
        raise _cannot_write(path, e, field) from e


def check(path: Path | str, *, replace: bool = False, taken: str = "name a new file", field: str = OUT) -> bool:
    """Return whether a path to be written to exists. Raises as `whole_file` does, before anything is begun."""
    path = Path(path)
    try:
        status = path.stat() if path.exists() else path.lstat()
    except FileNotFoundError:
        return False
    except OSError as e:
        raise _cannot_write(path, e, field) from e
    for is_kind, kind in _REFUSED:
        if is_kind(status.st_mode):
            raise InvalidArgument.field(field, f"{str(path)!r} is a {kind}; name a file, a device or a pipe")
    if stat.S_ISREG(status.st_mode) and not replace:
        raise _exists(path, taken)
    return True


def put(part: Path, path: Path, *, field: str = OUT) -> None:
    """Give a finished file its name. Raises InvalidArgument where other than a regular file is, and OSError."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InvalidArgument.field(field, f"{str(path)!r} is no regular file, and is not replaced; move it away")
    part.replace(path)


def sync(path: Path) -> None:
    """Have the disk keep what stands in a file or directory."""
    handle = os.open(path, os.O_RDONLY | _OPEN)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def named_file(field: str, path: str) -> bytes:
    """Return what is in a file that somebody named in an option or a setting. Raises InvalidArgument."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path
        why = getattr(e, "strerror", None) or "it is no path"
        begins = "" if Path(path).is_absolute() else f", which is taken from {str(Path.cwd())!r},"
        raise InvalidArgument.field(
            field, f"{path!r} cannot be read: {why}; check the path{begins} and its permissions"
        ) from e


def short_text(path: Path, field: str) -> str:
    """Return the beginning of a file with a key or a few names, which a setting names. Raises InvalidArgument."""
    try:
        with path.open("rb") as file:
            return file.read(_SHORT).decode("utf-8").strip()
    except (OSError, ValueError) as e:
        cause = e.strerror if isinstance(e, OSError) else "it is no text"
        raise InvalidArgument.field(field, f"cannot be read: {cause}") from e


def private_text(path: Path, field: str) -> str:
    """Return the text of a file that only its owner may read. Raises InvalidArgument."""
    text = short_text(path, field)
    if path.stat().st_mode & 0o077:
        raise InvalidArgument.field(field, "can be read by others; chmod 600 it")
    return text


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_directory(path: Path, *, field: str = OUT, mode: int = 0o700) -> None:
    """Make a directory to write into, unless it is there. Raises LimitExceeded and InvalidArgument."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as e:
        raise _cannot_write(path, e, field) from e


def _cannot_write(path: Path, error: OSError, field: str) -> HashHubError:
    """Return the error for a path that the system does not let write to."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return LimitExceeded("the disk is full: free some space, then retry", reason=Reason.DISK_FULL)
    return InvalidArgument.field(field, f"{str(path)!r} cannot be written: {error.strerror or type(error).__name__}")


@contextmanager
def _streamed(target: BinaryIO, *, held: bool) -> Iterator[Writing]:
    if not held:
        yield target, target.flush
        return
    with tempfile.TemporaryFile() as spool:

        def copy() -> None:
            spool.seek(0)
            shutil.copyfileobj(spool, target, _BLOCK)
            target.flush()

        yield cast("BinaryIO", spool), copy


def _exists(path: Path, taken: str) -> AlreadyExists:
    return AlreadyExists(f"{str(path)!r} exists already; {taken}")


def _opened(part: Path, mode: int) -> tuple[BinaryIO, bool]:
    """Open a new file, without a name where the system can: then a killed process leaves nothing behind."""
    try:
        unnamed = os.open(part.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
    except (AttributeError, OSError):
        named = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | _OPEN, mode)
        return cast("BinaryIO", os.fdopen(named, "wb")), True
    return cast("BinaryIO", os.fdopen(unnamed, "wb")), False


def _give_name(stream: BinaryIO, path: Path) -> None:
    """Name a file that has none. Raises FileExistsError."""
    directory = os.open(path.parent, os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With a directory, even one that is not needed, the link is followed to the file.
        os.link(f"/proc/self/fd/{stream.fileno()}", path, src_dir_fd=directory)
    finally:
        os.close(directory)


_IN_THE_WAY: Final = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO})
_DIRECTORY_EXPECTED: Final = frozenset({errno.EEXIST, errno.ENOTDIR})
_SHOWN: Final = 3  # of a path's names: which file it is, and nothing of where the machine keeps its data
_ENDS: Final = ("", "-wal", "-shm", "-journal")
_databases: Final[set[str]] = set()


def is_in_the_way(error: OSError) -> bool:
    """Whether something else stands where a file or directory belongs, so that moving it away helps."""
    path = _path_of(error)
    return path is not None and (error.errno in _IN_THE_WAY or (error.errno == errno.ENOENT and path.is_symlink()))


def obstacle(error: OSError, who: str) -> str:
    """Return what is wrong with which path: `copy/index/mark is a directory, where the hook expects a file that it
    makes itself`, or `copy/index/mark: Permission denied`.
    """
    path = _path_of(error)
    reason = error.strerror or type(error).__name__
    if path is None:
        return reason
    if not is_in_the_way(error):
        return f"{shown(path)}: {reason}"
    in_the_way = next(p for p in (path, *path.parents) if os.path.lexists(p))
    is_directory_expected = error.errno in _DIRECTORY_EXPECTED or in_the_way != path
    return misplaced(in_the_way, who, "directory" if is_directory_expected else "file")


def open_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file kept here; return its descriptor. Raises OSError, also for what may block: a pipe, a device."""
    # A pipe or a socket that is opened to write only is refused by the system with the same error.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return descriptor
    os.close(descriptor)
    code = errno.EISDIR if stat.S_ISDIR(kind) else errno.ENXIO
    raise OSError(code, os.strerror(code), str(path))


def lock(file: FileIO | IO[Any], *, wait: bool = False) -> bool:
    """Keep other processes from a file until it is closed; return False where one of them has it, unless `wait`."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def lock_file(path: Path, mode: int = 0o600, *, wait: bool = False) -> FileIO | None:
    """Open or make a file to append to it, and `lock` it; return None where another process has it. Raises OSError."""
    file = FileIO(open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode), "r+")
    if lock(file, wait=wait):
        return file
    file.close()
    return None


def read_file(path: Path) -> bytes:
    """Return what is in a file that is kept here. Raises OSError, as `open_file` does."""
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read()


def write_all(file: int, text: bytes) -> None:
    """Write all of it. On a disk that has room for a part of a write, only the next one fails."""
    left = memoryview(text)
    while left:
        left = left[os.write(file, left) :]


def misplaced(path: Path, who: str, expected: str) -> str:
    """Return that something else stands where a file or directory belongs."""
    return f"{shown(path)} is a {_kind(path)}, where {who} expects a {expected} that it makes itself"


def shown(path: Path) -> str:
    """Return the end of a path, which says which file it is."""
    return "/".join(path.parts[-_SHOWN:])


def _path_of(error: OSError) -> Path | None:
    name = error.filename2 or error.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError:
        return "symbolic link that leads nowhere"
    if stat.S_ISDIR(mode):
        return "directory"
    return "file" if stat.S_ISREG(mode) else "device, pipe or socket"


def connect(path: Path, **options: Any) -> sqlite3.Connection:
    """Open or make a database for its owner only, as `sqlite3.connect` does. Raises OSError where it is another's."""
    _databases.add(str(path.absolute()))  # before it is opened, and for good: another connection may stay
    database: sqlite3.Connection = sqlite3.connect(path, **options)
    try:
        path.chmod(0o600)  # by its name, without opening it; SQLite gives its other files the permissions of this one
    except BaseException:
        database.close()
        raise
    return database


def open_regular(path: str | Path, *, folder: int | None = None, follow: bool = True) -> int:
    """Open a regular file that somebody named, to read it; `folder`: descriptor of where the path begins. Raises
    OSError for anything else, unopened: a pipe, a device, a database of `connect`, a link unless `follow`.
    """
    if not hasattr(os, "O_PATH"):
        return _opened_elsewhere(path, folder, follow=follow)
    # With O_PATH nothing is opened yet: closing it gives no lock up.
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW), dir_fd=folder)
    try:
        _check_regular(os.fstat(handle), path)
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def _opened_elsewhere(path: str | Path, folder: int | None, *, follow: bool) -> int:
    """Open a regular file where it must be looked at by its name, and again once it is open."""
    status = os.stat(path, dir_fd=folder, follow_symlinks=follow)
    _check_regular(status, path)
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _OPEN, dir_fd=folder)
    if not os.path.samestat(os.fstat(file), status):
        os.close(file)
        raise OSError(errno.EBUSY, "it was replaced in this moment", str(path))
    return file


def _check_regular(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if _is_database(status):
        raise OSError(errno.EBUSY, "it is a database that hashhub has open", str(path))


def _is_database(status: os.stat_result) -> bool:
    for name in tuple(_databases):
        for end in _ENDS:
            try:
                if os.path.samestat(status, os.stat(name + end)):  # noqa: PTH116 - thrice as fast, for each file
                    return True
            except OSError:
                continue
    return False
