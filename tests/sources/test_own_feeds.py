"""A hub that fetches another hub's feeds by partners' protocols has what that hub lets it have."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from hashhub.client import Client
from hashhub.model import HashSet, SourceStatus
from hashhub.sources.fetch import apply, fetch
from hashhub.sources.settings import SourceSettings, save
from tests.partners.feeding import Feeding
from tests.partners.test_taxii import collection
from tests.server.conftest import Serve, serve_hub
from tests.sources.conftest import digests_of

__all__ = ["serve_hub"]

CREDENTIALS = {
    "ncmec": ("user", "password"),
    "threatexchange": ("access_token",),
    "stopncii": ("functions_key", "subscription_key"),
    "taxii": ("user", "password"),
}
PATHS = {"ncmec": "line/list", "threatexchange": "line/list/1", "stopncii": "line/list", "taxii": ""}


def expected(feeding: Feeding, protocol: str) -> set[bytes]:
    if protocol == "ncmec":  # which knows pictures and videos alone
        return {h.digest for e in feeding.standing() if e.media_type for h in e.hashes}
    return {
        h.digest
        for e in feeding.standing()
        for h in e.hashes
        if not feeding.is_ncii or h.algorithm == "PDQ" or e.media_type.startswith("video")
    }


@pytest.mark.parametrize("protocol", list(PATHS))
def test_a_hub_that_fetches_another_has_what_stands_there(
    protocol: Literal["ncmec", "threatexchange", "stopncii", "taxii"], serve_hub: Serve, hub: Client, tmp_path: Path
) -> None:
    random = Random(protocol)
    feeding = Feeding.of(serve_hub(), is_ncii=protocol == "stopncii")
    hash_set = f"of-our-{protocol}"
    hub.create_hash_set(
        HashSet(
            contributor="line",
            id=hash_set,
            scheme={"ncmec": "ncmec-industry", "threatexchange": "threatexchange", "stopncii": ""}.get(protocol, ""),
        )
    )
    secret = tmp_path / "secret"
    secret.write_text(feeding.token)
    secret.chmod(0o600)
    path = f"{protocol}/{PATHS[protocol]}"
    if protocol == "taxii":
        path = f"taxii2/{collection(feeding)}"
    settings = SourceSettings(
        protocol=protocol,
        url=f"{feeding.url}/{path}",
        hash_set=f"line/{hash_set}",
        credentials=dict.fromkeys(CREDENTIALS[protocol], f"file:{secret}"),
        page_items=9,
        options={"classified": "no"} if protocol == "taxii" else {},
        drop=1.0,
        silence=0.0,
    )
    save(tmp_path, "partner", settings)
    feeding.add(random, 60)
    for _ in range(6 if protocol == "ncmec" else 12):
        for _ in range(random.randrange(1, 10)):
            feeding.change(random)
        if protocol == "ncmec":
            time.sleep(1.1)  # its reader takes a deletion of the same second for the newer word
        taken(tmp_path, hub)
        assert digests_of(hub, f"line/{hash_set}") == expected(feeding, protocol)
    feeding.share(bulk=False)
    taken(tmp_path, hub)
    assert digests_of(hub, f"line/{hash_set}") == set()


def taken(place: Path, hub: Client) -> None:
    """Fetch, and apply also what drops much."""
    done = fetch(place, "partner", hub)
    if done.status is SourceStatus.HELD:
        done = apply(place, "partner", hub)
    assert done.status is SourceStatus.OK, done.detail
