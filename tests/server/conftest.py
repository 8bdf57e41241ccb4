"""A real hub on SQLite behind real doors, with a token for every role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from hashhub import v1, wire
from hashhub.config import Config
from hashhub.errors import HashHubError
from hashhub.hub import Hub
from hashhub.matcher import warm_up
from hashhub.model import Contributor, ContributorKind, Principal, Role
from hashhub.server.listeners import Listeners

OPERATOR = Principal(name="operator", role=Role.OPERATOR)


@dataclass
class Served:
    """A hub, its doors, and a channel to them. `who` is a role, whose token is then sent, or a token."""

    hub: Hub
    doors: Listeners
    channel: grpc.Channel
    data: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def call(
        self, method: str, request: Any, answer: Any, *, who: str | None = "OPERATOR", timeout: float | None = 120.0
    ) -> Any:
        """Make the unary call `Service/Method`; raise the HashHubError that its status means."""
        ask = self.channel.unary_unary(f"/hashhub.v1.{method}", _bytes, answer.FromString)
        try:
            return ask(request, timeout=timeout, metadata=self.metadata(who))
        except grpc.RpcError as e:
            raise wire.status_to_error(e) from e

    def metadata(self, who: str | None = "OPERATOR") -> tuple[tuple[str, str], ...]:
        return () if who is None else (("authorization", f"Bearer {self.tokens.get(who, who)}"),)

    def new_contributor(self, name: str) -> v1.Contributor:
        """Create a contributor through the door."""
        contributor = v1.Contributor(
            display_name=name.title(), kind=v1.ContributorKind.CONTRIBUTOR_KIND_HOTLINE, jurisdiction="GB"
        )
        request = v1.CreateContributorRequest(contributor_id=name, contributor=contributor)
        made: v1.Contributor = self.call("ContributorService/CreateContributor", request, v1.Contributor)
        return made


def _bytes(request: Any) -> bytes:
    return request if isinstance(request, bytes) else bytes(request.SerializeToString())


Serve = Callable[..., Served]


@pytest.fixture(autouse=True)
def patient_matchers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for some seconds is no reason for a matcher to doubt that it knows what is listed."""
    monkeypatch.setattr("hashhub.hub.health.STALE_SECONDS", 60.0)


@pytest.fixture
def serve_hub(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that serves a new hub with the given settings."""
    opened: list[Served] = []

    def serve(*, start: bool = True, **settings: Any) -> Served:
        served = _serve(tmp_path / str(len(opened)), start=start, **settings)
        opened.append(served)
        return served

    yield serve
    for served in opened:
        _close(served)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One hub for all tests that only add to it under names of their own."""
    served = _serve(tmp_path_factory.mktemp("hub"))
    yield served
    _close(served)


def _serve(data: Path, *, start: bool = True, **settings: Any) -> Served:
    config = Config(
        **{"data": str(data), "listen": "127.0.0.1:0", "http": "127.0.0.1:0", "drain_seconds": 2.0, **settings}
    )
    hub = Hub.open(config)
    secret = hub.tokens.bootstrap()
    assert secret is not None
    try:
        doors = Listeners(hub, config)
    except HashHubError:
        hub.close()
        raise
    doors.start()
    if start:
        warm_up()
        hub.start()
    hub.contributors.create(
        OPERATOR, Contributor(id="home", display_name="Home", kind=ContributorKind.HOTLINE, jurisdiction="GB")
    )
    tokens = {"OPERATOR": secret}
    for role in (Role.CONTRIBUTOR, Role.CONSUMER, Role.AUDITOR):
        wanted = Principal(
            name=role.lower(), role=role, contributor="" if role is Role.AUDITOR else "home", may_mirror=True
        )
        _, tokens[role] = hub.tokens.create(OPERATOR, wanted)
    return Served(hub, doors, grpc.insecure_channel(doors.grpc_address), data, tokens)


def _close(served: Served) -> None:
    served.channel.close()
    served.doors.close()
    served.hub.close()
