"""What happens when a process dies, a disk fills up, a server goes away, or a database is not what it should be."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from hashhub.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    Reason,
    Unavailable,
)
from hashhub.model import Contributor, ContributorKind, Counts, EntryState, ImportState, id_in_set
from hashhub.server.exposure import lock_data
from hashhub.store import Store, drivers
from hashhub.store import database as database_module
from hashhub.store import stage as module
from hashhub.store.schema import SCHEMA_VERSION, tables
from tests import disks

_FIRST = id_in_set(1, 1)  # of the first hash set
_SPAWN = multiprocessing.get_context("spawn")

# A process that stages entries until it is killed, saying so after each piece.
_WRITER = """
import sys
from hashhub.hashes import Hash
from hashhub.model import EntryState, Record
from hashhub.store import Store
from tests.rows import EntryRow, pack_entries
from hashhub.store import stage as module

module.RUN = int(sys.argv[3])
store = Store.open(sys.argv[1])
store.commits.begin_commit(sys.argv[2])
n = 500
while True:
    first = store.stage.allocate_entries(sys.argv[2], n)
    store.stage.stage_entries(sys.argv[2], pack_entries([
        EntryRow(i, EntryState.ACTIVE, Record(position="", hashes=(Hash("MD5", i.to_bytes(16, "big")),)))
        for i in range(first, first + n)
    ]))
    print(first, flush=True)
