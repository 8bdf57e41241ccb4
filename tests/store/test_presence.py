"""What processes were at that died, and those that did not."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from hashhub.errors import Conflict, Reason
from hashhub.model import Actor, Counts, EventKind, ImportState, OperationState, Role, now
from hashhub.store import Store, commits, deletion, imports, leases, operations, presence, webhooks
from hashhub.store import schema as s

_ADA: Final = Actor("ada", "operator", Role.OPERATOR)
_PROCESS: Final = """
import sys
from hashhub.store import Store
store = Store.open(sys.argv[1])
{}
print("begun", flush=True)
sys.stdin.read()
"""
_COMMITS: Final = "store.commits.begin_commit(sys.argv[2])"
_CLAIMS: Final = "assert store.operations.claim(store.operations.new_lease())"
_CALLS: Final = "assert store.webhooks.take_lease(store.webhooks.new_lease())"
# Killed in the middle of a step, whose transaction stands and is not committed.
_DELETES: Final = """
from hashhub.store import deletion
deletion.PIECE = 10
for _ in range(int(sys.argv[3])):
    assert store.deletions.step(int(sys.argv[2]))
def waits(*arguments, **named):
    gone = bury(*arguments, **named)
    print("begun", flush=True)
    sys.stdin.read()
    return gone
bury, deletion.bury = deletion.bury, waits
store.deletions.step(int(sys.argv[2]))
"""
_SECONDS: Final = 40.0  # for the server to notice that a process has died: far less than a lease, more than any machine


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


def _soon(holds: Callable[[], bool], seconds: float = _SECONDS) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


_LOCKS: Final = (
    "FROM pg_locks WHERE locktype = 'advisory' "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _end_sessions(store: Store) -> None:
    """End the sessions by which processes are known to be there."""
    store._db.fetch(f"SELECT pg_terminate_backend(pid) {_LOCKS}")
    _soon(lambda: not store._db.fetch(f"SELECT 1 {_LOCKS}"))


class _Way:
    """A way to the server, through something in between."""

    def __init__(self, to: str, directory: Path, *, pools: bool) -> None:
        self._to = to
        self._directory = directory
        self._pools = pools
        self._clients: list[socket.socket] = []
        self._servers: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(directory / ".s.PGSQL.5432"))
        self._listening.listen()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def url(self, url: str) -> str:
        """Return the URL of a database this way."""
        return sa.make_url(url).set(query={"host": str(self._directory)}).render_as_string()

    def lose_all(self) -> None:
        """Lose the connections so far, of which the server learns nothing."""
        _shut(self._clients)

    def close(self) -> None:
        sockets = [self._listening, *self._clients, *self._servers]
        _shut(sockets)
        for thread in self._threads:
            thread.join()
        for each in sockets:
            each.close()

    def _start(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._to)
                self._clients.append(client)
                self._servers.append(server)
                self._start(self._pass_on, client, server)
                self._start(self._pass_on, server, client)

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                head, key, rest = data.partition(_SERVED_BY)
                if self._pools and key and one in self._servers:  # it tells of a process of its own
                    data = head + key + bytes(4) + rest[4:]
                other.sendall(data)
        if self._pools or one in self._servers:
            _shut([other])


_SERVED_BY: Final = b"K\0\0\0\x0c"  # the message that tells a client which process serves it


def _shut(sockets: list[socket.socket]) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def _way(postgresql: Any, *, pools: bool = False) -> Iterator[_Way]:
    directory = Path(tempfile.mkdtemp(prefix="hashhub-way-"))  # short: it is a socket's
    way = _Way(f"{postgresql.socket_directory}/.s.PGSQL.5432", directory, pools=pools)
    try:
        yield way
    finally:
        way.close()
        shutil.rmtree(directory)


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


def test_whoever_is_taken_for_dead_is_fenced_off_and_is_seen_again_later(postgresql_url: str, fill: Any) -> None:
    one, other = Store.open(postgresql_url), Store.open(postgresql_url)
    fill.register(one)
    import_id = fill.begin(one)
    fill.stage(one, import_id, [1])
    with pytest.raises(Conflict):
        other.commits.begin_commit(import_id)
    _end_sessions(other)
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


def test_beside_sqlite_one_is_there_who_has_looked_for_others(sqlite_directory: Path, fill: Any) -> None:
    """A process's own locks end with any descriptor of the file that it closes; those of an open file do not."""
    one, other = Store.open(sqlite_directory), Store.open(sqlite_directory)
    fill.register(one)
    fill.register(one, hash_set="second")
    first, second = fill.begin(one), fill.begin(other, hash_set="second")
    for store, import_id in ((one, second), (other, first), (one, second), (other, first)):
        with pytest.raises(Conflict):
            store.commits.begin_commit(import_id)
    other.close()
    one.commits.begin_commit(second)
    one.close()


