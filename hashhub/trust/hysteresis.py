"""Decides what a live stream shows from the hits of its recent frames.

    frames ── hits by key ──> tracked ── enough of the last frames, or one that is enough  ──> shown
                                 │                                                                    │
                                 └── none of the last frames ──> forgotten <── quiet for long enough ─┘

A key is what is to be told apart, such as an entry. Silence is not clean:

- A frame that could not be looked for is no miss, and no time passes with it.
- A picture with too little in it to hash shows what it hits, and no more.
- The time between two frames counts as watched for `longest_gap_ms` at most, however far they are apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Generic, TypeVar

import msgspec

from hashhub.model import Hysteresis

K = TypeVar("K", bound=Hashable)


class FrameOutcome(Enum):
    """How a frame was searched: as usual, as a blank one, or not at all."""

    READ = "read"  # it was looked for
    BLANK = "blank"  # it was, and is blank or nearly so
    UNREAD = "unread"  # it could not be


class Sighting:
    """How one key was hit. `begin_ms`, `end_ms`: by the first and the last frame; `hits`: by how many."""

    __slots__ = ("end_ms", "hits", "is_shown", "marks", "quiet_ms")

    def __init__(self, frames: int) -> None:
        self.marks: deque[int | None] = deque(maxlen=frames)  # of the last frames: when it hit, or None
        self.hits = 0
        self.end_ms = 0
        self.quiet_ms = 0.0
        self.is_shown = False

    def hit(self, offset_ms: int) -> None:
        """Note a hit."""
        self.marks.append(offset_ms)
        self.hits += 1
        self.end_ms = offset_ms
        self.quiet_ms = 0.0

    @property
    def recent(self) -> list[int]:
        """When those of the last frames that hit it were."""
        return [mark for mark in self.marks if mark is not None]


class Span(msgspec.Struct, frozen=True):
    """When a key that is shown, or was, was hit: first, last, and by how many frames."""

    begin_ms: int
    end_ms: int
    hits: int


class SightingTracker(Generic[K]):
    """The keys that a stream shows.

    Attributes:
        shown: Of each key that is shown, when it was hit.
        is_full: As many keys are tracked as may be, and the last frame hit more.
    """

    def __init__(self, settings: Hysteresis, *, longest_gap_ms: float, most: int) -> None:
        """`most`: keys to track at a time. What a frame hits beyond is left out, and `is_full` says so."""
        self._settings = settings
        self._longest_gap_ms = longest_gap_ms
        self._most = most
        self._tracked: dict[K, Sighting] = {}
        self._begins: dict[K, int] = {}
        self._offset_ms = 0
        self._was_read = False
        self._unread = 0
        self._has_looked = False
        self.is_full = False
        self.shown: dict[K, Span] = {}

    @property
    def is_unknown(self) -> bool:
        """Whether nothing was looked for yet, or not for `unread_frames` frames in a row."""
        return not self._has_looked or self._unread >= self._settings.unread_frames

    @property
    def tracked(self) -> frozenset[K]:
        """The keys that are shown, or may soon be."""
        return frozenset(self._tracked)

    def frame(self, offset_ms: int, look: FrameOutcome, hits: Mapping[K, bool]) -> dict[K, Span]:
        """Take in the next frame, and return what is shown no more because of it.

        `offset_ms`: later than that of the frame before. `hits`: the keys that it hit, each with whether one such frame
        is enough; of a blank picture it never is. Of an unread frame they do not count.
        """
        watched = offset_ms - self._offset_ms if self._was_read and look is FrameOutcome.READ else 0
        self._offset_ms, self._was_read = offset_ms, look is FrameOutcome.READ
        if look is FrameOutcome.UNREAD:
            self._unread += 1
            return {}
        self._unread, self._has_looked, self.is_full = 0, True, False
        ended: dict[K, Span] = {}
        if look is FrameOutcome.READ:
            ended = self._miss(hits, min(watched, self._longest_gap_ms))
        for key, is_sure in hits.items():
            self._hit(key, offset_ms, is_sure=is_sure and look is FrameOutcome.READ)
        return ended

    def forget(self, key: K) -> None:
        """Show a key no more, whatever hit it so far."""
        self._tracked.pop(key, None)
        self.shown.pop(key, None)
        self._begins.pop(key, None)

    def _hit(self, key: K, offset_ms: int, *, is_sure: bool) -> None:
        sighting = self._tracked.get(key)
        if sighting is None:
            if len(self._tracked) >= self._most:
                self.is_full = True
                return
            sighting = self._tracked[key] = Sighting(self._settings.enter_frames)
        sighting.hit(offset_ms)
        if key not in self.shown and (is_sure or len(sighting.recent) >= self._settings.enter_hits):
            self._begins[key] = sighting.recent[0]
            sighting.hits = len(sighting.recent)
            sighting.is_shown = True
        if sighting.is_shown:
            self.shown[key] = Span(self._begins[key], sighting.end_ms, sighting.hits)

    def _miss(self, hits: Mapping[K, bool], watched: float) -> dict[K, Span]:
        ended = {}
        for key, sighting in list(self._tracked.items()):
            if key in hits:
                continue
            sighting.marks.append(None)
            sighting.quiet_ms += watched
            if sighting.is_shown and sighting.quiet_ms >= self._settings.leave_ms:
                ended[key] = self.shown[key]
                self.forget(key)
            elif not sighting.is_shown and not sighting.recent:
                self.forget(key)
        return ended
