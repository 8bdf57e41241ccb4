"""By when something is due after a complaint: the rules that name a time, and where a case stands with each."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.desk.clock import Times
from hashhub.errors import InvalidArgument
from hashhub.model import now

if TYPE_CHECKING:
    from hashhub.desk.records import Records

_SKEW: Final = timedelta(minutes=1)  # of the clock that stamped the complaint
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)  # that a complaint may have come


class CasePurpose(StrEnum):
    """What the complaint says that the item is."""

    CSAM = "CSAM"
    INTIMATE_IMAGE = "INTIMATE_IMAGE"
    OTHER = "OTHER"


class ClockState(StrEnum):
    """Where a clock stands. NO_NUMBER: the rule names no time that could be counted. UNPROVEN: what it asks for was
    done, but when is known only by a clock that was behind, so that it may have been too late.
    """

    RUNNING = "RUNNING"
    OVERDUE = "OVERDUE"
    UNPROVEN = "UNPROVEN"
    MET = "MET"
    NO_NUMBER = "NO_NUMBER"
    ENDED = "ENDED"


class DeadlineRule(msgspec.Struct, frozen=True, kw_only=True):
    """By when something is due, and where that is written. `hours`: None where the source names no number."""

    name: str
    title: str
    starts: str
    purposes: tuple[CasePurpose, ...]
    text: str
    source: str
    hours: int | None = None


class Deadline(msgspec.Struct, frozen=True, kw_only=True):
    """One rule's time for one case. `due` is None for a rule without a number of hours."""

    rule: str
    title: str
    due: datetime | None
    standing: ClockState
    source: str
    note: str = "for legal review: whether the rule applies to you is not decided here"


@cache
def rules() -> dict[str, DeadlineRule]:
    """Return the rules by their ids."""
    table = tomllib.loads(files("hashhub.desk").joinpath("data/case_rules.toml").read_text("utf-8"))
    return {name: msgspec.convert({"name": name, **fields}, DeadlineRule) for name, fields in table["rules"].items()}


def clocks_of(
    names: Sequence[str], records: Records, *, case: str, receive_time: datetime, done: datetime | None, is_ended: bool
) -> tuple[Deadline, ...]:
    """Return where a case stands with each of these rules. `done`: when the last thing was done that it asks for; None
    while something is missing. `is_ended`: it was closed, and not upheld.
    """
    clocks = []
    for name in names:
        rule = rules()[name]
        due = receive_time + timedelta(hours=rule.hours) if rule.hours is not None else None
        if is_ended:
            standing = ClockState.ENDED
        elif due is None:
            standing = ClockState.NO_NUMBER
        elif done is not None and done > due:
            standing = ClockState.OVERDUE
        elif done is not None:
            # In time whatever the clock says: not before there was anything to do, nor by a clock that was behind.
            is_proven = done >= receive_time and Times(records).latest(done, case) <= due
            standing = ClockState.MET if is_proven else ClockState.UNPROVEN
        else:
            standing = ClockState.RUNNING if now() <= due else ClockState.OVERDUE
        clocks.append(Deadline(rule=name, title=rule.title, due=due, standing=standing, source=rule.source))
    return tuple(clocks)


def check_receive_time(receive_time: datetime, at: datetime) -> None:
    """Raise InvalidArgument for a complaint of the future, one of long ago, and one whose time has no time zone."""
    if receive_time.tzinfo is None:
        raise InvalidArgument.field("received", "must have a time zone, such as 2027-01-31T12:00:00Z")
    if receive_time < _EARLIEST:
        raise InvalidArgument.field("received", "is too long ago to be when a complaint came; check the year")
    if receive_time > at + _SKEW:
        raise InvalidArgument.field(
            "received",
            f"lies in the future by this machine's clock, which says {in_utc(at)}; give the time at which the "
            "complaint came, or set the clock",
        )


def check_rules(names: Sequence[str], purpose: CasePurpose) -> None:
    """Raise InvalidArgument unless these are rules about such cases, one at least."""
    for name in names:
        rule = rules().get(name)
        if rule is None:
            raise InvalidArgument.field("rule", f"must be one of {', '.join(rules())}, got {name[:40]!r}")
        if purpose not in rule.purposes:
            raise InvalidArgument.field("rule", f"{name} is not about cases of purpose {purpose.lower()}")
    if not names:
        raise InvalidArgument.field("rule", "name at least one, so that there is a clock")


def in_utc(time: datetime) -> str:
    """Return a time as people read it."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
