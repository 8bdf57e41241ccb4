"""What every page keeps to: who is let in, what another site may do, and what is left behind."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from hashhub.console.pages import HEADERS
from hashhub.console.sign_in import SignInLimit
from hashhub.errors import LimitExceeded
from tests.console.conftest import ORIGIN, Browser, Console, Serve, console_of
from tests.server.conftest import OPERATOR


def stranger(console: Console, **headers: str) -> TestClient:
    client = TestClient(console.console.application, base_url=ORIGIN, follow_redirects=False)
    client.headers |= headers
    return client


def test_a_stranger_gets_the_sign_in_and_nothing_else(console: Console) -> None:
    paths = [route.path for route in console.console.site.routes]  # type: ignore[attr-defined]
    for path in paths:
        answer = stranger(console).get(path.replace("{name:path}", "x").replace("{", "").replace("}", ""))
        assert answer.status_code in {200, 303, 400, 401, 403, 404, 503}, path
        if answer.status_code == 303:
            assert answer.headers["location"].startswith("/sign-in?next=/")
        for name in HEADERS.keys() - {"cache-control"}:
            assert answer.headers[name] == HEADERS[name]


def test_a_link_works_once_and_for_ten_minutes(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = console.served.tokens["OPERATOR"]
    code = console.console.sessions.make_link(secret)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: stranger(console).get(f"/sign-in/link/{code}").status_code, range(8)))
    assert sorted(answers) == [303] + [401] * 7
    late = console.console.sessions.make_link(secret)
    at = time.time()
    monkeypatch.setattr(time, "time", lambda: at + 601)
    assert stranger(console).get(f"/sign-in/link/{late}").status_code == 401


def test_another_site_signs_nobody_in(console: Console) -> None:
    code = console.console.sessions.make_link(console.served.tokens["OPERATOR"])
    assert stranger(console, **{"sec-fetch-site": "cross-site"}).get(f"/sign-in/link/{code}").status_code == 403
    assert stranger(console).get(f"/sign-in/link/{code}").status_code == 303


def test_the_cookie_is_strict_and_the_key_is_new_with_each_sign_in(console: Console) -> None:
    client = stranger(console)
    client.cookies.set(console.console.site.settings.cookie, "fixed-by-somebody")
    links = [console.console.sessions.make_link(console.served.tokens["OPERATOR"]) for _ in range(2)]
    told = [client.get(f"/sign-in/link/{link}").headers["set-cookie"] for link in links]
    assert all({"HttpOnly", "Path=/", "SameSite=strict", "Secure"} <= set(one.split("; ")) for one in told)
    keys = [one.split(";")[0].partition("=")[2] for one in told]
    assert "fixed-by-somebody" not in keys
    assert console.console.sessions.find(keys[0], is_used=True) is None  # ended by the second
    assert console.console.sessions.find(keys[1], is_used=True) is not None


def test_no_secret_and_no_key_stands_in_the_file(console: Console) -> None:
    browser = console.as_operator()
    [key] = [value for name, value in browser.client.cookies.items() if name == console.console.site.settings.cookie]
    written = b"".join(path.read_bytes() for path in Path(console.served.data / "console").iterdir())
    assert key.encode() not in written
    assert console.served.tokens["OPERATOR"].encode() not in written
    assert all(path.stat().st_mode & 0o077 == 0 for path in Path(console.served.data / "console").iterdir())


@pytest.mark.parametrize(
    ("headers", "fields", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, {}, 200),
        ({"sec-fetch-site": "cross-site"}, {}, 403),
        ({"sec-fetch-site": "same-site"}, {}, 403),
        ({"sec-fetch-site": "none"}, {}, 403),
        ({"origin": "http://elsewhere.example"}, {}, 403),
        ({"origin": ORIGIN}, {}, 200),
        ({"origin": "null"}, {}, 200),
        ({"origin": "null"}, {"form_token": "0" * 64}, 403),
        ({"sec-fetch-site": "same-origin"}, {"form_token": ""}, 403),
        ({"sec-fetch-site": "same-origin"}, {"do": "drop"}, 400),
        ({"sec-fetch-site": "same-origin"}, {"zone": "../../etc/passwd"}, 400),
        ({"host": "elsewhere.example"}, {}, 421),
    ],
)
def test_a_form_is_sent_by_its_own_page(
    console: Console, headers: dict[str, str], fields: dict[str, str], status: int
) -> None:
    browser = console.as_operator()
    form = browser.get("/reader").form("keep")
    plain = {**headers}
    client = TestClient(console.console.application, base_url=ORIGIN)
    client.cookies = browser.client.cookies
    assert client.post("/reader", data={**form, "do": "keep", **fields}, headers=plain).status_code == status


def test_what_was_typed_stays_beside_what_is_wrong(console: Console) -> None:
    page = console.as_operator().post("/reader", "keep", zone="Mars/Olympus")
    assert page.status == 400
    assert page.form("keep")["zone"] == ["Mars/Olympus"]
    assert any("aria-invalid" in has for tag, has in page.read.elements if tag == "input")


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "/a\nb", ""])
def test_nothing_leads_elsewhere_after_a_sign_in(console: Console, path: str) -> None:
    assert console.console.site.own_path(path) == "/"


def test_a_session_ends_when_idle_too_old_left_or_its_token_deleted(
    serve_console: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = serve_console()
    at = time.time()

    def passes(browser: Browser, *, seconds: float, polls: bool = False) -> str:
        monkeypatch.setattr(time, "time", lambda: at + seconds)
        return browser.get("/reader", **({"hx-request": "true"} if polls else {})).url

    def signed_in() -> Browser:
        monkeypatch.setattr(time, "time", lambda: at)
        return console.as_token(console.served.tokens["AUDITOR"])

    browser = signed_in()
    assert [passes(browser, seconds=1700.0 * n) for n in range(5)] == ["/reader"] * 5
    assert passes(browser, seconds=1700.0 * 4 + 1900).startswith("/sign-in")
    browser = signed_in()
    polled = [passes(browser, seconds=600.0 * n, polls=True) for n in range(5)]
    assert polled == ["/reader"] * 5
    assert browser.page is not None
    assert browser.page.status == 401  # a page that asks for its news keeps no session alive
    browser = signed_in()
    assert [passes(browser, seconds=1700.0 * n) for n in range(27)][-1].startswith("/sign-in")
    browser = signed_in()
    browser.post("/reader", "leave")
    assert browser.get("/reader").url.startswith("/sign-in")
    browser = signed_in()
    console.hub.tokens.delete(OPERATOR, "auditor")
    deadline = time.monotonic() + 10
    while not browser.get("/reader").url.startswith("/sign-in"):
        assert time.monotonic() < deadline


def test_a_notice_is_shown_once_and_to_no_page_that_asks_for_its_news(console: Console) -> None:
    browser = console.as_operator()
    form = {**browser.get("/reader").form("keep"), "do": "keep"}
    browser.client.post("/reader", data=form, follow_redirects=False)
    shown = [
        any(has.get("class") == "notice good" for _, has in browser.get("/reader", **headers).read.elements)
        for headers in ({"hx-request": "true"}, {}, {})
    ]
    assert shown == [False, True, False]


def test_a_session_outlives_a_restart_of_the_console(serve_console: Serve) -> None:
    console = serve_console()
    browser = console.as_operator()
    console.console.close()
    console.console = console_of(console.served)
    again = TestClient(console.console.application, base_url=ORIGIN)
    again.cookies = browser.client.cookies
    assert again.get("/reader").url.path == "/reader"


def test_a_flood_of_sign_ins_is_told_to_wait_and_locks_nobody_out_elsewhere() -> None:
    def request(host: str) -> Request:
        return Request({"type": "http", "client": (host, 1)})

    attempts = SignInLimit()
    for _ in range(20):
        attempts.count(request("192.0.2.1"))
    with pytest.raises(LimitExceeded):
        attempts.count(request("192.0.2.1"))
    attempts.count(request("192.0.2.2"))


def test_a_body_that_is_too_long_is_refused_while_it_comes(console: Console) -> None:
    browser = console.as_operator()
    form = browser.get("/reader").form("keep")
    answer = browser.client.post("/reader", data={**form, "do": "keep", "zone": "x" * (2 << 20)})
    assert answer.status_code in {400, 413}
    assert answer.headers["cache-control"] == "no-store"
