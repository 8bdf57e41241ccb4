"""What a stranger, or whoever takes no answer, cannot do to others: over real gRPC; work is counted, and not timed."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashhub import v1
from hashhub.errors import LimitExceeded, Reason, StatusCode
from hashhub.hub.health import Need
from hashhub.model import Principal, Role, Shares
from hashhub.server import listeners
from hashhub.server.grpc_listener import Handlers
from tests.hub.conftest import OPERATOR, Desk, item
from tests.patience import PATIENCE, wait_until
from tests.server.calls import (
    ASKED,
    MATCH,
    REFLECTION,
    begin_http2,
    call_headers,
    check_health,
    deaf_calls,
    frame,
    match_hashes,
    refusal_of,
    resident_bytes,
    slow_call,
    varint,
)

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served

# A process of its own, so that what the client holds and has not sent is not counted as the server's.
_STRANGER = """
import sys, grpc
body = bytes.fromhex(sys.argv[2]) + bytes(31 << 20)
channels = [grpc.insecure_channel(sys.argv[1], [("grpc.max_send_message_length", -1)]) for _ in range(3)]
ask = [channel.unary_unary("/hashhub.v1.ContributionService/AddRecords", None, None) for channel in channels]
calls = [one.future(body, timeout=60) for one in ask for _ in range(10)]
print(*(call.exception().code().name for call in calls))
"""


_FLOOD = """
import selectors, socket, sys
from tests.server.calls import call_headers, frame
host, _, port = sys.argv[1].rpartition(":")
headers = call_headers("/hashhub.v1.MatchService/MatchHashes", "")
chosen = selectors.DefaultSelector()
for _ in range(8):
    connection = socket.create_connection((host, int(port)))
    begun = b"".join(frame(1, 5, stream, headers) for stream in range(1, 400, 2))
    connection.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + frame(4, 0, 0, b"") + begun)
    chosen.register(connection, selectors.EVENT_READ, [b"", 401])
while True:
    for key, _ in chosen.select():
        came, answer = key.data[0] + key.fileobj.recv(1 << 18), b""
        while len(came) >= 9 and len(came) >= 9 + (size := int.from_bytes(came[:3], "big")):
            kind, flags = came[3], came[4]
            if kind == 4 and not flags & 1:
                answer += frame(4, 1, 0, b"")
            elif kind == 6 and not flags & 1:
                answer += frame(6, 1, 0, came[9 : 9 + size])
            elif kind == 3 or (kind == 1 and flags & 1):
                answer += frame(1, 5, key.data[1], headers)
                key.data[1] += 2
            came = came[9 + size :]
        key.data[0] = came
        key.fileobj.sendall(answer)
