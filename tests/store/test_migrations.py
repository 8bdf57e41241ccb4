"""A database of an earlier version, with rows, becomes one of this version without losing what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from hashhub.model import ReviewKind
from hashhub.store import Store
from hashhub.store import database as module
from hashhub.store.packing import pack_hashes
from hashhub.store.schema import tables as schema

_ROWS: Final[dict[str, list[dict[str, Any]]]] = {
    "contributor": [
        {"id": name, "content": {"id": name, "display_name": name, "kind": "HOTLINE", "jurisdiction": "GB"}}
        for name in ("alpha", "beta")
    ],
    "hash_set": [
        {"contributor": "alpha", "id": name, "content": {"contributor": "alpha", "id": name}}
        for name in ("list", "second")
    ],
    "import": [
        {
            "id": f"imp-{key}", "hash_set": 1, "connector": "test", "connector_version": "1",
            "source_digest": source, "replace": False, "state": 3, "batch_count": 0, "finding_count": 0, "counts": {},
            "revision": revision, "create_time": 0, "commit_time": 0, "lease": "", "lease_until": 0,
        }
        for key, source, revision in ((1, "first", 3), (2, "second", 9))
    ],
    "review": [
        {"id": 7, "entry": 1, "author": "beta", "kind": 2, "comment": "no", "create_time": 0, "revision": 4},
        {"id": 8, "entry": 2, "author": "gamma", "kind": 1, "comment": "", "create_time": 0, "revision": 5},
    ],
    "change": [
        {"revision": 3, "first_entry": 1, "last_entry": 3, "kind": 2, "import": 1},
        {"revision": 6, "first_entry": 2, "last_entry": 2, "kind": 3, "import": 0},
        {"revision": 8, "first_entry": 3, "last_entry": 3, "kind": 3, "import": 0},
        {"revision": 9, "first_entry": 4, "last_entry": 4, "kind": 2, "import": 2},
    ],
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the tables of the first version, and rows."""
    if request.param == "sqlite":
        name = str(tmp_path / "older.db")
        engine = sa.create_engine(f"sqlite:///{name}")
    else:
        name = request.getfixturevalue("postgresql").create_database()
        engine = sa.create_engine(name)
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).with_name("migrations")))
    with engine.begin() as c:
        config.attributes["connection"], config.attributes["tables"] = c, schema
        command.upgrade(config, "0001")
        tables = sa.MetaData()
        tables.reflect(c)
        for table, rows in _ROWS.items():
            c.execute(sa.insert(tables.tables[table]), [_stored(row) for row in rows])
        entries = [
            {
                "id": i, "hash_set": 1, "import": 1 if i < 4 else 2, "state": state, "position": f"line {i}",
                "flags": 0, "hashes": pack_hashes(()), "reasons": reasons, "update_revision": revision,
            }
            for i, state, reasons, revision in (
                (1, 1, None, 0), (2, 3, '["WITHDRAWN_BY_CONTRIBUTOR"]', 6), (3, 3, '["SUPERSEDED"]', 8), (4, 1, None, 0),
            )
        ]  # fmt: skip
        c.execute(sa.insert(tables.tables["entry"]), entries)
        c.execute(sa.update(tables.tables["metadata"]).values(revision=9, next_entry=5))
    engine.dispose()
    return name


def _stored(row: dict[str, Any]) -> dict[str, Any]:
    return {k: json.dumps(v).encode() if isinstance(v, dict) else v for k, v in row.items()}


def test_what_was_said_is_still_said(older: str) -> None:
    store = Store.open(older)
    assert [e.id for e in store.list_entries("alpha", "list")] == [1, 2, 3, 4]
    assert {i: [(r.id, r.entry_id, r.kind) for r in found] for i, found in store.reviews_of([1, 2, 3, 4]).items()} == {
        1: [(7, 1, ReviewKind.FALSE_POSITIVE)], 2: [(8, 2, ReviewKind.CONFIRMED)],
    }  # fmt: skip
    assert [r.author for r in store.list_reviews(1, 10)] == ["beta"]
    assert [e.id for e in store.withdrawn_with_reviews("alpha", "list")] == [2]
    store.close()


def test_a_withdrawal_from_before_counts_and_a_supersession_does_not(older: str, fill: Any) -> None:
    store = Store.open(older)
    # Revision 6 took an entry away after the first import (3); nothing but a supersession came after that.
    assert store.create_import(fill.new(source_digest="first")).id != "imp-1"
    assert store.create_import(fill.new(source_digest="second")).id == "imp-2"
    store.close()


def test_it_has_a_history_of_its_own(older: str, fill: Any) -> None:
    store = Store.open(older)
    position = store.position()
    assert position.revision == 10  # the upgrade is the first event
    fill.register(store, "gamma")
    assert store.has_been_at(position)
    assert store.has_been_at(store.position())
    assert not store.has_been_at(position._replace(digest=bytes(32)))
    store.close()
    again = Store.open(older)
    assert again.has_been_at(position)
    again.close()
