"""Classification schemes."""

from __future__ import annotations

from hashhub import v1, wire
from hashhub.hub.schemes import SchemeListing
from hashhub.model import Principal
from hashhub.server.roles import EVERYBODY, OPERATOR, served
from hashhub.server.servicers.requests import Page, Service, write_options


class SchemeService(Service):
    """Classification schemes."""

    @served(EVERYBODY)
    def get_scheme(self, principal: Principal, request: v1.GetSchemeRequest) -> v1.Scheme:
        """Get a scheme with its text."""
        return self._scheme(self._hub.schemes.get(principal, wire.parse_scheme(request.name)))

    @served(OPERATOR)
    def put_scheme(self, principal: Principal, request: v1.PutSchemeRequest) -> v1.Scheme:
        """Put a version of a scheme."""
        return self._scheme(
            self._hub.schemes.put(
                principal, request.text, comment=wire.read_text(request.comment, "comment"), **write_options(request)
            )
        )

    @served(OPERATOR)
    def sign_off_scheme(self, principal: Principal, request: v1.SignOffSchemeRequest) -> v1.Scheme:
        """Answer for a version that somebody else put."""
        return self._scheme(
            self._hub.schemes.sign_off(
                principal,
                wire.parse_scheme(request.name),
                wire.read_text(request.comment, "comment"),
                **write_options(request),
            )
        )

    @served(OPERATOR)
    def retire_scheme(self, principal: Principal, request: v1.RetireSchemeRequest) -> v1.Scheme:
        """Let no new hash set take a version."""
        return self._scheme(
            self._hub.schemes.retire(
                principal,
                wire.parse_scheme(request.name),
                wire.read_text(request.comment, "comment"),
                **write_options(request),
            )
        )

    @served(EVERYBODY, limiter="pages")
    def compare_schemes(self, principal: Principal, request: v1.CompareSchemesRequest) -> v1.CompareSchemesResponse:
        """Lay two schemes side by side."""
        first = wire.parse_scheme(request.name)
        second = wire.parse_scheme(request.other_name, "other_name")
        # By version: what an id alone means may change between two pages.
        a, b = (self._hub.schemes.get(principal, name).scheme for name in (first, second))
        page = Page("crosswalk", request, a.name, b.name)
        rows, after = self._hub.schemes.compare(principal, a.name, b.name, page.size, page.after(0))
        return v1.CompareSchemesResponse(
            name=wire.scheme_name(a.id, a.version),
            other_name=wire.scheme_name(b.id, b.version),
            rows=map(wire.CROSSWALK_ROW.to_pb, rows),
            next_page_token=page.token(after),
        )

    @served(EVERYBODY, limiter="pages")
    def diff_schemes(self, principal: Principal, request: v1.DiffSchemesRequest) -> v1.DiffSchemesResponse:
        """Say what differs between two schemes."""
        old, new = wire.parse_scheme(request.name), wire.parse_scheme(request.other_name, "other_name")
        return wire.DIFFERENCE.to_pb(self._hub.schemes.diff(principal, old, new))

    def _scheme(self, listed: SchemeListing) -> v1.Scheme:
        return wire.scheme_to_pb(listed.scheme, listed.definition, with_text=True)
