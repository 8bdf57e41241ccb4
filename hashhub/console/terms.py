"""Terms: who has the entries of which hash set by which way out; and a change of terms, shown before it holds."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.console.home import OVERSEERS
from hashhub.console.members import changed, drawn, words
from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.conversion import converted
from hashhub.errors import InvalidArgument
from hashhub.model import TLP, Group, HashSet, Marking, Principal, Role, now
from hashhub.model.terms import DisclosureChannel, refusal, withheld

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

_LISTS: Final = ("recipients", "permitted_purposes")
_FLAGS: Final = ("bulk", "redistribution", "disclose_existence")
_FIELDS: Final = Marking.__struct_fields__


def show_all(visit: HubVisit) -> Response:
    """Hash sets against who has them."""
    groups = {group.id: group for group in visit.hub.list_groups()}
    sets, after = visit.hub.list_hash_sets().page(after=visit.query.get("after", ""))
    return visit.page("terms.html", groups=groups, rows=[(s, _reach(s, groups)) for s in sets], after=after)


def show(visit: HubVisit, *, proposed: HashSet | None = None) -> Response:
    """One hash set. `proposed`: what it would be with the form's terms."""
    hash_set = visit.hub.get_hash_set(visit.path["name"])
    groups = {group.id: group for group in visit.hub.list_groups()}
    then = proposed or hash_set
    values, others = _values(hash_set.marking), _values(then.marking)
    reach = [(name, ways, _reach(then, groups)[name]) for name, ways in _reach(hash_set, groups).items()]
    return visit.page(
        "hash_set_terms.html",
        hash_set=hash_set,
        proposed=proposed,
        values=values,
        was=drawn(hash_set.marking, _FIELDS),
        labels=[(label, f"TLP:{label.replace('_', '+')}") for label in TLP],
        lists=_LISTS,
        flags=_FLAGS,
        reach=reach,
        terms=[(word(name), value, others[name]) for name, value in values.items() if others[name] != value],
        tokens=_tokens(visit, hash_set, then, groups) if proposed and visit.is_role(*OVERSEERS) else [],
        may_write=visit.is_role(Role.OPERATOR) or visit.caller.contributor == hash_set.contributor,
    )


def check(visit: HubVisit) -> Response:
    """Show what would change."""
    return show(visit, proposed=_update(visit, validate_only=True))


def change(visit: HubVisit) -> Response:
    """Change terms: they hold at once, or when a second person changes them so."""
    _update(visit, validate_only=False)
    return visit.go(visit.url, _("Changed."))


def _update(visit: HubVisit, *, validate_only: bool) -> HashSet:
    form, until = visit.form, visit.form["expire_time"].strip()
    values: dict[str, Any] = {name: form[name] for name in ("tlp", "legal_basis", *_FLAGS)}
    values |= {name: [line.strip() for line in form[name].splitlines() if line.strip()] for name in _LISTS}
    values["max_distances"] = dict(one.partition("=")[::2] for one in words(form["max_distances"]))
    values["expire_time"] = f"{until}{'0000-01-01 00:00:00'[len(until) :]}Z" if until else None
    wanted = converted(values, Marking, called=str, hint=_("nothing was done"), strict=False)
    hash_set = visit.hub.get_hash_set(visit.path["name"])
    fields = changed(visit, hash_set.marking, {name: getattr(wanted, name) for name in _FIELDS})
    if fields.get("recipients") == () and not form["open"]:
        told = _("names nobody any more, which opens it to all whom the label allows; tick it below if that is meant")
        raise InvalidArgument.field("recipients", told, "OPENS_HASH_SET")
    new = msgspec.structs.replace(hash_set, marking=msgspec.structs.replace(hash_set.marking, **fields))
    return visit.hub.update_hash_set(new, [f"marking.{name}" for name in fields], validate_only=validate_only)


def _values(marking: Marking) -> dict[str, str]:
    """Return terms as the form's fields have them."""
    return {
        "tlp": marking.tlp,
        **{name: "\n".join(getattr(marking, name)) for name in _LISTS},
        **{name: "true" if getattr(marking, name) else "false" for name in _FLAGS},
        "max_distances": " ".join(f"{name}={most}" for name, most in marking.max_distances.items()),
        "legal_basis": marking.legal_basis,
        "expire_time": f"{marking.expire_time.astimezone(UTC).replace(tzinfo=None)}" if marking.expire_time else "",
    }


def _reach(hash_set: HashSet, groups: Mapping[str, Group]) -> dict[str, str]:
    """Return by which ways members have the entries: everybody, and all in each group. A member here states a permitted
    purpose, may mirror, and acts for nobody else.
    """
    at, purposes = now(), hash_set.marking.permitted_purposes

    def ways(members: Iterable[str]) -> str:
        tokens = [
            Principal(name="", role=Role.CONSUMER, contributor=member, purposes=purposes, may_mirror=True)
            for member in members
            if member != hash_set.contributor
        ]
        return _words(
            way
            for way in DisclosureChannel
            if tokens and not any(refusal(token, hash_set, groups, way, at) for token in tokens)
        )

    return {_("Everybody"): ways(("",)), **{name: ways(group.members) for name, group in groups.items()}}


def _tokens(
    visit: HubVisit, hash_set: HashSet, then: HashSet, groups: Mapping[str, Group]
) -> list[tuple[str, str, str]]:
    """Return which tokens that work gain and lose which ways."""
    at, has_origin = now(), visit.hub.get_contributor(hash_set.contributor).origin is not None
    rows = []
    for token in visit.hub.list_tokens():
        if token.expire_time is None or token.expire_time > at:
            had, has = (
                {way for way in DisclosureChannel if not withheld(token, s, groups, way, at, has_origin=has_origin)}
                for s in (hash_set, then)
            )
            rows += [(token.name, _words(has - had), _words(had - has))] if had != has else []
    return rows


def _words(ways: Iterable[DisclosureChannel]) -> str:
    return ", ".join(word(way) for way in sorted(ways, key=list(DisclosureChannel).index)) or "-"


SCREENS = (
    screen("/terms", show_all),
    screen("/terms/{name:path}", show, check=check, change=change),
)
