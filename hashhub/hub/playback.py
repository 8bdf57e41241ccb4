"""Which listed videos a live stream plays, by its frames of the last minute.

A video counts where it and the stream go on together: LEAST_FRAMES different frames of each, over LEAST_MS in both, one
after another at the same pace (`stretches.ending_at`); one that is too short for that, once the window has MIN_SHARE
percent of its frames. It is the variant `frame` until the window has WHOLE_MS and MIN_SHARE percent of its frames go on
with the video: an intro is never more than a part. Work is bounded for each frame.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hashhub import cancellation, frames
from hashhub.answering.lookup import ENDS, OF_CONTRIBUTOR
from hashhub.answering.stretches import GAP_MS, LEAST_FRAMES, LEAST_MS, MAX_RANGES, ending_at, goes_on
from hashhub.answering.videos import FRAME, MIN_SHARE, are_several, of_sets
from hashhub.hashes import VPDQ
from hashhub.model import TimeRange, VideoMatch, set_key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hashhub.matcher import HashSets, Matcher, Matches
    from hashhub.model import VideoFrame
    from hashhub.store import Store

WINDOW_MS: Final = 60_000
"""How far a stream is looked back at."""
WHOLE_MS: Final = 30_000
"""How long the window must be for a video to be more than a part of the stream."""
_STEP_MS: Final = 500  # between two frames of the window: entries have a frame a second, and those at cuts
MOST_OF_DIGEST: Final = 2 * ENDS  # entries of a hash set that share a frame which are looked at: first and last ones
MOST_ROWS: Final = 2_000  # of one frame: some 10 ms, and 200 KB while it is in the window; in equal shares
_MOST_CANDIDATES: Final = 1_000  # entries that share frames enough to be compared
COMPARED: Final = 20  # of these, as many of each contributor; about a millisecond each
_CACHED_FRAMES: Final = 50_000  # of the entries compared last: some 4 MB


class VideoPlay(NamedTuple):
    """A listed video that a stream plays at its newest frame. `nearest`: the least distance in the stretch, and the
    stream's digest at it. `frame_count`: of the stretch. `query_share`, `entry_share`: percent of the window's
    different frames in it, and of the entry's near any of the window. `several_frames`: as `are_several` says of it.
    """

    nearest: tuple[int, bytes]
    stretch: TimeRange
    frame_count: int
    query_share: float
    entry_share: float
    is_whole: bool
    several_frames: bool


class FramePlays(NamedTuple):
    """What a frame goes on with, by entry. `withheld`: something only disclosed. `cut_short`: there may be more."""

    plays: Mapping[int, VideoPlay]
    withheld: bool = False
    cut_short: bool = False


class VideoPlayback:
    """How a stream has played one video so far. `begin_ms`: of the first stretch."""

    def __init__(self, play: VideoPlay) -> None:
        self.nearest, self.is_whole, self.several_frames = play.nearest, play.is_whole, play.several_frames
        self.begin_ms = play.stretch.begin_ms
        self.earlier = play.frame_count - 1
        """Frames of the first stretch before it counted."""
        self._latest = play
        self._ranges = [play.stretch]

    def add(self, play: VideoPlay) -> None:
        """Take in that it is played on, or again."""
        self._latest = play
        if play.nearest[0] < self.nearest[0]:
            self.nearest = play.nearest
        self.is_whole |= play.is_whole
        self.several_frames |= play.several_frames
        last, now = self._ranges[-1], play.stretch
        apart = (now.entry_end_ms - last.entry_end_ms) - (now.end_ms - last.end_ms)
        if now.begin_ms <= last.end_ms + GAP_MS and abs(apart) <= GAP_MS:
            self._ranges[-1] = TimeRange(
                last.begin_ms, now.end_ms, last.entry_begin_ms, max(last.entry_end_ms, now.entry_end_ms)
            )
        else:
            self._ranges = [*self._ranges, now][-MAX_RANGES:]

    @property
    def variant(self) -> str:
        """What of the stream it is."""
        return "" if self.is_whole else FRAME

    @property
    def match(self) -> VideoMatch:
        """How far stream and video agree: shares of the last minute, and the newest ranges since it is tracked."""
        return VideoMatch(
            query_share=round(self._latest.query_share, 1),
            entry_share=round(self._latest.entry_share, 1),
            ranges=tuple(self._ranges),
        )


class StreamWindow:
    """The frames of a stream's last minute, and what they are near. Used by one thread."""

    def __init__(self, store: Store, matcher: Matcher, *, max_distance: int | None, longest_gap_ms: float) -> None:
        """`longest_gap_ms`: between two frames at the stream's pace."""
        self._store, self._matcher = store, matcher
        self._max_distance = max_distance
        self._gap_ms = max(GAP_MS, longest_gap_ms)
        self._frames: deque[_WindowFrame] = deque()
        self._visible, self._disclosed = _SharedFrames(store), _SharedFrames(store)

    def frame(self, frame: VideoFrame, set_keys: Callable[[], tuple[HashSets, HashSets]]) -> FramePlays:
        """Take in the next frame and return what it goes on with; the entries may not stand any more. `set_keys`:
        returns the keys, by contributor, of the hash sets that the caller sees now, and of those it may only know of.
        """
        digest = np.frombuffer(frame.digest, np.uint8).reshape(1, -1)
        if frame.quality < frames.MIN_QUALITY or not frames.are_telling(digest)[0]:
            return FramePlays({})
        hash_sets = cache(set_keys)
        # A stream's frames are nobody's traffic, and the circuit breaker marks nothing of them.
        m = self._matcher.search(
            VPDQ.name,
            digest,
            max_distance=self._max_distance,
            limit=OF_CONTRIBUTOR,
            caller=None,
            among=lambda: [*hash_sets()[0], *hash_sets()[1]],
        )
        seen = _WindowFrame(frame, m)
        self._take_in(seen)
        if not seen.near:
            return FramePlays({})
        visible, disclosed = hash_sets()
        plays, more = self._visible.look(seen, self._frames, visible, self._gap_ms)
        withheld = False
        if disclosed:
            behind, _ = self._disclosed.look(seen, self._frames, disclosed, self._gap_ms)
            withheld = bool(behind)
        return FramePlays(plays, withheld, more)

    def _take_in(self, seen: _WindowFrame) -> None:
        """Put the newest frame in the window, in place of the last one where that is too close to the one before."""
        window = self._frames
        if len(window) > 1 and window[-1].offset_ms - window[-2].offset_ms < _STEP_MS:
            self._drop(window.pop())
        window.append(seen)
        while window[0].offset_ms < seen.offset_ms - WINDOW_MS:
            self._drop(window.popleft())

    def _drop(self, seen: _WindowFrame) -> None:
        self._visible.drop(seen)
        self._disclosed.drop(seen)


