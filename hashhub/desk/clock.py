"""Guards scheduled erasure against a wrong system clock, since what was erased does not come back.

Uptime proves time that passes while the machine runs; a clock that is days ahead of that is doubted, and nothing is
erased until the machine has run for a day or a person confirms the time. A clock that goes back by days is an event, by
which `Times` tells how late a recorded time may truly be.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from hashhub.model import now

if TYPE_CHECKING:
    from hashhub.desk.records import Records

_LOG: Final = logging.getLogger("hashhub.hook")
AHEAD: Final = timedelta(days=1)
"""What is on record with a time that is still further ahead was put there by a clock that was wrong."""
_MOST_AHEAD: Final = timedelta(days=2).total_seconds()  # a machine is off for a night, or a day
_MARGIN: Final = timedelta(days=1)  # nobody looks at the clock for longer while the hook runs
_GRACE: Final = timedelta(days=1).total_seconds()
_MOST_EXPLAINED: Final = timedelta(days=31).total_seconds()  # the uptime may be another machine's
_UNSET: Final = datetime(2025, 1, 1, tzinfo=UTC)  # a machine without a clock of its own starts in 1970, 2000 or so
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class ClockReading(msgspec.Struct, frozen=True):
    """What the clock said, the machine's uptime in seconds and which start that was (empty: not known). `doubted`:
    seconds that the machine ran since the clock was doubted; None: it is believed.
    """

    time: datetime
    uptime: float
    boot: str
    doubted: float | None = None


def after(last: ClockReading, new: ClockReading) -> ClockReading:
    """Return the new reading with whether the clock is doubted; `last` again where the clock is not set yet."""
    if new.time < _UNSET:
        return last
    passed = (new.time - last.time).total_seconds()
    is_one_start = last.boot == new.boot and new.uptime >= last.uptime
    ran = new.uptime - last.uptime if is_one_start else new.uptime  # since then, at least
    proven = ran if is_one_start and new.boot else 0.0
    doubted = last.doubted
    # Once somebody was told of a doubt, an uptime explains as much: where the start is unknown, or not the last one's.
    explained = proven if doubted is None else max(proven, min(ran, _MOST_EXPLAINED))
    if passed - explained > _MOST_AHEAD:
        doubted = 0.0
    elif doubted is not None:
        doubted += proven or max(0.0, min(passed, ran))
        if doubted >= _GRACE:
            doubted = None
    return msgspec.structs.replace(new, doubted=doubted)


def is_believed(records: Records) -> bool:
    """Look at the clock, and return whether what is due by it may be erased. What changes is an event."""
    with records.transaction():
        last = _last(records)
        new = after(last, _look())
        _write(records, new)
        if new is not last and _was_unset(records):
            text = "the clock has been set; what stands before this is by one that had not been"
            records.note("clock.set", "clock", text)
        days = (new.time - last.time).days
        ran = max(0.0, new.uptime - last.uptime) if last.boot == new.boot else 0.0
        seen: dict[str, Any] = {"last_time": last.time.isoformat(), "ran": round(ran)}
        if new.doubted == 0.0 and days > 0:
            text = f"it is {days} days ahead of when it was last looked at; was it set, or the machine off?"
            records.note("clock.doubted", "clock", text, **seen)
        elif (new.time - last.time).total_seconds() - ran < -_MOST_AHEAD:
            records.note("clock.set_back", "clock", "it is days behind of when it was last looked at", **seen)
        elif last.doubted is not None and new.doubted is None:
            records.note("clock.believed", "clock", "the machine ran for a day by it")
    if new.doubted is not None:
        _LOG.warning(
            "nothing is erased: the clock went ahead by days. It is believed after %.1f more hours of running; if it "
            "is right: hashhub hook vault sweep --clock-is-right",
            (_GRACE - new.doubted) / 3600,
        )
    return new.doubted is None


def believe(records: Records, *, actor: str) -> None:
    """Put on record that a person says that the clock is right."""
    with records.transaction():
        _write(records, _look())
        records.note("clock.believed", "clock", "a person says that it is right", actor=actor)


class _ClockError(NamedTuple):
    """While the clock was behind, it said times from `begin` to `end`; when it was set forward, `right`."""

    begin: datetime
    end: datetime
    right: datetime


class Times:
    """Bounds recorded times that a wrong clock may have stamped: the latest that each may truly be."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._behind = _times_behind(records)

    def latest(self, at: datetime, subject: str) -> datetime:
        """Return the latest that a time may truly be. `subject`: of the event of which it is the time."""
        if at < _UNSET:
            return self._first_known(subject)
        return max([at, *(behind.right for behind in self._behind if behind.begin <= at <= behind.end)])

    def _first_known(self, subject: str) -> datetime:
        """Return the first time on record after those of a clock that had not been set."""
        rows = self._records.rows(
            "SELECT time FROM event WHERE time >= :unset AND number > "
            "(SELECT coalesce(max(number), 0) FROM event WHERE subject = :subject AND time < :unset) "
            "ORDER BY number LIMIT 1",
            {"unset": _UNSET.isoformat(), "subject": subject},
        )
        return datetime.fromisoformat(rows[0][0]) if rows else now()


def _times_behind(records: Records) -> list[_ClockError]:
    times: list[_ClockError] = []
    begin = end = before = mistake = None
    most_ahead = timedelta(seconds=_MOST_AHEAD)
    for kind, text, details in records.rows(
        "SELECT kind, time, details FROM event WHERE subject = 'clock' ORDER BY number"
    ):
        if kind == "clock.believed":
            mistake = None
        if kind not in {"clock.set_back", "clock.doubted"}:
            continue
        at, said = datetime.fromisoformat(text), msgspec.json.decode(details)
        last = datetime.fromisoformat(said["last_time"])
        margin = max(_MARGIN, timedelta(seconds=said.get("ran", 0)))
        end = last + margin if end is None else max(end, last + margin)
        if kind == "clock.doubted" and begin is not None and before is not None:
            times.append(_ClockError(begin, end, at))
            if at >= before - most_ahead:
                begin = end = before = None
        elif kind == "clock.doubted":
            mistake, end = last, None
        elif begin is None and mistake is not None and at >= mistake - most_ahead:
            mistake = end = None  # it had been set forward by mistake, and is as before
        elif begin is None:
            begin, end, before = at - margin, at, last
        else:
            begin = min(begin, at - margin)
    return times


def _look() -> ClockReading:
    try:
        boot = _BOOT.read_text("ascii").strip()
    except OSError:
        boot = ""
    return ClockReading(time=now(), uptime=time.clock_gettime(time.CLOCK_BOOTTIME), boot=boot)


def _was_unset(records: Records) -> bool:
    """Return whether the last event has a time that cannot be."""
    rows = records.rows("SELECT time FROM event ORDER BY number DESC LIMIT 1")
    return bool(rows) and datetime.fromisoformat(rows[0][0]) < _UNSET


def _last(records: Records) -> ClockReading:
    if readings := records.structs(ClockReading, "SELECT time, uptime, boot, doubted FROM clock"):
        return readings[0]
    events = records.rows("SELECT time FROM event ORDER BY number DESC LIMIT 1")
    return ClockReading(datetime.fromisoformat(events[0][0]) if events else now(), 0.0, "")


def _write(records: Records, look: ClockReading) -> None:
    records.write(
        "INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?)",
        (look.time.isoformat(), look.uptime, look.boot, look.doubted),
    )
