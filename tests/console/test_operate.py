"""The front page, members, tokens and peers: who sees what, secrets, changes of two at a time."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from hashhub.client import Client
from hashhub.edge_state import write_report
from hashhub.model import (
    Group,
    HashSet,
    PeerReport,
    PeerStatus,
    Principal,
    Purpose,
    QueueItem,
    QueueKind,
    Role,
    SourceReport,
    SourceStatus,
    now,
)
from tests.console.conftest import Browser, Console, Page, Serve, secrets_in
from tests.server.conftest import OPERATOR

SCRIPT = "\"><script>alert(1)</script><img src=x onerror='alert(1)'>"
PATHS = ("/", "/queue/QUARANTINED", "/members", "/members/home", "/groups", "/sources")
OF_OVERSEERS = ("/tokens", "/tokens/consumer")


def forms(page: Page) -> set[str]:
    return set(page.read.forms) - {"leave"}


def client(console: Console) -> Client:
    return Client(console.served.doors.grpc_address, console.served.tokens["OPERATOR"])


def test_each_role_sees_and_does_only_what_it_may(console: Console) -> None:
    console.hub.groups.create(OPERATOR, Group(id="friends", members=("home",)))
    auditor, contributor, consumer = console.as_auditor(), console.as_contributor(), console.as_consumer()
    for path in (*PATHS, *OF_OVERSEERS, "/groups/friends"):
        assert console.as_operator().get(path).status == 200, path
        page = auditor.get(path)
        assert (page.status, forms(page)) == (200, set()), path
        page = contributor.get(path)
        assert page.status == (403 if path in OF_OVERSEERS else 200), path
        assert not forms(page), path
        assert consumer.get(path).status == (200 if path == "/" else 403), path
    assert "Health" in auditor.get("/").words
    assert "Health" not in contributor.get("/").words
    # What a page leaves out the hub refuses.
    made = console.as_operator().get("/members")
    token = contributor.get("/reader").form("keep")["form_token"]
    made.read.forms["create"] |= {"form_token": token, "id": ["mine"], "jurisdiction": ["NL"]}
    assert contributor.send(made, "create").status == 403
    assert console.as_operator().get("/members/mine").status == 404


def test_a_secret_stands_in_one_answer_and_nowhere_else(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    operator = console.as_operator()
    made = operator.post(
        "/tokens", "create", name="desk", role="CONTRIBUTOR", contributor="home", expire_time="2099-01-31"
    )
    other = operator.post("/tokens/desk", "rotate", grace="none")
    assert (made.status, other.status) == (200, 200)
    [secret], [newer] = secrets_in(made.text), secrets_in(other.text)
    for page in (made, other):
        assert page.headers["cache-control"] == "no-store"
    assert console.as_token(newer).get("/").status == 200
    with Client(console.served.doors.grpc_address, secret) as old, pytest.raises(Exception, match="new secret"):
        next(iter(old.list_hash_sets()))
    for path in (*PATHS, *OF_OVERSEERS, "/tokens/desk", "/members/home"):
        page = operator.get(path)
        assert not secrets_in(page.text), path
        assert not {secret, newer} & {page.url}
    assert "2099" in operator.get("/tokens/desk").words
    kept = "".join(path.read_bytes().decode("latin-1") for path in Path(console.served.data / "console").iterdir())
    assert not any(one in kept or one in caplog.text for one in (secret, newer))


def test_a_token_that_an_identity_proves_has_no_secret_and_lists_are_changed_as_lists(console: Console) -> None:
    operator = console.as_operator()
    made = operator.post(
        "/tokens", "create", name="analysts", role="CONTRIBUTOR", contributor="home", identities="OIDC:nl"
    )
    assert made.status == 200
    assert not secrets_in(made.text)
    changed = operator.post(
        "/tokens/analysts", "update", identities="OIDC:nl\nURI:spiffe://example.org/nl", may_mirror="True"
    )
    assert changed.status == 200
    [token] = [t for t in console.hub.tokens.list(OPERATOR) if t.name == "analysts"]
    assert token.identities == ("OIDC:nl", "URI:spiffe://example.org/nl")
    assert (token.may_mirror, token.expire_time) == (True, None)
    assert operator.post("/tokens/analysts", "update", expire_time="2099-01-31T12:30:00Z").status == 200
    [token] = [t for t in console.hub.tokens.list(OPERATOR) if t.name == "analysts"]
    assert token.expire_time == datetime(2099, 1, 31, 12, 30, tzinfo=UTC)
    refused = operator.post("/tokens/analysts", "update", identities="nonsense")
    assert refused.status == 400
    assert refused.form("update")["identities"] == ["nonsense"]
    assert ("textarea", "true") in [(tag, has.get("aria-invalid")) for tag, has in refused.read.elements]
    assert operator.post("/tokens/analysts", "update", expire_time="soon").status == 400
    assert operator.post("/tokens/analysts", "delete", confirm="analyst").status == 400
    assert operator.post("/tokens/analysts", "delete", confirm="analysts").status == 200
    assert operator.get("/tokens/analysts").status == 404


def test_stored_script_is_text(console: Console) -> None:
    operator = console.as_operator()
    values = {"display_name": SCRIPT, "kind": "NGO", "jurisdiction": "NL"}
    assert operator.post("/members", "create", id="evil", **values).status == 200
    operator.post("/groups", "create", id="evil", display_name=SCRIPT, members="evil")
    operator.post(
        "/tokens", "create", name="evil", role="CONSUMER", contributor="evil", description=SCRIPT, purposes=SCRIPT
    )
    for path in (*PATHS, "/members/evil", "/groups/evil", "/tokens", "/tokens/evil"):
        page = operator.get(path)
        assert page.status == 200
        assert not [has for tag, has in page.read.elements if tag == "img" or "onerror" in has]
        assert [has["src"] for tag, has in page.read.elements if tag == "script"] == ["/static/htmx-2.0.11.min.js"]
    assert SCRIPT in operator.get("/members/evil").words


def test_what_somebody_else_changed_meanwhile_is_told_and_not_overwritten(console: Console) -> None:
    operator, name = console.as_operator(), "pair"
    operator.post("/members", "create", id=name, kind="NGO", jurisdiction="NL", takes_from="home")
    stale = operator.get(f"/members/{name}")
    assert operator.post(f"/members/{name}", "update", jurisdiction="DE").status == 200
    # Another field does not touch what somebody else changed; the same one is refused, and nothing else is lost by it.
    assert operator.send(stale, "update", display_name="Pair").status == 200
    refused = operator.send(stale, "update", display_name="Couple", kind="HOTLINE")
    assert refused.status == 409
    assert "since the page was opened" in refused.words
    form = refused.form("update")
    assert (form["display_name"], form["kind"], form["jurisdiction"]) == (["Couple"], ["HOTLINE"], ["DE"])
    kept = console.hub.contributors.get(OPERATOR, name)
    assert (kept.display_name, kept.kind, kept.jurisdiction) == ("Pair", "NGO", "DE")
    assert operator.send(refused, "update").status == 200
    kept = console.hub.contributors.get(OPERATOR, name)
    assert (kept.display_name, kept.kind, kept.jurisdiction, kept.takes_from) == ("Couple", "HOTLINE", "DE", ("home",))
    assert operator.post(f"/members/{name}", "update", jurisdiction="Germany").status == 400
    assert operator.post(f"/members/{name}", "update").status == 400  # nothing is changed


def test_a_member_is_retired_by_its_name_and_groups_change_by_member(console: Console) -> None:
    operator = console.as_operator()
    for name in ("one", "two", "three"):
        operator.post("/members", "create", id=name, kind="PLATFORM", jurisdiction="ZZ")
    operator.post("/groups", "create", id="few", members="one, two")
    stale = operator.get("/groups/few")
    assert operator.post("/groups/few", "update", members="two\nthree").status == 200
    assert console.hub.groups.get(OPERATOR, "few").members == ("two", "three")
    assert operator.send(stale, "update", members="one").status == 409
    assert operator.send(stale, "update", display_name="A few").status == 200  # and leaves the members as they are now
    assert console.hub.groups.get(OPERATOR, "few").members == ("two", "three")
    assert operator.post("/groups/few", "delete", confirm="few").status == 200
    assert operator.post("/members/one", "retire", confirm="two", entries="keep").status == 400
    assert console.hub.contributors.get(OPERATOR, "one").retire_time is None
    assert operator.post("/members/one", "retire", confirm="one", entries="keep", comment="left").status == 200
    assert console.hub.contributors.get(OPERATOR, "one").retire_time is not None


def test_what_an_operator_accepts_is_what_the_page_showed(console: Console, tmp_path: Path) -> None:
    console.hub.hash_sets.create(OPERATOR, HashSet(contributor="home", id="benign", purpose=Purpose.BENIGN))
    with client(console) as hub:

        def list_one(digest: str) -> int:
            (file := tmp_path / "list.txt").write_text(digest * 32 + "\n")
            hub.import_source(file, hash_set="home/benign", connector="hash-lines")
            return hub.status().revision

        first = list_one("a")
        operator = console.as_operator()
        assert "home/benign" in operator.get("/queue/AWAITS_ACCEPTANCE").words
        page = operator.get("/members/home")
        second = list_one("b")
        assert operator.send(page, "accept", comment="looked at").status == 200
        assert first <= hub.get_hash_set("home/benign").accepted_revision < second
    assert "1" in operator.get("/").words  # the week's growth stands beside the chart


def test_the_second_person_is_led_to_the_same_form(serve_console: Serve) -> None:
    console = serve_console(second_person=True)
    ada, grace = console.as_person("Ada"), console.as_person("Grace")
    asked = ada.post("/members/home", "update", reliability="A")
    assert asked.status == 200
    assert "waits for a second person" in asked.words
    front = grace.get("/")
    assert "/members" in front.read.links
    assert "ada" in front.words
    assert grace.post("/members/home", "update", reliability="A").status == 200
    assert console.hub.contributors.get(OPERATOR, "home").reliability == "A"
    assert "ada" not in grace.get("/").words


def test_ten_thousand_things_that_wait_fit_the_front_page_and_are_all_reached(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        QueueItem(
            kind=kind, hash_set=f"home/set-{i:05}", contributor="home", reason="UNCLASSIFIED", name=f"home/set-{i:05}/1"
        )
        for kind in (QueueKind.QUARANTINED, QueueKind.OVERDUE, QueueKind.APPROVAL, QueueKind.CONFLICT)
        for i in range(2_500)
    ]
    monkeypatch.setattr(Client, "list_queue", lambda _self, _contributor="": iter(items))
    operator = console.as_operator()
    page = operator.get("/")
    assert len(page.text) < 50_000
    assert page.words.index("Approval") < page.words.index("Overdue") < page.words.index("Quarantined")
    seen: list[str] = []
    path = "/queue/QUARANTINED"
    while path:
        page = operator.get(path)
        assert len(page.text) < 50_000
        seen += [word for word in page.read.words if word.startswith("home/set-")]
        path = next((f"/queue/QUARANTINED{link}" for link in page.read.links if link.startswith("?after=")), "")
    assert seen == [f"home/set-{i:05}" for i in range(2_500)]


def test_what_is_asked_for_by_itself_is_what_the_page_shows(console: Console) -> None:
    soon = Principal(name="soon", role=Role.AUDITOR, expire_time=now() + timedelta(days=3))
    console.hub.tokens.create(OPERATOR, soon)
    operator: Browser = console.as_operator()
    assert "/tokens/soon" in operator.get("/").read.links
    live = operator.get("/", **{"hx-request": "true"})
    assert live.status == 200
    assert ("section", "today") in [(tag, has.get("id")) for tag, has in live.read.elements]


def test_a_form_that_no_page_made_is_refused_and_breaks_nothing(console: Console) -> None:
    console.hub.groups.create(OPERATOR, Group(id="formless"))
    operator = console.as_operator()
    token = operator.get("/reader").form("keep")["form_token"][0]
    for path, do in [
        *(("/members", "create"), ("/groups", "create"), ("/tokens", "create")),
        *(("/members/home", do) for do in ("update", "accept", "retire", "delete")),
        *(("/groups/formless", do) for do in ("update", "delete")),
        *(("/tokens/consumer", do) for do in ("update", "delete")),
    ]:
        for value in ("", "\0", "-1", "x" * 5_000, "[]", '{"display_name": {}}'):
            names = (
                "id",
                "name",
                "kind",
                "role",
                "revision",
                "was",
                "confirm",
                "entries",
                "hash_set",
                "members",
            )
            answer = operator.client.post(path, data={"form_token": token, "do": do, **dict.fromkeys(names, value)})
            assert 400 <= answer.status_code < 500, (path, do, value)
    assert operator.get("/members?after=x").status == 400


def test_sources_and_peers_say_what_needs_a_person(serve_console: Serve, tmp_path: Path) -> None:
    console = serve_console(sources=str(tmp_path), peers=str(tmp_path / "peers"))
    own = SourceReport(name="own", protocol="misp", hash_set="home/list", status=SourceStatus.OK, next_time=now())
    held = SourceReport(name="s", protocol="ncmec", hash_set="other/list", status=SourceStatus.HELD, detail=SCRIPT)
    others = [msgspec.structs.replace(held, name=f"s{n}") for n in range(60)]
    write_report(tmp_path, sources=[own, *others])
    (tmp_path / "peers").mkdir()
    status = PeerStatus.AWAY
    peer = PeerReport(name="nl", status=status, join_time=now(), taken={"GREEN": 2}, given={"CLEAR": 1}, entries=7)
    write_report(tmp_path / "peers", peers=[peer])
    page = console.as_operator().get("/sources")
    assert "hashhub source fetch s0 --apply" in page.words
    assert "<script>alert" not in page.text
    assert "nl away" in page.words
    assert len(page.text) < 50_000
    assert "s9" in console.as_operator().get("/sources?after=s58").words
    assert "source s0 (HELD)" in console.as_operator().get("/").words
    of_contributor = console.as_contributor().get("/sources").words
    assert "home/list" in of_contributor
    assert not any(text in of_contributor for text in ("other/list", "nl away"))
    write_report(tmp_path, sources=[])
    assert "hashhub source add" in console.as_operator().get("/sources").words