"""


@pytest.mark.parametrize("run", [1, 10**9])
def test_a_killed_commit_leaves_nothing_visible_and_can_begin_again(database: str, fill: Any, run: int) -> None:
    store = Store.open(database)
    fill.register(store)
    opened = store.imports.create_import(fill.new())
    store.imports.put_batch(opened.id, 0, b"batch")
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, database, opened.id, str(run)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(4):
            assert writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
    store.close()

    store = Store.open(database)
    assert store.imports.get_import(opened.id).state is ImportState.COMMITTING
    assert store.entries.get_entries(range(_FIRST, _FIRST + 10_000)) == {}
    assert store.entries.entry_count("alpha", "list") == 0
    assert list(store.imports.batches(opened.id)) == [b"batch"]
    store.leases.expire_leases()
    store.commits.begin_commit(opened.id)
    assert list(store.feeds.all_digests()) == []
    ids = fill.stage(store, opened.id, [1, 2])
    assert store.commits.finish_commit(opened.id, counts=Counts()).state is ImportState.COMMITTED
    assert store.entries.get_entries(range(_FIRST, ids[-1] + 1)).keys() == set(ids)
    store.close()


def _contribute_many(database: str, name: str) -> None:
    store = Store.open(database)
    for i in range(20):
        store.resources.create_contributor(
            Contributor(id=f"{name}-{i}", display_name="A", kind=ContributorKind.NGO, jurisdiction="ZZ")
        )
    store.close()


def test_processes_open_and_write_the_same_new_database_together(tmp_path: Path, postgresql: Any) -> None:
    for database in (str(tmp_path / "new"), postgresql.create_database()):
        processes = [_SPAWN.Process(target=_contribute_many, args=(database, f"p{i}")) for i in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]
        store = Store.open(database)
        assert len(store.resources.contributors()) == 60
        assert store.revision() == 60
        store.close()


def test_revisions_become_visible_in_order(store: Store, fill: Any) -> None:
    fill.register(store)
    ids = fill.contribute(store, range(120))
    start = store.revision()
    stop = threading.Event()
    holes: list[list[int]] = []

    def watch() -> None:
        while not stop.is_set():
            seen = [c.revision for c in store.feeds.changes(start + 1)]
            if seen != list(range(start + 1, start + 1 + len(seen))):
                holes.append(seen)

    def withdraw(mine: list[int]) -> None:
        for entry_id in mine:
            store.transitions.withdraw([entry_id], "X")

    watcher = threading.Thread(target=watch)
    watcher.start()
    writers = [threading.Thread(target=withdraw, args=(ids[i::4],)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    watcher.join()
    assert holes == []
    assert store.revision() == start + len(ids)


@pytest.fixture
def small_disk(sqlite_directory: Path) -> Iterator[Callable[[int], None]]:
    """Limit how many pages the database may have, as a disk with no room would."""

    def limit(pages: int) -> None:
        def set_up(connection: sqlite3.Connection, _: object) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}")

        sa.event.listen(sa.Engine, "connect", set_up)
        undo.append(set_up)

    undo: list[Callable[..., None]] = []
    yield limit
    for set_up in undo:
        sa.event.remove(sa.Engine, "connect", set_up)


def test_a_full_disk_is_reported_and_leaves_nothing(
    sqlite_directory: Path, fill: Any, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUN", 1)
    store = Store.open(sqlite_directory)
    fill.register(store)
    kept = fill.contribute(store, [1])
    opened = store.imports.create_import(fill.new())
    store.close()
    small_disk(60)
    store = Store.open(sqlite_directory)
    store.commits.begin_commit(opened.id)

    def stage_all() -> None:
        for i in range(100):
            fill.stage(store, opened.id, range(i * 100, i * 100 + 100))

    with pytest.raises(LimitExceeded) as e:
        stage_all()
    assert e.value.reason is Reason.DISK_FULL
    assert "disk" in e.value.message
    assert store.entries.entry_count("alpha", "list") == 1
    assert fill.found(store, 1) == kept
    # The commit can still be given up, and small writes fit again.
    store.leases.release_commit(opened.id)
    store.imports.cancel_import(opened.id)
    store.transitions.withdraw(kept, "X")
    store.close()


def test_a_disk_that_is_really_full(tmp_path: Path, fill: Any) -> None:
    with disks.small_disk(tmp_path / "disk", 1) as disk:
        store = Store.open(disk)
        fill.register(store)
        opened = store.imports.create_import(fill.new())
        with pytest.raises(LimitExceeded) as e:
            store.imports.put_batch(opened.id, 0, bytes(2_000_000))
        assert e.value.reason is Reason.DISK_FULL
        assert store.imports.get_import(opened.id).batch_count == 0
        assert store.imports.put_batch(opened.id, 0, b"small").batch_count == 1
        store.close()


def test_a_database_that_goes_away_and_comes_back(postgresql: Any, postgresql_url: str, fill: Any) -> None:
    store = Store.open(postgresql_url)
    fill.register(store)
    [kept] = fill.contribute(store, [1])
    # Restarted in between: nobody notices. Several connections are dead then, not only one.
    threads = [threading.Thread(target=store.revision) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    postgresql.stop()
    postgresql.start()
    assert fill.found(store, 1) == [kept]
    postgresql.stop()
    postgresql.start()
    revision = store.transitions.withdraw([kept], "X")
    # Away: said so, with advice.
    postgresql.stop()
    for call in (store.revision, lambda: fill.found(store, 1), lambda: store.tokens.delete_token("x")):
        with pytest.raises(Unavailable) as e:
            call()
        assert e.value.reason is Reason.DATABASE_UNAVAILABLE
        assert e.value.retry_after
    with pytest.raises(Unavailable):
        Store.open(postgresql_url)
    postgresql.start()
    assert store.revision() == revision
    assert fill.contribute(store, [2])
    store.close()


# Takes connections on an address of its own host, and passes them on to the server's socket.
_ANOTHER_HOST = """
import socket, sys, threading

def pass_on(one, other):
    while data := one.recv(65536):
        other.sendall(data)

server = socket.create_server((sys.argv[1], 5432))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    database = socket.socket(socket.AF_UNIX)
    database.connect(sys.argv[2])
    for ends in ((client, database), (database, client)):
        threading.Thread(target=pass_on, args=ends, daemon=True).start()
