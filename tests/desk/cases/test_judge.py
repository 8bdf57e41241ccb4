"""What a case makes of an answer, and of none."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from hashhub.desk.cases.item import CaseItem
from hashhub.desk.cases.life import Cases
from hashhub.desk.hub import HubAnswer
from hashhub.desk.records import Records
from hashhub.desk.settings import CaseSettings
from hashhub.errors import Unavailable
from hashhub.hook import Action, open_hook
from hashhub.hook.examiner import CaseJudge
from hashhub.model import Query, ReasonLine, Verdict
from hashhub.testing.pictures import picture
from tests.desk.cases.parts import SEED, Fixed, encoded, opened, query
from tests.hook.conftest import jpeg

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.hook import HookSettings
    from tests.hook.conftest import Listed, MakeHook


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_case_makes_an_answer_no_milder_and_no_match(
    records: Records, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings], verdict: Verdict
) -> None:
    judge = CaseJudge(Fixed(verdict), records, make_settings())
    before = judge.judge(query(jpeg(SEED)))
    assert (before.result.verdict, before.at_least) == (verdict, Action.ALLOW)
    case = opened(cases, item)
    after = judge.judge(query(jpeg(SEED)))
    assert after.result.verdict is (Verdict.MATCH if verdict is Verdict.MATCH else Verdict.REVIEW)
    assert after.at_least is Action.HOLD
    assert [line.clause for line in after.result.reasons] == [case.name]
    assert judge.judge(query(jpeg(7))) == Fixed(verdict).judge(query(jpeg(7)))


class Saying(Fixed):
    """One verdict for all, with what a policy says of it."""

    def judge(self, query: Query) -> HubAnswer:
        judged = super().judge(query)
        said = (ReasonLine(code="NO_ENTRY", text="no entry within the distance"),)
        return msgspec.structs.replace(judged, result=msgspec.structs.replace(judged.result, reasons=said))


def test_the_reason_that_decides_comes_first(
    make_hook: MakeHook, records: Records, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings]
) -> None:
    opened(cases, item)
    stopped = CaseJudge(Saying(Verdict.NO_MATCH), records, make_settings()).judge(query(jpeg(SEED)))
    assert [line.code for line in stopped.result.reasons] == ["CASE_HOLD", "NO_ENTRY"]
    listed = CaseJudge(Saying(Verdict.MATCH), records, make_settings()).judge(query(jpeg(SEED)))
    assert [line.code for line in listed.result.reasons] == ["NO_ENTRY", "CASE_HOLD"]
    hook = make_hook(judge=Saying(Verdict.NO_MATCH))
    unreadable, text = hook.check(jpeg(7)[:3000]), hook.check(b"a text")
    assert [line.code for line in unreadable.reasons] == ["UNREADABLE_MEDIA", "NO_ENTRY"]
    assert [line.code for line in text.reasons] == ["NO_ENTRY", "EXACT_ONLY"]  # it is allowed, because of the first


def test_the_choice_for_an_absent_hub_is_made_no_milder(
    records: Records, cases: Cases, item: CaseItem, make_settings: Callable[..., HookSettings]
) -> None:
    from hashhub.hook import WithoutAnswer

    opened(cases, item)
    for choice in (Action.ALLOW, Action.HOLD, Action.BLOCK):
        chosen = WithoutAnswer(hub_away=choice, unreadable=choice, too_large=choice, no_perceptual_hash=choice)
        judge = CaseJudge(Fixed(None), records, make_settings(without_answer=chosen))
        judged = judge.judge(query(jpeg(SEED)))
        assert judged.at_least is (Action.BLOCK if choice is Action.BLOCK else Action.HOLD)
        with pytest.raises(Unavailable):
            judge.judge(query(jpeg(7)))


def test_cases_that_cannot_be_read_hold(
    records: Records, make_settings: Callable[..., HookSettings], item: CaseItem, cases: Cases
) -> None:
    judge = CaseJudge(Fixed(Verdict.NO_MATCH), records, make_settings())
    with sqlite3.connect(Path(make_settings().data) / "hook.db") as db:
        db.execute("ALTER TABLE hook_case RENAME TO gone")
    judged = judge.judge(query(jpeg(7)))
    assert (judged.result.verdict, judged.at_least) == (Verdict.REVIEW, Action.HOLD)
    assert judged.result.reasons[0].code == "CASES_UNREAD"


def test_a_running_hook_stops_copies_at_once_and_with_the_hub_away(
    make_hook: MakeHook, make_settings: Callable[..., HookSettings], listed: Listed, item: CaseItem
) -> None:
    hook = make_hook()
    copy = encoded(picture(SEED, (512, 384)))
    assert hook.check(copy).action is Action.ALLOW
    records = Records(Path(make_settings().data))  # as another process would
    cases = Cases(records, CaseSettings())
    case = opened(cases, item)
    held = hook.check(copy)
    assert (held.action, held.verdict) == (Action.HOLD, Verdict.REVIEW)
    cases.confirm(case.name, actor="bob", reason="looked")
    assert hook.check(copy).action is Action.BLOCK
    assert hook.check(listed.unknown).action is Action.ALLOW
    records.close()
    chosen = msgspec.structs.replace(make_settings().without_answer, hub_away=Action.ALLOW)
    settings = make_settings(hub="127.0.0.1:9", answer_seconds=0.2, without_answer=chosen)
    away = open_hook(settings)  # started again, without a hub
    try:
        # Until the processes that hash have started, nobody can look; what may be a copy is never let through.
        decision = away.check(copy)
        until = time.monotonic() + 180
        while decision.action is not Action.BLOCK and time.monotonic() < until:
            assert decision.action is Action.HOLD
            decision = away.check(copy)
        assert (decision.action, decision.reasons[0].clause) == (Action.BLOCK, case.name)
    finally:
        away.close()
