"""A command that is forked from a loaded program does what one does that is started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hashhub.client import Client
from hashhub.errors import FailedPrecondition
from hashhub.server.exposure import lock_data
from hashhub.testing.hub_process import running_hub
from tests.warm import Warm

STARTED = Path(sys.executable).with_name("hashhub")


@pytest.mark.parametrize(
    "line",
    [
        "hashhub --help",
        "hashhub hash-set create --help",
        "hashhub nonsense",
        "hashhub status --json",  # there is no hub
        "hashhub hash text",
        "hashhub hash missing",
        "hashhub hash text --json > out; echo $?; cat out",
        "hashhub hash - < text",
        "hashhub hash text > /dev/full",
        "{ until [ -e closed ]; do sleep 0.01; done; hashhub connectors list; echo $? >&2; } | { exec 0<&-; >closed; }",
    ],
)
def test_it_prints_and_ends_alike(warmed: Warm, tmp_path: Path, line: str) -> None:
    said = []
    for program in (STARTED, warmed.program):
        directory = tmp_path / program.parent.name
        directory.mkdir()
        (directory / "text").write_text("synthetic")
        environment = {**os.environ, "HASHHUB_SERVER": "127.0.0.1:1", "COLUMNS": "70"}
        environment["PATH"] = os.pathsep.join([str(program.parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said.append((done.returncode, done.stdout, done.stderr))
    assert said[0] == said[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_hub(warmed: Warm, tmp_path: Path, number: signal.Signals) -> None:
    with warmed.used(), running_hub(tmp_path / "data") as hub:  # its process id is that of the program in front
        os.kill(hub.pid, number)
        ended = os.waitid(os.P_PID, hub.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert (ended.si_code, ended.si_status) == (os.CLD_EXITED, 0)
    assert "draining" in (tmp_path / "data/hub.log").read_text("utf-8")


@pytest.mark.timeout(240)
def test_a_hub_does_not_outlive_the_program_in_front(warmed: Warm, tmp_path: Path) -> None:
    with warmed.used(), running_hub(tmp_path / "data") as hub:
        with Client(hub.address, hub.token) as client:
            client.status()
        os.kill(hub.pid, signal.SIGKILL)
        address = hub.address.rpartition(":")

        def is_gone() -> bool:
            with socket.socket() as s:
                return s.connect_ex((address[0], int(address[2]))) != 0

        while not is_gone():
            time.sleep(0.01)
    assert "draining" not in (tmp_path / "data/hub.log").read_text("utf-8")


def test_a_hub_that_is_killed_has_ended_at_once(warmed: Warm, tmp_path: Path) -> None:
    """As one that was started: whoever killed it may start another on its data."""
    data = tmp_path / "data"
    with warmed.hub(data) as hub:
        with pytest.raises(FailedPrecondition, match=f"process {hub.pid}"), lock_data(data):
            pass
        os.kill(hub.pid, signal.SIGKILL)
        while Path(f"/proc/{hub.pid}").exists():
            time.sleep(0.01)
        with lock_data(data):
            pass
