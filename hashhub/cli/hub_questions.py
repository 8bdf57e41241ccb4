"""What a new hub's operator is asked (`hub_files/questions.toml`), and why an answer cannot be taken."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from hashhub.addresses import bind, parse_address
from hashhub.cli.installation import check_certificate, check_database, listed
from hashhub.cli.session import spelled
from hashhub.config import Config
from hashhub.errors import HashHubError, InvalidArgument, Violation
from hashhub.hub.resources import GB_NOT_UK
from hashhub.local_files import named_file
from hashhub.model import Contributor, ContributorKind, HashSet, Reliability
from hashhub.schemes import load as load_schemes
from hashhub.server.exposure import check_exposure
from hashhub.sources.settings import PROTOCOLS

Answers = dict[str, str]
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.:-]{0,251}[a-z0-9])?", re.IGNORECASE | re.ASCII)
_ANYBODY: Final = Contributor(id="x", display_name="x", kind=ContributorKind.NGO, jurisdiction="ZZ")


class HubQuestion(msgspec.Struct, frozen=True):
    """A question; the file says what its fields are for."""

    text: str
    default: str | None = None
    back: str = ""
    only_with: str = ""


QUESTIONS: Final = msgspec.convert(
    tomllib.loads(Path(__file__).with_name("hub_files").joinpath("questions.toml").read_text("utf-8")),
    dict[str, HubQuestion],
)


def default_for(field: str, answers: Answers) -> str | None:
    """Return the answer that is proposed, None if there is none."""
    default = QUESTIONS[field].default
    return answers.get(default[1:]) if default and default.startswith("=") else default


def faults(field: str, value: str, answers: Answers) -> list[Violation]:
    """Return why a value is no answer, beside the answers before it."""
    try:
        if not value.isprintable():
            raise InvalidArgument.field(field, "must be one line of text", "PATTERN")
        if not (other := QUESTIONS[field].only_with) or answers.get(other):
            _check(field, value, answers)
        elif value:
            raise InvalidArgument.field(field, f"says nothing without {other}", "REQUIRED")
    except HashHubError as e:
        about = getattr(e, "violations", ()) or [Violation("", e.message, str(e.reason))]
        return [Violation(field, v.description, v.reason) for v in about]
    return []


def _check(field: str, value: str, answers: Answers) -> None:
    match field:
        case "name" | "contributor_name":
            replace(_ANYBODY, display_name=value)
        case "country" | "contributor_country":
            if value == "UK":
                raise InvalidArgument.field(field, GB_NOT_UK, "PATTERN")
            replace(_ANYBODY, jurisdiction=value)
        case "listen":
            _check_address(field, value, "")
        case "http":
            check_exposure(Config(http=value))
            _check_address(field, value, answers.get("listen", ""))
        case "tls_certificate" if value:
            named_file(field, value)
        case "tls_key":
            check_certificate(answers["tls_certificate"], value)
        case "host":
            if not _HOST.fullmatch(value):
                raise InvalidArgument.field(field, f"must be a DNS name or IP address, got {value[:80]!r}", "PATTERN")
            if answers.get("tls_key"):
                check_certificate(answers["tls_certificate"], answers["tls_key"], value)
        case "database" if value and not value.startswith("postgres"):
            raise InvalidArgument.field(field, "must be postgresql+psycopg://USER@HOST/NAME; empty for SQLite", "URL")
        case "database_password_file":
            check_database(answers["database"], value)
        case "contributor":
            replace(_ANYBODY, id=value)
        case "contributor_kind":
            _check_choice(field, value, [spelled(kind) for kind in ContributorKind])
        case "reliability":
            _check_choice(field, value, [spelled(letter) for letter in Reliability])
        case "hash_set":
            HashSet(contributor="x", id=value)
        case "scheme" if value != "none":
            load_schemes().get(value)
        case "sources":
            for name in listed(value):
                _check_choice(field, name, PROTOCOLS)
        case "readers":
            for name in listed(value):
                replace(_ANYBODY, id=name)


def _check_choice(field: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise InvalidArgument.field(field, f"must be one of {', '.join(choices)}; got {value[:40]!r}", "UNKNOWN")


def _check_address(field: str, address: str, other: str) -> None:
    port = parse_address(field, address)[1]
    if port == 0 or other.endswith(f":{port}"):
        raise InvalidArgument.field(field, "must name a port of its own, which others are told", "OUT_OF_RANGE")
    bind(field, address).close()
