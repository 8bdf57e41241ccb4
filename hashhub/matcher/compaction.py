"""What is built aside and swapped in (merges in memory, snapshots on disk, rebuilds, other processes' snapshots), and
whether what answers is still what was written.

A publisher's snapshot writes new files for the tail and whatever is small enough to be merged with it, and links to the
rest. Searches and changes go on meanwhile.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hashhub.background import Background
from hashhub.errors import DataLoss, FailedPrecondition, HashHubError, LimitExceeded, Unavailable
from hashhub.matcher.index import (
    ANY,
    Bitmap,
    Owners,
    Progress,
    Rows,
    Segment,
    SegmentParts,
    SegmentSource,
    build,
    owners_from,
    sorted_rows,
    space,
)
from hashhub.matcher.plan import SCAN_BELOW
from hashhub.matcher.search import packed_rows
from hashhub.matcher.snapshot import Directory, Snapshot
from hashhub.matcher.state import LiveState
from hashhub.model import now

RECHECK_LOOK_SECONDS: Final = 1.0
RECHECK_SECONDS: Final = 30.0  # after which a file is compared again, if the rate allows
_RECHECK_BYTES: Final = 8 << 20  # compared in a second: about a fiftieth of a core
_DAY: Final = 86_400.0  # in which all of it is compared, at whatever rate that takes
_PIECE: Final = 1 << 20  # bytes; a file of no more is small, and is compared in time whatever else is


class SnapshotFile(NamedTuple):
    """A file of a segment as it is mapped, and the SHA-256 that it was written with."""

    segment: str
    part: str
    algorithm: str
    mapped: NDArray[Any]
    sha256: str

    def is_damaged(self, wait: Callable[[int], object] = bool) -> bool:
        """Whether it is not what was written; `wait` is told how many bytes were read, after each piece."""
        content = self.mapped.reshape(-1).view(np.uint8).data
        digest = hashlib.sha256()
        for at in range(0, len(content), _PIECE):
            digest.update(content[at : at + _PIECE])
            wait(min(_PIECE, len(content) - at))
        return digest.hexdigest() != self.sha256

    def __str__(self) -> str:
        return (
            f"the index of {self.algorithm} is damaged: its {self.part}, {self.mapped.nbytes} bytes, are not what was "
            "written; nothing is answered until it is rebuilt from the database. Check the machine's disk and memory"
        )


class Recheck:
    """The thread that compares what answers with the snapshot's checksums, again and again: a disk or memory that goes
    bad would otherwise answer NO_MATCH in silence. Of the processes that share a directory one compares, whoever holds
    `recheck.lock`, and names what is damaged in the file DAMAGED, which all look at each second.

    `is_damaged`: whether it is known already; `damaged` is told what differs.
    """

    def __init__(
        self, live: LiveState, directory: Directory, is_damaged: Callable[[], bool], damaged: Callable[[str], None]
    ) -> None:
        self._live = live
        self._directory = directory
        self._is_damaged = is_damaged
        self._damaged = damaged
        self._compared: dict[tuple[str, str], float] = {}  # when, by segment and part
        self.thread = Background(
            "matcher-recheck", self._round, complaint="the index is not compared again", pause=RECHECK_LOOK_SECONDS
        )

    def _round(self) -> None:
        """Compare the small files that are due, and the one of the others that was not compared for longest."""
        snapshot = self._live.now.snapshot
        if snapshot is None or self._is_damaged():
            return
        files = list(files_of(snapshot))
        self._compared = {f[:2]: at for f in files if (at := self._compared.get(f[:2])) is not None}
        marked = self._directory.marked_damaged()
        if any(f.segment == marked for f in files):
            self._damaged(str(next(f for f in files if f.segment == marked)))
        elif self._directory.may_recheck():
            rate = max(_RECHECK_BYTES, snapshot.nbytes / _DAY)
            small = [f for f in files if f.mapped.nbytes <= _PIECE]
            large = sorted((f for f in files if f.mapped.nbytes > _PIECE), key=lambda f: self._compared.get(f[:2], 0.0))

            def rest(n: int) -> None:
                self.thread.wait(n / rate)
                self._compare(small, rate)

            self._compare(small, rate)
            self._compare(large[:1], rate, rest)

    def _compare(self, files: Sequence[SnapshotFile], rate: float, rest: Callable[[int], object] | None = None) -> None:
        """Compare those of the files that are due, at so many bytes a second, or resting as told."""
        for file in files:
            if (
                self.thread.is_stopping
                or self._is_damaged()
                or time.monotonic() - self._compared.get(file[:2], -_DAY) < RECHECK_SECONDS
            ):
                continue
            is_damaged = file.is_damaged(rest or (lambda n: self.thread.wait(n / rate)))
            now = self._live.now.snapshot  # another one may have taken its place
            if is_damaged and now is not None and any(f.segment == file.segment for f in files_of(now)):
                self._directory.mark_damaged(file.segment)
                self._damaged(str(file))
            self._compared[file[:2]] = time.monotonic()


def files_of(snapshot: Snapshot) -> Iterator[SnapshotFile]:
    """Yield the mapped files of a snapshot."""
    by_name = {segment.name: segment for segments in snapshot.segments.values() for segment in segments}
    for entry in snapshot.manifest["segments"]:
        for part, described in entry["files"].items():
            segment = by_name[entry["name"]]
            if part == "owners" or part in SegmentParts._fields:  # bits of withdrawn rows are in memory, and change
                mapped = segment.owners.as_written if part == "owners" else getattr(segment.parts, part)
                yield SnapshotFile(entry["name"], part, entry["algorithm"], mapped, described["sha256"])


_log = logging.getLogger(__name__)

_MERGE_RATIO: Final = 4
"""A tail segment is merged with newer ones once they are together a quarter of its size: each digest moves a few times
in all.
"""
_MERGE_RUN: Final = 4
"""Tail segments of like size that may stand side by side; each costs a query some microseconds."""
_QUIET_SECONDS: Final = 1.0
"""Without a change, before what has gathered is published: while a list is committed its digests come some ten thousand
at a time, each snapshot writes anew most of the one before, and whoever commits has better use for the processor.
"""
_LOOK_SECONDS: Final = 0.1  # between two looks whether there is too much to wait any longer
_MOST_PENDING: Final = 4
"""Times `compact_after` that may gather meanwhile: bounds what a start after a crash reads."""
_SNAPSHOT_RATIO: Final = 8
"""On disk a segment is rewritten once what follows it is an eighth of its size: at most four segments at 100 M."""
_SNAPSHOT_RATIO_BUSY: Final = 1
"""The same, while changes come in: once what follows it is of its size. Ten million digests are not written anew in the
middle of a commit of one million; that can wait until all is quiet.
"""
_WITHDRAWN_SHARE: Final = 0.25
"""A segment on disk is rewritten without its withdrawn rows once they are this share of it."""
_RETRY_SECONDS: Final = 30.0
"""After a failed snapshot. The disk may be full: trying at every change would keep it busy for nothing."""
_SPOOL_ROWS: Final = 1 << 22
"""Rows of a rebuild that wait in memory before they are sorted and merged with the rest."""
_OWNED_AT_ONCE: Final = 1 << 16
"""Rows whose owners are put together at once: what that takes besides is little then."""


Chunk: TypeAlias = tuple[str, NDArray[np.uint8]] | tuple[str, NDArray[np.uint8], NDArray[np.int64]]
"""Digests of one algorithm, and beside each the key of a hash set that has it; without keys: ANY."""
_Owned: TypeAlias = tuple[Rows, Owners]


class _ClosingError(Exception):
    """The matcher is being closed: background work ends here. Never leaves this module."""


class Compaction:
    """Keeps a live state compact, in the background and when asked. See `Matcher` for what its methods promise."""

    def __init__(
        self, live: LiveState, directory: Directory | None, *, publisher: bool, compact_after: int, threads: int
    ) -> None:
        """Open the newest sound snapshot, and start the background thread. publisher: publishes in the directory."""
        self.damaged = False
        self.damages = 0
        self.last_damage = ""
        self.error: str | None = None
        self._is_touched = False
        self.thread = Background(
            "matcher-compaction", self._work, complaint="the matcher's tail is not merged", pause=_RETRY_SECONDS
        )
        self.checked = threading.Event()
        self._live = live
        self._directory = directory
        self._publishes_in = directory if publisher else None
        self._compact_after = compact_after
        self._threads = threads
        self._retry_at = 0.0
        self._stamp: tuple[int, int] | None = None
        if directory:
            self._open(directory)
        if not (self._publishes_in and live.now.snapshot):
            self.checked.set()
        self.thread.start()
        self.recheck = Recheck(live, directory, lambda: self.damaged, self._note_damage) if directory else None
        if self.recheck:
            self.recheck.thread.start(at_once=False)

    def _note_damage(self, what: str) -> None:
        """Let nothing be answered, or published, until all was rebuilt."""
        if not self.damaged:
            self.damages += 1
            self.last_damage = f"{what} (found {now():%Y-%m-%d %H:%M:%SZ})"
            _log.error("matcher: %s", what)
        self.damaged = True
        self.error = what

    def _open(self, directory: Directory) -> None:
        """Open the newest sound snapshot; set damaged ones aside."""
        self._stamp = directory.stamp()
        for name in directory.names():
            try:
                snapshot = directory.open(name)
            except DataLoss as e:
                self.error = e.message
                self.damaged = True
                if self._publishes_in:
                    directory.set_aside(name)
                continue
            self._live.open(snapshot)
            # The older one is complete too, only earlier: the caller tails from there.
            marked = directory.marked_damaged()
            self.damaged = any(described["name"] == marked for described in snapshot.manifest["segments"])
            return

    def close(self) -> None:
        """Stop the background thread, and release the directory."""
        if self.recheck:
            self.recheck.thread.close()
        self.thread.close()
        if self._directory:
            self._directory.close()

    @property
    def awaits_publisher(self) -> bool:
        """Whether another process publishes here."""
        return self._directory is not None and self._directory.awaits_publisher()

    def wake(self) -> None:
        """Let the background look whether the state has grown enough for work."""
        if self._due():
            self.thread.wake()

    def rebuild(
        self,
        revision: int,
        digests: Iterable[Chunk],
        progress: Progress | None = None,
        *,
        or_in_memory: bool = False,
    ) -> None:
        """Replace everything by these digests: the store at `revision`."""
        with self._live.building:
            if revision < self._live.logged_from:
                raise FailedPrecondition(
                    f"the matcher is at revision {self._live.now.revision} and cannot go back to {revision}; "
                    "rebuild from a newer state"
                )
            rows = _gathered(digests, self._threads, progress)
            failure: HashHubError | None = None
            if self._publishes_in:
                try:
                    self._publish(self._publishes_in, revision, {}, rows, self._threads, progress)
                except (LimitExceeded, Unavailable) as e:
                    if not or_in_memory:
                        raise
                    failure = e
                    self._publishes_in.clear()
            if failure or not self._publishes_in:
                built = {}
                for name, (of_one, owners) in rows.items():
                    segment = build(space(name), [SegmentSource(of_one, is_sorted=True)], self._threads, progress)
                    segment.owners = owners
                    built[name] = (segment,)
                self._live.replace(built, None if failure else self._live.now.snapshot, revision, None)
            if self._publishes_in and self.damaged:
                for older in self._publishes_in.names()[not failure :]:
                    self._publishes_in.set_aside(older)  # they may share the file
                self._publishes_in.unmark_damaged()
            self.damaged = False
            self.error = failure.message if failure else None
            if failure:
                self._live.raise_pending(self._compact_after)  # due as soon as it is tried again
                self._retry_at = time.monotonic() + _RETRY_SECONDS

    def compact(self, progress: Progress | None = None) -> None:
        """Publish the present state, or merge what is in memory, in this thread."""
        with self._live.building:
            if self._publishes_in:
                self._compact_to_disk(self._publishes_in, self._threads, progress)
            else:
                for name in self._live.now.segments:
                    self._merge(
                        name, [s for s in self._live.now.segments[name] if s.name is None], self._threads, progress
                    )

    def refresh(self) -> bool:
        """Adopt a newer snapshot that another process published. Returns whether one was adopted."""
        if self._directory is None or self._publishes_in:
            return False
        stamp = self._directory.stamp()
        if stamp is None or stamp == self._stamp or not self._live.building.acquire(blocking=False):
            return False  # a merge is under way: the next call comes soon enough
        try:
            name = self._directory.current()
            if name is None:
                return False
            try:
                snapshot = self._directory.open(name, self._live.now.snapshot)
                _touch(snapshot)
            except DataLoss as e:
                # Also when it was replaced and removed between the two steps: the stamp has then changed again.
                self.error = e.message
                return False
            self._stamp = stamp
            if snapshot.revision < self._live.logged_from:
                return False  # what this process holds began later: its log does not reach back so far
            self._live.replace(snapshot.segments, snapshot, snapshot.revision, None)
            self.damaged = False
            self.error = None
            return True
        finally:
            self._live.building.release()

    def verify(self, progress: Progress | None = None) -> None:
        """Read the current snapshot's files and compare their digests."""
        snapshot = self._live.now.snapshot
        if self._directory is None or snapshot is None:
            return
        try:
            self._directory.verify(snapshot, progress)
        except DataLoss as e:
            if self._live.now.snapshot is not snapshot:
                return  # replaced and removed meanwhile
            self._note_damage(e.message)
            raise

    def _due(self, *, is_quiet: bool = True) -> bool:
        """Whether the background has something to do, now that all is quiet or although changes come in."""
        return self._is_to_publish(is_quiet=is_quiet) or any(map(_crowded, self._live.now.segments.values()))

    def _is_to_publish(self, *, is_quiet: bool) -> bool:
        """Whether a start from the snapshot would read much. Where that changes little, a new snapshot is links."""
        if self._publishes_in is None or self.damaged or time.monotonic() < self._retry_at:
            return False
        enough = self._compact_after * (1 if is_quiet else _MOST_PENDING)
        return max(self._live.pending, self._live.applied) >= enough

    def _seconds_to_quiet(self) -> float:
        """Return for how long nothing must change any more until all is quiet."""
        return self._live.changed_at + _QUIET_SECONDS - time.monotonic()

    def _work(self) -> None:
        """A round of the background: check the opened snapshot, then merge and publish when there is enough to do.

        Until the snapshot was read nothing says that it is sound: a check that fails for want of memory comes again.
        """
        if self._live.now.snapshot and not self._is_touched:
            _touch(self._live.now.snapshot)
            self._is_touched = True
        if not self.checked.is_set():
            self._attempt(lambda: self.verify(self._stop_if_closed))
            self.checked.set()
        while self._due() and not self.thread.is_stopping:
            if (seconds := self._seconds_to_quiet()) <= 0 or self._due(is_quiet=False):
                self._attempt(self._tidy)
            else:
                self.thread.wait(min(seconds, _LOOK_SECONDS))

    def _attempt(self, task: Callable[[], None]) -> None:
        """Run a background task; keep an error for `status` and try again later. Searches are unaffected."""
        try:
            task()
        except _ClosingError:
            return
        except HashHubError as e:
            self.error = e.message
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            _log.warning("matcher: %s", e.message)

    def _stop_if_closed(self, _phase: str, _share: float) -> None:
        """Give up background work when somebody waits in `close`."""
        if self.thread.is_stopping:
            raise _ClosingError

    def _tidy(self) -> None:
        """Publish if the tail is large, which merges it; otherwise merge crowded tails, on one core only."""
        with self._live.building:
            is_quiet = self._seconds_to_quiet() <= 0
            if self._publishes_in and self._is_to_publish(is_quiet=is_quiet):
                ratio = _SNAPSHOT_RATIO if is_quiet else _SNAPSHOT_RATIO_BUSY
                self._compact_to_disk(self._publishes_in, 1, self._stop_if_closed, ratio)
            for name in self._live.now.segments:
                if run := _crowded(self._live.now.segments[name]):
                    self._merge(name, run, 1, self._stop_if_closed)

    def _merge(self, name: str, run: Sequence[Segment], threads: int, progress: Progress | None) -> None:
        """Replace some of an algorithm's segments in memory by one, unless `apply` did meanwhile. Needs `building`."""
        standing, sources, since = self._live.sources(name, run)
        if len(standing) < 2 and not any(s.withdrawn for s in standing):  # noqa: PLR2004 - one alone is merged already
            return
        merged = build(space(name), sources, threads, progress, known=standing)
        self._live.exchange(name, standing, merged, since)

    def _compact_to_disk(
        self, directory: Directory, threads: int, progress: Progress | None, ratio: int = _SNAPSHOT_RATIO
    ) -> None:
        """Publish the present state. The caller holds `building`."""
        moment = self._live.moment()
        state = moment.state
        if state.snapshot is not None and not moment.pending and state.snapshot.revision == state.revision:
            return
        linked: dict[str, list[tuple[Segment, Bitmap]]] = {}
        rewritten: dict[str, _Owned] = {}
        for name, segments in state.segments.items():
            first = _rewritten_from(segments, ratio)
            linked[name] = [(s, moment.dead[s]) for s in segments[:first]]
            rest = segments[first:]
            for file in files_of(state.snapshot) if state.snapshot else ():
                # Checksums of what is written from damaged rows would hide that.
                if file.part == "rows" and any(s.name == file.segment for s in rest) and file.is_damaged():
                    self._note_damage(str(file))
                    raise DataLoss(str(file))
            if rest:
                rows = sorted_rows([s.source(moment.dead[s]) for s in rest], space(name).words, threads, progress)
                rewritten[name] = rows, owners_from(rest, rows)
        self._publish(directory, state.revision, linked, rewritten, threads, progress, moment.since)

    def _publish(
        self,
        directory: Directory,
        revision: int,
        linked: Mapping[str, Sequence[tuple[Segment, Bitmap]]],
        rewritten: Mapping[str, _Owned],
        threads: int,
        progress: Progress | None,
        since: int | None = None,
    ) -> None:
        """Write, publish and adopt a snapshot of linked segments and rewritten rows.

        since: the logged changes from this one on came after `revision`'s state was read; None: those of that revision
        or later.
        """
        writer = directory.writer(revision)
        try:
            for name in sorted({*linked, *rewritten}):
                for segment, dead in linked.get(name, ()):
                    assert self._live.now.snapshot is not None  # noqa: S101 - only its segments have files
                    writer.keep(segment, self._live.now.snapshot, dead)
                if name in rewritten and len(rewritten[name][0]):
                    writer.build(space(name), *rewritten[name], threads, progress)
            snapshot = directory.publish(writer, self._live.now.snapshot)
            _touch(snapshot)
        except BaseException:
            writer.abandon()
            raise
        self._live.replace(snapshot.segments, snapshot, revision, since)
        directory.remove_old()
        self.error = None


