"""Feeds in partners' formats over plain HTTP: pages, withdrawals, terms, and what is refused."""

from __future__ import annotations

import base64
import json
import logging
import time
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest
from defusedxml.ElementTree import fromstring

from hashhub.model import Principal, Purpose, Role, number_of
from tests.hub.conftest import OPERATOR
from tests.partners.feeding import LIST, SHARED, Feeding
from tests.server.conftest import Serve, Served

HARM = {"type", "indicator", "should_delete", "last_updated", "id", "descriptors"}


@dataclass
class Said:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, verb: str = "GET", **headers: str) -> Said:
    return send(url, verb, None, **headers)


def send(url: str, verb: str, body: bytes | None, /, **headers: str) -> Said:
    try:
        with urlopen(Request(url, body, method=verb, headers=headers), timeout=60) as answer:  # noqa: S310 - our own hub
            return Said(answer.status, dict(answer.headers), answer.read())
    except HTTPError as e:
        return Said(e.code, dict(e.headers), e.read())


@pytest.fixture
def served(serve_hub: Serve) -> Served:
    return serve_hub()


@pytest.fixture
def feeding(served: Served) -> Feeding:
    return Feeding.of(served)


def updates(feeding: Feeding, token: str = "", **query: Any) -> Said:
    query = {"access_token": f"123|{token or feeding.token}", **query}
    return ask(f"{feeding.url}/threatexchange/line/list/7/threat_updates/?{urlencode(query)}")


def fetched(feeding: Feeding, token: str = "", **query: Any) -> Said:
    asked = "FetchHashes?" + urlencode({"startTimestamp": 0, "pageSize": 500, **query})
    return ask(f"{feeding.url}/stopncii/line/list/{asked}", **{"x-functions-key": token or feeding.token})


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_threat_updates_are_told_page_by_page(feeding: Feeding, limit: int) -> None:
    """All pages but the last have the time that was asked from, so that whoever breaks off asks again."""
    feeding.contribute(*(feeding.record(Random(n)) for n in range(5)))
    page, told, times = updates(feeding, limit=limit).json, [], []
    while True:
        told += page["data"]
        times.append({u["last_updated"] for u in page["data"]})
        if "paging" not in page:
            break
        assert page["data"]
        page = ask(page["paging"]["next"]).json
    assert {h.digest.hex() for e in feeding.standing() for h in e.hashes} == {u["indicator"] for u in told}
    assert all(one == {0} for one in times[:-1])
    (now,) = times[-1]
    assert len({u["id"] for u in told}) == len({(u["type"], u["indicator"]) for u in told})
    (gone, *_) = feeding.standing()
    feeding.desk.hub.store.transitions.withdraw([gone.id], "X")
    deleted = [u for u in updates(feeding, start_time=now).json["data"] if u["should_delete"]]
    assert {h.digest.hex() for h in gone.hashes} >= {u["indicator"] for u in deleted} != set()


def test_who_is_told_nothing_new_is_told_something_again(feeding: Feeding) -> None:
    assert updates(feeding).json == {"data": []}
    feeding.contribute(*(feeding.record(Random(n)) for n in range(3)))
    time.sleep(1.1)  # times are whole seconds: what was told in one is told again
    first = updates(feeding).json["data"]
    (again,) = updates(feeding, start_time=first[0]["last_updated"]).json["data"]
    assert again["indicator"] in {u["indicator"] for u in first}
    assert not again["should_delete"]


def test_types_choose_among_updates(feeding: Feeding) -> None:
    feeding.contribute(*(feeding.record(Random(n)) for n in range(3)))
    assert {u["type"] for u in updates(feeding, types="HASH_PDQ,HASH_SHA1").json["data"]} == {"HASH_PDQ"}


def test_a_hash_set_that_is_taken_back_is_withdrawn_and_then_not_found(feeding: Feeding) -> None:
    feeding.contribute(*(feeding.record(Random(n)) for n in range(3)))
    told = updates(feeding).json["data"]
    feeding.share(bulk=False)
    feeding.contribute(feeding.record(Random(9)))  # which this reader may not learn of
    page = updates(feeding, start_time=told[0]["last_updated"]).json
    assert {u["indicator"] for u in page["data"]} == {u["indicator"] for u in told}
    assert all(u["should_delete"] for u in page["data"])
    answer = updates(feeding, start_time=page["data"][0]["last_updated"] + 1)
    assert answer.status in {200, 404}  # in the same second it is told again
    assert updates(feeding, start_time=0).status in {200, 404}
    for other in (updates(feeding, token=feeding.token), fetched(feeding)):
        assert b"hash set" in other.body or other.json["data"]