"""


@pytest.fixture
def another_host(postgresql: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    """Another host on a network of its own that the server is on: its address, and what switches it off."""
    if sys.platform != "linux" or os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs the right to make a network")
    number = os.getpid() % 16_000
    name, here, there = f"hh{number}", f"hha{number}", f"hhb{number}"
    network = f"10.{213 + number // 4_000}.{number // 64 % 256}"
    near, far = f"{network}.{number % 64 * 4 + 1}", f"{network}.{number % 64 * 4 + 2}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        pytest.skip("making a network is not allowed here")
    inside = ("netns", "exec", name)
    try:
        for words in (
            ("link", "add", here, "type", "veth", "peer", "name", there, "netns", name),
            ("addr", "add", f"{near}/30", "dev", here),
            ("link", "set", here, "up"),
            (*inside, "ip", "addr", "add", f"{far}/30", "dev", there),
            (*inside, "ip", "link", "set", there, "up"),
        ):
            subprocess.run(["ip", *words], check=True)
        program = [sys.executable, "-c", _ANOTHER_HOST, far, f"{postgresql.socket_directory}/.s.PGSQL.5432"]
        with subprocess.Popen(["ip", *inside, *program], stdout=subprocess.PIPE, text=True) as host:
            assert host.stdout is not None
            assert host.stdout.readline() == "ready\n"

            def switch_off() -> None:
                subprocess.run(["ip", *inside, "ip", "link", "set", there, "down"], check=True)

            yield far, switch_off
            host.kill()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_host_that_is_gone_while_it_works_is_noticed(
    another_host: tuple[str, Callable[[], None]], postgresql: Any, postgresql_url: str
) -> None:
    """What was asked was received, so nothing is left to be acknowledged: only probes tell."""
    address, switch_off = another_host
    store = Store.open(sa.make_url(postgresql_url).set(host=address, query={}).render_as_string())
    told: list[HashHubError] = []

    def ask() -> None:
        with pytest.raises(Unavailable) as e, store.database.write() as c:
            c.exec_driver_sql("SELECT pg_sleep(600)")
        told.append(e.value)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asleep = b" FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"
    with postgresql.connect() as here:

        def is_at_it() -> bool:
            return bool(here.execute(b"SELECT 1" + asleep).fetchall())

        until = time.monotonic() + 180
        while not is_at_it():
            assert time.monotonic() < until
            time.sleep(0.01)
        switch_off()
        asking.join(180)  # some 6 s on a machine with nothing else to do
        here.execute(b"SELECT pg_terminate_backend(pid)" + asleep)  # the server would not learn of it for as long
    assert [e.reason for e in told] == [Reason.DATABASE_UNAVAILABLE]
    store.close()


@contextmanager
def taking_no_writes(store: Store) -> Iterator[None]:
    """Have the database refuse each write, as a standby does, or a file system that was mounted anew after an error."""

    def refuse(c: sa.Connection) -> None:
        c.exec_driver_sql("PRAGMA query_only = ON" if store.database.is_sqlite else "SET TRANSACTION READ ONLY")

    sa.event.listen(store.database.writer, "begin", refuse)
    try:
        yield
    finally:
        sa.event.remove(store.database.writer, "begin", refuse)
        if store.database.is_sqlite:
            connection = store.database.writer.raw_connection()
            connection.cursor().execute("PRAGMA query_only = OFF")
            connection.close()


def test_a_database_that_takes_no_writes_is_told_until_it_does(
    store: Store, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "ROOM_LOOK_SECONDS", 0.0)
    fill.register(store)
    assert store.has_room()
    with taking_no_writes(store):
        with pytest.raises(Unavailable, match="takes no writes") as caught:
            store.imports.create_import(fill.new())
        assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
        assert not store.has_room()
        assert not store.has_room(), "a write was tried"
        assert store.revision()
    assert store.has_room()
    store.imports.create_import(fill.new())


def test_a_write_that_the_database_took_for_idle_can_be_tried_again(postgresql_url: str) -> None:
    """Operators let PostgreSQL end such transactions, and a process may stand still for longer than they thought."""
    store = Store.open(postgresql_url)

    def stand_still() -> None:
        with store.database.write() as c:
            c.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 1")
            until = time.monotonic() + 180
            while time.monotonic() < until:
                time.sleep(0.05)
                c.exec_driver_sql("SELECT 1")

    with pytest.raises(Unavailable, match="idle_in_transaction_session_timeout") as caught:
        stand_still()
    assert caught.value.retry_after is not None
    assert store.has_room()
    store.close()


def test_what_a_database_refuses_stands_in_the_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    sql = "SELECT nonsense, ?"
    with pytest.raises(HashHubError, match="see the server's log"):
        store.database.read(lambda c: store.database.execute(c, sql, ("private",)).all())
    assert "nonsense" in caplog.text
    assert "private" not in caplog.text


def test_a_writer_that_holds_the_database_too_long_is_unavailable(
    sqlite_directory: Path, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "BUSY_SECONDS", 0.1)
    store = Store.open(sqlite_directory)
    fill.register(store)
    other = sqlite3.connect(sqlite_directory / "hashhub.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable) as e:
        store.imports.create_import(fill.new())
    assert e.value.reason is Reason.DATABASE_UNAVAILABLE
    assert store.resources.contributors()  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    store.imports.create_import(fill.new())
    store.close()


def test_other_writers_do_not_wait_for_a_large_import(store: Store, fill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill.register(store)
    [entry_id] = fill.contribute(store, [0])
    import_id = fill.begin(store)
    for start in range(0, 50_000, 10_000):
        fill.stage(store, import_id, range(start, start + 10_000))
    wanted, through = threading.Semaphore(0), threading.Semaphore(0)
    between = 0

    def withdraw() -> None:
        while wanted.acquire() and not done.is_set():
            store.transitions.withdraw([entry_id], "X")
            through.release()

    real = store.database.write

    @contextmanager
    def write() -> Iterator[sa.Connection]:
        """Let another writer through behind each of the commit's transactions."""
        nonlocal between
        with real() as c:
            yield c
        if threading.current_thread() is not writer:
            wanted.release()
            assert through.acquire(timeout=180), "it waits"
            between += 1

    monkeypatch.setattr(store.database, "write", write)
    done = threading.Event()
    writer = threading.Thread(target=withdraw, daemon=True)
    writer.start()
    store.commits.finish_commit(import_id, counts=Counts())
    done.set()
    wanted.release()
    writer.join()
    assert between >= 3, "all of it was written at once"


