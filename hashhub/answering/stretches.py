"""Which stretches of two videos are alike, from pairs of frames that are. Pure: it knows no store and no matcher.

Frames that belong together advance together: the difference of their times stays about the same. The difference that
most pairs have comes first; its pairs make runs, broken where there is a gap; what lies within a run is done with; and
so on. A video that was slowed down drifts: runs that go on from each other are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.model import TimeRange

MAX_RANGES: Final = 16
"""Of one entry; the longest are told."""
GAP_MS: Final = 5_000
"""A run goes on over frames that do not match, for so long, unless frames are further apart."""
TOLERANCE_MS: Final = 1_500
"""Both videos are sampled, at a frame a second and at cuts: two frames of one moment may be so far apart."""
MAX_PAIRS: Final = 100_000
"""Beyond, every second query frame is left out, and so on: a still scene is like itself all over."""
LEAST_MS: Final = 4_000
"""How long two videos must go on together for that to count where neither has most of the other."""
LEAST_FRAMES: Final = 4
"""And how many different frames each must have of it: a still scene, such as a title, goes on with any other."""
_ROUNDS: Final = 64  # differences of times looked at
_JOINED: Final = 256  # runs, the longest, that may go on from each other: each is compared with each
_MOST_ENDS: Final = 32  # times at which a stretch may end that are looked at
_DRIFT: Final = 10  # a stretch may be slower or faster by one part in so many
_NEVER: Final = -(1 << 40)


class _Run(NamedTuple):
    """A stretch of both videos, in milliseconds, and how many frames of the query are in it."""

    begin: int
    end: int
    entry_begin: int
    entry_end: int
    frames: int


def goes_on(stretch: TimeRange, frame_count: int, *, is_dense: bool) -> bool:
    """Return whether a stretch is long enough to count. `frame_count`: of the different frames that are alike in it,
    those of the video that has fewer. `is_dense`: half of its frames are alike, in one of the videos.
    """
    shorter = min(stretch.end_ms - stretch.begin_ms, stretch.entry_end_ms - stretch.entry_begin_ms)
    return is_dense and shorter >= LEAST_MS and frame_count >= LEAST_FRAMES


def usual_step(times: NDArray[np.int64]) -> int:
    """Return how far apart frames at these times, int64[n] in milliseconds and in order, usually are; 0: too few."""
    return int(np.median(np.diff(times))) if len(times) > 1 else 0


def ranges(
    query_times: NDArray[np.int64], entry_times: NDArray[np.int64], *, gap_ms: int = GAP_MS
) -> tuple[TimeRange, ...]:
    """Return the stretches, by their begin in the query; at most MAX_RANGES.

    `query_times`, `entry_times`: of the two frames of each pair, int64[n] in milliseconds. A stretch has two frames at
    least, unless none has. `gap_ms`: how far apart two frames of a stretch may be; key frames are often 10 s apart.
    """
    query_times, entry_times = _thinned(query_times, entry_times)
    runs: list[_Run] = []
    for _ in range(_ROUNDS):
        if not len(query_times):
            break
        fresh = _runs(query_times, entry_times, gap_ms)
        runs += fresh
        left = np.ones(len(query_times), np.bool_)
        for run in fresh:
            left &= ~(
                (query_times >= run.begin)
                & (query_times <= run.end)
                & (entry_times >= run.entry_begin)
                & (entry_times <= run.entry_end)
            )
        query_times, entry_times = query_times[left], entry_times[left]
    joined = _joined(sorted(runs, key=lambda run: (-run.frames, run))[:_JOINED], gap_ms)
    several = [run for run in joined if run.frames > 1] or joined[:1]
    longest = sorted(several, key=lambda run: (-run.frames, run))[:MAX_RANGES]
    return tuple(TimeRange(*run[:4]) for run in sorted(longest))


def ending_at(
    times: NDArray[np.int64], shown: Sequence[NDArray[np.int64]], gap_ms: float
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the longest stretch that ends with the last frame: the places of the frames in it, and when the other
    video has each, both ascending by frame.

    `times`: of the frames, ascending, int64[n] in milliseconds. `shown`: for each of them when the other video shows
    what is near it, ascending; the last is not empty. `gap_ms`: how long a stretch goes on over frames without.
    """
    last = shown[-1]
    ends = last[np.unique(np.linspace(0, len(last) - 1, _MOST_ENDS).astype(np.int64))]
    back = times[-1] - times
    at = np.full((len(times), len(ends)), _NEVER, np.int64)
    for place, own in enumerate(shown):
        if not len(own):
            continue
        expected = ends - back[place]
        above = np.minimum(np.searchsorted(own, expected), len(own) - 1)
        below = np.maximum(above - 1, 0)
        nearer = np.where(np.abs(own[above] - expected) < np.abs(own[below] - expected), own[above], own[below])
        fits = np.abs(nearer - expected) <= TOLERANCE_MS + back[place] / _DRIFT
        at[place] = np.where(fits, nearer, _NEVER)
    best: NDArray[np.intp] = np.zeros(0, np.intp)
    best_end = 0
    for end in range(len(ends)):
        places = np.flatnonzero(at[:, end] != _NEVER)
        breaks = np.flatnonzero(np.diff(times[places]) > gap_ms)
        run = places[breaks[-1] + 1 :] if len(breaks) else places
        if len(run) > len(best):
            best, best_end = run, end
    return best, np.maximum.accumulate(at[best, best_end])


