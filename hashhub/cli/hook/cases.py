"""`hashhub hook case …`: a report about one item, until its copies are gone."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashhub.cli.hook import Desk, account, at_desk, by_person, hook
from hashhub.cli.session import CommandGroup, Session, choice, command, moment, spelled
from hashhub.cli.terminal import counted, note, progress, say, show_path, table, tell
from hashhub.desk.cases.clocks import CasePurpose, ClockState, rules
from hashhub.desk.cases.life import Case, CaseOutcome, Cases, CaseState
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound
from hashhub.hook.settings import HookSettings
from hashhub.local_files import written
from hashhub.model import Purpose
from hashhub.scans.engine import ListedFile, UnreadableItem
from hashhub.scans.tree import Tree, listed
from hashhub.scans.tree import opened as opened_file

if TYPE_CHECKING:
    from hashhub.hook.archive import Source

_REASON = click.option("--reason", required=True, metavar="TEXT", help="Why; kept in the record.")


@hook.group("case", cls=CommandGroup)
def case_group() -> None:
    """Handle a report about one item: stop its copies, find them, and record by when they were gone."""


def _cases(desk: Desk) -> Cases:
    return Cases(desk.records, desk.settings.case)


@command(case_group, "open", local=True)
@click.argument("files", nargs=-1, metavar="[FILE]…")
@click.option("--hash", "texts", multiple=True, metavar="ALGORITHM:DIGEST", help="A hash of the item; repeatable.")
@click.option("--purpose", required=True, type=choice(CasePurpose), help="What the complaint says that it is.")
@click.option("--complaint", required=True, metavar="TEXT", help="Your own reference of the complaint.")
@_REASON
@click.option(
    "--received",
    default="now",
    metavar="TIME",
    show_default=True,
    help="When the complaint reached you; a time of day with its zone.",
)
@click.option("--rule", "by_rules", multiple=True, default=("own-48h",), show_default=True, metavar="RULE",
              help="By which rule it is due; repeatable. See `hashhub hook case rules`.")  # fmt: skip
@click.option("--place", "places", multiple=True, metavar="TEXT", help="Where the complaint saw a copy; repeatable.")
@by_person
def open_case(
    session: Session, desk: Desk, *, files: tuple[str, ...], texts: tuple[str, ...], received: str, **about: Any
) -> None:
    """Open a case about one item, given as a FILE, which is hashed and not kept, or by its hashes. From now on its
    copies are held back, with the hub or without it.
    """
    from hashhub.desk.cases.item import CaseItem, item_of_hashes
    from hashhub.hashes import parse
    from hashhub.hook.archive import item_of_file

    if bool(files) == bool(texts):
        raise click.UsageError("give the files of one item, or its hashes with --hash")
    cases, actor = _cases(desk), desk.actor()
    if texts:
        item = item_of_hashes([parse(name, digest) for name, _, digest in (text.partition(":") for text in texts)])
    else:
        items = [item_of_file(desk.settings, Path(file)) for file in files]
        item = CaseItem(
            hashes=tuple(dict(pair for one in items for pair in one.hashes).items()),
            not_searched=tuple(dict.fromkeys(line for one in items for line in one.not_searched)),
        )
    _show(session, cases.open(item, actor=actor, receive_time=moment(received, needs_zone=True), **about))


@command(case_group, "list", local=True)
@click.option("--state", "states", multiple=True, type=choice(CaseState), help="Only in this state; repeatable.")
@click.option("--ids", is_flag=True, help="Print ids only, for other commands.")
@at_desk
def list_cases(session: Session, desk: Desk, *, states: tuple[CaseState, ...], ids: bool) -> None:
    """List cases, what is due first."""
    shown = sorted(_cases(desk).listed(states), key=lambda case: case.urgency)
    if ids and not session.json:
        for case in shown:
            say(case.name)
        return
    session.show(
        shown,
        ("case", "state", "copies are", "purpose", "due", "stopped", "there", "removed"),
        lambda c: (
            c.name, c.state, c.action, spelled(c.purpose), _due(c), c.stopped, c.copies_there, c.copies_removed,
        ),
        empty="no cases",
    )  # fmt: skip


@command(case_group, "get", local=True)
@click.argument("case", metavar="CASE")
@click.option("--page", "page_file", metavar="FILE", help="Also write the record as a page (Markdown).")
@at_desk
def get_case(session: Session, desk: Desk, *, case: str, page_file: str | None) -> None:
    """Show the steps of CASE, with time and person, and those that are missing."""
    from hashhub.desk.cases.page import page

    record = _cases(desk).record(case)
    if page_file:
        _write(Path(page_file), page(record))
    session.answer(record, page(record))


@command(case_group, "confirm", local=True)
@click.argument("case", metavar="CASE")
@_REASON
@by_person
def confirm_case(session: Session, desk: Desk, *, case: str, reason: str) -> None:
    """Say as a person who has looked at the complaint that it holds: copies are blocked from now on."""
    _show(session, _cases(desk).confirm(case, actor=desk.actor(), reason=reason))


@command(case_group, "dispute", local=True)
@click.argument("case", metavar="CASE")
@_REASON
@click.option("--by", default="", metavar="TEXT", help="Your own reference of who objects.")
@by_person
def dispute_case(session: Session, desk: Desk, *, case: str, reason: str, by: str) -> None:
    """Record a counter-notice: copies are held and not blocked until a person confirms or closes the case."""
    _show(session, _cases(desk).dispute(case, actor=desk.actor(), reason=reason, by=by))


@command(case_group, "scan", local=True)
@click.argument("case", metavar="CASE")
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@at_desk
def scan_case(session: Session, desk: Desk, *, case: str, paths: tuple[str, ...]) -> None:
    """Look for copies in what was uploaded before: files, directories, and s3://BUCKET/PREFIX by the section [bucket].
    Nothing is moved, and nothing that is downloaded is written to disk; what was hashed once is remembered. Run again
    after it was cut off, it goes on.
    """
    from hashhub.hook.archive import scan_for_case

    cases, settings = _cases(desk), desk.settings
    with progress(unit_bytes=False) as advance:
        if cases.get(case).action == "ALLOW":
            raise FailedPrecondition(f"{case} has no digests any more; there is nothing to look for")
        _check_there(paths, settings)
        outcome = scan_for_case(
            settings,
            cases,
            case,
            _listing(paths, settings),
            place=", ".join(p if _is_bucket(p) else show_path(_absolute(p)) for p in paths),
            actor=account(),
            progress=lambda done, what: advance(done, None, what[-40:]),
        )
        copies = [c for c in cases.copies.listed(case) if c.state == "THERE"]
    if session.print_if_json(
        {
            "case": case,
            "scan": outcome.scan,
            "new_copies": outcome.new_copies,
            "remembered": outcome.remembered,
            "copies": copies,
            "unread": [{"place": u.place, "why": u.why} for u in outcome.unread],
        }
    ):
        return
    scan = outcome.scan
    tell(
        f"{counted(scan.looked, 'file')}, {outcome.remembered:,} of them known from before; "
        f"{counted(scan.copies, 'copy', 'copies')}, {outcome.new_copies:,} of them new; "
        f"{scan.unread:,} could not be read, {scan.partly:,} looked at in part only."
    )
    if copies:
        table(("copy", "by"), [(c.place, c.how) for c in copies])
    for unread in outcome.unread[:20]:
        note(f"not read: {unread.place}: {unread.why}")
    for file in scan.partial[:20]:
        note(f"looked at in part: {file.place}: {file.why}")


@command(case_group, "taken-down", local=True)
@click.argument("case", metavar="CASE")
@click.argument("places", nargs=-1, metavar="[PLACE]…")
@click.option("--all", "every", is_flag=True, help="All copies that are listed as there.")
@click.option("--stays", is_flag=True, help="They are no copies, or may stay; --reason says why.")
@_REASON
@by_person
def taken_down(session: Session, desk: Desk, *, case: str, places: tuple[str, ...], every: bool, **how: Any) -> None:
    """Record that copies are gone. The hook removes nothing itself."""
    if bool(places) == every:
        raise click.UsageError("name the places as `hashhub hook case get` shows them, or give --all")
    cases = _cases(desk)
    count = cases.taken_down(case, places, actor=desk.actor(), **how)
    shown = cases.get(case)
    session.answer({"recorded": count, "case": shown}, f"{count} recorded; {shown.copies_there} still there")


@command(case_group, "close", local=True)
@click.argument("case", metavar="CASE")
@click.option("--outcome", required=True, type=choice(CaseOutcome), help="How it ended.")
@click.option("--incomplete", is_flag=True, help="Close it although something is missing; the record says what.")
@click.option("--page", "page_file", metavar="FILE", help="Write the record as a page (Markdown).")
@_REASON
@by_person
def close_case(
    session: Session, desk: Desk, *, case: str, outcome: CaseOutcome, page_file: str | None, **how: Any
) -> None:
    """End a case. Upheld, its copies stay stopped; otherwise its hashes are erased and nothing is stopped any more."""
    from hashhub.desk.cases.page import page

    record = _cases(desk).close(case, outcome, actor=desk.actor(), **how)
    if page_file:
        _write(Path(page_file), page(record))
    session.answer(
        record,
        f"{case} is closed: {spelled(outcome)}",
        "the record is complete" if record.is_complete else "the record is NOT complete:",
        *(f"  {line}" for line in record.missing),
    )


@command(case_group, "share")
@click.argument("case", metavar="CASE")
@click.option("--hash-set", required=True, metavar="CONTRIBUTOR/SET", help="Your own hash set, of the case's purpose.")
@_REASON
@by_person
def share_case(session: Session, desk: Desk, *, case: str, hash_set: str, reason: str) -> None:
    """Contribute the hashes of a confirmed CASE to a hash set of your own at the hub, with a contributor's token."""
    cases, actor = _cases(desk), desk.actor()
    with session.connect() as client:
        reason = cases.check_reason(actor, reason)
        shown = cases.get(case)
        if shown.state is not CaseState.CONFIRMED and shown.outcome is not CaseOutcome.UPHELD:
            raise FailedPrecondition(f"{case} was not confirmed by a person; what nobody has looked at is not shared")
        purpose = client.get_hash_set(hash_set).purpose
        if purpose is not Purpose.TEST and not (purpose is Purpose.CSAM and shown.purpose is CasePurpose.CSAM):
            raise InvalidArgument.field(
                "hash_set",
                f"is of purpose {purpose.lower()}, and the case is about {spelled(shown.purpose)}: being in that set "
                "would state what nobody has said; a hub has no purpose for intimate images of adults yet",
            )
        # Only of the item itself: others look for variants of their uploads by themselves.
        hashes = [h for h, variant in cases.hashes(case) if not variant and h.algorithm != "VPDQ"]
        lines = "".join(f"{h.text}\n" for h in hashes).encode("ascii")
        report = client.import_source(io.BytesIO(lines), hash_set=hash_set, connector="hash-lines")
        if report.is_refused:
            raise FailedPrecondition(
                f"the hub refused the hashes; why: `hashhub findings {hash_set}/{report.source.id}`"
            )
        cases.note_shared(case, hash_set, len(hashes), actor=actor, reason=reason)
    session.answer(
        {"case": case, "hash_set": hash_set, "hashes": len(hashes)}, f"{len(hashes)} hashes of {case} are in {hash_set}"
    )


