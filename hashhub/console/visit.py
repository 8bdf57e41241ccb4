"""One request of a person who is signed in, as page modules see it, and the screens that they are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hashhub.console.pages import render
from hashhub.console.sessions import BrowserSession, Sessions
from hashhub.errors import HTTP_STATUS, HashHubError, InvalidArgument, Reason

FORM_BYTES: Final = 1 << 20


class Way(NamedTuple):
    """A way to sign in: its part of the sign-in page, and what answers, by `METHOD /path` below the prefix."""

    template: str
    answers: Mapping[str, Callable[[Any, Request], Awaitable[Response]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """What all pages of a site share.

    `navigation`: where a visitor may go, paths and labels. `origins`: by which browsers reach it, its own name first.
    `handbook`: URL of the handbook, where it is kept.
    """

    title: str
    sessions: Sessions
    navigation: Callable[[Any], Sequence[tuple[str, str]]]
    origins: Sequence[str]
    ways: Sequence[Way]
    prefix: str = ""
    handbook: str = ""

    @property
    def cookie(self) -> str:
        """Name of the cookie; another site's of this machine has another one."""
        return f"__Host-{self.title.lower().replace(' ', '-')}"


class Visit:
    """One request: its path's parts, query and form, who makes it, and how it is answered."""

    def __init__(self, site: SiteSettings, session: BrowserSession, request: Request, *, who: str) -> None:
        """`who`: whose session it is, as the hub, or the hook, says it now."""
        self.site, self.session, self.who = site, session, who
        self.path: Mapping[str, str] = request.path_params
        self.query: Mapping[str, str] = request.query_params
        self.url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.is_live = "hx-request" in request.headers
        self.refused: HashHubError | None = None
        """What the hub said to what this form asked for; the page is then shown again, with what was typed."""
        self.screen: Screen
        """Which one of the site this is a visit to."""
        self.form: Mapping[str, str] = _Fields()
        """The form's fields that are text, the first of a name; empty for one that is missing."""
        self._form = FormData()
        self._is_drawn = True

    def forms(self, name: str) -> list[str]:
        """Return all values of a field, as checkboxes have them."""
        return [value for value in self._form.getlist(name) if isinstance(value, str)]

    def upload(self, name: str) -> UploadFile | None:
        """Return a file of the form, open to be read; None where none was chosen."""
        value = self._form.get(name)
        return value if isinstance(value, UploadFile) and value.filename else None

    def typed(self, name: str, value: object = "") -> str:
        """Return what was typed into a field of a form that was refused, otherwise its value as it stands."""
        return self.form[name] if name in self.form and self._is_drawn else str(value)

    @property
    def may_write(self) -> bool:
        """Whether the page's forms are shown, unless the page says it."""
        return True

    def take(self, form: FormData) -> None:
        """Take the form that was sent."""
        self._form = form
        texts = [(name, text.replace("\r\n", "\n")) for name, text in form.multi_items() if isinstance(text, str)]
        self.form = _Fields(reversed(texts))

    def draw(self, form: str) -> str:
        """Note which form is drawn now: what was typed, and what is wrong, is of one form alone."""
        self._is_drawn = form in {"", self.form["form"]}
        return form

    def fault(self, field: str, kind: str) -> str:
        """Return what is wrong with a field, or in the text that it has; empty where nothing is said of it."""
        violations = self.refused.violations if isinstance(self.refused, InvalidArgument) and self._is_drawn else ()
        told = [(v.field.rpartition(".")[2].partition("[")[0], v) for v in violations]
        own = [v.description for place, v in told if place == field]
        own += [f"{v.field}: {v.description}" for place, v in told if kind == "code" and place not in self.form]
        return "; ".join(own)

    @property
    def is_waiting(self) -> bool:
        """Whether what was asked for was right, and waits for a second person."""
        error = self.refused
        return error is not None and error.reason is Reason.SECOND_PERSON_NEEDED and "approval" in error.metadata

    def page(self, title: str, **values: Any) -> Response:
        """Return a page of facts, tables and forms, as `page.html` tells what it takes."""
        status = status_of(self.refused) if self.refused is not None and not self.is_waiting else 200
        notice = "" if self.is_live else self.site.sessions.notice(self.session)
        looked = self.site.sessions.looked(self.who)
        values["command"] = self.screen.command.format_map(self.path)
        page = render("page.html", visit=self, title=title, notice=notice, looked=looked, **values)
        return HTMLResponse(page, status)

    def go(self, path: str, notice: str = "") -> Response:
        """Lead to another page of this site, which shows a notice once."""
        if notice:
            self.site.sessions.note(self.session, notice)
        return RedirectResponse(path, 303)


class _Fields(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


PageFunction = Callable[[Any], Response]


class Screen:
    """A path, what shows it, the command that does the same (parts of the path in braces), its page in the handbook,
    and the actions of its forms by their `do`.

    `body`: bytes of a form at most. `is_item`: whether it shows an item that a person looks at, and that is counted.
    `in_memory`: its files are never on a disk.
    """

    def __init__(
        self, path: str, show: PageFunction, command: str, handbook: str, *,
        body: int = FORM_BYTES, is_item: bool = False, in_memory: bool = False, **actions: PageFunction,
    ) -> None:  # fmt: skip
        self.path, self.show, self.command, self.handbook, self.actions = path, show, command, handbook, actions
        self.body, self.is_item, self.in_memory = body, is_item, in_memory


def status_of(error: HashHubError) -> int:
    """Return the HTTP status of a page that tells an error."""
    return 413 if error.reason is Reason.TOO_LARGE else HTTP_STATUS[error.code]