def test_a_further_page_is_asked_for_by_a_token_that_still_stands(feeding: Feeding, served: Served) -> None:
    feeding.contribute(*(feeding.record(Random(n)) for n in range(5)))
    page = updates(feeding, limit=1).json
    served.hub.tokens.delete(OPERATOR, "reader-feed")
    answer = ask(page["paging"]["next"])
    assert (answer.status, answer.json["error"]["code"]) == (401, 190)


def test_no_secret_is_in_the_log(feeding: Feeding, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    feeding.contribute(feeding.record(Random(1)))
    assert updates(feeding).status == 200
    assert updates(feeding, token="hh_" + "wrong" * 8).status == 401
    assert updates(feeding, start_time="x").status == 400
    assert fetched(feeding).status == 200
    assert feeding.token not in caplog.text
    assert "wrongwrong" not in caplog.text
    assert "method=ThreatExchange" in caplog.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"start_time": "yesterday"}, 400), ({"start_time": "-1"}, 400), ({"start_time": "9" * 40}, 400),
        ({"stop_time": "x"}, 400), ({"limit": "0x10"}, 400), ({"limit": 10**9}, 200), ({"limit": 0}, 200),
        ({"after": "what"}, 400), ({"fields": "id," * 3000}, 200), ({"start_time": ""}, 200),
    ],
)  # fmt: skip
def test_parameters_of_threat_updates(feeding: Feeding, query: dict[str, Any], status: int) -> None:
    answer = updates(feeding, **query)
    assert answer.status == status, answer.body
    assert answer.json.keys() == ({"data"} if status == 200 else {"error"})


def test_who_may_not_read_the_feed_is_refused_in_the_partners_form(feeding: Feeding, served: Served) -> None:
    plain = Principal(name="plain", role=Role.CONSUMER, contributor="reader")
    _, token = served.hub.tokens.create(OPERATOR, plain)
    assert updates(feeding, token=token).json["error"]["type"] == "OAuthException"
    assert fetched(feeding, token=token).json["statusCode"] == 403
    assert fetched(feeding, token="none").json["statusCode"] == 401  # noqa: S106 - no secret
    assert ask(f"{feeding.url}/threatexchange/line/list/7/threat_updates").status == 401
    assert ask(f"{feeding.url}/stopncii/line/list/FetchHashes").status == 401


def test_other_paths_and_verbs(feeding: Feeding) -> None:
    key = {"x-functions-key": feeding.token}
    base = f"{feeding.url}/stopncii"
    for path in ("", "/line", "/line/list", "/line/list/Other", "/Line/list/FetchHashes", "/line/none/FetchHashes"):
        assert ask(base + path, **key).status == 404, path
    for verb in ("POST", "HEAD", "DELETE"):
        assert ask(f"{base}/line/list/FetchHashes", verb, **key).status == 405
    base, query = f"{feeding.url}/threatexchange/line/list", f"?access_token={feeding.token}"
    assert ask(f"{base}/7/threat_descriptors/{query}").status == 404
    assert ask(f"{base}/seven/threat_updates/{query}").status == 404
    assert ask(f"{base}/7/threat_updates/{query}", "POST").status == 501
    assert ask(f"{base}/7{query}").json["name"] == LIST


def test_a_hash_set_that_claims_no_harm_is_no_privacy_group(feeding: Feeding) -> None:
    feeding.desk.hash_set("line/known-good", purpose=Purpose.BENIGN, marking=SHARED)
    answer = ask(f"{feeding.url}/threatexchange/line/known-good/7/threat_updates/?access_token={feeding.token}")
    assert answer.status == 400
    assert "BENIGN" in answer.json["error"]["message"]


def test_the_next_page_is_where_the_client_is(feeding: Feeding) -> None:
    """Behind a proxy that ends TLS, too."""
    feeding.contribute(*(feeding.record(Random(n)) for n in range(3)))
    url = f"{feeding.url}/threatexchange/line/list/7/threat_updates/?limit=1&access_token={feeding.token}"
    link = ask(url, **{"host": "hub.example", "x-forwarded-proto": "https"}).json["paging"]["next"]
    assert urlsplit(link)[:3] == ("https", "hub.example", "/threatexchange/line/list/7/threat_updates/")


