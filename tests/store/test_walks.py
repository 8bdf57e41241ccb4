"""How the store reads many rows: through which index, whatever the database knows of its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hashhub.store import Store
from hashhub.store.database import Database, locate
from hashhub.store.schema import ACTIVE, QUARANTINED


def test_entries_of_a_state_are_not_looked_for_among_all_others(postgresql_url: str) -> None:
    """An analysed table of many, of which one hash set has a few at the end."""
    database = Database(locate(postgresql_url), create=True)
    try:
        with database.write() as c:
            c.exec_driver_sql(
                'INSERT INTO entry (id, hash_set, "import", state, position, flags, hashes, update_revision) '
                "SELECT g, 1 + g / 20000, 1, %s, '', 0, ''::bytea, 0 FROM generate_series(1, 20100) g",
                (ACTIVE,),
            )
        with database.write() as c:
            c.exec_driver_sql("ANALYZE entry")
        for set_key, state, count in ((1, ACTIVE, 2_000), (1, QUARANTINED, 0), (2, ACTIVE, 101)):
            condition, order, parameters = database.state_page(set_key, state, 0)
            page = f"SELECT e.id FROM entry e WHERE {condition} ORDER BY {order} LIMIT 2000"  # noqa: S608 - ours
            sql = database.sql(page)
            rows = database.fetch(sql, parameters)
            assert len(rows) == count
            assert [row[0] for row in rows] == sorted(row[0] for row in rows)
            plan = "\n".join(row[0] for row in database.fetch(f"EXPLAIN {sql}", parameters))
            assert "entry_state" in plan
            assert "entry_pkey" not in plan
    finally:
        database.close()


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
    plan = store._db.fetch(f"EXPLAIN QUERY PLAN {asked[0]}", (0,) * asked[0].count("?"))
    assert "import_under_way" in plan[0][-1]
    store.close()