def _touch(snapshot: Snapshot) -> None:
    for segments in snapshot.segments.values():
        for segment in segments:
            segment.touch()


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


def _rewritten_from(segments: Sequence[Segment], ratio: int) -> int:
    """Return the first of the segments (oldest first) that a new snapshot writes anew, merged with all that follow."""
    first = len(segments)
    newer = 0
    for k in range(len(segments) - 1, -1, -1):
        segment = segments[k]
        if (
            segment.name is None
            or ratio * newer >= segment.living
            or segment.withdrawn >= _WITHDRAWN_SHARE * segment.count
        ):
            first = k
        newer += segment.living
    return first


def _gathered(digests: Iterable[Chunk], threads: int, progress: Progress | None) -> dict[str, _Owned]:
    """Return the sorted distinct rows of a stream of chunks, with their owners.

    Chunks wait until they are as many as what is sorted already: the work stays linear, and repeats never take more
    than that. At most two copies of all are in memory.
    """
    waiting: dict[str, list[SegmentSource]] = {}
    counts: dict[str, int] = {}  # of rows that wait
    gathered: dict[str, Rows] = {}
    total = 0

    def take_in(name: str, progress: Progress | None = None) -> None:
        rows = sorted_rows(waiting[name], space(name).words + 1, threads, progress)
        waiting[name].clear()  # before there are others of as many rows
        counts[name] = 0
        sources = [SegmentSource(rows, is_sorted=True)]
        if name in gathered:
            sources.append(SegmentSource(gathered[name], is_sorted=True))
        gathered[name] = sorted_rows(sources, space(name).words + 1)

    for name, chunk, *keys in digests:
        if counts.get(name, 0) > _SPOOL_ROWS + len(gathered.get(name, ())):
            take_in(name)  # not before more come: the end takes in anyway
        rows = packed_rows(name, chunk)
        # Keys as a last word: then they are sorted with what they belong to.
        rows = np.column_stack([rows, keys[0].astype(np.uint64) if keys else np.full(len(rows), ANY, np.uint64)])
        waiting.setdefault(name, []).append(SegmentSource(rows))
        counts[name] = counts.get(name, 0) + len(rows)
        total += len(rows)
        if progress:
            progress(f"read {total:,} digests", 0.0)
    owned = {}
    for name in waiting:
        take_in(name, progress)
        owned[name] = _owned(gathered.pop(name))
    return owned


def _owned(keyed: Rows) -> _Owned:
    """Return the distinct rows of sorted ones that have the key of a hash set as their last word, and their owners."""
    is_first = np.append(True, (keyed[1:, :-1] != keyed[:-1, :-1]).any(axis=1))[: len(keyed)]
    firsts = np.flatnonzero(is_first)
    rows, owners = np.ascontiguousarray(keyed[firsts, :-1]), Owners(len(firsts))
    for start in range(0, len(keyed), _OWNED_AT_ONCE):
        numbers = np.arange(start, min(start + _OWNED_AT_ONCE, len(keyed)))
        row_of = np.searchsorted(firsts, numbers, "right") - 1
        turns = numbers - firsts[row_of]  # the how-manieth hash set of its row
        for turn in np.unique(turns).tolist():
            of_turn = turns == turn
            keys, which = np.unique(keyed[numbers[of_turn], -1], return_inverse=True)
            owners.add(row_of[of_turn], [frozenset({key}) for key in keys.tolist()], which.astype(np.uint32))
    return rows, owners
