"""The live matcher: snapshot + tail - withdrawn, kept at a revision of the store.

    apply ──► new small segment ──┐                             ┌──► search, contains (no lock: one read of `now`)
    withdraw ─► bit in a segment ─┤                             │
                                  ▼                             │
              State: revision, algorithm -> (segment, segment, …), oldest and largest first
                                  ▲                             ▲
    merge (memory, background) ───┤   compact (disk) ───────────┤   refresh (another process's snapshot)
      neighbours of like size      └─ merged or hard-linked       └─ ours beyond its revision are applied again

`state` holds it, `search` reads it, `compaction` builds what replaces parts of it.
"""

from __future__ import annotations

import functools
import logging
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from hashhub.errors import InvalidArgument, LimitExceeded
from hashhub.hashes import SEARCHED, Metric
from hashhub.kernel_cache import is_kept, load
from hashhub.matcher import kernels, search
from hashhub.matcher.compaction import Chunk, Compaction
from hashhub.matcher.index import ANY, Progress, SegmentSource, sorted_rows, space
from hashhub.matcher.plan import SCAN_BELOW, SearchEngine
from hashhub.matcher.search import (
    CircuitBreaker,
    HashSets,
    Matches,
    Plan,
    QueryBreaker,
    SegmentHits,
    TrippedDigest,
    check_widths,
    checked_distance,
    known_algorithm,
    packed_rows,
)
from hashhub.matcher.snapshot import Directory
from hashhub.matcher.state import LiveState

_log = logging.getLogger(__name__)

