"""What a hub does by itself, on one thread of the process that publishes the matcher's snapshots.

Every few seconds: leftovers of ended processes are handed on, entries and terms expire, abandoned imports are
cancelled, and after an erasure or deletion the snapshots are written anew, without the digests that are gone. Once a
day the history's head goes to the log, out of reach of whoever can rewrite the database.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from hashhub.background import Background
from hashhub.hub.examination import head_text
from hashhub.model import EventKind, now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from pathlib import Path

    from hashhub.hub.follow import Follower
    from hashhub.hub.renewals import Renewals
    from hashhub.matcher import Matcher
    from hashhub.store import Store

_log = logging.getLogger(__name__)
_SECONDS: Final = 5.0  # between two rounds; each costs two look-ups through an index
LEFT_SECONDS: Final = 30.0  # longer than a process that lives mostly takes
_HEAD_SECONDS: Final = 24 * 3600.0


class Housekeeping:
    """One round of what is due, and the thread that makes them."""

    def __init__(
        self,
        store: Store,
        matcher: Matcher,
        follower: Follower,
        mark: Path,
        open_import_time: timedelta,
        renewals: Renewals,
        tidy: Callable[[], object],
    ) -> None:
        """`mark`: the file beside the snapshots that says up to which erasure they were written anew.
        `open_import_time`: how long an import may stay open while nobody goes on with it. `tidy`: starts what commits
        left.
        """
        self._tidy = tidy
        self._unsettled, self._unsettled_since = "", time.monotonic()
        self._open_import_time = open_import_time
        self._mark = mark
        self._renewals = renewals
        self._store = store
        self._matcher = matcher
        self._follower = follower
        self._head_due = 0.0
        self._erased_upto: int | None = None  # None: the mark was not read yet
        self._looked_upto = self._last_erasure = 0  # revisions
        self.thread = Background(
            "housekeeping",
            self.round,
            complaint="expired and erased entries are not looked after",
            pause=_SECONDS,
        )

    def round(self) -> None:
        """Do what is due."""
        if time.monotonic() >= self._head_due:
            _log.info("history head %s", head_text(self._store.history.position()))
            self._head_due = time.monotonic() + _HEAD_SECONDS
        self._renewals.look()
        self._look_for_leftovers()
        expired = self._store.transitions.expire(now())
        told = self._store.transitions.note_expired_terms(now())
        if expired or told:
            _log.info("%d entries and the terms of %d hash sets have expired", expired, len(told))
            self._follower.catch_up()
        for import_ in self._store.imports.expire_imports(now() - self._open_import_time):
            source = import_.source
            _log.warning(
                "import %s into %s/%s has expired: its %d records, in %d batches, were never committed",
                source.id,
                source.contributor,
                source.hash_set,
                import_.items,
                import_.batches,
            )
        self._drop_erased()

    def _look_for_leftovers(self) -> None:
        """Have written what stays outstanding for long: the process that committed it may have ended."""
        unsettled = self._store.commits.unsettled()
        if unsettled != self._unsettled:
            self._unsettled, self._unsettled_since = unsettled, time.monotonic()
        elif unsettled and time.monotonic() - self._unsettled_since >= LEFT_SECONDS:
            self._tidy()

    def _drop_erased(self) -> None:
        """Write the snapshots anew when something was erased since they were."""
        if self._erased_upto is None:
            try:
                self._erased_upto = int(self._mark.read_text("ascii"))
            except (OSError, ValueError):
                self._erased_upto = 0
            self._looked_upto = self._last_erasure = self._erased_upto
        revision = self._store.history.position().revision
        if revision > self._looked_upto:  # a look at what is new: the whole history would be a second's work every time
            erased = self._store.history.list_events(
                kinds=[EventKind.ENTRY_ERASED, EventKind.HASH_SET_ERASED], after_revision=self._looked_upto, limit=1
            )
            purged = self._store.retention.last_purge(self._looked_upto)
            self._last_erasure = max([self._last_erasure, *(e.revision for e in (*erased, *purged))])
            self._looked_upto = revision
            if purged and not erased:
                return  # entries go by age in many pieces: once that has ended
        last = self._last_erasure
        if last > self._erased_upto and self._follower.is_ready and self._matcher.revision >= last:
            self._matcher.rebuild(self._matcher.revision, self._store.feeds.all_digests())
            self._erased_upto = last
            try:
                self._mark.write_text(f"{last}\n", "ascii")
            except OSError as e:  # they are written anew once more after the next start
                _log.warning("cannot note up to which erasure the snapshots were written anew: %s", e.strerror)
            _log.info("the snapshots were written anew, without what was erased")
