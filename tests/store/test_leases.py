"""What processes were at that died, and those that did not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from hashhub.errors import Conflict, Reason
from hashhub.holders import new_holder
from hashhub.model import Actor, Counts, EventKind, ImportState, OperationState, Role, now
from hashhub.store import Store, commits, deletion, imports, leases, operations, webhooks
from hashhub.store import schema as s
from tests.patience import wait_until

_ADA: Final = Actor("ada", "operator", Role.OPERATOR)
_PROCESS: Final = """
import sys
from hashhub.holders import new_holder
from hashhub.store import Store
store = Store.open(sys.argv[1])
{}
print("begun", flush=True)
sys.stdin.read()
"""
_COMMITS: Final = "store.commits.begin_commit(sys.argv[2])"
_CLAIMS: Final = "assert store.operations.claim(new_holder())"
_CALLS: Final = "assert store.webhooks.take_lease(new_holder())"
# Killed in the middle of a step, whose transaction stands and is not committed.
_DELETES: Final = """
from hashhub.store import deletion
deletion.PURGED_AT_ONCE = 10
for _ in range(int(sys.argv[3])):
    assert store.deletions.step(int(sys.argv[2]))
def waits(*arguments, **named):
    gone = purge_entries(*arguments, **named)
    print("begun", flush=True)
    sys.stdin.read()
    return gone
