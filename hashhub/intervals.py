"""Confidence intervals of shares."""

from __future__ import annotations

from statistics import NormalDist
from typing import Final

_Z: Final = NormalDist().inv_cdf(0.975)


def wilson(successes: int, trials: int) -> tuple[float, float] | None:
    """Return the bounds of the share, 0 to 1, at 95 %; None without a trial.

    Source: E. B. Wilson, 'Probable Inference, the Law of Succession, and Statistical Inference' (1927).
    """
    if trials == 0:
        return None
    share, square = successes / trials, _Z * _Z
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = _Z / (1 + square / trials) * (share * (1 - share) / trials + square / (4 * trials * trials)) ** 0.5
    # Where all or none succeeded a bound is the share itself, which rounding must not miss.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    return low, 1.0 if successes == trials else min(1.0, middle + half)
