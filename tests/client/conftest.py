"""A real hub, started once for all tests of the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hashhub.client import Client
from hashhub.model import Contributor, ContributorKind, HashSet, Reliability
from hashhub.testing.hub_process import RunningHub
from tests.warm import Warm


@pytest.fixture(scope="session")
def hub(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with warmed.hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="session")
def operator(hub: RunningHub) -> Iterator[Client]:
    # Generous: the first commit may wait for kernels to be compiled.
    with Client(hub.address, hub.token, timeout=60.0) as client:
        client.create_contributor(
            Contributor(
                id="police-us",
                display_name="Police",
                kind=ContributorKind.LAW_ENFORCEMENT,
                jurisdiction="US",
                reliability=Reliability.A,
            )
        )
        yield client


@pytest.fixture
def hash_set(operator: Client, request: pytest.FixtureRequest) -> str:
    """Return the name of a new hash set that no other test uses."""
    made = HashSet(contributor="police-us", id=f"set-{abs(hash(request.node.nodeid)) % 10**12}")
    return operator.create_hash_set(made).name
