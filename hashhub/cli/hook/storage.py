"""`hashhub hook watch` and `hashhub hook scan`: uploads in buckets and folders."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashhub.cli.hook import SETTINGS, hook, settings_of
from hashhub.cli.scan_output import REPORT, RESULTS
from hashhub.cli.session import REFUSED, UNAVAILABLE, Session, command
from hashhub.cli.terminal import clean, counted, json_line, note, plain, print_json, progress, say, show_path
from hashhub.local_files import check, make_directory, text_written
from hashhub.signals import stopping_on_signals

if TYPE_CHECKING:
    from hashhub.cli.hook.scan_page import ObjectFindings
    from hashhub.errors import HashHubError
    from hashhub.hook.archive import ScannedObject
    from hashhub.hook.buckets import BucketWorker, HandledUpload

_SUMMARY = "summary.json"


@command(hook, "watch", local=True)
@SETTINGS
@click.option("--once", is_flag=True, help="Handle what is there now, then end; for a timer instead of a service.")
def watch(session: Session, *, settings_file: str | None, once: bool) -> None:
    """Check uploads in a bucket or folder, and publish what is allowed.

    The section [bucket] of the settings says where uploads land, where only this worker writes, and where what is
    allowed goes; see docs/hook/bucket.md. Any number of workers may share the places. A line is printed for each upload
    that is not simply published; with --json for each.
    """
    from hashhub.hook import open_hook
    from hashhub.hook.buckets import BucketWorker, ObjectOutcome

    def told(handled: HandledUpload) -> None:
        if session.json:
            print_json(
                {
                    "name": show_path(handled.name),
                    "outcome": handled.outcome,
                    "where": show_path(handled.where),
                    "reason": handled.reason,
                    "decision": None if handled.decision is None else plain(handled.decision),
                }
            )
        elif handled.outcome is not ObjectOutcome.PUBLISHED:
            reference = handled.decision.reference if handled.decision else ""
            parts = (handled.outcome, reference, handled.name, handled.reason)
            say("  ".join(clean(show_path(part)) for part in parts if part))

    with open_hook(settings_of(settings_file)) as checks, BucketWorker(checks, told) as worker:
        if once:
            worker.look_once()
        else:
            _run(worker)
        if not session.json:
            counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(worker.outcomes.items()))
            say(counts or "Nothing to do.")
        if once and worker.outcomes[ObjectOutcome.FAILED] + worker.outcomes[ObjectOutcome.WAITING]:
            raise click.exceptions.Exit(UNAVAILABLE)


def _run(worker: BucketWorker) -> None:
    wake = threading.Event()
    ended = threading.Event()

    def told(error: HashHubError, seconds: float) -> None:
        then = f"; trying again in {seconds:.0f} s" if seconds else ""
        note(f"note: {clean(error.message)}{then}")

    with stopping_on_signals(lambda: worker.stop(wake)), contextlib.ExitStack() as stack:
        stack.callback(ended.set)
        folder = Path(worker.quarantine.url)
        if "://" not in worker.quarantine.url and folder.is_dir():
            threading.Thread(target=_wake, args=(folder, wake, ended), name="hook-watch", daemon=True).start()
        worker.run(wake=wake, on_trouble=told)


def _wake(folder: Path, wake: threading.Event, ended: threading.Event) -> None:
    """Wake the worker when something changes in the folder, sooner than its next look."""
    try:
        from watchfiles import watch as changes
    except ImportError:
        note("note: changes show at the next look only; for sooner: pip install 'hashhub[hook-bucket]'")
        return
    for _ in changes(folder, stop_event=ended, yield_on_timeout=False, raise_interrupt=False):
        wake.set()


@command(hook, "scan", local=True)
@click.argument("where", metavar="PLACE")
@SETTINGS
@click.option(
    "--out",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Write {RESULTS}, {_SUMMARY} and {REPORT} there once the scan is complete.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), metavar="N", help="Objects read at once; default: as [bucket] says."
)
@click.option("--fail-on-block", is_flag=True, help="Exit with 1 unless every object is allowed.")
def scan(
    session: Session,
    *,
    where: str,
    settings_file: str | None,
    directory: Path | None,
    jobs: int | None,
    fail_on_block: bool,
) -> None:
    """Check what was uploaded before: all objects of s3://BUCKET/PREFIX, or all files of a folder.

    Nothing is moved, and nothing of an object is written to disk. What was downloaded is remembered by its hashes: the
    same command continues a scan that was cut short, and a later one downloads only what is new or has changed. Lines
    are printed for what is not allowed, with --json for everything. What could not be read makes the exit code 3. An
    unchanged object about which nothing new is said is in the queue once, and stays as a person has decided.
    """
    from hashhub.cli.hook.scan_page import UNREAD, ObjectFindings
    from hashhub.hook import Action, open_hook
    from hashhub.hook.archive import only_scan, scan_memory, scan_storage
    from hashhub.hook.places import place_of

    settings = settings_of(settings_file)
    place = place_of(where, settings.bucket)
    findings = ObjectFindings(place.url, settings)
    with contextlib.ExitStack() as stack:
        if directory is not None:
            make_directory(directory)
            for name in (_SUMMARY, REPORT):
                check(directory / name, replace=True)
            results = stack.enter_context(text_written(directory / RESULTS))
        checks = stack.enter_context(open_hook(settings))
        stack.enter_context(only_scan(settings))
        memory = stack.enter_context(scan_memory(settings))
        before = memory.objects(place.url)
        bar = stack.enter_context(progress(unit_bytes=False))
        for scanned in scan_storage(checks, place, memory=memory, jobs=jobs or settings.bucket.jobs):
            findings.add(scanned)
            line = _line(scanned)
            if directory is not None:
                results.write(json_line(line) + "\n")
            if session.json:
                print_json(line)
            elif scanned.decision is None or scanned.decision.action is not Action.ALLOW:
                say("  ".join(clean(part) for part in _words(scanned) if part))
            bar(findings.total, max(before, findings.total) or None, f"scanning {place.url}")
        findings.gone = memory.end(place.url, findings.total)
        if directory is not None:
            with text_written(directory / _SUMMARY) as file:
                summary = {
                    "place": place.url,
                    "objects": findings.total,
                    "counts": dict(sorted(findings.counts.items())),
                    "states": dict(sorted(findings.states.items())),
                    "not_downloaded": findings.known,
                    "bytes": findings.size,
                    "gone": findings.gone,
                }
                file.write(json_line(summary) + "\n")
            with text_written(directory / REPORT, encoding="ascii") as file:
                file.write(findings.page())
    _tell(findings)
    if fail_on_block and findings.counts[Action.ALLOW] < findings.total:
        raise click.exceptions.Exit(REFUSED)
    if findings.counts[UNREAD]:
        raise click.exceptions.Exit(UNAVAILABLE)


def _tell(findings: ObjectFindings) -> None:
    """Say what a scan came to, and what persons had decided over before."""
    from hashhub.desk.records import UploadState

    said = ", ".join(f"{count:,} {name}" for name, count in sorted(findings.counts.items()))
    note(
        f"{counted(findings.total, 'object')}: {said or 'none'}; {findings.known:,} not downloaded again, "
        f"{findings.gone:,} gone since the last scan."
    )
    released, removed = findings.states[UploadState.RELEASED], findings.states[UploadState.REMOVED]
    if released + removed:
        note(f"{released:,} of them were released by a person, and {removed:,} confirmed: those are still there.")


def _line(scanned: ScannedObject) -> dict[str, object]:
    return {
        "name": show_path(scanned.name),
        "where": show_path(scanned.where),
        "size": scanned.size,
        "is_remembered": scanned.is_remembered,
        "state": scanned.state,
        "decision": None if scanned.decision is None else plain(scanned.decision),
        "error": None if scanned.error is None else {"reason": scanned.error.reason, "message": scanned.error.message},
    }


def _words(scanned: ScannedObject) -> Iterator[str]:
    from hashhub.cli.hook.scan_page import UNREAD, said

    if scanned.decision is None:
        yield UNREAD
        yield show_path(scanned.name)
        yield scanned.error.message if scanned.error else ""
        return
    yield scanned.decision.action
    yield scanned.decision.reference
    yield show_path(scanned.name)
    yield scanned.decision.reasons[0].text if scanned.decision.reasons else ""
    yield said(scanned.state)
