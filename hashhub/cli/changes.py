"""`hashhub changes`: everything that became matchable or stopped being so."""

from __future__ import annotations

from typing import Final

import click

from hashhub.cli.session import Session, command
from hashhub.cli.terminal import clean, plain, print_json, say
from hashhub.model import ChangedEntry


@command(None, "changes")
@click.option("--follow", is_flag=True, help="Go on with the changes to come, until interrupted.")
def changes(session: Session, *, follow: bool) -> None:
    """List what became matchable or stopped being so.

    In the order of revisions; each change comes with its entry as it is now, and with the terms that bind the receiver.
    """
    with session.connect() as hub:
        feed = hub.follow_changes() if follow else hub.list_changes()
        for change in feed:
            _show(session, change)


def _show(session: Session, change: ChangedEntry) -> None:
    if session.json:
        print_json(plain(change))
        return
    name = change.entry.name if change.entry else change.entry_name or change.hash_set_name
    say(clean(f"{change.revision:>10}  {change.kind:<8}  {name}"))


COMMANDS: Final = (changes,)
