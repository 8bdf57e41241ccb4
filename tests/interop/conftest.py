"""One Chromium for the tests of a module, and one console with a hub at which something of everything has happened."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bench.console import contradict
from hashhub.client import Client
from hashhub.console.hub_console import HubConsole
from hashhub.hook.settings import SidecarSettings
from tests.console.conftest import Console, console_of
from tests.console.walk import QUESTIONS, serve_full
from tests.desk.test_moderation import Desk, settings_for
from tests.hub.conftest import OPERATOR
from tests.hub.rooms import Room
from tests.interop.browsing import answering, chromium, served_to_browsers
from tests.patience import wait_until
from tests.server.conftest import Served, _close

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not of the session: while it is open, Playwright has an event loop on the thread on which others' tests run."""
    with chromium() as started:
        yield started


@contextmanager
def _full(folder: Path, **settings: Any) -> Iterator[Served]:
    """Serve a hub at which something of everything has happened; the one of the issue's size by

    WALK_ENTRIES=2000000 WALK_CONFLICTS=50000 pytest tests/interop/test_console_walks.py
    """
    served = serve_full(folder, **settings)
    if entries := int(os.environ.get("WALK_ENTRIES", "0")):
        room, names = Room(served.hub), ("eastland", "midland")
        for name in names:
            room.contributor(name)
            room.set(f"{name}/known", scheme="vic-us")
        with Client(served.doors.grpc_address, served.tokens["OPERATOR"], timeout=600.0) as client:
            contradict(client, entries, int(os.environ["WALK_CONFLICTS"]), folder, names)
            client.await_conflicts(3600.0)
            for one in [served.hub.reconciliation.start(OPERATOR, question) for question in QUESTIONS]:
                wait_until(lambda: served.hub.operations.get(OPERATOR, one.id).has_ended, 600.0)  # noqa: B023 - at once
    yield served
    with ThreadPoolExecutor() as thread:  # Playwright has an event loop on this one
        thread.submit(_close, served).result()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with _full(tmp_path_factory.mktemp("full")) as served:
        console = Console(served, console_of(served))
        yield console
        console.console.close()


@pytest.fixture
def by_two(tmp_path: Path) -> Iterator[Console]:
    """One that demands a second person, where Chromium reaches it."""
    with _full(tmp_path, second_person=True) as served, served_to_browsers(served) as console:
        yield Console(served, console)


@pytest.fixture(scope="module")
def site(full: Console) -> Iterator[HubConsole]:
    """The same console, where Chromium reaches it."""
    with served_to_browsers(full.served) as console:
        yield console


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A sidecar on a port, at whose desk something of everything has happened."""
    monkeypatch.setenv("HASHHUB_TOKEN", "hht_x")
    with socket.create_server(("127.0.0.1", 0)) as bound:
        listen = f"127.0.0.1:{bound.getsockname()[1]}"
        settings = msgspec.structs.replace(
            settings_for(tmp_path, two_person_release=True), sidecar=SidecarSettings(listen=listen)
        )
        desk = Desk(settings)
        with answering(desk.sidecar, bound):
            yield desk
