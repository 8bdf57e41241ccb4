"""Lists and what became of them, as their contributor sees them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hashhub import v1
from hashhub.client import Client
from hashhub.model import HashSet
from tests.console.conftest import Console, Serve
from tests.console.test_hand_over import lines, md5, upload


@pytest.fixture
def here(serve_console: Serve) -> Iterator[Console]:
    made = serve_console()
    with Client(made.served.doors.grpc_address, made.served.tokens["CONTRIBUTOR"]) as hub:
        hub.create_hash_set(HashSet(contributor="home", id="list", display_name="<b>Liste</b>"))
        yield made


def test_findings_are_a_work_list_by_reason(here: Console) -> None:
    browser = here.as_contributor()
    broken = b"".join(b"MD5:%02x\n" % i for i in range(70))
    page = upload(browser, lines(1, 1) + broken)
    page = browser.get(next(link for link in page.read.links if "/imports/" in link))
    by_reason = next(link for link in page.read.links if "reason=DIGEST_WRONG_LENGTH" in link)
    page = browser.get(by_reason)
    assert page.text.count("<td>line ") == 50
    more = next(link for link in page.read.links if "after=" in link)
    page = browser.get(page.url.partition("?")[0] + more)
    assert page.text.count("<td>line ") == 20
    assert "line 72" in page.words
    assert "The digest has the wrong length" in page.words


def test_a_contributor_sees_its_own_lists_and_an_operator_all(here: Console) -> None:
    here.as_contributor("other")
    own, others = here.as_contributor().get("/lists"), here.as_contributor("other").get("/lists")
    assert "/lists/home/list" in own.read.links
    assert "<b>" not in own.text
    assert "/lists/home/list" not in others.read.links
    assert here.as_contributor("other").get("/lists/home/list").status == 403
    assert "/lists/home/list" in here.as_operator().get("/lists").read.links
    assert here.as_operator().get("/lists/home/list").status == 200


def test_an_open_import_is_cancelled_from_the_list(here: Console) -> None:
    request = v1.CreateImportRequest(parent="contributors/home/hashSets/list")
    getattr(request, "import").MergeFrom(v1.Import(connector="x", connector_version="1", source_digest=md5(1) * 2))
    here.served.call("ContributionService/CreateImport", request, v1.Import, who="CONTRIBUTOR")
    browser = here.as_contributor()
    path = next(link for link in browser.get("/lists/home/list").read.links if "/imports/" in link)
    page = browser.post(path, "cancel")
    assert "cancel" not in page.read.forms
