"""`hashhub queue`: what waits for somebody, and the command that goes on with it."""

from __future__ import annotations

import shlex
from typing import Final

import click

from hashhub.cli import main
from hashhub.cli.session import Session, command
from hashhub.cli.terminal import plain, print_json, say, table
from hashhub.model import QueueItem, QueueKind

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
}


_OF_OPERATORS: Final = (
    "hashhub entry release",
    "hashhub hash-set accept",
    "hashhub contributor accept-objections",
)


@command(main, "queue")
@click.argument("contributor", default="")
def queue(session: Session, *, contributor: str) -> None:
    """Show what waits for you, and the command that goes on with it.

    Quarantined entries by reason, withdrawals that need a second person, objections to your entries, imports that were
    never finished, lists that are not renewed as usual, and conflicts that were assigned to you. Operators and auditors
    see it for all contributors, or for CONTRIBUTOR, with what waits for acceptance.
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
    """Return the commands that show what waits, and go on with it; some need an operator's token."""
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
        case QueueKind.CONFLICT:
            return [f"hashhub reconcile conflicts list --assignee {shlex.quote(item.reason)}"]
        case QueueKind.OPEN_IMPORT | QueueKind.OVERDUE:
            return [f"hashhub findings {item.hash_set}"]
