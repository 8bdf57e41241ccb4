"""Which lists are not renewed as often as they used to be.

Commits within ten minutes of one another are one renewal. The usual interval is the median of up to ten intervals
between a hash set's last renewals, known once there were four. A list sent again byte for byte is no renewal.
"""

from __future__ import annotations

import itertools
import statistics
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hashhub.store import Store

_ONE_RENEWAL_SECONDS: Final = 600.0
_INTERVALS: Final = 10
_LEAST_INTERVALS: Final = 3
_COMMITS: Final = 100  # of a hash set, that are looked at
_LOOK_SECONDS: Final = 300.0  # between two looks at the store
MOST_SETS: Final = 1000  # told of at a time, the most overdue first: bounds a scrape


class Renewal(NamedTuple):
    """How long ago a hash set was renewed, and how long that usually takes; both in seconds."""

    age: float
    usual: float

    @property
    def ratio(self) -> float:
        """The age over the usual interval: 1 when the next renewal is due."""
        return self.age / self.usual


class Renewals:
    """The renewals of all hash sets, looked up now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._intervals: Mapping[str, tuple[float, float]] = {}
        self._looked: float | None = None

    def look(self) -> None:
        """Look at the store's imports, if the last look is long ago."""
        if self._looked is not None and time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        intervals = {}
        for name, times in self._store.imports.last_commit_times(_COMMITS).items():
            renewed = renewals([t.timestamp() for t in times])
            if len(renewed) > _LEAST_INTERVALS:
                gaps = [later - earlier for earlier, later in itertools.pairwise(renewed)]
                intervals[name] = (times[-1].timestamp(), statistics.median(gaps[-_INTERVALS:]))
        self._intervals = intervals
        self._looked = time.monotonic()

    def at(self, time_: datetime) -> Mapping[str, Renewal]:
        """Return the renewals as of a time, by the hash set's name, the most overdue first."""
        seconds = time_.timestamp()
        all_ = {name: Renewal(max(0.0, seconds - last), usual) for name, (last, usual) in self._intervals.items()}
        most_overdue = sorted(all_.items(), key=lambda item: -item[1].ratio)
        return dict(most_overdue[:MOST_SETS])


def renewals(times: Sequence[float]) -> list[float]:
    """Return when each renewal began, given the ascending times of commits."""
    begun: list[float] = []
    before = float("-inf")
    for at in times:
        if at - before > _ONE_RENEWAL_SECONDS:
            begun.append(at)
        before = at
    return begun
