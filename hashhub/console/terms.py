"""Terms: who has the entries of which hash set by which way out; and a change of terms, shown before it holds."""

from __future__ import annotations

from functools import partial

import msgspec
from starlette.responses import Response

from hashhub.console.forms import Input, change_form, described, pairs, updated
from hashhub.console.home import OVERSEERS
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, link, word
from hashhub.console.visit import Screen
from hashhub.errors import InvalidArgument
from hashhub.model import TLP, Group, HashSet, Marking, Principal, Role, now
from hashhub.model.terms import DisclosureChannel, withheld


def show_all(visit: HubVisit) -> Response:
    """Hash sets against who has them."""
    groups = {group.id: group for group in visit.hub.list_groups()}
    sets, after = visit.hub.list_hash_sets().page(after=visit.query.get("after", ""))
    reach = [(link(f"/terms/{s.name}", s.name), s.marking.tlp, *_reach(groups, s).values()) for s in sets]
    facts = [(_("A member here"), _("states a permitted purpose, may mirror, and acts for nobody else"))]
    heads = [_("hash set"), "TLP", _("Everybody"), *groups]
    return visit.page(_("Who has what"), facts=facts, heads=heads, rows=reach, after=after)


def show(visit: HubVisit, *, proposed: HashSet | None = None) -> Response:
    """One hash set. `proposed`: what it would be with the form's terms; then also which tokens gain or lose."""
    hash_set = visit.hub.get_hash_set(visit.path["name"])
    groups, states = (
        {group.id: group for group in visit.hub.list_groups()},
        [hash_set, *([proposed] if proposed else [])],
    )
    named = {name: name for s in states for name in s.marking.recipients if name.startswith("contributors/")}
    reach = [_reach(groups, s, *named) for s in states]
    rows = [(name, *(one[name] for one in reach)) for name in reach[0]]
    if proposed and visit.is_role(*OVERSEERS):
        has_origin = visit.hub.get_contributor(hash_set.contributor).origin is not None
        for token in visit.hub.list_tokens():
            had, has = (_ways([token], s, groups, has_origin=has_origin) for s in (hash_set, proposed))
            is_over = token.expire_time is not None and token.expire_time <= now()
            rows += [(token.name, had, has)] if had != has and not is_over else []
    opens = _("Recipients are to be empty, and everybody whom the label allows has the entries")
    tries = Input("check", _("Show who would gain or lose what"), kind="button")
    fields = [*change_form(hash_set.marking, _fields())[2], Input("open", opens, kind="check"), tries]
    return visit.page(
        hash_set.name,
        heads=[_("members"), _("now"), _("then")][: len(rows[0])],
        rows=rows,
        forms=[("change", _("Change: it holds at once"), fields)],
        may=visit.may_write or visit.caller.contributor == hash_set.contributor,
        open="change",
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
    changed = "recipients permitted_purposes bulk redistribution disclose_existence expire_time legal_basis"
    named = _("Such as contributors/ID, groups/ID; empty: all whom the label allows")
    own = described(Marking, changed=changed, recipients=named, permitted_purposes=_("Empty: any"))
    return [Input("tlp", "TLP", options=pairs(TLP)), *own]


def _reach(groups: dict[str, Group], hash_set: HashSet, *named: str) -> dict[str, str]:
    """Return by which ways members have the entries of a hash set: everybody, all in each group, and those named. A
    member here states a permitted purpose, may mirror, and acts for nobody else.
    """
    ways = {}
    contributors = {name: (name.partition("/")[2],) for name in named}
    for name, members in {_("Everybody"): ("",), **{g.id: g.members for g in groups.values()}, **contributors}.items():
        member = partial(Principal, name="", role=Role.CONSUMER, may_mirror=True)
        purposes = hash_set.marking.permitted_purposes
        tokens = [member(contributor=one, purposes=purposes) for one in members if one != hash_set.contributor]
        ways[name] = _ways(tokens, hash_set, groups)
    return ways


def _ways(tokens: list[Principal], hash_set: HashSet, groups: dict[str, Group], *, has_origin: bool = True) -> str:
    """Return by which ways all of these tokens have the entries."""
    at = now()
    had = [
        way for way in DisclosureChannel
        if tokens and not any(withheld(token, hash_set, groups, way, at, has_origin=has_origin) for token in tokens)
    ]  # fmt: skip
    return ", ".join(map(word, had)) or "-"


SCREENS = (
    Screen("/terms", show_all, "hashhub hash-set list", "terms.md"),
    Screen(
        "/terms/{name:path}", show, "hashhub hash-set update {name} --tlp amber", "terms.md", check=check, change=change
    ),
)
