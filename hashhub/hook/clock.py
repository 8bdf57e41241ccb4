"""Whether the machine's clock is believed, by which what is due is erased. A clock that is set forward by a year would
make all due that falls due within it, and what was erased does not come back.

Each look is put on record. Time that passed within one run of the machine is proven by its uptime; a clock that went
ahead by more than that, and by more than days, is doubted: it was set, or the machine was off. It is believed again
after a day of running, in which somebody can notice, or when a person says that it is right.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.hook.records import HOOK
from hashhub.model import now

if TYPE_CHECKING:
    from hashhub.hook.records import Records

_LOG: Final = logging.getLogger("hashhub.hook")
_MOST_AHEAD: Final = timedelta(days=2).total_seconds()  # a machine is off for a night, or a day
_GRACE: Final = timedelta(days=1).total_seconds()
_MOST_EXPLAINED: Final = timedelta(days=31).total_seconds()  # the uptime may be another machine's
_UNSET: Final = datetime(2025, 1, 1, tzinfo=UTC)  # a machine without a clock of its own starts in 1970, 2000 or so
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Look(msgspec.Struct, frozen=True):
    """What the clock said, seconds since the machine was started, and which start that was; empty: not known.

    `doubted`: seconds that the machine ran since the clock was doubted; None: it is believed.
    """

    time: datetime
    uptime: float
    boot: str
    doubted: float | None = None


def after(last: Look, new: Look) -> Look:
    """Return the new look with whether the clock is doubted, by the one before; the one before again where the clock
    has not been set yet.
    """
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
        days = (new.time - last.time).days
        if new.doubted == 0.0 and days > 0:
            records.note(
                actor=HOOK,
                kind="clock.doubted",
                subject="clock",
                reason=f"it is {days} days ahead of when it was last looked at; was it set, or the machine off?",
                last_time=last.time.isoformat(),
            )
        elif last.doubted is not None and new.doubted is None:
            records.note(actor=HOOK, kind="clock.believed", subject="clock", reason="the machine ran for a day by it")
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
        records.note(actor=actor, kind="clock.believed", subject="clock", reason="a person says that it is right")


def _look() -> Look:
    try:
        boot = _BOOT.read_text("ascii").strip()
    except OSError:
        boot = ""
    return Look(time=now(), uptime=time.clock_gettime(time.CLOCK_BOOTTIME), boot=boot)


def _last(records: Records) -> Look:
    rows = records.rows("SELECT time, uptime, boot, doubted FROM clock")
    if rows:
        at, uptime, boot, doubted = rows[0]
        return Look(datetime.fromisoformat(at), uptime, boot, doubted)
    events = records.rows("SELECT time FROM event ORDER BY number DESC LIMIT 1")
    return Look(datetime.fromisoformat(events[0][0]) if events else now(), 0.0, "")


def _write(records: Records, look: Look) -> None:
    records.write(
        "INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?)",
        (look.time.isoformat(), look.uptime, look.boot, look.doubted),
    )
