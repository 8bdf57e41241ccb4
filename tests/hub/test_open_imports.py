"""A contributor who opens imports and sends records for ever, and one who merely forgets."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hashhub import cancellation
from hashhub.errors import LimitExceeded, Reason, Unavailable
from hashhub.model import Finding, ImportState
from tests.hub.conftest import OPERATOR, Desk, item, writer

if TYPE_CHECKING:
    from tests.hub.conftest import Open


def test_who_opens_imports_and_sends_for_ever_is_stopped_and_stops_nobody(open_hub: Open) -> None:
    desk = Desk(open_hub(max_open_imports=5, max_staged_bytes=20_000))
    for name in ("hostile/list", "honest/list"):
        desk.hash_set(name)
    refused: set[tuple[Reason, str]] = set()
    sent = 0
    opened = [desk.open("hostile/list") for _ in range(5)]
    with pytest.raises(LimitExceeded) as caught:
        desk.open("hostile/list")
    refused.add((caught.value.reason, caught.value.metadata["share"]))
    for number in range(1_000):
        try:
            import_ = opened[number % 5]
            desk.hub.contribute.add(writer("hostile"), import_.id, number // 5, [item(number)], [])
            sent += 1
        except LimitExceeded as e:
            refused.add((e.reason, e.metadata["share"]))
            break
    assert refused == {(Reason.SHARE_EXCEEDED, "open_imports"), (Reason.SHARE_EXCEEDED, "staged_bytes")}
    assert 10 < sent < 500
    assert desk.contribute("honest/list", item(1)).counts.accepted == 1
    # What it sent it can still commit, and has room again then.
    count = desk.hub.contribute.get(writer("hostile"), opened[0].id).batch_count
    done = desk.hub.contribute.commit(writer("hostile"), opened[0].id, batch_count=count)
    assert done.counts.accepted == count
    desk.open("hostile/list")


def test_a_forgotten_import_ends_and_everybody_is_told(open_hub: Open, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(open_hub(start=False))
    desk.hash_set("alpha/list")
    forgotten = desk.open("alpha/list")
    desk.hub.contribute.add(writer("alpha"), forgotten.id, 0, [item(n) for n in range(7)], [])
    housekeeping = desk.hub.housekeeping
    assert housekeeping is not None
    housekeeping.round()
    assert desk.hub.contribute.get(OPERATOR, forgotten.id).state is ImportState.OPEN
    time.sleep(0.01)
    housekeeping.open_import_time = timedelta(0)
    with caplog.at_level(logging.WARNING):
        housekeeping.round()
    assert f"{forgotten.id} into alpha/list has expired: its 7 records" in caplog.text
    assert desk.hub.contribute.get(writer("alpha"), forgotten.id).state is ImportState.CANCELLED
    (finding,), _ = desk.hub.contribute.findings(writer("alpha"), forgotten.id, 10, 0)
    assert isinstance(finding, Finding)
    assert "the 7 records of its 1 batches" in finding.detail
    assert any("7 records that were never committed" in w for w in desk.hub.status(OPERATOR).warnings)
    events, _ = desk.hub.history.list(OPERATOR, f"imports/alpha/list/{forgotten.id}", "", None, 10, 0)
    assert [(e.kind, e.facts["items"]) for e in events] == [("IMPORT_EXPIRED", 7)]
    assert desk.contribute("alpha/list", *(item(n) for n in range(7))).counts.accepted == 7


class TestCancellation:
    def test_outside_of_a_call_work_goes_on(self) -> None:
        cancellation.check()

    def test_a_call_ends_when_its_caller_goes_or_its_time_is_over(self) -> None:
        wanted = [True]
        with cancellation.scope(lambda: wanted[0], 60.0):
            cancellation.check()
            wanted[0] = False
            with pytest.raises(Unavailable) as caught:
                cancellation.check()
            assert caught.value.reason is Reason.CALLER_GONE
        cancellation.check()
        with cancellation.scope(lambda: True, -1.0), pytest.raises(Unavailable) as late:
            cancellation.check()
        assert late.value.reason is Reason.DEADLINE_EXCEEDED

    def test_a_commit_that_is_not_wanted_leaves_nothing(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """At whichever of its looks the caller has gone."""
        desk.hash_set("alpha/list")
        monkeypatch.setattr("hashhub.hub.contribute.PIECE", 5)
        looks = 0
        for allowed in range(100):
            opened = desk.open("alpha/list", source=f"source {allowed}")
            for index in range(3):
                batch = [item(100 * allowed + 10 * index + n) for n in range(5)]
                desk.hub.contribute.add(writer("alpha"), opened.id, index, batch, [])
            left = [allowed]

            def is_wanted(left: list[int] = left) -> bool:
                left[0] -= 1
                return left[0] >= 0

            before = _active(desk)
            try:
                with cancellation.scope(is_wanted):
                    desk.hub.contribute.commit(writer("alpha"), opened.id, batch_count=3)
            except Unavailable:
                assert _active(desk) == before
                looks += 1
                desk.hub.contribute.commit(writer("alpha"), opened.id, batch_count=3)
            else:
                break
        assert looks >= 5
        assert _active(desk) == 15 * (looks + 1)


def _active(desk: Desk) -> int:
    entries: list[Any] = []
    after = 0
    while True:
        page, after = desk.hub.entries.list(OPERATOR, "alpha", "list", (), 1000, after)
        entries += page
        if not after:
            return len(entries)
