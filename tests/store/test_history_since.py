"""The history since a time: what is returned, and what it costs, where clocks went forward and back."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import sqlalchemy as sa

from hashhub.model import Event, EventBody, EventKind, Role
from hashhub.store import Store
from hashhub.store import schema as s
from hashhub.store.events import VERSION, _encode

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STEP: Final = 10  # of SQLite's machine, that are counted as one


def _write(store: Store, seconds: Sequence[int], subjects: Sequence[str] = ()) -> None:
    """Write an event for each time, in seconds after the start; every hundredth is about a webhook, by another. Where
    `subjects` are given, they are about these.
    """
    events, details = [], []
    for revision, second in enumerate(seconds, 1):
        time = s.to_millis(_START) + second * 1000
        about, actor = (
            ("webhooks/alpha/one", "hook") if revision % 100 == 0 else (f"hash-sets/alpha/{revision % 3}", "a")
        )
        kind = EventKind.HASH_SET_UPDATED
        if subjects:
            about = subjects[revision - 1]
        body = _encode(EventBody(VERSION, revision, time, actor, "", Role.OPERATOR, kind, about, "", {}, ""))
        events.append(
            {"revision": revision, "time": time, "actor": actor, "kind": kind, "subject": about, "body": body}
            | {"digest": b"d"}
        )
        details.append({"revision": revision, "salt": b"", "content": b"{}"})
    with store.database.write() as c:
        for table, rows in ((s.event, events), (s.event_detail, details)):
            for start in range(0, len(rows), 10_000):
                c.execute(sa.insert(table), rows[start : start + 10_000])
        c.execute(sa.update(s.metadata).values(revision=len(seconds)))


def _pages(store: Store, since: datetime, **asked: Any) -> Iterator[list[Event]]:
    before = 0
    while page := store.history.list_events(since=since, before_revision=before, limit=100, **asked):
        yield page
        before = page[-1].revision


def _clock(chance: random.Random, count: int) -> list[int]:
    """Times of a clock that is set wrong now and then, and set right again."""
    wrong, seconds = 0, []
    for second in range(count):
        if chance.random() < 0.001:
            wrong = chance.choice([0, 0, -5_000, 5_000, -300, 300, 10**8])
        seconds.append(second + wrong)
    return seconds


@pytest.mark.parametrize("seed", range(2))
def test_it_is_every_event_since_the_time_whatever_the_clock_did(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    seconds = _clock(chance, 4_500)
    _write(store, seconds)
    for since in (-10_000, 0, 4_499, 10**9, *chance.choices(seconds, k=4)):
        time = _START + timedelta(seconds=since)
        expected = [n for n in range(len(seconds), 0, -1) if seconds[n - 1] >= since]
        assert [e.revision for page in _pages(store, time) for e in page] == expected
        hooks = [n for n in expected if n % 100 == 0]
        for asked in ({"actor": "hook"}, {"subjects": ["webhooks/alpha"]}):
            assert [e.revision for page in _pages(store, time, **asked) for e in page] == hooks
        newer = [e.revision for page in _pages(store, time, after_revision=3_000) for e in page]
        assert newer == [n for n in expected if n > 3_000]
        earlier = max((n for n in range(1, len(seconds) + 1) if seconds[n - 1] < since), default=0)
        assert store.history.revision_before(time) <= earlier


@contextmanager
def counted(store: Store) -> Iterator[Callable[[], int]]:
    """Count the steps that SQLite takes for what is read and written meanwhile, whatever the machine."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    def watch(connection: Any, *_: object) -> None:
        connection.set_progress_handler(count, _STEP)

    engines = (store.database.readers, store.database.writer)
    for engine in engines:
        sa.event.listen(engine, "checkout", watch)
    try:
        yield lambda: taken
    finally:
        for engine in engines:
            sa.event.remove(engine, "checkout", watch)


def test_it_costs_what_it_returns(sqlite_directory: Any) -> None:
    count = 20_000
    seconds = list(range(count))
    with closing(Store.open(sqlite_directory)) as store:
        _write(store, seconds)
        since = _START + timedelta(seconds=count - 50)
        for asked in ({}, {"actor": "a"}, {"subjects": ["hash-sets/alpha/1"]}, {"actor": "nobody"}):
            with counted(store) as steps:
                events = [e for page in _pages(store, since, **asked) for e in page]
            if not asked:
                assert len(events) == 50
            assert steps() < 6_000  # all events are ten steps each, and an answer's as well
        with counted(store) as steps:
            assert store.history.revision_before(since) == count - 50
        assert steps() < 1_000


