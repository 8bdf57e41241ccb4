"""What is due is erased by a clock that is believed only; one that jumped is, after a day, or when a person says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import item_of_hashes
from hashhub.desk.cases.life import Cases, CaseState
from hashhub.desk.clock import ClockReading, Times, after, believe, is_believed
from hashhub.desk.records import Records
from hashhub.desk.rounds import forget
from hashhub.desk.settings import CaseSettings
from hashhub.hashes import Hash
from hashhub.model import now
from tests.desk.test_record_expiry import LONG_AGO, at_work, settings

DAY = 86_400.0
BEGIN = datetime(2027, 1, 1, tzinfo=UTC)


def look(days: float, *, uptime: float, boot: str = "one", doubted: float | None = None) -> ClockReading:
    return ClockReading(BEGIN + timedelta(days=days), uptime, boot, doubted)


@pytest.mark.parametrize(
    ("last", "new", "doubted"),
    [
        (look(0, uptime=100), look(1 / 24, uptime=3700), None),
        (look(0, uptime=100), look(60, uptime=100 + 60 * DAY), None),  # nobody looked, and the machine ran
        (look(0, uptime=100), look(60, uptime=3700), 0.0),  # set forward while it ran
        (look(0, uptime=100), look(1.9, uptime=3700), None),
        (look(0, uptime=100), look(60, uptime=50, boot="two"), 0.0),  # off for two months
        (look(0, uptime=100), look(1.5, uptime=50, boot="two"), None),  # off for a day
        (look(0, uptime=9 * DAY), look(60, uptime=90 * DAY, boot="two"), 0.0),  # on another machine
        (look(0, uptime=100), look(60, uptime=100 + 60 * DAY, boot=""), 0.0),
        (look(0, uptime=100, boot=""), look(60, uptime=100 + 60 * DAY, boot=""), 0.0),
        (look(0, uptime=100), look(-400, uptime=3700), None),  # backwards: nothing is due by it
        (look(-400, uptime=100), look(0, uptime=3700), 0.0),  # and forth again
        (look(0, uptime=0, doubted=0.0), look(0.9, uptime=0.9 * DAY), 0.9 * DAY),
        (look(0, uptime=0, doubted=0.9 * DAY), look(0.1, uptime=0.2 * DAY), None),
        (look(0, uptime=0, doubted=0.9 * DAY), look(9, uptime=0.2 * DAY), 0.0),  # jumped again
        (look(0, uptime=9 * DAY, doubted=0.0), look(1, uptime=3600, boot="two"), 3600.0),  # a start in between
        (look(0, uptime=9 * DAY, doubted=0.0), look(-1, uptime=3600, boot="two"), 0.0),
        (look(0, uptime=0, doubted=0.0), look(-365, uptime=0.5 * DAY), 0.5 * DAY),  # set right again
    ],
)
def test_a_clock_is_doubted_for_a_day_of_running(last: ClockReading, new: ClockReading, doubted: float | None) -> None:
    seen = after(last, new)
    assert seen.doubted == (pytest.approx(doubted) if doubted is not None else None)
    assert (seen.time, seen.uptime, seen.boot) == (new.time, new.uptime, new.boot)


@pytest.mark.parametrize(
    ("last", "new", "doubted"),
    [
        (look(0, uptime=9 * DAY, boot="", doubted=0.0), look(7, uptime=16 * DAY, boot=""), None),  # a container
        (look(0, uptime=9 * DAY, doubted=0.0), look(7, uptime=6 * DAY, boot="two"), None),
        (look(0, uptime=9 * DAY, boot="", doubted=0.0), look(60, uptime=16 * DAY, boot=""), 0.0),  # jumped again
        (look(0, uptime=9 * DAY, doubted=0.0), look(60, uptime=6 * DAY, boot="two"), 0.0),
        (look(0, uptime=9 * DAY, doubted=0.0), look(365, uptime=400 * DAY, boot="two"), 0.0),  # on another machine
    ],
)
def test_where_somebody_looks_once_a_week_it_is_not_doubted_for_ever(
    last: ClockReading, new: ClockReading, doubted: float | None
) -> None:
    assert after(last, new).doubted == doubted


@pytest.mark.parametrize("year", [1970, 2000, 2015])
@pytest.mark.parametrize("doubted", [None, 0.5 * DAY])
def test_a_machine_that_starts_before_it_is_told_the_time_is_not_doubted_each_day(
    year: int, doubted: float | None
) -> None:
    last = look(0, uptime=0.9 * DAY, doubted=doubted)
    unset = after(last, ClockReading(datetime(year, 1, 1, tzinfo=UTC), 20, "two"))
    assert unset == last
    told = after(unset, look(0.6, uptime=0.55 * DAY, boot="two"))
    assert told.doubted is None


@given(
    jump=st.floats(2.1, 4000),
    steps=st.lists(st.tuples(st.floats(0.001, 1.9), st.booleans()), min_size=1, max_size=80),
)
def test_after_a_jump_nothing_is_erased_before_a_day_has_run_and_all_is_after_two(
    jump: float, steps: list[tuple[float, bool]]
) -> None:
    at, uptime, ran, boot = look(0, uptime=0), 0.0, 0.0, 0
    days = jump
    at = after(at, look(days, uptime=uptime, boot="0"))
    assert at.doubted == 0.0
    for step, is_restarted in steps:
        days += step
        ran += step
        boot += is_restarted
        uptime = step * DAY / 2 if is_restarted else uptime + step * DAY  # half of it was off
        ran -= step / 2 if is_restarted else 0
        at = after(at, look(days, uptime=uptime, boot=str(boot)))
        if ran < 0.999:
            assert at.doubted is not None
        if ran > 1.001:
            assert at.doubted is None


def last_looked(records: Records, days: float, boot: str | None = None) -> None:
    """Let the last look have been by a clock that said so many days less."""
    is_believed(records)
    records.write("UPDATE clock SET time = ?", ((now() - timedelta(days=days)).isoformat(),))
    if boot is not None:
        records.write("UPDATE clock SET boot = ?", (boot,))


@pytest.mark.parametrize("boot", [None, "before"], ids=["set forward while it ran", "off for so long"])
def test_rows_stay_for_a_day_and_the_doubt_is_on_record(
    records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture, boot: str | None
) -> None:
    last_looked(records, 60, boot)
    at_work(records)
    assert forget(records, settings(tmp_path / "hook")) == 0
    assert "nothing is erased" in caplog.text
    assert "24.0 more hours" in caplog.text
    assert forget(records, settings(tmp_path / "hook")) == 0
    records.write("UPDATE clock SET uptime = uptime - 86400, time = ?", ((now() - timedelta(days=1)).isoformat(),))
    assert forget(records, settings(tmp_path / "hook")) == 1
    kinds = [event.kind for event in records.events()]
    assert kinds == ["clock.doubted", "clock.believed", "upload.forgotten"]
    assert "60 days ahead" in records.events()[0].reason
    assert records.verify() == 3


def test_a_complaint_keeps_its_hashes_until_the_clock_is_believed(records: Records) -> None:
    cases = Cases(records, CaseSettings())
    case = cases.open(
        item_of_hashes([Hash("MD5", b"0123456789abcdef")]),
        purpose=CasePurpose.OTHER,
        complaint="T-1",
        reason="came by the form",
        actor="ann",
        receive_time=now(),
    ).name
    last_looked(records, 40)
    records.write("UPDATE hook_case SET until = ?", ((now() - timedelta(days=10)).isoformat(),))
    assert cases.get(case).state is CaseState.OPEN
    assert cases.hashes(case)
    believe(records, actor="ann")
    assert cases.get(case).state is CaseState.EXPIRED
    assert not cases.hashes(case)


def test_a_doubt_is_put_on_record_once(records: Records) -> None:
    last_looked(records, 60, "before")
    assert not is_believed(records)
    for _ in range(2):  # set right meanwhile, and started anew
        records.write("UPDATE clock SET time = ?, boot = 'before'", ((now() + timedelta(days=60)).isoformat(),))
        assert not is_believed(records)
    assert [event.kind for event in records.events()] == ["clock.doubted", *["clock.set_back"] * 2]


def test_a_person_ends_the_doubt(records: Records, tmp_path: Path) -> None:
    last_looked(records, 60)
    at_work(records)
    assert forget(records, settings(tmp_path / "hook")) == 0
    believe(records, actor="ann")
    assert forget(records, settings(tmp_path / "hook")) == 1
    assert [(e.kind, e.actor) for e in records.events()][1] == ("clock.believed", "ann")


def test_without_a_look_the_last_event_counts(records: Records) -> None:
    records.note("hub.away", "hub", actor="hook")
    assert is_believed(records)
    records.write("DELETE FROM clock")
    records.write("UPDATE event SET time = ?", (LONG_AGO.isoformat(),))
    assert not is_believed(records)


def test_a_clock_that_goes_back_erases_nothing_early_and_keeps_the_order(records: Records, tmp_path: Path) -> None:
    last_looked(records, -60)
    reference = at_work(records)
    early = at_work(records, at=now() - timedelta(days=364))
    records.note("report.filed", early, actor="ann")
    records.write("UPDATE event SET time = ?", ((now() + timedelta(days=60)).isoformat(),))
    assert forget(records, settings(tmp_path / "hook")) == 1
    assert records.get_upload(reference) is None
    assert records.get_upload(early) is not None
    numbers = [event.number for event in records.events()]
    assert numbers == sorted(numbers) == [1, 2, 3]
    assert [event.subject for event in records.events()] == [early, "clock", reference]
    assert records.events()[1].kind == "clock.set_back"


def test_several_processes_share_one_doubt(records: Records, tmp_path: Path) -> None:
    last_looked(records, 60)
    other = Records(tmp_path / "hook")
    assert not is_believed(records)
    assert not is_believed(other)
    assert [event.kind for event in other.events()] == ["clock.doubted"]
    believe(other, actor="ann")
    assert is_believed(records)
    other.close()


@pytest.mark.parametrize("wrong", [LONG_AGO, datetime(2000, 1, 1, tzinfo=UTC)], ids=["behind", "not set"])
def test_a_row_of_a_clock_that_was_behind_stays_its_time(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: datetime
) -> None:
    assert is_believed(records)
    old = at_work(records, at=LONG_AGO - timedelta(days=30))
    with monkeypatch.context() as behind:
        for module in ("clock", "records"):
            behind.setattr(f"hashhub.desk.{module}.now", lambda: wrong)
        recent = at_work(records, at=wrong)
        records.note("upload.removed", recent, actor="ann")
        decided = at_work(records, at=LONG_AGO - timedelta(days=30))
        records.note("upload.removed", decided, actor="ann")
        is_believed(records)
    is_believed(records)
    believe(records, actor="ann")
    assert forget(records, settings(tmp_path / "hook")) == 1
    left = {reference for (reference,) in records.rows("SELECT reference FROM upload")}
    assert left == {recent, decided}
    assert old not in left


def test_what_was_decided_before_the_machine_was_told_the_time_stays_whatever_was_written_first(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the setting of the clock and the next look at it anything else may be put on record."""
    assert is_believed(records)
    old = at_work(records, at=LONG_AGO - timedelta(days=30))
    decided = at_work(records, at=LONG_AGO - timedelta(days=30))
    with monkeypatch.context() as unset:
        for module in ("clock", "records"):
            unset.setattr(f"hashhub.desk.{module}.now", lambda: datetime(2000, 1, 1, tzinfo=UTC))
        records.note("upload.removed", decided, actor="ann")
        is_believed(records)
    records.note("upload.viewed", old, actor="ann")
    assert is_believed(records)
    assert forget(records, settings(tmp_path / "hook")) == 1
    assert records.get_upload(decided) is not None
    assert records.get_upload(old) is None


def test_what_was_done_before_the_machine_was_told_the_time_may_be_of_now_while_nothing_was_written_since(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    unset = datetime(2000, 1, 1, tzinfo=UTC)
    records.note("case.opened", "C-1", actor="ann")  # before the machine was started anew
    with monkeypatch.context() as wrong:
        wrong.setattr("hashhub.desk.records.now", lambda: unset)
        records.note("case.confirmed", "C-1", actor="ann")
    begin = now()
    assert Times(records).latest(unset, "C-1") >= begin
