"""What a copy of the lists that is too old allows: nothing by what it does not hold, whatever the choices are."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashhub.desk.hub import HubAnswer
from hashhub.hashes import parse
from hashhub.hook import Action, Hook, HookSettings, NoAnswer, WithoutAnswer
from hashhub.hook.settings import AppSettings, OnHold
from hashhub.model import MatchResult, Query, Verdict

LAX = WithoutAnswer(
    hub_away=Action.ALLOW, unreadable=Action.ALLOW, too_large=Action.ALLOW, no_perceptual_hash=Action.ALLOW
)


class OldCopy:
    """Answers as a copy does that has not heard from its hub for longer than its limit."""

    def __init__(self, verdict: Verdict, *, is_past_limit: bool = True) -> None:
        self.verdict, self.is_past_limit = verdict, is_past_limit

    def judge(self, query: Query) -> HubAnswer:
        result = MatchResult(verdict=self.verdict, label=query.label)
        return HubAnswer(result=result, policy="block@1", revision=1, is_past_limit=self.is_past_limit)

    def revision(self) -> int:
        return 1

    def close(self) -> None:
        pass


def hook_over(copy: OldCopy, data: Path) -> Hook:
    app = AppSettings(on_hold=OnHold.APP)
    return Hook(HookSettings(policy="block", without_answer=LAX, data=str(data), app=app), judge=copy)


@pytest.mark.parametrize("verdict", [Verdict.NO_MATCH, Verdict.BENIGN])
def test_a_copy_that_is_too_old_allows_nothing(tmp_path: Path, verdict: Verdict) -> None:
    with hook_over(OldCopy(verdict), tmp_path) as hook:
        for upload in (b"a text", Query(hashes=(parse("MD5", "ab" * 16),))):
            decision = hook.check(upload)
            assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.HUB_AWAY)
            assert decision.verdict is Verdict.UNAVAILABLE
    with hook_over(OldCopy(verdict, is_past_limit=False), tmp_path) as hook:
        assert hook.check(b"a text").action is Action.ALLOW


def test_what_a_copy_that_is_too_old_does_hold_still_counts(tmp_path: Path) -> None:
    for verdict, action in ((Verdict.MATCH, Action.BLOCK), (Verdict.REVIEW, Action.HOLD)):
        with hook_over(OldCopy(verdict), tmp_path) as hook:
            decision = hook.check(b"a text")
            assert (decision.action, decision.verdict) == (action, verdict)
