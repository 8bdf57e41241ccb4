"""`hashhub contributor …`, `hashhub group …` and `hashhub hash-set …`."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

import click
import msgspec

from hashhub.cli import main
from hashhub.cli.match import distances_of
from hashhub.cli.session import (
    COMMENT,
    CommandGroup,
    Session,
    choice,
    clear,
    command,
    dry_run,
    expiry_or_none,
    given,
    moment,
    options,
    several,
    spelled,
    terms_of,
)
from hashhub.cli.terminal import clean, fields_of, note, table, tell
from hashhub.errors import InvalidArgument
from hashhub.model import (
    MAX_RETENTION_DAYS,
    TLP,
    Contributor,
    ContributorKind,
    EntryState,
    Group,
    HashSet,
    Marking,
    PeerOrigin,
    Purpose,
    Reliability,
    Unclassified,
)

_revision_option: Final = click.option(
    "--revision",
    type=click.IntRange(min=1),
    metavar="N",
    help="Up to which revision. Default: what there is now. A lower one than before takes some of it back.",
)
_ENTRIES_COUNTED: Final = 10_000


@main.group("contributor", cls=CommandGroup)
def contributor() -> None:
    """Organisations that state something."""


@command(contributor, "create")
@click.argument("id")
@click.option("--kind", type=choice(ContributorKind), required=True, help="What sort of organisation it is.")
@click.option("--jurisdiction", required=True, metavar="CC", help="ISO 3166-1 alpha-2 code in capitals; ZZ for none.")
@click.option("--display-name", metavar="TEXT", help="The name that people read. Default: the id.")
@click.option(
    "--reliability",
    type=choice(Reliability),
    default="f",
    show_default=True,
    help="Admiralty grade: A completely reliable … F cannot be judged.",
)
@click.option(
    "--takes-from",
    multiple=True,
    metavar="ID",
    help="A contributor whose material it passes on; repeatable. Decides who counts as independent.",
)
def create_contributor(session: Session, *, id: str, display_name: str | None, **options: Any) -> None:
    """Create the contributor ID. Needs an operator's token."""
    new = Contributor(id=id, display_name=display_name or id, **options)
    with session.connect() as hub:
        _show_contributors(session, [hub.create_contributor(new)])


@command(contributor, "list")
def list_contributors(session: Session) -> None:
    """List the contributors."""
    with session.connect() as hub:
        _show_contributors(session, list(hub.list_contributors()))


@command(contributor, "get")
@click.argument("id")
def get_contributor(session: Session, *, id: str) -> None:
    """Show the contributor ID."""
    with session.connect() as hub:
        _show_contributors(session, [hub.get_contributor(id)])


@command(contributor, "update")
@click.argument("id")
@click.option("--display-name", metavar="TEXT", help="The name that people read.")
@click.option("--kind", type=choice(ContributorKind), help="What sort of organisation it is.")
@click.option("--jurisdiction", metavar="CC", help="ISO 3166-1 alpha-2 code in capitals; ZZ for none.")
@click.option("--reliability", type=choice(Reliability), help="Admiralty grade.")
@several("--takes-from", metavar="ID", help="Replaces all of those named before; repeatable.")
@click.option("--takes-from-nobody", is_flag=True, help="Remove all that were named before.")
def update_contributor(session: Session, *, id: str, takes_from_nobody: bool, **options: Any) -> None:
    """Change the contributor ID. Only what is given changes. Needs an operator's token."""
    if options["takes_from"] and takes_from_nobody:
        raise click.UsageError("--takes-from and --takes-from-nobody exclude each other")
    fields = given({**options, "takes_from": () if takes_from_nobody else options["takes_from"]})
    with session.connect() as hub:
        changed = msgspec.structs.replace(hub.get_contributor(id), **fields)
        _show_contributors(session, [hub.update_contributor(changed, tuple(fields))])


@command(contributor, "retire")
@click.argument("id")
@click.option(
    "--entries",
    type=click.Choice(["keep", "withdraw"]),
    required=True,
    help="Keep its entries, which go on to match, or withdraw them, which needs a comment.",
)
@COMMENT
@click.confirmation_option(prompt="Its tokens stop working, and this cannot be undone. Retire it?")
def retire_contributor(session: Session, *, id: str, entries: str, comment: str) -> None:
    """Retire the contributor ID, for good. Its tokens stop working, and its webhooks are called no more. Needs an
    operator's token.
    """
    with session.connect() as hub:
        _show_contributors(session, [hub.retire_contributor(id, comment, withdraw_entries=entries == "withdraw")])


