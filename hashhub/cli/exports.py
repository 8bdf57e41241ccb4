"""`hashhub export`: a file for somebody else. `hashhub changes`, `mirror`: what a token may hold, and a copy of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hashhub.cli import main
from hashhub.cli.imports import settings_of
from hashhub.cli.interrupts import Interrupts
from hashhub.cli.session import REFUSED, Session, command
from hashhub.cli.terminal import clean, copy_progress, csv_rows, note, print_json, progress, say, table
from hashhub.connector import get_writer
from hashhub.errors import DataLoss, InvalidArgument, Reason
from hashhub.local_files import TAKEN, check, whole_file, written
from hashhub.model import ChangedEntry

if TYPE_CHECKING:
    from hashhub.client import ExportReport, MirrorState


_OUTSIDE: Final = "somebody outside"


@command(main, "export")
@click.option("--format", "format_", required=True, metavar="NAME", help="Writer; an unknown name lists them.")
@click.option("--hash-set", "hash_sets", multiple=True, metavar="CONTRIBUTOR/SET", help="Their entries; repeatable.")
@click.option("--policy", default="", metavar="NAME", help="The entries that satisfy this policy each by itself.")
@click.option(
    "--changes-from",
    "position",
    default="",
    metavar="POSITION",
    help="What changed since: the position that an earlier export, or the change feed, ended with.",
)
@click.option("--out", required=True, metavar="FILE", help="Where it goes; - is standard output.")
@click.option(
    "--for",
    "recipient",
    default="",
    metavar="RECIPIENT",
    help="Whom it is for, which is recorded: contributors/ID, to which the terms then apply, or others in words.",
)
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Setting of the writer; repeatable.")
@click.option("--mapping", metavar="FILE.toml", help="Column mapping for --format csv.")
@click.option("--strict", is_flag=True, help="Write no file if anything is lost; exit code 1.")
@click.option("--losses", metavar="FILE.csv", help="Also write each single loss into this file.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def export(
    session: Session,
    *,
    format_: str,
    out: str,
    recipient: str,
    options: tuple[str, ...],
    mapping: str | None,
    strict: bool,
    losses: str | None,
    force: bool,
    **selected: Any,
) -> None:
    """Write entries into a file that is handed on, and say what the file does not.

    Choose by --hash-set, --policy or --changes-from. The file is meant to leave the hub: the terms decide as to
    somebody outside, but for the hash sets of the token's own contributor. FILE appears once it is whole. Exit code 1
    where nothing may leave, or with --strict if anything would be lost.
    """
    if sum(map(bool, selected.values())) != 1:
        raise click.UsageError("give one of --hash-set, --policy and --changes-from: they choose the entries")
    writer = get_writer(format_)
    settings = settings_of(options, mapping)
    has_out = out != "-"
    is_file = has_out and (not check(out, replace=force, taken=TAKEN) or Path(out).is_file())
    if is_file and format_ == "csv" and "mapping" not in settings:  # beside a device nothing is put
        check(f"{out}.mapping.toml", replace=force, taken=TAKEN)
    if losses is not None:
        check(losses, replace=force, taken=TAKEN, field="losses")
    with (
        session.connect() as hub,
        whole_file(out if has_out else None, replace=force, taken=TAKEN, held=strict) as (target, keep_file),
        whole_file(losses, replace=force, taken=TAKEN, field="losses", held=True) as (told, keep_losses),
        progress(unit_bytes=False) as bar,
    ):
        write = csv_rows(told)
        if losses is not None:
            write(("entry", "field", "reason", "detail"))
        report = hub.export(
            target,
            writer=writer,
            options=settings,
            recipient=recipient,
            on_loss=lambda x: write(map(clean, (x.entry, x.field, x.reason, x.detail))) if losses is not None else None,
            progress=lambda done, total: bar(done, total, "exporting"),
            **selected,
        )
        is_refused = strict and not report.is_lossless
        if losses is not None:
            for name, count in report.left_out:
                write((name, "entry", "TERMS", f"its terms let none of its {count} entries leave for this recipient"))
            keep_losses()
        if not is_refused:
            keep_file()
    reading = ""
    if is_file and not is_refused:
        reading = _reading(report, out, force=force, has_mapping="mapping" in settings)
    _show(session, report, out, recipient, reading, is_refused=is_refused)
    if is_refused:
        raise click.exceptions.Exit(REFUSED)


def _reading(report: ExportReport, out: str, *, force: bool, has_mapping: bool) -> str:
    """Return how hashhub reads the file again: options of `hashhub import`. A mapping of our own goes into a file."""
    arguments = [f"--format {report.reads_back}"]
    for name, value in report.reading.items():
        if name != "mapping":
            arguments.append(f"--option {name}={value}")
        elif not has_mapping:
            beside = f"{out}.mapping.toml"
            with written(beside, replace=force, taken=TAKEN) as target:
                target.write(value.encode())
            arguments.append(f"--mapping {beside}")
    return " ".join(arguments)


def _show(session: Session, report: ExportReport, out: str, recipient: str, reading: str, *, is_refused: bool) -> None:
    if session.print_if_json(
        {
            "file": None if is_refused else out,
            "hash_sets": report.hash_sets,
            "for": recipient or None,
            "revision": report.revision,
            "position": report.position or None,
            "delta": report.is_delta,
            "taken": report.taken,
            "written": 0 if is_refused else report.written,
            "left_out": [{"hash_set": name, "entries": count} for name, count in report.left_out],
            "losses": report.losses,
        },
        err=out == "-",
    ):
        return
    tell = note if out == "-" else say
    what = "changes" if report.is_delta else "entries"
    if is_refused:
        tell(f"nothing was written: of {report.taken:,} {what} something would be lost")
    else:
        tell(f"{out}: {report.written:,} of {report.taken:,} {what} of {', '.join(report.hash_sets) or 'no hash set'}")
        tell(f"for {clean(recipient) or _OUTSIDE}, as of revision {report.revision}")
    rows = [
        (name, "entry", "TERMS", f"{count:,}", "its terms let nothing leave for this recipient")
        for name, count in report.left_out
    ]
    rows += [
        (", ".join(g.entries) or "the file", g.field, g.reason, f"{g.count:,}" if g.entries else "-", g.detail)
        for g in report.losses
    ]
    if rows:
        tell("lost:")
        table(("of", "what", "reason", "count", "for example"), rows, err=out == "-")
    elif not is_refused:
        tell("nothing was lost")
    if is_refused:
        return
    if reading:
        tell(f"read it with: hashhub import {out} {reading} --hash-set CONTRIBUTOR/SET")
    if report.position:
        tell("the changes from here on: --changes-from " + report.position)


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
                _show_change(session, change)
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


def _show_change(session: Session, change: ChangedEntry) -> None:
    if session.print_if_json(change):
        return
    resource = change.entry or change.hash_set
    own = change.contributor.id if change.contributor else change.entry_name or change.hash_set_name
    name = resource.name if resource else own
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
        if fault := copy.state().log_fault:
            raise DataLoss(f"{fault} (both are beside the copy)", reason=Reason.LOG_INCONSISTENT)


def _tell(session: Session, state: MirrorState) -> None:
    if session.print_if_json(state):
        return
    if state.has_started_over:
        note("the copy was started from nothing: what the hub did not give again was dropped")
    say(f"complete at revision {state.revision}; entries: {state.entries}, hash sets: {state.hash_sets}")