def test_beside_sqlite_whoever_is_taken_for_dead_is_fenced_off(sqlite_directory: Path, fill: Any) -> None:
    one, other = Store.open(sqlite_directory), Store.open(sqlite_directory)
    fill.register(one)
    import_id = fill.begin(one)
    fill.stage(one, import_id, [1])
    (sqlite_directory / presence._FILE_NAME).unlink()
    other.commits.begin_commit(import_id)
    with pytest.raises(Conflict):
        one.commits.finish_commit(import_id, counts=Counts())
    fill.stage(other, import_id, [2])
    other.commits.finish_commit(import_id, counts=Counts())
    assert (fill.found(other, 1), len(fill.found(other, 2))) == ([], 1)
    one.close()
    other.close()


def test_beside_sqlite_leases_run_out_where_nothing_can_be_locked(sqlite_directory: Path, fill: Any) -> None:
    (sqlite_directory / presence._FILE_NAME).mkdir()
    one, other = Store.open(sqlite_directory), Store.open(sqlite_directory)
    fill.register(one)
    import_id = fill.begin(one)
    one.close()
    with pytest.raises(Conflict):
        other.commits.begin_commit(import_id)
    other.close()


def test_a_lease_that_tells_nothing_of_its_holder_runs_out(database: str, fill: Any) -> None:
    """One of an earlier version, or of a process that got no session for it."""
    one, other = Store.open(database), Store.open(database)
    fill.register(one)
    import_id = fill.begin(one)
    with one._db.write() as c:
        c.exec_driver_sql("UPDATE import SET lease = '0123456789abcdef'")
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
        _soon(lambda: store.operations.get(operation.id).has_ended)
    failure = store.operations.get(operation.id).failure
    assert failure is not None
    assert failure.reason == Reason.OPERATION_ABORTED
    store.operations.create("FindLinks", b"{}", by=_ADA)
    assert store.operations.claim(store.operations.new_lease()) is not None
    store.close()


