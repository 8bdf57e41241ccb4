"""`hashhub history`, `revert`, `doctor` and `backup …`: what was done and by whom; undoing it; a hub's own machine."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from hashhub import config
from hashhub.cli import main
from hashhub.cli.session import REFUSED, CommandGroup, Session, as_one, choice, command, dry_run, past, private_files
from hashhub.cli.terminal import clean, note, plain, print_json, progress, say
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, missing_extra
from hashhub.model import Event, EventKind, RevertedEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from hashhub.client import Client
    from hashhub.config import Config
    from hashhub.hub.backup import BackupManifest


_MEGABYTE: Final = 1_000_000


@main.group("backup", cls=CommandGroup, default="create")
def backup() -> None:
    """Back a hub up, check a backup, restore it.

    `hashhub backup DIR` is short for `hashhub backup create DIR`. Run it as the hub's user on the hub's own machine;
    docs/operate/README.md has the drill.
    """


def _settings(config_file: str | None, **options: str | None) -> config.Config:
    return config.load(Path(config_file) if config_file else None, os.environ, **options)


of_a_hub = as_one(
    _settings,
    ("config_file", "data", "database"),
    click.option("--data", metavar="DIR", help="The hub's data directory."),
    click.option("--database", metavar="URL", help="Its PostgreSQL database, if it has one."),
    click.option("--config", "config_file", metavar="FILE", help="TOML file with the hub's settings."),
)
"""Gives a command that runs beside a hub the hub's settings, as its second argument."""


@command(backup, "create", local=True)
@click.argument("directory", type=click.Path(path_type=Path))
@of_a_hub
def create(session: Session, settings: config.Config, *, directory: Path) -> None:
    """Write a backup to DIRECTORY, which must not exist yet. The hub may run and write meanwhile.

    The backup is the hub at one revision. PostgreSQL needs `pg_dump` of the server's version or a newer one. Keep
    the backup as you keep the hub's data: manifest.json says what in it must stay secret, and what it lacks.
    """
    module = _module()
    with private_files(), progress(unit_bytes=True) as advance:
        manifest = module.back_up(settings, directory, lambda what, done, all_: advance(done, all_ or None, what))
    _show(session, manifest)
    if not session.json:
        note("not in it: " + "; ".join(manifest.lacks))


@command(backup, "verify", local=True)
@click.argument("directory", type=click.Path(path_type=Path))
def verify(session: Session, *, directory: Path) -> None:
    """Check that every file of a backup is as it was written, and that its database can be read."""
    module = _module()
    with progress(unit_bytes=True) as advance:
        manifest = module.verify(directory, lambda what, done, all_: advance(done, all_ or None, what))
    _show(session, manifest)


@command(backup, "restore", local=True)
@click.argument("directory", type=click.Path(path_type=Path))
@of_a_hub
@click.option(
    "--withdrawals", type=click.Path(path_type=Path), metavar="FILE", help="A newer withdrawals.log of the hub."
)
@click.option("--without-withdrawals", is_flag=True, help="Do not ask when there is no newer withdrawals.log.")
def restore(
    session: Session, settings: config.Config, *, directory: Path, withdrawals: Path | None, without_withdrawals: bool
) -> None:
    """Write a backup to a data directory, and with PostgreSQL to a database, that has no hub in it.

    The backup is checked first. Give the newest withdrawals.log that was saved: the first start withdraws again what
    was withdrawn after the backup, as far as that file knows it. One that the data directory has counts by itself.
    """
    module = _module()
    if not (without_withdrawals or withdrawals or (Path(settings.data) / module.WITHDRAWALS).exists()):
        _confirm_without_withdrawals()
    with private_files(), progress(unit_bytes=True) as advance:
        manifest = module.restore(
            directory, settings, withdrawals, lambda what, done, all_: advance(done, all_ or None, what)
        )
    _show(session, manifest)
    if not session.json:
        given = click.get_current_context().params
        again = ["--config", given["config_file"]] if given["config_file"] else []
        again += ["--data", given["data"]] if given["data"] else []
        where = clean(shlex.join(again))
        database = " --database …, as here" if given["database"] else ""
        for told, program in (("start the hub", "serve"), ("then check it", "doctor")):
            note(f"{told}: hashhub {program} {where}".rstrip() + database)


def _confirm_without_withdrawals() -> None:
    """Ask, on a terminal, whether what was withdrawn after the backup is to match again; refuse without one."""
    missing = "no newer withdrawals.log was given: what was withdrawn after the backup will match again"
    if not sys.stdin.isatty():
        raise FailedPrecondition(f"{missing}; give --withdrawals FILE, or say --without-withdrawals")
    note(missing)
    click.confirm("Restore without it?", abort=True, err=True)


def _module() -> ModuleType:
    try:
        from hashhub.hub import backup as module
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server") from e
    return module


