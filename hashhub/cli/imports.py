"""`hashhub import` and `hashhub findings`: handing a list over, and what became of every item."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import click
import msgspec

from hashhub.cli.selecting import import_called
from hashhub.cli.session import REFUSED, Session, choice, chosen, command, spelled
from hashhub.cli.terminal import note, plain, print_json, progress, say, table, tell
from hashhub.errors import (
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    LimitExceeded,
    MalformedSource,
    NotFound,
    Unavailable,
)
from hashhub.model import Disposition, Finding

if TYPE_CHECKING:
    from hashhub.client import ImportReport, Progress

_HEADER_BYTES: Final = 64 * 1024  # of a file: enough for any header line, and what a mapping is proposed from
_WORDS: Final = {"CHECKSUM": "checksum", "SENDING": "importing", "COMMITTING": "committing"}


@command(None, "import")
@click.argument("file", metavar="FILE")
@click.option("--format", "format_", required=True, metavar="NAME", help="Connector; see `hashhub connectors list`.")
@click.option("--hash-set", metavar="CONTRIBUTOR/SET", help="Where it goes.")
@click.option("--validate-only", is_flag=True, help="Say what would become of every item, and keep nothing.")
@click.option("--replace", is_flag=True, help="FILE is the full list: withdraw the entries that it lacks.")
@click.option("--allow-shrinking", is_flag=True, help="With --replace: go on although the list became much shorter.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Setting of the connector; repeatable.")
@click.option("--mapping", metavar="FILE.toml", help="Column mapping for --format csv.")
@click.option(
    "--propose-mapping", is_flag=True, help="Only print a mapping proposed from FILE's header, to be checked."
)
@click.option("--keep-on-failure", is_flag=True, help="Do not cancel the import when FILE turns out to be damaged.")
def import_file(
    session: Session,
    *,
    file: str,
    format_: str,
    hash_set: str | None,
    validate_only: bool,
    replace: bool,
    allow_shrinking: bool,
    options: tuple[str, ...],
    mapping: str | None,
    propose_mapping: bool,
    keep_on_failure: bool,
) -> None:
    """Contribute a hash list.

    FILE may be in any format that a connector reads; - is standard input. Nothing is visible before the whole list is.
    A run that was cut off goes on where it stopped when the same command is given again. Exit code 1 when the list, or
    every item in it, was refused.
    """
    if propose_mapping:
        _propose(session, format_, file)
        return
    if hash_set is None:
        raise click.UsageError("--hash-set CONTRIBUTOR/SET is missing: it says where the list goes")
    settings = _settings(options, mapping)
    with session.connect() as hub, _opened(file) as source, progress(unit_bytes=True) as bar:

        def show(p: Progress) -> None:
            bar(p.done, p.total, _WORDS[p.phase] + (f" {p.items:,} items" if p.items else ""))

        try:
            report = hub.import_source(
                source,
                connector=format_,
                hash_set=hash_set,
                options=settings,
                replace=replace,
                validate_only=validate_only,
                allow_shrinking=allow_shrinking,
                keep_on_failure=keep_on_failure,
                progress=show,
            )
        except MalformedSource as e:
            outcome = "the import is still open" if keep_on_failure else "the import was cancelled"
            name = "standard input" if file == "-" else Path(file).name
            e.add_note(f"nothing of {name} is visible; {outcome}")
            raise
        except (Unavailable, FailedPrecondition, LimitExceeded, Conflict) as e:
            e.add_note(
                "what was sent is kept, and all of the list becomes visible or nothing; give the same command again to "
                "go on from there"
            )
            raise
        except KeyboardInterrupt:
            note(
                "stopped; all of the list becomes visible or nothing. Give the same command again to go on where it "
                "stopped."
            )
            raise
    show_report(session, report)
    if report.is_refused:
        raise click.exceptions.Exit(REFUSED)


@command(None, "findings")
@click.argument("name", metavar="CONTRIBUTOR/SET[/IMPORT]")
@click.option("--disposition", "dispositions", multiple=True, type=choice(Disposition), help="Only these; repeatable.")
@click.option("--summary", is_flag=True, help="Counts by reason instead of single findings.")
def findings(session: Session, *, name: str, dispositions: tuple[str, ...], summary: bool) -> None:
    """List what became of the items of an import.

    Items that were simply accepted are left out. CONTRIBUTOR/SET lists that hash set's imports instead, newest first.
    Of an import's id the first characters suffice, and CONTRIBUTOR/SET/latest is the newest.
    """
    with session.connect() as hub:
        name = import_called(hub, name)
        if name.count("/") == 1:
            imports = list(hub.list_imports(name))
            if session.json:
                for i in imports:
                    print_json(plain(i))
                return
            table(
                ("import", "state", "connector", "items", "accepted", "quarantined", "rejected", "revision"),
                [
                    (
                        f"{i.contributor}/{i.hash_set}/{i.id}",
                        spelled(i.state),
                        f"{i.connector} {i.connector_version}",
                        f"{i.counts.items:,}",
                        f"{i.counts.accepted:,}",
                        f"{i.counts.quarantined:,}",
                        f"{i.counts.rejected:,}",
                        i.revision or "-",
                    )
                    for i in imports
                ],
            )
            return
        if summary:
            show_report(session, hub.report(name))
            return
        lines = hub.list_findings(name, [chosen(Disposition, d) for d in dispositions])
        if session.json:
            for f in lines:
                print_json(_finding(name, f))
            return
        table(
            ("position", "disposition", "reason", "detail", "entry"),
            [(f.position, spelled(f.disposition), f.reason, f.detail, _entry(name, f) or "-") for f in lines],
        )


def _entry(name: str, finding: Finding) -> str:
    """Return the name of the entry that a finding of the import `name` is about, empty without one."""
    return f"{name.rpartition('/')[0]}/{finding.entry_id}" if finding.entry_id else ""


def _finding(name: str, finding: Finding) -> dict[str, object]:
    """Return a finding as JSON tells it: with the import's name, and the entry by name."""
    fields = msgspec.structs.asdict(finding)
    del fields["entry_id"]
    return {"import": name, **fields, "entry": _entry(name, finding)}


