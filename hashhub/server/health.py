"""Health: which services can answer now, for gRPC's health service, for `/healthz` and for metrics.

What a service needs stands in `NEEDS`; whether that is there is what `hub.condition` saw. Nothing here asks the
database or waits, so probes cost nothing and are answered while everything else hangs.

The whole hub (gRPC's empty service name, and `/healthz`' status code) is healthy while it matches: a balancer must not
turn uploads away because the disk has no room for another list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from grpc_health.v1.health_pb2 import HealthCheckResponse

from hashhub.hub.health import Need

PACKAGE: Final = "hashhub.v1."
NEEDS: Final[Mapping[str, frozenset[Need]]] = {
    "AdminService": frozenset({Need.DATABASE}),  # also the way to ask what is wrong
    "ChangeService": frozenset({Need.DATABASE}),
    "ContributionService": frozenset({Need.DATABASE, Need.ROOM, Need.MATCHER}),  # a commit returns once it matches
    "ContributorService": frozenset({Need.DATABASE, Need.ROOM}),
    "HistoryService": frozenset({Need.DATABASE}),
    "MatchService": frozenset({Need.DATABASE, Need.MATCHER}),
    "OperationService": frozenset({Need.DATABASE}),
    "ReconciliationService": frozenset({Need.DATABASE}),
    "PolicyService": frozenset({Need.DATABASE, Need.MATCHER}),
    "ReviewService": frozenset({Need.DATABASE, Need.ROOM}),
    "SchemeService": frozenset({Need.DATABASE, Need.ROOM}),
    "WebhookService": frozenset({Need.DATABASE, Need.ROOM}),
}
_MAIN: Final = "MatchService"


class Health:
    """The health of one process's services."""

    def __init__(self, met: Callable[[], frozenset[Need]]) -> None:
        """`met` returns which needs are met now, without waiting for anything. All services start as NOT_SERVING."""
        self.met = met
        self._is_open = False

    def open(self) -> None:
        """Say what is so from now on."""
        self._is_open = True

    def close(self) -> None:
        """Say NOT_SERVING from now on: the server drains."""
        self._is_open = False

    def up(self) -> dict[str, bool]:
        """Return whether each service can answer now."""
        met = self.met() if self._is_open else frozenset()
        return {name: needs <= met for name, needs in NEEDS.items()}

    @property
    def is_serving(self) -> bool:
        """Whether the hub matches now."""
        return self.up()[_MAIN]

    def page(self) -> tuple[bool, bytes]:
        """Return whether the hub matches now, and that of all services as JSON."""
        up = self.up()
        services = {name: _word(is_up) for name, is_up in up.items()}
        return up[_MAIN], json.dumps({"status": _word(up[_MAIN]), "services": services}).encode()

    def statuses(self) -> dict[str, HealthCheckResponse.ServingStatus]:
        """Return what gRPC's health service says now, by the name of each service; the empty one is the hub's."""
        up = self.up()
        words = {"": up[_MAIN], **{PACKAGE + name: is_up for name, is_up in up.items()}}
        return {name: HealthCheckResponse.ServingStatus.Value(_word(is_up)) for name, is_up in words.items()}


def _word(is_up: bool) -> str:  # noqa: FBT001 - what it turns into a word
    return "SERVING" if is_up else "NOT_SERVING"
