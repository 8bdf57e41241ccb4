"""TAXII 2.1 over plain HTTP."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest

from hashhub.model import EntryState, Purpose
from tests.hub.conftest import OPERATOR, item
from tests.partners.conftest import serve_hub
from tests.partners.feeding import LIST, SHARED, Feeding
from tests.partners.test_feeds import ask
from tests.server.conftest import Serve, patient_matchers

__all__ = ["patient_matchers", "serve_hub"]

TLP_2 = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"  # OASIS's, as of all who mark by TLP 2.0
MEDIA = "application/taxii+json;version=2.1"


@pytest.fixture
def feeding(serve_hub: Serve) -> Feeding:
    return Feeding.of(serve_hub())


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{token}".encode()).decode()


def get(feeding: Feeding, path: str, *, verb: str = "GET", accept: str = MEDIA, **query: str) -> Any:
    url = f"{feeding.url}/taxii2/{path}" + (f"?{urlencode(query)}" if query else "")
    return ask(url, verb, authorization=basic(feeding.token), accept=accept)


def collection(feeding: Feeding, hash_set: str = LIST) -> str:
    (only,) = get(feeding, f"{hash_set}/collections/").json["collections"]
    return f"{hash_set}/collections/{only['id']}"


class Consumer:
    """Keeps of each object the version that was modified last, and asks on from the date that it was told."""

    def __init__(self, feeding: Feeding, path: str) -> None:
        self.feeding, self.path = feeding, path
        self.objects: dict[str, dict[str, Any]] = {}
        self.added = ""

    def read(self, limit: int = 1000, most_pages: int = 10_000) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        query = {"limit": str(limit), **({"added_after": self.added} if self.added else {})}
        for _ in range(most_pages):
            answer = get(self.feeding, f"{self.path}/objects/", **query)
            if answer.status == 404:
                return told
            assert answer.status == 200, answer.body
            assert answer.headers["content-type"] == MEDIA
            objects = answer.json.get("objects", [])
            assert len(objects) <= limit
            known = {one["id"] for one in (told if limit < 8 else []) + objects}
            for one in objects:
                refs = [one.get("created_by_ref"), *one.get("object_marking_refs", ()), *one.get("extensions", ())]
                assert {ref for ref in refs if ref} <= known | {TLP_2}, "whatever a page refers to is in it"
                if one["id"] not in self.objects or self.objects[one["id"]]["modified"] <= one.get("modified", ""):
                    self.objects[one["id"]] = one if "modified" in one else {**one, "modified": ""}
            told += objects
            if objects:
                self.added = answer.headers["x-taxii-date-added-last"]
            if not answer.json.get("more"):
                break
            query["next"] = answer.json["next"]
        return told

    def digests(self, kind: str = "indicator") -> set[str]:
        standing = [o for o in self.objects.values() if o["type"] == kind and not o.get("revoked")]
        return {text for o in standing for text in _texts(o)}


def _texts(one: dict[str, Any]) -> list[str]:
    if one["type"] == "observed-data":
        return list(one["objects"]["0"]["hashes"].values())
    return [part.split("'")[-2] for part in one["pattern"].split(" OR ")]


def standing(feeding: Feeding) -> set[str]:
    return {h.digest.hex() for e in feeding.standing() for h in e.hashes}


def test_a_client_finds_its_way_from_the_discovery(feeding: Feeding) -> None:
    feeding.desk.hash_set("line/closed")
    found = get(feeding, "").json
    assert found["api_roots"] == [f"{feeding.url}/taxii2/{LIST}/"]
    root = get(feeding, f"{LIST}/").json
    assert root["versions"] == [MEDIA]
    (only,) = get(feeding, f"{LIST}/collections/").json["collections"]
    assert (only["can_read"], only["can_write"]) == (True, False)
    assert get(feeding, f"{LIST}/collections/{only['id']}/").json == only
    assert get(feeding, "line/closed/").status == get(feeding, f"{LIST}/collections/x/objects/").status == 404
    assert ask(f"{feeding.url}/taxii2/", accept=MEDIA).status == 401
    assert ask(f"{feeding.url}/taxii2/", accept=MEDIA, authorization="Basic !").status == 401
    assert ask(f"{feeding.url}/taxii2/", accept=MEDIA, authorization=f"Bearer {feeding.token}").status == 200


def test_media_types_verbs_and_parameters_are_checked(feeding: Feeding) -> None:
    path = f"{collection(feeding)}/objects/"
    for accept in ("application/json", "application/taxii+json;version=2.0", "application/vnd.oasis.taxii+json", ""):
        assert get(feeding, path, accept=accept).status == 406, accept
    for verb, status in (("POST", 403), ("DELETE", 403)):
        answer = get(feeding, path, verb=verb)
        assert (answer.status, answer.json["http_status"]) == (status, str(status))
    assert get(feeding, f"{LIST}/collections/", verb="PUT").status == 405
    assert get(feeding, path, verb="HEAD").status == 200
    for query in (
        {"added_after": "yesterday"},
        {"added_after": "2026-01-01T00:00:00"},
        {"limit": "-1"},
        {"limit": "9" * 30},
        {"next": "x" * 3000},
    ):
        answer = get(feeding, path, **query)
        assert answer.status == 400, query
        assert answer.json["title"]


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 1000])
def test_what_is_withdrawn_or_lost_is_revoked_later(feeding: Feeding, limit: int) -> None:
    feeding.contribute(*(feeding.record(Random(n)) for n in range(6)))
    consumer = Consumer(feeding, collection(feeding))
    consumer.read(limit)
    assert consumer.digests() == standing(feeding)
    assert consumer.read(limit, 1) == []
    feeding.desk.hub.store.transitions.withdraw([feeding.standing()[0].id], "X")
    consumer.read(limit)
    assert consumer.digests() == standing(feeding)
    assert sum(o.get("revoked", False) for o in consumer.objects.values()) == 1
    feeding.share(bulk=False)
    consumer.read(limit)
    assert consumer.digests() == set()
    feeding.share(bulk=True)
    consumer.read(limit)
    assert consumer.digests() == standing(feeding)


def test_an_erased_entry_is_revoked_without_its_hashes(feeding: Feeding) -> None:
    feeding.contribute(feeding.record(Random(1)))
    consumer = Consumer(feeding, collection(feeding))
    consumer.read()
    (entry,) = feeding.standing()
    feeding.desk.hub.entries.erase(OPERATOR, "line", "list", entry.id)
    told = consumer.read()
    assert consumer.digests() == set()
    assert not any(h.digest.hex() in json.dumps(told) for h in entry.hashes)


def test_what_claims_no_harm_is_no_indicator(feeding: Feeding) -> None:
    feeding.desk.hash_set("line/known-good", purpose=Purpose.BENIGN, marking=SHARED)
    feeding.desk.contribute("line/known-good", item(1), item(2))
    consumer = Consumer(feeding, collection(feeding, "line/known-good"))
    consumer.read(9)
    entries = feeding.desk.entries("line/known-good", EntryState.ACTIVE)
    assert consumer.digests("observed-data") == {h.digest.hex() for e in entries for h in e.hashes}
    feeding.desk.hub.store.transitions.withdraw([entries[0].id], "X")
    consumer.read(9)
    assert consumer.digests("observed-data") == {h.digest.hex() for h in entries[1].hashes}
    assert not [o for o in consumer.objects.values() if o["type"] == "indicator"]


def test_one_object_the_manifest_and_matches(feeding: Feeding) -> None:
    feeding.contribute(*(feeding.record(Random(n)) for n in range(40)))
    path = collection(feeding)
    listed = get(feeding, f"{path}/manifest/").json["objects"]
    ids = [one["id"] for one in listed if one["id"].startswith("indicator")]
    assert len(ids) == 40
    for one in listed:  # what entries refer to, too
        (found,) = get(feeding, f"{path}/objects/{one['id']}/").json["objects"]
        assert found["id"] == one["id"]
    assert len(get(feeding, f"{path}/objects/{ids[2]}/versions/").json["versions"]) == 1
    gone = feeding.desk.entries(LIST, EntryState.ACTIVE)[30]
    feeding.desk.hub.store.transitions.withdraw([gone.id], "X")
    for none in (ids[30], f"indicator--{'0' * 8}-0000-4000-8000-{'0' * 12}", "indicator--", ids[2].replace("i", "j")):
        assert get(feeding, f"{path}/objects/{none}/").status == 404, none
    for query, count in (
        ({"match[id]": f"{ids[0]},{ids[1]}"}, 2),
        ({"match[type]": "indicator", "match[version]": "last"}, 40),
        ({"match[spec_version]": "2.0"}, 0),
    ):
        assert len(get(feeding, f"{path}/objects/", **query).json.get("objects", ())) == count, query


@pytest.mark.parametrize("seed", range(2))
def test_random_changes_leave_exactly_what_stands(feeding: Feeding, seed: int) -> None:
    random = Random(seed)
    consumer = Consumer(feeding, collection(feeding))
    feeding.add(random, 20)
    is_shared = True
    for number in range(100):
        feeding.change(random)
        if random.random() < 0.1:
            is_shared = not is_shared
            feeding.share(bulk=is_shared)
        if random.random() < 0.3:
            consumer.read(random.choice((1, 3, 12, 100)), most_pages=random.randrange(1, 12))
        if number % 25 == 24:
            is_shared = True
            feeding.share(bulk=True)
            consumer.read(random.choice((4, 9, 100)))
            assert consumer.digests() == standing(feeding)
