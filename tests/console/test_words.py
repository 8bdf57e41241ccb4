"""The words of pages: all in one catalogue, from which they can be translated."""

from __future__ import annotations

import gettext
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass

from hashhub.client import transport
from hashhub.console import pages
from tests.console import catalogue
from tests.console.conftest import Console, console_of
from tests.console.walk import crawl

_SPOKEN = ("aria-label", "title", "placeholder", "alt")
_TECHNICAL = frozenset({"code", "pre", "time", "textarea", "script", "style"})
_CODE = re.compile(r"\w+_\w+|TLP:\S+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_VOID = frozenset({"meta", "link", "input", "br", "hr", "wbr", "col", "img"})
_PROPER = frozenset({"hashhub", "console", "UTC", "TLP", "true", "false"})  # the last two are TOML's


class Pseudo(gettext.NullTranslations):
    """Another language, in which each text stands in brackets."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


class _Untranslated(HTMLParser):
    """Gathers what a page says outside brackets, with what it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.said: list[tuple[str, str]] = []
        self._depth, self._within = 0, list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self._within.append(tag)
        for name, value in attrs:
            if name in _SPOKEN and value:
                self.said.append((f"{tag} {name}", re.sub("⟦.*⟧", "", value)))

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:  # some need no end
            pass

    def handle_data(self, data: str) -> None:
        for part in re.split("([⟦⟧])", data):
            self._depth += (part == "⟦") - (part == "⟧")
            if not self._depth and _TECHNICAL.isdisjoint(self._within):
                self.said.append((" ".join(self._within[-2:]), part))


@pytest.fixture
def full(hostile_console: Console) -> Iterator[Console]:
    """The same hub, behind a console of its own, which has heard nothing yet."""
    console = Console(hostile_console.served, console_of(hostile_console.served))
    yield console
    console.console.close()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The words that the hub's answers have: names, and what it says itself."""
    words: set[str] = set()

    def noting(kind: Any) -> Any:
        def read(data: bytes) -> Any:
            message = GetMessageClass(kind).FromString(data)
            for text in re.findall(r'"((?:[^"\\]|\\.)*)"', str(message)):
                words.update(_WORD.findall(text))
            return message

        return SimpleNamespace(FromString=read)

    monkeypatch.setattr(transport, "GetMessageClass", noting)
    return words


@pytest.mark.parametrize("who", ["OPERATOR", "northland", "AUDITOR"])
def test_every_word_of_a_page_can_be_translated(
    full: Console, heard: set[str], monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(pages, "_catalogue", lambda _: Pseudo())
    found = crawl(full.as_token(full.served.tokens[who]), full.console.site)
    missed = {
        (word, page.url, within)
        for page in (page for some in found.values() for page in some)
        for within, text in _Untranslated(page.text).said
        for word in set(_WORD.findall(_CODE.sub("", text))) - heard - _PROPER
    }
    assert not missed, "\n".join(f"{word} ({within}) at {url}" for word, url, within in sorted(missed))


def test_the_catalogue_has_every_word() -> None:
    """`python -m tests.console.catalogue` writes it."""
    assert catalogue.FILE.read_bytes() == catalogue.extracted(), catalogue.__doc__
