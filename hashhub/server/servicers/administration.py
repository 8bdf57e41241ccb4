"""Tokens, the state of the hub, its history, and undoing what a token did."""

from __future__ import annotations

from collections.abc import Sequence

from hashhub import v1, wire
from hashhub.errors import InvalidArgument
from hashhub.hub.access import TOKEN_FIELDS
from hashhub.model import Caller, Partners, Principal, RevertedEvent, Status
from hashhub.server.servicers.requests import (
    EVERYBODY,
    FEED_READERS,
    OPERATOR,
    OVERSEERS,
    READERS,
    Page,
    Service,
    listed,
    mask_of,
    named,
    only_masked,
    served,
)


class AdminService(Service):
    """Tokens and the state of the hub."""

    @served(OPERATOR)
    def create_token(self, principal: Principal, request: v1.CreateTokenRequest) -> v1.CreateTokenResponse:
        wanted = wire.TOKEN.created(request.token, request.token_id)
        token, secret = self.hub.tokens.create(principal, wanted)
        return v1.CreateTokenResponse(token=wire.TOKEN.to_pb(token), secret=secret)

    list_tokens = listed(OVERSEERS, lambda hub: hub.tokens.list, wire.TOKEN.to_pb, key=lambda one: one.name)

    @served(OVERSEERS)
    def get_access(self, principal: Principal, request: v1.GetAccessRequest) -> v1.GetAccessResponse:
        answer = v1.GetAccessResponse()
        for name, refusals in self.hub.tokens.access(principal, wire.parse_token(request.name)).items():
            one = answer.hash_sets.add(hash_set=wire.hash_set_name(*name.split("/")))
            for channel, why in refusals.items():
                value = v1.DisclosureChannel.Value(f"DISCLOSURE_CHANNEL_{channel}")
                one.channels.add(channel=value, permitted=not why, refusal=why)
        return answer

    @served(OPERATOR, wire.TOKEN.to_pb)
    def update_token(self, principal: Principal, request: v1.UpdateTokenRequest) -> Principal:
        mask = mask_of(request.update_mask, request.token, TOKEN_FIELDS)
        # A token has no terms that hang together: what the mask leaves out is read as well, and not taken over.
        patched = only_masked(request.token, mask, v1.Token(role=v1.Role.ROLE_AUDITOR))
        return self.hub.tokens.update(principal, wire.TOKEN.from_pb(patched), mask)

    @served(FEED_READERS)
    def rotate_token(self, principal: Principal, request: v1.RotateTokenRequest) -> v1.RotateTokenResponse:
        name, grace = wire.parse_token(request.name), wire.duration_in(request, "grace")
        token, secret = self.hub.tokens.rotate(principal, name, grace)
        return v1.RotateTokenResponse(token=wire.TOKEN.to_pb(token), secret=secret)

    @served(EVERYBODY)
    def begin_session(self, principal: Principal, _: v1.BeginSessionRequest) -> v1.BeginSessionResponse:
        secret, until = self.hub.tokens.begin_session(principal)
        digest = principal.certificate.thumbprint if principal.certificate is not None else b""
        return v1.BeginSessionResponse(secret=secret, expire_time=wire.timestamp(until), certificate_digest=digest)

    @served(EVERYBODY, wire.CALLER.to_pb)
    def get_caller(self, principal: Principal, _: v1.GetCallerRequest) -> Caller:
        return self.hub.tokens.caller(principal)

    delete_token = named(OPERATOR, wire.parse_token, lambda hub: hub.tokens.delete)

    @served(OVERSEERS, wire.STATUS.to_pb)
    def get_status(self, principal: Principal, _: v1.GetStatusRequest) -> Status:
        return self.hub.status(principal)

    @served(READERS, wire.PARTNERS.to_pb)
    def get_partners(self, principal: Principal, _: v1.GetPartnersRequest) -> Partners:
        return self.hub.edges.get(principal)

    @served(OPERATOR)
    def name_hub(self, principal: Principal, request: v1.NameHubRequest) -> v1.NameHubResponse:
        return v1.NameHubResponse(hub=self.hub.contributors.name_hub(principal, request.hub))


class HistoryService(Service):
    """The history, and undoing what a token did."""

    @served(READERS, limiter="pages")
    def list_events(self, principal: Principal, request: v1.ListEventsRequest) -> v1.ListEventsResponse:
        subject = wire.parse_subject(request.subject)
        actor = wire.parse_token(request.actor, "actor") if request.actor else ""
        since = wire.time_in(request, "since")
        kinds = frozenset(request.kinds)
        page = Page("events", request, subject, actor, since, sorted(kinds), request.before_revision)
        before = page.after(request.before_revision)
        events, after = self.hub.history.list(principal, subject, actor, since, page.size, before, kinds=kinds)
        return v1.ListEventsResponse(events=map(wire.EVENT.to_pb, events), next_page_token=page.token(after))

    @served(READERS)
    def get_receipt(self, principal: Principal, request: v1.GetReceiptRequest) -> v1.Receipt:
        content, proof = self.hub.history.receipt(principal, wire.parse_event(request.name))
        return v1.Receipt(content=content, proof=proof)

    redact_event = named(OPERATOR, wire.parse_event, lambda hub: hub.history.redact, wire.EVENT.to_pb)

    @served(FEED_READERS)
    def get_checkpoint(self, _: Principal, request: v1.GetCheckpointRequest) -> v1.Checkpoint:
        return v1.Checkpoint(**self.hub.log.view(request.known_size)._asdict())

    @served(
        OPERATOR,
        lambda events: v1.RevertActorResponse(events=map(wire.REVERTED_EVENT.to_pb, events)),
        limiter="commits",
        grave=lambda request: not request.withdrawals_only,
    )
    def revert_actor(self, principal: Principal, request: v1.RevertActorRequest) -> Sequence[RevertedEvent]:
        since = wire.time_in(request, "since")
        if since is None:
            raise InvalidArgument.field("since", "must say from when on", "REQUIRED")
        return self.hub.history.revert(
            principal,
            wire.parse_token(request.actor, "actor"),
            since,
            withdrawals_only=request.withdrawals_only,
            comment=request.comment,
            validate_only=request.validate_only,
        )
