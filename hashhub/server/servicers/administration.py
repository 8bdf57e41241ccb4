"""Tokens and the state of the hub."""

from __future__ import annotations

from hashhub import v1, wire
from hashhub.hub.access import TOKEN_FIELDS
from hashhub.model import Principal
from hashhub.server.roles import EVERYBODY, OPERATOR, OVERSEERS, served
from hashhub.server.servicers.requests import Page, Service, mask_of, only_masked


class AdminService(Service):
    """Tokens and the state of the hub."""

    @served(OPERATOR)
    def create_token(self, principal: Principal, request: v1.CreateTokenRequest) -> v1.CreateTokenResponse:
        """Create a token and show its secret, this once."""
        wanted = wire.TOKEN.created(request.token, request.token_id)
        token, secret = self._hub.tokens.create(principal, wanted)
        return v1.CreateTokenResponse(token=wire.TOKEN.to_pb(token), secret=secret)

    @served(OVERSEERS)
    def list_tokens(self, principal: Principal, request: v1.ListTokensRequest) -> v1.ListTokensResponse:
        """List tokens by name."""
        page = Page("tokens", request)
        tokens, token = page.of(self._hub.tokens.list(principal), lambda t: t.name)
        return v1.ListTokensResponse(tokens=map(wire.TOKEN.to_pb, tokens), next_page_token=token)

    @served(OPERATOR)
    def update_token(self, principal: Principal, request: v1.UpdateTokenRequest) -> v1.Token:
        """Update the fields of a token that the mask names."""
        mask = mask_of(request.update_mask, request.token, TOKEN_FIELDS)
        # A token has no terms that hang together: what the mask leaves out is read as well, and not taken over.
        patched = only_masked(request.token, mask, v1.Token(role=v1.Role.ROLE_AUDITOR))
        return wire.TOKEN.to_pb(self._hub.tokens.update(principal, wire.TOKEN.from_pb(patched), mask))

    @served(EVERYBODY)
    def rotate_token(self, principal: Principal, request: v1.RotateTokenRequest) -> v1.RotateTokenResponse:
        """Give a token a new secret and show it, this once."""
        name, grace = wire.parse_token(request.name), wire.duration_in(request, "grace")
        token, secret = self._hub.tokens.rotate(principal, name, grace)
        return v1.RotateTokenResponse(token=wire.TOKEN.to_pb(token), secret=secret)

    @served(OPERATOR)
    def delete_token(self, principal: Principal, request: v1.DeleteTokenRequest) -> v1.DeleteTokenResponse:
        """Delete a token."""
        self._hub.tokens.delete(principal, wire.parse_token(request.name))
        return v1.DeleteTokenResponse()

    @served(OVERSEERS)
    def get_status(self, principal: Principal, request: v1.GetStatusRequest) -> v1.Status:
        """Get the state of the hub."""
        del request
        return wire.STATUS.to_pb(self._hub.status(principal))