@command(contributor, "accept-objections")
@click.argument("id")
@_revision_option
@COMMENT
def accept_objections(session: Session, *, id: str, revision: int | None, comment: str) -> None:
    """Let the objections of ID beyond the daily number weigh. Needs an operator's token."""
    with session.connect() as hub:
        if revision is None:
            hub.get_contributor(id)
            revision = hub.status().revision
        changed = hub.accept_objections(id, revision, comment)
    note(f"accepted the objections of {clean(id)} up to revision {revision}")
    _show_contributors(session, [changed])


@main.group("group", cls=CommandGroup)
def group() -> None:
    """Named lists of contributors that terms can name."""


@command(group, "create")
@click.argument("id")
@click.option("--display-name", default="", metavar="TEXT", help="The name that people read.")
@click.option("--member", "members", multiple=True, metavar="ID", help="A contributor; repeatable.")
def create_group(session: Session, *, id: str, display_name: str, members: tuple[str, ...]) -> None:
    """Create the group ID. An empty one admits no one. Needs an operator's token."""
    with session.connect() as hub:
        _show_groups(session, [hub.create_group(Group(id=id, display_name=display_name, members=members))])


@command(group, "list")
def list_groups(session: Session) -> None:
    """List the groups."""
    with session.connect() as hub:
        _show_groups(session, list(hub.list_groups()))


@command(group, "get")
@click.argument("id")
def get_group(session: Session, *, id: str) -> None:
    """Show the group ID."""
    with session.connect() as hub:
        _show_groups(session, [hub.get_group(id)])


@command(group, "update")
@click.argument("id")
@click.option("--display-name", metavar="TEXT", help="The name that people read.")
@click.option("--member", "members", multiple=True, metavar="ID", help="Replaces all members; repeatable.")
@click.option("--add-member", "added", multiple=True, metavar="ID", help="One more member; repeatable.")
@click.option("--remove-member", "removed", multiple=True, metavar="ID", help="One member less; repeatable.")
def update_group(
    session: Session,
    *,
    id: str,
    display_name: str | None,
    members: tuple[str, ...],
    added: tuple[str, ...],
    removed: tuple[str, ...],
) -> None:
    """Change the group ID. Only what is given changes. Needs an operator's token."""
    if members and (added or removed):
        raise click.UsageError("--member replaces all members; do not combine it with --add-member or --remove-member")
    options = {"display_name": display_name, "members": members or None}
    fields = {k: v for k, v in options.items() if v is not None} if added or removed else given(options)
    with session.connect() as hub:
        changed = hub.update_group(Group(id=id, **fields), tuple(fields), add_members=added, remove_members=removed)
        _show_groups(session, [changed])


@command(group, "delete")
@click.argument("id")
def delete_group(session: Session, *, id: str) -> None:
    """Delete the group ID, which no terms may name. Its name is never used again. Needs an operator's token."""
    with session.connect() as hub:
        hub.delete_group(id)
    session.show_deleted(id, id=id)


@main.group("hash-set", cls=CommandGroup)
def hash_set() -> None:
    """Named collections of one contributor, each under its terms."""


_require_signature: Final = click.option(
    "--require-signature/--no-require-signature",
    default=None,
    help="Whether only lists become part of it that one of its contributor's keys signed.",
)
_marking_options: Final = options(
    click.option("--tlp", type=choice(TLP), help="Traffic Light Protocol 2.0 label. Default of a new set: amber."),
    several(
        "--recipient",
        "recipients",
        metavar="NAME",
        help="contributors/ID, groups/ID or tokens/ID: the only ones that may see the entries; repeatable.",
    ),
    click.option(
        "--clear-recipients",
        is_flag=True,
        help="Name no recipients: everyone whom the label allows may see the entries.",
    ),
    several(
        "--permitted-purpose",
        "permitted_purposes",
        metavar="TEXT",
        help="A caller's token must state one of these; repeatable.",
    ),
    click.option("--clear-purposes", is_flag=True, help="Any purpose will do."),
    click.option("--legal-basis", metavar="TEXT", help="Why it may be shared and held."),
    click.option("--redistribution/--no-redistribution", default=None, help="Whether recipients may pass it on."),
    click.option(
        "--disclose-existence/--conceal-existence",
        default=None,
        help="Whether a caller that may not see an entry learns that something is known.",
    ),
    click.option(
        "--bulk/--no-bulk",
        default=None,
        help="Whether digests may leave in lists, feeds, mirrors and exports. By default only in answers to queries.",
    ),
    several(
        "--max-distance",
        "max_distances",
        metavar="ALGORITHM=N",
        help="Up to where who may not list the entries may ask, beyond the algorithm's default; repeatable.",
    ),
    click.option("--clear-distances", is_flag=True, help="Each algorithm's default holds."),
    click.option(
        "--terms-expire",
        "expire_time",
        type=moment,
        metavar="TIME",
        help="From then on only the contributor and the hub's operators see the entries: 2027-01-31, 30d, now, never.",
    ),
)


