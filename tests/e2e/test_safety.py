"""A matcher that may lack something never says that there is nothing. Whatever fails, a listed item is not answered
NO_MATCH.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from hashhub.config import Config
from hashhub.errors import Reason, Unavailable
from hashhub.hashes import Hash
from hashhub.hub import Hub
from hashhub.matcher.snapshot import Directory
from hashhub.model import (
    Contributor,
    ContributorKind,
    HashSet,
    Import,
    MatchOptions,
    Principal,
    Query,
    Record,
    Role,
    Verdict,
)

OPERATOR = Principal(name="operator", role=Role.OPERATOR)
KNOWN = Hash("MD5", bytes(range(16)))


def contribute(hub: Hub, number: int = 0) -> None:
    """List one item, the known one by default."""
    digest = bytes([*KNOWN.digest[:15], KNOWN.digest[15] + number])
    opened = hub.contribute.open(
        OPERATOR,
        Import(
            id="",
            contributor="hotline",
            hash_set="known",
            connector="test",
            connector_version="1",
            source_digest=f"{number:064x}",
        ),
    )
    record = Record(position="line 1", hashes=(Hash("MD5", digest),))
    hub.contribute.add(OPERATOR, opened.id, 0, [record], [])
    hub.contribute.commit(OPERATOR, opened.id, batch_count=1)


def verdict(hub: Hub) -> Verdict | Reason:
    try:
        (answer,), _ = hub.match.hashes(OPERATOR, [Query(hashes=(KNOWN,))], MatchOptions(policy="any"))
    except Unavailable as e:
        return e.reason
    return answer.verdict


@pytest.fixture
def data(sqlite_directory: Path) -> Path:
    with Hub.open(Config(data=str(sqlite_directory))) as hub:
        hub.contributors.create(
            OPERATOR, Contributor(id="hotline", display_name="Hotline", kind=ContributorKind.HOTLINE, jurisdiction="GB")
        )
        hub.hash_sets.create(OPERATOR, HashSet(contributor="hotline", id="known"))
    return sqlite_directory


def test_a_hub_that_cannot_look_for_changes_does_not_say_that_there_is_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr("hashhub.hub.health.STALE_SECONDS", 0.3)
    config = Config(data=str(data), poll_interval=0.05)
    with Hub.open(config) as here, Hub.open(config, publisher=False) as there:
        here.start()
        there.start()
        wait_until(lambda: verdict(there) is Verdict.NO_MATCH)

        def away() -> NoReturn:
            raise Unavailable("the database is away", reason=Reason.DATABASE_UNAVAILABLE)

        with monkeypatch.context() as broken:
            broken.setattr(there.store.history, "position", away)
            contribute(here)
            wait_until(lambda: verdict(here) is Verdict.MATCH)  # it looks in time, sooner or later
            # What it may say about nothing it says for a moment only.
            wait_until(lambda: verdict(there) is Reason.MATCHER_NOT_READY)
            assert there.is_ready, "it comes back by itself, so health does not send callers away"
        wait_until(lambda: verdict(there) is Verdict.MATCH)


def test_a_snapshot_is_checked_before_it_answers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(data=str(data))
    with Hub.open(config) as hub:
        hub.start()
        contribute(hub)
        hub.matcher.compact()
    for file in data.glob("matcher/*/snapshots/*/*"):
        if file.suffix != ".json":
            file.write_bytes(bytes(b ^ 0xFF for b in file.read_bytes()))
    may_go_on = threading.Event()
    real = Directory.verify

    def verify(self: Directory, *arguments: Any) -> None:
        assert may_go_on.wait(30)
        real(self, *arguments)

    monkeypatch.setattr(Directory, "verify", verify)
    with Hub.open(config) as hub:
        hub.start(wait=False)
        time.sleep(0.5)
        assert verdict(hub) is Reason.MATCHER_NOT_READY
        may_go_on.set()
        while not hub.is_ready:
            time.sleep(0.01)
        assert verdict(hub) is Verdict.MATCH


def test_a_database_restored_under_a_running_hub_stops_its_answers_for_good(data: Path) -> None:
    import sqlite3

    config = Config(data=str(data), poll_interval=60.0)
    with Hub.open(config) as hub:
        hub.start()
        contribute(hub, 1)
        with sqlite3.connect(data / "hashhub.db") as c:
            c.execute("UPDATE metadata SET revision = revision - 2")
        c.close()
        with pytest.raises(Unavailable, match="restored from an older backup"):
            hub.follower.catch_up()
        # The database goes on, and gets as far as it was: what it committed on the way, this matcher has not seen.
        with sqlite3.connect(data / "hashhub.db") as c:
            c.execute("UPDATE metadata SET revision = revision + 5")
        c.close()
        with pytest.raises(Unavailable, match="restart the hub"):
            hub.follower.catch_up()
        assert verdict(hub) is Reason.MATCHER_NOT_READY
