"""A hub as a process: its start, its lock, its workers, its end."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.message import Message

from hashhub import v1, wire
from hashhub.config import Config
from hashhub.errors import Conflict, FailedPrecondition, HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.hub import Hub
from hashhub.server import serve
from hashhub.server.exposure import lock_data
from hashhub.store import leases
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.patience import PATIENCE, wait_until
from tests.processes import workers_of
from tests.server.calls import call_headers, frame
from tests.warm import Warm


@contextmanager
def _serving(data: Path, **settings: Any) -> Iterator[tuple[str, str]]:
    """Serve in a thread of this process; yield the addresses."""
    config = Config(
        **{"data": str(data), "listen": "127.0.0.1:0", "http": "127.0.0.1:0", "drain_seconds": 1.0, **settings}
    )
    stop, ready = threading.Event(), threading.Event()
    addresses: list[str] = []
    failures: list[BaseException] = []

    def on_ready(*found: str) -> None:
        addresses.extend(found)
        ready.set()

    def run() -> None:
        try:
            serve(config, on_ready=on_ready, stop=stop)
        except HashHubError as e:
            failures.append(e)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        if failures:
            raise failures[0]
        yield addresses[0], addresses[1]
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def _call(address: str, secret: str, method: str, request: Message, answer: Any) -> Any:
    """Make a call over a connection of its own, so that any worker may get it."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, Any] = channel.unary_unary(
            f"/hashhub.v1.{method}", None, answer.FromString
        )
        try:
            return ask(request.SerializeToString(), metadata=(("authorization", f"Bearer {secret}"),), timeout=PATIENCE)
        except grpc.RpcError as e:
            raise wire.status_to_error(e) from e


def _begun(address: str, secret: str, contributor_id: str, known: v1.Hash) -> str:
    """Send an import of one record, up to its commit; return its name."""
    contributor = v1.Contributor(display_name="W", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="ZZ")
    create = v1.CreateContributorRequest(contributor_id=contributor_id, contributor=contributor)
    _call(address, secret, "ContributorService/CreateContributor", create, v1.Contributor)
    sets = v1.CreateHashSetRequest(
        parent=f"contributors/{contributor_id}", hash_set_id="s", hash_set=v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM)
    )
    _call(address, secret, "ContributorService/CreateHashSet", sets, v1.HashSet)
    opening = v1.CreateImportRequest(parent=f"contributors/{contributor_id}/hashSets/s")
    getattr(opening, "import").MergeFrom(v1.Import(connector="t", connector_version="1", source_digest="ab" * 32))
    name: str = _call(address, secret, "ContributionService/CreateImport", opening, v1.Import).name
    records = v1.AddRecordsRequest(
        name=name, records=[v1.Record(position="1", hashes=[known], action=v1.Action.ACTION_CONTRIBUTE)]
    )
    _call(address, secret, "ContributionService/AddRecords", records, v1.Import)
    return name


@contextmanager
def _committing(data: Path, name: str) -> Iterator[None]:
    """A process that has begun the import's commit; when it ends, it does not give the lease up."""
    with Hub.open(Config(data=str(data)), publisher=False) as hub:
        hub.store.commits.begin_commit(wire.parse_import(name)[2])
        yield


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_the_first_start_writes_the_operators_token_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "operator.token"
    with _serving(tmp_path) as (address, _):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        secret = file.read_text().strip()
        status = _call(address, secret, "AdminService/GetStatus", v1.GetStatusRequest(), v1.Status)
        assert status.matcher_revision == status.revision
    with _serving(tmp_path) as (address, _):
        assert file.read_text().strip() == secret
        assert _call(address, secret, "AdminService/GetStatus", v1.GetStatusRequest(), v1.Status)


def test_a_left_over_token_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    data = tmp_path / "data"
    data.mkdir()
    (data / "operator.token").symlink_to(elsewhere)
    with _serving(data):
        assert not (data / "operator.token").is_symlink()
    assert elsewhere.read_text() == "precious"


