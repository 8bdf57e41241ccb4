"""What a query hits among the frames of videos: a queried video by the share of frames, a picture as a frame.

A video is hit where the entry has 80 % or more of the query's frames, or the query 80 % or more of the entry's: a clip
cut out of a listed video is found, and a listed clip within a long compilation as well. vPDQ compares in both
directions, too, and leaves it to its user which one counts (`hashhub.frames` has its other defaults). Frames are
counted by distinct digests, as python-threatexchange does, so that a still scene weighs no more than its pictures.

Where the entry has less than that of the query, only a part of the upload was hit: that counts as its variant `frame`,
which clears nothing and, unless a policy says otherwise, is a reason to look and no more.

A picture that is near a frame of a listed video was perhaps taken from it: it hits the entry by the variant `frame`,
too. A title card or a landscape is in harmless videos and in others alike.

Work is bounded however many videos share a frame, and nothing that the caller may not see counts towards a bound.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from hashhub import cancellation, frames
from hashhub.hashes import VPDQ
from hashhub.hub.alignment import MAX_RANGES, ranges
from hashhub.model import TimeRange, VideoMatch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from hashhub.frames import FrameColumns
    from hashhub.matcher import Matcher
    from hashhub.model import Query
    from hashhub.store import Store

MIN_SHARE: Final = 80
"""Percent of the frames of either video that the other must have."""
FRAME: Final = "frame"
"""The variant by which a part of a video is hit."""
_FIRST: Final = 1_000  # nearest digests of each frame looked up at first
_MOST: Final = 32_000  # and at most: a frame that is near more is in too many videos to tell one from another
_PIECE: Final = 1_000  # frames searched for at once
_MOST_OF_DIGEST: Final = 10_000  # entries that share one frame which are looked at
_MOST_ROWS: Final = 200_000  # entries that share frames with one query, counted for each frame: some 0.3 s
_LOCATED: Final = 100  # entries of which it is told where: some milliseconds each


class Overlap(NamedTuple):
    """An entry whose frames were hit often enough.

    `nearest`: the least distance, and the digest of the query at it. `tripped`: not without digests whose circuit
    breaker has tripped. `reached`: the entry's digests that were hit, with the numbers of the query's digests.
    """

    entry_id: int
    query_share: float
    entry_share: float
    nearest: tuple[int, bytes]
    tripped: bool
    reached: Mapping[bytes, Sequence[int]]

    @property
    def variant(self) -> str:
        """By what of the upload the entry was hit: the whole, or a part."""
        return "" if self.query_share >= MIN_SHARE else FRAME


class _Near(NamedTuple):
    """The number of a digest of the query that is near a listed one."""

    number: int
    distance: int
    is_tripped: bool


class NearFrames(NamedTuple):
    """The frames of a queried video that match, their distinct digests (uint8[n, 32]), and the listed digests that are
    near these. `cut_short`: there may be more.
    """

    columns: FrameColumns
    digests: NDArray[np.uint8]
    near: Mapping[bytes, Sequence[_Near]]
    cut_short: bool


def near_frames(matcher: Matcher, query: Query, max_distance: int | None, caller: str | None) -> NearFrames | None:
    """Return what the frames of a query are near; None: nothing. `caller`: as in `Matcher.search`."""
    columns = frames.columns_of(query.frames).matching()
    if not len(columns.offsets):
        return None
    digests = np.unique(columns.digests.reshape(-1).view(f"S{frames.DIGEST_BYTES}"))
    rows = digests.view(np.uint8).reshape(-1, frames.DIGEST_BYTES)
    near, cut_short = _search(matcher, rows, max_distance, caller)
    return NearFrames(columns, rows, near, cut_short) if near else None


def overlaps(store: Store, query: NearFrames, hash_sets: Iterable[int]) -> tuple[list[Overlap], bool]:
    """Return the entries of these hash sets (by their keys) that share enough frames with a query, nearest first, and
    whether there may be more.

    They may not be visible any more: ask `Entries.hits_by_ids`.
    """
    near, rows, cut_short = query.near, query.digests, query.cut_short
    by_entry: defaultdict[int, list[bytes]] = defaultdict(list)
    digest_count: dict[int, int] = {}
    total = 0
    shared = store.entries.entries_sharing_frames(sorted(near), sorted(hash_sets), _MOST_OF_DIGEST)
    for digest, entry_id, count in shared:
        if entry_id < 0:
            cut_short = True  # more have this frame
            continue
        if total == _MOST_ROWS:
            cut_short = True
            break
        total += 1
        by_entry[entry_id].append(digest)
        digest_count[entry_id] = count
    chosen = []
    for entry_id, own in by_entry.items():
        overlap = _overlap(entry_id, own, digest_count[entry_id], near, rows)
        if overlap is not None:
            chosen.append(overlap)
    chosen.sort(key=lambda o: (-max(o.query_share, o.entry_share), o.nearest[0], o.entry_id))
    return chosen, cut_short


def located(store: Store, listed: Sequence[Overlap], query: FrameColumns) -> dict[int, VideoMatch]:
    """Return by entry how far the videos agree, and of the first _LOCATED of them where."""
    matches = {
        o.entry_id: VideoMatch(query_share=round(o.query_share, 1), entry_share=round(o.entry_share, 1)) for o in listed
    }
    by_id = {o.entry_id: o for o in listed[:_LOCATED]}
    digests = np.unique(query.digests.reshape(-1).view(f"S{frames.DIGEST_BYTES}"), return_inverse=True)
    times_of: defaultdict[int, list[int]] = defaultdict(list)
    for time, number in zip(query.offsets.tolist(), digests[1].tolist(), strict=True):
        times_of[number].append(time)
    for entry_id, packed in store.entries.frames_of(sorted(by_id)):
        cancellation.check()
        entry = frames.columns(packed).matching()
        reached = by_id[entry_id].reached
        query_times: list[NDArray[np.int64]] = []
        entry_times: list[NDArray[np.int64]] = []
        flat = entry.digests.tobytes()
        for at, time in enumerate(entry.offsets.tolist()):
            numbers = reached.get(flat[at * frames.DIGEST_BYTES : (at + 1) * frames.DIGEST_BYTES], ())
            times = [t for number in numbers for t in times_of[number]]
            if times:
                query_times.append(np.array(times, np.int64))
                entry_times.append(np.full(len(times), time, np.int64))
        if query_times:
            match = matches[entry_id]
            matches[entry_id] = VideoMatch(
                query_share=match.query_share,
                entry_share=match.entry_share,
                ranges=ranges(np.concatenate(query_times), np.concatenate(entry_times)),
            )
    return matches


def picture_in(query: Query, digest: bytes) -> VideoMatch | None:
    """Return where a queried video has the frame with this digest, which hit a still picture."""
    columns = frames.columns_of(query.frames).matching()
    is_it = (columns.digests == np.frombuffer(digest, np.uint8)).all(axis=1)
    if not is_it.any():
        return None
    return VideoMatch(
        query_share=round(100 * float(is_it.mean()), 1),
        entry_share=100.0,
        ranges=tuple(TimeRange(begin, end, 0, 0) for begin, end in _runs(columns.offsets, is_it)),
    )


class Shown(NamedTuple):
    """A video whose frames a picture is near: the least distance and the picture's digest at it, those of the entry's
    digests that are near, and how many distinct ones it has. `tripped`: not without digests whose circuit breaker has
    tripped.
    """

    entry_id: int
    tripped: bool
    distance: int
    query_digest: bytes
    digests: set[bytes]
    digest_count: int


class NearPicture(NamedTuple):
    """How a listed frame's digest is near one of a query's digests. `asker`: the number of that query."""

    asker: int
    distance: int
    query_digest: bytes
    is_tripped: bool


def shown_in(
    store: Store, near: Mapping[bytes, Sequence[NearPicture]], hash_sets: Collection[int]
) -> tuple[dict[int, list[Shown]], set[int]]:
    """Return by the number of a query the entries of these hash sets (by their keys) that have a frame which is near
    it, the nearest first; and the numbers of those for which there may be more. `near`: by the listed digest.

    They may not be visible any more: ask `Entries.hits_by_ids`.
    """
    best: dict[tuple[int, int], Shown] = {}
    cut_short: set[int] = set()
    total = 0
    shared = store.entries.entries_sharing_frames(sorted(near), sorted(hash_sets), _MOST_OF_DIGEST)
    for digest, entry_id, count in shared:
        askers = near[digest]
        if entry_id < 0:
            cut_short.update(n.asker for n in askers)  # more have this frame
            continue
        total += len(askers)
        if total > _MOST_ROWS:
            cut_short.update(n.asker for of_digest in near.values() for n in of_digest)
            break
        for n in askers:
            key = n.asker, entry_id
            known = best.get(key)
            digests = set() if known is None else known.digests
            digests.add(digest)
            if known is None or (n.is_tripped, n.distance) < (known.tripped, known.distance):
                best[key] = Shown(entry_id, n.is_tripped, n.distance, n.query_digest, digests, count)
    by_asker: defaultdict[int, list[Shown]] = defaultdict(list)
    for (asker, _), shown in best.items():
        by_asker[asker].append(shown)
    for listed in by_asker.values():
        listed.sort(key=lambda s: (s.distance, s.entry_id))
    return by_asker, cut_short


def where_shown(store: Store, listed: Sequence[Shown]) -> dict[int, VideoMatch]:
    """Return by entry which share of it shows a picture, and of the first _LOCATED of them when."""
    matches = {
        s.entry_id: VideoMatch(
            query_share=100.0, entry_share=round(100 * len(s.digests) / max(1, s.digest_count), 1), ranges=()
        )
        for s in listed
    }
    by_id = {s.entry_id: s for s in listed[:_LOCATED]}
    for entry_id, packed in store.entries.frames_of(sorted(by_id)):
        cancellation.check()
        entry = frames.columns(packed).matching()
        values = entry.digests.reshape(-1).view(f"S{frames.DIGEST_BYTES}")
        is_near = np.isin(values, np.array(sorted(by_id[entry_id].digests), f"S{frames.DIGEST_BYTES}"))
        ranges_in = tuple(TimeRange(0, 0, begin, end) for begin, end in _runs(entry.offsets, is_near))
        matches[entry_id] = msgspec.structs.replace(matches[entry_id], ranges=ranges_in)
    return matches


def _runs(offsets: NDArray[np.int64], chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the times of the first and the last of each run of chosen frames: the first MAX_RANGES runs."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], chosen.astype(np.int8), [0]))))
    begins, ends = edges[::2][:MAX_RANGES], edges[1::2][:MAX_RANGES] - 1
    return list(zip(offsets[begins].tolist(), offsets[ends].tolist(), strict=True))


def frame_digests(query: Query) -> list[bytes]:
    """Return the distinct digests of a queried video's frames that match, in the order of their times."""
    if not query.frames:
        return []
    flat = frames.columns_of(query.frames).matching().digests.tobytes()
    return list(dict.fromkeys(flat[at : at + frames.DIGEST_BYTES] for at in range(0, len(flat), frames.DIGEST_BYTES)))


