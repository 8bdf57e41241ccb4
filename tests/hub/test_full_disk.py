"""A disk that becomes full in the middle of something, wherever that is: all of it is there afterwards, or nothing."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hashhub.config import Config
from hashhub.errors import LimitExceeded, Reason, Unavailable
from hashhub.hub import Hub, Need, contribute
from hashhub.model import ImportState
from hashhub.store import stage
from tests.conftest import PostgreSQL, postgresql_programs
from tests.disks import fill, small_disk
from tests.hub.conftest import OPERATOR, Desk, Stock, item
from tests.hub.test_selections import WITHDRAW, change
from tests.patience import wait_until

OLD, NEW = range(30), range(10, 510)
BOTH, DONE = (0, 5, 10, 29, 30, 250, 509), [10, 29, 30, 250, 509]


def fill_list(desk: Desk) -> None:
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n, external_id=f"x{n}") for n in OLD))
    desk.hub.matcher.compact()


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contribute, "PIECE", 50)
    monkeypatch.setattr(stage, "RUN", 4_000)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 24) as place:
        yield place


def send(desk: Desk) -> Any:
    items = [item(n, external_id=f"x{n}", tags=("new",)) for n in NEW]
    return desk.add(desk.open("alpha/list", replace=True), items[:250], items[250:])


def look(hub: Hub) -> None:
    """Look now what the hub can do, and not once in a few seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hashhub.store.database.ROOM_LOOK_SECONDS", 0.0)
        hub.condition.look()


def check_nothing_moved(desk: Desk, import_id: str) -> None:
    assert desk.known(*BOTH) == [0, 5, 10, 29]
    assert desk.hub.contribute.get(OPERATOR, import_id).state in {ImportState.OPEN, ImportState.COMMITTING}
    assert desk.hub.contribute.findings(OPERATOR, import_id, 10, 0)[0] == []
    assert len(desk.entries("alpha/list")) == len(OLD)
    assert not desk.entries("alpha/list")[0].tags


def check_done(desk: Desk, done: Any) -> None:
    assert (done.state, done.counts.accepted) == (ImportState.COMMITTED, len(NEW))
    assert desk.known(*BOTH) == DONE


@pytest.mark.usefixtures("in_pieces")
def test_a_commit_meets_it_at_any_byte(disk: Path, stock: Stock, tmp_path: Path) -> None:
    made = stock(fill_list)
    made.hub.close()
    failed = 0
    for number in itertools.count():
        data = shutil.copytree(tmp_path / "stocked", disk / str(number))
        config = Config(data=str(data), poll_interval=0.05)
        with Hub.open(config) as hub, Hub.open(config, publisher=False) as other:
            hub.start()
            other.start()
            desk = Desk(hub)
            sent = send(desk)
            filler = fill(disk, leave=number * 96 * 1024)
            try:
                done = desk.commit(sent)
            except LimitExceeded as e:
                assert e.reason is Reason.DISK_FULL
                failed += 1
                for at in (desk, Desk(other)):
                    check_nothing_moved(at, sent.id)
                    look(at.hub)
                    assert Need.ROOM not in at.hub.condition.met()
                filler.unlink()
                look(hub)
                assert Need.ROOM in hub.condition.met()
                done = desk.commit(sent)
            check_done(desk, done)
            wait_until(lambda: Desk(other).known(*BOTH) == DONE)
            with suppress(LimitExceeded):
                hub.matcher.compact()
            check_done(desk, done)
        with Hub.open(config) as hub:
            hub.start()
            check_done(Desk(hub), done)
        filler.unlink(missing_ok=True)
        shutil.rmtree(data)
        if failed < number - 1:
            break
    assert failed >= 3


@pytest.fixture
def small_database(postgresql: Any) -> Iterator[tuple[Path, str]]:
    """A small disk, and a database of PostgreSQL whose tables lie on it."""
    with TemporaryDirectory(prefix="hashhub-disk-") as place, ExitStack() as stack:
        # Its server's user may not look into pytest's directories.
        Path(place).chmod(0o711)
        disk = stack.enter_context(small_disk(Path(place, "disk"), 48))
        tables = disk / "tables"
        tables.mkdir(mode=0o700)
        owner = postgresql.socket_directory.stat()
        os.chown(tables, owner.st_uid, owner.st_gid)
        with postgresql.connect() as c:
            c.execute(f"CREATE TABLESPACE small LOCATION '{tables}'".encode())
            stack.callback(_drop, postgresql)
            c.execute(b"CREATE DATABASE small TABLESPACE small")
        yield disk, postgresql.server.get_uri(database="small").replace("postgresql://", "postgresql+psycopg://")


def _drop(postgresql: Any) -> None:
    with postgresql.connect() as c:
        c.execute(b"DROP DATABASE IF EXISTS small WITH (FORCE)")
        c.execute(b"DROP TABLESPACE small")


@pytest.mark.usefixtures("in_pieces")
def test_so_does_one_into_postgresql(small_database: tuple[Path, str], tmp_path: Path) -> None:
    disk, url = small_database
    with Hub.open(Config(data=str(tmp_path / "data"), database=url, poll_interval=0.05)) as hub:
        hub.start()
        desk = Desk(hub)
        fill_list(desk)
        sent = send(desk)
        failed = 0
        for number in itertools.count():
            filler = fill(disk, leave=number * 16 * 1024)
            try:
                done = desk.commit(sent)
            except LimitExceeded as e:
                assert e.reason is Reason.DISK_FULL
                failed += 1
                check_nothing_moved(desk, sent.id)
                look(hub)
                assert Need.ROOM not in hub.condition.met(), "what is small fits into what the tables have"
                filler.unlink()
            else:
                break
        assert failed >= 3
        filler.unlink()
        check_done(desk, done)
        look(hub)
        assert Need.ROOM in hub.condition.met()


