"""Handing a list over in a browser: whatever the file, the session or the hub does in the middle of it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hashhub.client import Client, ImportPhase, ImportProgress
from hashhub.console import hand_over as module
from hashhub.model import EntryState, HashSet, ImportState
from tests.console.conftest import Browser, Console, Page, Serve, console_of

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def here(serve_console: Serve) -> Iterator[Console]:
    made = serve_console()
    with Client(made.served.doors.grpc_address, made.served.tokens["CONTRIBUTOR"]) as hub:
        made.calls = hub  # type: ignore[attr-defined]
        hub.create_hash_set(HashSet(contributor="home", id="list"))
        yield made


def md5(text: object) -> str:
    return hashlib.md5(str(text).encode(), usedforsecurity=False).hexdigest()


def lines(*items: object) -> bytes:
    return "".join(f"MD5:{md5(one)}\n" for one in items).encode()


def upload(browser: Browser, content: bytes, name: str = "list.txt", **fields: Any) -> Page:
    return browser.post("/hand-over?list=home/list", "upload", files={"file": (name, content)}, **fields)


def files(console: Console) -> list[str]:
    return [p.name for p in (console.served.data / "console" / "hand-over").rglob("*") if p.is_file()]


def active(console: Console) -> int:
    hub: Client = console.calls  # type: ignore[attr-defined]
    return sum(1 for _ in hub.list_entries("home/list", [EntryState.ACTIVE]))


def imports(console: Console) -> list[ImportState]:
    hub: Client = console.calls  # type: ignore[attr-defined]
    return [one.state for one in hub.list_imports("home/list")]


def test_a_list_is_checked_and_counts_once_it_is_committed(here: Console) -> None:
    browser = here.as_contributor()
    page = upload(browser, lines(1, 2, 3))
    assert "commit" in page.read.forms, page.words
    assert active(here) == 0
    [kept] = (here.served.data / "console" / "hand-over").rglob("list.txt")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "Committed" in browser.send(page, "commit").words
    assert active(here) == 3
    assert files(here) == ["state.json"]
    browser.post("/hand-over", "cancel")
    assert files(here) == []


def test_an_excel_table_is_mapped_by_a_form(here: Console) -> None:
    browser = here.as_contributor()
    rows = f"Lfd. Nr.;MD5;Größe;Notiz\r\n1;{md5('a')};12;=cmd|' /C calc'!A0\r\n2;{md5('b')};x;{SCRIPT}\r\n"
    page = upload(browser, rows.encode("cp1252"), "liste.csv")
    form = page.form("check")
    assert [form[f"column-{i}"] for i in range(3)] == [["external_id"], ["md5"], ["media_size"]]
    assert SCRIPT not in page.text
    page = browser.send(page, "check", **{"column-0": "", "column-3": "series"})
    assert "commit" in page.read.forms, page.words
    browser.send(page, "commit")
    hub: Client = here.calls  # type: ignore[attr-defined]
    entries = list(hub.list_entries("home/list"))
    assert {e.external_id for e in entries} == {""}
    assert {e.series for e in entries} == {"=cmd|' /C calc'!A0", SCRIPT}


def test_categories_are_said_in_the_schemes_words(here: Console) -> None:
    hub: Client = here.calls  # type: ignore[attr-defined]
    hub.create_hash_set(HashSet(contributor="home", id="baseline", scheme="interpol-baseline"))
    browser = here.as_contributor()
    rows = "MD5;Baseline\n" + "".join(f"{md5(i)};{'ja' if i % 2 else 'nein'}\n" for i in range(6))
    sent = {"file": ("a.csv", rows.encode())}
    page = browser.post("/hand-over?list=home/baseline", "upload", files=sent)
    page = browser.send(page, "check")
    page = browser.send(page, "check", **{"value-1": "Y"})  # ja, behind nein
    browser.send(page, "commit")
    states = [entry.state for entry in hub.list_entries("home/baseline")]
    assert (states.count(EntryState.ACTIVE), states.count(EntryState.QUARANTINED)) == (3, 3)


def test_scripts_in_every_cell_and_in_the_name_stay_text(here: Console) -> None:
    browser = here.as_contributor()
    name = f"../../{SCRIPT}\"'.csv"
    rows = f"MD5,{SCRIPT}\n{SCRIPT},=1+1\n{md5(1)},{SCRIPT}\n{md5(2)},x\n"
    page = upload(browser, rows.encode(), name)
    assert {"list.csv", "state.json"} == set(files(here))
    for seen in (
        page,
        browser.send(page, "check", **{"column-0": "md5", "column-1": "series"}),
        browser.get("/lists/home/list"),
    ):
        assert SCRIPT not in seen.text
    finding = next(link for link in browser.get("/hand-over").read.links if "/imports/" in link)
    assert SCRIPT not in browser.get(finding).text
    assert "DIGEST_NOT_ENCODED" not in browser.get(finding).words


def test_a_file_beyond_the_bound_is_refused(here: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    page = upload(here.as_contributor(), lines(*range(40)))
    assert (page.status, "larger than pages take" in page.words, files(here)) == (400, True, [])


def test_200_mb_and_one_byte_more_are_refused(here: Console) -> None:
    page = upload(here.as_contributor(), bytes((200 << 20) + 1))
    assert (page.status, files(here)) == (400, [])
    page = upload(here.as_contributor(), bytes(202 << 20))
    assert (page.status, files(here)) == (413, [])


def test_what_is_no_list_is_named(here: Console) -> None:
    page = upload(here.as_contributor(), b"\x89PNG\r\n\x1a\n" + bytes(64), "a.csv")
    assert (page.status, "a picture (PNG)" in page.words) == (400, True)
    assert page.form("upload")["hash_set"] == ["home/list"]


def test_two_tabs_hand_over_one_list(here: Console) -> None:
    browser = here.as_contributor()
    first, second = browser.get("/hand-over?list=home/list"), browser.get("/hand-over?list=home/list")
    first = browser.send(first, "upload", files={"file": ("a.txt", lines(1))})
    late = browser.send(second, "upload", files={"file": ("b.txt", lines(2))})
    assert (late.status, "changed in another tab" in late.words) == (409, True)
    second = browser.send(browser.get("/hand-over"), "upload", files={"file": ("b.txt", lines(2, 3))})
    assert browser.send(first, "commit").status == 409
    assert active(here) == 0
    browser.send(second, "commit")
    assert active(here) == 2


def test_a_list_that_shrinks_is_told_with_its_figures(here: Console) -> None:
    browser = here.as_contributor()
    browser.send(upload(browser, lines(*range(10))), "commit")
    browser.post("/hand-over", "cancel")
    page = upload(browser, lines(1, 2), replace="1")
    assert "keeps 2 of 10 entries" in page.words
    assert "commit" not in page.read.forms
    page = browser.send(page, "check", may_shrink="1")
    browser.send(page, "commit")
    assert active(here) == 2


def test_what_shrinks_and_is_cancelled_leaves_no_open_import(here: Console) -> None:
    browser = here.as_contributor()
    browser.send(upload(browser, lines(*range(10))), "commit")
    browser.post("/hand-over", "cancel")
    upload(browser, lines(1, 2), replace="1")
    browser.post("/hand-over", "cancel")
    assert ImportState.OPEN not in imports(here)
    assert active(here) == 10


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold each import where it is to be committed, until it is let go."""
    at, go = threading.Event(), threading.Event()
    real = Client.import_source

    def held(self: Client, *args: Any, progress: Any, **how: Any) -> Any:
        def tell(told: ImportProgress) -> None:
            progress(told)
            if told.phase is ImportPhase.COMMITTING:
                at.set()
                assert go.wait(30)
                progress(told)

        return real(self, *args, progress=tell, **how)

    monkeypatch.setattr(Client, "import_source", held)
    yield at, go
    go.set()


