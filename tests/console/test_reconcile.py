"""Reconciliation in the console: questions that take a while, results of any size, and who reads them."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest

from hashhub.client import Client
from hashhub.model import TLP, Contributor, ContributorKind, HashSet, Marking
from hashhub.testing.lists import list_file, random_items
from tests.console.conftest import Browser, Console, Page, Serve

ITEMS = random_items(90, seed=77, values=("1", "2"))
SCRIPT = "<script>alert(1)</script>"


def stated(operator: Client, name: str, jurisdiction: str, first: int, end: int) -> None:
    operator.create_contributor(
        Contributor(id=name, display_name=SCRIPT, kind=ContributorKind.HOTLINE, jurisdiction=jurisdiction)
    )
    marking = Marking(tlp=TLP.GREEN, bulk=True)
    operator.create_hash_set(HashSet(contributor=name, id="known", scheme="vic-us", marking=marking))
    content = list_file("vics-2.0", ITEMS[first:end]).data
    operator.import_source(io.BytesIO(content), hash_set=f"{name}/known", connector="vics")


@pytest.fixture(scope="module")
def operator(console: Console) -> Iterator[Client]:
    served = console.served
    with Client(served.doors.grpc_address, served.tokens["OPERATOR"], timeout=60.0) as client:
        stated(client, "nl", "NL", 0, 20)
        stated(client, "us", "US", 10, 90)
        yield client


def asked(browser: Browser, what: str, **fields: str) -> str:
    """Ask a question, and return the address of its page."""
    page = browser.post("/reconciliation", "start", what=what, **fields)
    assert page.status == 200, page.words
    assert page.url.startswith("/reconciliation/")
    return page.url


def ended(browser: Browser, url: str) -> Page:
    """Load a page again, as a person without script does, until the operation has ended."""
    until = time.monotonic() + 180
    while "hx-get" in (page := browser.get(url)).text and time.monotonic() < until:
        assert page.status == 200
        time.sleep(0.2)
    assert page.status == 200
    return page


def test_overlap_is_a_matrix_and_a_chart(console: Console, operator: Client) -> None:
    browser = console.as_operator()
    page = ended(browser, asked(browser, "overlap", by="JURISDICTION", contributors="nl, us"))
    assert "<svg" in page.text
    assert "NL 20 10 - 10" in page.words
    assert "US 80 70 10 -" in page.words
    by_contributor = ended(browser, asked(browser, "overlap", by="CONTRIBUTOR", near="1", contributors="nl us"))
    assert "/conflicts?contributor=nl&other=us" in by_contributor.read.links


def test_gaps_are_a_work_list_by_cursor(console: Console, operator: Client) -> None:
    browser = console.as_operator()
    first = ended(browser, asked(browser, "gaps", jurisdiction="nl", contributors="nl us"))
    assert "70 items that others hold and NL lacks." in first.words
    path, entries, pages = first.url, set(), 0
    while path:
        page = browser.get(path)
        pages += 1
        assert len(page.text.encode()) < 50_000
        entries |= {link for link in page.read.links if link.startswith("/entries/us/known/")}
        links = (a["href"] for tag, a in page.read.elements if tag == "a" and a.get("rel") == "next")
        path = next((urljoin(first.url, link) for link in links), "")
    assert (pages, len(entries)) == (2, 70)
    refused = browser.post("/reconciliation", "start", what="gaps", jurisdiction="Netherlands")
    assert refused.status == 400
    assert refused.form("start")["jurisdiction"] == ["Netherlands"]


def test_agreement_leads_from_dimensions_to_contributors(console: Console, operator: Client) -> None:
    browser = console.as_operator()
    page = ended(browser, asked(browser, "agreement"))
    dimensions = [link for link in page.read.links if "?dimension=" in link]
    assert dimensions
    for link in dimensions:
        shown = browser.get(link)
        assert shown.status == 200
        assert {"nl", "us"} <= set(shown.words.split())
        assert len(shown.text.encode()) < 50_000


def test_the_report_is_the_one_that_the_command_writes_and_can_do_nothing(console: Console, operator: Client) -> None:
    browser = console.as_operator()
    url = asked(browser, "report", title=SCRIPT)
    link = next(a for a in ended(browser, url).read.links if a.endswith("/report"))
    page = browser.get(link)
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "sandbox;" in policy
    assert "default-src 'none'" in policy
    assert SCRIPT not in page.text
    assert SCRIPT in page.words
    assert browser.get(url.replace("op-", "op-0")).status == 404


def test_whoever_may_not_know_of_a_question_does_not(console: Console, operator: Client) -> None:
    by_operator = asked(console.as_operator(), "overlap", by="HASH_SET")
    member, auditor = console.as_contributor("gb"), console.as_auditor()
    assert member.get(by_operator).status == 404
    assert by_operator not in member.get("/reconciliation").read.links
    assert ended(auditor, by_operator).status == 200
    assert "delete" not in auditor.get(by_operator).read.forms
    own = asked(member, "overlap", by="CONTRIBUTOR")
    assert ended(member, own).status == 200
    assert console.as_consumer().get("/reconciliation").status == 403
    assert member.post(own, "delete").url == "/reconciliation"
    assert member.get(own).status == 404


def test_contributors_are_named_only_where_terms_allow(console: Console, operator: Client) -> None:
    operator.create_contributor(
        Contributor(id="secretive", display_name="Secretive", kind=ContributorKind.HOTLINE, jurisdiction="FR")
    )
    secret = Marking(tlp=TLP.RED, bulk=True, recipients=("contributors/nl",))
    operator.create_hash_set(HashSet(contributor="secretive", id="known", scheme="vic-us", marking=secret))
    content = list_file("vics-2.0", ITEMS[:20]).data
    operator.import_source(io.BytesIO(content), hash_set="secretive/known", connector="vics")
    member = console.as_contributor("gb")
    for what, fields in (("overlap", {"by": "CONTRIBUTOR"}), ("gaps", {"jurisdiction": "IE"}), ("agreement", {})):
        assert "secretive" not in ended(member, asked(member, what, **fields)).text
    assert "secretive" in ended(console.as_operator(), asked(console.as_operator(), "overlap", by="CONTRIBUTOR")).text


def test_a_failure_is_told_and_a_restart_changes_nothing(serve_console: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    console = serve_console()
    browser = console.as_operator()
    done = asked(browser, "overlap", by="CONTRIBUTOR")
    before = ended(browser, done).words

    def fail(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(console.hub.reconciliation, "run", fail)
    page = ended(browser, asked(browser, "agreement"))
    assert "No space left on device" in page.words
    assert "Ask again" in page.words
    assert "No space left on device" in browser.get("/reconciliation").words
    assert browser.get(done).words.partition("asked")[0] == before.partition("asked")[0]


def test_many_contributors_stay_on_a_small_page(console: Console, operator: Client) -> None:
    browser, names = console.as_operator(), [f"{'m' * 40}-{number}" for number in range(10)]
    for name in names:
        stated(operator, name, "AT", 0, 3)
    for chosen in (names[:8], names):
        page = ended(browser, asked(browser, "overlap", by="CONTRIBUTOR", contributors=" ".join(chosen)))
        assert len(page.text.encode()) < 50_000
        assert ("<svg" in page.text) is (len(chosen) == 8)
        assert all(name in page.words for name in chosen)
