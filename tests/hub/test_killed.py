"""A process is killed behind a transaction, whichever: who goes on leaves what the process would have left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from hashhub.hub import Hub
from hashhub.matcher import warm_up
from hashhub.model import EntryState, Marking, MatchOptions, Purpose, Query, ReviewKind, Role, WithdrawalReason
from hashhub.store import schema as s
from tests.hub.conftest import OPERATOR, Desk, digest, item, writer
from tests.hub.killing import DOES, Killing, config, find_conflicts, make_small
from tests.hub.receiving import Receiver, entitled, mirroring

NUMBERS: Final = range(45)
PIECES: Final = 3
ALPHA, BETA = writer("alpha"), writer("beta")


@pytest.fixture(scope="module")
def killing() -> Iterator[Killing]:
    process = Killing()
    yield process
    process.close()


def fill(desk: Desk, what: str) -> None:
    """Lists that share items, and of which one takes another's place."""
    hub = desk.hub
    desk.hash_set("alpha/list", marking=Marking(bulk=True))
    desk.hash_set("beta/list", purpose=Purpose.BENIGN, marking=Marking(bulk=True))
    desk.hash_set("alpha/other", marking=Marking(bulk=True))
    desk.contribute("alpha/other", *(item(n) for n in range(40, 45)))
    desk.contribute("beta/list", *(item(n) for n in range(0, 40, 2)))
    first = [item(n, external_id=f"x{n}") for n in range(40)]
    desk.contribute("alpha/list", *first, *first[:3], batch=8)
    ids = {e.external_id: e.id for e in desk.entries("alpha/list", EntryState.ACTIVE)}
    hub.entries.withdraw(ALPHA, "alpha", "list", ids["x30"], WithdrawalReason.ERROR, "by hand")
    hub.entries.withdraw(ALPHA, "alpha", "list", ids["x31"], WithdrawalReason.REQUESTED_BY_PERSON_SHOWN)
    hub.entries.quarantine(OPERATOR, "alpha", "list", ids["x32"])
    hub.reviews.create(BETA, "alpha", "list", ids["x33"], ReviewKind.FALSE_POSITIVE, "words")
    hub.reviews.create(BETA, "alpha", "list", ids["x2"], ReviewKind.FALSE_POSITIVE, "other words")
    desk.contribute("alpha/list", *(item(n, external_id=f"x{n}", tags=("new",)) for n in range(30)), batch=8)
    assert hub.store.deferred_withdrawals.listed()
    if what not in {"tidying", "revert"}:
        hub.store.commits.tidy()
    if what not in {"conflicts", "tidying", "revert"}:
        find_conflicts(hub)
        assert hub.store.database.fetch("SELECT count(*) FROM conflict") == [(18,)]
    if what == "expiry":
        for name in ("alpha", "beta"):
            hub.retention.update(OPERATOR, name, "list", days=30)


class Copies:
    """Hubs as they are before something is done, each a copy of one that was filled once."""

    def __init__(self, request: pytest.FixtureRequest, directory: Path) -> None:
        self._request = request
        self._directory = directory
        self._made: dict[tuple[str, str], tuple[Path, str]] = {}
        self._count = 0

    def copy(self, kind: str, what: str) -> tuple[Path, str]:
        """Return the data directory and the database, empty on SQLite, of another copy."""
        if (kind, what) not in self._made:
            template = self._request.getfixturevalue("_postgresql_template") if kind == "postgresql" else ""
            made = self._copy(self._request.getfixturevalue("_sqlite_template"), template)
            with Hub.open(config(what, *made)) as hub:
                fill(Desk(hub), what)
            self._made[kind, what] = made
        directory, database = self._made[kind, what]
        return self._copy(directory, database.partition("?")[0].rpartition("/")[2])

    def _copy(self, directory: Path, template: str) -> tuple[Path, str]:
        self._count += 1
        data = shutil.copytree(directory, self._directory / str(self._count))
        server = self._request.getfixturevalue("postgresql") if template else None
        return data, server.create_database(template) if server else ""


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch.setattr)
        warm_up()
    return Copies(request, tmp_path_factory.mktemp("killed"))


# What differs between two runs, and nothing hangs on it.
_BY_CHANCE: Final = {"digest", "salt", "body", "time", "last_use_time", "looked_time", "name"}


def left(hub: Hub) -> dict[str, Any]:
    """All rows, but for what time and chance make of them."""

    def read(c: sa.Connection) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for table in s.tables.sorted_tables:
            columns = [x for x in table.columns if x.name not in _BY_CHANCE and not x.name.endswith("_time")]
            columns = [x for x in columns if (table.name, x.name) not in {("metadata", "head"), ("tile", "hashes")}]
            told[table.name] = sorted(map(repr, c.execute(sa.select(*columns)).all()))
        return told

    told = hub.store.database.read(read)
    told["events"] = [
        (e.revision, e.kind, e.subject, e.reason, e.facts, e.details, e.actor)
        for e in reversed(hub.store.history.list_events(limit=10_000))
    ]
    return told


def check(hub: Hub) -> None:
    """The history is whole, a mirror that begins anew holds what stands, and the matcher says what the rows say."""
    hub.follower.start()
    store = hub.store
    store.history.verify_history(store.database_id)
    auditor = mirroring(Role.AUDITOR, "overseer")
    receiver = Receiver(hub, auditor)
    receiver.catch_up(7)
    assert (receiver.entries, receiver.sets) == entitled(hub, auditor)
    listed: dict[int, set[int]] = {n: set() for n in NUMBERS}
    number = {digest("MD5", n): n for n in NUMBERS}
    for entry, _ in receiver.entries.values():
        listed[number[next(h for h in entry.hashes if h.algorithm == "MD5")]].add(entry.id)
    queries = [Query(hashes=(digest("MD5", n),)) for n in NUMBERS]
    answers = hub.match.hashes(OPERATOR, queries, MatchOptions(policy="any"))[0]
    assert {n: {m.entry.id for m in a.matches} for n, a in zip(NUMBERS, answers, strict=True)} == listed


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("what", DOES)
def test_whoever_goes_on_leaves_what_the_process_would_have_left_that_was_killed(
    killing: Killing, copies: Copies, monkeypatch: pytest.MonkeyPatch, kind: str, what: str
) -> None:
    """Behind each transaction, on PostgreSQL every third, and by turns: a process that is there all the time goes on,
    or one that comes then. What the one does on SQLite, the other does on PostgreSQL.
    """
    make_small(monkeypatch.setattr)
    data, database = copies.copy(kind, what)
    count = killing.have_done(what, data, database)
    with Hub.open(config(what, data, database)) as hub:
        wanted = left(hub)
        check(hub)
    assert count >= PIECES
    for behind in range(1, count + 1, 1 if kind == "sqlite" else 3):
        data, database = copies.copy(kind, what)
        with ExitStack() as stack:
            is_there = behind % 2 == (kind == "sqlite")
            if is_there:
                hub = stack.enter_context(Hub.open(config(what, data, database), publisher=False))
                check(hub)
            killing.have_done(what, data, database, killed_behind=behind)
            if not is_there:
                hub = stack.enter_context(Hub.open(config(what, data, database)))
                hub.take_over()
            DOES[what](hub)
            got = left(hub)
            assert {name: got[name] for name in wanted if got[name] != wanted[name]} == {}, behind
            check(hub)
