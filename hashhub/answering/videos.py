"""What a query hits among the frames of videos: a queried video by the share of frames, a picture as a frame.

A video is hit where one side has 80 % or more of the other's frames, by distinct digests, or where both go on together
for a stretch (`stretches.goes_on`). Where only a part of the query was hit, or a picture near a frame, that is the
variant `frame`, which clears nothing. Benign sets clear an upload only if an entry has all of its frames and few are
blank.

Work is bounded however many videos share a frame, and nothing that the caller may not see counts towards a bound.
"""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from hashhub import cancellation, frames
from hashhub.answering.stretches import GAP_MS, LEAST_FRAMES, MAX_PAIRS, MAX_RANGES, goes_on, ranges, usual_step
from hashhub.hashes import VPDQ
from hashhub.hygiene import unlike
from hashhub.model import TimeRange, VideoMatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from hashhub.answering.lists import EntryReader
    from hashhub.frames import FrameColumns
    from hashhub.matcher import HashSets, Matcher, Matches
    from hashhub.model import Query

MIN_SHARE: Final = 80
"""Percent of the frames of either video that the other must have."""
FRAME: Final = "frame"
"""The variant by which a part of a video is hit."""
_FIRST: Final = 1_000  # nearest digests of each contributor looked up at first for each frame
_FIRST_PAIRS: Final = 1_000_000  # of all frames: of a very long video fewer of each are looked up
_GROWTH: Final = 32  # how many times as many digests a further round asks for
_PIECE: Final = 200  # frames searched for at once: the matcher holds all that they are near
_MOST_PAIRS: Final = 200_000  # of frames that are near each other, after which no further round begins: some 0.2 s
_SPREAD: Final = 64  # every so many-th digest is searched for first, then those beside these
_SECONDS: Final = 5.0  # after which no further piece is searched for, and no further frame for all that it is near
_SAMPLE: Final = 50  # frames that tell the share of all
MOST_OF_DIGEST: Final = 10_000  # entries of a hash set that share a frame which are looked at: the first and the last
MOST_ROWS: Final = 100_000  # entries that share frames with one query, counted for each frame: some 0.15 s
_MOST_COMPARED: Final = 100_000_000  # pairs that entries' shares are counted from: some 0.5 s
MOST_EXCERPTS: Final = 50  # entries that share few frames with a query of which it is looked whether they go on
_LOCATED: Final = 100  # entries of which it is told where: some milliseconds each


class FrameOverlap(NamedTuple):
    """An entry whose frames were hit often enough.

    `nearest`: the least distance, and the digest of the query at it. `tripped`: not without digests whose circuit
    breaker has tripped. `several_frames`: as `are_several` says of those of the query.
    """

    entry_id: int
    query_share: float
    entry_share: float
    nearest: tuple[int, bytes]
    tripped: bool
    several_frames: bool = False

    @property
    def is_most(self) -> bool:
        """Whether either has most of the other."""
        return max(self.query_share, self.entry_share) >= MIN_SHARE

    @property
    def variant(self) -> str:
        """By what of the upload the entry was hit: the whole, or a part."""
        return "" if self.query_share >= MIN_SHARE else FRAME


class _Pairs:
    """Which of the query's digests are near which listed ones, by their bytes; arrays, for still scenes' sake."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self.owners: dict[bytes, frozenset[int] | None] = {}  # by the listed digest, which hash sets may have it
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16], NDArray[np.bool_]]] = []
        self.count = 0

    def add(self, answer: Matches, rows: NDArray[np.int64]) -> None:
        """Take in an answer about these of the query's digests. What is taken in twice counts once."""
        flat, width = answer.digests.tobytes(), frames.DIGEST_BYTES
        places = self._places
        digests = [flat[at : at + width] for at in range(0, len(flat), width)]
        listed = [places.setdefault(digest, len(places)) for digest in digests]
        self.owners.update(zip(digests, answer.owners, strict=True))
        numbers = np.repeat(rows.astype(np.int32), np.diff(answer.lims))
        self._parts.append((np.array(listed, np.int32), numbers, answer.distances.astype(np.int16), answer.tripped))
        self.count += len(listed)

    def sort(self) -> None:
        """Make them ready to be asked."""
        if not self._parts:
            return
        listed, numbers, distances, tripped = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        self._parts.clear()
        order = np.argsort(listed, kind="stable")
        self._numbers, self._distances, self._tripped = numbers[order], distances[order], tripped[order]
        self._ends = np.searchsorted(listed[order], np.arange(len(self._places) + 1)).tolist()

    def near(self, digest: bytes) -> slice:
        """Return where a listed digest's pairs are; nowhere for one that is not near the query."""
        place = self._places.get(digest)
        return slice(0, 0) if place is None else slice(self._ends[place], self._ends[place + 1])

    def numbers(self, of: slice, *, with_tripped: bool) -> NDArray[np.int32]:
        """Return the numbers of the query's digests in these pairs."""
        numbers = self._numbers[of]
        return numbers if with_tripped else numbers[~self._tripped[of]]

    def nearest(self, of: slice, *, with_tripped: bool) -> tuple[int, int]:
        """Return the least distance in these pairs, of which there is one, and the number of the query's digest."""
        numbers = self.numbers(of, with_tripped=with_tripped)
        distances = self._distances[of] if with_tripped else self._distances[of][~self._tripped[of]]
        least = distances.min()
        return int(least), int(numbers[distances == least].min())


