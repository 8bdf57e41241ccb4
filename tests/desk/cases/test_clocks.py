"""By when something is due, and whether it was done by then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hashhub.desk.cases.clocks import ClockState, rules
from hashhub.desk.cases.item import CaseItem
from hashhub.desk.cases.life import CaseOutcome, Cases, Scan
from tests.desk.cases.parts import opened


class TestClocks:
    def test_rules_have_a_source_and_a_time_or_say_that_there_is_none(self) -> None:
        for rule in rules().values():
            assert rule.source
            assert rule.text
            assert rule.hours is None or rule.hours in {24, 48}
            if rule.hours is None:
                assert "No number of hours" in rule.text

    def test_the_clock_runs_from_when_the_complaint_came(self, cases: Cases, item: CaseItem) -> None:
        came = datetime.now(UTC) - timedelta(hours=47)
        case = opened(cases, item, receive_time=came, by_rules=("us-take-it-down", "eu-dsa-16"))
        [us, eu] = case.clocks
        assert us.due is not None
        assert abs(us.due - came - timedelta(hours=48)) < timedelta(seconds=1)
        assert (us.standing, eu.due, eu.standing) == (ClockState.RUNNING, None, ClockState.NO_NUMBER)
        late = opened(cases, item, receive_time=came - timedelta(hours=2))
        assert [c.standing for c in late.clocks] == [ClockState.OVERDUE]
        assert any("was due at" in line for line in cases.record(late.name).missing)

    def test_what_was_done_in_time_stays_so_when_it_is_looked_at_and_said_again(
        self, cases: Cases, item: CaseItem
    ) -> None:
        came = datetime.now(UTC) - timedelta(hours=47)
        case = opened(cases, item, receive_time=came, places=("a",))
        cases.confirm(case.name, actor="bob", reason="looked")

        def look(hours: float, unread: int = 0) -> None:
            at = came + timedelta(hours=hours)
            cases.copies.add_scan(
                case.name,
                Scan(place="archive", begin_time=at, end_time=at, looked=1, unread=unread, copies=0),
                actor="bob",
            )

        def standing() -> ClockState:
            return cases.get(case.name).clocks[0].standing

        look(2)
        assert standing() is ClockState.RUNNING, "a copy is there"
        assert cases.taken_down(case.name, ("a",), actor="bob", reason="deleted") == 1
        assert standing() is ClockState.MET
        gone = cases.copies.listed(case.name)
        assert cases.taken_down(case.name, ("a",), actor="eve", reason="told twice") == 0
        assert cases.copies.listed(case.name) == gone
        look(200)
        assert standing() is ClockState.MET, "nothing was found in that look"
        assert cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done").is_complete
        look(300, unread=1)
        look(400)
        assert standing() is ClockState.OVERDUE, "what could not be read may have been there"

    def test_where_no_copy_was_found_the_look_is_what_was_to_be_done(self, cases: Cases, item: CaseItem) -> None:
        case = opened(cases, item)
        at = datetime.now(UTC)
        cases.confirm(case.name, actor="bob", reason="looked")
        cases.copies.add_scan(
            case.name, Scan(place="archive", begin_time=at, end_time=at, looked=1, unread=0, copies=0), actor="bob"
        )
        assert [clock.standing for clock in cases.get(case.name).clocks] == [ClockState.MET]
