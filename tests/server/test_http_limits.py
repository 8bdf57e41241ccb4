"""What somebody can do to the HTTP door without a token, with one, slowly, or with a lot."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hashhub.config import Config
from hashhub.errors import HashHubError, LimitExceeded
from hashhub.matcher.index import Segment
from hashhub.server import bodies
from hashhub.server.bodies import body_budget, take_bytes
from tests.hub.conftest import Desk, digest, item
from tests.patience import wait_until
from tests.server.test_bridge import MATCH, QUERY, ask
from tests.warm import Warm

if TYPE_CHECKING:
    from hashhub.model import Principal
    from tests.server.conftest import Serve, Served

MEDIA = "/hashhub.v1.MatchService/MatchMedia"
GET = "/hashhub.v1.ContributorService/GetContributor"
HOME = {"name": "contributors/home"}


def resident(pid: int, field: str = "VmRSS") -> int:
    """Bytes of memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def head(path: str, length: int | None, token: str = "", kind: str = "application/json", more: str = "") -> bytes:
    """The header of a request with a body of this length, or in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    sent = f"Bearer {token}" if token else ""
    authorization = f"Authorization: {sent}\r\n" if sent else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: {kind}\r\n{authorization}{more}{size}\r\n\r\n"
    ).encode()


@contextlib.contextmanager
def connected(address: str, sent: bytes = b"") -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        yield connection


def answered(connection: socket.socket) -> tuple[int, bytes]:
    """Read one answer."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.read()


def test_slow_connections_and_large_requests_of_strangers_stop_nothing(warmed: Warm, tmp_path: Path) -> None:
    """300 connections that hang in all the ways there are, and ten requests of 42 MB; none with a token."""
    large = b"x" * 42_000_000
    broken: list[type[Exception]] = []

    def send_large(address: str) -> None:
        try:
            with connected(address, head(MEDIA, len(large))) as connection:
                connection.sendall(large)
                answered(connection)
        except OSError as e:
            broken.append(type(e))

    with warmed.hub(tmp_path / "hub") as hub, contextlib.ExitStack() as stack:
        address = hub.http.removeprefix("http://")

        def healthy() -> None:
            connection = http.client.HTTPConnection(address, timeout=60)
            with contextlib.closing(connection):
                connection.request("GET", "/healthz")
                assert connection.getresponse().status == 200

        healthy()
        before = resident(hub.pid)
        for sent in (b"", b"GET /healthz HT", head(MEDIA, 42_000_000) + b"{"):
            for _ in range(100):
                stack.enter_context(connected(address, sent))
        senders = [threading.Thread(target=send_large, args=(address,)) for _ in range(10)]
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            healthy()
        for sender in senders:
            sender.join()
        healthy()
        grown = resident(hub.pid, "VmHWM") - before
    assert grown < 100 << 20, f"{grown >> 20} MiB"
    assert len(broken) <= 10  # they may see an answer or a broken connection; the hub reads no more of them