def _modes(directory: Path) -> dict[str, int]:
    """The permissions of a directory and all that is in it."""
    return {
        str(path.relative_to(directory)): stat.S_IMODE(path.lstat().st_mode)
        for path in (directory, *directory.rglob("*"))
    }


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage() for r in caplog.records if (r.name, r.levelname) == ("hashhub.server", "WARNING")
    ]  # another test may have left the logger at INFO


def test_what_a_hub_writes_is_for_its_owner_only(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with _serving(data):
        assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_data_directory_that_others_can_read_is_closed_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Database, snapshots and tokens too: a copy may have been unpacked with the modes of another place."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    elsewhere.chmod(0o644)
    with _serving(data):
        pass
    (data / "consumer.token").write_text("hh_secret")
    (data / "link").symlink_to(elsewhere)
    (data / "other").mkdir()
    for path in (data, *data.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else 0o666)
    with caplog.at_level("WARNING", "hashhub.server"), lock_data(data):
        modes = _modes(data)
    assert {"hashhub.db", "operator.token", "consumer.token", "hashhub.lock", "matcher"} <= set(modes)
    others = {name: oct(mode) for name, mode in modes.items() if mode & 0o077 and name not in {"link", "other"}}
    assert not others
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644
    (line,) = _warnings(caplog)
    assert "mode 777" in line
    caplog.clear()
    with caplog.at_level("WARNING", "hashhub.server"), _serving(data):
        pass
    assert not _warnings(caplog)


def test_files_alone_that_others_can_read_are_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "hashhub.db").touch(0o644)
    (tmp_path / "hashhub.db").chmod(0o644)
    tmp_path.chmod(0o700)
    with caplog.at_level("WARNING", "hashhub.server"), lock_data(tmp_path):
        assert not [n for n, mode in _modes(tmp_path).items() if mode & 0o077]
    assert "1 files" in caplog.text


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_holds_other_things_is_left_alone(tmp_path: Path, mode: int) -> None:
    """`--data $HOME` must not close somebody's home to whatever else needs it."""
    (tmp_path / "Documents").mkdir()
    tmp_path.chmod(mode)
    with pytest.raises(FailedPrecondition) as e, _serving(tmp_path):
        pass
    assert e.value.reason is Reason.DATA_EXPOSED
    assert "chmod 700" in e.value.message
    assert stat.S_IMODE(tmp_path.stat().st_mode) == mode
    assert [path.name for path in tmp_path.iterdir()] == ["Documents"]


def test_a_directory_for_everybody_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(FailedPrecondition) as e, lock_data(tmp_path):
        pass
    assert e.value.reason is Reason.DATA_EXPOSED
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


NOBODY = 54321


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_directory_of_another_user_is_refused_even_to_root(tmp_path: Path, mode: int) -> None:
    """Its owner can read it, and can undo whatever mode it is given."""
    os.chown(tmp_path, NOBODY, -1)
    tmp_path.chmod(mode)
    with pytest.raises(FailedPrecondition) as e, lock_data(tmp_path):
        pass
    assert e.value.reason is Reason.DATA_EXPOSED
    assert str(NOBODY) in e.value.message


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user can pass through; pytest's are for their owner only."""
    with tempfile.TemporaryDirectory(prefix="hashhub-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users, and become one")
