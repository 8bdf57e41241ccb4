"""What a hub does by itself, and how long it keeps things. Deleting a hash set takes two persons beyond ALONE entries;
an operator's hold stops both deletion and age. The history keeps names, codes and counts of what was deleted.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.background import Background
from hashhub.errors import InvalidArgument, NotFound
from hashhub.hub import access
from hashhub.hub.history import head_text
from hashhub.hygiene import Code
from hashhub.model import Deletion, EventKind, Principal, Retention, Role, now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hashhub.config import Config
    from hashhub.hub.follow import Follower
    from hashhub.hub.health import Renewals
    from hashhub.matcher import Matcher
    from hashhub.store import Store

_log = logging.getLogger(__name__)
_SECONDS: Final = 5.0  # between two rounds; each costs two look-ups through an index
LEFT_SECONDS: Final = 30.0  # longer than a process that lives mostly takes
_HEAD_SECONDS: Final = 24 * 3600.0
ALONE: Final = 1000
"""Entries, live or withdrawn within the day, that one contributor's tokens delete in a day, with their hash sets,
without a second person.
"""
_ROUND_SECONDS: Final = 5.0
_AGE_SECONDS: Final = 3600.0  # between two looks for what is too old
_PAUSE: Final = 0.01  # seconds between two steps, for whoever else writes
_PIECE: Final = 10_000  # entries that expire at one revision
_DELIVERIES: Final = 10_000  # calls of webhooks deleted at a time


class Housekeeping:
    """What is due every few seconds, in the process that publishes the matcher's snapshots: leftovers of ended
    processes, expired entries and terms, abandoned imports, snapshots without what was erased; and once a day the
    history's head in the log, out of reach of whoever can rewrite the database.
    """

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
        self.open_import_time = open_import_time
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
        told = self._store.resources.note_expired_terms(now())
        if expired or told:
            _log.info("%d entries and the terms of %d hash sets have expired", expired, len(told))
            self._follower.catch_up()
        for import_ in self._store.imports.expire_imports(now() - self.open_import_time):
            of = import_.source
            _log.warning(
                "import %s into %s has expired: its %d records, in %d batches, were never committed",
                of.id,
                f"{of.contributor}/{of.hash_set}",
                import_.items,
                import_.batches,
            )
        self._drop_erased()

    def _look_for_leftovers(self) -> None:
        """Have written what stays outstanding for long: the process that committed it may have ended."""
        unsettled = self._store.deferred_withdrawals.listed()
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
        if last > self._erased_upto and self._follower.readiness.is_ready and self._matcher.revision >= last:
            self._matcher.rebuild(self._matcher.revision, self._store.feeds.all_digests())
            self._erased_upto = last
            try:
                self._mark.write_text(f"{last}\n", "ascii")
            except OSError as e:  # they are written anew once more after the next start
                _log.warning("cannot note up to which erasure the snapshots were written anew: %s", e.strerror)
            _log.info("the snapshots were written anew, without what was erased")


class Retentions:
    """Retention and deletion of hash sets."""

    def __init__(self, store: Store, follower: Follower) -> None:
        self._store = store
        self._follower = follower

    def get(self, principal: Principal, contributor: str, hash_set: str) -> Retention:
        """Return the retention of a hash set. Raises NotFound, PermissionDenied for another contributor's."""
        access.allow_reading(principal, contributor)
        return self._store.retention.get(contributor, hash_set)

    def update(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        *,
        days: int | None = None,
        hold: bool | None = None,
        drop_request: bool = False,
        comment: str = "",
    ) -> Retention:
        """Change what is given. `drop_request`: take a request for the hash set's deletion back. Only an operator
        holds, or shortens how long entries that are there are kept. Raises NotFound, PermissionDenied, InvalidArgument.
        """
        access.allow_writing(principal, contributor)
        if hold is not None:
            access.allow(principal, Role.OPERATOR)
        if days is None and hold is None and not drop_request:
            raise InvalidArgument.field("retention", "nothing to change was given", "REQUIRED")
        is_empty = days is None or not self._store.deletions.count(contributor, hash_set).entries

        def change(before: Retention) -> Retention:
            after = before
            if days is not None:
                shortens = 0 < days < (before.days or days + 1)
                if shortens and not is_empty:
                    why = "only an operator shortens how long entries are kept that are there already; ask the operator"
                    access.allow(principal, Role.OPERATOR, why=why)
                after = msgspec.structs.replace(after, days=days)
            if hold is not None:
                after = msgspec.structs.replace(after, hold=hold)
            if drop_request:
                after = msgspec.structs.replace(after, asked_by="", ask_time=None)
            return after

        return self._store.retention.update(contributor, hash_set, change, comment=comment, by=access.actor(principal))

    def delete(
        self, principal: Principal, contributor: str, hash_set: str, *, comment: str = "", validate_only: bool = False
    ) -> Deletion:
        """Delete a hash set with everything that hangs on it, or ask for it; with `validate_only` say what would go.
        Nobody sees it any more when the call returns. Raises NotFound, PermissionDenied; FailedPrecondition
        (RETENTION_HOLD); Conflict.
        """
        access.allow_writing(principal, contributor)
        if contributor not in self._store.resources.contributors():
            raise NotFound(f"there is no contributor {contributor[:63]!r}", kind="Contributor", name=contributor)
        if validate_only:
            return self._store.deletions.count(contributor, hash_set)
        most_alone = None if principal.role is Role.OPERATOR else ALONE
        deleted = self._store.deletions.delete(
            contributor, hash_set, most_alone=most_alone, comment=comment, by=access.actor(principal)
        )
        if not deleted.pending:
            # The matcher passes it, and the record outside the database has it, before any row goes.
            self._follower.catch_up()
        return deleted


