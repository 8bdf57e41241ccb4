"""Hits in words for people: algorithm, distance, and the place in a video."""

from __future__ import annotations

from typing import Final

from hashhub.hashes import VPDQ
from hashhub.model import READINGS, EntryMatch

_STRETCHES: Final = 3  # of a video told for people; --json has all


def how(m: EntryMatch) -> str:
    """Return by which algorithm, how near and by which variant an entry was hit."""
    near = "exactly" if m.distance == 0 else f"at distance {m.distance}"
    if not m.variant:
        return f"{m.algorithm} {near}"
    return f"{m.algorithm} of its {'reading' if m.variant in READINGS else 'variant'} {m.variant}, {near}"


def where(m: EntryMatch) -> list[str]:
    """Return how much of two videos agrees, and then the stretches; nothing where no video was asked about."""
    if m.video is None:
        return []
    is_video = m.algorithm == VPDQ.name
    of_entry = f", {m.video.entry_share:.0f} % of the entry's" if is_video else ""
    lines = [f"{m.video.query_share:.0f} % of the video's frames{of_entry}"]
    for r in m.video.ranges[:_STRETCHES]:
        whose = f"is its {_span(r.entry_begin_ms, r.entry_end_ms)}" if is_video else "shows it"
        lines.append(f"{_span(r.begin_ms, r.end_ms)} {whose}")
    more = len(m.video.ranges) - _STRETCHES
    if more > 0:
        lines.append(f"… and {more} more")
    return lines


def _span(begin_ms: int, end_ms: int) -> str:
    begin, end = clock(begin_ms), clock(end_ms)
    return begin if begin == end else f"{begin}-{end}"


def clock(ms: int) -> str:
    """Return a time in a video as players show it, such as 1:02 or 1:00:05: full seconds, the rest cut off."""
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
