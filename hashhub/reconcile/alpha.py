"""Krippendorff's alpha of statements that may be sets.

Alpha is 1 - Do/De: the disagreement observed within items, over that expected if everybody's statements were dealt out
at random (Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011). Statements take the place of values:
two that overlap do not differ, and two that exclude each other differ by as much as their nearest values do. Where each
statement is a single value this is the published coefficient. Contributors that are not independent of each other are
not compared: a statement weighs 1 over the independent others of its item, where it weighs 1 over all others there.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.reconcile.consensus import Independence, OtherVoices, pairs
from hashhub.reconcile.items import Statements, world_names

NOMINAL: Final = "nominal"
ORDINAL: Final = "ordinal"
ORDERED: Final = ("age_band", "act")
"""Dimensions whose values have an order: of age, and of gravity as `dimensions` lists it."""

DRAWS: Final = 1_000
_GROUPS: Final = 2_000  # items are drawn in so many random groups at the most: the error of the interval is some 2 %
_MIN_ITEMS: Final = 10  # from which there is an interval: drawn anew, fewer are nearly always the same


class Alpha(NamedTuple):
    """`alpha`, and the bounds of its 95 % interval; None where they are not defined."""

    items: int
    contributors: int
    alpha: float | None
    low: float | None
    high: float | None


def alpha(
    dimension: str, metric: str, statements: Statements, independence: Independence, heard: OtherVoices, *, seed: int
) -> Alpha:
    """Return alpha with an interval by bootstrap over items, drawn with `seed`."""
    is_compared = heard.number > 0
    item, contributor = statements.item[is_compared], statements.contributor[is_compared]
    if not len(item):
        return Alpha(0, 0, None, None, None)
    masks, code = np.unique(statements.mask[is_compared], return_inverse=True)
    units, unit = np.unique(item, return_inverse=True)
    frequency = np.bincount(code).astype(np.float64)
    difference = differences(dimension, metric, masks, frequency)
    observed = _observed(unit, contributor, code, 1 / heard.number[is_compared], difference, independence)
    people = len(np.unique(contributor))
    value = _coefficient(observed.sum(), frequency, difference)
    low, high = _interval(unit, code, observed, difference, len(masks), seed) if value is not None else (None, None)
    return Alpha(len(units), people, value, low, high)


def differences(
    dimension: str, metric: str, masks: NDArray[np.uint16], frequency: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return float[n, n]: the squared difference of each two statements.

    Ordinal is Krippendorff's: by how many statements lie between two ranks, half of those at either end. A statement of
    several ranks counts in equal parts in each. Two statements can exclude each other within one rank (7 to 10 years,
    before puberty and since): then they are taken for the two halves of that rank.
    """
    excludes = (masks[:, None] & masks[None, :]) == 0
    if metric == NOMINAL:
        differ: NDArray[np.float64] = excludes.astype(np.float64)
        return differ
    names = [world.partition("/")[0] for world in world_names(dimension)]
    values = list(dict.fromkeys(names))
    ranks = len(values)
    has = np.zeros((len(masks), ranks), np.bool_)
    for world, name in enumerate(names):
        has[:, values.index(name)] |= (masks >> np.uint16(world) & 1).astype(np.bool_)
    mass = (frequency[:, None] * has / has.sum(axis=1, keepdims=True)).sum(axis=0)
    middle = np.cumsum(mass) - mass / 2
    between = np.abs(middle[:, None] - middle[None, :])  # the sum of all ranks between, and half of those at the ends
    np.fill_diagonal(between, mass / 2)
    nearest = np.full((len(masks), len(masks)), np.inf)
    for low in range(ranks):
        for high in range(ranks):
            both = has[:, low, None] & has[None, :, high]
            nearest[both] = np.minimum(nearest[both], between[low, high])
    return np.where(excludes, nearest**2, 0.0)


def _observed(
    unit: NDArray[np.intp],
    contributor: NDArray[np.int32],
    code: NDArray[np.intp],
    weight: NDArray[np.float64],
    difference: NDArray[np.float64],
    independence: Independence,
) -> NDArray[np.float64]:
    """Return for each item the sum of differences between its statements, each pair in both directions."""
    differs = np.zeros(unit[-1] + 1, np.bool_)
    starts = np.flatnonzero(np.r_[True, unit[1:] != unit[:-1]])
    differs[:] = np.minimum.reduceat(code, starts) != np.maximum.reduceat(code, starts)
    rows = np.flatnonzero(differs[unit])
    observed = np.zeros(unit[-1] + 1)
    for left, right in pairs(unit[rows], contributor[rows], independence):
        a, b = rows[left], rows[right]
        observed += np.bincount(unit[a], difference[code[a], code[b]] * (weight[a] + weight[b]), len(observed))
    return observed


def _coefficient(observed: float, frequency: NDArray[np.float64], difference: NDArray[np.float64]) -> float | None:
    total = frequency.sum()
    expected = float(frequency @ difference @ frequency)
    if total <= 1 or expected <= 0:
        return None
    return float(1 - (total - 1) * observed / expected)


def _interval(
    unit: NDArray[np.intp],
    code: NDArray[np.intp],
    observed: NDArray[np.float64],
    difference: NDArray[np.float64],
    codes: int,
    seed: int,
) -> tuple[float | None, float | None]:
    """Return percentiles of alpha over items drawn with replacement. Differences stay those of the whole, as in
    Krippendorff's own bootstrap; draws in which nothing is expected to differ are left out.
    """
    units = len(observed)
    if units < _MIN_ITEMS:
        return None, None
    random = np.random.default_rng(seed)
    groups = min(units, _GROUPS)
    group_of = np.arange(units) if groups == units else random.permutation(units) % groups
    observed_by_group = np.bincount(group_of, observed, groups)
    frequency = np.bincount(group_of[unit] * codes + code, minlength=groups * codes).reshape(groups, codes)
    drawn = random.multinomial(groups, np.full(groups, 1 / groups), DRAWS).astype(np.float64)
    frequencies = drawn @ frequency
    expected = ((frequencies @ difference) * frequencies).sum(axis=1)
    is_defined = expected > 0
    if not is_defined.any():
        return None, None
    total = frequencies.sum(axis=1)[is_defined]
    values = 1 - (total - 1) * (drawn @ observed_by_group)[is_defined] / expected[is_defined]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
