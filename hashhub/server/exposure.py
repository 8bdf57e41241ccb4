"""What others could reach of a hub: the addresses that it listens on, and its data directory."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hashhub.addresses import is_loopback_host, parse_address
from hashhub.errors import FailedPrecondition, InvalidArgument, Reason, Unavailable
from hashhub.local_files import lock_file, read_file

if TYPE_CHECKING:
    from hashhub.config import Config


def check_exposure(config: Config) -> None:
    """Raise InvalidArgument if other machines could reach a listener in clear text and nobody said so."""
    for field, address, secured in (
        ("listen", config.listen, bool(config.tls_certificate)),
        ("http", config.http, False),
        ("console", config.console, bool(config.tls_certificate)),
    ):
        if not address or secured or config.insecure_listen or is_loopback_host(parse_address(field, address)[0]):
            continue
        remedy = (
            "set tls_certificate and tls_key"
            if field != "http"
            else "keep it on 127.0.0.1 (it speaks no TLS of its own), or leave it out"
        )
        raise InvalidArgument.field(
            field,
            f"{address} is reachable from other machines, and tokens and hashes would cross the network in clear text: "
            f"{remedy}; "
            "or, if a proxy in front ends TLS, say so with insecure_listen",
            "INSECURE",
        )


_log = logging.getLogger("hashhub.server")

_FILE: Final = "hashhub.lock"
_SNAPSHOTS: Final = "matcher"  # the only directory in a data directory
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@contextmanager
def lock_data(directory: str | Path) -> Iterator[None]:
    """Hold the data directory for this process and its children until the block ends or the process dies.

    It is made if need be. Other users' access to it and its files is taken away, and logged. Raises FailedPrecondition:
    DATA_IN_USE when another server holds it, DATA_EXPOSED when others can read it and that cannot be changed or might
    be meant; Unavailable when it cannot be written.
    """
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep_from_others(Path(directory).resolve())
        file = lock_file(path := Path(directory) / _FILE)
    except OSError as e:
        raise Unavailable(
            "the data directory cannot be written; check its permissions and disk", reason=Reason.DATABASE_UNAVAILABLE
        ) from e
    if file is None:
        owner = read_file(path)[:32].decode("ascii", "replace").strip()
        raise FailedPrecondition(
            f"another hashhub server (process {owner or 'unknown'}) uses this data directory: "
            "stop it, or start this one with another --data",
            reason=Reason.DATA_IN_USE,
        )
    with file:
        with suppress(OSError):  # on a full disk the lock holds as well, only without saying whose it is
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        yield


def _keep_from_others(directory: Path) -> None:
    """Take other users' access to the directory and its files away, or raise FailedPrecondition (DATA_EXPOSED)."""
    status = directory.stat()
    if status.st_uid != os.geteuid():
        # Its owner can read it, and can undo whatever is done to its mode.
        raise _exposed(f"belongs to another user (uid {status.st_uid}); change its owner, or name another directory")
    names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in os.scandir(directory)}
    is_shared = _FILE not in names and any(is_dir for name, is_dir in names.items() if name != _SNAPSHOTS)  # a home
    if status.st_mode & _OTHERS and (status.st_mode & stat.S_ISVTX or is_shared):
        raise _exposed(
            "seems to hold other things than a hub's, so its mode is left alone; name a directory of its own, or, if "
            "it is one, run `chmod 700` on it"
        )
    # The directory first: from then on nobody else can put anything into it.
    closed = [path for path in (directory, *_files(directory)) if _close(path)]
    if directory in closed:
        _log.warning(
            "other users could read the data directory (mode %o); it and %d of its files are now for its owner only",
            stat.S_IMODE(status.st_mode),
            len(closed) - 1,
        )
    elif closed:
        _log.warning("other users had access to %d files of the data directory; now its owner alone has", len(closed))


def _files(directory: Path) -> Iterator[Path]:
    """Return the database, the tokens and whatever else lies in the directory, and the snapshots; no symbolic link."""
    yield from (Path(entry) for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False))
    for path, _, names in os.walk(directory / _SNAPSHOTS):
        yield Path(path)
        yield from (Path(path, name) for name in names)


def _close(path: Path) -> bool:
    """Take others' access to a file or directory away; return whether they had any."""
    try:
        # By a descriptor, so that the file that is looked at is the one that is changed.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False  # a symbolic link, one that has gone meanwhile, or one that nobody can read
    try:
        mode = stat.S_IMODE(os.fstat(file).st_mode)
        if not mode & _OTHERS:
            return False
        os.fchmod(file, mode & ~_OTHERS)
        if os.fstat(file).st_mode & _OTHERS:  # on a file system without modes, such as FAT
            raise _exposed("is on a file system without permissions; name a directory on another one")
    except PermissionError as e:
        raise _exposed(
            f"holds {path.name}, which belongs to another user and is open to others; change its owner"
        ) from e
    finally:
        os.close(file)
    return True


def _exposed(what: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"other users of this machine can read the data directory: it {what}",
        reason=Reason.DATA_EXPOSED,
    )