@command(case_group, "rules", local=True)
def list_rules(session: Session) -> None:
    """List the rules by which something is due, each with its source. For legal review."""
    session.show(
        rules().values(),
        ("rule", "hours", "from when", "title", "source"),
        lambda r: (r.name, r.hours if r.hours is not None else "-", r.starts, r.title, r.source),
    )


def _is_bucket(path: str) -> bool:
    return "://" in path


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - a link stays one


def _listing(paths: tuple[str, ...], settings: HookSettings) -> Iterator[ListedFile[Source]]:
    from hashhub.hook.archive import stored_in
    from hashhub.hook.places import place_of

    for bucket in filter(_is_bucket, paths):
        yield from stored_in(place_of(bucket, settings.bucket), settings.max_bytes)
    tops = [_absolute(p) for p in paths if not _is_bucket(p)]
    links: deque[str] = deque()  # to directories, which are not followed
    for path in Tree(map(str, tops), on_link=links.append):
        yield from _behind(links, tops)
        if isinstance(path, UnreadableItem):
            yield ListedFile(path.error.message, path.name)
        else:
            yield listed(path, partial(opened_file, path))
    yield from _behind(links, tops)


def _behind(links: deque[str], tops: Sequence[Path]) -> Iterator[ListedFile[Source]]:
    """Yield the links to directories that are not looked through by their own names either."""
    while links:
        link = links.popleft()
        target = Path(os.path.realpath(link))
        if not any(target.is_relative_to(os.path.realpath(top)) for top in tops):
            yield ListedFile("is a link to a directory, and is not followed; name that directory as well", link)


