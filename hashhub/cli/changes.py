"""`hashhub changes`: what a token may hold, and every change. `hashhub mirror`: a local copy, kept up to date."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashhub.cli import main
from hashhub.cli.interrupts import Interrupts
from hashhub.cli.session import Session, command
from hashhub.cli.terminal import clean, copy_progress, note, print_json, say
from hashhub.errors import InvalidArgument
from hashhub.model import ChangedEntry

if TYPE_CHECKING:
    from hashhub.client import MirrorState


@command(main, "changes")
@click.option("--follow", is_flag=True, help="Go on with the changes to come, until interrupted.")
@click.option("--position", default="", metavar="POSITION", help="Go on where an earlier run ended.")
@click.option("--from-now", is_flag=True, help="No entries that are there already, only changes from now on.")
def changes(session: Session, *, follow: bool, position: str, from_now: bool) -> None:
    """List what this token may hold, and every change of it.

    UPSERT lines are to be taken over, WITHDRAW lines to be dropped; each entry comes as it is now. At the end stands
    the position to go on from. The token must have been made with --may-mirror.
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
                    "position": page.position, "revision": page.revision, "complete": page.is_complete,
                    "head": page.head,
                }  # fmt: skip
                if session.json:
                    print_json(ending)
                elif page.changes or not follow:
                    say(f"position {page.position}")


def _show(session: Session, change: ChangedEntry) -> None:
    if session.print_if_json(change):
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


@command(main, "mirror")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--follow/--once",
    default=False,
    help="Keep the copy up to date until interrupted, or end once it is.  [default: once]",
)
@click.option("--start-over", is_flag=True, help="Replace what the copy holds, for another token or another hub.")
def mirror(session: Session, *, directory: Path, follow: bool, start_over: bool) -> None:
    """Keep a local copy of what this token may hold, as a SQLite database in DIRECTORY.

    It goes on where the last run ended, wherever that was. docs/match/mirror.md describes its tables. The token must
    have been made with --may-mirror.
    """
    ended = threading.Event()
    with Interrupts() as interrupts, session.connect() as hub, hub.mirror(directory) as copy:

        def stop() -> None:
            ended.set()
            hub.close()

        interrupts.call(stop)
        if start_over:
            copy.start_over()
        with copy_progress((lambda: _tell(session, copy.state())) if follow else None) as on_page:
            if follow:
                copy.follow(on_page, stop=ended)
            copy.update(on_page)
        _tell(session, copy.state())


def _tell(session: Session, state: MirrorState) -> None:
    if session.print_if_json(state):
        return
    if state.has_started_over:
        note("the copy was started from nothing: what the hub did not give again was dropped")
    say(f"complete at revision {state.revision}; entries: {state.entries}, hash sets: {state.hash_sets}")
