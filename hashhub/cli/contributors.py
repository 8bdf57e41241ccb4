"""`hashhub contributor …` and `hashhub hash-set …`."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from hashhub.cli.session import Session, choice, chosen, command, spelled
from hashhub.cli.terminal import plain, print_json, table
from hashhub.errors import InvalidArgument
from hashhub.model import TLP, Contributor, ContributorKind, HashSet, Marking, Purpose, Reliability


@click.group("contributor")
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
def create_contributor(
    session: Session,
    *,
    id: str,  # noqa: A002 - the argument's name in the help
    kind: str,
    jurisdiction: str,
    display_name: str | None,
    reliability: str,
    takes_from: tuple[str, ...],
) -> None:
    """Create the contributor ID. Needs an operator's token."""
    new = Contributor(
        id=id,
        display_name=display_name or id,
        kind=chosen(ContributorKind, kind),
        jurisdiction=jurisdiction,
        reliability=chosen(Reliability, reliability),
        takes_from=takes_from,
    )
    with session.connect() as hub:
        _show_contributors(session, [hub.create_contributor(new)])


@command(contributor, "list")
def list_contributors(session: Session) -> None:
    """List the contributors."""
    with session.connect() as hub:
        _show_contributors(session, list(hub.list_contributors()))


@command(contributor, "get")
@click.argument("id")
def get_contributor(session: Session, *, id: str) -> None:  # noqa: A002 - the argument's name in the help
    """Show the contributor ID."""
    with session.connect() as hub:
        _show_contributors(session, [hub.get_contributor(id)])


@command(contributor, "update")
@click.argument("id")
@click.option("--display-name", metavar="TEXT", help="The name that people read.")
@click.option("--kind", type=choice(ContributorKind), help="What sort of organisation it is.")
@click.option("--jurisdiction", metavar="CC", help="ISO 3166-1 alpha-2 code in capitals; ZZ for none.")
@click.option("--reliability", type=choice(Reliability), help="Admiralty grade.")
@click.option("--takes-from", multiple=True, metavar="ID", help="Replaces all of those named before; repeatable.")
@click.option("--takes-from-nobody", is_flag=True, help="Removes all of those named before.")
def update_contributor(
    session: Session,
    *,
    id: str,  # noqa: A002 - the argument's name in the help
    display_name: str | None,
    kind: str | None,
    jurisdiction: str | None,
    reliability: str | None,
    takes_from: tuple[str, ...],
    takes_from_nobody: bool,
) -> None:
    """Change the contributor ID. Only what is given changes. Needs an operator's token."""
    if takes_from and takes_from_nobody:
        raise click.UsageError("--takes-from and --takes-from-nobody exclude each other")
    given = {
        "display_name": display_name,
        "kind": chosen(ContributorKind, kind) if kind else None,
        "jurisdiction": jurisdiction,
        "reliability": chosen(Reliability, reliability) if reliability else None,
        "takes_from": takes_from if takes_from or takes_from_nobody else None,
    }
    fields = _given(given)
    with session.connect() as hub:
        changed = msgspec.structs.replace(hub.get_contributor(id), **fields)
        _show_contributors(session, [hub.update_contributor(changed, tuple(fields))])


@click.group("hash-set")
def hash_set() -> None:
    """Named collections of one contributor, each under its terms."""


_MARKING: Final = (
    click.option("--tlp", type=choice(TLP), help="Traffic Light Protocol 2.0 label. Default of a new set: amber."),
    click.option("--recipient", "recipients", multiple=True, metavar="ID", help="Who may see the entries; repeatable."),
    click.option(
        "--permitted-purpose",
        "permitted_purposes",
        multiple=True,
        metavar="TEXT",
        help="A caller must have stated one of these; repeatable.",
    ),
    click.option("--legal-basis", metavar="TEXT", help="Why it may be shared and held."),
    click.option("--redistribution/--no-redistribution", default=None, help="Whether recipients may pass it on."),
    click.option(
        "--disclose-existence/--conceal-existence",
        default=None,
        help="Whether a caller that may not see an entry learns that something is known.",
    ),
)


