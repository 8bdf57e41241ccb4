"""Tables of digests on PostgreSQL answer as rows do, whoever merges, deletes, stops or is in the way meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hashhub.config import Config
from hashhub.errors import Unavailable
from hashhub.hub import Hub, backup, housekeeping
from hashhub.model import SYSTEM, Counts
from hashhub.store import Store, commits, hash_tables
from hashhub.store.hash_tables import MERGE_LOCK, HashTables
from tests.hub.conftest import Desk, item

Row = tuple[int, bytes, int]


def never() -> bool:
    return False


@pytest.fixture
def tabled(postgresql_url: str, fill: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store on PostgreSQL in which six digests, those of three entries, are worth tables."""
    monkeypatch.setattr(hash_tables, "LEAST", 6)
    store = Store.open(postgresql_url)
    fill.register(store)
    yield store
    store.close()


@pytest.fixture
def other(postgresql_url: str) -> Iterator[psycopg.Connection[Any]]:
    """What another process has: a connection of its own."""
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as c:
        yield c


def tables_of(store: Store) -> HashTables:
    return store.commits._hash_tables


def rows(store: Store, of: str = "hash") -> list[Row]:
    return sorted((row[0], bytes(row[1]), row[2]) for row in store._db.fetch(f"SELECT * FROM {of}"))  # noqa: S608


def tables(store: Store) -> list[str]:
    """Return the names of the tables of digests; no others have such names."""
    names = sorted(tables_of(store)._rows_of_tables())
    named_so = "SELECT tablename FROM pg_tables WHERE starts_with(tablename, 'hash_') AND tablename <> 'hash_set'"
    assert sorted(row[0] for row in store._db.fetch(named_so)) == names
    return names


def fill_tables(store: Store, fill: Any, imports: int, entries: int = 6) -> None:
    for first in range(0, imports * entries, entries):
        fill.contribute(store, range(first, first + entries))


def test_only_a_large_import_gets_tables_and_they_answer_as_rows_do(tabled: Store, fill: Any) -> None:
    small = fill.contribute(tabled, [1, 2])
    assert tables(tabled) == []
    large = fill.contribute(tabled, range(2, 8))
    assert len(tables(tabled)) == 2
    assert {row[2] for row in rows(tabled, "ONLY hash")} == set(small)
    assert {row[2] for row in rows(tabled)} == {*small, *large}
    assert fill.found(tabled, 1) == small[:1]
    assert fill.found(tabled, 2) == [small[1], large[0]]
    assert fill.found(tabled, 7) == [large[-1]]
    streamed = [digest.tobytes() for name, part, _ in tabled.feeds.all_digests(2) for digest in part if name == "PDQ"]
    assert streamed == sorted(fill.digest(number) for number in range(1, 8))


def test_sqlite_has_no_such_tables(sqlite_directory: Path, fill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_tables, "LEAST", 1)
    store = Store.open(sqlite_directory)
    fill.register(store)
    ids = fill.contribute(store, range(9))
    tables_of(store).merge(never)
    assert [fill.found(store, number) for number in range(9)] == [[i] for i in ids]
    store.close()


def test_tables_of_one_size_become_one(tabled: Store, fill: Any) -> None:
    for turn in range(1, 9):
        fill.contribute(tabled, range(turn * 100, turn * 100 + 6))
        before = rows(tabled)
        tables_of(tabled).merge(never)
        assert rows(tabled) == before
        # Of two tables in each turn four become one, of 24 digests; four of these become one of 96.
        assert len(tables(tabled)) == [2, 1, 3, 2, 4, 3, 5, 1][turn - 1]
    for name in tables(tabled):
        primary = "SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass AND indisprimary"
        assert tabled._db.fetch(primary, (name,)) == [(1,)]
    assert all(len(fill.found(tabled, turn * 100 + n)) == 1 for turn in range(1, 9) for n in range(6))


