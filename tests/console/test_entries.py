"""Entries and history in the console: who may do what, one and many, by one and by two, told and never overwritten."""

from __future__ import annotations

import io
import zlib
from datetime import timedelta
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import pytest

from hashhub.client import Client
from hashhub.hashing import hash_media
from hashhub.model import TLP, EntryState, Group, HashSet, Marking, Principal, ReviewKind, Role, WithdrawalReason, now
from hashhub.testing import lists
from hashhub.testing.pictures import picture
from tests.console.conftest import Browser, Console, Page, Serve
from tests.server.conftest import OPERATOR

SCRIPT = "\"><script>alert(1)</script><img src=x onerror='alert(1)'>"
OPEN = Marking(tlp=TLP.GREEN, bulk=True)


def client(console: Console, who: str = "OPERATOR") -> Client:
    return Client(console.served.doors.grpc_address, console.served.tokens[who])


def listed(console: Console, name: str, folder: Path, *, count: int = 60, marking: Marking = OPEN) -> list[str]:
    """Return the names of the entries of a new hash set, each with a hash of its own."""
    contributor, _, set_id = name.partition("/")
    with client(console) as hub:
        hub.create_hash_set(HashSet(contributor=contributor, id=set_id, scheme="vic-us", marking=marking))
        items = lists.random_items(count, seed=zlib.crc32(name.encode()), values=("1", "2"))
        (path := folder / "list.json").write_bytes(lists.list_file("vics-2.0", items).data)
        hub.import_source(path, hash_set=name, connector="vics")
        return [entry.name for entry in hub.list_entries(name)]


def forms(page: Page) -> set[str]:
    return set(page.read.forms) - {"leave"}


def test_each_role_is_offered_what_it_may_do(console: Console, tmp_path: Path) -> None:
    [entry, *_] = listed(console, "home/roles", tmp_path)
    other = console.as_contributor("other")
    expected = {
        f"/entries/{entry}": (
            {"withdraw", "quarantine", "erase", "review"}, set(), {"withdraw", "review"}, {"review"}
        ),
        "/search": ({"search"},) * 4,
        "/change": ({"dry_run"}, set(), {"dry_run"}, {"dry_run"}),
        "/history": (set(),) * 4,
        "/objections": (set(),) * 4,
        "/entries?hash_set=home/roles": (set(),) * 4,
    }  # fmt: skip
    for path, offered in expected.items():
        for browser, may in zip(
            (console.as_operator(), console.as_auditor(), console.as_contributor(), other), offered, strict=True
        ):
            page = browser.get(path)
            assert (page.status, forms(page)) == (200, may), path
        assert console.as_consumer().get(path).status == (200 if forms(page) == {"search"} or "change" in path else 403)
    assert console.as_consumer().post("/search", "search", hash_set="home/roles").status == 403
    # What a page leaves out the hub refuses.
    page = console.as_operator().get(f"/entries/{entry}")
    for browser, do in ((other, "withdraw"), (other, "quarantine"), (console.as_contributor(), "quarantine")):
        page.read.forms[do]["form_token"] = browser.get("/reader").form("keep")["form_token"]
        assert browser.send(page, do, reason="ERROR").status == 403
    with client(console) as hub:
        assert hub.get_entry(entry).state is EntryState.ACTIVE