def _marking_options(function: Any) -> Any:
    for option in reversed(_MARKING):
        function = option(function)
    return function


@command(hash_set, "create")
@click.argument("name", metavar="CONTRIBUTOR/SET")
@click.option("--scheme", default="", metavar="ID[@VERSION]", help="Classification scheme; see `hashhub schemes list`.")
@click.option(
    "--purpose", type=choice(Purpose), default="csam", show_default=True, help="What being in the set states."
)
@click.option("--display-name", default="", metavar="TEXT", help="The name that people read.")
@click.option(
    "--review-depth", type=int, default=0, metavar="N", help="People who look at each item before it is listed."
)
@_marking_options
def create_hash_set(
    session: Session,
    *,
    name: str,
    scheme: str,
    purpose: str,
    display_name: str,
    review_depth: int,
    **marking: Any,
) -> None:
    """Create a hash set. Needs an operator's token or the contributor's own."""
    owner, _, own_id = name.partition("/")
    new = HashSet(
        contributor=owner,
        id=own_id,
        scheme=scheme,
        purpose=chosen(Purpose, purpose),
        display_name=display_name,
        review_depth=review_depth,
        marking=_marking(Marking(), marking),
    )
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
@_marking_options
def update_hash_set(
    session: Session, *, name: str, display_name: str | None, review_depth: int | None, **marking: Any
) -> None:
    """Change a hash set. Only what is given changes; its scheme and purpose stay what they are."""
    with session.connect() as hub:
        current = hub.get_hash_set(name)
        terms = _marking(current.marking, marking)
        fields = _given(
            {
                "display_name": display_name,
                "review_depth": review_depth,
                "marking": terms if terms != current.marking else None,
            },
            nothing_is_fine=any(v not in (None, ()) for v in marking.values()),
        )
        if fields:
            current = hub.update_hash_set(msgspec.structs.replace(current, **fields), tuple(fields))
        _show_hash_sets(session, [current])


def _marking(base: Marking, options: dict[str, Any]) -> Marking:
    """Return `base` with what the options state; an option that was not given is None or an empty tuple."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "tlp" in given:
        given["tlp"] = chosen(TLP, given["tlp"])
    # The constructor checks; `replace` goes through it.
    return msgspec.structs.replace(base, **given)


def _given(values: dict[str, Any], *, nothing_is_fine: bool = False) -> dict[str, Any]:
    fields = {name: value for name, value in values.items() if value is not None}
    if not fields and not nothing_is_fine:
        raise InvalidArgument.field("options", "nothing to change was given; name at least one option", "REQUIRED")
    return fields


def _show_contributors(session: Session, found: list[Contributor]) -> None:
    if session.json:
        for c in found:
            print_json(plain(c))
        return
    table(
        ("id", "name", "kind", "jurisdiction", "reliability", "takes from"),
        [
            (c.id, c.display_name, spelled(c.kind), c.jurisdiction, c.reliability, ", ".join(c.takes_from))
            for c in found
        ],
    )


def _show_hash_sets(session: Session, found: list[HashSet]) -> None:
    if session.json:
        for s in found:
            print_json(plain(s))
        return
    rows = []
    for s in found:
        m = s.marking
        terms = [f"TLP:{m.tlp.replace('_', '+')}"]
        terms += [f"for {', '.join(m.permitted_purposes)}"] if m.permitted_purposes else []
        terms += [f"only {', '.join(m.recipients)}"] if m.recipients else []
        terms += ["may be passed on"] if m.redistribution else []
        rows.append(
            (s.name, s.display_name, s.scheme or "-", spelled(s.purpose), s.review_depth or "-", "; ".join(terms))
        )
    table(("hash set", "name", "scheme", "purpose", "reviewers", "terms"), rows)


COMMANDS: Final = (contributor, hash_set)
