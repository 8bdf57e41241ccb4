"""`hashhub entry …`, `review …` and `queue`: statements, what others say about them, and what waits for somebody."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from hashhub.cli import main
from hashhub.cli.history import show_events, undo
from hashhub.cli.selection import ChosenEntries, is_given, one_or_many, selecting, selection_of
from hashhub.cli.session import CommandGroup, Session, choice, command, dry_run, past, spelled
from hashhub.cli.terminal import clean, note, plain, print_json, say, table
from hashhub.model import Entry, EntryAction, QueueItem, QueueKind, Review, ReviewKind, Selection, WithdrawalReason
from hashhub.schemes.dimensions import words as values_in_words

if TYPE_CHECKING:
    from hashhub.client import Client


_MANY_LOOKED_AT: Final = 100_000  # from which on a search tells how to ask for less

_ENTRY: Final = click.argument("name", metavar="CONTRIBUTOR/SET/ENTRY")
_LIMIT: Final = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N entries. Default: all."
)


@main.group("entry", cls=CommandGroup)
def entry() -> None:
    """Media items as one contributor states them."""


@command(entry, "get")
@_ENTRY
@click.option("--history", is_flag=True, help="Also what happened to it, the newest first.")
def get_entry(session: Session, *, name: str, history: bool) -> None:
    """Show an entry with everything that is known about it."""
    with session.connect() as hub:
        _show(session, hub.get_entry(name))
        if history:
            show_events(session, hub, name, list(hub.list_events(name)))


@command(entry, "list")
@click.argument("name", metavar="CONTRIBUTOR/SET")
@selecting(reason="--reason")
@_LIMIT
def list_entries(session: Session, *, name: str, criteria: dict[str, Any], limit: int | None) -> None:
    """List the entries of a hash set in order of their ids, all or those that fit.

    Each option narrows it down further; values of the same option are alternatives. --reason WITHDRAWAL_PENDING shows
    those whose withdrawal waits for a second person.
    """
    if criteria["hash_set"] not in {"", name}:
        raise click.UsageError("CONTRIBUTOR/SET and --hash-set are the same; give one of them")
    with session.connect() as hub:
        others = {option: value for option, value in criteria.items() if option != "states"}
        if is_given(others):
            _search(session, hub, selection_of(hub, {**criteria, "hash_set": name}), limit)
            return
        entries = hub.list_entries(name, criteria["states"])
        _show_entries(session, islice(entries, limit))


@command(entry, "search")
@click.argument("words", metavar="[TEXT]", default="")
@selecting(reason="--reason")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="At most N entries."
)
def search_entries(session: Session, *, words: str, criteria: dict[str, Any], limit: int) -> None:
    """Search entries in all hash sets that you may list.

    By hash, own id, tag, series, import, state, reason, what they state, or TEXT in an id, tag, series or position. Of
    others' hash sets it shows the active entries that their terms let you list.
    """
    if words and criteria["text"]:
        raise click.UsageError("TEXT and --text are the same; give one of them")
    if not (words or is_given(criteria)):
        raise click.UsageError("say what to search for: TEXT, --hash, --external-id, --tag, …")
    with session.connect() as hub:
        _search(session, hub, selection_of(hub, {**criteria, "text": words or criteria["text"]}), limit)


def _search(session: Session, hub: Client, selection: Selection, limit: int | None) -> None:
    looked_at = 0

    def count(number: int) -> None:
        nonlocal looked_at
        looked_at += number

    most = None if limit is None else limit + 1  # one more shows whether there are more
    entries = list(hub.search_entries(selection, limit=most, looked_at=count))
    _show_entries(session, entries[:limit])
    if limit is not None and len(entries) > limit:
        note(f"there are more than these {limit:,}; --limit shows more of them, further options narrow it down")
    if looked_at >= _MANY_LOOKED_AT:
        note(
            f"{looked_at:,} entries were read for this; --hash, --external-id, --import or --hash-set lead there faster"
        )


def _show_entries(session: Session, entries: Iterable[Entry]) -> None:
    session.show(
        entries,
        ("entry", "state", "hashes", "classification", "why", "position"),
        lambda e: (
            e.name,
            spelled(e.state),
            ", ".join(h.algorithm for h in e.hashes),
            _said(e),
            ", ".join(e.reasons),
            e.provenance.position,
        ),
        empty="no entries",
    )


@command(entry, "withdraw")
@one_or_many(
    click.option("--reason", type=choice(WithdrawalReason), required=True, help="Why they are withdrawn."),
    click.option("--comment", default="", metavar="TEXT", help="In your words; needed for `other`. No case data."),
    reason="--has-reason",
)
def withdraw_entry(session: Session, entries: ChosenEntries, *, reason: WithdrawalReason, comment: str) -> None:
    """Withdraw an entry, or all that are selected in one go.

    It stops matching everywhere within a second; its history stays, and lists that still have it do not bring it back.
    More than 1,000 entries of a hash set in a day, or more than 5 % of it, need a second person: until an operator, or
    another token of the contributor, withdraws them too, they match. Requests of the person shown need none; they
    withdraw the contributor's other entries of the same item as well. Doing it twice is a success.

    Several entries, or options that select them, are one event: the command says first what it would do, and asks.
    Without --state, entries that are withdrawn already are left alone.
    """
    if (name := entries.single) is None:
        entries.change(session, EntryAction.WITHDRAW, reason=reason, comment=comment)
        return
    also = ""
    with session.connect() as hub:
        done = hub.withdraw_entry(name, reason, comment, validate_only=entries.validate_only)
        if reason is WithdrawalReason.REQUESTED_BY_PERSON_SHOWN and not entries.validate_only:
            event = next(hub.list_events(name, limit=1), None)
            also = str(event.facts.get("also", "")) if event is not None else ""
    _show(session, done)
    if also:
        note(f"Withdrawn with it, being the same item: {clean(also)}")
    if done.withdrawal is not None and done.withdrawal.pending:
        note(
            f"{clean(done.name)} STILL MATCHES: so many withdrawals in a day need a second person. It is withdrawn "
            f"once an operator, or another token of {clean(done.contributor)} than {clean(done.withdrawal.actor)}, "
            "runs the same command."
        )


@command(entry, "restore")
@one_or_many(
    click.option("--comment", default="", metavar="TEXT", help="Why, for the history. No case data."),
    click.option("--actor", default="", metavar="TOKEN", help="Instead of entries: all that this token withdrew."),
    click.option(
        "--since",
        type=past,
        metavar="TIME",
        help="With --actor: from this time on, such as 2026-05-01T08:00Z, or 12h for twelve hours ago.",
    ),
    yes="With several entries, or --actor: do not ask before it is done.",
)
def restore_entry(
    session: Session, entries: ChosenEntries, *, comment: str, actor: str, since: datetime | None
) -> None:
    """Take a withdrawal back: of one entry, of all that are selected, or of all that a token withdrew.

    The entry is what it was before, and lists may state its item again. What an operator withdrew, or the person shown
    asked for, only an operator restores. With several entries, or --actor and --since, it says first what it would do,
    and asks. Doing it twice is a success.
    """
    validate_only = entries.validate_only
    if bool(entries.names or is_given(entries.criteria)) == bool(actor):
        raise click.UsageError("choose either entries, or a token with --actor and --since")
    if actor:
        undo(session, actor, since, comment, withdrawals_only=True, yes=entries.yes, validate_only=validate_only)
    elif (name := entries.single) is None:
        entries.change(session, EntryAction.RESTORE, comment=comment)
    else:
        with session.connect() as hub:
            _show(session, hub.restore_entry(name, comment, validate_only=validate_only))


@command(entry, "erase")
@_ENTRY
@click.option("--yes", is_flag=True, help="Do not ask before it is done.")
@dry_run()
def erase_entry(session: Session, *, name: str, yes: bool, validate_only: bool) -> None:
    """Erase everything that an entry says about its item, for ever.

    Digests, external id and all texts go, from the database and from mirrors. The name stays, withdrawn, and a keyed
    trace that keeps the contributor's lists from bringing the item back. Needs an operator's token.
    """
    if not (yes or validate_only):
        click.confirm(f"Erase what {clean(name)} says about its item? This cannot be undone.", abort=True, err=True)
    with session.connect() as hub:
        _show(session, hub.erase_entry(name, validate_only=validate_only))


_MANY_COMMENT: Final = click.option(
    "--comment", default="", metavar="TEXT", help="Why, for the history, with several. No case data."
)


def _change(session: Session, entries: ChosenEntries, action: EntryAction, comment: str) -> None:
    if (name := entries.single) is None:
        entries.change(session, action, comment=comment)
        return
    with session.connect() as hub:
        done = hub.release_entry if action is EntryAction.RELEASE else hub.quarantine_entry
        _show(session, done(name, validate_only=entries.validate_only))


@command(entry, "release")
@one_or_many(_MANY_COMMENT)
def release_entry(session: Session, entries: ChosenEntries, *, comment: str) -> None:
    """Release a quarantined entry, or all that are selected: it matches from now on.

    Needs an operator's token.
    """
    _change(session, entries, EntryAction.RELEASE, comment)


@command(entry, "quarantine")
@one_or_many(_MANY_COMMENT)
def quarantine_entry(session: Session, entries: ChosenEntries, *, comment: str) -> None:
    """Quarantine an active entry, or all that are selected: it stops matching.

    It matches again when it is released. Needs an operator's token.
    """
    _change(session, entries, EntryAction.QUARANTINE, comment)


@main.group("review", cls=CommandGroup)
def review() -> None:
    """Statements by others about entries. They are only ever added."""


@command(review, "add")
@_ENTRY
@click.option("--kind", type=choice(ReviewKind, but=ReviewKind.SET_ASIDE), required=True, help="What it states.")
@click.option("--comment", default="", metavar="TEXT", help="In your words. No case data.")
@dry_run()
def add_review(session: Session, *, name: str, kind: ReviewKind, comment: str, validate_only: bool) -> None:
    """State something about an entry.

    The author is whoever the token belongs to.
    """
    with session.connect() as hub:
        _show_reviews(session, [hub.create_review(name, kind, comment, validate_only=validate_only)])


@command(review, "set-aside")
@click.argument("name", metavar="CONTRIBUTOR/SET/ENTRY")
@click.argument("review_id", metavar="REVIEW", type=click.IntRange(min=1))
@click.option("--comment", required=True, metavar="TEXT", help="Why it weighs no more. No case data.")
def set_aside_review(session: Session, *, name: str, review_id: int, comment: str) -> None:
    """Let an objection weigh no more.

    It stays on record, with who set it aside and why. Needs an operator's token.
    """
    with session.connect() as hub:
        _show_reviews(session, [hub.set_aside_review(name, review_id, comment)])


@command(review, "list")
@_ENTRY
def list_reviews(session: Session, *, name: str) -> None:
    """List the reviews of an entry, oldest first."""
    with session.connect() as hub:
        _show_reviews(session, list(hub.list_reviews(name)))


def _said(e: Entry) -> str:
    c = e.classification
    return c.text if c else "-"


def _show(session: Session, e: Entry) -> None:
    if session.print_if_json(e):
        return
    p = e.provenance
    rows: list[tuple[str, object]] = [("entry", e.name), ("state", spelled(e.state))]
    rows += [("why", reason) for reason in e.reasons]
    if (w := e.withdrawal) is not None:
        asked = "asked to be withdrawn" if w.pending else "withdrawn"
        told = f" by {w.actor}" if w.actor else ""
        rows.append((asked, f"{spelled(w.reason)}{told}, revision {w.revision}"))
        rows += [("comment", w.comment)] if w.comment else []
    rows += [("replaced", name) for name in e.predecessors]
    rows += [("replaced by", name) for name in e.successors]
    rows += [("hash", h.text) for h in e.hashes]
    rows += [("frames", e.frame_count)] if e.frame_count else []
    if e.classification:
        c = e.classification
        rows.append(
            ("classification", f"{_said(e)}" + (f" ({c.region})" if c.region else "") + f", {spelled(c.status)}")
        )
        rows += [(name, values_in_words(name, values)) for name, values in c.dimensions.items()]
    flags = e.flags
    stated = {f: getattr(flags, f) for f in flags.__struct_fields__ if getattr(flags, f) is not None}
    rows += [(f.replace("_", " "), "yes" if value else "no") for f, value in stated.items()]
    optional = {
        "external id": e.external_id,
        "media type": e.media_type,
        "media size": e.media_size,
        "series": e.series,
        "tags": ", ".join(e.tags),
        "PDQ quality": e.quality,
        "source time": e.source_time,
        "beyond that": e.extra,
        "stated by": p.member,
    }
    rows += [(name, value) for name, value in optional.items() if value not in (None, "")]
    rows += [
        ("import", f"{e.contributor}/{e.hash_set}/{p.import_id}"),
        ("read by", f"{p.connector} {p.connector_version}"),
        ("position", p.position),
        ("source SHA-256", p.source_digest),
        ("visible since", f"revision {e.create_revision}"),
        ("last changed", f"revision {e.update_revision}"),
    ]
    table(("field", "value"), rows)


def _show_reviews(session: Session, reviews: list[Review]) -> None:
    session.show(
        reviews,
        ("review", "author", "states", "comment", "time"),
        lambda r: (
            r.id or "-",
            r.author,
            _stated(r),
            r.comment,
            r.create_time.strftime("%Y-%m-%d %H:%M:%SZ") if r.create_time else "-",
        ),
        empty="no reviews",
    )


def _stated(r: Review) -> str:
    if r.sets_aside:
        return f"sets review {r.sets_aside} aside"
    return spelled(r.kind) + (", awaits acceptance" if r.awaits_acceptance else "")


_WHAT: Final = {
    QueueKind.QUARANTINED: "in quarantine",
    QueueKind.WITHDRAWAL_PENDING: "second person",
    QueueKind.OBJECTION: "objection",
    QueueKind.AWAITS_ACCEPTANCE: "acceptance",
    QueueKind.OPEN_IMPORT: "open import",
    QueueKind.OVERDUE: "overdue list",
    QueueKind.WEBHOOK_FAILING: "webhook",
    QueueKind.DELETION_PENDING: "deletion",
    QueueKind.CONFLICT: "conflict",
    QueueKind.APPROVAL: "second person",
}


_OF_OPERATORS: Final = (
    "hashhub entry release",
    "hashhub hash-set accept",
    "hashhub contributor accept-objections",
)


@command(main, "queue")
@click.argument("contributor", default="")
def queue(session: Session, *, contributor: str) -> None:
    """Show pending work, with the command for each.

    Quarantined entries by reason, withdrawals that need a second person, objections to your entries, unfinished
    imports, overdue lists, and conflicts that were assigned to you. Operators and auditors see it for all contributors,
    or for CONTRIBUTOR, with hash sets that wait for acceptance.
    """
    with session.connect() as hub:
        items = list(hub.list_queue(contributor))
    if session.json:
        for item in items:
            fields = plain(item)
            print_json({**(fields if isinstance(fields, dict) else {}), "next": next_commands(item)})
        return
    if not items:
        say("nothing waits")
        return
    table(
        ("waits for", "where", "count", "why", "since"),
        [
            (
                _WHAT[item.kind],
                item.hash_set or item.contributor,
                f"{item.count:,}{'+' if item.is_capped else ''}",
                item.reason or (f"asked by {item.actor}" if item.actor else "-"),
                item.since.strftime("%Y-%m-%d") if item.since else "-",
            )
            for item in items
        ],
    )
    say()
    for text in dict.fromkeys(text for item in items for text in next_commands(item)):
        say(f"{text}    # for an operator" if text.startswith(_OF_OPERATORS) else text)


def next_commands(item: QueueItem) -> list[str]:
    """Return the commands for pending work; some need an operator's token."""
    where = f"--hash-set {item.hash_set}"
    match item.kind:
        case QueueKind.QUARANTINED:
            return [
                f"hashhub entry search {where} --state quarantined --reason {item.reason}",
                f"hashhub entry release {where} --reason {item.reason} --dry-run",
            ]
        case QueueKind.WITHDRAWAL_PENDING:
            return [
                f"hashhub entry search {where} --reason WITHDRAWAL_PENDING",
                f"hashhub entry withdraw {where} --has-reason WITHDRAWAL_PENDING --reason error --dry-run",
            ]
        case QueueKind.OBJECTION:
            return [f"hashhub review list {item.name}"]
        case QueueKind.AWAITS_ACCEPTANCE if item.hash_set:
            return [f"hashhub hash-set accept {item.hash_set}"]
        case QueueKind.AWAITS_ACCEPTANCE:
            return [f"hashhub contributor accept-objections {item.contributor}"]
        case QueueKind.WEBHOOK_FAILING:
            return [f"hashhub webhook deliveries {item.name}", f"hashhub webhook test {item.name}"]
        case QueueKind.DELETION_PENDING:
            return [f"hashhub hash-set delete {item.name} --dry-run"]
        case QueueKind.APPROVAL:
            # Who asked, and when; the command that they ran is known to nobody else.
            return [f"hashhub history approvals/{item.name}"]
        case QueueKind.CONFLICT:
            return [f"hashhub reconcile conflicts list --assignee {shlex.quote(item.reason)}"]
        case QueueKind.OPEN_IMPORT | QueueKind.OVERDUE:
            return [f"hashhub findings {item.hash_set}"]
