"""Terms: who has the entries of which hash set by which way out; and a change of terms, shown before it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.console.forms import changed, drawn, words
from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.conversion import converted
from hashhub.errors import InvalidArgument
from hashhub.model import TLP, Group, HashSet, Marking, Principal, Role, now
from hashhub.model.terms import DisclosureChannel, withheld

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

_LISTS: Final = ("recipients", "permitted_purposes")
_FIELDS: Final = ("tlp", *_LISTS, "bulk", "redistribution", "disclose_existence", "legal_basis", "expire_time")


def show_all(visit: HubVisit) -> Response:
    """Hash sets against who has them."""
    groups = {group.id: group for group in visit.hub.list_groups()}
    sets, after = visit.hub.list_hash_sets().page(after=visit.query.get("after", ""))
    return visit.page("terms.html", groups=groups, rows=[(s, _reach(groups, s)) for s in sets], after=after)


def show(visit: HubVisit, *, proposed: HashSet | None = None) -> Response:
    """One hash set. `proposed`: what it would be with the form's terms; then also which tokens gain or lose."""
    hash_set = visit.hub.get_hash_set(visit.path["name"])
    groups = {group.id: group for group in visit.hub.list_groups()}
    rows = _reach(groups, hash_set, *([proposed] if proposed else []))
    if proposed and visit.is_role(Role.OPERATOR, Role.AUDITOR):
        has_origin = visit.hub.get_contributor(hash_set.contributor).origin is not None
        tokens = [token for token in visit.hub.list_tokens() if token.expire_time is None or token.expire_time > now()]
        for token in tokens:
            had, has = (_ways([token], s, groups, has_origin=has_origin) for s in (hash_set, proposed))
            rows += [(token.name, had, has)] if had != has else []
    labels, was = [(label, word(label)) for label in TLP], drawn(hash_set.marking, _FIELDS)
    return visit.page("hash_set_terms.html", hash_set=hash_set, rows=rows, was=was, labels=labels)


def check(visit: HubVisit) -> Response:
    """Show what would change."""
    return show(visit, proposed=_update(visit, validate_only=True))


def change(visit: HubVisit) -> Response:
    """Change terms: they hold at once, or when a second person changes them so."""
    _update(visit, validate_only=False)
    return visit.go(visit.url, _("Changed."))


def _update(visit: HubVisit, *, validate_only: bool) -> HashSet:
    form, until = visit.form, visit.form["expire_time"].strip()
    values: dict[str, Any] = {name: form[name] for name in _FIELDS} | {name: words(form[name]) for name in _LISTS}
    values["expire_time"] = f"{until}{'0000-01-01 00:00:00'[len(until) :]}Z" if until else None
    wanted = converted(values, Marking, called=str, hint=_("nothing was done"), strict=False)
    hash_set = visit.hub.get_hash_set(visit.path["name"])
    fields = changed(visit, hash_set.marking, {name: getattr(wanted, name) for name in _FIELDS})
    if fields.get("recipients") == () and not form["open"]:
        told = _("names nobody any more, which opens it to all whom the label allows; tick it below if that is meant")
        raise InvalidArgument.field("recipients", told, "OPENS_HASH_SET")
    new = msgspec.structs.replace(hash_set, marking=msgspec.structs.replace(hash_set.marking, **fields))
    return visit.hub.update_hash_set(new, [f"marking.{name}" for name in fields], validate_only=validate_only)


def _reach(groups: dict[str, Group], *states: HashSet) -> list[tuple[str, ...]]:
    """Return by which ways members have the entries, in each state of a hash set: everybody, and all in each group. A
    member here states a permitted purpose, may mirror, and acts for nobody else.
    """
    purposes = tuple(purpose for s in states for purpose in s.marking.permitted_purposes)
    rows: list[tuple[str, ...]] = []
    for name, members in {_("Everybody"): ("",), **{group.id: group.members for group in groups.values()}}.items():
        tokens = [
            Principal(name="", role=Role.CONSUMER, contributor=member, purposes=purposes, may_mirror=True)
            for member in members
            if member != states[0].contributor
        ]
        rows.append((name, *(_ways(tokens, s, groups) for s in states)))
    return rows


def _ways(tokens: list[Principal], hash_set: HashSet, groups: dict[str, Group], *, has_origin: bool = True) -> str:
    """Return by which ways all of these tokens have the entries."""
    at = now()
    refused = {
        way
        for way in DisclosureChannel
        for token in tokens
        if withheld(token, hash_set, groups, way, at, has_origin=has_origin)
    }
    return ", ".join(word(way) for way in DisclosureChannel if tokens and way not in refused) or "-"


SCREENS = (
    screen("/terms", show_all),
    screen("/terms/{name:path}", show, check=check, change=change),
)