"""


def test_a_member_waits_for_no_more_strangers_than_came_before(serve_hub: Serve) -> None:
    """Eight connections with 200 streams each, and each that ends is opened anew: others waited for 1.5 to 2.2 s. How
    long that is, is a matter of the machine: what they wait for, and what it costs, is counted here.
    """
    served = serve_hub()
    match_hashes(served)
    spent = time.process_time()
    for _ in range(200):
        match_hashes(served)
    of_members = (time.process_time() - spent) / 200

    def refused() -> int:
        samples = [s for family in served.doors.metrics.families() for s in family.samples]
        return int(sum(s.value for s in samples if s.labels.get("reason") == "TOKEN_MISSING"))

    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", _FLOOD, served.doors.grpc_address], env=environment) as flood:
        try:
            wait_until(lambda: refused() > 2_500)
            spent, refusals = time.process_time(), refused()
            waited_for = []
            for _ in range(9):
                before = refused()
                match_hashes(served)
                waited_for.append(refused() - before)
            of_strangers = (time.process_time() - spent) / (refused() - refusals)
        finally:
            flood.kill()
    # This process may be stopped for a while between two looks; not most of the time.
    assert statistics.median(waited_for) < 2_000, "of 1,600 that are open at a time"
    assert of_strangers < of_members, "seconds of CPU: a refusal is less work than an answer"


def test_without_a_token_large_messages_are_not_read(served: Served) -> None:
    """30 requests of 31 MB: they filled a gigabyte, because each was read before its token was looked at."""
    match_hashes(served)
    before = most = resident_bytes()
    command = [sys.executable, "-c", _STRANGER, served.doors.grpc_address, (b"\x0a" + varint(31 << 20)).hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stranger:
        while stranger.poll() is None:
            most = max(most, resident_bytes())
            time.sleep(0.01)
        assert stranger.stdout is not None
        assert stranger.stdout.read().split() == ["UNAUTHENTICATED"] * 30
    assert most - before < 150 << 20, f"{most - before >> 20} MB for 30 refused requests of 31 MB"


def test_slow_senders_are_cut_off_and_stop_nobody(serve_hub: Serve) -> None:
    served = serve_hub(threads=4, slow_sender_seconds=1.0)
    assert match_hashes(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH
    secret = served.tokens["OPERATOR"]
    path = "/hashhub.v1.MatchService/MatchHashes"
    room = served.doors.pipeline.limiters["calls"]
    slow = [slow_call(served, path, f"Bearer {secret}") for _ in range(8)]
    try:
        wait_until(lambda: room.depth[0] == 3)  # three quarters of four threads: the rest is for somebody else
        for _ in range(20):
            match_hashes(served)
        # Every one of them is cut off in its turn, and nobody is let in in their place for longer.
        wait_until(lambda: sum(served.doors.pipeline.limiters["calls"].depth) == 0)
    finally:
        for connection in slow:
            connection.close()


def test_answers_that_nobody_takes_are_bounded_and_end_with_their_connection(serve_hub: Serve) -> None:
    """Each answer waited in memory for as long as its reader liked, in no share: 360 took 320 MB."""
    served = serve_hub(slow_sender_seconds=600.0)
    desk = Desk(served.hub)
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n, series=f"{n}" + "s" * 1000) for n in range(1000)))
    reader = Principal(name="reader", role=Role.OPERATOR, shares=Shares(message_bytes=8 << 20))
    _, secret = served.hub.tokens.create(OPERATOR, reader)
    request = v1.ListEntriesRequest(parent="contributors/alpha/hashSets/list", page_size=1000)
    path = "ContributionService/ListEntries"

    def page(who: str) -> v1.ListEntriesResponse:
        answer: v1.ListEntriesResponse = served.call(path, request, v1.ListEntriesResponse, who=who)
        return answer

    assert page(secret).ByteSize() > 1 << 20
    room = served.doors.pipeline.limiters["pages"]
    before = resident_bytes()
    deaf: list[socket.socket] = []
    try:
        for _ in range(10):
            call = f"/hashhub.v1.{path}"
            deaf.append(deaf_calls(served, call, f"Bearer {secret}", request.SerializeToString(), 10))
            wait_until(lambda: room.depth == (0, 0))
        with pytest.raises(LimitExceeded) as refused:
            page(secret)
        assert refused.value.reason is Reason.SHARE_EXCEEDED
        assert refused.value.metadata["share"] == "message_bytes"
        assert len(page("OPERATOR").entries) == 1000
        assert resident_bytes() - before < 90 << 20
        for connection in deaf:
            connection.close()

        def is_let_in() -> bool:
            try:
                return len(page(secret).entries) == 1000
            except LimitExceeded:
                return False

        wait_until(is_let_in, 180)
    finally:
        for connection in deaf:
            connection.close()


def test_who_takes_nothing_of_an_answer_is_cut_off_once_its_connection_is_old(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "OLD_SECONDS", 5.0)  # in which a busy machine has made all ten answers
    monkeypatch.setattr(listeners, "LAST_CALLS_SECONDS", 1.0)
    served = serve_hub()
    desk = Desk(served.hub)
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n, series=f"{n}" + "s" * 1000) for n in range(1000)))
    request = v1.ListEntriesRequest(parent="contributors/alpha/hashSets/list", page_size=1000)
    path = "ContributionService/ListEntries"
    authorization = f"Bearer {served.tokens['OPERATOR']}"
    deaf = deaf_calls(served, f"/hashhub.v1.{path}", authorization, request.SerializeToString(), 10)
    untaken = served.doors.handlers.untaken_bytes
    with deaf:
        wait_until(lambda: untaken["operator"] > 10 << 20)
        until = time.monotonic() + PATIENCE
        while untaken["operator"] > 10 << 20:
            assert time.monotonic() < until
            assert len(served.call(path, request, v1.ListEntriesResponse).entries) == 1000
            time.sleep(0.1)


def test_nothing_of_a_slow_stranger_is_waited_for(serve_hub: Serve) -> None:
    served = serve_hub(threads=1)
    slow = [slow_call(served, "/hashhub.v1.MatchService/MatchHashes", "Bearer hh_wrong") for _ in range(100)]
    try:
        for _ in range(5):
            match_hashes(served)
        wait_until(lambda: sum(served.doors.pipeline.limiters["calls"].depth) == 0)
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_probes_that_never_come_whole_stop_neither_health_nor_refusals(served: Served, path: str) -> None:
    """Two of them took both threads, for as long as they liked: health and refusals were answered no more."""
    slow = [slow_call(served, path, "") for _ in range(100)]
    try:
        for _ in range(3):
            assert check_health(served) == health_pb2.HealthCheckResponse.SERVING
        error = refusal_of(served, "MatchService/MatchHashes", MATCH, who="hh_wrong")
        assert error.code is StatusCode.UNAUTHENTICATED
    finally:
        for connection in slow:
            connection.close()


def test_reflection_that_takes_no_answer_stops_no_probe(served: Served) -> None:
    """Each had its thread for as long as it took nothing: 64 of them, and health was answered no more."""
    headers = call_headers(REFLECTION, "")
    asked = b"\0" + len(ASKED).to_bytes(4, "big") + ASKED
    calls = (frame(1, 4, n, headers) + frame(0, 0, n, asked) for n in range(1, 401, 2))
    no_window = (4).to_bytes(2, "big") + bytes(4)
    with begin_http2(served, no_window, b"".join(calls)):
        wait_until(lambda: sum(served.doors.probes.open_calls.values()) >= 200)
        for _ in range(3):
            assert check_health(served) == health_pb2.HealthCheckResponse.SERVING
    wait_until(lambda: not served.doors.probes.open_calls)


def test_reflection_that_goes_on_asking_stops_no_probe(served: Served) -> None:
    """Each request began its patience anew: who asked again in time kept its thread."""
    streams = range(1, 401, 2)
    asked = b"\0" + len(ASKED).to_bytes(4, "big") + ASKED
    wide = (4).to_bytes(2, "big") + (1 << 30).to_bytes(4, "big")
    begun = b"".join(frame(1, 4, n, call_headers(REFLECTION, "")) for n in streams)
    again = b"".join(frame(0, 0, n, asked) for n in streams)
    over = threading.Event()

    def go_on(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                connection.sendall(again)

    def take(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(1 << 20):
                pass

    with begin_http2(served, wide, frame(8, 0, 0, (1 << 30).to_bytes(4, "big")) + begun + again) as connection:
        threads = [threading.Thread(target=work, args=(connection,), daemon=True) for work in (go_on, take)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: sum(served.doors.probes.open_calls.values()) >= 200)
            assert check_health(served) == health_pb2.HealthCheckResponse.SERVING
        finally:
            over.set()
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(60)
    wait_until(lambda: not served.doors.probes.open_calls)


def test_each_connection_has_its_part_of_the_probes(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that opens thousands and takes no answer leaves places to another."""
    monkeypatch.setattr("hashhub.server.health.MOST_OPEN", 64)
    served = serve_hub()
    headers = call_headers(REFLECTION, "")
    asked = b"\0" + len(ASKED).to_bytes(4, "big") + ASKED
    calls = (frame(1, 4, n, headers) + frame(0, 0, n, asked) for n in range(1, 401, 2))
    no_window = (4).to_bytes(2, "big") + bytes(4)
    probes = served.doors.probes
    with begin_http2(served, no_window, b"".join(calls)):
        wait_until(lambda: sum(probes.open_calls.values()) == 64)
        for _ in range(3):
            assert check_health(served) == health_pb2.HealthCheckResponse.SERVING
    wait_until(lambda: not probes.open_calls)