def test_an_operation_goes_on_whose_session_was_cut(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its renewals sees to it that it is not taken for dead."""
    monkeypatch.setattr(presence, "_KEEP_SECONDS", 0.0)
    one, other = Store.open(postgresql_url), Store.open(postgresql_url)
    operation = one.operations.create("FindLinks", b"{}", by=_ADA)
    lease = one.operations.new_lease()
    assert one.operations.claim(lease) is not None
    monkeypatch.setattr(operations, "SILENCE", operations.LEASE)  # whoever renewed it just now is there
    _end_sessions(other)
    assert other.operations.get(operation.id).state is OperationState.RUNNING
    monkeypatch.setattr(operations, "SILENCE", timedelta(0))
    assert one.operations.renew(operation.id, lease, 1, 2, "entries")
    assert other.operations.get(operation.id).state is OperationState.RUNNING
    # Nothing renews it now.
    _end_sessions(other)
    _soon(lambda: other.operations.get(operation.id).state is OperationState.FAILED)
    with pytest.raises(Conflict):
        one.operations.renew(operation.id, lease, 2, 2, "entries")
    one.close()
    other.close()


def test_an_operation_goes_on_that_was_renewed_since_it_was_looked_at(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(postgresql_url)
    operation = store.operations.create("FindLinks", b"{}", by=_ADA)
    lease = store.operations.new_lease()
    assert store.operations.claim(lease) is not None
    ((key, until),) = store._db.fetch("SELECT key, lease_until FROM operation")
    monkeypatch.setattr(operations.Operations, "_abandoned", lambda *_: {key: until - 1})
    assert store.operations.get(operation.id).state is OperationState.RUNNING
    monkeypatch.setattr(operations.Operations, "_abandoned", lambda *_: {key: until})
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
        lease = store.webhooks.new_lease()
        assert not store.webhooks.take_lease(lease)
        until = store._db.fetch("SELECT lease_until FROM sender")[0][0]
        process.send_signal(signal.SIGKILL)
        process.wait()
        _soon(lambda: store.webhooks.take_lease(lease))
    assert s.to_millis(now()) < until
    store.close()


def test_calls_are_not_taken_over_because_a_session_was_cut_that_their_process_has_again(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_KEEP_SECONDS", 0.0)
    one, other = Store.open(postgresql_url), Store.open(postgresql_url)
    lease = one.webhooks.new_lease()
    assert one.webhooks.take_lease(lease)
    _end_sessions(other)
    assert one.webhooks.take_lease(lease)
    assert not other.webhooks.take_lease(other.webhooks.new_lease())
    one.close()
    other.close()


def test_a_commit_is_not_taken_over_because_a_session_was_cut_that_it_has_again(
    postgresql_url: str, fill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a proxy, after a minute without a word."""
    monkeypatch.setattr(presence, "_KEEP_SECONDS", 0.0)
    one, other = Store.open(postgresql_url), Store.open(postgresql_url)
    fill.register(one)
    import_id = fill.begin(one)
    commit = one.leases.commit_of(import_id)
    for step in (
        lambda: one.leases.renew_commit(import_id),
        lambda: fill.stage(one, import_id, [1]),
        lambda: one.stage.write_pieces(commit, one.stage.run_of(commit)),
        lambda: one.stage.purge(commit),
    ):
        _end_sessions(other)
        step()
        with pytest.raises(Conflict):
            other.commits.begin_commit(import_id)
    one.commits.finish_commit(import_id, counts=Counts())
    one.close()
    other.close()


def test_a_process_knows_of_its_own_commits_without_a_session(postgresql_url: str, fill: Any) -> None:
    store = Store.open(postgresql_url)
    fill.register(store)
    fill.begin(store)
    _end_sessions(store)
    with pytest.raises(Conflict):
        store.deletions.delete("alpha", "list", most_alone=None, comment="", by=_ADA)
    store.close()


def test_a_session_that_only_the_server_takes_for_alive_is_in_nobodys_way(
    postgresql: Any, postgresql_url: str, fill: Any
) -> None:
    """The server learns after hours that a network lost a connection; its session has the lock until then."""
    with _way(postgresql) as way:
        one, other = Store.open(way.url(postgresql_url)), Store.open(postgresql_url)
        fill.register(one)
        fill.register(one, hash_set="other")
        fill.begin(one)
        way.lose_all()
        begun: list[str] = []
        beginning = threading.Thread(target=lambda: begun.append(fill.begin(one, hash_set="other")), daemon=True)
        beginning.start()
        beginning.join(_SECONDS)
        assert begun
        assert presence._MARK in _lease(other, begun[0])[0]  # it has a session again, which shares the lock
        with pytest.raises(Conflict):
            other.commits.begin_commit(begun[0])
        one.close()
        other.close()


def test_behind_a_pooler_leases_tell_nothing(postgresql: Any, postgresql_url: str, fill: Any) -> None:
    """It ends sessions when it likes, and gives the same one to many: a commit of a process that lives would be taken
    for one of a process that died.
    """
    with _way(postgresql, pools=True) as way:
        one, other = Store.open(way.url(postgresql_url)), Store.open(postgresql_url)
        fill.register(one)
        import_id = fill.begin(one)
        _end_sessions(other)
        for store in (other, one):
            with pytest.raises(Conflict):
                store.commits.begin_commit(import_id)
        with pytest.raises(Conflict):
            other.imports.cancel_import(import_id)
        fill.stage(one, import_id, [1])
        one.commits.finish_commit(import_id, counts=Counts())
        one.close()
        other.close()


@pytest.mark.parametrize("steps", [1, 3])
def test_a_deletion_that_a_killed_process_was_at_goes_on_at_once(
    database: str, fill: Any, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Nobody sees any of it meanwhile, and in the end each row is counted once."""
    monkeypatch.setattr(deletion, "PIECE", 10)
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
    left = store._db.fetch(store._db.sql("SELECT count(*) FROM entry WHERE hash_set = ?"), (key,))[0][0]
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
        assert one.operations.claim(one.operations.new_lease()) is not None
        assert other.operations.get(operation.id).state is OperationState.RUNNING
        self.ahead = timedelta(0)
        assert other.operations.get(operation.id).state is OperationState.FAILED
        one.close()
        other.close()

    def test_another_process_makes_the_calls_of_webhooks(self, database: str) -> None:
        one, other = Store.open(database), Store.open(database)
        assert one.webhooks.take_lease(one.webhooks.new_lease())
        lease = other.webhooks.new_lease()
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