def test_threads_get_their_turn_in_the_order_in_which_they_ask() -> None:
    turns = database_module.Turns()
    served: list[int] = []

    def wait(number: int) -> None:
        with turns.take():
            served.append(number)

    threads = [threading.Thread(target=wait, args=(i,)) for i in range(5)]
    with turns.take():
        for i, thread in enumerate(threads):
            thread.start()
            while len(turns.waiting) <= i:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert served == list(range(5))


def test_a_thread_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "QUEUE_SECONDS", 0.01)
    turns = database_module.Turns()
    with turns.take(), pytest.raises(Unavailable), turns.take():
        pass
    with turns.take():
        pass


def test_a_database_of_a_newer_version_is_refused(database: str) -> None:
    store = Store.open(database)
    with store.database.write() as c:
        c.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(FailedPrecondition, match="upgrade hashhub"):
        Store.open(database)


def test_a_new_database_has_the_tables_of_the_schema_and_the_newest_version(database: str) -> None:
    store = Store.open(database)
    with store.database.write() as c:
        context = MigrationContext.configure(c, opts={"compare_type": True})
        assert compare_metadata(context, tables) == []
        assert c.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == SCHEMA_VERSION
    scripts = Path(database_module.__file__).parent / "migrations" / "versions"
    assert max(path.name for path in scripts.glob("*.py")).partition("_")[0] == SCHEMA_VERSION
    store.close()