def _search(
    matcher: Matcher, rows: NDArray[np.uint8], max_distance: int | None, caller: str | None
) -> tuple[dict[bytes, list[_Near]], bool]:
    """Return the listed digests that are near the query's, by digest; and whether there are more."""
    near: defaultdict[bytes, list[_Near]] = defaultdict(list)
    cut_short = False
    # The whole video counts once where the circuit breaker counts: a still scene is not hundreds of uploads.
    first = rows[0].tobytes()
    for low in range(0, len(rows), _PIECE):
        cancellation.check()
        piece = rows[low : low + _PIECE]
        matches = matcher.search(
            VPDQ.name, piece, max_distance=max_distance, limit=_FIRST, caller=caller, stands_for=[first] * len(piece)
        )
        again = np.flatnonzero(matches.truncated).tolist()
        asked = [(matches, range(len(piece)), low, frozenset(again))]
        for r in again:
            cancellation.check()
            more = matcher.search(VPDQ.name, piece[r : r + 1], max_distance=max_distance, limit=_MOST, caller=None)
            cut_short |= bool(more.truncated[0])
            asked.append((more, range(1), low + r, frozenset()))
        for answer, places, at, left_out in asked:
            flat, width = answer.digests.tobytes(), frames.DIGEST_BYTES
            lims, distances = answer.lims.tolist(), answer.distances.tolist()
            tripped = answer.tripped.tolist()
            for place in places:
                if place in left_out:
                    continue
                for k in range(lims[place], lims[place + 1]):
                    near[flat[k * width : (k + 1) * width]].append(_Near(at + place, distances[k], tripped[k]))
    return near, cut_short


def _overlap(
    entry_id: int,
    own: Sequence[bytes],
    digest_count: int,
    near: Mapping[bytes, Sequence[_Near]],
    rows: NDArray[np.uint8],
) -> Overlap | None:
    """Return how far an entry overlaps with the query, if far enough; `own`: its digests that were hit."""
    for with_tripped in (False, True):
        reached = {digest: [n for n in near[digest] if with_tripped or not n.is_tripped] for digest in own}
        reached = {digest: of_digest for digest, of_digest in reached.items() if of_digest}
        numbers = {n.number for of_digest in reached.values() for n in of_digest}
        query_share = 100 * len(numbers) / len(rows)
        entry_share = 100 * len(reached) / max(1, digest_count)
        if max(query_share, entry_share) >= MIN_SHARE:
            distance, number = min((n.distance, n.number) for of_digest in reached.values() for n in of_digest)
            return Overlap(
                entry_id,
                query_share,
                entry_share,
                (distance, rows[number].tobytes()),
                with_tripped,
                {digest: [n.number for n in of_digest] for digest, of_digest in reached.items()},
            )
    return None
