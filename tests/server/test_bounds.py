"""Messages with too much of something: counted before anything is converted or unpacked."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from hashhub import v1, wire
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason
from hashhub.server.bodies import unpacked
from hashhub.server.pipeline import Method
from hashhub.wire import bounds
from tests.server.calls import (
    MATCH,
    MILLION,
    RPCS,
    raw_call,
    refusal_of,
    resident_bytes,
    varint,
)

if TYPE_CHECKING:
    from tests.server.conftest import Served

WIRE_TYPES = {FieldDescriptor.CPPTYPE_MESSAGE: 2, FieldDescriptor.CPPTYPE_STRING: 2}


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
    body = (varint(last.number << 3 | (2 if is_bytes else 0)) + b"\0") * count
    for field in reversed(way[:-1]):
        body = varint(field.number << 3 | 2) + varint(len(body)) + body
    return body


REPEATED = [
    pytest.param(name, way, id=f"{name}:{'.'.join(f.name for f in way)}")
    for name, rpc in RPCS.items()
    for way in _ways(rpc.input_type)
]


# Requests with a million of something


@pytest.mark.parametrize(("name", "way"), REPEATED)
def test_a_million_of_anything_is_refused_before_it_is_converted(
    served: Served, monkeypatch: pytest.MonkeyPatch, name: str, way: tuple[FieldDescriptor, ...]
) -> None:
    body = _repeated(way, MILLION)

    def converted(*_: object) -> object:
        raise AssertionError("it was converted")

    held: list[int] = []
    parse = Method.parse

    def parsed(self: Method, body: bytes) -> Message:
        try:
            return parse(self, body)
        except HashHubError:
            held.append(resident_bytes())
            raise

    monkeypatch.setattr(type(served.hub), "revision", converted)
    monkeypatch.setattr(Method, "parse", parsed)
    before = resident_bytes()
    error = refusal_of(served, name, body)
    # Parsed and converted, a million queries or records take from 500 MB to a gigabyte.
    assert max(held) - before < 150 * 1024 * 1024
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
    error = refusal_of(served, "MatchService/BatchMatchHashes", request)
    assert isinstance(error, InvalidArgument)
    assert 0 < len(error.violations) <= 20
    assert error.metadata["violationCount"] == "300"
    assert "and 299 more" in error.message


def test_a_request_in_which_everything_is_wrong_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    request = v1.AddRecordsRequest(records=[v1.Record(hashes=[v1.Hash()] * 64)] * 3_000)
    read: list[object] = []
    of = wire.items.read_hash  # type: ignore[attr-defined]

    def counting(pb: v1.Hash, at: str, wrong: Any) -> Any:
        read.append(at)
        return of(pb, at, wrong)

    monkeypatch.setattr("hashhub.wire.items.read_hash", counting)
    with pytest.raises(InvalidArgument) as caught:
        wire.records_from_pb(request.records)
    assert caught.value.violation_count == 1000
    assert len(caught.value.violations) == 20
    assert "at which reading stopped" in caught.value.message
    assert len(read) <= 1000


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
    match = raw_call(served.channel, "MatchService/BatchMatchHashes")
    request = v1.BatchMatchHashesRequest(queries=[MATCH.query] * 100, options=MATCH.options).SerializeToString()
    answer = match(request, metadata=served.metadata("CONSUMER"), timeout=60, compression=gzip)
    assert len(v1.BatchMatchHashesResponse.FromString(answer).results) == 100
    assert largest == len(request)
    bomb = bytes((0x7A,)) + varint(31 << 20) + bytes(31 << 20)
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


def test_gzip_is_whole_members() -> None:
    whole = zlib.compress(b"abc" * 1000, wbits=31)
    empty = zlib.compress(b"", wbits=31)
    assert unpacked(whole, 3000) == b"abc" * 1000
    assert unpacked(whole * 3 + empty, 9000) == b"abc" * 3000
    many = b"".join(zlib.compress(random.Random(n).randbytes(3000), wbits=31) for n in range(100))
    assert unpacked(many, 300_000) == b"".join(random.Random(n).randbytes(3000) for n in range(100))
    large = bytes(5 << 20)
    assert unpacked(zlib.compress(large, wbits=31) * 2, 2 * len(large)) == large * 2
    for beyond, most in ((whole, 2999), (whole * 3, 8999)):
        with pytest.raises(LimitExceeded):
            unpacked(beyond, most)
    for wrong in (whole[:-1], whole * 2 + whole[:-1], whole + b"more", whole[:20], b"\x1f\x8b", empty * 1_001):
        with pytest.raises(InvalidArgument):
            unpacked(wrong, 9000)
    assert unpacked(empty * 1_000, 9000) == b""
