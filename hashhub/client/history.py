"""Calls about the history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
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
        return self._list(request, "events", wire.EVENT.from_pb, limit)

    def redact_event(self, revision: int) -> Event:
        """Erase the details of an event; the chain still verifies. Role: operator."""
        request = v1.RedactEventRequest(name=wire.event_name(revision))
        return self._ask(request, wire.EVENT.from_pb)

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
        return self._ask(
            request, lambda answer: list(map(wire.REVERTED_EVENT.from_pb, answer.events)), timeout=_REVERT_TIMEOUT
        )
