"""`hashhub init`: a new hub, from questions on a terminal or from a file with the answers."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

import click
from msgspec.structs import replace

from hashhub.addresses import bind, is_loopback_host, parse_address
from hashhub.cli import main
from hashhub.cli.session import Session, command, private_files, spelled
from hashhub.cli.terminal import clean, coloured, note, table
from hashhub.errors import HashHubError, InvalidArgument, Violation, missing_extra
from hashhub.local_files import named_file
from hashhub.model import Contributor, ContributorKind, HashSet, Reliability

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.:-]{0,251}[a-z0-9])?", re.IGNORECASE | re.ASCII)
_ANYBODY: Final = Contributor(id="x", display_name="x", kind=ContributorKind.NGO, jurisdiction="ZZ")


@command(main, "init", local=True)
@click.argument("file", required=False)
@click.option("--dir", "directory", default="hashhub-hub", show_default=True, metavar="DIR", help="A new directory.")
def init(session: Session, *, file: str | None, directory: str) -> None:
    """Make a new hub, ready to be started.

    Asks on a terminal, or takes FILE with the answers (docs/operate/national-hub.md). DIR then has settings, a systemd
    unit, a compose file, certificates, the first tokens and a checklist; database, contributor and hash set are made.
    Nothing that exists is replaced, no partner is called, and where something goes wrong, nothing is left.
    """
    try:
        from hashhub.cli import installation
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server", what="a hub") from e
    place = Path(directory).absolute()
    installation.check_directory(place)
    if not file and not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here; name a FILE with the answers")
    answers = _read(file) if file else _ask()
    with private_files():
        made = installation.install(answers, place)
    session.answer({"name": answers["name"], **made}, f"made {clean(answers['name'])}; go on with {made['checklist']}")


@cache
def _questions() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_name("hub_files").joinpath("questions.toml").read_text("utf-8"))


def _read(file: str) -> dict[str, str]:
    """Return the answers of a file. Raises InvalidArgument with everything that is wrong in it."""
    try:
        given: dict[str, Any] = tomllib.loads(named_file("file", file).decode("utf-8-sig"))
    except ValueError as e:
        raise InvalidArgument.field("file", f"{file!r} cannot be read as TOML: {e}") from e
    known = ", ".join(_questions())
    wrong = [Violation(name[:40], f"is unknown; known are {known}") for name in given if name not in _questions()]
    answers: dict[str, str] = {}
    for field, question in _questions().items():
        default = question.get("default", "")
        if field not in given and default.startswith("=") and default[1:] not in answers:
            continue  # what is wrong with that one is told
        value = given.get(field, _default(field, answers))
        if not isinstance(value, str):
            wrong.append(Violation(field, f"must be a text in quotes: {question['text']}"))
        elif faults := _faults(field, value, answers):
            wrong += [Violation(field, fault) for fault in faults]
        else:
            answers[field] = value
    if wrong:
        text = "; ".join(f"{v.field} {v.description}" for v in wrong)
        raise InvalidArgument(f"{file}: {text}", violations=tuple(wrong))
    return answers


def _ask() -> dict[str, str]:
    """Return what a person answers. It is asked on stderr: stdout is for the result."""
    from hashhub.schemes import load as load_schemes

    answers: dict[str, str] = {}
    fields = left = list(_questions())
    while left:
        field, *left = left
        question = _questions()[field]
        if field == "scheme":
            columns = ("scheme", "region", "status", "title")
            table(columns, [(s.name, s.region, s.status.lower(), s.title) for s in load_schemes().list()], err=True)
        value, default = "", answers.get(field, _default(field, answers))
        if _is_asked(field, answers):
            value = click.prompt(question["text"], default, err=True, show_default=bool(default)).strip()
        if faults := _faults(field, value, answers):
            note(coloured(f"{field} {'; '.join(faults)}", "yellow"))
            left = fields[fields.index(question.get("back", field)) :]
        else:
            answers[field] = value
    return answers


def _is_asked(field: str, answers: dict[str, str]) -> bool:
    other = _questions()[field].get("only_with")
    return not other or bool(answers.get(other))


def _default(field: str, answers: dict[str, Any]) -> Any:
    default = _questions()[field].get("default")
    return answers.get(default[1:]) if default and default.startswith("=") else default


def _faults(field: str, value: str, answers: dict[str, str]) -> list[str]:
    """Return why a value is no answer, beside the answers before it."""
    try:
        if not value.isprintable():
            raise InvalidArgument.field(field, "must be one line of text")
        if _is_asked(field, answers):
            _check(field, value, answers)
        elif value:
            raise InvalidArgument.field(field, f"says nothing without {_questions()[field]['only_with']}")
    except HashHubError as e:
        return [v.description for v in getattr(e, "violations", ())] or [e.message]
    return []


def _check(field: str, value: str, answers: dict[str, str]) -> None:
    from hashhub.cli import installation
    from hashhub.hub.resources import GB_NOT_UK
    from hashhub.schemes import load as load_schemes
    from hashhub.sources.settings import PROTOCOLS

    match field:
        case "name" | "contributor_name":
            replace(_ANYBODY, display_name=value)
        case "country" | "contributor_country" if value == "UK":
            raise InvalidArgument.field(field, GB_NOT_UK)
        case "country" | "contributor_country":
            replace(_ANYBODY, jurisdiction=value)
        case "http" if not is_loopback_host(parse_address(field, value)[0]):
            raise InvalidArgument.field(field, "must be on this machine: it speaks no TLS; a proxy in front of it can")
        case "listen" | "http":
            port = parse_address(field, value)[1]
            if port == 0 or answers.get("listen", "").endswith(f":{port}"):
                raise InvalidArgument.field(field, "must name a port of its own, which others are told")
            bind(field, value).close()
        case "tls_certificate" if value:
            named_file(field, value)
        case "tls_key":
            installation.check_certificate(answers["tls_certificate"], value)
        case "host" if not _HOST.fullmatch(value):
            raise InvalidArgument.field(field, f"must be a DNS name or an IP address, got {value[:80]!r}")
        case "host" if answers.get("tls_key"):
            installation.check_certificate(answers["tls_certificate"], answers["tls_key"], value)
        case "database" if value and not value.startswith("postgres"):
            raise InvalidArgument.field(field, "must be postgresql+psycopg://USER@HOST/NAME, or empty for SQLite")
        case "database_password_file":
            installation.check_database(answers["database"], value)
        case "contributor":
            replace(_ANYBODY, id=value)
        case "contributor_kind":
            _check_choices([value], map(spelled, ContributorKind))
        case "reliability":
            _check_choices([value], map(spelled, Reliability))
        case "hash_set":
            HashSet(contributor="x", id=value)
        case "scheme" if value != "none":
            load_schemes().get(value)
        case "sources":
            _check_choices(installation.listed(value), PROTOCOLS)
        case "readers":
            for name in installation.listed(value):
                replace(_ANYBODY, id=name)


def _check_choices(values: list[str], choices: Iterable[str]) -> None:
    known = list(choices)
    for value in values:
        if value not in known:
            raise InvalidArgument.field("", f"must be one of {', '.join(known)}; got {value[:40]!r}")
