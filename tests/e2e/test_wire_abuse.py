"""What no proper client sends, through both doors of a running hub: a clear error each time, and never a look
inside.
"""

from __future__ import annotations

import http.client
import json
import socket
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from hashhub import v1, wire
from hashhub.errors import HashHubError, StatusCode
from hashhub.model import WithdrawalReason
from hashhub.server.servicers import FILES

if TYPE_CHECKING:
    from tests.e2e.conftest import Desk

MATCH = "/hashhub.v1.MatchService/MatchHashes"
RPCS = [
    (f"/hashhub.v1.{service.name}/{rpc.name}", rpc.server_streaming)
    for file in FILES
    for service in file.services_by_name.values()
    for rpc in service.methods
]
QUERY = {
    "query": {"hashes": [{"algorithm": "MD5", "digest": "AAAAAAAAAAAAAAAAAAAAAA=="}]},
    "options": {"policy": "any"},
}
LEAKS = ("Traceback", 'File "', "/work", "/tmp", "sqlite", "SELECT ", "granian", "hashhub/")  # noqa: S108 - looked for


def post(desk: Desk, path: str, body: bytes | str, verb: str = "POST", **headers: str) -> tuple[int, Any]:
    """Send one HTTP request; return the status and the JSON of the answer, having checked that it shows nothing of the
    inside.
    """
    host, _, port = desk.hub.http.rpartition(":")
    all_headers = {"Content-Type": "application/json", "Authorization": f"Bearer {desk.token}"}
    all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        connection.request(verb, path, body, {n: v for n, v in all_headers.items() if v})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    assert not any(leak in text for leak in LEAKS), text
    return answer.status, json.loads(text) if text else None


def test_a_proper_request_is_answered(desk: Desk) -> None:
    status, answer = post(desk, MATCH, json.dumps(QUERY))
    assert status == 200
    assert answer["result"]["verdict"].endswith("NO_MATCH")


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"", {"Content_Type": "text/plain"}, 415),
        (b"{}", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"Content_Type": ""}, 415),
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"null", {}, 400),
        (b"\xff\xfe{}", {}, 400),
        (b"[" * 250_000, {}, 413),  # more values than a request may hold, seen before it is parsed
        (b'{"query": ' * 5_000, {}, 400),
        (b'{"surprise": 1}', {}, 400),
        (b'{"query": {"hashes": [{"algorithm": "MD5", "digest": "!"}]}}', {}, 400),
        (b'{"query": {"hashes": [{"algorithm": "MD5", "digest": "AAAA"}]}, "options": {"policy": "any"}}', {}, 400),
        (b'{"query": {"hashes": [{"algorithm": "MD6", "digest": "AAAA"}]}, "options": {"policy": "any"}}', {}, 400),
        (b'{"options": {"policy": "../../etc/passwd"}}', {}, 400),
        (b"{}", {"Authorization": ""}, 401),
        (b"{}", {"Authorization": "Bearer wrong"}, 401),
        (b"{}", {"Authorization": "Basic b3BlcmF0b3I6eA=="}, 401),
        (b"{}", {"Authorization": "Bearer " + "x" * 20_000}, 401),
    ],
)
def test_bodies_and_headers_that_are_wrong(desk: Desk, body: bytes, headers: dict[str, str], expected: int) -> None:
    status, answer = post(desk, MATCH, body, **headers)
    assert status == expected, answer
    assert answer["message"]


def test_a_token_is_looked_at_before_the_body(desk: Desk) -> None:
    assert post(desk, MATCH, b"{", Authorization="")[0] == 401


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE", "BREW"])
def test_other_verbs_are_not_allowed(desk: Desk, verb: str) -> None:
    assert post(desk, MATCH, b"", verb)[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/../../etc/passwd",
        "/hashhub.v1.MatchService/../../etc/passwd",
        "/hashhub.v1.MatchService/%2e%2e/operator.token",
        "/hashhub.v1.MatchService/MatchHashes/",
        "/hashhub.v1.MatchService/__init__",
        "/hashhub.v1.Nothing/Nothing",
        "/operator.token",
        "/%00",
        "/" + "x" * 5_000,
    ],
)
def test_paths_that_are_no_calls(desk: Desk, path: str) -> None:
    status, answer = post(desk, path, b"{}")
    assert status == 404
    assert "no such call" in answer["message"]