def show_report(session: Session, report: ImportReport) -> None:
    """Print what became of every item of a source: the counts, then the reasons with where they occur first."""
    source = report.source
    name = f"{source.contributor}/{source.hash_set}/{source.id}"
    if session.json:
        print_json(
            {
                "name": name,
                "import": name,
                "state": source.state,
                "validate_only": report.validate_only,
                "repeated": report.repeated,
                "resumed_batches": report.resumed_batches,
                "revision": source.revision,
                "counts": plain(source.counts),
                "unclassified": report.unclassified,
                "findings": plain(report.groups),
                "findings_complete": report.groups_complete,
            }
        )
        return
    c = source.counts
    if report.repeated:
        tell(f"{name}: this very list was imported before, at revision {source.revision}; nothing was done")
    elif report.validate_only:
        tell(f"{name}: checked only, nothing was kept")
    else:
        tell(f"{name}: {spelled(source.state)}" + (f" at revision {source.revision}" if source.revision else ""))
    if report.resumed_batches:
        tell(f"resumed: {report.resumed_batches} batches were there from an earlier run")
    rows = [
        ("items", c.items, ""),
        ("accepted", c.accepted, "match from now on"),
        ("quarantined", c.quarantined, "kept, but do not match until an operator releases them"),
        ("rejected", c.rejected, "refused, see below"),
        ("duplicate", c.duplicate, "stand elsewhere in this list and were merged"),
        ("unchanged", c.unchanged, "were there already"),
        ("stays withdrawn", c.stays_withdrawn, "were withdrawn by hand; hashhub entry restore brings them back"),
        ("withdrawn", c.withdrawn, "the list asked for their withdrawal"),
        ("superseded", c.superseded, "earlier entries that newer statements replaced"),
        ("absent", c.absent, "earlier entries that the full list no longer has, withdrawn"),
    ]
    always = {"items", "accepted", "quarantined", "rejected"}
    table(("outcome", "count", "meaning"), [(n, f"{k:,}", m) for n, k, m in rows if k or n in always])
    if report.groups:
        table(
            ("outcome", "reason", "count", "first at", "for example"),
            [
                (spelled(g.disposition), g.reason, f"{g.count:,}", ", ".join(g.positions), g.detail)
                for g in report.groups
            ],
        )
    if report.unclassified:
        tell(
            f"Unclassified: {report.unclassified:,}. Such an item says nothing of what it is, although its format can "
            "or the scheme demands it. Correct the list and import it again; or an operator releases single ones "
            "(hashhub entry release), which then match as undecided; or import it into a hash set that the operator "
            "made with --unclassified listed, where all of them do."
        )
    if not report.groups_complete:
        tell("There are more findings than are counted here; `hashhub findings` lists all of them.")


def _settings(options: tuple[str, ...], mapping: str | None) -> dict[str, str]:
    settings: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--option must be NAME=VALUE, got {option[:60]!r}")
        settings[name] = value
    if mapping is not None:
        try:
            settings["mapping"] = Path(mapping).read_text("utf-8")
        except (OSError, ValueError) as e:
            cause = e.strerror if isinstance(e, OSError) and e.strerror else "it is not UTF-8 text"
            raise InvalidArgument.field("mapping", f"cannot read {mapping!r}: {cause}") from e
    return settings


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """Open FILE. Standard input and pipes are copied to a temporary file, because a source is read twice."""
    try:
        # `-` is standard input, which stays open. Closed below; only the opening is tried.
        source = cast("BinaryIO", click.open_file(file, "rb"))
    except OSError as e:
        raise NotFound(
            f"cannot read {file!r}: {e.strerror or type(e).__name__}; check the path and its permissions"
        ) from e
    with source:
        if source.seekable():
            yield source
            return
        import shutil
        import tempfile

        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            yield copy


def _propose(session: Session, format_: str, file: str) -> None:
    if format_ != "csv":
        raise click.UsageError("--propose-mapping goes with --format csv: other formats need no mapping")
    from hashhub_connectors.csv_mapping import propose

    with _opened(file) as source:
        text = propose(source.read(_HEADER_BYTES))
    if session.json:
        print_json({"mapping": text})
        return
    say(text.rstrip("\n"))


COMMANDS: Final = (import_file, findings)
