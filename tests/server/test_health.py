"""Health says what can be answered now, service by service, and changes by itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NoReturn

import pytest
from grpc_health.v1 import health_pb2

from hashhub import v1
from hashhub.errors import LimitExceeded, Reason, Unavailable
from hashhub.hub.health import Need
from hashhub.server.health import NEEDS, Health
from hashhub.server.servicers import FILES
from tests.patience import wait_until
from tests.server.calls import check_health

if TYPE_CHECKING:
    from tests.server.conftest import Serve

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
QUERY = v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=bytes(16))])
MATCH = v1.MatchHashesRequest(query=QUERY, options=v1.MatchOptions(policy="any"))


def test_every_service_says_what_it_needs() -> None:
    assert set(NEEDS) == {service.name for file in FILES for service in file.services_by_name.values()}


@pytest.mark.parametrize("missing", list(Need))
def test_a_need_that_is_not_met_concerns_those_that_have_it(missing: Need) -> None:
    health = Health(lambda: frozenset(Need) - {missing})
    health.open()
    assert {name for name, is_up in health.up().items() if not is_up} == {n for n, w in NEEDS.items() if missing in w}
    health.close()
    assert not any(health.up().values())


def test_a_database_that_hangs_is_away_and_probes_do_not_wait_for_it(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_hub()
    monkeypatch.setattr("hashhub.hub.health.ANSWER_SECONDS", 0.2)
    come_back = threading.Event()
    looks: list[int] = []
    revision = served.hub.store.revision

    def hang() -> int:
        looks.append(1)
        come_back.wait(180)
        return revision()

    monkeypatch.setattr(served.hub.store, "revision", hang)
    wait_until(lambda: looks and check_health(served, "") == NOT_SERVING)  # a look before may have been slow, too
    for _ in range(50):
        assert check_health(served, "hashhub.v1.HistoryService") == NOT_SERVING
    assert len(looks) < 50, "a probe asks nobody"  # but others may: whoever follows the changes looks, too
    come_back.set()
    wait_until(lambda: check_health(served, "") == SERVING)


def test_a_matcher_that_is_behind_does_not_answer_and_others_do(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_hub()
    monkeypatch.setattr("hashhub.hub.health.STALE_SECONDS", -0.4)  # with twice the interval of 0.2 s: at once
    monkeypatch.setattr(served.hub.follower, "catch_up", lambda: 0)
    served.hub.follower.thread._work = lambda: None
    wait_until(lambda: check_health(served, "hashhub.v1.MatchService") == NOT_SERVING)
    with pytest.raises(Unavailable) as caught:
        served.call("MatchService/MatchHashes", MATCH, v1.MatchHashesResponse)
    assert caught.value.reason is Reason.MATCHER_NOT_READY
    assert check_health(served, "hashhub.v1.HistoryService") == SERVING


def test_a_write_that_did_not_fit_is_told_until_one_fits(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system does not say that it is full: a quota, or PostgreSQL's disk."""
    served = serve_hub()
    database = served.hub.store.database
    monkeypatch.setattr("hashhub.store.database.ROOM_LOOK_SECONDS", 0.0)
    begin = database.writer.begin
    tried: list[int] = []

    def full() -> NoReturn:
        tried.append(1)
        raise LimitExceeded("the disk is full", reason=Reason.DISK_FULL)

    monkeypatch.setattr(database.writer, "begin", full)
    assert check_health(served, "hashhub.v1.ContributionService") == SERVING, "nobody has tried to write yet"
    with pytest.raises(LimitExceeded):
        served.new_contributor("nowhere")
    wait_until(lambda: check_health(served, "hashhub.v1.ContributionService") == NOT_SERVING)
    assert check_health(served, "hashhub.v1.ReviewService") == NOT_SERVING
    assert check_health(served, "hashhub.v1.MatchService") == SERVING
    assert check_health(served, "") == SERVING
    served.call("MatchService/MatchHashes", MATCH, v1.MatchHashesResponse)
    monkeypatch.setattr(database.writer, "begin", begin)
    wait_until(lambda: check_health(served, "hashhub.v1.ContributionService") == SERVING)
    served.new_contributor("somewhere")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("private"), Unavailable("away")])
def test_background_work_goes_on_after_any_failure_and_says_so(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    served = serve_hub()
    revision = served.hub.store.revision()

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    with monkeypatch.context() as failing:
        failing.setattr(served.hub.store.history, "position", fail)
        wait_until(lambda: "follow" in {t.name for t in served.hub.threads() if t.warning})
        samples = {(s.name, *s.labels.values()): s.value for f in served.doors.metrics.families() for s in f.samples}
        assert samples["hashhub_background_failing", "follow"] == 1
        assert samples["hashhub_background_failures_total", "follow"] >= 1
    wait_until(lambda: not any(t.warning for t in served.hub.threads()))
    served.new_contributor("later")
    wait_until(lambda: served.hub.matcher.status().revision > revision)


def test_no_thread_for_the_last_use_of_tokens_is_no_reason_to_refuse_a_call(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_hub()

    def fail(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(served.hub.tokens.threads[0], "_thread", None)
    served.hub.tokens._forget()
    with monkeypatch.context() as crowded:
        crowded.setattr("hashhub.background.threading.Thread", fail)
        assert served.hub.tokens.authenticate(served.tokens["AUDITOR"]).name == "auditor"