class NearFrames(NamedTuple):
    """The frames of a queried video that match, their distinct digests (uint8[n, 32]), the number of each frame's among
    these, and which listed digests are near them. `is_complete`, bool[n]: of which of them all are known.
    """

    columns: FrameColumns
    digests: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    pairs: _Pairs
    is_complete: NDArray[np.bool_]


def near_frames(
    matcher: Matcher,
    query: Query,
    max_distance: int | None,
    caller: str | None,
    among: Callable[[], HashSets] | None = None,
) -> NearFrames | None:
    """Return what the frames of a query are near; None: nothing. `caller`, `among`: as in `Matcher.search`."""
    columns = matching_frames(query)
    if not len(columns.offsets):
        return None
    digests, numbers = np.unique(columns.digests.reshape(-1).view(f"S{frames.DIGEST_BYTES}"), return_inverse=True)
    rows = digests.view(np.uint8).reshape(-1, frames.DIGEST_BYTES)
    pairs, is_complete = _search(matcher, rows, max_distance, caller, among)
    if not pairs.count and is_complete.all():
        return None
    pairs.sort()
    return NearFrames(columns, rows, numbers.reshape(-1), pairs, is_complete)


def overlaps(
    entries: EntryReader, query: NearFrames, hash_sets: Iterable[Sequence[int]]
) -> tuple[list[FrameOverlap], bool]:
    """Return the entries of these hash sets (their keys, by contributor) that share enough frames with a query, nearest
    first, and whether there may be more. Of too many each contributor has an equal share. They may not be visible any
    more: ask `EntryReader.hits_by_ids`.
    """
    parts = [sorted(keys) for keys in hash_sets]
    chosen, cut_short = _overlaps(entries, query, sorted(key for keys in parts for key in keys), 1)
    if cut_short and len(parts) > 1:
        answers = [_overlaps(entries, query, keys, len(parts)) for keys in parts]
        chosen, cut_short = [o for of_part, _ in answers for o in of_part], any(is_cut for _, is_cut in answers)
    chosen.sort(key=lambda o: (-max(o.query_share, o.entry_share), o.nearest[0], o.entry_id))
    return chosen, cut_short or not query.is_complete.all()


