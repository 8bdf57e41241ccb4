"""Commits of processes that died, and of those that did not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hashhub.errors import Conflict
from hashhub.model import Counts, ImportState, now
from hashhub.store import Store
from hashhub.store import schema as s

_COMMITS = """
import sys
from hashhub.store import Store
store = Store.open(sys.argv[1])
store.commits.begin_commit(sys.argv[2])
print("begun", flush=True)
sys.stdin.read()
"""
_SECONDS = 40.0  # for the server to notice that a process has died: far less than a lease, more than any machine takes


@contextmanager
def _committing(database: str, import_id: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has begun a commit."""
    command = [sys.executable, "-c", _COMMITS, database, import_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def _taken_over(take_over: Callable[[], object]) -> None:
    """Take a commit over as soon as that is possible."""
    end = time.monotonic() + _SECONDS
    while True:
        try:
            take_over()
        except Conflict:
            assert time.monotonic() < end
            time.sleep(0.02)
        else:
            return


def _lease(store: Store, import_id: str) -> tuple[str, int]:
    rows = store._db.fetch(store._db.sql('SELECT lease, lease_until FROM "import" WHERE id = ?'), (import_id,))
    return rows[0][0], rows[0][1]


@pytest.mark.parametrize("cancels", [False, True])
def test_the_commit_of_a_killed_process_goes_on_before_its_lease_has_run_out(
    postgresql_url: str, fill: Any, *, cancels: bool
) -> None:
    store = Store.open(postgresql_url)
    fill.register(store)
    import_id = fill.begin(store)
    store.leases.release_commit(import_id)

    def take_over() -> None:
        if cancels:
            store.imports.cancel_import(import_id)
        else:
            store.commits.begin_commit(import_id)

    with _committing(postgresql_url, import_id) as process:
        until = _lease(store, import_id)[1]
        for _ in range(3):
            with pytest.raises(Conflict):
                take_over()
        process.send_signal(signal.SIGKILL)
        process.wait()
        _taken_over(take_over)
    assert s.to_millis(now()) < until
    if not cancels:
        fill.stage(store, import_id, [1])
        store.commits.finish_commit(import_id, counts=Counts())
    state = ImportState.CANCELLED if cancels else ImportState.COMMITTED
    assert store.imports.get_import(import_id).state is state
    store.close()


def test_whoever_is_taken_for_dead_is_fenced_off_and_is_seen_again_later(postgresql_url: str, fill: Any) -> None:
    one, other = Store.open(postgresql_url), Store.open(postgresql_url)
    fill.register(one)
    import_id = fill.begin(one)
    fill.stage(one, import_id, [1])
    with pytest.raises(Conflict):
        other.commits.begin_commit(import_id)
    assert one._db.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    _taken_over(lambda: other.commits.begin_commit(import_id))
    with pytest.raises(Conflict):
        one.commits.finish_commit(import_id, counts=Counts())
    fill.stage(other, import_id, [2])
    other.commits.finish_commit(import_id, counts=Counts())
    # Its next commit is its own again.
    second = fill.begin(one)
    with pytest.raises(Conflict):
        other.commits.begin_commit(second)
    fill.stage(one, second, [3])
    one.commits.finish_commit(second, counts=Counts())
    one.close()
    other.close()


def test_a_lease_that_tells_nothing_of_its_holder_runs_out(postgresql_url: str, fill: Any) -> None:
    """One of an earlier version, or of a process that got no session for it."""
    one, other = Store.open(postgresql_url), Store.open(postgresql_url)
    fill.register(one)
    import_id = fill.begin(one)
    with one._db.write() as c:
        c.exec_driver_sql("UPDATE import SET lease = '0123456789abcdef'")
    one.close()
    with pytest.raises(Conflict):
        other.commits.begin_commit(import_id)
    other.close()
