"""`hashhub changes`: everything that became matchable or stopped being so."""

from __future__ import annotations

from typing import Final

import click

from hashhub.cli.session import Session, command
from hashhub.cli.terminal import clean, plain, print_json, say
from hashhub.errors import Unavailable
from hashhub.model import ChangedEntry


@command(None, "changes")
@click.option(
    "--from",
    "from_revision",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="REVISION",
    help="Only what changed after this revision.",
)
@click.option("--follow", is_flag=True, help="Go on with the changes to come, until interrupted.")
def changes(session: Session, *, from_revision: int, follow: bool) -> None:
    """List what became matchable or stopped being so.

    In the order of revisions; each change comes with its entry as it is now, and with the terms that bind the receiver.
    """
    seen = from_revision
    with session.connect() as hub:
        feed = hub.follow_changes(from_revision) if follow else hub.list_changes(from_revision)
        try:
            for change in feed:
                _show(session, change)
                seen = change.revision
        except Unavailable as e:
            # The last revision may not have come whole, so it is asked for again.
            e.add_note(f"go on with --from {max(seen - 1, from_revision)}")
            raise


def _show(session: Session, change: ChangedEntry) -> None:
    if session.json:
        print_json(plain(change))
        return
    e = change.entry
    known_by = ", ".join(h.algorithm for h in e.hashes)
    say(
        clean(
            f"{change.revision:>10}  {change.kind:<8}  {e.name}  {known_by}  TLP:{change.marking.tlp.replace('_', '+')}"
        )
    )


COMMANDS: Final = (changes,)
