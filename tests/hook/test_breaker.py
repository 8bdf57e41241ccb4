"""When a hub is not asked any more, and when it is again."""

from __future__ import annotations

import pytest

from hashhub.desk.hub import HubAnswer
from hashhub.errors import HashHubError, InvalidArgument, Unauthenticated, Unavailable
from hashhub.hashes import parse
from hashhub.hook.examiner import HubBreaker, MediaAnswer, without_hub
from hashhub.model import MatchResult, MediaResult, Query, Verdict

QUERY = Query(hashes=(parse("MD5", "ab" * 16),))


class Hub:
    """Fails as told, and counts how often it is asked."""

    error: HashHubError | None = None
    asked = 0

    def judge(self, query: Query) -> HubAnswer:
        self._count()
        return HubAnswer(result=MatchResult(verdict=Verdict.NO_MATCH), policy="block@1", revision=1)

    def judge_media(self, label: str, content: bytes) -> MediaAnswer:
        self._count()
        media = MediaResult(result=MatchResult(verdict=Verdict.NO_MATCH))
        return MediaAnswer(result=media.result, media=media, policy="block@1", revision=1)

    def _count(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error

    def revision(self) -> int:
        return 1

    def close(self) -> None:
        pass


def fail(breaker: HubBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(HashHubError):
            breaker.judge(QUERY)


@pytest.mark.parametrize("error", [Unavailable("away"), Unauthenticated("no")])
def test_it_stops_asking_and_tries_again(monkeypatch: pytest.MonkeyPatch, error: HashHubError) -> None:
    clock = [100.0]
    monkeypatch.setattr("hashhub.hook.examiner.time.monotonic", lambda: clock[0])
    hub, changes = Hub(), list[HashHubError | None]()
    breaker = HubBreaker(hub, failures=3, seconds=2, on_change=changes.append)  # type: ignore[arg-type]
    hub.error = error
    fail(breaker, 20)
    assert (hub.asked, changes, breaker.is_open) == (3, [error], True)
    clock[0] += 2.1
    fail(breaker, 20)
    assert hub.asked == 4  # one trial
    clock[0] += 2.1
    hub.error = None
    breaker.judge(QUERY)
    breaker.judge(QUERY)
    assert (hub.asked, changes, breaker.is_open) == (6, [error, None], False)


def test_uploads_that_the_hub_hashes_count_as_questions_do() -> None:
    hub = Hub()
    breaker = HubBreaker(hub, failures=3, seconds=600)  # type: ignore[arg-type]
    assert breaker.judge_media("", b"picture").media.result.verdict is Verdict.NO_MATCH
    hub.error = Unavailable("away")
    for _ in range(5):
        with pytest.raises(Unavailable):
            breaker.judge_media("", b"picture")
    fail(breaker, 5)
    assert (hub.asked, breaker.is_open) == (4, True)


def test_a_success_between_ends_the_row() -> None:
    hub = Hub()
    breaker = HubBreaker(hub, failures=3, seconds=600)  # type: ignore[arg-type]
    for _ in range(5):
        hub.error = Unavailable("late")
        fail(breaker, 2)
        hub.error = None
        breaker.judge(QUERY)
    assert not breaker.is_open


def test_questions_that_the_hub_refuses_cut_nobody_off() -> None:
    """An uploader can make queries that are refused, as many as they like."""
    hub = Hub()
    hub.error = InvalidArgument("too many hashes")
    breaker = HubBreaker(hub, failures=3, seconds=600)  # type: ignore[arg-type]
    fail(breaker, 50)
    assert (hub.asked, breaker.is_open) == (50, False)


def test_the_hub_is_not_asked_twice_about_one_upload() -> None:
    hub = Hub()
    breaker = HubBreaker(hub, failures=3, seconds=600)  # type: ignore[arg-type]
    with without_hub():
        fail(breaker, 1)
    assert hub.asked == 0
    breaker.judge(QUERY)


def test_who_cannot_be_told_of_a_change_stops_nobody() -> None:
    def full(_: HashHubError | None) -> None:
        raise Unavailable("the disk is full")

    hub = Hub()
    hub.error = Unavailable("away")
    breaker = HubBreaker(hub, failures=1, seconds=600, on_change=full)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="away"):
        breaker.judge(QUERY)
