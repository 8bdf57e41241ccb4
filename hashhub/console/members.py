"""Members: contributors, those of other hubs too, groups and tokens, as the commands of these names have them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from hashhub.console.forms import Input, change_form, confirmed, facts, made, show_many, updated
from hashhub.console.home import OVERSEERS, ROWS
from hashhub.console.pages import _, link, word
from hashhub.console.visit import screen
from hashhub.conversion import converted
from hashhub.errors import NotFound
from hashhub.model import Contributor, ContributorKind, Group, Principal, QueueKind, Reliability, Role
from hashhub.model.terms import DisclosureChannel

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

_GRACES: Final = {"none": timedelta(0), "day": timedelta(days=1), "week": timedelta(days=7)}


def show_all(visit: HubVisit) -> Response:
    """The contributors."""
    members, groups = visit.hub.list_contributors(), [(_("See also"), link("/groups", _("Groups")))]
    return show_many(
        visit, _("Members"), members, _fields(), "hashhub contributor create", "operate/README.md", facts=groups
    )


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
    entries = [("keep", _("go on to match")), ("withdraw", _("are withdrawn"))]
    confirm = Input("confirm", _("Its id, once more"), _("Its tokens stop working. This cannot be undone."))
    retire = (
        "retire",
        _("Retire, for good"),
        [Input("entries", _("Its entries"), options=entries), comment, confirm],
    )
    own = [link(f"/tokens/{token.name}", token.name) for token in tokens if token.contributor == name]
    return visit.page(
        "plain.html",
        title=name,
        facts=[
            *facts(member, _fields()),
            (_("Hash sets"), link(f"/lists?of={name}", _("its lists"))),
            (_("Tokens"), tuple(own[:ROWS])),
        ],
        forms=[accept][: len(waiting)] + ([] if member.retire_time else [change_form(member, _fields()), retire]),
        command=f"hashhub contributor get {name}",
        handbook="operate/README.md",
    )


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
    kinds, letters = [(k, word(k)) for k in ContributorKind], [(r, r) for r in Reliability]
    return [
        Input("id", _("Id"), kind="given"),
        Input("display_name", _("Name that people read")),
        Input("kind", _("Kind"), options=kinds),
        Input("jurisdiction", _("Jurisdiction"), _("ISO 3166-1, two capitals; ZZ for none")),
        Input("reliability", _("Reliability"), _("A completely reliable … F cannot be judged"), "text", letters, "F"),
        Input("takes_from", _("Takes material from"), _("Contributors; decides who counts as independent"), "lines"),
        Input("origin", _("Comes through the hubs"), kind="shown"),
        Input("create_time", _("Since"), kind="shown"),
        Input("retire_time", _("Retired"), kind="shown"),
        Input("objections_accepted_revision", _("Objections accepted up to revision"), kind="shown"),
    ]


def show_groups(visit: HubVisit) -> Response:
    """The groups."""
    return show_many(visit, _("Groups"), visit.hub.list_groups(), _of_groups(), "hashhub group list", "terms.md")


def create_group(visit: HubVisit) -> Response:
    """Create a group."""
    new = visit.hub.create_group(made(visit, Group, _of_groups()))
    return visit.go(f"/groups/{new.id}", _("Created."))


def show_group(visit: HubVisit) -> Response:
    """One group."""
    group, confirm = visit.hub.get_group(visit.path["name"]), Input("confirm", _("Its id, once more"))
    return visit.page(
        "plain.html",
        title=group.id,
        facts=facts(group, _of_groups()),
        forms=[change_form(group, _of_groups()), ("delete", _("Delete, for good"), [confirm])],
        command=f"hashhub group get {group.id}",
        handbook="terms.md",
    )


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
    return [
        Input("id", _("Id"), kind="given"),
        Input("display_name", _("Name that people read")),
        Input("members", _("Members"), _("Contributors; a group of nobody admits nobody"), "lines"),
    ]


def show_tokens(visit: HubVisit) -> Response:
    """The tokens."""
    tokens = visit.hub.list_tokens()
    return show_many(visit, _("Tokens"), tokens, _of_tokens(), "hashhub token create", "operate/people.md")


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
    return visit.page(
        "plain.html",
        title=token.name,
        facts=[*told, *facts(token, _of_tokens())],
        heads=[_("hash set"), *map(word, DisclosureChannel)],
        rows=[(of, *(refused.get(way) or _("yes") for way in DisclosureChannel)) for of, refused in access[:ROWS]],
        after=access[ROWS - 1][0] if access[ROWS:] else "",
        action=f"/tokens/{token.name}",
        forms=[
            change_form(token, _of_tokens()),
            ("rotate", _("Give another secret"), [Input("grace", _("The old one works on"), options=graces)]),
            ("delete", _("Delete, for good"), [Input("confirm", _("Its name, once more"))]),
        ],
        command=f"hashhub access {token.name}",
        handbook="operate/certificates.md",
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
    roles = [(role, word(role)) for role in Role if role is not Role.PEER]
    return [
        Input("name", _("Name"), kind="given"),
        Input("role", _("Role"), kind="given", options=roles),
        Input("contributor", _("Contributor"), _("An operator's or auditor's can have none"), "given"),
        Input("description", _("Who holds it and where")),
        Input("person", _("Person who holds it"), _("Otherwise a machine does")),
        Input("expire_time", _("Ends"), _("A day such as 2027-01-31, or a time with its zone; empty: never"), "time"),
        Input("identities", _("Identities that prove it"), _("URI:… or DNS:… of a certificate, OIDC:…"), "lines"),
        Input("addresses", _("Networks it may call from"), _("None: from all"), "lines"),
        Input("purposes", _("Purposes"), kind="lines"),
        Input("excluded", _("Persons whom it lets in no more"), kind="lines"),
        Input("acts_for_others", _("Answers for clients of its own"), kind="check"),
        Input("may_mirror", _("Reads the change feed"), kind="check"),
        Input("creator", _("Made by"), kind="shown"),
        Input("create_time", _("Made"), kind="shown"),
        Input("last_use_time", _("Last use"), kind="shown"),
    ]


SCREENS = (
    screen("/members", show_all, create=create),
    screen("/members/{name}", show, update=update, accept=accept, retire=retire),
    screen("/groups", show_groups, create=create_group),
    screen("/groups/{name}", show_group, update=update_group, delete=delete_group),
    screen("/tokens", show_tokens, create=create_token),
    screen("/tokens/{name}", show_token, update=update_token, rotate=rotate_token, delete=delete_token),
)
