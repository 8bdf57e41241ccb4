"""A hub that fetches another hub's MISP feed has what that hub lets it have."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import msgspec
import pytest

from hashhub.client import Client
from hashhub.misp_feed import MISPFeed
from hashhub.model import HashSet, Marking, SourceStatus
from hashhub.sources.fetch import fetch
from hashhub.sources.settings import SourceSettings, save
from tests.hub.receiving import entitled, mirroring
from tests.mirror.conftest import Site
from tests.mirror.test_holding import World
from tests.sources.conftest import digests_of

_RECEIVER = msgspec.structs.replace(mirroring(), purposes=("moderation",))


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "origin")
    yield site
    site.close()


@contextmanager
def web_server(directory: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_hub_that_fetches_our_feed_has_what_its_token_may_hold(
    origin: Site, hub: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.misp_feed.EVENT_ENTRIES", 16)
    world, random, secret = World(origin, 3), Random(3), origin.token(_RECEIVER)
    hub.create_hash_set(HashSet(contributor="line", id="of-our-feed", marking=Marking()))
    fetched = 0
    with MISPFeed(tmp_path / "misp") as feed, web_server(feed.files) as url:
        settings = SourceSettings(protocol="misp", url=url, hash_set="line/of-our-feed", drop=1.0, silence=0.0)
        save(tmp_path, "partner", settings)
        for step in range(40):
            world.step()
            if random.random() < 0.7 and step < 39:
                continue
            with origin.client(secret) as reading:
                feed.update(reading)
            progress = fetch(tmp_path, "partner", hub)
            assert progress.status is SourceStatus.OK, progress.detail
            held = entitled(origin.hub, _RECEIVER)[0].values()
            assert digests_of(hub, "line/of-our-feed") == {h.digest for e, _ in held for h in e.hashes}
            fetched += 1
    assert fetched > 5