@pytest.mark.parametrize("is_analysed", [False, True])
def test_postgresql_drops_few_rows_for_it(postgresql_url: str, *, is_analysed: bool) -> None:
    count = 30_000
    seconds = range(count)
    since = _START + timedelta(seconds=count - 10)
    dropped = 0

    def explain(c: Any, _: object, statement: str, parameters: Any, *__: object) -> None:
        nonlocal dropped
        if not statement.startswith("EXPLAIN") and "event" in statement:
            plan = c.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT TEXT) {statement}", parameters).all()
            dropped += sum(int(n) for row in plan for n in re.findall(r"Rows Removed by Filter: (\d+)", row[0]))
            assert not any("Seq Scan on event" in row[0] for row in plan)

    with closing(Store.open(postgresql_url)) as store:
        _write(store, seconds)
        if is_analysed:
            with store.database.write() as c:
                c.exec_driver_sql("ANALYZE")
        sa.event.listen(store.database.readers, "before_cursor_execute", explain)
        assert len(store.history.list_events(since=since, limit=100)) == 10
        assert store.history.list_events(since=since, actor="nobody", limit=100) == []
        assert store.history.revision_before(since) == count - 10
    assert dropped < 8_000


def test_postgresql_looks_for_an_actor_among_its_own_whoever_it_is(postgresql_url: str) -> None:
    """Its plans are made without the values, which may be those of an actor with hardly any events."""
    plans: list[str] = []

    def explain(c: Any, _: object, statement: str, *__: object) -> None:
        if statement.startswith("SELECT") and "event.actor" in statement:
            numbers = itertools.count(1)
            generic = re.sub(r"%\(\w+\)s", lambda _: f"${next(numbers)}", statement)
            c.exec_driver_sql(f"PREPARE asked AS {generic}")
            values = ", ".join(["NULL"] * (next(numbers) - 1))
            plan = c.exec_driver_sql(f"EXPLAIN EXECUTE asked ({values})").all()
            c.exec_driver_sql("DEALLOCATE asked")
            plans.append("\n".join(row[0] for row in plan))

    with closing(Store.open(postgresql_url)) as store:
        _write(store, range(3_000))
        with store.database.write() as c:
            c.exec_driver_sql("ANALYZE")
        sa.event.listen(store.database.readers, "before_cursor_execute", explain)
        for asked in ({}, {"since": _START}, {"before_revision": 2_000}, {"after_revision": 1_000}):
            events = store.history.list_events(actor="hook", limit=5, **asked)
            assert [e.revision for e in events] == list(range(1_900 if "before_revision" in asked else 3_000, 0, -100))[
                :5
            ]
    assert len(plans) == 4
    assert all("event_actor" in plan and "event_pkey" not in plan for plan in plans)


_OF_SET: Final = ("hash-sets/alpha/list", "entries/alpha/list", "imports/alpha/list")


def _about(chance: random.Random, count: int, layout: str) -> list[str]:
    """Subjects of events, half of them about one hash set or what is in it."""

    def own() -> str:
        one = chance.choice(_OF_SET)
        return one if one.startswith("hash-sets/") else f"{one}/{chance.randrange(count)}"

    def other() -> str:
        return f"entries/alpha/list{chance.choice('-0s')}/{chance.randrange(count)}"

    if layout == "mixed":
        return [own() if chance.random() < 0.5 else other() for _ in range(count)]
    if layout == "rare":
        return [own() if chance.random() < 0.003 else other() for _ in range(count)]
    half = count // 2
    halves = [own() for _ in range(half)], [other() for _ in range(half)]
    return [*halves[layout == "new"], *halves[layout != "new"]]


@pytest.mark.parametrize("layout", ["mixed", "rare", "old", "new"])
def test_a_hash_sets_history_is_every_event_about_it(store: Store, layout: str) -> None:
    subjects = _about(random.Random(layout), 8_000, layout)
    _write(store, range(len(subjects)), subjects)
    about = tuple(f"{x}/" for x in _OF_SET)
    expected = [n for n in range(len(subjects), 0, -1) if f"{subjects[n - 1]}/".startswith(about)]
    revisions: list[int] = []
    while page := store.history.list_events(
        subjects=_OF_SET, before_revision=revisions[-1] if revisions else 0, limit=700
    ):
        revisions += [e.revision for e in page]
    assert revisions == expected
    newer = store.history.list_events(subjects=_OF_SET, after_revision=expected[20], limit=700)
    assert [e.revision for e in newer] == expected[:20]
    since = _START + timedelta(seconds=expected[20])
    assert [e.revision for e in store.history.list_events(subjects=_OF_SET, since=since, limit=700)] == expected[:20]
    actors = store.history.list_events(subjects=_OF_SET, actor="hook", limit=20)
    assert [e.revision for e in actors] == [n for n in expected if n % 100 == 0][:20]


@pytest.mark.parametrize("layout", ["mixed", "rare", "old", "new"])
def test_a_page_of_a_hash_set_costs_what_it_returns(sqlite_directory: Any, layout: str) -> None:
    """Where nothing was about it for long, the first page looks through that once: some two steps for each."""
    count = 20_000
    with closing(Store.open(sqlite_directory)) as store:
        _write(store, range(count), _about(random.Random(layout), count, layout))
        before, pages, first, whole = 0, 0, 0, 0
        while pages < 20:
            with counted(store) as steps:
                page = store.history.list_events(subjects=_OF_SET, before_revision=before, limit=30)
            if not page:
                break
            first, whole, pages = first or steps(), whole + steps(), pages + 1
            before = page[-1].revision
    assert first < (50_000 if layout == "old" else 10_000)
    assert pages > 1
    assert (whole - first) / (pages - 1) < 4_000