def test_only_an_existing_database_is_opened_without_create(tmp_path: Path, postgresql: Any) -> None:
    for missing in (tmp_path / "none", postgresql.create_database()):
        with pytest.raises(FailedPrecondition, match="no hashhub database"):
            Store.open(missing, create=False)
    assert not (tmp_path / "none").exists()
    Store.open(tmp_path / "some").close()
    first = Store.open(tmp_path / "some", create=False)
    again = Store.open(tmp_path / "some" / "hashhub.db", create=False)
    assert first.database_id == again.database_id
    first.close()
    again.close()


@pytest.mark.parametrize("url", ["mysql://host/x", "sqlite://", "://", "postgresql+psycopg2://host/x"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="database"):
        Store.open(url)


def test_a_file_that_is_no_database_is_data_loss(tmp_path: Path) -> None:
    (tmp_path / "hashhub.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(DataLoss):
        Store.open(tmp_path)


def test_a_broken_rule_of_the_database_is_ours(store: Store, fill: Any) -> None:
    fill.register(store)
    [entry_id] = fill.contribute(store, [1])
    with pytest.raises(AlreadyExists), store.database.write() as c:
        store.database.insert(c, tables.tables["hash"], [(4, fill.digest(1), entry_id)])
    with pytest.raises(HashHubError, match="log"), store.database.write() as c:
        c.execute(sa.text("SELECT nonsense"))
    assert fill.found(store, 1) == [entry_id]


def test_text_that_cannot_be_stored_is_the_callers_fault(store: Store, fill: Any) -> None:
    fill.register(store)
    import_id = fill.begin(store)
    with pytest.raises(InvalidArgument, match="text"):
        fill.stage(store, import_id, [1], external_id="\ud800")
    if store.kind == "POSTGRESQL":  # SQLite keeps a NUL
        with pytest.raises(InvalidArgument, match="text"):
            fill.stage(store, import_id, [1], external_id="a\x00b")
        with pytest.raises(InvalidArgument, match="text"):
            store.imports.list_imports("a\x00b")
    ids = fill.stage(store, import_id, [1], external_id="é😀")
    store.commits.finish_commit(import_id, counts=Counts())
    assert store.entries.existing_by_external_ids("alpha", "list", ["é😀"])["é😀"][-1].id == ids[0]


def test_messages_show_no_password(postgresql: Any) -> None:
    with pytest.raises(Unavailable) as e:
        Store.open("postgresql+psycopg://me:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(e.value)


def _hold(directory: str, ready: Any) -> None:
    with lock_data(directory):
        ready.set()
        time.sleep(60)


def test_a_data_directory_has_one_server(tmp_path: Path) -> None:
    ready = _SPAWN.Event()
    other = _SPAWN.Process(target=_hold, args=(str(tmp_path), ready))
    other.start()
    assert ready.wait(180)
    with pytest.raises(FailedPrecondition, match=str(other.pid)) as e, lock_data(tmp_path):
        pass
    assert e.value.reason is Reason.DATA_IN_USE
    other.kill()
    other.join()
    with lock_data(tmp_path):
        pass
    with lock_data(tmp_path), pytest.raises(FailedPrecondition), lock_data(tmp_path):
        pass


def test_a_withdrawn_entry_survives_a_kill_right_after_the_answer(sqlite_directory: Path, fill: Any) -> None:
    store = Store.open(sqlite_directory)
    fill.register(store)
    [entry_id] = fill.contribute(store, [1])
    store.close()
    code = (
        "import os, sys; from hashhub.store import Store; s = Store.open(sys.argv[1]); "
        f"s.transitions.withdraw([{entry_id}], 'X'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(sqlite_directory)], check=False)
    store = Store.open(sqlite_directory)
    assert store.entries.get_entries([entry_id])[entry_id].state is EntryState.WITHDRAWN
    store.close()


def test_what_was_acknowledged_survives_a_power_cut(sqlite_directory: Path) -> None:
    """A commit waits for the disk; in the process of the tests it need not."""
    code = (
        "import sys; from hashhub.store import Store; s = Store.open(sys.argv[1]); "
        "print(s.database.writer.connect().exec_driver_sql('PRAGMA synchronous').scalar())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(sqlite_directory)], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "2"  # FULL