def test_a_session_that_ends_in_the_middle_leaves_nothing(
    here: Console, held: tuple[threading.Event, threading.Event]
) -> None:
    at, go = held
    browser = here.as_contributor()
    page = upload(browser, lines(1, 2))
    assert at.is_set()
    assert "hx-get" in page.text
    browser.post("/hand-over", "leave")
    go.set()
    for _ in range(200):
        if not files(here) and ImportState.OPEN not in imports(here):
            break
        threading.Event().wait(0.05)
    assert (files(here), imports(here), active(here)) == ([], [ImportState.CANCELLED], 0)


def test_cancelled_in_the_middle_leaves_nothing(here: Console, held: tuple[threading.Event, threading.Event]) -> None:
    browser = here.as_contributor()
    upload(browser, lines(1, 2))
    browser.post("/hand-over", "cancel")
    assert (files(here), imports(here), active(here)) == ([], [ImportState.CANCELLED], 0)


def test_a_console_that_restarts_in_the_middle_goes_on(
    here: Console, held: tuple[threading.Event, threading.Event]
) -> None:
    _, go = held
    browser = here.as_contributor()
    upload(browser, lines(1, 2))
    here.console.close()
    go.set()
    here.console = console_of(here.served)
    again = Browser(here.console.application)
    again.client.cookies = browser.client.cookies
    page = again.get("/hand-over")
    assert "restarted in the middle" in page.words
    page = again.send(page, "check")
    assert "commit" in page.read.forms, page.words
    again.send(page, "commit")
    assert active(here) == 2


def test_an_operator_hands_over_for_others_and_an_auditor_for_nobody(here: Console) -> None:
    assert "commit" in upload(here.as_operator(), lines(1)).read.forms
    page = upload(here.as_auditor(), lines(1))
    assert "commit" not in page.read.forms