class _WindowFrame:
    """A frame of the window, and the listed digests near it: of each the distance, and which hash sets may have it."""

    __slots__ = ("digest", "is_cut_short", "near", "offset_ms", "owners")

    def __init__(self, frame: VideoFrame, matches: Matches) -> None:
        self.offset_ms, self.digest = frame.offset_ms, frame.digest
        digests = [row.tobytes() for row in matches.digests]
        self.near = dict(zip(digests, matches.distances.tolist(), strict=True))
        self.owners = dict(zip(digests, matches.owners, strict=True))
        self.is_cut_short = bool(matches.truncated[0])


class _ListedFrames:
    """The frames of an entry that match: when it shows which of its digests, which have numbers here."""

    def __init__(self, packed: bytes) -> None:
        c = frames.columns(packed).matching()
        self._digests, numbers = np.unique(_fixed(c.digests.tobytes()), return_inverse=True)
        self.times, self.numbers = c.offsets, numbers
        order = np.argsort(numbers, kind="stable")
        self._by_number = c.offsets[order]
        self._begins = np.searchsorted(numbers[order], np.arange(len(self._digests) + 1))

    def shown(self, digests: Sequence[bytes]) -> NDArray[np.int64]:
        """Return when it shows one of these digests of its own, ascending, int64[n]."""
        if not digests:
            return np.zeros(0, np.int64)
        numbers = np.searchsorted(self._digests, _fixed(b"".join(digests))).tolist()
        times = [self._by_number[self._begins[n] : self._begins[n + 1]] for n in numbers]
        return times[0] if len(times) == 1 else np.sort(np.concatenate(times))

    def distinct(self, times: NDArray[np.int64]) -> int:
        """Return how many different digests it shows at these of its times."""
        return len(np.unique(self.numbers[np.searchsorted(self.times, times)]))

    def distinct_between(self, begin: int, end: int) -> int:
        """Return how many different digests it shows from one of its times to another, both inclusive."""
        low, high = np.searchsorted(self.times, begin), np.searchsorted(self.times, end, "right")
        return len(np.unique(self.numbers[low:high]))