@pytest.mark.parametrize("size", [1, 3, 500])
def test_stopncii_tells_what_is_active_and_what_is_withdrawn(serve_hub: Serve, size: int) -> None:
    feeding = Feeding.of(serve_hub(), is_ncii=True)
    feeding.contribute(*(feeding.record(Random(n)) for n in range(5)))
    told, since = read_all(feeding, 0, size)
    pdqs = {h.digest.hex() for e in feeding.standing() for h in e.hashes if h.algorithm == "PDQ"}
    assert {r["hashValue"] for r in told if r["signalType"] == "ImagePDQ"} == pdqs
    assert {r["hashStatus"] for r in told} == {"Active"}
    feeding.desk.hub.store.transitions.withdraw([e.id for e in feeding.standing()], "X")
    told, since = read_all(feeding, since, size)
    assert {r["hashValue"] for r in told if r["hashStatus"] == "Withdrawn"} >= pdqs


def read_all(feeding: Feeding, since: int, size: int) -> tuple[list[Any], int]:
    told: list[Any] = []
    token = ""
    while True:
        answer = fetched(feeding, startTimestamp=since, pageSize=size, **({"nextPageToken": token} if token else {}))
        page = answer.json
        assert page["count"] == len(page["hashRecords"])
        told += page["hashRecords"]
        if not page["hasMoreRecords"]:
            assert page["nextPageToken"] is None
            return told, page["nextSetTimestamp"]
        assert page["nextSetTimestamp"] == since
        token = page["nextPageToken"]


def test_what_is_no_record_of_stopncii_is_left_out(feeding: Feeding) -> None:
    feeding.contribute(*(feeding.record(Random(n)) for n in range(3)))
    feeding.desk.hub.store.transitions.withdraw([feeding.standing()[0].id], "X")
    assert fetched(feeding).json["hashRecords"] == []


class Copy:
    """A client that knows items by their hashes, keeps a time, and breaks off where it is told to."""

    def __init__(self, feeding: Feeding) -> None:
        self.feeding = feeding
        self.hashes: set[str] = set()
        self.since = 0

    def page(self, size: int, after: str) -> tuple[str, int] | None:
        """Take a page in; return where the next begins, and the time that this one says; None: nothing may be had."""
        if self.feeding.is_ncii:
            more = {"nextPageToken": after} if after else {}
            answer = fetched(self.feeding, startTimestamp=self.since, pageSize=size, **more)
            records = [(r["hashValue"], r["hashStatus"] == "Withdrawn") for r in answer.json.get("hashRecords", ())]
            following, time_ = answer.json.get("nextPageToken"), answer.json.get("nextSetTimestamp")
        else:
            more = {"after": after} if after else {}
            answer = updates(self.feeding, start_time=self.since, limit=size, **more)
            data = answer.json.get("data", ())
            records = [(r["indicator"], r["should_delete"]) for r in data]
            following = dict(parse_qsl(urlsplit(answer.json.get("paging", {}).get("next", "")).query)).get("after")
            time_ = max([self.since, *(r["last_updated"] for r in data)])
        if answer.status == 404:
            return None
        assert answer.status == 200, answer.body
        for digest, is_gone in records:
            (self.hashes.discard if is_gone else self.hashes.add)(digest)
        return following or "", time_

    def fetch(self, size: int, most_pages: int = 10_000) -> bool:
        """Take pages in, and keep the time that the last one says; return whether anything may be had."""
        after = ""
        for _ in range(most_pages):
            if (done := self.page(size, after)) is None:
                return False
            after, time_ = done
            self.since = time_
            if not after:
                break
        return True


@pytest.mark.parametrize("is_ncii", [False, True], ids=["threatexchange", "stopncii"])
@pytest.mark.parametrize("seed", range(2))
def test_random_changes_leave_exactly_what_stands(serve_hub: Serve, seed: int, is_ncii: bool) -> None:
    """At pages of any size, broken off at any page, while the terms are taken back and given again."""
    feeding, random = Feeding.of(serve_hub(), is_ncii=is_ncii), Random(seed)
    copies = [Copy(feeding)]
    feeding.add(random, 20)
    is_shared = True
    for number in range(90):
        feeding.change(random)
        if random.random() < 0.1:
            is_shared = not is_shared
            feeding.share(bulk=is_shared)
        if random.random() < 0.3:
            random.choice(copies).fetch(random.choice((1, 3, 100)), most_pages=random.randrange(1, 5))
        if number % 50 == 25:
            copies.append(Copy(feeding))  # with the token of the others
        if number % 30 == 29:
            is_shared = True
            feeding.share(bulk=True)
            for copy in copies:
                assert copy.fetch(random.choice((2, 100)))
                assert copy.hashes == standing_hashes(feeding)


