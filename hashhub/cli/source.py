"""`hashhub source …`: partners' endpoints that hash sets are kept equal to."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from hashhub.cli import main
from hashhub.cli.session import REFUSED, CommandGroup, Session, command, directory_option
from hashhub.cli.terminal import clean, minute, note, say, table
from hashhub.errors import InvalidArgument
from hashhub.model import now
from hashhub.signals import stopping_on_signals

if TYPE_CHECKING:
    from hashhub.sources.state import Progress

_PROTOCOLS: Final = ("stopncii", "ncmec", "threatexchange", "taxii", "misp")
_DIRECTORY: Final = directory_option("sources", "Where sources' settings and states are")


@main.group("source", cls=CommandGroup)
def source() -> None:
    """Sources: partners' endpoints that hash sets are kept equal to."""


def _fetched(_context: click.Context, _argument: click.Parameter, protocol: str) -> str:
    if protocol == "hashhub":
        raise click.UsageError(
            "another hub is no source but a peer, so that its terms come with what it states: ask its operator for a "
            "line (`hashhub peer invite`), and give it to `hashhub peer join`; a hub that states nothing only takes"
        )
    return protocol


@command(source, "add", local=True)
@click.argument("protocol", type=click.Choice((*_PROTOCOLS, "hashhub")), is_eager=True, callback=_fetched)
@click.argument("name")
@_DIRECTORY
@click.option("--url", required=True, help="Where the partner answers; the page sources.md says it of each protocol.")
@click.option("--hash-set", required=True, metavar="CONTRIBUTOR/SET", help="What is kept equal; this source's alone.")
@click.option(
    "--credential",
    "credentials",
    multiple=True,
    metavar="NAME=file:PATH|env:NAME",
    help="Where a secret of the protocol stands; repeatable.",
)
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Setting of the connector; repeatable.")
@click.option("--interval-seconds", type=float, metavar="N", help="Between two fetches.  [default: 3600]")
@click.option("--full-days", type=float, metavar="N", help="How old the last full list may become.")
@click.option("--proxy", metavar="URL|file:PATH|env:NAME", help="A proxy to go through.")
@click.option(
    "--partner-ca-file", "ca_file", metavar="FILE", help="PEM file with authorities to trust for the partner."
)
def add(
    session: Session,
    *,
    directory: Path,
    name: str,
    credentials: tuple[str, ...],
    options: tuple[str, ...],
    **fields: Any,
) -> None:
    """Write the settings of a new source, as DIR/NAME.toml; further ones can be added there.

    Nothing is fetched yet, and no secret is read.
    """
    from hashhub.conversion import converted
    from hashhub.sources.fetch import protocol_of
    from hashhub.sources.schedule import write_reports
    from hashhub.sources.settings import SourceSettings, path_of, save

    values = {key: value for key, value in fields.items() if value is not None}
    values |= {"credentials": _pairs(credentials, "credential"), "options": _pairs(options, "option")}
    settings = converted(values, SourceSettings, called=lambda field: field, hint="see docs/contribute/sources.md")
    protocol_of(settings)
    save(directory, name, settings)
    write_reports(directory)
    path = str(path_of(directory, name))
    session.answer({"name": name, "file": path}, f"added {clean(name)}: {clean(path)}")


def _pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidArgument.field(option, f"must be NAME=VALUE, got {name[:40]!r}", "PATTERN")
        pairs[name] = value
    return pairs


@command(source, "list", local=True)
@_DIRECTORY
def list_sources(session: Session, *, directory: Path) -> None:
    """List the sources: whether they work, when they last did, and how far behind they are."""
    from hashhub.sources.settings import names

    rows = [(name, _settings(directory, name), _progress(directory, name)) for name in names(directory)]
    columns = ("source", "protocol", "hash set", "status", "last success", "behind")
    session.show(
        rows,
        columns,
        lambda row: (row[0], row[1].get("protocol", "-"), row[1].get("hash_set", "-"), row[2].status, *_age(row[2])),
        empty="no source; hashhub source add makes one",
        as_json=lambda row: _as_json(*row),
    )
    for name, settings, progress in rows:
        if detail := settings.get("error") or ("" if session.json else progress.detail):
            note(f"{clean(name)}: {clean(detail)}")


@command(source, "show", local=True)
@click.argument("name")
@_DIRECTORY
def show(session: Session, *, directory: Path, name: str) -> None:
    """Show a source: its settings, without secrets, and how far it is."""
    _show(session, directory, name)


