"""A real hub, started once for all tests of the command line, and ways to run commands against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.client.transport import Connection
from hashhub.testing.hub_process import RunningHub
from tests.warm import Warm

Run = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def hub(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with warmed.hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def run(hub: RunningHub) -> Run:
    """Run a command in this process against the hub, as its operator."""

    def run_command(*arguments: str, **options: Any) -> Result:
        environment = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}
        return CliRunner().invoke(main, arguments, env=environment, catch_exceptions=False, **options)

    return run_command


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are run in this process give a hub up that they cannot reach, and do not ask it for two seconds."""
    assert Connection.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Connection.__init__.__kwdefaults__, "retry_seconds", 0.0)


@pytest.fixture(scope="session")
def police(hub: RunningHub) -> str:
    """Return the name of a contributor that exists."""
    environment = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}
    arguments = [
        "contributor",
        "create",
        "police-us",
        "--kind",
        "law-enforcement",
        "--jurisdiction",
        "US",
        "--reliability",
        "a",
    ]
    made = CliRunner().invoke(main, arguments, env=environment, catch_exceptions=False)
    assert made.exit_code == 0, made.stderr
    return "police-us"


@pytest.fixture
def hash_set(run: Run, police: str, request: pytest.FixtureRequest) -> str:
    """Return the name of a new hash set that no other test uses."""
    name = f"{police}/set-{abs(hash(request.node.nodeid)) % 10**12}"
    made = run("hash-set", "create", name, "--purpose", "csam", "--scheme", "vic-us")
    assert made.exit_code == 0, made.stderr
    return name


@pytest.fixture
def start(hub: RunningHub) -> Iterator[Start]:
    """Run a command as a process of its own; what is left of them at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start_command(*arguments: str, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
        hub_at = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}
        buffered = {"PYTHONUNBUFFERED": ""}  # as in a user's shell: some tests are about what is unwritten at the end
        process = subprocess.Popen(
            [sys.executable, "-m", "hashhub.cli", *arguments],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **hub_at, **buffered},
        )
        started.append(process)
        return process

    yield start_command
    for process in started:
        process.kill()
        process.communicate()
