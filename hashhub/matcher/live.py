"""The live matcher: snapshot + tail - withdrawn, kept at a revision of the store.

    apply ──► new small segment ──┐                             ┌──► search, contains (no lock: one read of `_state`)
    withdraw ─► bit in a segment ─┤                             │
                                  ▼                             │
              _State: revision, algorithm -> (segment, segment, …), oldest and largest first
                                  ▲                             ▲
    merge (memory, background) ───┤   compact (disk) ───────────┤   refresh (another process's snapshot)
      neighbours of like size      └─ merged or hard-linked       └─ ours beyond its revision are applied again

Every digest is in at most one segment of its algorithm, living or withdrawn. So adding one that is known restores its
bit, results need no merging of duplicates, and a digest's state is one bit. Whatever replaces segments (a merge, a
snapshot, a rebuild) is built aside from a state of the past; the operations since then are in the log, and their
outcome is applied to the replacement before one reference is swapped.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hashhub.background import Background
from hashhub.errors import (
    DataLoss,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    Reason,
    Unavailable,
    Violation,
)
from hashhub.hashes import ALGORITHMS, Algorithm, Metric
from hashhub.matcher.breaker import Breaker, CircuitBreaker, Tripped
from hashhub.matcher.index import Bitmap, Hits, Progress, Rows, Segment, Source, build, sorted_rows, space
from hashhub.matcher.kernel_cache import use_cache
from hashhub.matcher.plan import SCAN_BELOW, Engine, Part, Thresholds
from hashhub.matcher.snapshot import Directory, Snapshot

_log = logging.getLogger(__name__)

_NOTHING: Final[Mapping[str, NDArray[np.uint8]]] = MappingProxyType({})
_MERGE_RATIO: Final = 4
"""A tail segment is merged with newer ones once they are together a quarter of its size: each digest moves a few times
in all.
"""
_MERGE_RUN: Final = 4
"""Tail segments of like size that may stand side by side; each costs a query some microseconds."""
_SNAPSHOT_RATIO: Final = 8
"""On disk a segment is rewritten once what follows it is an eighth of its size: at most four segments at 100 M."""
_WITHDRAWN_SHARE: Final = 0.25
"""A segment on disk is rewritten without its withdrawn rows once they are this share of it."""
_BLOCK: Final = 128
"""Queries handed to a thread at once."""
_RETRY_SECONDS: Final = 30.0
"""After a failed snapshot. The disk may be full: trying at every change would keep it busy for nothing."""
_SPOOL_ROWS: Final = 1 << 22
"""Rows of a rebuild that wait in memory before they are sorted and merged with the rest."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The answer to q queries, in FAISS's CSR shape: those of query i are at `lims[i]` (inclusive) to `lims[i + 1]`
    (exclusive).

    lims: int64[q + 1]. distances: uint16[k], for PHOTODNA int32[k]. digests: uint8[k, digest_bytes]. truncated:
    bool[q], whether a limit cut off more distant matches. tripped: bool[k], whether the circuit breaker has tripped for
    this digest and caller; never at distance 0. ids: int64[k]: equal ids within one answer are equal digests; they mean
    nothing beyond it. Within a query: ascending distance, then ascending digest, whatever the order and the chunking of
    changes.
    """

    lims: NDArray[np.int64]
    distances: NDArray[np.uint16 | np.int32]
    ids: NDArray[np.int64]
    digests: NDArray[np.uint8]
    truncated: NDArray[np.bool_]
    tripped: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search would be answered. parts: one for each segment, the largest first. max_distance is inclusive."""

    algorithm: str
    max_distance: int
    count: int
    parts: tuple[Part, ...]

    @property
    def engine(self) -> Engine:
        """The engine of the largest segment."""
        return self.parts[0].engine

    @property
    def why(self) -> str:
        """Why that engine."""
        return self.parts[0].why

    @property
    def thresholds(self) -> Thresholds | None:
        """The thresholds of the largest segment, if its tables are used."""
        return self.parts[0].thresholds

    @property
    def expected_probes(self) -> int:
        """Groups visited by one query, in all segments."""
        return sum(p.thresholds.visits for p in self.parts if p.thresholds)

    @property
    def expected_candidates(self) -> float:
        """Whole digests compared for one query, in all segments, if digests were independent and random."""
        return sum(
            p.thresholds.candidates if p.thresholds else p.count for p in self.parts if p.engine is not Engine.SORTED
        )

    @property
    def expected_microseconds(self) -> float:
        """The estimated time of one query on one core."""
        return sum(p.expected_ns for p in self.parts) / 1_000


