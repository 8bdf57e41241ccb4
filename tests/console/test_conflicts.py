"""Conflicts in the console: who sees which, what people decide at the same time, and a queue of many."""

from __future__ import annotations

import io
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest

from hashhub.client import Client
from hashhub.model import TLP, ConflictFilter, ConflictKind, ConflictState, HashSet, Marking
from tests.console.conftest import Browser, Console, Page

MANY = 130  # items, each with two conflicts
MAPPING = {"mapping": 'scheme = "ncmec-industry"\n[columns]\nmd5 = "md5"\nvalue = "value"\n'}
SCRIPT = '<script>alert("x")</script>'


def contradict(console: Console, operator: Client, name: str, value: str, first: int, count: int) -> None:
    """Have a contributor list so many items under one value."""
    console.as_contributor(name)
    marking = Marking(tlp=TLP.GREEN, bulk=True)
    operator.create_hash_set(HashSet(contributor=name, id="known", scheme="ncmec-industry", marking=marking))
    rows = "".join(f"{number:032x},{value}\n" for number in range(first, first + count))
    operator.import_source(
        io.BytesIO(f"md5,value\n{rows}".encode()), hash_set=f"{name}/known", connector="csv", options=MAPPING
    )


@pytest.fixture(scope="module")
def operator(console: Console) -> Iterator[Client]:
    """The API, for a hub where alpha and beta contradict each other about many items, gamma and delta about two."""
    served = console.served
    with Client(served.doors.grpc_address, served.tokens["OPERATOR"], timeout=60.0) as client:
        for name, value, first, count in (
            ("alpha", "A1", 1, MANY),
            ("beta", "B2", 1, MANY),
            ("gamma", "A1", 5_000, 6),
            ("delta", "B2", 5_000, 6),
        ):
            contradict(console, client, name, value, first, count)
        assert client.await_conflicts(120)
        yield client


def of_two(operator: Client) -> list[str]:
    """Return the names of the open conflicts of gamma and delta in what is done."""
    wanted = ConflictFilter(contributor="gamma", kinds=(ConflictKind.ACT,), states=(ConflictState.OPEN,))
    return [c.name for c in operator.list_conflicts(wanted)]


def rows(page: Page) -> list[str]:
    """Return the addresses of the conflicts that a page of the queue lists."""
    return [link for link in page.read.links if link.startswith("/conflicts/")]


def following(page: Page) -> str:
    """Return where the page leads on to."""
    links = (a["href"] for tag, a in page.read.elements if tag == "a" and a.get("rel") == "next")
    return next((urljoin(page.url, link) for link in links), "")


def test_many_are_listed_by_cursor_in_pages_that_stay_small(console: Console, operator: Client) -> None:
    browser, path, seen = console.as_operator(), "/conflicts?contributor=alpha", []
    while path:
        page = browser.get(path)
        assert page.status == 200
        assert len(page.text.encode()) < 50_000
        seen += [link.partition("?")[0] for link in rows(page)]
        assert len(rows(page)) <= 50
        path = following(page)
    assert len(seen) == len(set(seen)) == 2 * MANY
    assert f"{MANY}" in browser.get("/conflicts?contributor=alpha").words
    whole, counts = (operator.summarise_conflicts(counts_only=only) for only in (False, True))
    assert counts.counts == whole.counts
    assert whole.contributors
    assert not counts.contributors


def test_a_contributor_sees_its_own_conflicts_only(console: Console, operator: Client) -> None:
    name = of_two(operator)[0]
    for who in (console.as_operator(), console.as_auditor(), console.as_contributor("gamma")):
        assert any(name in link for link in rows(who.get("/conflicts?kind=ACT&contributor=gamma")))
        assert who.get(f"/conflicts/{name}").status == 200
    stranger = console.as_contributor("alpha")
    assert stranger.get(f"/conflicts/{name}").status == 404
    page = stranger.get("/conflicts?contributor=gamma")
    assert not rows(page)
    assert "delta" not in page.text
    assert console.as_consumer().get("/conflicts").status == 403
    for who, may in ((console.as_auditor(), set()), (console.as_contributor("gamma"), {"resolve"})):
        assert set(who.get(f"/conflicts/{name}").read.forms) - {"leave"} == may


def test_a_queue_is_worked_through_to_its_end(console: Console, operator: Client) -> None:
    browser: Browser = console.as_operator()
    queue = browser.get("/conflicts?contributor=gamma&kind=AGE_BAND&state=OPEN")
    page, done = browser.get(rows(queue)[0]), []
    while "resolve" in page.read.forms:
        done.append(page.url.partition("?")[0])
        page = browser.send(page, "resolve", reason="LEFT_STANDING", comment="their criteria differ")
        assert page.status == 200
    assert done == [link.partition("?")[0] for link in rows(queue)]
    assert not rows(browser.get("/conflicts?contributor=gamma&kind=AGE_BAND&state=OPEN"))
    assert len(rows(browser.get("/conflicts?contributor=gamma&kind=AGE_BAND&state=RESOLVED"))) == 6


def test_what_is_typed_is_kept_when_it_is_refused(console: Console, operator: Client) -> None:
    browser, path = console.as_operator(), f"/conflicts/{of_two(operator)[0]}"
    for fields in ({"reason": "", "comment": SCRIPT}, {"reason": "DECIDED_FOR", "comment": SCRIPT}):
        page = browser.post(path, "resolve", **fields)
        assert page.status == 400
        assert page.form("resolve")["comment"] == [SCRIPT]
        assert page.form("resolve")["reason"] == [fields["reason"]]
    assert browser.post(path, "assign", assignee="contributors/alpha").status == 400
    assert browser.get("/conflicts?kind=NONSENSE").status == 400
    assert browser.get("/conflicts?after=damaged").status == 400


