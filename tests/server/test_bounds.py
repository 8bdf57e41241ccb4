"""What a hostile or merely busy caller cannot do to others: over real gRPC; work is counted, and not timed."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import Context, copy_context
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from hashhub import cancellation, v1, wire
from hashhub.client import Client
from hashhub.errors import Code, HashHubError, InvalidArgument, LimitExceeded, Reason, Unauthenticated
from hashhub.hub import contribute
from hashhub.hub.condition import Need
from hashhub.model import Principal, Role, Shares
from hashhub.server.doors import _Handlers
from hashhub.server.interceptors import Method
from hashhub.server.packed import unpacked
from hashhub.server.servicers import FILES
from hashhub.wire import bounds
from tests.hub.conftest import OPERATOR, Desk, item

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served

SET = "contributors/home/hashSets/crowd"
RPCS = {
    f"{service.name}/{rpc.name}": rpc
    for file in FILES
    for service in file.services_by_name.values()
    for rpc in service.methods
}
MATCH = v1.MatchHashesRequest(
    query=v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=bytes(16))]), options=v1.MatchOptions(policy="any")
)
MILLION = 1_000_000
WIRE_TYPES = {FieldDescriptor.CPPTYPE_MESSAGE: 2, FieldDescriptor.CPPTYPE_STRING: 2}


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def _ways(message: Any, at: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Yield the way to every field that repeats in a request, through the messages inside."""
    for field in message.fields:
        if field.is_repeated:
            yield (*at, field)
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            yield from _ways(field.message_type, (*at, field))


def _repeated(way: tuple[FieldDescriptor, ...], count: int) -> bytes:
    """Return a request that has so many empty values in the field at the end of the way."""
    last = way[-1]
    is_bytes = last.cpp_type in WIRE_TYPES
    body = (_varint(last.number << 3 | (2 if is_bytes else 0)) + b"\0") * count
    for field in reversed(way[:-1]):
        body = _varint(field.number << 3 | 2) + _varint(len(body)) + body
    return body


REPEATED = [
    pytest.param(name, way, id=f"{name}:{'.'.join(f.name for f in way)}")
    for name, rpc in RPCS.items()
    for way in _ways(rpc.input_type)
]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _match(served: Served, who: str = "CONSUMER", timeout: float = 60.0) -> v1.MatchHashesResponse:
    answer: v1.MatchHashesResponse = served.call(
        "MatchService/MatchHashes", MATCH, v1.MatchHashesResponse, who=who, timeout=timeout
    )
    return answer


def _raw(channel: grpc.Channel, name: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/hashhub.v1.{name}", None, None)
    return call


def _refusal(served: Served, method: str, body: Any, who: str | None = "OPERATOR") -> HashHubError:
    with pytest.raises(HashHubError) as caught:
        served.call(method, body, GetMessageClass(RPCS[method].output_type), who=who, timeout=60)
    return caught.value


# Requests with a million of something


@pytest.mark.parametrize(("name", "way"), REPEATED)
def test_a_million_of_anything_is_refused_before_it_is_converted(
    served: Served, monkeypatch: pytest.MonkeyPatch, name: str, way: tuple[FieldDescriptor, ...]
) -> None:
    body = _repeated(way, MILLION)
    method = served.doors._methods[f"/hashhub.v1.{name}"]

    def converted(*_: object) -> object:
        raise AssertionError("it was converted")

    monkeypatch.setattr(type(served.hub), "revision", converted)
    before = _resident()
    with pytest.raises((LimitExceeded, InvalidArgument)) as caught:
        method.parse(body)
    assert str(caught.value)
    # Parsed and converted, a million queries or records take from 500 MB to a gigabyte.
    assert _resident() - before < 150 * 1024 * 1024
    error = _refusal(served, name, body)
    assert isinstance(error, LimitExceeded | InvalidArgument), error
    assert error.reason in {Reason.TOO_LARGE, Reason.INVALID_FIELD}


def test_every_repeated_field_of_a_request_has_its_bound() -> None:
    contract = {name for rpc in RPCS.values() for name in bounds.repeated_fields(rpc.input_type)}
    assert contract == set(bounds.REPEATED)


@pytest.mark.parametrize("count", [1000, 1001, 100_000])
def test_the_count_of_queries_is_judged_on_the_wire(count: int) -> None:
    full = v1.BatchMatchHashesRequest(queries=[MATCH.query] * min(count, 2000)).SerializeToString()
    body = full if count <= 2000 else full * (count // 2000)
    limit = bounds.bounds_of(v1.BatchMatchHashesRequest.DESCRIPTOR, 32 << 20)  # type: ignore[arg-type]  # upb's
    if count <= 1000:
        assert len(bounds.parse(v1.BatchMatchHashesRequest, body, limit).queries) == count  # type: ignore[attr-defined]
        return
    with pytest.raises(LimitExceeded) as caught:
        bounds.parse(v1.BatchMatchHashesRequest, body, limit)
    assert "at most 1000" in caught.value.message


def test_at_most_twenty_violations_are_told_and_how_many_there_were(served: Served) -> None:
    wrong = v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=b"x")] * 3)
    request = v1.BatchMatchHashesRequest(queries=[wrong] * 100, options=v1.MatchOptions(policy="any"))
    error = _refusal(served, "MatchService/BatchMatchHashes", request)
    assert isinstance(error, InvalidArgument)
    assert 0 < len(error.violations) <= 20
    assert error.metadata["violationCount"] == "300"
    assert "and 299 more" in error.message


