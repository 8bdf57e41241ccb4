"""Members: contributors, those of other hubs too, groups and tokens, as the commands of these names have them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from starlette.responses import Response

from hashhub.console.forms import Input, change_form, confirmed, described, end_form, facts, made, show_many, updated
from hashhub.console.home import OVERSEERS, ROWS
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, link, word
from hashhub.console.visit import Screen
from hashhub.conversion import converted
from hashhub.errors import NotFound
from hashhub.model import Contributor, Group, Principal, QueueKind
from hashhub.model.terms import DisclosureChannel

_GRACES: Final = {"none": timedelta(0), "day": timedelta(days=1), "week": timedelta(days=7)}


def show_all(visit: HubVisit) -> Response:
    """The contributors."""
    groups = [(_("See also"), link("/groups", _("Groups")))]
    return show_many(visit, _("Members"), visit.hub.list_contributors(), _fields(), facts=groups)


def create(visit: HubVisit) -> Response:
    """Create a contributor."""
    name = visit.form["display_name"] or visit.form["id"]
    new = visit.hub.create_contributor(made(visit, Contributor, _fields(), display_name=name))
    return visit.go(f"/members/{new.id}", _("Created."))


def show(visit: HubVisit) -> Response:
    """One contributor, its tokens and what waits for an operator's acceptance."""
    name, hub, sees_all = visit.path["name"], visit.hub, visit.is_role(*OVERSEERS)
    # Read before what waits is shown: nothing that comes later is accepted by the form.
    revision = Input("revision", kind="hidden", value=str(hub.status().revision if sees_all else 0))
    queue, tokens = (hub.list_queue(name), hub.list_tokens()) if sees_all else ((), ())
    waiting = [item for item in queue if item.kind is QueueKind.AWAITS_ACCEPTANCE]
    member, comment = hub.get_contributor(name), Input("comment", _("Comment"))
    what = [(item.hash_set, f"{item.hash_set or _('objections')}: {item.count}") for item in waiting]
    accept = ("accept", _("Accept what waits"), [Input("hash_set", _("What"), options=what), revision, comment])
    entries = Input(
        "entries", _("Its entries"), options=[("keep", _("go on to match")), ("withdraw", _("are withdrawn"))]
    )
    retire = end_form("retire", _("Retire, for good: its tokens stop working"), entries, comment)
    own = tuple(link(f"/tokens/{token.name}", token.name) for token in tokens if token.contributor == name)[:ROWS]
    lists = link(f"/lists?of={name}", _("its lists"))
    told = [*facts(member, _fields()), (_("Hash sets"), lists), (_("Tokens"), own)]
    changes = [] if member.retire_time else [change_form(member, _fields()), retire]
    return visit.page(name, facts=told, forms=[accept][: len(waiting)] + changes)


def update(visit: HubVisit) -> Response:
    """Change what the form changes of a contributor."""
    visit.hub.update_contributor(*updated(visit, visit.hub.get_contributor(visit.path["name"]), _fields()))
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
    name = confirmed(visit)
    visit.hub.retire_contributor(name, visit.form["comment"], withdraw_entries=visit.form["entries"] == "withdraw")
    return visit.go(visit.url, _("Retired."))


def _fields() -> list[Input]:
    return described(
        Contributor,
        given="id",
        changed="display_name kind jurisdiction reliability takes_from",
        shown="origin create_time retire_time objections_accepted_revision",
        jurisdiction=_("ISO 3166-1, two capitals; ZZ for none"),
        reliability=_("A completely reliable … F cannot be judged"),
        takes_from=_("Contributors; decides who counts as independent"),
    )


def show_groups(visit: HubVisit) -> Response:
    """The groups."""
    return show_many(visit, _("Groups"), visit.hub.list_groups(), _of_groups())


def create_group(visit: HubVisit) -> Response:
    """Create a group."""
    return visit.go(f"/groups/{visit.hub.create_group(made(visit, Group, _of_groups())).id}", _("Created."))


def show_group(visit: HubVisit) -> Response:
    """One group."""
    group, fields = visit.hub.get_group(visit.path["name"]), _of_groups()
    forms = [change_form(group, fields), end_form("delete", _("Delete, for good"))]
    return visit.page(group.id, facts=facts(group, fields), forms=forms)


