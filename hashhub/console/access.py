"""Tokens, and webhooks: who may do what, what proves it, and what each has of whom. A secret is in one answer only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.console.home import ROWS
from hashhub.console.members import changed, confirmed, drawn, words
from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.conversion import converted
from hashhub.errors import InvalidArgument, NotFound
from hashhub.model import DeliveryState, Principal, QueueKind, Role

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

_LISTS: Final = ("purposes", "identities", "addresses", "excluded")
_FLAGS: Final = ("acts_for_others", "may_mirror")
_TEXTS: Final = ("description", "person")
_FIELDS: Final = (*_LISTS, *_FLAGS, *_TEXTS, "expire_time")
_GRACES: Final = {"none": timedelta(0), "day": timedelta(days=1), "week": timedelta(days=7)}


def show_all(visit: HubVisit) -> Response:
    """The tokens."""
    rows, after = visit.hub.list_tokens().page(after=visit.query.get("after", ""))
    return visit.page("tokens.html", rows=rows, after=after, roles=[(r, word(r)) for r in Role if r is not Role.PEER])


def create(visit: HubVisit) -> Response:
    """Create a token, and show its secret in this answer."""
    form = visit.form
    values = {"name": form["name"], "role": form["role"], "contributor": form["contributor"], **_fields(visit)}
    new = converted(values, Principal, called=str, hint=_("nothing was done"))
    return visit.page("secret.html", name=new.name, secret=visit.hub.create_token(new))


def show(visit: HubVisit) -> Response:
    """One token, and what it has of each hash set."""
    token, after = _token(visit), visit.query.get("after", "")
    access = [row for row in visit.hub.access(token.name).items() if row[0] > after]
    made = [t.name for t in visit.hub.list_tokens() if t.creator == token.name]
    return visit.page(
        "token.html",
        token=token,
        was=drawn(_by_day(token), _FIELDS),
        expires=f"{token.expire_time:%Y-%m-%d}" if token.expire_time else "",
        access=access[:ROWS],
        after=access[ROWS - 1][0] if access[ROWS:] else "",
        made=made[:ROWS],
    )


def update(visit: HubVisit) -> Response:
    """Change what the form changes of a token."""
    token = _token(visit)
    fields = changed(visit, _by_day(token), _fields(visit))
    visit.hub.update_token(msgspec.structs.replace(token, **fields), tuple(fields))
    return visit.go(visit.url, _("Changed. It holds within a second."))


def rotate(visit: HubVisit) -> Response:
    """Give a token another secret, and show it in this answer."""
    name = visit.path["name"]
    return visit.page("secret.html", name=name, secret=visit.hub.rotate_token(name, _GRACES.get(visit.form["grace"])))


def delete(visit: HubVisit) -> Response:
    """Delete a token, for good."""
    confirmed(visit, visit.path["name"])
    visit.hub.delete_token(visit.path["name"])
    return visit.go("/tokens", _("Deleted. It stops working within a second."))


def _token(visit: HubVisit) -> Principal:
    name = visit.path["name"]
    for token in visit.hub.list_tokens():
        if token.name == name:
            return token
    raise NotFound(_("There is no such token."), kind="Token", name=name)


def _by_day(token: Principal) -> Principal:
    """Return a token as the form has it: without the time of the day on which it ends."""
    end = token.expire_time
    return msgspec.structs.replace(token, expire_time=end and end.replace(hour=0, minute=0, second=0, microsecond=0))


def _fields(visit: HubVisit) -> dict[str, Any]:
    form = visit.form
    fields: dict[str, Any] = {name: words(form[name]) for name in _LISTS}
    fields |= {name: bool(form[name]) for name in _FLAGS}
    fields |= {name: form[name].strip() for name in _TEXTS}
    try:
        day = form["expire_time"].strip()
        fields["expire_time"] = datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None
    except ValueError:
        raise InvalidArgument.field("expire_time", _("must be a day such as 2027-01-31, or nothing")) from None
    return fields


def show_webhooks(visit: HubVisit) -> Response:
    """The webhooks, and which of them are not reached."""
    rows, after = visit.hub.list_webhooks().page(after=visit.query.get("after", ""))
    failing = {item.name: item for item in visit.hub.list_queue() if item.kind is QueueKind.WEBHOOK_FAILING}
    return visit.page("webhooks.html", rows=rows, after=after, failing=failing)


def test_webhook(visit: HubVisit) -> Response:
    """Call a webhook once, now."""
    call = visit.hub.test_webhook(visit.form["webhook"])
    is_reached = call.state is DeliveryState.DELIVERED
    told = _("{} was reached.") if is_reached else _("{} was not reached: {}.")
    return visit.go(visit.url, told.format(visit.form["webhook"], word(call.error)))


SCREENS = (
    screen("/tokens", show_all, create=create),
    screen("/tokens/{name}", show, update=update, rotate=rotate, delete=delete),
    screen("/webhooks", show_webhooks, test=test_webhook),
)
