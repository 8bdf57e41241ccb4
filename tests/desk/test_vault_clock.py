"""The vault on a machine whose clock is wrong: nothing is erased early, and what is kept opens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hashhub.desk.clock import ClockReading
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import RulingCode
from hashhub.desk.vault import RetentionPeriod, Vault
from hashhub.errors import LimitExceeded
from hashhub.model import now
from tests.desk.test_clock import last_looked
from tests.desk.test_vault import QUEUE, Place, checked_as, keep
from tests.hook.waiting import put


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Machine:
    """A machine with a clock that can be wrong, and an uptime that cannot."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = datetime(2027, 6, 1, tzinfo=UTC)
        self.uptime, self.boot = 1000.0, "one"
        for module in ("clock", "vault", *QUEUE, "records"):
            monkeypatch.setattr(f"hashhub.desk.{module}.now", lambda: self.at)
        monkeypatch.setattr("hashhub.desk.clock._look", lambda: ClockReading(self.at, self.uptime, self.boot))

    def run(self, hours: float, vault: Vault | None = None) -> list[str]:
        """Run for so long, sweeping each hour, or twice a day where it is long; return what was erased."""
        erased = []
        step = 1 if hours < 100 else 12
        for _ in range(int(hours) // step):
            self.at += timedelta(hours=step)
            self.uptime += step * 3600
            erased += vault.sweep() if vault is not None else []
        return erased

    def set_clock(self, days: float, *, is_restarted: bool) -> None:
        self.at += timedelta(days=days)
        if is_restarted:
            self.uptime, self.boot = 60.0, f"{self.boot}+"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_a_hold_set_while_it_is_swept_counts(place: Place, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, other, when_due = place.open(), place.open(), RetentionPeriod.due
    reference = keep(vault)
    machine.run(100 * 24)

    def due(period: RetentionPeriod, **times: Any) -> tuple[datetime, str]:
        """Hold the upload once the sweep has read that nobody does."""
        monkeypatch.setattr(RetentionPeriod, "due", when_due)
        other.hold([reference], case="court-7", actor="ann", reason="order")
        return when_due(period, **times)

    monkeypatch.setattr(RetentionPeriod, "due", due)
    assert vault.sweep() == []  # of what stays nobody is told that it is erased
    assert [(item.reference, item.due_why) for item in vault.items()] == [(reference, "legal hold court-7")]
    assert vault.check(actor="ann").opened == 1
    other.lift(case="court-7", reference=None, actor="ann", reason="ended")
    assert vault.sweep() == [reference]


class TestWrongClock:
    """What was kept, reported or released by a clock that was wrong is not erased early once it is right again."""

    @pytest.mark.parametrize("is_restarted", [False, True])
    @pytest.mark.parametrize("back", [3, 100, 400])
    def test_what_was_kept_while_the_clock_was_behind_has_its_full_time(
        self, place: Place, machine: Machine, back: int, is_restarted: bool
    ) -> None:
        vault = place.open()
        machine.run(30, vault)
        machine.set_clock(-back, is_restarted=is_restarted)
        if is_restarted:
            vault = place.open()
        first = keep(vault)  # before anybody looked at the clock
        machine.run(3, vault)
        second = keep(vault)
        machine.run(0.5)
        machine.set_clock(back, is_restarted=False)
        assert machine.run(80 * 24, vault) == []
        assert machine.run(15 * 24, vault) == [first, second]

    def test_what_was_reported_while_the_clock_was_behind_is_kept_its_year(
        self, place: Place, machine: Machine
    ) -> None:
        vault = place.open()
        reference = keep(vault)
        machine.run(30, vault)
        machine.set_clock(-400, is_restarted=True)
        vault = place.open()
        put(place.records(), checked_as(reference))
        Rulings(place.records(), place.settings()).reported(reference, recipient="ncmec", filed_as="1", actor="ann")
        machine.run(3, vault)
        machine.set_clock(400, is_restarted=False)
        assert machine.run(360 * 24, vault) == []
        assert machine.run(10 * 24, vault) == [reference]

    def test_what_was_released_while_the_clock_was_behind_is_kept_as_long_as_after_any_release(
        self, place: Place, machine: Machine
    ) -> None:
        vault = place.open(days_after_release=40)
        reference = keep(vault)
        machine.run(30, vault)
        machine.set_clock(-100, is_restarted=False)
        put(place.records(), checked_as(reference))
        Rulings(place.records(), place.settings()).release(
            reference, code=RulingCode.OTHER, comment="seen", actor="ann"
        )
        machine.run(3, vault)
        machine.set_clock(100, is_restarted=False)
        assert machine.run(39 * 24, vault) == []
        assert machine.run(2 * 24, vault) == [reference]

    @pytest.mark.parametrize("back", [6, 100])
    def test_what_was_kept_while_nobody_looked_at_the_clock_for_days(
        self, place: Place, machine: Machine, back: int
    ) -> None:
        vault = place.open()
        machine.run(30, vault)
        machine.set_clock(-back, is_restarted=False)
        reference = keep(vault)
        machine.run(120)
        machine.run(3, vault)
        machine.set_clock(back, is_restarted=False)
        assert machine.run(88 * 24, vault) == []
        assert machine.run(7 * 24, vault) == [reference]

    def test_a_clock_that_comes_right_in_two_steps(self, place: Place, machine: Machine) -> None:
        vault = place.open()
        machine.set_clock(-400, is_restarted=True)
        vault = place.open()
        first = keep(vault)
        machine.run(30, vault)
        machine.set_clock(-50, is_restarted=False)
        machine.run(3, vault)
        second = keep(vault)
        for days in (150, 300):
            machine.set_clock(days, is_restarted=False)
            assert machine.run(30, vault) == []
        assert machine.run(80 * 24, vault) == []
        assert set(machine.run(15 * 24, vault)) == {first, second}

    @pytest.mark.parametrize("year", [1970, 2000])
    def test_what_was_kept_before_the_machine_was_told_the_time(
        self, place: Place, machine: Machine, year: int
    ) -> None:
        place.open()
        machine.run(1)
        right = machine.at
        machine.set_clock(0, is_restarted=True)
        machine.at = datetime(year, 1, 1, tzinfo=UTC)
        vault = place.open()
        reference = keep(vault)
        machine.at = right
        assert machine.run(89 * 24, vault) == []
        assert machine.run(3 * 24, vault) == [reference]

    def test_a_clock_that_goes_back_long_after_the_machine_was_off(self, place: Place, machine: Machine) -> None:
        vault = place.open()
        machine.run(30, vault)
        machine.set_clock(200, is_restarted=True)
        vault = place.open()
        machine.run(60, vault)
        machine.set_clock(-100, is_restarted=False)
        reference = keep(vault)
        machine.run(3, vault)
        machine.set_clock(100, is_restarted=False)
        assert machine.run(80 * 24, vault) == []
        assert machine.run(15 * 24, vault) == [reference]

    def test_a_clock_that_was_ahead_by_mistake_and_is_set_back_too_far(self, place: Place, machine: Machine) -> None:
        vault = place.open()
        machine.run(30, vault)
        machine.set_clock(200, is_restarted=False)
        machine.run(3, vault)
        machine.set_clock(-300, is_restarted=False)
        reference = keep(vault)
        machine.run(3, vault)
        machine.set_clock(100, is_restarted=False)
        assert machine.run(80 * 24, vault) == []
        assert machine.run(15 * 24, vault) == [reference]

    def test_a_clock_that_was_ahead_by_mistake_keeps_nothing_longer(self, place: Place, machine: Machine) -> None:
        vault = place.open()
        old = keep(vault)
        machine.run(30, vault)
        machine.set_clock(400, is_restarted=False)
        assert machine.run(3, vault) == []
        machine.set_clock(-400, is_restarted=False)
        assert machine.run(30, vault) == []
        new = keep(vault)
        machine.run(30 * 24, vault)
        machine.set_clock(5, is_restarted=True)  # off for some days
        vault = place.open()
        assert machine.run(53 * 24, vault) == [old]
        assert machine.run(3 * 24, vault) == [new]


def test_a_vault_by_a_clock_that_went_back_keeps_and_opens(place: Place) -> None:
    vault = place.open()
    reference = keep(vault)
    records = place.records()
    records.write("UPDATE vault_item SET time = ?", ((now() + timedelta(days=400)).isoformat(),))
    last_looked(records, -400)
    assert vault.sweep() == []
    assert [item.reference for item in place.open().items()] == [reference]
    other = keep(vault)
    assert vault.check(actor="ann").opened == 2
    assert {item.reference for item in vault.items()} == {reference, other}
    assert records.verify() == len(records.events())


def test_what_was_taken_out_by_a_clock_that_was_ahead_counts_for_no_year(place: Place, tmp_path: Path) -> None:
    vault = place.open(exports_a_day=2)
    reference = keep(vault)
    with pytest.MonkeyPatch.context() as ahead:
        for module in ("records", "vault"):
            ahead.setattr(f"hashhub.desk.{module}.now", lambda: now() + timedelta(days=365))
        for number in range(2):
            vault.export(reference, tmp_path / str(number), actor="ann", reason="why")
    for number in range(2, 4):
        vault.export(reference, tmp_path / str(number), actor="ann", reason="why")
    with pytest.raises(LimitExceeded, match="exports_a_day"):
        vault.export(reference, tmp_path / "more", actor="ann", reason="why")