def standing_hashes(feeding: Feeding) -> set[str]:
    return {
        h.digest.hex()
        for e in feeding.standing()
        for h in e.hashes
        if not feeding.is_ncii or h.algorithm == "PDQ" or e.media_type.startswith("video")
    }


def entries(feeding: Feeding, path: str = "", **query: str) -> Said:
    word = base64.b64encode(f"anybody:{feeding.token}".encode()).decode()
    path = path or "/v2/entries?" + urlencode({"from": "2026-01-01T00:00:00Z", **query})
    return ask(f"{feeding.url}/ncmec/line/list{path}", authorization=f"Basic {word}")


def read_ncmec(feeding: Feeding, **query: str) -> tuple[dict[str, tuple[str, set[str]]], int]:
    """Return kind and hashes by id, what was told last, and how many pages that took."""
    told: dict[str, tuple[str, set[str]]] = {}
    pages, link = 0, ""
    while True:
        answer = entries(feeding, link, **query)
        assert answer.status == 200, answer.body
        root, pages = fromstring(answer.body), pages + 1
        for one in root.iterfind("{*}images/*"):
            told[one.findtext("{*}id", "")] = _told(one)
        for one in root.iterfind("{*}videos/*"):
            told[one.findtext("{*}id", "")] = _told(one)
        if not (link := root.findtext("{*}paging/{*}next", "")):
            return told, pages


def _told(one: Any) -> tuple[str, set[str]]:
    return one.tag.rpartition("}")[2], {h.text for h in one.iterfind("{*}fingerprints/*")}


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_ncmec_tells_pictures_and_videos_and_what_is_deleted(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("hashhub.partners.ncmec.MOST", size)
    monkeypatch.setattr("hashhub.partners.ncmec.WINDOW_ENTRIES", 2 * size)
    feeding.contribute(*(feeding.record(Random(n)) for n in range(9)))
    told, pages = read_ncmec(feeding)
    standing = [e for e in feeding.standing() if e.media_type]
    kinds = {f"list/{number_of(e.id)}": (e.media_type[:5], {h.digest.hex() for h in e.hashes}) for e in standing}
    assert told == kinds
    assert (pages > 1) == (size < 1000)
    gone = standing[0]
    feeding.desk.hub.store.transitions.withdraw([gone.id], "X")
    time.sleep(1.1)
    told, _ = read_ncmec(feeding)
    assert told[f"list/{number_of(gone.id)}"][0] == f"deleted{gone.media_type[:5].title()}"
    feeding.share(bulk=False)
    assert {kind[:7] for kind, _ in read_ncmec(feeding)[0].values()} == {"deleted"}


def test_ncmecs_windows_end_now(feeding: Feeding) -> None:
    feeding.contribute(*(feeding.record(Random(n)) for n in range(3)))
    assert entries(feeding, to="2026-01-02T00:00:00Z").status == 400
    assert entries(feeding, to="2100-01-02T00:00:00Z").status == 200
    for wrong in ("yesterday", "1900-01-01T00:00:00Z", "9" * 50):
        answer = entries(feeding, **{"from": wrong})
        assert answer.status == 400
        assert fromstring(answer.body).findtext("{*}message")


def test_what_else_ncmecs_clients_ask_for(feeding: Feeding) -> None:
    for what in ("status", "members"):
        assert fromstring(entries(feeding, f"/v2/{what}").body).findtext("{*}member") == "line"
    assert entries(feeding, "/v2/categorizations").status == 501
    assert entries(feeding, "/v2/other").status == 404
    for wrong in ("Basic ###", "Basic YQ==", "Basic", "Other x"):
        answer = ask(f"{feeding.url}/ncmec/line/list/v2/status", authorization=wrong)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Basic")
    feeding.desk.hash_set("line/known-good", purpose=Purpose.BENIGN, marking=SHARED)
    word = base64.b64encode(f"anybody:{feeding.token}".encode()).decode()
    answer = ask(f"{feeding.url}/ncmec/line/known-good/v2/entries", authorization=f"Basic {word}")
    assert answer.status == 400