def test_a_request_in_which_everything_is_wrong_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    request = v1.AddRecordsRequest(records=[v1.Record(hashes=[v1.Hash()] * 64)] * 3_000)
    read: list[object] = []
    of = wire.records.read_hash  # type: ignore[attr-defined]

    def counting(pb: v1.Hash, at: str, wrong: Any) -> Any:
        read.append(at)
        return of(pb, at, wrong)

    monkeypatch.setattr("hashhub.wire.records.read_hash", counting)
    with pytest.raises(InvalidArgument) as caught:
        wire.records_from_pb(request.records)
    assert caught.value.violation_count == 1000
    assert len(caught.value.violations) == 20
    assert "at which reading stopped" in caught.value.message
    assert len(read) <= 1000


# Who is not let in sends nothing


# A process of its own, so that what the client holds and has not sent is not counted as the server's.
_STRANGER = """
import sys, grpc
body = bytes.fromhex(sys.argv[2]) + bytes(31 << 20)
channels = [grpc.insecure_channel(sys.argv[1], [("grpc.max_send_message_length", -1)]) for _ in range(3)]
ask = [channel.unary_unary("/hashhub.v1.ContributionService/AddRecords", None, None) for channel in channels]
calls = [one.future(body, timeout=60) for one in ask for _ in range(10)]
print(*(call.exception().code().name for call in calls))
"""


def test_without_a_token_large_messages_are_not_read(served: Served) -> None:
    """30 requests of 31 MB: they filled a gigabyte, because each was read before its token was looked at."""
    _match(served)
    before = most = _resident()
    command = [sys.executable, "-c", _STRANGER, served.doors.grpc_address, (b"\x0a" + _varint(31 << 20)).hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stranger:
        while stranger.poll() is None:
            most = max(most, _resident())
            time.sleep(0.01)
        assert stranger.stdout is not None
        assert stranger.stdout.read().split() == ["UNAUTHENTICATED"] * 30
    assert most - before < 150 << 20, f"{most - before >> 20} MB for 30 refused requests of 31 MB"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _headers(path: str, authorization: str) -> bytes:
    return b"".join(
        (b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode())
        for name, value in (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "x"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("authorization", authorization),
        )
    )


def _begin_http2(served: Served, settings: bytes, more: bytes) -> socket.socket:
    host, _, port = served.doors.grpc_address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, settings) + more)
    return connection


def _slow_call(served: Served, path: str, authorization: str) -> socket.socket:
    """Begin a call by hand, over HTTP/2, that never sends its message whole."""
    half = b"\0" + (1000).to_bytes(4, "big") + b"half of it"
    return _begin_http2(served, b"", _frame(1, 4, 1, _headers(path, authorization)) + _frame(0, 0, 1, half))


def _deaf_calls(served: Served, path: str, authorization: str, request: bytes, count: int) -> socket.socket:
    """Make calls by hand, over HTTP/2, whose answers may not be sent: every stream's window is 0."""
    body = b"\0" + len(request).to_bytes(4, "big") + request
    headers = _headers(path, authorization)
    calls = (_frame(1, 4, stream, headers) + _frame(0, 1, stream, body) for stream in range(1, 2 * count, 2))
    connection = _begin_http2(served, (4).to_bytes(2, "big") + bytes(4), b"".join(calls))
    with connection.makefile("rb") as read:
        answered = 0
        while answered < count:  # headers go out before an answer, or instead of it
            head = read.read(9)
            read.read(int.from_bytes(head[:3], "big"))
            answered += head[3] == 1
    return connection


