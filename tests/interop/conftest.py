"""One Chromium for the tests of a worker, and one console with a hub at which something of everything has happened."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from hashhub.console.hub_console import HubConsole
from tests.console.conftest import Console, console_of
from tests.console.walk import serve_full
from tests.interop.browsing import chromium, served_to_browsers
from tests.server.conftest import _close

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    served = serve_full(tmp_path_factory.mktemp("full"))
    console = Console(served, console_of(served))
    yield console
    console.console.close()
    with ThreadPoolExecutor() as thread:  # Playwright has an event loop on this one
        thread.submit(_close, served).result()


@pytest.fixture(scope="module")
def site(full: Console) -> Iterator[HubConsole]:
    """The same console, where Chromium reaches it."""
    with served_to_browsers(full.served) as console:
        yield console
