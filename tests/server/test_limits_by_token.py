"""Rooms and shares: what a busy caller cannot do to others."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hashhub import v1
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unauthenticated
from hashhub.model import Principal, Role, Shares
from hashhub.server.admission import ANONYMOUS
from tests.patience import wait_until
from tests.server.calls import (
    MATCH,
    crowd,
    match_hashes,
    opened_import,
    outcome_of,
    refusal_of,
    slow_call,
)

if TYPE_CHECKING:
    from tests.server.conftest import Serve


class Held:
    """Holds the calls of one use-case until told otherwise, and counts them."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = 0
        self._lock = threading.Lock()

    def __call__(self, *_: Any, **__: Any) -> Any:
        with self._lock:
            self.begun += 1
        assert self.release.wait(180)
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


def test_one_token_has_its_places_however_its_header_is_written(serve_hub: Serve) -> None:
    """With one more space a header was a stranger's: a token took its own places and those of strangers."""
    served = serve_hub(threads=4, slow_sender_seconds=600.0)
    for who in ("CONSUMER", "OPERATOR"):
        match_hashes(served, who)
    secret = served.tokens["CONSUMER"]
    path = "/hashhub.v1.MatchService/MatchHashes"
    room = served.doors.pipeline.limiters["calls"]
    headers = ["Bearer " + secret] * 4 + [f"{'bearer' if n % 2 else 'BEARER'} {' ' * n}{secret}" for n in range(8)]
    slow = []
    try:
        for count, header in enumerate(headers, 1):
            slow.append(slow_call(served, path, header))
            wait_until(lambda count=count: sum(room.depth) == count)  # type: ignore[misc]
        match_hashes(served, "OPERATOR")
        assert room.in_progress_of("consumer") == len(headers)
    finally:
        for connection in slow:
            connection.close()
    wait_until(lambda: room.depth == (0, 0) and served.doors.pipeline.quotas.taken("consumer", "calls") == 0)