def test_slow_senders_are_cut_off_and_stop_nobody(serve_hub: Serve) -> None:
    served = serve_hub(threads=4, slow_sender_seconds=1.0)
    assert _match(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH
    secret = served.tokens["OPERATOR"]
    path = "/hashhub.v1.MatchService/MatchHashes"
    room = served.doors._gate.rooms["calls"]
    slow = [_slow_call(served, path, f"Bearer {secret}") for _ in range(16)]
    try:
        _until(lambda: room.depth[0] == 3)  # three quarters of four threads: the rest is for somebody else
        for _ in range(20):
            _match(served)
        # Every one of them is cut off in its turn, and nobody is let in in their place for longer.
        _until(lambda: served.doors._threads["calls"].in_progress == 0)
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("goes", [True, False])
def test_answers_that_nobody_takes_are_bounded_and_end(serve_hub: Serve, *, goes: bool) -> None:
    """Each answer waited in memory for as long as its reader liked, in no share: 360 took 320 MB."""
    served = serve_hub(slow_sender_seconds=600.0 if goes else 2.0)
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
    threads = served.doors._threads["pages"]
    before = _resident()
    deaf: list[socket.socket] = []
    try:
        for _ in range(10):
            call = f"/hashhub.v1.{path}"
            deaf.append(_deaf_calls(served, call, f"Bearer {secret}", request.SerializeToString(), 10))
            _until(lambda: threads.in_progress == 0)
        with pytest.raises(LimitExceeded) as refused:
            page(secret)
        assert refused.value.reason is Reason.SHARE_EXCEEDED
        assert refused.value.metadata["share"] == "message_bytes"
        assert len(page("OPERATOR").entries) == 1000
        assert _resident() - before < 90 << 20
        if goes:
            for connection in deaf:
                connection.close()

        def is_let_in() -> bool:
            try:
                return len(page(secret).entries) == 1000
            except LimitExceeded:
                return False

        _until(is_let_in, 180)
    finally:
        for connection in deaf:
            connection.close()


def test_nothing_of_a_slow_stranger_is_waited_for(serve_hub: Serve) -> None:
    served = serve_hub(threads=1)
    slow = [_slow_call(served, "/hashhub.v1.MatchService/MatchHashes", "Bearer hh_wrong") for _ in range(100)]
    try:
        for _ in range(5):
            _match(served)
        _until(lambda: served.doors._threads["calls"].in_progress == 0)
    finally:
        for connection in slow:
            connection.close()


def _check_health(served: Served, timeout: float = 10.0) -> int:
    return int(
        health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout).status
    )


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
    slow = [_slow_call(served, path, "") for _ in range(100)]
    try:
        for _ in range(3):
            assert _check_health(served) == health_pb2.HealthCheckResponse.SERVING
        error = _refusal(served, "MatchService/MatchHashes", MATCH, who="hh_wrong")
        assert error.code is Code.UNAUTHENTICATED
        assert served.doors._threads["small"].in_progress == 0, "nobody is read on the threads that refuse"
    finally:
        for connection in slow:
            connection.close()


REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
ASKED = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()


def test_reflection_that_takes_no_answer_stops_no_probe(served: Served) -> None:
    """Each had its thread for as long as it took nothing: 64 of them, and health was answered no more."""
    headers = _headers(REFLECTION, "")
    asked = b"\0" + len(ASKED).to_bytes(4, "big") + ASKED
    calls = (_frame(1, 4, n, headers) + _frame(0, 0, n, asked) for n in range(1, 401, 2))
    no_window = (4).to_bytes(2, "big") + bytes(4)
    with _begin_http2(served, no_window, b"".join(calls)):
        _until(lambda: served.doors._probes._threads.in_progress > 64)
        for _ in range(3):
            assert _check_health(served, 30) == health_pb2.HealthCheckResponse.SERVING
    _until(lambda: served.doors._probes._threads.in_progress == 0)
    assert not served.doors._probes._waited_for


