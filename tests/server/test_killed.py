"""A hub that is killed behind a large update: nothing is lost, nothing is there twice, and it is ready soon."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from hashhub.client import Client
from hashhub.model import Contributor, ContributorKind, EntryState, HashSet, MatchOptions, Query, Verdict, number_of
from hashhub.store import Store
from hashhub.testing.lists import write_many_vics
from tests.patience import wait_until
from tests.warm import Warm

COUNT = 12_000  # more than are written into rows at once
READY_SECONDS = 60.0  # on whatever machine the tests run


def edition(directory: Path, changed_every: tuple[int, ...], copy: int = 0) -> Path:
    path = directory / f"list-{len(changed_every)}-{copy}.json"
    with path.open("wb") as out:
        write_many_vics(out, COUNT, seed=1, changed_every=changed_every)
        out.write(b"\n" * copy)
    return path


@pytest.mark.parametrize("seconds", [0.0, 0.4])
def test_right_after_it_or_while_it_tidies_up(warmed: Warm, database: str, tmp_path: Path, seconds: float) -> None:
    is_url = "://" in database
    data = tmp_path / "hub" if is_url else Path(database)
    arguments = ["--workers", "1", *(["--database", database] if is_url else [])]
    with warmed.hub(data, *arguments) as hub, Client(hub.address, hub.token) as client:
        client.create_contributor(
            Contributor(id="alpha", display_name="Alpha", kind=ContributorKind.HOTLINE, jurisdiction="GB")
        )
        client.create_hash_set(HashSet(contributor="alpha", id="list", scheme="vic-us"))
        for changed in ((), (1,)):
            source = edition(tmp_path, changed)
            client.import_source(source, connector="vics", hash_set="alpha/list")
        time.sleep(seconds)
        os.kill(hub.pid, signal.SIGKILL)
    begun = time.monotonic()
    with warmed.hub(data, *arguments) as hub, Client(hub.address, hub.token) as client:
        assert time.monotonic() - begun < READY_SECONDS
        store = Store.open(database)
        try:
            ids = store.entries.active_ids("alpha", "list").tolist()
            assert len(ids) == COUNT
            assert store.entries.entry_count("alpha", "list", EntryState.WITHDRAWN) == COUNT
            stated = store.entries.get_entries([ids[0], ids[-1]])
            queries = [Query(hashes=entry.hashes[:1]) for entry in stated.values()]
            for answer in client.match_hashes(queries, MatchOptions(policy="any")):
                assert answer.result.verdict is Verdict.MATCH
                assert {match.entry.id for match in answer.result.matches} <= set(map(number_of, ids))
            wait_until(lambda: not store.deferred_withdrawals.listed())
            wait_until(lambda: not store.database.fetch("SELECT count(*) FROM staged_batch")[0][0])
            assert store.entries.active_ids("alpha", "list").tolist() == ids
            assert store.entries.entry_count("alpha", "list", EntryState.WITHDRAWN) == COUNT
        finally:
            store.close()
        again = client.import_source(edition(tmp_path, (1,), copy=1), connector="vics", hash_set="alpha/list")
        assert (again.source.counts.unchanged, again.source.counts.superseded) == (COUNT, 0)