def test_the_first_calls_of_a_header_leave_places_to_the_others(
    serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They had three quarters of them as a stranger's, and the rest as soon as its token was known."""
    served = serve_hub(threads=4, slow_sender_seconds=600.0)
    match_hashes(served, "OPERATOR")
    pipeline, room = served.doors.pipeline, served.doors.pipeline.limiters["calls"]
    secret = served.tokens["CONSUMER"]
    authenticate, may_go_on = pipeline.authenticate, threading.Event()

    def look_up(sent: str | bytes) -> Principal:
        assert sent != secret or may_go_on.wait(180)
        return authenticate(sent)

    monkeypatch.setattr(pipeline, "authenticate", look_up)
    slow: list[socket.socket] = []

    def begin(count: int) -> None:
        slow.extend(slow_call(served, "/hashhub.v1.MatchService/MatchHashes", f"Bearer {secret}") for _ in range(count))

    try:
        begin(32)
        wait_until(lambda: pipeline.lookups.in_progress_of(ANONYMOUS) == 32)
        match_hashes(served, "OPERATOR")
        may_go_on.set()
        wait_until(lambda: room.depth == (3, 29))
        match_hashes(served, "OPERATOR")
        begin(32)
        for who in ("OPERATOR", "CONTRIBUTOR"):  # and a stranger
            match_hashes(served, who)
        wait_until(lambda: room.depth == (3, 61))
        assert room.in_progress_of("consumer") == 64
    finally:
        may_go_on.set()
        for connection in slow:
            connection.close()
    wait_until(lambda: room.depth == (0, 0) and pipeline.quotas.taken("consumer", "calls") == 0)


def test_while_eighteen_commits_queue_a_match_is_answered(
    serve_hub: Serve, held: Callable[[object, str], Held]
) -> None:
    served = serve_hub(threads=2)
    crowd(served)
    names = [opened_import(served, n) for n in range(18)]
    commits = held(served.hub.contribute, "commit")
    call = "ContributionService/CommitImport"
    with ThreadPoolExecutor(18) as pool:
        requests = [v1.CommitImportRequest(name=name, batch_count=0) for name in names]
        asked = [
            pool.submit(outcome_of, served, call, request, "OPERATOR" if n % 2 else "CONTRIBUTOR")
            for n, request in enumerate(requests)
        ]
        wait_until(lambda: sum(a.done() for a in asked) == 13)
        refused = [a.result() for a in asked if a.done()]
        for error in refused:
            assert isinstance(error, LimitExceeded)
            assert error.retry_after
            assert error.reason in {Reason.TOO_MANY_REQUESTS, Reason.SHARE_EXCEEDED}
        assert commits.begun == 1
        for _ in range(20):
            assert match_hashes(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH
        assert commits.begun == 1
        commits.release.set()
        assert sum(type(a.result(60)) is InvalidArgument for a in asked) == 5
    assert served.doors.pipeline.limiters["commits"].depth == (0, 0)


def test_a_call_that_waits_is_in_progress_once(serve_hub: Serve, held: Callable[[object, str], Held]) -> None:
    """Three of four threads work on calls of one token, and its fourth call waits."""
    served = serve_hub(threads=4)
    matching = held(served.hub.match, "hashes")
    room = served.doors.pipeline.limiters["calls"]
    request = v1.BatchMatchHashesRequest(queries=[MATCH.query], options=MATCH.options)
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for begun in (1, 2, 3):
            asked.append(pool.submit(outcome_of, served, "MatchService/BatchMatchHashes", request, "CONSUMER"))
            wait_until(lambda begun=begun: matching.begun == begun)  # type: ignore[misc]
        asked.append(pool.submit(outcome_of, served, "MatchService/BatchMatchHashes", request, "CONSUMER"))
        wait_until(lambda: room.depth == (3, 1))
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
    match_hashes(served)
    hashing = held(served.hub.match, "media")
    media = v1.MatchMediaRequest(media=v1.Media(content=b"x"), options=v1.MatchOptions(policy="any"))
    with ThreadPoolExecutor(64) as pool:
        asked = [pool.submit(outcome_of, served, "MatchService/MatchMedia", media, "CONSUMER") for _ in range(256)]
        wait_until(lambda: hashing.begun > 0)
        for _ in range(20):
            assert match_hashes(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH
        assert hashing.begun <= (os.cpu_count() or 1)
        hashing.release.set()
        errors = [a.result(60) for a in asked]
    assert all(isinstance(e, InvalidArgument) or (isinstance(e, LimitExceeded) and e.retry_after) for e in errors)
    assert any(isinstance(e, LimitExceeded) for e in errors)


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
            who: [pool.submit(outcome_of, served, name, request, who) for _ in range(20)]
            for who in ("OPERATOR", "AUDITOR")
        }
        wait_until(lambda: sum(a.done() for a in asked["OPERATOR"]) == 10)
        wait_until(lambda: sum(a.done() for a in asked["AUDITOR"]) == 18)
        for of_token in asked.values():
            for refused in [a.result() for a in of_token if a.done()]:
                assert isinstance(refused, LimitExceeded)
                assert refused.reason is Reason.SHARE_EXCEEDED
                assert refused.retry_after
        samples = [sample for family in served.doors.metrics.families() for sample in family.samples]
        assert sum(s.value for s in samples if s.labels.get("reason") == "SHARE_EXCEEDED") == 28
        assert match_hashes(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH  # somebody else's
        calls.release.set()
        for of_token in asked.values():
            for a in of_token:
                a.result(60)
    shares = served.doors.pipeline.quotas
    wait_until(lambda: (shares.taken("operator", "calls"), shares.taken("auditor", "calls")) == (0, 0))


def test_calls_that_wait_are_in_the_share_whatever_their_rooms(
    serve_hub: Serve, held: Callable[[object, str], Held]
) -> None:
    served = serve_hub(threads=8, token_calls=7)
    taken = served.doors.pipeline.quotas.taken
    get = v1.GetContributorRequest(name="contributors/home")
    served.call("ContributorService/GetContributor", get, v1.Contributor)
    calls = held(served.hub.contributors, "get")
    pages = held(served.hub.changes, "page")
    asks = [("ContributorService/GetContributor", get), ("ChangeService/ListChanges", v1.ListChangesRequest())]
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(outcome_of, served, *asks[n % 2], "OPERATOR") for n in range(20)]
        wait_until(lambda: sum(a.done() for a in asked) == 13)
        assert taken("operator", "calls") == 7
        assert calls.begun + pages.begun <= 7
        assert match_hashes(served).result.verdict == v1.Verdict.VERDICT_NO_MATCH  # somebody else's
        calls.release.set()
        pages.release.set()
        for a in asked:
            a.result(60)
    wait_until(lambda: taken("operator", "calls") == 0)


def test_a_secret_that_was_replaced_takes_nothing_of_its_tokens_share(
    serve_hub: Serve, held: Callable[[object, str], Held]
) -> None:
    served = serve_hub(threads=8, token_calls=5)
    get, name = v1.GetContributorRequest(name="contributors/home"), "ContributorService/GetContributor"
    stolen = served.tokens["CONTRIBUTOR"]
    served.call(name, get, v1.Contributor, who=stolen)
    _, secret = served.hub.tokens.rotate(Principal(name="operator", role=Role.OPERATOR), "contributor", timedelta(0))
    wait_until(lambda: isinstance(outcome_of(served, name, get, stolen), Unauthenticated))
    wait_until(lambda: served.doors.pipeline.quotas.taken("contributor", "calls") == 0)
    served.call(name, get, v1.Contributor, who=secret)  # from then on it has a lane
    entered = threading.Semaphore(0)
    go_on = threading.Event()
    authenticate = served.doors.pipeline.authenticate

    def slowly(sent: str | bytes) -> Principal:
        if sent == stolen:
            entered.release()
            assert go_on.wait(180)
        return authenticate(sent)

    served.doors.pipeline.authenticate = slowly
    with ThreadPoolExecutor(5) as pool:
        flood = [pool.submit(outcome_of, served, name, get, stolen) for _ in range(5)]
        assert entered.acquire(timeout=180)
        assert served.doors.pipeline.quotas.taken("contributor", "calls") == 0
        assert served.call(name, get, v1.Contributor, who=secret).display_name == "Home"
        go_on.set()
        assert all(isinstance(a.result(60), HashHubError) for a in flood)


def test_media_seconds_are_a_share_that_time_gives_back(serve_hub: Serve) -> None:
    served = serve_hub(token_media_seconds=30)
    shares, now = served.doors.pipeline.quotas, [time.monotonic()]
    shares.clock = lambda: now[0]
    media = v1.MatchMediaRequest(media=v1.Media(content=b"x"), options=v1.MatchOptions(policy="any"))
    consumer = served.hub.tokens.authenticate(served.tokens["CONSUMER"])
    served.call("MatchService/MatchMedia", media, v1.MatchMediaResponse, who="CONSUMER")
    shares.charge_media(consumer, 35)
    refused = refusal_of(served, "MatchService/MatchMedia", media, "CONSUMER")
    assert (refused.reason, refused.metadata["share"]) == (Reason.SHARE_EXCEEDED, "media_seconds")
    assert refused.retry_after
    assert 5 < refused.retry_after < 15  # 6 s owed beyond the share, at half a second a second
    served.call("MatchService/MatchMedia", media, v1.MatchMediaResponse, who="CONTRIBUTOR")
    match_hashes(served)
    now[0] += 15
    served.call("MatchService/MatchMedia", media, v1.MatchMediaResponse, who="CONSUMER")