def test_an_entry_is_withdrawn_and_taken_back_and_a_stale_page_is_told(console: Console, tmp_path: Path) -> None:
    [name, *_] = listed(console, "home/one", tmp_path)
    home, path = console.as_contributor(), f"/entries/{name}"
    stale = home.get(path)
    assert "vic-us" not in stale.words.split("Category, and what the source says")[0]  # folded until asked for
    refused = home.send(stale, "withdraw", reason="OTHER", comment="")
    assert refused.status == 400
    done = home.send(stale, "withdraw", reason="OTHER", comment="a logo")
    assert (done.status, done.url) == (200, path)
    assert "restore" in forms(done)
    for review in ("x", "9" * 30):
        done.read.forms["set_aside"], done.read.actions["set_aside"] = done.form("review"), path
        assert home.send(done, "set_aside", review=review, why="x").status == 400
    told = console.as_operator().send(stale_of(stale, console.as_operator()), "quarantine")
    assert told.status == 409
    assert "changed since" in told.words
    assert home.post(path, "restore", note="no logo").status == 200
    with client(console) as hub:
        assert hub.get_entry(name).state is EntryState.ACTIVE
        kinds = [e.kind for e in hub.list_events(name)]
    assert kinds == ["ENTRIES_RESTORED", "ENTRIES_WITHDRAWN", "IMPORT_COMMITTED"]
    operator = console.as_operator()
    for do in ("quarantine", "release"):
        assert operator.post(path, do).status == 200
    assert operator.post(path, "erase", confirm="home/one/2").status == 400
    assert operator.post(path, "erase", confirm=name).status == 200
    assert "erased" in operator.get(path).words


def stale_of(page: Page, browser: Browser) -> Page:
    """Return a page that another browser drew, as a form of this browser's."""
    token = browser.get("/reader").form("keep")["form_token"]
    page.read.forms["quarantine"] = {**page.form("withdraw"), "form_token": token}
    page.read.actions["quarantine"] = page.url
    return page


