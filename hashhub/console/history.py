"""History: who did what, when and why; and undoing what a token did."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import Response

from hashhub.console.forms import Input, facts, hidden, pairs
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, folded, link, number, word
from hashhub.console.visit import Screen
from hashhub.errors import Conflict, InvalidArgument, NotFound
from hashhub.model import Event, EventKind, RevertedEvent, Role

_HANDBOOK: Final = "operate/history.md"
_DIGITS: Final = 19  # of the largest revision


def entry_link(name: str) -> Markup:
    """Return a link to an entry."""
    return link(f"/entries/{name}", name)


def event_table(events: Iterable[Event], subject: str = "") -> dict[str, Any]:
    """Return the table of some events, of which one can be read as `subject`'s."""
    return {
        "heads": ["#" + _("revision"), _("when"), _("what"), _("about"), _("who"), _("why")],
        "rows": [
            (link(f"/history/{e.revision}?subject={subject}", number(e.revision)), e.time, e.kind, _about(e),
             e.actor.name or e.actor.contributor,
             ": ".join(filter(None, (e.reason and word(e.reason), (e.details or {}).get("comment"))))) for e in events
        ],
    }  # fmt: skip


def _about(event: Event) -> Markup | str:
    collection, _slash, name = event.subject.partition("/")
    return entry_link(name) if collection == "entries" else event.subject


def show_all(visit: HubVisit) -> Response:
    """The events, the newest first, as far as the caller may read them."""
    subject, actor, kind, since = (visit.query.get(name, "").strip() for name in ("subject", "actor", "kind", "since"))
    kinds, begin = [one for one in EventKind if one == kind], _time(since) if since else None
    events = visit.hub.list_events(subject, actor=actor, since=begin, kinds=kinds)
    rows, after = events.page(after=visit.query.get("after", ""))
    filters = [
        Input("subject", _("About"), _("such as CONTRIBUTOR/SET or tokens/TOKEN"), value=subject),
        Input("actor", _("By the token"), value=actor),
        Input("kind", _("What"), options=[("", _("anything")), *pairs(EventKind)], value=kind),
        Input("since", _("Since, in UTC"), _("such as 2026-05-01T08:00"), value=since),
    ]
    return visit.page(_("History"), filters=filters, **event_table(rows, subject), after=after,
        facts=_undo(visit, actor, since, _("Undo what a token did")),
    )  # fmt: skip


def show(visit: HubVisit) -> Response:
    """An event: what it did, in words."""
    event = _event(visit)
    who, details = event.actor, [f"{word(name)}: {text}" for name, text in (event.details or {}).items()]
    undo = _undo(visit, who.name, f"{event.time:%Y-%m-%dT%H:%M}", _("Undo what this token did since then"))
    told = [
        (_("revision"), event.revision), (_("when"), event.time), (_("about"), _about(event)), (_("token"), who.name),
        *facts(who, "contributor role person second_person"), (_("reason"), event.reason and word(event.reason)),
        *event.facts.items(), *undo,
        (_("what it changed, and why"), _("erased") if event.details is None else folded(_("Details"), details)),
    ]  # fmt: skip
    return visit.page(word(event.kind).capitalize(), facts=told,
        forms=[("redact", _("Erase the details, for good"), [])] if details else [],
    )  # fmt: skip


def _undo(visit: HubVisit, actor: str, since: str, text: str) -> list[tuple[str, object]]:
    """Return the fact that leads an operator to undo what a token did."""
    where = f"/revert?{urlencode({'actor': actor, 'since': since})}"
    return [(_("by mistake, or by a thief"), link(where, text))] if visit.is_role(Role.OPERATOR) else []


def redact(visit: HubVisit) -> Response:
    """Erase the details of an event, for good."""
    visit.hub.redact_event(_event(visit).revision)
    return visit.go(visit.url, _("Erased. That it happened, when and by whom stays."))


def show_revert(visit: HubVisit, lines: list[RevertedEvent] | None = None) -> Response:
    """What undoing a token's writes would do, or did."""
    actor, since, comment = (visit.form[x] or visit.query.get(x, "") for x in ("actor", "since", "comment"))
    fields = [
        Input("actor", _("Token"), _("End it first, or it continues to write."), value=actor),
        Input("since", _("Since, in UTC"), _("such as 2026-05-01T08:00"), value=since),
        Input("comment", _("Why; no case data"), _("the second person writes the same"), value=comment),
    ]
    forms, page = [("dry_run", _("Say what would be undone"), fields)], dict[str, Any]()
    if lines is not None:
        page["facts"] = [(_("events and entries that would be undone; others' changes stay"), _sum(lines))]
        page["heads"] = ["#" + _("revision"), _("what"), _("about"), _("undone"), _("outcome"), "#" + _("entries")]
        page["rows"] = [
            (link(f"/history/{x.event.revision}", number(x.event.revision)), x.event.kind, _about(x.event),
             x.reverted, x.outcome, x.entry_count) for x in lines[:50]
        ]  # fmt: skip
        forms.append(("revert", _("Undo it"), hidden(visit, fields, told=_sum(lines))))
    return visit.page(_("Undo what a token did"), **page, forms=forms, may=True, open="dry_run",
    )  # fmt: skip


def revert(visit: HubVisit) -> Response:
    """Say what undoing would do; undo it, where it does what this form was told."""
    order = visit.form["actor"].strip(), _time(visit.form["since"]), visit.form["comment"].strip()
    would = visit.hub.revert_actor(*order, validate_only=True)
    if visit.form["do"] == "dry_run":
        return show_revert(visit, would)
    if visit.form["told"] != _sum(would):
        raise Conflict(_("Another number of events or entries would be undone than was told. Try it again."))
    events = sum(line.reverted for line in visit.hub.revert_actor(*order))
    return visit.go(f"/history?actor={order[0]}", _("Undone: {} events.").format(number(events)))


def _event(visit: HubVisit) -> Event:
    text = visit.path["revision"]
    revision = int(text) if text.isdecimal() and len(text) < _DIGITS else 0
    found = visit.hub.list_events(visit.query.get("subject", ""), before_revision=revision + 1).page(1).items
    if not found or found[0].revision != revision:
        raise NotFound(_("There is no such event, or you may not read it."))
    return found[0]


def _sum(lines: list[RevertedEvent]) -> str:
    """Return how many events and entries are undone, as the form keeps it."""
    return f"{sum(line.reverted for line in lines)}, {sum(line.entry_count for line in lines)}"


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidArgument.field("since", _("must be a time such as 2026-05-01T08:00, in UTC")) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


SCREENS = (
    Screen("/history", show_all, "hashhub history", _HANDBOOK),
    Screen("/history/{revision}", show, "hashhub history", _HANDBOOK, redact=redact),
    Screen(
        "/revert", show_revert, "hashhub revert --actor TOKEN --since TIME", _HANDBOOK, dry_run=revert, revert=revert
    ),
)
