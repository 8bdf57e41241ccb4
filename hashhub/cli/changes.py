"""`hashhub changes`: what a token may hold, and every change of it. `hashhub mirror`: a local copy that is kept up to date."""

from __future__ import annotations

from typing import Final

import click

from hashhub.cli.session import Session, command
from hashhub.cli.terminal import clean, plain, print_json, say
from hashhub.errors import InvalidArgument
from hashhub.model import ChangedEntry


@command(None, "changes")
@click.option("--follow", is_flag=True, help="Go on with the changes to come, until interrupted.")
@click.option("--position", default="", metavar="POSITION", help="Go on where an earlier run ended.")
@click.option("--from-now", is_flag=True, help="No entries that are there already, only changes from now on.")
def changes(session: Session, *, follow: bool, position: str, from_now: bool) -> None:
    """List what this token may hold, and every change of it.

    UPSERT lines are to be taken over, WITHDRAW lines to be dropped; each entry comes as it is now. At the end stands the position to go on
    from. The token must have been made with --may-mirror.
    """
    if position and from_now:
        raise InvalidArgument.field("from-now", "cannot be given together with --position", "CONTRADICTION")
    with session.connect() as hub:
        pages = hub.follow_changes if follow else hub.list_changes
        for page in pages(position, from_now=from_now):
            for change in page.changes:
                _show(session, change)
            # With --follow the run may be interrupted anywhere, so every page says where to go on.
            if page.is_complete or follow:
                ending = {
                    "position": page.position, "revision": page.revision, "complete": page.is_complete, "head": page.head,
                }  # fmt: skip
                if session.json:
                    print_json(ending)
                elif page.changes or not follow:
                    say(f"position {page.position}")


def _show(session: Session, change: ChangedEntry) -> None:
    if session.json:
        print_json(plain(change))
        return
    name = (
        change.entry.name
        if change.entry
        else change.hash_set.name
        if change.hash_set
        else change.contributor.id
        if change.contributor
        else change.entry_name or change.hash_set_name
    )
    kind = "entry" if change.entry or change.entry_name else "contributor" if change.contributor else "hash set"
    say(clean(f"{change.revision:>10}  {change.kind:<8}  {kind:<11}  {name}"))


COMMANDS: Final = (changes,)
