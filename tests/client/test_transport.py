"""Deadlines, retries, tokens and TLS, against a real gRPC server that misbehaves in a chosen way."""

from __future__ import annotations

import io
import threading
import time

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from hashhub import v1, wire
from hashhub.client import Client, is_loopback
from hashhub.client.transport import Attempts, Connection, Transport
from hashhub.errors import (
    AlreadyExists,
    Conflict,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    PermissionDenied,
    Reason,
    Unauthenticated,
    Unavailable,
)
from hashhub.hashes import parse
from hashhub.model import Contributor, ContributorKind, ImportState, MatchOptions, Principal, Query, Role
from hashhub.testing.lists import random_items
from tests.client.misbehaving import refuse, served

NEW = Contributor(id="ngo", display_name="NGO", kind=ContributorKind.NGO, jurisdiction="ZZ")


def test_a_write_is_repeated_with_the_same_request_id() -> None:
    ids: list[str] = []

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        ids.append(v1.CreateContributorRequest.FromString(request).request_id)
        if len(ids) < 3:
            return refuse(context, Unavailable("restarting"))
        return wire.CONTRIBUTOR.to_pb(NEW)

    with served(answer) as address, Client(address, "t") as client:
        assert client.create_contributor(NEW) == NEW
        client.create_contributor(NEW)
    assert len(ids) == 4
    assert len(set(ids[:3])) == 1
    assert ids[0]
    assert ids[3] != ids[0]


@pytest.mark.parametrize("kind", [LimitExceeded, Conflict])
def test_waits_as_long_as_a_busy_hub_asks(kind: type[LimitExceeded | Conflict]) -> None:
    times: list[float] = []

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        times.append(time.monotonic())
        if len(times) == 1:
            return refuse(context, kind("busy", retry_after=0.5))
        return v1.Status(version="1")

    with served(answer) as address, Client(address, "t") as client:
        assert client.status().version == "1"
    assert times[1] - times[0] >= 0.5


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("wrong"),
        Unauthenticated("who"),
        PermissionDenied("no"),
        AlreadyExists("taken"),
        LimitExceeded("too large", reason=Reason.TOO_LARGE),
        LimitExceeded("no room", reason=Reason.DISK_FULL, retry_after=0.1),
        Conflict("read again"),
        HashHubError("internal error"),
    ],
)
def test_what_repetition_cannot_help_is_asked_once(error: HashHubError) -> None:
    calls: list[str] = []

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        calls.append(method)
        return refuse(context, error)

    with served(answer) as address, Client(address, "t") as client, pytest.raises(type(error), match=error.message):
        client.status()
    assert calls == ["AdminService/GetStatus"]


def test_a_token_is_never_created_twice() -> None:
    calls: list[str] = []

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        calls.append(method)
        return refuse(context, Unavailable("gone before it answered"))

    with served(answer) as address, Client(address, "t") as client, pytest.raises(Unavailable):
        client.create_token(Principal(name="a", role=Role.CONSUMER))
    assert calls == ["AdminService/CreateToken"]


def test_gives_up_after_retry_seconds() -> None:
    with Client("127.0.0.1:1", "t", retry_seconds=0.5) as client:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="cannot be reached"):
            client.status()
        assert time.monotonic() - began < 30.0


def test_a_passed_deadline_is_not_tried_again() -> None:
    calls: list[str] = []

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        calls.append(method)
        if len(calls) > 1:
            assert over.wait(180)
        return v1.Status()

    over = threading.Event()
    with served(answer) as address:
        connection = Connection(address, "t", tls=None, ca_certificates=None, timeout=60.0, retry_seconds=5.0)
        transport = Transport(connection)
        transport.call(v1.GetStatusRequest())  # the connection stands
        connection.timeout = 1.0
        with pytest.raises(Unavailable) as caught:
            transport.call(v1.GetStatusRequest())
        over.set()
        transport.close()
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
        assert len(calls) <= 2  # its time may be over before the second has come


@pytest.mark.parametrize("error", [Unavailable("stopping"), LimitExceeded("busy", retry_after=0.1)])
def test_what_is_committed_is_reported_by_a_hub_that_cannot_list_findings(error: HashHubError) -> None:
    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        if method.endswith("ListFindings"):
            return refuse(context, error)
        state = "COMMITTED" if method.endswith("CommitImport") else "OPEN"
        return v1.Import(name="contributors/c/hashSets/s/imports/1", state=f"IMPORT_STATE_{state}")

    source = io.BytesIO(b"00" * 16 + b"  a.jpg\n")
    # One that is busy is asked again for as long as one attempt has.
    with served(answer) as address, Client(address, "t", timeout=5.0, retry_seconds=0.2) as client:
        report = client.import_source(source, connector="hash-lines", hash_set="c/s")
    assert report.source.state is ImportState.COMMITTED
    assert not report.groups_complete


