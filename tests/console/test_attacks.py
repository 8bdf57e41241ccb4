"""What strangers and members write is text on every page, and no address or request does what nobody asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from hashhub.model import Role
from tests.console.conftest import Browser, Console, Page
from tests.console.walk import HOSTILE, NAMES, crawl

FORBIDDEN = {"img", "video", "audio", "iframe", "object", "embed", "base", "picture", "source"}
# Each role, and of the contributors one whose word is doubted and one who doubts it.
ROLES = (
    "OPERATOR",
    NAMES[0],
    *(pytest.param(one, marks=pytest.mark.deep) for one in ("AUDITOR", "CONSUMER", NAMES[1])),
)
Walked = Callable[[str], tuple[Browser, list[Page]]]


@pytest.fixture(scope="module")
def console(hostile_console: Console) -> Console:
    return hostile_console


@pytest.fixture(scope="module")
def walked(console: Console) -> Walked:
    """Return somebody's browser, and all pages that it was led to: walked through once."""

    @functools.cache
    def walk(who: str) -> tuple[Browser, list[Page]]:
        browser = console.as_token(console.served.tokens[who])
        return browser, [page for found in crawl(browser, console.console.site).values() for page in found]

    return walk


@pytest.mark.parametrize("who", ROLES)
def test_what_was_written_is_text_on_every_page(console: Console, walked: Walked, who: str) -> None:
    secret = console.served.tokens[who]
    _, pages = walked(who)
    for page in pages:
        tags = [tag for tag, _ in page.read.elements]
        assert tags.count("script") == 1, page.url
        assert not FORBIDDEN & set(tags), page.url
        for tag, attributes in page.read.elements:
            assert not any(name.startswith("on") or name == "style" for name in attributes), (page.url, tag, attributes)
            for name in ("href", "src", "action", "formaction", "xlink:href"):
                value = attributes.get(name, "/")
                assert value.startswith(("/", "#", "?")), (page.url, tag, value)
                assert not value.startswith("//"), (page.url, tag, value)
        assert "alert(1)</script>" not in page.text
        assert "\u202e" not in page.text
        assert "49" not in [word for word in page.words.split() if "7*7" in word]
        assert secret not in page.text
        assert page.headers["cache-control"] == "no-store"
        assert len(page.text.encode()) < 50_000, page.url
    assert any("<script>alert" in page.words for page in pages) or who not in {"OPERATOR", Role.AUDITOR}


@pytest.mark.parametrize("who", ROLES)
def test_no_address_tells_or_breaks_anything(console: Console, who: str) -> None:
    """Each screen, with nonsense where its path and its query have parts: a page of ours says so, and nothing fails."""
    browser = console.as_token(console.served.tokens[who])
    screens = {route.path for route in console.console.site.routes if "static" not in route.path}  # type: ignore[attr-defined]
    for nonsense in ("..%2f..%2fetc%2fpasswd", "%00", "a%0d%0aset-cookie:x", HOSTILE.replace("/", ""), "9" * 400, "-1"):
        for path in screens:
            parts = path.split("/")
            filled = "/".join(nonsense if part.startswith("{") else part for part in parts)
            page = browser.get(f"{filled}?after={nonsense}&state={nonsense}&kind={nonsense}&limit={nonsense}")
            assert page.status in {200, 400, 401, 403, 404, 405, 409, 429, 503}, (page.status, filled, page.words[:300])
            assert "set-cookie" not in page.headers or "x" not in page.headers["set-cookie"].split("=")[0]
            assert "alert(1)</script>" not in page.text


@pytest.mark.parametrize("who", ROLES)
def test_every_form_needs_its_token_and_its_own_site(console: Console, walked: Walked, who: str) -> None:
    browser, pages = walked(who)
    forms = {(page.url, do): page for page in pages for do in page.read.forms if do != "leave"}
    revision = console.hub.store.history.position()
    for (url, do), page in forms.items():
        assert "form_token" in page.form(do), (url, do)
        path = page.read.actions[do] or url
        fields = {**page.form(do), "do": do}
        assert browser.client.post(path, data={**fields, "form_token": "0" * 64}).status_code == 403, (url, do)
        elsewhere = {"sec-fetch-site": "cross-site"}
        assert browser.client.post(path, data=fields, headers=elsewhere).status_code == 403, (url, do)
        assert browser.client.post(path, data={**fields, "do": "no such button"}).status_code == 400, (url, do)
    assert console.hub.store.history.position() == revision  # nothing was done


def test_titles_and_addresses_tell_nothing(walked: Walked) -> None:
    """They stay in histories of browsers, and over shoulders."""
    _, pages = walked("OPERATOR")
    titles = {page.text.partition("<title>")[2].partition("</title>")[0] for page in pages}
    assert titles == {"hashhub console"}
    words = ("csam", "harmless", "teen", "case-", "script")
    assert not [page.url for page in pages if any(word in page.url for word in words)]


def test_static_files_are_those_two_and_no_others(console: Console) -> None:
    browser = console.as_operator()
    for name in ("../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "htmx-2.0.11.LICENSE.txt", "", ".", "x%00"):
        assert browser.client.get(f"/static/{name}").status_code == 404, name
    for name in ("console.css", "htmx-2.0.11.min.js"):
        answer = browser.client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.content == Path(f"hashhub/console/static/{name}").read_bytes()
