"""Calls for those who run the hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from google.protobuf.field_mask_pb2 import FieldMask

from hashhub import v1, wire
from hashhub.client import names
from hashhub.client.calls import Calls, secret_of
from hashhub.model import Principal, Status


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
        request = v1.RotateTokenRequest(name=names.token(name), grace=grace)
        return self._ask(request, secret_of, repeatable=False)

    def delete_token(self, name: str) -> None:
        """Delete a token: it stops working within a second. Role: operator."""
        self._transport.call(v1.DeleteTokenRequest(name=names.token(name)), repeatable=False)

    def status(self) -> Status:
        """Return the state of the hub. Roles: operator, auditor."""
        return self._ask(v1.GetStatusRequest(), wire.STATUS.from_pb)
