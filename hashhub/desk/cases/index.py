"""Which cases stop copies of an upload: by exact digest, and by near ones of pictures and frames of videos."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from hashhub.desk.cases.life import Cases
from hashhub.desk.decision import Action
from hashhub.errors import HashHubError
from hashhub.hashes import ALGORITHMS, VPDQ, Hash, is_exact
from hashhub.model import Query, ReasonLine, now

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hashhub.desk.records import Version

MAX_DISTANCE: Final = ALGORITHMS["PDQ"].default_max_distance or 0
"""Bits, inclusive, at which a picture counts as a copy: what PDQ calls the same picture."""
VIDEO_SHARE: Final = 0.8
"""Share of the frames of a case's video, or of the upload's, that the other has as well.

Source: the vPDQ extension of python-threatexchange matches from 80 % of a query's frames on.
"""
_FRAME: Final = "frame"  # the variant that an upload is hit by where a picture is one of a video's frames
_MOST_PAIRS: Final = 1_000_000  # compared at once, and near one another at most: some 50 MB
ENDING_SECONDS: Final = 60.0  # between two tries to end what nobody confirmed
_VIDEO: Final = 1 << 32  # more than a video has frames
_FAR: Final = 1 << 62
STOPPED: Final = "CASE_"  # begins the code of a reason, the clause of which is the case
_HOW: Final = re.compile(r"(\w+) (?:exactly|at distance (\d+))(?:, by its variant (.+))?")  # CaseHit.how


class CaseHit(NamedTuple):
    """A case of whose item an upload is a copy: what is done with it, and by what it was noticed."""

    case: str
    action: Action
    algorithm: str
    distance: int
    variant: str

    @property
    def how(self) -> str:
        """By what, in words."""
        near = "exactly" if self.distance == 0 else f"at distance {self.distance}"
        return f"{self.algorithm} {near}{f', by its variant {self.variant}' if self.variant else ''}"

    @property
    def rank(self) -> tuple[bool, int]:
        """The whole before a part, then the nearest."""
        return self.variant == _FRAME, self.distance


class _CaseState(NamedTuple):
    action: Action
    until: datetime | None
    hashes: list[tuple[Hash, str]]


class CaseIndex:
    """The digests of cases in memory (300 bytes each), up to date with the records at each answer. Thread-safe."""

    def __init__(self, cases: Cases, *, only: str = "") -> None:
        """`only`: the name of the one case that is looked for."""
        self._cases = cases
        self._only = only
        self._lock = threading.Lock()
        self._change = 0
        self._version: Version = (0, 0)
        self._next_ending = 0.0
        self._stops: dict[str, _CaseState] = {}
        self._by_digest: dict[Hash, list[str]] = {}
        self._pdq = CaseDigests()
        self._frames = CaseDigests()

    def hits(self, query: Query) -> list[CaseHit]:
        """Return the nearest hit for each case of which this is a copy. Frames of an uploaded video meet pictures of
        cases too, and pictures frames: such a hit is of a part, holds and never blocks. Raises HashHubError for
        unreadable records.
        """
        by_digest, pdq, frames = self._current()
        if not self._stops:
            return []
        best: dict[str, CaseHit] = {}
        shown: list[bytes] = []
        own: dict[bytes, str] = {}
        for h, variant in _hashes(query):
            if is_exact(h.algorithm):
                for name in by_digest.get(h, ()):
                    self._keep(best, name, h.algorithm, 0, variant)
            elif h.algorithm == "PDQ":
                own.setdefault(h.digest, variant)
        if query.frames and not (pdq.is_empty and frames.is_empty):
            from hashhub.answering.videos import frame_digests

            shown = frame_digests(query)
        variants = list(own.values())
        for name, distance, number in pdq.nearest(list(own)):
            self._keep(best, name, "PDQ", distance, variants[number])
        for name, distance, _ in pdq.nearest(shown):
            self._keep(best, name, "PDQ", distance, _FRAME)
        for name, distance in frames.alike(shown):
            self._keep(best, name, VPDQ.name, distance, "")
        for name, distance, _ in frames.nearest(list(own)):
            self._keep(best, name, VPDQ.name, distance, _FRAME)
        return sorted(best.values(), key=lambda hit: (hit.rank, hit.case))

    def noted(self, reasons: Iterable[ReasonLine]) -> list[CaseHit]:
        """Return a hit for each case that stopped an upload, by the reasons on record, and stops copies now: hashes of
        variants and frames, by which it was noticed, are not kept. Raises HashHubError as `hits` does.
        """
        self._current()
        best: dict[str, CaseHit] = {}
        for line in reasons:
            if line.code.startswith(STOPPED) and (how := _HOW.fullmatch(line.text.rpartition(": ")[2])):
                self._keep(best, line.clause, how[1], int(how[2] or 0), how[3] or "")
        return list(best.values())

    def has_cases(self) -> bool:
        """Whether a case stops uploads now. Raises HashHubError when the records cannot be read."""
        self._current()
        return bool(self._stops)

    def reads_frames(self) -> bool:
        """Whether a case stops uploads now by what frames of videos are compared with. Raises as `has_cases`."""
        _, pdq, frames = self._current()
        return not (pdq.is_empty and frames.is_empty)

    def _keep(self, best: dict[str, CaseHit], name: str, algorithm: str, distance: int, variant: str) -> None:
        stops = self._stops.get(name)
        if stops is None:
            return
        action = Action.HOLD if variant == _FRAME else stops.action
        hit = CaseHit(name, action, algorithm, distance, variant)
        if name not in best or hit.rank < best[name].rank:
            best[name] = hit

    def _current(self) -> tuple[Mapping[Hash, list[str]], CaseDigests, CaseDigests]:
        loaded = self._load()
        return self._load() if self._end_unconfirmed() else loaded

    def _end_unconfirmed(self) -> bool:
        """End cases that nobody confirmed in time; return whether it was tried, each minute at most."""
        with self._lock:
            if all(stops.until is None or stops.until > now() for stops in self._stops.values()):
                return False
            if time.monotonic() < self._next_ending:
                return False
            self._next_ending = time.monotonic() + ENDING_SECONDS
        with contextlib.suppress(HashHubError):
            self._cases.end_unconfirmed()
        return True

    def _load(self) -> tuple[Mapping[Hash, list[str]], CaseDigests, CaseDigests]:
        with self._lock:
            version = self._cases.version()  # before what it tells of is read
            if version == self._version:
                return self._by_digest, self._pdq, self._frames
            last, changed = self._cases.changes(self._change)
            if changed:
                for name, (action, until, hashes) in changed.items():
                    if action is Action.ALLOW or (self._only and name != self._only):
                        self._stops.pop(name, None)
                    else:
                        self._stops[name] = _CaseState(action, until, hashes)
                by_digest: dict[Hash, list[str]] = {}
                pdq: list[tuple[str, bytes]] = []
                frames: list[tuple[str, bytes]] = []
                for name, stops in self._stops.items():
                    for h, _ in stops.hashes:
                        if is_exact(h.algorithm):
                            by_digest.setdefault(h, []).append(name)
                        else:
                            (pdq if h.algorithm == "PDQ" else frames).append((name, h.digest))
                self._by_digest, self._pdq, self._frames = by_digest, CaseDigests(pdq), CaseDigests(frames)
            self._change, self._version = last, version
            return self._by_digest, self._pdq, self._frames


class CaseDigests:
    """Digests of 32 bytes, and all of them within MAX_DISTANCE of others."""

    def __init__(self, named: Iterable[tuple[str, bytes]] = ()) -> None:
        numbers: dict[str, int] = {}
        digests: list[bytes] = []
        owners: list[int] = []
        for name, digest in named:
            owners.append(numbers.setdefault(name, len(numbers)))
            digests.append(digest)
        self.names = list(numbers)
        self.is_empty = not digests
        if digests:
            import faiss
            import numpy as np

            self._digests = faiss.IndexBinaryFlat(256)
            self._digests.add(_table(digests))
            self._owners = np.array(owners)
            self._sizes = np.bincount(self._owners)

    def nearest(self, digests: Sequence[bytes]) -> list[tuple[str, int, int]]:
        """Return the names with a digest near one of these: the least distance, and the number of that digest."""
        if self.is_empty or not digests:
            return []
        import numpy as np

        ways = np.full(len(self.names), _FAR, np.int64)
        for numbers, rows, distances in self._pairs(digests):
            np.minimum.at(ways, self._owners[rows], distances * _VIDEO + numbers)
        return [(self.names[i], *divmod(int(ways[i]), _VIDEO)) for i in np.flatnonzero(ways < _FAR).tolist()]

    def alike(self, frames: Sequence[bytes]) -> list[tuple[str, int]]:
        """Return the names of videos that share VIDEO_SHARE of their frames, or of these, with the least distance."""
        if self.is_empty or not frames:
            return []
        import numpy as np

        is_reached = np.zeros(len(self._owners), np.bool_)
        frame_counts = np.zeros(len(self.names), np.int64)
        least = np.full(len(self.names), _FAR, np.int64)
        for numbers, rows, distances in self._pairs(frames):  # all pairs of a frame come together
            owners = self._owners[rows]
            is_reached[rows] = True
            np.minimum.at(least, owners, distances)
            frame_counts += np.bincount(
                np.unique(numbers * len(self.names) + owners) % len(self.names), minlength=len(self.names)
            )
        reached = np.bincount(self._owners[is_reached], minlength=len(self.names))
        is_alike = (reached >= VIDEO_SHARE * self._sizes) | (frame_counts >= VIDEO_SHARE * len(frames))
        return [(self.names[i], int(least[i])) for i in np.flatnonzero(is_alike).tolist()]

    def _pairs(self, digests: Sequence[bytes]) -> Iterator[tuple[NDArray[np.int64], ...]]:
        """Yield which of the digests are near which rows, and how far, int64[n] each."""
        import faiss
        import numpy as np

        faiss.omp_set_num_threads(1)  # of this thread: uploads are decided over side by side
        step = max(1, _MOST_PAIRS // len(self._owners))
        for low in range(0, len(digests), step):
            # FAISS takes what is below, we what is within.
            ends, distances, rows = self._digests.range_search(_table(digests[low : low + step]), MAX_DISTANCE + 1)
            counts = np.diff(ends.astype(np.int64))
            yield low + np.repeat(np.arange(len(counts)), counts), rows, distances.astype(np.int64)


def _table(digests: Sequence[bytes]) -> NDArray[np.uint8]:
    import numpy as np

    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)


def _hashes(query: Query) -> Iterable[tuple[Hash, str]]:
    for h in query.hashes:
        yield h, ""
    for variant in query.variants:
        for h in variant.hashes:
            yield h, variant.variant
