"""How often a list is renewed. Commits within ten minutes of one another are one renewal."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Final

COMMITS: Final = 100  # the last of a hash set, that are looked at
_ONE_RENEWAL_SECONDS: Final = 600.0
_INTERVALS: Final = 10
_LEAST_INTERVALS: Final = 3


def usual_seconds(times: Sequence[float]) -> float | None:
    """Return the median of up to ten intervals between the last renewals; None while there were less than four."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(renewals(times))]
    return statistics.median(gaps[-_INTERVALS:]) if len(gaps) >= _LEAST_INTERVALS else None


def renewals(times: Sequence[float]) -> list[float]:
    """Return when each renewal began, given the ascending times of commits."""
    begun: list[float] = []
    before = float("-inf")
    for at in times:
        if at - before > _ONE_RENEWAL_SECONDS:
            begun.append(at)
        before = at
    return begun