def test_sends_its_token() -> None:
    seen: list[object] = []

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        seen.append(dict(context.invocation_metadata()).get("authorization"))
        return v1.Status()

    with served(answer) as address, Client(address, "secret") as client:
        client.status()
    assert seen == ["Bearer secret"]


def test_a_hub_that_loses_an_answer_is_not_believed() -> None:
    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        asked = v1.BatchMatchHashesRequest.FromString(request)
        return v1.BatchMatchHashesResponse(results=[v1.MatchResult()] * (len(asked.queries) - 1))

    with served(answer) as address, Client(address, "t") as client, pytest.raises(HashHubError, match="2 answers to 3"):
        list(client.match_hashes([Query(hashes=(parse("MD5", "00" * 16),))] * 3, MatchOptions(policy="any")))


def test_matches_in_batches_and_in_order() -> None:
    sizes: list[int] = []

    def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Message:
        asked = v1.BatchMatchHashesRequest.FromString(request)
        sizes.append(len(asked.queries))
        results = [v1.MatchResult(label=q.label, verdict="VERDICT_NO_MATCH") for q in asked.queries]
        return v1.BatchMatchHashesResponse(results=results, policy="any", revision=7)

    queries = [
        Query(hashes=(parse("MD5", one.digest("MD5")),), label=str(i))
        for i, one in enumerate(random_items(2_500, seed=1, algorithms=("MD5",)))
    ]
    with served(answer) as address, Client(address, "t") as client:
        answers = client.match_hashes(iter(queries), MatchOptions(policy="any"))
        assert sizes == []  # nothing is sent before it is wanted
        first = next(answers)
        assert (first.result.label, first.policy, first.revision, sizes) == ("0", "any", 7, [1000])
        assert [a.result.label for a in answers] == [str(i) for i in range(1, 2_500)]
    assert sizes == [1000, 1000, 500]


def test_other_machines_are_spoken_to_in_tls_only() -> None:
    """A name that is not known to be this machine gets TLS, so a plain server does not understand it."""
    with served(lambda *_: v1.Status()) as address:
        port = address.rpartition(":")[2]
        with Client(address, "t") as client:
            client.status()
        with Client(f"dns:///localhost:{port}", "t", retry_seconds=0.0) as client, pytest.raises(Unavailable):
            client.status()
        with Client(f"dns:///localhost:{port}", "t", tls=False) as client:
            client.status()
        with Client(address, "t", tls=True, retry_seconds=0.0) as client, pytest.raises(Unavailable):
            client.status()


def test_a_closed_client_says_so() -> None:
    client = Client("127.0.0.1:1", "t", retry_seconds=0.0)
    client.close()
    with pytest.raises(Unavailable, match="open a new client"):
        client.status()


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.1:", "host:port", "127.0.0.1:http", "\udcff:1"])
def test_an_address_needs_a_port(address: str) -> None:
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        Client(address, "t")


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_a_token_is_one_word(token: str) -> None:
    with pytest.raises(InvalidArgument, match="token"):
        Client("127.0.0.1:1", token)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_loopback_is_what_ip_says(ip: object, port: int) -> None:
    text = f"[{ip}]" if ":" in str(ip) else str(ip)
    assert is_loopback(f"{text}:{port}") == ip.is_loopback  # type: ignore[attr-defined] # both kinds of address have it


def test_names_are_not_looked_up() -> None:
    assert is_loopback("localhost:1")
    assert is_loopback("unix:/run/hub.sock")
    assert not is_loopback("hub.example:8470")
    assert not is_loopback("127.0.0.1.example:8470")


def test_a_client_that_is_closed_does_not_wait_for_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes it in another thread may wait for the call's end."""
    pauses = threading.Event()
    pause_after = Attempts.pause

    def pause(attempts: Attempts, error: HashHubError) -> float:
        seconds = pause_after(attempts, error)
        pauses.set()
        return seconds

    monkeypatch.setattr(Attempts, "pause", pause)
    errors: list[HashHubError] = []

    def call() -> None:
        try:
            client.status()
        except HashHubError as e:
            errors.append(e)

    with served(lambda _, __, context: refuse(context, LimitExceeded("busy", retry_after=3600.0))) as address:
        client = Client(address, "t", timeout=7200.0, retry_seconds=7200.0)
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        assert pauses.wait(180)
        client.close()
        thread.join(20.0)  # the advice is followed for 30 seconds at the least
        assert not thread.is_alive()
    [error] = errors
    assert "open a new client" in error.message


def test_a_closed_client_says_so_of_a_stream() -> None:
    client = Client("127.0.0.1:1", "t")
    client.close()
    with pytest.raises(Unavailable, match="open a new client"):
        next(iter(client.follow_changes()))
