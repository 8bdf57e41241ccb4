"""The front page: what waits and for whom, who is late, how the hub is, what it gains."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from typing import Final
from urllib.parse import quote

from markupsafe import Markup
from starlette.responses import Response

from hashhub.client import Client
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, ago, alarm, link, number, word
from hashhub.console.visit import Screen
from hashhub.model import EventKind, QueueItem, QueueKind, Role, now
from hashhub.pages.charts import Bar, bars

OVERSEERS: Final = (Role.OPERATOR, Role.AUDITOR)
ROWS: Final = 50
# What a second person agrees to comes first, then whoever is late.
_ORDER: Final = ("APPROVAL", "WITHDRAWAL_PENDING", "DELETION_PENDING", "OVERDUE", *QueueKind)
_WEEK: Final = timedelta(weeks=1)
# Where what waits is decided; of a call that waits for a second person, by what it is about, the form that makes it.
_PATHS: Final = {
    "QUARANTINED": "/entries?hash_set={0.hash_set}&state=QUARANTINED&reason={1}",
    "WITHDRAWAL_PENDING": "/entries?hash_set={0.hash_set}&reason=WITHDRAWAL_PENDING",
    "OBJECTION": "/entries/{0.name}",
    "AWAITS_ACCEPTANCE": "/members/{0.contributor}",
    "WEBHOOK_FAILING": "/members/{0.contributor}",
    "CONFLICT": "/conflicts?assignee={1}",
    "Contributor": "/members", "HashSet": "/terms", "Entry": "/search", "Entries": "/change", "Actor": "/revert",
    "Policy": "/policies", "Scheme": "/schemes", "Conflicts": "/conflicts",
}  # fmt: skip


def show(visit: HubVisit) -> Response:
    """What waits, or on a page of its own what waits of one kind; for operators and auditors also how the hub is."""
    kind, after, sees_all = visit.path.get("kind", ""), visit.query.get("after", ""), visit.is_role(*OVERSEERS)
    queue = visit.hub.list_queue() if kind or not visit.is_role(Role.CONSUMER) else ()
    items = sorted((item for item in queue if kind in {"", item.kind}), key=_key)
    counts = {of: sum(i.count for i in items if i.kind is of) for of in dict.fromkeys(item.kind for item in items)}
    waiting = [item for item in items if _key(item) > after]
    return visit.page(
        _("Today"),
        live=20,
        facts=[
            *((word(of).capitalize(), link(f"/queue/{of}", number(count))) for of, count in counts.items()),
            *(_health(visit.hub) if sees_all and not kind else ()),
        ],
        figure=_growth(visit.hub) if sees_all and not kind else "",
        heads=[_("what waits"), _("where"), "#" + _("number"), _("why"), _("asked by"), _("since")],
        rows=map(_row, waiting[:ROWS]),
        empty=_("Nothing waits for you."),
        after=_key(waiting[ROWS - 1]) if waiting[ROWS:] else "",
    )


def _key(item: QueueItem) -> str:
    return f"{_ORDER.index(item.kind):02} {item.contributor} {item.hash_set} {item.reason} {item.name} {item.actor}"


def decided_at(item: QueueItem) -> str:
    """Return the path of the page where something that waits is decided."""
    about = re.sub("^.*/[A-Z][a-z]+", "", item.reason) if item.kind is QueueKind.APPROVAL else item.kind
    return _PATHS.get(about, "/lists/{0.hash_set}").format(item, quote(item.reason))


def _row(item: QueueItem) -> tuple[object, ...]:
    call, is_call = item.reason.rpartition("/")[2], item.kind is QueueKind.APPROVAL
    why = word(re.sub("(?<=[a-z])(?=[A-Z])", "_", call)) if call else ""
    return (
        link(decided_at(item), _("Agree: do the same, in the same form") if is_call else word(item.kind)),
        item.hash_set or (item.name if item.kind is QueueKind.WEBHOOK_FAILING else item.contributor),
        f"{number(item.count)}{'+' if item.is_capped else ''}",
        why,
        item.actor,
        ago(item.since),
    )


def _health(hub: Client) -> list[tuple[str, object]]:
    status, soon = hub.status(), timedelta(days=30)
    ending = [token for token in hub.list_tokens() if token.expire_time and abs(token.expire_time - now()) < soon]
    has_caught_up = status.matcher_revision >= status.revision
    return [
        *((_("Warning"), alarm(warning)) for warning in status.warnings[:20]),
        (_("Health"), _("the matcher has caught up") if has_caught_up else alarm(_("the matcher is catching up"))),
        (_("Last backup"), ago(status.backup_time) if status.backup_time else alarm(_("none known"))),
        (_("Digests"), sum(one.digest_count for one in status.algorithms)),
        (_("Tokens that end soon"), tuple(link(f"/tokens/{token.name}", token.name) for token in ending[:ROWS])),
        ("hashhub", status.version),
    ]


def _growth(hub: Client) -> Markup:
    brought: Counter[int] = Counter()
    for event in hub.list_events(since=now() - _WEEK * 8, kinds=[EventKind.IMPORT_COMMITTED], limit=1_000):
        brought[(now() - event.time) // _WEEK] += int(str(event.facts.get("accepted", 0)))
    weeks = [Bar(f"{now() - _WEEK * (n + 1):%Y-%m-%d}", brought[n]) for n in reversed(range(8))]
    return bars(_("Growth: entries from imports, by the week from this day"), weeks)


SCREENS = (
    Screen("/", show, "hashhub queue", "operate/README.md"),
    Screen("/queue/{kind}", show, "hashhub queue", "operate/README.md"),
)
