"""That a change to the records is seen at once, whoever made it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hashhub.desk.records import FILE_NAME, Records
from hashhub.errors import FailedPrecondition, HashHubError

WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.stdin:
    db.execute(statement).fetchall()
    print(flush=True)
"""
COUNT = "INSERT INTO tally VALUES ('d', 'api', 'ALLOW', 'NO_MATCH', '', 1) ON CONFLICT DO UPDATE SET count = count + 1"
STATEMENTS = (COUNT, "SELECT * FROM tally", "BEGIN", COUNT, "COMMIT", COUNT, "PRAGMA wal_checkpoint(RESTART)")


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def done_by(process: subprocess.Popen[str], statement: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(statement + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "\n"


def test_each_commit_of_another_process_is_seen_at_once(records: Records, tmp_path: Path) -> None:
    path = tmp_path / "hook" / FILE_NAME
    with writer(path) as process, closing(sqlite3.connect(path, isolation_level=None)) as oracle:
        version, asked = records.version(), oracle.execute("PRAGMA data_version").fetchone()
        for number in range(300):
            statement = STATEMENTS[number % len(STATEMENTS)]
            done_by(process, statement)
            before, version = version, records.version()
            asked_before, asked = asked, oracle.execute("PRAGMA data_version").fetchone()
            if asked != asked_before:
                assert version != before, statement
            elif not statement.startswith("PRAGMA"):  # a journal that begins anew may show
                assert version == before, statement
            assert version == records.version()
        assert records.rows("SELECT count FROM tally") != []


def test_what_is_written_here_is_seen_before_it_is_committed(records: Records) -> None:
    before = records.version()
    with records.transaction():
        records.write(COUNT)
        within = records.version()
        assert within != before
    assert records.version() != before
    after = records.version()
    with contextlib.suppress(ZeroDivisionError), records.transaction():
        records.write(COUNT)
        raise ZeroDivisionError
    assert records.rows("SELECT count FROM tally") == [(1,)]
    assert records.version() != after  # rather once too often


def test_another_connection_of_this_process_is_seen_and_may_be_closed(records: Records, tmp_path: Path) -> None:
    before = records.version()
    with closing(Records(tmp_path / "hook")) as other:
        assert records.version() == before
        other.write(COUNT)
        assert records.version() != before
        before = records.version()
    assert records.version() == before
    with writer(tmp_path / "hook" / FILE_NAME) as process:
        done_by(process, COUNT)
    assert records.version() != before


def test_closing_takes_nothing_from_under_who_reads(tmp_path: Path) -> None:
    for number in range(20):
        records = Records(tmp_path / str(number))
        is_reading, outcomes = threading.Event(), []

        def read(records: Records = records, is_reading: threading.Event = is_reading) -> None:
            try:
                while True:
                    records.version()
                    is_reading.set()
            except HashHubError as e:
                outcomes.append(e)  # noqa: B023 - joined below

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert is_reading.wait(60)
        records.close()
        for thread in threads:
            thread.join(60)
        assert len(outcomes) == 3


def test_behind_a_fork_nothing_is_read(records: Records) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            records.version()
        except FailedPrecondition:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
