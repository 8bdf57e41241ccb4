"""`hashhub audit …`: what holds without anybody's word, by files, public keys and a policy alone."""

from __future__ import annotations

import urllib.request
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.parse import quote

import click
import msgspec

from hashhub.addresses import WEB_URL
from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, command
from hashhub.cli.terminal import clean, minute
from hashhub.errors import DataLoss, InvalidArgument, Reason, Unavailable
from hashhub.local_files import make_directory, named_file, written
from hashhub.model import EventBody
from hashhub.tlog.checkpoint import Checkpoint, parse_checkpoint
from hashhub.tlog.note import MAX_NOTE
from hashhub.tlog.policy import LogPolicy, parse_policy
from hashhub.tlog.proof import PROOF_SUFFIX, parse_log_proof
from hashhub.tlog.tree import Tile, consistency_proof, entry_of, verify_consistency

_SALT_BYTES: Final = 32
_SECONDS: Final = 30.0
_NOT_FOUND: Final = 404


class _Verified(msgspec.Struct, frozen=True):
    """A receipt that holds: what happened, in which log, and who cosigned that when."""

    file: str
    event: dict[str, object]
    log: str
    index: int
    size: int
    witnessed: dict[str, datetime]


@main.group("audit", cls=CommandGroup)
def audit() -> None:
    """Audit: verify what a hub or somebody else shows, without asking any hub."""


@command(audit, "verify", local=True)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--policy", required=True, metavar="POLICY", help="Which logs and witnesses are believed: a tlog-policy.")
def verify(session: Session, *, files: tuple[str, ...], policy: str) -> None:
    """Verify receipts, and print what happened.

    FILE is what `hashhub log proof` writes: an event, and before it the salt that hides it in the log. FILE.tlog-proof,
    beside it, proves that it is there.
    """
    trusted = parse_policy(named_file("policy", policy))
    session.show(
        [_verified(file, trusted) for file in files],
        ("file", "time", "what", "about", "who", "why", "log", "witnessed"),
        lambda row: (
            row.file,
            minute(_time(int(str(row.event["time"])) / 1000)),
            *(clean(str(row.event[name] or "-")) for name in ("kind", "subject", "actor", "reason")),
            f"{row.log} {row.index}",
            ", ".join(f"{name} {minute(time)}" for name, time in row.witnessed.items()) or "-",
        ),
    )


def _verified(file: str, trusted: LogPolicy) -> _Verified:
    content = named_file("file", file)
    salt, body = content[:_SALT_BYTES], content[_SALT_BYTES:]
    proof = parse_log_proof(named_file("file", f"{file}{PROOF_SUFFIX}"))
    believed = proof.verify(entry_of(salt, body), trusted)
    try:
        event = msgspec.structs.asdict(msgspec.json.decode(body, type=EventBody))
    except msgspec.DecodeError as e:
        raise InvalidArgument.field("file", f"{file!r} is in the log, and is no event of hashhub's") from e
    witnessed = {name: _time(seconds) for name, seconds in believed.witnessed.items()}
    return _Verified(file, event, believed.checkpoint.origin, proof.index, believed.checkpoint.size, witnessed)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@command(audit, "log", local=True)
@click.argument("url", metavar="URL")
@click.option("--policy", required=True, metavar="POLICY", help="Which logs and witnesses are believed: a tlog-policy.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default="hashhub-audit",
    show_default=True,
    metavar="DIR",
    help="Where the newest checkpoint of each log is kept.",
)
def audit_log(session: Session, *, url: str, policy: str, directory: Path) -> None:
    """Fetch a log's checkpoint, and verify that the log contains the one that was fetched before.

    URL is where a hub serves its log: https://HOST/log. Run it every day. If the log contradicts itself, both
    checkpoints are kept: they prove it to everybody.
    """
    if not WEB_URL.fullmatch(url):
        raise InvalidArgument.field("url", f"must be https, or http on this machine; got {url[:80]!r}", "URL")
    url = url.rstrip("/")
    content = _fetched(f"{url}/checkpoint")
    believed = parse_policy(named_file("policy", policy)).believe(content)
    make_directory(directory, field="dir")
    file = directory / f"{quote(believed.checkpoint.origin, safe='')}.checkpoint"
    before = 0
    if file.exists():
        kept, _ = parse_checkpoint(file.read_bytes())
        before = kept.size
        try:
            _compare(url, *sorted((kept, believed.checkpoint), key=lambda checkpoint: checkpoint.size))
        except DataLoss:
            other = file.with_suffix(f".{believed.checkpoint.size}-{believed.checkpoint.root.hex()[:16]}")
            with written(other, replace=True, field="dir") as target:
                target.write(content)
            raise
    if before <= believed.checkpoint.size:
        with written(file, replace=True, field="dir") as target:
            target.write(content)
    name, size = believed.checkpoint.origin, believed.checkpoint.size
    told = f"{clean(name)}: {size} entries, {min(size, before)} of them as before"
    session.answer({"log": name, "size": size, "before": before}, told)


def _compare(url: str, old: Checkpoint, new: Checkpoint) -> None:
    """Raise DataLoss unless the log serves what leads from one checkpoint to the other."""

    def read(tiles: Collection[Tile]) -> dict[Tile, bytes]:
        return {tile: _fetched(f"{url}/tile/{tile.path(tile.width(new.size))}") for tile in tiles}

    verify_consistency(old.size, old.root, new.size, new.root, consistency_proof(old.size, new.size, read))


def _fetched(url: str) -> bytes:
    """Return what stands at a URL. Raises Unavailable; DataLoss where the log has no such thing."""
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - its scheme was looked at
            content: bytes = answer.read(MAX_NOTE)
    except HTTPError as e:
        with suppress(OSError):
            e.close()
        if e.code == _NOT_FOUND:
            raise DataLoss(
                f"the log does not have {url} any more, which its checkpoint says that it has: it was rolled back, or "
                "a backup was restored; keep both checkpoints, and ask who operates it",
                reason=Reason.LOG_INCONSISTENT,
            ) from e
        raise Unavailable(f"{url} answers with the status {e.code}; ask who operates it") from e
    except OSError as e:
        raise Unavailable(f"{url} cannot be read: {e}; check the address, or try again later") from e
    return content
