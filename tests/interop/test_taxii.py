"""Hash sets served by TAXII 2.1, taken by `taxii2-client` and `stix2` as they are published."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.partners.feeding import Feeding
from tests.server.conftest import Serve, patient_matchers, serve_hub

__all__ = ["patient_matchers", "serve_hub"]

v21 = pytest.importorskip("taxii2client.v21")
stix2 = pytest.importorskip("stix2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def pages(ask: Any, size: int, asked: dict[str, str]) -> list[Any]:
    return [one for page in v21.as_pages(ask, per_request=size, **asked) for one in page.get("objects", ())]


@pytest.mark.parametrize("seed", range(2))
def test_what_the_clients_hold_is_what_stands(serve_hub: Serve, seed: int) -> None:
    """Over 200 random changes, the hash set lost and regained among them."""
    feeding, random = Feeding.of(serve_hub()), Random(seed)
    feeding.add(random, 30)
    server = v21.Server(f"{feeding.url}/taxii2/", user="anybody", password=feeding.token)
    (root,) = server.api_roots
    (collection,) = root.collections
    assert (collection.can_read, collection.can_write) == (True, False)
    store = stix2.MemoryStore()
    added = ""
    for number in range(200):
        feeding.change(random)
        if random.random() < 0.1:
            feeding.share(bulk=random.random() < 0.5)
        if number % 20 != 19:
            continue
        feeding.share(bulk=True)
        size = random.choice((9, 20, 500))
        asked = {"added_after": added} if added else {}
        listed = pages(collection.get_manifest, size, asked)  # this client tells no headers: the manifest has the dates
        added = max((one["date_added"] for one in listed), default=added)
        for one in pages(collection.get_objects, size, asked):
            store.add(stix2.parse(one, allow_custom=True, version="2.1"))
        newest: dict[str, Any] = {}
        for one in store.query([stix2.Filter("type", "=", "indicator")]):
            if one.id not in newest or newest[one.id].modified <= one.modified:
                newest[one.id] = one
        active = [one for one in newest.values() if not one.get("revoked")]
        held = {part.split("'")[-2] for one in active for part in one.pattern.split(" OR ")}
        assert held == {h.digest.hex() for e in feeding.standing() for h in e.hashes}
        assert collection.get_object(active[0].id)["objects"][0]["id"] == active[0].id
    with pytest.raises(Exception, match="does not allow writing"):
        v21.Collection(collection.url, user="x", password=feeding.token).add_objects({"objects": []})
