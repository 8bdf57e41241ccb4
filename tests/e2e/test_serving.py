"""Starting and stopping: what may not be shared, what is missing, what was damaged meanwhile, and who may do what."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashhub.errors import HashHubError
from hashhub.model import Principal, Role, Verdict
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from tests.e2e.conftest import Desk, OpenHub

pytestmark = pytest.mark.usefixtures("warm")
DONE, REFUSED, USAGE, UNAVAILABLE = 0, 1, 2, 3


def serve(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a hub that must not come up."""
    command = ["hashhub", "serve", "--http", "127.0.0.1:0", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)


def clear(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check that it says in one line what is wrong."""
    last = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(last) == 1, done.stderr
    for word in words:
        assert word in last[0]
    assert "Traceback" not in done.stdout + done.stderr


def test_a_second_hub_on_the_same_data(desk: Desk) -> None:
    for workers in ("1", "2"):
        done = serve("--data", desk.hub.data, "--listen", "127.0.0.1:0", "--workers", workers)
        assert done.returncode == REFUSED
        clear(done, f"process {desk.hub.pid}", "--data")


def test_what_the_hub_writes_is_for_its_own_user(tmp_path: Path, open_hub: OpenHub) -> None:
    """Lists are regulated data: no other user of the machine reads them from the database, its journal or a
    snapshot.
    """
    with open_hub(tmp_path / "data") as desk:
        source, _ = desk.vics("list.json", 10, seed=22)
        desk.contribute(source, desk.hash_set("hotline/known"))
        modes = {
            path.relative_to(desk.hub.data).as_posix(): path.stat().st_mode & 0o077
            for path in desk.hub.data.rglob("*")
            if path.name != "hub.log"  # made by this test
        }
    assert {"hashhub.db", "matcher"} <= set(modes)
    assert set(modes.values()) == {0}, modes


def test_a_port_that_is_taken(desk: Desk, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        done = serve("--data", tmp_path / "new", "--listen", desk.hub.address, "--workers", workers)
        assert done.returncode == REFUSED
        clear(done, desk.hub.address, "listen")
    done = serve("--data", tmp_path / "new", "--listen", "127.0.0.1:0", "--http", desk.hub.http)
    assert done.returncode == REFUSED
    clear(done, desk.hub.http, "http")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory that not even root can write to, where mounting is allowed; otherwise one without the permission."""
    directory = tmp_path / "read-only"
    directory.mkdir()
    if os.getuid() != 0:
        directory.chmod(0o500)
        yield directory
        directory.chmod(0o700)
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,mode=700", "tmpfs", directory], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield directory
    subprocess.run(["umount", directory], check=True)


def test_data_that_cannot_be_written(read_only: Path) -> None:
    for data in (read_only, read_only / "new"):
        done = serve("--data", data, "--listen", "127.0.0.1:0")
        assert done.returncode == UNAVAILABLE
        clear(done, "data directory", "permissions")


def test_data_that_is_a_file_or_no_database(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x", "utf-8")
    done = serve("--data", file, "--listen", "127.0.0.1:0")
    assert done.returncode in {REFUSED, UNAVAILABLE}
    clear(done, "data directory")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hashhub.db").write_bytes(b"no database" * 1000)
    done = serve("--data", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert done.returncode == REFUSED
    clear(done, "damaged or not a database")
    done = serve(
        "--data", tmp_path / "other", "--listen", "127.0.0.1:0", "--database", "postgresql+psycopg://127.0.0.1:1/x"
    )
    assert done.returncode == UNAVAILABLE
    clear(done, "PostgreSQL")


def test_who_may_do_what(desk: Desk, new_set: str, tmp_path: Path) -> None:
    source, items = desk.vics("list.json", 5, seed=20)
    query = ("match", "--hash", f"MD5:{items[0].digest('MD5')}", "--policy", "any")
    # No token, a wrong one, a missing file, a file of something else.
    for token in ("hh_wrong", "x" * 300):
        done = desk.as_(token).run(*query)
        assert done.exit_code == REFUSED
        assert "unknown" in done.stderr
    for file in (tmp_path / "missing", tmp_path, desk.file("binary", b"\xff\xfe\0")):
        done = desk.run(*query, "--token-file", file)
        assert done.exit_code == REFUSED
        assert "token" in done.stderr
    done = desk.run(*query, "--token-file", desk.file("empty", b""))
    assert done.exit_code == REFUSED
    assert "no token was sent" in done.stderr

    with desk.client() as hub:
        consumer = desk.as_(hub.create_token(Principal(name="shop", role=Role.CONSUMER, contributor="hotline")))
        hotline = desk.as_(hub.create_token(Principal(name="hotline", role=Role.CONTRIBUTOR, contributor="hotline")))
    other = desk.hash_set(new_set.replace("hotline/", "police/"))
    desk.contribute(source, other)

    # A consumer matches, and nothing else.
    assert consumer.verdict(items[0]) == Verdict.MATCH
    for command in (
        ("import", source, "--format", "vics", "--hash-set", new_set),
        ("entry", "list", other),
        ("entry", "withdraw", f"{other}/1", "--reason", "error"),
        ("contributor", "create", "mine", "--kind", "ngo", "--jurisdiction", "GB"),
        ("hash-set", "create", "hotline/mine", "--purpose", "csam"),
        ("token", "create", "more", "--role", "operator"),
        ("review", "add", f"{other}/1", "--kind", "false-positive"),
        ("changes",),
        ("status",),
    ):
        done = consumer.run(*command)
        assert done.exit_code == REFUSED, command
        assert "role" in done.stderr or "may" in done.stderr, (command, done.stderr)

    # A contributor writes its own sets only, and learns nothing about others' imports.
    hotline.contribute(source, new_set)
    with desk.client() as hub:
        theirs = next(iter(hub.list_imports(other)))
        entry = next(iter(hub.list_entries(other))).name
    for attempt in (
        ("import", source, "--format", "vics", "--hash-set", other),
        ("import", source, "--format", "vics", "--hash-set", other, "--validate-only"),
        ("import", source, "--format", "vics", "--hash-set", other, "--replace"),
        ("entry", "withdraw", entry, "--reason", "error"),
        ("entry", "quarantine", entry),
        ("hash-set", "create", "police/mine", "--purpose", "csam"),
        ("findings", f"{other}/{theirs.id}"),
        ("contributor", "create", "mine", "--kind", "ngo", "--jurisdiction", "GB"),
        ("token", "create", "more", "--role", "contributor", "--contributor", "police"),
    ):
        done = hotline.run(*attempt)
        assert done.exit_code == REFUSED, (attempt, done.stdout)
    with hotline.client() as hub, pytest.raises(HashHubError):
        hub.cancel_import(f"{other}/{theirs.id}")
    with hotline.client() as hub, pytest.raises(HashHubError):
        # Under its own name: still not its own.
        hub.cancel_import(f"{new_set}/{theirs.id}")
    assert desk.visible(other) == 5
    with desk.client() as hub:
        assert {e.state for e in hub.list_entries(other)} == {"ACTIVE"}


def test_stopping_lets_calls_in_progress_end(
    tmp_path: Path, open_hub: OpenHub, wait_until: Callable[..., None]
) -> None:
    settings = tmp_path / "hashhub.toml"
    settings.write_text("drain_seconds = 120\n", "utf-8")  # more than a busy machine takes for the commit
    with open_hub(tmp_path / "data", "--config", str(settings)) as desk:
        hash_set = desk.hash_set("hotline/known")
        source, items = desk.vics("list.json", 20_000, seed=21)
        process = desk.start("import", source, "--format", "vics", "--hash-set", hash_set, "--json")
        with desk.client() as hub:
            wait_until(lambda: any(i.state in {"COMMITTING", "COMMITTED"} for i in hub.list_imports(hash_set)))
        os.kill(desk.hub.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    # The commit had begun: it was let end, and its client was told so.
    assert process.returncode == DONE, err
    assert '"COMMITTED"' in out
    assert "Traceback" not in (desk.hub.data / "hub.log").read_text("utf-8")

    # What was answered is there whatever happens to the snapshots meanwhile. Without any, a new one is written, of
    # everything.
    for damage in (_lose_everything, _flip_every_file, _cut_every_file):
        damage(next((desk.hub.data / "matcher").glob("*/snapshots")))
        with open_hub(desk.hub.data) as desk:
            # From the first answer on: what is not known to be sound must not say that there is nothing.
            assert desk.verdicts(*items[::2_000], items[-1], retry_seconds=20.0) == [Verdict.MATCH] * 11, (
                damage.__name__
            )


def _lose_everything(snapshots: Path) -> None:
    shutil.rmtree(snapshots.parent)


def _files(snapshots: Path) -> list[Path]:
    paths = [p for p in snapshots.rglob("*") if p.is_file() and p.suffix != ".json" and p.stat().st_size]
    assert paths
    return paths


def _cut_every_file(snapshots: Path) -> None:
    for path in _files(snapshots):
        os.truncate(path, path.stat().st_size // 2)


def _flip_every_file(snapshots: Path) -> None:
    """The sizes stay right: only the contents tell."""
    for path in _files(snapshots):
        path.write_bytes(bytes(b ^ 0x5A for b in path.read_bytes()))