def test_many_probes_at_once_are_all_answered(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    calls = [stub.Check.future(health_pb2.HealthCheckRequest(), timeout=300) for _ in range(200)]
    assert {call.result().status for call in calls} == {health_pb2.HealthCheckResponse.SERVING}


def test_nothing_is_kept_of_what_strangers_watched(served: Served) -> None:
    """Each name that somebody watched was kept for ever, with up to 32 MB."""
    stub = health_pb2_grpc.HealthStub(served.channel)
    check_health(served)
    before = resident_bytes()
    for number in range(20):
        watching = stub.Watch(health_pb2.HealthCheckRequest(service=f"{number:02}" * (5 << 20)), timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            next(watching)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert resident_bytes() - before < 100 << 20
    watching = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=60)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watching.cancel()


def test_watchers_are_counted_and_make_place_when_they_go(serve_hub: Serve) -> None:
    served = serve_hub(max_connections=3)
    stub = health_pb2_grpc.HealthStub(served.channel)

    def watch() -> Any:
        watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=300)
        assert next(watching).status is not None
        return watching

    watching = [watch() for _ in range(3)]
    with pytest.raises(grpc.RpcError) as caught:
        watch()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    check_health(served)
    watching[0].cancel()

    def has_place() -> bool:
        try:
            watching.append(watch())
        except grpc.RpcError:
            return False
        return True

    wait_until(has_place)
    for one in watching:
        one.cancel()