@pytest.mark.parametrize(
    ("owner", "file_owner", "file_mode", "said"),
    [
        (NOBODY, NOBODY, 0o644, "closed"),
        (NOBODY, 0, 0o644, "consumer.token"),
        (NOBODY, 0, 0o600, "closed"),
        (0, NOBODY, 0o600, "belongs to another user"),
    ],
)
def test_what_cannot_be_repaired_without_roots_rights_is_refused(
    open_path: Path, owner: int, file_owner: int, file_mode: int, said: str
) -> None:
    data = open_path / "data"
    data.mkdir()
    file = data / "consumer.token"
    file.write_text("hh_secret")
    file.chmod(file_mode)
    os.chown(file, file_owner, -1)
    data.chmod(0o777)
    os.chown(data, owner, -1)
    script = (
        "import os, sys\nfrom hashhub.errors import HashHubError\nfrom hashhub.server.exposure import lock_data\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try:\n    with lock_data(sys.argv[1]): print('closed')\n"
        "except HashHubError as e: print(e.reason, e.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, data], check=True, capture_output=True, text=True)
    assert said in done.stdout
    assert ("DATA_EXPOSED" in done.stdout) == (said != "closed")
    if said == "closed":
        assert _modes(data)["."] == 0o700


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with _serving(tmp_path) as (address, _):
        with pytest.raises(FailedPrecondition) as caught, _serving(tmp_path):
            pass
        assert caught.value.reason is Reason.DATA_IN_USE
        secret = (tmp_path / "operator.token").read_text().strip()
        assert _call(address, secret, "AdminService/GetStatus", v1.GetStatusRequest(), v1.Status)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("field", ["listen", "http"])
def test_a_port_of_another_program_is_refused_whatever_the_number_of_workers(
    tmp_path: Path, field: str, workers: int
) -> None:
    with socket.socket() as other:
        # Even one that would share it.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(FailedPrecondition) as caught, _serving(tmp_path, workers=workers, **{field: address}):
            pass
        assert caught.value.reason is Reason.ADDRESS_IN_USE


def test_settings_that_would_expose_tokens_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument), _serving(tmp_path / "data", listen="0.0.0.0:0"):
        pass
    assert not (tmp_path / "data").exists()


