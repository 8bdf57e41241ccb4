"""The history, and undoing what a token did."""

from __future__ import annotations

from hashhub import v1, wire
from hashhub.errors import InvalidArgument
from hashhub.model import Principal
from hashhub.server.roles import OPERATOR, READERS, served
from hashhub.server.servicers.requests import Page, Service


class HistoryService(Service):
    """The history, and undoing what a token did."""

    @served(READERS, limiter="pages")
    def list_events(self, principal: Principal, request: v1.ListEventsRequest) -> v1.ListEventsResponse:
        """List events, the newest first."""
        subject = wire.parse_subject(request.subject)
        actor = wire.parse_token(request.actor, "actor") if request.actor else ""
        since = wire.time_in(request, "since")
        page = Page("events", request, subject, actor, since)
        events, after = self._hub.history.list(principal, subject, actor, since, page.size, page.after(0))
        return v1.ListEventsResponse(events=map(wire.EVENT.to_pb, events), next_page_token=page.token(after))

    @served(OPERATOR)
    def redact_event(self, principal: Principal, request: v1.RedactEventRequest) -> v1.Event:
        """Erase the details of an event."""
        return wire.EVENT.to_pb(self._hub.history.redact(principal, wire.parse_event(request.name)))

    @served(OPERATOR, limiter="commits")
    def revert_actor(self, principal: Principal, request: v1.RevertActorRequest) -> v1.RevertActorResponse:
        """Undo what a token wrote since a time."""
        since = wire.time_in(request, "since")
        if since is None:
            raise InvalidArgument.field("since", "must say from when on", "REQUIRED")
        events = self._hub.history.revert(
            principal,
            wire.parse_token(request.actor, "actor"),
            since,
            withdrawals_only=request.withdrawals_only,
            comment=request.comment,
            validate_only=request.validate_only,
        )
        return v1.RevertActorResponse(events=map(wire.REVERTED_EVENT.to_pb, events))