purge_entries, deletion.purge_entries = deletion.purge_entries, waits
store.deletions.step(int(sys.argv[2]))
"""
_SECONDS: Final = 40.0  # far less than a lease, more than any machine takes


@contextmanager
def _another(does: str, database: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has done something and waits."""
    command = [sys.executable, "-c", _PROCESS.format(does), database, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def _committing(database: str, import_id: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Another process that has begun a commit."""
    return _another(_COMMITS, database, import_id)


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
    rows = store.database.fetch('SELECT lease, lease_until FROM "import" WHERE id = ?', (import_id,))
    return rows[0][0], rows[0][1]


@pytest.mark.parametrize("cancels", [False, True])
def test_the_commit_of_a_killed_process_goes_on_before_its_lease_has_run_out(
    database: str, fill: Any, *, cancels: bool
) -> None:
    store = Store.open(database)
    fill.register(store)
    import_id = fill.begin(store)
    store.leases.release_commit(import_id)

    def take_over() -> None:
        if cancels:
            store.imports.cancel_import(import_id)
        else:
            store.commits.begin_commit(import_id)

    with _committing(database, import_id) as process:
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


def test_a_lease_that_tells_nothing_of_its_holder_runs_out(database: str, fill: Any) -> None:
    """One of another machine, or of a container."""
    one, other = Store.open(database), Store.open(database)
    fill.register(one)
    import_id = fill.begin(one)
    with one.database.write() as c:
        c.exec_driver_sql("UPDATE import SET lease = '0123456789abcdefx99x1x0123456789abcdef'")
    one.close()
    with pytest.raises(Conflict):
        other.commits.begin_commit(import_id)
    other.close()


def test_the_operation_of_a_killed_process_has_ended_before_its_lease_has_run_out(database: str) -> None:
    store = Store.open(database)
    operation = store.operations.create("FindLinks", b"{}", by=_ADA)
    with _another(_CLAIMS, database) as process:
        assert store.operations.get(operation.id).state is OperationState.RUNNING
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: store.operations.get(operation.id).has_ended, _SECONDS)
    failure = store.operations.get(operation.id).failure
    assert failure is not None
    assert failure.reason == Reason.OPERATION_ABORTED
    store.operations.create("FindLinks", b"{}", by=_ADA)
    assert store.operations.claim(new_holder()) is not None
    store.close()


def test_an_operation_goes_on_that_was_renewed_since_it_was_looked_at(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(postgresql_url)
    operation = store.operations.create("FindLinks", b"{}", by=_ADA)
    lease = new_holder()
    assert store.operations.claim(lease) is not None
    ((key, until),) = store.database.fetch("SELECT key, lease_until FROM operation")
    monkeypatch.setattr(operations.OperationTable, "abandoned", lambda *_: {key: until - 1})
    assert store.operations.get(operation.id).state is OperationState.RUNNING
    monkeypatch.setattr(operations.OperationTable, "abandoned", lambda *_: {key: until})
    assert store.operations.get(operation.id).state is OperationState.FAILED
    store.close()


def test_a_hash_set_into_which_a_killed_process_commits_can_be_deleted(database: str, fill: Any) -> None:
    store = Store.open(database)
    fill.register(store)
    fill.contribute(store, [1])
    import_id = fill.begin(store)
    store.leases.release_commit(import_id)

    def delete() -> None:
        store.deletions.delete("alpha", "list", most_alone=None, comment="", by=_ADA)

    with _committing(database, import_id) as process:
        with pytest.raises(Conflict):
            delete()
        process.send_signal(signal.SIGKILL)
        process.wait()
        _taken_over(delete)
    assert store.deletions.is_deleted("alpha", "list")
    store.close()


def test_another_process_makes_the_calls_of_one_that_was_killed(database: str) -> None:
    store = Store.open(database)
    with _another(_CALLS, database) as process:
        lease = new_holder()
        assert not store.webhooks.take_lease(lease)
        until = store.database.fetch("SELECT lease_until FROM sender")[0][0]
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: store.webhooks.take_lease(lease), _SECONDS)
    assert s.to_millis(now()) < until
    store.close()


@pytest.mark.parametrize("steps", [1, 3])
def test_a_deletion_that_a_killed_process_was_at_goes_on_at_once(
    database: str, fill: Any, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Nobody sees any of it meanwhile, and in the end each row is counted once."""
    monkeypatch.setattr(deletion, "PURGED_AT_ONCE", 10)
    store = Store.open(database)
    fill.register(store)
    entries = fill.contribute(store, range(100))
    fill.register(store, hash_set="other")
    others = fill.contribute(store, range(100), hash_set="other")
    store.deletions.delete("alpha", "list", most_alone=None, comment="", by=_ADA)
    ((key, _),) = store.deletions.unfinished()
    with _another(_DELETES, database, str(key), str(steps)) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = store.database.fetch("SELECT count(*) FROM entry WHERE hash_set = ?", (key,))[0][0]
    assert 0 < left < len(entries)
    assert [fill.found(store, number) for number in (0, 50, 99)] == [[others[n]] for n in (0, 50, 99)]
    while store.deletions.step(key):
        pass
    assert store.deletions.unfinished() == []
    (erased,) = store.history.list_events(kinds=[EventKind.HASH_SET_ERASED], limit=10)
    assert erased.facts["entries"] == len(entries)
    assert erased.facts["hashes"] == 2 * len(entries)
    assert [fill.found(store, number) for number in (0, 50, 99)] == [[others[n]] for n in (0, 50, 99)]
    store.close()


class TestAClockThatWasSetBack:
    """What was taken while it stood a day ahead would last a day longer than its holder."""

    @pytest.fixture(autouse=True)
    def _a_day_ahead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def later() -> datetime:
            return now() + self.ahead

        self.ahead = timedelta(days=1)
        for module in (commits, imports, leases, operations, webhooks):
            monkeypatch.setattr(module, "now", later)

    def test_an_import_is_committed_by_another_process(self, database: str, fill: Any) -> None:
        one, other = Store.open(database), Store.open(database)
        fill.register(one)
        import_id = fill.begin(one)
        self.ahead = timedelta(0)
        other.commits.begin_commit(import_id)
        fill.stage(other, import_id, [1])
        other.commits.finish_commit(import_id, counts=Counts())
        with pytest.raises(Conflict):
            fill.stage(one, import_id, [2])
        one.close()
        other.close()

    def test_an_import_is_cancelled_by_another_process(self, database: str, fill: Any) -> None:
        one, other = Store.open(database), Store.open(database)
        fill.register(one)
        import_id = fill.begin(one)
        self.ahead = timedelta(0)
        assert other.imports.cancel_import(import_id).state is ImportState.CANCELLED
        one.close()
        other.close()

    def test_an_operation_has_ended(self, database: str) -> None:
        one, other = Store.open(database), Store.open(database)
        operation = one.operations.create("FindLinks", b"{}", by=_ADA)
        assert one.operations.claim(new_holder()) is not None
        assert other.operations.get(operation.id).state is OperationState.RUNNING
        self.ahead = timedelta(0)
        assert other.operations.get(operation.id).state is OperationState.FAILED
        one.close()
        other.close()

    def test_another_process_makes_the_calls_of_webhooks(self, database: str) -> None:
        one, other = Store.open(database), Store.open(database)
        assert one.webhooks.take_lease(new_holder())
        lease = new_holder()
        assert not other.webhooks.take_lease(lease)
        self.ahead = timedelta(0)
        assert other.webhooks.take_lease(lease)
        one.close()
        other.close()

    def test_clocks_that_differ_by_minutes_take_nothing_away(self, database: str, fill: Any) -> None:
        one, other = Store.open(database), Store.open(database)
        fill.register(one)
        self.ahead = timedelta(minutes=5)
        import_id = fill.begin(one)
        self.ahead = timedelta(0)
        with pytest.raises(Conflict):
            other.commits.begin_commit(import_id)
        one.close()
        other.close()
