"""The hook's own database."""

from __future__ import annotations

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from hashhub.desk.records import FILE_NAME, Records, UploadState
from hashhub.errors import DataLoss, FailedPrecondition, InvalidArgument, LimitExceeded
from hashhub.hook import Action, Decision, DecisionRecord
from hashhub.model import Verdict, now


def checked(reference: str) -> DecisionRecord:
    decision = Decision(action=Action.BLOCK, verdict=Verdict.MATCH, reasons=(), reference=reference)
    return DecisionRecord(decision=decision, time=now(), door="test")


def test_counts_by_state_are_those_of_the_rows(tmp_path: Path) -> None:
    records = Records(tmp_path / "hook")
    for i in range(20):
        records.add_upload(checked(str(i)), list(UploadState)[i % 3], max_records=100)
    for i in range(0, 20, 4):
        records.set_upload(UploadState.REMOVED, checked(str(i)))
    records.write("DELETE FROM upload WHERE reference IN ('1', '4')")
    counted = Counter(state for (state,) in records.rows("SELECT state FROM upload"))
    assert {state: records.count(state) for state in UploadState} == {state: counted[state] for state in UploadState}
    records.close()


def test_several_share_one_chain(tmp_path: Path) -> None:
    several = [Records(tmp_path / "hook") for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                lambda i: several[i % 4].add_upload(checked(str(i)), UploadState.BLOCKED, max_records=1000), range(80)
            )
        )
        list(threads.map(lambda i: several[i % 4].tally({("d", "api", "ALLOW", "NO_MATCH", ""): 1}), range(40)))
    assert several[0].verify() == 80
    assert several[1].count(UploadState.BLOCKED) == 80
    assert several[2].rows("SELECT count FROM tally") == [(40,)]
    for records in several:
        records.close()


def test_a_refused_upload_leaves_no_event(tmp_path: Path) -> None:
    records = Records(tmp_path / "hook")
    records.add_upload(checked("1"), UploadState.HELD, max_records=1)
    with pytest.raises(LimitExceeded):
        records.add_upload(checked("2"), UploadState.BLOCKED, max_records=1)
    records.add_upload(checked("3"), UploadState.UNANSWERED, max_records=1)
    assert [event.subject for event in records.events()] == ["1", "3"]
    records.close()


def test_an_event_that_was_taken_out_shows(tmp_path: Path) -> None:
    records = Records(tmp_path / "hook")
    for i in range(3):
        records.add_upload(checked(str(i)), UploadState.HELD, max_records=9)
    assert records.verify() == 3
    records.write("DELETE FROM event WHERE number = 2")
    with pytest.raises(DataLoss):
        records.verify()
    records.close()


def test_a_directory_that_others_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(InvalidArgument, match="chmod 700"):
        Records(tmp_path / "open")
    records = Records(tmp_path / "hook")
    records.close()
    assert (tmp_path / "hook" / FILE_NAME).stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    (tmp_path / "hook").mkdir(mode=0o700)
    (tmp_path / "hook" / FILE_NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(DataLoss):
        Records(tmp_path / "hook")
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / "hook" / FILE_NAME).execute("SELECT 1 FROM meta")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE meta SET schema_version = 2", "version 2"),
        ("DELETE FROM meta", "no hook's"),
        ("DROP TABLE meta", "no hook's"),
        ("ALTER TABLE upload ADD COLUMN colour TEXT", "other tables"),
        ("DROP TRIGGER upload_out", "other tables"),
        ("DROP TABLE proposal", "other tables"),
        ("CREATE TABLE further (name TEXT)", "other tables"),
    ],
)
def test_records_of_another_layout_are_refused_and_left_as_they_are(tmp_path: Path, change: str, said: str) -> None:
    Records(tmp_path / "hook").close()
    path = tmp_path / "hook" / FILE_NAME
    with closing(sqlite3.connect(path)) as db:
        db.execute(change)
        db.commit()
        db.execute("PRAGMA journal_mode = DELETE")
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=said):
            Records(tmp_path / "hook")
    assert path.read_bytes() == before


def test_records_that_somebody_analysed_are_read(tmp_path: Path) -> None:
    Records(tmp_path / "hook").close()
    with closing(sqlite3.connect(tmp_path / "hook" / FILE_NAME)) as db:
        db.execute("ANALYZE")
    Records(tmp_path / "hook").close()


def test_another_program_s_database_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "hook").mkdir(mode=0o700)
    path = tmp_path / "hook" / FILE_NAME
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE song (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(FailedPrecondition, match="another data directory"):
        Records(tmp_path / "hook")
    assert path.read_bytes() == before


def test_several_that_open_an_empty_directory_make_one_layout(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        several = list(threads.map(lambda _: Records(tmp_path / "hook"), range(8)))
    several[0].add_upload(checked("1"), UploadState.HELD, max_records=9)
    assert {records.count(UploadState.HELD) for records in several} == {1}
    for records in several:
        records.close()