def test_what_a_worker_cannot_start_for_is_what_the_parent_raises(tmp_path: Path) -> None:
    (tmp_path / "certificate.pem").write_text("no certificate")
    files = str(tmp_path / "certificate.pem")
    with (
        pytest.raises(InvalidArgument) as caught,
        _serving(tmp_path / "data", workers=2, tls_certificate=files, tls_key=files),
    ):
        pass
    assert caught.value.violations[0].field == "tls_certificate"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_commit_that_a_killed_server_left_can_begin_again_at_once(tmp_path: Path, workers: int) -> None:
    with _serving(tmp_path) as (address, _):
        secret = (tmp_path / "operator.token").read_text().strip()
        name = _begun(address, secret, "w", v1.Hash(algorithm="MD5", digest=bytes(range(16))))
    commit = ("ContributionService/CommitImport", v1.CommitImportRequest(name=name, batch_count=1), v1.Import)
    with _committing(tmp_path, name):
        pass
    with _serving(tmp_path, workers=workers) as (address, _):
        assert _call(address, secret, *commit).state == v1.ImportState.IMPORT_STATE_COMMITTED


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub of two workers, which all end when their parent is told to."""
    data = tmp_path_factory.mktemp("workers")
    with running_hub(data, "--workers", "2") as hub:
        assert len(workers_of(hub.pid)) == 2
        yield hub
        workers = workers_of(hub.pid)
        os.kill(hub.pid, signal.SIGTERM)
        wait_until(lambda: not any(_lives(w) for w in workers))
    assert "Traceback" not in (data / "hub.log").read_text()


def test_workers_share_the_ports_and_see_what_the_others_commit(two_workers: RunningHub) -> None:
    hub = two_workers
    known = v1.Hash(algorithm="MD5", digest=b"known to workers")
    name = _begun(hub.address, hub.token, "w", known)
    _call(
        hub.address,
        hub.token,
        "ContributionService/CommitImport",
        v1.CommitImportRequest(name=name, batch_count=1),
        v1.Import,
    )
    match = v1.MatchHashesRequest(query=v1.Query(hashes=[known]), options=v1.MatchOptions(policy="any"))

    def verdict() -> int | Reason:
        try:
            answer = _call(hub.address, hub.token, "MatchService/MatchHashes", match, v1.MatchHashesResponse)
        except Unavailable as e:
            return e.reason
        return int(answer.result.verdict)

    def verdicts() -> set[int | Reason]:
        # The kernel spreads connections over the workers: of twenty, each gets some (2 in 2^20 otherwise).
        return {verdict() for _ in range(20)}

    wait_until(lambda: verdicts() == {v1.Verdict.VERDICT_MATCH})
    matched = _call(hub.address, hub.token, "MatchService/MatchHashes", match, v1.MatchHashesResponse)
    withdraw = v1.WithdrawEntryRequest(
        name=matched.result.matches[0].entry.name, reason=v1.WithdrawalReason.WITHDRAWAL_REASON_ERROR
    )
    _call(hub.address, hub.token, "ContributionService/WithdrawEntry", withdraw, v1.Entry)
    # The store decides what is active: a withdrawal needs no waiting in any worker. One that is new, since another test
    # ended its predecessor, may still be checking its snapshot; it then says of a miss that it cannot know yet.
    assert verdicts() <= {v1.Verdict.VERDICT_NO_MATCH, Reason.MATCHER_NOT_READY}
    wait_until(lambda: verdicts() == {v1.Verdict.VERDICT_NO_MATCH})


def test_a_worker_that_dies_is_started_again(two_workers: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = two_workers
    name = _begun(hub.address, hub.token, "held", v1.Hash(algorithm="MD5", digest=b"held by a worker"))
    monkeypatch.setattr(leases, "LEASE", timedelta(minutes=9))
    before = workers_of(hub.pid)

    def answering() -> set[str]:
        """Which workers answer: each counts its calls under its own number."""
        found = set()
        for _ in range(10):
            connection = http.client.HTTPConnection(hub.http, timeout=10)
            with contextlib.suppress(OSError, Unavailable), contextlib.closing(connection):
                _call(hub.address, hub.token, "AdminService/GetStatus", v1.GetStatusRequest(), v1.Status)
                connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {hub.token}"})
                found |= set(re.findall(r'worker="(\d)"', connection.getresponse().read().decode()))
        return found

    with _committing(hub.data, name):
        before[1].kill()
        wait_until(lambda: not before[1].is_running() and len(workers_of(hub.pid)) == 2)
        wait_until(lambda: answering() == {"0", "1"})
        # The other worker may have been committing: what it holds stays its own.
        commit = v1.CommitImportRequest(name=name, batch_count=1)
        with pytest.raises(Conflict):
            _call(hub.address, hub.token, "ContributionService/CommitImport", commit, v1.Import)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with running_hub(tmp_path, "--workers", "2") as hub:
        workers = workers_of(hub.pid)
        assert len(workers) == 2
        os.kill(hub.pid, signal.SIGKILL)
        wait_until(lambda: not any(_lives(w) for w in workers))
    # Nothing holds the data any more.
    with _serving(tmp_path):
        pass


def test_an_interrupt_drains_one_process(warmed: Warm, tmp_path: Path) -> None:
    with warmed.hub(tmp_path) as hub:
        process = psutil.Process(hub.pid)
        os.kill(hub.pid, signal.SIGINT)
        wait_until(lambda: not _lives(process))
    assert "draining" in (tmp_path / "hub.log").read_text()
    assert "Traceback" not in (tmp_path / "hub.log").read_text()


def test_malformed_headers_of_strangers_leave_no_line_in_the_log(tmp_path: Path) -> None:
    """gRPC's core wrote one to stderr for each, past the bounds of our own log."""
    with running_hub(tmp_path) as hub:
        host, _, port = hub.address.rpartition(":")
        for name, value in (("grpc-timeout", "abc"), ("grpc-encoding", "nonsense")):
            headers = call_headers("/hashhub.v1.AdminService/GetStatus", "x")
            headers += bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
                connection.sendall(begin + frame(1, 5, 1, headers))
                with connection.makefile("rb") as answer:
                    while head := answer.read(9):
                        answer.read(int.from_bytes(head[:3], "big"))
                        if head[3] in {1, 3, 7}:  # headers, the end of the stream, or of the connection
                            break
    log = (tmp_path / "hub.log").read_text()
    assert "draining" in log
    assert "Error parsing" not in log
