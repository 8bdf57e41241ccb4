"""Examine a hub's record from outside: whether its history is whole, and holds what was seen of it before."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import DataLoss, HashHubError, InvalidArgument
from hashhub.model import SYSTEM
from hashhub.store import ExaminationPlace, Position, Store
from hashhub.writing import written

if TYPE_CHECKING:
    from hashhub.config import Config

MOST: Final = 1_000_000  # entries, and digests: a look of half a minute
_PLACE: Final = "doctor.json"  # in the data directory: where the next look goes on
_TOLD: Final = 100
_HEAD: Final = re.compile(r"([0-9]{1,19}):([0-9a-f]{64})", re.IGNORECASE)


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `head`: `REVISION:SHA256` of the history as it is, empty when it is broken."""

    is_sound: bool
    head: str
    lines: tuple[str, ...]


def head_text(position: Position) -> str:
    """Return the head of a history as people and commands write it."""
    return f"{position.revision}:{position.digest.hex()}"


def examine(config: Config, *, head: str | None = None, mend: str = "", is_full: bool = False) -> Examination:
    """Verify the history of the configured database, and compare the rows that decide with it: MOST entries and digests
    from where the last look ended, or with `is_full` all. `head`: it must have been there once.

    `mend`: begin the chain anew behind a break, for this reason. Raises NotFound or FailedPrecondition without a
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
        if damage := store.damage(is_full=is_full):
            is_sound &= damage.startswith("warning")
            lines.append(damage)
        path = Path(config.data) / _PLACE
        try:
            place = ExaminationPlace() if is_full else msgspec.json.decode(path.read_bytes(), type=ExaminationPlace)
        except (OSError, msgspec.MsgspecError):
            place = ExaminationPlace()
        began, look = time.monotonic(), store.examining(place)
        # Of what stood in a broken part nothing is known any more: who mends it has looked at that.
        different = [] if mend else list(islice(look.differences(None if is_full else MOST), _TOLD + 1))
        lines += different[:_TOLD]
        lines.append(
            f"NOT as the history says: the {'first ' if different[_TOLD:] else ''}{len(different[:_TOLD])} above"
            if different
            else "the rows that decide are what the history says of them"
        )
        is_all = not (place.entry or look.place.entry or place.digest or look.place.digest)
        how = "all" if is_all else "the next look goes on behind these; --full compares all"
        lines.append(f"{look.entries} entries compared ({how}), in {time.monotonic() - began:.1f} s")
        if not different:
            with suppress(HashHubError), written(path, replace=True) as file:
                file.write(msgspec.json.encode(look.place))
        is_sound &= not different
        return Examination(is_sound=is_sound, head=head_text(position), lines=tuple(lines))
    finally:
        store.close()


def _compared(store: Store, expected: Position, end: Position) -> tuple[bool, str]:
    """Return whether the history contains a head, and say so. A mended break may lie before it."""
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
