"""What searches read, and the log by which a replacement catches up.

Every digest is in at most one segment of its algorithm, living or withdrawn. So adding one that is known restores its
bit, results need no merging of duplicates, and a digest's state is one bit. Whatever replaces segments (a merge, a
snapshot, a rebuild) is built aside from a state of the past; the operations since then are in the log, and their
outcome is applied to the replacement before one reference is swapped.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hashhub.matcher.index import Bitmap, Rows, Segment, SegmentSource, build, space
from hashhub.matcher.plan import SCAN_BELOW
from hashhub.matcher.snapshot import Snapshot

Segments: TypeAlias = Mapping[str, tuple[Segment, ...]]
"""By algorithm: the oldest and largest first."""


_GATHERED: Final = 1024
"""Small changes that are put together in the log: each takes hundreds of bytes by itself, and a row of it a few dozen.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """Logged operations on one algorithm: rows added, or withdrawn. `revisions`, `added`: one for all, or one each."""

    algorithm: str
    rows: Rows
    revisions: int | NDArray[np.int64]
    added: bool | NDArray[np.bool_]

    def since(self, revision: int) -> Change:
        """Return the part of a revision and later."""
        if not isinstance(self.revisions, np.ndarray):
            return self if self.revisions >= revision else replace(self, rows=self.rows[:0])
        part = np.flatnonzero(self.revisions >= revision)
        added = self.added[part] if isinstance(self.added, np.ndarray) else self.added
        return replace(self, rows=self.rows[part], revisions=self.revisions[part], added=added)


@dataclass(frozen=True, slots=True)
class State:
    """What searches read: one object, replaced as a whole."""

    revision: int
    segments: Segments
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class StateMoment:
    """A state to build a replacement from. since: the first logged change that it lacks; dead: its withdrawn bits."""

    state: State
    since: int
    dead: Mapping[Segment, Bitmap]
    pending: int


class LiveState:
    """The one reference that searches read. building: held by whoever builds segments aside, taken first."""

    def __init__(self, *, keeps_log: bool) -> None:
        """keeps_log: a snapshot will hold the changes; without one the log is needed only while something is built."""
        self.now = State(0, {})
        self.building = threading.Lock()
        self.pending = 0  # digests added or withdrawn since the snapshot
        self.applied = 0  # the same, and those that were there already: a start reads all of them again
        self.changed_at = -math.inf  # by the monotonic clock: when digests were last added or withdrawn
        self.logged_from = 0  # the log has every change of this revision or later
        self._keeps_log = keeps_log
        self._changes: list[Change] = []
        self._small = 0  # logged since some were put together
        self._changing = threading.Lock()  # held for every change of `now`, the log and withdrawn bits: short

    def open(self, snapshot: Snapshot) -> None:
        """Start from a snapshot, before anything else is done."""
        self.now = State(snapshot.revision, snapshot.segments, snapshot)
        self.logged_from = snapshot.revision

    def apply(self, revision: int, added: Mapping[str, Rows], withdrawn: Mapping[str, Rows], hash_set: int) -> None:
        """Apply a change of the store unless the state is beyond it. added: sorted, distinct, of this hash set."""
        with self._changing:
            if revision < self.now.revision:
                return
            self._log(Change(name, rows, revision, added=False) for name, rows in withdrawn.items())
            self._log(Change(name, rows, revision, added=True) for name, rows in added.items())
            segments, changed = _applied(self.now.segments, added, withdrawn, hash_set)
            self.pending += changed
            if added or withdrawn:
                self.changed_at = time.monotonic()
            self.applied += sum(map(len, (*added.values(), *withdrawn.values())))
            self.now = replace(self.now, revision=revision, segments=segments)
            if not self._keeps_log and not self.building.locked():
                self._changes = []
                self.logged_from = revision

    def _log(self, changes: Iterable[Change]) -> None:
        """Append to the log, and put small changes at its end together unless counted. Needs the lock of changes."""
        for change in changes:
            self._changes.append(change)
            self._small += len(change.rows) < SCAN_BELOW
        if self._small > _GATHERED and not self.building.locked():
            first = len(self._changes)
            while first and len(self._changes[first - 1].rows) < SCAN_BELOW:
                first -= 1
            self._changes[first:] = _gathered(self._changes[first:])
            self._small = 0

    def raise_pending(self, digests: int) -> None:
        """Count at least so many digests as pending: no snapshot has them."""
        with self._changing:
            self.pending = max(self.pending, digests)

    def moment(self) -> StateMoment:
        """Return the present state, to build its replacement from. The caller holds `building`."""
        with self._changing:
            state = self.now
            dead = {s: s.dead.copy() for segments in state.segments.values() for s in segments}
            return StateMoment(state, len(self._changes), dead, self.pending)

    def sources(self, name: str, run: Sequence[Segment]) -> tuple[list[Segment], list[SegmentSource], int]:
        """Return those of a run of segments that `apply` has not merged away, their rows for a merge, and the first
        logged change that these lack. The caller holds `building`.
        """
        with self._changing:
            present = self.now.segments[name]
            standing = [s for s in run if s in present]
            return standing, [s.source(s.dead.copy()) for s in standing], len(self._changes)

    def exchange(self, name: str, run: Sequence[Segment], merged: Segment, since: int) -> None:
        """Put a segment in the place of those it was merged from, unless `apply` did meanwhile. Needs `building`."""
        with self._changing:
            present = self.now.segments[name]
            if any(s not in present for s in run):
                return
            others = tuple(s for s in present if s not in run)
            with_merged = {**self.now.segments, name: (*others, merged) if merged.count else others}
            later = [c for c in self._changes[since:] if c.algorithm == name]
            caught_up = _caught_up(with_merged, later, self.now.segments)
            self.now = replace(self.now, segments=caught_up)
            if not self._keeps_log:
                self._changes = []
                self.logged_from = self.now.revision

    def replace(self, segments: Segments, snapshot: Snapshot | None, revision: int, since: int | None) -> None:
        """Swap in segments that hold the store at `revision`, with what was logged since applied to them. since: the
        first logged change that they lack; None: of that revision or later. Needs `building`.
        """
        with self._changing:
            later = self._changes[since:] if since is not None else [c.since(revision) for c in self._changes]
            later = [c for c in later if len(c.rows)]
            segments = _caught_up(segments, later, self.now.segments)
            self.now = State(max(self.now.revision, revision), segments, snapshot)
            self._changes = later if self._keeps_log else []
            self.logged_from = revision if self._keeps_log else self.now.revision
            self.pending = self.applied = sum(len(c.rows) for c in later)


