"""Policies and classification schemes: their versions, and what they make of items."""

from __future__ import annotations

import re
from typing import NamedTuple

from hashhub import v1, wire
from hashhub.errors import InvalidArgument
from hashhub.hub.policies import ReplaySelection
from hashhub.hub.schemes import SchemeListing
from hashhub.model import Principal
from hashhub.schemes.alignment import Difference
from hashhub.server.servicers.requests import (
    EVERYBODY,
    OPERATOR,
    OVERSEERS,
    Page,
    Service,
    always,
    named,
    served,
    write_options,
)
from hashhub.trust import Version


class PolicyService(Service):
    """Versions of policies, and what they make of items."""

    @served(EVERYBODY)
    def get_policy(self, principal: Principal, request: v1.GetPolicyRequest) -> v1.Policy:
        return self._policy(principal, self.hub.policies.get(principal, wire.parse_policy(request.name)))

    @served(EVERYBODY)
    def list_policy_versions(
        self, principal: Principal, request: v1.ListPolicyVersionsRequest
    ) -> v1.ListPolicyVersionsResponse:
        name = wire.parse_policy(request.parent, "parent")
        page = Page("policyVersions", request, name)
        after = page.after(0)
        left = [v for v in self.hub.policies.versions(principal, name) if v.version > after]
        shown = left[: page.size]
        return v1.ListPolicyVersionsResponse(
            policies=(self._policy(principal, v) for v in shown),
            next_page_token=page.token(shown[-1].version if len(left) > len(shown) else 0),
        )

    @served(OPERATOR, grave=always)
    def put_policy(self, principal: Principal, request: v1.PutPolicyRequest) -> v1.Policy:
        comment = wire.read_text(request.comment, "comment")
        made = self.hub.policies.put(principal, request.text, comment=comment, **write_options(request))
        return self._policy(principal, made)

    @served(OPERATOR, grave=always)
    def retire_policy(self, principal: Principal, request: v1.RetirePolicyRequest) -> v1.Policy:
        name, comment = wire.parse_policy(request.name), wire.read_text(request.comment, "comment")
        retired = self.hub.policies.retire(principal, name, comment=comment, **write_options(request))
        return self._policy(principal, retired)

    @served(EVERYBODY)
    def explain_match(self, principal: Principal, request: v1.ExplainMatchRequest) -> v1.ExplainMatchResponse:
        options = wire.options_from_pb(request.options)
        trace, verdict, revision = self.hub.policies.explain(principal, wire.query_from_pb(request.query), options)
        return wire.trace_to_pb(trace, verdict, revision)

    @served(OVERSEERS, limiter="trials")
    def simulate_policy(self, principal: Principal, request: v1.SimulatePolicyRequest) -> v1.SimulatePolicyResponse:
        time = wire.time_in(request, "since_time")
        hash_sets = tuple("/".join(wire.parse_hash_set(n, f"hash_sets[{i}]")) for i, n in enumerate(request.hash_sets))
        options = wire.options_from_pb(v1.MatchOptions(max_distances=request.max_distances), "")
        page = Page("trial", _ContinuedPage(request.page_token), request.since_revision, time, hash_sets)
        after, resolved = _trial_position(page.after("0:0"))
        by_entries = request.HasField("since_revision") or time is not None or bool(hash_sets)
        since = ReplaySelection(
            revision=resolved or request.since_revision,
            time=None if resolved else time,
            hash_sets=hash_sets,
            after=after,
        )
        trial = self.hub.policies.try_out(
            principal,
            request.before,
            request.after,
            text=request.text,
            queries=[wire.query_from_pb(q, f"queries[{i}]") for i, q in enumerate(request.queries)],
            since=since if by_entries else None,
            max_distances=options.max_distances,
        )
        token = page.token(f"{trial.next_after}:{trial.since_revision}") if trial.next_after else ""
        return wire.TRIAL.to_pb(trial, next_page_token=token)

    def _policy(self, principal: Principal, version: Version) -> v1.Policy:
        tells_actor = principal.role in OVERSEERS  # names of operators' tokens are their own affair
        pb = wire.policy_to_pb(version, tells_actor=tells_actor)
        pb.revision = self.hub.revision()  # of each in a list, too
        return pb


def _trial_position(position: str) -> tuple[int, int]:
    """Return behind which entry a trial goes on, and behind which revision its entries became visible."""
    match = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", position)
    if match is None:
        raise InvalidArgument.field("page_token", "is damaged; start again without it", "PAGE_TOKEN")
    return int(match[1]), int(match[2])


class _ContinuedPage(NamedTuple):
    """A request that goes on from a token, and says no size."""

    page_token: str
    page_size: int = 0


def _scheme_to_pb(listed: SchemeListing) -> v1.Scheme:
    return wire.scheme_to_pb(listed.scheme, listed.definition, with_text=True)


class SchemeService(Service):
    """Classification schemes."""

    get_scheme = named(EVERYBODY, wire.parse_scheme, lambda hub: hub.schemes.get, _scheme_to_pb)

    @served(OPERATOR, _scheme_to_pb, grave=always)
    def put_scheme(self, principal: Principal, request: v1.PutSchemeRequest) -> SchemeListing:
        comment = wire.read_text(request.comment, "comment")
        return self.hub.schemes.put(principal, request.text, comment=comment, **write_options(request))

    @served(OPERATOR, _scheme_to_pb)
    def sign_off_scheme(self, principal: Principal, request: v1.SignOffSchemeRequest) -> SchemeListing:
        name, comment = wire.parse_scheme(request.name), wire.read_text(request.comment, "comment")
        return self.hub.schemes.sign_off(principal, name, comment, **write_options(request))

    @served(OPERATOR, _scheme_to_pb, grave=always)
    def retire_scheme(self, principal: Principal, request: v1.RetireSchemeRequest) -> SchemeListing:
        name, comment = wire.parse_scheme(request.name), wire.read_text(request.comment, "comment")
        return self.hub.schemes.retire(principal, name, comment, **write_options(request))

    @served(EVERYBODY, limiter="pages")
    def compare_schemes(self, principal: Principal, request: v1.CompareSchemesRequest) -> v1.CompareSchemesResponse:
        first = wire.parse_scheme(request.name)
        second = wire.parse_scheme(request.other_name, "other_name")
        # By version: what an id alone means may change between two pages.
        a, b = (self.hub.schemes.get(principal, name).scheme for name in (first, second))
        page = Page("crosswalk", request, a.name, b.name)
        rows, after = self.hub.schemes.compare(principal, a.name, b.name, page.size, page.after(0))
        return v1.CompareSchemesResponse(
            name=wire.scheme_name(a.id, a.version),
            other_name=wire.scheme_name(b.id, b.version),
            rows=map(wire.CROSSWALK_ROW.to_pb, rows),
            next_page_token=page.token(after),
        )

    @served(EVERYBODY, wire.DIFFERENCE.to_pb, limiter="pages")
    def diff_schemes(self, principal: Principal, request: v1.DiffSchemesRequest) -> Difference:
        old, new = wire.parse_scheme(request.name), wire.parse_scheme(request.other_name, "other_name")
        return self.hub.schemes.diff(principal, old, new)