def _show(session: Session, manifest: BackupManifest) -> None:
    if session.print_if_json(manifest):
        return
    say(f"revision {manifest.revision}, taken {manifest.create_time:%Y-%m-%d %H:%M:%S}Z by {manifest.hashhub_version}")
    say(f"head {manifest.head}")
    size = sum(f.size_bytes for f in manifest.files) / _MEGABYTE
    say(f"{len(manifest.files)} files, {size:.1f} MB, of a {manifest.database} database; each is as it was written")


_SHOWN: Final = 120  # characters of a changed field in a table

_WHAT: Final = {
    EventKind.IMPORT_COMMITTED: "imported",
    EventKind.ENTRIES_WITHDRAWN: "withdrawn",
    EventKind.WITHDRAWAL_ASKED: "withdrawal asked for",
    EventKind.ENTRIES_RESTORED: "restored",
    EventKind.ENTRIES_QUARANTINED: "quarantined",
    EventKind.ENTRIES_RELEASED: "released",
    EventKind.ENTRIES_EXPIRED: "expired",
    EventKind.ENTRY_ERASED: "erased",
    EventKind.ENTRIES_REVIEWED: "reviewed",
    EventKind.ENTRIES_EXPORTED: "exported",
}


@main.group("history", cls=CommandGroup, default="list", no_args_is_help=False)
def history() -> None:
    """Who did what, when and why.

    `hashhub history [NAME]` is `hashhub history list [NAME]`.
    """


@command(history, "list")
@click.argument("name", default="")
@click.option("--actor", default="", metavar="TOKEN", help="Only what this token wrote.")
@click.option(
    "--since",
    type=past,
    metavar="TIME",
    help="Only from this time on, such as 2026-05-01T08:00Z, or 12h for twelve hours ago.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=choice(EventKind),
    metavar="KIND",
    help="Only events of this kind, such as entries-withdrawn; repeatable.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N events. Default: all.")
def list_events(
    session: Session, *, name: str, actor: str, since: datetime | None, kinds: Sequence[EventKind], limit: int | None
) -> None:
    """List events, the newest first.

    NAME: a CONTRIBUTOR, CONTRIBUTOR/SET, CONTRIBUTOR/SET/ENTRY, tokens/TOKEN or groups/GROUP; what is in it counts,
    too. Contributors read what concerns them, and what happened to entries that they may see.
    """
    with session.connect() as hub:
        show_events(session, hub, name, list(hub.list_events(name, actor=actor, since=since, kinds=kinds, limit=limit)))


@command(history, "redact")
@click.argument("revision", type=click.IntRange(min=1))
@click.option("--yes", is_flag=True, help="Do not ask before it is done.")
def redact_event(session: Session, *, revision: int, yes: bool) -> None:
    """Erase the details of an event: free text and former values of fields.

    Action, time and actor stay, and the log still verifies. Needs an operator's token.
    """
    if not yes:
        click.confirm(f"Erase the details of event {revision}? This cannot be undone.", abort=True, err=True)
    with session.connect() as hub:
        show_events(session, hub, "", [hub.redact_event(revision)])


@command(main, "revert")
@click.option("--actor", required=True, metavar="TOKEN", help="Whose writes are undone.")
@click.option(
    "--since",
    type=past,
    required=True,
    metavar="TIME",
    help="From when on, such as 2026-05-01T08:00Z, or 12h for twelve hours ago.",
)
@click.option("--comment", default="", metavar="TEXT", help="Why, for the history. Needed unless --dry-run.")
@click.option("--yes", is_flag=True, help="Do not ask before it is done.")
@dry_run()
def revert(session: Session, *, actor: str, since: datetime, comment: str, yes: bool, validate_only: bool) -> None:
    """Undo the writes of a token: an insider's, or a stolen one's.

    Newest first; writes that others have changed since are left, with the reason. A preview is shown and confirmed
    first. Let the token expire before, or it continues to write. An interrupted run continues when it is run again.
    Needs an operator's token.
    """
    undo(session, actor, since, comment, withdrawals_only=False, yes=yes, validate_only=validate_only)


@command(main, "doctor", local=True)
@of_a_hub
@click.option("--head", metavar="REVISION:HASH", help="Fail unless the history contains this head.")
@click.option(
    "--checkpoint", type=click.File("rb"), metavar="FILE", help="Fail unless the history contains this checkpoint."
)
@click.option("--mend", is_flag=True, help="Begin a new log behind a break, which stays on record.")
@click.option("--full", is_flag=True, help="Compare all rows, not the next million entries only.")
@click.option("--comment", default="", metavar="TEXT", help="With --mend: what broke it, and how that is known.")
def doctor(
    session: Session,
    settings: Config,
    *,
    head: str | None,
    checkpoint: BinaryIO | None,
    mend: bool,
    full: bool,
    comment: str,
) -> None:
    """Verify the history, and compare the tables with it, on the hub's own machine.

    Contributors, terms, tokens, policies, reviews, holds, entries and their digests are compared with the events; rows
    that were edited, added or removed outside hashhub are listed. Run it every night: each run compares the next
    million entries.

    A head, shown by `hashhub history`, feed pages and the log, is the last revision and the root of the tree of events
    there. One that was kept elsewhere proves that the history was not rewritten since. The hub need not run, and a
    running one is not disturbed.
    """
    if mend and not comment.strip():
        raise InvalidArgument.field("comment", "must say what broke the history, and how that is known", "REQUIRED")
    try:
        from hashhub.hub.history import examine
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server") from e
    kept = checkpoint.read() if checkpoint else b""
    report = examine(settings, head=head, checkpoint=kept, mend=comment if mend else "", is_full=full)
    if session.json:
        print_json(plain(report))
    else:
        for line in report.lines:
            say(clean(line))
    if not report.is_sound:
        raise click.exceptions.Exit(REFUSED)


