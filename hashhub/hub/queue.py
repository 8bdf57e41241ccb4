"""What waits for somebody: a contributor's own, or, for operators and auditors, everybody's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from hashhub import cancellation
from hashhub.errors import NotFound
from hashhub.hub import access
from hashhub.model import Principal, QueueItem, QueueKind, Role, now
from hashhub.store import WAITING_COUNTED

if TYPE_CHECKING:
    from hashhub.hub.renewals import Renewals
    from hashhub.hub.webhooks import Webhooks
    from hashhub.store import Store, Waiting

_LATE: Final = 1.0  # age over usual interval from which on a list is told to be overdue
_PREPARING: Final = timedelta(minutes=10)  # an import that was opened just now is going on


class Queue:
    """What waits, looked up where it stands: nothing is kept for it."""

    def __init__(self, store: Store, renewals: Renewals, webhooks: Webhooks) -> None:
        self._store = store
        self._webhooks = webhooks
        self._renewals = renewals

    def list(self, principal: Principal, contributor: str = "") -> list[QueueItem]:
        """Return what waits: of one contributor, or of all that the caller may read.

        Acceptance is the operator's, so only operators and auditors are told what waits for it. Raises PermissionDenied
        for another contributor's queue, NotFound.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        sees_all = principal.role in access.OVERSEERS
        of = contributor or ("" if sees_all else principal.contributor)
        if of:
            access.allow_reading(principal, of)
            if of not in self._store.resources.contributors():
                raise NotFound(f"there is no contributor {of[:60]!r}", kind="Contributor", name=of)
        sets = {name for name, x in self._store.resources.hash_sets().items() if not of or x.contributor == of}
        waiting = self._store.waiting
        items: list[QueueItem] = []
        for name, has_quarantined, has_requests, has_reviews in waiting.hash_sets(of):
            cancellation.check()
            if has_quarantined:
                quarantined = waiting.quarantined(name)
                is_capped = sum(line.number for line in quarantined) >= WAITING_COUNTED
                items += [_item(QueueKind.QUARANTINED, line, is_capped=is_capped) for line in quarantined]
            if has_requests:
                items += [_item(QueueKind.WITHDRAWAL_PENDING, line) for line in waiting.requests(name)]
            if has_reviews:
                items += [_item(QueueKind.OBJECTION, line) for line in waiting.objections(name)]
        items += [
            _item(QueueKind.OPEN_IMPORT, line)
            for line in waiting.open_imports(of)
            if line.since is not None and line.since < now() - _PREPARING
        ]
        self._renewals.look()
        for name, renewal in self._renewals.at(now()).items():
            if name in sets and renewal.ratio > _LATE:
                since = now() - timedelta(seconds=renewal.age - renewal.usual)
                items.append(
                    QueueItem(
                        kind=QueueKind.OVERDUE,
                        hash_set=name,
                        contributor=name.partition("/")[0],
                        name=name,
                        since=since,
                    )
                )
        items += [
            QueueItem(
                kind=QueueKind.WEBHOOK_FAILING,
                contributor=webhook.contributor,
                reason=failing.error,
                count=max(1, failing.given_up),
                name=failing.webhook,
                since=failing.since,
            )
            for failing, webhook in self._webhooks.failing(principal, of)
        ]
        for name, retention in self._store.retention.all().items():
            if name in sets and retention.asked_by:
                items.append(
                    QueueItem(
                        kind=QueueKind.DELETION_PENDING,
                        hash_set=name,
                        contributor=name.partition("/")[0],
                        name=name,
                        actor=retention.asked_by,
                        since=retention.ask_time,
                    )
                )
        if sees_all:
            items += [_item(QueueKind.AWAITS_ACCEPTANCE, line) for line in waiting.unaccepted(of)]
        order = list(QueueKind)
        return sorted(items, key=lambda item: (order.index(item.kind), item.contributor, item.hash_set, item.reason))


def _item(kind: QueueKind, line: Waiting, *, is_capped: bool = False) -> QueueItem:
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