@command(hash_set, "create")
@click.argument("name", metavar="CONTRIBUTOR/SET")
@click.option("--scheme", default="", metavar="ID[@VERSION]", help="Classification scheme; see `hashhub scheme list`.")
@click.option(
    "--purpose",
    type=choice(Purpose),
    default="csam",
    show_default=True,
    help="What being in the set states; without this option it is csam, and every entry without a class claims that.",
)
@click.option("--display-name", default="", metavar="TEXT", help="The name that people read.")
@click.option(
    "--review-depth", type=int, default=0, metavar="N", help="People who look at each item before it is listed."
)
@click.option(
    "--unclassified",
    type=choice(Unclassified),
    default="quarantined",
    show_default=True,
    help="What an item without a class becomes where its format has classes; listed needs an operator's token.",
)
@_require_signature
@_marking_options
def create_hash_set(session: Session, *, name: str, require_signature: bool | None, **fields: Any) -> None:
    """Create a hash set. Needs an operator's token or the contributor's own."""
    from hashhub.client.transport import hash_set_name

    hash_set_name(name)  # refuses what is no CONTRIBUTOR/SET
    owner, _, own_id = name.partition("/")
    terms, fields = _terms(fields)
    marking = msgspec.structs.replace(Marking(), **terms)
    new = HashSet(contributor=owner, id=own_id, marking=marking, require_signature=bool(require_signature), **fields)
    with session.connect() as hub:
        _show_hash_sets(session, [hub.create_hash_set(new)])


@command(hash_set, "list")
@click.argument("contributor", required=False)
def list_hash_sets(session: Session, *, contributor: str | None) -> None:
    """List the hash sets of CONTRIBUTOR, or all of them."""
    with session.connect() as hub:
        _show_hash_sets(session, list(hub.list_hash_sets(contributor)))


@command(hash_set, "get")
@click.argument("name", metavar="CONTRIBUTOR/SET")
def get_hash_set(session: Session, *, name: str) -> None:
    """Show a hash set."""
    with session.connect() as hub:
        _show_hash_sets(session, [hub.get_hash_set(name)])


@command(hash_set, "update")
@click.argument("name", metavar="CONTRIBUTOR/SET")
@click.option("--display-name", metavar="TEXT", help="The name that people read.")
@click.option("--review-depth", type=int, metavar="N", help="People who look at each item before it is listed.")
@_require_signature
@_marking_options
def update_hash_set(session: Session, *, name: str, **fields: Any) -> None:
    """Change a hash set. Only what is given changes; its scheme and purpose stay what they are."""
    terms, fields = _terms(fields)
    fields = {k: v for k, v in fields.items() if v is not None} if terms else given(fields)
    with session.connect() as hub:
        current = hub.get_hash_set(name)
        changed = msgspec.structs.replace(current, marking=msgspec.structs.replace(current.marking, **terms), **fields)
        mask = (*fields, *(f"marking.{term}" for term in terms))
        _show_hash_sets(session, [hub.update_hash_set(changed, mask)])


@command(hash_set, "accept")
@click.argument("name", metavar="CONTRIBUTOR/SET")
@_revision_option
@COMMENT
def accept_hash_set(session: Session, *, name: str, revision: int | None, comment: str) -> None:
    """Accept a hash set's statements against harm: benign entries and harmless verdicts. Needs an operator's
    token.

    Entries that come later wait for the next acceptance.
    """
    with session.connect() as hub:
        if revision is None:
            revision = hub.status().revision
        # Read after the revision was: nothing that came later is accepted.
        active = hub.list_entries(name, [EntryState.ACTIVE])
        count = sum(1 for entry in islice(active, _ENTRIES_COUNTED) if entry.create_revision <= revision)
        accepted = hub.accept_hash_set(name, revision, comment)
    many = f"{count:,} active entries" if count < _ENTRIES_COUNTED else f"{count:,} active entries or more"
    note(f"accepted {clean(name)} up to revision {revision}: {many}")
    _show_hash_sets(session, [accepted])


@command(hash_set, "retention")
@click.argument("name", metavar="CONTRIBUTOR/SET")
@click.option(
    "--days",
    type=click.IntRange(0, MAX_RETENTION_DAYS),
    metavar="N",
    help="An entry that was not listed for N days expires; 0: never.",
)
@click.option("--hold/--no-hold", default=None, help="Whether nothing of it may be deleted; needs an operator's token.")
@click.option("--drop-request", is_flag=True, help="Take a request for its deletion back.")
@COMMENT
def retention(
    session: Session, *, name: str, days: int | None, hold: bool | None, drop_request: bool, comment: str
) -> None:
    """Show or change how long the entries of a hash set are kept.

    Only an operator's token shortens how long entries are kept that are there already.
    """
    with session.connect() as hub:
        if days is None and hold is None and not drop_request:
            retained = hub.get_retention(name)
        else:
            retained = hub.update_retention(
                name, days=days, hold=hold, drop_deletion_request=drop_request, comment=comment
            )
    if session.print_if_json({"name": name, **fields_of(retained)}):
        return
    asked = f"{retained.asked_by}, {retained.ask_time:%Y-%m-%d %H:%MZ}" if retained.ask_time else "-"
    table(
        ("hash set", "retained", "held", "deletion asked by"),
        [(name, f"{retained.days} days" if retained.days else "for ever", "yes" if retained.hold else "no", asked)],
    )


