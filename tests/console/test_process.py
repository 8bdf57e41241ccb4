"""The console beside a real hub: it starts with it, again when it is killed, and ends with it however that ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from click.testing import CliRunner

from hashhub.cli import main
from hashhub.testing.hub_process import RunningHub
from tests.warm import Warm

SECONDS = 30.0


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def consoles(hub: RunningHub) -> list[psutil.Process]:
    children = psutil.Process(hub.pid).children(recursive=True)
    return [child for child in children if "hashhub.console" in child.cmdline()]


@pytest.fixture
def hub(warmed: Warm, tmp_path: Path) -> Any:
    with warmed.hub(tmp_path / "hub", "--console", "127.0.0.1:0") as running:
        yield running


def _link(hub: RunningHub) -> str:
    done = CliRunner().invoke(
        main, ["console", "link", "--server", hub.address, "--token-file", str(hub.token_file), "--data", str(hub.data)]
    )
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


def test_it_starts_again_and_ends_with_the_hub(hub: RunningHub) -> None:
    url = _link(hub)
    with httpx.Client(follow_redirects=False, timeout=SECONDS) as browser:
        answer = until(lambda: browser.get(url))
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].partition(";")[0]
        [first] = consoles(hub)
        first.send_signal(signal.SIGKILL)
        first.wait(SECONDS)
        origin = url.partition("/sign-in")[0]
        # It waits in the queue of the socket until there is a console again, and the session holds.
        assert browser.get(f"{origin}/reader", headers={"cookie": cookie}).status_code == 200
    [second] = consoles(hub)
    assert second.pid != first.pid
    psutil.Process(hub.pid).kill()
    second.wait(SECONDS)