def test_what_people_write_is_text(console: Console, operator: Client) -> None:
    browser, name = console.as_operator(), of_two(operator)[1]
    browser.post(f"/conflicts/{name}", "assign", assignee=SCRIPT)
    console.as_contributor("gamma").post(f"/conflicts/{name}", "resolve", reason="OTHER", comment=f"view {SCRIPT}")
    browser.post(f"/conflicts/{name}", "resolve", reason="OTHER", comment=f"word {SCRIPT}")
    page = browser.get(f"/conflicts/{name}")
    for shown in (page, browser.get(f"/conflicts?contributor=gamma&assignee={SCRIPT}")):
        assert shown.status == 200
        assert SCRIPT in shown.words
        assert [a for tag, a in shown.read.elements if tag == "script"] == [
            {"src": "/static/htmx-2.0.11.min.js", "defer": ""}
        ]
    assert "view" in page.words
    assert f"view {SCRIPT}" not in console.as_contributor("delta").get(f"/conflicts/{name}").words


def test_two_people_at_once_are_told_and_nothing_is_overwritten(console: Console, operator: Client) -> None:
    name = of_two(operator)[2]
    ann, bob = console.as_person("Ann"), console.as_person("Bob")
    drawn = {who: who.get(f"/conflicts/{name}") for who in (ann, bob)}
    assert ann.send(drawn[ann], "resolve", reason="LEFT_STANDING", comment="by Ann").status == 200
    late = bob.send(drawn[bob], "resolve", reason="CORRECTED", comment="by Bob")
    assert late.status in {400, 409}
    assert "by Ann" in late.words
    assert [r.comment for r in operator.get_conflict(name).resolutions] == ["by Ann"]
    reopened = bob.post(f"/conflicts/{name}", "reopen", comment="too soon")
    assert "resolve" in reopened.read.forms
    assert operator.get_conflict(name).state is ConflictState.OPEN


def test_categories_are_folded_and_titles_tell_nothing(console: Console, operator: Client) -> None:
    page = console.as_operator().get(f"/conflicts/{of_two(operator)[0]}")
    outside = page.text.partition("<details")[0] + page.text.rpartition("</details>")[2]
    assert "prepubescent" in page.text
    for word in ("prepubescent", "penetrative", "csam"):
        assert word not in outside
    assert "<title>hashhub console</title>" in page.text


def test_many_are_changed_after_they_were_counted(console: Console, operator: Client) -> None:
    browser, path = console.as_operator(), "/conflicts?contributor=alpha&kind=ACT"
    assert "change" not in browser.get("/conflicts").read.forms
    assert "change" not in console.as_contributor("alpha").get(path).read.forms
    page = browser.post(path, "change", action="RESOLVE", reason="LEFT_STANDING", comment=SCRIPT)
    assert f"Would be changed {MANY}" in page.words
    assert page.form("change")["comment"] == [SCRIPT]
    assert not list(operator.list_conflicts(ConflictFilter(contributor="alpha", states=(ConflictState.RESOLVED,))))
    fewer = browser.send(page, "change", expected_count=str(MANY - 1))
    assert fewer.status == 400
    done = browser.send(page, "change")
    assert f"Changed {MANY}" in done.words
    assert {
        c.state for c in operator.list_conflicts(ConflictFilter(contributor="alpha", kinds=(ConflictKind.ACT,)))
    } == {ConflictState.RESOLVED}
    assert browser.post(path, "change", action="RESOLVE", comment="x").status == 400


def test_a_long_change_is_told_as_it_goes_and_goes_on_where_it_was_cut_off(
    console: Console, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.console.conflicts.SECONDS_AT_ONCE", 0.0)
    monkeypatch.setattr("hashhub.hub.conflicts.AT_ONCE", 50)
    browser, path = console.as_operator(), "/conflicts?contributor=beta&kind=AGE_BAND"
    revision = console.hub.revision()
    page = browser.send(browser.post(path, "change", action="ASSIGN", assignee="Ann"), "change")
    assert f"Looked at: 50 / {MANY}" in page.words
    assert 'data-hx-trigger="load"' in page.text
    for done in ("Looked at: 100", f"Changed {MANY}"):
        again = browser.send(page, "change")  # of which the answer was lost
        page = browser.send(page, "change")
        assert done in page.words
        assert again.words == page.words
    assert {e.kind for e in operator.list_events(limit=MANY)} == {"CONFLICT_ASSIGNED"}
    assert console.hub.revision() == revision + MANY
    page.read.forms["change"] |= {"after": ["x"], "so_far": ["{"]}
    assert browser.send(page, "change").status == 400


def test_who_assigned_it_meanwhile_is_told(console: Console, operator: Client) -> None:
    name = of_two(operator)[3]
    ann, bob = console.as_person("Ann"), console.as_person("Bob")
    drawn = {who: who.get(f"/conflicts/{name}") for who in (ann, bob)}
    assert ann.send(drawn[ann], "assign", assignee="Ann").status == 200
    assert bob.send(drawn[bob], "resolve", reason="CORRECTED", comment="unaware of Ann").status == 409
    late = bob.send(drawn[bob], "assign", assignee="Bob")
    assert late.status == 409
    assert late.form("assign")["assignee"] == ["Bob"]
    assert "Assignee Ann" in late.words
    assert operator.get_conflict(name).assignee == "Ann"
