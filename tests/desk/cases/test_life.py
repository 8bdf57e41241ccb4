"""Which steps a case takes, by whom, and what is done with copies meanwhile."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.index import CaseIndex
from hashhub.desk.cases.item import CaseItem
from hashhub.desk.cases.life import Case, CaseOutcome, Cases, CaseState
from hashhub.desk.cases.page import page
from hashhub.desk.records import Records
from hashhub.desk.settings import CaseSettings
from hashhub.errors import InvalidArgument, LimitExceeded, PermissionDenied
from hashhub.hook import Action
from tests.desk.cases.parts import SEED, opened, query
from tests.hook.conftest import jpeg


class TestActions:
    def test_a_complaint_holds_and_a_person_blocks(self, cases: Cases, item: CaseItem) -> None:
        case = opened(cases, item)
        assert case.action is Action.HOLD
        assert cases.confirm(case.name, actor="bob", reason="looked").action is Action.BLOCK
        assert cases.dispute(case.name, actor="bob", reason="a news photograph", by="U-7").action is Action.HOLD
        assert cases.close(case.name, CaseOutcome.REJECTED, actor="bob", reason="news").case.action is Action.ALLOW
        assert cases.hashes(case.name) == []
        assert not CaseIndex(cases).hits(query(jpeg(SEED)))

    def test_an_open_index_learns_of_every_step(self, cases: Cases, item: CaseItem) -> None:
        index = CaseIndex(cases)
        known = query(jpeg(SEED))
        assert index.hits(known) == []
        case = opened(cases, item)
        assert [h.action for h in index.hits(known)] == [Action.HOLD]
        cases.confirm(case.name, actor="bob", reason="looked")
        assert [h.action for h in index.hits(known)] == [Action.BLOCK]
        cases.close(case.name, CaseOutcome.WITHDRAWN, actor="bob", reason="asked for")
        assert index.hits(known) == []

    def test_an_upheld_case_goes_on_stopping(self, cases: Cases, item: CaseItem) -> None:
        case = opened(cases, item)
        cases.confirm(case.name, actor="bob", reason="looked")
        record = cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="gone", incomplete=True)
        assert not record.is_complete
        assert "nothing that was uploaded before was looked through" in record.missing
        assert [h.action for h in CaseIndex(cases).hits(query(jpeg(SEED)))] == [Action.BLOCK]

    def test_nobody_is_silenced_for_ever_by_a_complaint_that_nobody_reads(
        self, records: Records, cases: Cases, item: CaseItem
    ) -> None:
        case = opened(cases, item)
        index = CaseIndex(cases)
        assert index.hits(query(jpeg(SEED)))
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        records.write("UPDATE hook_case SET until = ?, change = change + 1 WHERE id = ?", (past, case.name))
        assert not index.hits(query(jpeg(SEED))), "before anybody has noted it"
        assert not index.has_cases()
        assert not index.reads_frames()
        assert cases.get(case.name).state is CaseState.EXPIRED
        assert cases.hashes(case.name) == []
        assert [e.kind for e in records.events(subject=case.name)] == ["case.opened", "case.expired"]

    def test_who_may_work_on_cases(self, records: Records, item: CaseItem) -> None:
        cases = Cases(records, CaseSettings(people=("ann", "bob"), two_persons=True))
        with pytest.raises(PermissionDenied):
            opened(cases, item, actor="mallory")
        case = opened(cases, item)
        with pytest.raises(PermissionDenied, match="another person"):
            cases.confirm(case.name, actor="ann", reason="mine")
        with pytest.raises(PermissionDenied):
            cases.confirm(case.name, actor="mallory", reason="theirs")
        assert cases.get(case.name).state is CaseState.OPEN
        cases.confirm(case.name, actor="bob", reason="looked")

    def test_a_flood_of_complaints_is_bounded(self, records: Records, item: CaseItem) -> None:
        cases = Cases(records, CaseSettings(max_open=2))
        first = opened(cases, item)
        opened(cases, item)
        with pytest.raises(LimitExceeded, match="max_open"):
            opened(cases, item)
        cases.close(first.name, CaseOutcome.REJECTED, actor="ann", reason="no")
        opened(cases, item)

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"reason": " "}, "reason"),
            ({"reason": "a\x1b[2J"}, "reason"),
            ({"complaint": "x" * 201}, "complaint"),
            ({"receive_time": datetime(2026, 1, 1)}, "received"),  # noqa: DTZ001 - that is the fault
            ({"receive_time": datetime.now(UTC) + timedelta(days=1)}, "received"),
            ({"by_rules": ("none",)}, "rule"),
            ({"by_rules": ()}, "rule"),
            ({"by_rules": ("us-take-it-down",), "purpose": CasePurpose.CSAM}, "rule"),
        ],
    )
    def test_a_case_that_makes_no_sense_is_refused(
        self, records: Records, cases: Cases, item: CaseItem, given: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidArgument, match=field):
            opened(cases, item, **given)
        assert records.events() == []

    def test_every_step_is_an_event_without_digests(self, records: Records, cases: Cases, item: CaseItem) -> None:
        case = opened(cases, item, places=("https://example.invalid/1",))
        cases.confirm(case.name, actor="bob", reason="looked")
        cases.taken_down(case.name, (), actor="bob", reason="deleted")
        cases.close(case.name, CaseOutcome.UPHELD, actor="bob", reason="done", incomplete=True)
        events = records.events(subject=case.name)
        assert [(e.kind, e.actor) for e in events] == [
            ("case.opened", "ann"),
            ("case.confirmed", "bob"),
            ("case.copies_removed", "bob"),
            ("case.closed", "bob"),
        ]
        assert records.verify() == 4
        told = str(events) + page(cases.record(case.name))
        assert not any(h.digest.hex() in told for h, _ in item.hashes)


def test_who_confirms_while_another_closes_revives_no_case(
    cases: Cases, records: Records, item: CaseItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would say that it blocks copies, and have no hash by which it could."""
    case = opened(cases, item)
    has_read = threading.Event()
    get = cases.get

    def slowly(name: str) -> Case:
        read = get(name)
        has_read.set()
        time.sleep(0.5)
        return read

    monkeypatch.setattr(cases, "get", slowly)
    confirming = threading.Thread(
        target=lambda: cases.confirm(case.name, actor="bob", reason="it is so"), name="confirming"
    )
    confirming.start()
    assert has_read.wait(180)
    other_records = Records(tmp_path / "hook")
    other = Cases(other_records, CaseSettings())
    other.close(case.name, CaseOutcome.REJECTED, actor="ann", reason="it is not so")
    confirming.join()
    left = other.get(case.name)
    assert (left.state, left.outcome, left.action) == (CaseState.CLOSED, CaseOutcome.REJECTED, Action.ALLOW)
    assert [event["kind"] for event in other.record(case.name).history][-1] == "case.closed"
    other_records.close()
