"""Whatever a partner answers, it is refused with the reason, and nothing of it is applied; then the source goes on."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hashhub.client import Client
from hashhub.errors import HashHubError, LimitExceeded, MalformedSource, Unauthenticated, Unavailable
from hashhub.model import SourceStatus, now
from hashhub.sources.fetch import fetch, opened
from tests.sources.conftest import AddSource, digests_of
from tests.sources.partners import (
    PARTNERS,
    SECRET,
    Asked,
    MISPPartner,
    MockPartner,
    NCMECPartner,
    Reply,
    StopNCIIPartner,
    TAXIIPartner,
    ThreatExchangePartner,
)

Misbehave = Callable[[MockPartner], Callable[[Asked], Reply | None]]


def changed(change: Callable[[dict[str, Any]], object], page: int = 2) -> Misbehave:
    """Return what changes the JSON of one page of a fetch."""

    def misbehave(partner: MockPartner) -> Callable[[Asked], Reply | None]:
        begin = len(partner.asked)

        def answer(asked: Asked) -> Reply | None:
            if len(partner.asked) - begin != page:
                return None
            own = partner.own_answer(asked)
            told = json.loads(own.body)
            change(told)
            return own._replace(body=json.dumps(told).encode())

        return answer

    return misbehave


def instead(reply: Reply, page: int = 2) -> Misbehave:
    """Return what answers otherwise from one page of a fetch on."""

    def misbehave(partner: MockPartner) -> Callable[[Asked], Reply | None]:
        begin = len(partner.asked)
        return lambda _: reply if len(partner.asked) - begin >= page else None

    return misbehave


def replaced(old: str, new: str) -> Misbehave:
    def misbehave(partner: MockPartner) -> Callable[[Asked], Reply | None]:
        def answer(asked: Asked) -> Reply:
            own = partner.own_answer(asked)
            return own._replace(body=own.body.replace(old.encode(), new.encode()))

        return answer

    return misbehave


JSON = {"content-type": "application/json"}
EVERYONES: dict[str, tuple[Misbehave, str]] = {
    "another status": (instead(Reply(404, b"")), "HTTP 404"),
    "a redirect": (instead(Reply(302, b"", {"location": "http://127.0.0.1:9/elsewhere"})), "redirects elsewhere"),
    "a web page": (
        instead(Reply(200, b"<html><body>Welcome</body></html>", JSON)),
        "check the source's url|queryResult of",
    ),
    "nothing": (instead(Reply(200, b"", JSON)), "check the source's url"),
    "cut off": (
        lambda p: lambda a: p.own_answer(a)._replace(body=p.own_answer(a).body[:-9]),
        "check the source's url",
    ),
    "deep": (instead(Reply(200, b'{"a":' * 15_000, JSON)), "check the source's url"),
    "huge": (instead(Reply(200, b" " * 100_001, JSON)), "longer than 100,000 bytes"),
    "a bomb": (
        instead(Reply(200, gzip.compress(bytes(50 << 20)), JSON | {"content-encoding": "gzip"})),
        "longer than 100,000 bytes",
    ),
}
OWN: dict[tuple[type[MockPartner], str], tuple[Misbehave, str]] = {
    (StopNCIIPartner, "a token again"): (
        instead(Reply(200, b'{"hashRecords":[],"nextPageToken":"9","hasMoreRecords":true}', JSON)), "named before"),
    (StopNCIIPartner, "more without a token"): (changed(lambda t: t.update(nextPageToken=None)), "hasMoreRecords"),
    (StopNCIIPartner, "older"): (changed(lambda t: t.update(nextSetTimestamp=5), page=1), "older than"),
    (StopNCIIPartner, "no position"): (
        changed(lambda t: t.update(nextPageToken=None, hasMoreRecords=False, nextSetTimestamp=None)),
        "no nextSetTimestamp",
    ),
    (StopNCIIPartner, "records that are none"): (changed(lambda t: t.update(hashRecords=5)), "check the source's url"),
    (NCMECPartner, "older"): (replaced("2023-11-14", "2019-11-14"), "older than"),
    (NCMECPartner, "another host"): (replaced("<next>", "<next>http://127.0.0.1:9/"), "not at 127.0.0.1"),
    (NCMECPartner, "the same host with a user"): (replaced("<next>/", "<next>//you@127.0.0.1/"), "not at 127.0.0.1"),
    (NCMECPartner, "another path"): (replaced("/v2/entries?", "/v2/admin?"), "not at 127.0.0.1"),
    (NCMECPartner, "entities"): (
        replaced("<queryResult", '<!DOCTYPE q [<!ENTITY a "b">]><queryResult'), "no XML that may be read"),
    (NCMECPartner, "another root"): (instead(Reply(200, b"<other/>")), "root element"),
    (ThreatExchangePartner, "another host"): (
        changed(lambda t: t.update(paging={"next": "https://elsewhere.example/base/threat_updates/?a=1"}), page=1),
        "not at 127.0.0.1",
    ),
    (ThreatExchangePartner, "another port"): (
        changed(lambda t: t.update(paging={"next": "http://127.0.0.1:9/base/threat_updates/?a=1"}), page=1),
        "not at 127.0.0.1",
    ),
    (ThreatExchangePartner, "no URL"): (changed(lambda t: t.update(paging={"next": "http://[::"}), page=1), "not at"),
    (ThreatExchangePartner, "older"): (
        changed(lambda t: t["data"][0].update(last_updated=1_600_000_000), page=1), "older than"),
    (TAXIIPartner, "another type"): (
        lambda p: lambda a: p.own_answer(a)._replace(headers={"content-type": "text/html"}), "is no application/taxii"),
    (TAXIIPartner, "older"): (
        lambda p: lambda a: p.own_answer(a)._replace(headers={
            "content-type": "application/taxii+json;version=2.1", "x-taxii-date-added-last": "2020-01-01T00:00:00Z"}),
        "older than",
    ),
    (TAXIIPartner, "no time"): (
        lambda p: lambda a: p.own_answer(a)._replace(headers={"content-type": "application/taxii+json;version=2.1"}),
        "Date-Added-Last"),
    (TAXIIPartner, "more without next"): (changed(lambda t: t.update(more=True, next="")), "more without a next"),
    (MISPPartner, "a name that is a path"): (
        changed(lambda t: t.update({"../../etc/passwd": {"timestamp": 1}}), page=1), "is no UUID"),
    (MISPPartner, "older"): (
        changed(lambda t: [e.update(timestamp=e["timestamp"] - 999) for e in t.values()], page=1), "older than"),
    (MISPPartner, "an older file"): (changed(lambda t: t["Event"].update(timestamp="5")), "older than"),
    (MISPPartner, "another event"): (
        changed(lambda t: t["Event"].update(uuid="99999999-0000-4000-8000-000000000000")), "another event"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "misbehave", "expected"),
    [
        *(
            pytest.param(kind, misbehave, expected, id=f"{kind.protocol}, {name}")
            for name, (misbehave, expected) in EVERYONES.items()
            for kind in PARTNERS
        ),
        *(
            pytest.param(kind, misbehave, expected, id=f"{kind.protocol}, {name}")
            for (kind, name), (misbehave, expected) in OWN.items()
        ),
    ],
)
def test_it_is_refused_and_nothing_is_applied(
    kind: type[MockPartner],
    misbehave: Misbehave,
    expected: str,
    hub: Client,
    add_source: AddSource,
    tmp_path: Path,
) -> None:
    rng = random.Random(3)
    with kind().serving() as partner:
        hash_set = add_source(partner, page_bytes=100_000)
        for _ in range(10):
            partner.add(rng)
        fetch(tmp_path, "partner", hub)
        before, was = digests_of(hub, hash_set), len(list(hub.list_imports(hash_set)))
        for item in list(partner.items.values())[::3]:
            partner.remove(item)
        for _ in range(20):
            partner.add(rng)
        partner.answer = misbehave(partner)
        with pytest.raises(MalformedSource, match=expected):
            fetch(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == before
        assert len(list(hub.list_imports(hash_set))) == was
        with opened(tmp_path, "partner") as state:
            progress = state.progress()
        assert (progress.status, progress.failures_in_a_row, progress.fetch) == (SourceStatus.FAILED, 1, None)
        assert progress.next_time is not None
        assert progress.next_time > now()
        partner.answer = lambda _: None
        assert fetch(tmp_path, "partner", hub).status is SourceStatus.OK
        assert digests_of(hub, hash_set) == partner.digests()


@pytest.mark.parametrize("kind", PARTNERS, ids=lambda k: k.protocol)
def test_of_a_fetch_that_was_refused_nothing_comes_later(
    kind: type[MockPartner], hub: Client, add_source: AddSource, tmp_path: Path
) -> None:
    """What a page said before another one was refused is forgotten with it."""
    rng = random.Random(8)
    with kind().serving() as partner:
        hash_set = add_source(partner, page_items=2)
        first = partner.add(rng)
        fetch(tmp_path, "partner", hub)
        false = [partner.add(rng) for _ in range(30)]
        partner.answer = instead(Reply(404, b""), page=4 if kind is MISPPartner else 3)(partner)
        with pytest.raises(MalformedSource):
            fetch(tmp_path, "partner", hub)
        partner.answer = lambda _: None
        for item in false:
            del partner.items[item.id]
        partner.touch(first)
        fetch(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == partner.digests()


@pytest.mark.parametrize("kind", [StopNCIIPartner, ThreatExchangePartner, TAXIIPartner], ids=lambda k: k.protocol)
def test_pages_without_end_end(kind: type[MockPartner], hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    def endless(asked: Asked) -> Reply:
        more = str(len(partner.asked))
        told: dict[str, object] = {
            "hashRecords": [], "nextPageToken": more, "hasMoreRecords": True, "nextSetTimestamp": 2_000_000_000,
            "data": [], "paging": {"next": f"{partner.url}/threat_updates/?after={more}"},
            "more": True, "next": more,
        }  # fmt: skip
        return Reply(200, json.dumps(told).encode(), {"content-type": "application/taxii+json;version=2.1"})

    with kind().serving() as partner:
        add_source(partner, pages=30)
        partner.answer = endless
        with pytest.raises(MalformedSource, match="do not end"):
            fetch(tmp_path, "partner", hub)
        assert len(partner.asked) == 31


def test_all_pages_together_are_bounded(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    rng = random.Random(4)
    with StopNCIIPartner().serving() as partner:
        hash_set = add_source(partner, fetch_bytes=5_000)
        for _ in range(100):
            partner.add(rng)
        with pytest.raises(MalformedSource, match="do not end"):
            fetch(tmp_path, "partner", hub)
        assert digests_of(hub, hash_set) == set()


@pytest.mark.parametrize(
    ("status", "error", "wait"),
    [
        (401, Unauthenticated, 0),
        (403, Unauthenticated, 0),
        (429, LimitExceeded, 3_000),
        (503, Unavailable, 3_000),
        (500, Unavailable, 0),
    ],
)
def test_what_may_pass_is_tried_later_from_the_same_page(
    status: int, error: type[HashHubError], wait: int, hub: Client, add_source: AddSource, tmp_path: Path
) -> None:
    rng = random.Random(5)
    with StopNCIIPartner().serving() as partner:
        hash_set = add_source(partner)
        for _ in range(20):
            partner.add(rng)
        partner.answer = instead(Reply(status, b"", {"retry-after": str(wait)} if wait else {}))(partner)
        with pytest.raises(error):
            fetch(tmp_path, "partner", hub)
        with opened(tmp_path, "partner") as state:
            due = state.progress().next_time
        assert due is not None
        assert (due - now()).total_seconds() > (wait or 20) - 10
        partner.answer = lambda _: None
        partner.asked.clear()
        fetch(tmp_path, "partner", hub)
        assert "nextPageToken" in partner.asked[0].query  # goes on
        assert digests_of(hub, hash_set) == partner.digests()


def test_failures_wait_longer_and_longer(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    pauses = []
    with StopNCIIPartner().serving() as partner:
        add_source(partner)
        partner.answer = lambda _: Reply(500, b"")
        for _ in range(12):
            with pytest.raises(Unavailable):
                fetch(tmp_path, "partner", hub)
            with opened(tmp_path, "partner") as state:
                due = state.progress().next_time
            assert due is not None
            pauses.append((due - now()).total_seconds())
    assert pauses[0] < 40
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(pauses[:9]))
    assert pauses[-1] < 7 * 3_600


@contextmanager
def dripping(begin: bytes, piece: bytes) -> Iterator[str]:
    """Give the URL of a server that sends a little now and then, for ever."""
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.sendall(begin)
                    while not ended.wait(0.05):
                        connection.sendall(piece)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/base"
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx-a: ", b"b", id="a header"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n", b" ", id="a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n", id="chunks"),
    ],
)
def test_an_answer_that_comes_too_slowly_is_given_up(
    begin: bytes, piece: bytes, hub: Client, add_source: AddSource, tmp_path: Path
) -> None:
    with dripping(begin, piece) as url:
        partner = StopNCIIPartner(url=url)
        add_source(partner, call_seconds=0.5)
        with pytest.raises(Unavailable, match="no whole answer within"):
            fetch(tmp_path, "partner", hub)


def test_who_does_not_want_to_wait_any_more_need_not(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    from hashhub.errors import Cancelled

    with dripping(b"", b"") as url:
        add_source(StopNCIIPartner(url=url), call_seconds=3_000.0)
        begun = time.monotonic()
        with pytest.raises(Cancelled):
            fetch(tmp_path, "partner", hub, is_cancelled=lambda: time.monotonic() - begun > 0.1)


def test_no_secret_is_kept_or_told(
    hub: Client, add_source: AddSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rng = random.Random(6)
    with ThreatExchangePartner().serving() as partner:
        add_source(partner)
        for _ in range(20):
            partner.add(rng)
        partner.answer = instead(Reply(500, SECRET.encode()))(partner)
        with pytest.raises(Unavailable) as error:
            fetch(tmp_path, "partner", hub)
        kept = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.name != "secret")
    for text in (kept, str(error.value).encode(), caplog.text.encode()):
        assert b"sesame" not in text


def test_a_secret_that_others_can_read_is_not_used(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    with StopNCIIPartner().serving() as partner:
        add_source(partner)
        (tmp_path / "secret").chmod(0o644)
        with pytest.raises(HashHubError, match="can be read by others"):
            fetch(tmp_path, "partner", hub)
        assert partner.asked == []


def test_a_secret_is_read_anew_each_time(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    with StopNCIIPartner().serving() as partner:
        partner.add(random.Random(7))
        add_source(partner)
        (tmp_path / "secret").write_text("open barley")
        with pytest.raises(Unauthenticated):
            fetch(tmp_path, "partner", hub)
        (tmp_path / "secret").write_text(SECRET)
        assert fetch(tmp_path, "partner", hub).status is SourceStatus.OK
