"""What an import costs beside thousands that are done."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hashhub.store import Store
from hashhub.store import schema as s
from tests.store.test_history_since import counted

if TYPE_CHECKING:
    from tests.store.conftest import Filler


def _many(store: Store, count: int) -> None:
    """Write so many imports that were committed, as copies of the one there is."""
    t = s.imports
    with store.database.write() as c:
        row = c.execute(sa.select(t).limit(1)).one()._asdict()
        copies = [
            row | {"key": row["key"] + n + 1000, "id": f"copy-{n}", "source_digest": f"of {n}"} for n in range(1, count)
        ]
        c.execute(sa.insert(t), copies)


def _import(store: Store, fill: Filler, number: int) -> None:
    opened = store.imports.create_import(fill.new(), most_open=10)
    store.imports.put_batch(opened.id, 0, b"x", items=1, most_bytes=1000)
    store.commits.begin_commit(opened.id)
    fill.stage(store, opened.id, [number])
    store.commits.finish_commit(opened.id, counts=store.imports.get_import(opened.id).counts)


def test_it_costs_the_same(sqlite_directory: Any, fill: Filler) -> None:
    with closing(Store.open(sqlite_directory)) as store:
        fill.register(store)
        fill.contribute(store, [1])
        _import(store, fill, 2)
        with counted(store) as steps:
            _import(store, fill, 3)
        alone = steps()
        _many(store, 10_000)
        with counted(store) as steps:
            _import(store, fill, 4)
        assert steps() < alone + 500
