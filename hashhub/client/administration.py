"""Calls for those who run the hub: tokens, status, and the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from hashhub import v1, wire
from hashhub.client import names
from hashhub.client.calls import Calls, secret_of
from hashhub.model import Event, Principal, RevertedEvent, Status


class AdministrationCalls(Calls):
    """Tokens and status."""

    def create_token(self, principal: Principal) -> str:
        """Create a token and return its secret, shown once. Role: operator. Not retried: see list_tokens."""
        request = v1.CreateTokenRequest(token=wire.TOKEN.to_pb(principal), token_id=principal.name)
        return self._ask(request, secret_of, repeatable=False)

    def list_tokens(self) -> Iterator[Principal]:
        """Yield the tokens, without their secrets, in order of name."""
        return self._list(v1.ListTokensRequest(), "tokens", wire.TOKEN.from_pb)

    def update_token(self, token: Principal, fields: Sequence[str]) -> Principal:
        """Set the named fields of a token to the values that `token` has. Role: operator."""
        request = v1.UpdateTokenRequest(token=wire.TOKEN.to_pb(token), update_mask=FieldMask(paths=fields))
        return self._ask(request, wire.TOKEN.from_pb)

    def rotate_token(self, name: str, grace: timedelta | None = None) -> str:
        """Give a token a new secret and return it; the old one works on for `grace`, by default a day. Not retried.

        Roles: operator; any token for itself.
        """
        return self._ask(v1.RotateTokenRequest(name=names.token(name), grace=grace), secret_of, repeatable=False)

    def delete_token(self, name: str) -> None:
        """Delete a token: it stops working within a second. Role: operator."""
        self._transport.call(v1.DeleteTokenRequest(name=names.token(name)), repeatable=False)

    def status(self) -> Status:
        """Return the state of the hub. Roles: operator, auditor."""
        return self._ask(v1.GetStatusRequest(), wire.STATUS.from_pb)


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
        return self._ask(v1.RedactEventRequest(name=wire.event_name(revision)), wire.EVENT.from_pb)

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
