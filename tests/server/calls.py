"""Calls that clients do not make: by hand over HTTP/2, half of them, or far too many."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from hashhub import v1, wire
from hashhub.errors import HashHubError
from hashhub.server.servicers import FILES

if TYPE_CHECKING:
    from tests.server.conftest import Served

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
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
ASKED = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def match_hashes(served: Served, who: str = "CONSUMER", timeout: float = 60.0) -> v1.MatchHashesResponse:
    answer: v1.MatchHashesResponse = served.call(
        "MatchService/MatchHashes", MATCH, v1.MatchHashesResponse, who=who, timeout=timeout
    )
    return answer


def raw_call(channel: grpc.Channel, name: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/hashhub.v1.{name}", None, None)
    return call


def refusal_of(served: Served, method: str, body: Any, who: str | None = "OPERATOR") -> HashHubError:
    with pytest.raises(HashHubError) as caught:
        served.call(method, body, GetMessageClass(RPCS[method].output_type), who=who, timeout=60)
    return caught.value


def ending(stream: Iterable[Message]) -> HashHubError:
    """Read a stream to its end, and return why it ended."""
    with pytest.raises(grpc.RpcError) as caught:
        for _ in stream:
            pass
    return wire.status_to_error(caught.value)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def call_headers(path: str, authorization: str) -> bytes:
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


def begin_http2(served: Served, settings: bytes, more: bytes) -> socket.socket:
    host, _, port = served.doors.grpc_address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, settings) + more)
    return connection


def slow_call(served: Served, path: str, authorization: str) -> socket.socket:
    """Begin a call by hand, over HTTP/2, that never sends its message whole."""
    half = b"\0" + (1000).to_bytes(4, "big") + b"half of it"
    return begin_http2(served, b"", frame(1, 4, 1, call_headers(path, authorization)) + frame(0, 0, 1, half))


def deaf_calls(served: Served, path: str, authorization: str, request: bytes, count: int) -> socket.socket:
    """Make calls by hand, over HTTP/2, whose answers may not be sent: every stream's window is 0."""
    body = b"\0" + len(request).to_bytes(4, "big") + request
    headers = call_headers(path, authorization)
    calls = (frame(1, 4, stream, headers) + frame(0, 1, stream, body) for stream in range(1, 2 * count, 2))
    connection = begin_http2(served, (4).to_bytes(2, "big") + bytes(4), b"".join(calls))
    with connection.makefile("rb") as read:
        answered = 0
        while answered < count:  # headers go out before an answer, or instead of it
            head = read.read(9)
            read.read(int.from_bytes(head[:3], "big"))
            answered += head[3] == 1
    return connection


def read_until_ping_is_answered(connection: socket.socket) -> None:
    with connection.makefile("rb") as read:
        while head := read.read(9):
            read.read(int.from_bytes(head[:3], "big"))
            if (head[3], head[4]) == (6, 1):
                return


def check_health(served: Served, service: str = "", timeout: float = 60.0) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int(health_pb2_grpc.HealthStub(served.channel).Check(request, timeout=timeout).status)


def outcome_of(served: Served, method: str, request: Message, who: str) -> HashHubError | None:
    try:
        served.call(method, request, GetMessageClass(RPCS[method].output_type), who=who, timeout=60)
    except HashHubError as e:
        return e
    return None


def crowd(served: Served) -> None:
    served.call(
        "ContributorService/CreateHashSet",
        v1.CreateHashSetRequest(
            parent="contributors/home", hash_set_id="crowd", hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM)
        ),
        v1.HashSet,
    )


def opened_import(served: Served, number: int) -> str:
    request = v1.CreateImportRequest(parent=SET)
    opening = v1.Import(connector="t", connector_version="1", source_digest=number.to_bytes(32, "big").hex())
    getattr(request, "import").MergeFrom(opening)
    name: str = served.call("ContributionService/CreateImport", request, v1.Import).name
    return name


def add_batch(served: Served, name: str, index: int, count: int) -> None:
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
