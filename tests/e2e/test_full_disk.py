"""A disk that is full to the last byte: matching goes on, writing is refused with the cause, and both are told."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from hashhub.errors import LimitExceeded, Reason
from hashhub.model import Verdict
from hashhub.store import Store
from hashhub.testing import hub_process
from tests.disks import fill, small_disk
from tests.e2e.conftest import Desk
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from tests.e2e.conftest import OpenHub

REFUSED = 1
# The program, but that it tries again after a second to write a snapshot, and not after half a minute.
IMPATIENT = """
from hashhub.matcher import compaction
compaction._RETRY_SECONDS = 1.0
from hashhub.cli import main
main(prog_name="hashhub")
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 32) as place:
        place.chmod(0o700)
        yield place


def health(desk: Desk) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(f"http://{desk.hub.http}/healthz", timeout=60) as answer:
            page, code = answer.read(), answer.status
    except urllib.error.HTTPError as e:
        page, code = e.read(), e.code
    return code, json.loads(page)["services"]


def cut_off(desk: Desk) -> None:
    """Let the hub be killed, with whatever processes it has."""
    hub = psutil.Process(desk.hub.pid)
    for process in (hub, *hub.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # a child of one that was just killed
            process.kill()


@pytest.mark.parametrize(("end", "workers"), [("stopped", "1"), ("killed", "2")])
def test_a_restart_on_a_full_disk_matches_as_before(
    disk: Path, open_hub: OpenHub, wait_until: Callable[..., None], tmp_path: Path, workers: str, end: str
) -> None:
    data = disk / "data"
    with open_hub(data) as desk:
        desk.directory = tmp_path
        hash_set = desk.hash_set("hotline/known")
        source, items = desk.vics("list.json", 500, seed=40)
        desk.contribute(source, hash_set)
        assert desk.verdicts(*items[:3]) == [Verdict.MATCH] * 3
        filler = fill(disk)
        # Matching goes on.
        wait_until(lambda: health(desk)[1]["ContributionService"] == "NOT_SERVING")
        assert health(desk)[0] == 200
        assert health(desk)[1]["MatchService"] == "SERVING"
        assert desk.verdicts(*items[:3]) == [Verdict.MATCH] * 3
        if end == "killed":
            cut_off(desk)
    fill(disk)
    with open_hub(data, "--workers", workers) as desk:
        desk.directory = tmp_path
        assert desk.verdicts(*items[:20]) == [Verdict.MATCH] * 20
        another, others = desk.vics("more.json", 3_000, seed=41)
        done = desk.run("import", another, "--format", "vics", "--hash-set", hash_set, "--json")
        assert done.exit_code == REFUSED
        assert "disk is full" in done.stderr + done.stdout
        code, services = health(desk)
        assert (code, services["MatchService"], services["ContributionService"]) == (200, "SERVING", "NOT_SERVING")
        assert desk.verdicts(items[0], others[0]) == [Verdict.MATCH, Verdict.NO_MATCH]
        filler.unlink()
        wait_until(lambda: set(health(desk)[1].values()) == {"SERVING"})
        desk.contribute(another, hash_set)
        # Another worker sees it within a second.
        wait_until(lambda: desk.verdicts(items[0], others[0]) == [Verdict.MATCH] * 2)
    assert "Traceback" not in (data / "hub.log").read_text("utf-8")


def test_without_a_snapshot_it_is_rebuilt_in_memory_and_written_when_there_is_room(
    disk: Path,
    wait_until: Callable[..., None],
    tmp_path: Path,
    postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_process, "PROGRAM", (sys.executable, "-c", IMPATIENT))
    data = disk / "data"
    with hub_process.running_hub(data, "--database", postgresql_url) as running:
        desk = Desk(running, tmp_path)
        hash_set = desk.hash_set("hotline/known")
        source, items = desk.vics("list.json", 500, seed=42)
        desk.contribute(source, hash_set)
    (snapshots,) = (data / "matcher").glob("*/snapshots")
    before = set(snapshots.iterdir())
    (snapshots.parent / "POSITION").unlink()  # nobody knows any more of what history the snapshot is
    filler = fill(disk)
    with hub_process.running_hub(data, "--database", postgresql_url) as running:
        desk = Desk(running, tmp_path)
        assert desk.verdicts(*items[:20]) == [Verdict.MATCH] * 20
        with desk.client() as hub:
            warnings = " ".join(hub.status().warnings)
        assert "disk is full" in warnings
        assert health(desk)[1]["ContributionService"] == "SERVING", "the database has room"
        assert list(snapshots.iterdir()) == [], "the next start must not take the old one for sound"
        filler.unlink()
        wait_until(lambda: any(path.name[0].isdigit() for path in snapshots.iterdir()))
        assert before.isdisjoint(snapshots.iterdir())
        with desk.client() as hub:
            wait_until(lambda: not hub.status().warnings)


def test_a_first_start_on_a_full_disk_says_what_is_wrong(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(disk)
    with monkeypatch.context() as patch:
        patch.setattr("hashhub.store.drivers.time.sleep", lambda _: pytest.fail("it waits for room"))
        with pytest.raises(LimitExceeded) as caught:
            Store.open(disk)
    assert caught.value.reason is Reason.DISK_FULL
    done: Any = subprocess.run(
        [sys.executable, "-m", "hashhub.cli", "serve", "--data", disk, "--listen", "127.0.0.1:0", "--http", ""],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == REFUSED
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
