"""Real parts, started as whoever runs them starts them, and what people do with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hashhub.testing.hub_process import RunningHub, running_hub
from tests.e2e.conftest import desk, new_set
from tests.hook.conftest import Listed, listed_at, make_hook, make_settings

__all__ = ["desk", "make_hook", "make_settings", "new_set"]


@pytest.fixture(scope="session")
def shared_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """One hub on SQLite for all tests that leave it running."""
    with running_hub(tmp_path_factory.mktemp("shared")) as hub:
        yield hub


@pytest.fixture(scope="session")
def listed(shared_hub: RunningHub) -> Iterator[Listed]:
    """A picture that is listed there, and tokens to ask with."""
    with listed_at(shared_hub) as listed:
        yield listed
