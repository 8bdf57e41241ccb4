"""How the store reads many rows: through which index, whatever the database knows of its tables."""

from __future__ import annotations

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
