"""What was said of items counts for their older statements once those are restored, however many are at once."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from hashhub.model import SYSTEM
from hashhub.store import Store, TransitionCommand
from hashhub.store import schema as s

if TYPE_CHECKING:
    from tests.store.conftest import Filler


def _review(store: Store, entries: list[int]) -> None:
    """Write a review of each entry, with the entry's id as its own."""
    with store.database.write() as c:
        key = c.scalar(sa.select(s.hash_set.c.key))
        made = {"author": "beta", "kind": 1, "comment": "", "create_time": 1, "revision": 1}
        c.execute(sa.insert(s.review), [{"id": entry, "entry": entry, **made} for entry in entries])
        c.execute(sa.insert(s.reviewed), [{"hash_set": key, "entry": entry, "review": entry} for entry in entries])


def test_they_count_in_pieces(filled: Store, fill: Filler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither all entries nor all reviews of their hash set are read at once."""
    monkeypatch.setattr("hashhub.store.entry_writes.PAGE", 3)
    lists = [fill.contribute(filled, range(8)) for _ in range(4)]
    every = [entry for ids in lists for entry in ids]
    chance = Random(1)
    chosen = sorted(chance.sample(every, 12))
    _review(filled, chosen)
    filled.transitions.withdraw(every, "X")
    restored = [*lists[0], *lists[2]]
    most = 0

    def watch(_: object, cursor: Any, statement: str, parameters: Any, *__: object) -> None:
        nonlocal most
        if "review FROM reviewed" in statement:
            rows = filled.database.fetch(statement, tuple(parameters))
            most = max(most, len(rows))

    sa.event.listen(filled.database.writer, "after_cursor_execute", watch)
    filled.transitions.restore(restored, TransitionCommand(SYSTEM))
    sa.event.remove(filled.database.writer, "after_cursor_execute", watch)
    counting: dict[int, set[int]] = {}
    for entry, review in filled.database.fetch("SELECT entry, review FROM reviewed"):
        counting.setdefault(entry, set()).add(review)
    for ids in (lists[0], lists[2]):
        for number, entry in enumerate(ids):
            expected = {other for one in lists for other in [one[number]] if other in chosen}
            assert counting.get(entry, set()) == expected
    assert 0 < most < len(chosen)
