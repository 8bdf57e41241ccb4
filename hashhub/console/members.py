"""Members: contributors and groups, as the commands `hashhub contributor` and `hashhub group` have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.datastructures import FormData

from hashhub.console.home import OVERSEERS, ROWS
from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.conversion import converted
from hashhub.errors import Conflict, InvalidArgument
from hashhub.model import Contributor, ContributorKind, Group, QueueKind, Reliability

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

_FIELDS: Final = ("display_name", "kind", "jurisdiction", "reliability", "takes_from")


def words(text: str) -> tuple[str, ...]:
    """Return what a field lists, by spaces, commas or lines."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def drawn(resource: object, names: Iterable[str]) -> str:
    """Return the values that a form is drawn with, which it sends back in `was`."""
    return msgspec.json.encode({name: getattr(resource, name) for name in names}).decode()


def changed(visit: HubVisit, resource: object, fields: dict[str, Any]) -> dict[str, Any]:
    """Return which fields the person changed. Raises Conflict where somebody else changed one of these since the page
    was drawn, InvalidArgument where nothing is changed.
    """
    try:
        was = msgspec.json.decode(visit.form["was"], type=dict[str, Any])
    except msgspec.DecodeError:
        raise InvalidArgument(_("This form is not as the page made it; load the page again.")) from None
    typed, is_now = (msgspec.json.decode(values) for values in (msgspec.json.encode(fields), drawn(resource, fields)))
    own = {name: value for name, value in fields.items() if typed[name] != was.get(name)}
    if not own:
        raise InvalidArgument(_("Nothing was changed."))
    if any(is_now[name] != was.get(name) for name in own):
        # What the person did not change is shown as it is now, or sending the form again would undo it.
        visit.take(FormData([(name, visit.form[name]) for name in visit.form if name not in fields or name in own]))
        raise Conflict(
            _("Somebody else changed this since the page was opened. See what it is now, then send it again.")
        )
    return own


def show_all(visit: HubVisit) -> Response:
    """The contributors."""
    rows, after = visit.hub.list_contributors().page(after=visit.query.get("after", ""))
    return visit.page("members.html", rows=rows, after=after, **_choices())


def create(visit: HubVisit) -> Response:
    """Create a contributor."""
    made = visit.hub.create_contributor(_contributor(visit, visit.form["id"]))
    return visit.go(f"/members/{made.id}", _("Created."))


def show(visit: HubVisit) -> Response:
    """One contributor, with its hash sets, its tokens and what waits for an operator's acceptance."""
    name, hub, sees_all = visit.path["name"], visit.hub, visit.is_role(*OVERSEERS)
    # Read before what waits is shown: nothing that comes later is accepted by the form.
    revision = hub.status().revision if sees_all else 0
    waiting = [item for item in hub.list_queue(name) if item.kind is QueueKind.AWAITS_ACCEPTANCE] if sees_all else []
    member = hub.get_contributor(name)
    sets, after = hub.list_hash_sets(name).page(after=visit.query.get("after", ""))
    tokens = [t for t in hub.list_tokens() if t.contributor == name][:ROWS] if sees_all else []
    shown: dict[str, Any] = {
        "sets": sets,
        "after": after,
        "tokens": tokens,
        "waiting": waiting,
        "revision": revision,
        **_choices(),
    }
    return visit.page("member.html", member=member, was=drawn(member, _FIELDS), **shown)


def update(visit: HubVisit) -> Response:
    """Change what the form changes of a contributor."""
    member = visit.hub.get_contributor(visit.path["name"])
    wanted = _contributor(visit, member.id)
    fields = changed(visit, member, {name: getattr(wanted, name) for name in _FIELDS})
    visit.hub.update_contributor(msgspec.structs.replace(member, **fields), tuple(fields))
    return visit.go(visit.url, _("Changed."))


def accept(visit: HubVisit) -> Response:
    """Accept what waits, as far as the page showed it: a hash set's statements, or the contributor's objections."""
    revision, comment = converted(visit.form["revision"], int, called=str, hint="", strict=False), visit.form["comment"]
    if hash_set := visit.form["hash_set"]:
        visit.hub.accept_hash_set(hash_set, revision, comment)
    else:
        visit.hub.accept_objections(visit.path["name"], revision, comment)
    return visit.go(visit.url, _("Accepted, up to revision {}.").format(revision))


def retire(visit: HubVisit) -> Response:
    """Retire a contributor, for good."""
    confirmed(visit, visit.path["name"])
    withdraws = visit.form["entries"] == "withdraw"
    visit.hub.retire_contributor(visit.path["name"], visit.form["comment"], withdraw_entries=withdraws)
    return visit.go(visit.url, _("Retired."))


def confirmed(visit: HubVisit, name: str) -> None:
    """Raise InvalidArgument unless the person has typed the name of what ends for good."""
    if visit.form["confirm"].strip() != name:
        raise InvalidArgument.field("confirm", _("must be {}; nothing was done").format(name))


def _choices() -> dict[str, Any]:
    return {"kinds": [(k, word(k)) for k in ContributorKind], "letters": [(r, r) for r in Reliability]}


def _contributor(visit: HubVisit, name: str) -> Contributor:
    form = visit.form
    values: dict[str, Any] = {field: form[field] for field in ("kind", "jurisdiction", "reliability")}
    values |= {"id": name, "display_name": form["display_name"] or name, "takes_from": list(words(form["takes_from"]))}
    return converted(values, Contributor, called=str, hint=_("nothing was done"))


def show_groups(visit: HubVisit) -> Response:
    """The groups."""
    rows, after = visit.hub.list_groups().page(after=visit.query.get("after", ""))
    return visit.page("groups.html", rows=rows, after=after)


def create_group(visit: HubVisit) -> Response:
    """Create a group."""
    form = visit.form
    new = Group(id=form["id"], display_name=form["display_name"], members=words(form["members"]))
    return visit.go(f"/groups/{visit.hub.create_group(new).id}", _("Created."))


def show_group(visit: HubVisit) -> Response:
    """One group."""
    group = visit.hub.get_group(visit.path["name"])
    return visit.page("group.html", group=group, was=drawn(group, ("display_name", "members")))


def update_group(visit: HubVisit) -> Response:
    """Change a group's name, and add and remove members one by one."""
    group, members = visit.hub.get_group(visit.path["name"]), words(visit.form["members"])
    fields = changed(visit, group, {"display_name": visit.form["display_name"], "members": members})
    names = {name: value for name, value in fields.items() if name != "members"}
    added, removed = [one for one in members if one not in group.members], {*group.members} - {*members}
    group = msgspec.structs.replace(group, **names)
    visit.hub.update_group(group, tuple(names), add_members=added, remove_members=sorted(removed))
    return visit.go(visit.url, _("Changed."))


def delete_group(visit: HubVisit) -> Response:
    """Delete a group, for good."""
    confirmed(visit, visit.path["name"])
    visit.hub.delete_group(visit.path["name"])
    return visit.go("/groups", _("Deleted."))


SCREENS = (
    screen("/members", show_all, create=create),
    screen("/members/{name}", show, update=update, accept=accept, retire=retire),
    screen("/groups", show_groups, create=create_group),
    screen("/groups/{name}", show_group, update=update_group, delete=delete_group),
)