def test_first_and_last_bytes_of_every_value_are_merged(
    tabled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests are copied in parts by their first byte."""
    monkeypatch.setattr(fill, "digest", lambda number, width=32: bytes([number % 256]) * width)
    for first in range(0, 256, 64):
        fill.contribute(tabled, range(first, first + 64))
    before = rows(tabled)
    assert len({row[1][0] for row in before}) == 256
    tables_of(tabled).merge(never)
    assert len(tables(tabled)) == 1
    assert rows(tabled) == before


def test_erased_and_deleted_entries_leave_no_digest_in_any_table(tabled: Store, fill: Any) -> None:
    fill_tables(tabled, fill, 2)
    [entry_id] = fill.found(tabled, 7)
    tabled.transitions.erase(entry_id, by=SYSTEM, secret=tabled.secret)
    assert entry_id not in {row[2] for row in rows(tabled)}
    assert len(rows(tabled)) == 2 * 11
    import_id = fill.begin(tabled)
    ids = fill.stage(tabled, import_id, range(20, 26))
    commit = tabled.leases.commit_of(import_id)
    tabled.stage.write_pieces(commit, tabled.stage.run_of(commit))
    assert {row[2] for row in rows(tabled)} >= set(ids)
    tabled.imports.cancel_import(import_id)
    assert len(rows(tabled)) == 2 * 11


def test_what_is_deleted_while_tables_are_merged_does_not_come_back(
    tabled: Store, fill: Any, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_tables(tabled, fill, 2)
    lock = HashTables._lock
    [gone] = fill.found(tabled, 3)

    def deletes_before(*arguments: Any) -> None:
        other.execute("DELETE FROM hash WHERE entry = %s", (gone,))
        lock(*arguments)

    monkeypatch.setattr(HashTables, "_lock", deletes_before)
    tables_of(tabled).merge(never)
    assert len(tables(tabled)) == 4
    assert len(rows(tabled)) == 2 * 11
    monkeypatch.undo()
    monkeypatch.setattr(hash_tables, "LEAST", 6)
    tables_of(tabled).merge(never)
    assert len(tables(tabled)) == 1
    assert len(rows(tabled)) == 2 * 11
    assert fill.found(tabled, 3) == []


@pytest.mark.parametrize("others", ["SELECT count(*) FROM hash", "DELETE FROM hash WHERE entry = 0"])
def test_a_merge_waits_for_others_and_they_do_not_wait_for_it(
    tabled: Store, fill: Any, other: psycopg.Connection[Any], others: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_tables, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(hash_tables, "_ATTEMPTS", 10**6)
    fill_tables(tabled, fill, 2)
    before = rows(tabled)
    with ThreadPoolExecutor(1) as beside:
        with other.transaction():
            other.execute(others)
            merging = beside.submit(tables_of(tabled).merge, never)
            for _ in range(20):  # each answered, while the merge cannot go on
                assert rows(tabled) == before
                assert not merging.done()
        merging.result()
    assert len(tables(tabled)) == 1
    assert rows(tabled) == before


def test_whoever_begins_to_read_at_the_end_of_a_merge_misses_nothing(
    tabled: Store, fill: Any, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who has listed the tables must not look into them without the one that takes their place."""
    fill_tables(tabled, fill, 2)
    before = len(rows(tabled))
    adding = hash_tables._adding
    reading: list[Future[Any]] = []
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"

    def meanwhile(name: str) -> str:
        reading.append(beside.submit(other.execute, "SELECT count(*) FROM hash"))
        while tabled._db.fetch(waiting, (other.info.backend_pid,)) == [(0,)]:
            assert not reading[0].done()
        return adding(name)

    monkeypatch.setattr(hash_tables, "_adding", meanwhile)
    with ThreadPoolExecutor(1) as beside:
        tables_of(tabled).merge(never)
    assert reading[0].result().fetchone() == (before,)
    assert len(tables(tabled)) == 1


def test_a_merge_that_never_gets_its_turn_leaves_all_as_it_was(
    tabled: Store, fill: Any, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_tables, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(hash_tables, "_ATTEMPTS", 3)
    fill_tables(tabled, fill, 2)
    before, names = rows(tabled), tables(tabled)
    with other.transaction():
        other.execute("SELECT count(*) FROM hash")
        tables_of(tabled).merge(never)
    assert (rows(tabled), tables(tabled)) == (before, names)


def after(asked: int) -> Callable[[], bool]:
    """Return what says to stop at the call behind so many others."""
    left = iter(range(asked))
    return lambda: next(left, None) is None


def test_a_merge_can_be_left_at_any_moment(tabled: Store, fill: Any) -> None:
    fill_tables(tabled, fill, 2)
    before, names = rows(tabled), tables(tabled)
    for asked in (0, 1, 2, 17, 60):
        tables_of(tabled).merge(after(asked))
        assert (rows(tabled), tables(tabled)) == (before, names)


def test_a_merge_that_is_to_stop_does_not_wait_for_an_index(
    tabled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_tables(tabled, fill, 2)
    before, names = rows(tabled), tables(tabled)
    is_building, asked = threading.Event(), hash_tables._indexing

    def lasts(name: str) -> str:
        is_building.set()
        return f"{asked(name)}; SELECT pg_sleep(3600)"

    monkeypatch.setattr(hash_tables, "_indexing", lasts)
    tables_of(tabled).merge(is_building.is_set)
    assert is_building.is_set()
    assert (rows(tabled), tables(tabled)) == (before, names)


def test_one_merges_at_a_time_and_nobody_while_a_copy_is_made(
    tabled: Store, fill: Any, other: psycopg.Connection[Any]
) -> None:
    fill_tables(tabled, fill, 2)
    other.execute(f"SELECT pg_advisory_lock_shared({MERGE_LOCK})")
    tables_of(tabled).merge(never)
    assert len(tables(tabled)) == 4
    other.execute("SELECT pg_advisory_unlock_all()")
    tables_of(tabled).merge(never)
    assert len(tables(tabled)) == 1


def test_while_lists_come_in_merges_wait_until_there_are_many_tables(
    tabled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_tables, "URGENT", 6)
    opened = tabled.imports.create_import(fill.new())
    fill_tables(tabled, fill, 2)
    tabled.commits.merge_tables()
    assert len(tables(tabled)) == 4
    fill.contribute(tabled, range(20, 26))
    tabled.commits.merge_tables()
    assert len(tables(tabled)) == 1
    tabled.imports.cancel_import(opened.id)


def test_a_merge_waits_until_no_list_has_come_in_for_a_while(
    tabled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_tables(tabled, fill, 2)
    tabled.commits.merge_tables()
    assert len(tables(tabled)) == 4
    monkeypatch.setattr(commits, "QUIET", timedelta(seconds=-1))
    tabled.commits.merge_tables()
    assert len(tables(tabled)) == 1


def test_a_hub_merges_by_itself(postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_tables, "LEAST", 6)
    monkeypatch.setattr(commits, "QUIET", timedelta(seconds=-1))
    monkeypatch.setattr(housekeeping, "_MERGE_SECONDS", 0.05)
    with Hub.open(Config(data=str(tmp_path), database=postgresql_url)) as hub:
        hub.start()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        for first in (0, 6):
            desk.contribute("alpha/list", *map(item, range(first, first + 6)))
        begun = time.monotonic()
        while len(tables(hub._store)) > 1 and time.monotonic() - begun < 60:
            time.sleep(0.05)
        assert len(tables(hub._store)) == 1
        assert desk.known(*range(12)) == list(range(12))


def test_where_nobody_merges_there_are_not_more_tables_than_a_look_can_bear(
    tabled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_tables, "MOST_TABLES", 4)
    fill_tables(tabled, fill, 5)
    assert len(tables(tabled)) == 4
    assert len(rows(tabled)) == 5 * 12
    assert len(rows(tabled, "ONLY hash")) == 3 * 12


def test_cancelled_imports_leave_no_more_tables_than_others(tabled: Store, fill: Any) -> None:
    """One who sends lists and takes them back must not fill the database with empty tables."""
    for _ in range(6):
        import_id = fill.begin(tabled)
        fill.stage(tabled, import_id, range(6))
        commit = tabled.leases.commit_of(import_id)
        tabled.stage.write_pieces(commit, tabled.stage.run_of(commit))
        tabled.imports.cancel_import(import_id)
        tables_of(tabled).merge(never)
        assert len(tables(tabled)) < hash_tables.MERGED_AT
    assert rows(tabled) == []


def test_a_connection_that_breaks_while_a_table_is_filled_leaves_nothing(
    tabled: Store, fill: Any, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = fill.begin(tabled)
    fill.stage(tabled, import_id, range(6))

    def broken(name: str) -> str:
        return f"SELECT pg_terminate_backend(pg_backend_pid()), '{name}'"

    monkeypatch.setattr(hash_tables, "_indexing", broken)
    with pytest.raises(Unavailable):
        tabled.commits.finish_commit(import_id, counts=Counts(items=6, accepted=6))
    assert tables(tabled) == []
    monkeypatch.undo()
    monkeypatch.setattr(hash_tables, "LEAST", 6)
    tabled.commits.begin_commit(import_id)
    ids = fill.stage(tabled, import_id, range(6))
    tabled.commits.finish_commit(import_id, counts=Counts(items=6, accepted=6))
    assert [fill.found(tabled, number) for number in range(6)] == [[i] for i in ids]
    assert len(rows(tabled)) == 12


def test_who_may_write_rows_only_writes_rows(
    postgresql_url: str, fill: Any, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some let another role bring the tables up to date than the one that serves."""
    monkeypatch.setattr(hash_tables, "LEAST", 1)
    role = f"rows_only_{other.info.dbname}"
    other.execute(f"CREATE ROLE {role} LOGIN")
    other.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    other.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
    store = Store.open(postgresql_url.replace("postgres:@", f"{role}:@", 1))
    assert store._db.fetch("SELECT current_user") == [(role,)]
    fill.register(store)
    [entry_id] = fill.contribute(store, [1])
    tables_of(store).merge(never)
    assert fill.found(store, 1) == [entry_id]
    assert tables(store) == []
    store.close()


@pytest.mark.usefixtures("programs")
def test_a_backup_has_the_tables(
    tabled: Store, postgresql: Any, fill: Any, postgresql_url: str, tmp_path: Path
) -> None:
    fill_tables(tabled, fill, 1)
    fill.contribute(tabled, [100])
    new = postgresql.create_database()

    backup.back_up(Config(data=str(tmp_path / "data"), database=postgresql_url), tmp_path / "backup", lambda *_: None)
    backup.restore(tmp_path / "backup", Config(data=str(tmp_path / "new"), database=new), None, lambda *_: None)
    restored = Store.open(new, create=False)
    assert rows(restored) == rows(tabled)
    assert tables(restored) == tables(tabled)
    assert fill.found(restored, 3) == fill.found(tabled, 3)
    restored.close()
