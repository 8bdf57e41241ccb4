"""The typed client: takes and returns hashhub's types, raises HashHubError, and hides gRPC.

    with Client("127.0.0.1:8470", token) as hub:
        for answer in hub.match_hashes([Query(hashes=(parse_pair("PDQ:…"),))], MatchOptions(policy="block")):
            print(answer.result.verdict, answer.revision)

Things are named as commands name them: `CONTRIBUTOR`, `CONTRIBUTOR/SET`, `CONTRIBUTOR/SET/ENTRY`,
`CONTRIBUTOR/SET/IMPORT`. A client may be shared by threads. It needs the base install only. `AsyncClient` is for an
event loop.

Each resource has a module with its calls, and `Client` has them all. `contribution` sends a source, `exports` writes a
file, `mirror` keeps a copy by the feed, `reconciliation` compares databases, `transport` hides deadlines and retries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from hashhub.client.administration import (
    AdministrationCalls,
    ContributorCalls,
    HashSetCalls,
    HistoryCalls,
    WebhookCalls,
)
from hashhub.client.changes import ChangeCalls
from hashhub.client.contribution import FindingGroup, ImportCalls, ImportPhase, ImportProgress, ImportReport
from hashhub.client.definitions import Explained, PolicyCalls, PolicyVersion, SchemeCalls, SchemeTable
from hashhub.client.entries import EntryCalls
from hashhub.client.exports import Export, ExportCalls, ExportReport, LossGroup
from hashhub.client.match import MatchCalls, Matched, MatchedMedia, PolicyText
from hashhub.client.mirror import Mirror, MirrorState
from hashhub.client.reconciliation import (
    ConflictCalls,
    Downloaded,
    OperationCalls,
    OperationHandle,
    ReconciliationCalls,
)
from hashhub.client.transport import Connection, ConnectionOptions, Listing, Transport, is_loopback

if TYPE_CHECKING:
    from hashhub.client.aio import AsyncClient as AsyncClient

__all__ = [
    "AsyncClient",
    "Client",
    "Downloaded",
    "Explained",
    "Export",
    "ExportReport",
    "FindingGroup",
    "ImportPhase",
    "ImportProgress",
    "ImportReport",
    "Listing",
    "LossGroup",
    "Matched",
    "MatchedMedia",
    "Mirror",
    "MirrorState",
    "OperationHandle",
    "PolicyText",
    "PolicyVersion",
    "ReconciliationCalls",
    "SchemeTable",
    "is_loopback",
]


def __getattr__(name: str) -> Any:
    """Import the asynchronous client on first use."""
    if name == "AsyncClient":
        from hashhub.client.aio import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Client(
    ContributorCalls,
    HashSetCalls,
    ImportCalls,
    EntryCalls,
    ExportCalls,
    MatchCalls,
    PolicyCalls,
    SchemeCalls,
    ChangeCalls,
    HistoryCalls,
    OperationCalls,
    ConflictCalls,
    AdministrationCalls,
    WebhookCalls,
):
    """A connection to a hub at `HOST:PORT`. Use it as a context manager, or close it. Methods raise HashHubError."""

    def __init__(self, address: str, token: str, **options: Unpack[ConnectionOptions]) -> None:
        """Connect lazily. Raises InvalidArgument for an address or a token that cannot be one."""
        super().__init__(Transport(Connection(address, token, **options)))
        self.reconciliation = ReconciliationCalls(self._transport)
        """What databases share, and where they differ."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        self._transport.close()