def test_a_body_that_is_too_large_is_refused_in_json(desk: Desk) -> None:
    host, _, port = desk.hub.http.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as s:
        # Announced only: the hub need not wait for it, and must not make room for it.
        s.sendall(
            f"POST {MATCH} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {10**12}\r\n"
            f"Authorization: Bearer {desk.token}\r\n\r\n".encode()
        )
        answer = s.recv(65_536).decode()
    assert answer.split()[1] == "413"
    assert not any(leak in answer for leak in LEAKS[:5])


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST " + MATCH.encode() + b" HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST " + MATCH.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 5_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    ],
    ids=["tls", "http2", "negative", "chunks", "version", "zeros", "headers"],
)
def test_bytes_that_are_no_http(desk: Desk, raw: bytes) -> None:
    host, _, port = desk.hub.http.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as s:
        try:
            s.sendall(raw)
            s.shutdown(socket.SHUT_WR)
            answer = s.recv(65_536).decode("utf-8", "replace")
        except OSError:
            answer = ""  # hung up on
    assert not any(leak in answer for leak in LEAKS[:5]), answer
    assert not answer.startswith("HTTP/1.1 500"), answer
    assert post(desk, MATCH, json.dumps(QUERY))[0] == 200


def test_every_call_survives_random_bytes(desk: Desk) -> None:
    """Neither protobuf that is none, nor JSON that fits no message, makes any call fail on the inside."""
    random = Random(40)
    sound = v1.MatchHashesRequest(
        query=v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=bytes(16))])
    ).SerializeToString()
    with grpc.insecure_channel(desk.hub.address) as channel:
        for path, streams in RPCS:
            for body in (
                b"\xff" * 20,
                b"\x0a\xff\xff\xff\xff\x0f",
                random.randbytes(100),
                sound[:-3],
                b"\x0a\x02\xff\xfe",
            ):
                call: Any = (channel.unary_stream if streams else channel.unary_unary)(path)
                try:
                    answer = call(body, timeout=5, metadata=(("authorization", f"Bearer {desk.token}"),))
                    if streams:
                        next(answer)
                        answer.cancel()
                except grpc.RpcError as e:
                    error = wire.status_to_error(e)
                    assert error.code is not StatusCode.INTERNAL, (path, body, error)
                    assert not any(leak in error.message for leak in LEAKS), error.message
            for text in (
                b'{"name": 5}',
                b'{"name": "../x", "parent": "\\u0000"}',
                b'{"pageSize": -1, "pageToken": "?"}',
            ):
                if not streams:
                    assert post(desk, path, text)[0] in {400, 404}, (path, text)


def test_calls_without_a_token_say_so_whatever_they_send(desk: Desk) -> None:
    with grpc.insecure_channel(desk.hub.address) as channel:
        for path, streams in RPCS:
            for metadata in ((), (("authorization", "Bearer nobody"),), (("authorization", "nonsense"),)):
                call: Any = (channel.unary_stream if streams else channel.unary_unary)(path)

                def ask(call: Any = call, streams: bool = streams, metadata: Any = metadata) -> None:
                    answer = call(b"\xff", timeout=60, metadata=metadata)
                    if streams:
                        next(answer)

                with pytest.raises(grpc.RpcError) as e:
                    ask()
                assert wire.status_to_error(e.value).code is StatusCode.UNAUTHENTICATED


def test_names_that_are_no_names(desk: Desk) -> None:
    """Names of others' making reach neither a path nor a statement."""
    names = [
        "",
        "/",
        "../..",
        "a/b/c/d",
        "a'; DROP TABLE entry; --/x",
        "\0/\0",
        "x" * 10_000,
        "hotline/\N{SNOWMAN}",
        "-/-",
    ]
    with desk.client() as hub:
        for name in names:
            withdraw = partial(hub.withdraw_entry, reason=WithdrawalReason.ERROR)
            for ask in (hub.get_contributor, hub.get_hash_set, hub.get_import, hub.get_entry, withdraw):
                with pytest.raises(HashHubError) as e:
                    ask(name)
                assert e.value.code in {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}, (name, e.value)
                assert len(e.value.message) < 600
