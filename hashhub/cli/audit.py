"""`hashhub audit …`: what holds without anybody's word, by files, public keys and a policy alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click
import msgspec

from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, command
from hashhub.cli.terminal import clean, minute
from hashhub.errors import InvalidArgument
from hashhub.local_files import named_file
from hashhub.model import EventBody
from hashhub.tlog.policy import LogPolicy, parse_policy
from hashhub.tlog.proof import PROOF_SUFFIX, parse_log_proof
from hashhub.tlog.tree import entry_of

_SALT_BYTES: Final = 32


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
