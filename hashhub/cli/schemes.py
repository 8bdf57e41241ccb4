"""`hashhub scheme …` and `hashhub reconcile crosswalk`: what values mean, and how two schemes correspond."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli import main
from hashhub.cli.reconcile import reconcile
from hashhub.cli.session import COMMENT, CommandGroup, Session, command, dry_run, spelled
from hashhub.cli.terminal import clean, note, picked, plain, print_json, safe, show_path, table, tell
from hashhub.errors import HashHubError, InvalidArgument, NotFound
from hashhub.local_files import TAKEN, check, written
from hashhub.model import SchemeStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from hashhub.client import Client, SchemeTable
    from hashhub.schemes import Scheme
    from hashhub.schemes.alignment import CrosswalkRow, Difference, Line

_LONGEST: Final = 1024 * 1024  # bytes that are read of a file; the hub takes 64 KiB
_YES: Final = {True: "yes", False: "-"}


@main.group("scheme", cls=CommandGroup)
def scheme() -> None:
    """Classification schemes, and what their values mean in common dimensions."""


@command(scheme, "list")
def list_schemes(session: Session) -> None:
    """List the schemes that the hub knows."""
    with session.connect() as hub:
        session.show(
            list(hub.list_schemes()),
            ("scheme", "title", "region", "status", "values"),
            lambda s: (s.id, s.title, s.region or "-", _status(s), ", ".join(v.value for v in s.values)),
        )


@command(scheme, "show")
@click.argument("id")
@click.option("--toml", is_flag=True, help="Print the text of one version instead: of ID the one a new hash set gets.")
def show_scheme(session: Session, *, id: str, toml: bool) -> None:
    """Show what each value of the scheme ID, all its versions, or ID@VERSION, implies."""
    if toml and session.json:
        raise click.UsageError("--toml and --json exclude each other")
    if toml:
        with session.connect() as hub:
            click.echo(hub.get_scheme(id).text, nl=False)
        return
    with session.connect() as hub:
        tables = [s for s in hub.list_schemes() if id in {s.id, s.id.partition("@")[0]}]
    if not tables:
        raise NotFound(f"there is no scheme {id[:60]!r}; see `hashhub scheme list`")
    for s in tables:
        _show_scheme(session, s)


@command(scheme, "put")
@click.argument("file", metavar="FILE.toml")
@COMMENT
@dry_run()
def put_scheme(session: Session, *, file: str, comment: str, validate_only: bool) -> None:
    """Put the scheme of FILE into the hub: a new one, or a new version of one. It is a draft until another operator
    signs it off, and changes nothing that is listed. Needs an operator's token.
    """
    text = _read(file)
    with session.connect() as hub:
        put = hub.put_scheme(text, comment, validate_only=validate_only)
    _show_scheme(session, put, is_put=not validate_only)
    if validate_only:
        note("nothing was put")
    elif put.status is SchemeStatus.DRAFT:
        note(
            f"{clean(put.id)} is a draft: matches by its entries are for people to look at. If its text says that it "
            f"is verified, another operator makes it so: hashhub scheme sign-off {clean(put.id)} --comment TEXT"
        )


@command(scheme, "sign-off")
@click.argument("id", metavar="ID@VERSION")
@click.option("--comment", required=True, metavar="TEXT", help="What the table was checked against.")
@dry_run()
def sign_off_scheme(session: Session, *, id: str, comment: str, validate_only: bool) -> None:
    """Answer for a version that another operator put: from now on it is as verified as its text says. Needs an
    operator's token, another one than put it.
    """
    with session.connect() as hub:
        _show_scheme(session, hub.sign_off_scheme(id, comment, validate_only=validate_only))
    if validate_only:
        note("nothing was signed off: it was only tried")


@command(scheme, "retire")
@click.argument("id", metavar="ID@VERSION")
@COMMENT
@dry_run()
def retire_scheme(session: Session, *, id: str, comment: str, validate_only: bool) -> None:
    """Let no new hash set take a version that was put into the hub. Hash sets that have it go on with it. Needs an
    operator's token.
    """
    with session.connect() as hub:
        _show_scheme(session, hub.retire_scheme(id, comment, validate_only=validate_only))
    if validate_only:
        note("nothing was retired: it was only tried")


@command(scheme, "diff")
@click.argument("old")
@click.argument("new")
def diff_schemes(session: Session, *, old: str, new: str) -> None:
    """Say what differs between the schemes OLD and NEW, value by value and dimension by dimension.

    Each is a scheme of the hub, ID or ID@VERSION, or a file that ends in .toml. Exit code 0 also when they differ.
    """
    if _is_file(old) or _is_file(new):
        from hashhub.schemes.alignment import diff

        difference = diff(*_schemes(session, old, new))
    else:
        with session.connect() as hub:
            difference = hub.diff_schemes(old, new)
    if session.json:
        _print_difference(difference)
    else:
        _show_difference(difference)


@command(reconcile, "crosswalk")
@click.argument("first")
@click.argument("second")
@click.option("--svg", metavar="FILE.svg", help="Also draw it into this file.")
@click.option("--csv", "as_csv", is_flag=True, help="Print it as CSV, for a spreadsheet.")
@click.option("--force", is_flag=True, help="Replace a picture that exists.")
def crosswalk(session: Session, *, first: str, second: str, svg: str | None, as_csv: bool, force: bool) -> None:
    """Compare every value of the scheme FIRST with every value of SECOND, and say why.

    Each is a scheme of the hub, ID or ID@VERSION, or a file that ends in .toml. A value corresponds to another, is
    broader or narrower, overlaps or conflicts with it, or cannot be compared. An export writes a value of another
    scheme only where that claims no more than is said.
    """
    if as_csv and session.json:
        raise click.UsageError("--csv and --json exclude each other")
    if svg is not None:
        check(svg, replace=force, taken=TAKEN, field="svg")
    from hashhub.schemes import alignment

    a, b = _schemes(session, first, second)
    if _is_file(first) or _is_file(second):
        rows = list(alignment.rows(a, b))
    else:
        with session.connect() as hub:
            rows = list(hub.compare_schemes(a.name, b.name))
    if session.json:
        for row in rows:
            print_json(_row(a, b, row))
    elif as_csv:
        _write_csv(a, b, rows)
    else:
        tell(clean(f"{a.name}: {a.title}, {spelled(a.status)}"))
        tell(clean(f"{b.name}: {b.title}, {spelled(b.status)}"))
        table(
            ("value", "is", "other", "written", "why"),
            [
                (r.left, spelled(r.relation), r.right, ("<" * r.is_written_back + ">" * r.is_written) or "-", r.why)
                for r in rows
            ],
        )
        tell("broader: the value takes in whatever the other one does, and more. narrower: the other way.")
        tell("written: > an export into the other scheme writes the other value for it; < the other way.")
    if svg is not None:
        from hashhub.schemes.picture import draw

        chart = draw(a, b, rows)
        with written(svg, replace=force, taken=TAKEN, field="svg", mode=0o666) as file:
            file.write(chart.encode())
        note(f"drawn into {show_path(Path(svg))}")


def _row(a: Scheme, b: Scheme, row: CrosswalkRow) -> dict[str, object]:
    return {
        "scheme": a.name,
        "value": row.left,
        "other_scheme": b.name,
        "other_value": row.right,
        "relation": row.relation,
        "written": row.is_written,
        "written_back": row.is_written_back,
        "why": row.why,
        "dimensions": _dimensions(row.lines, "value", "other_value"),
    }


def _dimensions(lines: Iterable[Line], left: str, right: str) -> list[dict[str, object]]:
    """Return how two values stand to each other in each dimension; the two are called by these names."""
    return [
        {**picked(line, "dimension", "relation"), left: line.left, right: line.right, "text": line.text}
        for line in lines
    ]


def _write_csv(a: Scheme, b: Scheme, rows: Sequence[CrosswalkRow]) -> None:
    write = csv.writer(sys.stdout, lineterminator="\n").writerow
    heads = ("scheme", "value", "title", "other scheme", "other value", "other title")
    write([*heads, "relation", "written", "written back", "why"])
    for r in rows:
        cells = (a.name, r.left, a.values[r.left].title, b.name, r.right, b.values[r.right].title)
        told = (spelled(r.relation), _YES[r.is_written], _YES[r.is_written_back], r.why)
        write([safe(clean(cell)) if cell != "-" else cell for cell in (*cells, *told)])


def _print_difference(difference: Difference) -> None:
    print_json(
        {
            "old": difference.old,
            "new": difference.new,
            "changes": plain(difference.changes),
            "values": [
                {
                    "value": v.value,
                    "change": v.change,
                    "meant_before": list(v.meant_before),
                    "changes": plain(v.changes),
                    "dimensions": _dimensions(v.lines, "old", "new"),
                }
                for v in difference.values
            ],
        }
    )


def _show_difference(difference: Difference) -> None:
    tell(clean(f"from {difference.old} to {difference.new}"))
    for change in difference.changes:
        tell(clean(change.text))
    if not difference.values:
        tell("Their values say the same.")
        return
    table(("value", "is", "how"), [(v.value, spelled(v.change), v.how) for v in difference.values])


def _is_file(name: str) -> bool:
    return name.endswith(".toml")


def _schemes(session: Session, *names: str) -> list[Scheme]:
    """Return the schemes of these names, of files and of the hub, which is asked only where it has to be."""
    from hashhub import schemes as tables

    read = {name: tables.parse(_read(name).encode(), name) for name in names if _is_file(name)}
    if len(read) < len(set(names)):
        with session.connect() as hub:
            read |= {name: _of_hub(hub, name) for name in names if name not in read}
    return [read[name] for name in names]


def _of_hub(hub: Client, name: str) -> Scheme:
    from hashhub import schemes as tables

    told = hub.get_scheme(name)
    try:
        return tables.parse(told.text.encode(), told.id, as_draft=told.status is SchemeStatus.DRAFT)
    except InvalidArgument as e:
        raise HashHubError(f"the hub's text of {told.id} cannot be read here ({e.message}); is the hub newer?") from e


def _read(file: str) -> str:
    try:
        with Path(file).open("rb") as stream:
            raw = stream.read(_LONGEST + 1)
        if len(raw) > _LONGEST:
            raise InvalidArgument.field(file, f"has more than {_LONGEST} bytes, and no scheme has", "TOO_LONG")
        return raw.decode()
    except UnicodeDecodeError as e:
        raise InvalidArgument.field(file, "is not UTF-8; save it as UTF-8", "NOT_UTF8") from e
    except OSError as e:
        raise InvalidArgument.field(file, f"cannot be read: {e.strerror or type(e).__name__}", "UNREADABLE") from e


def _status(s: SchemeTable) -> str:
    return spelled(s.status) + (", retired" if s.retire_time else "")


def _show_scheme(session: Session, s: SchemeTable, *, is_put: bool = True) -> None:
    if session.print_if_json(s):
        return
    tell(clean(f"{s.id}: {s.title}" + (f" ({s.region})" if s.region else "") + f", {_status(s)}"))
    tell(clean(f"source: {s.source}"))
    if s.stored and is_put:
        tell(clean(f"put into the hub{f' by {s.actor}' if s.actor else ''}{_at(s.create_time)}"))
        for sign_off in s.sign_offs:
            who = sign_off.actor or sign_off.contributor or "an operator"
            tell(
                clean(
                    f"signed off by {who}{_at(sign_off.time)}" + (f": {sign_off.comment}" if sign_off.comment else "")
                )
            )
        if s.retire_time:
            tell(f"retired{_at(s.retire_time)}: no new hash set takes it")
    table(
        ("value", "means", "implies"),
        [
            (v.value, v.title, "; ".join(f"{d} = {' or '.join(values)}" for d, values in v.dimensions.items()) or "-")
            for v in s.values
        ],
    )


def _at(time: datetime | None) -> str:
    return f" at {plain(time)}" if time else ""
