"""What is said of a case's times where the machine's clock was wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from hashhub.desk.cases.clocks import CasePurpose, ClockState
from hashhub.desk.cases.index import CaseIndex
from hashhub.desk.cases.item import item_of
from hashhub.desk.cases.life import Case, Cases, CaseState, Scan
from hashhub.desk.clock import is_believed
from hashhub.desk.records import Records
from hashhub.desk.rounds import QueueRounds
from hashhub.desk.settings import CaseSettings
from hashhub.errors import InvalidArgument
from hashhub.hashing import hash_media
from hashhub.hashing.media import MediaHashes
from hashhub.hook.examiner import HubJudge
from hashhub.hook.settings import HookSettings
from tests.desk.test_vault_clock import Machine
from tests.hook.conftest import HELD, jpeg


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(monkeypatch)
    for module in ("cases.life", "cases.clocks", "cases.index"):
        monkeypatch.setattr(f"hashhub.desk.{module}.now", lambda: machine.at)
    monkeypatch.setattr("hashhub.desk.cases.index.ENDING_SECONDS", 0.0)  # in which the machine runs for days
    return machine


def _opened(cases: Cases, machine: Machine, received: datetime | None = None) -> Case:
    return cases.open(
        item_of(_media()),
        purpose=CasePurpose.INTIMATE_IMAGE,
        complaint="T-1",
        reason="came by the form",
        actor="ann",
        receive_time=received or machine.at,
    )


def _done(cases: Cases, case: Case, machine: Machine) -> None:
    cases.confirm(case.name, actor="bob", reason="looked")
    at = machine.at
    scan = Scan(place="archive", begin_time=at, end_time=at, looked=1, unread=0, copies=0)
    cases.copies.add_scan(case.name, scan, actor="bob")


def _run(machine: Machine, records: Records, hours: int) -> None:
    for _ in range(hours):
        machine.run(1)
        is_believed(records)


@pytest.mark.parametrize("is_right_again", [False, True])
def test_nothing_is_claimed_to_be_done_in_time_by_a_clock_that_was_set_back(
    records: Records, machine: Machine, is_right_again: bool
) -> None:
    cases = Cases(records, CaseSettings())
    is_believed(records)
    case = _opened(cases, machine)
    _run(machine, records, 60)  # longer than the rule gives
    days = 2.4 if is_right_again else 10.0  # done within the time after the complaint, or before it
    machine.set_clock(-days, is_restarted=False)
    _run(machine, records, 1)
    _done(cases, case, machine)
    if is_right_again:
        _run(machine, records, 1)
        machine.set_clock(days, is_restarted=False)
        _run(machine, records, 1)
    [clock] = cases.get(case.name).clocks
    assert clock.standing is ClockState.UNPROVEN
    assert any("by a clock that was behind" in line for line in cases.record(case.name).missing)


def test_a_clock_that_was_set_back_at_another_time_takes_nothing_away(records: Records, machine: Machine) -> None:
    cases = Cases(records, CaseSettings())
    machine.set_clock(-20.0, is_restarted=False)
    is_believed(records)
    _run(machine, records, 5)
    machine.set_clock(20.0, is_restarted=False)
    _run(machine, records, 72)
    case = _opened(cases, machine)
    machine.at += timedelta(hours=1)
    _done(cases, case, machine)
    assert [clock.standing for clock in cases.get(case.name).clocks] == [ClockState.MET]


def test_a_complaint_that_the_clock_is_behind_of_is_refused_with_what_the_clock_says(
    records: Records, machine: Machine
) -> None:
    cases, came = Cases(records, CaseSettings()), machine.at
    machine.set_clock(-1.0, is_restarted=False)
    with pytest.raises(InvalidArgument, match=f"which says {machine.at:%Y-%m-%d %H:%M}.*set the clock"):
        _opened(cases, machine, came)


@cache
def _media() -> MediaHashes:
    return hash_media(jpeg(1))


def _holds(index: CaseIndex) -> bool:
    return bool(index.hits(_media().query()))


def _days_held(index: CaseIndex, machine: Machine) -> float:
    """Run until copies are no longer stopped, asking twice a day; nothing else looks at the clock."""
    days = 0.0
    while _holds(index):
        assert days < 100, "it is never over"
        days += 0.5
        machine.run(12)
    return days


@pytest.mark.parametrize("back", [3, 31, 400])
@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("is_disputed", [False, True])
@pytest.mark.parametrize("is_looked_at", [False, True], ids=["nobody looks", "looked at each hour"])
def test_a_case_that_was_opened_while_the_clock_was_behind_holds_for_its_full_time(
    records: Records, machine: Machine, back: int, is_restarted: bool, is_disputed: bool, is_looked_at: bool
) -> None:
    cases = Cases(records, CaseSettings(unconfirmed_days=30))
    index = CaseIndex(cases)
    is_believed(records)
    if is_disputed:
        case = _opened(cases, machine)
        cases.confirm(case.name, actor="bob", reason="looked")
    machine.set_clock(-back, is_restarted=is_restarted)
    if is_disputed:
        cases.dispute(case.name, actor="bob", reason="says that it is news")
    else:
        case = _opened(cases, machine)
    if is_looked_at:
        _run(machine, records, 5)
    else:
        machine.run(5)
    machine.set_clock(back, is_restarted=False)
    if is_looked_at:
        _run(machine, records, 5)
    assert _holds(index)
    assert cases.hashes(case.name)
    most = 32 if is_looked_at else 62  # where nobody looked, it is not known when within those days it was set right
    assert 29.5 < _days_held(index, machine) < most
    assert cases.get(case.name).state is CaseState.EXPIRED
    assert cases.hashes(case.name) == []


@pytest.mark.parametrize("year", [1970, 2000])
def test_a_case_that_was_opened_before_the_machine_was_told_the_time_holds_for_its_full_time(
    records: Records, machine: Machine, year: int
) -> None:
    cases = Cases(records, CaseSettings(unconfirmed_days=30))
    is_believed(records)
    right = machine.at
    machine.set_clock(0, is_restarted=True)
    machine.at = datetime(year, 1, 1, tzinfo=UTC)
    case = _opened(cases, machine)
    machine.run(1)
    machine.at = right
    index = CaseIndex(cases)  # of another process, which has not seen the time before
    assert 29.5 < _days_held(index, machine) < 32
    assert cases.get(case.name).state is CaseState.EXPIRED


def test_a_clock_that_comes_right_in_two_steps_ends_no_hold(records: Records, machine: Machine) -> None:
    cases = Cases(records, CaseSettings(unconfirmed_days=30))
    index = CaseIndex(cases)
    is_believed(records)
    machine.set_clock(-400, is_restarted=False)
    case = _opened(cases, machine)
    for days in (150, 250):
        machine.run(30)
        machine.set_clock(days, is_restarted=False)
        assert _holds(index)
    assert 29.5 < _days_held(index, machine) < 33
    kinds = [event.kind for event in records.events(subject=case.name)]
    assert kinds[0] == "case.opened"
    assert set(kinds[1:-1]) == {"case.held_longer"}
    assert kinds[-1] == "case.expired"


def test_a_case_goes_on_holding_while_the_clock_is_doubted(records: Records, machine: Machine) -> None:
    cases = Cases(records, CaseSettings(unconfirmed_days=30))
    index = CaseIndex(cases)
    is_believed(records)
    case = _opened(cases, machine)
    machine.run(24)
    machine.set_clock(400, is_restarted=False)
    machine.run(3)
    assert _holds(index)
    assert cases.get(case.name).state is CaseState.OPEN
    machine.set_clock(-400, is_restarted=False)
    assert 28.5 < _days_held(index, machine) < 29.5, "a mistake that was put right changes nothing"


def test_a_case_of_a_right_clock_holds_for_its_time_and_no_longer(records: Records, machine: Machine) -> None:
    cases = Cases(records, CaseSettings(unconfirmed_days=30))
    index = CaseIndex(cases)
    is_believed(records)
    machine.set_clock(-20, is_restarted=False)
    _run(machine, records, 5)
    machine.set_clock(20, is_restarted=False)
    _run(machine, records, 72)
    case = _opened(cases, machine)
    assert _days_held(index, machine) == 30.0
    assert [e.kind for e in records.events(subject=case.name)] == ["case.opened", "case.expired"]


def test_a_running_hook_ends_what_nobody_confirmed_without_any_upload_and_notices_a_clock_that_was_set(
    records: Records, machine: Machine, tmp_path: Path
) -> None:
    settings = HookSettings(policy="block", without_answer=HELD, data=str(tmp_path / "hook"), hub="127.0.0.1:1")
    cases = Cases(records, settings.case)
    rounds = QueueRounds(records, settings, HubJudge(settings))
    rounds.round()
    case = _opened(cases, machine)
    machine.run(31 * 24)
    QueueRounds(records, settings, HubJudge(settings)).round()
    assert records.rows("SELECT state FROM hook_case") == [("EXPIRED",)]
    assert cases.hashes(case.name) == []
    machine.set_clock(400, is_restarted=False)
    QueueRounds(records, settings, HubJudge(settings)).round()
    assert [event.kind for event in records.events(subject="clock")] == ["clock.doubted"]
