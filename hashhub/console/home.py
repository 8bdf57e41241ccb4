"""The front page: what waits and for whom, who is late, how the hub is, what it gains."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from hashhub.console.pages import _
from hashhub.console.visit import screen
from hashhub.model import Event, EventKind, Principal, QueueItem, QueueKind, Role, now
from hashhub.pages.charts import Bar, bars

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.responses import Response

    from hashhub.client import Client
    from hashhub.console.hub_visit import HubVisit

OVERSEERS: Final = (Role.OPERATOR, Role.AUDITOR)
ROWS: Final = 50
# What a second person agrees to comes first, then whoever is late.
_FIRST: Final = (QueueKind.APPROVAL, QueueKind.WITHDRAWAL_PENDING, QueueKind.DELETION_PENDING, QueueKind.OVERDUE)
_SHOWN: Final = 5  # of each kind; a page of its own has the others
_WEEKS: Final = 8
_EVENTS: Final = 1_000  # that are looked through: one call
_SOON: Final = timedelta(days=30)
_BACKUP_LATE: Final = timedelta(days=2)
# Where the form of a call is that waits for a second person, who fills it in as the first one did.
_FORMS: Final = {
    "CreateContributor": "/members", "UpdateContributor": "/members", "RetireContributor": "/members",
    "CreateHashSet": "/lists", "UpdateHashSet": "/terms", "EraseEntry": "/search", "ChangeEntries": "/change",
    "PutPolicy": "/policies", "RetirePolicy": "/policies", "PutScheme": "/schemes", "RetireScheme": "/schemes",
    "RevertActor": "/revert",
}  # fmt: skip


def show(visit: HubVisit) -> Response:
    """What waits; for operators and auditors also how the hub is."""
    may_read = visit.is_role(*OVERSEERS, Role.CONTRIBUTOR)
    kinds = [(kind, items[:_SHOWN], items) for kind, items in _queue(visit.hub)] if may_read else []
    if not visit.is_role(*OVERSEERS):
        return visit.page("home.html", kinds=kinds, **_ABOUT)
    health, at = visit.hub.status(), now()
    # What is not looked at anew by itself.
    ending, weeks = ([], []) if visit.is_live else (_ending(visit.hub, at), _weeks(_imports(visit.hub, at), at))
    more = {
        "health": health,
        "is_backup_late": health.backup_time is None or at - health.backup_time > _BACKUP_LATE,
        "ending": ending,
        "weeks": weeks,
        "chart": bars(
            _("Entries from imports, by week"), [Bar(f"{week:%Y-%m-%d}", brought) for week, brought, _gone in weeks]
        ),
    }
    return visit.page("home.html", kinds=kinds, **{**_ABOUT, **more})


def show_queue(visit: HubVisit) -> Response:
    """All that waits of one kind."""
    kind, after = visit.path["kind"], visit.query.get("after", "")
    items = [item for known, items in _queue(visit.hub) if known == kind for item in items if _key(item) > after]
    after = _key(items[ROWS - 1]) if items[ROWS:] else ""
    kinds = [(items[0].kind, items[:ROWS], items[:ROWS])] if items else []
    return visit.page("home.html", kinds=kinds, **{**_ABOUT, "after": after})


def show_peers(visit: HubVisit) -> Response:
    """What comes from elsewhere: contributors of other hubs, peers' tokens, and each hash set's last import."""
    hub, sees_all = visit.hub, visit.is_role(*OVERSEERS)
    last: dict[str, Event] = {}
    for event in _imports(hub, now()):
        last.setdefault("/".join(event.subject.split("/")[1:3]), event)
    sets, after = hub.list_hash_sets().page(after=visit.query.get("after", ""))
    return visit.page(
        "peers.html",
        peers=[c for c in hub.list_contributors() if c.origin is not None][:ROWS],
        tokens=[t for t in hub.list_tokens() if t.role is Role.PEER][:ROWS] if sees_all else [],
        hub=hub.status().hub if sees_all else "",
        sets=[(one, last.get(one.name)) for one in sets],
        after=after,
    )


def decided_at(item: QueueItem) -> str:
    """Return the path of the page where something that waits is decided."""
    match item.kind:
        case QueueKind.APPROVAL:
            return _FORMS.get(item.reason.partition("/")[2], "/history")
        case QueueKind.QUARANTINED:
            return f"/entries?hash_set={item.hash_set}&state=QUARANTINED&reason={quote(item.reason)}"
        case QueueKind.WITHDRAWAL_PENDING:
            return f"/entries?hash_set={item.hash_set}&reason=WITHDRAWAL_PENDING"
        case QueueKind.OBJECTION:
            return f"/entries/{item.name}"
        case QueueKind.AWAITS_ACCEPTANCE:
            return f"/members/{item.contributor}"
        case QueueKind.WEBHOOK_FAILING:
            return "/webhooks"
        case QueueKind.CONFLICT:
            return f"/conflicts?assignee={quote(item.reason)}"
        case QueueKind.OPEN_IMPORT | QueueKind.OVERDUE | QueueKind.DELETION_PENDING:
            return f"/lists/{item.hash_set}"


def reason_of(item: QueueItem) -> str:
    """Return why something waits, as a code: of a call UPDATE_CONTRIBUTOR for ContributorService/UpdateContributor."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", item.reason.rpartition("/")[2])


_ABOUT: Final[dict[str, Any]] = {"decided_at": decided_at, "reason_of": reason_of, "health": None, "after": ""}


def _queue(hub: Client) -> list[tuple[QueueKind, list[QueueItem]]]:
    order = [*_FIRST, *(kind for kind in QueueKind if kind not in _FIRST)]
    items = sorted(hub.list_queue(), key=lambda item: (order.index(item.kind), _key(item)))
    return [(kind, list(of_kind)) for kind, of_kind in groupby(items, key=lambda item: item.kind)]


def _key(item: QueueItem) -> str:
    return f"{item.contributor} {item.hash_set} {item.reason} {item.name} {item.actor}"


def _imports(hub: Client, at: datetime) -> list[Event]:
    """Return the imports of the last weeks, the newest first."""
    since = at - timedelta(weeks=_WEEKS)
    return list(hub.list_events(since=since, kinds=[EventKind.IMPORT_COMMITTED], limit=_EVENTS))


def _ending(hub: Client, at: datetime) -> list[Principal]:
    ending = [token for token in hub.list_tokens() if token.expire_time and abs(token.expire_time - at) < _SOON]
    return sorted(ending, key=lambda token: (token.expire_time, token.name))[:ROWS]


def _weeks(imports: list[Event], at: datetime) -> list[tuple[datetime, int, int]]:
    """Return for each of the last weeks its beginning, and how many entries imports brought and took off."""
    brought, gone = [0] * _WEEKS, [0] * _WEEKS
    for event in imports:
        week = -1 - min(max((at - event.time) // timedelta(weeks=1), 0), _WEEKS - 1)
        brought[week] += _count(event, "accepted")
        gone[week] += _count(event, "withdrawn", "superseded", "absent")
    return list(zip((at - timedelta(weeks=n) for n in range(_WEEKS, 0, -1)), brought, gone, strict=True))


def _count(event: Event, *names: str) -> int:
    return sum(int(str(event.facts.get(name, 0))) for name in names)


SCREENS = (
    screen("/", show),
    screen("/queue/{kind}", show_queue),
    screen("/peers", show_peers),
)
