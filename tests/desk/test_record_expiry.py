"""Rows of decided uploads go once nothing needs them, some at a time; what was done, and what is counted, stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import item_of_hashes
from hashhub.desk.cases.life import CaseOutcome, Cases
from hashhub.desk.evidence import collect, draw_sample, sampled
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue, RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.desk.rounds import PendingQuestion, QueueRounds, forget
from hashhub.desk.settings import CaseSettings, RecordsSettings
from hashhub.errors import DataLoss, InvalidArgument, NotFound
from hashhub.hashes import Hash
from hashhub.hook import Action, HookSettings, NoAnswer
from hashhub.model import Query, ReasonLine, Verdict, now
from tests.desk.cases.parts import Fixed
from tests.hook.conftest import HELD
from tests.hook.waiting import checked, hit, put

RULINGS = {"REMOVED": "CONFIRM", "RELEASED": "RELEASE"}
LONG_AGO = now() - timedelta(days=400)


def settings(directory: Path, keep_days: int = 365) -> HookSettings:
    return HookSettings(
        policy="block", without_answer=HELD, data=str(directory), records=RecordsSettings(keep_days=keep_days)
    )


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(tmp_path / "hook")
    forget(records, settings(tmp_path / "hook"))  # the clock was looked at
    yield records
    records.close()


def at_work(records: Records, *, at: datetime = LONG_AGO, state: str = "REMOVED", **given: Any) -> str:
    """Put an upload that was decided over long ago, and return its reference."""
    one = checked(hit("police-nl/known/1"), time=at, upload_id="alice/photo-7", **given)
    put(records, one, state)
    if state in RULINGS:
        records.write(
            "INSERT INTO ruling (reference, ruling, code, comment, actors, time) VALUES (?, ?, '', '', 'ann', ?)",
            (one.decision.reference, RULINGS[state], at.isoformat()),
        )
    return one.decision.reference


def test_a_row_goes_and_what_was_done_stays(records: Records, tmp_path: Path) -> None:
    queue = ReviewQueue(records, settings(tmp_path / "hook"))
    gone = [at_work(records), at_work(records, state="RELEASED")]
    recent = at_work(records, at=now() - timedelta(days=364))
    waiting = [at_work(records, state=state) for state in ("HELD", "BLOCKED", "UNANSWERED")]
    before = collect(records, settings(tmp_path / "hook"), None)
    assert forget(records, settings(tmp_path / "hook", keep_days=0)) == 0, "nothing is deleted unless it is chosen"
    assert forget(records, settings(tmp_path / "hook"), actor="account:root") == 2
    assert {reference for (reference,) in records.rows("SELECT reference FROM upload")} == {recent, *waiting}
    for reference in gone:
        with pytest.raises(NotFound):
            queue.get(reference)
        [event] = records.events(subject=reference)
        assert (event.kind, event.actor) == ("upload.forgotten", "account:root")
    after = collect(records, settings(tmp_path / "hook"), None)
    assert (after.precision, after.recognised_by, after.rulings) == (
        before.precision, before.recognised_by, before.rulings
    )  # fmt: skip
    assert after.precision[0].decided == 3
    assert (before.forgotten, after.forgotten) == (0, 2)
    assert records.verify() == len(records.events())
    assert records.count(*UploadState) == 4
    assert forget(records, settings(tmp_path / "hook")) == 0


def test_no_personal_data_of_an_upload_is_left_in_the_file(records: Records, tmp_path: Path) -> None:
    reference = at_work(records, hashes=(Hash("SHA256", bytes(range(32))),))
    ReviewQueue(records, settings(tmp_path / "hook")).get(reference, actor="ann")
    assert forget(records, settings(tmp_path / "hook")) == 1
    records.close()
    content = b"".join(path.read_bytes() for path in (tmp_path / "hook").iterdir())
    assert reference.encode() in content
    assert b"alice" not in content
    assert bytes(range(32)) not in content


def test_a_row_that_cannot_be_read_keeps_no_other_from_going(records: Records, tmp_path: Path) -> None:
    due, damaged = at_work(records), at_work(records, state="HELD")
    records.write("UPDATE upload SET checked = x'c1' WHERE reference = ?", (damaged,))
    rounds = QueueRounds(records, settings(tmp_path / "hook"), Fixed(Verdict.NO_MATCH))
    with pytest.raises(DataLoss):  # the background thread logs it, and goes on
        rounds.round()
    assert records.get_upload(due) is None


def _in_vault(records: Records, reference: str, erased: str | None = None) -> None:
    records.write(
        "INSERT INTO vault_item VALUES (?, ?, 1, ?, 'k', ?, ?)",
        (f"name-{reference}", reference, LONG_AGO.isoformat(), None if erased else b"k", erased),
    )


def _drawn(records: Records, reference: str) -> None:
    draw_sample(records, "q1", size=1, seed=1, actor="ann")
    assert sampled(records, "q1") == [(reference, "REMOVED")]
    records.write("UPDATE event SET time = ?", (LONG_AGO.isoformat(),))


def _asked(records: Records, reference: str) -> None:
    pending = PendingQuestion(query=Query(hashes=()), if_unknown=Action.HOLD, cause=NoAnswer.HUB_AWAY)
    records.write("INSERT INTO recheck VALUES (?, 0, 0, ?)", (reference, msgspec.msgpack.encode(pending)))


NEEDED: dict[str, Callable[[Records, str], object]] = {
    "the vault has it": _in_vault,
    "a legal hold": lambda r, ref: r.write("INSERT INTO legal_hold VALUES (?, 'c', 'ann', 'r', '')", (ref,)),
    "a sample": _drawn,
    "a proposal": lambda r, ref: r.write("INSERT INTO proposal VALUES (?, 'ann', 'OTHER', '', x'', '')", (ref,)),
    "an answer": _asked,
    "to be published": lambda r, ref: r.write("INSERT INTO bucket_to_release VALUES (?)", (ref,)),
    "a review": lambda r, ref: r.write(
        "INSERT INTO feedback (reference, entry, kind, comment, request_id, state, detail, time) "
        "VALUES (?, 'e', 'CONFIRMED', '', 'i', 'QUEUED', '', '')", (ref,)
    ),
    "a report since": lambda r, ref: r.note("report.filed", ref, actor="ann"),
}  # fmt: skip


@pytest.mark.parametrize("why", NEEDED)
def test_what_is_still_needed_stays(records: Records, tmp_path: Path, why: str) -> None:
    needed = at_work(records)
    NEEDED[why](records, needed)
    other = at_work(records)
    _in_vault(records, other, erased=LONG_AGO.isoformat())
    assert forget(records, settings(tmp_path / "hook")) == 1
    assert records.get_upload(needed) is not None
    assert records.get_upload(other) is None


def test_what_an_unclosed_case_is_about_stays_until_it_is_closed(records: Records, tmp_path: Path) -> None:
    cases = Cases(records, CaseSettings())

    def case(digest: Hash) -> str:
        return cases.open(
            item_of_hashes([digest]), purpose=CasePurpose.OTHER, complaint="T", reason="r", actor="ann",
            receive_time=datetime.now(UTC),
        ).name  # fmt: skip

    digest = Hash("MD5", bytes(range(16)))
    opened = case(digest)
    stopped_by = case(Hash("MD5", bytes(range(1, 17))))
    about = at_work(records, hashes=(digest,))  # decided before the case was opened
    one = checked(hit("police-nl/known/1"), verdict=Verdict.REVIEW, time=LONG_AGO)
    line = ReasonLine(code="CASE_HOLD", clause=stopped_by)
    stopped = put(
        records,
        msgspec.structs.replace(one, decision=msgspec.structs.replace(one.decision, reasons=(line,))),
        "REMOVED",
    )
    assert forget(records, settings(tmp_path / "hook")) == 0
    cases.close(stopped_by, CaseOutcome.REJECTED, actor="ann", reason="r")
    assert forget(records, settings(tmp_path / "hook")) == 1
    assert records.get_upload(stopped) is None
    assert records.get_upload(about) is not None
    cases.close(opened, CaseOutcome.WITHDRAWN, actor="ann", reason="r")
    assert forget(records, settings(tmp_path / "hook")) == 1


def test_a_decision_that_is_taken_back_meanwhile_counts(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = at_work(records)
    real = forget.__globals__["_delete"]

    def late(*given: Any) -> Any:
        etag = ReviewQueue(records, settings(tmp_path / "hook")).get(reference).etag
        rulings = Rulings(records, settings(tmp_path / "hook"))
        rulings.release(reference, code=RulingCode.DIFFERENT_PICTURE, actor="bob", etag=etag)
        return real(*given)

    monkeypatch.setitem(forget.__globals__, "_delete", late)
    assert forget(records, settings(tmp_path / "hook")) == 0
    assert records.get_upload(reference) is not None


def fill(records: Records, count: int, *, stays: int) -> None:
    """Put `count` uploads that were decided over long ago; all but each `stays`-th are in a sample."""
    blob = msgspec.msgpack.encode(checked(hit("police-nl/known/1"), time=LONG_AGO))
    with records.transaction():
        for number in range(count):
            state = ("REMOVED", "RELEASED")[number % 2]
            reference = f"{number:020x}"
            at = (LONG_AGO + timedelta(seconds=number)).isoformat()
            records.write("INSERT INTO upload VALUES (?, ?, ?, 'api', 'a', ?)", (reference, at, state, blob))
            if number % stays:
                records.write("INSERT INTO evidence_sample VALUES ('s', ?, 0)", (reference,))


SWEEP = """
import sys
from pathlib import Path
from hashhub.desk.rounds import forget
from hashhub.desk.records import Records
from tests.desk.test_record_expiry import settings
directory = Path(sys.argv[1])
forget(Records(directory), settings(directory), is_wanted=lambda: bool(sys.stdin.readline()))  # a piece for each line
"""


@pytest.mark.timeout(240)
def test_uploads_go_on_beside_a_sweep_of_100_000_rows_and_a_killed_one_is_continued(
    records: Records, tmp_path: Path
) -> None:
    fill(records, 100_000, stays=50)
    due = 2_000
    command = [sys.executable, "-c", SWEEP, str(tmp_path / "hook")]
    sweep = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, bufsize=0)
    assert sweep.stdin is not None
    added = 0
    while records.count(UploadState.REMOVED, UploadState.RELEASED) > 100_000 - due // 4:
        assert sweep.poll() is None
        if added < 33:  # through all that were released, of which none is due, and a third of the others: no further
            sweep.stdin.write(b"\n" * 20)
        # It raises when it has waited for five seconds.
        records.add_upload(checked(hit("police-nl/known/1")), UploadState.BLOCKED, max_records=100_000)
        added += 1
        time.sleep(0.02)
    sweep.send_signal(signal.SIGKILL)
    sweep.wait(180)
    sweep.stdin.close()
    assert added >= 30
    done = due - (records.count(UploadState.REMOVED, UploadState.RELEASED) - 98_000)
    assert 0 < done < due
    assert forget(records, settings(tmp_path / "hook")) == due - done
    events = [event.kind for event in records.events()]
    assert events.count("upload.forgotten") == due
    assert records.rows("SELECT count FROM forgotten WHERE what = 'UPLOADS'") == [(due,)]
    assert records.count(UploadState.BLOCKED) == added == events.count("upload.blocked")
    assert records.verify() == len(events)


def test_it_ends_between_two_pieces(records: Records, tmp_path: Path) -> None:
    fill(records, 1_000, stays=1)
    answers = iter([True, True, False])
    count = forget(records, settings(tmp_path / "hook"), is_wanted=lambda: next(answers, False))
    assert count == 200


def test_a_negative_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"records\.keep_days"):
        settings(tmp_path, keep_days=-1)
