"""`hashhub changes` and `hashhub mirror` against a real hub."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.cli.session import DONE, INTERRUPTED, REFUSED
from hashhub.model import Principal, Role
from hashhub.store import Store
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import list_file, random_items
from tests.cli.conftest import Run
from tests.hub.receiving import admit, mirroring


@pytest.fixture(scope="module")
def token_file(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The token of an auditor that may mirror."""
    who = mirroring(Role.AUDITOR, "command-line")
    with closing(Store.open(hub.data)) as store:
        secret = admit(store, who)
    kept = tmp_path_factory.mktemp("token") / "token"
    kept.write_text(secret)
    return kept


@pytest.fixture
def read(hub: RunningHub, token_file: Path) -> Callable[..., Result]:
    def run_command(*arguments: str | Path) -> Result:
        environment = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(token_file)}
        return CliRunner().invoke(main, [str(a) for a in arguments], env=environment, catch_exceptions=False)

    return run_command


def contribute(run: Run, hash_set: str, path: Path, seed: int, count: int) -> None:
    items = random_items(count, seed=seed, values=("1",))
    path.write_bytes(list_file("vics-2.0", items).data)
    done = run("import", str(path), "--format", "vics", "--hash-set", hash_set)
    assert done.exit_code == DONE, done.stderr


def lines(done: Result) -> list[Any]:
    assert done.exit_code == DONE, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_changes_go_on_from_the_position_that_a_run_ended_with(
    run: Run, read: Any, hash_set: str, tmp_path: Path
) -> None:
    start = lines(read("changes", "--from-now", "--json"))
    assert start[-1]["complete"] is True
    assert not any(line.get("entry") for line in start)
    contribute(run, hash_set, tmp_path / "list.json", 51, 3)
    later = lines(read("changes", "--position", start[-1]["position"], "--json"))
    names = [line["entry"]["name"] for line in later if line.get("entry")]
    assert len(names) == 3
    assert later[-1]["head"].startswith(f"{later[-1]['revision']}:")
    assert run("entry", "withdraw", names[0], "--reason", "error").exit_code == DONE
    shown = read("changes", "--position", later[-1]["position"])
    assert [line.split()[1:] for line in shown.stdout.splitlines()[:-1]] == [["WITHDRAW", "entry", names[0]]]
    position = shown.stdout.splitlines()[-1].removeprefix("position ")
    assert len(lines(read("changes", "--position", position, "--json"))) == 1
    assert len(lines(read("changes", "--json"))) > 2


def test_changes_are_followed_until_interrupted(
    hub: RunningHub, run: Run, read: Any, token_file: Path, hash_set: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "hashhub.cli", "changes", "--follow", "--from-now", "--json"]
    command += ["--server", hub.address, "--token-file", str(token_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            while not json.loads(process.stdout.readline()).get("complete"):
                pass
            contribute(run, hash_set, tmp_path / "list.json", 52, 1)
            assert json.loads(process.stdout.readline())["entry"]["name"].startswith(hash_set)
        finally:
            process.kill()


def test_a_token_that_may_not_mirror_is_told_so(hub: RunningHub, run: Run, tmp_path: Path) -> None:
    with closing(Store.open(hub.data)) as store:
        secret = admit(store, Principal(name="plain", role=Role.AUDITOR, contributor="command-line"))
    kept = tmp_path / "token"
    kept.write_text(secret)
    for command in (("changes",), ("mirror", str(tmp_path / "copy"))):
        done = run(*command, "--token-file", str(kept))
        assert done.exit_code == REFUSED
        assert "may not read the change feed" in done.stderr


def test_a_mirror_is_made_and_kept(run: Run, read: Any, hash_set: str, tmp_path: Path) -> None:
    contribute(run, hash_set, tmp_path / "list.json", 53, 5)
    directory = tmp_path / "copy"
    done = read("mirror", directory)
    assert done.exit_code == DONE, done.stderr
    assert done.stdout.startswith("complete at revision ")
    assert done.stderr == ""
    names = [line["name"] for line in lines(run("entry", "list", hash_set, "--json"))]
    assert run("entry", "withdraw", names[0], "--reason", "error").exit_code == DONE
    (state,) = lines(read("mirror", directory, "--json"))
    assert state["is_complete"] is True
    with closing(sqlite3.connect(directory / "mirror.db")) as c:
        held = c.execute(
            "SELECT number FROM entry e JOIN hash_set h ON h.key = e.hash_set WHERE h.name = ? ORDER BY number",
            (hash_set,),
        ).fetchall()
    assert [f"{hash_set}/{i}" for (i,) in held] == names[1:]


def test_a_mirror_is_followed(hub: RunningHub, run: Run, token_file: Path, hash_set: str, tmp_path: Path) -> None:
    directory = tmp_path / "copy"
    patient = (
        "import sys; from hashhub.cli import interrupts, main; interrupts.GRACE_SECONDS = 100.0; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", patient, "mirror", str(directory), "--follow"]
    command += ["--server", hub.address, "--token-file", str(token_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("complete at revision ")
            contribute(run, hash_set, tmp_path / "list.json", 54, 4)
            until = time.monotonic() + 180
            count = 0
            while count != 4 and time.monotonic() < until:
                time.sleep(0.05)
                with closing(sqlite3.connect(directory / "mirror.db")) as c:
                    [(count,)] = c.execute(
                        "SELECT count(*) FROM entry e JOIN hash_set h ON h.key = e.hash_set WHERE h.name = ?",
                        (hash_set,),
                    )
            assert count == 4
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=300)
            assert (process.returncode, errors.strip()) == (INTERRUPTED, "interrupted")
        finally:
            process.kill()
