"""`hashhub hook sync`: keep the copy that a hook in local mode decides by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hashhub.cli.hook import SETTINGS, hook, settings_of
from hashhub.cli.interrupts import Interrupts
from hashhub.cli.session import Session, command
from hashhub.cli.terminal import copy_progress, note, say

if TYPE_CHECKING:
    from hashhub.hook.local import Sync


@command(hook, "sync", local=True)
@SETTINGS
@click.option(
    "--follow/--once",
    default=False,
    help="Keep the copy up to date until interrupted, or end once it is.  [default: once]",
)
@click.option("--start-over", is_flag=True, help="Replace what the copy holds, for another token or another hub.")
@click.option("--reindex", is_flag=True, help="Write the index anew; nothing of what was dropped is left in it.")
def sync_copy(session: Session, *, settings_file: str | None, follow: bool, start_over: bool, reindex: bool) -> None:
    """Keep a copy of what the token may hold, with an index, for hooks in the mode LOCAL.

    It goes on where the last run ended, wherever that was. The token must have been made with --may-mirror. One process
    keeps the copy; any number read it, also while it is kept.
    """
    with Interrupts() as interrupts:
        from hashhub.hook.local import Sync

        with Sync(settings_of(settings_file)) as sync:
            interrupts.call(sync.stop)
            if start_over:
                sync.start_over()
            with copy_progress((lambda: _tell(session, sync)) if follow else None) as on_page:
                if follow:
                    sync.follow(on_page)
                sync.update(on_page)
            if reindex:
                sync.reindex()
            _tell(session, sync)


def _tell(session: Session, sync: Sync) -> None:
    from hashhub.hook.local import IN_BULK

    state = sync.state()
    if not state.entries:
        note(f"note: the copy has no entry, so that no upload matches by it. {IN_BULK}")
    if session.print_if_json(state):
        return
    say(
        f"complete at revision {state.revision}; entries: {state.entries}, hash sets: {state.hash_sets}, "
        f"digests: {state.index_digests}; policy {state.policy}; {state.lines} changes in {state.seconds:.1f} s"
    )
