"""Files that commands write where somebody says: whole or not at all, and nothing but a regular file is replaced.

at the path, or where a link there leads    what becomes of it
nothing                                     a new file, by its name once it is whole
a regular file                              refused, or replaced once all is written
a device, a pipe                            written to as it comes
a directory, a socket; a link to nothing    refused
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, TextIO, TypeAlias, cast

from hashhub.errors import AlreadyExists, HashHubError, InvalidArgument, LimitExceeded, Reason

OUT: Final = "out"
TAKEN: Final = "name another file, or replace it with --force"
_BLOCK: Final = 1 << 20
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
            target = os.fdopen(os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC), "wb")
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
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
        named = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)
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