def test_slow_senders_hold_no_thread_and_are_told(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_hub(threads=2, max_concurrent_calls=2)
    door = served.doors.http
    assert door is not None
    monkeypatch.setattr(bodies, "GRACE", 5.0)  # until all of them are there
    monkeypatch.setattr(bodies, "SLOWEST", 1 << 20)
    begun = 20
    assert ask(served, MATCH, QUERY, who="CONSUMER").status == 200  # its token is known from now on
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(
                connected(
                    served.doors.http_address,
                    head(MEDIA, size, served.tokens["CONSUMER"]) + (b"1\r\n{\r\n" if size is None else b"{"),
                )
            )
            for size in (1000, 100_000, None, 1_000_000) * (begun // 4)
        ]
        wait_until(lambda: door.budget.taken >= 1_100_000 * begun // 4)
        assert ask(served, MATCH, QUERY).status == 200
        assert ask(served, GET, HOME).status == 200
        assert door.budget.taken > 0
        for connection in connections:
            status, body = answered(connection)
            assert status == 503
            assert "too slowly" in json.loads(body)["message"]
    wait_until(lambda: door.budget.taken == 0)


def test_a_sender_who_keeps_up_is_not_late(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE", 0.5)  # a quarter of the time that it takes
    monkeypatch.setattr(bodies, "SLOWEST", 4_000)
    served = serve_hub()
    content = base64.b64encode(b"t" * 150_000)
    body = b'{"media": {"content": "' + content + b'"}, "options": {"policy": "any"}}'
    with connected(served.doors.http_address, head(MEDIA, len(body), served.tokens["CONSUMER"])) as connection:
        for at in range(0, len(body), 20_000):  # some 100,000 bytes a second, and far less on a busy machine
            connection.sendall(body[at : at + 20_000])
            time.sleep(0.2)
        assert answered(connection)[0] == 200


def test_one_token_cannot_take_the_room_of_all_bodies(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE", 1000.0)
    served = serve_hub(max_message_bytes=65_536, max_bytes_in_progress=400_000)
    door = served.doors.http
    assert door is not None
    with contextlib.ExitStack() as stack:

        def begin(who: str) -> socket.socket:
            sent = head(MEDIA, 150_000, served.tokens[who]) + b" "
            return stack.enter_context(connected(served.doors.http_address, sent))

        def refused(connection: socket.socket, said: str) -> bool:
            status, body = answered(connection)
            return status == 429 and said in json.loads(body)["message"]

        begin("CONSUMER")
        wait_until(lambda: door.budget.taken == 150_000)
        assert refused(begin("CONSUMER"), "this token")
        begin("OPERATOR")
        wait_until(lambda: door.budget.taken == 300_000)
        assert refused(begin("CONTRIBUTOR"), "the server")
        answer = ask(served, MEDIA, b" " * 150_000, who="CONTRIBUTOR")
        assert (answer.status, answer.reason, answer.headers["Retry-After"]) == (429, "TOO_MANY_REQUESTS", "1")
        assert ask(served, MATCH, QUERY).status == 200  # short ones take no room
    wait_until(lambda: door.budget.taken == 0)  # their senders have gone
    content = base64.b64encode(b"t" * 40_000).decode()
    assert ask(served, MEDIA, {"media": {"content": content}, "options": {"policy": "any"}}).status == 200
    wait_until(lambda: door.budget.taken == 0)


def test_a_body_without_a_length_is_cut_at_the_limit(serve_hub: Serve) -> None:
    served = serve_hub(max_message_bytes=65_536)
    door = served.doors.http
    assert door is not None
    with connected(served.doors.http_address, head(MEDIA, None, served.tokens["CONSUMER"])) as connection:
        chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(400):
                connection.sendall(chunk)
        assert answered(connection)[0] == 413
    wait_until(lambda: door.budget.taken == 0)


def test_trailers_are_no_headers(served: Served) -> None:
    """What a proxy in front takes out of the header could come behind the body again."""
    body = json.dumps(QUERY).encode()
    chunks = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    with connected(served.doors.http_address, head(MATCH, None, served.tokens["CONSUMER"]) + chunks) as connection:
        connection.sendall(b"x-more: 1\r\n\r\n")
        assert answered(connection)[0] == 200
    trailer = b"authorization: Bearer %b\r\n\r\n" % served.tokens["CONSUMER"].encode()
    with connected(served.doors.http_address, head(MATCH, None) + chunks + trailer) as connection:
        assert answered(connection)[0] == 401


def test_a_body_in_tiny_chunks_takes_no_more_memory_than_it_is_counted_for(served: Served) -> None:
    """Each chunk was an object of its own: of two bytes it took 35, and a place in a list besides."""
    door = served.doors.http
    assert door is not None
    chunks = 20_000
    with connected(served.doors.http_address, head(MEDIA, None, served.tokens["CONSUMER"])) as connection:
        connection.sendall(b"2\r\n  \r\n" * chunks)
        wait_until(lambda: door.budget.taken == 2 * chunks)
        connection.sendall(b"0\r\n\r\n")
        status, answer = answered(connection)
        assert (status, b"NOT_JSON" in answer) == (400, False), "nothing but spaces is an empty message"
    wait_until(lambda: door.budget.taken == 0)


def test_packed_bodies_are_bounded_and_checked(serve_hub: Serve) -> None:
    served = serve_hub(max_message_bytes=1 << 20)
    door = served.doors.http
    assert door is not None
    whole = json.dumps(QUERY).encode()
    packed = gzip.compress(whole)

    def send(body: bytes, packing: str = "gzip") -> int:
        return ask(served, MATCH, body, Content_Encoding=packing).status

    assert send(packed) == 200
    assert send(gzip.compress(whole[:5]) + gzip.compress(whole[5:])) == 200, "RFC 1952: one or several members"
    assert send(gzip.compress(whole + b" " * (2 * door.max_body_bytes))) == 413
    half = gzip.compress(b" " * (door.max_body_bytes // 2 + 1))
    assert send(half + packed) == 200
    assert send(half * 2 + packed) == 413, "as much as one"
    for wrong in (packed[:-1], packed + b"more", packed * 2 + packed[:-1], whole, b""):
        assert send(wrong) == 400
    assert send(whole, "identity") == 200
    assert send(whole, "br") == 415
    wait_until(lambda: door.budget.taken == 0)


def test_a_full_room_refuses_and_leaves_lookups_and_health(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_hub(threads=2, max_concurrent_calls=4)
    entered, release = threading.Semaphore(0), threading.Event()
    get = served.hub.contributors.get

    def hold(*args: Any) -> Any:
        entered.release()
        assert release.wait(180)
        return get(*args)

    monkeypatch.setattr(served.hub.contributors, "get", hold)
    statuses: list[int] = []
    calling = [threading.Thread(target=lambda: statuses.append(ask(served, GET, HOME).status)) for _ in range(3)]
    assert ask(served, MATCH, QUERY).status == 200  # its token is known from now on
    for call in calling:
        call.start()
    # One token has three quarters of the places, working and waiting ones.
    assert entered.acquire(timeout=180)
    wait_until(lambda: sum(served.doors.pipeline.limiters["calls"].depth) == 3)
    full = ask(served, GET, HOME)
    assert (full.status, full.reason, full.headers["Retry-After"]) == (429, "TOO_MANY_REQUESTS", "1")
    assert ask(served, "/healthz", verb="GET", who=None).status == 200
    release.set()
    for call in calling:
        call.join(60)
    assert statuses == [200] * 3
    assert ask(served, GET, HOME).status == 200


def test_strangers_leave_room_for_the_look_for_a_token_that_was_seen(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All looks waited in one queue: who sent wrong tokens fast enough had everybody else refused."""
    served = serve_hub(max_concurrent_calls=6)
    gate, room = served.doors.pipeline, served.doors.pipeline.lookups
    look, go_on = gate.authenticate, threading.Event()
    sent = head(GET, len(json.dumps(HOME)), served.tokens["OPERATOR"]) + json.dumps(HOME).encode()
    with connected(served.doors.http_address, sent) as connection:
        assert answered(connection)[0] == 200

    def look_later(sent: str | bytes) -> Principal:
        if sent == "hh_wrong":
            assert go_on.wait(180)
        return look(sent)

    monkeypatch.setattr(gate, "authenticate", look_later)
    monkeypatch.setattr(gate, "recall", lambda _: None)  # its second is over
    with contextlib.ExitStack() as strangers:
        try:
            for _ in range(40):
                strangers.enter_context(connected(served.doors.http_address, head(GET, 0, "hh_wrong")))
            wait_until(lambda: room.in_progress_of("") >= 6)
            connection = strangers.enter_context(connected(served.doors.http_address, sent))
            wait_until(lambda: bool(room.in_progress_of("operator") or select.select([connection], [], [], 0)[0]))
        finally:
            go_on.set()
        assert answered(connection)[0] == 200


def test_a_lookup_that_hits_nothing_waits_for_no_thread(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_hub(threads=1, max_concurrent_calls=1)
    assert ask(served, MATCH, QUERY).status == 200
    calls = served.doors.pipeline.limiters["calls"]
    monkeypatch.setattr(calls, "capacity", 0)
    for _ in range(5):
        assert ask(served, MATCH, QUERY).status == 200
    wide = {**QUERY, "options": {"policy": "any", "maxDistances": {"PDQ": 200}}}
    assert ask(served, MATCH, wide).status == 429  # may take long: a matter for a thread
    assert ask(served, "/healthz", verb="GET", who=None).status == 200


@pytest.mark.parametrize("hits", [False, True])
def test_a_lookup_is_searched_once(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch, hits: bool) -> None:
    served = serve_hub()
    desk = Desk(served.hub)
    desk.hash_set("alpha/list")
    listed = (digest("PDQ", 7), digest("MD5", 7))
    desk.contribute("alpha/list", item(1, hashes=listed))
    asked = listed if hits else (digest("PDQ", 8), digest("MD5", 8))
    hashes = [{"algorithm": h.algorithm, "digest": base64.b64encode(h.digest).decode()} for h in asked]
    searched: Counter[str] = Counter()
    for name in ("search", "search_few", "look_up_few"):
        plain = getattr(Segment, name)

        def counted(self: Segment, *given: Any, _plain: Any = plain) -> Any:
            searched[self.space.algorithm.name] += 1
            return _plain(self, *given)

        monkeypatch.setattr(Segment, name, counted)
    answer = ask(served, MATCH, {"query": {"hashes": hashes}, "options": {"policy": "any"}})
    assert (answer.status, answer.json["result"]["verdict"]) == (200, "VERDICT_MATCH" if hits else "VERDICT_NO_MATCH")
    algorithms = served.hub.matcher.status().algorithms
    segments = {name: algorithms[name].segments for name in ("PDQ", "MD5")}
    assert searched == segments


def test_further_connections_than_allowed_wait(serve_hub: Serve) -> None:
    served = serve_hub(max_connections=3)
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(connected(served.doors.http_address)) for _ in range(3)]
        for connection in kept:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
            assert answered(connection)[0] == 200
        waiting = stack.enter_context(
            connected(served.doors.http_address, b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        )
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        kept[0].close()
        waiting.settimeout(30)
        assert answered(waiting)[0] == 200


def test_a_budget_gives_back_all_that_was_taken() -> None:
    budget = body_budget(100, largest=30)
    for token in ("a", "b"):
        take_bytes(budget, token, 50)
    with pytest.raises(LimitExceeded, match="the server"):
        take_bytes(budget, "c", 1)
    budget.give_back(50, "a")
    with pytest.raises(LimitExceeded, match="this token"):
        take_bytes(budget, "b", 1)
    take_bytes(budget, "c", 50)
    for token in ("b", "c"):
        budget.give_back(50, token)
    assert budget.taken == 0
    take_bytes(body_budget(1, largest=30), "a", 30)  # one largest body always fits


def test_limits_that_cannot_work_are_refused() -> None:
    with pytest.raises(HashHubError, match=r"max_connections .* max_bytes_in_progress"):
        Config(max_connections=0, max_bytes_in_progress=0)