def test_reflection_that_goes_on_asking_stops_no_probe(served: Served) -> None:
    """Each request began its patience anew: who asked again in time kept its thread."""
    streams = range(1, 401, 2)
    asked = b"\0" + len(ASKED).to_bytes(4, "big") + ASKED
    wide = (4).to_bytes(2, "big") + (1 << 30).to_bytes(4, "big")
    begun = b"".join(_frame(1, 4, n, _headers(REFLECTION, "")) for n in streams)
    again = b"".join(_frame(0, 0, n, asked) for n in streams)
    over = threading.Event()

    def go_on(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                connection.sendall(again)

    def take(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(1 << 20):
                pass

    with _begin_http2(served, wide, _frame(8, 0, 0, (1 << 30).to_bytes(4, "big")) + begun + again) as connection:
        threads = [threading.Thread(target=work, args=(connection,), daemon=True) for work in (go_on, take)]
        for thread in threads:
            thread.start()
        try:
            _until(lambda: served.doors._probes._threads.in_progress > 64)
            assert _check_health(served, 30) == health_pb2.HealthCheckResponse.SERVING
        finally:
            over.set()
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(60)
    _until(lambda: served.doors._probes._threads.in_progress == 0)


def test_the_more_probes_wait_the_sooner_slow_ones_give_way(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """7,000 that sent no request kept a health check waiting for 52 s: up to a second for every 64 of them."""
    monkeypatch.setattr("hashhub.server.probes._PATIENCE_SECONDS", 6_000.0)
    probes = serve_hub().doors._probes
    probes.close()  # nobody else looks
    slow = Mock()
    probes._waited_for[slow] = time.monotonic() - 600
    probes._threads.in_progress = 65
    probes._cut_off()
    slow.cancel.assert_not_called()
    probes._threads.in_progress = 6400
    probes._cut_off()
    slow.cancel.assert_called_once_with()
    probes._waited_for[quick := Mock()] = time.monotonic() + 5
    probes._cut_off()
    quick.cancel.assert_not_called()


def test_packed_messages_are_unpacked_within_the_bound_of_their_kind(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC unpacked them itself, for as far as the largest message may go: 30 KB of a stranger became 31 MB."""
    largest = 0
    parse = Method.parse

    def measured(self: Method, body: bytes) -> Message:
        nonlocal largest
        largest = max(largest, len(body))
        return parse(self, body)

    monkeypatch.setattr(Method, "parse", measured)
    gzip = grpc.Compression.Gzip
    match = _raw(served.channel, "MatchService/BatchMatchHashes")
    request = v1.BatchMatchHashesRequest(queries=[MATCH.query] * 100, options=MATCH.options).SerializeToString()
    answer = match(request, metadata=served.metadata("CONSUMER"), timeout=60, compression=gzip)
    assert len(v1.BatchMatchHashesResponse.FromString(answer).results) == 100
    assert largest == len(request)
    bomb = bytes((0x7A,)) + _varint(31 << 20) + bytes(31 << 20)
    with pytest.raises(grpc.RpcError) as refused:
        match(bomb, metadata=served.metadata("CONSUMER"), timeout=60, compression=gzip)
    assert wire.status_to_error(refused.value).reason is Reason.TOO_LARGE
    assert largest == len(request)

    check: grpc.UnaryUnaryMultiCallable[bytes, bytes]
    check = served.channel.unary_unary("/grpc.health.v1.Health/Check", None, None)
    named = health_pb2.HealthCheckRequest(service="x" * 900).SerializeToString()
    for body, code, said in (
        (named, grpc.StatusCode.NOT_FOUND, "no service 'xxx"),
        (health_pb2.HealthCheckRequest(service="x" * 1100).SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT, ""),
        (b"\x1f\x8b no gzip", grpc.StatusCode.INVALID_ARGUMENT, ""),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            check(body, timeout=60, compression=gzip)
        assert refused.value.code() is code
        assert said in (refused.value.details() or "")
    with pytest.raises(grpc.RpcError) as refused:
        check(bomb, timeout=60, compression=gzip)
    assert f"has {len(bomb)} bytes" not in (refused.value.details() or ""), "it was unpacked before it was looked at"


def test_gzip_is_one_whole_member() -> None:
    whole = zlib.compress(b"abc" * 1000, wbits=31)
    assert unpacked(whole, 3000) == b"abc" * 1000
    with pytest.raises(LimitExceeded):
        unpacked(whole, 2999)
    for wrong in (whole[:-1], whole * 2, whole + b"more", whole[:20], b"\x1f\x8b"):
        with pytest.raises(InvalidArgument):
            unpacked(wrong, 3000)


def test_many_probes_at_once_are_all_answered(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    calls = [stub.Check.future(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(200)]
    assert {call.result().status for call in calls} == {health_pb2.HealthCheckResponse.SERVING}


def test_nothing_is_kept_of_what_strangers_watched(served: Served) -> None:
    """Each name that somebody watched was kept for ever, with up to 32 MB."""
    stub = health_pb2_grpc.HealthStub(served.channel)
    _check_health(served)
    before = _resident()
    for number in range(20):
        watching = stub.Watch(health_pb2.HealthCheckRequest(service=f"{number:02}" * (5 << 20)), timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            next(watching)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert _resident() - before < 100 << 20
    watching = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=60)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watching.cancel()


def test_watchers_are_counted_and_make_place_when_they_go(serve_hub: Serve) -> None:
    served = serve_hub(max_connections=3)
    stub = health_pb2_grpc.HealthStub(served.channel)

    def watch() -> Any:
        watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watching).status is not None
        return watching

    watching = [watch() for _ in range(3)]
    with pytest.raises(grpc.RpcError) as caught:
        watch()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    _check_health(served)
    watching[0].cancel()

    def has_place() -> bool:
        try:
            watching.append(watch())
        except grpc.RpcError:
            return False
        return True

    _until(has_place)
    for one in watching:
        one.cancel()


def test_watchers_who_take_nothing_hold_up_nobody(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them was enough: who sent to it held a lock until it took its answer, every other probe waited for that
    lock, and with the next watcher who left so did the thread that runs all of gRPC.
    """
    served = serve_hub()
    stub = health_pb2_grpc.HealthStub(served.channel)
    deaf = _deaf_calls(served, "/grpc.health.v1.Health/Watch", "", b"", 200)
    try:
        assert _check_health(served) == health_pb2.HealthCheckResponse.SERVING
        leaving = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        next(leaving)
        leaving.cancel()
        watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        with monkeypatch.context() as away:
            away.setattr(served.doors._health, "_met", frozenset)
            assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        _match(served)
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
    monkeypatch.setattr(served.doors._health, "_met", lambda: next(answers))
    monkeypatch.setattr(served.doors._probes.thread, "_pause", 0.0)
    served.doors._probes.thread.wake()
    for _ in range(20):
        watching = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(20)]
        for one in watching:
            next(one)
            one.cancel()
    _match(served)
    watching = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(50)]
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
    monkeypatch.setattr("hashhub.server.doors._IDLE_SECONDS", 0.2)
    served = serve_hub()
    _match(served)
    idle = _begin_http2(served, b"", _frame(4, 1, 0, b""))
    assert _ends(idle, 60)
    _match(served)


def test_a_connection_whose_other_end_has_vanished_makes_place(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing told it from one that is silent, for two hours."""
    monkeypatch.setattr("hashhub.server.doors._SILENT_SECONDS", 1.0)
    monkeypatch.setattr("hashhub.server.doors._PING_SECONDS", 1.0)
    served = serve_hub()
    watch = _frame(1, 4, 1, _headers("/grpc.health.v1.Health/Watch", "")) + _frame(0, 0, 1, bytes(5))
    vanished = _begin_http2(served, b"", _frame(4, 1, 0, b"") + watch)
    watching = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest(), timeout=120)
    next(watching)
    assert _ends(vanished, 60), "it answers no ping"
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
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))
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
    _match(served)  # whose token it is, is known
    look = _Handlers.service
    has_come = threading.Event()

    def look_later(self: _Handlers, details: grpc.HandlerCallDetails) -> Any:
        assert has_come.wait(60)
        return look(self, details)

    monkeypatch.setattr(_Handlers, "service", look_later)
    headers = _headers("/hashhub.v1.MatchService/MatchHashes", "Bearer hh_wrong")
    calls = (_frame(1, 4, n, headers) + _frame(3, 0, n, (8).to_bytes(4, "big")) for n in range(1, 401, 2))
    burst = b"".join(calls) + _frame(6, 0, 0, bytes(8))  # the answer to this ping says that all before it was read
    hostile = [_begin_http2(served, b"", burst) for _ in range(16)]  # 3,200 calls
    try:
        for connection in hostile:
            with connection.makefile("rb") as read:
                kind = -1
                while kind != 6:
                    head = read.read(9)
                    read.read(int.from_bytes(head[:3], "big"))
                    kind = head[3]
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(_match, served)
            wait([answer], timeout=0.5)  # gRPC refuses at once what it will not let wait
            has_come.set()
            answer.result(60)
    finally:
        has_come.set()
        for connection in hostile:
            connection.close()


# Rooms and shares


class Held:
    """Holds the calls of one use-case until told otherwise, and counts them."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = 0
        self._lock = threading.Lock()

    def __call__(self, *_: Any, **__: Any) -> Any:
        with self._lock:
            self.begun += 1
        assert self.release.wait(60)
        raise InvalidArgument("done")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[object, str], Held]]:
    """Return a function that makes a use-case wait."""
    made: list[Held] = []

    def hold(use_case: object, name: str) -> Held:
        made.append(Held())
        monkeypatch.setattr(use_case, name, made[-1])
        return made[-1]

    yield hold
    for one in made:
        one.release.set()


def test_one_token_has_one_lane_however_its_header_is_written(serve_hub: Serve) -> None:
    """With one more space a header was a stranger's: a token took the threads of its own lane and all the others."""
    served = serve_hub(threads=4, slow_sender_seconds=600.0)
    for who in ("CONSUMER", "OPERATOR"):
        _match(served, who)
    secret = served.tokens["CONSUMER"]
    path = "/hashhub.v1.MatchService/MatchHashes"
    threads = served.doors._threads["calls"]
    headers = ["Bearer " + secret] * 4 + [f"{'bearer' if n % 2 else 'BEARER'} {' ' * n}{secret}" for n in range(8)]
    slow = []
    try:
        for count, header in enumerate(headers, 1):
            slow.append(_slow_call(served, path, header))
            _until(lambda count=count: threads.in_progress == count)  # type: ignore[misc]
        _match(served, "OPERATOR")
        assert threads.lane("consumer").in_progress == len(headers)
    finally:
        for connection in slow:
            connection.close()
    _until(lambda: threads.in_progress == 0 and served.doors._gate.shares.taken("consumer", "calls") == 0)


def test_while_eighteen_commits_queue_a_match_is_answered(
    serve_hub: Serve, held: Callable[[object, str], Held]
) -> None:
    served = serve_hub(threads=2)
    _crowd(served)
    names = [_opened(served, n) for n in range(18)]
    commits = held(served.hub.contribute, "commit")
    call = "ContributionService/CommitImport"
    with ThreadPoolExecutor(18) as pool:
        requests = [v1.CommitImportRequest(name=name, batch_count=0) for name in names]
        asked = [
            pool.submit(_outcome, served, call, request, "OPERATOR" if n % 2 else "CONTRIBUTOR")
            for n, request in enumerate(requests)
        ]
        _until(lambda: sum(a.done() for a in asked) == 13)
        refused = [a.result() for a in asked if a.done()]
        for error in refused:
            assert isinstance(error, LimitExceeded)
            assert error.retry_after
            assert error.reason in {Reason.TOO_MANY_REQUESTS, Reason.SHARE_EXCEEDED}
        assert commits.begun == 1
        for _ in range(20):
            assert _match(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH
        assert commits.begun == 1
        commits.release.set()
        assert sum(type(a.result(60)) is InvalidArgument for a in asked) == 5
    assert served.doors._gate.rooms["commits"].depth == (0, 0)


def test_a_call_that_waits_on_its_thread_is_in_progress_once(
    serve_hub: Serve, held: Callable[[object, str], Held]
) -> None:
    """The first call waits in the lane of strangers, so that all four threads work on calls of one token."""
    served = serve_hub(threads=4)
    matching = held(served.hub.match, "hashes")
    room = served.doors._gate.rooms["calls"]
    request = v1.BatchMatchHashesRequest(queries=[MATCH.query], options=MATCH.options)
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for begun in (1, 2, 3):
            asked.append(pool.submit(_outcome, served, "MatchService/BatchMatchHashes", request, "CONSUMER"))
            _until(lambda begun=begun: matching.begun == begun)  # type: ignore[misc]
        asked.append(pool.submit(_outcome, served, "MatchService/BatchMatchHashes", request, "CONSUMER"))
        _until(lambda: room.depth == (3, 1))
        in_progress = {
            sample.labels["room"]: sample.value
            for family in served.doors.metrics.families()
            if family.name == "hashhub_calls_in_progress"
            for sample in family.samples
        }
        matching.release.set()
        assert all(type(a.result(60)) is InvalidArgument for a in asked)
    assert in_progress["calls"] == 4


def test_while_media_queue_every_match_is_answered(serve_hub: Serve, held: Callable[[object, str], Held]) -> None:
    served = serve_hub(threads=2)
    _match(served)
    hashing = held(served.hub.match, "media")
    media = v1.MatchMediaRequest(media=v1.Media(content=b"x"), options=v1.MatchOptions(policy="any"))
    with ThreadPoolExecutor(64) as pool:
        asked = [pool.submit(_outcome, served, "MatchService/MatchMedia", media, "CONSUMER") for _ in range(256)]
        _until(lambda: hashing.begun > 0)
        for _ in range(20):
            assert _match(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH
        assert hashing.begun <= (os.cpu_count() or 1)
        hashing.release.set()
        errors = [a.result(60) for a in asked]
    assert all(isinstance(e, InvalidArgument) or (isinstance(e, LimitExceeded) and e.retry_after) for e in errors)
    assert served.doors._gate.shares.refused


def test_a_token_has_its_share_of_calls_and_the_others_theirs(
    serve_hub: Serve, held: Callable[[object, str], Held]
) -> None:
    served = serve_hub(threads=12, max_concurrent_calls=40, token_calls=10)
    served.hub.tokens.update(
        Principal(name="operator", role=Role.OPERATOR),
        Principal(name="auditor", role=Role.AUDITOR, shares=Shares(calls=2)),
        ["shares"],
    )
    request = v1.GetContributorRequest(name="contributors/home")
    name = "ContributorService/GetContributor"
    for who in ("OPERATOR", "AUDITOR"):
        served.call(name, request, v1.Contributor, who=who)
    calls = held(served.hub.contributors, "get")
    with ThreadPoolExecutor(40) as pool:
        asked = {
            who: [pool.submit(_outcome, served, name, request, who) for _ in range(20)]
            for who in ("OPERATOR", "AUDITOR")
        }
        _until(lambda: sum(a.done() for a in asked["OPERATOR"]) == 10)
        _until(lambda: sum(a.done() for a in asked["AUDITOR"]) == 18)
        for of_token in asked.values():
            for refused in [a.result() for a in of_token if a.done()]:
                assert isinstance(refused, LimitExceeded)
                assert refused.reason is Reason.SHARE_EXCEEDED
                assert refused.retry_after
        assert served.doors._gate.shares.refused["calls"] == 28
        assert _match(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH  # somebody else's
        calls.release.set()
        for of_token in asked.values():
            for a in of_token:
                a.result(60)
    shares = served.doors._gate.shares
    _until(lambda: (shares.taken("operator", "calls"), shares.taken("auditor", "calls")) == (0, 0))


def test_calls_that_wait_are_in_the_share_whatever_their_rooms(
    serve_hub: Serve, held: Callable[[object, str], Held]
) -> None:
    served = serve_hub(threads=8, token_calls=7)
    taken = served.doors._gate.shares.taken
    get = v1.GetContributorRequest(name="contributors/home")
    served.call("ContributorService/GetContributor", get, v1.Contributor)
    calls = held(served.hub.contributors, "get")
    pages = held(served.hub.changes, "page")
    asks = [("ContributorService/GetContributor", get), ("ChangeService/ListChanges", v1.ListChangesRequest())]
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(_outcome, served, *asks[n % 2], "OPERATOR") for n in range(20)]
        _until(lambda: sum(a.done() for a in asked) == 13)
        assert taken("operator", "calls") == 7
        assert calls.begun + pages.begun <= 7
        assert _match(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH  # somebody else's
        calls.release.set()
        pages.release.set()
        for a in asked:
            a.result(60)
    _until(lambda: taken("operator", "calls") == 0)


def test_a_secret_that_was_replaced_takes_nothing_of_its_tokens_share(
    serve_hub: Serve, held: Callable[[object, str], Held]
) -> None:
    served = serve_hub(threads=8, token_calls=5)
    get, name = v1.GetContributorRequest(name="contributors/home"), "ContributorService/GetContributor"
    stolen = served.tokens["CONTRIBUTOR"]
    served.call(name, get, v1.Contributor, who=stolen)
    _, secret = served.hub.tokens.rotate(Principal(name="operator", role=Role.OPERATOR), "contributor", timedelta(0))
    _until(lambda: isinstance(_outcome(served, name, get, stolen), Unauthenticated))
    _until(lambda: served.doors._gate.shares.taken("contributor", "calls") == 0)
    served.call(name, get, v1.Contributor, who=secret)  # from then on it has a lane
    entered = threading.Semaphore(0)
    go_on = threading.Event()
    authenticate = served.doors._gate._authenticate

    def slowly(secret: str) -> Principal:
        if secret == stolen:
            entered.release()
            assert go_on.wait(60)
        return authenticate(secret)

    served.doors._gate._authenticate = slowly
    with ThreadPoolExecutor(5) as pool:
        flood = [pool.submit(_outcome, served, name, get, stolen) for _ in range(5)]
        assert entered.acquire(timeout=60)
        assert served.doors._gate.shares.taken("contributor", "calls") == 0
        assert served.call(name, get, v1.Contributor, who=secret).display_name == "Home"
        go_on.set()
        assert all(isinstance(a.result(60), HashHubError) for a in flood)


def test_media_seconds_are_a_share_that_time_gives_back(serve_hub: Serve) -> None:
    served = serve_hub(token_media_seconds=30)
    shares, now = served.doors._gate.shares, [time.monotonic()]
    shares._clock = lambda: now[0]
    media = v1.MatchMediaRequest(media=v1.Media(content=b"x"), options=v1.MatchOptions(policy="any"))
    consumer = served.hub.tokens.authenticate(served.tokens["CONSUMER"])
    served.call("MatchService/MatchMedia", media, v1.MatchMediaResponse, who="CONSUMER")
    shares.charge_media(consumer, 35)
    refused = _refusal(served, "MatchService/MatchMedia", media, "CONSUMER")
    assert (refused.reason, refused.metadata["share"]) == (Reason.SHARE_EXCEEDED, "media_seconds")
    assert refused.retry_after
    assert 5 < refused.retry_after < 15  # 6 s owed beyond the share, at half a second a second
    served.call("MatchService/MatchMedia", media, v1.MatchMediaResponse, who="CONTRIBUTOR")
    _match(served)
    now[0] += 15
    served.call("MatchService/MatchMedia", media, v1.MatchMediaResponse, who="CONSUMER")


# Work whose caller has gone


RESET, NO_WINDOW = (8).to_bytes(4, "big"), (4).to_bytes(2, "big") + bytes(4)


@pytest.mark.parametrize("step", ["header", "half", "whole", "later", "vanished"])
@pytest.mark.parametrize(
    ("path", "body", "who"),
    [
        ("/hashhub.v1.MatchService/MatchHashes", MATCH.SerializeToString(), "CONSUMER"),
        ("/hashhub.v1.ContributorService/ListContributors", b"", "OPERATOR"),
        ("/hashhub.v1.ChangeService/FollowChanges", b"", "OPERATOR"),
        ("/hashhub.v1.MatchService/MatchLive", b"", "CONSUMER"),
        ("/hashhub.v1.MatchService/MatchHashes", MATCH.SerializeToString(), "hh_wrong"),
        ("/grpc.health.v1.Health/Watch", b"", ""),
        (REFLECTION, ASKED, ""),
    ],
)
def test_nothing_is_left_of_calls_that_end_at_any_step(
    served: Served, path: str, body: bytes, who: str, step: str
) -> None:
    """`later`: as the answer is sent, which nobody takes; `vanished`: with the connection, and no word."""
    _match(served)
    headers = _headers(path, f"Bearer {served.tokens.get(who, who)}" if who else "")
    message = b"\0" + len(body).to_bytes(4, "big") + body
    streams = range(1, 401, 2)
    begun = b""
    for n in streams:
        begun += _frame(1, 4, n, headers)
        begun += b"" if step == "header" else _frame(0, 0, n, message[:3] if step == "half" else message)
        begun += _frame(3, 0, n, RESET) if step in {"header", "half", "whole"} else b""
    answered_ping = b"" if step == "vanished" else _frame(6, 0, 0, bytes(8))  # all before it has been read
    with _begin_http2(served, NO_WINDOW if step == "later" else b"", begun + answered_ping) as connection:
        if answered_ping:
            _read_until_ping_is_answered(connection)
        if step == "later":
            connection.sendall(b"".join(_frame(3, 0, n, RESET) for n in streams))
        if step == "vanished":  # the kernel sends a reset, and no FIN
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    doors = served.doors
    grpcs: Any = doors._grpc
    (handlers,) = (one for one in grpcs._state.generic_handlers if isinstance(one, _Handlers))

    def left() -> dict[str, object]:
        taken = doors._gate.shares.taken
        names, shares = ("operator", "consumer"), ("calls", "streams", "message_bytes")
        kept: dict[str, object] = {
            "threads": {name: threads.in_progress for name, threads in doors._threads.items() if threads.in_progress},
            "rooms": {name: room.depth for name, room in doors._gate.rooms.items() if any(room.depth) or room._bytes},
            "shares": {(name, share): n for name in names for share in shares if (n := taken(name, share))},
            "answers": dict(handlers._answers._bytes),
            "reading": doors._slow._reading,
            "probes": doors._probes._threads.in_progress,
            "waited for": doors._probes._waited_for,
            "watchers": doors._probes._watchers,
            "grpc's": grpcs._state.rpc_states,
        }
        return {name: what for name, what in kept.items() if what}

    with contextlib.suppress(AssertionError):
        _until(lambda: not left())
    assert left() == {}
    _match(served)


def _read_until_ping_is_answered(connection: socket.socket) -> None:
    with connection.makefile("rb") as read:
        while head := read.read(9):
            read.read(int.from_bytes(head[:3], "big"))
            if (head[3], head[4]) == (6, 1):
                return


def test_a_batch_whose_caller_has_gone_stops(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_hub()
    searched = threading.Semaphore(0)
    matcher = served.hub._matcher
    search = matcher.search

    def slowly(*args: Any, **kwargs: Any) -> Any:
        searched.release()
        _until(lambda: not cancellation.is_wanted())  # the server has heard of it
        return search(*args, **kwargs)

    monkeypatch.setattr(matcher, "search", slowly)
    query = v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=n.to_bytes(16, "big")) for n in range(1000)])
    request = v1.BatchMatchHashesRequest(queries=[query] * 50, options=v1.MatchOptions(policy="any"))
    call = _raw(served.channel, "MatchService/BatchMatchHashes").future(
        request.SerializeToString(), metadata=served.metadata("CONSUMER"), timeout=60
    )
    assert searched.acquire(timeout=60)
    call.cancel()
    _until(lambda: served.doors._threads["calls"].in_progress == 0)
    pieces = 1
    while searched.acquire(blocking=False):
        pieces += 1
    assert pieces < 10  # of 50


def test_a_commit_whose_caller_has_gone_leaves_nothing_and_can_be_made_again(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_hub()
    _crowd(served)
    name = _opened(served, 1)
    for index in range(6):
        _add(served, name, index, 50)
    monkeypatch.setattr(contribute, "_PIECE", 50)
    staged = threading.Semaphore(0)
    calls: list[Context] = []
    commit, stage = served.hub.contribute.commit, served.hub._store.stage.stage_entries

    def called(*args: Any, **kwargs: Any) -> Any:
        calls.append(copy_context())
        return commit(*args, **kwargs)

    def slowly(*args: Any) -> Any:  # on another thread than the call's
        staged.release()
        _until(lambda: not calls[0].run(cancellation.is_wanted))  # the server has heard of it
        return stage(*args)

    monkeypatch.setattr(served.hub.contribute, "commit", called)
    monkeypatch.setattr(served.hub._store.stage, "stage_entries", slowly)
    request = v1.CommitImportRequest(name=name, batch_count=6)
    call = _raw(served.channel, "ContributionService/CommitImport").future(
        request.SerializeToString(), metadata=served.metadata(), timeout=60
    )
    assert staged.acquire(timeout=60)
    call.cancel()
    _until(lambda: served.doors._gate.rooms["commits"].depth == (0, 0))
    assert not staged.acquire(blocking=False)
    monkeypatch.setattr(served.hub._store.stage, "stage_entries", stage)
    listed = v1.ListEntriesRequest(parent=SET)
    assert not served.call("ContributionService/ListEntries", listed, v1.ListEntriesResponse).entries
    made = served.call("ContributionService/CommitImport", request, v1.Import)
    assert made.state == v1.ImportState.IMPORT_STATE_COMMITTED
    assert made.counts.accepted_count == 300


def test_clients_whose_commits_are_refused_come_again_until_all_are_made(serve_hub: Serve) -> None:
    served = serve_hub(max_waiting_commits=0)
    _crowd(served)
    files = [("ab" * 15 + f"{n:02x}\n").encode() for n in range(6)]

    def send(data: bytes) -> int:
        with Client(served.doors.grpc_address, served.tokens["CONTRIBUTOR"], retry_seconds=0.5) as client:
            report = client.import_source(
                io.BytesIO(data), connector="hash-lines", hash_set="home/crowd", options={"algorithm": "MD5"}
            )
        return report.source.counts.accepted

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(send, files)) == [1] * 6


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def _outcome(served: Served, method: str, request: Message, who: str) -> HashHubError | None:
    try:
        served.call(method, request, GetMessageClass(RPCS[method].output_type), who=who, timeout=60)
    except HashHubError as e:
        return e
    return None


def _crowd(served: Served) -> None:
    served.call(
        "ContributorService/CreateHashSet",
        v1.CreateHashSetRequest(
            parent="contributors/home", hash_set_id="crowd", hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM)
        ),
        v1.HashSet,
    )


def _opened(served: Served, number: int) -> str:
    request = v1.CreateImportRequest(parent=SET)
    opening = v1.Import(connector="t", connector_version="1", source_digest=number.to_bytes(32, "big").hex())
    getattr(request, "import").MergeFrom(opening)
    name: str = served.call("ContributionService/CreateImport", request, v1.Import).name
    return name


def _add(served: Served, name: str, index: int, count: int) -> None:
    records = [
        v1.Record(
            position=f"{index}.{n}",
            hashes=[v1.Hash(algorithm="MD5", digest=(index * count + n + 1).to_bytes(16, "big"))],
            action=v1.Action.ACTION_CONTRIBUTE,
        )
        for n in range(count)
    ]
    served.call(
        "ContributionService/AddRecords", v1.AddRecordsRequest(name=name, batch_index=index, records=records), v1.Import
    )
