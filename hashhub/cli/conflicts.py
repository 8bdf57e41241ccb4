"""`hashhub reconcile conflicts`: statements about one item that cannot both hold, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from hashhub.cli.reconcile import reconcile
from hashhub.cli.session import CommandGroup, Session, choice, command, dry_run, options, spelled
from hashhub.cli.terminal import counted, note, progress, say, table, tell
from hashhub.model import (
    Conflict,
    ConflictAction,
    ConflictChanges,
    ConflictFilter,
    ConflictKind,
    ConflictOrder,
    ConflictReason,
    ConflictState,
    Severity,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.client import Client

_NAMES: Final = click.argument("names", metavar="CONFLICT...", nargs=-1, required=True)
_WAIT: Final = click.option(
    "--wait",
    is_flag=True,
    help="First wait until the hub has looked for conflicts in all that was committed so far. For operators and "
    "auditors.",
)
_filters: Final = options(
    click.option(
        "--kind",
        "kinds",
        type=choice(ConflictKind),
        metavar="KIND",
        multiple=True,
        help=f"In what: {', '.join(spelled(kind) for kind in ConflictKind)}. Repeat for more.",
    ),
    click.option("--severity", "severities", type=choice(Severity), multiple=True, help="Repeat for more."),
    click.option(
        "--state", "states", type=choice(ConflictState), multiple=True, help="Default: all that have not ended."
    ),
    click.option("--contributor", default="", metavar="ID", help="A party."),
    click.option("--other", default="", metavar="ID", help="With --contributor: the other party."),
    click.option("--hash-set", default="", metavar="CONTRIBUTOR/SET", help="A party."),
    click.option("--entry", default="", metavar="CONTRIBUTOR/SET/ENTRY", help="On either side."),
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
def list_conflicts(session: Session, *, limit: int | None, names: bool, wait: bool, **wanted: Any) -> None:
    """List conflicts, those that were opened last first."""
    with session.connect() as hub:
        _await(hub, wait=wait)
        rows = list(hub.list_conflicts(ConflictFilter(**wanted), limit=limit))
    if not names:
        _show_rows(session, rows)
        return
    for conflict in rows:
        session.answer({"name": conflict.name}, conflict.name)


@command(conflicts, "get")
@_NAMES
def get_conflict(session: Session, *, names: tuple[str, ...]) -> None:
    """Show conflicts: the statements of each side, why both cannot hold, and the comments."""
    with session.connect() as hub:
        for place, name in enumerate(names):
            if place and not session.json:
                say()
            _show(session, hub.get_conflict(name))


@command(conflicts, "summary")
@_filters
@_WAIT
def summarise_conflicts(session: Session, *, wait: bool, **wanted: Any) -> None:
    """Count conflicts by pair of contributors, kind and severity, and by contributor."""
    with session.connect() as hub:
        _await(hub, wait=wait)
        summary = hub.summarise_conflicts(ConflictFilter(**wanted))
    if session.print_if_json(summary):
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
            f"{c.contributor} (reliability {c.reliability}) has {counted(c.conflicts, 'conflict')}: "
            f"{counted(c.items, 'item')}, {counted(c.others, 'other party', 'other parties')}"
        )


_changes: Final = options(
    click.argument("names", metavar="[CONFLICT]...", nargs=-1),
    _filters,
    click.option("--etag", default="", metavar="TEXT", help="Of one, as read. Refused when it has changed since."),
    click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Do nothing if more than N conflicts fit."),
    click.option("--yes", is_flag=True, help="With options that choose: do not ask before it is done."),
    dry_run(),
)


@command(conflicts, "assign")
@click.option("--to", "assignee", default="", metavar="NAME", help="A person, or contributors/ID. Empty: unassigned.")
@_changes
def assign_conflict(session: Session, *, assignee: str, **chosen: Any) -> None:
    """Assign conflicts to a person at your desk, or to a party (contributors/ID), which then sees them.

    Needs an operator's token. Those that are named are given one after the other: when one is refused, those before it
    are given.
    """
    order = ConflictOrder(action=ConflictAction.ASSIGN, assignee=assignee)
    _change(session, order, lambda hub, name, **how: hub.assign_conflict(name, assignee, **how), **chosen)


@command(conflicts, "resolve")
@click.option("--reason", type=choice(ConflictReason), required=True, help="What it comes to.")
@click.option("--comment", required=True, metavar="TEXT", help="Why, in your words. No case data.")
@click.option("--for", "decided_for", default="", metavar="ID", help="With --reason decided-for: the party.")
@_changes
def resolve_conflict(
    session: Session, *, reason: ConflictReason, comment: str, decided_for: str, **chosen: Any
) -> None:
    """Say what conflicts come to. It changes no statement and no verdict.

    An operator's word closes one, until a party states something else about the item. A contributor's is its view,
    which stands on record and which operators and auditors read; it names conflicts. Those that are named are resolved
    one after the other, each on its own record: when one is refused, those before it are resolved.
    """
    order = ConflictOrder(action=ConflictAction.RESOLVE, reason=reason, comment=comment, decided_for=decided_for)
    _change(
        session,
        order,
        lambda hub, name, **how: hub.resolve_conflict(name, reason, comment, decided_for=decided_for, **how),
        **chosen,
    )


@command(conflicts, "reopen")
@click.option("--comment", required=True, metavar="TEXT", help="Why, in your words. No case data.")
@_changes
def reopen_conflict(session: Session, *, comment: str, **chosen: Any) -> None:
    """Reopen resolved conflicts, each on its own record.

    Needs an operator's token. Earlier resolutions stay in the history.
    """
    order = ConflictOrder(action=ConflictAction.REOPEN, comment=comment)
    _change(session, order, lambda hub, name, **how: hub.reopen_conflict(name, comment, **how), **chosen)


def _change(
    session: Session,
    order: ConflictOrder,
    do: Callable[..., Conflict],
    *,
    names: tuple[str, ...],
    etag: str,
    expect: int | None,
    yes: bool,
    validate_only: bool,
    **wanted: Any,
) -> None:
    """Do something to each of the named conflicts, or to all that fit, after asking."""
    if bool(names) == any(wanted.values()):
        raise click.UsageError("name conflicts, or choose them with options such as --contributor or --kind")
    if etag and len(names) != 1:
        raise click.UsageError("--etag is of one conflict; name one, or leave it out")
    with session.connect() as hub:
        if names:
            _do_each(session, names, lambda name: do(hub, name, etag=etag, validate_only=validate_only))
            return
        criteria, order = ConflictFilter(**wanted), msgspec.structs.replace(order, expected_count=expect)
        # Who says how many there are has looked at them.
        if validate_only or (expect is None and not yes):
            would = _changed(hub, criteria, order, validate_only=True)
            if validate_only or not session.json or not would.changed:
                _show_changes(session, would)
            if validate_only or not would.changed:
                return
            click.confirm(f"{order.action.capitalize()} {would.changed:,} conflicts?", abort=True, err=True)
            order = msgspec.structs.replace(order, expected_count=would.selected)
        _show_changes(session, _changed(hub, criteria, order, validate_only=False))


def _changed(hub: Client, criteria: ConflictFilter, order: ConflictOrder, *, validate_only: bool) -> ConflictChanges:
    done = ConflictChanges(action=order.action)
    with progress(unit_bytes=False) as show:
        for piece in hub.change_conflicts(criteria, order, validate_only=validate_only):
            done = done.with_next(piece)
            show(done.selected, done.total, "conflicts")
    return done


def _show_changes(session: Session, done: ConflictChanges) -> None:
    if session.print_if_json(done):
        return
    did = "would be changed" if done.validate_only else "changed"
    rows = [("fit", f"{done.selected:,}", ""), (did, f"{done.changed:,}", ", ".join(done.examples[:2]))]
    rows += [(f"left: {why}", f"{count:,}", "") for why, count in sorted(done.skipped.items())]
    table(("outcome", "conflicts", "for example"), rows)


def _do_each(session: Session, names: tuple[str, ...], do: Callable[[str], Conflict]) -> None:
    """Do something to each conflict in turn, and show what was done, also where a later one is refused."""
    done: list[Conflict] = []
    try:
        for name in names:
            done.append(do(name))  # noqa: PERF401 - what was done before a refusal is in the list
    finally:
        if session.json or len(names) == 1:
            for conflict in done:
                _show(session, conflict)
        elif done:
            _show_rows(session, done)


def _await(hub: Client, *, wait: bool) -> None:
    if wait and not hub.await_conflicts():
        note("the hub has not looked at all of it yet: try again later, or see `hashhub status`")


def _show_rows(session: Session, rows: list[Conflict]) -> None:
    session.show(
        rows,
        ("conflict", "kind", "severity", "state", "between", "and"),
        lambda c: (c.name, _kind(c), c.severity, c.state, c.left.hash_set, c.right.hash_set),
        empty="no conflicts",
    )


def _kind(conflict: Conflict) -> str:
    """Return the kind, with the jurisdiction or the algorithm where that says more."""
    if conflict.kind is ConflictKind.LEGAL_STATUS:
        return f"{conflict.kind} {conflict.dimension.partition(':')[2]}"
    if conflict.kind is ConflictKind.CONTRADICTORY_DIGESTS:
        return f"{conflict.kind} {conflict.dimension}"
    return str(conflict.kind)


def _show(session: Session, conflict: Conflict) -> None:
    if session.print_if_json(conflict):
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
        [
            (*statement, party.reliability, counted(party.entry_count, "entry", "entries"))
            for party in (conflict.left, conflict.right)
            for statement in [(s.entry, str(s.state), s.scheme or "-", s.value or "-") for s in party.statements]
            or [(party.hash_set, "-", "-", "-")]
        ],
    )
    for r in conflict.resolutions:
        who = f"{r.contributor}{f' ({r.actor})' if r.actor else ''}"
        what = f"{r.reason}{f' {r.decided_for}' if r.decided_for else ''}"
        then = "" if r.stands else ", about earlier statements"
        tell(f"{who} {'resolved' if r.closes else 'says'} {what}{then}: {r.comment}")