def _fixed(digests: bytes) -> NDArray[np.bytes_]:
    return np.frombuffer(digests, f"S{frames.DIGEST_BYTES}")


class _SharedFrames:
    """Which entries have frames near those of the window: those that the caller sees, or those it may only know of."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of: dict[
            _WindowFrame, dict[int, list[bytes]]
        ] = {}  # of each frame of the window: entries and their digests
        self._reached: dict[int, Counter[bytes]] = {}  # of each entry: its digests, and near how many frames each is
        self._listed: OrderedDict[int, _ListedFrames] = OrderedDict()

    def drop(self, seen: _WindowFrame) -> None:
        """Take a frame that leaves the window out of all counts."""
        for entry_id, digests in self._of.pop(seen, {}).items():
            reached = self._reached[entry_id]
            reached.subtract(digests)
            for digest in digests:
                if not reached[digest]:
                    del reached[digest]
            if not reached:
                del self._reached[entry_id]

    def look(
        self, seen: _WindowFrame, window: Sequence[_WindowFrame], hash_sets: HashSets, gap_ms: float
    ) -> tuple[dict[int, VideoPlay], bool]:
        """Return what goes on with the window's newest frame, and whether there may be more."""
        digest_counts = self._add(seen, hash_sets)
        candidates = [e for e, count in digest_counts.items() if self._may_go_on(e, count)]
        chosen, is_cut_short = self._chosen(candidates, hash_sets)
        plays: dict[int, VideoPlay] = {}
        for entry_id, listed in self._read(chosen):
            cancellation.check()
            play = self._play(entry_id, listed, window, digest_counts[entry_id], gap_ms)
            if play is not None:
                plays[entry_id] = play
        return plays, is_cut_short or self._is_cut_short

    def _add(self, seen: _WindowFrame, hash_sets: HashSets) -> dict[int, int]:
        """Look up who has what is near the newest frame; return of each how many different frames it has."""
        own: dict[int, list[bytes]] = {}
        digest_counts: dict[int, int] = {}
        rows, is_cut = self._sharing(seen, [list(chain.from_iterable(hash_sets))])
        if is_cut and len(hash_sets) > 1:
            rows, is_cut = self._sharing(seen, hash_sets)
        seen.is_cut_short |= is_cut
        for digest, entry_id, count in rows:
            own.setdefault(entry_id, []).append(digest)
            digest_counts[entry_id] = count
        self._of[seen] = own
        for entry_id, digests in own.items():
            self._reached.setdefault(entry_id, Counter()).update(digests)
        return digest_counts

    def _sharing(self, seen: _WindowFrame, hash_sets: HashSets) -> tuple[list[tuple[bytes, int, int]], bool]:
        """Return (digest, entry, its number of frames) near a frame, in equal shares, and whether there is more."""
        parts = [pairs for keys in hash_sets if (pairs := of_sets(seen.owners, sorted(keys)))]
        rows: list[tuple[bytes, int, int]] = []
        is_cut = False
        for pairs in parts:
            shared = self._store.entries.entries_sharing_frames(pairs, MOST_OF_DIGEST // 2)
            own = list(islice(shared, MOST_ROWS // len(parts) + 1))
            is_cut |= len(own) > MOST_ROWS // len(parts) or any(entry_id < 0 for _, entry_id, _ in own)
            rows += [row for row in own if row[1] >= 0]
        return rows, is_cut

    def _may_go_on(self, entry_id: int, digest_count: int) -> bool:
        count = len(self._reached[entry_id])
        return count >= LEAST_FRAMES or 100 * count >= MIN_SHARE * digest_count

    @property
    def _is_cut_short(self) -> bool:
        """Whether more entries share the frames than were looked at; a single title that they share is not enough."""
        cut = [seen for seen in self._of if seen.is_cut_short]
        return len({seen.digest for seen in cut}) >= LEAST_FRAMES and cut[-1].offset_ms - cut[0].offset_ms >= LEAST_MS

    def _chosen(self, candidates: Sequence[int], hash_sets: HashSets) -> tuple[list[int], bool]:
        """Return the entries to compare, an equal share of each contributor, and whether there are more."""
        if not candidates:
            return [], False
        contributor_of = {key: number for number, keys in enumerate(hash_sets) for key in keys}
        turns: Counter[int] = Counter()
        order: list[tuple[int, int, int]] = []
        for entry_id in sorted(candidates, key=lambda e: (-len(self._reached[e]), e)):
            contributor = contributor_of[set_key_of(entry_id)]
            order.append((turns[contributor], len(order), entry_id))
            turns[contributor] += 1
        near = [entry_id for *_, entry_id in sorted(order)[:_MOST_CANDIDATES]]
        standing = {hit.entry_id for hit in self._store.entries.hits_by_ids(near)}
        chosen = [entry_id for entry_id in near if entry_id in standing]
        return chosen[:COMPARED], len(chosen) > COMPARED or len(order) > _MOST_CANDIDATES

    def _read(self, entry_ids: Sequence[int]) -> Iterator[tuple[int, _ListedFrames]]:
        """Yield the frames of the entries; those of the last ones are at hand."""
        missing = sorted(set(entry_ids) - self._listed.keys())
        for entry_id in set(entry_ids) & self._listed.keys():
            self._listed.move_to_end(entry_id)
            yield entry_id, self._listed[entry_id]
        for entry_id, packed in self._store.entries.frames_of(missing):
            listed = self._listed[entry_id] = _ListedFrames(packed)
            yield entry_id, listed
            while len(self._listed) > 1 and sum(len(one.times) for one in self._listed.values()) > _CACHED_FRAMES:
                self._listed.popitem(last=False)

    def _play(
        self, entry_id: int, listed: _ListedFrames, window: Sequence[_WindowFrame], digest_count: int, gap_ms: float
    ) -> VideoPlay | None:
        """Return how an entry goes on with the window's newest frame, if it does."""
        reached = [self._of.get(seen, {}).get(entry_id, ()) for seen in window]
        times = np.fromiter((seen.offset_ms for seen in window), np.int64, len(window))
        places, at = ending_at(times, [listed.shown(digests) for digests in reached], gap_ms)
        own = {window[i].digest for i in places.tolist()}
        first, stretch = int(places[0]), TimeRange(int(times[places[0]]), int(times[-1]), int(at[0]), int(at[-1]))
        query_share = 100 * len(own) / len({seen.digest for seen in window})
        entry_share = 100 * len(self._reached[entry_id]) / max(1, digest_count)
        shown = listed.distinct(at)
        is_dense = 2 * len(places) >= len(window) - first or (
            2 * shown >= listed.distinct_between(stretch.entry_begin_ms, stretch.entry_end_ms)
        )
        is_excerpt = goes_on(stretch, min(len(own), shown), is_dense=is_dense)
        if not is_excerpt and entry_share < MIN_SHARE:
            return None
        nearest = min((min(window[i].near[d] for d in reached[i]), window[i].digest) for i in places.tolist())
        is_long = times[-1] - times[0] >= WHOLE_MS
        return VideoPlay(
            nearest,
            stretch,
            len(places),
            query_share,
            entry_share,
            bool(is_excerpt and is_long and query_share >= MIN_SHARE),
            are_several(sorted(own)),
        )