class RetentionJob:
    """Deletes what is to go, in pieces, on one thread of the process that publishes the matcher's snapshots."""

    def __init__(self, store: Store, follower: Follower, config: Config) -> None:
        self._store = store
        self._follower = follower
        self.config = config
        self._aged = float("-inf")
        self.thread = Background(
            "retention", self.round, complaint="what is to be deleted is not", pause=_ROUND_SECONDS
        )

    def round(self) -> None:
        """Go on with deletions, and once an hour look for what is too old."""
        self.delete_rows()
        if time.monotonic() - self._aged >= _AGE_SECONDS:
            self.apply_ages()
            self._aged = time.monotonic()

    def delete_rows(self) -> None:
        """Delete the rows of deleted hash sets until none is left."""
        for key, name in self._store.deletions.unfinished():
            self._follower.catch_up()
            self._store.commits.settle()
            while self._store.deletions.step(key):
                if self.thread.wait(_PAUSE):
                    return
            _log.info("the rows of the deleted hash set %s are gone", name)

    def apply_ages(self) -> None:
        """Let entries expire that nobody lists any more, and delete what the settings keep no longer."""
        for name, retention in sorted(self._store.retention.all().items()):
            if retention.days and not retention.hold:
                self._expire(name, retention.days)
        config, store = self.config, self._store
        gone = 0
        for days, purge in (
            (config.keep_withdrawn_days, store.retention.purge_withdrawn),
            (config.keep_reports_days, store.retention.purge_report),
        ):
            if days:
                before = now() - timedelta(days=days)
                for name in sorted(store.resources.hash_sets()):
                    gone += self._repeat(partial(purge, name, before))
        if gone:
            store.database.scrub()
        if config.keep_deliveries_days:
            before = now() - timedelta(days=config.keep_deliveries_days)
            count = 0
            while done := store.webhooks.purge(before, _DELIVERIES):
                count += done
            if count:
                store.retention.note_deliveries(count)

    def _expire(self, name: str, days: int) -> None:
        contributor, _, hash_set = name.partition("/")
        before = now() - timedelta(days=days)
        count = 0
        while not self.thread.is_stopping:
            # Asked anew for each piece: an import may have listed them again meanwhile.
            ids = self._store.retention.aged(contributor, hash_set, before)[:_PIECE].tolist()
            if not ids:
                break
            self._store.transitions.withdraw(
                ids,
                Code.EXPIRED_BY_AGE,
                kind=EventKind.ENTRIES_EXPIRED,
                reason="RETENTION",
                subject=f"hash-sets/{name}",
                facts={"retention_days": days},
            )
            count += len(ids)
        if count:
            _log.info("%d entries of %s, which nobody listed for %d days, have expired", count, name, days)
            self._follower.catch_up()

    def _repeat(self, purge: Callable[[], int]) -> int:
        gone = 0
        with suppress(NotFound):  # it was deleted meanwhile
            while (count := purge()) and not self.thread.wait(_PAUSE):
                gone += count
        return gone
