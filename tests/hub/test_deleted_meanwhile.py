"""A hash set is deleted while a list of it is on its way in: before whichever of the steps that are written, nothing of
it becomes visible, nobody is told of it afterwards, and no row stays.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from hashhub.config import Config
from hashhub.errors import HashHubError
from hashhub.hub import Hub, contribute
from hashhub.model import EntryState, Import, Marking, Role
from hashhub.store import stage
from hashhub.store.database import Database
from tests.hub.conftest import OPERATOR, Desk, item
from tests.hub.receiving import Receiver, entitled, mirroring
from tests.hub.test_retention import rows

STEPS = 5


@pytest.fixture
def hubs(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Desk, Desk]]:
    """Two hubs at one database: at the one a list comes in, at the other the hash set is deleted."""
    monkeypatch.setattr(contribute, "PIECE", 10)
    monkeypatch.setattr(stage, "RUN", 500)
    is_url = "://" in database
    config = Config(data=str(tmp_path / "hub") if is_url else database, database=database if is_url else "")
    with ExitStack() as stack:
        first = stack.enter_context(Hub.open(config))
        second = stack.enter_context(Hub.open(config, publisher=False))
        for hub in (first, second):
            hub.follower.start()
        yield Desk(first), Desk(second)


@contextmanager
def before_write(number: int, act: Callable[[], Any]) -> Iterator[Callable[[], int]]:
    """Act once, before this thread's write with a number begins; give how many there were."""
    real, me = Database.write, threading.get_ident()
    count = 0
    is_acting = False

    @contextmanager
    def write(self: Database) -> Iterator[Connection]:
        nonlocal count, is_acting
        if threading.get_ident() == me and not is_acting:
            count += 1
            if count == number:
                is_acting = True
                act()
                is_acting = False
        with real(self) as c:
            yield c

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "write", write)
        yield lambda: count


@pytest.mark.parametrize(
    ("database", "replace"), [("sqlite", False), ("sqlite", True), ("postgresql", True)], indirect=["database"]
)
def test_before_whichever_step(hubs: tuple[Desk, Desk], replace: bool) -> None:
    desk, elsewhere = hubs
    desk.hash_set("alpha/other", marking=Marking(bulk=True))
    desk.contribute("alpha/other", item(1), item(1000))
    auditor = mirroring(Role.AUDITOR, "overseer")
    receiver = Receiver(desk.hub, auditor)
    count = 0
    for number in itertools.count(1):
        name = f"list{number}"
        desk.hash_set(f"alpha/{name}", marking=Marking(bulk=True))
        desk.contribute(f"alpha/{name}", *(item(n, external_id=f"x{n}") for n in range(20)))
        receiver.catch_up(7)

        def delete(name: str = name) -> None:
            receiver.page(3)
            # As where whoever commits stood still for so long that it was taken for dead.
            elsewhere.hub.store.leases.expire_leases()
            elsewhere.hub.retention.delete(OPERATOR, "alpha", name)
            elsewhere.hub.follower.catch_up()
            receiver.page(3)

        changed = [item(n, external_id=f"x{n}", tags=("new",)) for n in range(10, 50)]
        done: Import | None = None
        with before_write(number, delete) as written:
            with suppress(HashHubError):
                done = desk.contribute(f"alpha/{name}", *changed, replace=replace, batch=20, source=f"changed {number}")
            count = written()
        if count < number:  # it was over before
            assert done is not None
            break
        assert done is None
        check_gone(desk, elsewhere, receiver, name)
    assert count >= STEPS
    desk.hub.store.history.verify_history(desk.hub.store.database_id)


def check_gone(desk: Desk, elsewhere: Desk, receiver: Receiver, name: str) -> None:
    for at in (desk, elsewhere):
        at.hub.follower.catch_up()
        assert at.known(*range(50), 1000) == [1, 1000]
        assert not [x for x in at.hub.hash_sets.list(OPERATOR, None, 100, "")[0] if x.id == name]
    receiver.catch_up(7)
    assert (receiver.entries, receiver.sets) == entitled(desk.hub, receiver.who)
    elsewhere.hub.keeper.delete_rows()
    assert set(rows(desk, name).values()) == {0}
    assert desk.known(*range(50), 1000) == [1, 1000]
    assert len(desk.entries("alpha/other", EntryState.ACTIVE)) == 2
    receiver.catch_up(7)
    fresh = Receiver(elsewhere.hub, receiver.who)
    fresh.catch_up(7)
    assert (fresh.entries, fresh.sets) == (receiver.entries, receiver.sets)
