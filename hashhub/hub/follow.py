"""Keeps this process's matcher at the store's revision, whoever commits.

The matcher holds distinct digests; the store decides about entries. So the digests of a staged import may go in before
it is committed, and those that a large withdrawal left are dropped afterwards, a piece at a time (`sweep`).

A restored database counts its revisions on, but they mean something else. So the follower keeps the position up to
which the matcher may know anything, and trusts neither it nor a snapshot once the database has not been there.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np

from hashhub.background import Background
from hashhub.errors import FailedPrecondition, Reason, Unavailable
from hashhub.hub.health import Readiness
from hashhub.model import ChangeKind, EntryState, set_key_of
from hashhub.store import Position
from hashhub.store.entry_codec import ascending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hashhub.matcher import Matcher
    from hashhub.store import MatcherChange, Store

_PAGE: Final = 1000  # change rows read at a time
PIECE: Final = 50_000  # entries whose digests are read at a time: bounds memory, and the matcher's writer
GATHERED_SECONDS: Final = 5.0  # for which staged entries, which nobody sees, wait until there are a PIECE of them
MOST_GATHERED: Final = 200_000  # digests of them that the matcher takes in at once
SWEEP_PIECE: Final = 1_000  # entries of a large withdrawal whose digests are looked after at a time: some 20 ms
_SWEEP_PAUSE: Final = 0.02  # seconds between two pieces: matching has the core for half of the time
_SWEEP_PAUSE_BUSY: Final = 0.4  # while lists come in, which then have the database and the processor
LONG_PAUSES: Final = 150  # of them, a minute: what is to be swept must not grow for as long as somebody keeps sending
LONGEST_HOLD_UP: Final = 60.0  # seconds that a sweep waits for staged lists, likewise
_SPARED_SECONDS: Final = 60.0  # for which digests that were staged are spared, before it is looked which still are
_MOST_TABLES: Final = 32  # of such digests, before they become one
_CHECK_SECONDS: Final = 0.02  # between looks whether a snapshot that was opened has been checked
_ACTIVE: Final = (EntryState.ACTIVE,)
_GONE: Final = (EntryState.WITHDRAWN, EntryState.QUARANTINED)


class SnapshotMark:
    """The position, beside the snapshots, up to which they may know anything, and the revision up to which they were
    swept. The snapshots' publisher writes it, before changes are applied. What cannot be read is no position.
    """

    def __init__(self, path: Path, *, publisher: bool) -> None:
        self.path = path
        self.is_ours = publisher

    def read(self) -> tuple[Position, int]:
        """Return what was written last: the position, and the revision up to which the snapshots were swept."""
        try:
            revision, digest, swept = self.path.read_text(encoding="ascii").split()
            return Position(int(revision), bytes.fromhex(digest)), int(swept)
        except (OSError, ValueError):  # also UnicodeDecodeError
            return Position(-1, b""), 0

    def write(self, position: Position, swept: int) -> None:
        """Replace what is there; remove it where that cannot be written, so that the next start rebuilds.

        In place and in a line of fixed length, so that a full disk is no reason to rebuild. Not synchronised: after a
        power cut it may be seconds old, which matters only to a restored backup of those seconds.
        """
        if not self.is_ours:
            return
        line = f"{position.revision:20d} {position.digest.hex():64s} {swept:20d}\n".encode("ascii")
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.pwrite(file, line, 0) != len(line):
                    raise OSError(errno.ENOSPC, "a part of the line was written")
                if os.fstat(file).st_size != len(line):
                    os.ftruncate(file, len(line))
            finally:
                os.close(file)
        except OSError:
            with suppress(OSError):
                self.path.unlink()


class Follower:
    """Applies the store's changes to the matcher, in order, on one thread at a time."""

    def __init__(
        self,
        store: Store,
        matcher: Matcher,
        poll_interval: float,
        mark: SnapshotMark,
        on_moved: Callable[[], bool] = lambda: True,
    ) -> None:
        """`poll_interval`: seconds between looks for changes that others committed. `on_moved` is called after changes
        were applied, before `catch_up` returns, and again by the next one when it returned False.
        """
        self._on_moved = on_moved
        self._noted = -1  # the revision at which `on_moved` last succeeded
        self._store = store
        self._matcher = matcher
        self._poll_interval = poll_interval
        self.mark = mark
        self._position: Position | None = None  # the matcher knows nothing beyond it; None: not established yet
        self._swept = 0  # the matcher lacks what large withdrawals up to this revision left without an entry,
        self._swept_at = 0  # since this revision of its own
        self._sweeping: Iterator[Mapping[str, NDArray[np.uint8]]] | None = None
        self._next_piece: Mapping[str, NDArray[np.uint8]] | None = None  # while it is read what must be spared
        self._long_pauses = 0  # since nothing was left to sweep
        self._held_up_since: float | None = None  # likewise
        self._spared: _RetainedDigests | None = None
        self._saved = 0  # up to which revision the snapshots do
        self.gathering_since: float | None = None  # for how long staged entries have waited
        self._lock = threading.Lock()
        self._moved = threading.Condition()
        self.noting = Background("note-withdrawals", self._note, complaint="withdrawals are not written down")
        self.thread = Background(
            "follow",
            self._look,
            complaint="cannot follow changes",
            pause=poll_interval,
            longest_pause=max(1.0, poll_interval),
        )
        self.readiness = Readiness(matcher, poll_interval)
        self._restored = False

    def start(self, *, wait: bool = True) -> None:
        """Catch up, then go on in the background. With `wait`, return when caught up; otherwise at once."""
        if wait:
            self.catch_up()
        self.thread.start()

    def close(self) -> None:
        """Stop following."""
        self.thread.tell_to_stop()
        with self._moved:
            self._moved.notify_all()
        self.thread.close()
        self.noting.close()

    def wait(self, after_revision: int, timeout: float) -> bool:
        """Return True once the matcher is past `after_revision`, False after `timeout` seconds or at the end."""
        with self._moved:
            self._moved.wait_for(lambda: self._matcher.revision > after_revision or self.thread.is_stopping, timeout)
        return self._matcher.revision > after_revision

    def catch_up(self) -> int:
        """Apply all changes committed so far and return the matcher's revision. Every write of this process does it
        before it returns. A snapshot of another history is replaced by what the database holds.

        Raises Unavailable when the database is away, or a backup was restored under the running hub: the matcher then
        must not answer any more, even when the database has got as far as it was.
        """
        self._apply_all()
        # Also where another thread applied the changes and is not done with this: the call returns only then.
        self._note()
        return self._matcher.revision

    def take_in(self) -> None:
        """Do what `catch_up` does, but leave staged entries for a moment, until many have gathered."""
        self._apply_all(gathers=True)
        self._note()

    def _apply_all(self, *, gathers: bool = False) -> None:
        """Do what `catch_up` does, or `take_in`, but for calling `on_moved`."""
        with self._lock:
            before = self._matcher.revision
            # A snapshot that was opened may be damaged inside: until its files were read, it must not say that there is
            # nothing.
            while not self._matcher.is_checked and not self.thread.is_stopping:
                self.thread.wait(_CHECK_SECONDS)
            # The mark before the snapshot: a publisher that replaces both writes the snapshot first.
            held = self._held()
            self._matcher.refresh()
            position = self._store.history.position()
            target = position.revision
            is_foreign = self._matcher.revision > 0 and not self._store.history.has_been_at(held)
            self._refuse_other_history(target, is_foreign=is_foreign)
            if self._matcher.is_damaged and self._matcher.awaits_publisher:
                raise Unavailable(
                    "the index is damaged; the process that publishes snapshots rebuilds it: retry in a moment",
                    reason=Reason.MATCHER_NOT_READY,
                    retry_after=1.0,
                )
            if is_foreign or (self._matcher.revision == 0 and target > 0) or self._matcher.is_damaged:
                self._rebuild(target)
                position = self._store.history.position()  # what the rebuild read may be newer than what it began with
            self._known_up_to(position)
            self._apply_changes(position, target, gathers=gathers)
            if self.gathering_since is None and self._matcher.revision < target:
                # The rest concerns resources that do not match: contributors, reviews, …
                self._matcher.apply(target)
            # Schemes and policies of the store take effect with it: matching asks for them without a look of its own.
            self._store.resources.registry()
            self.readiness.is_ready = True
            moved = self._matcher.revision != before
        if moved:
            with self._moved:
                self._moved.notify_all()

    def _held(self) -> Position:
        """Return the position beyond which the matcher knows nothing: at first, what its snapshots' mark says."""
        if self._position is not None:
            return self._position
        position, swept = self.mark.read()
        self._saved = self._swept = min(swept, self._matcher.revision)
        return position

    def _refuse_other_history(self, target: int, *, is_foreign: bool) -> None:
        """Raise Unavailable where the database has not been where the matcher has, and this process cannot rebuild."""
        self._restored |= target < self._matcher.revision or (is_foreign and self._position is not None)
        if self._restored:
            self.readiness.is_ready = False
            raise Unavailable(
                f"the database, now at revision {target}, was restored from an older backup: it has not been where "
                f"this hub saw it (revision {self._matcher.revision}); restart the hub",
                reason=Reason.MATCHER_NOT_READY,
            )
        if is_foreign and not self.mark.is_ours:
            raise Unavailable(
                "the snapshot is not of this database's history; the process that publishes snapshots replaces it: "
                "retry in a moment",
                reason=Reason.MATCHER_NOT_READY,
                retry_after=1.0,
            )

    def _rebuild(self, target: int) -> None:
        """Let the matcher hold exactly what the database does. Raises FailedPrecondition when told to stop."""
        swept = self._store.deferred_withdrawals.settled_revision()
        self._matcher.rebuild(target, self._store.feeds.all_digests(), self._give_up_if_stopping, or_in_memory=True)
        self._sweeping, self._swept, self._swept_at = None, swept, self._matcher.revision

    def _give_up_if_stopping(self, _phase: str, _share: float) -> None:
        if self.thread.is_stopping:
            raise FailedPrecondition("the hub stops while its matcher reads what the database holds; start it again")

    def _apply_changes(self, position: Position, target: int, *, gathers: bool) -> None:
        """Apply the changes that the matcher lacks, a page at a time; with `gathers`, until what is left may wait."""
        while True:
            looked = time.monotonic()
            changes = self._store.feeds.matcher_changes(self._matcher.revision, _PAGE)
            if not changes:
                self.readiness.looked, self.gathering_since = looked, None
                break
            if gathers and self._may_gather(changes, target):
                self.readiness.looked = looked  # nobody sees these: what matches is known
                break
            self.gathering_since = None
            if changes[-1].revision > position.revision:
                position = self._store.history.position()
                self._known_up_to(position)
            for part, following in parts_of_changes(changes):
                # A revision's pieces go in as the revision before; the last one moves it. A restart in between reads
                # them all again.
                if part[0].kind == "STAGED":
                    self._apply_staged(part)
                else:
                    self._apply(part[0])
                if following is None or following.revision != part[-1].revision:
                    self._matcher.apply(part[-1].revision)
            if len(changes) < _PAGE:  # these were all that there were, whatever was committed meanwhile
                self.readiness.looked = looked

    def _may_gather(self, changes: Sequence[MatcherChange], target: int) -> bool:
        """Whether changes, the first that the matcher lacks, can wait for more, each costing a look-up and a merge; not
        once anything else happened up to `target`: who waits for that must not wait for the pieces before it.
        """
        if not self.readiness.is_ready:
            return False
        staged = {change.revision for change in changes if change.kind == "STAGED"}
        if len(staged) < max(target, changes[-1].revision) - self._matcher.revision:
            return False
        if self.gathering_since is None:
            self.gathering_since = time.monotonic()
        is_recent = time.monotonic() - self.gathering_since < GATHERED_SECONDS
        return is_recent and sum(len(change.ids) for change in changes) < PIECE

    def _note(self) -> None:
        """Call `on_moved` unless it succeeded at this revision."""
        revision = self._matcher.revision
        if self._noted != revision and self._on_moved():
            self._noted = revision

    def sweep(self) -> bool:
        """Drop digests that a piece of a large withdrawal left without an active entry; return whether there may be
        more. Since the store cannot tell who has a staged digest, a sweep waits until nothing is staged, for a minute,
        and then spares what is. Only the publisher of snapshots sweeps; others adopt what it publishes.
        """
        with self._lock:
            if not self.mark.is_ours or not self.readiness.is_ready:
                return False
            if not self._store.feeds.is_staging():
                self._spared = None
            elif self._is_held_up():
                return False
            try:
                return self._sweep_piece()
            except BaseException:
                # What was cut off looks as if it had been read to its end: all of it is read anew.
                self._sweeping = self._next_piece = self._spared = None
                raise

    def _sweep_piece(self) -> bool:
        """Do one step of what `sweep` does."""
        if self._sweeping is None:
            self._sweeping = self._digests_to_sweep()
        digests = self._next_piece or next(self._sweeping, None)
        if digests is not None and self._spared is not None and self._spared.read():
            self._next_piece = digests
            return True
        self._next_piece = None
        if digests is None:
            self._sweeping, self._long_pauses, self._held_up_since, self._spared = None, 0, None, None
            # The snapshots lack them once one is newer than the sweep.
            if self._saved < self._swept and (self._matcher.snapshot_revision or 0) > self._swept_at:
                self._saved = self._swept
                self.mark.write(self._position or self.mark.read()[0], self._saved)
            return False
        if self._spared is not None:  # before the store is asked: what is committed in between is in one of both
            digests = {name: rows[~self._spared.has(name, rows)] for name, rows in digests.items()}
        self._matcher.apply(self._matcher.revision, withdraw=self._listed(digests, still=False))
        return True

    def _is_held_up(self) -> bool:
        """Whether a sweep has to wait for what is staged; when it need not, that is spared."""
        if self._held_up_since is None:
            self._held_up_since = time.monotonic()
        if time.monotonic() - self._held_up_since < LONGEST_HOLD_UP:
            return True
        if self._spared is None or self._spared.is_old():
            self._spared = _RetainedDigests(digests for _, digests in self._store.feeds.staged_digests())
        return False

    def _look(self) -> None:
        """Catch up, and sweep for as long as there is something to sweep, still looking for changes in between."""
        self._apply_all(gathers=True)
        self._note_soon()
        while self.sweep():
            pause = _SWEEP_PAUSE
            if self._long_pauses < LONG_PAUSES and self._store.imports.are_coming_in():
                self._long_pauses += 1
                pause = _SWEEP_PAUSE_BUSY
            if self.thread.wait(pause):
                return
            self._apply_all(gathers=True)
            self._note_soon()

    def _note_soon(self) -> None:
        """Have `on_moved` called on a thread of its own: a withdrawal of a million takes it some time."""
        if self._noted != self._matcher.revision:
            with suppress(RuntimeError):  # where no thread can be made the next look tries again
                self.noting.start()
            self.noting.wake()

    def _digests_to_sweep(self) -> Iterator[Mapping[str, NDArray[np.uint8]]]:
        while True:
            upto, changes = self._store.feeds.large_withdrawals(self._swept)
            for change in changes:
                yield from self._store.feeds.digests_of(change.ids, SWEEP_PIECE, states=_GONE)
            self._swept = max(self._swept, upto)
            if not changes:
                return
            self._swept_at = self._matcher.revision

    def _known_up_to(self, position: Position) -> None:
        if position != self._position:
            self.mark.write(position, self._saved)
            self._position = position

    def _apply(self, change: MatcherChange) -> None:
        before = change.revision - 1
        if change.kind == ChangeKind.WITHDRAW:
            if change.is_large:
                return  # `sweep` follows
            for digests in self._store.feeds.digests_of(change.ids, PIECE, states=_GONE):
                self._matcher.apply(before, withdraw=self._listed(digests, still=False))
        elif change.kind == ChangeKind.UPSERT and change.import_key:
            # Its digests came with the STAGED rows. One that was dropped since, when its last other entry was
            # withdrawn, comes back.
            withdrawn = self._store.feeds.withdrawn_while_staged(change.import_key, change.revision)
            if not all(map(self._store.feeds.have_digests, withdrawn)):
                # What was erased or deleted since does not say any more what was dropped with it.
                self._add(before, change)
                return
            for ids in withdrawn:
                for digests in self._store.feeds.digests_of(ids, PIECE, states=_GONE):
                    self._matcher.apply(before, add=self._listed(digests, still=True))
        else:
            self._add(before, change)

    def _add(self, revision: int, change: MatcherChange) -> None:
        for digests in self._store.feeds.digests_of(change.ids, PIECE, states=_ACTIVE):
            self._matcher.apply(revision, add=digests, hash_set=set_key_of(change.ids.first))

    def _listed(self, digests: Mapping[str, NDArray[np.uint8]], *, still: bool) -> dict[str, NDArray[np.uint8]]:
        """Return those of the digests that an active entry has, or none."""
        return {name: rows[self._store.feeds.still_active(name, rows) == still] for name, rows in digests.items()}

    def _apply_staged(self, changes: Sequence[MatcherChange]) -> None:
        """Take in the digests of staged entries, as many as may be together."""
        before, hash_set = changes[0].revision - 1, set_key_of(changes[0].ids.first)
        parts: dict[str, list[NDArray[np.uint8]]] = {}
        for digests in (d for x in changes for d in self._store.feeds.digests_of(x.ids, PIECE, states=_ACTIVE)):
            if self._spared is not None:
                self._spared.add(digests)
            for name, rows in digests.items():
                parts.setdefault(name, []).append(rows)
            if sum(len(rows) for some in parts.values() for rows in some) >= MOST_GATHERED:
                self._matcher.apply(before, add=_joined(parts), hash_set=hash_set)
                parts = {}
        if parts:
            self._matcher.apply(before, add=_joined(parts), hash_set=hash_set)


