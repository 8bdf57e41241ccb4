"""Five walks through the pages in real Chromium, each of one story from sign-in to done.

`WALK_PICTURES=DIRECTORY` keeps pictures; docs/operate/console.md shows three of them.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hashhub.client import Client
from hashhub.console.hub_console import HubConsole
from hashhub.errors import Unauthenticated
from hashhub.model import ConflictFilter, ConflictState, EntryState, Principal, Role, WithdrawalReason, now
from tests.console.conftest import Console
from tests.desk.test_moderation import Desk, upload
from tests.hub.conftest import AUDITOR, OPERATOR
from tests.interop.browsing import Moderator, Visitor
from tests.interop.test_moderation import filled

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DESKTOP = {"viewport": {"width": 1000, "height": 720}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


def md5(number: int) -> str:
    return hashlib.md5(f"file {number}".encode(), usedforsecurity=False).hexdigest()


def excel(*rows: str) -> bytes:
    """A table as a German Excel saves it."""
    head = "Lfd. Nr.;Prüfsumme (MD5);Bewertung;Dateigröße"
    return "".join(f"{row}\r\n" for row in (head, *rows)).encode("cp1252")


def in_state(console: Console, name: str, *states: EntryState) -> int:
    return sum(console.hub.store.entries.entry_count(*name.split("/"), state) for state in states)


def operators(console: Console, *names: str) -> None:
    for name in names:
        wanted = Principal(name=f"{name.lower()}-operator", role=Role.OPERATOR, person=name)
        if name not in console.served.tokens:
            _, console.served.tokens[name] = console.hub.tokens.create(OPERATOR, wanted)


def test_an_analyst_corrects_a_list_from_excel(browser: Browser, full: Console, site: HubConsole) -> None:
    bad = excel(f"1;{md5(1)};csam;1200", f"2;{md5(2)};unknown word;900", "3;1,23457E+15;csam;70", f"4;{md5(4)};csam;1")
    good = excel(*(f"{n};{md5(n)};csam;{1000 + n}" for n in range(1, 5)))
    before = in_state(full, "northland/known", EntryState.ACTIVE)
    analyst = Visitor(browser, site, full.served.tokens["northland"], **DESKTOP)
    analyst.press("Lists", inside="nav")
    analyst.take(analyst.page.get_by_role("link", name="northland/known").first)
    analyst.press("Hand over a list")
    page = analyst.page
    page.set_input_files("input[name=file]", {"name": "Liste März.csv", "mimeType": "text/csv", "buffer": bad})
    analyst.press("Look at it")
    page.select_option("select[name=column-2]", "value")
    analyst.keep("analyst-1-columns")
    analyst.press("Check it")
    page.get_by_text("What would become of its items").wait_for()
    analyst.keep("analyst-2-preview")
    assert in_state(full, "northland/known", EntryState.ACTIVE) == before, "nothing counts yet"
    analyst.press("Row by row")
    assert page.get_by_role("row").filter(has_text="rejected").count()
    page.go_back()
    page.set_input_files("input[name=file]", {"name": "Liste März 2.csv", "mimeType": "text/csv", "buffer": good})
    analyst.press("Take a corrected file instead")
    page.get_by_text("What would become of its items").wait_for()
    analyst.press("Commit it")
    page.get_by_text("Committed", exact=True).wait_for()
    analyst.keep("analyst-3-committed")
    assert in_state(full, "northland/known", EntryState.ACTIVE) == before + 4
    assert not analyst.told
    analyst.context.close()


def test_an_operator_finds_why_matches_fell_and_two_undo_it(browser: Browser, by_two: Console) -> None:
    """Without script."""
    operators(by_two, "Ada", "Grace")
    machine = Principal(name="southland-night", role=Role.CONTRIBUTOR, contributor="southland")
    _, secret = by_two.hub.tokens.create(OPERATOR, machine)
    before = in_state(by_two, "southland/known", EntryState.ACTIVE)
    with Client(by_two.served.doors.grpc_address, secret) as hub:
        for entry in list(hub.list_entries("southland/known", [EntryState.ACTIVE]))[:8]:
            hub.withdraw_entry(entry.name, WithdrawalReason.ERROR)
    fallen = in_state(by_two, "southland/known", EntryState.ACTIVE)
    assert fallen < before
    monday = f"{now() - timedelta(days=1):%Y-%m-%dT%H:%M}"
    ada = Visitor(browser, by_two.console, by_two.served.tokens["Ada"], java_script_enabled=False, **DESKTOP)
    ada.keep("operator-1-today")
    ada.press("History", inside="nav")
    ada.page.get_by_label("About").fill("southland/known")
    ada.page.get_by_label("Since").fill(monday)
    ada.press("Show")
    ada.keep("operator-2-history")
    row = ada.page.get_by_role("row").filter(has_text="southland-night").first
    ada.take(row.get_by_role("link").first)
    ada.press("Undo what this token did since then")
    ada.page.get_by_label("Since").fill(monday)
    ada.page.get_by_label("Why").fill("a night job went wrong")
    ada.press("Say what would be undone")
    ada.keep("operator-3-undo")
    ada.press("Undo it")
    assert in_state(by_two, "southland/known", EntryState.ACTIVE) == fallen, "it waits for a second person"
    assert ada.page.locator(".notice.info").count()
    grace = Visitor(browser, by_two.console, by_two.served.tokens["Grace"], java_script_enabled=False, **DESKTOP)
    grace.keep("operator-4-second-person")
    grace.take(grace.page.get_by_role("row").filter(has_text="Ada").get_by_role("link").first)
    grace.page.get_by_label("Token").fill("southland-night")
    grace.page.get_by_label("Since").fill(monday)
    grace.page.get_by_label("Why").fill("a night job went wrong")
    grace.press("Say what would be undone")
    grace.press("Undo it")
    assert in_state(by_two, "southland/known", EntryState.ACTIVE) == before
    grace.keep("operator-5-undone")
    for one in (ada, grace):
        one.context.close()


def test_a_meeting_works_through_conflicts(browser: Browser, full: Console, site: HubConsole) -> None:
    """By the keyboard alone."""
    operators(full, "Chair")
    chair = Visitor(browser, site, full.served.tokens["Chair"], **DESKTOP)
    page, keys = chair.page, chair.page.keyboard
    chair.enter("Conflicts")
    chair.keep("meeting-1-queue")
    first = page.locator("main table").nth(1).locator("td a").first.inner_text()
    party = full.hub.conflicts.get(AUDITOR, first).left.contributor
    chair.enter(first)
    chair.enter("What each of them states")
    chair.keep("meeting-2-conflict")
    chair.tab_to("Person or party")
    keys.type(f"contributors/{party}")
    chair.enter("Assign")
    chair.choose("It comes to", "decided for")
    chair.choose("Who is right", party)
    chair.tab_to("Why")
    keys.type("both looked again together")
    chair.enter("Resolve")
    page.get_by_text("Here the queue goes on").wait_for()
    assert page.locator("h1").inner_text() != f"Conflict {first}"
    done = full.hub.conflicts.get(AUDITOR, first)
    assert (done.state, done.resolutions[-1].comment) == (ConflictState.RESOLVED, "both looked again together")
    chair.enter("Reconciliation")
    chair.enter("overlap")
    page.locator("figure svg").wait_for()
    chair.keep("meeting-3-overlap")
    chair.enter("All questions")
    chair.enter("agreement")
    page.locator("figure svg").wait_for()
    chair.keep("meeting-4-agreement")
    assert not chair.told
    assert len(full.hub.conflicts.list(AUDITOR, ConflictFilter(states=(ConflictState.RESOLVED,)), 1000)[0]) == 1
    chair.context.close()


def test_a_moderators_hour(browser: Browser, desk: Desk) -> None:
    first, second, _ = filled(desk)
    ann = Moderator(browser, desk, **DESKTOP)
    page = ann.page
    ann.keep("moderator-1-queue")
    ann.take(page.get_by_role("link", name=first).first)
    ann.press("Category")
    ann.keep("moderator-2-upload")
    confirm = page.locator("form").filter(has=page.locator("button[value=confirm]"))
    confirm.get_by_label("Comment").fill("seen with the list's holder")
    ann.press("Confirm")
    assert desk.state(first) == "REMOVED"
    ann.go(upload(second))
    assert page.get_by_text("as bob sees it").count()
    ann.take(page.locator("button[value=release]"))  # as the second person of two
    assert desk.state(second) == "RELEASED"
    ann.press("Cases", inside="nav")
    ann.take(page.locator("main td a").first)
    ann.keep("moderator-3-case")
    held = page.locator("form").filter(has=page.locator("button[value=confirm]"))
    held.get_by_label("Reason").fill("the complaint holds")
    ann.press("The complaint holds")
    ann.go(f"/moderation/reports/{first}")
    page.get_by_label("To whom").fill("ncmec")
    page.get_by_label("Their number").fill("4711")
    ann.press("Note that it was filed")
    ann.keep("moderator-4-reports")
    assert [one.filed_as for one in desk.queue.get(first).reports] == ["4711"]
    assert not ann.told
    ann.context.close()


def test_an_incident_is_ended_from_a_phone(browser: Browser, full: Console, site: HubConsole) -> None:
    """A stolen token, at a width of 360 pixels."""
    operators(full, "Ada")
    stolen, secret = full.hub.tokens.create(
        OPERATOR, Principal(name="westland-lost", role=Role.CONTRIBUTOR, contributor="westland")
    )
    before = in_state(full, "westland/known", EntryState.ACTIVE)
    with Client(full.served.doors.grpc_address, secret) as hub:
        for entry in list(hub.list_entries("westland/known", [EntryState.ACTIVE]))[:3]:
            hub.withdraw_entry(entry.name, WithdrawalReason.ERROR)
    ada = Visitor(browser, site, full.served.tokens["Ada"], **PHONE)
    page = ada.page

    def seen(name: str) -> None:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360, name
        ada.keep(name)

    seen("incident-1-today")
    ada.press("Tokens", inside="nav")
    seen("incident-2-tokens")
    ada.take(page.get_by_role("link", name=stolen.name).first)
    ada.press("Delete, for good")
    page.get_by_label("Its name, once more").fill(stolen.name)
    ada.take(page.locator("button[value=delete]"))
    with Client(full.served.doors.grpc_address, secret, retry_seconds=0) as hub, pytest.raises(Unauthenticated):
        hub.caller()
    ada.press("History", inside="nav")
    page.get_by_label("By the token").fill(stolen.name)
    ada.press("Show")
    seen("incident-3-history")
    ada.press("Undo what a token did")
    page.get_by_label("Since").fill(f"{now() - timedelta(hours=1):%Y-%m-%dT%H:%M}")
    page.get_by_label("Why").fill("the token was stolen")
    ada.press("Say what would be undone")
    seen("incident-4-undo")
    ada.press("Undo it")
    assert in_state(full, "westland/known", EntryState.ACTIVE) == before
    seen("incident-5-undone")
    assert not ada.told
    ada.context.close()
