"""Calls about the history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Final

from hashhub import v1, wire
from hashhub.client import names
from hashhub.client.calls import Calls
from hashhub.model import Event, RevertedEvent

_REVERT_TIMEOUT: Final = 3600.0  # seconds: a million entries take some minutes


class HistoryCalls(Calls):
    """Events: reading, redacting, reverting."""

    def list_events(
        self, name: str = "", *, actor: str = "", since: datetime | None = None, limit: int | None = None
    ) -> Iterator[Event]:
        """Yield events, the newest first: about `CONTRIBUTOR`, `CONTRIBUTOR/SET`, `CONTRIBUTOR/SET/ENTRY`,
        `tokens/TOKEN`, `groups/GROUP`.

        `actor`: only what this token wrote. The facts of an event are text.
        """
        request = v1.ListEventsRequest(
            subject=names.subject(name), actor=names.token(actor) if actor else "", since=wire.timestamp(since)
        )
        pages = self._pages("HistoryService/ListEvents", request, v1.ListEventsResponse, size=limit)
        yield from islice((wire.EVENT.from_pb(event) for page in pages for event in page.events), limit)

    def redact_event(self, revision: int) -> Event:
        """Erase the details of an event; the chain still verifies. Role: operator."""
        request = v1.RedactEventRequest(name=wire.event_name(revision))
        return wire.EVENT.from_pb(self._transport.call("HistoryService/RedactEvent", request, v1.Event))

    def revert_actor(
        self,
        actor: str,
        since: datetime,
        comment: str = "",
        *,
        withdrawals_only: bool = False,
        validate_only: bool = False,
    ) -> list[RevertedEvent]:
        """Undo what a token wrote since a time, as far as nobody has changed it since; return what became of each
        event. Role: operator.

        Run it again if it was cut off: it goes on where it was. `validate_only` tells what would become of each.
        """
        request = v1.RevertActorRequest(
            actor=names.token(actor),
            since=wire.timestamp(since),
            withdrawals_only=withdrawals_only,
            validate_only=validate_only,
            comment=comment,
        )
        answer = self._transport.call(
            "HistoryService/RevertActor", request, v1.RevertActorResponse, timeout=_REVERT_TIMEOUT
        )
        return [wire.REVERTED_EVENT.from_pb(pb) for pb in answer.events]
