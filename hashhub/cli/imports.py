"""`hashhub import` and `hashhub findings`: handing a list over, and what became of every item."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn, cast

import click
import msgspec

from hashhub.cli import main
from hashhub.cli.selection import import_called
from hashhub.cli.session import REFUSED, Session, choice, command, dry_run, spelled, terms_of
from hashhub.cli.signing_keys import SIGN_WITH, signed
from hashhub.cli.terminal import clean, note, print_json, progress, say, table, tell
from hashhub.errors import (
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    MalformedSource,
    NotFound,
    Reason,
    Unavailable,
)
from hashhub.hygiene import Code
from hashhub.local_files import named_file, whole_file
from hashhub.model import Disposition, Finding, Import, ImportState

if TYPE_CHECKING:
    from hashhub.client import Client, ImportProgress, ImportReport
    from hashhub_connectors.mapping import TableLayout

_TABLES: Final = ("csv", "icse-csv")  # formats whose items are rows, beside which their outcome can stand
_ICSE_DELIMITER: Final = ";"
_WORDS: Final = {"CHECKSUM": "checksum", "SENDING": "importing", "COMMITTING": "committing"}
_ALWAYS_TOLD: Final = {"items", "accepted", "quarantined", "rejected"}
# What became of items, as `Counts` calls it; what that means, and what it would mean of a list that was checked only.
_OUTCOMES: Final = (
    ("items", "", ""),
    ("accepted", "match from now on", "would match"),
    ("quarantined", "kept, but do not match until an operator releases them",
     "would be kept, but not match until an operator releases them"),
    ("rejected", "refused, see below", "would be refused, see below"),
    ("duplicate", "stand elsewhere in this list and were merged", "stand elsewhere in this list"),
    ("unchanged", "were there already, or are reviews of entries", "are there already, or are reviews of entries"),
    ("stays_withdrawn", "were withdrawn by hand; hashhub entry restore brings them back",
     "were withdrawn by hand, and would stay so"),
    ("withdrawn", "the list asked for their withdrawal", "the list asks for their withdrawal"),
    ("superseded", "earlier entries that newer statements replaced",
     "earlier entries that newer statements would replace"),
    ("absent", "earlier entries that the full list no longer has, withdrawn",
     "earlier entries that the full list no longer has, to be withdrawn"),
)  # fmt: skip
# What became of items when the list was imported, which later lists may have changed.
_THEN: Final = {"accepted": "matched from then on, until newer lists replaced or withdrew them"}


@command(main, "import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--format",
    "format_",
    metavar="NAME",
    help="What FILE is; see `hashhub formats list`. Default: what it shows to be, if that is clear.",
)
@click.option("--hash-set", metavar="CONTRIBUTOR/SET", help="Where it goes.")
@dry_run("Say what would become of every item, and keep nothing.")
@click.option("--replace", is_flag=True, help="FILE is the full list: withdraw the entries that it lacks.")
@click.option("--allow-shrinking", is_flag=True, help="With --replace: go on although the list became much shorter.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Setting of the connector; repeatable.")
@click.option(
    "--mapping", metavar="FILE.toml", help="Column mapping for --format csv; docs/contribute/csv.md explains it."
)
@click.option(
    "--propose-mapping", is_flag=True, help="Only print a mapping proposed from FILE's first rows, to be checked."
)
@SIGN_WITH
@click.option("--signature", metavar="FILE.sig", help="What `hashhub sign` wrote about FILE, instead.")
@click.option("--keep-on-failure", is_flag=True, help="Do not cancel the import when FILE turns out to be damaged.")
def import_file(
    session: Session,
    *,
    files: tuple[str, ...],
    format_: str | None,
    hash_set: str | None,
    options: tuple[str, ...],
    mapping: str | None,
    propose_mapping: bool,
    sign_with: str | None,
    signature: str | None,
    **how: bool,
) -> None:
    """Contribute a hash list.

    FILE may be in any format that a connector reads, also in a gzip file or alone in a ZIP archive; - is standard
    input. `hashhub formats detect FILE` says what it is. Several FILEs are the parts of one release, all in one format,
    which become visible together. Nothing is visible before the whole list is. A run that was
    cut off goes on where it stopped when the same command is given again. Exit code 1 when the list, or
    every item in it, was refused.
    """
    from hashhub import connector as connectors
    from hashhub.client.contribution import manifest_of
    from hashhub.client.sources import Release

    if propose_mapping:
        if len(files) > 1:
            raise click.UsageError("--propose-mapping looks at one FILE")
        _propose(session, format_, files[0], settings_of(options, None).get("sheet", ""))
        return
    if hash_set is None:
        raise click.UsageError("--hash-set CONTRIBUTOR/SET is missing: it says where the list goes")
    if sign_with and signature:
        raise click.UsageError("--sign-with and --signature say twice who signs; give one")
    if files.count("-") > 1:
        raise click.UsageError("- is standard input, which can be one part only")
    settings = settings_of(options, mapping)
    if format_ is None and "mapping" in settings:
        format_ = "csv"  # nothing else has one
    if format_ == "csv" and "mapping" not in settings:
        _refuse_without_mapping(files[0], settings.get("sheet", ""))
    told = format_
    remark = ""
    is_open = False
    with session.connect() as hub, ExitStack() as stack, progress(unit_bytes=True) as bar:
        sources = [stack.enter_context(opened(file)) for file in files]

        def show(p: ImportProgress) -> None:
            nonlocal is_open
            is_open = is_open or p.phase != "CHECKSUM"
            bar(
                p.done,
                None if p.phase == "COMMITTING" else p.total,
                _WORDS[p.phase] + (f" {p.items:,} items" if p.items else ""),
            )

        try:
            if format_ is None:
                release = Release(sources)
                connector, recognised = release.recognise(None, settings)
                format_ = connector.name
                note(f"format: {format_} ({clean(release.why)})")
                if format_ == "csv":
                    _refuse_without_mapping(files[0], settings.get("sheet", ""))
                settings = dict(recognised)
            envelope = named_file("signature", signature) if signature else b""
            if sign_with:
                reader, full = connectors.get(format_), how["replace"]
                manifest, digest = manifest_of(
                    sources, connector=reader, hash_set=hash_set, options=settings, replace=full
                )
                envelope = signed(manifest.statement(Path(files[0]).name, digest), sign_with)
            report = hub.import_source(
                sources,
                signature=envelope,
                connector=format_,
                hash_set=hash_set,
                options=settings,
                progress=show,
                **how,
            )
            if report.is_refused and told is not None:
                remark = _looks_like_another(sources[0], told)
        except MalformedSource as e:
            if told is not None and (remark := _looks_like_another(sources[0], told)):
                e.add_note(remark)
            outcome = "the import is still open" if how["keep_on_failure"] else "the import was cancelled"
            name = (
                f"the {len(files)} parts"
                if len(files) > 1
                else "standard input"
                if files[0] == "-"
                else Path(files[0]).name
            )
            e.add_note(f"nothing of {name} is visible; {outcome}")
            raise
        except (Unavailable, FailedPrecondition, LimitExceeded, Conflict) as e:
            e.add_note(_what_is_kept(e, is_open=is_open))
            raise
        except KeyboardInterrupt:
            note(
                "stopped; all of the list becomes visible or nothing. Give the same command again to go on where it "
                "stopped."
            )
            raise
    show_report(session, report)
    if remark:
        note(f"note: {clean(remark)}")
    if report.is_refused:
        raise click.exceptions.Exit(REFUSED)


def _what_is_kept(error: HashHubError, *, is_open: bool) -> str:
    """Return what became of a list whose import did not come to its end."""
    if not is_open:
        return "nothing was sent this time"
    kept_so_far = "what was sent is kept, and all of the list becomes visible or nothing"
    if isinstance(error, FailedPrecondition) and error.reason is not Reason.IMPORT_CLOSED:
        return kept_so_far  # the same command would meet it again; not where another process did the same meanwhile
    return f"{kept_so_far}; give the same command again to go on from there"


@command(main, "findings")
@click.argument("name", metavar="CONTRIBUTOR/SET[/IMPORT]")
@click.option("--disposition", "dispositions", multiple=True, type=choice(Disposition), help="Only these; repeatable.")
@click.option("--summary", is_flag=True, help="Counts by reason instead of single findings.")
@click.option(
    "--csv",
    "table_file",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="As a table. FILE, the table that was imported, is written again with what became of each row beside it.",
)
@click.option("--out", metavar="FILE", help="With --csv: where the table goes, instead of to the output.")
@click.option("--mapping", metavar="FILE.toml", help="With --csv: the mapping that FILE was imported with.")
@click.option("--sheet", metavar="NAME", default="", help="With --csv: the workbook's sheet that was imported.")
def findings(
    session: Session,
    *,
    name: str,
    dispositions: tuple[Disposition, ...],
    summary: bool,
    table_file: str | None,
    out: str | None,
    mapping: str | None,
    sheet: str,
) -> None:
    """List what became of the items of an import.

    Items that were simply accepted are left out, but for those in a table (--csv FILE). CONTRIBUTOR/SET lists that hash
    set's imports instead, newest first; with --csv FILE it means the last import of that file. Of an import's id the
    first characters suffice, and CONTRIBUTOR/SET/latest is the newest, also one that was checked only
    (import --dry-run), which is then said.
    """
    if table_file is not None:
        if summary or session.json or dispositions:
            raise click.UsageError("--csv gives all findings: leave out --disposition, --summary and --json")
        if name.count("/") == 1 and not table_file:
            raise click.UsageError("--csv needs CONTRIBUTOR/SET/IMPORT, or the file that was imported")
        _write_table(session, name, table_file, out, mapping, sheet)
        return
    if out is not None or mapping is not None or sheet:
        raise click.UsageError("--out, --mapping and --sheet go with --csv")
    with session.connect() as hub:
        name = import_called(hub, name)
        if name.count("/") == 1:
            _show_imports(session, list(hub.list_imports(name)))
            return
        if summary:
            show_report(session, hub.report(name))
            return
        import_ = hub.get_import(name)
        _note_if_only_checked(import_)
        lines = hub.list_findings(name, dispositions)
        if session.json:
            line = None
            for line in lines:
                fields = msgspec.structs.asdict(line)
                del fields["entry_id"]
                print_json({"import": name, **fields, "entry": _entry(name, line)})
            is_empty = line is None
        else:
            rows = [(f.position, spelled(f.disposition), f.reason, f.detail, _entry(name, f) or "-") for f in lines]
            is_empty = not rows
            if rows:
                table(("position", "disposition", "reason", "detail", "entry"), rows)
        if is_empty:
            _tell_of_none(import_, is_filtered=bool(dispositions))


def _show_imports(session: Session, imports: list[Import]) -> None:
    session.show(
        imports,
        ("import", "state", "connector", "items", "accepted", "quarantined", "rejected", "revision"),
        lambda i: (
            f"{i.contributor}/{i.hash_set}/{i.id}",
            spelled(i.state),
            f"{i.connector} {i.connector_version}",
            f"{i.counts.items:,}",
            f"{i.counts.accepted:,}",
            f"{i.counts.quarantined:,}",
            f"{i.counts.rejected:,}",
            i.revision or "-",
        ),
    )


def _note_if_only_checked(import_: Import) -> None:
    """Say that what follows is what would have become of the items: `latest` may be a list that nobody kept."""
    if import_.is_only_checked:
        name = f"{import_.contributor}/{import_.hash_set}/{import_.id}"
        note(f"note: {name} was checked only: nothing of it was kept")


def _tell_of_none(import_: Import, *, is_filtered: bool) -> None:
    """Say why there is no finding: silence would read as if every item had been accepted."""
    if import_.state not in {ImportState.COMMITTED, ImportState.CANCELLED}:
        note(f"note: nothing is said of its items until it is committed; it is {spelled(import_.state)}")
    elif not import_.counts.items:
        note("note: no findings: the import has no items")
    elif is_filtered:
        note("note: no such findings")
    else:
        note("note: no findings: every item was accepted")


def _entry(name: str, finding: Finding) -> str:
    """Return the name of the entry that a finding of the import `name` is about, empty without one."""
    return f"{name.rpartition('/')[0]}/{finding.entry_id}" if finding.entry_id else ""


def show_report(session: Session, report: ImportReport) -> None:
    """Print what became of every item of a source: the counts, then the reasons with where they occur first."""
    source = report.source
    name = f"{source.contributor}/{source.hash_set}/{source.id}"
    if session.print_if_json(
        {
            "name": name,
            "import": name,
            "state": source.state,
            "validate_only": report.validate_only,
            "repeated": report.repeated,
            "resumed_batches": report.resumed_batches,
            "revision": source.revision,
            "counts": source.counts,
            "terms": source.terms,
            "signing_key": source.signing_key,
            "unclassified": report.unclassified,
            "findings": report.groups,
            "findings_complete": report.groups_complete,
        }
    ):
        return
    if report.repeated:
        tell(f"{name}: this very list was imported before, at revision {source.revision}; nothing was done")
    elif report.validate_only:
        tell(f"{name}: checked only, nothing was kept")
    else:
        tell(f"{name}: {spelled(source.state)}" + (f" at revision {source.revision}" if source.revision else ""))
    if report.resumed_batches:
        tell(f"resumed: {report.resumed_batches} batches were there from an earlier run")
    table(
        ("outcome", "count", "meaning"),
        [
            (
                outcome.replace("_", " "),
                f"{count:,}",
                would_mean if report.validate_only else _THEN.get(outcome, meaning) if report.repeated else meaning,
            )
            for outcome, meaning, would_mean in _OUTCOMES
            if (count := getattr(source.counts, outcome)) or outcome in _ALWAYS_TOLD
        ],
    )
    if report.groups:
        table(
            ("outcome", "reason", "count", "first at", "for example"),
            [
                (spelled(g.disposition), g.reason, f"{g.count:,}", ", ".join(g.positions), g.detail)
                for g in report.groups
            ],
        )
    for floor in source.terms:
        tell(clean(f"The list states terms of its items, a floor for the hash set's: {terms_of(floor)}"))
    if source.signing_key:
        tell(f"Signed by {clean(source.contributor)}/{clean(source.signing_key)}.")
    _tell_what_to_do(report)
    if not report.groups_complete:
        tell("There are more findings than are counted here; `hashhub findings` lists all of them.")


def _tell_what_to_do(report: ImportReport) -> None:
    """Say how items come out of quarantine that wait there for what the list does not say, or says in other words."""
    if report.unclassified:
        tell(
            f"Unclassified: {report.unclassified:,}. Such an item says nothing of what it is, although its format can "
            "or the scheme demands it. Correct the list and import it again; or an operator releases single ones "
            "(hashhub entry release), which then match as undecided; or import it into a hash set that the operator "
            "made with --unclassified listed, where all of them do."
        )
    quarantined = [g for g in report.groups if g.disposition is Disposition.QUARANTINED]
    if unknown := sum(g.count for g in quarantined if g.reason == Code.UNKNOWN_VALUE):
        tell(
            f"Unknown values: {unknown:,}. The hash set's scheme has no such classification, so that these items wait "
            "in quarantine and do not match. Say in the mapping under [values] what each means in that scheme "
            "(hashhub scheme show), and import again; or name a hash set of the scheme that they are of."
        )


def settings_of(options: tuple[str, ...], mapping: str | None) -> dict[str, str]:
    """Return what --option and --mapping say. Raises UsageError, InvalidArgument for a mapping that cannot be read."""
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
        if not settings["mapping"].strip():
            raise InvalidArgument.field(
                "mapping",
                f"{mapping!r} is empty; --propose-mapping prints what may stand in it",
                "REQUIRED",
            )
    return settings


def _looks_like_another(source: BinaryIO, told: str) -> str:
    """Return a sentence on the format that a refused file shows to be, where it is not the one that was told."""
    if not (shown := _shown_to_be(source, told)):
        return ""
    name, why = shown
    return f"it was read as {told}, and looks like {name} ({why}); leave --format out to read it as that"


def _shown_to_be(source: BinaryIO, told: str) -> tuple[str, str] | None:
    """Return the format that a file shows to be and why, where it is not the one that was told and fairly sure."""
    from hashhub import connector
    from hashhub.client import sources

    source.seek(0)
    guesses = connector.recognise(source.read(connector.HEAD_BYTES), sources.name_of(source))
    if not guesses or guesses[0][0] == told or guesses[0][1].certainty is connector.Certainty.POSSIBLE:
        return None
    name, guess = guesses[0]
    return name, guess.why


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
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


def _unpacked(source: BinaryIO) -> BinaryIO:
    """Return the one file in a gzip file or ZIP archive, else the source itself. Raises as `sources.unpack`."""
    from hashhub.client import sources

    inside = sources.unpack(source, sources.name_of(source))
    return source if inside is None else inside.stream


def _propose(session: Session, format_: str | None, file: str, sheet: str) -> None:
    if format_ not in {None, "csv"}:
        raise click.UsageError("--propose-mapping goes with --format csv: other formats need no mapping")
    from hashhub_connectors.proposal import propose_for

    with opened(file) as source:
        proposal = propose_for(_unpacked(source), sheet)
    if session.print_if_json({"mapping": proposal.text(), "notes": proposal.notes}):
        return
    say(proposal.text().rstrip("\n"))
    for remark in proposal.notes:
        note(f"note: {clean(remark)}")


def _refuse_without_mapping(file: str, sheet: str) -> NoReturn:
    """Raise InvalidArgument with a mapping that is proposed for the file: a table is never imported by a guess."""
    from hashhub_connectors.proposal import propose_for

    error = InvalidArgument.field(
        "mapping",
        "is missing, and a table is not imported by a guess about its columns; look at the proposal above, save what "
        "is right of it (--propose-mapping prints it alone), and give the file with --mapping",
        "REQUIRED",
    )
    with opened(file) as source:
        if shown := _shown_to_be(source, "csv"):
            name, why = shown
            raise InvalidArgument.field(
                "mapping",
                f"is missing, and the file looks like {name} ({why}): leave --format out to import it as that; "
                "--propose-mapping proposes one all the same",
                "REQUIRED",
            )
        source.seek(0)
        proposal = propose_for(_unpacked(source), sheet)
    note(proposal.text())
    for remark in proposal.notes:
        error.add_note(remark)
    raise error


def _write_table(session: Session, name: str, file: str, out: str | None, mapping: str | None, sheet: str) -> None:
    """Write the findings of an import as a table: beside the rows of `file`, if they are rows of a table."""
    from hashhub.cli import outcomes

    with ExitStack() as stack:
        hub = stack.enter_context(session.connect())
        name = import_called(hub, name)
        source = stack.enter_context(opened(file)) if file else None
        digest = outcomes.digest_of(source) if source is not None else ""
        import_ = hub.get_import(name) if name.count("/") > 1 else _last_import(hub, name, digest)
        if not _has_report(import_):
            raise InvalidArgument.field(
                "name", f"is an import that is {spelled(import_.state)}, without a report; commit it first", "INVALID"
            )
        if digest not in {"", import_.source_digest}:
            raise InvalidArgument.field(
                "csv",
                "is not the file of this import: its content differs; name the file as it was imported",
                "INVALID",
            )
        _note_if_only_checked(import_)
        name = f"{import_.contributor}/{import_.hash_set}/{import_.id}"
        if file and file != "-" and out is not None and Path(out).exists() and Path(out).samefile(file):
            raise InvalidArgument.field("out", "is the table itself; name another file", "INVALID")
        listed = stack.enter_context(closing(outcomes.Outcomes(hub.list_findings(name))))
        target, keep = stack.enter_context(whole_file(out, replace=True))
        if source is None or import_.connector not in _TABLES:
            outcomes.write_positions(listed, target)
            keep()
            return
        rows = _unpacked(source)
        layout = _layout(import_.connector, rows, mapping, sheet)
        outcomes.write_beside(listed, rows, target, layout, sheet=sheet, items=import_.counts.items)
        keep()


def _last_import(hub: Client, hash_set: str, digest: str) -> Import:
    """Return the last import of a file into a hash set. Raises NotFound where it was never imported there."""
    for import_ in hub.list_imports(hash_set):
        if import_.source_digest == digest and _has_report(import_):
            return import_
    raise NotFound(f"the file was never imported into {hash_set} as it is now; name it as it was imported")


def _has_report(import_: Import) -> bool:
    return import_.state in {ImportState.COMMITTED, ImportState.CANCELLED} and import_.counts.items > 0


def _layout(connector: str, source: BinaryIO, mapping: str | None, sheet: str) -> TableLayout:
    """Return how a table is written: as the mapping says, or as it looks."""
    from hashhub_connectors.mapping import TableLayout, read_mapping
    from hashhub_connectors.proposal import propose_for

    if mapping is not None:
        return read_mapping(settings_of((), mapping)["mapping"]).layout
    if connector == "icse-csv":
        return TableLayout(delimiter=_ICSE_DELIMITER, encoding="utf-8")
    layout = propose_for(source, sheet).layout
    source.seek(0)
    return layout
