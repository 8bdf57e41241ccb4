"""History: who did what, when and why; and undoing what a token did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hashhub.console.entries import pairs
from hashhub.console.pages import _, number
from hashhub.console.visit import screen
from hashhub.errors import Conflict, InvalidArgument, NotFound
from hashhub.model import Event, EventKind, RevertedEvent

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

_FILTERS: Final = ("subject", "actor", "kind", "since")
_DIGITS: Final = 19  # of the largest revision


def show_all(visit: HubVisit) -> Response:
    """The events, the newest first, as far as the caller may read them."""
    chosen: dict[str, Any] = {name: visit.query.get(name, "").strip() for name in _FILTERS}
    kinds = [kind for kind in EventKind if kind == chosen["kind"]]
    since = _time(chosen["since"]) if chosen["since"] else None
    events = visit.hub.list_events(chosen["subject"], actor=chosen["actor"], since=since, kinds=kinds)
    rows, after = events.page(after=visit.query.get("after", ""))
    return visit.page("history.html", rows=rows, after=after, chosen=chosen, kinds=pairs(EventKind))


def show(visit: HubVisit) -> Response:
    """An event: what it did, in words."""
    return visit.page("event.html", event=_event(visit))


def redact(visit: HubVisit) -> Response:
    """Erase the details of an event, for good."""
    visit.hub.redact_event(_event(visit).revision)
    return visit.go(visit.url, _("Erased. That it happened, when and by whom stays."))


def show_revert(visit: HubVisit, lines: list[RevertedEvent] | None = None) -> Response:
    """What undoing a token's writes would do, or did."""
    return visit.page("revert.html", lines=lines, would=_sum(lines or []))


def dry_run(visit: HubVisit) -> Response:
    """Say what undoing would do."""
    return show_revert(visit, visit.hub.revert_actor(*_order(visit), validate_only=True))


def revert(visit: HubVisit) -> Response:
    """Undo it, where that does what the dry run told."""
    order = _order(visit)
    would = _sum(visit.hub.revert_actor(*order, validate_only=True))
    if visit.form["told"] != would:
        raise Conflict(_("Another number of events or entries would be undone than was told. Try it again."))
    done = visit.hub.revert_actor(*order)
    events = sum(line.reverted for line in done)
    return visit.go(f"/history?actor={order[0]}", _("Undone: {} events.").format(number(events)))


def _event(visit: HubVisit) -> Event:
    text = visit.path["revision"]
    revision = int(text) if text.isdecimal() and len(text) < _DIGITS else 0
    found = visit.hub.list_events(visit.query.get("subject", ""), before_revision=revision + 1).page(1).items
    if not found or found[0].revision != revision:
        raise NotFound(_("There is no such event, or you may not read it."))
    return found[0]


def _order(visit: HubVisit) -> tuple[str, datetime, str]:
    return visit.form["actor"].strip(), _time(visit.form["since"]), visit.form["comment"].strip()


def _sum(lines: list[RevertedEvent]) -> str:
    """Return how many events and entries are undone, as the form keeps it."""
    return f"{sum(line.reverted for line in lines)} {sum(line.entry_count for line in lines)}"


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidArgument.field("since", _("must be a time such as 2026-05-01T08:00, in UTC")) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


SCREENS = (
    screen("/history", show_all),
    screen("/history/{revision}", show, redact=redact),
    screen("/revert", show_revert, dry_run=dry_run, revert=revert),
)
