"""How the store reads many rows: through which index, whatever the database knows of its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashhub.model import SYSTEM, EntryState, now
from hashhub.store import Store, TransitionCommand
from hashhub.store.database import NO_ENTRY, Database, array_of
from hashhub.store.drivers import locate
from hashhub.store.schema import ACTIVE, QUARANTINED
from tests.examples import examples


@pytest.fixture
def crowded(postgresql_url: str, fill: Any) -> Iterator[Store]:
    """Analysed tables of many entries, those of one hash set behind those of another."""
    store = Store.open(postgresql_url)
    for name in ("first", "behind"):
        fill.register(store, "alpha", name)
    fill.contribute(store, [], "alpha", "first")
    keys = list(store.resources.hash_set_keys())
    with store.database.write() as c:
        c.exec_driver_sql(
            'INSERT INTO entry (id, hash_set, "import", state, position, flags, hashes, update_revision) '
            "SELECT g, CASE WHEN g <= 6000 THEN %s ELSE %s END, 1, %s, '', 0, ''::bytea, 0 "
            "FROM generate_series(1, 20100) g",
            (*keys, ACTIVE),
        )
    with store.database.write() as c:
        c.exec_driver_sql("ANALYZE")
    yield store
    store.close()


def test_entries_of_a_state_are_not_looked_for_among_all_others(crowded: Store) -> None:
    database = crowded.database
    first, behind = crowded.resources.hash_set_keys()
    for set_key, state, after, before, count in (
        (first, ACTIVE, 0, NO_ENTRY, 2_000),
        (first, QUARANTINED, 0, NO_ENTRY, 0),
        (behind, ACTIVE, 0, NO_ENTRY, 2_000),
        (behind, ACTIVE, 20_000, NO_ENTRY, 100),
        (behind, ACTIVE, 0, 6_011, 10),
        (first, ACTIVE, 5_000, 20_000, 1_000),
    ):
        condition, order, parameters = database.state_page(set_key, state, after, before)
        sql = f"SELECT e.id FROM entry e WHERE {condition} ORDER BY {order} LIMIT 2000"  # noqa: S608 - ours
        rows = database.fetch(sql, parameters)
        assert len(rows) == count
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        plan = "\n".join(row[0] for row in database.fetch(f"EXPLAIN {sql}", parameters))
        assert "entry_state" in plan
        assert "entry_pkey" not in plan


def _plans_of(store: Store, monkeypatch: pytest.MonkeyPatch, read: Callable[[Store], object]) -> list[str]:
    """Return PostgreSQL's plans of the statements by which something reads."""
    asked: list[tuple[str, Any]] = []
    fetch = Database.fetch

    def noted(database: Database, sql: str, parameters: Any = ()) -> Any:
        if database is store.database:  # and not a hub's that still runs in the background
            asked.append((sql, parameters))
        return fetch(database, sql, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "fetch", noted)
        read(store)
    return ["\n".join(row[0] for row in store.database.fetch(f"EXPLAIN {sql}", at)) for sql, at in asked]


READS: list[Callable[[Store], object]] = [
    lambda store: store.extract.blocks("alpha", "behind", 16),
    lambda store: list(store.extract.standing_entries("alpha", "behind", 1, 20_100, revision=9)),
    lambda store: list(store.holds.live_items("alpha", "behind")),
]


@pytest.mark.parametrize("read", READS, ids=["blocks", "standing_entries", "live_items"])
def test_nothing_that_reads_a_hash_set_walks_all_entries(
    crowded: Store, monkeypatch: pytest.MonkeyPatch, read: Callable[[Store], object]
) -> None:
    plans = _plans_of(crowded, monkeypatch, read)
    walks = [plan for plan in plans if " on entry" in plan]
    assert walks
    for plan in walks:
        assert "entry_state" in plan
        assert "entry_pkey" not in plan
        assert "Sort" not in plan, "it would read all that is left for each page"


@pytest.mark.parametrize("is_analysed", [False, True])
def test_what_expires_is_looked_for_among_what_can_expire(
    crowded: Store, monkeypatch: pytest.MonkeyPatch, *, is_analysed: bool
) -> None:
    """Every few seconds, also right after a large import, of which PostgreSQL knows nothing yet."""
    if not is_analysed:
        with crowded.database.write() as c:
            c.exec_driver_sql("CREATE TABLE fresh (LIKE entry INCLUDING ALL)")
            c.exec_driver_sql(
                'INSERT INTO fresh (id, hash_set, "import", state, position, flags, hashes, update_revision) '
                "SELECT g, 1, 1, 1, '', 0, ''::bytea, 0 FROM generate_series(1, 300000) g"
            )
            c.exec_driver_sql("DROP TABLE entry")
            c.exec_driver_sql("ALTER TABLE fresh RENAME TO entry")
    [plan] = _plans_of(crowded, monkeypatch, lambda store: store.transitions.expire(now()))
    assert "expire_time_idx" in plan or "entry_expire_time" in plan
    assert "pkey on entry" not in plan
    assert "Parallel" not in plan, "it would take the processors that lookups need"


def test_lists_that_come_in_are_not_looked_for_among_all_that_ever_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked before every piece of work in the background."""
    store = Store.open(tmp_path / "hub.sqlite")
    asked: list[str] = []
    read = Database.read

    def noted(database: Database, body: Any) -> Any:
        def with_plan(c: sa.Connection) -> Any:
            sa.event.listen(c, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
            return body(c)

        return read(database, with_plan)

    monkeypatch.setattr(Database, "read", noted)
    assert not store.imports.are_coming_in()
    monkeypatch.undo()
    plan = store.database.fetch(f"EXPLAIN QUERY PLAN {asked[0]}", (0,) * asked[0].count("?"))
    assert "import_under_way" in plan[0][-1]
    store.close()


def test_an_entry_that_is_moved_meanwhile_is_met_once(
    filled: Store, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state read behind the other would miss what comes out of it, and meet twice what goes into it."""
    released = fill.contribute(filled, [1], state=EntryState.QUARANTINED)
    quarantined = fill.contribute(filled, [2])
    fetch = Database.fetch

    def moved_behind_the_first(database: Database, sql: str, parameters: Any = ()) -> Any:
        rows = fetch(database, sql, parameters)
        if " entry e" in sql:
            monkeypatch.undo()
            filled.transitions.release(released, TransitionCommand(SYSTEM))
            filled.transitions.quarantine(quarantined, TransitionCommand(SYSTEM))
        return rows

    monkeypatch.setattr(Database, "fetch", moved_behind_the_first)
    assert [item.entry_id for item in filled.holds.live_items("alpha", "list")] == [*released, *quarantined]


@settings(deadline=None, max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
    digests=st.lists(st.binary(max_size=40), max_size=20),
    texts=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20), max_size=20),
)
def test_keys_arrive_as_they_are(
    postgresql_url: str, numbers: list[int], digests: list[bytes], texts: list[str]
) -> None:
    database = Database(locate(postgresql_url), create=True)
    try:
        for kind, keys in (("int8", numbers), ("bytea", digests), ("text", texts)):
            given = f"SELECT CAST(%s AS {kind}[]) AS whole"
            sql = f"SELECT k FROM ({given}) w, unnest(whole) k WHERE k {{keys}}"  # noqa: S608 - our own text
            wanted: list[Any] = sorted(set(keys))
            read = database.by_keys(sql, kind, (array_of(kind, wanted),), wanted)
            assert sorted(row[0] for row in read) == wanted
    finally:
        database.close()