@command(source, "fetch")
@click.argument("name")
@_DIRECTORY
@click.option("--full", is_flag=True, help="Begin again with the partner's full list, whatever was fetched before.")
@click.option("--apply", "applies", is_flag=True, help="Apply what is held, as it was fetched.")
def fetch_once(session: Session, *, directory: Path, name: str, full: bool, applies: bool) -> None:
    """Fetch a source once, now.

    Exit code 1 where what was fetched is held: it would drop much of the hash set, or comes after an unusual silence.
    """
    from hashhub.model import SourceStatus
    from hashhub.sources.fetch import apply, fetch
    from hashhub.sources.schedule import write_reports
    from hashhub.sources.settings import load

    if full and applies:
        raise click.UsageError("--apply takes what is held; --full fetches anew: give one of them")
    load(directory, name)
    stop = threading.Event()
    with session.connect() as hub, stopping_on_signals(stop.set):
        try:
            if applies:
                progress = apply(directory, name, hub)
            else:
                progress = fetch(directory, name, hub, full=full, is_cancelled=stop.is_set)
        finally:
            write_reports(directory)
    _show(session, directory, name)
    if progress.status is SourceStatus.HELD:
        raise click.exceptions.Exit(REFUSED)


@command(source, "run")
@_DIRECTORY
def run_all(session: Session, *, directory: Path) -> None:
    """Fetch all sources, each when it is due, until interrupted.

    One process does so for a directory; a second one says so and ends. What is held waits for
    `hashhub source fetch NAME --apply`. DIR/sources.prom has metrics.
    """
    from hashhub.sources.schedule import run

    def tell(name: str, progress: Progress) -> None:
        line = f"{minute(now())} {clean(name)}: {progress.status} {clean(progress.detail)}"
        session.answer(_as_json(name, _settings(directory, name), progress), line.rstrip())

    stop = threading.Event()
    with session.connect() as hub, stopping_on_signals(stop.set):
        next(iter(hub.list_hash_sets()), None)  # a wrong address or token ends it now, and not each fetch
        run(directory, hub, stop, tell)


@command(source, "remove", local=True)
@click.argument("name")
@_DIRECTORY
def remove(session: Session, *, directory: Path, name: str) -> None:
    """Remove a source: its settings, and how far it was. What was fetched stays in the hash set."""
    from hashhub.edge_state import FILES
    from hashhub.sources.fetch import opened
    from hashhub.sources.schedule import write_reports
    from hashhub.sources.settings import load, path_of

    load(directory, name)
    with opened(directory, name) as state, state.locked():
        path_of(directory, name).unlink()
        for suffix in FILES:
            path_of(directory, name, suffix).unlink(missing_ok=True)
    write_reports(directory)
    session.show_deleted(name)


def _settings(directory: Path, name: str) -> dict[str, Any]:
    """Return a source's settings, or the error that they have: it must not hide the other sources."""
    from hashhub.sources.settings import load

    try:
        return msgspec.structs.asdict(load(directory, name))
    except InvalidArgument as e:
        return {"error": e.message}


def _progress(directory: Path, name: str) -> Progress:
    from hashhub.sources.fetch import opened

    with opened(directory, name) as state:
        return state.progress()


def _age(progress: Progress) -> tuple[str, str]:
    at = progress.success_time
    if at is None:
        return "never", "-"
    minutes = int((now() - at).total_seconds() // 60)
    return minute(at), f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


def _as_json(name: str, settings: dict[str, Any], progress: Progress) -> dict[str, object]:
    fields = msgspec.structs.asdict(progress)
    fetch = fields.pop("fetch")
    del fields["cursor"], fields["settings"], fields["pauses"]
    under_way = None if fetch is None else {"pages": fetch.pages, "bytes": fetch.size, "complete": fetch.is_complete}
    return {"name": name, "settings": settings, **fields, "fetching": under_way}


def _show(session: Session, directory: Path, name: str) -> None:
    from hashhub.sources.settings import load

    settings, progress = msgspec.structs.asdict(load(directory, name)), _progress(directory, name)
    if session.print_if_json(_as_json(name, settings, progress)):
        return
    say(f"{clean(name)}: {progress.status}")
    if progress.detail:
        say(clean(progress.detail))
    rows: list[tuple[str, object]] = [
        (key, value) for key, value in settings.items() if value and isinstance(value, str)
    ]
    rows += [("last success", minute(progress.success_time)), ("last change", minute(progress.news_time))]
    rows += [("next fetch", minute(progress.next_time)), ("failures in a row", progress.failures_in_a_row)]
    rows += [("last import", progress.last_import)] if progress.last_import else []
    table(("", ""), rows)
    if counts := progress.would or progress.last:
        say("it would become of its items:" if progress.would else "what became of its items:")
        table(
            ("outcome", "items"),
            [(key, number) for key, number in msgspec.structs.asdict(counts).items() if number or key == "items"],
        )
