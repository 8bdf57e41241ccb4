"""A hub that is up and slow about one upload is no outage: it is asked again with patience, and allows by nobody's
silence.
"""

from __future__ import annotations

import pytest

from hashhub.client import Matched
from hashhub.desk.decision import NoAnswer, WithoutAnswer
from hashhub.errors import Reason, Unavailable
from hashhub.hashes import parse
from hashhub.hook import Action
from hashhub.hook.core import Hook
from hashhub.hook.examiner import HubBreaker, HubJudge
from hashhub.hook.settings import HookSettings
from hashhub.model import MatchOptions, MatchResult, Query, Verdict

FLOODED = parse("MD5", "ab" * 16)
OTHER = parse("MD5", "cd" * 16)


class SlowClient:
    """Answers about one digest after so many seconds, and about all others at once, unless it is away."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.is_away = seconds, False
        self.asked: list[float] = []

    def match(self, query: Query, _: MatchOptions, *, seconds: float) -> Matched:
        self.asked.append(seconds)
        is_listed = FLOODED in query.hashes
        if self.is_away or (is_listed and self.seconds > seconds):
            raise Unavailable("no answer in time", reason=Reason.DEADLINE_EXCEEDED)
        verdict = Verdict.MATCH if is_listed else Verdict.NO_MATCH
        return Matched(result=MatchResult(verdict=verdict), policy="block@1", revision=7)

    def close(self) -> None:
        pass


def hook_of(client: SlowClient, choice: Action) -> tuple[Hook, HubBreaker]:
    settings = HookSettings(
        policy="block",
        slow_seconds=3.0,
        without_answer=WithoutAnswer(
            hub_away=choice, unreadable=choice, too_large=choice, no_perceptual_hash=Action.ALLOW
        ),
    )
    hub = HubJudge(settings)
    hub.client = client  # type: ignore[assignment]
    breaker = HubBreaker(hub, failures=3, seconds=600)
    return Hook(settings, judge=breaker), breaker


def test_one_that_answers_late_is_waited_for() -> None:
    client = SlowClient(2.0)
    hook, breaker = hook_of(client, Action.ALLOW)
    with hook:
        decisions = [hook.check([FLOODED]) for _ in range(20)]
        assert {(d.action, d.verdict, d.no_answer) for d in decisions} == {(Action.BLOCK, Verdict.MATCH, None)}
        assert client.asked[:3] == pytest.approx([0.3, 0.1, 3.0])
        assert hook.check([OTHER]).action is Action.ALLOW
        assert not breaker.is_open


@pytest.mark.parametrize(
    ("choice", "action"), [(Action.ALLOW, Action.HOLD), (Action.HOLD, Action.HOLD), (Action.BLOCK, Action.BLOCK)]
)
def test_one_that_never_answers_about_an_upload_is_up_and_allows_nothing(choice: Action, action: Action) -> None:
    client = SlowClient(60.0)
    hook, breaker = hook_of(client, choice)
    with hook:
        for _ in range(6):
            decision = hook.check([FLOODED])
            assert (decision.action, decision.verdict) == (action, Verdict.UNAVAILABLE)
            assert decision.no_answer is NoAnswer.HUB_AWAY
            assert Reason.HUB_SLOW in {line.code for line in decision.reasons}
        assert not breaker.is_open
        assert hook.check([OTHER]).action is Action.ALLOW


def test_one_that_is_away_is_decided_about_as_chosen_and_not_waited_for() -> None:
    client = SlowClient(60.0)
    client.is_away = True
    hook, breaker = hook_of(client, Action.ALLOW)
    with hook:
        for _ in range(5):
            decision = hook.check([FLOODED])
            assert (decision.action, decision.no_answer) == (Action.ALLOW, NoAnswer.HUB_AWAY)
        assert client.asked == pytest.approx([0.3, 0.1] * 3), "half a second, three times; then it is left alone"
        assert breaker.is_open