def _overlaps(
    entries: EntryReader, query: NearFrames, keys: Sequence[int], shares: int
) -> tuple[list[FrameOverlap], bool]:
    """Look at one of so many equal shares of the work."""
    pairs, cut_short = query.pairs, False
    by_entry: defaultdict[int, list[slice]] = defaultdict(list)
    digest_count: dict[int, int] = {}
    total = compared = 0
    for digest, entry_id, count in entries.entries_sharing_frames(of_sets(pairs.owners, keys), MOST_OF_DIGEST // 2):
        if entry_id < 0:
            cut_short = True  # more have this frame
            continue
        near = pairs.near(digest)
        total += 1
        compared += near.stop - near.start
        if total > MOST_ROWS // shares or compared > _MOST_COMPARED // shares:
            cut_short = True
            break
        by_entry[entry_id].append(near)
        digest_count[entry_id] = count
    chosen: list[FrameOverlap] = []
    parts: list[FrameOverlap] = []
    for entry_id, own in by_entry.items():
        overlap = _overlap(entry_id, own, digest_count[entry_id], query)
        if overlap is not None:
            (chosen if overlap.is_most else parts).append(overlap)
    parts.sort(key=lambda o: (-o.query_share, o.nearest[0], o.entry_id))
    most = MOST_EXCERPTS // shares or 1
    compared_parts = {o.entry_id: o for o in parts[:most]}
    for entry_id, packed in entries.frames_of(sorted(compared_parts)):
        cancellation.check()
        if _is_excerpt(query, frames.columns(packed).matching()):
            chosen.append(compared_parts[entry_id])
    return chosen, cut_short or len(parts) > most


def _is_excerpt(query: NearFrames, entry: FrameColumns) -> bool:
    """Return whether a query and an entry go on together for a while."""
    times = query.columns.offsets
    for stretch in _where(times, query.numbers, entry, query.pairs):
        own = query.numbers[(times >= stretch.begin_ms) & (times <= stretch.end_ms)]
        is_in = (entry.offsets >= stretch.entry_begin_ms) & (entry.offsets <= stretch.entry_end_ms)
        listed = {digest.tobytes() for digest in entry.digests[is_in]}
        near = [query.pairs.numbers(query.pairs.near(digest), with_tripped=True) for digest in listed]
        is_near = np.isin(own, np.concatenate(near))
        shown = sum(bool(np.isin(numbers, own).any()) for numbers in near)
        is_dense = 2 * int(is_near.sum()) >= len(own) or 2 * shown >= len(listed)
        if goes_on(stretch, min(len(np.unique(own[is_near])), shown), is_dense=is_dense):
            return True
    return False


def located(entries: EntryReader, listed: Sequence[FrameOverlap], query: NearFrames) -> dict[int, VideoMatch]:
    """Return by entry how far the videos agree, and of the first _LOCATED of them where."""
    matches = {
        o.entry_id: VideoMatch(query_share=round(o.query_share, 1), entry_share=round(o.entry_share, 1)) for o in listed
    }
    for entry_id, packed in entries.frames_of(sorted(o.entry_id for o in listed[:_LOCATED])):
        cancellation.check()
        entry = frames.columns(packed).matching()
        stretches = _where(query.columns.offsets, query.numbers, entry, query.pairs)
        matches[entry_id] = msgspec.structs.replace(matches[entry_id], ranges=stretches)
    return matches


def _where(
    times: NDArray[np.int64], numbers: NDArray[np.int64], entry: FrameColumns, pairs: _Pairs
) -> tuple[TimeRange, ...]:
    """Return the stretches in which an entry's frames are near the query's, of which these are times and digests.

    Of a still scene each frame is near all others: frames of the query are left out evenly until the pairs are few
    enough.
    """
    flat, width = entry.digests.tobytes(), frames.DIGEST_BYTES
    near = [pairs.near(flat[at : at + width]) for at in range(0, len(flat), width)]
    most = int(numbers.max(initial=0)) + 1
    repeated = np.bincount(numbers, minlength=most)
    of_digest = {s.start: pairs.numbers(s, with_tripped=True) for s in near if s.stop > s.start}
    frame_counts = {start: int(repeated[of].sum()) for start, of in of_digest.items()}
    total = sum(frame_counts.get(s.start, 0) for s in near if s.stop > s.start)
    step = max(1, -(-total // MAX_PAIRS))
    times, numbers = times[::step], numbers[::step]
    order = np.argsort(numbers, kind="stable")
    ends = np.searchsorted(numbers[order], np.arange(most + 1))
    in_order = times[order]
    shown = {start: _gathered(in_order, ends[of], ends[of + 1]) for start, of in of_digest.items()}
    query_times: list[NDArray[np.int64]] = []
    entry_times: list[NDArray[np.int64]] = []
    count = 0
    for s, moment in zip(near, entry.offsets.tolist(), strict=True):
        if s.stop > s.start and len(shown[s.start]) and count < 2 * MAX_PAIRS:
            query_times.append(shown[s.start])
            entry_times.append(np.full(len(shown[s.start]), moment, np.int64))
            count += len(shown[s.start])
    if not query_times:
        return ()
    gap = max(GAP_MS, 2 * usual_step(times), 2 * usual_step(entry.offsets))
    return ranges(np.concatenate(query_times), np.concatenate(entry_times), gap_ms=gap)


def _gathered(values: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the values between each start and end, one after another."""
    lengths = ends - starts
    at: NDArray[np.int64] = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    gathered: NDArray[np.int64] = values[at]
    return gathered


def are_several(digests: Iterable[bytes]) -> bool:
    """Whether two frames are so unlike each other that no listed frame is near both, at the usual distance: a still
    picture that is shown for a while is one frame. The first _SAMPLE are looked at.
    """
    return unlike(islice(digests, _SAMPLE), 2 * (VPDQ.default_max_distance or 0), 2) > 1


def matching_frames(query: Query) -> FrameColumns:
    """Return the frames of a queried video that match."""
    return frames.columns_of(query.frames).matching()


def picture_in(columns: FrameColumns, digest: bytes) -> VideoMatch | None:
    """Return where a queried video, of which these frames match, has the one that hit a still picture."""
    is_it = (columns.digests == np.frombuffer(digest, np.uint8)).all(axis=1)
    if not is_it.any():
        return None
    return VideoMatch(
        query_share=round(100 * float(is_it.mean()), 1),
        entry_share=100.0,
        ranges=tuple(TimeRange(begin, end, 0, 0) for begin, end in _runs(columns.offsets, is_it)),
    )


class FramesNearPicture(NamedTuple):
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


def of_sets(owners: Mapping[bytes, frozenset[int] | None], keys: Sequence[int]) -> list[tuple[bytes, int]]:
    """Return each digest, ascending, with each of these hash sets that may have it."""
    return [(d, key) for d in sorted(owners) for key in keys if (of := owners[d]) is None or key in of]


def shown_in(
    entries: EntryReader,
    near: Mapping[bytes, Sequence[NearPicture]],
    owners: Mapping[bytes, frozenset[int] | None],
    hash_sets: Iterable[Sequence[int]],
) -> tuple[dict[int, list[FramesNearPicture]], set[int]]:
    """Return by the number of a query the entries of these hash sets (their keys, by contributor) that have a frame
    near it, the nearest first; and the numbers of those for which there may be more. `near`, `owners`: by the listed
    digest. Shares and visibility: as in `overlaps`.
    """
    parts = [sorted(keys) for keys in hash_sets]
    best, cut_short = _shown_in(entries, near, owners, sorted(key for keys in parts for key in keys), 1)
    if cut_short and len(parts) > 1:
        best, cut_short = {}, set()
        for keys in parts:
            of_part, cut_short_in_part = _shown_in(entries, near, owners, keys, len(parts))
            best |= of_part
            cut_short |= cut_short_in_part
    by_asker: defaultdict[int, list[FramesNearPicture]] = defaultdict(list)
    for (asker, _), shown in best.items():
        by_asker[asker].append(shown)
    for listed in by_asker.values():
        listed.sort(key=lambda s: (s.distance, s.entry_id))
    return by_asker, cut_short


def _shown_in(
    entries: EntryReader,
    near: Mapping[bytes, Sequence[NearPicture]],
    owners: Mapping[bytes, frozenset[int] | None],
    keys: Sequence[int],
    shares: int,
) -> tuple[dict[tuple[int, int], FramesNearPicture], set[int]]:
    """Look at one of so many equal shares of the work; return what is shown by query and entry."""
    best: dict[tuple[int, int], FramesNearPicture] = {}
    cut_short: set[int] = set()
    total = 0
    shared = entries.entries_sharing_frames(of_sets(owners, keys), MOST_OF_DIGEST // 2)
    for digest, entry_id, count in shared:
        askers = near[digest]
        if entry_id < 0:
            cut_short.update(n.asker for n in askers)  # more have this frame
            continue
        total += len(askers)
        if total > MOST_ROWS // shares:
            cut_short.update(n.asker for of_digest in near.values() for n in of_digest)
            break
        for n in askers:
            key = n.asker, entry_id
            known = best.get(key)
            digests = set() if known is None else known.digests
            digests.add(digest)
            if known is None or (n.is_tripped, n.distance) < (known.tripped, known.distance):
                best[key] = FramesNearPicture(entry_id, n.is_tripped, n.distance, n.query_digest, digests, count)
    return best, cut_short


def where_shown(entries: EntryReader, listed: Sequence[FramesNearPicture]) -> dict[int, VideoMatch]:
    """Return by entry which share of it shows a picture, and of the first _LOCATED of them when."""
    matches = {
        s.entry_id: VideoMatch(
            query_share=100.0, entry_share=round(100 * len(s.digests) / max(1, s.digest_count), 1), ranges=()
        )
        for s in listed
    }
    by_id = {s.entry_id: s for s in listed[:_LOCATED]}
    for entry_id, packed in entries.frames_of(sorted(by_id)):
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
    """Return the distinct digests of a video's frames that match, by time, and then those of its variants."""
    every = [query.frames, *[variant.frames for variant in query.variants]]
    flat = b"".join(frames.columns_of(shown).matching().digests.tobytes() for shown in every if shown)
    return list(dict.fromkeys(flat[at : at + frames.DIGEST_BYTES] for at in range(0, len(flat), frames.DIGEST_BYTES)))


def _search(
    matcher: Matcher,
    rows: NDArray[np.uint8],
    max_distance: int | None,
    caller: str | None,
    among: Callable[[], HashSets] | None,
) -> tuple[_Pairs, NDArray[np.bool_]]:
    """Return which listed digests are near the query's; and of which of these all are known, bool[n]."""
    pairs = _Pairs()
    is_complete = np.zeros(len(rows), np.bool_)
    # The whole video counts once where the circuit breaker counts: a still scene is not hundreds of uploads.
    first = rows[0].tobytes()
    limit = max(1, min(_FIRST, _FIRST_PAIRS // len(rows)))
    # From all over the video: where there are too many, some frames tell the share as well as all.
    order = np.concatenate([np.arange(start, len(rows), _SPREAD) for start in range(_SPREAD)])
    until = time.monotonic() + _SECONDS
    for low in range(0, len(rows), _PIECE):
        cancellation.check()
        if time.monotonic() > until:
            break
        numbers = order[low : low + _PIECE]
        stands_for = [first] * len(numbers)
        answer = matcher.search(
            VPDQ.name,
            rows[numbers],
            max_distance=max_distance,
            limit=limit,
            caller=caller,
            stands_for=stands_for,
            among=among,
        )
        pairs.add(answer, numbers)
        is_complete[numbers] = ~answer.truncated
    until = time.monotonic() + _SECONDS
    for at in order[~is_complete[order]].tolist():
        limit_of_one = limit
        while not is_complete[at]:
            cancellation.check()
            if pairs.count > _MOST_PAIRS or time.monotonic() > until:
                return pairs, is_complete
            limit_of_one *= _GROWTH
            answer = matcher.search(
                VPDQ.name, rows[at : at + 1], max_distance=max_distance, limit=limit_of_one, caller=None, among=among
            )
            is_complete[at] = not answer.truncated[0]
        pairs.add(answer, np.array([at]))
    return pairs, is_complete


def _overlap(entry_id: int, own: Sequence[slice], digest_count: int, query: NearFrames) -> FrameOverlap | None:
    """Return how far an entry overlaps with the query, if far enough; `own`: the pairs of its digests that were hit."""
    pairs, complete = query.pairs, int(query.is_complete.sum())
    part: FrameOverlap | None = None
    for with_tripped in (False, True):
        is_hit = np.zeros(len(query.digests), np.bool_)
        reached = []
        for near in own:
            numbers = pairs.numbers(near, with_tripped=with_tripped)
            is_hit[numbers] = True
            if len(numbers):
                reached.append(near)
        query_share = 100 * int(is_hit.sum()) / len(is_hit)
        if _SAMPLE <= complete < len(is_hit):
            # Of the others nearer digests of somebody else may have hidden that they are near this entry's.
            query_share = max(query_share, 100 * int((is_hit & query.is_complete).sum()) / complete)
        entry_share = 100 * len(reached) / max(1, digest_count)
        is_part = part is None and min(int(is_hit.sum()), len(reached)) >= LEAST_FRAMES
        if is_part or max(query_share, entry_share) >= MIN_SHARE:
            distance, number = min(pairs.nearest(near, with_tripped=with_tripped) for near in reached)
            overlap = FrameOverlap(
                entry_id,
                query_share,
                entry_share,
                (distance, query.digests[number].tobytes()),
                with_tripped,
                are_several(digest.tobytes() for digest in query.digests[is_hit]),
            )
            if overlap.is_most:
                return overlap
            part = overlap
    return part