def parts_of_changes(
    changes: Sequence[MatcherChange],
) -> Iterator[tuple[Sequence[MatcherChange], MatcherChange | None]]:
    """Yield changes in order, staged entries of one hash set up to a PIECE together, and the change that follows."""
    start, count = 0, 0
    for number, change in enumerate(changes):
        count += len(change.ids)
        following = changes[number + 1] if number + 1 < len(changes) else None
        goes_on = (
            following is not None
            and change.kind == following.kind == "STAGED"
            and set_key_of(change.ids.first) == set_key_of(following.ids.first)
        )
        if not goes_on or count >= PIECE:
            yield changes[start : number + 1], following
            start, count = number + 1, 0


def _joined(parts: Mapping[str, Sequence[NDArray[np.uint8]]]) -> dict[str, NDArray[np.uint8]]:
    return {name: np.concatenate(rows) for name, rows in parts.items()}


class _RetainedDigests:
    """Digests that a sweep spares because what is staged has them, by their first eight bytes."""

    def __init__(self, staged: Iterator[Mapping[str, NDArray[np.uint8]]]) -> None:
        self._unread = staged
        self._tables: dict[str, list[NDArray[np.uint64]]] = {}
        self._old_at = float("inf")

    def read(self) -> bool:
        """Take a piece in; return False once all is."""
        if self._old_at < float("inf"):
            return False
        piece = next(self._unread, None)
        if piece is None:
            self._old_at = time.monotonic() + _SPARED_SECONDS
            return False
        self.add(piece)
        return True

    def is_old(self) -> bool:
        """Whether much of it may not be staged any more."""
        return time.monotonic() > self._old_at

    def add(self, digests: Mapping[str, NDArray[np.uint8]]) -> None:
        """Spare these, too: algorithm to uint8[n, digest_bytes]."""
        for name, rows in digests.items():
            tables = self._tables.setdefault(name, [])
            tables.append(ascending(_first_bytes(rows)))
            if len(tables) > _MOST_TABLES:
                tables[:] = [ascending(np.concatenate(tables))]

    def has(self, name: str, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Say of each digest whether it is spared: bool[n]."""
        wanted = _first_bytes(rows)
        spared = np.zeros(len(rows), np.bool_)
        for table in self._tables.get(name, ()):
            if len(table):
                at = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
                spared |= table[at] == wanted
        return spared


def _first_bytes(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(rows[:, :8]).view(np.uint64).ravel()