@dataclass(frozen=True, slots=True)
class AlgorithmStatus:
    """The digests of one algorithm: those that match, those added since the snapshot, those withdrawn but still stored,
    all bytes.
    """

    count: int
    tail: int
    withdrawn: int
    segments: int
    engine: Engine
    nbytes: int


@dataclass(frozen=True, slots=True)
class MatcherStatus:
    """A matcher's state. damaged: a snapshot was found damaged and nothing replaced it yet: rebuild from the store.

    error: what last went wrong in the background, until the next success.
    """

    revision: int
    snapshot_revision: int | None
    algorithms: Mapping[str, AlgorithmStatus]
    pending: int
    damaged: bool
    error: str | None
    tripped: tuple[Tripped, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """One logged operation on one algorithm: rows added, or withdrawn."""

    revision: int
    algorithm: str
    rows: Rows
    added: bool


_Segments: TypeAlias = Mapping[str, tuple[Segment, ...]]


@dataclass(frozen=True, slots=True)
class _State:
    """What searches read: one object, replaced as a whole."""

    revision: int
    segments: _Segments
    snapshot: Snapshot | None = None


class _ClosingError(Exception):
    """The matcher is being closed: background work ends here. Never leaves this module."""


class Matcher:
    """Finds the distinct digests that are near others, exactly, while they are added and withdrawn.

    Thread-safe. Searches never lock and never wait. Changes are visible to every search that starts after `apply`
    returned. Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        publisher: bool = True,
        compact_after: int = 250_000,
        circuit_breaker: CircuitBreaker | None = None,
        threads: int | None = None,
    ) -> None:
        """Open the current snapshot if there is one; then apply the store's changes from `revision` on.

        Args:
            directory: Where snapshots are; None keeps everything in memory.
            publisher: This process compacts and publishes snapshots; the others only adopt them (`refresh`).
            compact_after: Publish a snapshot in the background once this many digests were added or withdrawn since the
                last one.
            circuit_breaker: When to mark a digest that matches too much; None takes the defaults.
            threads: For batches of queries and for `compact` and `rebuild`; None takes the number of cores.

        Raises:
            FailedPrecondition: Another process publishes in this directory.
            Unavailable: The directory cannot be used.
        """
        use_cache()
        self._threads = threads or len(os.sched_getaffinity(0))
        self._compact_after = compact_after
        self._breaker = Breaker(circuit_breaker or CircuitBreaker())
        self._error: str | None = None
        self._directory = self._opened(directory, publisher=publisher) if directory else None
        self._publisher = publisher and self._directory is not None
        self._pool = ThreadPoolExecutor(self._threads, "matcher") if self._threads > 1 else None
        self._changing = threading.Lock()  # held for every change of _state, _changes and withdrawn bits: short
        self._building = threading.Lock()  # held by whoever builds segments aside: long; always taken before _changing
        self._changes: list[_Change] = []
        self._logged_from = 0  # _changes has every change of this revision or later
        self._retry_at = 0.0
        self._pending = 0
        self._damaged = False
        self._stamp: tuple[int, int] | None = None
        self._state = _State(0, {})
        if self._directory:
            self._open(self._directory)
        self._checked = threading.Event()
        if not (self._publisher and self._state.snapshot):
            self._checked.set()
        self._is_touched = False
        self.thread = Background(
            "matcher-compaction", self._work, complaint="the matcher's tail is not merged", pause=_RETRY_SECONDS
        )
        self.thread.start()

    def _opened(self, path: Path, *, publisher: bool) -> Directory | None:
        """Return the directory of snapshots; None where there is none yet and no room for one."""
        try:
            return Directory(path, publisher=publisher)
        except LimitExceeded as e:
            self._error = f"{e.message}; restart the hub once there is room"
            _log.warning("matcher: %s", self._error)
            return None

    def _open(self, directory: Directory) -> None:
        """Open the newest sound snapshot; set damaged ones aside."""
        self._stamp = directory.stamp()
        for name in directory.names():
            try:
                snapshot = directory.open(name)
            except DataLoss as e:
                self._error = e.message
                self._damaged = True
                if self._publisher:
                    directory.set_aside(name)
                continue
            self._state = _State(snapshot.revision, snapshot.segments, snapshot)
            self._logged_from = snapshot.revision
            # The older one is complete too, only earlier: the caller tails from there.
            self._damaged = False
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the background thread and release the directory. Mapped pages go when the last search that uses them
        returns.
        """
        self.thread.close()
        if self._pool:
            self._pool.shutdown()
        if self._directory:
            self._directory.close()

    # --- Changes
    # ------------------------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """The highest revision applied: the matcher is the store at this revision. 0: nothing yet."""
        return self._state.revision

    @property
    def is_checked(self) -> bool:
        """Whether a publisher has read what it opened and compared its digests; damage is then in `status`. Others rely
        on it.
        """
        return self._checked.is_set()

    def apply(
        self,
        revision: int,
        *,
        add: Mapping[str, NDArray[np.uint8]] = _NOTHING,
        withdraw: Mapping[str, NDArray[np.uint8]] = _NOTHING,
    ) -> None:
        """Bring the matcher to `revision`. add, withdraw: by algorithm name, uint8[n, digest_bytes].

        Sets: adding what is present and withdrawing what is absent do nothing; adding what was withdrawn adds it again.
        A digest in both is
        added: a match too many is settled by its entries, a match too few by nobody.

        Changes of a revision below `revision` are part of the state already and ignored. Those of the same revision are
        applied, so a large revision R may come in pieces: all but the last as R - 1, the last as R. A restart in
        between then tails R again.

        Raises InvalidArgument for an unknown algorithm or a wrong shape; nothing is changed then.
        """
        withdrawn = {name: _rows(name, digests) for name, digests in withdraw.items() if len(digests)}
        added = {
            name: sorted_rows([Source(_rows(name, digests))], space(name).words)
            for name, digests in add.items()
            if len(digests)
        }
        with self._changing:
            if revision < self._state.revision:
                return
            self._changes += [_Change(revision, name, rows, False) for name, rows in withdrawn.items()]
            self._changes += [_Change(revision, name, rows, True) for name, rows in added.items()]
            segments, changed = _applied(self._state.segments, added, withdrawn)
            self._pending += changed
            self._state = replace(self._state, revision=revision, segments=segments)
            if not self._directory and not self._building.locked():
                self._changes = []
                self._logged_from = revision
        if self._due():
            self.thread.wake()

    def rebuild(
        self,
        revision: int,
        digests: Iterable[tuple[str, NDArray[np.uint8]]],
        progress: Progress | None = None,
        *,
        or_in_memory: bool = False,
    ) -> None:
        """Replace everything by these digests: the store at `revision`, in chunks (algorithm name, uint8[n,
        digest_bytes]) of any order.

        Chunks may repeat digests. What is applied meanwhile at `revision` or later is kept. Searches see the old state
        until the new one is complete. Needs memory for the rows of the largest algorithm twice; tables are written one
        at a time.

        `or_in_memory`: what is on disk is of no use; where the new snapshot cannot be written, remove it and keep the
        new state in memory. The background writes it once that is possible.

        Raises InvalidArgument for a wrong chunk, LimitExceeded (DISK_FULL) or Unavailable when the snapshot cannot be
        written; the old state stays then.
        """
        with self._building:
            if revision < self._logged_from:
                raise FailedPrecondition(
                    f"the matcher is at revision {self._state.revision} and cannot go back to {revision}; rebuild from "
                    "a newer state"
                )
            rows = _gathered(digests, self._threads, progress)
            failure: HashHubError | None = None
            if self._publisher and self._directory:
                try:
                    self._publish(self._directory, revision, {}, rows, self._threads, progress)
                except (LimitExceeded, Unavailable) as e:
                    if not or_in_memory:
                        raise
                    failure = e
                    self._directory.clear()
            if failure or not (self._publisher and self._directory):
                built = {name: (build(space(name), [Source(r)], self._threads, progress),) for name, r in rows.items()}
                self._replace(built, None if failure else self._state.snapshot, revision, None)
            self._damaged = False
            self._error = failure.message if failure else None
            if failure:
                self._pending = max(self._pending, self._compact_after)  # due as soon as it is tried again
                self._retry_at = time.monotonic() + _RETRY_SECONDS

    def compact(self, progress: Progress | None = None) -> None:
        """Do now, in this thread, what the background does when the tail has grown.

        A publisher writes a snapshot of the present state: new files for the tail and whatever is small enough to be
        merged with it, links to the rest. Any other matcher merges its tail in memory. Searches and changes go on
        meanwhile.

        Raises LimitExceeded (DISK_FULL) or Unavailable when the snapshot cannot be written; the old one stays in use.
        """
        with self._building:
            if self._publisher and self._directory:
                self._compact_to_disk(self._directory, self._threads, progress)
            else:
                for name in self._state.segments:
                    self._merge(
                        name, [s for s in self._state.segments[name] if s.name is None], self._threads, progress
                    )

    def refresh(self) -> bool:
        """Adopt a newer snapshot that another process published; one `stat` when there is none. Returns whether one was
        adopted.

        What was applied here beyond the snapshot's revision stays applied.
        """
        if self._directory is None or self._publisher:
            return False
        stamp = self._directory.stamp()
        if stamp is None or stamp == self._stamp or not self._building.acquire(blocking=False):
            return False  # a merge is under way: the next call comes soon enough
        try:
            name = self._directory.current()
            if name is None:
                return False
            try:
                snapshot = self._directory.open(name, self._state.snapshot)
                _touch(snapshot)
            except DataLoss as e:
                # Also when it was replaced and removed between the two steps: the stamp has then changed again.
                self._error = e.message
                return False
            self._stamp = stamp
            if self._state.snapshot is not None and snapshot.revision < self._state.snapshot.revision:
                return False
            self._replace(snapshot.segments, snapshot, snapshot.revision, None)
            self._damaged = False
            self._error = None
            return True
        finally:
            self._building.release()

    # --- Searches
    # -----------------------------------------------------------------------------------------------------------

    def search(
        self,
        algorithm: str,
        queries: NDArray[np.uint8],
        *,
        max_distance: int | None,
        limit: int | None = None,
        caller: str = "",
    ) -> Matches:
        """Return every digest within `max_distance` of each query.

        Args:
            algorithm: The canonical name.
            queries: uint8[q, digest_bytes].
            max_distance: Inclusive; bits for Hamming metrics, the squared Euclidean distance for PHOTODNA, 0 for exact
                algorithms. None takes the algorithm's default; PHOTODNA has none.
            limit: At most this many matches for each query, the nearest; `truncated` says where more were cut off. None
                returns all.
            caller: Who asks: the circuit breaker counts, and marks, for each caller by itself.

        Raises:
            InvalidArgument: unknown algorithm, wrong shape, a distance out of range, a limit below 1, or
                (DISTANCE_REQUIRED) no distance where there is no default.
        """
        of = _known(algorithm)
        distance = _checked_distance(of, max_distance)
        if limit is not None and limit < 1:
            raise InvalidArgument.field("limit", f"must be at least 1 or absent, got {limit}", "OUT_OF_RANGE")
        rows = _rows(algorithm, queries)
        segments = self._state.segments.get(algorithm, ())
        found = [(segment, self._search_segment(segment, rows, distance)) for segment in segments]
        return self._assembled(of, queries, found, limit, caller)

    def contains(self, algorithm: str, digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return, for uint8[n, digest_bytes], whether each digest itself is present: bool[n]. Raises InvalidArgument as
        `search`.
        """
        rows = _rows(algorithm, digests)
        present = np.zeros(len(rows), np.bool_)
        for segment in self._state.segments.get(algorithm, ()):
            present |= segment.contains(rows)
        return present

    def explain(self, algorithm: str, max_distance: int | None) -> Plan:
        """Return how `search` would answer now. Raises InvalidArgument as `search`."""
        of = _known(algorithm)
        distance = _checked_distance(of, max_distance)
        segments = sorted(self._state.segments.get(algorithm, ()), key=lambda s: -s.count)
        parts = tuple(segment.plan(distance) for segment in segments)
        nothing = Part(Engine.SCAN if of.is_perceptual else Engine.SORTED, "there are no digests yet", 0, 0.0)
        return Plan(of.name, distance, sum(s.living for s in segments), parts or (nothing,))

    def count(self, algorithm: str) -> int:
        """Return how many digests match. Raises InvalidArgument for an unknown algorithm."""
        return sum(segment.living for segment in self._state.segments.get(_known(algorithm).name, ()))

    # --- Reports
    # ------------------------------------------------------------------------------------------------------------

    def status(self) -> MatcherStatus:
        """Return the present state."""
        state = self._state
        algorithms = {}
        for name, segments in state.segments.items():
            default = ALGORITHMS[name].default_max_distance
            algorithms[name] = AlgorithmStatus(
                count=sum(s.living for s in segments),
                tail=sum(s.living for s in segments if s.name is None),
                withdrawn=sum(s.withdrawn for s in segments),
                segments=len(segments),
                engine=self.explain(name, 1 if default is None else default).engine,
                nbytes=sum(s.nbytes for s in segments),
            )
        return MatcherStatus(
            revision=state.revision,
            snapshot_revision=state.snapshot.revision if state.snapshot else None,
            algorithms=algorithms,
            pending=self._pending,
            damaged=self._damaged,
            error=self._error,
            tripped=self._breaker.tripped,
        )

    def verify(self, progress: Progress | None = None) -> None:
        """Read the current snapshot's files and compare their digests; a publisher also does it in the background after
        opening.

        Raises DataLoss, after which `status().damaged` stays True until `rebuild`.
        """
        snapshot = self._state.snapshot
        if self._directory is None or snapshot is None:
            return
        try:
            self._directory.verify(snapshot, progress)
        except DataLoss as e:
            if self._state.snapshot is not snapshot:
                return  # replaced and removed meanwhile
            self._damaged = True
            self._error = e.message
            raise

    # --- Inside
    # -------------------------------------------------------------------------------------------------------------

    def _search_segment(self, segment: Segment, rows: Rows, max_distance: int) -> Hits:
        """Search one segment, in blocks on all threads when there are many queries."""
        if self._pool is None or len(rows) <= _BLOCK:
            return segment.search(rows, max_distance)
        firsts = range(0, len(rows), _BLOCK)
        parts = list(self._pool.map(lambda at: segment.search(rows[at : at + _BLOCK], max_distance), firsts))
        return Hits(
            np.concatenate([part.queries + at for part, at in zip(parts, firsts, strict=True)]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.distances for part in parts]),
        )

    def _assembled(
        self,
        of: Algorithm,
        queries: NDArray[np.uint8],
        found: Sequence[tuple[Segment, Hits]],
        limit: int | None,
        caller: str,
    ) -> Matches:
        """Order what the segments found, cut it off at the limit and put it into CSR shape."""
        kind: type[np.uint16 | np.int32] = np.int32 if of.metric is Metric.SQUARED_EUCLIDEAN else np.uint16
        truncated = np.zeros(len(queries), np.bool_)
        hit: list[tuple[Segment, int, Hits]] = []
        first_id = 0
        for segment, hits in found:
            if len(hits.rows):
                hit.append((segment, first_id, hits))
            first_id += segment.count
        if not hit:
            self._breaker.missed(of.name, len(queries), caller=caller)
            return Matches(
                np.zeros(len(queries) + 1, np.int64), np.empty(0, kind), np.empty(0, np.int64),
                np.empty((0, of.digest_bytes), np.uint8), truncated, np.empty(0, np.bool_),
            )  # fmt: skip
        number = _joined([hits.queries for _, _, hits in hit])
        distances = _joined([hits.distances for _, _, hits in hit])
        counts = np.bincount(number, minlength=len(queries))
        if limit is not None and (truncated := counts > limit).any():
            # Drop what is certainly too far before anything costly is done: of a large cluster little is left.
            near = _within_limit(number, distances, counts, limit)
            ends = np.cumsum([len(hits.rows) for _, _, hits in hit])[:-1]
            hit = [
                (segment, first, Hits(hits.queries[kept], hits.rows[kept], hits.distances[kept]))
                for (segment, first, hits), kept in zip(hit, np.split(near, ends), strict=True)
            ]
            number, distances = number[near], distances[near]
        ids = _joined([hits.rows + first for _, first, hits in hit])
        digests = _joined([segment.space.unpack(segment.parts.rows, hits.rows) for segment, _, hits in hit])
        if len(ids) > 1:
            words = space(of.name).plain(digests)
            order = np.lexsort((*words.T[::-1], distances, number))
            number, distances, ids, digests = number[order], distances[order], ids[order], digests[order]
        if limit is not None and truncated.any():
            counts = np.bincount(number, minlength=len(queries))
            kept = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts) < limit
            distances, ids, digests = distances[kept], ids[kept], digests[kept]
            counts = np.minimum(counts, limit)
        lims = np.zeros(len(queries) + 1, np.int64)
        counts.cumsum(out=lims[1:])
        tripped = self._breaker.record(of.name, queries, lims, distances, digests, caller=caller)
        return Matches(lims, distances.astype(kind), ids, digests, truncated, tripped)

    def _due(self) -> bool:
        """Whether the background has something to do."""
        if self._publisher and self._pending >= self._compact_after and time.monotonic() >= self._retry_at:
            return True
        return any(_crowded(segments) for segments in self._state.segments.values())

    def _work(self) -> None:
        """A round of the background: check the opened snapshot, then merge and publish when there is enough to do.

        Until the snapshot was read nothing says that it is sound: a check that fails for want of memory comes again.
        """
        if self._state.snapshot and not self._is_touched:
            _touch(self._state.snapshot)
            self._is_touched = True
        if not self._checked.is_set():
            self._attempt(lambda: self.verify(self._stop_if_closed))
            self._checked.set()
        while self._due() and not self.thread.is_stopping:
            self._attempt(self._tidy)

    def _attempt(self, task: Callable[[], None]) -> None:
        """Run a background task; an error is kept for `status` and the task tried again later, searches are
        unaffected.
        """
        try:
            task()
        except _ClosingError:
            return
        except HashHubError as e:
            self._error = e.message
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            _log.warning("matcher: %s", e.message)

    def _stop_if_closed(self, _phase: str, _share: float) -> None:
        """Give up background work when somebody waits in `close`."""
        if self.thread.is_stopping:
            raise _ClosingError

    def _tidy(self) -> None:
        """Merge crowded tails; publish if the tail is large. One core only: the others answer."""
        with self._building:
            for name in self._state.segments:
                if run := _crowded(self._state.segments[name]):
                    self._merge(name, run, 1, self._stop_if_closed)
            if self._publisher and self._directory and self._pending >= self._compact_after:
                self._compact_to_disk(self._directory, 1, self._stop_if_closed)

    def _merge(self, name: str, run: Sequence[Segment], threads: int, progress: Progress | None) -> bool:
        """Replace some of an algorithm's segments in memory by one. The caller holds _building.

        Returns False when `apply` merged a small one of them away meanwhile; nothing has changed then.
        """
        with self._changing:
            # A small segment may have been merged into another by `apply` since the run was chosen.
            present = self._state.segments[name]
            run = [s for s in run if s in present]
            sources = [Source(s.parts.rows, s.dead.copy()) for s in run]
            since = len(self._changes)
        if len(run) < 2 and not any(s.withdrawn for s in run):  # noqa: PLR2004 - one alone is merged already
            return True
        merged = build(space(name), sources, threads, progress)
        with self._changing:
            present = self._state.segments[name]
            if any(s not in present for s in run):
                return False
            left = tuple(s for s in present if s not in run)
            merged_in = {**self._state.segments, name: (*left, merged) if merged.count else left}
            caught_up = _caught_up(merged_in, [c for c in self._changes[since:] if c.algorithm == name])
            self._state = replace(self._state, segments=caught_up)
            if self._directory is None:
                self._changes = []
                self._logged_from = self._state.revision
        return True

    def _compact_to_disk(self, directory: Directory, threads: int, progress: Progress | None) -> None:
        """Publish the present state. The caller holds _building."""
        with self._changing:
            state = self._state
            since = len(self._changes)
            dead = {s: s.dead.copy() for segments in state.segments.values() for s in segments}
            if state.snapshot is not None and not self._pending and state.snapshot.revision == state.revision:
                return
        kept: dict[str, list[tuple[Segment, Bitmap]]] = {}
        fresh: dict[str, Rows] = {}
        for name, segments in state.segments.items():
            first = _rewritten_from(segments)
            kept[name] = [(s, dead[s]) for s in segments[:first]]
            rest = segments[first:]
            if rest:
                fresh[name] = sorted_rows(
                    [Source(s.parts.rows, dead[s]) for s in rest], space(name).words, threads, progress
                )
        self._publish(directory, state.revision, kept, fresh, threads, progress, since)

    def _publish(
        self,
        directory: Directory,
        revision: int,
        kept: Mapping[str, Sequence[tuple[Segment, Bitmap]]],
        fresh: Mapping[str, Rows],
        threads: int,
        progress: Progress | None,
        since: int | None = None,
    ) -> None:
        """Write, publish and adopt a snapshot of kept segments and fresh rows.

        since: the logged changes from this one on came after `revision`'s state was read; None: those of that revision
        or later.
        """
        writer = directory.writer(revision)
        try:
            for name in sorted({*kept, *fresh}):
                for segment, dead in kept.get(name, ()):
                    assert self._state.snapshot is not None  # noqa: S101 - only its segments have files
                    writer.keep(segment, self._state.snapshot, dead)
                if name in fresh and len(fresh[name]):
                    writer.build(space(name), fresh[name], threads, progress)
            snapshot = directory.publish(writer, self._state.snapshot)
            _touch(snapshot)
        except BaseException:
            writer.abandon()
            raise
        self._replace(snapshot.segments, snapshot, revision, since)
        self._error = None

    def _replace(self, segments: _Segments, snapshot: Snapshot | None, revision: int, since: int | None) -> None:
        """Swap in segments that hold the store at `revision`, after applying to them what was logged since then.

        since: the first logged change that they lack; None: the first of that revision or a later one. The caller holds
        _building.
        """
        with self._changing:
            later = self._changes[since:] if since is not None else [c for c in self._changes if c.revision >= revision]
            segments = _caught_up(segments, later)
            self._state = _State(max(self._state.revision, revision), segments, snapshot)
            self._changes = later if self._directory else []
            self._logged_from = revision if self._directory else self._state.revision
            self._pending = sum(len(c.rows) for c in later)


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Concatenate, without a copy when there is one: mostly there is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _within_limit(
    number: NDArray[np.int64], distances: NDArray[np.int32], counts: NDArray[np.int64], limit: int
) -> NDArray[np.bool_]:
    """Return which hits are no further than the `limit`-th nearest of their query; more than `limit` where distances
    are equal.
    """
    ordered = np.sort((number << 32) | distances)
    last = np.cumsum(counts) - counts + np.minimum(limit, counts) - 1
    furthest = np.where(counts > 0, ordered[np.maximum(last, 0)] & 0xFFFFFFFF, 0)
    near: NDArray[np.bool_] = distances <= furthest[number]
    return near


def _touch(snapshot: Snapshot) -> None:
    for segments in snapshot.segments.values():
        for segment in segments:
            segment.touch()


def _known(algorithm: str) -> Algorithm:
    """Return the algorithm with this canonical name. Raises InvalidArgument (UNKNOWN_ALGORITHM)."""
    found = ALGORITHMS.get(algorithm)
    if found is None:
        known = ", ".join(ALGORITHMS)
        raise InvalidArgument(
            f"unknown hash algorithm {algorithm[:40]!r}; known algorithms are {known}",
            reason=Reason.UNKNOWN_ALGORITHM,
            violations=(Violation("algorithm", f"must be one of {known}", "UNKNOWN_ALGORITHM"),),
        )
    return found


def _rows(algorithm: str, digests: NDArray[np.uint8]) -> Rows:
    """Return the digests as rows. Raises InvalidArgument unless they are uint8[n, digest_bytes] of a known
    algorithm.
    """
    of = _known(algorithm)
    if digests.dtype != np.uint8 or digests.ndim != 2 or digests.shape[1] != of.digest_bytes:  # noqa: PLR2004 - dimensions
        raise InvalidArgument.field(
            f"{of.name} digests",
            f"must be uint8[n, {of.digest_bytes}], got {digests.dtype}{list(digests.shape)}",
            "WRONG_LENGTH",
        )
    return space(of.name).pack(digests)


def _checked_distance(of: Algorithm, max_distance: int | None) -> int:
    """Return the distance to use. Raises InvalidArgument where it is missing or out of range."""
    if max_distance is None:
        if of.default_max_distance is None:
            raise InvalidArgument(
                f"max_distance: {of.name} has no default distance, because {of.source}",
                reason=Reason.DISTANCE_REQUIRED,
                violations=(Violation("max_distance", f"must be given for {of.name}", "DISTANCE_REQUIRED"),),
            )
        return of.default_max_distance
    most = {Metric.EXACT: 0, Metric.HAMMING: of.bits, Metric.SQUARED_EUCLIDEAN: of.digest_bytes * 255**2}[of.metric]
    if not 0 <= max_distance <= most:
        raise InvalidArgument.field(
            "max_distance", f"must be 0 to {most} for {of.name}, got {max_distance}", "OUT_OF_RANGE"
        )
    return max_distance


def _applied(segments: _Segments, added: Mapping[str, Rows], withdrawn: Mapping[str, Rows]) -> tuple[_Segments, int]:
    """Return the segments after a change, and how many digests it touched. added: sorted and distinct. Withdrawing
    comes first.
    """
    changed = 0
    for name, rows in withdrawn.items():
        for segment in segments.get(name, ()):
            changed += segment.withdraw(segment.locate(rows))
    result = dict(segments)
    for name, rows in added.items():
        present = result.get(name, ())
        for segment in present:
            at = segment.locate(rows)
            changed += segment.restore(at)
            rows = rows[at < 0]  # noqa: PLW2901 - what is left to add
        if len(rows):
            changed += len(rows)
            small = [s for s in present if s.name is None and s.count < SCAN_BELOW]
            if len(rows) >= SCAN_BELOW:
                small = []
            sources = [*(Source(s.parts.rows, s.dead) for s in small), Source(rows)]
            result[name] = (*(s for s in present if s not in small), build(space(name), sources))
    return result, changed


def _caught_up(segments: _Segments, changes: Sequence[_Change]) -> _Segments:
    """Return the segments after the outcome of logged changes: the last one of each digest, so that nothing shows what
    was undone.
    """
    added, withdrawn = {}, {}
    for name in {c.algorithm for c in changes}:
        own = [c for c in changes if c.algorithm == name]
        rows = np.concatenate([c.rows for c in own])
        add = np.concatenate([np.full(len(c.rows), c.added) for c in own])
        order = np.lexsort(rows.T[::-1])  # stable: equal rows stay in the order of the log
        rows, add = rows[order], add[order]
        last = np.append((rows[1:] != rows[:-1]).any(axis=1), True)
        added[name], withdrawn[name] = rows[last & add], rows[last & ~add]
    return _applied(segments, added, withdrawn)[0]


def _crowded(segments: Sequence[Segment]) -> list[Segment]:
    """Return the tail segments that should become one, or none: a run of like sizes, the smallest first."""
    run: list[Segment] = []
    total = 0
    for segment in sorted((s for s in segments if s.name is None and s.count >= SCAN_BELOW), key=lambda s: s.count):
        if run and segment.count > _MERGE_RATIO * total:
            if len(run) >= _MERGE_RUN:
                break
            run, total = [], 0
        run.append(segment)
        total += segment.count
    return run if len(run) >= _MERGE_RUN else []


def _rewritten_from(segments: Sequence[Segment]) -> int:
    """Return the first of the segments (oldest first) that a new snapshot writes anew, merged with all that follow."""
    first = len(segments)
    newer = 0
    for k in range(len(segments) - 1, -1, -1):
        segment = segments[k]
        if (
            segment.name is None
            or _SNAPSHOT_RATIO * newer >= segment.living
            or segment.withdrawn >= _WITHDRAWN_SHARE * segment.count
        ):
            first = k
        newer += segment.living
    return first


def _gathered(
    digests: Iterable[tuple[str, NDArray[np.uint8]]], threads: int, progress: Progress | None
) -> dict[str, Rows]:
    """Return the sorted distinct rows of a stream of chunks.

    Chunks wait until they are twice what is sorted already: the work stays linear, and repeats never take more than
    that.
    """
    waiting: dict[str, list[Rows]] = {}
    counts: dict[str, int] = {}
    limits: dict[str, int] = {}
    total = 0
    for name, chunk in digests:
        if counts.get(name, 0) > limits.get(name, _SPOOL_ROWS):  # not before there is more: the end sorts anyway
            waiting[name] = [sorted_rows(map(Source, waiting[name]), space(name).words, threads)]
            counts[name] = len(waiting[name][0])
            limits[name] = 2 * counts[name] + _SPOOL_ROWS
        rows = _rows(name, chunk)
        waiting.setdefault(name, []).append(rows)
        counts[name] = counts.get(name, 0) + len(rows)
        total += len(rows)
        if progress:
            progress(f"read {total:,} digests", 0.0)
    result = {}
    for name in list(waiting):
        result[name] = sorted_rows(map(Source, waiting.pop(name)), space(name).words, threads, progress)
    return result


def warm_up() -> None:
    """Compile, or load from the cache, every kernel, so that no request has to wait for it: seconds at first, then
    milliseconds.
    """
    random = np.random.default_rng(0)
    with Matcher(threads=1) as matcher:
        for name, of in ALGORITHMS.items():
            count = SCAN_BELOW if of.metric is Metric.HAMMING else 4
            digests = random.integers(0, 256, (count, of.digest_bytes), dtype=np.uint8)
            matcher.apply(1, add={name: digests})
            matcher.apply(1, withdraw={name: digests[:1]})
            matcher.search(name, digests[:2], max_distance=int(of.is_perceptual))
            matcher.apply(1, add={name: digests[:1]})
            few = digests[:2] ^ np.uint8(255)
            matcher.apply(1, add={name: few})
            matcher.search(name, few, max_distance=int(of.is_perceptual))
            matcher.contains(name, few)
