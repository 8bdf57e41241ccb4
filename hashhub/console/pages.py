"""What pages in a browser are made of, of the hub's console and of a hook's moderators alike: templates, the reader's
language and forms of numbers and times, and the headers by which a page loads and runs nothing but our own files.

Every word that a person reads comes through the catalogue (`locale/console.pot`): `_()` in Python and in templates.
"""

from __future__ import annotations

import gettext
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from babel import Locale
from babel.core import UnknownLocaleError
from babel.dates import format_datetime, format_timedelta
from babel.numbers import format_decimal, format_percent
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hashhub.conversion import refuse
from hashhub.errors import Violation
from hashhub.model import PeerOrigin
from hashhub.pages import clean

FOLDER: Final = Path(__file__).parent
HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
THEMES: Final = ("dark", "light", "system")


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """How a person reads: `locale` for numbers and times (`de_AT`), time zone, and colours."""

    locale: str = "en"
    zone: str = "UTC"
    theme: str = "dark"

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a time zone that is none, or a theme that is none."""
        wrong = []
        try:
            ZoneInfo(self.zone)
        except (OSError, KeyError, ValueError):
            wrong.append(Violation("zone", "must be a time zone, such as Europe/Berlin or UTC", "UNKNOWN"))
        if self.theme not in THEMES:
            wrong.append(Violation("theme", f"must be one of {', '.join(THEMES)}", "UNKNOWN"))
        refuse(wrong)


READER: Final[ContextVar[Reader]] = ContextVar("reader")
"""Whoever reads the page that is made now."""
_ENGLISH: Final = Reader()


def _(text: str) -> str:
    """Return a text of the catalogue in the reader's language."""
    return _catalogue(_reader().locale).gettext(text)


def ngettext(one: str, many: str, number: int) -> str:
    """Return one of two texts of the catalogue, by a number, in the reader's language."""
    return _catalogue(_reader().locale).ngettext(one, many, number)


def render(template: str, /, **values: Any) -> str:
    """Fill a template of this package, or of another one by its path in the distribution."""
    return _environment().get_template(template).render(values)


@lru_cache(maxsize=100)
def locale_of(accepted: str) -> str:
    """Return the first language of an Accept-Language header that Babel knows, else English."""
    for part in accepted[:200].split(","):
        try:
            return str(Locale.parse(part.partition(";")[0].strip(), sep="-"))
        except (UnknownLocaleError, ValueError):
            continue
    return "en"


def number(value: float) -> str:
    """Return a number in the reader's form."""
    return format_decimal(value, locale=_reader().locale)


def percent(share: float) -> str:
    """Return a share (0 to 1) in the reader's form, to a tenth of a percent."""
    return format_percent(share, "#,##0.#%", locale=_reader().locale)


def when(time: datetime | None) -> str | Markup:
    """Return a time in the reader's zone and form, with UTC beside it where that is another."""
    if time is None:
        return "-"
    reader, utc = _reader(), time.astimezone(UTC)
    text = format_datetime(time, "medium", tzinfo=ZoneInfo(reader.zone), locale=reader.locale)
    beside = " UTC" if reader.zone == "UTC" else f" ({utc:%Y-%m-%d %H:%M} UTC)"
    return Markup('<time datetime="{}">{}{}</time>').format(utc.isoformat(timespec="seconds"), text, beside)


def ago(time: datetime | None) -> str | Markup:
    """Return how long ago a time is, or in how long it comes, with the time itself as its title."""
    if time is None:
        return "-"
    text = format_timedelta(time - datetime.now(UTC), add_direction=True, locale=_reader().locale)
    shown = f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(time.isoformat(timespec="seconds"), shown, text)


def word(value: object) -> str:
    """Return a value of the model in words: `FIRST_PARTY` as `first party`, from the catalogue."""
    name = value.name if isinstance(value, Enum) else str(value)
    return _(name.replace("_", " ").lower())


def shown(value: object) -> object:
    """Return a value as a person reads it, a dash where there is none."""
    match value:
        case bool():
            return _("yes") if value else _("no")
        case datetime():
            return when(value)
        case Enum() if len(value.name) > 1:  # degrees of reliability are letters
            return word(value)
        case PeerOrigin():
            return shown(value.path)
        case tuple():
            return Markup(", ").join(map(clean, value)) or "-"
    return "-" if value is None or value == "" else value


def link(path: str, text: str) -> Markup:
    """Return a link, for a cell or a fact."""
    return Markup('<a href="{}">{}</a>').format(path, clean(text))


def folded(summary: str, texts: Iterable[str]) -> Markup:
    """Return texts that are folded until asked for, such as a category, for a cell or a fact."""
    lines = Markup("<br>").join(clean(text) for text in texts if text)
    return Markup('<details class="category"><summary>{}</summary><span>{}</span></details>').format(summary, lines)


def alarm(text: str) -> Markup:
    """Return what needs a look, for a cell or a fact."""
    return Markup('<strong class="fault">{}</strong>').format(clean(text))


def _reader() -> Reader:
    return READER.get(_ENGLISH)


@cache
def _catalogue(locale: str) -> gettext.NullTranslations:
    languages = [locale, locale.partition("_")[0]]
    return gettext.translation("console", FOLDER / "locale", languages=languages, fallback=True)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader([FOLDER / "templates", FOLDER.parent]),
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else clean(str(value)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Not the newer style of calls: that one takes what is looked up for markup, a stranger's text included.
    environment.install_gettext_callables(_, ngettext, newstyle=False)  # type: ignore[attr-defined]
    environment.filters.update(number=number, percent=percent, when=when, ago=ago, word=word, shown=shown)
    return environment
