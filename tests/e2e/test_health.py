"""A database that goes away, as a probe sees it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hashhub.server.health import NEEDS
from hashhub.testing.hub_process import RunningHub
from tests.warm import Warm


def health(hub: RunningHub) -> tuple[int, set[str]]:
    """Return the code of /healthz, and which services serve."""
    try:
        with urllib.request.urlopen(f"http://{hub.http}/healthz", timeout=30) as answer:
            code, page = answer.status, answer.read()
    except urllib.error.HTTPError as e:
        code, page = e.code, e.read()
    return code, {name for name, word in json.loads(page)["services"].items() if word == "SERVING"}


def test_a_database_that_goes_away_is_told_and_so_is_that_it_came_back(
    warmed: Warm, tmp_path: Path, postgresql: Any, postgresql_url: str, wait_until: Callable[..., None]
) -> None:
    # No client in this process: the server's own process is started by a fork, which grpc's threads do not survive.
    with warmed.hub(tmp_path / "data", "--database", postgresql_url) as hub:
        assert health(hub) == (200, set(NEEDS))
        for _ in range(2):
            postgresql.stop()
            wait_until(lambda: health(hub) == (503, set()))
            postgresql.start()
            wait_until(lambda: health(hub) == (200, set(NEEDS)))
    log = (tmp_path / "data" / "hub.log").read_text("utf-8")
    assert "the database does not answer" in log
    assert "Traceback" not in log