_FEW: Final = 8  # exact digests, which are looked up without a kernel
_NOTHING: Final[Mapping[str, NDArray[np.uint8]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The digests of one algorithm: those that match, since the snapshot, withdrawn but stored; all bytes."""

    count: int
    tail: int
    withdrawn: int
    segments: int
    engine: SearchEngine
    nbytes: int


@dataclass(frozen=True, slots=True)
class MatcherStatus:
    """A matcher's state. damaged: a snapshot is damaged and not replaced: rebuild. error: what last went wrong in the
    background, until the next success. damages: how often since the start; last_damage: what and when.
    """

    revision: int
    snapshot_revision: int | None
    algorithms: Mapping[str, IndexStatus]
    pending: int
    damaged: bool
    error: str | None
    tripped: tuple[TrippedDigest, ...]
    damages: int
    last_damage: str


class Matcher:
    """Finds the distinct digests that are near others, exactly, while they are added and withdrawn. Thread-safe:
    searches never lock, and see every change whose `apply` returned before. Use it as a context manager, or call
    `close`.
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
                last one, those included that were there, or absent, already. While they go on coming in, it waits until
                there are four times as many.
            circuit_breaker: When to mark a digest that matches too much; None takes the defaults.
            threads: For batches of queries and for `compact` and `rebuild`; None takes the number of cores.

        Raises:
            FailedPrecondition: Another process publishes in this directory.
            Unavailable: The directory cannot be used.
        """
        cores = threads or len(os.sched_getaffinity(0))
        self.breaker = QueryBreaker(circuit_breaker or CircuitBreaker())
        opened, failure = _opened(directory, publisher=publisher) if directory else (None, None)
        self._pool = ThreadPoolExecutor(cores, "matcher") if cores > 1 else None
        self._live = LiveState(keeps_log=opened is not None)
        try:
            self._compaction = Compaction(
                self._live, opened, publisher=publisher, compact_after=compact_after, threads=cores
            )
        except BaseException:
            if opened:
                opened.close()
            raise
        self._compaction.error = failure or self._compaction.error
        self.threads = [self._compaction.thread]
        if self._compaction.recheck is not None:
            self.threads.append(self._compaction.recheck.thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the background thread and release the directory. Mapped pages go when the last search has returned."""
        self._compaction.close()
        if self._pool:
            self._pool.shutdown()

    # Changes

    @property
    def revision(self) -> int:
        """The highest revision applied: the matcher is the store at this revision. 0: nothing yet."""
        return self._live.now.revision

    @property
    def snapshot_revision(self) -> int | None:
        """The revision of the snapshot in use; None without one."""
        snapshot = self._live.now.snapshot
        return snapshot.revision if snapshot else None

    @property
    def is_checked(self) -> bool:
        """Whether the opened snapshot has been verified against its manifest, by the publishing process only."""
        return self._compaction.checked.is_set()

    @property
    def is_damaged(self) -> bool:
        """Whether what it would answer from is known to be damaged."""
        return self._compaction.damaged

    @property
    def awaits_publisher(self) -> bool:
        """Whether another process is to publish what replaces a damaged snapshot."""
        return self._compaction.awaits_publisher

    def apply(
        self,
        revision: int,
        *,
        add: Mapping[str, NDArray[np.uint8]] = _NOTHING,
        withdraw: Mapping[str, NDArray[np.uint8]] = _NOTHING,
        hash_set: int = ANY,
    ) -> None:
        """Bring the matcher to `revision`. add, withdraw: by algorithm name, uint8[n, digest_bytes]. `hash_set`: the
        key of the one that has what is added; ANY: it is not known which.

        Sets: adding what is present and withdrawing what is absent do nothing; adding what was withdrawn adds it again.
        A digest in both is added. A surplus digest costs one look-up in the store; a missing one would be a missed
        match.

        Changes of a revision below `revision` are part of the state already and ignored. Those of the same revision are
        applied, so a large revision R may come in pieces: all but the last as R - 1, the last as R. A restart in
        between then tails R again.

        Raises InvalidArgument for an unknown algorithm or a wrong shape; nothing is changed then.
        """
        withdrawn = {name: packed_rows(name, digests) for name, digests in withdraw.items() if len(digests)}
        added = {
            name: sorted_rows([SegmentSource(packed_rows(name, digests))], space(name).words)
            for name, digests in add.items()
            if len(digests)
        }
        self._live.apply(revision, added, withdrawn, hash_set)
        self._compaction.wake()

    def rebuild(
        self,
        revision: int,
        digests: Iterable[Chunk],
        progress: Progress | None = None,
        *,
        or_in_memory: bool = False,
    ) -> None:
        """Replace everything by these digests: the store at `revision`, in chunks (algorithm name, uint8[n,
        digest_bytes], and beside each digest the key of a hash set that has it, int64[n]) of any order.

        Chunks may repeat digests. What is applied meanwhile at `revision` or later is kept. Searches see the old state
        until the new one is complete. Needs memory for the rows of the largest algorithm twice; tables are written one
        at a time.

        `or_in_memory`: what is on disk is of no use; where the new snapshot cannot be written, remove it and keep the
        new state in memory. The background writes it once that is possible.

        Raises InvalidArgument for a wrong chunk, LimitExceeded (DISK_FULL) or Unavailable when the snapshot cannot be
        written; the old state stays then.
        """
        self._compaction.rebuild(revision, digests, progress, or_in_memory=or_in_memory)

    def compact(self, progress: Progress | None = None) -> None:
        """Do now, in this thread, what the background does when the tail has grown.

        A publisher writes a snapshot of the present state: new files for the tail and whatever is small enough to be
        merged with it, links to the rest. Any other matcher merges its tail in memory. Searches and changes go on
        meanwhile.

        Raises LimitExceeded (DISK_FULL) or Unavailable when the snapshot cannot be written; the old one stays in use.
        """
        self._compaction.compact(progress)

    def refresh(self) -> bool:
        """Adopt a newer snapshot that another process published, and return whether there was one. What was applied
        here beyond the snapshot's revision stays applied.
        """
        return self._compaction.refresh()

    # Searches

    def search(
        self,
        algorithm: str,
        queries: NDArray[np.uint8],
        *,
        max_distance: int | None,
        limit: int | None = None,
        caller: str | None = "",
        stands_for: Sequence[bytes] | None = None,
        among: Callable[[], HashSets] | None = None,
        hits: Sequence[SegmentHits] | None = None,
    ) -> Matches:
        """Return every digest within `max_distance` of each query.

        Args:
            algorithm: The canonical name.
            queries: uint8[q, digest_bytes].
            max_distance: Inclusive; bits for Hamming metrics, the squared Euclidean distance for PHOTODNA, 0 for exact
                algorithms. None takes the algorithm's default; PHOTODNA has none.
            limit: At most this many matches for each query, the nearest; `truncated` says where more were cut off. None
                returns all. With `among` each contributor has so many for itself.
            caller: Who asks: the circuit breaker counts, and marks, for each caller by itself. None: it does neither.
            stands_for: Beside each query the digest that the circuit breaker counts in its place: of a variant that of
                the upload, so that an upload counts once, however many variants of it are asked about. None: its own.
            among: Returns the keys of hash sets, by contributor: what others have does not count and is left out. Asked
                for when something is hit. None: whoever has it.
            hits: What `hits_nothing` took in of these queries, within the same distance; they are not searched again.

        Raises:
            InvalidArgument: unknown algorithm, wrong shape, a distance out of range, a limit below 1, or
                (DISTANCE_REQUIRED) no distance where there is no default.
        """
        of = known_algorithm(algorithm)
        distance = checked_distance(of, max_distance)
        if limit is not None and limit < 1:
            raise InvalidArgument.field("limit", f"must be at least 1 or absent, got {limit}", "OUT_OF_RANGE")
        if hits is None:
            rows = packed_rows(algorithm, queries)
            segments = self._live.now.segments.get(algorithm, ())
            hits = [(segment, search.search_segment(segment, rows, distance, self._pool)) for segment in segments]
        return search.assembled(
            of, queries, hits, limit=limit, breaker=self.breaker, caller=caller, stands_for=stands_for, among=among
        )

    def hits_nothing(
        self,
        algorithm: str,
        queries: Sequence[bytes],
        *,
        max_distance: int | None,
        caller: str | None = "",
        stands_for: Sequence[bytes] | None = None,
        hits: list[SegmentHits] | None = None,
    ) -> bool:
        """Whether no digest is within `max_distance` of any query: `search` without its answer, for the many lookups
        that hit nothing, one at a time. Arguments and errors as there, but for the queries: digests. `hits` takes in
        what was hit, for `search`, which then counts the queries.
        """
        # What is usual is looked at here: each function that is called after other work took the caches costs some
        # microseconds, and a picture is asked about by seven algorithms.
        of = SEARCHED.get(algorithm) or known_algorithm(algorithm)
        distance = of.default_max_distance
        if distance is None or (max_distance is not None and max_distance != distance):
            distance = checked_distance(of, max_distance)
        width = of.digest_bytes
        for digest in queries:
            if len(digest) != width:
                check_widths(of, queries)
        hits = [] if hits is None else hits
        if segments := self._live.now.segments.get(algorithm):
            if of.metric is Metric.EXACT and len(queries) <= _FEW:
                for segment in segments:
                    if (own := segment.look_up_few(queries)) is not None:
                        hits.append((segment, own))
            else:
                rows = space(algorithm).pack_few(queries)
                for segment in segments:
                    if (own := segment.search_few(rows, distance)) is not None:
                        hits.append((segment, own))
        if hits:
            return False
        count = len(queries) if stands_for is None else sum(map(operator.eq, queries, stands_for))
        self.breaker.missed(algorithm, count, caller=caller)
        return True

    def contains(self, algorithm: str, digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which of the digests, uint8[n, digest_bytes], are present: bool[n]. Raises as `search`."""
        rows = packed_rows(algorithm, digests)
        present = np.zeros(len(rows), np.bool_)
        for segment in self._live.now.segments.get(algorithm, ()):
            present |= segment.contains(rows)
        return present

    def explain(self, algorithm: str, max_distance: int | None) -> Plan:
        """Return how `search` would answer now. Raises InvalidArgument as `search`."""
        of = known_algorithm(algorithm)
        return search.explain(of, self._live.now.segments.get(algorithm, ()), checked_distance(of, max_distance))

    def count(self, algorithm: str) -> int:
        """Return how many digests match. Raises InvalidArgument for an unknown algorithm."""
        return sum(segment.living for segment in self._live.now.segments.get(known_algorithm(algorithm).name, ()))

    # Reports

    def status(self) -> MatcherStatus:
        """Return what is held and what the background does; costs no search."""
        state = self._live.now
        algorithms = {}
        for name, segments in state.segments.items():
            default = SEARCHED[name].default_max_distance
            algorithms[name] = IndexStatus(
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
            pending=self._live.pending,
            damaged=self._compaction.damaged,
            error=self._compaction.error,
            tripped=self.breaker.tripped,
            damages=self._compaction.damages,
            last_damage=self._compaction.last_damage,
        )

    def verify(self, progress: Progress | None = None) -> None:
        """Compare the current snapshot's files with their digests; a publisher also does it after opening. Raises
        DataLoss, after which `status().damaged` stays True until `rebuild`.
        """
        self._compaction.verify(progress)


def _opened(path: Path, *, publisher: bool) -> tuple[Directory | None, str | None]:
    """Return the directory of snapshots; None, and why, where there is none yet and no room for one."""
    try:
        return Directory(path, publisher=publisher), None
    except LimitExceeded as e:
        failure = f"{e.message}; restart the hub once there is room"
        _log.warning("matcher: %s", failure)
        return None, failure


def warm_up(phase: Callable[[bool], AbstractContextManager[None]] = lambda _: nullcontext()) -> None:
    """Compile, or load from the cache, every kernel, so that no request waits for it. Of several processes one
    compiles. `phase` is told whether there are compiled ones by then, and is entered meanwhile.
    """
    load([kernels], _warm_up, phase)


def has_kernels() -> bool:
    """Whether the kernels are kept, so that `warm_up` compiles nothing."""
    return is_kept(kernels)


@functools.cache
def _warm_up() -> None:
    random = np.random.default_rng(0)
    with Matcher(threads=1) as matcher:
        for name, of in SEARCHED.items():
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
