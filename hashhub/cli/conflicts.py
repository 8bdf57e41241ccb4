"""`hashhub reconcile conflicts`: statements about one item that cannot both hold, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from hashhub.cli.session import CommandGroup, Session, choice, chosen, command
from hashhub.cli.terminal import note, plain, print_json, say, table, tell
from hashhub.model import (
    Conflict,
    ConflictFilter,
    ConflictKind,
    ConflictParty,
    ConflictReason,
    ConflictState,
    Severity,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.client import Client

_DRY_RUN: Final = click.option(
    "--dry-run", "--validate-only", "validate_only", is_flag=True, help="Say what would be done, and change nothing."
)
_NAME: Final = click.argument("name", metavar="CONFLICT")


_WAIT: Final = click.option(
    "--wait",
    is_flag=True,
    help="First wait until the hub has looked for conflicts in all that was committed so far. For operators and "
    "auditors.",
)


def _filters(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which conflicts are meant."""
    options = (
        click.option("--kind", "kinds", type=choice(ConflictKind), multiple=True, help="In what. Repeat for more."),
        click.option("--severity", "severities", type=choice(Severity), multiple=True, help="Repeat for more."),
        click.option(
            "--state", "states", type=choice(ConflictState), multiple=True, help="Default: all that have not ended."
        ),
        click.option("--contributor", default="", metavar="ID", help="A party."),
        click.option("--other", default="", metavar="ID", help="With --contributor: the other party."),
        click.option("--hash-set", default="", metavar="CONTRIBUTOR/SET", help="A party."),
        click.option("--jurisdiction", default="", metavar="CC", help="Of a party, or of the law that it is about."),
        click.option("--assignee", default="", metavar="NAME", help="To whom it was given."),
        click.option(
            "--since-revision",
            type=click.IntRange(min=0),
            default=0,
            metavar="N",
            help="Opened, or with other statements, at this revision or later.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group("reconcile", cls=CommandGroup)
def reconcile() -> None:
    """What databases share, and where they contradict each other. It changes no statement and no verdict."""


@reconcile.group("conflicts", cls=CommandGroup)
def conflicts() -> None:
    """Statements about one item that cannot both hold.

    They are found within seconds of a commit, inform people and decide nothing. Contributors see those to which an
    entry of their own is a party, where the other's terms let them list the other entry.
    """


@command(conflicts, "list")
@_filters
@_WAIT
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N conflicts. Default: all.")
@click.option("--names", is_flag=True, help="Print their names only, one a line.")
def list_conflicts(session: Session, *, limit: int | None, names: bool, wait: bool, **wanted: object) -> None:
    """List conflicts, those that were opened last first."""
    with session.connect() as hub:
        _await(hub, wait=wait)
        rows = list(hub.list_conflicts(_filter(**wanted), limit=limit))
    if names:
        for conflict in rows:
            if session.json:
                print_json({"name": conflict.name})
            else:
                say(conflict.name)
        return
    if session.json:
        for conflict in rows:
            print_json(plain(conflict))
        return
    if not rows:
        say("no conflicts")
        return
    table(
        ("conflict", "kind", "severity", "state", "between", "and"),
        [(c.name, _kind(c), c.severity, c.state, c.left.hash_set, c.right.hash_set) for c in rows],
    )


@command(conflicts, "get")
@_NAME
def get_conflict(session: Session, *, name: str) -> None:
    """Show a conflict with what each side states, why both cannot hold, and what was said of it."""
    with session.connect() as hub:
        _show(session, hub.get_conflict(name))


@command(conflicts, "summary")
@_filters
@_WAIT
def summarise_conflicts(session: Session, *, wait: bool, **wanted: object) -> None:
    """Count conflicts by pair of contributors, kind and severity, and say who has most."""
    with session.connect() as hub:
        _await(hub, wait=wait)
        summary = hub.summarise_conflicts(_filter(**wanted))
    if session.json:
        print_json(plain(summary))
        return
    if not summary.counts:
        say("no conflicts")
        return
    table(
        ("contributor", "and", "kind", "severity", "state", "count"),
        [(c.left, c.right, c.kind, c.severity, c.state, f"{c.count:,}") for c in summary.counts],
    )
    say()
    for c in summary.contributors:
        tell(
            f"{c.contributor} (reliability {c.reliability}) has {c.conflicts:,} conflicts: {c.items:,} items, "
            f"{c.others:,} other parties"
        )


@command(conflicts, "assign")
@_NAME
@click.option("--to", "assignee", default="", metavar="NAME", help="A person, or contributors/ID. Empty: nobody.")
@_DRY_RUN
def assign_conflict(session: Session, *, name: str, assignee: str, validate_only: bool) -> None:
    """Give a conflict to somebody: a person at your desk, or a party of it (contributors/ID), who is told.

    Needs an operator's token.
    """
    with session.connect() as hub:
        _show(session, hub.assign_conflict(name, assignee, validate_only=validate_only))


@command(conflicts, "resolve")
@_NAME
@click.option("--reason", type=choice(ConflictReason), required=True, help="What it comes to.")
@click.option("--comment", required=True, metavar="TEXT", help="Why, in your words. No case data.")
@click.option("--for", "decided_for", default="", metavar="ID", help="With --reason decided-for: the party.")
@click.option("--etag", default="", metavar="TEXT", help="As read. Refused when the statements are others by now.")
@_DRY_RUN
def resolve_conflict(
    session: Session, *, name: str, reason: str, comment: str, decided_for: str, etag: str, validate_only: bool
) -> None:
    """Say what a conflict comes to. It changes no statement and no verdict.

    An operator's word closes it, until a party states something else about the item. A contributor's is its view, which
    stands on record and which operators and auditors read.
    """
    with session.connect() as hub:
        conflict = hub.resolve_conflict(
            name,
            chosen(ConflictReason, reason),
            comment,
            decided_for=decided_for,
            etag=etag,
            validate_only=validate_only,
        )
    _show(session, conflict)


def _await(hub: Client, *, wait: bool) -> None:
    if wait and not hub.await_conflicts():
        note("the hub has not looked at all of it yet: try again later, or see `hashhub status`")


def _filter(**wanted: object) -> ConflictFilter:
    kinds, severities, states = (wanted.pop(name) for name in ("kinds", "severities", "states"))
    assert isinstance(kinds, tuple)  # noqa: S101 - click gives options that repeat so
    assert isinstance(severities, tuple)  # noqa: S101 - likewise
    assert isinstance(states, tuple)  # noqa: S101 - likewise
    return ConflictFilter(
        kinds=tuple(chosen(ConflictKind, x) for x in kinds),
        severities=tuple(chosen(Severity, x) for x in severities),
        states=tuple(chosen(ConflictState, x) for x in states),
        **wanted,  # type: ignore[arg-type]  # as click read them
    )


def _kind(conflict: Conflict) -> str:
    """Return the kind, with the jurisdiction or the algorithm where that says more."""
    if conflict.kind is ConflictKind.LEGAL_STATUS:
        return f"{conflict.kind} {conflict.dimension.partition(':')[2]}"
    if conflict.kind is ConflictKind.CONTRADICTORY_DIGESTS:
        return f"{conflict.kind} {conflict.dimension}"
    return str(conflict.kind)


def _show(session: Session, conflict: Conflict) -> None:
    if session.json:
        print_json(plain(conflict))
        return
    say(f"{conflict.name}  {_kind(conflict)}  {conflict.severity}  {conflict.state}")
    tell(conflict.why)
    if conflict.ended_by:
        say(f"ended: {conflict.ended_by}{f' ({conflict.ended_side})' if conflict.ended_side else ''}")
    if conflict.assignee:
        say(f"assigned to {conflict.assignee}")
    say()
    table(
        ("entry", "state", "scheme", "value", "reliability", "of"),
        [row for party in (conflict.left, conflict.right) for row in _rows(party)],
    )
    for r in conflict.resolutions:
        who = f"{r.contributor}{f' ({r.actor})' if r.actor else ''}"
        what = f"{r.reason}{f' {r.decided_for}' if r.decided_for else ''}"
        then = "" if r.stands else ", about earlier statements"
        tell(f"{who} {'resolved' if r.closes else 'says'} {what}{then}: {r.comment}")


def _rows(party: ConflictParty) -> list[tuple[object, ...]]:
    of = f"{party.entry_count:,} entries" if party.entry_count != 1 else "1 entry"
    if not party.statements:
        return [(party.hash_set, "-", "-", "-", party.reliability, of)]
    return [(s.entry, s.state, s.scheme or "-", s.value or "-", party.reliability, of) for s in party.statements]


COMMANDS: Final = (reconcile,)
