"""The moderator's pages at the hook's own address: two persons at once, strangers' words, and who is let in."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import item_of_hashes
from hashhub.desk.cases.life import Cases
from hashhub.desk.people import People
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue
from hashhub.desk.records import UploadState
from hashhub.desk.settings import HashingSite, QueueSettings, ReporterSettings
from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash
from hashhub.hook import Hook, HookSettings
from hashhub.hook.examiner import HubJudge
from hashhub.hook.settings import SidecarSettings
from hashhub.hook.sidecar.application import Sidecar
from hashhub.model import Coverage, ReasonLine, now
from tests.console.conftest import Browser, Page
from tests.desk.queue.parts import A, B, C
from tests.hook.conftest import HELD
from tests.hook.waiting import checked, hit, put, records_of

HOME = "/moderation/"


class Desk:
    """A sidecar whose hub is away, its records, and the browsers of persons."""

    def __init__(self, settings: HookSettings) -> None:
        self.settings = settings
        self.records = records_of(settings)
        self.people = People(self.records)
        self.queue = ReviewQueue(self.records, settings)
        self.rulings = Rulings(self.records, settings)
        self.cases = Cases(self.records, settings.case)
        self.tokens: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        self.sidecar = Sidecar(Hook(self.settings, judge=HubJudge(self.settings)))

    def stranger(self, **headers: str) -> Browser:
        browser = Browser(self.sidecar)
        browser.client.base_url = f"https://{self.settings.sidecar.listen}"
        browser.client.headers |= headers
        return browser

    def sign_in(self, name: str) -> Browser:
        if name not in self.tokens:
            self.tokens[name] = self.people.add(name, days=9, actor="account:root")
        browser = self.stranger()
        assert enter(browser, self.tokens[name]).url == HOME
        return browser

    def state(self, reference: str) -> UploadState:
        return self.queue.get(reference).state


def enter(browser: Browser, token: str) -> Page:
    return Page(browser.client.post("/moderation/sign-in/token", data={"token": token, "next": HOME}))


def opened_case(cases: Cases, **given: Any) -> str:
    usual: dict[str, Any] = {
        "purpose": CasePurpose.INTIMATE_IMAGE, "complaint": "T-1", "reason": "asked", "actor": "intake",
        "receive_time": now(),
    }  # fmt: skip
    item = item_of_hashes([Hash("MD5", secrets.token_bytes(16))])
    return cases.open(item, **{**usual, **given}).name


def upload(reference: str) -> str:
    return f"/moderation/uploads/{reference}"


def settings_for(directory: Path, **queue: Any) -> HookSettings:
    return HookSettings(
        policy="block",
        without_answer=HELD,
        data=str(directory / "hook"),
        hub="127.0.0.1:1",
        hashing=HashingSite.HUB,
        queue=QueueSettings(over_http=True, **queue),
        reporter=ReporterSettings(company="Example Ltd", email="reports@example.invalid"),
    )


@pytest.fixture
def desk_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Desk]:
    monkeypatch.setenv("HASHHUB_TOKEN", "hht_x")

    return lambda **queue: Desk(settings_for(tmp_path, **queue))


@pytest.fixture
def desk(desk_of: Callable[..., Desk]) -> Desk:
    return desk_of()


def test_the_next_one_comes_after_each_decision(desk: Desk) -> None:
    at = now() - timedelta(hours=1)
    first, second, third = (
        put(desk.records, checked(hit(entry), upload_id="U/1", time=at + timedelta(minutes=number)))
        for number, entry in enumerate((A, B, C))
    )
    ann = desk.sign_in("ann")
    assert [ann.get(HOME).text.count(one) > 0 for one in (first, second, third)] == [True] * 3
    assert ann.post(upload(first), "escalate", comment="new to us").url == upload(second)
    assert ann.post(upload(second), "confirm", comment="seen").url == upload(third)
    page = ann.post(upload(third), "release", code="FALSE_POSITIVE")
    assert page.url == upload(first)
    assert [desk.state(one) for one in (first, second, third)] == ["HELD", "REMOVED", "RELEASED"]
    said = [event for event in desk.queue.get(second).events if event.kind in {"upload.viewed", "upload.removed"}]
    assert [(event.kind, event.actor) for event in said] == [("upload.viewed", "ann"), ("upload.removed", "ann")]
    assert ann.post(upload(first), "confirm").url == HOME
    assert third in ann.get(f"{HOME}?state=RELEASED").text


def test_who_decides_second_is_told_and_overwrites_nothing(desk: Desk) -> None:
    reference = put(desk.records, checked(hit(A)))
    ann, bob = desk.sign_in("ann"), desk.sign_in("bob")
    pages = ann.get(upload(reference)), bob.get(upload(reference))
    asked = [(ann, pages[0], "confirm", {}), (bob, pages[1], "release", {"code": "FALSE_POSITIVE"})]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda one: one[0].send(one[1], one[2], comment="as I see it", **one[3]), asked))
    assert sorted(answer.status for answer in answers) == [200, 409]
    [late] = [answer for answer in answers if answer.status == 409]
    assert "nothing was decided" in late.words
    assert "as I see it" in late.text  # what was typed is not lost
    decided = desk.queue.get(reference)
    assert len(decided.rulings) == 1
    # A page that asks for its news says so as well; a form without what it was drawn from decides nothing.
    assert "Read it again" in ann.get(f"{upload(reference)}?drawn=earlier", **{"hx-request": "true"}).words
    again = "release" if decided.state is UploadState.REMOVED else "confirm"
    page = bob.get(upload(reference))
    assert bob.send(page, again, etag="", code="FALSE_POSITIVE").status == 409
    assert bob.send(page, again, code="FALSE_POSITIVE").status == 200


def test_a_release_takes_two_persons_who_say_the_same(desk_of: Callable[..., Desk]) -> None:
    desk = desk_of(two_person_release=True)
    reference, other = (put(desk.records, checked(hit(A))) for _ in range(2))
    ann, bob = desk.sign_in("ann"), desk.sign_in("bob")
    assert "another person must say the same" in ann.post(upload(reference), "release", code="FALSE_POSITIVE").words
    assert reference in bob.get(HOME).words.partition("Waits for a second person")[2]
    alone = ann.post(upload(reference), "release", code="FALSE_POSITIVE")
    assert (alone.status, desk.state(reference)) == (400, UploadState.HELD)
    differs = bob.post(upload(reference), "release", code="NOT_ILLEGAL_HERE")
    assert (differs.status, desk.state(reference)) == (409, UploadState.HELD)
    assert bob.post(upload(reference), "release").status == 200  # as ann said: it is chosen already
    assert desk.queue.get(reference).rulings[0].actors == ("ann", "bob")
    ann.post(upload(other), "release", code="OTHER", comment="a logo")
    assert bob.post(upload(other), "withdraw", comment="it is none").url == upload(other)
    assert desk.queue.proposal(other) is None


def test_who_was_removed_is_out_at_the_next_request(desk: Desk) -> None:
    reference = put(desk.records, checked(hit(A)))
    ann = desk.sign_in("ann")
    page = ann.get(upload(reference))
    desk.people.remove("ann", actor="account:root")
    assert ann.send(page, "confirm").status == 401
    assert ann.get(HOME).url.startswith("/moderation/sign-in")
    again = desk.people.add("ann", days=9, actor="account:root")
    assert ann.get(HOME).url.startswith("/moderation/sign-in")  # a new person, though of the same name
    assert desk.state(reference) is UploadState.HELD
    assert enter(ann, again).url == HOME


def test_guesses_are_bounded_and_lock_nobody_out(desk: Desk) -> None:
    desk.sign_in("ann")
    guesser = desk.stranger()
    statuses = [enter(guesser, f"hhp_{number}").status for number in range(30)]
    assert (set(statuses[:20]), set(statuses[20:])) == ({401}, {429})
    assert desk.sign_in("ann").get(HOME).status == 200  # from the same address
    assert guesser.get(HOME).url.startswith("/moderation/sign-in")


def test_the_sidecar_can_be_restarted_in_the_middle(desk: Desk) -> None:
    reference = put(desk.records, checked(hit(A)))
    ann = desk.sign_in("ann")
    page = ann.get(upload(reference))
    desk.start()
    after = desk.stranger()
    after.client.cookies = ann.client.cookies
    assert after.send(page, "confirm").status == 200
    assert desk.state(reference) is UploadState.REMOVED


@pytest.mark.parametrize(
    ("headers", "changed", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, {}, 403),
        ({"sec-fetch-site": "same-site"}, {}, 403),
        ({}, {"form_token": "0" * 64}, 403),
        ({"host": "evil.example"}, {}, 421),
        ({}, {}, 200),
    ],
)
def test_another_site_decides_nothing(
    desk: Desk, headers: dict[str, str], changed: dict[str, str], status: int
) -> None:
    reference = put(desk.records, checked(hit(A)))
    ann = desk.sign_in("ann")
    page = ann.get(upload(reference))
    ann.client.headers |= headers
    assert ann.send(page, "confirm", **changed).status == status
    assert desk.state(reference) is (UploadState.REMOVED if status == 200 else UploadState.HELD)


EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"


def test_what_strangers_write_is_text_on_every_page(desk: Desk) -> None:
    one = checked(hit(A), upload_id=EVIL, media_type=EVIL, door=EVIL)
    decision = msgspec.structs.replace(
        one.decision,
        reasons=(ReasonLine(code="LISTED", text=EVIL, clause=EVIL, entries=(EVIL,)),),
        coverage=Coverage(unsearched=(EVIL,), gaps=(ReasonLine(code="FRAMES_SKIPPED", text=EVIL),)),
    )
    reference = put(desk.records, msgspec.structs.replace(one, decision=decision))
    cases = desk.cases
    case = opened_case(cases, complaint=EVIL, reason=EVIL, places=(EVIL,))
    ann = desk.sign_in("ann")
    ann.post(upload(reference), "escalate", comment=EVIL)
    ann.post(upload(reference), "confirm", comment=EVIL)
    ann.post(f"/moderation/reports/{reference}", "reported", recipient=EVIL, filed_as=EVIL)
    drafted = ann.post(f"/moderation/reports/{reference}", "draft", to="NCA", facts="")
    refused = ann.post(f"/moderation/reports/{reference}", "draft", to=EVIL, facts=EVIL)
    pages = [drafted, refused]
    paths = ("", "cases", f"cases/{case}", "reports?filed=1", f"uploads/{reference}", "?state=REMOVED", EVIL)
    pages += [ann.get(f"{HOME}{path}") for path in paths]
    assert sum("&lt;script&gt;alert(1)" in page.text for page in pages) > 4
    for page in pages:
        names = {name for name, _ in page.read.elements}
        assert not names & {"img", "video", "audio", "iframe", "object", "embed", "source", "picture"}
        assert [has.get("src") for name, has in page.read.elements if name == "script"] == [
            "/moderation/static/htmx-2.0.11.min.js"
        ]
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"


def test_an_upload_of_which_much_is_known_is_no_large_page(desk: Desk) -> None:
    reasons = tuple(ReasonLine(code="LISTED", text="said " * 20, entries=(A,) * 3000) for _ in range(300))
    one = checked(*(hit(f"police-nl/known/{number}", "PDQ", 31, "turned") for number in range(3000)))
    reference = put(
        desk.records,
        msgspec.structs.replace(one, decision=msgspec.structs.replace(one.decision, reasons=reasons)),
    )
    with desk.records.transaction():
        for _ in range(1000):
            desk.records.note("upload.rechecked", reference)
    page = desk.sign_in("ann").get(upload(reference))
    assert (page.status, len(page.text) < 50_000, "3,000" in page.words) == (200, True, True)


def test_a_queue_of_ten_thousand_is_read_page_by_page(desk: Desk) -> None:
    with desk.records.transaction():
        for number in range(10_000):
            put(desk.records, checked(hit(f"police-nl/known/{number % 170}"), upload_id=f"U-{number}/1"))
    ann = desk.sign_in("ann")
    path, seen = HOME, 0
    while path:
        page = ann.get(path)
        assert len(page.text) < 50_000
        seen += sum(link.startswith("/moderation/uploads/") for link in page.read.links)
        path = next((f"{HOME}{link}" for link in page.read.links if "after=" in link), "")
    assert seen == 170


def test_a_case_is_led_to_its_end_and_the_late_ones_come_first(desk: Desk) -> None:
    cases = desk.cases
    late = opened_case(cases, receive_time=now() - timedelta(hours=50), places=("/a", "/b"))
    early = opened_case(cases)
    ann = desk.sign_in("ann")
    page = ann.get("/moderation/cases")
    assert page.text.index(late) < page.text.index(early)
    path = f"/moderation/cases/{late}"
    assert ann.post(path, "confirm", reason="").status == 400
    ann.post(path, "confirm", reason="looked at the request")
    assert ann.post(path, "taken_down", reason="deleted").status == 400  # which?
    ann.post(path, "taken_down", places=["/a"], reason="deleted")
    ann.post(path, "taken_down", places=["/b"], stays="1", reason="another picture")
    assert [copy.state for copy in cases.copies.listed(late)] == ["REMOVED", "STAYS"]
    ann.post(path, "dispute", reason="says it is art", by="U-9")
    assert ann.post(path, "close", outcome="UPHELD", reason="done").status == 400
    ann.post(path, "confirm", reason="it is not")
    ann.post(path, "close", outcome="UPHELD", reason="done", incomplete="1")
    assert late in ann.get("/moderation/cases?state=CLOSED").text
    assert {event["actor"] for event in cases.record(late).history[1:]} == {"ann"}


def test_a_case_is_opened_by_hashes(desk: Desk) -> None:
    ann, path = desk.sign_in("ann"), "/moderation/cases"
    given = {"purpose": "INTIMATE_IMAGE", "complaint": "T-9", "reason": "asked", "received": f"{now():%Y-%m-%dT%H:%MZ}"}
    for wrong in ({"hashes": "MD5:x"}, {"hashes": ""}, {"received": "soon"}, {"purpose": ""}, {"complaint": ""}):
        refused = ann.post(path, "open", **{"hashes": f"MD5:{'0a' * 16}", **given, **wrong})
        assert (refused.status, refused.form("open")["reason"]) == (400, ["asked"]), wrong
    page = ann.post(path, "open", hashes=f"MD5:{'0a' * 16}\n", places="/a\n/b", **given)
    [case] = desk.cases.listed()
    assert page.url == f"{path}/{case.name}"
    assert (case.opened_by, case.copies_there, case.complaint) == ("ann", 2, "T-9")


def test_a_report_is_drafted_and_noted_as_filed(desk: Desk) -> None:
    reference = put(desk.records, checked(hit(A)), state="REMOVED")
    ann = desk.sign_in("ann")
    path = f"/moderation/reports/{reference}"
    assert path in ann.get("/moderation/reports").read.links
    refused = ann.post(path, "draft", to="NCMEC", facts="note = 1")
    assert (refused.status, "note = 1" in refused.text) == (400, True)
    facts = '[incident]\ntype = "Child Sex Tourism"\nurls = ["https://example.invalid/1"]\n'
    assert "https://example.invalid/1" in ann.post(path, "draft", to="HOTLINE", facts=facts).words
    ann.post(path, "reported", recipient="ncmec", filed_as="123")
    assert path not in ann.get("/moderation/reports").read.links
    assert "ncmec 123" in ann.get("/moderation/reports?filed=1").words
    assert [event.kind for event in desk.records.events(subject=reference)][:2] == ["REPORT_DRAFTED", "report.filed"]


def test_the_pages_are_where_browsers_can_keep_a_session(desk_of: Callable[..., Desk]) -> None:
    for url in ("http://moderation.example", "https://moderation.example/path", "moderation.example"):
        with pytest.raises(InvalidArgument, match=r"queue\.url|https://HOST"):
            QueueSettings(url=url)
    desk = desk_of(url="https://moderation.example/")
    put(desk.records, checked(hit(A)))
    assert desk.stranger().get("/moderation/sign-in").status == 421
    assert desk.stranger(host="moderation.example").get("/moderation/sign-in").status == 200
    open_to_all = msgspec.structs.replace(
        desk_of().settings, sidecar=SidecarSettings(listen="0.0.0.0:8472", insecure_listen=True)
    )
    assert Desk(open_to_all).stranger().get("/moderation/sign-in").status == 404
