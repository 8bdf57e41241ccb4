"""A real hub behind gRPC, its console as an application, and browsers without script that are signed in to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hashhub.config import Config
from hashhub.console.hub_console import HubConsole
from hashhub.model import Principal, Role
from tests.server.conftest import OPERATOR, Served, _close, _serve

ORIGIN = "https://127.0.0.1:8472"  # a client that is no browser sends no secure cookie over http, loopback or not


class _Reader(HTMLParser):
    """Reads a page: its words, its links, and the fields of its forms by their `do`."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.forms: dict[str, dict[str, list[str]]] = {}
        self.actions: dict[str, str] = {}
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._fields: dict[str, list[str]] = {}
        self._action = self._area = self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self.elements.append((tag, has))
        name, value = has.get("name", ""), has.get("value", "")
        match tag:
            case "a":
                self.links.append(has.get("href", ""))
            case "form":
                self._fields, self._action = {}, has.get("action", "")
            case "button" if name == "do":
                self.forms[value], self.actions[value] = self._fields, self._action
            case "input" if name and has.get("type") not in {"file", "submit"}:
                if has.get("type") not in {"checkbox", "radio"} or "checked" in has:
                    self._fields.setdefault(name, []).append(value)
            case "select":
                self._select = name
            case "option" if "selected" in has or self._select not in self._fields:
                self._fields[self._select] = [value]
            case "textarea":
                self._area = name
                self._fields.setdefault(name, [""])

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self._fields[self._area][0] += data.removeprefix("\n") if not self._fields[self._area][0] else data
        elif data.strip():
            self.words.append(data.strip())


class Page:
    """An answer: `text` is its source, `words` what a person reads of it."""

    def __init__(self, answer: Any) -> None:
        self.status: int = answer.status_code
        self.text: str = answer.text
        self.url: str = answer.url.raw_path.decode()
        self.headers = answer.headers
        self.read = _Reader()
        self.read.feed(self.text)
        self.words = " ".join(self.read.words)

    def form(self, do: str) -> dict[str, list[str]]:
        """Return the fields of the form with this button, as they stand."""
        return self.read.forms[do]


class Browser:
    """A browser without script, signed in. It follows redirects."""

    def __init__(self, application: Any) -> None:
        self.client = TestClient(application, base_url=ORIGIN, raise_server_exceptions=True)
        self.client.headers |= {"sec-fetch-site": "same-origin", "accept-language": "en"}
        self.page: Page | None = None

    def get(self, path: str, **headers: str) -> Page:
        self.page = Page(self.client.get(path, headers=headers))
        return self.page

    def post(self, path: str, do: str, *, files: Any = None, **fields: Any) -> Page:
        """Load a page, fill the form with this button, and send it."""
        page = self.get(path)
        assert do in page.read.forms, f"{path} has no form with {do}: it has {sorted(page.read.forms)}: {page.words}"
        return self.send(page, do, files=files, **fields)

    def send(self, page: Page, do: str, *, files: Any = None, **fields: Any) -> Page:
        """Fill the form of a page that was loaded before, and send it."""
        filled = {**page.form(do), **fields, "do": do}
        self.page = Page(self.client.post(page.read.actions[do] or page.url, data=filled, files=files))
        return self.page


@dataclass
class Console:
    """The hub, its console, and who is signed in."""

    served: Served
    console: HubConsole
    browsers: dict[str, Browser] = field(default_factory=dict)

    @property
    def hub(self) -> Any:
        return self.served.hub

    def as_token(self, secret: str) -> Browser:
        """Return a browser that has used a link for this token."""
        browser = Browser(self.console.application)
        code = self.console.sessions.make_link(secret)
        assert browser.get(f"/sign-in/link/{code}").url == "/"
        return browser

    def as_operator(self) -> Browser:
        return self._as("OPERATOR")

    def as_auditor(self) -> Browser:
        return self._as(Role.AUDITOR)

    def as_consumer(self) -> Browser:
        return self._as(Role.CONSUMER)

    def as_contributor(self, contributor: str = "home") -> Browser:
        """Return a contributor's browser; other contributors than `home` are made, with a token."""
        if contributor != "home" and contributor not in self.served.tokens:
            self.served.new_contributor(contributor)
            wanted = Principal(name=f"{contributor}-token", role=Role.CONTRIBUTOR, contributor=contributor)
            _, self.served.tokens[contributor] = self.hub.tokens.create(OPERATOR, wanted)
        return self._as(Role.CONTRIBUTOR if contributor == "home" else contributor)

    def as_person(self, name: str, role: Role = Role.OPERATOR) -> Browser:
        """Return the browser of a person with a token of their own."""
        if name not in self.served.tokens:
            _, self.served.tokens[name] = self.hub.tokens.create(
                OPERATOR, Principal(name=name.lower(), role=role, person=name)
            )
        return self._as(name)

    def _as(self, who: str) -> Browser:
        if who not in self.browsers:
            self.browsers[who] = self.as_token(self.served.tokens[who])
        return self.browsers[who]


Serve = Callable[..., Console]


@pytest.fixture
def serve_console(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that serves a new hub, with these settings, and its console."""
    opened: list[Console] = []

    def serve(**settings: Any) -> Console:
        served = _serve(tmp_path / str(len(opened)), **settings)
        opened.append(Console(served, console_of(served)))
        return opened[-1]

    yield serve
    for one in opened:
        one.console.close()
        _close(one.served)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One hub and console for the tests of a module that only add to it under names of their own."""
    served = _serve(tmp_path_factory.mktemp("hub"))
    made = Console(served, console_of(served))
    yield made
    made.console.close()
    _close(served)


@pytest.fixture(scope="session")
def hostile_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One hub and console for all tests that only look: something of everything has happened, in hostile words."""
    from tests.console.walk import fill_with_hostile_text, serve_full

    served = serve_full(tmp_path_factory.mktemp("full"))
    fill_with_hostile_text(served.hub)
    made = Console(served, console_of(served))
    yield made
    made.console.close()
    _close(served)


def console_of(served: Served, **changed: str) -> HubConsole:
    """Return the console of a hub that is served in this process."""
    settings = {
        "data": str(served.data),
        "listen": served.doors.grpc_address,
        "console": ORIGIN.removeprefix("https://"),
        "console_url": ORIGIN,
    }
    return HubConsole(Config(**{**settings, **changed}))  # type: ignore[arg-type]


def secrets_in(text: str) -> list[str]:
    """Return the tokens that stand in a text."""
    return re.findall(r"hh_[A-Za-z0-9_-]{20,}", text)
