"""What happens to calls when things go wrong, get crowded, or end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import msgspec
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from hashhub import addresses, v1, wire
from hashhub.config import Config
from hashhub.errors import (
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Reason,
    StatusCode,
    Unauthenticated,
    Unavailable,
)
from hashhub.model import Principal, Role
from hashhub.server import admission, exposure, listeners
from hashhub.server.admission import Limiter, QuotaCounts, TokenQuotas, limiters_of
from hashhub.server.metrics import Metrics
from hashhub.server.pipeline import Envelope, FailureLog, Method, Pipeline
from tests.hub.receiving import admit, mirroring
from tests.patience import wait_until
from tests.server.calls import check_health

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served

PRIVATE = "/srv/secret/path SELECT digest FROM hash"
GET = ("ContributorService/GetContributor", v1.GetContributorRequest(name="contributors/home"), v1.Contributor)


class Gatekeeper:
    """Stands in for a use-case of the hub and holds its calls until told otherwise."""

    def __init__(self, then: Callable[..., Any]) -> None:
        self.entered = threading.Semaphore(0)
        self.release = threading.Event()
        self.calls = 0
        self._then = then

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        self.entered.release()
        assert self.release.wait(180)
        return self._then(*args)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Served], Gatekeeper]]:
    """Return a function that makes GetContributor of a served hub wait."""
    made: list[Gatekeeper] = []

    def hold(served: Served) -> Gatekeeper:
        made.append(Gatekeeper(served.hub.contributors.get))
        monkeypatch.setattr(served.hub.contributors, "get", made[-1])
        return made[-1]

    yield hold
    for one in made:
        one.release.set()


def test_errors_arrive_as_what_they_were(served: Served) -> None:
    with pytest.raises(NotFound) as caught:
        served.call(
            "ContributorService/GetContributor", v1.GetContributorRequest(name="contributors/nobody"), v1.Contributor
        )
    assert caught.value.reason is Reason.RESOURCE_NOT_FOUND


def test_an_unexpected_error_says_nothing_and_is_in_the_log(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(served.hub.contributors, "get", _broken)
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(f"/hashhub.v1.{GET[0]}", None, None)
    with caplog.at_level(logging.INFO, "hashhub.server"), pytest.raises(grpc.RpcError) as caught:
        ask(GET[1].SerializeToString(), metadata=served.metadata(), timeout=30)
    shown = repr(caught.value) + repr(caught.value.trailing_metadata())
    assert "secret" not in shown
    assert "RuntimeError" not in shown
    error = wire.status_to_error(caught.value)
    assert (type(error), error.code) == (HashHubError, StatusCode.INTERNAL)
    logged = [r for r in caplog.records if error.metadata["requestId"] in r.getMessage()]
    assert any(r.exc_info and PRIVATE in str(r.exc_info[1]) for r in logged)


def test_an_unexpected_error_in_a_stream_says_nothing_either(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.hub.changes, "page", _broken)
    follow: grpc.UnaryStreamMultiCallable[bytes, bytes] = served.channel.unary_stream(
        "/hashhub.v1.ChangeService/FollowChanges", None, None
    )
    with pytest.raises(grpc.RpcError) as caught:
        next(follow(b"", metadata=served.metadata(), timeout=30))
    assert "secret" not in repr(caught.value)
    assert wire.status_to_error(caught.value).code is StatusCode.INTERNAL


def test_an_answer_that_cannot_be_encoded_says_nothing_either(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.hub, "revision", lambda: 1 << 70)
    with pytest.raises(HashHubError) as caught:
        served.call(*GET)
    assert caught.value.code is StatusCode.INTERNAL
    assert "requestId" in caught.value.metadata


def _broken(*_: object, **__: object) -> None:
    raise RuntimeError(PRIVATE)


@pytest.mark.parametrize("path", [GET[0], "ChangeService/FollowChanges", "MatchService/Nope"])
@pytest.mark.parametrize(
    "outcome", ["answered", "invalid", "stranger", "denied", "broken", "room is full", "answers wait", "share is taken"]
)
def test_a_call_over_grpc_keeps_no_place_on_its_connection(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch, path: str, outcome: str
) -> None:
    """Until the collector came by: of a token that was refused some 500 times between two of its looks, the next call
    was reset, whichever it was.
    """
    monkeypatch.setattr(listeners, "STREAMS", 1)
    served = serve_hub(token_calls=8, token_streams=2)
    if outcome == "broken":
        monkeypatch.setattr(logging.getLogger("hashhub.server"), "disabled", True)  # pytest keeps what was logged
        monkeypatch.setattr(served.hub.contributors, "get", _broken)
        monkeypatch.setattr(served.hub.changes, "page", _broken)
    elif outcome == "room is full":
        monkeypatch.setattr(Limiter, "enter", _full)
    elif outcome == "answers wait":
        monkeypatch.setattr(TokenQuotas, "most", lambda *_: 0)
    elif outcome == "share is taken":
        monkeypatch.setattr(TokenQuotas, "take", _taken)
    body = b"\xff" if outcome == "invalid" else GET[1].SerializeToString() if path == GET[0] else b""
    who = {"stranger": "hh_nobody", "denied": "CONTRIBUTOR"}.get(outcome, "OPERATOR")
    ask: grpc.UnaryStreamMultiCallable[bytes, bytes] = served.channel.unary_stream(f"/hashhub.v1.{path}", None, None)
    gc.disable()
    try:
        for _ in range(40):  # of 20 at a time
            answers = ask(body, metadata=served.metadata(who), timeout=30)
            with contextlib.suppress(grpc.RpcError):
                next(answers)
            answers.cancel()
        wait_until(lambda: check_health(served) == health_pb2.HealthCheckResponse.SERVING)
    finally:
        gc.enable()


async def _full(room: Limiter, _: str) -> None:
    raise room.full()


def _taken(*_: object) -> None:
    raise LimitExceeded("a share is taken", reason=Reason.SHARE_EXCEEDED)


def test_log_lines_hold_no_digests_and_no_tokens(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    digest = bytes(range(16))
    query = v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=digest)], label="private label")
    request = v1.MatchHashesRequest(query=query, options=v1.MatchOptions(policy="any"))
    with caplog.at_level(logging.DEBUG, "hashhub.server"):
        served.call("MatchService/MatchHashes", request, v1.MatchHashesResponse)
    (line,) = [r.getMessage() for r in caplog.records if "MatchHashes" in r.getMessage()]
    assert "code=OK" in line
    assert "token=operator" in line
    for text in (digest.hex(), digest.hex()[:16], "private", served.tokens["OPERATOR"]):
        assert text not in line


def test_matches_are_written_down_only_on_demand_and_writes_always(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hashhub.server"):
        served.call(*GET)
        served.new_contributor("logged")
    lines = [r.getMessage() for r in caplog.records if r.name == "hashhub.server"]
    assert any("CreateContributor code=OK" in line for line in lines)
    assert not any("GetContributor" in line for line in lines)


def test_refusals_are_written_down_with_the_tokens_name(serve_hub: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = serve_hub()  # of its own: others' refusals would use up what may be written in a minute
    create = v1.CreateContributorRequest(contributor_id="no")
    with caplog.at_level(logging.INFO, "hashhub.server"):
        for who in ("CONSUMER", "hh_unknown", None):
            with pytest.raises((PermissionDenied, Unauthenticated)):
                served.call("ContributorService/CreateContributor", create, v1.Contributor, who=who)
        batch = v1.AddRecordsRequest(name="contributors/home/hashSets/none/imports/none")
        with pytest.raises(NotFound):
            served.call("ContributionService/AddRecords", batch, v1.Import, who="CONTRIBUTOR")
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if "call method=" in r.getMessage()]
    assert [(level, re.findall(r"(?:method|code|token)=(\S+)", line)) for level, line in lines] == [
        ("WARNING", ["ContributorService/CreateContributor", "PERMISSION_DENIED", "consumer"]),
        ("WARNING", ["ContributorService/CreateContributor", "UNAUTHENTICATED", "-"]),
        ("WARNING", ["ContributorService/CreateContributor", "UNAUTHENTICATED", "-"]),
        ("INFO", ["ContributionService/AddRecords", "NOT_FOUND", "contributor"]),
    ]
    assert "hh_unknown" not in caplog.text


def test_a_hostile_caller_cannot_fill_the_disk(serve_hub: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = serve_hub()
    clock = [0.0]
    served.doors.pipeline.failures = FailureLog(lambda: clock[0])

    def knock(who: str | None, times: int) -> list[str]:
        caplog.clear()
        for _ in range(times):
            with contextlib.suppress(PermissionDenied, Unauthenticated):
                served.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status, who=who)
        return [r.getMessage() for r in caplog.records if r.name == "hashhub.server"]

    with caplog.at_level(logging.INFO, "hashhub.server"):
        assert len(knock("CONSUMER", 200)) == 30
        assert len(knock("hh_unknown", 100)) == 30
        assert len(knock(None, 5)) == 0  # callers without a token share one allowance
        assert len(knock("CONTRIBUTOR", 2)) == 2  # nobody else is drowned
        clock[0] = 61.0
        served.new_contributor("counted")  # any call ends the minute
        left_out = [r.getMessage() for r in caplog.records if "not written down" in r.getMessage()]
        assert sorted(left_out) == [
            "170 more failed calls of token=consumer are not written down one by one",
            "75 more failed calls of token=- are not written down one by one",
        ]
        assert len(knock("CONSUMER", 1)) == 1
    assert counted(served.doors.metrics, "AdminService/GetStatus", "PERMISSION_DENIED") == 203


def test_a_message_that_is_too_large_is_refused(serve_hub: Serve) -> None:
    served = serve_hub(max_message_bytes=65_536)
    media = v1.MatchMediaRequest(media=v1.Media(content=bytes(70_000)), options=v1.MatchOptions(policy="any"))
    with pytest.raises(LimitExceeded) as caught:
        served.call("MatchService/MatchMedia", media, v1.MatchMediaResponse)
    assert caught.value.reason is Reason.TOO_LARGE
    assert served.call(*GET).display_name == "Home"


def test_a_call_whose_deadline_passed_in_the_queue_is_not_begun(
    serve_hub: Serve, slow: Callable[[Served], Gatekeeper]
) -> None:
    served = serve_hub(threads=1)
    gate = slow(served)
    room = served.doors.pipeline.limiters["calls"]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(served.call, *GET)
        assert gate.entered.acquire(timeout=180)
        second = pool.submit(served.call, *GET, timeout=0.5)
        wait_until(lambda: sum(room.depth) == 2 or second.done())
        queued = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            second.result()
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
        # The server measures the time since the call came to it.
        time.sleep(max(0.0, queued + 0.6 - time.monotonic()))
        gate.release.set()
        assert first.result(60).display_name == "Home"
    assert served.call(*GET).display_name == "Home"  # the one thread has gone past the dead call
    assert gate.calls == 2


def test_no_call_is_begun_that_nobody_waits_for() -> None:
    # grpc drops most of them by itself; this is for those whose time runs out between the queue and here.
    begun: list[object] = []
    method = Method(
        "A/B",
        v1.GetStatusRequest,
        v1.Status,
        streams=False,
        roles=tuple(Role),
        handle=begun.append,
        bounds=wire.Bounds(1_000, 1_000),
    )
    metrics = Metrics()
    shares = TokenQuotas(Config(), cores=2)
    pipeline = Pipeline(lambda _: Principal(name="t", role=Role.OPERATOR), metrics, limiters_of(Config()), shares)
    envelope = Envelope(authorization="Bearer t", peer=str, until=time.monotonic())

    async def receive(_: str) -> bytes:
        return b""

    with pytest.raises(Unavailable) as caught:
        asyncio.run(pipeline.call(method, envelope, receive, v1.GetStatusRequest.FromString, lambda _: b""))
    pipeline.close()
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert begun == []
    assert counted(metrics, "A/B", "UNAVAILABLE") == 1


def test_a_full_server_refuses_at_once_with_advice_and_stays_healthy(
    serve_hub: Serve, slow: Callable[[Served], Gatekeeper]
) -> None:
    served = serve_hub(threads=1, max_concurrent_calls=4)
    for who in ("OPERATOR", "AUDITOR"):  # until a token was seen, its calls wait among those of strangers
        served.call(*GET, who=who)
    wait_until(
        lambda: sum(served.doors.pipeline.limiters["calls"].depth) == 0
    )  # a caller is answered before its place is free
    gate = slow(served)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(served.call, *GET, who=who) for who in ("OPERATOR", "OPERATOR", "AUDITOR", "AUDITOR")]
        assert gate.entered.acquire(timeout=180)
        wait_until(lambda: sum(served.doors.pipeline.limiters["calls"].depth) == 4)
        # Whoever waited for the one busy thread would wait until the test lets it go, below.
        with pytest.raises(LimitExceeded) as caught:
            served.call(*GET)
        assert caught.value.reason is Reason.TOO_MANY_REQUESTS
        assert caught.value.retry_after
        assert check_health(served) == health_pb2.HealthCheckResponse.SERVING
        gate.release.set()
        assert all(w.result(60).display_name == "Home" for w in waiting)
    wait_until(lambda: sum(served.doors.pipeline.limiters["calls"].depth) == 0)
    assert served.call(*GET).display_name == "Home"


def test_followers_have_their_own_threads_and_their_own_limit(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "FOLLOWERS", 4)
    served = serve_hub(threads=1, token_streams=2)
    secret = admit(served.hub.store, mirroring())
    follow: grpc.UnaryStreamMultiCallable[bytes, bytes] = served.channel.unary_stream(
        "/hashhub.v1.ChangeService/FollowChanges", None, None
    )
    streams = [follow(b"", metadata=served.metadata(secret), timeout=300) for _ in range(2)]
    wait_until(lambda: served.doors.pipeline.limiters["feeds"].depth == (2, 0))
    assert served.call(*GET).display_name == "Home"
    with pytest.raises(grpc.RpcError) as caught:
        next(follow(b"", metadata=served.metadata(secret), timeout=300))
    refusal = wire.status_to_error(caught.value)
    assert (refusal.reason, refusal.metadata["share"], refusal.metadata["most"]) == (
        Reason.SHARE_EXCEEDED,
        "streams",
        "2",
    )
    assert refusal.retry_after
    wait_until(
        lambda: sum(served.doors.pipeline.limiters["feeds"].depth) == 2
    )  # the thread that refused it has its place back
    streams += [follow(b"", metadata=served.metadata(), timeout=300) for _ in range(2)]
    wait_until(lambda: served.doors.pipeline.limiters["feeds"].depth == (4, 0))
    with pytest.raises(grpc.RpcError) as caught:
        next(follow(b"", metadata=served.metadata("CONSUMER"), timeout=300))
    assert wire.status_to_error(caught.value).reason is Reason.TOO_MANY_REQUESTS
    for stream in streams:
        stream.cancel()
    wait_until(lambda: sum(served.doors.pipeline.limiters["feeds"].depth) == 0)


def test_where_the_system_has_no_more_threads_to_give_every_room_answers(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_hub()
    start = threading.Thread.start

    def only_others(thread: threading.Thread) -> None:
        if thread.name.startswith("calls"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", only_others)
    served.call("HistoryService/ListEvents", v1.ListEventsRequest(), v1.ListEventsResponse, timeout=30)  # pages
    with pytest.raises(InvalidArgument):
        served.call("OperationService/WaitOperation", v1.WaitOperationRequest(), v1.Operation, timeout=30)  # waits
    assert served.call(*GET, timeout=30).display_name == "Home"


def test_the_event_loop_makes_no_place_for_a_new_token(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """That may wait for another worker, which was stopped while it did the same."""
    served = serve_hub(threads=3)
    made_by: list[str] = []
    make = QuotaCounts.make_row

    def noted(counts: QuotaCounts, token: str) -> memoryview:
        made_by.append(threading.current_thread().name)
        return make(counts, token)

    monkeypatch.setattr(QuotaCounts, "make_row", noted)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(served.call, *GET) for _ in range(2)]
        assert [call.result(60).display_name for call in calls] == ["Home", "Home"]
    assert made_by
    assert all(name.startswith("calls") for name in made_by)


def test_calls_in_progress_end_and_new_ones_are_refused_while_draining(
    serve_hub: Serve, slow: Callable[[Served], Gatekeeper]
) -> None:
    served = serve_hub(drain_seconds=60.0)
    gate = slow(served)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(served.call, *GET)
        assert gate.entered.acquire(timeout=180)
        closing = pool.submit(served.doors.close)
        wait_until(lambda: not served.doors.is_serving)
        with grpc.insecure_channel(served.doors.grpc_address) as late:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = late.unary_unary(f"/hashhub.v1.{GET[0]}", None, None)
            with pytest.raises(grpc.RpcError) as caught:
                ask(b"", metadata=served.metadata(), timeout=2)
        assert isinstance(wire.status_to_error(caught.value), Unavailable)
        gate.release.set()
        assert running.result(60).display_name == "Home"
        closing.result(60)


def test_a_call_that_does_not_end_is_cut_off(serve_hub: Serve, slow: Callable[[Served], Gatekeeper]) -> None:
    served = serve_hub(drain_seconds=0.3)
    gate = slow(served)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(served.call, *GET)
        assert gate.entered.acquire(timeout=180)
        served.doors.close()  # comes back although the call still waits
        gate.release.set()
        with pytest.raises(Unavailable):
            running.result(60)


def test_health_waits_for_the_matcher(serve_hub: Serve) -> None:
    served = serve_hub(start=False)
    for service in ("", "hashhub.v1.MatchService"):
        assert check_health(served, service) == health_pb2.HealthCheckResponse.NOT_SERVING
    query = v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=bytes(16))])
    request = v1.MatchHashesRequest(query=query, options=v1.MatchOptions(policy="any"))
    with pytest.raises(Unavailable) as caught:
        served.call("MatchService/MatchHashes", request, v1.MatchHashesResponse)
    assert caught.value.reason is Reason.MATCHER_NOT_READY
    watch = served.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    watching = watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
    served.hub.start()
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    assert check_health(served, "hashhub.v1.MatchService") == health_pb2.HealthCheckResponse.SERVING
    served.doors.close()
    assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_reflection_lists_every_service_without_a_token(served: Served) -> None:
    ask = served.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="hashhub.v1.MatchService"),
    ]
    listed, described = ask(iter(requests), timeout=30)
    names = {s.name for s in listed.list_services_response.service}
    assert {
        "hashhub.v1.AdminService",
        "hashhub.v1.ChangeService",
        "hashhub.v1.ContributionService",
        "hashhub.v1.ContributorService",
        "hashhub.v1.MatchService",
        "hashhub.v1.ReviewService",
        "hashhub.v1.SchemeService",
        "grpc.health.v1.Health",
    } <= names
    assert described.file_descriptor_response.file_descriptor_proto


def test_an_unknown_call_is_unimplemented(served: Served) -> None:
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(
        "/hashhub.v1.MatchService/Nope", None, None
    )
    with pytest.raises(grpc.RpcError) as caught:
        ask(b"", timeout=30)
    assert "does not know this call" in wire.status_to_error(caught.value).message


def test_details_arrive_for_clients_of_other_makers(served: Served) -> None:
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(f"/hashhub.v1.{GET[0]}", None, None)
    with pytest.raises(grpc.RpcError) as caught:
        ask(v1.GetContributorRequest(name="x").SerializeToString(), metadata=served.metadata(), timeout=30)
    (sent,) = (m.value for m in caught.value.trailing_metadata() or () if m.key == "grpc-status-details-bin")
    status = status_pb2.Status.FromString(bytes(sent))
    bad_request = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad_request)
    assert bad_request.field_violations[0].field == "name"


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "hub.example:1"])
@pytest.mark.parametrize("field", ["listen", "http"])
def test_an_open_door_in_clear_text_must_be_intended(field: str, address: str) -> None:
    config = msgspec.structs.replace(Config(), **{field: address})
    with pytest.raises(InvalidArgument) as caught:
        exposure.check_exposure(config)
    assert [(v.field, v.reason) for v in caught.value.violations] == [(field, "INSECURE")]
    assert "insecure_listen" in caught.value.message
    exposure.check_exposure(msgspec.structs.replace(config, insecure_listen=True))
    tls = msgspec.structs.replace(config, tls_certificate="c.pem", tls_key="k.pem")
    if field == "listen":
        exposure.check_exposure(tls)
    else:
        with pytest.raises(InvalidArgument):  # the certificate is not the HTTP door's
            exposure.check_exposure(tls)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_loopback_needs_no_tls(address: str) -> None:
    exposure.check_exposure(Config(listen=address, http=address))


@pytest.mark.parametrize("address", ["", ":1", "localhost", "1.2.3.4:x", "1.2.3.4:70000", "::1:80", "a:-1"])
def test_addresses_have_a_host_and_a_port(address: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        addresses.parse_address("listen", address)
    assert caught.value.violations[0].field == "listen"


@pytest.mark.parametrize("field", ["listen", "http"])
def test_a_port_that_is_taken_is_named(served: Served, serve_hub: Serve, field: str) -> None:
    address = served.doors.grpc_address if field == "listen" else served.doors.http_address
    with pytest.raises(FailedPrecondition) as caught:
        serve_hub(**{field: address})
    assert caught.value.reason is Reason.ADDRESS_IN_USE
    assert address in caught.value.message


def counted(metrics: Metrics, method: str, code: str) -> float:
    """Return how many calls of a method ended with a code."""
    samples = [s for family in metrics.families() for s in family.samples]
    wanted = {"method": method, "code": code}
    return sum(s.value for s in samples if s.name == "hashhub_call_seconds_count" and s.labels == wanted)
