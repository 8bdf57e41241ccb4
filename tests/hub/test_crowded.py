"""One token writes as much as it may: what others ask for takes no time by the square of that."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub.errors import LimitExceeded, Reason
from hashhub.hub import entries as entries_module
from hashhub.model import Event, EventKind, QueueItem, QueueKind, ReviewKind, number_of
from hashhub.store.database import Database
from tests.hub.conftest import OPERATOR, Desk, Open, item, writer

_STEP: int = 10  # of SQLite's machine, that are counted as one


def _steps(desk: Desk, file: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[], object]) -> int:
    """Return how many steps SQLite takes for the statements by which something reads, whatever the machine."""
    store = desk.hub.store
    asked: list[tuple[str, Any]] = []
    fetch = Database.fetch

    def noted(database: Database, sql: str, parameters: Any = ()) -> Any:
        if database is store.database:
            asked.append((sql, parameters))
        return fetch(database, sql, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "fetch", noted)
        read()
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as c:
        c.set_progress_handler(count, _STEP)
        for sql, parameters in asked:
            c.execute(sql, parameters).fetchall()
    return taken


def _review(desk: Desk, entry: int, times: int) -> None:
    for _ in range(times):
        desk.hub.reviews.create(writer("beta"), "alpha", "list", entry, ReviewKind.FALSE_POSITIVE)


def _objections(desk: Desk) -> list[QueueItem]:
    return [x for x in desk.hub.queue.list(writer("alpha")) if x.kind is QueueKind.OBJECTION]


def test_the_queue_takes_no_longer_for_each_review_however_many_an_entry_has(
    open_hub: Open, sqlite_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries_module, "REVIEWS_A_DAY", 1_000)  # as many came in together before there was a bound
    desk = Desk(open_hub(start=False))
    desk.hash_set("alpha/list")
    desk.contributor("beta")
    desk.contribute("alpha/list", item(1), item(2))
    [flooded, other] = [e.id for e in desk.entries("alpha/list")]
    file = sqlite_directory / "hashhub.db"
    _review(desk, flooded, 50)
    few = _steps(desk, file, monkeypatch, lambda: _objections(desk))
    _review(desk, flooded, 150)
    many = _steps(desk, file, monkeypatch, lambda: _objections(desk))
    assert many < 2 * 200 / 50 * few
    [objection] = _objections(desk)
    assert (objection.reason, objection.count) == (ReviewKind.FALSE_POSITIVE, 1)
    _review(desk, other, 1)
    [objection] = _objections(desk)
    assert objection.count == 2


def test_an_objection_waits_until_it_is_set_aside_and_each_entry_by_itself(any_desk: Desk) -> None:
    desk = any_desk
    desk.hash_set("alpha/list")
    desk.contributor("beta")
    desk.contribute("alpha/list", item(1), item(2))
    entries = [e.id for e in desk.entries("alpha/list")]
    for entry in entries:
        _review(desk, entry, 2)
    for set_aside, (entry, waiting) in enumerate(((entries[0], 2), (entries[0], 1), (entries[1], 1), (entries[1], 0))):
        review = desk.hub.reviews.list(OPERATOR, "alpha", "list", entry, 100, 0)[0][set_aside % 2]
        desk.hub.reviews.set_aside(OPERATOR, "alpha", "list", entry, number_of(review.id), "does not hold")
        assert sum(x.count for x in _objections(desk)) == waiting


def test_nobody_reviews_one_entry_without_end(any_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each match of the entry reads all that was said of it."""
    monkeypatch.setattr(entries_module, "REVIEWS_A_DAY", 3)
    desk = any_desk
    desk.hash_set("alpha/list")
    desk.contributor("beta")
    desk.contributor("gamma")
    desk.contribute("alpha/list", item(1), item(2))
    [flooded, other] = [e.id for e in desk.entries("alpha/list")]
    create = desk.hub.reviews.create
    for kind in (ReviewKind.CONFIRMED, ReviewKind.FALSE_POSITIVE, ReviewKind.CONFIRMED):
        create(writer("beta"), "alpha", "list", flooded, kind)
    for kind in (ReviewKind.CONFIRMED, ReviewKind.FALSE_POSITIVE):
        with pytest.raises(LimitExceeded) as refused:
            create(writer("beta"), "alpha", "list", flooded, kind)
        assert refused.value.reason is Reason.SHARE_EXCEEDED
        assert refused.value.metadata["most"] == "3"
    create(writer("gamma"), "alpha", "list", flooded, ReviewKind.FALSE_POSITIVE)
    create(writer("beta"), "alpha", "list", other, ReviewKind.FALSE_POSITIVE)
    operator = msgspec.structs.replace(OPERATOR, contributor="beta")
    for _ in range(4):  # an operator may, and takes none from its contributor's
        create(operator, "alpha", "list", flooded, ReviewKind.CONFIRMED)
    create(operator, "alpha", "list", other, ReviewKind.CONFIRMED)
    for _ in range(2):
        create(writer("beta"), "alpha", "list", other, ReviewKind.CONFIRMED)
    with desk.hub.store.database.write() as c:  # a day later
        c.exec_driver_sql("UPDATE review SET create_time = create_time - 86400001")
    create(writer("beta"), "alpha", "list", flooded, ReviewKind.FALSE_POSITIVE)
    assert len(desk.hub.reviews.list(OPERATOR, "alpha", "list", flooded, 100, 0)[0]) == 9


