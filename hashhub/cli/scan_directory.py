"""The directory of `scan --out DIR`, held by one run.

    DIR/state.sqlite            each file's stamp and hashes; SQLite's lock holds it for one run
    DIR/results.partial.jsonl   the answers of the run under way, or of one that was cut short
    DIR/results.jsonl           the answers of the last complete run
    DIR/report.html             the same for people

It belongs to one user and nobody else can write into it, since whoever could would decide what is looked up.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeAlias

from hashhub.errors import InvalidArgument
from hashhub.model import Effort
from hashhub.scans.engine import ScanMemory
from hashhub.writing import put

if TYPE_CHECKING:
    from hashhub.hashing import MediaHashes

    FileHashes: TypeAlias = tuple[Effort, MediaHashes, MediaHashes | None]
    """Of effort PLAIN or STANDARD, of which the first is said, and those of effort THOROUGH, if they were wanted."""

STATE: Final = "state.sqlite"
RESULTS: Final = "results.jsonl"
PARTIAL: Final = "results.partial.jsonl"
REPORT: Final = "report.html"
_OWN: Final = frozenset({STATE, f"{STATE}-wal", f"{STATE}-shm", f"{STATE}-journal", RESULTS, PARTIAL, REPORT})


@contextmanager
def scan_directory(directory: Path) -> Iterator[ScanMemory[FileHashes]]:
    """Hold the directory for one run, make it if need be, and open its memory.

    Raises:
        InvalidArgument: the directory or a file of it belongs to somebody else, or others can write there.
        Conflict: another run holds it.
        HashHubError: the memory cannot be used.
    """
    from hashhub.hashing import MediaHashes
    from hashhub.hashing.coverage import software

    _check_directory(directory)
    for name in (STATE, RESULTS, REPORT):  # before hours of hashing
        with suppress(FileNotFoundError):
            _check_own(name, (directory / name).lstat())
    kind = tuple[Effort, MediaHashes, MediaHashes | None]
    memory: ScanMemory[FileHashes] = ScanMemory(directory / STATE, kind, hashed_by=software(), is_shared=False)
    with memory:
        yield memory


@contextmanager
def partial_results(directory: Path) -> Iterator[IO[str]]:
    """Write results, in ASCII, which take the place of those of the last run when the block ends without an error."""
    partial = directory / PARTIAL
    try:
        partial.unlink(missing_ok=True)
        file = partial.open("x", encoding="ascii")
    except OSError as e:
        raise _unusable(f"has a file {PARTIAL} that cannot be used ({e.strerror}); name another directory") from e
    with file:
        partial.chmod(0o600)
        yield file
        file.flush()
        os.fsync(file.fileno())
    put(partial, directory / RESULTS)


def _check_directory(directory: Path) -> None:
    try:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=True)
        status = directory.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise _unusable("is not a directory")
        if status.st_uid != os.geteuid():
            raise _unusable(f"belongs to another user (uid {status.st_uid}); name one of your own")
        strangers = [name for name in os.listdir(directory) if name not in _OWN]  # noqa: PTH208
        if strangers and not (directory / STATE).exists():
            raise _unusable("holds other files than those of a scan; name an empty or a new one")
        if stat.S_IMODE(status.st_mode) & 0o077:
            if status.st_mode & 0o022:
                raise _unusable("can be written by others; take their access away (chmod 700), or name another one")
            directory.chmod(0o700)
    except (OSError, ValueError) as e:
        cause = e.strerror if isinstance(e, OSError) and e.strerror else type(e).__name__
        raise _unusable(f"cannot be used: {cause}") from e


def _check_own(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
        raise _unusable(f"has a file {name} that is somebody else's, or is also elsewhere; name another directory")


def _unusable(what: str) -> InvalidArgument:
    return InvalidArgument.field("out", what, "NOT_ALLOWED")
