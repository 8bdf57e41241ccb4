"""Terms: who has the entries of which hash set by which way out; and a change of terms, shown before it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hashhub.console.forms import Input, change_form, pairs, updated
from hashhub.console.pages import _, link, word
from hashhub.console.visit import screen
from hashhub.errors import InvalidArgument
from hashhub.model import TLP, Group, HashSet, Principal, Role, now
from hashhub.model.terms import DisclosureChannel, withheld

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit


def show_all(visit: HubVisit) -> Response:
    """Hash sets against who has them."""
    groups = {group.id: group for group in visit.hub.list_groups()}
    sets, after = visit.hub.list_hash_sets().page(after=visit.query.get("after", ""))
    reach = [(link(f"/terms/{s.name}", s.name), s.marking.tlp, *(row[1] for row in _reach(groups, s))) for s in sets]
    return visit.page(
        "plain.html",
        title=_("Who has what"),
        facts=[(_("A member here"), _("states a permitted purpose, may mirror, and acts for nobody else"))],
        heads=[_("hash set"), "TLP", _("Everybody"), *groups],
        rows=reach,
        after=after,
        command="hashhub hash-set list",
        handbook="terms.md",
    )


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
    opens = Input(
        "open", _("Recipients are to be empty, and everybody whom the label allows has the entries"), "", "check"
    )
    tries = Input("check", _("Show who would gain or lose what"), kind="button")
    fields = [*change_form(hash_set.marking, _fields())[2], opens, tries]
    return visit.page(
        "plain.html",
        title=hash_set.name,
        heads=[_("members"), _("now"), _("then")][: len(rows[0])],
        rows=rows,
        forms=[("change", _("Change: it holds at once"), fields)],
        may=visit.is_role(Role.OPERATOR) or visit.caller.contributor == hash_set.contributor,
        open="change",
        command=f"hashhub hash-set update {hash_set.name} --tlp {hash_set.marking.tlp.lower().replace('_', '-')}",
        handbook="terms.md",
    )


def check(visit: HubVisit) -> Response:
    """Show what would change."""
    return show(visit, proposed=_update(visit, validate_only=True))


def change(visit: HubVisit) -> Response:
    """Change terms: they hold at once, or when a second person changes them so."""
    _update(visit, validate_only=False)
    return visit.go(visit.url, _("Changed."))


def _update(visit: HubVisit, *, validate_only: bool) -> HashSet:
    hash_set = visit.hub.get_hash_set(visit.path["name"])
    marking, names = updated(visit, hash_set.marking, _fields())
    if "recipients" in names and not marking.recipients and not visit.form["open"]:
        told = _("names nobody any more, which opens it to all whom the label allows; tick it below if that is meant")
        raise InvalidArgument.field("recipients", told, "OPENS_HASH_SET")
    new = msgspec.structs.replace(hash_set, marking=marking)
    return visit.hub.update_hash_set(new, [f"marking.{name}" for name in names], validate_only=validate_only)


def _fields() -> list[Input]:
    named = _("Such as contributors/ID, groups/ID; empty: all whom the label allows")
    flags, yes_or_no = ("bulk", "redistribution", "disclose_existence"), [("True", _("yes")), ("", _("no"))]
    return [
        Input("tlp", "TLP", options=pairs(TLP)),
        Input("recipients", _("Recipients"), named, "lines"),
        Input("permitted_purposes", _("Permitted purposes"), _("Empty: any"), "lines"),
        *(Input(name, word(name), kind="answer", options=yes_or_no) for name in flags),
        Input("expire_time", _("Ends"), _("A day such as 2027-01-31, or a time with its zone; empty: never"), "time"),
        Input("legal_basis", _("Legal basis")),
    ]


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