def test_the_history_of_an_entry_since_a_time_walks_no_changes_before(
    open_hub: Open, sqlite_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(open_hub(start=False))
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", item(1))
    store, [entry] = desk.hub.store, desk.entries("alpha/list")
    name = f"entries/{entry.name}"
    first, count = store.revision(), 20_000
    with store.database.write() as c:  # what others did since, a second each
        c.exec_driver_sql(
            "INSERT INTO event (revision, time, actor, kind, subject, body, digest) "
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "SELECT ? + i, (SELECT max(time) FROM event) + i * 1000, 'a', 'IMPORT_COMMITTED', 'imports/beta/b/1', "
            "'', '' FROM n",
            (count, first),
        )
        c.exec_driver_sql(
            'INSERT INTO change (revision, ordinal, kind, first_entry, last_entry, "import", hash_set) '
            "SELECT revision, 0, 2, 1000000, 1000001, 0, 1 FROM event WHERE revision > ?",
            (first,),
        )
        c.exec_driver_sql("UPDATE metadata SET revision = revision + ?", (count,))
        c.exec_driver_sql("UPDATE log SET first_revision = ?", (first + count + 1,))  # they are in no log
    desk.hub.reviews.create(writer("beta"), "alpha", "list", entry.id, ReviewKind.CONFIRMED)
    with store.database.write() as c:
        c.exec_driver_sql(
            "UPDATE event SET time = (SELECT max(time) FROM event) + 1 WHERE revision > ?", (first + count,)
        )
    millis = store.database.fetch("SELECT max(time) FROM event")[0][0]
    since = datetime.fromtimestamp(millis / 1000 - 60, UTC)
    told: list[Event] = []

    def ask(time: datetime | None) -> None:
        """All pages: one looks at 20,000 revisions at most, and may be short."""
        told[:], before = desk.hub.history.list(OPERATOR, name, "", time, 100, 0)
        while before:
            events, before = desk.hub.history.list(OPERATOR, name, "", time, 100, before)
            told.extend(events)

    file = sqlite_directory / "hashhub.db"
    assert _steps(desk, file, monkeypatch, lambda: ask(since)) < count // 5  # each change is more than ten steps
    assert [e.kind for e in told] == [EventKind.ENTRIES_REVIEWED]
    ask(None)
    assert [e.kind for e in told] == [EventKind.ENTRIES_REVIEWED, EventKind.IMPORT_COMMITTED]