def _check_there(paths: Sequence[str], settings: HookSettings) -> None:
    """Raise NotFound for a place where nothing is: a look through it would call the record complete."""
    from hashhub.hook.places import place_of

    for path in paths:
        if _is_bucket(path):
            if next(place_of(path, settings.bucket).objects(), None) is None:
                raise NotFound(
                    f"there is no object below {path!r}; nothing was looked at. Check it, or name what it lies in"
                )
        elif not os.path.lexists(path):
            raise NotFound(f"there is no file or directory {path!r}; nothing was looked at. Check the path")


def _show(session: Session, case: Case) -> None:
    if session.print_if_json(case):
        return
    say(f"{case.name}: {spelled(case.state)}; copies are now: {case.action}")
    for line in case.not_searched:
        note(f"not looked for: {line}")
    for clock in case.clocks:
        due = f"due {_shown(clock.due)}, {spelled(clock.standing)}" if clock.due else "no number of hours"
        say(f"  {clock.rule}: {due}")


def _due(case: Case) -> str:
    first = case.first_due
    if first is None:
        return "-"
    late = " OVERDUE" if first.standing is ClockState.OVERDUE else ""
    return f"{_shown(first.due)} {first.rule}{late}"


def _shown(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC") if time else "-"


def _write(path: Path, text: str) -> None:
    with written(path, replace=True, field="page", mode=0o666) as file:
        file.write(text.encode())
