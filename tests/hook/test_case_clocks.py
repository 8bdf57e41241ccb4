"""What is said of a case's times where the machine's clock was wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hashhub.errors import InvalidArgument
from hashhub.hashing import hash_media
from hashhub.hook.cases import Case, CasePurpose, Cases, Scan, Standing, item_of
from hashhub.hook.clock import is_believed
from hashhub.hook.records import Records
from hashhub.hook.settings import CaseSettings
from tests.hook.conftest import jpeg
from tests.hook.test_vault import Machine


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(tmp_path / "hook")
    yield records
    records.close()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(monkeypatch)
    monkeypatch.setattr("hashhub.hook.cases.now", lambda: machine.at)
    return machine


def _opened(cases: Cases, machine: Machine, received: datetime | None = None) -> Case:
    return cases.open(
        item_of(hash_media(jpeg(1))),
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
    cases.add_scan(case.name, scan, actor="bob")


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
    assert clock.standing is Standing.UNPROVEN
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
    assert [clock.standing for clock in cases.get(case.name).clocks] == [Standing.MET]


def test_a_complaint_that_the_clock_is_behind_of_is_refused_with_what_the_clock_says(
    records: Records, machine: Machine
) -> None:
    cases, came = Cases(records, CaseSettings()), machine.at
    machine.set_clock(-1.0, is_restarted=False)
    with pytest.raises(InvalidArgument, match=f"which says {machine.at:%Y-%m-%d %H:%M}.*set the clock"):
        _opened(cases, machine, came)