def undo(
    session: Session,
    actor: str,
    since: datetime | None,
    comment: str,
    *,
    withdrawals_only: bool,
    yes: bool,
    validate_only: bool,
) -> None:
    """Preview what undoing a token's writes would do, ask, and do it."""
    if since is None:
        raise click.UsageError("--since says from when on")
    with session.connect() as hub:
        would = hub.revert_actor(actor, since, withdrawals_only=withdrawals_only, validate_only=True)
        is_known = (
            bool(would)
            or any(token.name == actor for token in hub.list_tokens())
            or any(hub.list_events(actor=actor, limit=1))
            or any(hub.list_events(f"tokens/{actor}", limit=1))
        )
        if not is_known:
            raise NotFound(
                f"no token {actor[:150]!r} was ever here, so nothing is undone; `hashhub token list` lists those that "
                "there are, `hashhub history` who wrote what"
            )
        is_idle = not any(line.reverted for line in would)
        if validate_only or is_idle:
            _show_outcomes(session, would)
            note("nothing is left to undo" if is_idle else "nothing was undone: this is what would be")
            return
        if not yes:
            _show_outcomes(session, would)
            entries = sum(line.entry_count for line in would)
            click.confirm(
                f"Undo {sum(line.reverted for line in would)} events, {entries} entries?", abort=True, err=True
            )
        comment = comment or f"{'restore' if withdrawals_only else 'revert'} --actor {actor}"
        done = hub.revert_actor(actor, since, comment, withdrawals_only=withdrawals_only)
        _show_outcomes(session, done)
        if any(token.name == actor for token in hub.list_tokens()):
            note(f"the token {clean(actor)} still works: delete it or let it expire, or what it did comes back")


def show_events(session: Session, hub: Client, name: str, events: Sequence[Event]) -> None:
    """Print events; those of one entry with the entries that took its place."""
    replaced = {} if session.json else _replacements(hub, name, events)
    session.show(
        events,
        ("revision", "time", "what", "about", "who", "why"),
        lambda event: (
            event.revision,
            event.time.strftime("%Y-%m-%d %H:%M:%SZ"),
            replaced.get(event.revision) or _what(event),
            event.subject or "-",
            _who(event),
            "; ".join(x for x in (event.reason, *_details(event)) if x) or "-",
        ),
        empty="no events",
    )


def _replacements(hub: Client, name: str, events: Sequence[Event]) -> dict[int, str]:
    """Return what those events did to the entry `name` by which another one took its place."""
    names_entry = name.count("/") == 2 and name.rpartition("/")[2].isdecimal()  # noqa: PLR2004 - CONTRIBUTOR/SET/ENTRY
    if not names_entry or not events:
        return {}
    try:
        entry = hub.get_entry(name)
        later = {hub.get_entry(n).create_revision: f"replaced by {n}" for n in entry.successors}
    except (NotFound, PermissionDenied):  # others' entries are read in the feed only
        return {}
    first = {entry.create_revision: "imported" + "".join(f", replacing {n}" for n in entry.predecessors)}
    return {**later, **first}


def _what(event: Event) -> str:
    return _WHAT.get(event.kind) or event.kind.lower().replace("_", " ")


def _who(event: Event) -> str:
    actor = event.actor
    if actor.name and actor.contributor:
        persons = " and ".join(filter(None, (actor.person, actor.second_person)))
        return f"{actor.name} ({actor.contributor}{', ' * bool(persons)}{persons})"
    return actor.name or actor.contributor or "-"


def _details(event: Event) -> list[str]:
    """Return what a table tells of an event's details: comments, and what a field was and is; --json has all of it."""
    if event.details is None:
        return ["details erased"]
    is_new = event.kind.endswith("_CREATED")
    return [
        text if name == "comment" else f"{name}: {_shortened(text)}"
        for name, text in event.details.items()
        if name == "comment" or not is_new
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _show_outcomes(session: Session, lines: Sequence[RevertedEvent]) -> None:
    session.show(
        lines,
        ("revision", "what", "about", "undone", "outcome"),
        lambda x: (x.event.revision, _what(x.event), x.event.subject or "-", "yes" if x.reverted else "no", x.outcome),
        empty="the token wrote nothing since then",
    )
