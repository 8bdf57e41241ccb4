"""`hashhub feed …`: what a token may hold as files that partners' programs fetch."""

from __future__ import annotations

import threading
from pathlib import Path

import click

from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, command
from hashhub.cli.terminal import clean, note
from hashhub.signals import stopping_on_signals


@main.group("feed", cls=CommandGroup)
def feed() -> None:
    """Feeds: what a token may hold, as files that partners' programs fetch."""


@command(feed, "misp")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--once", is_flag=True, help="End once the files are up to date.")
@click.option(
    "--seconds", type=click.FloatRange(min=1.0), default=30.0, show_default=True, help="Between two looks for changes."
)
@click.option("--start-over", is_flag=True, help="Read everything again, for another token or another hub.")
def misp(session: Session, *, directory: Path, once: bool, seconds: float, start_over: bool) -> None:
    """Keep a MISP feed up to date, until interrupted: DIRECTORY/feed is what a web server is to serve.

    It goes on where the last run ended, wherever that was. All that this token may hold stands in the files, so that
    whoever may fetch them must be one of those whom the token is for. The token must have been made with --may-mirror.
    """
    from hashhub.misp_feed import MISPFeed

    stop = threading.Event()
    with session.connect() as hub, MISPFeed(directory) as files:
        if start_over:
            files.start_over()
        if once:
            files.update(hub)
        else:
            with stopping_on_signals(stop.set):
                files.follow(hub, stop, seconds, lambda problem: note(clean(problem)))
        counts = files.counts() | {"left_out": files.left_out}
    session.answer(
        {"directory": str(files.files), **counts},
        f"{clean(str(files.files))}: {counts['entries']:,} entries in {counts['events']:,} events; "
        f"deleted: {counts['deleted']:,}, left out by this run: {counts['left_out']:,}",
    )