def update_group(visit: HubVisit) -> Response:
    """Change a group's name, and add and remove members one by one."""
    group = visit.hub.get_group(visit.path["name"])
    new, names = updated(visit, group, _of_groups())
    before, after = {*group.members}, {*new.members}
    masked = [name for name in names if name != "members"]
    visit.hub.update_group(new, masked, add_members=sorted(after - before), remove_members=sorted(before - after))
    return visit.go(visit.url, _("Changed."))


def delete_group(visit: HubVisit) -> Response:
    """Delete a group, for good."""
    visit.hub.delete_group(confirmed(visit))
    return visit.go("/groups", _("Deleted."))


def _of_groups() -> list[Input]:
    nobody = _("Contributors; a group of nobody admits nobody")
    return described(Group, given="id", changed="display_name members", members=nobody)


def show_tokens(visit: HubVisit) -> Response:
    """The tokens."""
    return show_many(visit, _("Tokens"), visit.hub.list_tokens(), _of_tokens())


def create_token(visit: HubVisit) -> Response:
    """Create a token, and show its secret in this answer."""
    new = made(visit, Principal, _of_tokens())
    return show_token(visit, new.name, visit.hub.create_token(new))


def show_token(visit: HubVisit, name: str = "", secret: str = "") -> Response:
    """One token, and what it has of each hash set. `name`: where the path has none; `secret`: told this once."""
    token, after = _token(visit, name or visit.path["name"]), visit.query.get("after", "")
    access = [row for row in visit.hub.access(token.name).items() if row[0] > after]
    graces = [("day", _("for a day")), ("week", _("for a week")), ("none", _("not at all"))]
    told = [(_("Secret: keep it now, nobody can show it again"), secret)] if secret else []
    rotate = ("rotate", _("Give another secret"), [Input("grace", _("The old one works on"), options=graces)])
    return visit.page(
        token.name,
        facts=[*told, *facts(token, _of_tokens())],
        heads=[_("hash set"), *map(word, DisclosureChannel)],
        rows=[(of, *(refused.get(way) or _("yes") for way in DisclosureChannel)) for of, refused in access[:ROWS]],
        after=access[ROWS - 1][0] if access[ROWS:] else "",
        action=f"/tokens/{token.name}",
        forms=[change_form(token, _of_tokens()), rotate, end_form("delete", _("Delete, for good"))],
    )


def update_token(visit: HubVisit) -> Response:
    """Change what the form changes of a token."""
    visit.hub.update_token(*updated(visit, _token(visit, visit.path["name"]), _of_tokens()))
    return visit.go(visit.url, _("Changed. It holds within a second."))


def rotate_token(visit: HubVisit) -> Response:
    """Give a token another secret, and show it in this answer."""
    secret = visit.hub.rotate_token(visit.path["name"], _GRACES.get(visit.form["grace"]))
    return show_token(visit, secret=secret)


def delete_token(visit: HubVisit) -> Response:
    """Delete a token, for good."""
    visit.hub.delete_token(confirmed(visit))
    return visit.go("/tokens", _("Deleted. It stops working within a second."))


def _token(visit: HubVisit, name: str) -> Principal:
    if named := [token for token in visit.hub.list_tokens() if token.name == name]:
        return named[0]
    raise NotFound(_("There is no such token."), kind="Token", name=name)


def _of_tokens() -> list[Input]:
    return described(
        Principal,
        given="name role contributor",
        changed="description person expire_time identities addresses purposes excluded acts_for_others may_mirror",
        shown="creator create_time last_use_time",
        contributor=_("An operator's or auditor's can have none"),
        description=_("Who holds it and where"),
        person=_("Who holds it; empty: a machine does"),
        identities=_("What proves it: URI:… or DNS:… of a certificate, OIDC:…"),
        addresses=_("Networks it may call from; none: from all"),
        excluded=_("Persons whom it lets in no more"),
    )


SCREENS = (
    Screen("/members", show_all, "hashhub contributor create", "operate/README.md", create=create),
    Screen(
        "/members/{name}", show, "hashhub contributor get {name}", "operate/README.md",
        update=update, accept=accept, retire=retire,
    ),
    Screen("/groups", show_groups, "hashhub group list", "terms.md", create=create_group),
    Screen(
        "/groups/{name}", show_group, "hashhub group get {name}", "terms.md", update=update_group, delete=delete_group
    ),
    Screen("/tokens", show_tokens, "hashhub token create", "operate/people.md", create=create_token),
    Screen(
        "/tokens/{name}", show_token, "hashhub access {name}", "operate/certificates.md",
        update=update_token, rotate=rotate_token, delete=delete_token,
    ),
)  # fmt: skip