def _applied(
    segments: Segments, added: Mapping[str, Rows], withdrawn: Mapping[str, Rows], hash_set: int | None
) -> tuple[Segments, int]:
    """Return the segments after a change, and how many digests it touched. added: sorted, distinct, of the set."""
    changed = 0
    for name, rows in withdrawn.items():
        for segment in segments.get(name, ()):
            changed += segment.withdraw(segment.locate(rows))
    result = dict(segments)
    for name, rows in added.items():
        present = result.get(name, ())
        for segment in present:
            at = segment.locate(rows)
            if hash_set is not None:  # before they match
                segment.owners.add_key(at, hash_set)
            changed += segment.restore(at)
            # Of rows of several words `compress` takes an eighth of what indexing does.
            rows = np.compress(at < 0, rows, axis=0)  # noqa: PLW2901 - what is left to add
        if len(rows):
            changed += len(rows)
            small = [s for s in present if s.name is None and s.count < SCAN_BELOW]
            if len(rows) >= SCAN_BELOW:
                small = []
            sources = [*(s.source(s.dead) for s in small), SegmentSource(rows, is_sorted=True)]
            built = build(space(name), sources, known=small)
            if hash_set is not None:
                built.owners.add_key(built.locate(rows), hash_set)
            result[name] = (*(s for s in present if s not in small), built)
    return result, changed


def _outcome(changes: Sequence[Change]) -> Change:
    """Return the last outcome of each digest of logged changes of one algorithm, or those from one revision on."""
    rows = np.concatenate([c.rows for c in changes])
    revisions = np.concatenate([np.broadcast_to(c.revisions, len(c.rows)) for c in changes])
    added = np.concatenate([np.broadcast_to(c.added, len(c.rows)) for c in changes])
    order = np.lexsort(rows.T[::-1])  # stable: equal rows stay in the order of the log
    rows = rows[order]
    order = order[last := np.append((rows[1:] != rows[:-1]).any(axis=1), True)]
    return Change(changes[0].algorithm, rows[last], revisions[order], added[order])


def _by_algorithm(changes: Iterable[Change]) -> Mapping[str, list[Change]]:
    by_algorithm: dict[str, list[Change]] = {}
    for change in changes:
        if len(change.rows):
            by_algorithm.setdefault(change.algorithm, []).append(change)
    return by_algorithm


def _gathered(changes: Sequence[Change]) -> list[Change]:
    """Return changes with the same outcome, one for each algorithm; the large ones first, which stay as they are."""
    outcomes = [_outcome(of_one) for of_one in _by_algorithm(changes).values()]
    return sorted(outcomes, key=lambda c: len(c.rows), reverse=True)


def _caught_up(segments: Segments, changes: Sequence[Change], known: Segments) -> Segments:
    """Return the segments after the outcome of logged changes. known: those that were there before, with owners."""
    added, withdrawn = {}, {}
    for name, of_one in _by_algorithm(changes).items():
        outcome = _outcome(of_one)
        is_added = np.broadcast_to(outcome.added, len(outcome.rows))
        added[name], withdrawn[name] = outcome.rows[is_added], outcome.rows[~is_added]
    result = _applied(segments, added, withdrawn, None)[0]
    for name, rows in added.items():
        for before in known.get(name, ()):
            at = before.locate(rows)
            part, numbers = np.compress(at >= 0, rows, axis=0), before.owners.numbers[at[at >= 0]]
            for segment in result.get(name, ()):
                if segment is not before:
                    segment.owners.add(segment.locate(part), before.owners.sets, numbers)
    return result