def test_what_is_searched_stands_in_no_url_and_a_file_stays_in_memory(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [name, *_] = listed(console, "home/searched", tmp_path)
    picture(7, (1600, 1200)).save(buffer := io.BytesIO(), "PNG")
    content = buffer.getvalue()
    assert len(content) > 1 << 20
    pdq = next(h for h in hash_media(content).frames[0].hashes if h.algorithm == "PDQ")
    (tmp_path / "file.txt").write_text(pdq.digest.hex() + "\n")
    with client(console) as hub:
        digest = hub.get_entry(name).hashes[0].text
        hub.create_hash_set(HashSet(contributor="home", id="file", marking=OPEN))
        hub.import_source(
            tmp_path / "file.txt", hash_set="home/file", connector="hash-lines", options={"algorithm": "PDQ"}
        )
    home = console.as_contributor()
    found = home.post("/search", "search", hashes=digest)
    assert (found.status, found.url) == (200, "/search")
    assert f"/entries/{name}" in found.read.links

    def no_disk(*_: Any) -> None:
        raise AssertionError("an upload was written to a disk")

    monkeypatch.setattr(SpooledTemporaryFile, "rollover", no_disk)
    page = home.post("/search", "search", files={"file": ("case.png", content, "image/png")})
    assert "/entries/home/file/1" in page.read.links
    assert "case.png" not in page.text
    assert console.as_contributor("other").post("/search", "search", hashes="MD5:x").status == 400
    assert home.post("/search", "search", files={"file": ("big", bytes(31 << 20), "image/png")}).status == 413


def test_pages_go_on_while_entries_change(console: Console, tmp_path: Path) -> None:
    names = listed(console, "home/pages", tmp_path, count=120)
    home = console.as_contributor()
    page = home.get("/entries?hash_set=home/pages&state=ACTIVE")
    assert len(page.text) < 50_000
    seen = [*rows_of(page)]
    for gone in (names[0], names[60]):
        assert home.post(f"/entries/{gone}", "withdraw", reason="ERROR").status == 200
    while following := [link for link in page.read.links if "after=" in link]:
        page = home.get(f"/entries{following[0]}")
        seen += rows_of(page)
    assert seen == [name for name in names if name != names[60]]
    found = home.post("/search", "search", text="", hash_set="home/pages")
    again = home.send(found, "search", **{k: v[-1] for k, v in found.form("search").items()})
    assert {*rows_of(found)}.isdisjoint(rows_of(again))
    assert len(rows_of(again)) == 50


def rows_of(page: Page) -> list[str]:
    return [link.removeprefix("/entries/") for link in page.read.links if link.startswith("/entries/")]


def test_many_are_changed_after_a_dry_run_of_just_this(console: Console, tmp_path: Path) -> None:
    names = listed(console, "home/many", tmp_path)
    operator = console.as_operator()
    told = operator.post("/change", "dry_run", names="\n".join(names[:3]), action="WITHDRAW", reason="ERROR")
    assert "What would be done" in told.words
    with client(console) as hub:

        def withdrawn() -> int:
            return sum(1 for _ in hub.list_entries("home/many", [EntryState.WITHDRAWN]))

        # Another selection than was told of is told first, and done by none of both.
        other = operator.send(told, "change", names="\n".join(names[:2]))
        assert ("What would be done" in other.words, withdrawn()) == (True, 0)
        done = operator.send(told, "change")
        assert ("What was done" in done.words, withdrawn()) == (True, 3)
        back = operator.send(done, "dry_run")
        assert operator.send(back, "change").status == 200
        assert withdrawn() == 0
        # More than were told of are not touched.
        told = operator.post("/change", "dry_run", hash_set="home/many", state="ACTIVE", action="QUARANTINE")
        hub.quarantine_entry(names[0])
        fewer = operator.post("/change", "dry_run", hash_set="home/many", state="ACTIVE", action="QUARANTINE")
        hub.release_entry(names[0])
        refused = operator.send(fewer, "change")
        assert (refused.status, "look again" in refused.words) == (400, True)
        assert operator.send(told, "change").status == 200
        assert hub.get_entry(names[5]).state is EntryState.QUARANTINED


def test_objections_are_a_work_list_that_is_answered(console: Console, tmp_path: Path) -> None:
    first, second, *_ = listed(console, "home/objected", tmp_path)
    other, home = console.as_contributor("other"), console.as_contributor()
    for name in (first, second):
        assert other.post(f"/entries/{name}", "review", kind="FALSE_POSITIVE", said=SCRIPT).status == 200
    page = home.get("/objections?hash_set=home/objected")
    assert rows_of(page) == [second, first]
    assert page.words.count(SCRIPT) == 2
    assert home.post(f"/entries/{first}", "review", kind="CONFIRMED", said="looked again").status == 200
    operator = console.as_operator()
    assert operator.post(f"/entries/{second}", "set_aside", why="a mistake").status == 200
    page = home.get("/objections?hash_set=home/objected")
    assert "looked again" in page.words
    assert "set aside: a mistake" in page.words
    assert "/objections?hash_set=home/objected" not in other.get("/objections").text


def test_others_see_what_the_terms_say(console: Console, tmp_path: Path) -> None:
    console.as_contributor("other")
    marking = Marking(tlp=TLP.AMBER, recipients=("contributors/other",), permitted_purposes=("moderation",))
    listed(console, "home/seen", tmp_path, marking=marking)
    for browser in (console.as_contributor(), console.as_operator(), console.as_auditor()):
        words = browser.get("/terms/home/seen").words
        assert "contributors/other answer" in words
        assert "Everybody -" in words


def test_what_others_wrote_is_text(console: Console, tmp_path: Path) -> None:
    [name, *_] = listed(console, "home/evil", tmp_path)
    item = lists.ListItem(digests=(("MD5", "ab" * 16),), value="1", external_id=SCRIPT, series=SCRIPT, tags=(SCRIPT,))
    (path := tmp_path / "evil.json").write_bytes(lists.list_file("vics-2.0", [item]).data)
    with client(console) as hub:
        hub.import_source(path, hash_set="home/evil", connector="vics")
        evil = list(hub.list_entries("home/evil"))[-1].name
        hub.create_review(evil, ReviewKind.CONFIRMED, SCRIPT)
        hub.withdraw_entry(evil, WithdrawalReason.OTHER, SCRIPT)
        revision = next(hub.list_events(evil)).revision
    operator = console.as_operator()
    for where in (f"/entries/{evil}", "/entries?hash_set=home/evil", "/objections", "/history", f"/history/{revision}"):
        page = operator.get(where)
        assert page.status == 200
        assert not [has for tag, has in page.read.elements if tag in {"img", "video", "iframe"} or "onerror" in has]
        assert len([1 for tag, _ in page.read.elements if tag == "script"]) == 1
    assert SCRIPT in operator.get(f"/entries/{evil}").words
    assert SCRIPT in operator.get(f"/history/{revision}").words
    assert operator.get(f"/entries/{name}/../../../x").status == 400


def test_the_history_is_filtered_and_an_event_redacted(console: Console, tmp_path: Path) -> None:
    [name, *_] = listed(console, "home/told", tmp_path)
    home, operator = console.as_contributor(), console.as_operator()
    assert home.post(f"/entries/{name}", "withdraw", reason="OTHER", comment="words that go").status == 200
    page = home.get("/history?subject=home/told&kind=ENTRIES_WITHDRAWN")
    [link] = [link for link in page.read.links if link.startswith("/history/")]
    assert "words that go" in home.get(link).words
    assert "redact" not in forms(home.get(link))
    other = console.as_contributor("other").get(f"/history/{link.split('/')[2].partition('?')[0]}")
    assert (other.status, "words that go" in other.words, "home-token" in other.words) == (200, False, False)
    assert operator.post(link, "redact").status == 200
    assert "words that go" not in operator.get(link).words
    assert operator.get("/history?since=yesterday").status == 400
    assert operator.get("/history/x").status == 404
    for i in range(50):
        console.hub.groups.create(OPERATOR, Group(id=f"told-{i}"))
    page = operator.get("/history")
    rows = [link for link in page.read.links if link.startswith("/history/")]
    assert len(rows) == 50
    [more] = [link for link in page.read.links if "after=" in link]
    assert not {*rows} & {*operator.get(f"/history{more}").read.links}


def test_two_undo_what_a_token_did(serve_console: Serve, tmp_path: Path) -> None:
    console = serve_console(second_person=True)
    ada, grace = console.as_person("Ada"), console.as_person("Grace")
    thief = Principal(name="thief", role=Role.CONTRIBUTOR, contributor="home")
    _, console.served.tokens["thief"] = console.hub.tokens.create(OPERATOR, thief)
    [name, *_] = listed(console, "home/known", tmp_path, marking=Marking())
    with client(console, "thief") as hub:
        hub.withdraw_entry(name, WithdrawalReason.ERROR)
    filled = {"actor": "thief", "since": f"{now() - timedelta(days=1):%Y-%m-%dT%H:%M}", "comment": "stolen"}
    with client(console) as hub:
        for browser, state, told in ((ada, EntryState.WITHDRAWN, "info"), (grace, EntryState.ACTIVE, "good")):
            would = browser.post("/revert", "dry_run", **filled)
            page = browser.send(would, "revert")
            assert (page.status, hub.get_entry(name).state) == (200, state)
            assert [1 for _, has in page.read.elements if has.get("class") == f"notice {told}"]
        event = next(hub.list_events(kinds=["ACTOR_REVERTED"]))
        assert {event.actor.person, event.actor.second_person} == {"Ada", "Grace"}
        for browser, state in ((ada, EntryState.ACTIVE), (grace, EntryState.WITHDRAWN)):
            would = browser.post("/change", "dry_run", hash_set="home/known", action="WITHDRAW", reason="ERROR")
            assert browser.send(would, "change").status == 200
            assert hub.get_entry(name).state is state
        # Something that came in since the dry run was not told of.
        would = ada.post("/revert", "dry_run", **filled)
        with client(console, "thief") as other:
            other.create_review(name, ReviewKind.FALSE_POSITIVE)
        would.read.forms["revert"] = {**would.form("dry_run"), "told": ["0 0"]}
        assert ada.send(would, "revert").status == 409
    assert console.as_contributor().post("/revert", "dry_run", **filled).status == 403