@command(hash_set, "delete")
@click.argument("name", metavar="CONTRIBUTOR/SET")
@dry_run("Say what would be deleted, and delete nothing.")
@click.option("--confirm", metavar="CONTRIBUTOR/SET", help="Its name once more, instead of being asked for it.")
@COMMENT
def delete_hash_set(session: Session, *, name: str, validate_only: bool, confirm: str | None, comment: str) -> None:
    """Delete a hash set with everything that hangs on it: entries, hashes, imports, reports, reviews. For good.

    Its name is never used again. With a contributor's token, and more than 1,000 live entries, it is asked for, and
    done when a second token of the contributor, or an operator, deletes it, too. `hash-set retention --drop-request`
    takes the request back.
    """
    with session.connect() as hub:
        if not validate_only:
            if confirm is None:
                note(f"{clean(name)} is deleted with everything that hangs on it, and cannot be brought back.")
                confirm = click.prompt("Type its name to delete it", err=True)
            if confirm != name:
                raise InvalidArgument.field(
                    "confirm", f"is not the name of what is to be deleted, {name[:130]}; nothing was done"
                )
        deleted = hub.delete_hash_set(name, comment, validate_only=validate_only)
    if session.print_if_json({"name": name, **fields_of(deleted)}):
        return
    table(
        ("hash set", "entries", "imports", "report lines", "reviews", "holds that stay"),
        [
            (
                deleted.hash_set,
                f"{deleted.entries:,}",
                f"{deleted.imports:,}",
                f"{deleted.findings:,}",
                f"{deleted.reviews:,}",
                f"{deleted.holds:,}",
            )
        ],
    )
    if validate_only:
        note("nothing was deleted")
    elif deleted.pending:
        note(f"asked for: a second token of {clean(name.partition('/')[0])}, or an operator, must delete it, too")
    else:
        note(f"deleted {clean(name)}; its rows are cleared in the background")


def _terms(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the terms that the options state, and the other options; an option that was not given is None."""
    others = dict(options)
    clear(others, recipients="recipients", purposes="permitted_purposes", distances="max_distances")
    terms = {name: value for name in Marking.__struct_fields__ if (value := others.pop(name, None)) is not None}
    if "max_distances" in terms:
        terms["max_distances"] = distances_of(terms["max_distances"])
    if "expire_time" in terms:
        terms["expire_time"] = expiry_or_none(terms["expire_time"])
    return terms, others


def _show_contributors(session: Session, contributors: list[Contributor]) -> None:
    session.show(
        contributors,
        ("id", "name", "kind", "jurisdiction", "reliability", "takes from"),
        lambda c: (
            c.id,
            c.display_name + (" (retired)" if c.retire_time is not None else "") + _by_way_of(c.origin),
            spelled(c.kind),
            c.jurisdiction,
            c.reliability,
            ", ".join(c.takes_from),
        ),
        empty="no contributors",
    )


def _by_way_of(origin: PeerOrigin | None) -> str:
    if origin is None:
        return ""
    through = f", through {', '.join(origin.path[:-1])}" if origin.path[:-1] else ""
    return f" ({origin.contributor} of hub {origin.hub}{through})"


def _show_groups(session: Session, groups: list[Group]) -> None:
    session.show(
        groups,
        ("group", "name", "members"),
        lambda g: (g.id, g.display_name, ", ".join(g.members) or "nobody"),
        empty="no groups",
    )


def _show_hash_sets(session: Session, hash_sets: list[HashSet]) -> None:
    session.show(
        hash_sets,
        ("hash set", "name", "scheme", "purpose", "reviewers", "terms"),
        lambda s: (
            s.name, s.display_name, s.scheme or "-", spelled(s.purpose), s.review_depth or "-", terms_of(s.marking),
        ),
        empty="no hash sets",
    )  # fmt: skip
    if len(hash_sets) != 1 or session.json:
        return
    (shown,) = hash_sets
    if shown.marking.legal_basis:
        tell(clean(f"legal basis: {shown.marking.legal_basis}"))  # a sentence: too long for a column
    for floor in shown.floors:
        tell(clean(f"no looser than entries in it came with: {terms_of(floor)}"))
