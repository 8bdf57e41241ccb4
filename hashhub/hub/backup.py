"""A backup of a hub, on its own machine: everything that a new data directory needs, in one directory.

    BACKUP/
      manifest.json     what it is of: when, by which hashhub, revision and head, and each file with its SHA-256
      hashhub.db        the database, or hashhub.dump for PostgreSQL
      withdrawals.log   what was withdrawn, so that a restore withdraws it again
      settings.toml     the settings in force, without passwords; policies/ and schemes/ as they were

The hub's own secret and hashes of tokens are in it; no token, no certificate's key and no password is.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from hashhub import __version__
from hashhub.config import Config
from hashhub.errors import DataLoss, FailedPrecondition, InvalidArgument, LimitExceeded, NotFound, Reason, Unavailable
from hashhub.hub.history import head_text
from hashhub.hub.withdrawal_log import FILE_NAME as WITHDRAWALS
from hashhub.local_files import sync, written
from hashhub.model import now
from hashhub.store import database_copy

MANIFEST: Final = "manifest.json"
SETTINGS: Final = "settings.toml"
LAST: Final = "last-backup.json"  # in the data directory: the manifest of the last one
_FORMAT: Final = 1
_BLOCK: Final = 1 << 20
_NOT_IN_IT: Final = (
    "operator.token and every other token: only hashes of them are in the database",
    "the certificate's key and the file with the database's password: settings.toml says where they are",
    "session.key, with which sessions begin: people log in anew, and a new key is made",
    "log.key and log.checkpoint: once a checkpoint was signed, restore begins with a new log (hashhub log begin)",
    "snapshots of the matcher: a start makes them anew",
    "where readers of the feed were that keep a time: they are told everything again",
)
_SECRET: Final = (
    "every entry and digest of the hub",
    "the hub's own secret, which signs feed positions and keys the traces of withdrawn items",
    "hashes of the tokens",
)

OnProgress = Callable[[str, int, int], None]
"""Is told what is done, how many bytes of it are, and of how many; 0 where that is not known."""


class BackupFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a backup."""

    name: str
    size_bytes: int
    sha256: str


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is. `database`: SQLITE or POSTGRESQL. `head`: REVISION:SHA256 of its history, as
    `hashhub doctor --head` takes it. `holds` says what of it must stay secret, `lacks` what is not in it.
    """

    format: int
    create_time: datetime
    hashhub_version: str
    database: str
    database_id: str
    revision: int
    head: str
    schema_version: str
    files: tuple[BackupFile, ...]
    holds: tuple[str, ...]
    lacks: tuple[str, ...]


def back_up(config: Config, target: Path, progress: OnProgress) -> BackupManifest:
    """Write a backup of the configured hub, which may run, to `target`, where nothing stands before all is on the disk.
    Raises FailedPrecondition when `target` exists, there is no hub, or a program is missing; LimitExceeded.
    """
    if target.exists() or target.is_symlink():
        raise FailedPrecondition(
            f"{str(target)!r} exists, and a backup never replaces anything: name another directory"
        )
    database = config.database_url() or Path(config.data)
    aside = target.with_name(f"{target.name}.unfinished-{secrets.token_hex(4)}")
    with _filesystem("the backup cannot be written"):
        aside.mkdir(mode=0o700, parents=True)
        try:
            copied = database_copy.copy_out(database, aside, lambda done, total: progress("database", done, total))
            # After the database: what was withdrawn meanwhile may stand in it, and is withdrawn again at a restore.
            _copy_lines(Path(config.data) / WITHDRAWALS, aside / WITHDRAWALS)
            for name, directory in (("policies", config.policies), ("schemes", config.schemes)):
                if directory:
                    _copy_tables(Path(directory), aside / name)
            (aside / SETTINGS).write_text(_settings(config), "utf-8")
            manifest = BackupManifest(
                format=_FORMAT,
                create_time=now(),
                hashhub_version=__version__,
                database=database_copy.kind_of(database),
                database_id=copied.database_id,
                revision=copied.position.revision,
                head=head_text(copied.position),
                schema_version=copied.schema_version,
                files=tuple(_files(aside, progress)),
                holds=_SECRET,
                lacks=_NOT_IN_IT,
            )
            (aside / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
            for path in (*_paths(aside), aside / MANIFEST):
                path.chmod(0o600)
                sync(path)
            sync(aside)
            _publish(aside, target)
            with (
                suppress(OSError, LimitExceeded, InvalidArgument),
                written(Path(config.data) / LAST, replace=True) as last,
            ):
                last.write(msgspec.json.encode(manifest))
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return manifest


def last_backup(data: Path, database_id: str) -> BackupManifest | None:
    """Return what the last backup of this database is, as far as the data directory knows."""
    try:
        manifest = msgspec.json.decode((data / LAST).read_bytes(), type=BackupManifest)
    except (OSError, msgspec.MsgspecError):
        return None
    return manifest if manifest.database_id == database_id else None


def verify(directory: Path, progress: OnProgress) -> BackupManifest:
    """Return the manifest of a backup after checking all of it. Raises NotFound; DataLoss that says what is wrong."""
    with _filesystem("the backup cannot be read"):
        manifest = _manifest(directory)
        told = {f.name: f for f in manifest.files}
        there = {path.relative_to(directory).as_posix() for path in _paths(directory)}
        if lacking := sorted(told.keys() - there):
            raise DataLoss(f"the backup lacks {', '.join(lacking)}: take another one")
        if strange := sorted(there - told.keys()):
            raise DataLoss(f"these files are not of the backup: {', '.join(strange)}; move them elsewhere")
        for one in _files(directory, progress):
            if one != told[one.name]:
                raise DataLoss(f"{one.name} is not what was written: it was damaged or changed; take another backup")
        copied = database_copy.examine_copy(directory)
        if copied is not None and head_text(copied.position) != manifest.head:
            raise DataLoss("the database is not at the head that the manifest tells; take another backup")
    return manifest


def restore(directory: Path, config: Config, withdrawals: Path | None, progress: OnProgress) -> BackupManifest:
    """Write a verified backup to the data directory, and the empty database, that the configuration names.

    `withdrawals`: a newer withdrawals.log of the lost hub; one in the data directory counts as well. The first start
    withdraws again what they say. Raises FailedPrecondition when there is a database; as `verify` besides.
    """
    if withdrawals is not None and not withdrawals.is_file():
        raise NotFound(f"there is no file {str(withdrawals)!r}; --withdrawals names a saved {WITHDRAWALS}")
    manifest = verify(directory, progress)
    data = Path(config.data)
    with _filesystem("the data directory cannot be written"):
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        newer = [path for path in (withdrawals, data / WITHDRAWALS) if path is not None and path.exists()]
        lines = _merged([directory / WITHDRAWALS, *newer])
        # Before the database: a start that finds it without them would let through what was withdrawn.
        with written(data / WITHDRAWALS, replace=True) as log:
            log.write(lines)
        database_copy.bring_back(
            directory, config.database_url() or data, lambda done, total: progress("database", done, total)
        )
        sync(data)
    return manifest


def _manifest(directory: Path) -> BackupManifest:
    try:
        text = (directory / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as e:
        raise NotFound(f"there is no backup in {str(directory)!r}: it has no {MANIFEST}") from e
    try:
        manifest = msgspec.json.decode(text, type=BackupManifest)
    except msgspec.DecodeError as e:
        raise DataLoss(f"{MANIFEST} cannot be read: it was damaged or changed; take another backup") from e
    if manifest.format != _FORMAT:
        raise InvalidArgument(
            f"the backup has format {manifest.format}, this hashhub knows {_FORMAT}: use the one that wrote it "
            f"({manifest.hashhub_version}), or a newer one"
        )
    return manifest


def _paths(directory: Path) -> Iterator[Path]:
    """Yield the files of a backup but the manifest, in order."""
    for path in sorted(directory.rglob("*")):
        if not path.is_dir() and path != directory / MANIFEST:
            yield path


def _files(directory: Path, progress: OnProgress) -> Iterator[BackupFile]:
    paths = list(_paths(directory))
    for path in paths:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise DataLoss(f"{path.name} is no regular file; a backup has nothing else")
    total, done = sum(path.stat().st_size for path in paths), 0
    for path in paths:
        sha = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                sha.update(block)
                done += len(block)
                progress("checksums", done, total)
        yield BackupFile(
            name=path.relative_to(directory).as_posix(), size_bytes=path.stat().st_size, sha256=sha.hexdigest()
        )


def _copy_lines(source: Path, target: Path) -> None:
    """Copy the whole lines of a file that others append to; no file is an empty one."""
    text = source.read_bytes() if source.exists() else b""
    target.write_bytes(text[: text.rfind(b"\n") + 1])


def _copy_tables(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700)
    for path in sorted(source.glob("*.toml")):
        shutil.copyfile(path, target / path.name)


def _merged(logs: list[Path]) -> bytes:
    """Return the lines of all files, each once, in an order that is that of each of them as far as it can be."""
    lines: dict[bytes, None] = {}
    for path in logs:
        lines |= dict.fromkeys(line for line in path.read_bytes().split(b"\n") if line)
    return b"".join(line + b"\n" for line in lines)


def _settings(config: Config) -> str:
    """Return the settings that are not the default's as TOML, without a password."""
    values = {name: getattr(config, name) for name in Config.__struct_fields__}
    usual = Config()
    lines = [
        "# The settings in force at the backup, without passwords. docs/operate/config.md explains them.",
        *(
            f"{name} = {_toml(database_copy.without_password(value) if name == 'database' else value)}"
            for name, value in values.items()
            if value != getattr(usual, name)
        ),
    ]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A basic string, a truth value or a number is in TOML what it is in JSON."""
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def _publish(aside: Path, target: Path) -> None:
    """Give the finished directory its name. An empty directory made meanwhile is replaced."""
    try:
        aside.rename(target)
    except OSError as e:
        raise FailedPrecondition(f"{str(target)!r} was made by somebody else meanwhile: name another directory") from e
    sync(target.parent)


@contextmanager
def _filesystem(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise LimitExceeded(
                f"{what}: the disk is full; free some space", reason=Reason.DISK_FULL, retry_after=60.0
            ) from e
        raise Unavailable(f"{what} ({e.strerror or type(e).__name__}): check the path and its permissions") from e
