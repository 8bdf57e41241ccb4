"""Entries hit again and again by one perceptual algorithm alone: a picture that is forged once is sent often."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hashhub.config import Config
    from hashhub.model import MatchResult

_log = logging.getLogger("hashhub.access")
MOST_COUNTED: Final = 16_384  # entries: some 3 MB
_SHOWN: Final = 20  # of them in `status`
_DAY: Final = 86_400


class NearHitCounter:
    """Counts by day (UTC) and entry the answers that rest on one perceptual algorithm alone. It changes no verdict.

    A process counts its own share. One entry more than MOST_COUNTED takes one off all (Misra and Gries, 1982): what is
    counted is never too much, and too little by a 16,384th of all that was counted at most.
    """

    def __init__(self, config: Config) -> None:
        self._alarm = -(-config.near_hits_alarm // config.workers)
        self._lock = threading.Lock()
        self._day = 0
        self._counts: dict[str, int] = {}

    def note(self, results: Iterable[MatchResult]) -> None:
        """Count what answers rest on."""
        lines = [line for r in results for line in r.reasons if line.code == ReasonCode.ONE_PERCEPTUAL_ALGORITHM]
        if not lines or not self._alarm:
            return
        with self._lock:
            self._begin_day()
            for name in (name for line in lines for name in line.entries):
                count = self._counts.get(name, 0) + 1
                if count == 1 and len(self._counts) >= MOST_COUNTED:
                    self._counts = {other: n - 1 for other, n in self._counts.items() if n > 1}
                    continue
                self._counts[name] = count
                if count == self._alarm:
                    _log.warning("entry %s was hit %d times today by one perceptual algorithm alone", name, self._alarm)

    def _begin_day(self) -> None:
        if (today := int(time.time()) // _DAY) != self._day:
            self._day, self._counts = today, {}

    def alarming(self) -> dict[str, int]:
        """Return how often at least entries were hit so today, of those that reach the alarm, the most first."""
        with self._lock:
            self._begin_day()
            reached = [pair for pair in self._counts.items() if pair[1] >= self._alarm]
        return dict(sorted(reached, key=lambda pair: -pair[1]))

    def warnings(self) -> list[str]:
        """Return what is to be said of them."""
        return [
            f"entry {name} was hit {count:,} times today by one perceptual algorithm alone: the uploads may be forged; "
            "have a person look at some, and see docs/policies.md (near_hits_alarm)"
            for name, count in list(self.alarming().items())[:_SHOWN]
        ]