def test_watchers_who_take_nothing_hold_up_nobody(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them was enough: who sent to it held a lock until it took its answer, every other probe waited for that
    lock, and with the next watcher who left so did the thread that runs all of gRPC.
    """
    served = serve_hub()
    stub = health_pb2_grpc.HealthStub(served.channel)
    deaf = deaf_calls(served, "/grpc.health.v1.Health/Watch", "", b"", 200)
    try:
        assert check_health(served) == health_pb2.HealthCheckResponse.SERVING
        leaving = stub.Watch(health_pb2.HealthCheckRequest(), timeout=300)
        next(leaving)
        leaving.cancel()
        watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=300)
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        with monkeypatch.context() as away:
            away.setattr(served.doors.health, "met", frozenset)
            assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        match_hashes(served)
        watching.cancel()
    finally:
        closing = threading.Thread(target=served.doors.close, daemon=True)
        closing.start()
        closing.join(60)
        deaf.close()
    assert not closing.is_alive(), "the doors close while they are there"


def test_watchers_come_and_go_while_health_changes_and_the_doors_close(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_hub()
    stub = health_pb2_grpc.HealthStub(served.channel)
    answers = itertools.cycle([frozenset(), frozenset(Need)])
    monkeypatch.setattr(served.doors.health, "met", lambda: next(answers))
    monkeypatch.setattr("hashhub.server.health.LOOK_SECONDS", 0.0)
    for _ in range(20):
        watching = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=300) for _ in range(20)]
        for one in watching:
            next(one)
            one.cancel()
    match_hashes(served)
    watching = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=300) for _ in range(50)]
    for one in watching:
        next(one)
    closing = threading.Thread(target=served.doors.close, daemon=True)
    closing.start()
    for one in watching:
        one.cancel()
    closing.join(60)
    assert not closing.is_alive()


def test_a_connection_without_calls_makes_place_and_is_opened_anew(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that forgets its connections took one place after another, for ever."""
    monkeypatch.setattr("hashhub.server.listeners.IDLE_SECONDS", 0.2)
    served = serve_hub()
    match_hashes(served)
    idle = begin_http2(served, b"", frame(4, 1, 0, b""))
    assert _ends(idle, 60)
    match_hashes(served)


def test_a_connection_whose_other_end_has_vanished_makes_place(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing told it from one that is silent, for two hours."""
    monkeypatch.setattr("hashhub.server.listeners.SILENT_SECONDS", 1.0)
    monkeypatch.setattr("hashhub.server.listeners.PING_SECONDS", 5.0)  # a client of a busy machine answers in that
    served = serve_hub()
    watch = frame(1, 4, 1, call_headers("/grpc.health.v1.Health/Watch", "")) + frame(0, 0, 1, bytes(5))
    vanished = begin_http2(served, b"", frame(4, 1, 0, b"") + watch)
    watching = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest(), timeout=300)
    next(watching)
    assert _ends(vanished, 180), "it answers no ping"
    assert watching.is_active()
    watching.cancel()


def _ends(connection: socket.socket, seconds: float) -> bool:
    """Read whatever comes until the other side closes; False when it does not within a time."""
    connection.settimeout(seconds)
    with connection, contextlib.suppress(ConnectionError):
        try:
            while connection.recv(65536):
                pass
        except TimeoutError:
            return False
    return True


def test_one_connection_has_so_many_streams(served: Served) -> None:
    """Without a bound one connection brought gRPC to cancel the calls of everybody: it does from 1,000 that wait on."""
    host, _, port = served.doors.grpc_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        read = connection.makefile("rb")
        settings = b""
        while not settings:
            head = read.read(9)
            payload = read.read(int.from_bytes(head[:3], "big"))
            settings = payload if head[3] == 4 else b""
    values = {
        int.from_bytes(settings[at : at + 2], "big"): int.from_bytes(settings[at + 2 : at + 6], "big")
        for at in range(0, len(settings), 6)
    }
    assert 2 * (128 + 8) <= values.get(3, 2**32) < 1000, "twice what one token may have at a time, and no thousand"


def test_a_burst_of_calls_that_are_opened_and_reset_cancels_nobodys(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC cancels calls, whosever they are, while more wait to be looked at than it is told to keep."""
    served = serve_hub()
    match_hashes(served)  # whose token it is, is known
    look = Handlers.service
    has_come = threading.Event()

    def look_later(self: Handlers, details: grpc.HandlerCallDetails) -> Any:
        assert has_come.wait(180)
        return look(self, details)

    monkeypatch.setattr(Handlers, "service", look_later)
    headers = call_headers("/hashhub.v1.MatchService/MatchHashes", "Bearer hh_wrong")
    calls = (frame(1, 4, n, headers) + frame(3, 0, n, (8).to_bytes(4, "big")) for n in range(1, 401, 2))
    burst = b"".join(calls) + frame(6, 0, 0, bytes(8))  # the answer to this ping says that all before it was read
    hostile = [begin_http2(served, b"", burst) for _ in range(16)]  # 3,200 calls
    try:
        for connection in hostile:
            with connection.makefile("rb") as read:
                kind = -1
                while kind != 6:
                    head = read.read(9)
                    read.read(int.from_bytes(head[:3], "big"))
                    kind = head[3]
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(match_hashes, served)
            wait([answer], timeout=0.5)  # gRPC refuses at once what it will not let wait
            has_come.set()
            answer.result(60)
    finally:
        has_come.set()
        for connection in hostile:
            connection.close()