@pytest.fixture
def small_log() -> Iterator[tuple[Path, PostgreSQL]]:
    """A small disk, and a server of PostgreSQL whose log lies on it, and nothing else of it."""
    with TemporaryDirectory(prefix="hashhub-disk-") as place, ExitStack() as stack:
        Path(place).chmod(0o711)
        disk = stack.enter_context(small_disk(Path(place, "disk"), 64))
        server = PostgreSQL()
        stack.callback(server.close)
        with server.connect() as c:
            # What was acknowledged is there after a crash, and nothing makes room in the log by itself.
            for setting in ("synchronous_commit = on", "max_wal_size = '1GB'", "checkpoint_timeout = '1h'"):
                c.execute(f"ALTER SYSTEM SET {setting}".encode())
        server.stop()
        data = server.socket_directory
        owner = data.stat()
        resetwal: list[str | Path] = [postgresql_programs() / "pg_resetwal", "--wal-segsize=1", "-D", data]
        subprocess.run(resetwal, check=True, user=owner.st_uid, group=owner.st_gid, cwd="/", capture_output=True)
        log = Path(shutil.move(data / "pg_wal", disk / "pg_wal"))
        (data / "pg_wal").symlink_to(log)
        for path in (log, *log.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        server.start()
        yield disk, server


@pytest.mark.parametrize("meets", ["batch", "commit"])
def test_the_log_of_postgresql_meets_it(small_log: tuple[Path, PostgreSQL], tmp_path: Path, meets: str) -> None:
    """Depending on what it was writing the server refuses that, or ends itself and does not come up before there is
    room.
    """
    disk, server = small_log
    config = Config(data=str(tmp_path / "data"), database=server.create_database(), poll_interval=0.05)
    with Hub.open(config) as hub:
        hub.start()
        desk = Desk(hub)
        fill_list(desk)
        sent = desk.open("alpha/list", replace=True)
        batches = [
            [item(n, external_id=f"x{n}" * 20) for n in range(first, first + 500)] for first in range(0, 8_000, 500)
        ]
        if meets == "commit":
            sent = desk.add(sent, *batches)
        filler = fill(disk)
        with pytest.raises((LimitExceeded, Unavailable)) as failure:  # noqa: PT012 - whichever write it is
            for batch in batches[sent.batch_count :]:
                sent = desk.add(sent, batch)
            desk.commit(sent, allow_shrinking=True)
        assert failure.value.reason in {Reason.DISK_FULL, Reason.DATABASE_UNAVAILABLE}

        def is_noticed() -> bool:
            fill(disk)  # what the server has given back since
            with suppress(Unavailable):
                look(hub)
            return not hub.condition.met() >= {Need.DATABASE, Need.ROOM}

        wait_until(is_noticed)
        with suppress(Unavailable):  # where the server has ended, nobody is told that nothing is known
            assert desk.known(0, 7_999) == [0]
        filler.unlink()
        server.start()

        def is_well() -> bool:
            with suppress(Unavailable):
                look(hub)
            return hub.condition.met() == set(Need)

        wait_until(is_well)
        assert desk.known(0, 29, 30, 7_999) == [0, 29]
        left = hub.contribute.get(OPERATOR, sent.id)
        assert left.state in {ImportState.OPEN, ImportState.COMMITTING}
        # The batch at which it ended may be there: its answer was lost, and it is sent again.
        assert left.batch_count in {sent.batch_count, sent.batch_count + 1}
        assert len(desk.entries("alpha/list")) == len(OLD)
        sent = desk.add(left, *batches[left.batch_count :])
        done = desk.commit(sent, allow_shrinking=True)
        assert (done.state, done.counts.accepted) == (ImportState.COMMITTED, 8_000)
        assert desk.known(0, 29, 30, 7_999) == [0, 29, 30, 7_999]
        assert hub.condition.met() == set(Need)


def test_a_withdrawal_that_did_not_fit_into_the_log_is_written_down_once_there_is_room(
    disk: Path, sqlite_directory: Path, tmp_path: Path
) -> None:
    """The database is on another disk and has room. A write for which there is some room takes that, and succeeds."""
    database = shutil.move(sqlite_directory / "hashhub.db", tmp_path / "elsewhere.db")
    config = Config(data=str(disk / "data"), database=f"sqlite:///{database}", poll_interval=0.05)
    with Hub.open(config) as hub:
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n, external_id=f"x{n}") for n in range(200)))
    backup = shutil.copy(database, tmp_path / "backup.db")
    with Hub.open(config) as hub:
        hub.start()
        desk = Desk(hub)
        change(desk, OPERATOR, WITHDRAW, hash_set="alpha/list", external_ids=("x0",))
        filler = fill(disk)
        change(desk, OPERATOR, WITHDRAW, hash_set="alpha/list", external_ids=tuple(f"x{n}" for n in range(1, 190)))
        assert desk.known(0, 1, 100, 189, 190) == [190]
        assert [x for x in hub.status(OPERATOR).warnings if "withdrawals.log" in x]
        filler.unlink()
        wait_until(lambda: not hub.status(OPERATOR).warnings)
        change(desk, OPERATOR, WITHDRAW, hash_set="alpha/list", external_ids=("x190",))
    for path in tmp_path.glob("elsewhere.db*"):
        path.unlink()
    shutil.copy(backup, database)
    with Hub.open(config) as hub:
        hub.start()
        assert Desk(hub).known(0, 1, 100, 189, 190, 191) == [191]
