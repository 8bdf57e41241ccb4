"""What waits for somebody: a contributor's own, or, for operators and auditors, everybody's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from hashhub import cancellation
from hashhub.errors import NotFound
from hashhub.hub import access
from hashhub.model import Conflict, ConflictFilter, ConflictState, Principal, QueueItem, QueueKind, Role, now
from hashhub.store import WAITING_COUNTED

if TYPE_CHECKING:
    from hashhub.hub.approvals import Approvals
    from hashhub.hub.conflicts import Conflicts
    from hashhub.hub.health import Renewals
    from hashhub.hub.webhooks import Webhooks
    from hashhub.store import BacklogItems, Store

_LATE: Final = 1.0  # age over usual interval from which on a list is told to be overdue
_CONFLICTS: Final = 1_000  # that are counted; of more it is told that there are more
PREPARING: Final = timedelta(minutes=10)  # an import that was opened since is going on


class Queue:
    """Work that waits for a person, computed on request; the queue stores nothing itself."""

    def __init__(
        self, store: Store, renewals: Renewals, webhooks: Webhooks, conflicts: Conflicts, approvals: Approvals
    ) -> None:
        self._store = store
        self._approvals = approvals
        self._conflicts = conflicts
        self._webhooks = webhooks
        self._renewals = renewals

    def list(self, principal: Principal, contributor: str = "") -> list[QueueItem]:
        """Return what waits: of one contributor, or of all that the caller may read.

        Only operators and auditors are told what waits for acceptance. Raises PermissionDenied, NotFound.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        sees_all = principal.role in access.OVERSEERS
        of = contributor or ("" if sees_all else principal.contributor)
        if of:
            access.allow_reading(principal, of)
            if of not in self._store.resources.contributors():
                raise NotFound(f"there is no contributor {of[:60]!r}", kind="Contributor", name=of)
        sets = {name for name, x in self._store.resources.hash_sets().items() if not of or x.contributor == of}
        items = [
            *self._about_entries(of),
            *self._open_imports(of),
            *self._overdue(sets),
            *self._failing_webhooks(principal, of),
            *self._pending_deletions(sets),
            *self._assigned_conflicts(principal, of),
        ]
        if sees_all:
            items += [_item(QueueKind.AWAITS_ACCEPTANCE, line) for line in self._store.backlog.unaccepted(of)]
        items += [
            QueueItem(
                kind=QueueKind.APPROVAL,
                contributor=one.contributor,
                reason=one.call,
                name=one.id,
                actor=one.token,
                since=one.create_time,
            )
            for one in self._approvals.waiting()
            if not of or one.contributor == of
        ]
        order = list(QueueKind)
        return sorted(items, key=lambda item: (order.index(item.kind), item.contributor, item.hash_set, item.reason))

    def _about_entries(self, of: str) -> Iterator[QueueItem]:
        """Yield what entries wait for: in quarantine, to be withdrawn, objected to."""
        waiting = self._store.backlog
        for name, has_quarantined, has_requests, has_reviews in waiting.hash_sets(of):
            cancellation.check()
            if has_quarantined:
                quarantined = waiting.quarantined(name)
                is_capped = sum(line.number for line in quarantined) >= WAITING_COUNTED
                for line in quarantined:
                    yield _item(QueueKind.QUARANTINED, line, is_capped=is_capped)
            if has_requests:
                for line in waiting.requests(name):
                    yield _item(QueueKind.WITHDRAWAL_PENDING, line)
            if has_reviews:
                for line in waiting.objections(name):
                    yield _item(QueueKind.OBJECTION, line)

    def _open_imports(self, of: str) -> Iterator[QueueItem]:
        """Yield the imports that were left open."""
        for line in self._store.backlog.open_imports(of):
            if line.since is not None and line.since < now() - PREPARING:
                yield _item(QueueKind.OPEN_IMPORT, line)

    def _overdue(self, hash_sets: set[str]) -> Iterator[QueueItem]:
        """Yield the lists that are not renewed as they used to be."""
        self._renewals.look()
        for name, renewal in self._renewals.at(now()).items():
            if name in hash_sets and renewal.ratio > _LATE:
                since = now() - timedelta(seconds=renewal.age - renewal.usual)
                yield _of_set(QueueKind.OVERDUE, name, since)

    def _failing_webhooks(self, principal: Principal, of: str) -> Iterator[QueueItem]:
        for failing, webhook in self._webhooks.failing(principal, of):
            yield QueueItem(
                kind=QueueKind.WEBHOOK_FAILING,
                contributor=webhook.contributor,
                reason=failing.error,
                count=max(1, failing.given_up),
                name=failing.webhook,
                since=failing.since,
            )

    def _pending_deletions(self, hash_sets: set[str]) -> Iterator[QueueItem]:
        """Yield the hash sets whose deletion was asked for, and that nobody else has agreed to."""
        for name, retention in self._store.retention.all().items():
            if name in hash_sets and retention.asked_by:
                yield _of_set(QueueKind.DELETION_PENDING, name, retention.ask_time, actor=retention.asked_by)

    def _assigned_conflicts(self, principal: Principal, of: str) -> Iterator[QueueItem]:
        """Yield the conflicts that wait for whom they were given to: one contributor, or, of all, anybody."""
        wanted = ConflictFilter(states=(ConflictState.ASSIGNED,), assignee=f"contributors/{of}" if of else "")
        conflicts, more = self._conflicts.list(principal, wanted, _CONFLICTS)
        by_assignee: dict[str, list[Conflict]] = {}
        for conflict in conflicts:
            by_assignee.setdefault(conflict.assignee, []).append(conflict)
        for assignee, given in by_assignee.items():
            contributor = assignee.removeprefix("contributors/")
            yield QueueItem(
                kind=QueueKind.CONFLICT,
                contributor=contributor if contributor != assignee else given[0].left.contributor,
                reason=assignee,
                count=len(given),
                is_capped=bool(more),
                name=given[0].name,
                since=min((c.update_time for c in given if c.update_time is not None), default=None),
            )


def _of_set(kind: QueueKind, name: str, since: datetime | None, *, actor: str = "") -> QueueItem:
    contributor = name.partition("/")[0]
    return QueueItem(kind=kind, hash_set=name, contributor=contributor, name=name, actor=actor, since=since)


def _item(kind: QueueKind, line: BacklogItems, *, is_capped: bool = False) -> QueueItem:
    contributor, slash, _ = line.hash_set.partition("/")
    return QueueItem(
        kind=kind,
        hash_set=line.hash_set if slash else "",
        contributor=contributor,
        reason=line.reason,
        count=line.number,
        is_capped=is_capped,
        name=line.name,
        actor=line.actor,
        since=line.since,
    )