def _thinned(
    query_times: NDArray[np.int64], entry_times: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    while len(query_times) > MAX_PAIRS:
        times = np.unique(query_times)
        if len(times) == 1:
            return query_times[:MAX_PAIRS], entry_times[:MAX_PAIRS]
        stays = np.isin(query_times, times[::2])
        query_times, entry_times = query_times[stays], entry_times[stays]
    return query_times, entry_times


def _runs(query_times: NDArray[np.int64], entry_times: NDArray[np.int64], gap_ms: int) -> list[_Run]:
    """Return the runs of the difference of times that most pairs have, within the tolerance."""
    differences = entry_times - query_times
    ordered = np.sort(differences)
    ends = np.searchsorted(ordered, ordered + 2 * TOLERANCE_MS, "right")
    counts = ends - np.arange(len(ordered))
    best = int(np.argmax(counts))
    middle = int(np.median(ordered[best : ends[best]]))
    is_here = np.abs(differences - middle) <= TOLERANCE_MS
    chosen, other = query_times[is_here], entry_times[is_here]
    # Of each frame of the query the pair that is nearest to the middle.
    order = np.lexsort((np.abs(other - chosen - middle), chosen))
    chosen, other = chosen[order], other[order]
    first = np.ones(len(chosen), np.bool_)
    first[1:] = chosen[1:] != chosen[:-1]
    chosen, other = chosen[first], other[first]
    other = np.maximum.accumulate(other)
    breaks = np.flatnonzero((np.diff(chosen) > gap_ms) | (np.diff(other) > gap_ms)) + 1
    return [
        _Run(int(q[0]), int(q[-1]), int(e[0]), int(e[-1]), len(q))
        for q, e in zip(np.split(chosen, breaks), np.split(other, breaks), strict=True)
    ]


def _joined(runs: list[_Run], gap_ms: int) -> list[_Run]:
    """Return the runs by size, the largest first, those joined that go on from each other, without nested ones."""
    joined: list[_Run] = []
    for run in sorted(runs):
        before = next((at for at, other in enumerate(joined) if _goes_on(other, run, gap_ms)), None)
        if before is None:
            joined.append(run)
            continue
        other = joined[before]
        joined[before] = _Run(
            other.begin,
            max(other.end, run.end),
            other.entry_begin,
            max(other.entry_end, run.entry_end),
            other.frames + run.frames,
        )
    return sorted(joined, key=lambda run: (-run.frames, run))


def _goes_on(run: _Run, later: _Run, gap_ms: int) -> bool:
    return (
        run.begin <= later.begin <= run.end + gap_ms
        and run.entry_begin <= later.entry_begin <= run.entry_end + gap_ms
        and abs((later.entry_begin - later.begin) - (run.entry_end - run.end)) <= gap_ms
    )
