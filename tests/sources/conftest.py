"""A real hub for all tests of sources, and a hash set for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashhub.client import Client
from hashhub.model import Contributor, ContributorKind, EntryState, HashSet, Principal, Reliability, Role
from hashhub.sources.settings import SourceSettings, save
from hashhub.testing.hub_process import RunningHub
from tests.patience import PATIENCE
from tests.sources.partners import MockPartner
from tests.warm import Warm

STANDING = (EntryState.ACTIVE, EntryState.QUARANTINED)
AddSource = Callable[..., str]


@pytest.fixture(scope="session")
def running(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with warmed.hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="session")
def hub(running: RunningHub) -> Iterator[Client]:
    """Return the client of a contributor's token."""
    with Client(running.address, running.token, timeout=PATIENCE) as operator:
        operator.create_contributor(
            Contributor(
                id="line",
                display_name="Line",
                kind=ContributorKind.HOTLINE,
                jurisdiction="US",
                reliability=Reliability.A,
            )
        )
        token = operator.create_token(Principal(name="line-sources", role=Role.CONTRIBUTOR, contributor="line"))
    with Client(running.address, token, timeout=PATIENCE) as contributor:
        yield contributor


@pytest.fixture
def add_source(hub: Client, tmp_path: Path, request: pytest.FixtureRequest) -> AddSource:
    """Add the source `partner`, of a new hash set, whose name is returned."""

    def add(partner: MockPartner, **settings: object) -> str:
        hash_set = f"set-{abs(hash(request.node.nodeid)) % 10**12}"
        hub.create_hash_set(HashSet(contributor="line", id=hash_set, scheme=partner.scheme))
        secret = tmp_path / "secret"
        secret.write_text("open sesame\n")
        secret.chmod(0o600)
        fields: dict[str, object] = {
            "protocol": partner.protocol,
            "url": partner.url,
            "hash_set": f"line/{hash_set}",
            "credentials": dict.fromkeys(partner.credentials, f"file:{secret}"),
            "options": dict(partner.options),
            "page_items": 7,
            "drop": 1.0,
            "silence": 0.0,
            **settings,
        }
        save(tmp_path, "partner", SourceSettings(**fields))  # type: ignore[arg-type]
        return f"line/{hash_set}"

    return add


def digests_of(hub: Client, hash_set: str) -> set[bytes]:
    return {h.digest for entry in hub.list_entries(hash_set, STANDING) for h in entry.hashes}
