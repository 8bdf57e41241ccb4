"""A hub's record examined from outside, without serving it: whether its history is whole, and holds what somebody saw
of it before.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import DataLoss, InvalidArgument
from hashhub.model import SYSTEM
from hashhub.store import Position, Store

if TYPE_CHECKING:
    from hashhub.config import Config

_HEAD: Final = re.compile(r"([0-9]{1,19}):([0-9a-f]{64})", re.IGNORECASE)


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `head`: `REVISION:SHA256` of the history as it is, empty when it is broken."""

    is_sound: bool
    head: str
    lines: tuple[str, ...]


def head_text(position: Position) -> str:
    """Return the head of a history as people and commands write it."""
    return f"{position.revision}:{position.digest.hex()}"


def examine(config: Config, *, head: str | None = None, mend: str = "") -> Examination:
    """Verify the history of the database that the configuration names. `head`: it must have been there once.

    `mend`: begin the chain anew behind a break, for this reason. Raises NotFound or FailedPrecondition when there is no
    database.
    """
    expected = None
    if head is not None:
        parts = _HEAD.fullmatch(head.strip())
        if parts is None:
            raise InvalidArgument.field(
                "head", "must be REVISION:SHA256, the digest in 64 hexadecimal digits", "PATTERN"
            )
        expected = Position(int(parts[1]), bytes.fromhex(parts[2]))
    store = Store.open(config.database_url() or Path(config.data), create=False)
    try:
        lines: list[str] = []
        began = time.monotonic()
        try:
            position = store.history.verify_history(store.database_id)
        except DataLoss as e:
            lines.append(e.message)
            if not mend:
                lines.append("if no backup is left and the cause is known: hashhub doctor --mend --comment TEXT")
                return Examination(is_sound=False, head="", lines=tuple(lines))
            store.history.mend_history(by=SYSTEM, reason=mend)
            position = store.history.verify_history(store.database_id)
            lines.append(f"the chain begins anew at revision {position.revision}; the break stays on record")
        lines.append(f"the history is whole: {position.revision} revisions, read in {time.monotonic() - began:.1f} s")
        lines.append(f"head {head_text(position)}")
        is_sound = True
        if expected is not None:
            is_sound, line = _compared(store, expected, position)
            lines.append(line)
        return Examination(is_sound=is_sound, head=head_text(position), lines=tuple(lines))
    finally:
        store.close()


def _compared(store: Store, expected: Position, end: Position) -> tuple[bool, str]:
    """Return whether the history contains a head, and say so.

    That its digest stands there is not enough: a mended break may lie before.
    """
    head = head_text(expected)
    if expected.revision > end.revision or not store.history.has_been_at(expected):
        return (
            False,
            f"it does NOT contain the head {head}: it was rewritten since, or a backup made before was restored",
        )
    try:
        store.history.verify_history(store.database_id, expected)
    except DataLoss as e:
        return False, f"the head {head} stands in it, but the history does not lead to it ({e.message})"
    return True, f"it contains the head {head}"
